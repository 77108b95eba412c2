//! The proof: it checks once everything that is needed so that the interpreter cannot fail. It allocates no memory.
//!
//! Matrices come first: no accumulator may overflow for activations within the declared bound. Then every program is
//! checked. Its tensors lie in the arena, are written once before they are read, and share no memory while alive. The
//! operands of every operation fit, and the declared bound of the result is the one that follows from them. Loops are
//! nested, and the work is the declared amount.

use crate::blob::Blob;
use crate::error::LoadError;
use crate::kernel::{LANES, Packing};
use crate::ops::bounds::{FULL, OperandError, output_bound};
use crate::ops::record::word;
use crate::ops::scope::Scope;
use crate::program::{
    Cost, Extra, MAX_LOOP_DEPTH, MAX_TENSOR_LEN, Matrix, NO_TENSOR, Op, Opcode, ProgramKind, ProgramRecord, Tensor,
    TensorKind,
};

/// What was proved of a blob's programs. It lies in RAM, so that a change of the flash does not change it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    /// Halfwords of arena that the programs need.
    pub arena_len: u32,
    /// Elementary steps of one run of the program of each kind, in the order of their codes; 0 if there is none. A run
    /// counts as many as the machine's word holds.
    work: [usize; ProgramKind::ALL.len()],
}

impl Proof {
    /// Nothing is proved. The compiler does not know that the numbers are zeros, because it would call `memset`.
    pub fn none() -> Self {
        Self { arena_len: 0, work: [core::hint::black_box(0); ProgramKind::ALL.len()] }
    }

    /// Elementary steps of one run of the program of a kind; 0 if there is none.
    #[inline]
    pub fn work(&self, kind: ProgramKind) -> usize {
        self.work.get(kind as usize - 1).copied().unwrap_or_default()
    }
}

/// Proves every matrix and program of `blob`.
///
/// # Errors
/// The first fault. `max_work` limits the elementary steps of one run of every program. `proof` is complete only if
/// there is no fault.
#[inline(never)]
pub(crate) fn verify(blob: &Blob<'_>, max_work: u64, proof: &mut Proof) -> Result<(), LoadError> {
    verify_matrices(blob)?;
    let mut seen = 0u32;
    let programs = blob.programs();
    for index in 0..blob.program_count() {
        let program = index as u16;
        let record = ProgramRecord::read(programs, index);
        let kind = ProgramKind::from_code(record.kind).filter(|kind| seen & 1 << *kind as u32 == 0);
        let kind = kind.ok_or(LoadError::ProgramKind { program })?;
        seen |= 1 << kind as u32;
        let scope = blob.scope(&record).ok_or(LoadError::ProgramRange { program })?;
        scope.verify_signature(&record, kind).ok_or(LoadError::Signature { program })?;
        proof.arena_len = proof.arena_len.max(scope.verify_tensors(&record)?);
        scope.verify_overlaps()?;
        let (work, macs) = scope.verify_ops(kind)?;
        // A saturated sum proves nothing.
        let counted = usize::try_from(work).ok().filter(|_| work <= max_work && work != u64::MAX);
        let counted = counted.filter(|_| work == record.work && macs == record.macs);
        let counted = counted.ok_or(LoadError::Work { program })?;
        if let Some(proved) = proof.work.get_mut(kind as usize - 1) {
            *proved = counted;
        }
    }
    Ok(())
}

