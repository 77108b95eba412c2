use candle_core::{Result, Tensor};

use crate::layers::{Dense, Mlp, Params};
use crate::nn::Activation;

/// A coupling layer. It keeps one half of the columns, and a network that reads this half determines how the other half
/// `x` changes.
///
/// NICE adds, `x + t` (arXiv 1410.8516, section 3.2). RealNVP also scales, `x exp(s) + t` (arXiv 1605.08803, equation
/// 4). Here `s = 2^m tanh(raw)` is bounded, so that a layer stretches by at most `exp(2^m)`.
pub(super) struct Coupling {
    pub net: Mlp,
    pub shift: Dense,
    pub log_scale: Option<Dense>,
    /// The bound `2^m`.
    bound: f64,
}

impl Coupling {
    /// Creates the layers `NAME.net.*`, `NAME.shift` and, if the coupling scales, `NAME.log_scale`. They read the
    /// `given` columns and change the others.
    pub fn new(
        params: &mut Params,
        name: &str,
        (given, moved): (usize, usize),
        (hidden, activation): (&[usize], Activation),
        bound: Option<f64>,
    ) -> Result<Self> {
        let net = params.mlp(&format!("{name}.net"), given, hidden, activation)?;
        let shift = params.dense(&format!("{name}.shift"), net.out, moved)?;
        let log_scale = match bound {
            Some(_) => Some(params.dense(&format!("{name}.log_scale"), net.out, moved)?),
            None => None,
        };
        Ok(Self { net, shift, log_scale, bound: bound.unwrap_or_default() })
    }

    /// The shift `t` and the log-scale `s`.
    fn terms(&self, params: &Params, given: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let h = self.net.apply(params, given)?;
        let shift = self.shift.apply(params, &h, Activation::Identity)?;
        let log_scale = match self.log_scale {
            Some(layer) => Some((layer.apply(params, &h, Activation::Tanh)? * self.bound)?),
            None => None,
        };
        Ok((shift, log_scale))
    }

    /// The changed half and, if the coupling scales, `log|det|` `[b]`.
    pub fn forward(&self, params: &Params, given: &Tensor, moved: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        Ok(match self.terms(params, given)? {
            (shift, None) => ((moved + shift)?, None),
            (shift, Some(s)) => ((moved.mul(&s.exp()?)? + shift)?, Some(s.sum(1)?)),
        })
    }

    /// The inverse of [`Self::forward`].
    pub fn inverse(&self, params: &Params, given: &Tensor, moved: &Tensor) -> Result<Tensor> {
        Ok(match self.terms(params, given)? {
            (shift, None) => (moved - shift)?,
            (shift, Some(s)) => (moved - shift)?.mul(&s.neg()?.exp()?)?,
        })
    }
}
