//! Log-densities over activations, summed exactly in 64 bits so that the order never matters; results in Q16 nats.
//!
//! Lengths and scales are what [`bounds`](crate::bounds) asks for; within them no sum overflows.

use crate::bounds::{GAUSSIAN_TERM_LOG2, to_q16};
use crate::fixed;

/// 1.0 in Q16.
const ONE: i64 = 1 << 16;
/// ln(2 pi) in Q16.
const LN_2PI: i64 = 120_449;
/// ln(255) in Q16.
const LN_255: i32 = 363_152;
/// ln(510) in Q16.
const LN_510: i32 = 408_578;

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

/// Negative log-likelihood of grey values of 256 levels under discretised logistic distributions (arXiv 1701.05517): the mass
/// within half a level of `x`, and below the lowest and above the highest one.
///
/// `mean` and `x` have `x_frac` fractional bits, 8 to 14, and `x` is a level `k / 255` rounded to them; `log_scale` has
/// `log_scale_frac`, at least 11. A value contributes 2^32 nats in Q16 at most, and is right to 7 LSB and 2^-25 of it.
pub fn logistic_nll(mean: &[i16], log_scale: &[i16], log_scale_frac: u32, x: &[i16], x_frac: u32) -> i64 {
    let mut sum = 0i64;
    for ((&mean, &log_scale), &x) in mean.iter().zip(log_scale).zip(x) {
        let (x, one) = (i32::from(x), 1i32 << x_frac);
        let log_scale = to_q16(i32::from(log_scale), log_scale_frac);
        let distance = i64::from(standardised(x - i32::from(mean), log_scale, x_frac));
        let half = i64::from(level_half_width(log_scale));
        // Half a level is 1/510: what is nearer than that to an end has only one edge.
        let (lowest, highest) = (x * 510 < one, (one - x) * 510 < one);
        if !highest {
            sum += i64::from(fixed::softplus(saturate(-distance - half)));
        }
        if !lowest {
            sum += i64::from(fixed::softplus(saturate(distance - half)));
        }
        if !lowest && !highest {
            sum += i64::from(level_width_nll(log_scale, half as i32));
        }
    }
    sum
}

fn saturate(x: i64) -> i32 {
    x.clamp(i64::from(-i32::MAX), i64::from(i32::MAX)) as i32
}

/// `difference exp(-log_scale)` in Q16, saturated, of a difference at `frac` fractional bits.
fn standardised(difference: i32, log_scale: i32, frac: u32) -> i32 {
    let precision = fixed::exp(-log_scale, 32);
    let drop = 32u32.saturating_sub(precision.leading_zeros());
    // 17 bits times 32; frac >= 8 and drop <= 24 leave a shift to the right.
    let product = u64::from(difference.unsigned_abs()) * (precision >> drop);
    let shift = (frac + 16).saturating_sub(drop);
    let magnitude = (((product << 1) >> shift) + 1) >> 1;
    let magnitude = magnitude.min(i32::MAX as u64) as i32;
    if difference < 0 { -magnitude } else { magnitude }
}

/// `exp(-log_scale) / 510` in Q16, saturated.
fn level_half_width(log_scale: i32) -> i32 {
    fixed::exp(-log_scale - LN_510, 16).min(i32::MAX as u64) as i32
}

