//! Methods that append one operation each.

use super::ProgramWriter;
use crate::error::WriteError;
use elbo::bounds::OperandError;
use elbo::coupling::CouplingStack;
use elbo::kernel::ConvGeometry;
use elbo::normal;
use elbo::program::{NO_TENSOR, Op, Opcode, Tensor, TensorKind};

/// The record of an operation with its code and at most three inputs.
pub fn operation(opcode: Opcode, inputs: &[u16]) -> Op {
    let mut op = Op { opcode, param: 0, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm: 0 };
    for (slot, input) in op.inputs.iter_mut().zip(inputs) {
        *slot = *input;
    }
    op
}

/// A vector of activations, to be written by an operation.
pub fn vector(len: u32, frac: u8) -> Tensor {
    Tensor { kind: TensorKind::I16, frac, len, ..Tensor::default() }
}

/// A vector of scalars in nats, to be written by an operation.
pub fn nats(len: u32) -> Tensor {
    Tensor { kind: TensorKind::Nats, frac: 16, len, ..Tensor::default() }
}

/// Every method appends one operation and returns its output. [`WriteError`] says why an operation is refused.
/// [`Opcode`] explains the operations and the fields of their records. `frac` is the number of fractional bits of the
/// output.
impl ProgramWriter<'_> {
    /// A dense layer with the matrix of this index.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn dense(&mut self, a: u16, matrix: u16, frac: u8) -> Result<u16, WriteError> {
        let op = Op { arg: matrix, ..operation(Opcode::Dense, &[a]) };
        let rows = self.matrix(matrix).ok_or_else(|| self.refused(op.opcode, OperandError::Kind))?.rows;
        self.append(op, vector(rows, frac))
    }

    /// An operation on vectors whose output has the length of the first input.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn map(&mut self, opcode: Opcode, inputs: &[u16], frac: u8, param: i8) -> Result<u16, WriteError> {
        let op = Op { param, ..operation(opcode, inputs) };
        self.append(op, vector(self.len_of_first(&op), frac))
    }

    /// The same as [`map`](Self::map), with the output in the place of the first input.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn map_in_place(&mut self, opcode: Opcode, inputs: &[u16], frac: u8, param: i8) -> Result<u16, WriteError> {
        let op = Op { param, ..operation(opcode, inputs) };
        self.append_in_place(op, vector(self.len_of_first(&op), frac))
    }

    /// An operation whose output is a scalar in nats.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn scalar(&mut self, opcode: Opcode, inputs: &[u16], param: i8) -> Result<u16, WriteError> {
        self.append(Op { param, ..operation(opcode, inputs) }, nats(1))
    }

    /// A scalar plus a Q16 constant.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn offset(&mut self, a: u16, constant: i32) -> Result<u16, WriteError> {
        self.append(Op { imm: constant as u32, ..operation(Opcode::Offset, &[a]) }, nats(1))
    }

    /// `a` rounded to the output's scale and clamped to `[low, high]` there.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn clamp(&mut self, a: u16, frac: u8, low: i16, high: i16) -> Result<u16, WriteError> {
        let op = Op { imm: Op::interval_imm(low, high), ..operation(Opcode::Clamp, &[a]) };
        self.append(op, vector(self.len_of_first(&op), frac))
    }

    /// Standard normal noise.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn normal(&mut self, len: u32) -> Result<u16, WriteError> {
        self.append(operation(Opcode::Normal, &[]), vector(len, normal::FRAC as u8))
    }

    /// `len` elements of `a`, starting at `start`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn slice(&mut self, a: u16, start: u32, len: u32) -> Result<u16, WriteError> {
        let frac = self.tensor(a).frac;
        self.append(Op { imm: start, ..operation(Opcode::Slice, &[a]) }, vector(len, frac))
    }

    /// Concatenates two vectors.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn concat(&mut self, a: u16, b: u16, frac: u8) -> Result<u16, WriteError> {
        let len = self.tensor(a).len.saturating_add(self.tensor(b).len);
        self.append(operation(Opcode::Concat, &[a, b]), vector(len, frac))
    }

    /// A vector with `value` at the index of the innermost loop's iteration and zeros elsewhere.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn one_hot(&mut self, len: u32, frac: u8, value: u32) -> Result<u16, WriteError> {
        self.append(Op { imm: value, ..operation(Opcode::OneHot, &[]) }, vector(len, frac))
    }

    /// The elementwise mean of the vectors of `len` elements that a loop has collected in `a`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn mean_vectors(&mut self, a: u16, len: u32) -> Result<u16, WriteError> {
        let frac = self.tensor(a).frac;
        self.append(operation(Opcode::MeanVec, &[a]), vector(len, frac))
    }

    /// A planar or radial flow, or its inverse. [`extra_of`](Self::extra_of) the output gives its log-determinant.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn flow(&mut self, opcode: Opcode, z: u16, params: u16, inverse: bool) -> Result<u16, WriteError> {
        let Tensor { len, frac, .. } = self.tensor(z);
        self.append(Op { param: i8::from(inverse), ..operation(opcode, &[z, params]) }, vector(len, frac))
    }

    /// A stack of affine couplings. Its matrices start at index `matrix`, and its hidden layers have at most `widest`
    /// units. The output is the image followed by zeros; take the image with [`slice`](Self::slice).
    /// [`extra_of`](Self::extra_of) the output gives the log-determinant.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn couplings(
        &mut self,
        stack: CouplingStack,
        matrix: u16,
        widest: usize,
        z: u16,
        frac: u8,
    ) -> Result<u16, WriteError> {
        let len = CouplingStack::output_len(self.tensor(z).len as usize, widest) as u32;
        let (imm, param) = stack.pack();
        self.append(Op { param, imm, arg: matrix, ..operation(Opcode::Couplings, &[z]) }, vector(len, frac))
    }

    /// A convolution whose phases have the matrices from index `matrix` on. Its scratch tensor is created with it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn conv(&mut self, a: u16, matrix: u16, geometry: ConvGeometry, frac: u8) -> Result<u16, WriteError> {
        let (imm, param) = geometry.pack();
        let op = Op { param, imm, arg: matrix, ..operation(Opcode::Conv, &[a]) };
        let len = self.matrix(matrix).and_then(|matrix| geometry.output_len(matrix.rows));
        let len = len.ok_or_else(|| self.refused(op.opcode, OperandError::Shape))?;
        self.append(op, vector(len, frac))
    }

    /// Opens a loop of `count` iterations that collects one scalar of each. Returns the loop's output, which may be
    /// read after the loop's [end](Self::end).
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn begin(&mut self, count: u32) -> Result<u16, WriteError> {
        self.append(Op { imm: count, ..operation(Opcode::Loop, &[]) }, nats(count))
    }

    /// Opens a loop that collects a vector of `len` activations of each iteration. They are stored one after another.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn begin_vectors(&mut self, count: u32, len: u32, frac: u8) -> Result<u16, WriteError> {
        let op = Op { imm: count, ..operation(Opcode::Loop, &[]) };
        self.append(op, vector(count.saturating_mul(len), frac))
    }

    fn len_of_first(&self, op: &Op) -> u32 {
        let [a, ..] = op.inputs;
        self.tensor(a).len
    }
}