fn verify_matrices(blob: &Blob<'_>) -> Result<(), LoadError> {
    let (matrices, data) = (blob.matrices(), blob.data());
    let mut cursor = 0u32;
    for index in 0..blob.matrix_count() {
        let matrix = index as u16;
        let m = Matrix::read(matrices, index);
        let dims = 1..=MAX_TENSOR_LEN;
        let Some(packing) = m.packing else {
            return Err(LoadError::MatrixShape { matrix });
        };
        if !dims.contains(&m.rows) || !dims.contains(&m.cols) || !(1..=FULL).contains(&m.input_bound) {
            return Err(LoadError::MatrixShape { matrix });
        }
        let place = || {
            let middle =
                cursor.checked_add(m.params_len()).filter(|middle| m.params == cursor && m.weights == *middle)?;
            let end = middle.checked_add(m.weights_len())?;
            let section = data.get(cursor as usize..end as usize)?;
            Some((end, section.split_at_checked(m.params_len() as usize)?))
        };
        let (end, (params, weights)) = place().ok_or(LoadError::MatrixLayout { matrix })?;
        cursor = end;
        verify_rows(&m, packing, params, weights, matrix)?;
    }
    if cursor as usize == data.len() {
        Ok(())
    } else {
        Err(LoadError::MatrixLayout { matrix: blob.matrix_count() as u16 })
    }
}

fn verify_rows(m: &Matrix, packing: Packing, params: &[u32], weights: &[u32], matrix: u16) -> Result<(), LoadError> {
    let padding_mask = packing.padding_mask(m.cols);
    let mut output_bound = 1u32;
    for row in 0..params.len() / 2 {
        let param = row / LANES * LANES * 2 + row % LANES;
        let (bias, multiplier) = (word(params, param) as i32, word(params, param + LANES));
        let (sum, last) = row_sum(weights, packing, row, m.row_words() as usize);
        if last & padding_mask != 0 || (row >= m.rows as usize && (sum != 0 || bias != 0 || multiplier != 0)) {
            return Err(LoadError::Padding { matrix });
        }
        let largest = bounded_product(sum, m.input_bound)
            .and_then(|products| products.checked_add(bias.unsigned_abs()))
            .filter(|largest| *largest <= i32::MAX as u32 && multiplier <= i32::MAX as u32)
            .ok_or(LoadError::Overflow { matrix, row: row as u16 })?;
        // Most rows have a smaller bound than an earlier row, and the exact product is slow on a Cortex-M0.
        if ((largest >> 16) + 1) * ((multiplier >> 16) + 1) > output_bound {
            let out = (u64::from(largest) * u64::from(multiplier) + (1 << 31)) >> 32;
            output_bound = output_bound.max((out as u32).min(u32::from(FULL)));
        }
    }
    if output_bound == u32::from(m.output_bound) { Ok(()) } else { Err(LoadError::OutputBound { matrix }) }
}

/// The product of a sum below 2^24 and a bound of at most 2^15, or `None` if it is 2^32 or more. It uses products of 32
/// bits, because those of 64 bits are slow on a Cortex-M0.
fn bounded_product(sum: u32, bound: u16) -> Option<u32> {
    let bound = u32::from(bound);
    let (high, low) = ((sum >> 16) * bound, (sum & 0xFFFF) * bound);
    if high <= 0xFFFF { (high << 16).checked_add(low) } else { None }
}

/// For one row of a matrix: the sum of |w| and the last word. A row has at most 2^14 words, so the sum is at most 2^23.
fn row_sum(weights: &[u32], packing: Packing, row: usize, words: usize) -> (u32, u32) {
    let section = |start: usize, len: usize| weights.get(start..start + len).unwrap_or_default();
    match packing {
        Packing::RowMajor => lane_sum::<1>(section(row * words, words), 0),
        Packing::Dsp4 => lane_sum::<LANES>(section(row / LANES * LANES * words, LANES * words), row),
    }
}

/// The same for one of the rows that are interleaved in `words`.
#[inline(never)]
fn lane_sum<const ROWS: usize>(words: &[u32], row: usize) -> (u32, u32) {
    let (mut sum, mut last) = (0, 0);
    for chunk in words.as_chunks::<ROWS>().0.chunks(LANE_WORDS) {
        let mut lanes = 0;
        for words in chunk {
            last = words[row % ROWS];
            lanes += abs_lanes(last);
        }
        sum += (lanes & 0xFFFF) + (lanes >> 16);
    }
    (sum, last)
}

