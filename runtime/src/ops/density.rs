//! Log-densities and sums over activations in Q16 nats. The sums are exact in 64 bits, so their order does not matter.
//!
//! Lengths and scales must be those that the table of operations requires. Then no sum overflows.

use super::bounds::{OperandError, bits, q16_log2, square_log2, sum_log2, to_q16};
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::{exact, fixed};

pub(super) struct BernoulliNll;
pub(super) struct GaussianNll;
pub(super) struct Kl;
pub(super) struct HalfSumSq;
pub(super) struct Sum;

impl Operation for BernoulliNll {
    const STEPS: Steps = Steps::of(116, 11);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let fit = q16_log2(bits(o.a()) + bits(o.b()), u32::from(o.a().frac()) + u32::from(o.b().frac()));
        Ok(sum_log2(o.a().len(), fit.max(32)) + 1)
    }
}

impl Reduction for BernoulliNll {
    fn nats(values: &Values<'_>) -> i64 {
        let [logits, x, _] = values.vectors;
        bernoulli_nll(logits, values.frac(0), x, values.frac(1))
    }
}

impl Operation for GaussianNll {
    const STEPS: Steps = Steps::of(120, 28);
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

impl Operation for Kl {
    const STEPS: Steps = Steps::of(124, 19);
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

/// log2 of twice the largest contribution of one dimension to a Gaussian negative log-likelihood, Q16: 2^28 nats.
const GAUSSIAN_TERM_LOG2: u32 = 44;

/// 1.0 in Q16.
const ONE: i64 = 1 << 16;
/// ln(2 pi) in Q16, 1.9 LSB too large. The scores of existing models contain it, so the format keeps it.
const LN_2PI: i64 = 120_449;
/// Converts a sum at `frac` fractional bits, at most 31, to Q16, rounding half up.
#[inline(never)]
fn sum_to_q16(sum: i64, frac: u32) -> i64 {
    let (up, down) = (16u32.saturating_sub(frac), frac.saturating_sub(16) & 15);
    let half = (1i64 << down) >> 1;
    exact::add_64(sum << up, half) >> down
}

fn halve(sum: i64) -> i64 {
    exact::add_64(sum, 1) >> 1
}

/// `- sum [x l - softplus(l)]`: Bernoulli negative log-likelihood of `x` under `logits`. The error is below 3e-5 per
/// pixel. A sigmoid with 8 bits would instead lose about 3 nats over 784 pixels of certain value.
pub fn bernoulli_nll(logits: &[i16], logits_frac: u32, x: &[i16], x_frac: u32) -> i64 {
    let mut normaliser = 0i64;
    let mut fit = 0i64;
    for (&l, &x) in logits.iter().zip(x) {
        normaliser += i64::from(fixed::softplus(to_q16(i32::from(l), logits_frac)));
        fit += i64::from(i32::from(l) * i32::from(x));
    }
    normaliser - sum_to_q16(fit, logits_frac + x_frac)
}

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

/// `difference^2 precision` in Q16, for a difference at `frac` bits and a precision at 32 bits: below 2^56 for a
/// precision of at most e^16. The precision is truncated to 25 significant bits, so that its product with a square below
/// 2^32 fits 64 bits.
pub(super) fn scaled_square(difference: u32, precision: u64, frac: u32) -> i64 {
    let drop = 39u32.saturating_sub(precision.leading_zeros());
    let square = u64::from(difference) * u64::from(difference);
    let product = square.wrapping_mul(precision >> drop);
    // frac >= 8 and drop <= 30 give a right shift of at least 2.
    // Only a changed flash contains more than 16 bits.
    let shift = (2 * frac.min(16) + 16).saturating_sub(drop);
    ((product >> shift.saturating_sub(1)).wrapping_add(1) >> 1) as i64
}

/// `1/2 sum [mu^2 + exp(logvar) - 1 - logvar]`: KL(N(mu, exp logvar) || N(0, I)) (Kingma & Welling, arXiv 1312.6114, appendix B).
pub fn kl(mu: &[i16], mu_frac: u32, logvar: &[i16], logvar_frac: u32) -> i64 {
    let mut squares = 0i64;
    let mut logvars = 0i64;
    let mut variances = 0i64;
    for (&mu, &logvar) in mu.iter().zip(logvar) {
        squares += i64::from(i32::from(mu) * i32::from(mu));
        logvars += i64::from(logvar);
        let variance = fixed::exp(to_q16(i32::from(logvar), logvar_frac), 16) as i64;
        variances = exact::add_64(variances, variance - ONE);
    }
    let sum = exact::add_64(sum_to_q16(squares, 2 * mu_frac), variances);
    halve(exact::sub_64(sum, sum_to_q16(logvars, logvar_frac)))
}

/// `1/2 sum x^2`.
pub fn half_sum_sq(x: &[i16], frac: u32) -> i64 {
    let squares: i64 = x.iter().map(|&x| i64::from(i32::from(x) * i32::from(x))).sum();
    sum_to_q16(squares, 2 * frac + 1)
}

/// `sum x`.
pub fn sum(x: &[i16], frac: u32) -> i64 {
    sum_to_q16(x.iter().map(|&x| i64::from(x)).sum(), frac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nats(q16: i64) -> f64 {
        q16 as f64 / 65536.0
    }

    fn value(q: i16, frac: u32) -> f64 {
        f64::from(q) / f64::from(1u32 << frac)
    }

    proptest! {
        #[test]
        fn bernoulli_matches_floating_point(pixels in prop::collection::vec((any::<i16>(), 0i16..=16), 1..300)) {
            let (logits, x): (Vec<i16>, Vec<i16>) = pixels.into_iter().unzip();
            let exact: f64 = logits.iter().zip(&x).map(|(&l, &x)| {
                let (l, x) = (value(l, 11), value(x, 4));
                l.max(0.0) + (-l.abs()).exp().ln_1p() - x * l
            }).sum();
            let error = nats(bernoulli_nll(&logits, 11, &x, 4)) - exact;
            prop_assert!(error.abs() < 4e-5 * logits.len() as f64 + 2e-5, "{error}");
        }

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

    #[test]
    fn a_hopeless_dimension_saturates() {
        let far = gaussian_nll(&[i16::MIN], &[i16::MIN], 11, &[i16::MAX], 8);
        assert_eq!(far, 1 << 43);
        assert_eq!(gaussian_nll(&[i16::MIN; 3], &[i16::MIN; 3], 11, &[i16::MAX; 3], 8), 3 << 43);
    }
}
