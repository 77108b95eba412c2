//! The last pass: records, metadata and constants become the bytes of a blob (`docs/blob-format.md`).

use elbo::blob::{CHECKED_FROM, FORMAT_VERSION, HEADER_WORDS, MAGIC};
use elbo::bounds::FULL;
use elbo::kernel::{Packing, pack_params, pack_weights};
use elbo::program::{Matrix, Op, ProgramKind, ProgramRecord, Tensor};

/// A dense layer in integers: `y = requantize(weights x + bias, multiplier)` per row.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Largest |q| of the activations it is proved for.
    pub input_bound: u16,
    /// `[rows * cols]`, row-major.
    pub weights: Vec<i8>,
    /// `[rows]`, at the accumulator's scale.
    pub bias: Vec<i32>,
    /// `[rows]`, not negative; the row's output is `acc * multiplier / 2^32`.
    pub multiplier: Vec<i32>,
}

impl QuantizedMatrix {
    /// Largest magnitude of row `row`'s accumulator, for which the 32-bit proof asks `<= i32::MAX`.
    pub fn largest_accumulator(&self, row: usize) -> u64 {
        let weights = &self.weights[row * self.cols..(row + 1) * self.cols];
        let sum: u64 = weights.iter().map(|w| u64::from(w.unsigned_abs())).sum();
        sum * u64::from(self.input_bound) + u64::from(self.bias[row].unsigned_abs())
    }

    /// Largest |q| that comes out.
    pub fn output_bound(&self) -> u16 {
        let largest = (0..self.rows)
            .map(|row| (self.largest_accumulator(row) * self.multiplier[row] as u64 + (1 << 31)) >> 32)
            .max()
            .unwrap_or(0);
        largest.clamp(1, u64::from(FULL)) as u16
    }
}

/// One program, its tensors placed.
#[derive(Clone, Debug)]
pub struct PlannedProgram {
    /// What it computes.
    pub kind: ProgramKind,
    /// Its operations, in order.
    pub ops: Vec<Op>,
    /// Its tensors, offsets and lifetimes decided.
    pub tensors: Vec<Tensor>,
    /// Input tensors.
    pub inputs: [u16; 2],
    /// Output tensors.
    pub outputs: [u16; 2],
    /// Elementary steps of a run, as the verifier counts them.
    pub work: u64,
    /// Multiply-accumulates of a run.
    pub macs: u64,
}

/// Everything that goes into a blob.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// The programs.
    pub programs: Vec<PlannedProgram>,
    /// The matrices that their dense layers name by index.
    pub matrices: Vec<QuantizedMatrix>,
    /// Order of the weights.
    pub packing: Packing,
    /// postcard-encoded metadata.
    pub meta: Vec<u8>,
}

impl Assembly {
    /// The blob, in words; its bytes are the words' little-endian bytes.
    pub fn words(&self) -> Vec<u32> {
        let (mut programs, mut tensors, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tensor_count, mut op_count, mut arena_len) = (0u32, 0u32, 0u32);
        for program in &self.programs {
            let record = ProgramRecord {
                kind: program.kind as u32,
                ops_start: op_count,
                ops_len: program.ops.len() as u32,
                tensors_start: tensor_count,
                tensors_len: program.tensors.len() as u32,
                inputs: program.inputs,
                outputs: program.outputs,
                work: program.work,
                macs: program.macs,
            };
            programs.extend(record.encode());
            tensors.extend(program.tensors.iter().flat_map(Tensor::encode));
            ops.extend(program.ops.iter().flat_map(Op::encode));
            tensor_count += record.tensors_len;
            op_count += record.ops_len;
            arena_len = program.tensors.iter().map(|t| t.offset + t.extent()).fold(arena_len, u32::max);
        }
        let (mut matrices, mut data) = (Vec::new(), Vec::new());
        for matrix in &self.matrices {
            let params = data.len() as u32;
            data.extend(pack_params(matrix.rows, |row| matrix.bias[row], |row| matrix.multiplier[row]));
            let weights = data.len() as u32;
            let weight = |row: usize, col: usize| matrix.weights[row * matrix.cols + col];
            data.extend(pack_weights(matrix.rows, matrix.cols, self.packing, weight));
            let record = Matrix {
                rows: matrix.rows as u32,
                cols: matrix.cols as u32,
                packing: Some(self.packing),
                input_bound: matrix.input_bound,
                output_bound: matrix.output_bound(),
                params,
                weights,
            };
            matrices.extend(record.encode());
        }
        let meta = self.meta.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        });

        let mut words = vec![0; HEADER_WORDS];
        words[0] = MAGIC;
        words[1] = FORMAT_VERSION;
        words[4] = arena_len;
        words[5] = self.programs.len() as u32;
        words[6] = tensor_count;
        words[7] = op_count;
        words[8] = self.matrices.len() as u32;
        words[9] = self.meta.len() as u32;
        words[10] = data.len() as u32;
        words.extend(programs);
        words.extend(tensors);
        words.extend(ops);
        words.extend(matrices);
        words.extend(meta);
        words.extend(data);
        seal(&mut words);
        words
    }
}

/// Writes the length and the checksum of a blob into its header.
pub fn seal(words: &mut [u32]) {
    words[2] = words.len() as u32;
    words[3] = elbo::crc32_words(&words[CHECKED_FROM..]);
}
