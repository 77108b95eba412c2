//! The auxiliary VAE of Auxiliary Deep Generative Models (arXiv 1602.05473, section 2.2), which knows no classes. Its model is
//! an [`Adgm`](super::adgm::Adgm) of another structure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adgm::{AdgmRecipe, Structure, make};
use super::{Flag, Register};
use crate::model::Model;
use crate::settings::{DataShape, ModelRecipe, RecipeError, Shared};

/// A recipe's table `[avae]`.
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

impl AvaeRecipe {
    /// The options of an ADGM, of which an auxiliary VAE has no others.
    fn whole(&self) -> AdgmRecipe {
        AdgmRecipe { model: self.model.clone(), auxiliary: self.auxiliary, ..AdgmRecipe::default() }
    }
}

/// The family `avae`.
pub struct Entry;

impl Register for Entry {
    type Options = AvaeRecipe;

    const ABOUT: &'static str = "auxiliary variational auto-encoder";

    const RECIPES: &'static [(&'static str, &'static str)] = &[];

    const FLAGS: &'static [Flag] = &[Flag::HIDDEN, Flag::LATENT, Flag::LIKELIHOOD];

    fn check(options: &AvaeRecipe, _: Shared<'_>) -> Result<(), RecipeError> {
        options.whole().check()
    }

    fn model(options: &AvaeRecipe, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        make(Structure::Avae, &options.whole(), data, shared)
    }

    fn complete(options: &mut AvaeRecipe, model: &dyn Model) {
        options.model.likelihood = Some(model.likelihood());
    }
}
