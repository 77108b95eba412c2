//! Building blocks of training: fused operations, optimisers that update in place, and a random generator whose state
//! can be saved.
//!
//! Every operation has two forms. [`composed`] defines it with plain candle operations, for any float type and device.
//! On the CPU in `f32`, the functions of this module use a fused form instead: one custom operation with its own
//! backward pass, which agrees with the definition to 1e-5. The fused forms do not support second derivatives.
//!
//! Work is split into two halves. Their bounds depend only on shapes, so that the number of threads never changes a
//! bit. Call a training step through [`on_pool`]; its halves then start without waking a sleeping thread.

mod activation;
mod adam;
mod bound;
pub mod composed;
mod conv;
mod dense;
mod density;
mod flow;
pub mod gemm;
mod joint;
mod math;
mod planar;
mod radial;
mod random;
mod rmsprop;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use adam::{Adam, AdamParams, OptimiserState};
pub use bound::{log_mean_exp, log_ratio_standard_normal, log_softmax, repeat_rows};
pub use conv::Window;
pub use flow::{FlowStep, NORM_SQUARED_MIN, STEP_MARGIN};
pub use random::Rng;
pub(crate) use random::unit;
pub use rmsprop::{RmsProp, RmsPropParams, clip};

use candle_core::{DType, Result, Tensor};

/// Runs `f` on a thread of rayon's pool.
///
/// The fused operations split their work with `rayon::join`. Called from outside the pool it must wake a thread, and
/// inside the pool it costs almost nothing.
pub fn on_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// Whether the fused form supports all of these tensors.
fn fusible(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.dtype() == DType::F32 && t.device().is_cpu())
}

/// A dense layer `a(x W^T + bias)`.
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

/// The first layer of a network with several inputs, some of which are the same for every class. The affine map of each
/// input has already been computed. For copy `k` of row `i` the result is `y[k b + i] = a(each[k b + i] + base[i] +
/// rows[k])`. If `rows` has one row for each class, this evaluates the layer for all classes (arXiv 1602.05473, section
/// 2.3), and the part that does not depend on the class is computed only once.
///
/// Shapes: `each [c b, h]`, `base [b, h]`, `rows [c, h]`; the result is `[c b, h]`. One of `each` and `base` may be
/// absent.
///
/// # Errors
/// Shapes that do not match, both parts absent, or mixed types or devices.
pub fn joint_sum(
    each: Option<&Tensor>,
    base: Option<&Tensor>,
    rows: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    let parts: Vec<&Tensor> = [each, base, Some(rows)].into_iter().flatten().collect();
    if !fusible(&parts) {
        return composed::joint_sum(each, base, rows, activation);
    }
    let rows = rows.contiguous()?;
    match (each, base) {
        (Some(each), Some(base)) => each.contiguous()?.apply_op3(&base.contiguous()?, &rows, joint::Three(activation)),
        (Some(each), None) => each.contiguous()?.apply_op2(&rows, joint::Two::<true>(activation)),
        (None, Some(base)) => base.contiguous()?.apply_op2(&rows, joint::Two::<false>(activation)),
        (None, None) => candle_core::bail!("a joint layer needs at least one of `each` and `base`"),
    }
}

/// A convolution `a(x * w + bias)` (a cross-correlation, as usual in deep learning). The channels are the innermost
/// dimension.
///
/// Shapes: `x [b, h, w, c]`, `w [o, k, k, c]`, `bias [o]`; the result is `[b, h', w', o]` with [`Window::output_side`]
/// sides.
///
/// # Errors
/// Shapes that do not match, a window that does not fit, or mixed types or devices.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: &Tensor, window: Window, activation: Activation) -> Result<Tensor> {
    if !fusible(&[x, w, bias]) {
        return composed::conv2d(x, w, bias, window, activation);
    }
    let op = conv::Conv { window, activation, transposed: false };
    x.contiguous()?.apply_op3(&w.contiguous()?, &bias.contiguous()?, op)
}

