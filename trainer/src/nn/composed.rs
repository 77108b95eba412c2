//! The operations of [`super`] in plain candle: the definition, for any float type and device. Shapes, units and
//! errors are those of the functions of the same name there.

use candle_core::{Result, Tensor};

use super::Activation;

/// See [`super::linear`].
pub fn linear(x: &Tensor, w: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let s = x.matmul(&w.t()?)?.broadcast_add(bias)?;
    match activation {
        Activation::Identity => Ok(s),
        Activation::Relu => s.relu(),
        Activation::Tanh => s.tanh(),
    }
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
