//! Mixtures of Gaussians: the logarithm of each component's joint density, and the probabilities of the components.
//!
//! A layer whitens a row for all components at once, `u_c = L_c^-1 (x - mu_c)`. What is left of component c's density `w_c N(x;
//! mu_c, L_c L_c^T)` is its logarithm at the mean, a constant, minus half the square of `u_c` (Bishop, Pattern Recognition and
//! Machine Learning, 2006, section 9.2). Integers only, for any input; the sums of squares are exact.

use super::bounds::{OperandError, bits, q16_log2, require, square_log2, sum_log2};
use super::machine::{self, Machine, Step, at, put, read_scalar, write_scalar};
use super::probabilities::{Share, WEIGHT_FRAC};
use super::{Count, Matrices, Operation, Steps, Transform, density};
use crate::ops::record::Operand;
use crate::{exact, fixed};

pub(super) struct GaussianLogits;
pub(super) struct Posterior;

impl Operation for GaussianLogits {
    const STEPS: Steps = Steps::of(64, 30);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let (a, b) = (o.a(), o.b());
        require(b.len().checked_rem(a.len()) == Some(0), OperandError::Shape)?;
        let peak = q16_log2(bits(a), a.frac()) as u16;
        Ok(peak.max(sum_log2(part_of(b, a), square_log2(b))) + 1)
    }

    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        Count::of_steps(o.b().len() as usize)
    }
}

impl Transform for GaussianLogits {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (a, b, y) = (step.a(), step.b(), step.y());
        let len = part_of(b, a);
        for c in 0..y.len().min(a.len()) {
            let part = machine::range(b.offset().wrapping_add(c.wrapping_mul(len)), len);
            let whitened = machine.arena.get(part).unwrap_or_default();
            let peak = at(machine.arena, a.offset(), c) as i16;
            let nats = gaussian_logit(peak, step.frac(0), whitened, step.frac(1));
            write_scalar(machine.arena, y, c, nats);
        }
    }
}

impl Operation for Posterior {
    const STEPS: Steps = Steps::of(240, 57);
    const ERROR: &'static str = "0.51 LSB";
    const LIMIT: &'static str = "one is 32767";
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Posterior {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (a, y) = (step.a(), step.y());
        let arena = &mut *machine.arena;
        let components = Components::of((0..a.len()).map(|c| read_scalar(arena, a, c)));
        for c in 0..y.len() {
            let probability = components.probability(read_scalar(arena, a, c));
            put(arena, y.offset(), c, probability.into());
        }
    }
}

/// The elements of `b` that belong to one of `a`.
fn part_of(b: Operand<'_>, a: Operand<'_>) -> u32 {
    b.len().checked_div(a.len()).unwrap_or(0)
}

/// `peak - 1/2 |u|^2` in Q16 nats, with `peak_frac` and `u_frac` fractional bits of at most 15. Exact but for one rounding of
/// each term: at most 1 LSB.
pub(super) fn gaussian_logit(peak: i16, peak_frac: u32, u: &[i16], u_frac: u32) -> i64 {
    exact::sub_64(density::sum(&[peak], peak_frac), density::half_sum_sq(u, u_frac))
}

/// Q16 logits of at most 65536 components, as weights relative to the largest.
struct Components {
    most: i64,
    share: Share,
}

impl Components {
    /// Runs through the logits twice.
    fn of(logits: impl Iterator<Item = i64> + Clone) -> Self {
        let most = logits.clone().max().unwrap_or(0);
        let total = logits.fold(0u64, |total, logit| total.wrapping_add(weight(logit, most).into()));
        Self { most, share: Share::of(total.clamp(1 << WEIGHT_FRAC, 1 << 46)) }
    }

    /// `e^logit` over the sum of all in Q15: 32767 stands for one, else at most 0.51 LSB from the true value.
    fn probability(&self, logit: i64) -> i16 {
        self.share.probability(weight(logit, self.most))
    }
}

/// `e^(logit - most)` with [`WEIGHT_FRAC`] fractional bits.
fn weight(logit: i64, most: i64) -> u32 {
    // e^-64 is nothing at this precision.
    fixed::exp(logit.saturating_sub(most).clamp(-64 << 16, 0) as i32, WEIGHT_FRAC) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn logits_match_floating_point(
            peak: i16,
            u in prop::collection::vec(any::<i16>(), 0..30),
            [peak_frac, u_frac] in [0u32..=15, 0u32..=15],
        ) {
            let value = |q: i16, frac: u32| f64::from(q) / f64::from(frac).exp2();
            let squares: f64 = u.iter().map(|u| value(*u, u_frac).powi(2)).sum();
            let exact = (value(peak, peak_frac) - 0.5 * squares) * 65536.0;
            let got = gaussian_logit(peak, peak_frac, &u, u_frac) as f64;
            prop_assert!((got - exact).abs() <= 1.0, "{got} {exact}");
        }

        #[test]
        fn posteriors_match_floating_point(
            logits in prop::collection::vec(-20i64 << 16..20 << 16, 1..200),
            scale in 0u32..40,
            narrow in 0u32..20,
        ) {
            let logits: Vec<i64> = logits.into_iter().map(|v| v >> narrow << scale).collect();
            let components = Components::of(logits.iter().copied());
            let most = *logits.iter().max().unwrap();
            let weight = |v: i64| ((v - most) as f64 / 65536.0).exp();
            let total: f64 = logits.iter().map(|v| weight(*v)).sum();
            for v in logits {
                let (p, exact) = (components.probability(v), (32768.0 * weight(v) / total).min(32767.0));
                prop_assert!((f64::from(p) - exact).abs() <= 0.51, "{p} {exact}");
            }
        }

        #[test]
        fn total_for_any_input(logits in prop::collection::vec(any::<i64>(), 0..9), other: i64) {
            let p = Components::of(logits.into_iter()).probability(other);
            prop_assert!(p >= 0);
        }
    }

    #[test]
    fn as_many_components_as_there_may_be() {
        let uniform = Components::of(core::iter::repeat_n(-5, 1 << 16));
        assert_eq!(uniform.probability(-5), 1);
        let certain = Components::of([0, -64 << 16].into_iter());
        assert_eq!([0, -64 << 16].map(|v| certain.probability(v)), [i16::MAX, 0]);
    }
}
