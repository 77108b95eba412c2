//! Categorical distributions given by their logits: probabilities, and the free energy of values weighted by them.
//!
//! The functions use only integers and accept any input: nothing panics and no sum overflows. Sums are exact, so their
//! order does not matter. At most [`MAX_CLASSES`] classes are read; further classes are ignored.

use super::bounds::{OperandError, require, to_q16};
use super::machine::{Machine, Step, Values, apart_exact, at, put, vector_mut};
use super::probabilities::{Share, WEIGHT_FRAC};
use super::{Count, Matrices, Operation, Reduction, Steps, Transform};
use crate::exact::product;
use crate::fixed;

pub(super) struct OneHot;
pub(super) struct Softmax;
pub(super) struct MeanVec;
pub(super) struct FreeEnergy;

impl Operation for OneHot {
    const STEPS: Steps = Steps::of(64, 1);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require((1..=i16::MAX as u32).contains(&o.op.imm), OperandError::Bound)?;
        Ok(o.op.imm as u16)
    }
}

impl Transform for OneHot {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let iteration = machine.loops.innermost().map_or(0, |(_, iteration)| iteration);
        let out = vector_mut(machine.arena, step.y()).unwrap_or_default();
        out.fill(0);
        if let Some(chosen) = out.get_mut(usize::from(iteration)) {
            *chosen = step.op.imm as i16;
        }
    }
}

impl Operation for Softmax {
    const STEPS: Steps = Steps::of(264, 40);
    const ERROR: &'static str = "0.51 LSB";
    const LIMIT: &'static str = "one is 32767";
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Softmax {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        if let Some((logits, out)) = apart_exact(machine.arena, step.a(), step.y()) {
            softmax(logits, step.frac(0), out);
        }
    }
}

impl Operation for MeanVec {
    const STEPS: Steps = Steps::of(80, 2);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(o.a().len().checked_rem(o.y().len()) == Some(0), OperandError::Shape)?;
        Ok(o.a().bound())
    }

    /// One division for each element of the mean.
    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        Count::of_steps(product(o.y().len() as usize, 177))
    }
}

impl Transform for MeanVec {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (a, y) = (step.a(), step.y());
        let arena = &mut *machine.arena;
        for i in 0..y.len().min(a.len()) {
            let terms = (i..a.len()).step_by(y.len().max(1) as usize);
            let mean = fixed::mean(terms.map(|i| i64::from(at(arena, a.offset(), i))));
            put(arena, y.offset(), i, mean as i32);
        }
    }
}

impl Operation for FreeEnergy {
    const STEPS: Steps = Steps::of(872, 29);
    const ERROR: &'static str = "1.1 LSB + 2^-26 + n 2^-31 of the range of the terms";
    const LIMIT: &'static str = "a value beyond 2^46 LSB, 2^30 nats, counts as this";
    /// The sum of a mean of values clamped to 2^46 and an entropy below 12.
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().clamp(20, 46) + 2)
    }
}

impl Reduction for FreeEnergy {
    fn nats(values: &Values<'_>) -> i64 {
        free_energy(values.terms(), values.vectors[1], values.frac(1))
    }
}

/// Largest number of classes.
pub const MAX_CLASSES: usize = 1 << 16;
/// Largest magnitude of a value of [`free_energy`], in Q16 nats. Larger values are clamped.
pub const MAX_VALUE: i64 = 1 << 46;

/// Turns a value plus the logarithm of its weight into a positive number of 48 bits.
const OFFSET: i64 = 1 << 47;

/// The logit of each class relative to the largest in Q16, and its exponential with [`WEIGHT_FRAC`] fractional bits.
fn weights(logits: &[i16], frac: u32) -> impl Iterator<Item = (i32, u32)> + '_ {
    let logits = logits.get(..MAX_CLASSES).unwrap_or(logits);
    let most = logits.iter().copied().max().unwrap_or(0);
    logits.iter().map(move |&logit| {
        let below = to_q16(i32::from(logit) - i32::from(most), frac);
        (below, fixed::exp(below, WEIGHT_FRAC) as u32)
    })
}

/// The sum of all weights: from 2^30 (the weight of the most probable class) to 2^46.
fn total(logits: &[i16], frac: u32) -> u64 {
    weights(logits, frac).map(|(_, weight)| u64::from(weight)).sum::<u64>().max(1 << WEIGHT_FRAC)
}

