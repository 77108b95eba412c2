//! A recipe's table `[dlgm]`.

use candle_core::{DType, Device};
use elbo_compiler::Likelihood;
use serde::{Deserialize, Serialize};

use super::{Covariance, Dlgm, DlgmSpec, Regularisation};
use crate::settings::{ModelRecipe, RecipeError};

/// A recipe's table `[dlgm]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DlgmRecipe {
    /// Sizes of the stochastic layers, from the one above the data up; without it two of `model.latent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Widths of the hidden layers of every `T_l` between two stochastic layers, from the upper one down; without it
    /// those of `model.hidden`, mirrored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Vec<usize>>,
    /// Covariance of the recognition model: `diagonal` or `rank1`.
    pub covariance: Covariance,
    /// Variance of the Gaussian prior of the generative weights; 0 for no prior.
    pub weight_prior: f64,
    /// Noise on what the recognition model sees in training: probability of flipping a bit, or (Gaussian likelihood)
    /// standard deviation of what is added.
    pub input_noise: f64,
    /// Share of the values that the recognition model does not see in training: they are 0, and the others scaled up.
    pub input_dropout: f64,
}

impl Default for DlgmRecipe {
    fn default() -> Self {
        Self {
            layers: None,
            transition: None,
            covariance: Covariance::Rank1,
            weight_prior: 0.0,
            input_noise: 0.0,
            input_dropout: 0.0,
        }
    }
}

impl DlgmRecipe {
    /// Checks every range that does not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub(crate) fn check(&self) -> std::result::Result<(), RecipeError> {
        let invalid = |field, expected, found: String| Err(RecipeError::Invalid { field, expected, found });
        if let Some(layers) = &self.layers
            && (layers.is_empty() || layers.contains(&0))
        {
            return invalid("dlgm.layers", "one or more sizes of at least 1", format!("{layers:?}"));
        }
        if let Some(widths) = self.transition.as_ref().filter(|widths| widths.contains(&0)) {
            return invalid("dlgm.transition", "widths of at least 1", format!("{widths:?}"));
        }
        for (field, value) in [("dlgm.weight_prior", self.weight_prior), ("dlgm.input_noise", self.input_noise)] {
            if !(value >= 0.0 && value.is_finite()) {
                return invalid(field, "a number of at least 0", value.to_string());
            }
        }
        if !(0.0..1.0).contains(&self.input_dropout) {
            let expected = "a share from 0 up to but not including 1";
            return invalid("dlgm.input_dropout", expected, self.input_dropout.to_string());
        }
        Ok(())
    }

    /// With every default that depends on the rest of the recipe filled in.
    #[must_use]
    pub(crate) fn complete(self, model: &ModelRecipe) -> Self {
        let layers = self.layers.unwrap_or_else(|| vec![model.latent; 2]);
        let transition = self.transition.unwrap_or_else(|| model.hidden.iter().rev().copied().collect());
        Self { layers: Some(layers), transition: Some(transition), ..self }
    }

    /// The model of data with `input` values a row.
    ///
    /// # Errors
    /// `Invalid` for a probability of flipping bits above 1/2.
    pub(crate) fn model(
        &self,
        model: &ModelRecipe,
        input: usize,
        likelihood: Likelihood,
        seed: u64,
    ) -> std::result::Result<Dlgm, RecipeError> {
        if likelihood == Likelihood::Bernoulli && self.input_noise > 0.5 {
            return Err(RecipeError::Invalid {
                field: "dlgm.input_noise",
                expected: "a probability of flipping a bit of at most 0.5",
                found: self.input_noise.to_string(),
            });
        }
        let Self { weight_prior, input_noise, input_dropout, covariance, .. } = *self;
        let Self { layers, transition, .. } = self.clone().complete(model);
        let spec = DlgmSpec {
            input,
            layers: layers.unwrap_or_default(),
            hidden: model.hidden.clone(),
            transition: transition.unwrap_or_default(),
            activation: model.activation,
            likelihood,
            covariance,
        };
        let regularisation = Regularisation { weight_prior, input_noise, input_dropout };
        Ok(Dlgm::new(spec, regularisation, seed, &Device::Cpu, DType::F32)?)
    }
}
