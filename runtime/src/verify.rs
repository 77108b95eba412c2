//! The proof: everything that must hold so that the interpreter cannot fail, checked once, in no memory.
//!
//! Matrices first (no accumulator overflows for activations within the declared bound), then every program: tensors lie
//! in the arena, are written once before they are read, do not share memory while alive; every operation's operands
//! fit and its declared bound is the one that follows; loops nest and their work is what the program declares.

use crate::blob::Blob;
use crate::bounds::{FULL, OperandError, output_bound};
use crate::error::LoadError;
use crate::kernel::{DenseMatrix, Packing};
use crate::program::{
    MAX_LOOP_DEPTH, MAX_TENSOR_LEN, Matrix, NO_TENSOR, OP_WORDS, Op, Opcode, ProgramKind, ProgramRecord, TENSOR_WORDS,
    Tensor, TensorKind, matrix_macs, op_work, word,
};

/// Proves every matrix and program of `blob`.
///
/// # Errors
/// The first thing that does not hold. `max_work` limits the elementary steps of every program's run.
pub(crate) fn verify(blob: &Blob<'_>, max_work: u64) -> Result<(), LoadError> {
    verify_matrices(blob)?;
    for index in 0..blob.program_count() {
        let program = index as u16;
        let record = ProgramRecord::read(blob.programs, index);
        let kind = ProgramKind::from_code(record.kind).ok_or(LoadError::ProgramKind { program })?;
        if (0..index).any(|other| ProgramRecord::read(blob.programs, other).kind == record.kind) {
            return Err(LoadError::ProgramKind { program });
        }
        let scope = Scope::new(blob, &record).ok_or(LoadError::ProgramRange { program })?;
        scope.verify_signature(&record, kind).ok_or(LoadError::Signature { program })?;
        scope.verify_tensors(&record)?;
        scope.verify_overlaps()?;
        let (work, macs) = scope.verify_ops(kind)?;
        if work != record.work || macs != record.macs || work > max_work {
            return Err(LoadError::Work { program });
        }
    }
    Ok(())
}

fn verify_matrices(blob: &Blob<'_>) -> Result<(), LoadError> {
    let mut cursor = 0u32;
    for index in 0..blob.matrix_count() {
        let matrix = index as u16;
        let m = Matrix::read(blob.matrices, index);
        let dims = 1..=MAX_TENSOR_LEN;
        let Some(packing) = m.packing else {
            return Err(LoadError::MatrixShape { matrix });
        };
        if !dims.contains(&m.rows) || !dims.contains(&m.cols) || !(1..=FULL).contains(&m.input_bound) {
            return Err(LoadError::MatrixShape { matrix });
        }
        let layout = LoadError::MatrixLayout { matrix };
        let mut take = |at: u32, len: u32| {
            let end = cursor.checked_add(len).filter(|_| at == cursor).ok_or(layout)?;
            let section = blob.data.get(cursor as usize..end as usize).ok_or(layout)?;
            cursor = end;
            Ok(section)
        };
        let params = take(m.params, m.params_len())?;
        let weights = take(m.weights, m.weights_len())?;
        verify_rows(&m, packing, params, weights, matrix)?;
    }
    if cursor as usize == blob.data.len() {
        Ok(())
    } else {
        Err(LoadError::MatrixLayout { matrix: blob.matrix_count() as u16 })
    }
}

fn verify_rows(m: &Matrix, packing: Packing, params: &[u32], weights: &[u32], matrix: u16) -> Result<(), LoadError> {
    let padding_mask = packing.padding_mask(m.cols);
    let mut output_bound = 1u32;
    for (group, params) in params.chunks_exact(8).enumerate() {
        let (sums, lasts) = group_sums(m, packing, weights, group);
        for (lane, (&sum, &last)) in sums.iter().zip(&lasts).enumerate() {
            let row = group * 4 + lane;
            let (bias, multiplier) = (word(params, lane) as i32, word(params, lane + 4));
            if last & padding_mask != 0 || (row >= m.rows as usize && (sum != 0 || bias != 0 || multiplier != 0)) {
                return Err(LoadError::Padding { matrix });
            }
            let largest = sum
                .checked_mul(u32::from(m.input_bound))
                .and_then(|products| products.checked_add(bias.unsigned_abs()))
                .filter(|largest| *largest <= i32::MAX as u32 && multiplier <= i32::MAX as u32)
                .ok_or(LoadError::Overflow { matrix, row: row as u16 })?;
            let out = (u64::from(largest) * u64::from(multiplier) + (1 << 31)) >> 32;
            output_bound = output_bound.max(out.min(u64::from(FULL)) as u32);
        }
    }
    if output_bound == u32::from(m.output_bound) { Ok(()) } else { Err(LoadError::OutputBound { matrix }) }
}

