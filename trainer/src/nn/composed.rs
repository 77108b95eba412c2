//! The operations of [`super`] in plain candle: the definition, for any float type and device. Shapes, units and
//! errors are those of the functions of the same name there.

use candle_core::{Result, Tensor, bail};

use super::Activation;

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
        bail!("a joint layer without inputs");
    }
    activate(&s.reshape(((), h))?, activation)
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
