//! Building blocks of training: fused operations, an optimiser in place, and a generator whose state can be saved.
//!
//! Every operation here has two forms. [`composed`] writes it in plain candle operations: that is the definition, for
//! any float type and device. On the CPU in `f32` the functions of this module take a fused form instead, one custom
//! operation with its own backward pass, equal to the definition to 1e-5. Double backward is not supported by the fused
//! forms.
//!
//! Work is split into two halves whose bounds depend on shapes only, so that the number of threads never changes a
//! bit. Call a training step through [`on_pool`]: the halves then start without waking a sleeping pool.

mod activation;
mod adam;
pub mod composed;
mod dense;
mod density;
pub mod gemm;
mod math;
mod random;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use adam::{Adam, AdamParams, AdamState};
pub use random::Rng;

use candle_core::{DType, Result, Tensor};

/// Runs `f` on a thread of rayon's pool.
///
/// The fused operations split their work by `rayon::join`, which costs a wake-up when called from outside the pool and
/// next to nothing inside it.
pub fn on_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// Whether the fused form serves all of these tensors.
fn fusible(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.dtype() == DType::F32 && t.device().is_cpu())
}

/// Dense layer `a(x W^T + bias)`.
///
/// Shapes: `x [b, i]`, `w [o, i]`, `bias [o]`; the result is `[b, o]`.
///
/// # Errors
/// Shapes that do not match, or mixed types or devices.
pub fn linear(x: &Tensor, w: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    if !fusible(&[x, w, bias]) {
        return composed::linear(x, w, bias, activation);
    }
    let op = dense::Dense { activation };
    x.contiguous()?.apply_op3(&w.contiguous()?, &bias.contiguous()?, op)
}

/// Bernoulli negative log-likelihood in nats, `sum_d softplus(l_d) - x_d l_d` (arXiv 1312.6114, equation 11).
///
/// Shapes: `logits` and `x` are `[b, d]`, `x` in `[0, 1]`; the result is `[b]`. Stable for any finite logit.
///
/// # Errors
/// Shapes that differ or are not two-dimensional, or mixed types or devices.
pub fn bernoulli_nll(logits: &Tensor, x: &Tensor) -> Result<Tensor> {
    if !fusible(&[logits, x]) {
        return composed::bernoulli_nll(logits, x);
    }
    logits.contiguous()?.apply_op2(&x.contiguous()?, density::BernoulliNll)
}

/// Gaussian negative log-likelihood in nats, `1/2 sum_d (v_d + (x_d - m_d)^2 exp(-v_d) + ln 2 pi)` with `v` the
/// log-variance (arXiv 1312.6114, equation 12).
///
/// Shapes: `mean`, `logvar` and `x` are `[b, d]`; the result is `[b]`.
///
/// # Errors
/// Shapes that differ or are not two-dimensional, or mixed types or devices.
pub fn gaussian_nll(mean: &Tensor, logvar: &Tensor, x: &Tensor) -> Result<Tensor> {
    if !fusible(&[mean, logvar, x]) {
        return composed::gaussian_nll(mean, logvar, x);
    }
    mean.contiguous()?.apply_op3(&logvar.contiguous()?, &x.contiguous()?, density::GaussianNll)
}

/// Negative log-likelihood in nats of grey values of 256 levels under a discretised logistic distribution (arXiv
/// 1701.05517): the mass that a logistic of this mean and scale has within half a level of `x`, the
/// lowest and the highest level also having all that is below and above.
///
/// With `u` and `v` the upper and the lower edge, `(x +- 1/510 - mean) / scale`, and `h = 1 / (510 scale)`, a term is
/// `softplus(v) + softplus(-u) - ln(1 - exp(-2 h))`, `softplus(-u)` at the lowest level and `softplus(v)` at the highest:
/// stable however far `x` is.
///
/// Shapes: `mean`, `log_scale` and `x` are `[b, d]`, `x` in `[0, 1]` in steps of 1/255; the result is `[b]`.
///
/// # Errors
/// Shapes that differ or are not two-dimensional, or mixed types or devices.
pub fn logistic_nll(mean: &Tensor, log_scale: &Tensor, x: &Tensor) -> Result<Tensor> {
    if !fusible(&[mean, log_scale, x]) {
        return composed::logistic_nll(mean, log_scale, x);
    }
    mean.contiguous()?.apply_op3(&log_scale.contiguous()?, &x.contiguous()?, density::LogisticNll)
}

/// Reparameterisation `z = mu + exp(logvar / 2) eps` (arXiv 1312.6114, section 2.4). All shapes are equal.
///
/// # Errors
/// Shapes that differ, or mixed types or devices.
pub fn reparameterise(mu: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    if !fusible(&[mu, logvar, eps]) {
        return composed::reparameterise(mu, logvar, eps);
    }
    mu.contiguous()?.apply_op3(&logvar.contiguous()?, &eps.contiguous()?, density::Reparameterise)
}

/// `KL(N(mu, exp(logvar)) || N(0, I))` in nats, `1/2 sum_d (mu_d^2 + exp(v_d) - 1 - v_d)` (arXiv 1312.6114, appendix B).
///
/// Shapes: `mu` and `logvar` are `[b, z]`; the result is `[b]`.
///
/// # Errors
/// Shapes that differ or are not two-dimensional, or mixed types or devices.
pub fn kl_standard_normal(mu: &Tensor, logvar: &Tensor) -> Result<Tensor> {
    if !fusible(&[mu, logvar]) {
        return composed::kl_standard_normal(mu, logvar);
    }
    mu.contiguous()?.apply_op2(&logvar.contiguous()?, density::Kl)
}

/// `x` clamped to `[lo, hi]`, any shape. The gradient passes inside the interval and is zero outside.
///
/// # Errors
/// Whatever candle reports.
pub fn clamp(x: &Tensor, lo: f64, hi: f64) -> Result<Tensor> {
    if !fusible(&[x]) {
        return composed::clamp(x, lo, hi);
    }
    x.contiguous()?.apply_op1(density::Clamp { lo: lo as f32, hi: hi as f32 })
}