/// A transposed convolution with a bias and an activation. Its linear part is the adjoint of [`conv2d`] with respect to
/// the input: input pixel `i` contributes to the output pixels `i * stride + k - pad`.
///
/// Shapes: `x [b, h, w, c]`, `w [o, k, k, c]`, `bias [o]`; the result is `[b, h', w', o]` with
/// [`Window::transposed_output_side`] sides.
///
/// # Errors
/// As [`conv2d`].
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    bias: &Tensor,
    window: Window,
    activation: Activation,
) -> Result<Tensor> {
    if !fusible(&[x, w, bias]) {
        return composed::conv_transpose2d(x, w, bias, window, activation);
    }
    let op = conv::Conv { window, activation, transposed: true };
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
    mean.contiguous()?.apply_op3(&logvar.contiguous()?, &x.contiguous()?, density::GAUSSIAN_NLL)
}

/// Negative log-likelihood in nats of grey values with 256 levels under a discretised logistic distribution (arXiv
/// 1701.05517). The probability of a level is the mass of the logistic distribution within half a level of `x`. The
/// lowest level also has the mass below it, and the highest level the mass above it.
///
/// Let `u` and `v` be the upper and the lower edge, `(x +- 1/510 - mean) / scale`, and `h = 1 / (510 scale)`. A term is
/// `softplus(v) + softplus(-u) - ln(1 - exp(-2 h))`. At the lowest level it is `softplus(-u)`, and at the highest level
/// `softplus(v)`. This is stable for any `x`.
///
/// Shapes: `mean`, `log_scale` and `x` are `[b, d]`, `x` in `[0, 1]` in steps of 1/255; the result is `[b]`.
///
/// # Errors
/// Shapes that differ or are not two-dimensional, or mixed types or devices.
pub fn logistic_nll(mean: &Tensor, log_scale: &Tensor, x: &Tensor) -> Result<Tensor> {
    if !fusible(&[mean, log_scale, x]) {
        return composed::logistic_nll(mean, log_scale, x);
    }
    mean.contiguous()?.apply_op3(&log_scale.contiguous()?, &x.contiguous()?, density::LOGISTIC_NLL)
}

/// The reparameterisation `z = mu + exp(logvar / 2) eps` (arXiv 1312.6114, section 2.4). All shapes are equal.
///
/// # Errors
/// Shapes that differ, or mixed types or devices.
pub fn reparameterise(mu: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    if !fusible(&[mu, logvar, eps]) {
        return composed::reparameterise(mu, logvar, eps);
    }
    mu.contiguous()?.apply_op3(&logvar.contiguous()?, &eps.contiguous()?, density::Reparameterise)
}

/// `KL(N(mu, exp(logvar)) || N(0, I))` in nats, `1/2 sum_d (mu_d^2 + exp(v_d) - 1 - v_d)` (arXiv 1312.6114, appendix
/// B).
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

/// `x` clamped to `[lo, hi]`, for any shape. The gradient is passed on inside the interval and is zero outside.
///
/// # Errors
/// Any error of candle.
pub fn clamp(x: &Tensor, lo: f64, hi: f64) -> Result<Tensor> {
    if !fusible(&[x]) {
        return composed::clamp(x, lo, hi);
    }
    x.contiguous()?.apply_op1(density::Clamp { lo: lo as f32, hi: hi as f32 })
}

/// `K` steps of a planar or radial flow (arXiv 1505.05770, equations 10 and 14). [`FlowStep`] defines the steps.
///
/// Shapes: `z [b, d]`; `params` is `[K p]` for all rows or `[b, K p]` with parameters for each row, where a step has
/// `p` parameters ([`FlowStep::params`]). The results are the images `[b, d]` and the sums of `log|det|` `[b]` (nats).
///
/// # Errors
/// Parameters that do not fill at least one step, shapes that do not match, or mixed types or devices.
pub fn flow(step: FlowStep, z: &Tensor, params: &Tensor) -> Result<(Tensor, Tensor)> {
    let d = z.dim(1)?;
    step.count(d, params)?;
    let both = if fusible(&[z, params]) {
        flow::fused(step, &z.contiguous()?, &params.contiguous()?)?
    } else {
        composed::flow(step, z, params)?
    };
    Ok((both.narrow(1, 0, d)?, both.narrow(1, d, 1)?.squeeze(1)?))
}

/// The inverse of [`flow()`]: the points that it maps to `y [b, d]`, without a gradient. Planar steps are inverted by
/// bisection, and radial steps in closed form.
///
/// # Errors
/// As [`flow()`].
pub fn flow_inverse(step: FlowStep, y: &Tensor, params: &Tensor) -> Result<Tensor> {
    flow::inverse(step, y, params)
}
