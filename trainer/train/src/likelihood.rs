//! Likelihoods as operations on tensors: the heads of a decoder, the log-likelihood, the mean and draws.

use candle_core::{Result, Tensor, bail};
use elbo_compiler::Likelihood;

use crate::nn::{self, Rng};

/// Lower limit of the log-variance of the Gaussian likelihood (nats).
pub const HEAD_LOGVAR_MIN: f64 = -8.0;
/// Upper limit of the log-variance of the Gaussian likelihood (nats).
pub const HEAD_LOGVAR_MAX: f64 = 4.0;
/// Lower limit of the mean of the logistic likelihood. Together with the upper limit it bounds the mean to what Q14 can
/// hold.
pub const LOGISTIC_MEAN_MIN: f64 = -0.5;
/// Upper limit of the mean of the logistic likelihood.
pub const LOGISTIC_MEAN_MAX: f64 = 1.5;
/// Lower limit of the log-scale of the logistic likelihood. It corresponds to about a quarter of a grey level.
pub const LOG_SCALE_MIN: f64 = -7.0;
/// Upper limit of the log-scale of the logistic likelihood.
pub const LOG_SCALE_MAX: f64 = 2.0;

/// The parameters of a likelihood, `[b, d]` each: logits (Bernoulli), mean and log-variance (Gaussian), or mean and
/// log-scale (logistic).
pub type Heads = (Tensor, Option<Tensor>);

/// The operations of a likelihood on tensors.
pub trait Density: Sized {
    /// The name of the decoder's second head, if the likelihood has two parameters.
    fn second_head(self) -> Option<&'static str>;

    /// Clamps the outputs of the decoder's heads to the limits of this module.
    ///
    /// # Errors
    /// Any error of candle.
    fn clamp(self, first: Tensor, second: Option<Tensor>) -> Result<Heads>;

    /// `-log p(x)` in nats, `[b]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    fn nll(self, heads: &Heads, x: &Tensor) -> Result<Tensor>;

    /// The means, `[b, d]`. For the logistic likelihood this is the location, without the effect of the lowest and
    /// highest level.
    ///
    /// # Errors
    /// Any error of candle.
    fn mean(self, heads: &Heads) -> Result<Tensor>;

    /// One draw of each value, `[b, d]`.
    ///
    /// # Errors
    /// Any error of candle.
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
            (_, (_, None)) => bail!("this likelihood has two parameters, but the decoder has only one head"),
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
            (_, None) => bail!("this likelihood has two parameters, but the decoder has only one head"),
        }
    }
}

/// The nearest of the 256 levels from 0 to 1.
fn levels(x: &Tensor) -> Result<Tensor> {
    (x.clamp(0.0, 1.0)? * 255.0)?.round()? / 255.0
}
