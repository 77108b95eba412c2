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

impl Likelihood {
    /// Every likelihood.
    pub const ALL: [Self; 3] = [Self::Bernoulli, Self::Gaussian, Self::Logistic];
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

/// A likelihood of the runtime that the compiler does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has a likelihood that these tools do not know: {0:?}. Use the version of Elbo that compiled it.")]
pub struct UnknownLikelihood(elbo::Likelihood);

impl TryFrom<elbo::Likelihood> for Likelihood {
    type Error = UnknownLikelihood;

    fn try_from(likelihood: elbo::Likelihood) -> Result<Self, UnknownLikelihood> {
        let same = |own: &Self| elbo::Likelihood::from(*own) == likelihood;
        Self::ALL.into_iter().find(same).ok_or(UnknownLikelihood(likelihood))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_and_the_compiler_mean_the_same() {
        for likelihood in Likelihood::ALL {
            assert_eq!(Likelihood::try_from(elbo::Likelihood::from(likelihood)), Ok(likelihood));
        }
    }
}