/// `out[i] = e^l_i / sum_j e^l_j` in Q15, for logits `l` with `frac <= 16` fractional bits (more count as 16).
///
/// The error is at most 0.51 LSB, except that 32767 stands for one. If the lengths differ, the surplus elements of
/// `out` are not changed, and the surplus logits are not used for `out`.
pub fn softmax(logits: &[i16], frac: u32, out: &mut [i16]) {
    let share = Share::of(total(logits, frac));
    for ((_, weight), out) in weights(logits, frac).zip(out) {
        *out = share.probability(weight);
    }
}

/// `sum_i p_i (v_i + ln p_i)` in Q16 nats with `p = softmax(l)`: the mean of the values under the distribution, minus
/// its entropy. The result is 0 if there are no classes. With `v_i = -bound(x, y = i)` and `p = q(y|x)` this is the
/// negative bound of a row of unknown class, computed by enumeration of the classes (Kingma et al., arXiv 1406.5298,
/// equation 7; Maaloe et al., arXiv 1602.05473, equation 9).
///
/// `values` are Q16 nats, one per class; classes without a value are ignored. Logits have `frac <= 16` fractional bits
/// (more count as 16). The error is at most 1.1 LSB plus `2^-26 + n 2^-31` of the distance between the smallest and the
/// largest of `v_i + ln p_i`. A class with less than `2^-31` of the largest probability does not count. Sums are exact,
/// so the order of the classes does not matter.
pub fn free_energy(values: impl Iterator<Item = i64>, logits: &[i16], frac: u32) -> i64 {
    let (mut low, mut middle, mut high, mut total) = (0u64, 0u64, 0u64, 0u64);
    for (value, (below, weight)) in values.zip(weights(logits, frac)) {
        let term = (value.clamp(-MAX_VALUE, MAX_VALUE) + i64::from(below) + OFFSET) as u64;
        let limb = |shift: u32| u64::from(weight) * (term >> shift & 0xFFFF);
        low += limb(0);
        middle += limb(16);
        high += limb(32);
        total += u64::from(weight);
    }
    if total == 0 {
        return 0;
    }
    // Long division in base 2^16: every remainder is below the total, 2^46, and every limb's sum below 2^62.
    let (high, rest) = divide(high, total);
    let (middle, rest) = divide((rest << 16) + middle, total);
    let (low, rest) = divide((rest << 16) + low, total);
    let mean = (high << 32).wrapping_add(middle << 16).wrapping_add(low) as i64 + i64::from(rest > total / 2);
    mean - OFFSET - i64::from(fixed::ln(total, WEIGHT_FRAC))
}

