//! The operations of [`super`] with plain candle operations. These are the definitions, for any float type and device.
//! Shapes, units and errors are those of the functions with the same names.

use candle_core::{Result, Tensor, bail};

use super::{Activation, FlowStep, NORM_SQUARED_MIN, STEP_MARGIN, Window};

/// See [`super::linear`].
pub fn linear(x: &Tensor, w: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    activate(&x.matmul(&w.t()?)?.broadcast_add(bias)?, activation)
}

fn activate(s: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(s.clone()),
        Activation::Relu => s.relu(),
        Activation::Tanh => s.tanh(),
    }
}

/// See [`super::joint_sum`].
pub fn joint_sum(
    each: Option<&Tensor>,
    base: Option<&Tensor>,
    rows: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    let (c, h) = rows.dims2()?;
    let mut s = rows.unsqueeze(1)?;
    if let Some(base) = base {
        s = s.broadcast_add(&base.unsqueeze(0)?)?;
    }
    if let Some(each) = each {
        s = each.reshape((c, (), h))?.broadcast_add(&s)?;
    } else if base.is_none() {
        bail!("a joint layer needs at least one of `each` and `base`");
    }
    activate(&s.reshape(((), h))?, activation)
}

/// See [`super::conv2d`].
pub fn conv2d(x: &Tensor, w: &Tensor, bias: &Tensor, window: Window, activation: Activation) -> Result<Tensor> {
    gathered(x, w, bias, window, activation, false)
}

/// See [`super::conv_transpose2d`].
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    bias: &Tensor,
    window: Window,
    activation: Activation,
) -> Result<Tensor> {
    gathered(x, w, bias, window, activation, true)
}

/// Computes a dense layer on the patch of each output pixel. The patch contains the input pixels under the kernel, and
/// zeros outside the image.
fn gathered(
    x: &Tensor,
    w: &Tensor,
    bias: &Tensor,
    window: Window,
    activation: Activation,
    transposed: bool,
) -> Result<Tensor> {
    let (b, height, width, c) = x.dims4()?;
    let (o, taps) = (w.dim(0)?, window.kernel * window.kernel);
    if w.dims() != [o, window.kernel, window.kernel, c] || window.stride == 0 {
        bail!("convolution: x {:?}, w {:?} and {window:?} do not match", x.dims(), w.dims());
    }
    let side = |n| if transposed { window.transposed_output_side(n) } else { window.output_side(n) };
    let (rows, cols) = (side(height), side(width));
    let nothing = Tensor::zeros((b, 1, c), x.dtype(), x.device())?;
    let pixels = Tensor::cat(&[&x.reshape((b, height * width, c))?, &nothing], 1)?;
    let index = Tensor::from_vec(window.taps([height, width], transposed), rows * cols * taps, x.device())?;
    let patches = pixels.index_select(&index, 1)?.reshape((b * rows * cols, taps * c))?;
    linear(&patches, &w.reshape((o, taps * c))?, bias, activation)?.reshape((b, rows, cols, o))
}

/// See [`super::bernoulli_nll`].
pub fn bernoulli_nll(logits: &Tensor, x: &Tensor) -> Result<Tensor> {
    let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    (softplus - x.mul(logits)?)?.sum(1)
}

/// See [`super::gaussian_nll`].
pub fn gaussian_nll(mean: &Tensor, logvar: &Tensor, x: &Tensor) -> Result<Tensor> {
    let scaled = (x - mean)?.sqr()?.mul(&logvar.neg()?.exp()?)?;
    let terms = ((logvar + scaled)? + (2.0 * std::f64::consts::PI).ln())?;
    terms.sum(1)? * 0.5
}

