//! Exponential and logarithm for scores: a few 64-bit operations, which run once per latent, sample or variance of a
//! pixel.

/// `2^(j/32)` in Q31: the mantissa of the exponential and, in reverse order, the reciprocals that the logarithm uses.
/// The test `powers_are_the_computed_ones` recomputes them.
static POWERS: [u32; 32] = [
    2147483648, 2194507417, 2242560872, 2291666561, 2341847524, 2393127307, 2445529972, 2499080105, 2553802834,
    2609723834, 2666869345, 2725266179, 2784941738, 2845924021, 2908241642, 2971923842, 3037000500, 3103502151,
    3171459999, 3240905930, 3311872529, 3384393094, 3458501653, 3534232978, 3611622603, 3690706840, 3771522796,
    3854108391, 3938502376, 4024744348, 4112874773, 4202935003,
];

/// The `k` for which `m * 2^(k/32) / 2` is closest to 1, for mantissas `1 + i/32 <= m < 1 + (i + 1)/32`. The test
/// `reciprocals_are_the_computed_ones` recomputes them.
static RECIPROCALS: [u8; 32] = [
    31, 30, 29, 27, 26, 25, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 7, 6, 5, 4, 3, 3, 2, 1, 0,
];

/// `log2(e)` in Q30.
const LOG2_E: i64 = 1_549_082_005;
/// `ln(2)` in Q31.
const LN_2: u32 = 1_488_522_236;
/// `ln(2) / 32` in Q45.
const LN_2_STEP: i64 = 762_123_384_786;
/// The result of [`exp`] where the value is 2^62 or more.
const EXP_MAX: u64 = 1 << 62;
/// Fractional bits of the sum in [`log_mean_exp`]. 65536 terms fit, and rounding them costs at most 2^-25 nats.
const SUM_FRAC: u32 = 40;

/// `e^x * 2^frac` of a Q16 argument, rounded to nearest, for `frac <= 62` (a larger one counts as 62).
///
/// The error is at most 2^-26 of the value plus half a unit. The result saturates at 2^62. It never decreases.
pub fn exp(x: i32, frac: u32) -> u64 {
    // log2(e^x) in Q46: octave, table entry, and the rest as a fraction in Q32 of a table step.
    let exponent = i64::from(x) * LOG2_E;
    let octave = (exponent >> 46) as i32;
    let power = POWERS[(exponent >> 41) as usize & 31];
    let rest = (exponent >> 9) as u32;

    // e^r - 1 = r + r^2/2 + r^3/6 in Q36, for r below ln(2)/32.
    let r = high_product(rest, LN_2);
    let square = high_product(r, r);
    let cube = high_product(square, r);
    let growth = r + (square >> 5) + (((cube >> 8) * 171) >> 10);
    let mantissa = u64::from(power) + u64::from(high_product(power, growth) >> 4);

    // The mantissa has 31 fractional bits, and those below the last bit of the result are rounded away.
    match 62 - frac.min(62) as i32 - octave {
        ..=0 => EXP_MAX,
        places @ 1..=63 => (((mantissa << 31) >> (places - 1)) + 1) >> 1,
        _ => 0,
    }
}

/// Natural logarithm of `x * 2^-frac`, in Q16 nats. The error is at most 0.55 LSB.
///
/// The result is `i32::MIN` for zero and for values whose logarithm does not fit Q16 (only if `frac` is 47,000 or
/// more).
pub fn ln(x: u64, frac: u32) -> i32 {
    if x == 0 {
        return i32::MIN;
    }
    let nats = (ln_q45(x, frac) + (1 << 28)) >> 29;
    nats.max(i64::from(i32::MIN)) as i32
}

/// [`ln`] of a positive `x` in Q45, with an error of at most 1e-7. A `frac` above 65536 counts as 65536.
pub(crate) fn ln_q45(x: u64, frac: u32) -> i64 {
    let zeros = x.leading_zeros().min(63);
    let mantissa = ((x << zeros) >> 32) as u32;
    let k = RECIPROCALS[(mantissa >> 26) as usize & 31];
    let product = u64::from(mantissa) * u64::from(POWERS[usize::from(k) & 31]);

    // ln(1 + u) = u - u^2/2 + u^3/3 in Q35, for |u| below 0.027, which fits 32 bits.
    let u = (product >> 28) as i32;
    let wide = |a: i32, b: i32| i64::from(a) * i64::from(b);
    let square = (wide(u, u) >> 35) as i32;
    let cube = (wide(square, u) >> 35) as i32;
    let near_one = u - (square >> 1) + (wide(cube, 171) >> 9) as i32;

    let octave = 63 - zeros as i32 - frac.min(1 << 16) as i32;
    let steps = 32 * octave + 32 - i32::from(k);
    i64::from(steps) * LN_2_STEP + (i64::from(near_one) << 10)
}

