//! The records of a blob, as they are read from flash one at a time: operations, tensors, matrices and programs.
//!
//! Records have a fixed size in 32-bit words, and reading one cannot fail. A record that does not decode becomes an
//! [`Opcode::Invalid`] operation or an empty tensor. The verifier refuses these, and the interpreter skips them.

use super::bounds::{FULL, MAX_LOG2};
use super::{Opcode, Rules};
use crate::kernel::Packing;

/// Largest number of elements of one tensor.
pub const MAX_TENSOR_LEN: u32 = 1 << 16;
/// Largest nesting depth of loops.
pub const MAX_LOOP_DEPTH: usize = 4;
/// The nesting depth of loops that this build can run.
pub(crate) const LOOP_DEPTH: usize = if cfg!(feature = "loops") { MAX_LOOP_DEPTH } else { 0 };
/// The reference that means "no tensor".
pub const NO_TENSOR: u16 = u16::MAX;

#[inline]
pub(crate) fn word(words: &[u32], index: usize) -> u32 {
    words.get(index).copied().unwrap_or(0)
}

/// The record of `N` words at `index` of a section, or zeros past its end.
#[inline(always)]
fn record<const N: usize>(words: &[u32], index: usize) -> &[u32; N] {
    words.get(index.wrapping_mul(N)..).and_then(|rest| rest.first_chunk()).unwrap_or(const { no_record() })
}

/// A record of zeros. They lie in the flash only once.
const fn no_record<const N: usize>() -> &'static [u32; N] {
    static ZEROS: [u32; PROGRAM_WORDS] = [0; PROGRAM_WORDS];
    match ZEROS.first_chunk() {
        Some(zeros) => zeros,
        None => unreachable!(),
    }
}

/// The record of an operation.
pub(crate) type OpRecord = [u32; OP_WORDS];
/// The record of a tensor.
pub(crate) type TensorRecord = [u32; TENSOR_WORDS];

fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// Number of words of an operation's record.
pub const OP_WORDS: usize = 4;

/// One decoded operation. Tensor references count from the program's first tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The operation.
    pub opcode: Opcode,
    /// Small signed parameter. For most operations that use it, it is added to the fractional bits with which `a` is
    /// read.
    pub param: i8,
    /// Output tensor; [`NO_TENSOR`] for `End`.
    pub output: u16,
    /// Input tensors; unused ones are [`NO_TENSOR`]. The third may be a second tensor that the operation writes:
    /// [`Opcode::writes_extra`].
    pub inputs: [u16; 3],
    /// Matrix of a `Dense`, first matrix of a `Conv` or of `Couplings`, otherwise 0.
    pub arg: u16,
    /// Iterations of a `Loop`, interval of a `Clamp`, start of a `Slice`, value of a `OneHot`, constant of an `Offset`,
    /// geometry of a `Conv`, shape of `Couplings`, otherwise 0.
    pub imm: u32,
}

impl Op {
    /// Whether the operation writes this tensor.
    #[inline]
    pub fn writes(&self, tensor: u16) -> bool {
        self.output == tensor || (self.opcode.rules().is_extra() && self.inputs[2] == tensor)
    }

    /// Whether there is an operation at `index` of a section that writes this tensor. One word is enough to decide this
    /// for most operations, because they write only their output.
    #[inline]
    pub(crate) fn record_writes(ops: &[OpRecord], index: usize, tensor: u16) -> bool {
        ops.get(index).is_some_and(|record| {
            let ([_, output], [extra, _]) = (halves(record[0]), halves(record[2]));
            output == tensor || (extra == tensor && Self::rules(record[0]).is_extra())
        })
    }

    /// Whether the output of the operation at `index` of a section may take the place of an input.
    #[inline]
    pub(crate) fn record_in_place(ops: &[OpRecord], index: usize) -> bool {
        ops.get(index).is_some_and(|record| Self::rules(record[0]).in_place())
    }

    /// The rules of the operation in the first word of a record.
    #[inline(never)]
    fn rules(word: u32) -> Rules {
        Opcode::from_code(word & 0xFF).rules()
    }

