use candle_core::{Result, Tensor};

use crate::layers::{Dense, Mlp, Params};
use crate::nn::Activation;

/// A coupling layer: half of the columns pass and tell how the other half `x` is moved.
///
/// NICE adds, `x + t` (arXiv 1410.8516, section 3.2). RealNVP scales as well, `x exp(s) + t` (arXiv 1605.08803, equation
/// 4), with `s = 2^m tanh(raw)` bounded, so that a layer stretches by `exp(2^m)` at most.
pub(super) struct Coupling {
    pub net: Mlp,
    pub shift: Dense,
    pub log_scale: Option<Dense>,
    /// `2^m`.
    bound: f64,
}

impl Coupling {
    /// `NAME.net.*`, `NAME.shift` and, where it scales, `NAME.log_scale`, from `given` columns for `moved` ones.
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

    /// `t` and `s`.
    fn terms(&self, params: &Params, given: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let h = self.net.apply(params, given)?;
        let shift = self.shift.apply(params, &h, Activation::Identity)?;
        let log_scale = match self.log_scale {
            Some(layer) => Some((layer.apply(params, &h, Activation::Tanh)? * self.bound)?),
            None => None,
        };
        Ok((shift, log_scale))
    }

    /// The moved half and, where it scales, `log|det|` `[b]`.
    pub fn forward(&self, params: &Params, given: &Tensor, moved: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        Ok(match self.terms(params, given)? {
            (shift, None) => ((moved + shift)?, None),
            (shift, Some(s)) => ((moved.mul(&s.exp()?)? + shift)?, Some(s.sum(1)?)),
        })
    }

    /// Undoes [`Self::forward`].
    pub fn inverse(&self, params: &Params, given: &Tensor, moved: &Tensor) -> Result<Tensor> {
        Ok(match self.terms(params, given)? {
            (shift, None) => (moved - shift)?,
            (shift, Some(s)) => (moved - shift)?.mul(&s.neg()?.exp()?)?,
        })
    }
}
