//! The dense layer: a matrix of the blob times a vector. The [kernels](crate::kernel) are its definition.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, apart};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::kernel;
use crate::ops::record::Matrix;

pub(super) struct Dense;

impl Operation for Dense {
    const STEPS: Steps = Steps::of(120, 0);
    fn bound(o: &Step<'_>, matrices: &Matrices<'_>) -> Result<u16, OperandError> {
        Self::prove(o, matrices, &mut Count::default())
    }

    #[inline(always)]
    fn prove(o: &Step<'_>, matrices: &Matrices<'_>, cost: &mut Count) -> Result<u16, OperandError> {
        let matrix = matrices(o.op.arg).ok_or(OperandError::Kind)?;
        cost.add(cost_of(&matrix));
        require(o.a().len() == matrix.cols && o.y().len() == matrix.rows, OperandError::Shape)?;
        require(o.a().bound() <= matrix.input_bound, OperandError::Bound)?;
        Ok(matrix.output_bound)
    }

    fn cost(o: &Step<'_>, matrices: &Matrices<'_>) -> Count {
        matrices(o.op.arg).map_or(Count::of_steps(0), |matrix| cost_of(&matrix))
    }
}

/// Steps of a row of a matrix, besides those of its weights.
const ROW: usize = 5;

/// The cost of all rows of a matrix.
#[inline(never)]
fn cost_of(matrix: &Matrix) -> Count {
    let (rows, cols) = (matrix.rows as usize, matrix.cols as usize);
    let row = (cols.saturating_add(3) & !3).saturating_add(ROW);
    Count { work: product(rows, row), macs: rows.wrapping_mul(cols) }
}

impl Transform for Dense {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let _ = multiply(machine, step);
    }
}

#[inline(never)]
fn multiply(machine: &mut Machine<'_, '_>, step: &Step<'_>) -> Option<()> {
    let matrix = machine.scope.dense_matrix(step.op.arg)?;
    let (x, out) = apart(machine.arena, step.a(), step.y())?;
    kernel::dense(&matrix, x, out);
    Some(())
}
