//! Gaussians whose precision has a rank-1 term: the part of a DLGM's recognition model (arXiv 1401.4082) that uses its
//! factor `v`. The diagonal part is computed by other operations.
//!
//! With `C^-1 = D + u u^T`, `sigma = D^-1/2` and `v = D^-1/2 u`, the covariance is `C = diag(sigma) (I + v v^T)^-1
//! diag(sigma)`, and its root `R = diag(sigma) (I - kappa v v^T)` with `kappa = 1 / (1 + s + sqrt(1 + s))`, `s = |v|^2`.
//!
//! Factors are `i16` with 8 to 15 fractional bits (other numbers count as the nearer limit). Sums over up to 65536 of
//! them are exact in 64 bits, so their order does not matter. Scalars are then kept as 31-bit mantissas.

use super::bounds::{FULL, OperandError, square_log2, sum_log2};
use super::machine::{Machine, Step, Values, apart_exact, moved};
use super::{Matrices, Operation, Reduction, Steps, Transform};
use crate::fixed::{self, divide};

pub(super) struct RankOne;
pub(super) struct HalfLogDet;
pub(super) struct RankOneKl;

/// log2 of the largest 1/2 ln(1 + |a|^2), Q16: below 64 nats for any vector.
const LOG_DET_LOG2: u16 = 22;

impl Operation for RankOne {
    const STEPS: Steps = Steps::of(424, 10);
    const ERROR: &'static str = "0.5 LSB + 2^-27 of the norm of a";
    const LIMIT: &'static str = "saturates";
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(FULL)
    }
}

impl Transform for RankOne {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (a, v) = (step.a(), step.b());
        moved(machine.arena, a, step.y());
        if let Some((v, out)) = apart_exact(machine.arena, v, step.y()) {
            rotate(out, v, step.frac(1));
        }
    }
}

impl Operation for HalfLogDet {
    const STEPS: Steps = Steps::of(124, 1);
    const ERROR: &'static str = "0.8 LSB";
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(LOG_DET_LOG2)
    }
}

impl Reduction for HalfLogDet {
    fn nats(values: &Values<'_>) -> i64 {
        half_log_det(values.vectors[0], values.frac(0))
    }
}

impl Operation for RankOneKl {
    const STEPS: Steps = Steps::of(316, 4);
    const ERROR: &'static str = "1.3 LSB + 2^-28 of the quotient";
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(sum_log2(o.a().len(), square_log2(o.b())).max(LOG_DET_LOG2) + 1)
    }
}

impl Reduction for RankOneKl {
    fn nats(values: &Values<'_>) -> i64 {
        let [v, w, _] = values.vectors;
        kl_correction(v, values.frac(0), w, values.frac(1))
    }
}

/// `eps - kappa v (v.eps)`: turns standard normal noise in Q3.12 into noise of covariance `(I + v v^T)^-1`, saturated.
/// Both vectors should have one length; surplus elements of `eps` are not changed.
///
/// The error is at most 0.5 LSB plus 2^-27 of the Euclidean norm of `eps`: 0.57 LSB for any `eps` of up to 65536
/// values.
pub fn rotate(eps: &mut [i16], v: &[i16], v_frac: u32) {
    let frac = v_frac.clamp(8, 15);
    let dot: i64 = eps.iter().zip(v).map(|(&e, &v)| i64::from(i32::from(e) * i32::from(v))).sum();

    // 1 + s in [2^60, 2^62), at 2 frac + up bits with an even up. Its root has half as many bits.
    let grown = grown(v, frac);
    let up = grown.leading_zeros().saturating_sub(2) & !1;
    let grown = grown << up;
    // The root is at most the square, so their sum stays below 2^63.
    let denominator = grown + (u64::from(fixed::sqrt_rem(grown).0) << (frac + up / 2));
    let (kappa, kappa_exponent) = mantissa(divide(1 << 62, ((denominator >> 31) as u32).div_ceil(2)));

    let (dot_size, dot_exponent) = mantissa(dot.unsigned_abs());
    let (step, step_exponent) = mantissa(u64::from(kappa) * u64::from(dot_size));
    let step = if dot < 0 { -i64::from(step) } else { i64::from(step) };
    // kappa |v| < 1 gives a right shift of at least 16. Beyond 62 the product becomes 0.
    let down = 94u32.saturating_sub(up + kappa_exponent + dot_exponent + step_exponent).clamp(1, 62);
    let half = 1i64 << (down - 1);
    for (e, &v) in eps.iter_mut().zip(v) {
        let turned = i64::from(*e) - ((i64::from(v) * step + half) >> down);
        *e = turned.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
    }
}

