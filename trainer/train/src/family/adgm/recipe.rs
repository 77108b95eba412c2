//! The tables `[adgm]` and `[sdgm]` of a recipe, and what they share with `[avae]`.

use candle_core::{DType, Device};
use schemars::JsonSchema;
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
    /// Train rows that keep their label, balanced over the classes and drawn by the split seed; 0 for all.
    pub labels: usize,
    /// Labelled rows a step, beside the batch: all of them if there are no more.
    pub labelled_batch: usize,
    /// Classes of an unlabelled row whose `q(y|a,x)` is below this are left out of its sum in training, and `q` is that of the
    /// others (arXiv 2007.01919): a bound still, at a fraction of the work once most rows have one likely class. 0 for the
    /// sum over every class.
    pub least_class: f64,
    /// Weight of `log q(y|a,x)` on a labelled row, times train rows over labelled rows (`alpha`, equation 12).
    pub alpha: f64,
    /// Auxiliary samples over which a classification averages.
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
    /// Checks every range that the types do not.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
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

/// The model of a structure.
pub(in crate::family) fn make(
    structure: Structure,
    options: &AdgmRecipe,
    data: &DataShape,
    shared: Shared<'_>,
) -> Result<Box<dyn Model>, RecipeError> {
    if data.classes == 0 && structure != Structure::Avae {
        let expected = "`avae` or `vae` for data without labels; --label-column names a table's";
        return Err(RecipeError::invalid("family", expected, format!("{structure:?}").to_lowercase()));
    }
    let likelihood = options.model.likelihood_of(data)?;
    let ModelRecipe { hidden, latent, activation, .. } = options.model.clone();
    let (input, classes, auxiliary) = (data.dim(), data.classes, options.auxiliary);
    let spec = AdgmSpec { structure, input, classes, hidden, auxiliary, latent, activation, likelihood };
    let place = (&Device::Cpu, DType::F32);
    Ok(Box::new(Adgm::new(spec, options.clone(), shared.data.split_seed, shared.train.seed, place)?))
}

/// The rows that keep their label.
pub(in crate::family) fn labelled(
    options: &AdgmRecipe,
    train: &Split,
    classes: usize,
    shared: Shared<'_>,
) -> Result<Option<Vec<usize>>, RecipeError> {
    choose(train.labels.as_deref(), classes, options.labels, shared.data.split_seed).map(Some)
}

/// The family `adgm`.
pub struct Entry;

impl Register for Entry {
    type Options = AdgmRecipe;

    const ABOUT: &'static str = "auxiliary deep generative model, learns from few labels";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("adgm-mnist", include_str!("recipes/adgm-mnist.toml")),
        ("adgm-mnist-small", include_str!("recipes/adgm-mnist-small.toml")),
        ("moons-adgm", include_str!("recipes/moons-adgm.toml")),
        ("demo-adgm", include_str!("recipes/demo-adgm.toml")),
    ];

    const FLAGS: &'static [Flag] = &[Flag::HIDDEN, Flag::LATENT, Flag::LIKELIHOOD, Flag::new("labels", "labels", "N")];

    fn check(options: &AdgmRecipe, _: Shared<'_>) -> Result<(), RecipeError> {
        options.check()
    }

    fn model(options: &AdgmRecipe, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        make(Structure::Adgm, options, data, shared)
    }

    fn complete(options: &mut AdgmRecipe, model: &dyn Model) {
        options.model.likelihood = Some(model.likelihood());
    }

    fn learns_labels(_: &AdgmRecipe) -> bool {
        true
    }

    fn labelled_rows(
        options: &AdgmRecipe,
        train: &Split,
        classes: usize,
        shared: Shared<'_>,
    ) -> Result<Option<Vec<usize>>, RecipeError> {
        labelled(options, train, classes, shared)
    }
}
