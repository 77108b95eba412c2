//! The discretised logistic likelihood.

use super::bounds::{OperandError, sum_log2, to_q16};
use super::density::scaled_distance;
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::fixed;

pub(super) struct LogisticNll;

impl Operation for LogisticNll {
    const STEPS: Steps = Steps::of(108, 59);
    const ERROR: &'static str = "7 LSB + 2^-25 of the sum of the distance and half a level in scales, for each element";
    const LIMIT: &'static str = "2^24 nats for each element";
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), TERM_LOG2))
    }
}

impl Reduction for LogisticNll {
    fn nats(values: &Values<'_>) -> i64 {
        let [mean, log_scale, x] = values.vectors;
        logistic_nll(mean, log_scale, values.frac(1), x, values.frac(2))
    }
}

/// log2 of the largest contribution of one dimension, Q16: 2^24 nats.
const TERM_LOG2: u32 = 40;
/// 1.0 in Q16.
const ONE: i64 = 1 << 16;
/// ln(255) in Q16.
const LN_255: i32 = 363_152;
/// ln(510) in Q16.
const LN_510: i32 = 408_578;
/// The rest of ln(510), Q26.
const LN_510_REST: u64 = 350;

/// Negative log-likelihood of grey values of 256 levels under discretised logistic distributions (arXiv 1701.05517):
/// the mass within half a level of `x`. The lowest level also takes the mass below it, and the highest level the mass
/// above it.
///
/// `mean` and `x` have `x_frac` fractional bits, 8 to 15, and `x` is a level `k / 255` rounded to them. `log_scale` has
/// `log_scale_frac` fractional bits, at least 11. A value contributes at most 2^24 nats, with an error of at most 7 LSB
/// plus 2^-25 of the sum of its distance from the mean and half a level, in scales. Within this error a value contributes more the farther it is from the mean, and a
/// far value contributes more the smaller the scale is.
pub fn logistic_nll(mean: &[i16], log_scale: &[i16], log_scale_frac: u32, x: &[i16], x_frac: u32) -> i64 {
    // Only a changed flash contains more than 16.
    let x_frac = x_frac.min(16);
    let mut sum = 0i64;
    for ((&mean, &log_scale), &x) in mean.iter().zip(log_scale).zip(x) {
        let (x, one) = (i32::from(x), 1i32 << x_frac);
        let log_scale = to_q16(i32::from(log_scale), log_scale_frac);
        let difference = x - i32::from(mean);
        let magnitude = scaled_distance(difference.unsigned_abs(), fixed::exp(-log_scale, 32), x_frac);
        let distance = if difference < 0 { -magnitude } else { magnitude };
        let half = i64::from(level_half_width(log_scale));
        // Half a level is 1/510. A value that is nearer than this to an end has only one edge.
        let (lowest, highest) = (x * 510 < one, (one - x) * 510 < one);
        let mut term = 0;
        if !highest {
            term += softplus(-distance - half);
        }
        if !lowest {
            term += softplus(distance - half);
        }
        if !lowest && !highest {
            term += i64::from(level_width_nll(log_scale, half as i32));
        }
        sum += term.min(1 << TERM_LOG2);
    }
    sum
}

/// [`fixed::softplus`] of any Q16 argument. Beyond 32 bits it is its argument, or nothing.
fn softplus(x: i64) -> i64 {
    let near = x.clamp(i64::from(-i32::MAX), i64::from(i32::MAX));
    i64::from(fixed::softplus(near as i32)) + (x - near).max(0)
}

/// `exp(-log_scale) / 510` in Q16, saturated.
fn level_half_width(log_scale: i32) -> i32 {
    let half = fixed::exp((-log_scale).saturating_sub(LN_510), 16).min(i32::MAX as u64);
    // ln(510) is 0.341 LSB larger than its constant.
    (half - ((half * LN_510_REST) >> 26)) as i32
}

/// `-ln(1 - exp(-2 half))` in Q16 for `half = exp(-log_scale) / 510`.
fn level_width_nll(log_scale: i32, half: i32) -> i32 {
    if half >= ONE as i32 / 2 {
        let beyond = fixed::exp((-half).saturating_mul(2), 40);
        return -fixed::ln((1u64 << 40).saturating_sub(beyond), 40);
    }
    // half - ln(2 half) - ln(sinh(half) / half), where the last term is half^2/6 - half^4/180 + ..., in Q32.
    let square = u64::from((half * half) as u32);
    let sinh = (square * (715_827_883 - ((square * 23_500_000) >> 32))) >> 32;
    log_scale.saturating_add(LN_255 + half - ((sinh + 0x8000) >> 16) as i32)
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
            prop_assert!(nll >= -8 * x.len() as i64 && nll <= (x.len() as i64) << TERM_LOG2, "{nll}");
        }
    }

    /// The level `k / 255` at Q14.
    fn level(k: i16) -> i16 {
        (f64::from(k) / 255.0 * 16384.0).round() as i16
    }

    /// The definition, through logistic functions of the sign that avoids cancellation in the difference.
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
        let rest = 510f64.ln() - f64::from(LN_510) / 65536.0;
        assert_eq!(LN_510_REST as f64, (rest * 26f64.exp2()).round());
        let mut worst = 0.0f64;
        for log_scale in (-16 << 16..16 << 16).step_by(37) {
            let exact = -(-(-f64::from(log_scale) / 65536.0).exp() / 255.0).exp_m1().abs().ln();
            let got = level_width_nll(log_scale, level_half_width(log_scale));
            worst = worst.max((f64::from(got) - 65536.0 * exact).abs());
        }
        assert!(worst <= 2.0, "{worst}");
    }

    /// For every level of a pixel, including both ends, the masses sum to one, except for the rounding of levels to
    /// Q14. This moves the levels by up to 0.8 % of their distance.
    #[test]
    fn the_masses_of_all_levels_sum_to_one() {
        for (mean, log_scale) in [(5000, -8192), (-7000, -4096), (20000, -6144), (8000, -14336), (0, 4096)] {
            let mass = |k| (-nats(logistic_nll(&[mean], &[log_scale], 11, &[level(k)], 14))).exp();
            let total: f64 = (0..=255).map(mass).sum();
            assert!((total - 1.0).abs() < 5e-3, "{mean} {log_scale}: {total}");
        }
    }
}
