//! The Student-t and the Laplace likelihood. Their tails are heavier than a Gaussian's, so that a single outlier does not
//! dominate a score.

use super::bounds::{OperandError, require, sum_log2, to_q16};
use super::density::{scaled_distance, scaled_square};
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::{exact, fixed};

pub(super) struct StudentTNll;
pub(super) struct LaplaceNll;

/// log2 of the largest contribution of one dimension in Q16. The sum of `65/2 ln(1 + 2^40)` nats, half a log-variance
/// and a constant is below 2^10 nats.
const TERM_LOG2: u32 = 26;

/// `ln B(1/2, nu/2) + 1/2 ln nu` in Q16 for `nu` = 1, 2, 4 to 64: the normalising constant of the density at a scale of
/// one.
const NORMALISER: [i32; 7] = [75_021, 68_139, 64_280, 62_266, 61_247, 60_735, 60_480];

impl Operation for StudentTNll {
    const STEPS: Steps = Steps::of(112, 46);
    const ERROR: &'static str = "(0.6 (nu + 1) + 2) n LSB";
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require((0..NORMALISER.len() as i8).contains(&o.op.param), OperandError::Scale)?;
        Ok(sum_log2(o.a().len(), TERM_LOG2))
    }
}

impl Reduction for StudentTNll {
    #[inline(always)]
    fn nats(values: &Values<'_>) -> i64 {
        let [location, log_square, x] = values.vectors;
        let degrees = (values.op().param as u32).min(NORMALISER.len() as u32 - 1);
        student_t_nll(degrees, location, (log_square, values.frac(1)), (x, values.frac(2)))
    }
}

/// `sum [(nu + 1)/2 ln(1 + (x - location)^2 exp(-b) / nu) + b/2 + ln B(1/2, nu/2) + 1/2 ln nu]` for `nu = 2^degrees_log2`, at
/// most 64, and `b` the logarithm of the squared scale: the negative log-density of Student's t-distribution, Q16 nats.
/// `location` and `x` have the same number of fractional bits, 8 to 15; `b` has at least 11. Nothing is limited: a
/// standardised square is below 2^40. The error per value is at most `0.6 (nu + 1) + 2` LSB.
pub(super) fn student_t_nll(
    degrees_log2: u32,
    location: &[i16],
    (log_square, log_square_frac): (&[i16], u32),
    (x, x_frac): (&[i16], u32),
) -> i64 {
    let one = 1u64 << (16 + degrees_log2);
    let weight = (1i64 << degrees_log2) + 1;
    let normaliser = NORMALISER.get(degrees_log2 as usize).copied().unwrap_or_default();
    let mut sum = 0i64;
    for ((&location, &log_square), &x) in location.iter().zip(log_square).zip(x) {
        let difference = (i32::from(x) - i32::from(location)).unsigned_abs();
        let log_square = to_q16(i32::from(log_square), log_square_frac);
        let square = scaled_square(difference, fixed::exp(-log_square, 32), x_frac) as u64;
        let ratio = fixed::ln(one + square, 16 + degrees_log2);
        sum += weight * i64::from(ratio) + i64::from(log_square) + 2 * i64::from(normaliser);
    }
    (sum + 1) >> 1
}

/// log2 of the largest contribution of one dimension to a Laplace negative log-likelihood, Q16: 2^27 nats.
const LAPLACE_TERM_LOG2: u32 = 43;

/// ln 2 in Q16.
const LN_2: i64 = 45_426;

impl Operation for LaplaceNll {
    const STEPS: Steps = Steps::of(112, 26);
    const ERROR: &'static str = "1 LSB + 2^-25 of the distance in scales, for each element";
    const LIMIT: &'static str = "2^27 nats for each element";
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), LAPLACE_TERM_LOG2))
    }
}

impl Reduction for LaplaceNll {
    fn nats(values: &Values<'_>) -> i64 {
        let [location, log_scale, x] = values.vectors;
        laplace_nll(location, (log_scale, values.frac(1)), (x, values.frac(2)))
    }
}