/// Magnitudes of four signed bytes, as bytes (-128 gives 128), summed into two 16-bit lanes.
#[inline(always)]
fn abs_lanes(word: u32) -> u32 {
    let sign = (word >> 7) & 0x0101_0101;
    let abs = (word ^ sign.wrapping_mul(255)).wrapping_add(sign);
    (abs & 0x00FF_00FF).wrapping_add((abs >> 8) & 0x00FF_00FF)
}

/// A lane takes 256 at most from a word, so 255 words fit before it overflows.
const LANE_WORDS: usize = 128;

/// Sum of |w| over the bytes of `words`: at most 2^14 words, so at most 2^23.
fn sum_abs(words: &[u32]) -> u32 {
    words.chunks(LANE_WORDS).fold(0, |sum, chunk| {
        let lanes = chunk.iter().fold(0u32, |lanes, &word| lanes.wrapping_add(abs_lanes(word)));
        sum + (lanes & 0xFFFF) + (lanes >> 16)
    })
}

/// Sums of |w| over the bytes of every fourth word, for each of the four.
fn sum_abs_interleaved(words: &[u32]) -> [u32; 4] {
    let mut sums = [0u32; 4];
    for chunk in words.as_chunks::<4>().0.chunks(LANE_WORDS) {
        let mut lanes = [0u32; 4];
        for [a, b, c, d] in chunk {
            let [la, lb, lc, ld] = &mut lanes;
            *la = la.wrapping_add(abs_lanes(*a));
            *lb = lb.wrapping_add(abs_lanes(*b));
            *lc = lc.wrapping_add(abs_lanes(*c));
            *ld = ld.wrapping_add(abs_lanes(*d));
        }
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            *sum += (lanes & 0xFFFF) + (lanes >> 16);
        }
    }
    sums
}

/// For each of the four rows of a group: the sum of |w| and the last word.
fn group_sums(m: &Matrix, packing: Packing, weights: &[u32], group: usize) -> ([u32; 4], [u32; 4]) {
    let row_words = m.row_words() as usize;
    let at = group * row_words * 4;
    let mut lasts = [0; 4];
    match packing {
        Packing::Dsp4 => {
            let words = weights.get(at..at + row_words * 4).unwrap_or_default();
            lasts = words.last_chunk().copied().unwrap_or(lasts);
            (sum_abs_interleaved(words), lasts)
        }
        Packing::RowMajor => {
            let mut sums = [0; 4];
            let rows = weights.get(at..).unwrap_or_default().chunks_exact(row_words);
            for ((row, sum), last) in rows.zip(&mut sums).zip(&mut lasts) {
                *sum = sum_abs(row);
                *last = row.last().copied().unwrap_or(0);
            }
            (sums, lasts)
        }
    }
}

/// One program's records.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'b> {
    pub ops: &'b [u32],
    pub tensors: &'b [u32],
    matrices: &'b [u32],
    data: &'b [u32],
    arena_len: u32,
    tensors_start: u16,
    ops_start: u16,
}

