//! A mixture of Gaussians, or of scale mixtures of Gaussians, with full covariances: its density, the posterior over
//! components, and samples.

use rand_core::Rng;

use super::linalg::{cholesky, dot, invert_lower, lower_product};
use crate::nn::unit;

/// A scale with a smaller share than this is left out.
const LEAST_SHARE: f64 = 1e-9;

/// `ln(2 pi)`.
const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// `p(x) = sum_c w_c sum_j pi_j N(x; mu_c, lambda_j L_c L_c^T)` over rows of `d` values.
///
/// With several scales `lambda`, a component is a Gaussian scale mixture (Andrews and Mallows, 1974), as is Student's t
/// distribution. Its tails are heavier than those of a Gaussian. All components share the scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// `w`, `[k]`, positive, of sum 1.
    pub weights: Vec<f64>,
    /// `mu`, `[k, d]`.
    pub means: Vec<f64>,
    /// `L`, `[k, d, d]`: the lower Cholesky factors of the covariances at scale 1.
    pub factors: Vec<f64>,
    /// The scales, at least one.
    scales: Vec<Scale>,
    /// `L^-1`, `[k, d, d]`, lower triangular: takes `x - mu` to standard normal noise.
    whitening: Vec<f64>,
    /// `ln w - sum ln diag L - d/2 ln 2 pi`, `[k]`: the logarithm of a component's joint density at its mean, nats,
    /// if 1 is the only scale.
    peaks: Vec<f64>,
}

/// A scale that all components share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// `lambda`: the factor of the covariances, positive.
    pub factor: f64,
    /// `pi`: the share of the rows that have this scale, positive. The sum over all scales is 1.
    pub share: f64,
}

impl Scale {
    /// The scale of a Gaussian.
    pub const ONE: Self = Self { factor: 1.0, share: 1.0 };

    /// `ln pi - d/2 ln lambda`, nats.
    #[must_use]
    pub fn peak(&self, d: usize) -> f64 {
        self.share.ln() - 0.5 * d as f64 * self.factor.ln()
    }
}

impl Mixture {
    /// A mixture with the covariances `[k, d, d]`. `None` if one of them is not positive definite.
    #[must_use]
    pub fn new(weights: Vec<f64>, means: Vec<f64>, covariances: &[f64]) -> Option<Self> {
        let d = means.len() / weights.len().max(1);
        let factors: Option<Vec<Vec<f64>>> = covariances.chunks_exact(d * d).map(|a| cholesky(a, d)).collect();
        Self::from_factors(weights, means, factors?.concat())
    }

    /// A mixture with the lower Cholesky factors `[k, d, d]` of the covariances. `None` if a diagonal element or a
    /// weight is not positive.
    #[must_use]
    pub fn from_factors(weights: Vec<f64>, means: Vec<f64>, factors: Vec<f64>) -> Option<Self> {
        let d = means.len() / weights.len().max(1);
        let factors: Vec<&[f64]> = factors.chunks_exact((d * d).max(1)).collect();
        let diagonals = factors.iter().flat_map(|l| (0..d).map(|i| l[i * d + i]));
        if weights.is_empty() || !diagonals.chain(weights.iter().copied()).all(|v| v > 0.0 && v.is_finite()) {
            return None;
        }
        let whitening = factors.iter().flat_map(|l| invert_lower(l, d)).collect();
        let peaks = factors.iter().zip(&weights).map(|(l, w)| {
            let log_det: f64 = (0..d).map(|i| l[i * d + i].ln()).sum();
            w.ln() - log_det - 0.5 * d as f64 * LN_2PI
        });
        let peaks = peaks.collect();
        Some(Self { weights, means, factors: factors.concat(), scales: vec![Scale::ONE], whitening, peaks })
    }

    /// The same components with these scales. Scales without a share are left out, and the shares are divided by their
    /// sum. `None` if no scale has a share, or if a number is not finite or a factor not positive.
    #[must_use]
    pub fn with_scales(self, scales: &[Scale]) -> Option<Self> {
        let valid = |scale: &Scale| scale.factor > 0.0 && scale.factor.is_finite() && scale.share.is_finite();
        let total: f64 = scales.iter().map(|scale| scale.share.max(0.0)).sum();
        if !scales.iter().all(valid) || total <= 0.0 {
            return None;
        }
        let kept = scales.iter().filter(|scale| scale.share / total > LEAST_SHARE);
        let scales: Vec<Scale> = kept.map(|scale| Scale { share: scale.share / total, ..*scale }).collect();
        Some(Self { scales, ..self })
    }

    /// The scales that all components share.
    #[must_use]
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// Number of components.
    #[must_use]
    pub fn components(&self) -> usize {
        self.weights.len()
    }

