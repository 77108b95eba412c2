//! Writes programs and blobs for tests and seeds. It panics if something cannot be written, because that is a mistake
//! in the test.

pub use elbo_writer::{Records, nats as nats_of, seal, vector as vector_of};

use elbo::coupling::CouplingStack;
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind, Tensor};
use elbo_writer::{BlobWriter, DenseLayer, ProgramWriter, WriteError};
use std::ops::{Deref, DerefMut};

#[track_caller]
fn written<T>(result: Result<T, WriteError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// A blob whose [records](Records) can be changed after they have been written.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    writer: BlobWriter,
}

impl Deref for Parts {
    type Target = Records;

    fn deref(&self) -> &Records {
        self.writer.records()
    }
}

impl DerefMut for Parts {
    fn deref_mut(&mut self) -> &mut Records {
        self.writer.records_mut()
    }
}

impl Parts {
    /// Starts an empty blob.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a matrix and returns its index.
    pub fn matrix(
        &mut self,
        [rows, cols]: [usize; 2],
        packing: Packing,
        input_bound: u16,
        weight: impl Fn(usize, usize) -> i8,
        bias: impl Fn(usize) -> i32,
        multiplier: impl Fn(usize) -> i32,
    ) -> u16 {
        let weights: Vec<i8> = (0..rows * cols).map(|at| weight(at / cols, at % cols)).collect();
        let (bias, multiplier): (Vec<i32>, Vec<i32>) = (0..rows).map(|row| (bias(row), multiplier(row))).unzip();
        let (weights, bias, multiplier) = (&weights[..], &bias[..], &multiplier[..]);
        written(self.writer.matrix(&DenseLayer { rows, cols, weights, bias, multiplier, packing, input_bound }))
    }

    /// Adds a program that `write` appends operation by operation.
    pub fn program(&mut self, kind: ProgramKind, write: impl FnOnce(&mut Program<'_>)) {
        let mut program = Program { writer: ProgramWriter::new(kind, self.writer.matrices()) };
        // The seeds of every release place a log-determinant or scratch before the output of its operation.
        program.writer.extra_first();
        write(&mut program);
        let program = written(program.writer.finish());
        written(self.writer.add(&program));
    }
}

/// A program that is being written. Every tensor gets a place of its own unless the operation works in place.
#[derive(Debug)]
pub struct Program<'m> {
    writer: ProgramWriter<'m>,
}

impl Program<'_> {
    /// The next input vector.
    pub fn input(&mut self, len: u32, frac: u8, bound: u16) -> u16 {
        written(self.writer.input(len, frac, bound))
    }

    /// Declares the outputs.
    pub fn outputs(&mut self, outputs: &[u16]) {
        written(self.writer.outputs(outputs));
    }

    /// A dense layer.
    pub fn dense(&mut self, a: u16, matrix: u16, frac: u8) -> u16 {
        written(self.writer.dense(a, matrix, frac))
    }

    /// An operation on vectors whose output has the length of the first input.
    pub fn map(&mut self, opcode: Opcode, inputs: &[u16], frac: u8, param: i8) -> u16 {
        written(self.writer.map(opcode, inputs, frac, param))
    }

    /// The same, with the output in the place of the first input.
    pub fn map_in_place(&mut self, opcode: Opcode, inputs: &[u16], frac: u8, param: i8) -> u16 {
        written(self.writer.map_in_place(opcode, inputs, frac, param))
    }

    /// A clamp.
    pub fn clamp(&mut self, a: u16, frac: u8, low: i16, high: i16) -> u16 {
        written(self.writer.clamp(a, frac, low, high))
    }

    /// Noise.
    pub fn normal(&mut self, len: u32) -> u16 {
        written(self.writer.normal(len))
    }

    /// An operation whose output is a scalar.
    pub fn scalar(&mut self, opcode: Opcode, inputs: &[u16], param: i8) -> u16 {
        written(self.writer.scalar(opcode, inputs, param))
    }

    /// Any operation with the given record and output. The inputs and the output's bound are filled in.
    pub fn op(&mut self, mut op: Op, inputs: &[u16], output: Tensor) -> u16 {
        op.inputs[..inputs.len()].copy_from_slice(inputs);
        written(self.writer.append(op, output))
    }

    /// The same, or `None` if the operation refuses its operands.
    pub fn try_op(&mut self, mut op: Op, inputs: &[u16], output: Tensor) -> Option<u16> {
        op.inputs[..inputs.len()].copy_from_slice(inputs);
        self.writer.append(op, output).ok()
    }

    /// The operations appended so far.
    pub fn ops(&self) -> &[Op] {
        self.writer.ops()
    }

    /// The second tensor that the last operation wrote.
    pub fn extra(&self) -> u16 {
        let last = self.writer.ops().last();
        last.and_then(|op| self.writer.extra_of(op.output)).unwrap_or(NO_TENSOR)
    }

    /// A stack of affine couplings. Its matrices start at index `matrix`, and hidden layers have at most `widest`
    /// units. Returns the image and the log-determinant.
    pub fn couplings(&mut self, stack: CouplingStack, matrix: u16, widest: usize, z: u16, frac: u8) -> (u16, u16) {
        let len = self.writer.tensors()[usize::from(z)].len;
        let whole = written(self.writer.couplings(stack, matrix, widest, z, frac));
        let log_det = self.extra();
        (self.slice(whole, 0, len), log_det)
    }

    /// `len` elements, starting at `start`.
    pub fn slice(&mut self, a: u16, start: u32, len: u32) -> u16 {
        written(self.writer.slice(a, start, len))
    }

    /// Concatenates two vectors.
    pub fn concat(&mut self, a: u16, b: u16, frac: u8) -> u16 {
        written(self.writer.concat(a, b, frac))
    }

    /// A vector with `value` at the index of the loop's iteration and zeros elsewhere.
    pub fn one_hot(&mut self, len: u32, frac: u8, value: u32) -> u16 {
        written(self.writer.one_hot(len, frac, value))
    }

    /// The elementwise mean of the vectors of `len` elements that a loop has collected.
    pub fn mean_vectors(&mut self, a: u16, len: u32) -> u16 {
        written(self.writer.mean_vectors(a, len))
    }

    /// A scalar plus a Q16 constant.
    pub fn offset(&mut self, a: u16, constant: i32) -> u16 {
        written(self.writer.offset(a, constant))
    }

    /// A planar or radial flow. [`extra`](Self::extra) then gives its log-determinant.
    pub fn flow(&mut self, opcode: Opcode, z: u16, params: u16, inverse: bool) -> u16 {
        written(self.writer.flow(opcode, z, params, inverse))
    }

    /// A convolution whose phases have the matrices from index `matrix` on.
    pub fn conv(&mut self, a: u16, matrix: u16, geometry: ConvGeometry, frac: u8) -> u16 {
        written(self.writer.conv(a, matrix, geometry, frac))
    }

    /// Opens a loop and returns its output, a vector of scalars.
    pub fn begin(&mut self, count: u32) -> u16 {
        written(self.writer.begin(count))
    }

    /// Opens a loop that collects vectors of `len` activations.
    pub fn begin_vectors(&mut self, count: u32, len: u32, frac: u8) -> u16 {
        written(self.writer.begin_vectors(count, len, frac))
    }

    /// Ends the loop with the output `vector`, which collects `a`.
    pub fn end(&mut self, vector: u16, a: u16) {
        assert_eq!(written(self.writer.end(a)), vector, "another loop is the innermost");
    }
}