    /// The fields `output`, `arg` and `imm` of a record: the output, the end and the iterations of a `Loop`.
    #[inline]
    pub(crate) fn loop_fields(ops: &[OpRecord], index: usize) -> (u16, u16, u32) {
        let [w0, _, w2, imm] = *ops.get(index).unwrap_or(const { no_record() });
        ((w0 >> 16) as u16, (w2 >> 16) as u16, imm)
    }

    /// The lower and the upper end of a `Clamp`'s interval.
    #[inline]
    pub fn interval(&self) -> (i16, i16) {
        (self.imm as i16, (self.imm >> 16) as i16)
    }

    /// The `imm` of a `Clamp` to `[low, high]`.
    pub fn interval_imm(low: i16, high: i16) -> u32 {
        u32::from(low as u16) | u32::from(high as u16) << 16
    }

    /// The operation at `index` of a section of records.
    pub fn read(ops: &[u32], index: usize) -> Self {
        Self::at(ops.as_chunks().0, index)
    }

    #[inline(always)]
    pub(crate) fn at(ops: &[OpRecord], index: usize) -> Self {
        let [w0, w1, w2, imm] = *ops.get(index).unwrap_or(const { no_record() });
        let ([a, b], [c, arg]) = (halves(w1), halves(w2));
        Self {
            opcode: Opcode::from_code(w0 & 0xFF),
            param: (w0 >> 8) as i8,
            output: (w0 >> 16) as u16,
            inputs: [a, b, c],
            arg,
            imm,
        }
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; OP_WORDS] {
        [
            u32::from(self.opcode as u8) | u32::from(self.param as u8) << 8 | u32::from(self.output) << 16,
            u32::from(self.inputs[0]) | u32::from(self.inputs[1]) << 16,
            u32::from(self.inputs[2]) | u32::from(self.arg) << 16,
            self.imm,
        ]
    }
}

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TensorKind {
    /// Not a valid tensor: the verifier refuses it.
    #[default]
    Invalid = 0,
    /// 16-bit activations, one halfword each.
    I16 = 1,
    /// 64-bit Q16 nats, four halfwords each.
    Nats = 2,
}

/// Number of words of a tensor's record.
pub const TENSOR_WORDS: usize = 4;

/// One tensor: its place in the arena, its format and its lifetime. The compiler writes this record and the verifier
/// checks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub kind: TensorKind,
    /// Fractional bits: 0..=15 for activations, 16 for nats.
    pub frac: u8,
    /// Activations: largest |q|, at most 32768. Nats: |q| is at most 2^bound.
    pub bound: u16,
    /// Number of elements.
    pub len: u32,
    /// First halfword in the arena, a multiple of four.
    pub offset: u32,
    /// The operation that writes it, counted from 1; 0 for a program's input.
    pub first: u16,
    /// The last operation that may read it; the number of operations + 1 for a program's output.
    pub last: u16,
}

impl Tensor {
    /// The tensor at `index` of a section of records.
    #[inline(never)]
    pub fn read(tensors: &[u32], index: usize) -> Self {
        let record = Operand(record::<TENSOR_WORDS>(tensors, index));
        Self {
            kind: record.kind(),
            frac: record.frac() as u8,
            bound: record.bound(),
            len: record.len(),
            offset: record.offset(),
            first: record.first(),
            last: record.last(),
        }
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; TENSOR_WORDS] {
        [
            u32::from(self.kind as u8) | u32::from(self.frac) << 8 | u32::from(self.bound) << 16,
            self.len,
            self.offset,
            u32::from(self.first) | u32::from(self.last) << 16,
        ]
    }

    /// Halfwords that the tensor occupies: its elements, rounded up to a multiple of eight bytes.
    pub fn extent(&self) -> u32 {
        Operand(&self.encode()).extent()
    }
}

/// A tensor's record where it lies, of which most readers need few fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'b>(pub &'b TensorRecord);

