//! The records of a valid blob, read from its words as `docs/blob-format.md` lays them out.

use elbo::program::Opcode;

const HEADER: usize = 12;
const PROGRAM: usize = 12;
const TENSOR: usize = 4;
const OPERATION: usize = 4;
const MATRIX: usize = 6;

fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// A blob whose sections are known to be complete.
#[derive(Clone, Copy)]
pub struct Blob<'w> {
    words: &'w [u32],
    tensors: usize,
    operations: usize,
    matrices: usize,
    data: usize,
}

/// A program: its first operation and their number, its first tensor and their number, and its interface.
#[derive(Clone, Copy)]
pub struct Program {
    pub kind: u32,
    pub first: usize,
    pub operations: usize,
    pub tensor: usize,
    pub tensors: usize,
    pub inputs: [u16; 2],
    pub outputs: [u16; 2],
}

/// A tensor: its type, scale, bound, length and place.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    pub nats: bool,
    pub frac: u32,
    pub bound: u32,
    pub len: usize,
    pub at: usize,
}

impl Tensor {
    /// Its elements in an arena.
    pub fn read(&self, arena: &[i16]) -> Vec<i64> {
        let width = if self.nats { 4 } else { 1 };
        let halfwords = &arena[self.at..self.at + self.len * width];
        let element = |parts: &[i16]| match *parts {
            [a, b, c, d] => i64::from_le_bytes(bytemuck::cast([a, b, c, d].map(i16::to_le))),
            _ => i64::from(parts[0]),
        };
        halfwords.chunks(width).map(element).collect()
    }
}

/// An operation and its fields.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub opcode: Opcode,
    pub param: i32,
    pub output: u16,
    pub inputs: [u16; 3],
    pub arg: u16,
    pub imm: u32,
}

/// A matrix: its rows of weights, and the bias and multiplier of each row.
pub struct Matrix {
    pub rows: Vec<Vec<i64>>,
    pub bias: Vec<i64>,
    pub multiplier: Vec<i64>,
}

impl<'w> Blob<'w> {
    pub fn new(words: &'w [u32]) -> Self {
        let count = |field: usize| words[field] as usize;
        let tensors = HEADER + count(5) * PROGRAM;
        let operations = tensors + count(6) * TENSOR;
        let matrices = operations + count(7) * OPERATION;
        let metadata = matrices + count(8) * MATRIX;
        Self { words, tensors, operations, matrices, data: metadata + count(9).div_ceil(4) }
    }

    pub fn programs(&self) -> impl Iterator<Item = Program> {
        self.words[HEADER..self.tensors].chunks_exact(PROGRAM).map(|record| Program {
            kind: record[0],
            first: record[1] as usize,
            operations: record[2] as usize,
            tensor: record[3] as usize,
            tensors: record[4] as usize,
            inputs: halves(record[5]),
            outputs: halves(record[6]),
        })
    }

    pub fn tensor(&self, index: usize) -> Tensor {
        let record = &self.words[self.tensors + index * TENSOR..][..TENSOR];
        Tensor {
            nats: record[0] & 0xFF == 2,
            frac: record[0] >> 8 & 0xFF,
            bound: record[0] >> 16,
            len: record[1] as usize,
            at: record[2] as usize,
        }
    }

    pub fn operation(&self, index: usize) -> Operation {
        let record = &self.words[self.operations + index * OPERATION..][..OPERATION];
        let ([a, b], [c, arg]) = (halves(record[1]), halves(record[2]));
        Operation {
            opcode: Opcode::ALL[(record[0] & 0xFF) as usize - 1],
            param: i32::from((record[0] >> 8) as i8),
            output: (record[0] >> 16) as u16,
            inputs: [a, b, c],
            arg,
            imm: record[3],
        }
    }

    pub fn matrix(&self, index: usize) -> Matrix {
        let record = &self.words[self.matrices + index * MATRIX..][..MATRIX];
        let (rows, cols, interleaved) = (record[0] as usize, record[1] as usize, record[2] == 1);
        let parameter = |row: usize, of: usize| {
            let at = self.data + record[4] as usize + row / 4 * 8 + of * 4 + row % 4;
            i64::from(self.words[at] as i32)
        };
        let weights = self.data + record[5] as usize;
        let length = cols.div_ceil(4);
        let weight = |row: usize, col: usize| {
            let (word, byte) = if interleaved {
                (row / 4 * 4 * length + col / 4 * 4 + row % 4, [0, 2, 1, 3][col % 4])
            } else {
                (row * length + col / 4, col % 4)
            };
            i64::from(self.words[weights + word].to_le_bytes()[byte] as i8)
        };
        Matrix {
            rows: (0..rows).map(|row| (0..cols).map(|col| weight(row, col)).collect()).collect(),
            bias: (0..rows).map(|row| parameter(row, 0)).collect(),
            multiplier: (0..rows).map(|row| parameter(row, 1)).collect(),
        }
    }
}