/// See [`super::logistic_nll`].
pub fn logistic_nll(mean: &Tensor, log_scale: &Tensor, x: &Tensor) -> Result<Tensor> {
    let softplus = |t: &Tensor| t.relu()? + (t.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let precision = log_scale.neg()?.exp()?;
    let distance = (x - mean)?.mul(&precision)?;
    let half = (precision * (0.5 / 255.0))?;
    let below = softplus(&(&distance - &half)?)?;
    let above = softplus(&(distance + &half)?.neg()?)?;
    let width = ((half * -2.0)?.exp()?.neg()? + 1.0)?.log()?;
    let inside = ((&below + &above)? - width)?;
    let terms = x.lt(0.5 / 255.0)?.where_cond(&above, &x.gt(1.0 - 0.5 / 255.0)?.where_cond(&below, &inside)?)?;
    terms.sum(1)
}

/// See [`super::reparameterise`].
pub fn reparameterise(mu: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    mu + (logvar * 0.5)?.exp()?.mul(eps)?
}

/// See [`super::kl_standard_normal`].
pub fn kl_standard_normal(mu: &Tensor, logvar: &Tensor) -> Result<Tensor> {
    let terms = (((mu.sqr()? + logvar.exp()?)? - 1.0)? - logvar)?;
    terms.sum(1)? * 0.5
}

/// See [`super::clamp`].
pub fn clamp(x: &Tensor, lo: f64, hi: f64) -> Result<Tensor> {
    x.clamp(lo, hi)
}

/// `ln(1 + exp(x))`.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// See [`super::flow()`]. Returns the images and the sums of `log|det|` in one tensor, `[b, d + 1]`.
pub fn flow(step: FlowStep, z: &Tensor, params: &Tensor) -> Result<Tensor> {
    let (b, d) = z.dims2()?;
    let count = step.count(d, params)?;
    let width = step.params(d);
    let params = params.broadcast_as((b, count * width))?;
    let (mut z, mut log_det) = (z.clone(), z.zeros_like()?.sum_keepdim(1)?);
    for k in 0..count {
        let params = params.narrow(1, k * width, width)?;
        let (image, more) = match step {
            FlowStep::Planar => planar(&z, &params)?,
            FlowStep::Radial => radial(&z, &params)?,
        };
        (z, log_det) = (image, (log_det + more)?);
    }
    Tensor::cat(&[z, log_det], 1)
}

/// One planar step for `z [b, d]`. `params [b, 2 d + 1]` contains `w`, `u` and `b`.
fn planar(z: &Tensor, params: &Tensor) -> Result<(Tensor, Tensor)> {
    let d = z.dim(1)?;
    let (w, u, b) = (params.narrow(1, 0, d)?, params.narrow(1, d, d)?, params.narrow(1, 2 * d, 1)?);
    let s = w.mul(&u)?.sum_keepdim(1)?;
    let norm = w.sqr()?.sum_keepdim(1)?;
    let c = (softplus(&s.neg()?)? - 1.0)?.div(&norm.maximum(NORM_SQUARED_MIN)?)?;
    let slope = (&s + c.mul(&norm)?)?;
    // Change u along w, so that w.u' >= -1 + margin.
    let lift = ((STEP_MARGIN - 1.0) - &slope)?.relu()?;
    let c = (c + lift.div(&norm.maximum(1e-30)?)?)?;
    let slope = (slope + lift)?;
    let tanh = (w.mul(z)?.sum_keepdim(1)? + b)?.tanh()?;
    let image = (z + (u + w.broadcast_mul(&c)?)?.broadcast_mul(&tanh)?)?;
    let det = ((1.0 - tanh.sqr()?)?.mul(&slope)? + 1.0)?;
    Ok((image, det.log()?))
}

/// One radial step for `z [b, d]`. `params [b, d + 2]` contains `z0`, `alpha_raw` and `beta_raw`.
fn radial(z: &Tensor, params: &Tensor) -> Result<(Tensor, Tensor)> {
    let d = z.dim(1)?;
    let difference = (z - params.narrow(1, 0, d)?)?;
    let alpha = softplus(&params.narrow(1, d, 1)?)?.maximum(STEP_MARGIN)?;
    let inner = softplus(&params.narrow(1, d + 1, 1)?)?.maximum(STEP_MARGIN)?;
    let r = difference.sqr()?.sum_keepdim(1)?.sqrt()?;
    let (h, beta) = ((&alpha + &r)?.recip()?, (&inner - &alpha)?);
    let bent = beta.mul(&h)?;
    let image = (z + difference.broadcast_mul(&bent)?)?;
    let tangential = (&bent + 1.0)?.log()?;
    // h' = -h^2
    let radial = ((&bent + 1.0)? - bent.mul(&h)?.mul(&r)?)?.log()?;
    Ok((image, (tangential * (d as f64 - 1.0) + radial)?))
}
