//! Log-densities and sums over activations in Q16 nats. The sums are exact in 64 bits, so their order does not matter.
//!
//! Lengths and scales must be those that the table of operations requires. Then no sum overflows.

use super::bounds::{OperandError, bits, q16_log2, square_log2, sum_log2};
use super::machine::{Step, Values, activation_to_q16};
use super::{Matrices, Operation, Reduction, Steps};
use crate::{exact, fixed};

pub(super) struct Kl;
pub(super) struct HalfSumSq;
pub(super) struct Sum;

impl Operation for Kl {
    const STEPS: Steps = Steps::of(124, 19);
    const ERROR: &'static str = "1 + n / 4 LSB + 2^-26 of the variances' part";
    /// exp(16) 2^16 < 2^40 covers the three terms other than the square.
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), square_log2(o.a()).max(40)) + 2)
    }
}

impl Reduction for Kl {
    fn nats(values: &Values<'_>) -> i64 {
        let [mu, logvar, _] = values.vectors;
        kl(mu, values.frac(0), logvar, values.frac(1))
    }
}

impl Operation for HalfSumSq {
    const STEPS: Steps = Steps::of(112, 1);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), square_log2(o.a())))
    }
}

impl Reduction for HalfSumSq {
    fn nats(values: &Values<'_>) -> i64 {
        half_sum_sq(values.vectors[0], values.frac(0))
    }
}

impl Operation for Sum {
    const STEPS: Steps = Steps::of(112, 1);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), q16_log2(bits(o.a()), o.read())))
    }
}

impl Reduction for Sum {
    fn nats(values: &Values<'_>) -> i64 {
        sum(values.vectors[0], values.read())
    }
}

/// 1.0 in Q16.
const ONE: i64 = 1 << 16;
/// Converts a sum below 2^47 at `frac` fractional bits, at most 31, to Q16, rounding half up.
#[inline(never)]
pub(super) fn sum_to_q16(sum: i64, frac: u32) -> i64 {
    // Only a changed flash has more bits.
    let frac = frac.min(31);
    exact::add_64(sum << 16, i64::from((1u32 << frac) >> 1)) >> frac
}

pub(super) fn halve(sum: i64) -> i64 {
    exact::add_64(sum, 1) >> 1
}

/// `difference^2 precision` in Q16, for a difference at `frac` bits and a precision at 32 bits: below 2^56 for a
/// precision of at most e^16. The precision is truncated to 25 significant bits, so that its product with a square below
/// 2^32 fits 64 bits.
#[cfg(any(feature = "gaussian", feature = "robust"))]
pub(super) fn scaled_square(difference: u32, precision: u64, frac: u32) -> i64 {
    let drop = 39u32.saturating_sub(precision.leading_zeros());
    let square = u64::from(difference) * u64::from(difference);
    let product = square.wrapping_mul(precision >> drop);
    // frac >= 8 and drop <= 30 give a right shift of at least 2.
    // Only a changed flash contains more than 16 bits.
    let shift = (2 * frac.min(16) + 16).saturating_sub(drop);
    ((product >> shift.saturating_sub(1)).wrapping_add(1) >> 1) as i64
}

/// `difference precision` in Q16, for a difference at `frac` bits and a precision at 32 bits: below 2^50 for a precision of
/// at most e^16. The precision is truncated to 32 significant bits.
#[cfg(any(feature = "logistic", feature = "robust"))]
pub(super) fn scaled_distance(difference: u32, precision: u64, frac: u32) -> i64 {
    let drop = 32u32.saturating_sub(precision.leading_zeros());
    // 17 bits times 32 bits. frac >= 8 and drop <= 24 give no left shift.
    let product = u64::from(difference) * (precision >> drop);
    // Only a changed flash contains more than 16 bits.
    let shift = (frac.min(16) + 16).saturating_sub(drop);
    ((((product << 1) >> shift) + 1) >> 1) as i64
}

/// `1/2 sum [mu^2 + exp(logvar) - 1 - logvar]`: KL(N(mu, exp logvar) || N(0, I)) (Kingma & Welling, arXiv 1312.6114, appendix B).
pub fn kl(mu: &[i16], mu_frac: u32, logvar: &[i16], logvar_frac: u32) -> i64 {
    // Only a changed flash has vectors of different lengths.
    let logvar = logvar.get(..mu.len()).unwrap_or(logvar);
    let mut variances = 0i64;
    for &logvar in logvar {
        let variance = fixed::exp(activation_to_q16(logvar, logvar_frac), 16) as i64;
        variances = exact::add_64(variances, variance - ONE);
    }
    let positive = exact::add_64(sum_to_q16(sum_of_squares(mu), 2 * mu_frac), variances);
    halve(exact::sub_64(positive, sum(logvar, logvar_frac)))
}

/// `1/2 sum x^2`.
pub fn half_sum_sq(x: &[i16], frac: u32) -> i64 {
    sum_to_q16(sum_of_squares(x), 2 * frac + 1)
}

#[inline(never)]
fn sum_of_squares(x: &[i16]) -> i64 {
    x.iter().map(|&x| i64::from(i32::from(x) * i32::from(x))).sum()
}

/// `sum x`.
#[inline(never)]
pub fn sum(x: &[i16], frac: u32) -> i64 {
    sum_to_q16(x.iter().map(|&x| i64::from(x)).sum(), frac)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn nats(q16: i64) -> f64 {
        q16 as f64 / 65536.0
    }

    pub fn value(q: i16, frac: u32) -> f64 {
        f64::from(q) / f64::from(1u32 << frac)
    }

    proptest! {
        #[test]
        fn kl_matches_floating_point(dims in prop::collection::vec((any::<i16>(), -24576i16..8192), 1..40)) {
            let (mu, logvar): (Vec<i16>, Vec<i16>) = dims.into_iter().unzip();
            let exact: f64 = mu.iter().zip(&logvar).map(|(&mu, &lv)| {
                let (mu, lv) = (value(mu, 11), value(lv, 11));
                0.5 * (mu * mu + lv.exp() - 1.0 - lv)
            }).sum();
            let got = nats(kl(&mu, 11, &logvar, 11));
            prop_assert!((got - exact).abs() < 1e-5 * exact + 2e-5 * mu.len() as f64, "{got} {exact}");
            prop_assert!(got >= -2e-5 * mu.len() as f64);
        }

        #[test]
        fn sums_are_exact(x in prop::collection::vec(any::<i16>(), 1..100), frac in 0u32..=15) {
            let exact: f64 = x.iter().map(|&x| value(x, frac)).sum();
            prop_assert!((nats(sum(&x, frac)) - exact).abs() <= 0.5 / 65536.0);
            let exact: f64 = x.iter().map(|&x| value(x, frac).powi(2)).sum::<f64>() / 2.0;
            prop_assert!((nats(half_sum_sq(&x, frac)) - exact).abs() <= 0.5 / 65536.0);
        }
    }
}
