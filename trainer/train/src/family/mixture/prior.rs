//! What a fit knows before it sees the rows of a component: the prior of the covariances and the rounding of the
//! columns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::linalg::dot;

/// What the covariance of a component is shrunk towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The diagonal covariance of all rows.
    Diagonal,
    /// The full covariance of the rows around the centres of the clusters that a start begins with. It is narrower than
    /// that of all rows, and keeps the correlations that all clusters share.
    Within,
}

/// The mean of the squared deviations of every column, but at least `floor`, `[d]`.
pub fn variances(rows: &[f32], d: usize, floor: f64) -> Vec<f64> {
    let n = (rows.len() / d) as f64;
    let column = |at: usize| rows.iter().skip(at).step_by(d).map(|v| f64::from(*v));
    let variance = |at: usize| {
        let mean = column(at).sum::<f64>() / n;
        column(at).map(|v| (v - mean).powi(2)).sum::<f64>() / n
    };
    (0..d).map(|at| variance(at).max(floor)).collect()
}

/// The matrix with this diagonal, `[d, d]`.
pub fn diagonal(values: &[f64]) -> Vec<f64> {
    let d = values.len();
    (0..d * d).map(|at| if at / d == at % d { values[at / d] } else { 0.0 }).collect()
}

/// `1/n sum (x - m)(x - m)^T` with the mean `m` of the row's cluster, `[d, d]`.
pub fn within(rows: &[f32], d: usize, labels: &[usize], k: usize) -> Vec<f64> {
    let (mut counts, mut means) = (vec![0.0f64; k], vec![0.0; k * d]);
    for (x, label) in rows.chunks_exact(d).zip(labels) {
        counts[*label] += 1.0;
        means[label * d..][..d].iter_mut().zip(x).for_each(|(mean, x)| *mean += f64::from(*x));
    }
    for (mean, count) in means.chunks_exact_mut(d).zip(&counts) {
        mean.iter_mut().for_each(|mean| *mean /= count.max(1.0));
    }
    let mut scatter = vec![0.0; d * d];
    let n = labels.len().max(1) as f64;
    for (x, label) in rows.chunks_exact(d).zip(labels) {
        let centred: Vec<f64> = x.iter().zip(&means[label * d..][..d]).map(|(x, mean)| f64::from(*x) - mean).collect();
        for (row, c) in scatter.chunks_exact_mut(d).zip(&centred) {
            row.iter_mut().zip(&centred).for_each(|(s, other)| *s += c * other / n);
        }
    }
    scatter
}

/// The variance that the rounding of each column hides, `[d]`.
///
/// The density of values with the step `h` does not exist, and that of a mixture grows without limit on values that
/// repeat. Noise of the variance `h^2 / 12`, as rounding causes it, makes them comparable with continuous columns. Of a
/// Gaussian with the deviation `s`, two values that are rounded to the step `h` are equal with the probability `p = h /
/// (2 s sqrt(pi))`. So a column with this share `p` of equal pairs of rows has the step `h = 2 sqrt(pi) s p`. This also
/// holds for columns that only repeat one of their values, such as 0.
pub fn rounding(rows: &[f32], d: usize) -> Vec<f64> {
    let n = rows.len() / d;
    let variances = variances(rows, d, 0.0);
    let of_column = |at: usize| {
        let mut values: Vec<f32> = rows.iter().skip(at).step_by(d).copied().collect();
        values.sort_by(f32::total_cmp);
        let pairs = |same: &[f32]| same.len() as f64 * (same.len() as f64 - 1.0);
        let equal: f64 = values.chunk_by(|a, b| a == b).map(pairs).sum();
        let share = equal / (n as f64 * (n as f64 - 1.0)).max(1.0);
        // h^2 / 12 with h^2 = 4 pi s^2 p^2.
        variances[at] * std::f64::consts::PI * share * share / 3.0
    };
    (0..d).map(of_column).collect()
}

/// `tr(T W^T W)` for the inverse Cholesky factor `W` of a covariance and a symmetric matrix `T`, `[d, d]` both.
pub fn trace(whitening: &[f64], target: &[f64], d: usize) -> f64 {
    let of_row = |w: &[f64]| target.chunks_exact(d).zip(w).map(|(t, at)| at * dot(t, w)).sum::<f64>();
    whitening.chunks_exact(d).map(of_row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    #[test]
    fn rounding_is_known_from_equal_values() {
        let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(1);
        let gaussian = crate::family::mixture::gaussians::Mixture::new(vec![1.0], vec![0.5], &[4.0]).unwrap();
        let values: Vec<f32> = (0..20_000).map(|_| gaussian.sample(&mut rng).1[0] as f32).collect();
        for step in [0.1f32, 0.5, 1.0] {
            let rounded: Vec<f32> = values.iter().map(|v| (v / step).round() * step).collect();
            let (found, exact) = (rounding(&rounded, 1)[0], f64::from(step).powi(2) / 12.0);
            assert!((found / exact - 1.0).abs() < 0.06, "{step}: {found} {exact}");
        }
        // Values in 32 bits that repeat by chance hide hardly anything.
        assert!(rounding(&values, 1)[0] < 1e-9);
        // Two columns, one of which is constant; and a single row.
        assert_eq!(rounding(&[1.0, 5.0, 2.0, 5.0, 3.0, 5.0], 2), [0.0, 0.0]);
        assert_eq!(rounding(&[1.0, 5.0], 2), [0.0, 0.0]);
    }

    #[test]
    fn the_covariance_within_clusters_leaves_out_their_distance() {
        let rows = [0.0, 1.0, 2.0, 3.0, 100.0, 1.0, 102.0, 3.0];
        let covariance = within(&rows, 2, &[0, 0, 1, 1], 3);
        assert_eq!(covariance, [1.0, 1.0, 1.0, 1.0]);
        assert!(within(&rows, 2, &[0; 4], 1)[0] > 2000.0);
        assert_eq!(diagonal(&variances(&rows, 2, 0.1))[3], 1.0);
        // W = [[1, 0], [2, 3]], so W^T W = [[5, 6], [6, 9]].
        assert_eq!(trace(&[1.0, 0.0, 2.0, 3.0], &[1.0, 0.5, 0.5, 2.0], 2), 5.0 + 6.0 + 18.0);
    }
}
