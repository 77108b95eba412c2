//! The auxiliary VAE of Auxiliary Deep Generative Models (arXiv 1602.05473, section 2.2), which has no classes. Its
//! model is an [`Adgm`](super::adgm::Adgm) with the structure [`Structure::Avae`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Flag;
use super::adgm::{AdgmRecipe, AuxiliaryFamily, Structure};
use crate::settings::ModelRecipe;

/// The table `[avae]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AvaeRecipe {
    /// The layers of every network, and the likelihood.
    #[serde(flatten)]
    pub model: ModelRecipe,
    /// Dimensions of the auxiliary variable.
    pub auxiliary: usize,
}

impl Default for AvaeRecipe {
    fn default() -> Self {
        Self { model: ModelRecipe::default(), auxiliary: AdgmRecipe::default().auxiliary }
    }
}

/// The family `avae`.
pub struct Entry;

impl AuxiliaryFamily for Entry {
    type Options = AvaeRecipe;

    const STRUCTURE: Structure = Structure::Avae;

    const DESCRIPTION: &'static str = "auxiliary variational auto-encoder";

    const RECIPES: &'static [(&'static str, &'static str)] = &[];

    const FLAGS: &'static [Flag] = &[Flag::HIDDEN, Flag::LATENT, Flag::LIKELIHOOD];

    fn model_options(options: &AvaeRecipe) -> AdgmRecipe {
        AdgmRecipe { model: options.model.clone(), auxiliary: options.auxiliary, ..AdgmRecipe::default() }
    }

    fn shared_options(options: &mut AvaeRecipe) -> &mut ModelRecipe {
        &mut options.model
    }
}