    /// Number of columns.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.means.len() / self.components()
    }

    /// The mean `mu` of a component.
    #[must_use]
    pub fn mean(&self, component: usize) -> &[f64] {
        &self.means[component * self.dim()..][..self.dim()]
    }

    /// The Cholesky factor `L` of a component.
    #[must_use]
    pub fn factor(&self, component: usize) -> &[f64] {
        let d = self.dim();
        &self.factors[component * d * d..][..d * d]
    }

    /// The inverse `L^-1` of a component.
    #[must_use]
    pub fn whitening(&self, component: usize) -> &[f64] {
        let d = self.dim();
        &self.whitening[component * d * d..][..d * d]
    }

    /// `ln w - sum ln diag L - d/2 ln 2 pi` of every component, nats.
    #[must_use]
    pub fn peaks(&self) -> &[f64] {
        &self.peaks
    }

    /// The matrix `L L^T` of a component, which is its covariance at scale 1.
    #[must_use]
    pub fn covariance(&self, component: usize) -> Vec<f64> {
        let (d, l) = (self.dim(), self.factor(component));
        let row = |i: usize| &l[i * d..][..d];
        (0..d * d).map(|at| dot(row(at / d), row(at % d))).collect()
    }

    /// Writes `ln w_c p(x | c)` of every component to `out`, `[k]`, in nats.
    pub fn log_joint(&self, x: &[f32], out: &mut [f64]) {
        self.square_distances(x, out);
        let mut scales = vec![0.0; self.scales.len()];
        for (out, peak) in out.iter_mut().zip(&self.peaks) {
            *out = peak + self.log_scales(*out, &mut scales);
        }
    }

    /// Writes `|L_c^-1 (x - mu_c)|^2` of every component to `out`, `[k]`.
    pub fn square_distances(&self, x: &[f32], out: &mut [f64]) {
        let d = self.dim();
        let mut centred = vec![0.0; d];
        for (component, out) in out.iter_mut().enumerate() {
            for ((c, x), mean) in centred.iter_mut().zip(x).zip(self.mean(component)) {
                *c = f64::from(*x) - mean;
            }
            let whitening = self.whitening(component);
            *out = (0..d).map(|row| dot(&whitening[row * d..=row * d + row], &centred[..=row]).powi(2)).sum();
        }
    }

    /// `ln sum_j pi_j lambda_j^(-d/2) exp(-square / (2 lambda_j))` in nats for a square distance. Writes the
    /// probabilities of the scales given this distance to `out`, `[j]`.
    pub fn log_scales(&self, square: f64, out: &mut [f64]) -> f64 {
        let d = self.dim();
        for (out, scale) in out.iter_mut().zip(&self.scales) {
            *out = scale.peak(d) - 0.5 * square / scale.factor;
        }
        normalise(out)
    }

    /// `-ln p(x)` in nats.
    #[must_use]
    pub fn nll(&self, x: &[f32]) -> f64 {
        let mut joint = vec![0.0; self.components()];
        self.log_joint(x, &mut joint);
        -normalise(&mut joint)
    }

    /// `p(c | x)` of every component.
    #[must_use]
    pub fn posterior(&self, x: &[f32]) -> Vec<f64> {
        let mut joint = vec![0.0; self.components()];
        self.log_joint(x, &mut joint);
        normalise(&mut joint);
        joint
    }

    /// `1/n sum ln p(x)` over rows `[n, d]`, in nats. It is 0 without rows.
    #[must_use]
    pub fn mean_log_likelihood(&self, rows: &[f32]) -> f64 {
        let n = (rows.len() / self.dim()).max(1);
        -rows.chunks_exact(self.dim()).map(|x| self.nll(x)).sum::<f64>() / n as f64
    }

    /// Draws a component by its weight and a scale by its share, and then a point from them.
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> (usize, Vec<f64>) {
        let component = weighted_index(&self.weights, rng);
        let shares: Vec<f64> = self.scales.iter().map(|scale| scale.share).collect();
        // A single scale takes no random number.
        let scale = if shares.len() > 1 { weighted_index(&shares, rng) } else { 0 };
        let spread = self.scales[scale].factor.sqrt();
        let noise: Vec<f64> = (0..self.dim()).map(|_| spread * normal(rng)).collect();
        let mut x = lower_product(self.factor(component), &noise);
        x.iter_mut().zip(self.mean(component)).for_each(|(x, mean)| *x += mean);
        (component, x)
    }
}

/// Replaces logarithms by the numbers themselves, divided by their sum. Returns the logarithm of the sum.
pub(crate) fn normalise(logs: &mut [f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for log in &mut *logs {
        *log = (*log - most).exp();
        sum += *log;
    }
    logs.iter_mut().for_each(|p| *p /= sum);
    most + sum.ln()
}

/// Draws an index with the probability of its weight. Weights are not negative. If rounding leaves no index, the result
/// is the last one with a positive weight.
pub(crate) fn weighted_index<R: Rng + ?Sized>(weights: &[f64], rng: &mut R) -> usize {
    let mut rest = unit(rng) * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        if rest < *weight {
            return index;
        }
        rest -= weight;
    }
    weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
}

