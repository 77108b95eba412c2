//! Activation functions, which run once per neuron or pixel: 32-bit arithmetic with one multiplication each.

use super::activation_table::{SOFTPLUS_TAIL, TANH};
use super::interpolate;

/// Hyperbolic tangent of a Q16 argument, in Q15, within ±32767. The error is at most 1.25 LSB.
///
/// It is exactly odd and never decreases.
#[inline]
pub fn tanh(x: i32) -> i32 {
    let magnitude = tanh_of_half(x.saturating_add(x)) >> 17;
    let sign = x >> 31;
    (magnitude as i32 ^ sign) - sign
}

/// `2^32 tanh(|x| / 2)` of a Q16 argument: it is halved by reading Q16 as Q17.
#[inline(never)]
fn tanh_of_half(x: i32) -> u32 {
    follow::<17, _>(&TANH, x.unsigned_abs())
}

/// Hyperbolic tangent of a Q20 argument, in Q30, within ±(2^30 - 2^15). The error is at most 1 LSB of Q15.
///
/// It interpolates between the nodes of [`tanh`] without rounding. It is therefore continuous, and maps that use it can
/// be inverted.
#[inline]
#[cfg(feature = "flow")]
pub(crate) fn tanh_fine(x: i32) -> i32 {
    let magnitude = follow::<20, _>(&TANH, x.unsigned_abs()).wrapping_sub(1 << 16) >> 2;
    let sign = x >> 31;
    (magnitude as i32 ^ sign) - sign
}

/// Logistic function `1 / (1 + e^-x)` of a Q16 argument, in Q15, within 0..=32767. The error is at most 1 LSB.
///
/// It never decreases. `sigmoid(-x) + sigmoid(x)` is 32768, except where 32767 stands for one.
#[inline]
pub fn sigmoid(x: i32) -> i32 {
    // (1 + tanh(x / 2)) / 2.
    let tanh = tanh_of_half(x) >> 16;
    let upper = ((0x1_0001 + tanh) >> 2) as i32;
    if x < 0 { 0x8000 - upper } else { upper.min(0x7fff) }
}

/// `ln(1 + e^x)` of a Q16 argument, in Q16. The error is at most 1.5 LSB. It never decreases.
///
/// The negative log-likelihood of a Bernoulli pixel with logit `l` is `softplus(l) - x l`.
#[inline]
pub fn softplus(x: i32) -> u32 {
    let tail = (follow::<16, _>(&SOFTPLUS_TAIL, x.unsigned_abs()) + 0x8000) >> 16;
    x.max(0) as u32 + tail
}

/// Interpolates between the nodes of `table` at a magnitude with `FRAC` fractional bits, times 2^16. Below 2 a segment
/// is 1/64 wide; the width doubles in every octave above. The last segment is flat and covers all larger magnitudes.
#[inline(always)]
fn follow<const FRAC: u32, const N: usize>(table: &[u16; N], magnitude: u32) -> u32 {
    let octave = if cfg!(elbo_m0) { few_octaves::<FRAC, N>(magnitude) } else { octave::<FRAC>(magnitude) };
    let index = (octave << 6) + (magnitude >> (FRAC - 6 + octave));
    let fraction = (magnitude << (38 - FRAC - octave)) >> 16;
    interpolate(table, index, fraction)
}

/// The number of octaves from 2 up that a magnitude has reached.
#[inline(always)]
const fn octave<const FRAC: u32>(magnitude: u32) -> u32 {
    (31 - FRAC).saturating_sub(magnitude.leading_zeros())
}

/// The same up to the last octave of a table of `N` nodes, for a Cortex-M0, which counts leading zeros in a library call.
#[inline(always)]
fn few_octaves<const FRAC: u32, const N: usize>(magnitude: u32) -> u32 {
    const { assert!(N <= 5 * 64 + 1) };
    u32::from(magnitude >= 2 << FRAC)
        + u32::from(magnitude >= 4 << FRAC)
        + u32::from(N > 4 * 64 + 1 && magnitude >= 8 << FRAC)
}

#[cfg(test)]
mod tests {
    use super::super::generator::{assert_table, octave_knot, unbiased_nodes};
    use super::*;
    use proptest::prelude::*;
    use std::{println, vec::Vec};

    fn knots(count: usize) -> Vec<u64> {
        (0..count).map(|i| octave_knot(i, 6) << 10).collect()
    }

    fn q16(x: u64) -> f64 {
        x as f64 / 65_536.0
    }

    #[test]
    fn tanh_table_is_the_computed_one() {
        let nodes = unbiased_nodes(&knots(257), |x| 65536.0 * q16(x).tanh());
        let nodes: Vec<f64> = nodes.iter().map(|y| (y.round() + 1.0).min(65535.0)).collect();
        assert_flat_after(&TANH, &nodes);
    }

    #[test]
    fn softplus_table_is_the_computed_one() {
        let nodes = unbiased_nodes(&knots(321), |x| 65536.0 * (-q16(x)).exp().ln_1p());
        assert_flat_after(&SOFTPLUS_TAIL, &nodes);
    }

