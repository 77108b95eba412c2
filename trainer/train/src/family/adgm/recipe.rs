//! The tables `[adgm]` and `[sdgm]` of a recipe, and the options that they share with `[avae]`.

use candle_core::{DType, Device};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Adgm, AdgmSpec, Structure, choose};
use crate::data::Split;
use crate::family::{Flag, Register};
use crate::model::Model;
use crate::settings::{DataShape, ModelRecipe, RecipeError, Shared};

/// The tables `[adgm]` and `[sdgm]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdgmRecipe {
    /// The layers of every network, and the likelihood.
    #[serde(flatten)]
    pub model: ModelRecipe,
    /// Dimensions of the auxiliary variable.
    pub auxiliary: usize,
    /// Number of train rows whose labels are used. They are balanced over the classes and drawn with the split seed.
    /// With 0 all labels are used.
    pub labels: usize,
    /// Number of labelled rows in a step, in addition to the batch. If there are fewer labelled rows, a step uses all
    /// of them.
    pub labelled_batch: usize,
    /// Smallest `q(y|a,x)` of a class in training. Less probable classes of an unlabelled row are omitted from its sum,
    /// and `q` is renormalised (arXiv 2007.01919). The result is still a bound, and costs much less once most rows have
    /// one likely class. With 0 the sum is over all classes.
    pub least_class: f64,
    /// Weight of `log q(y|a,x)` for labelled rows, relative to the number of train rows divided by that of labelled
    /// rows (`alpha` of equation 12).
    pub alpha: f64,
    /// Number of auxiliary samples over which a classification averages.
    pub samples: usize,
}

impl Default for AdgmRecipe {
    fn default() -> Self {
        Self {
            model: ModelRecipe::default(),
            auxiliary: 8,
            labels: 0,
            labelled_batch: 100,
            least_class: 0.0,
            alpha: 0.1,
            samples: 100,
        }
    }
}

impl AdgmRecipe {
    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        self.model.check()?;
        let invalid = |field: &str, expected: &str, found: String| Err(RecipeError::invalid(field, expected, found));
        if self.model.hidden.is_empty() {
            return invalid("hidden", "at least one hidden layer for this family", "none".to_owned());
        }
        let at_least_1 =
            [("auxiliary", self.auxiliary), ("labelled_batch", self.labelled_batch), ("samples", self.samples)];
        for (field, value) in at_least_1 {
            if value == 0 {
                return invalid(field, "a whole number of at least 1", value.to_string());
            }
        }
        if !(0.0..=0.1).contains(&self.least_class) {
            return invalid("least_class", "a probability of at most 0.1", self.least_class.to_string());
        }
        if !(self.alpha >= 0.0 && self.alpha.is_finite()) {
            return invalid("alpha", "a number of at least 0", self.alpha.to_string());
        }
        Ok(())
    }
}

/// A family whose model is an [`Adgm`]. Such families differ in the structure of the networks and in the options that a
/// recipe offers.
pub trait AuxiliaryFamily {
    /// See [`Register::Options`].
    type Options: Clone + Default + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + JsonSchema + 'static;

    /// The structure of the networks.
    const STRUCTURE: Structure;

    /// See [`Register::DESCRIPTION`].
    const DESCRIPTION: &'static str;

    /// See [`Register::RECIPES`].
    const RECIPES: &'static [(&'static str, &'static str)];

    /// See [`Register::FLAGS`].
    const FLAGS: &'static [Flag];

    /// All options of the model. Options that the family does not offer have their defaults.
    fn model_options(options: &Self::Options) -> AdgmRecipe;

    /// The options of the layers and the likelihood.
    fn shared_options(options: &mut Self::Options) -> &mut ModelRecipe;
}

impl<F: AuxiliaryFamily> Register for F {
    type Options = F::Options;

    const DESCRIPTION: &'static str = F::DESCRIPTION;

    const RECIPES: &'static [(&'static str, &'static str)] = F::RECIPES;

    const FLAGS: &'static [Flag] = F::FLAGS;

    fn check(options: &F::Options, _: Shared<'_>) -> Result<(), RecipeError> {
        F::model_options(options).check()
    }

    fn model(options: &F::Options, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        if data.classes == 0 && F::STRUCTURE != Structure::Avae {
            let expected =
                "`avae` or `vae` for data without labels; --label-column names the column of a table's labels";
            return Err(RecipeError::invalid("family", expected, format!("{:?}", F::STRUCTURE).to_lowercase()));
        }
        let options = F::model_options(options);
        let likelihood = options.model.likelihood_of(data)?;
        let ModelRecipe { hidden, latent, activation, .. } = options.model.clone();
        let spec = AdgmSpec {
            structure: F::STRUCTURE,
            input: data.dim(),
            classes: data.classes,
            hidden,
            auxiliary: options.auxiliary,
            latent,
            activation,
            likelihood,
        };
        let place = (&Device::Cpu, DType::F32);
        Ok(Box::new(Adgm::new(spec, options, shared.data.split_seed, shared.train.seed, place)?))
    }

    fn complete(options: &mut F::Options, model: &dyn Model) {
        F::shared_options(options).likelihood = Some(model.likelihood());
    }

    fn labelled_rows(
        options: &F::Options,
        train: &Split,
        classes: usize,
        shared: Shared<'_>,
    ) -> Result<Option<Vec<usize>>, RecipeError> {
        if F::STRUCTURE == Structure::Avae {
            return Ok(None);
        }
        let labels = F::model_options(options).labels;
        choose(train.labels.as_deref(), classes, labels, shared.data.split_seed).map(Some)
    }
}

/// The family `adgm`.
pub struct Entry;

impl AuxiliaryFamily for Entry {
    type Options = AdgmRecipe;

    const STRUCTURE: Structure = Structure::Adgm;

    const DESCRIPTION: &'static str = "auxiliary deep generative model, learns from few labels";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("adgm-mnist", include_str!("recipes/adgm-mnist.toml")),
        ("adgm-mnist-small", include_str!("recipes/adgm-mnist-small.toml")),
        ("moons-adgm", include_str!("recipes/moons-adgm.toml")),
        ("demo-adgm", include_str!("recipes/demo-adgm.toml")),
    ];

    const FLAGS: &'static [Flag] = &[Flag::HIDDEN, Flag::LATENT, Flag::LIKELIHOOD, Flag::new("labels", "labels", "N")];

    fn model_options(options: &AdgmRecipe) -> AdgmRecipe {
        options.clone()
    }

    fn shared_options(options: &mut AdgmRecipe) -> &mut ModelRecipe {
        &mut options.model
    }
}

#[cfg(test)]
mod tests;
