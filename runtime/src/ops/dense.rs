//! The dense layer: a matrix of the blob times a vector. The [kernels](crate::kernel) are its definition.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, apart};
use super::{Cost, Matrices, Operation, Steps, Transform};
use crate::exact::SLOW_PRODUCTS;
use crate::kernel;

pub(super) struct Dense;

impl Operation for Dense {
    const STEPS: Steps = Steps::of(120, 0);
    fn bound(o: &Step<'_>, matrices: &Matrices<'_>) -> Result<u16, OperandError> {
        Self::prove(o, matrices, &mut Cost::default())
    }

    #[inline(always)]
    fn prove(o: &Step<'_>, matrices: &Matrices<'_>, cost: &mut Cost) -> Result<u16, OperandError> {
        let matrix = matrices(o.op.arg).ok_or(OperandError::Kind)?;
        add_rows(matrix.rows, matrix.cols, cost);
        require(o.a().len() == matrix.cols && o.y().len() == matrix.rows, OperandError::Shape)?;
        require(o.a().bound() <= matrix.input_bound, OperandError::Bound)?;
        Ok(matrix.output_bound)
    }

    fn cost(o: &Step<'_>, matrices: &Matrices<'_>) -> Option<Cost> {
        let matrix = matrices(o.op.arg)?;
        let mut cost = Cost::default();
        add_rows(matrix.rows, matrix.cols, &mut cost);
        Some(cost)
    }
}

/// Steps of a row of a matrix, besides those of its weights.
const ROW: u32 = 5;

/// Adds the cost of all rows of a matrix to `cost`. A host may load 2^32 weights, so 32 bits are not always enough.
#[inline(never)]
fn add_rows(rows: u32, cols: u32, cost: &mut Cost) {
    let row = cols.saturating_add(3) & !3;
    let row = row.saturating_add(ROW);
    cost.add(if SLOW_PRODUCTS && (rows | row) >> 15 == 0 {
        Cost { work: u64::from(rows * row), macs: u64::from(rows * cols) }
    } else {
        Cost { work: u64::from(rows) * u64::from(row), macs: u64::from(rows) * u64::from(cols) }
    });
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