    #[test]
    fn octaves_are_the_same_in_the_table() {
        for magnitude in (0..32).flat_map(|bit| [1u32 << bit, (1 << bit) + 1, (1 << bit) - 1]).chain([u32::MAX]) {
            assert_eq!(octave::<17>(magnitude).min(2), few_octaves::<17, { TANH.len() }>(magnitude));
            assert_eq!(octave::<16>(magnitude).min(3), few_octaves::<16, { SOFTPLUS_TAIL.len() }>(magnitude));
        }
    }

    /// Fails if a table is not the beginning of the computed one, or if that goes on after the table's last segment.
    fn assert_flat_after(table: &[u16], nodes: &[f64]) {
        let (stored, rest) = nodes.split_at(table.len());
        assert_table(table, stored);
        let last = table.last().copied().map(f64::from);
        assert!(rest.iter().all(|node| Some(node.round()) == last), "the table ends too early");
    }

    /// Largest error over all arguments of the given range. The function must never decrease.
    fn worst(
        name: &str,
        range: core::ops::RangeInclusive<i32>,
        f: impl Fn(i32) -> f64,
        exact: impl Fn(f64) -> f64,
    ) -> f64 {
        let (mut worst, mut previous) = (0.0f64, f64::MIN);
        for x in range {
            let y = f(x);
            assert!(y >= previous, "{name} falls at {x}");
            previous = y;
            worst = worst.max((y - exact(f64::from(x) / 65536.0)).abs());
        }
        println!("{name}: at most {worst:.4} LSB from f64");
        worst
    }

    const EVERY: core::ops::RangeInclusive<i32> = -(17 << 16)..=17 << 16;

    #[test]
    fn tanh_error_over_every_argument() {
        let error = worst("tanh", EVERY, |x| tanh(x).into(), |x| 32768.0 * x.tanh());
        assert!(error <= 1.25);
    }

    #[cfg(feature = "flow")]
    #[test]
    fn tanh_fine_error_over_every_argument() {
        let (mut error, mut previous) = (0.0f64, i32::MIN);
        for x in -(17 << 20)..=17 << 20 {
            let y = tanh_fine(x);
            assert!(y >= previous && (y - previous < 1100 || x == -(17 << 20)), "tanh_fine jumps at {x}");
            previous = y;
            error = error.max((f64::from(y) / 32768.0 - 32768.0 * (f64::from(x) / 1_048_576.0).tanh()).abs());
        }
        println!("tanh_fine: at most {error:.4} LSB of Q15 from f64");
        assert!(error <= 1.0);
        let most = (1 << 30) - (1 << 15);
        for x in [17 << 20, 1 << 30, i32::MAX] {
            assert_eq!((tanh_fine(x), tanh_fine(-x)), (most, -most));
        }
        assert_eq!((tanh_fine(0), tanh_fine(i32::MIN)), (0, -most));
    }

    #[test]
    fn sigmoid_error_over_every_argument() {
        let exact = |x: f64| 32768.0 / (1.0 + (-x).exp());
        assert!(worst("sigmoid", EVERY, |x| sigmoid(x).into(), exact) <= 1.0);
    }

    #[test]
    fn softplus_error_over_every_argument() {
        let exact = |x: f64| 65536.0 * (x.max(0.0) + (-x.abs()).exp().ln_1p());
        assert!(worst("softplus", EVERY, |x| softplus(x).into(), exact) <= 1.5);
    }

    #[test]
    fn far_arguments_saturate() {
        assert_eq!(TANH[215..], [65535, 65535]);
        assert_eq!(SOFTPLUS_TAIL[287..], [0, 0]);
        for x in [17 << 16, 1 << 24, 0x1234_5678, 1 << 30, i32::MAX] {
            assert_eq!((tanh(x), tanh(-x)), (32767, -32767));
            assert_eq!((sigmoid(x), sigmoid(-x)), (32767, 0));
            assert_eq!((softplus(x), softplus(-x)), (x as u32, 0));
        }
        assert_eq!((tanh(i32::MIN), sigmoid(i32::MIN)), (-32767, 0));
        assert_eq!(softplus(i32::MIN), 0);
        assert_eq!((tanh(0), sigmoid(0), softplus(0)), (0, 16384, 45426));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn symmetries(x in -i32::MAX..=i32::MAX, shift in 0u32..31) {
            let x = x >> shift;
            prop_assert_eq!(tanh(-x), -tanh(x));
            let sum = sigmoid(-x) + sigmoid(x);
            prop_assert!(sum == 32768 || sum == 32767 && sigmoid(x.abs()) == 32767, "{}", sum);
            // softplus(x) - softplus(-x) = x
            prop_assert_eq!(i64::from(softplus(x)) - i64::from(softplus(-x)), i64::from(x));
        }

        #[test]
        fn never_falls(x: i32, y: i32, shift in 0u32..31) {
            let (low, high) = (x.min(y) >> shift, x.max(y) >> shift);
            prop_assert!(tanh(low) <= tanh(high));
            prop_assert!(sigmoid(low) <= sigmoid(high));
            prop_assert!(softplus(low) <= softplus(high));
        }
    }
}