/// Quotient and remainder by a divisor from 1 to 2^62, computed bit by bit. It runs only a few times per score, and the
/// compiler's own 64-bit division takes 900 bytes of code.
#[inline(never)]
fn divide(mut dividend: u64, divisor: u64) -> (u64, u64) {
    let mut rest = 0u64;
    for _ in 0..u64::BITS {
        rest = rest << 1 | dividend >> 63;
        dividend <<= 1;
        if rest >= divisor {
            rest -= divisor;
            dividend |= 1;
        }
    }
    (dividend, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// `ln p` of each class in `f64`.
    fn log_probabilities(logits: &[i16], frac: u32) -> Vec<f64> {
        let logits: Vec<f64> = logits.iter().map(|&l| f64::from(l) / f64::from(frac).exp2()).collect();
        let most = logits.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = logits.iter().map(|l| (l - most).exp()).sum();
        logits.iter().map(|l| l - most - total.ln()).collect()
    }

    /// The free energy in `f64` and the stated bound of the error, both in LSB.
    fn exact(values: &[i64], logits: &[i16], frac: u32) -> (f64, f64) {
        let log_p = log_probabilities(logits, frac);
        let terms: Vec<f64> = values.iter().zip(&log_p).map(|(&v, p)| v as f64 + p * 65536.0).collect();
        // Relative to the term of the most probable class, so that f64 does not lose precision in the comparison.
        let top = log_p.iter().zip(&terms).max_by(|a, b| a.0.total_cmp(b.0)).map_or(0.0, |(_, t)| *t);
        let energy = top + log_p.iter().zip(&terms).map(|(p, t)| p.exp() * (t - top)).sum::<f64>();
        let spread = terms.iter().copied().fold(f64::MIN, f64::max) - terms.iter().copied().fold(f64::MAX, f64::min);
        (energy, 1.1 + spread * ((-26f64).exp2() + terms.len() as f64 * (-31f64).exp2()))
    }

    fn classes() -> impl Strategy<Value = Vec<(i64, i16)>> {
        (0u32..31, 0u32..16).prop_flat_map(|(nats, logits)| {
            let (v, l) = (MAX_VALUE >> nats, i16::MAX >> logits);
            prop::collection::vec((-v..=v, -l..=l), 1..40)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn probabilities_match_floating_point(
            logits in prop::collection::vec(any::<i16>(), 1..300),
            narrow in 0u32..16,
            frac in 0u32..=16,
        ) {
            let logits: Vec<i16> = logits.into_iter().map(|l| l >> narrow).collect();
            let mut out = vec![-1i16; logits.len()];
            softmax(&logits, frac, &mut out);
            for (p, log_p) in out.iter().zip(log_probabilities(&logits, frac)) {
                let exact = (32768.0 * log_p.exp()).min(32767.0);
                prop_assert!((f64::from(*p) - exact).abs() <= 0.51, "{p} {exact}");
            }
        }

        #[test]
        fn free_energy_matches_floating_point(classes in classes(), frac in 0u32..=16) {
            let (values, logits): (Vec<i64>, Vec<i16>) = classes.into_iter().unzip();
            let got = free_energy(values.iter().copied(), &logits, frac);
            let (exact, error) = exact(&values, &logits, frac);
            // f64 itself is right to 2^-52 of the values.
            let error = error + values.iter().map(|v| v.unsigned_abs()).max().unwrap() as f64 * (-50f64).exp2();
            prop_assert!((got as f64 - exact).abs() <= error, "{got} {exact} {error}");
        }

        #[test]
        fn the_order_of_classes_does_not_matter(classes in classes(), frac in 0u32..=16, turn in 0usize..40) {
            let energy = |classes: &[(i64, i16)]| {
                let (values, logits): (Vec<i64>, Vec<i16>) = classes.iter().copied().unzip();
                free_energy(values.into_iter(), &logits, frac)
            };
            let mut turned = classes.clone();
            turned.rotate_left(turn % classes.len());
            prop_assert_eq!(energy(&classes), energy(&turned));
        }

        #[test]
        fn total_for_any_input(
            values in prop::collection::vec(any::<i64>(), 0..9),
            logits in prop::collection::vec(any::<i16>(), 0..9),
            frac: u32,
        ) {
            let _ = free_energy(values.into_iter(), &logits, frac);
            softmax(&logits, frac, &mut [0; 5]);
        }

        #[test]
        fn division_is_division(dividend: u64, divisor in 1u64..=1 << 62, shift in 0u32..62) {
            let divisor = (divisor >> shift).max(1);
            prop_assert_eq!(divide(dividend, divisor), (dividend / divisor, dividend % divisor));
        }
    }

    #[test]
    fn certain_and_uniform_distributions() {
        let mut out = [0; 3];
        softmax(&[32767, -32768, -32768], 11, &mut out);
        assert_eq!(out, [32767, 0, 0]);
        softmax(&[5, 5, 5, 5], 11, &mut out);
        assert_eq!(out, [8192; 3], "an output that is too short takes the first probabilities");
        // A certain class: its own value. A uniform one: the mean minus the logarithm of the count.
        assert_eq!(free_energy([7 << 16, -1 << 40].into_iter(), &[i16::MAX, i16::MIN], 8), 7 << 16);
        let uniform = free_energy([0, 2 << 16, 4 << 16, 6 << 16].into_iter(), &[-3; 4], 11);
        assert_eq!(uniform, (3 << 16) - 90_852);
        assert_eq!(free_energy([].into_iter(), &[1, 2], 11), 0);
        assert_eq!(free_energy([1].into_iter(), &[], 11), 0);
        assert_eq!(free_energy([9 << 16].into_iter(), &[0, 0], 11), 9 << 16);
    }

    #[test]
    fn as_many_classes_as_there_may_be() {
        for logit in [i16::MIN, 0, i16::MAX] {
            for value in [-MAX_VALUE, MAX_VALUE] {
                let logits = vec![logit; MAX_CLASSES + 3];
                let energy = free_energy(std::iter::repeat(value), &logits, 11);
                let entropy = (65536.0 * (MAX_CLASSES as f64).ln()).round() as i64;
                assert!((energy - (value - entropy)).abs() <= 1, "{energy} {value} {entropy}");
            }
        }
        let mut out = vec![7; MAX_CLASSES + 3];
        softmax(&vec![1; MAX_CLASSES + 3], 11, &mut out);
        assert_eq!((out[0], out[MAX_CLASSES - 1], out[MAX_CLASSES]), (1, 1, 7));
    }
}
