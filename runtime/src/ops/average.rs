//! Averages of the scalars that a loop collects.

use super::bounds::{MAX_LOG2, OperandError, require, sum_log2};
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::fixed;

pub(super) struct Mean;
pub(super) struct LogMeanExp;

impl Operation for Mean {
    const STEPS: Steps = Steps::of(272, 6);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(sum_log2(o.a().len(), o.a().bound().into()) <= MAX_LOG2, OperandError::Bound)?;
        Ok(o.a().bound())
    }
}

impl Reduction for Mean {
    fn nats(values: &Values<'_>) -> i64 {
        fixed::mean(values.terms())
    }
}

impl Operation for LogMeanExp {
    const STEPS: Steps = Steps::of(140, 29);
    const ERROR: &'static str = "0.55 LSB";
    /// Rounding can exceed the range of the terms by a few LSB.
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound() + 1)
    }
}

impl Reduction for LogMeanExp {
    fn nats(values: &Values<'_>) -> i64 {
        fixed::log_mean_exp(values.terms())
    }
}
