//! The Gaussian likelihood of a mean and a log-variance.

use super::bounds::{OperandError, sum_log2, to_q16};
use super::density::{halve, scaled_square};
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::{exact, fixed};

pub(super) struct GaussianNll;

impl Operation for GaussianNll {
    const STEPS: Steps = Steps::of(120, 28);
    const ERROR: &'static str = "0.5 (n + 1) LSB + 2^-24 of the squared errors' part; ln 2 pi is 120449 / 2^16";
    const LIMIT: &'static str = "2^27 nats for each element";
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), GAUSSIAN_TERM_LOG2 + 1))
    }
}

impl Reduction for GaussianNll {
    fn nats(values: &Values<'_>) -> i64 {
        let [mean, logvar, x] = values.vectors;
        gaussian_nll(mean, logvar, values.frac(1), x, values.frac(2))
    }
}

/// log2 of twice the largest contribution of one dimension to a Gaussian negative log-likelihood, Q16: 2^28 nats.
const GAUSSIAN_TERM_LOG2: u32 = 44;

/// ln(2 pi) in Q16, 1.9 LSB too large. The scores of existing models contain it, so the format keeps it.
const LN_2PI: i64 = 120_449;

/// `1/2 sum [(x - mean)^2 exp(-logvar) + logvar + ln 2 pi]`. A dimension contributes at most 2^27 nats. The whole
/// contribution is limited, because a limit of the squared error alone would make a hopeless value likelier with a
/// smaller variance. The error is at most 1.5 LSB per dimension plus 2^-24 of the squared errors plus half
/// an LSB.
pub fn gaussian_nll(mean: &[i16], logvar: &[i16], logvar_frac: u32, x: &[i16], x_frac: u32) -> i64 {
    let mut sum = 0i64;
    for ((&mean, &logvar), &x) in mean.iter().zip(logvar).zip(x) {
        let difference = (i32::from(x) - i32::from(mean)).unsigned_abs();
        let logvar = to_q16(i32::from(logvar), logvar_frac);
        let square = scaled_square(difference, fixed::exp(-logvar, 32), x_frac);
        sum = exact::add_64(sum, (square + i64::from(logvar) + LN_2PI).min(1 << GAUSSIAN_TERM_LOG2));
    }
    halve(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::density::tests::{nats, value};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gaussian_matches_floating_point(dims in prop::collection::vec((any::<i16>(), any::<i16>(), any::<i16>()), 1..40)) {
            let mean: Vec<i16> = dims.iter().map(|d| d.0 / 4).collect();
            let logvar: Vec<i16> = dims.iter().map(|d| d.1 / 2).collect();
            let x: Vec<i16> = dims.iter().map(|d| d.2 / 4).collect();
            // The squares and the log-variances may cancel, and each of them is right by itself.
            let (mut exact, mut size) = (0.0, 0.0);
            for i in 0..x.len() {
                let square = (value(x[i], 11) - value(mean[i], 11)).powi(2) * (-value(logvar[i], 11)).exp();
                exact += 0.5 * (square + value(logvar[i], 11) + std::f64::consts::TAU.ln());
                size += 0.5 * (square + value(logvar[i], 11).abs() + std::f64::consts::TAU.ln());
            }
            let got = nats(gaussian_nll(&mean, &logvar, 11, &x, 11));
            prop_assert!((got - exact).abs() < 1e-5 * size + 2e-5 * x.len() as f64, "{got} {exact}");
        }
    }

    #[test]
    fn a_hopeless_dimension_saturates() {
        let far = gaussian_nll(&[i16::MIN], &[i16::MIN], 11, &[i16::MAX], 8);
        assert_eq!(far, 1 << 43);
        assert_eq!(gaussian_nll(&[i16::MIN; 3], &[i16::MIN; 3], 11, &[i16::MAX; 3], 8), 3 << 43);
    }
}