impl Operand<'_> {
    /// Not a tensor: all fields are zero.
    pub const NONE: Self = Self(no_record());

    /// Element type.
    #[inline(always)]
    pub fn kind(self) -> TensorKind {
        match self.kind_code() {
            1 => TensorKind::I16,
            2 => TensorKind::Nats,
            _ => TensorKind::Invalid,
        }
    }

    /// The code of its type.
    #[inline(always)]
    pub fn kind_code(self) -> u32 {
        self.0[0] & 0xFF
    }

    /// Whether its type exists, and its scale and its bound are possible for the type.
    #[inline]
    pub fn in_range(self) -> bool {
        const ACTIVATIONS: u16 = TensorKind::I16 as u16;
        const NATS: u16 = TensorKind::Nats as u16 | 16 << 8;
        let [kind_and_frac, bound] = halves(self.0[0]);
        // Activations have up to 15 fractional bits, nats have 16.
        if kind_and_frac & 0xF0FF == ACTIVATIONS {
            (1..=FULL).contains(&bound)
        } else {
            kind_and_frac == NATS && bound <= MAX_LOG2
        }
    }

    /// Fractional bits: at most 255.
    #[inline(always)]
    pub fn frac(self) -> u32 {
        self.0[0] >> 8 & 0xFF
    }

    /// Largest |q| of activations, or log2 of the largest |q| of nats.
    #[inline(always)]
    pub fn bound(self) -> u16 {
        (self.0[0] >> 16) as u16
    }

    /// Number of elements.
    #[inline(always)]
    pub fn len(self) -> u32 {
        self.0[1]
    }

    /// First halfword in the arena.
    #[inline(always)]
    pub fn offset(self) -> u32 {
        self.0[2]
    }

    /// The operation that writes it, counted from 1; 0 for a program's input.
    #[inline(always)]
    pub fn first(self) -> u16 {
        self.0[3] as u16
    }

    /// The last operation that may read it; the number of operations + 1 for a program's output.
    #[inline(always)]
    pub fn last(self) -> u16 {
        (self.0[3] >> 16) as u16
    }

    /// Halfwords that the tensor occupies: its elements, rounded up to a multiple of eight bytes.
    #[inline(never)]
    pub fn extent(self) -> u32 {
        if self.kind() == TensorKind::Nats { self.len().saturating_mul(4) } else { self.len().saturating_add(3) & !3 }
    }

    /// Halfwords of its elements, for a tensor of a valid type and length.
    #[inline(always)]
    pub fn halfwords(self) -> u32 {
        // An element of nats has four halfwords, and bit 1 is set in its type alone.
        const _: () = assert!(TensorKind::I16 as u32 == 1 && TensorKind::Nats as u32 == 2);
        self.len() << (self.0[0] & 2)
    }
}

/// Number of words of a matrix's record.
pub const MATRIX_WORDS: usize = 6;

/// The constants of one dense layer. The data section holds the parameters of its rows and then its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Outputs.
    pub rows: u32,
    /// Inputs.
    pub cols: u32,
    /// Order of the weights; `None` if the code is unknown.
    pub packing: Option<Packing>,
    /// Largest |q| of the inputs for which it is proved that no accumulator overflows.
    pub input_bound: u16,
    /// Largest |q| of the outputs for such inputs.
    pub output_bound: u16,
    /// First word of the parameters in the data section.
    pub params: u32,
    /// First word of the weights in the data section.
    pub weights: u32,
}

impl Matrix {
    /// The matrix at `index` of a section of records.
    #[inline(never)]
    pub fn read(matrices: &[u32], index: usize) -> Self {
        let [rows, cols, packing, bounds, params, weights] = *record::<MATRIX_WORDS>(matrices, index);
        let [input_bound, output_bound] = halves(bounds);
        Self { rows, cols, packing: Packing::from_tag(packing), input_bound, output_bound, params, weights }
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; MATRIX_WORDS] {
        [
            self.rows,
            self.cols,
            self.packing.map_or(u32::MAX, |packing| packing as u32),
            u32::from(self.input_bound) | u32::from(self.output_bound) << 16,
            self.params,
            self.weights,
        ]
    }

    /// Words of the parameters: the bias and multiplier of every row, with the number of rows rounded up to a multiple
    /// of four.
    pub fn params_len(&self) -> u32 {
        (self.rows.saturating_add(3) & !3).saturating_mul(2)
    }

    /// Words of one row of weights.
    pub fn row_words(&self) -> u32 {
        self.cols.div_ceil(4)
    }

