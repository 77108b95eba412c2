//! The records of one program, and the constants that its operations use.

use super::Count;
use super::machine::Step;
use super::record::{MAX_TENSOR_LEN, Matrix, Op, OpRecord, Operand, TensorRecord};
use crate::kernel::DenseMatrix;

/// One program's records.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope<'b> {
    pub ops: &'b [OpRecord],
    pub tensors: &'b [TensorRecord],
    pub matrices: &'b [u32],
    pub data: &'b [u32],
    pub tensors_start: u16,
    pub ops_start: u16,
}

impl<'b> Scope<'b> {
    /// Number of tensors.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// A tensor by its reference.
    #[inline(never)]
    pub fn tensor(&self, reference: u16) -> Operand<'b> {
        self.operand(reference)
    }

    #[inline(always)]
    fn operand(&self, reference: u16) -> Operand<'b> {
        self.tensors.get(usize::from(reference)).map_or(Operand::NONE, Operand)
    }

    /// An operation with its tensors.
    #[inline(never)]
    pub fn step(&self, index: usize) -> Step<'b> {
        let op = Op::at(self.ops, index);
        let [a, b, c] = op.inputs;
        Step { op, tensors: [self.operand(a), self.operand(b), self.operand(c), self.operand(op.output)] }
    }

    /// Number of operations.
    pub fn op_count(&self) -> usize {
        self.ops.len()
    }

    /// The cost of one execution of an operation.
    #[inline]
    pub fn cost(&self, step: &Step<'_>) -> Count {
        step.cost(&|index| self.matrix(index))
    }

    /// A matrix, or `None` if it does not exist or its sides are beyond the proof's limits.
    pub fn matrix(&self, index: u16) -> Option<Matrix> {
        let matrix = Matrix::read(self.matrices, usize::from(index));
        let side = 1..=MAX_TENSOR_LEN;
        (side.contains(&matrix.rows) && side.contains(&matrix.cols)).then_some(matrix)
    }

    /// The constants of a matrix, for the kernels, which use as many words as the matrix has.
    pub fn dense_matrix(&self, index: u16) -> Option<DenseMatrix<'b>> {
        let matrix = self.matrix(index)?;
        Some(DenseMatrix {
            rows: matrix.rows as usize,
            cols: matrix.cols as usize,
            packing: matrix.packing?,
            weights: self.data.get(matrix.weights as usize..)?,
            params: self.data.get(matrix.params as usize..)?,
        })
    }
}
