//! The table `[dlgm]` of a recipe.

use candle_core::{DType, Device};
use elbo_compiler::Likelihood;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Covariance, Dlgm, DlgmSpec, Regularisation};
use crate::family::{Flag, Register};
use crate::model::Model;
use crate::settings::{DataShape, ModelRecipe, RecipeError, Shared};

/// The table `[dlgm]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DlgmRecipe {
    /// The deterministic layers and the likelihood.
    #[serde(flatten)]
    pub model: ModelRecipe,
    /// Sizes of the stochastic layers, starting with the one next to the data. The default is two layers of size
    /// `latent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Widths of the hidden layers of each map `T_l` between two stochastic layers, starting at the upper one. The
    /// default is `hidden` in reverse order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Vec<usize>>,
    /// Covariance of the recognition model: `diagonal` or `rank1`.
    pub covariance: Covariance,
    /// Variance of the Gaussian prior of the generative weights. With 0 there is no prior.
    pub weight_prior: f64,
    /// Noise on the input of the recognition model during training. It is the probability of flipping a bit or, with a
    /// Gaussian or logistic likelihood, the standard deviation of added noise.
    pub input_noise: f64,
    /// Share of the input values of the recognition model that are set to 0 during training. The other values are
    /// scaled up.
    pub input_dropout: f64,
}

impl Default for DlgmRecipe {
    fn default() -> Self {
        Self {
            model: ModelRecipe::default(),
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
    /// Checks the ranges that do not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    pub(crate) fn check(&self) -> std::result::Result<(), RecipeError> {
        self.model.check()?;
        let invalid = |field: &str, expected: &str, found: String| Err(RecipeError::invalid(field, expected, found));
        if let Some(layers) = &self.layers
            && (layers.is_empty() || layers.contains(&0))
        {
            return invalid("layers", "one or more sizes of at least 1", format!("{layers:?}"));
        }
        if let Some(widths) = self.transition.as_ref().filter(|widths| widths.contains(&0)) {
            return invalid("transition", "widths of at least 1", format!("{widths:?}"));
        }
        for (field, value) in [("weight_prior", self.weight_prior), ("input_noise", self.input_noise)] {
            if !(value >= 0.0 && value.is_finite()) {
                return invalid(field, "a number of at least 0", value.to_string());
            }
        }
        if !(0.0..1.0).contains(&self.input_dropout) {
            let expected = "a share from 0 up to but not including 1";
            return invalid("input_dropout", expected, self.input_dropout.to_string());
        }
        Ok(())
    }

    /// The options with every default that depends on other options filled in.
    #[must_use]
    pub(crate) fn complete(self) -> Self {
        let layers = self.layers.unwrap_or_else(|| vec![self.model.latent; 2]);
        let transition = self.transition.unwrap_or_else(|| self.model.hidden.iter().rev().copied().collect());
        Self { layers: Some(layers), transition: Some(transition), ..self }
    }

    /// The model for data with `input` values in a row.
    ///
    /// # Errors
    /// `Invalid` if a probability of flipping bits is above 1/2.
    pub(crate) fn model(
        &self,
        input: usize,
        likelihood: Likelihood,
        seed: u64,
    ) -> std::result::Result<Dlgm, RecipeError> {
        if likelihood == Likelihood::Bernoulli && self.input_noise > 0.5 {
            let expected = "a probability of flipping a bit of at most 0.5";
            return Err(RecipeError::invalid("input_noise", expected, self.input_noise));
        }
        let Self { weight_prior, input_noise, input_dropout, covariance, .. } = *self;
        let Self { model, layers, transition, .. } = self.clone().complete();
        let spec = DlgmSpec {
            input,
            layers: layers.unwrap_or_default(),
            hidden: model.hidden,
            transition: transition.unwrap_or_default(),
            activation: model.activation,
            likelihood,
            covariance,
        };
        let regularisation = Regularisation { weight_prior, input_noise, input_dropout };
        Ok(Dlgm::new(spec, regularisation, seed, &Device::Cpu, DType::F32)?)
    }
}

/// The family `dlgm`.
pub struct Entry;

impl Register for Entry {
    type Options = DlgmRecipe;

    const DESCRIPTION: &'static str = "deep latent Gaussian model";

    const RECIPES: &'static [(&'static str, &'static str)] = &[("demo-dlgm", include_str!("recipes/demo-dlgm.toml"))];

    const FLAGS: &'static [Flag] =
        &[Flag::HIDDEN, Flag::LATENT, Flag::LIKELIHOOD, Flag::new("layers", "layers", "SIZES")];

    fn check(options: &DlgmRecipe, _: Shared<'_>) -> std::result::Result<(), RecipeError> {
        options.check()
    }

    fn model(
        options: &DlgmRecipe,
        data: &DataShape,
        shared: Shared<'_>,
    ) -> std::result::Result<Box<dyn Model>, RecipeError> {
        let likelihood = options.model.likelihood_of(data)?;
        Ok(Box::new(options.model(data.dim(), likelihood, shared.train.seed)?))
    }

    fn complete(options: &mut DlgmRecipe, model: &dyn Model) {
        options.model.likelihood = Some(model.likelihood());
        *options = std::mem::take(options).complete();
    }
}

#[cfg(test)]
mod tests;