/// A word adds at most 256 to a lane, so 255 words fit before it overflows.
const LANE_WORDS: usize = 128;

/// Magnitudes of four signed bytes, as bytes (-128 gives 128), summed into two 16-bit lanes.
#[inline(always)]
fn abs_lanes(word: u32) -> u32 {
    let sign = (word >> 7) & 0x0101_0101;
    let abs = (word ^ sign.wrapping_mul(255)).wrapping_add(sign);
    (abs & 0x00FF_00FF) + ((abs >> 8) & 0x00FF_00FF)
}

impl Scope<'_> {
    fn verify_signature(&self, record: &ProgramRecord, kind: ProgramKind) -> Option<()> {
        let signature = kind.signature();
        let past_the_end = self.op_count() as u16 + 1;
        let ([a, b], [c, d]) = (record.inputs, record.outputs);
        let mut holds = a != b || b == NO_TENSOR;
        for (reference, place) in [a, b, c, d].into_iter().zip(0u8..) {
            let (t, slot) = (self.tensor(reference), place & 1);
            let (used, kind, alive) = if place < 2 {
                (signature.inputs, TensorKind::I16, t.first == 0)
            } else {
                (signature.outputs(), signature.output(slot), t.last == past_the_end)
            };
            holds &= if slot < used {
                t.kind == kind && alive && (kind == TensorKind::I16 || t.len == 1)
            } else {
                reference == NO_TENSOR
            };
        }
        holds.then_some(())
    }

    /// Checks every tensor and returns the halfwords of arena that they take.
    fn verify_tensors(&self, record: &ProgramRecord) -> Result<u32, LoadError> {
        let mut arena_len = 0;
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
            let end = t.offset.checked_add(t.extent()).filter(|end| *end <= self.arena_len);
            let end = end.filter(|_| t.offset.is_multiple_of(4)).ok_or(LoadError::TensorPlace { tensor })?;
            arena_len = arena_len.max(end);
            let written = match usize::from(t.first).checked_sub(1) {
                None => record.inputs.contains(&(index as u16)),
                Some(op) => op < self.op_count() && Op::read_writes(self.ops, op, index as u16),
            };
            if !written || t.first > t.last || usize::from(t.last) > self.op_count() + 1 {
                return Err(LoadError::Lifetime { tensor });
            }
        }
        Ok(arena_len)
    }

    fn verify_overlaps(&self) -> Result<(), LoadError> {
        for first in 0..self.tensor_count() {
            let a = Tensor::read(self.tensors, first);
            let end = a.offset + a.extent();
            let records = self.tensors.as_chunks().0.iter().enumerate();
            for (second, record) in records.skip(first + 1) {
                // Most pairs do not overlap in time, and one word shows it.
                let (b_first, b_last) = Tensor::lifetime(record);
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

    /// Whether `new` takes exactly the place of `old` in the operation that reads `old` last.
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
        let mut loops = Loops::default();
        let (mut work, mut macs) = (0u64, 0u64);
        for index in 0..self.op_count() {
            let op = self.ops_start.wrapping_add(index as u16);
            let cost = self.verify_op(index, kind, &mut loops).map_err(|fault| match fault {
                Fault::Operation => LoadError::Operation { op },
                Fault::Unsupported => LoadError::Unsupported { op },
                Fault::Operand => LoadError::Operand { op },
                Fault::NotAlive => LoadError::NotAlive { op },
                Fault::Shape => LoadError::Shape { op },
                Fault::Scale => LoadError::Scale { op },
                Fault::Bound => LoadError::Bound { op },
                Fault::Loop => LoadError::Loop { op },
                Fault::Noise => LoadError::Noise { op },
                Fault::Lifetime { tensor } => LoadError::Lifetime { tensor },
            })?;
            // At most 4096 operations of 2^64 steps, repeated 2^64 times: the sum saturates, and is refused at the end.
            work = work.saturating_add(cost.work);
            macs = macs.saturating_add(cost.macs);
        }
        match loops.innermost() {
            Some(start) => Err(LoadError::Loop { op: self.ops_start.wrapping_add(start - 1) }),
            None => Ok((work, macs)),
        }
    }

    fn verify_op(&self, index: usize, kind: ProgramKind, loops: &mut Loops) -> Result<Cost, Fault> {
        let here = index as u16 + 1;
        let mut step = self.step(index);
        let form = step.op.opcode.form();
        let fields = (step.op.param == 0 || form.uses_param()) && (step.op.arg == 0 || form.uses_arg());
        let fields = fields && (step.op.imm == 0 || form.uses_imm()) && step.op.opcode != Opcode::Invalid;
        require(fields, Fault::Operation)?;
        require(step.op.opcode.compiled(), Fault::Unsupported)?;
        require(!form.draws_noise() || kind.signature().noise, Fault::Noise)?;

        for (slot, (&tensor, input)) in step.op.inputs.iter().zip(&step.tensors).enumerate() {
            let written = slot == 2 && form.writes_extra();
            if slot >= form.inputs() && !written {
                require(tensor == NO_TENSOR, Fault::Operation)?;
                continue;
            }
            require(usize::from(tensor) < self.tensor_count(), Fault::Operand)?;
            if written {
                require(input.first == here && tensor != step.op.output, Fault::Operand)?;
                // Scratch is not filled completely, so reading it could reveal what the arena held before.
                let scratch = form.extra() == Extra::Scratch;
                require(
                    !scratch || input.last == here,
                    Fault::Lifetime { tensor: self.tensors_start.wrapping_add(tensor) },
                )?;
                continue;
            }
            let alive = input.first < here && here <= input.last && !loops.hides(input);
            require(alive, Fault::NotAlive)?;
        }

        require(!form.only_in_loop() || loops.innermost().is_some(), Fault::Loop)?;

        // The repeat count that applies to this operation: before a `Loop` opens and after an `End` closes one.
        let repeat = loops.repeat();
        let mut written = step.op.output;
        if step.op.opcode == Opcode::Loop {
            loops.open(here, step.op.imm).ok_or(Fault::Loop)?;
        } else if step.op.opcode == Opcode::End {
            require(step.op.output == NO_TENSOR, Fault::Operand)?;
            let start = loops.close().ok_or(Fault::Loop)?;
            self.verify_loop_lifetimes(start, here)?;
            let opening = Op::read(self.ops, usize::from(start) - 1);
            written = opening.output;
            step.tensors[3] = self.tensor(written);
            let slots = u64::from(step.a().len) * u64::from(opening.imm);
            require(slots == u64::from(step.y().len), Fault::Shape)?;
        }
        require(usize::from(written) < self.tensor_count(), Fault::Operand)?;
        require(step.op.opcode == Opcode::End || step.y().first == here, Fault::Operand)?;
        let matrices = |index: u16| self.matrix(index);
        let bound = output_bound(&step, &matrices).map_err(|error| match error {
            OperandError::Kind => Fault::Operand,
            OperandError::Shape => Fault::Shape,
            OperandError::Scale => Fault::Scale,
            OperandError::Bound => Fault::Bound,
        })?;
        require(bound == step.y().bound, Fault::Bound)?;
        require(!form.writes_extra() || step.op.opcode.extra_bound() == step.c().bound, Fault::Bound)?;

        let cost = self.cost(&step);
        Ok(Cost { work: repeated(cost.work, repeat), macs: repeated(cost.macs, repeat) })
    }

    /// A tensor that is written inside a loop must die inside it. The loop's output must live at least until the loop's
    /// end. A tensor that is written before the loop and read inside must also live until the end, because every
    /// iteration reads it again.
    fn verify_loop_lifetimes(&self, start: u16, end: u16) -> Result<(), Fault> {
        for (index, record) in self.tensors.as_chunks().0.iter().enumerate() {
            let (first, last) = Tensor::lifetime(record);
            let before = first <= start;
            let alive_inside = last > start && last < end;
            let wrong = if before { alive_inside || (first == start && last < end) } else { first < end && last > end };
            require(!wrong, Fault::Lifetime { tensor: self.tensors_start.wrapping_add(index as u16) })?;
        }
        Ok(())
    }
}

/// The fault of one operation: a [`LoadError`] without the operation's index.
#[derive(Clone, Copy)]
enum Fault {
    Operation,
    Unsupported,
    Operand,
    NotAlive,
    Shape,
    Scale,
    Bound,
    Loop,
    Noise,
    Lifetime { tensor: u16 },
}

fn require(holds: bool, otherwise: Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// `steps` times `repeat`, saturated. Products of 64 bits are slow on a Cortex-M0, and most fit 32 bits.
#[inline(never)]
fn repeated(steps: u64, repeat: u64) -> u64 {
    if (steps | repeat) >> 16 == 0 { u64::from(steps as u32 * repeat as u32) } else { steps.saturating_mul(repeat) }
}

/// The loops around an operation, outermost first.
#[derive(Default)]
struct Loops {
    /// Their `Loop` operations, counted from 1, and their iterations minus one; zeros where there is no loop.
    frames: [(u16, u16); MAX_LOOP_DEPTH],
}

impl Loops {
    fn around(&self) -> impl Iterator<Item = &(u16, u16)> {
        self.frames.iter().take_while(|(start, _)| *start != 0)
    }

    /// How often the body of the innermost loop runs, saturated.
    fn repeat(&self) -> u64 {
        self.around().fold(1u64, |product, (_, more)| repeated(u64::from(*more) + 1, product))
    }

    fn open(&mut self, start: u16, count: u32) -> Option<()> {
        let more = u16::try_from(count.checked_sub(1)?).ok()?;
        *self.frames.iter_mut().find(|(start, _)| *start == 0)? = (start, more);
        Some(())
    }

    fn close(&mut self) -> Option<u16> {
        let frame = self.frames.iter_mut().rfind(|(start, _)| *start != 0)?;
        Some(core::mem::take(frame).0)
    }

    fn innermost(&self) -> Option<u16> {
        self.around().last().map(|(start, _)| *start)
    }

    /// Whether `tensor` is the output of an open loop, which is not yet completely written.
    fn hides(&self, tensor: &Tensor) -> bool {
        self.around().any(|(start, _)| *start == tensor.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    #[test]
    fn magnitudes_of_packed_bytes() {
        let word = |bytes: [i8; 4]| u32::from_le_bytes(bytes.map(|b| b as u8));
        assert_eq!(abs_lanes(word([-128, 127, -1, 0])), 255 | 1 << 16);
        assert_eq!(abs_lanes(word([-128; 4])), 256 | 256 << 16);
        assert_eq!(abs_lanes(word([5, -128, 0, -7])), 133 | 7 << 16);
    }

    #[test]
    fn lanes_do_not_overflow_on_the_longest_row() {
        let words = std::vec![0x8080_8080u32; 4 << 14];
        assert_eq!(lane_sum::<1>(&words[..1 << 14], 0).0, 1 << 23);
        assert_eq!(lane_sum::<4>(&words, 3).0, 1 << 23);
    }

    #[test]
    fn rows_of_either_packing() {
        let (rows, cols) = (7, 10);
        let weight = |row: usize, col: usize| (row * 31 + col * 17) as u8 as i8;
        for packing in [Packing::RowMajor, Packing::Dsp4] {
            let words: std::vec::Vec<u32> = kernel::pack_weights(rows, cols, packing, weight).collect();
            for row in 0..8 {
                let sum = (0..cols).map(|col| u32::from(weight(row, col).unsigned_abs())).sum::<u32>();
                let expected = if row < rows { sum } else { 0 };
                assert_eq!(row_sum(&words, packing, row, 3).0, expected);
            }
        }
    }
}