impl<'b> Scope<'b> {
    /// The records that `record` names, or nothing when they are not there.
    pub fn new(blob: &Blob<'b>, record: &ProgramRecord) -> Option<Self> {
        let section = |words: &'b [u32], start: u32, len: u32, size: usize| {
            let end = start.checked_add(len)?;
            words.get((start as usize).checked_mul(size)?..(end as usize).checked_mul(size)?)
        };
        Some(Self {
            ops: section(blob.ops, record.ops_start, record.ops_len, OP_WORDS)?,
            tensors: section(blob.tensors, record.tensors_start, record.tensors_len, TENSOR_WORDS)?,
            matrices: blob.matrices,
            data: blob.data,
            arena_len: blob.arena_len,
            tensors_start: record.tensors_start as u16,
            ops_start: record.ops_start as u16,
        })
    }

    fn tensor_count(&self) -> usize {
        self.tensors.len() / TENSOR_WORDS
    }

    /// A tensor by its reference.
    #[inline]
    pub fn tensor(&self, reference: u16) -> Tensor {
        Tensor::read(self.tensors, usize::from(reference))
    }

    /// Number of operations.
    pub fn op_count(&self) -> usize {
        self.ops.len() / OP_WORDS
    }

    fn verify_signature(&self, record: &ProgramRecord, kind: ProgramKind) -> Option<()> {
        let signature = kind.signature();
        let output_kind = if signature.scalar { TensorKind::Nats } else { TensorKind::I16 };
        let past_the_end = self.op_count() as u16 + 1;
        let check = |refs: [u16; 2], used: u8, holds: &dyn Fn(Tensor) -> bool| {
            refs.into_iter().enumerate().all(|(slot, tensor)| {
                if slot < usize::from(used) {
                    holds(Tensor::read(self.tensors, usize::from(tensor)))
                } else {
                    tensor == NO_TENSOR
                }
            })
        };
        let inputs = check(record.inputs, signature.inputs, &|t| t.kind == TensorKind::I16 && t.first == 0);
        let outputs = check(record.outputs, signature.outputs, &|t| {
            t.kind == output_kind && t.last == past_the_end && (!signature.scalar || t.len == 1)
        });
        (inputs && outputs).then_some(())
    }

    fn verify_tensors(&self, record: &ProgramRecord) -> Result<(), LoadError> {
        for index in 0..self.tensor_count() {
            let tensor = self.tensors_start.wrapping_add(index as u16);
            let t = Tensor::read(self.tensors, index);
            let range = match t.kind {
                TensorKind::Invalid => false,
                TensorKind::I16 => t.frac <= 15 && (1..=FULL).contains(&t.bound),
                TensorKind::Nats => t.frac == 16 && t.bound <= 62,
            };
            if !range || !(1..=MAX_TENSOR_LEN).contains(&t.len) {
                return Err(LoadError::Tensor { tensor });
            }
            let inside = t.offset.checked_add(t.extent()).is_some_and(|end| end <= self.arena_len);
            if !inside || !t.offset.is_multiple_of(4) {
                return Err(LoadError::TensorPlace { tensor });
            }
            let written = match usize::from(t.first).checked_sub(1) {
                None => record.inputs.contains(&(index as u16)),
                Some(op) => op < self.op_count() && Op::read(self.ops, op).output == index as u16,
            };
            if !written || t.first > t.last || usize::from(t.last) > self.op_count() + 1 {
                return Err(LoadError::Lifetime { tensor });
            }
        }
        Ok(())
    }

    fn verify_overlaps(&self) -> Result<(), LoadError> {
        for first in 0..self.tensor_count() {
            let a = Tensor::read(self.tensors, first);
            let end = a.offset + a.extent();
            for second in first + 1..self.tensor_count() {
                // Most pairs are apart in time, and one word tells.
                let (b_first, b_last) = Tensor::read_lifetime(self.tensors, second);
                if b_first > a.last || a.first > b_last {
                    continue;
                }
                let b = Tensor::read(self.tensors, second);
                if end <= b.offset || b.offset + b.extent() <= a.offset {
                    continue;
                }
                if !self.replaces(&a, &b) && !self.replaces(&b, &a) {
                    return Err(LoadError::Overlap {
                        tensor: self.tensors_start.wrapping_add(first as u16),
                        with: self.tensors_start.wrapping_add(second as u16),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether `new` takes exactly the place of `old` in the operation at which `old` dies.
    fn replaces(&self, old: &Tensor, new: &Tensor) -> bool {
        let same_place = (old.kind, old.offset, old.len) == (new.kind, new.offset, new.len);
        let in_place = |op: usize| Op::read(self.ops, op).opcode.in_place();
        same_place
            && old.last == new.first
            && old.first < new.first
            && usize::from(new.first).checked_sub(1).is_some_and(in_place)
    }

    /// Checks every operation and returns the elementary steps and multiply-accumulates of a run.
    fn verify_ops(&self, kind: ProgramKind) -> Result<(u64, u64), LoadError> {
        let mut loops = LoopStack::new();
        let (mut work, mut macs) = (0u64, 0u64);
        for index in 0..self.op_count() {
            let op = self.ops_start.wrapping_add(index as u16);
            let here = index as u16 + 1;
            let record = Op::read(self.ops, index);
            let no_params = record.param == 0
                || matches!(record.opcode, Opcode::Tanh | Opcode::Sigmoid | Opcode::Exp | Opcode::Sum);
            let no_arg = record.arg == 0 || record.opcode == Opcode::Dense;
            let no_imm = record.imm == 0 || matches!(record.opcode, Opcode::Loop | Opcode::Clamp);
            if record.opcode == Opcode::Invalid || !no_params || !no_arg || !no_imm {
                return Err(LoadError::Operation { op });
            }
            if record.opcode == Opcode::Normal && !kind.signature().noise {
                return Err(LoadError::Noise { op });
            }

            let mut inputs = [Tensor::default(); 3];
            for (slot, (&tensor, input)) in record.inputs.iter().zip(&mut inputs).enumerate() {
                if slot >= record.opcode.inputs() {
                    if tensor != NO_TENSOR {
                        return Err(LoadError::Operation { op });
                    }
                    continue;
                }
                if usize::from(tensor) >= self.tensor_count() {
                    return Err(LoadError::Operand { op });
                }
                *input = Tensor::read(self.tensors, usize::from(tensor));
                if input.first >= here || here > input.last || loops.hides(input) {
                    return Err(LoadError::NotAlive { op });
                }
            }

            let closing = match record.opcode {
                Opcode::Loop => {
                    loops.open(here, record.imm).ok_or(LoadError::Loop { op })?;
                    None
                }
                Opcode::End => {
                    let start = loops.close().ok_or(LoadError::Loop { op })?;
                    self.verify_loop_lifetimes(start, here)?;
                    Some(Op::read(self.ops, usize::from(start) - 1).output)
                }
                _ => None,
            };
            let written = closing.unwrap_or(record.output);
            if closing.is_some() && record.output != NO_TENSOR || usize::from(written) >= self.tensor_count() {
                return Err(LoadError::Operand { op });
            }
            let output = Tensor::read(self.tensors, usize::from(written));
            if closing.is_none() && output.first != here {
                return Err(LoadError::Operand { op });
            }
            let matrix = self.matrix(&record);
            let bound = output_bound(&record, &inputs, &output, matrix.as_ref()).map_err(|error| match error {
                OperandError::Kind => LoadError::Operand { op },
                OperandError::Shape => LoadError::Shape { op },
                OperandError::Scale => LoadError::Scale { op },
                OperandError::Bound => LoadError::Bound { op },
            })?;
            if bound != output.bound {
                return Err(LoadError::Bound { op });
            }

            // At most 4096 operations of 2^33 steps under a repeat of 2^63: saturation, which no honest record declares.
            let repeat = match record.opcode {
                Opcode::Loop => loops.repeat_outside,
                Opcode::End => loops.repeat.saturating_mul(u64::from(output.len)),
                _ => loops.repeat,
            };
            let length = if record.opcode.inputs() == 0 { output.len } else { inputs[0].len };
            // A 64-bit product that may overflow is dear on a Cortex-M0, and most operations run once.
            let times = |steps: u64| if repeat == 1 { steps } else { steps.saturating_mul(repeat) };
            work = work.saturating_add(times(op_work(&record, length, matrix.as_ref())));
            macs = macs.saturating_add(times(matrix.as_ref().map_or(0, matrix_macs)));
        }
        match loops.innermost() {
            Some(start) => Err(LoadError::Loop { op: self.ops_start.wrapping_add(start - 1) }),
            None => Ok((work, macs)),
        }
    }

    /// The matrix of a dense layer.
    pub fn matrix(&self, op: &Op) -> Option<Matrix> {
        let matrix = Matrix::read(self.matrices, usize::from(op.arg));
        (op.opcode == Opcode::Dense && matrix.rows != 0).then_some(matrix)
    }

    /// The constants of a dense layer, for its kernel.
    pub fn dense_matrix(&self, op: &Op) -> Option<DenseMatrix<'b>> {
        let matrix = self.matrix(op)?;
        let section = |at: u32, len: u32| self.data.get(at as usize..at.checked_add(len)? as usize);
        Some(DenseMatrix {
            rows: matrix.rows as usize,
            cols: matrix.cols as usize,
            packing: matrix.packing?,
            weights: section(matrix.weights, matrix.weights_len())?,
            params: section(matrix.params, matrix.params_len())?,
        })
    }

    /// What is written inside a loop dies inside it; its vector lives at least until its end; what is read inside
    /// and was written before lives until the end too, since every iteration reads it again.
    fn verify_loop_lifetimes(&self, start: u16, end: u16) -> Result<(), LoadError> {
        for index in 0..self.tensor_count() {
            let t = Tensor::read(self.tensors, index);
            let before = t.first <= start;
            let alive_inside = t.last > start && t.last < end;
            let wrong =
                if before { alive_inside || (t.first == start && t.last < end) } else { t.first < end && t.last > end };
            if wrong {
                return Err(LoadError::Lifetime { tensor: self.tensors_start.wrapping_add(index as u16) });
            }
        }
        Ok(())
    }
}

/// The loops around the current operation.
struct LoopStack {
    /// Operation (from 1) and iterations of every open loop, outermost first.
    frames: [(u16, u32); MAX_LOOP_DEPTH],
    depth: usize,
    /// Product of the iterations of the open loops.
    repeat: u64,
    /// The same without the innermost one.
    repeat_outside: u64,
}

impl LoopStack {
    fn new() -> Self {
        Self { frames: [(0, 0); MAX_LOOP_DEPTH], depth: 0, repeat: 1, repeat_outside: 1 }
    }

    fn open_frames(&self) -> &[(u16, u32)] {
        self.frames.get(..self.depth).unwrap_or_default()
    }

    fn update(&mut self) {
        let product = |frames: &[(u16, u32)]| frames.iter().fold(1u64, |all, (_, n)| all.saturating_mul(u64::from(*n)));
        let (repeat, outside) = match self.open_frames() {
            [] => (1, 1),
            all @ [outer @ .., _] => (product(all), product(outer)),
        };
        (self.repeat, self.repeat_outside) = (repeat, outside);
    }

    fn open(&mut self, start: u16, count: u32) -> Option<()> {
        let frame = self.frames.get_mut(self.depth).filter(|_| (1..=MAX_TENSOR_LEN).contains(&count))?;
        *frame = (start, count);
        self.depth += 1;
        self.update();
        Some(())
    }

    fn close(&mut self) -> Option<u16> {
        let start = self.innermost()?;
        self.depth -= 1;
        self.update();
        Some(start)
    }

    fn innermost(&self) -> Option<u16> {
        self.open_frames().last().map(|(start, _)| *start)
    }

    /// Whether `tensor` is the vector of an open loop, whose slots are not all written yet.
    fn hides(&self, tensor: &Tensor) -> bool {
        self.open_frames().iter().any(|(start, _)| *start == tensor.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_of_packed_bytes() {
        let bytes: [i8; 8] = [-128, 127, -1, 0, 5, -128, -128, -128];
        let words: [u32; 2] =
            core::array::from_fn(|i| u32::from_le_bytes(core::array::from_fn(|b| bytes[i * 4 + b] as u8)));
        assert_eq!(sum_abs(&words), 128 + 127 + 1 + 5 + 3 * 128);
    }

    #[test]
    fn lanes_do_not_overflow_on_the_longest_row() {
        let words = [0x8080_8080u32; 4 * 1000];
        assert_eq!(sum_abs(&words), 4 * 1000 * 4 * 128);
        assert_eq!(sum_abs_interleaved(&words), [1000 * 4 * 128; 4]);
    }
}
