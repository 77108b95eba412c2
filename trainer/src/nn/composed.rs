//! The operations of [`super`] in plain candle: the definition, for any float type and device. Shapes, units and
//! errors are those of the functions of the same name there.

use candle_core::{Result, Tensor, bail};

use super::{Activation, Window};

/// See [`super::linear`].
pub fn linear(x: &Tensor, w: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let s = x.matmul(&w.t()?)?.broadcast_add(bias)?;
    match activation {
        Activation::Identity => Ok(s),
        Activation::Relu => s.relu(),
        Activation::Tanh => s.tanh(),
    }
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

/// A dense layer on each output pixel's patch: the input pixels that its taps meet, and zeros for the rest.
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
    let side = |n| if transposed { window.grown(n) } else { window.shrunk(n) };
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