/// `ln((e^v[0] + ... + e^v[n-1]) / n)` of Q16 nats, in Q16 nats; `i64::MIN` if there are no terms.
///
/// The error is at most 0.55 LSB for up to 65536 terms. The result never lies outside the range of the terms. A
/// constant added to all terms is added to the result. The iterator is consumed twice.
pub fn log_mean_exp(v: impl Iterator<Item = i64> + Clone) -> i64 {
    let (mut least, mut most, mut count) = (i64::MAX, i64::MIN, 0u32);
    for term in v.clone() {
        least = least.min(term);
        most = most.max(term);
        count += 1;
    }
    if count == 0 {
        return i64::MIN;
    }
    let sum = v.fold(0u64, |sum, term| {
        // e^-64 is zero at this precision, so a clamped term contributes zero as it should.
        let below = (most.wrapping_sub(term) as u64).min(64 << 16);
        sum.saturating_add(exp(-(below as i32), SUM_FRAC))
    });
    let mean = ln_q45(sum, SUM_FRAC) - ln_q45(count.into(), 0);
    most.saturating_add((mean + (1 << 28)) >> 29).max(least).min(most)
}

/// The upper word of a product: for Qa and Qb, Q(a + b - 32).
#[inline(always)]
fn high_product(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::super::generator::assert_table;
    use super::*;
    use core::f64::consts;
    use proptest::prelude::*;
    use std::{println, vec, vec::Vec};

    #[test]
    fn powers_are_the_computed_ones() {
        let powers: Vec<f64> = (0..32).map(|j| (31.0 + f64::from(j) / 32.0).exp2()).collect();
        assert_table(&POWERS, &powers);
    }

    #[test]
    fn reciprocals_are_the_computed_ones() {
        let nearest: Vec<f64> = (0..32).map(|i| 32.0 * (1.0 - (1.0 + (f64::from(i) + 0.5) / 32.0).log2())).collect();
        assert_table(&RECIPROCALS, &nearest);
    }

    #[test]
    fn constants_are_the_computed_ones() {
        assert_eq!(LOG2_E as f64, (consts::LOG2_E * 30f64.exp2()).round());
        assert_eq!(f64::from(LN_2), (consts::LN_2 * 31f64.exp2()).round());
        assert_eq!(LN_2_STEP as f64, (consts::LN_2 * 40f64.exp2()).round());
    }

    #[test]
    fn exp_error_over_its_range() {
        // Error beyond half a unit, relative to the value.
        let mut worst = 0.0f64;
        for frac in [0, 8, 16, 20, 30, 32, 40, 62] {
            let mut previous = 0;
            for x in (-46 << 16..44 << 16).step_by(37).chain(-70_000..70_000) {
                let exact = (f64::from(x) / 65536.0).exp() * f64::from(frac).exp2();
                let got = exp(x, frac);
                if exact >= EXP_MAX as f64 {
                    assert_eq!(got, EXP_MAX, "exp({x}, {frac})");
                    continue;
                }
                let error = (got as f64 - exact).abs();
                worst = worst.max((error - 0.5) / exact);
                previous = if x == -70_000 { 0 } else { previous };
                assert!(got >= previous, "exp falls at {x}, {frac}");
                previous = got;
            }
        }
        println!("exp: relative error at most 2^{:.2} beyond half a unit", worst.log2());
        assert!(worst <= (-26f64).exp2());
    }

    #[test]
    fn exp_of_the_extremes() {
        assert_eq!(exp(0, 0), 1);
        assert_eq!(exp(0, 32), 1 << 32);
        assert_eq!(exp(0, 62), EXP_MAX);
        assert_eq!(exp(0, u32::MAX), EXP_MAX);
        assert_eq!(exp(i32::MAX, 0), EXP_MAX);
        assert_eq!(exp(i32::MIN, 62), 0);
        assert_eq!(exp(i32::MIN, u32::MAX), 0);
    }

    fn ln_error(x: u64, frac: u32) -> f64 {
        let exact = 65536.0 * ((x as f64).ln() - f64::from(frac) * consts::LN_2);
        (f64::from(ln(x, frac)) - exact).abs()
    }

    #[test]
    fn ln_error_over_many_magnitudes() {
        let mut worst = 0.0f64;
        for x in 1..300_000 {
            worst = worst.max(ln_error(x, 16));
        }
        for octave in 18..64 {
            for m in 0..4096u64 {
                // Every mantissa of 12 bits, with and without all bits set below.
                for low in [0, (1u64 << 51) - 1] {
                    let x = (1 << 63 | m << 51 | low) >> (63 - octave);
                    worst = worst.max(ln_error(x, 32)).max(ln_error(x, 0));
                }
            }
        }
        println!("ln: at most {worst:.4} LSB from f64");
        assert!(worst <= 0.55);
    }

    #[test]
    fn ln_of_the_extremes() {
        assert_eq!(ln(0, 0), i32::MIN);
        assert_eq!(ln(0, u32::MAX), i32::MIN);
        assert_eq!(ln(1, u32::MAX), i32::MIN);
        assert_eq!(ln(u64::MAX, u32::MAX), i32::MIN);
        assert_eq!(ln(1, 0), 0);
        for n in 0..=62 {
            assert_eq!(ln(1 << n, n), 0);
        }
        assert!(ln_error(1, 47_000) < 1.0);
        assert!(ln_error(u64::MAX, 0) < 1.0);
    }

    fn exact_log_mean_exp(v: &[i64]) -> f64 {
        let most = v.iter().copied().max().unwrap_or(0);
        let sum: f64 = v.iter().map(|&term| ((term - most) as f64 / 65536.0).exp()).sum();
        most as f64 + 65536.0 * (sum / v.len() as f64).ln()
    }

    #[test]
    fn log_mean_exp_of_65536_terms() {
        let mut worst = 0.0f64;
        for spread in [0, 1, 60, 5_000, 40_000, 300_000, 1_000_000] {
            let terms: Vec<i64> = (0..65536).map(|i| -91_000_000 - i * 7919 % (spread + 1)).collect();
            for n in [1, 2, 3, 10, 100, 999, 65535, 65536] {
                let terms = &terms[..n];
                let got = log_mean_exp(terms.iter().copied());
                worst = worst.max((got as f64 - exact_log_mean_exp(terms)).abs());
            }
        }
        // One significant term among many almost vanishing ones, whose rounding errors add up.
        let mut terms = vec![-27 << 16; 65536];
        terms[0] = 0;
        let got = log_mean_exp(terms.iter().copied());
        worst = worst.max((got as f64 - exact_log_mean_exp(&terms)).abs());
        println!("log_mean_exp: at most {worst:.4} LSB from f64");
        assert!(worst <= 0.55);
    }

    #[test]
    fn log_mean_exp_of_the_extremes() {
        assert_eq!(log_mean_exp([].into_iter()), i64::MIN);
        for v in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(log_mean_exp([v; 3].into_iter()), v);
        }
        let half = i64::MAX - 45426;
        assert_eq!(log_mean_exp([i64::MIN, i64::MAX].into_iter()), half);
        assert_eq!(log_mean_exp([0, -(1 << 40)].into_iter()), -45426);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn log_mean_exp_is_a_mean(
            v in prop::collection::vec(-2_000_000i64..2_000_000, 1..64),
            shift in -(1i64 << 50)..1 << 50,
        ) {
            let mean = log_mean_exp(v.iter().copied());
            prop_assert!(v.iter().min() <= Some(&mean) && Some(&mean) <= v.iter().max());
            prop_assert_eq!(log_mean_exp(v.iter().map(|term| term + shift)), mean + shift);
            prop_assert!((mean as f64 - exact_log_mean_exp(&v)).abs() <= 0.55);
            let mut reversed = v.clone();
            reversed.reverse();
            prop_assert_eq!(log_mean_exp(reversed.into_iter()), mean);
        }

        #[test]
        fn ln_undoes_exp(x in -8 << 16..14 << 16) {
            let there_and_back = ln(exp(x, 40), 40);
            prop_assert!((there_and_back - x).abs() <= 1, "{} {}", x, there_and_back);
        }

        #[test]
        fn total(x: i32, y: u64, frac: u32, terms in prop::collection::vec(any::<i64>(), 0..8)) {
            let _ = exp(x, frac);
            let _ = exp(x, frac & 127);
            let _ = ln(y, frac);
            let _ = ln(y >> (frac & 63), frac & 127);
            let _ = log_mean_exp(terms.into_iter());
        }
    }
}