/// `1/2 ln(1 + |v|^2) = -1/2 ln |(I + v v^T)^-1|` in Q16 nats. The error is at most 0.8 LSB.
pub fn half_log_det(v: &[i16], v_frac: u32) -> i64 {
    let frac = v_frac.clamp(8, 15);
    (i64::from(fixed::ln(grown(v, frac), 2 * frac)) + 1) >> 1
}

/// `1/2 ln(1 + |v|^2) - 1/2 |w|^2 / (1 + |v|^2)` in Q16 nats, with `w = sigma v`: the term that the rank-1 part adds to
/// the [divergence](super::density::kl) of a diagonal Gaussian from the standard normal distribution.
///
/// The error is at most 1.3 LSB plus 2^-28 of the second term.
pub fn kl_correction(v: &[i16], v_frac: u32, w: &[i16], w_frac: u32) -> i64 {
    let (frac, w_frac) = (v_frac.clamp(8, 15), w_frac.clamp(8, 15));
    let grown = grown(v, frac);
    let up = grown.leading_zeros();
    let reciprocal = divide(1 << 62, (((grown << up) >> 32) as u32).div_ceil(2));
    let (squares, exponent) = mantissa(sum_of_squares(w));
    // At most 2^31 times 2^32. Lengths and scales give a right shift of 16 to 93.
    let product = u64::from(squares) * reciprocal;
    let down = (80 + 2 * w_frac).saturating_sub(2 * frac + up + exponent);
    let half_ratio = if down > 63 { 0 } else { (product >> down.saturating_sub(1)).div_ceil(2) };
    half_log_det(v, frac) - half_ratio as i64
}

/// `1 + |v|^2` at `2 frac` fractional bits: below 2^47.
fn grown(v: &[i16], frac: u32) -> u64 {
    sum_of_squares(v) + (1 << (2 * frac))
}

fn sum_of_squares(v: &[i16]) -> u64 {
    v.iter().map(|&v| i64::from(i32::from(v) * i32::from(v)) as u64).sum()
}

