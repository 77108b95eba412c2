//! The dense layer: a matrix of the blob times a vector. The [kernels](crate::kernel) are its definition.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, apart};
use super::{Cost, Matrices, Operation, Transform};
use crate::kernel;
use crate::ops::record::{Matrix, Op};

pub(super) struct Dense;

impl Operation for Dense {
    fn bound(o: &Step, matrices: &Matrices<'_>) -> Result<u16, OperandError> {
        let matrix = matrices(o.op.arg).ok_or(OperandError::Kind)?;
        require(o.a().len == matrix.cols && o.y().len == matrix.rows, OperandError::Shape)?;
        require(o.a().bound <= matrix.input_bound, OperandError::Bound)?;
        Ok(matrix.output_bound)
    }

    fn cost(op: &Op, _: u32, _: u32, matrices: &Matrices<'_>) -> Cost {
        matrices(op.arg).map_or(Cost::default(), |matrix| {
            let macs = macs(&matrix);
            Cost { work: macs + u64::from(matrix.rows), macs }
        })
    }
}

/// Multiply-accumulates without padding. A host may load 2^32 weights, so 32 bits are not enough.
fn macs(matrix: &Matrix) -> u64 {
    u64::from(matrix.rows) * u64::from(matrix.cols)
}

impl Transform for Dense {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step) {
        let _ = multiply(machine, step);
    }
}

#[inline(never)]
fn multiply(machine: &mut Machine<'_, '_>, step: &Step) -> Option<()> {
    let matrix = machine.scope.dense_matrix(step.op.arg)?;
    let (x, out) = apart(machine.arena, step.a(), step.y())?;
    kernel::dense(&matrix, x, out);
    Some(())
}
