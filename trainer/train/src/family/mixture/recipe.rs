//! A recipe's table `[mixture]`.

use elbo_compiler::quantize::WeightBits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GaussianMixture;
use super::em::EmOptions;
use crate::family::{Flag, Register};
use crate::model::Model;
use crate::settings::{DataShape, ExportRecipe, RecipeError, Shared, TrainRecipe};

/// Components and how they are fitted, the recipe's table `[mixture]`. A step of `train.steps` is a start of expectation
/// maximisation: the likeliest mixture so far stays, and validation rows choose between those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MixtureRecipe {
    /// Number of Gaussians. With 1 the score is half the squared Mahalanobis distance, up to a constant. The fit drops a
    /// component that no rows support.
    pub components: usize,
    /// Most steps of a start.
    pub iterations: usize,
    /// A start ends when a step gains less than this, in nats a row.
    pub tolerance: f64,
    /// What is added to every column's variance in every component, in units of the column's variance.
    pub floor: f64,
    /// How many rows a column the diagonal covariance of all rows weighs in a component's: 0.05 of 20 columns is one row. A
    /// single component is not shrunk.
    pub shrinkage: f64,
    /// Rows that a component needs to stay.
    pub least_rows: f64,
}

impl Default for MixtureRecipe {
    fn default() -> Self {
        let EmOptions { starts: _, iterations, tolerance, floor, shrinkage, least_rows, seed: _ } =
            EmOptions::default();
        Self { components: 4, iterations, tolerance, floor, shrinkage, least_rows }
    }
}

impl MixtureRecipe {
    /// The options of one start.
    #[must_use]
    pub fn em(&self, seed: u64) -> EmOptions {
        let Self { components: _, iterations, tolerance, floor, shrinkage, least_rows } = *self;
        EmOptions { starts: 1, iterations, tolerance, floor, shrinkage, least_rows, seed }
    }

    /// The first field that is out of its range: its name, what is expected, what was found.
    #[must_use]
    pub fn mistake(&self) -> Option<(&'static str, &'static str, String)> {
        let counts = [("components", self.components), ("iterations", self.iterations)];
        if let Some((field, count)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Some((field, "a whole number of at least 1", count.to_string()));
        }
        if !(self.floor > 0.0 && self.floor.is_finite()) {
            return Some(("floor", "a number above 0", self.floor.to_string()));
        }
        let amounts = [("tolerance", self.tolerance), ("shrinkage", self.shrinkage), ("least_rows", self.least_rows)];
        let wrong = amounts.into_iter().find(|(_, amount)| !(*amount >= 0.0 && amount.is_finite()));
        wrong.map(|(field, amount)| (field, "a number of at least 0", amount.to_string()))
    }
}

/// The family `mixture`.
pub struct Entry;

impl Register for Entry {
    type Options = MixtureRecipe;

    const ABOUT: &'static str = "mixture of Gaussians with full covariances";

    const RECIPES: &'static [(&'static str, &'static str)] =
        &[("demo-mixture", include_str!("recipes/demo-mixture.toml"))];

    const FLAGS: &'static [Flag] = &[Flag::new("components", "components", "N")];

    /// A step is a start.
    fn train() -> TrainRecipe {
        TrainRecipe {
            steps: 5,
            ema: 0.0,
            validate_every: 1,
            patience: 0,
            checkpoint_every: 1,
            ..TrainRecipe::default()
        }
    }

    /// Scores of rows that are far from everything follow the floats closely with 16 bits a weight.
    fn export() -> ExportRecipe {
        ExportRecipe { weight_bits: WeightBits::Sixteen, ..ExportRecipe::default() }
    }

    fn check(options: &MixtureRecipe, shared: Shared<'_>) -> Result<(), RecipeError> {
        if shared.train.steps > MOST_STARTS {
            let expected = "at most 1000 of a mixture, whose steps are starts of expectation maximisation";
            return Err(RecipeError::invalid("train.steps", expected, shared.train.steps));
        }
        match options.mistake() {
            Some((field, expected, found)) => Err(RecipeError::invalid(field, expected, found)),
            None => Ok(()),
        }
    }

    fn model(options: &MixtureRecipe, data: &DataShape, _: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        Ok(Box::new(GaussianMixture::new(options.clone(), data.dim())?))
    }
}

/// More are a mistake for what other families call steps.
const MOST_STARTS: u64 = 1000;
