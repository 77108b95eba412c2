//! What follows from a likelihood: the heads of a decoder, and what they mean.

use candle_core::{Result, Tensor, bail};
use elbo_compiler::Likelihood;

use crate::nn::{self, Rng};

/// The Gaussian likelihood's log-variance is clamped from below to this value: the variance floor (nats).
pub const HEAD_LOGVAR_MIN: f64 = -8.0;
/// The Gaussian likelihood's log-variance is clamped from above to this value (nats).
pub const HEAD_LOGVAR_MAX: f64 = 4.0;
/// The logistic likelihood's mean is clamped from below to this value.
pub const LOGISTIC_MEAN_MIN: f64 = -0.5;
/// The logistic likelihood's mean is clamped from above to this value: with the lower one, what Q14 holds.
pub const LOGISTIC_MEAN_MAX: f64 = 1.5;
/// The logistic likelihood's log-scale is clamped from below to this value: a quarter of a level.
pub const LOG_SCALE_MIN: f64 = -7.0;
/// The logistic likelihood's log-scale is clamped from above to this value.
pub const LOG_SCALE_MAX: f64 = 2.0;

/// The parameters of a likelihood, `[b, d]` each: logits and nothing, mean and log-variance, or mean and log-scale.
pub type Heads = (Tensor, Option<Tensor>);

/// A likelihood over tensors.
pub trait Density: Sized {
    /// The name of the decoder's second head, where there is one.
    fn second_head(self) -> Option<&'static str>;

    /// What the affine heads stand for: clamped to the ranges of this module.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn clamp(self, first: Tensor, second: Option<Tensor>) -> Result<Heads>;

    /// `-log p(x)` in nats, `[b]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    fn nll(self, heads: &Heads, x: &Tensor) -> Result<Tensor>;

    /// The means, `[b, d]`; the logistic one's without what its ends cut off.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn mean(self, heads: &Heads) -> Result<Tensor>;

    /// One draw of each value, `[b, d]`.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn draw(self, heads: &Heads, noise: &mut Rng) -> Result<Tensor>;
}

impl Density for Likelihood {
    fn second_head(self) -> Option<&'static str> {
        match self {
            Self::Bernoulli => None,
            Self::Gaussian => Some("head_logvar"),
            Self::Logistic => Some("head_log_scale"),
        }
    }

    fn clamp(self, first: Tensor, second: Option<Tensor>) -> Result<Heads> {
        let clamp = |t: Option<Tensor>, lo, hi| t.map(|t| nn::clamp(&t, lo, hi)).transpose();
        Ok(match self {
            Self::Bernoulli => (first, None),
            Self::Gaussian => (first, clamp(second, HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX)?),
            Self::Logistic => {
                let mean = nn::clamp(&first, LOGISTIC_MEAN_MIN, LOGISTIC_MEAN_MAX)?;
                (mean, clamp(second, LOG_SCALE_MIN, LOG_SCALE_MAX)?)
            }
        })
    }

    fn nll(self, heads: &Heads, x: &Tensor) -> Result<Tensor> {
        match (self, heads) {
            (Self::Bernoulli, (logits, _)) => nn::bernoulli_nll(logits, x),
            (Self::Gaussian, (mean, Some(logvar))) => nn::gaussian_nll(mean, logvar, x),
            (Self::Logistic, (mean, Some(log_scale))) => nn::logistic_nll(mean, log_scale, x),
            (_, (_, None)) => bail!("a decoder without its second head"),
        }
    }

    fn mean(self, heads: &Heads) -> Result<Tensor> {
        match self {
            Self::Bernoulli => (heads.0.neg()?.exp()? + 1.0)?.recip(),
            Self::Gaussian => Ok(heads.0.clone()),
            Self::Logistic => heads.0.clamp(0.0, 1.0),
        }
    }

    fn draw(self, heads: &Heads, noise: &mut Rng) -> Result<Tensor> {
        let (first, dtype, device) = (&heads.0, heads.0.dtype(), heads.0.device());
        match (self, &heads.1) {
            (Self::Bernoulli, _) => noise.bernoulli(&self.mean(heads)?),
            (Self::Gaussian, Some(logvar)) => {
                nn::reparameterise(first, logvar, &noise.normal(first.shape(), dtype, device)?)
            }
            (Self::Logistic, Some(log_scale)) => {
                // The logistic distribution's quantile function is the logit.
                let u = noise.uniform(1e-6, 1.0 - 1e-6, first.shape(), dtype, device)?;
                let logit = (u.log()? - (u.neg()? + 1.0)?.log()?)?;
                levels(&(first + log_scale.exp()?.mul(&logit)?)?)
            }
            (_, None) => bail!("a decoder without its second head"),
        }
    }
}

/// The nearest of 256 levels on `[0, 1]`.
fn levels(x: &Tensor) -> Result<Tensor> {
    (x.clamp(0.0, 1.0)? * 255.0)?.round()? / 255.0
}
