//! VAE: Auto-Encoding Variational Bayes (arXiv 1312.6114).

use serde::{Deserialize, Serialize};

use super::DenseLayer;
use crate::nn::Activation;

/// The encoder's log-variance is clamped from below to this value (nats).
pub const LOGVAR_MIN: f64 = -12.0;
/// The encoder's log-variance is clamped from above to this value (nats).
pub const LOGVAR_MAX: f64 = 4.0;
/// The Gaussian likelihood's log-variance is clamped from below to this value: the variance floor (nats).
pub const HEAD_LOGVAR_MIN: f64 = -8.0;
/// The Gaussian likelihood's log-variance is clamped from above to this value (nats).
pub const HEAD_LOGVAR_MAX: f64 = 4.0;

/// The distribution `p(x|z)` of the data given the latent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Likelihood {
    /// Independent Bernoulli variables, given by their logits.
    #[default]
    Bernoulli,
    /// Independent Gaussian variables, given by mean and log-variance.
    Gaussian,
}

/// The two SGVB estimators of the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Estimator {
    /// All Monte Carlo: `log p(x,z) - log q(z|x)` at the sampled `z` (equation 6).
    A,
    /// Monte Carlo for the likelihood, analytic KL divergence (equation 7).
    #[default]
    B,
}

/// The shape of a VAE with dense encoder and decoder.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct VaeSpec {
    /// Number of data dimensions.
    pub input: usize,
    /// Widths of the encoder's hidden layers from the data on; the decoder mirrors them.
    pub hidden: Vec<usize>,
    /// Number of latent dimensions.
    pub latent: usize,
    /// Activation of every hidden layer.
    pub activation: Activation,
    /// The decoder's likelihood.
    pub likelihood: Likelihood,
}

/// Every layer of a VAE as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// Hidden layers of the encoder, from the data on.
    pub encoder: Vec<DenseLayer>,
    /// Mean of `q(z|x)`.
    pub mu: DenseLayer,
    /// Log-variance of `q(z|x)`, before clamping to [`LOGVAR_MIN`], [`LOGVAR_MAX`].
    pub logvar: DenseLayer,
    /// Hidden layers of the decoder, from the latent on.
    pub decoder: Vec<DenseLayer>,
    /// Logits (Bernoulli) or mean (Gaussian).
    pub head: DenseLayer,
    /// Gaussian log-variance, before clamping to [`HEAD_LOGVAR_MIN`], [`HEAD_LOGVAR_MAX`].
    pub head_logvar: Option<DenseLayer>,
}