/// A standard normal number (Box and Muller).
fn normal<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    let (radius, turn) = (1.0 - unit(rng), unit(rng));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn two() -> Mixture {
        Mixture::new(vec![0.25, 0.75], vec![-3.0, 0.0, 2.0, 1.0], &[1.0, 0.5, 0.5, 2.0, 0.5, -0.2, -0.2, 0.3]).unwrap()
    }

    #[test]
    fn densities_are_those_of_the_formula() {
        let mixture = two();
        // N(x; mu, S) with the inverse and the determinant of two by two written out.
        let gauss = |x: [f64; 2], m: [f64; 2], [a, b, c]: [f64; 3]| {
            let (u, v, det) = (x[0] - m[0], x[1] - m[1], a * c - b * b);
            (-(c * u * u - 2.0 * b * u * v + a * v * v) / det / 2.0).exp() / (std::f64::consts::TAU * det.sqrt())
        };
        for x in [[0.0, 0.0], [2.0, 1.0], [-3.5, 4.0]] {
            let parts = [0.25 * gauss(x, [-3.0, 0.0], [1.0, 0.5, 2.0]), 0.75 * gauss(x, [2.0, 1.0], [0.5, -0.2, 0.3])];
            let row = [x[0] as f32, x[1] as f32];
            assert!((mixture.nll(&row) + (parts[0] + parts[1]).ln()).abs() < 1e-12);
            assert!((mixture.posterior(&row)[0] - parts[0] / (parts[0] + parts[1])).abs() < 1e-12);
        }
        // Far away, where every density underflows.
        assert!(mixture.nll(&[1e6, -1e6]).is_finite());
    }

    #[test]
    fn scales_are_gaussians_of_wider_covariances() {
        let scales =
            [Scale { factor: 1.0, share: 1.5 }, Scale { factor: 4.0, share: 0.5 }, Scale { factor: 9.0, share: 0.0 }];
        let mixture = two().with_scales(&scales).unwrap();
        assert_eq!(mixture.scales(), [Scale { factor: 1.0, share: 0.75 }, Scale { factor: 4.0, share: 0.25 }]);
        let covariances = [0, 1].map(|c| two().covariance(c));
        let wide: Vec<f64> = covariances.concat().iter().map(|v| 4.0 * v).collect();
        let wide = Mixture::new(two().weights, two().means, &wide).unwrap();
        for x in [[0.0f32, 0.0], [2.0, 1.0], [-30.5, 40.0]] {
            let exact = (0.75 * (-two().nll(&x)).exp() + 0.25 * (-wide.nll(&x)).exp()).ln();
            assert!(!exact.is_finite() || (mixture.nll(&x) + exact).abs() < 1e-9, "{} {exact}", mixture.nll(&x));
            assert!(mixture.nll(&x).is_finite());
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let draws: Vec<Vec<f64>> =
            (0..40_000).map(|_| mixture.sample(&mut rng)).filter(|(c, _)| *c == 0).map(|(_, x)| x).collect();
        let variance = draws.iter().map(|x| (x[0] + 3.0).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((variance - (0.75 + 0.25 * 4.0)).abs() < 0.08, "{variance}");
        assert_eq!(two().with_scales(&[]), None);
        assert_eq!(two().with_scales(&[Scale { factor: 0.0, share: 1.0 }]), None);
    }

    #[test]
    fn draws_have_the_moments() {
        let (mixture, mut rng) = (two(), Xoshiro256PlusPlus::seed_from_u64(3));
        let draws: Vec<(usize, Vec<f64>)> = (0..40_000).map(|_| mixture.sample(&mut rng)).collect();
        let second: Vec<&[f64]> = draws.iter().filter(|(c, _)| *c == 1).map(|(_, x)| x.as_slice()).collect();
        let n = second.len() as f64;
        assert!((n / 40_000.0 - 0.75).abs() < 0.01, "{n}");
        let mean = |column: usize| second.iter().map(|x| x[column]).sum::<f64>() / n;
        let product = second.iter().map(|x| (x[0] - mean(0)) * (x[1] - mean(1))).sum::<f64>() / n;
        assert!((mean(0) - 2.0).abs() < 0.02 && (mean(1) - 1.0).abs() < 0.02 && (product + 0.2).abs() < 0.02);
    }

    #[test]
    fn covariances_survive() {
        let covariance = two().covariance(1);
        assert!(covariance.iter().zip([0.5, -0.2, -0.2, 0.3]).all(|(a, b)| (a - b).abs() < 1e-15));
        assert_eq!(Mixture::new(vec![1.0], vec![0.0, 0.0], &[1.0, 1.0, 1.0, 1.0]), None);
    }
}