/// `-ln(1 - exp(-2 half))` in Q16 for `half = exp(-log_scale) / 510`.
fn level_width_nll(log_scale: i32, half: i32) -> i32 {
    if half >= ONE as i32 / 2 {
        let beyond = fixed::exp((-half).saturating_mul(2), 40);
        return -fixed::ln((1u64 << 40).saturating_sub(beyond), 40);
    }
    // half - ln(2 half) - ln(sinh(half) / half), whose last term is half^2/6 - half^4/180 + ..., in Q32.
    let square = u64::from((half * half) as u32);
    let sinh = (square * (715_827_883 - ((square * 23_500_000) >> 32))) >> 32;
    log_scale + LN_255 + half - ((sinh + 0x8000) >> 16) as i32
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

/// The quotient by a divisor from 1 to 2^31, bit by bit: this runs once a score or a step of a flow, and the compiler's
/// own division of 64 bits is 900 bytes of code.
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
        fn logistic_matches_floating_point(
            pixels in prop::collection::vec((any::<i16>(), -14336i16..=4096, 0i16..=255), 1..60),
        ) {
            let mean: Vec<i16> = pixels.iter().map(|p| p.0).collect();
            let log_scale: Vec<i16> = pixels.iter().map(|p| p.1).collect();
            let x: Vec<i16> = pixels.iter().map(|p| level(p.2)).collect();
            let terms = (0..x.len()).map(|i| exact_logistic(value(mean[i], 14), value(log_scale[i], 11), x[i]));
            let exact: f64 = terms.sum();
            let error = nats(logistic_nll(&mean, &log_scale, 11, &x, 14)) - exact;
            let bound = 7.0 / 65536.0 * x.len() as f64 + (-25f64).exp2() * exact;
            prop_assert!(error.abs() < bound, "{error} {bound}");
        }

        #[test]
        fn logistic_is_total(
            pixels in prop::collection::vec((any::<i16>(), any::<i16>(), any::<i16>()), 1..20),
            fracs in (11u32..=15, 8u32..=14),
        ) {
            let mean: Vec<i16> = pixels.iter().map(|p| p.0).collect();
            let log_scale: Vec<i16> = pixels.iter().map(|p| p.1).collect();
            let x: Vec<i16> = pixels.iter().map(|p| p.2).collect();
            let nll = logistic_nll(&mean, &log_scale, fracs.0, &x, fracs.1);
            prop_assert!(nll >= -8 * x.len() as i64 && nll < (x.len() as i64) << 32, "{nll}");
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

    /// The level `k / 255` at Q14.
    fn level(k: i16) -> i16 {
        (f64::from(k) / 255.0 * 16384.0).round() as i16
    }

    /// The definition, through logistic functions of whichever sign keeps the difference from cancelling.
    fn exact_logistic(mean: f64, log_scale: f64, x: i16) -> f64 {
        let softplus = |t: f64| t.max(0.0) + (-t.abs()).exp().ln_1p();
        let scale = log_scale.exp();
        let edge = |side: f64| (value(x, 14) + side / 510.0 - mean) / scale;
        let (u, v) = (edge(1.0), edge(-1.0));
        match x {
            0 => softplus(-u),
            16384 => softplus(v),
            _ => softplus(v) + softplus(-u) - (-(-1.0 / (255.0 * scale)).exp_m1()).ln(),
        }
    }

    #[test]
    fn logistic_constants_are_the_computed_ones() {
        assert_eq!(f64::from(LN_255), (65536.0 * 255f64.ln()).round());
        assert_eq!(f64::from(LN_510), (65536.0 * 510f64.ln()).round());
        let mut worst = 0.0f64;
        for log_scale in (-16 << 16..16 << 16).step_by(37) {
            let exact = -(-(-f64::from(log_scale) / 65536.0).exp() / 255.0).exp_m1().abs().ln();
            let got = level_width_nll(log_scale, level_half_width(log_scale));
            worst = worst.max((f64::from(got) - 65536.0 * exact).abs());
        }
        assert!(worst <= 2.0, "{worst}");
    }

    /// Every level of a pixel, at both ends too: the masses sum to one, but for the rounding of levels to Q14, which moves
    /// them by up to 0.8 % of their distance.
    #[test]
    fn the_masses_of_all_levels_sum_to_one() {
        for (mean, log_scale) in [(5000, -8192), (-7000, -4096), (20000, -6144), (8000, -14336), (0, 4096)] {
            let mass = |k| (-nats(logistic_nll(&[mean], &[log_scale], 11, &[level(k)], 14))).exp();
            let total: f64 = (0..=255).map(mass).sum();
            assert!((total - 1.0).abs() < 5e-3, "{mean} {log_scale}: {total}");
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
