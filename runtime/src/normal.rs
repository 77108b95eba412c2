//! Standard normal noise from uniform words without rejection. Every draw takes the same short time and one word.

mod table;

use crate::fixed::interpolate;
#[cfg(feature = "rand_core_010")]
use rand_core::Rng;
use table::QUANTILES;

/// Fractional bits of a normal variate.
pub const FRAC: u32 = 12;
/// The largest variate: 6.34 in Q3.12.
pub const MAX: i16 = 25_961;

/// Fills `out` in order with standard normal variates in Q3.12, using one `next_u32` for each.
///
/// Each is [`normal_from_bits`] of its word.
#[cfg(feature = "rand_core_010")]
pub fn fill_normal<R: Rng + ?Sized>(rng: &mut R, out: &mut [i16]) {
    for deviate in out {
        *deviate = normal_from_bits(rng.next_u32());
    }
}

/// The standard normal variate in Q3.12 for 32 uniform bits: the inverse of the normal distribution function.
///
/// The top bit is the sign. The 31 bits below it, `t`, determine the tail probability: the result is within 1.15 LSB of
/// the `z` with `P(Z > z) = (t + 1/2) / 2^32`. The distribution is symmetric. Its extreme is 6.34 standard deviations,
/// which occurs once in 2^31 draws.
#[inline]
pub fn normal_from_bits(bits: u32) -> i16 {
    // There are 16 segments per octave of t, because z is almost linear in the logarithm of t. Below 32, every t has
    // its own.
    let tail = bits << 1;
    let zeros = (tail | 32).leading_zeros();
    let normalized = tail << zeros;
    let index = ((26 - zeros) << 4) + (normalized >> 27);
    let fraction = (normalized << 5) >> 16;
    let magnitude = (interpolate(&QUANTILES, index, fraction) >> 17) as i32;
    let sign = (bits as i32) >> 31;
    ((magnitude ^ sign) - sign) as i16
}

#[cfg(test)]
#[path = "../tests/normal_reference/mod.rs"]
mod reference;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::generator::{assert_table, octave_knot, unbiased_nodes};
    use crate::rng::Xoshiro128PlusPlus;
    use rand_core::SeedableRng;
    use reference::{rounded_cdf, upper_quantile};
    use std::{println, vec::Vec};

    fn exact(t: u64) -> f64 {
        upper_quantile((t as f64 + 0.5) / 32f64.exp2())
    }

    fn knots() -> Vec<u64> {
        (0..QUANTILES.len()).map(|i| octave_knot(i, 4)).collect()
    }

    fn magnitude(t: u64) -> i16 {
        normal_from_bits(t as u32)
    }

    #[test]
    fn table_is_the_computed_one() {
        let nodes = unbiased_nodes(&knots(), |t| 8192.0 * exact(t));
        let nodes: Vec<f64> = nodes.iter().map(|z| z.round() + 1.0).collect();
        assert_table(&QUANTILES, &nodes);
    }

    #[test]
    fn within_1_15_lsb_of_the_exact_quantile() {
        let mut worst = 0.0f64;
        let mut check = |t: u64| {
            let error = f64::from(magnitude(t)) - 4096.0 * exact(t);
            worst = worst.max(error.abs());
            assert!(error.abs() <= 1.15, "tail {t}: {error}");
        };
        (0..1 << 14).for_each(&mut check);
        for segment in knots().windows(2) {
            let width = segment[1] - segment[0];
            let samples = width.min(509);
            for sample in 0..samples {
                check(segment[0] + width * sample / samples);
            }
            check(segment[1] - 1);
        }
        println!("normal: at most {worst:.4} LSB from f64");
    }

    #[test]
    fn negative_half_mirrors_the_positive() {
        for t in (0..1 << 31).step_by(100_003) {
            assert_eq!(normal_from_bits(t | 1 << 31), -normal_from_bits(t));
        }
    }

    #[test]
    fn reaches_beyond_six_sigma() {
        assert_eq!(normal_from_bits(0), magnitude(0));
        assert!(f64::from(magnitude(0)) / 4096.0 > 6.3);
        assert_eq!(magnitude((1 << 31) - 1), 0);
    }

    /// The distribution over all 2^32 words, without sampling: a magnitude decreases as t grows, so bisection finds how
    /// many t give at least each magnitude.
    #[test]
    fn exact_distribution_over_all_words() {
        let half = 31f64.exp2();
        let at_least = |q: i16| {
            let (mut low, mut high) = (0u64, 1 << 31);
            while low < high {
                let middle = low.midpoint(high);
                if magnitude(middle) >= q {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low as f64
        };
        let (mut distance, mut variance, mut fourth) = (0.0f64, 0.0, 0.0);
        let mut count = half;
        for q in 0..=magnitude(0) {
            let above = at_least(q + 1);
            let share = (count - above) / half;
            let z2 = (f64::from(q) / 4096.0).powi(2);
            variance += share * z2;
            fourth += share * z2 * z2;
            let upper = above / half / 2.0;
            distance = distance.max((1.0 - upper - rounded_cdf(q.into())).abs());
            count = above;
        }
        assert_eq!(count, 0.0);
        let kurtosis = fourth / variance / variance;
        println!("normal, exact: variance {variance:.7}, kurtosis {kurtosis:.7}, distance {distance:.2e}");
        assert!((variance - 1.0).abs() < 1e-5);
        assert!((kurtosis - 3.0).abs() < 1e-4);
        assert!(distance < 1e-4);
    }

    #[test]
    fn one_word_a_draw_in_order() {
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(3);
        let mut words = rng.clone();
        let mut out = [0; 257];
        fill_normal(&mut rng, &mut out);
        assert_eq!(out, out.map(|_| normal_from_bits(words.next_u32())));
        assert_eq!(rng, words);
    }
}
