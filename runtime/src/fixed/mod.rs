//! Fixed-point functions. They use only integers and accept every input. Each states its error bound, which is tested.
//!
//! `Qn` means that an integer `q` stands for `q / 2^n`; an LSB is `2^-n`. The arguments of all functions are `Q16`.
//!
//! | function | result | error in LSB of the result, at most |
//! |---|---|---|
//! | [`requantize`] | i16 | none: it is a definition |
//! | [`tanh`] | Q15 | 1.25 |
//! | [`sigmoid`] | Q15 | 1 |
//! | [`softplus`] | Q16 | 1.5 |
//! | [`exp`] | the caller's | 0.5, plus 2^-26 of the value |
//! | [`ln`] | Q16 | 0.55 |
//! | [`log_mean_exp`] | Q16 | 0.55 |
//! | [`sqrt`] | half the argument's | 0.5 |

use crate::exact;

mod activation;
mod activation_table;
mod explog;
#[cfg(test)]
pub(crate) mod generator;
mod root;

#[cfg(feature = "flow")]
pub(crate) use activation::tanh_fine;
pub use activation::{sigmoid, softplus, tanh};
#[cfg(any(feature = "flow", feature = "front"))]
pub(crate) use explog::ln_q45;
pub use explog::{exp, ln, log_mean_exp};
pub use root::sqrt;
#[cfg(feature = "dlgm")]
pub(crate) use root::sqrt_rem;

/// The quotient by a divisor from 1 to 2^31, computed bit by bit. It runs only once per score or step of a flow, and
/// the compiler's own 64-bit division takes 900 bytes of code.
#[inline(never)]
pub fn divide(mut dividend: u64, divisor: u32) -> u64 {
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

/// Mean of at most 65536 scalars, rounded half up; 0 if there are none.
pub fn mean(terms: impl Iterator<Item = i64>) -> i64 {
    let (sum, count) = terms.fold((0i64, 0u32), |(sum, count), term| (exact::add_64(sum, term), count + 1));
    // floor((sum + count / 2) / count). Ones' complement gives the floor of a negative sum.
    let sum = exact::add_64(sum, i64::from(count / 2));
    let sign = sum >> 63;
    divide((sum ^ sign) as u64, count.max(1)) as i64 ^ sign
}

/// Converts an accumulator to an activation: `acc * m / 2^32`, rounded to nearest (halves up) and saturated.
///
/// `m` should be in `0 <= m < 2^31`. On a Cortex-M4 this is one `SMMULR` and one `SSAT`.
#[inline]
pub fn requantize(acc: i32, m: i32) -> i16 {
    let rounded = (i64::from(acc) * i64::from(m) + (1 << 31)) >> 32;
    rounded.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

/// The value at `fraction / 2^16` of the way from node `index` to the next node, times 2^16.
///
/// An index past the last segment counts as the last segment.
#[inline(always)]
pub(crate) fn interpolate<const N: usize>(table: &[u16; N], index: u32, fraction: u32) -> u32 {
    const { assert!(N >= 2) };
    // The optimiser knows this bound and removes the bounds checks of both accesses.
    let index = (index as usize).min(N - 2);
    let (from, to) = (u32::from(table[index]), u32::from(table[index + 1]));
    // Modulo 2^32, so that decreasing tables need no signs.
    (from << 16).wrapping_add(to.wrapping_sub(from).wrapping_mul(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requantize_rounds_halves_up_and_saturates() {
        assert_eq!(requantize(1, 1 << 30), 0);
        assert_eq!(requantize(2, 1 << 30), 1);
        assert_eq!(requantize(-2, 1 << 30), 0);
        assert_eq!(requantize(-6, 1 << 30), -1);
        assert_eq!(requantize(i32::MAX, i32::MAX), i16::MAX);
        assert_eq!(requantize(i32::MIN, i32::MAX), i16::MIN);
        assert_eq!(requantize(i32::MIN, i32::MIN), i16::MAX);
    }

    #[test]
    fn means_round_half_up() {
        assert_eq!(mean([].into_iter()), 0);
        assert_eq!([mean([1, 2].into_iter()), mean([-1, -2].into_iter()), mean([-1, -1, 0].into_iter())], [2, -1, -1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn mean_is_rounded_to_nearest(terms in prop::collection::vec(-(1i64 << 40)..1 << 40, 1..100)) {
            let exact = terms.iter().sum::<i64>() as f64 / terms.len() as f64;
            prop_assert!((mean(terms.iter().copied()) as f64 - exact).abs() <= 0.501);
        }

        #[test]
        fn requantize_is_the_exact_rounded_product(acc: i32, m: i32, shift in 0u32..31) {
            let m = m >> shift;
            let exact = (i128::from(acc) * i128::from(m) * 2 + (1i128 << 32)).div_euclid(1 << 33);
            let exact = exact.clamp(-32768, 32767);
            prop_assert_eq!(i128::from(requantize(acc, m)), exact);
        }

        #[test]
        fn requantize_never_falls_as_the_sum_grows(acc in i32::MIN..i32::MAX, m in 0..=i32::MAX) {
            prop_assert!(requantize(acc, m) <= requantize(acc + 1, m));
        }
    }
}