    /// Words of the weights.
    pub fn weights_len(&self) -> u32 {
        let rows = match self.packing {
            Some(Packing::Dsp4) => self.rows.saturating_add(3) & !3,
            _ => self.rows,
        };
        rows.saturating_mul(self.row_words())
    }
}

/// Number of words of a program's record.
pub const PROGRAM_WORDS: usize = 12;

/// The record of one program: its ranges of operations and tensors, its inputs and outputs, and the cost of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Code of a [`ProgramKind`](crate::ProgramKind).
    pub kind: u32,
    /// First operation in the operations section.
    pub ops_start: u32,
    /// Number of operations.
    pub ops_len: u32,
    /// First tensor in the tensor section.
    pub tensors_start: u32,
    /// Number of tensors.
    pub tensors_len: u32,
    /// Input tensors.
    pub inputs: [u16; 2],
    /// Output tensors.
    pub outputs: [u16; 2],
    /// Elementary steps of one run: multiply-accumulates and elements touched, loops included.
    pub work: u64,
    /// Multiply-accumulates of one run, loops included.
    pub macs: u64,
}

impl ProgramRecord {
    /// The program at `index` of a section of records.
    #[inline(never)]
    pub fn read(programs: &[u32], index: usize) -> Self {
        let [kind, ops_start, ops_len, tensors_start, tensors_len, inputs, outputs, reserved, w0, w1, m0, m1] =
            *record::<PROGRAM_WORDS>(programs, index);
        let long = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        Self {
            // A set bit that must be zero gives a kind that does not exist.
            kind: if reserved == 0 { kind } else { 0 },
            ops_start,
            ops_len,
            tensors_start,
            tensors_len,
            inputs: halves(inputs),
            outputs: halves(outputs),
            work: long(w0, w1),
            macs: long(m0, m1),
        }
    }

    /// The tensor of an input, or [`NO_TENSOR`].
    #[inline]
    pub fn input(&self, slot: usize) -> u16 {
        self.inputs.get(slot).copied().unwrap_or(NO_TENSOR)
    }

    /// The tensor of an output, or [`NO_TENSOR`].
    #[inline]
    pub fn output(&self, slot: usize) -> u16 {
        self.outputs.get(slot).copied().unwrap_or(NO_TENSOR)
    }

    /// The record's words.
    pub fn encode(&self) -> [u32; PROGRAM_WORDS] {
        let pair = |v: [u16; 2]| u32::from(v[0]) | u32::from(v[1]) << 16;
        [
            self.kind,
            self.ops_start,
            self.ops_len,
            self.tensors_start,
            self.tensors_len,
            pair(self.inputs),
            pair(self.outputs),
            0,
            self.work as u32,
            (self.work >> 32) as u32,
            self.macs as u32,
            (self.macs >> 32) as u32,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_a_round_trip() {
        let op = Op { opcode: Opcode::Fma, param: -3, output: 7, inputs: [1, 65535, 3], arg: 9, imm: 0xDEAD_BEEF };
        assert_eq!(Op::read(&op.encode(), 0), op);
        let tensor = Tensor { kind: TensorKind::Nats, frac: 16, bound: 40, len: 3, offset: 8, first: 2, last: 9 };
        assert_eq!(Tensor::read(&tensor.encode(), 0), tensor);
        let matrix = Matrix {
            rows: 10,
            cols: 5,
            packing: Some(Packing::Dsp4),
            input_bound: 32768,
            output_bound: 77,
            params: 4,
            weights: 28,
        };
        assert_eq!(Matrix::read(&matrix.encode(), 0), matrix);
        let program = ProgramRecord {
            kind: 3,
            ops_start: 1,
            ops_len: 2,
            tensors_start: 3,
            tensors_len: 4,
            inputs: [0, NO_TENSOR],
            outputs: [2, 3],
            work: 1 << 40,
            macs: 12345,
        };
        assert_eq!(ProgramRecord::read(&program.encode(), 0), program);
    }

    #[test]
    fn reading_past_the_end_gives_nothing_valid() {
        assert_eq!(Op::read(&[], 5).opcode, Opcode::Invalid);
        assert_eq!(Tensor::read(&[], 5).kind, TensorKind::Invalid);
        assert_eq!(Tensor::read(&[], usize::MAX).extent(), 0);
    }
}