/// `sum [|x - location| exp(-b) + b + ln 2]` for log-scales `b`: the negative log-density of Laplace distributions, Q16 nats.
/// `location` and `x` have the same number of fractional bits, 8 to 15; `b` has at least 11. A value contributes at most
/// 2^27 nats. The error per value is at most 1 LSB plus 2^-25 of its distance in scales.
pub(super) fn laplace_nll(
    location: &[i16],
    (log_scale, log_scale_frac): (&[i16], u32),
    (x, x_frac): (&[i16], u32),
) -> i64 {
    let mut sum = 0i64;
    for ((&location, &log_scale), &x) in location.iter().zip(log_scale).zip(x) {
        let difference = (i32::from(x) - i32::from(location)).unsigned_abs();
        let log_scale = to_q16(i32::from(log_scale), log_scale_frac);
        let distance = scaled_distance(difference, fixed::exp(-log_scale, 32), x_frac);
        sum = exact::add_64(sum, (distance + i64::from(log_scale) + LN_2).min(1 << LAPLACE_TERM_LOG2));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `ln gamma(n / 2)` by its recurrence relation.
    fn ln_gamma_of_half(n: u32) -> f64 {
        let start = if n.is_multiple_of(2) { 2 } else { 1 };
        let first = if start == 1 { 0.5 * std::f64::consts::PI.ln() } else { 0.0 };
        first + (start..n).step_by(2).map(|k| (f64::from(k) / 2.0).ln()).sum::<f64>()
    }

    fn normaliser(nu: u32) -> f64 {
        ln_gamma_of_half(nu) - ln_gamma_of_half(nu + 1) + 0.5 * (f64::from(nu) * std::f64::consts::PI).ln()
    }

    #[test]
    fn the_constants_are_the_computed_ones() {
        let computed = [1, 2, 4, 8, 16, 32, 64].map(|nu| (65536.0 * normaliser(nu)).round() as i32);
        assert_eq!(NORMALISER, computed);
    }

    proptest! {
        #[test]
        fn matches_floating_point(
            degrees in 0u32..7,
            dims in prop::collection::vec((any::<i16>(), -20000i16..20000, any::<i16>()), 1..40),
        ) {
            let nu = f64::from(1u32 << degrees);
            let value = |q: i16| f64::from(q) / 2048.0;
            let location: std::vec::Vec<i16> = dims.iter().map(|d| d.0 / 2).collect();
            let b: std::vec::Vec<i16> = dims.iter().map(|d| d.1).collect();
            let x: std::vec::Vec<i16> = dims.iter().map(|d| d.2 / 2).collect();
            let exact: f64 = (0..x.len()).map(|i| {
                let square = (value(x[i]) - value(location[i])).powi(2) * (-value(b[i])).exp();
                0.5 * (nu + 1.0) * (square / nu).ln_1p() + 0.5 * value(b[i]) + normaliser(1 << degrees)
            }).sum();
            let got = student_t_nll(degrees, &location, (&b, 11), (&x, 11));
            let error = (got as f64 - 65536.0 * exact).abs();
            prop_assert!(error <= (0.6 * (nu + 1.0) + 2.0) * x.len() as f64, "{error} LSB");
            prop_assert!(got.unsigned_abs() < (x.len() as u64) << TERM_LOG2);
        }

        #[test]
        fn grows_with_the_distance(degrees in 0u32..7, b in any::<i16>(), x in prop::collection::vec(any::<i16>(), 2)) {
            let nll = |x: i16| student_t_nll(degrees, &[0], (&[b], 11), (&[x], 8));
            let (near, far) = if x[0].unsigned_abs() < x[1].unsigned_abs() { (x[0], x[1]) } else { (x[1], x[0]) };
            prop_assert!(nll(near) <= nll(far));
        }

        #[test]
        fn laplace_matches_floating_point(
            dims in prop::collection::vec((any::<i16>(), any::<i16>(), any::<i16>()), 1..40), frac in 8u32..16,
        ) {
            let value = |q: i16, frac: u32| f64::from(q) / f64::from(frac).exp2();
            let location: std::vec::Vec<i16> = dims.iter().map(|d| d.0).collect();
            let b: std::vec::Vec<i16> = dims.iter().map(|d| d.1).collect();
            let x: std::vec::Vec<i16> = dims.iter().map(|d| d.2).collect();
            let (mut exact, mut most) = (0.0, 0.0);
            for i in 0..x.len() {
                let distance = (value(x[i], frac) - value(location[i], frac)).abs() * (-value(b[i], 11)).exp();
                let term = distance + value(b[i], 11) + core::f64::consts::LN_2;
                exact += 65536.0 * term.min(27f64.exp2());
                most += 1.0 + 65536.0 * (-25f64).exp2() * distance;
            }
            let got = laplace_nll(&location, (&b, 11), (&x, frac));
            prop_assert!((got as f64 - exact).abs() <= most, "{got} {exact} {most}");
            prop_assert!(got.unsigned_abs() <= (x.len() as u64) << LAPLACE_TERM_LOG2);
        }
    }

    #[test]
    fn a_hopeless_distance_counts_as_the_limit() {
        let far = laplace_nll(&[i16::MIN; 3], (&[i16::MIN; 3], 11), (&[i16::MAX; 3], 8));
        assert_eq!(far, 3 << LAPLACE_TERM_LOG2);
    }
}