/// The 31 leading bits of `x`, and how many bits are cut off behind them.
fn mantissa(x: u64) -> (u32, u32) {
    let cut = 33u32.saturating_sub(x.leading_zeros());
    ((x >> cut) as u32, cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{println, vec, vec::Vec};

    const LSB: f64 = 65536.0;

    fn real(q: &[i16], frac: u32) -> Vec<f64> {
        q.iter().map(|&q| f64::from(q) / f64::from(frac).exp2()).collect()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// `(I - kappa v v^T) eps` in the unit of `eps`.
    fn exact_rotation(eps: &[f64], v: &[f64]) -> Vec<f64> {
        let grown = 1.0 + dot(v, v);
        let along = dot(v, eps) / (grown + grown.sqrt());
        eps.iter().zip(v).map(|(e, v)| e - along * v).collect()
    }

    /// Inverse and determinant of `I + v v^T` by elimination, with no formula for rank 1.
    fn dense(v: &[f64]) -> (Vec<Vec<f64>>, f64) {
        let n = v.len();
        let unit = |i: usize, j: usize| f64::from(u8::from(i == j));
        let mut a: Vec<Vec<f64>> = (0..n)
            .map(|i| (0..2 * n).map(|j| if j < n { unit(i, j) + v[i] * v[j] } else { unit(i, j - n) }).collect())
            .collect();
        let mut determinant = 1.0;
        for i in 0..n {
            let pivot = a[i][i];
            determinant *= pivot;
            a[i].iter_mut().for_each(|x| *x /= pivot);
            let row = a[i].clone();
            for (k, other) in a.iter_mut().enumerate().filter(|(k, _)| *k != i) {
                let factor = other[i];
                assert_ne!(k, i);
                other.iter_mut().zip(&row).for_each(|(x, r)| *x -= factor * r);
            }
        }
        (a.into_iter().map(|row| row[n..].to_vec()).collect(), determinant)
    }

    /// The largest error of a rotation in LSB, and its part beyond 0.5 LSB as a share of the norm of `eps`.
    fn rotation_error(eps: &[i16], v: &[i16], frac: u32) -> (f64, f64) {
        let mut out = eps.to_vec();
        rotate(&mut out, v, frac);
        let eps = real(eps, 0);
        let exact = exact_rotation(&eps, &real(v, frac));
        let error = |(got, want): (&i16, &f64)| (f64::from(*got) - want.clamp(-32768.0, 32767.0)).abs();
        let worst = out.iter().zip(&exact).map(error).fold(0.0, f64::max);
        (worst, (worst - 0.5).max(0.0) / dot(&eps, &eps).sqrt().max(1.0))
    }

    fn exact_correction(v: &[f64], w: &[f64]) -> f64 {
        let grown = 1.0 + dot(v, v);
        0.5 * (grown.ln() - dot(w, w) / grown)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn rotation_matches_floating_point(
            pairs in prop::collection::vec((any::<i16>(), any::<i16>()), 1..200),
            frac in 8u32..=15,
            shift in 0u32..16,
        ) {
            let eps: Vec<i16> = pairs.iter().map(|p| p.0).collect();
            let v: Vec<i16> = pairs.iter().map(|p| p.1 >> shift).collect();
            let (_, relative) = rotation_error(&eps, &v, frac);
            prop_assert!(relative <= (-27f64).exp2(), "2^{}", relative.log2());
        }

        #[test]
        fn log_det_and_correction_match_floating_point(
            pairs in prop::collection::vec((any::<i16>(), any::<i16>()), 0..200),
            fracs in (8u32..=15, 8u32..=15),
            shifts in (0u32..16, 0u32..16),
        ) {
            let v: Vec<i16> = pairs.iter().map(|p| p.0 >> shifts.0).collect();
            let w: Vec<i16> = pairs.iter().map(|p| p.1 >> shifts.1).collect();
            let (exact_v, exact_w) = (real(&v, fracs.0), real(&w, fracs.1));
            let grown = 1.0 + dot(&exact_v, &exact_v);
            let error = half_log_det(&v, fracs.0) as f64 - LSB * 0.5 * grown.ln();
            prop_assert!(error.abs() <= 0.8, "{error}");
            let got = kl_correction(&v, fracs.0, &w, fracs.1) as f64;
            let error = got - LSB * exact_correction(&exact_v, &exact_w);
            let bound = 1.3 + (-28f64).exp2() * LSB * 0.5 * dot(&exact_w, &exact_w) / grown;
            prop_assert!(error.abs() <= bound, "{error} {bound}");
        }

        #[test]
        fn scales_out_of_range_and_ragged_lengths_are_harmless(
            eps in prop::collection::vec(any::<i16>(), 0..9),
            v in prop::collection::vec(any::<i16>(), 0..9),
            fracs: (u32, u32),
        ) {
            let mut out = eps.clone();
            rotate(&mut out, &v, fracs.0);
            let common = eps.len().min(v.len());
            prop_assert_eq!(&out[common..], &eps[common..]);
            let _ = (half_log_det(&v, fracs.0), kl_correction(&v, fracs.0, &eps, fracs.1));
        }
    }

    /// Unit vectors as noise give the columns of the root, whose product is the inverse of `I + v v^T`.
    #[test]
    fn the_root_squares_to_the_inverse() {
        const UNIT: i16 = 24_000;
        let v: Vec<i16> = (0..12i32).map(|i| ((i * 7919 % 4001 - 2000) * 3) as i16).collect();
        for frac in 8..=15 {
            let (inverse, determinant) = dense(&real(&v, frac));
            let columns: Vec<Vec<f64>> = (0..v.len())
                .map(|i| {
                    let mut out = vec![0; v.len()];
                    out[i] = UNIT;
                    rotate(&mut out, &v, frac);
                    out.iter().map(|&o| f64::from(o) / f64::from(UNIT)).collect()
                })
                .collect();
            for (i, row) in inverse.iter().enumerate() {
                for (j, want) in row.iter().enumerate() {
                    let got: f64 = columns.iter().map(|c| c[i] * c[j]).sum();
                    assert!((got - want).abs() < 3e-4, "{frac} [{i}, {j}]: {got} {want}");
                }
            }
            let error = half_log_det(&v, frac) as f64 - LSB * 0.5 * determinant.ln();
            assert!(error.abs() <= 0.8, "{frac}: {error}");
        }
    }

    /// The diagonal divergence plus the correction equals the divergence of the dense covariance.
    #[test]
    fn the_correction_is_that_of_the_dense_divergence() {
        let v: Vec<i16> = (0..10i32).map(|i| ((i * 577 % 101 - 50) * 100) as i16).collect();
        let sigma: Vec<f64> = (0..10).map(|i| 0.2 + 0.13 * f64::from(i)).collect();
        let exact_v = real(&v, 12);
        let w: Vec<i16> = exact_v.iter().zip(&sigma).map(|(v, s)| (v * s * 4096.0).round() as i16).collect();
        let (inverse, determinant) = dense(&exact_v);
        let trace: f64 = (0..10).map(|i| sigma[i] * sigma[i] * inverse[i][i]).sum();
        let want = 0.5 * (trace - dot(&sigma, &sigma) + determinant.ln());
        let got = kl_correction(&v, 12, &w, 12) as f64 / LSB;
        assert!((got - want).abs() < 2e-4, "{got} {want}");
    }

    #[test]
    fn no_factor_changes_nothing() {
        let eps = [i16::MIN, -1, 0, 1, i16::MAX];
        let mut out = eps;
        rotate(&mut out, &[0; 5], 12);
        assert_eq!(out, eps);
        assert_eq!((half_log_det(&[0; 5], 12), half_log_det(&[], 15), kl_correction(&[], 8, &[], 15)), (0, 0, 0));
        // Without v, kl_correction is minus half of |w|^2.
        assert_eq!(kl_correction(&[0, 0], 8, &[256, -512], 8), -5 << 15);
    }

    #[test]
    fn the_longest_and_largest_operands() {
        let mut worst = 0.0f64;
        for frac in [8, 11, 15] {
            for (e, v) in
                [(i16::MIN, i16::MIN), (i16::MAX, i16::MIN), (i16::MIN, i16::MAX), (i16::MAX, 1), (1, i16::MAX)]
            {
                worst = worst.max(rotation_error(&[e; 65536], &[v; 65536], frac).0);
                let w = [v; 65536];
                let got = kl_correction(&w, frac, &w, 8) as f64;
                let (exact_v, exact_w) = (real(&w, frac), real(&w, 8));
                let want = LSB * exact_correction(&exact_v, &exact_w);
                assert!((got - want).abs() <= 1.3 + (-28f64).exp2() * want.abs(), "{got} {want}");
                let _ = kl_correction(&[0; 65536], 15, &w, 8);
            }
        }
        println!("rotate: at most {worst:.4} LSB from f64");
        assert!(worst <= 0.57);
        // All noise is along one large factor: the result is 1 / sqrt(1 + s) of it.
        let mut out = [i16::MIN, 0];
        rotate(&mut out, &[i16::MIN, 0], 8);
        assert_eq!(out, [-256, 0]);
        // The other entries saturate.
        assert_eq!(rotation_error(&[i16::MIN, i16::MIN], &[i16::MAX, i16::MIN], 8).0.round(), 0.0);
    }
}
