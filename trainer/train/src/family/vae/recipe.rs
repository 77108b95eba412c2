//! The table `[vae]` of a recipe.

use candle_core::{DType, Device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Parts, Vae, VaeSpec};
use crate::family::flow::posterior::PosteriorRecipe;
use crate::family::{Flag, Register};
use crate::layers::conv::ConvRecipe;
use crate::model::Model;
use crate::settings::{DataShape, Estimator, ModelRecipe, RecipeError, Shared};

/// The table `[vae]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VaeRecipe {
    /// The layers and the likelihood.
    #[serde(flatten)]
    pub model: ModelRecipe,
    /// Whether to model each class separately, `p(x|y)`. The data need labels.
    pub conditional: bool,
    /// KL divergence in nats, averaged over a batch, up to which a latent dimension costs nothing. With 0 the whole
    /// divergence counts.
    pub free_bits: f64,
    /// Flow for the posterior of the latent. The encoder computes its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posterior: Option<PosteriorRecipe>,
    /// Convolutions between an image and the dense layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv: Option<ConvRecipe>,
}

/// The family `vae`.
pub struct Entry;

impl Register for Entry {
    type Options = VaeRecipe;

    const DESCRIPTION: &'static str = "variational auto-encoder";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("digits", include_str!("recipes/digits.toml")),
        ("mnist", include_str!("recipes/mnist.toml")),
        ("demo-vae", include_str!("recipes/demo-vae.toml")),
    ];

    const FLAGS: &'static [Flag] = &[
        Flag::HIDDEN,
        Flag::LATENT,
        Flag::LIKELIHOOD,
        Flag::CONV,
        Flag {
            instead: "it is the flow for the posterior of a VAE; for the family `flow` use --flow",
            ..Flag::new("posterior", "posterior.kind", "KIND")
        },
        Flag::new("conditional", "conditional", ""),
    ];

    fn check(options: &VaeRecipe, shared: Shared<'_>) -> Result<(), RecipeError> {
        options.model.check()?;
        if !(options.free_bits >= 0.0 && options.free_bits.is_finite()) {
            return Err(RecipeError::invalid("free_bits", "a number of at least 0", options.free_bits));
        }
        if options.free_bits > 0.0 && shared.train.estimator == Estimator::A {
            let expected = "0 for estimator \"a\", because free bits need the analytic KL of \"b\"";
            return Err(RecipeError::invalid("free_bits", expected, options.free_bits));
        }
        if let Some(posterior) = options.posterior.as_ref().filter(|posterior| posterior.steps == 0) {
            return Err(RecipeError::invalid("posterior.steps", "at least one step", posterior.steps));
        }
        options.conv.as_ref().map_or(Ok(()), ConvRecipe::check)
    }

    fn model(options: &VaeRecipe, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        let VaeRecipe { model, conditional, free_bits, posterior, conv } = options;
        let likelihood = model.likelihood_of(data)?;
        if *conditional && data.classes < 2 {
            let expected = "data with labels of at least two classes (for a table, --label-column names their column)";
            return Err(RecipeError::invalid("conditional", expected, format!("{} classes", data.classes)));
        }
        let conv = conv.as_ref().map(|conv| conv.of_data(data)).transpose()?;
        let ModelRecipe { hidden, latent, activation, .. } = model.clone();
        let spec = VaeSpec { input: data.dim(), hidden, latent, activation, likelihood };
        let classes = if *conditional { data.classes } else { 0 };
        let parts = Parts { conv, flow: posterior.as_ref(), classes, free_bits: *free_bits };
        Ok(Box::new(Vae::with_parts(spec, parts, shared.train.seed, &Device::Cpu, DType::F32)?))
    }

    fn complete(options: &mut VaeRecipe, model: &dyn Model) {
        options.model.likelihood = Some(model.likelihood());
    }
}
