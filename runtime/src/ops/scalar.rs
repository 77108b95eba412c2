//! Arithmetic of scalars in nats.

use super::bounds::{MAX_LOG2, OperandError, require, sum_log2};
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::{exact, fixed};

pub(super) struct Add;
pub(super) struct Sub;
pub(super) struct Neg;
pub(super) struct Offset;
pub(super) struct Mean;
pub(super) struct LogMeanExp;

impl Operation for Add {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(o.b().bound()) + 1)
    }
}

impl Reduction for Add {
    fn nats(values: &Values<'_>) -> i64 {
        exact::add_64(values.scalars[0], values.scalars[1])
    }
}

impl Operation for Sub {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(o.b().bound()) + 1)
    }
}

impl Reduction for Sub {
    fn nats(values: &Values<'_>) -> i64 {
        exact::sub_64(values.scalars[0], values.scalars[1])
    }
}

impl Operation for Neg {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound())
    }
}

impl Reduction for Neg {
    fn nats(values: &Values<'_>) -> i64 {
        exact::sub_64(0, values.scalars[0])
    }
}

impl Operation for Offset {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(31) + 1)
    }
}

impl Reduction for Offset {
    fn nats(values: &Values<'_>) -> i64 {
        exact::add_64(values.scalars[0], i64::from(values.op().imm as i32))
    }
}

impl Operation for Mean {
    const STEPS: Steps = Steps::of(272, 6);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(sum_log2(o.a().len(), o.a().bound().into()) <= MAX_LOG2, OperandError::Bound)?;
        Ok(o.a().bound())
    }
}

impl Reduction for Mean {
    fn nats(values: &Values<'_>) -> i64 {
        mean(values.terms())
    }
}

impl Operation for LogMeanExp {
    const STEPS: Steps = Steps::of(140, 29);
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

/// Mean of at most 65536 scalars, rounded half up; 0 if there are none.
pub(super) fn mean(terms: impl Iterator<Item = i64>) -> i64 {
    let (sum, count) = terms.fold((0i64, 0u32), |(sum, count), term| (exact::add_64(sum, term), count + 1));
    // floor((sum + count / 2) / count). Ones' complement gives the floor of a negative sum.
    let sum = exact::add_64(sum, i64::from(count / 2));
    let sign = sum >> 63;
    fixed::divide((sum ^ sign) as u64, count.max(1)) as i64 ^ sign
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn mean_is_rounded_to_nearest(terms in prop::collection::vec(-(1i64 << 40)..1 << 40, 1..100)) {
            let exact = terms.iter().sum::<i64>() as f64 / terms.len() as f64;
            prop_assert!((mean(terms.iter().copied()) as f64 - exact).abs() <= 0.501);
        }
    }

    #[test]
    fn means_round_half_up() {
        assert_eq!(mean([].into_iter()), 0);
        assert_eq!([mean([1, 2].into_iter()), mean([-1, -2].into_iter()), mean([-1, -1, 0].into_iter())], [2, -1, -1]);
    }
}
