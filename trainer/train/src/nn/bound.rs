//! Parts of the bounds on a log-likelihood that several families use.

use candle_core::{Result, Tensor, bail};

/// `log 1/k sum_k exp(x_k)` over the first dimension: `[k, b]` to `[b]`. With logarithms of importance weights this is
/// the importance-weighted bound (arXiv 1509.00519, equation 8).
///
/// # Errors
/// A tensor of other than two dimensions, or `k = 0`.
pub fn log_mean_exp(x: &Tensor) -> Result<Tensor> {
    let largest = x.max_keepdim(0)?.detach();
    x.broadcast_sub(&largest)?.exp()?.mean(0)?.log()? + largest.squeeze(0)?
}

/// The logarithm of the softmax of each row, `[b, n]` to `[b, n]`.
///
/// # Errors
/// A tensor of other than two dimensions.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)
}

/// `log q(z) - log p(z)` in nats for `q = N(mu, diag exp(logvar))` and `p = N(0, I)`, at `z = mu + exp(logvar / 2)
/// eps`. All arguments are `[b, n]`; the result is `[b]`.
///
/// # Errors
/// Shapes, types or devices that do not match.
pub fn log_ratio_standard_normal(z: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    ((z.sqr()? - eps.sqr()?)? - logvar)?.sum(1)? * 0.5
}

/// `copies` copies of all rows, one copy after the other: `[b, n]` to `[copies b, n]`.
///
/// # Errors
/// A tensor of other than two dimensions, or no copy.
pub fn repeat_rows(x: &Tensor, copies: usize) -> Result<Tensor> {
    if copies == 0 {
        bail!("expected at least one sample of each row, found none");
    }
    if copies == 1 {
        return Ok(x.clone());
    }
    let (b, n) = x.dims2()?;
    x.broadcast_as((copies, b, n))?.reshape((copies * b, n))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::nn::Rng;
    use crate::testing::values;

    fn assert_close(found: &Tensor, expected: &[f64]) {
        let found = values(found);
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {expected:?}");
    }

    #[test]
    fn the_mean_of_large_exponentials_does_not_overflow() {
        let x = Tensor::new(&[[1000.0f64, -3.0], [1000.0 + 3f64.ln(), -3.0]], &Device::Cpu).unwrap();
        assert_close(&log_mean_exp(&x).unwrap(), &[1000.0 + 2f64.ln(), -3.0]);
    }

    #[test]
    fn a_softmax_sums_to_one() {
        let logits = Tensor::new(&[[0.0f64, 3f64.ln()], [900.0, 900.0]], &Device::Cpu).unwrap();
        assert_close(&log_softmax(&logits).unwrap(), &[0.25, 0.75, 0.5, 0.5].map(f64::ln));
    }

    /// Against the two densities written out.
    #[test]
    fn the_ratio_is_that_of_the_densities() {
        let mut rng = Rng::new(3);
        let mut normal = || rng.normal((2, 3), DType::F64, &Device::Cpu).unwrap();
        let (mu, logvar, eps) = (normal(), normal(), normal());
        let z = crate::nn::reparameterise(&mu, &logvar, &eps).unwrap();
        let [m, v, points] = [&mu, &logvar, &z].map(values);
        let log_normal = |x: f64, mean: f64, logvar: f64| -0.5 * (logvar + (x - mean).powi(2) / logvar.exp());
        let term = |i: usize| log_normal(points[i], m[i], v[i]) - log_normal(points[i], 0.0, 0.0);
        let expected = [(0..3).map(term).sum(), (3..6).map(term).sum()];
        assert_close(&log_ratio_standard_normal(&z, &logvar, &eps).unwrap(), &expected);
    }

    #[test]
    fn copies_follow_each_other() {
        let x = Tensor::new(&[[1.0f64, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        assert_eq!(values(&repeat_rows(&x, 2).unwrap()), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(values(&repeat_rows(&x, 1).unwrap()), values(&x));
        assert!(repeat_rows(&x, 0).unwrap_err().to_string().contains("at least one sample"));
    }
}
