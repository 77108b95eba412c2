//! Likelihoods: the distribution of the data given the latent.

use serde::{Deserialize, Serialize};

/// The distribution of the values of a row given the latent. It also determines how a row is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Likelihood {
    /// Independent Bernoulli variables, given by their logits. A grey value is the probability of a one: the model sees
    /// bits that are drawn anew every time.
    #[default]
    Bernoulli,
    /// Independent Gaussian variables, given by mean and log-variance. The model sees the values unchanged.
    Gaussian,
    /// Independent discretised logistic variables of 256 levels on `[0, 1]`, given by mean and log-scale (arXiv
    /// 1701.05517). The model sees grey values rounded to whole levels.
    Logistic,
}

impl From<Likelihood> for elbo::Likelihood {
    fn from(likelihood: Likelihood) -> Self {
        match likelihood {
            Likelihood::Bernoulli => Self::Bernoulli,
            Likelihood::Gaussian => Self::Gaussian,
            Likelihood::Logistic => Self::Logistic,
        }
    }
}

impl From<elbo::Likelihood> for Likelihood {
    fn from(likelihood: elbo::Likelihood) -> Self {
        match likelihood {
            elbo::Likelihood::Gaussian => Self::Gaussian,
            elbo::Likelihood::Logistic => Self::Logistic,
            _ => Self::Bernoulli,
        }
    }
}
