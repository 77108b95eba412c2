//! The Frechet distance between two Gaussians that are fitted to features (arXiv 1706.08500, equation 6).

/// Mean and covariance of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// `[d]`.
    pub mean: Vec<f64>,
    /// `[d, d]`.
    pub covariance: Vec<f64>,
}

impl Gaussian {
    /// The Gaussian with the mean and the covariance of rows of features, `[n, d]`, where `d >= 1` and `n >= 2`.
    #[must_use]
    pub fn fit(features: &[f32], d: usize) -> Self {
        let n = (features.len() / d) as f64;
        let rows = || features.chunks_exact(d);
        let mut mean = vec![0.0; d];
        rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n));
        let mut covariance = vec![0.0; d * d];
        for row in rows() {
            let centred: Vec<f64> = row.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m).collect();
            for (a, line) in centred.iter().zip(covariance.chunks_exact_mut(d)) {
                line.iter_mut().zip(&centred).for_each(|(c, b)| *c += a * b / (n - 1.0));
            }
        }
        Self { mean, covariance }
    }

    /// The distance `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`. Both Gaussians have the same dimension.
    #[must_use]
    pub fn distance(&self, other: &Self) -> f64 {
        let d = self.mean.len();
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let trace = |c: &[f64]| c.iter().step_by(d + 1).sum::<f64>();
        // (C1 C2)^(1/2) has the same trace as (S C2 S)^(1/2), where S is the square root of C1. The latter is
        // symmetric.
        let (values, vectors) = eigen(&self.covariance, d);
        let mut root = vec![0.0; d * d];
        for (i, j, k) in (0..d * d * d).map(|at| (at / d / d, at / d % d, at % d)) {
            root[i * d + j] += vectors[i * d + k] * values[k].max(0.0).sqrt() * vectors[j * d + k];
        }
        let product = multiply(&multiply(&root, &other.covariance, d), &root, d);
        let overlap: f64 = eigen(&product, d).0.iter().map(|v| v.max(0.0).sqrt()).sum();
        means + trace(&self.covariance) + trace(&other.covariance) - 2.0 * overlap
    }
}

fn multiply(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let mut out = vec![0.0; d * d];
    for (row, out) in a.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        for (a, b) in row.iter().zip(b.chunks_exact(d)) {
            out.iter_mut().zip(b).for_each(|(o, b)| *o += a * b);
        }
    }
    out
}

/// Eigenvalues and eigenvectors (the columns) of a symmetric matrix `[d, d]`, by Jacobi rotations.
fn eigen(matrix: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; d * d];
    vectors.iter_mut().step_by(d + 1).for_each(|v| *v = 1.0);
    let size: f64 = a.iter().map(|v| v * v).sum();
    for _sweep in 0..50 {
        let off: f64 = (0..d * d).filter(|at| at / d != at % d).map(|at| a[at] * a[at]).sum();
        if off <= 1e-22 * size {
            break;
        }
        for (p, q) in (0..d).flat_map(|p| (p + 1..d).map(move |q| (p, q))) {
            let apq = a[p * d + q];
            if apq == 0.0 {
                continue;
            }
            let theta = (a[q * d + q] - a[p * d + p]) / (2.0 * apq);
            let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let c = 1.0 / (t * t + 1.0).sqrt();
            let s = t * c;
            let rotate = |x: &mut f64, y: &mut f64| (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
            for k in 0..d {
                let (mut x, mut y) = (a[k * d + p], a[k * d + q]);
                rotate(&mut x, &mut y);
                (a[k * d + p], a[k * d + q]) = (x, y);
                let (mut x, mut y) = (vectors[k * d + p], vectors[k * d + q]);
                rotate(&mut x, &mut y);
                (vectors[k * d + p], vectors[k * d + q]) = (x, y);
            }
            let (upper, lower) = a.split_at_mut(q * d);
            upper[p * d..][..d].iter_mut().zip(&mut lower[..d]).for_each(|(x, y)| rotate(x, y));
        }
    }
    (a.into_iter().step_by(d + 1).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Rng;

    #[test]
    fn eigenvectors_diagonalise() {
        let d = 17;
        let mut rng = Rng::new(1);
        let x: Vec<f64> = (0..d * d).map(|_| rng.unit() - 0.5).collect();
        let symmetric: Vec<f64> = (0..d * d).map(|at| x[at] + x[at % d * d + at / d]).collect();
        let (values, vectors) = eigen(&symmetric, d);
        for (k, value) in values.iter().enumerate() {
            for i in 0..d {
                let product: f64 = (0..d).map(|j| symmetric[i * d + j] * vectors[j * d + k]).sum();
                assert!((product - value * vectors[i * d + k]).abs() < 1e-10);
            }
        }
    }

    /// Diagonal Gaussians have a closed form, and a rotation of both changes nothing.
    #[test]
    fn distances_of_diagonal_gaussians_are_exact() {
        let diagonal = |mean: [f64; 2], variances: [f64; 2]| Gaussian {
            mean: mean.to_vec(),
            covariance: vec![variances[0], 0.0, 0.0, variances[1]],
        };
        let (a, b) = (diagonal([0.0, 1.0], [4.0, 1.0]), diagonal([3.0, 1.0], [1.0, 9.0]));
        let expected = 9.0 + (2.0f64 - 1.0).powi(2) + (1.0f64 - 3.0).powi(2);
        assert!((a.distance(&b) - expected).abs() < 1e-9);
        assert!(a.distance(&a).abs() < 1e-9);
        let turn = |g: &Gaussian| {
            let (c, s) = (0.6, 0.8);
            let r = [c, -s, s, c];
            let transposed = [c, s, -s, c];
            let mean = vec![c * g.mean[0] - s * g.mean[1], s * g.mean[0] + c * g.mean[1]];
            Gaussian { mean, covariance: multiply(&multiply(&r, &g.covariance, 2), &transposed, 2) }
        };
        assert!((turn(&a).distance(&turn(&b)) - expected).abs() < 1e-9);
    }

    #[test]
    fn fitted_moments_are_those_of_the_rows() {
        let mut rng = Rng::new(2);
        let mut noise = vec![0.0f32; 40_000];
        rng.fill_normal(&mut noise);
        let rows: Vec<f32> = noise.chunks(2).flat_map(|z| [1.0 + 2.0 * z[0], z[0] + z[1]]).collect();
        let g = Gaussian::fit(&rows, 2);
        let close = |got: f64, want: f64| assert!((got - want).abs() < 0.1, "{got} {want}");
        [(g.mean[0], 1.0), (g.mean[1], 0.0)].into_iter().for_each(|(a, b)| close(a, b));
        g.covariance.iter().zip([4.0, 2.0, 2.0, 2.0]).for_each(|(a, b)| close(*a, b));
    }
}
