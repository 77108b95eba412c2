//! Log-densities over activations, summed exactly in 64 bits so that the order never matters; results in Q16 nats.
//!
//! Lengths and scales are what [`bounds`](crate::bounds) asks for; within them no sum overflows.

use crate::bounds::{GAUSSIAN_TERM_LOG2, to_q16};
use crate::fixed;

/// 1.0 in Q16.
const ONE: i64 = 1 << 16;
/// ln(2 pi) in Q16.
const LN_2PI: i64 = 120_449;

/// Brings a sum at `frac` fractional bits to Q16, rounding half up.
#[inline(never)]
fn sum_to_q16(sum: i64, frac: u32) -> i64 {
    match frac.checked_sub(16) {
        Some(0) => sum,
        Some(shift) => (sum + (1 << (shift - 1))) >> shift,
        None => sum << (16 - frac),
    }
}

fn halve(sum: i64) -> i64 {
    (sum + 1) >> 1
}

/// `- sum [x l - softplus(l)]`: Bernoulli negative log-likelihood of `x` under `logits`. An 8-bit sigmoid would cost about
/// 3 nats over 784 certain pixels; the logits' softplus costs under 3e-5 a pixel.
pub fn bernoulli_nll(logits: &[i16], logits_frac: u32, x: &[i16], x_frac: u32) -> i64 {
    let mut normaliser = 0i64;
    let mut fit = 0i64;
    for (&l, &x) in logits.iter().zip(x) {
        normaliser += i64::from(fixed::softplus(to_q16(i32::from(l), logits_frac)));
        fit += i64::from(i32::from(l) * i32::from(x));
    }
    normaliser - sum_to_q16(fit, logits_frac + x_frac)
}

/// `1/2 sum [(x - mean)^2 exp(-logvar) + logvar + ln 2 pi]`. One dimension's squared error contributes 2^28 nats at most.
pub fn gaussian_nll(mean: &[i16], logvar: &[i16], logvar_frac: u32, x: &[i16], x_frac: u32) -> i64 {
    let mut errors = 0i64;
    let mut logvars = 0i64;
    let mut count = 0i64;
    for ((&mean, &logvar), &x) in mean.iter().zip(logvar).zip(x) {
        let difference = (i32::from(x) - i32::from(mean)).unsigned_abs();
        let precision = fixed::exp(-to_q16(i32::from(logvar), logvar_frac), 32);
        errors += scaled_square(difference, precision, x_frac);
        logvars += i64::from(logvar);
        count += 1;
    }
    halve(errors + sum_to_q16(logvars, logvar_frac) + count * LN_2PI)
}

/// `difference^2 precision` in Q16 for a difference at `frac` bits and a precision at 32 bits: the precision is cut to 25
/// significant bits, so that its product with a square below 2^34 stays within 64.
fn scaled_square(difference: u32, precision: u64, frac: u32) -> i64 {
    let drop = 39u32.saturating_sub(precision.leading_zeros());
    let square = u64::from(difference) * u64::from(difference);
    let product = square.wrapping_mul(precision >> drop);
    // frac >= 8 and drop <= 30 leave a right shift of 2 at least.
    let shift = (2 * frac + 16).saturating_sub(drop);
    let rounded = (product >> shift.saturating_sub(1)).wrapping_add(1) >> 1;
    rounded.min(1 << GAUSSIAN_TERM_LOG2) as i64
}

/// `1/2 sum [mu^2 + exp(logvar) - 1 - logvar]`: KL(N(mu, exp logvar) || N(0, I)) (Kingma & Welling, arXiv 1312.6114, appendix B).
pub fn kl(mu: &[i16], mu_frac: u32, logvar: &[i16], logvar_frac: u32) -> i64 {
    let mut squares = 0i64;
    let mut logvars = 0i64;
    let mut variances = 0i64;
    for (&mu, &logvar) in mu.iter().zip(logvar) {
        squares += i64::from(i32::from(mu) * i32::from(mu));
        logvars += i64::from(logvar);
        variances += fixed::exp(to_q16(i32::from(logvar), logvar_frac), 16) as i64 - ONE;
    }
    halve(sum_to_q16(squares, 2 * mu_frac) + variances - sum_to_q16(logvars, logvar_frac))
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

/// Mean of at most 65536 scalars, rounded half up; 0 of none.
pub fn mean(terms: impl Iterator<Item = i64>) -> i64 {
    let (sum, count) = terms.fold((0i64, 0u32), |(sum, count), term| (sum.wrapping_add(term), count + 1));
    // floor((sum + count / 2) / count), with ones' complement for the floor of what is negative.
    let sum = sum.wrapping_add(i64::from(count / 2));
    let sign = sum >> 63;
    divide((sum ^ sign) as u64, count.max(1)) as i64 ^ sign
}

/// The quotient by a divisor from 1 to 2^31, bit by bit: this runs once a score, and the compiler's own division of 64
/// bits is 900 bytes of code.
#[inline(never)]
pub(crate) fn divide(mut dividend: u64, divisor: u32) -> u64 {
    let mut rest = 0u32;
    for _ in 0..u64::BITS {
        rest = rest << 1 | (dividend >> 63) as u32;
        dividend <<= 1;
        if rest >= divisor {
            rest -= divisor;
            dividend |= 1;
        }
    }
    dividend
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
            let exact: f64 = (0..x.len()).map(|i| {
                let d = value(x[i], 11) - value(mean[i], 11);
                let lv = value(logvar[i], 11);
                0.5 * (d * d * (-lv).exp() + lv + std::f64::consts::TAU.ln())
            }).sum();
            let got = nats(gaussian_nll(&mean, &logvar, 11, &x, 11));
            prop_assert!((got - exact).abs() < 1e-5 * exact.abs() + 2e-5 * x.len() as f64, "{got} {exact}");
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

    #[test]
    fn a_hopeless_dimension_saturates() {
        let far = gaussian_nll(&[i16::MIN], &[i16::MIN], 11, &[i16::MAX], 8);
        assert!(far > 1 << 42 && far < 1 << 43, "{far}");
    }
}
