//! The table `[mixture]` of a recipe.

use elbo_compiler::quantize::WeightBits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GaussianMixture;
use super::em::{EmOptions, MOST_SCALES};
use super::prior::Target;
use crate::family::{Flag, Register, Score};
use crate::model::Model;
use crate::settings::{DataShape, ExportRecipe, MOST, RecipeError, Shared, TrainRecipe};

/// The table `[mixture]` of a recipe. A step of `train.steps` is one start of expectation maximisation. The most likely
/// mixture so far is kept, and the validation rows choose between the mixtures of all steps.
///
/// The defaults of `target`, `scales` and `rounding` had the best likelihood of held-out rows on tables of several sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MixtureRecipe {
    /// Number of components. By default cross-validation on the train rows chooses 1, 2, 4 or another power of 2. With 1, and
    /// one scale, the score is half the squared Mahalanobis distance plus a constant. The fit drops a component if too
    /// few rows support it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
    /// Largest number of components that cross-validation tries. It also tries no more than a quarter of the number of
    /// rows, and no more than have 65,536 weights together.
    pub most_components: usize,
    /// Largest number of EM steps of a start.
    pub iterations: usize,
    /// A start ends when a step improves the objective by less than this value, in nats per row.
    pub tolerance: f64,
    /// Value that is added to the variance of every column in every component, as a share of the column's variance.
    pub floor: f64,
    /// Whether the variance that the rounding of a column hides is added, too. It is known from the share of equal
    /// values. Without it, a column with few distinct values has no density.
    pub rounding: bool,
    /// Weight of the target in the covariance of a component, in rows per column. For example, 0.5 with 20 columns is
    /// ten rows. A single component is not shrunk.
    pub shrinkage: f64,
    /// What the covariance of a component is shrunk towards: `within`, the covariance around the centres of the clusters
    /// that a start begins with, or `diagonal`, the diagonal covariance of all rows.
    pub target: Target,
    /// Number of scales of every component. The covariance is multiplied by 1, 3, 9 and so on, each for a share of the
    /// rows that is fitted, so that tails are heavier than those of a Gaussian. With 1 the components are Gaussians.
    pub scales: usize,
    /// Number of rows that a component needs to be kept.
    pub least_rows: f64,
}

impl Default for MixtureRecipe {
    fn default() -> Self {
        let EmOptions { iterations, tolerance, least_rows, .. } = EmOptions::default();
        Self {
            components: None,
            most_components: 64,
            iterations,
            tolerance,
            floor: 1e-2,
            rounding: true,
            shrinkage: 2.0,
            target: Target::Within,
            scales: 4,
            least_rows,
        }
    }
}

impl MixtureRecipe {
    /// This number of Gaussians with a weak prior. With 1, the mean and the covariance are those of the rows, except for
    /// the floor.
    #[must_use]
    pub fn gaussians(components: usize) -> Self {
        let EmOptions { floor, rounding, shrinkage, target, scales, .. } = EmOptions::default();
        Self { components: Some(components), floor, rounding, shrinkage, target, scales, ..Self::default() }
    }

    /// The options of one start.
    #[must_use]
    pub fn em(&self, seed: u64) -> EmOptions {
        let Self { iterations, tolerance, floor, rounding, shrinkage, target, scales, least_rows, .. } = *self;
        EmOptions { starts: 1, iterations, tolerance, floor, rounding, shrinkage, target, scales, least_rows, seed }
    }

    /// The first field that is out of its range: its name, the expectation and the value.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str, String)> {
        let components = self.components.unwrap_or(1);
        let counts = [
            ("components", components),
            ("most_components", self.most_components),
            ("iterations", self.iterations),
            ("scales", self.scales),
        ];
        if let Some((field, count)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Some((field, "a whole number of at least 1", count.to_string()));
        }
        if self.scales > MOST_SCALES {
            return Some(("scales", "a whole number of at most 16", self.scales.to_string()));
        }
        let counts = [("components", components), ("most_components", self.most_components)];
        if let Some((field, count)) = counts.into_iter().find(|(_, count)| *count > MOST) {
            return Some((field, "a whole number of at most 65535", count.to_string()));
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

    const DESCRIPTION: &'static str = "mixture of distributions with full covariances";

    const RECIPES: &'static [(&'static str, &'static str)] =
        &[("demo-mixture", include_str!("recipes/demo-mixture.toml"))];

    const SCORE: Score = Score::LogDensity;

    const FLAGS: &'static [Flag] = &[Flag::new("components", "components", "N")];

    /// A step is one start of expectation maximisation.
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

    /// With 16-bit weights, the integer scores of far rows agree closely with those in floating point.
    fn export() -> ExportRecipe {
        ExportRecipe { weight_bits: Some(WeightBits::Sixteen), ..ExportRecipe::default() }
    }

    fn check(options: &MixtureRecipe, shared: Shared<'_>) -> Result<(), RecipeError> {
        if shared.train.steps > MOST_STARTS {
            let expected = "at most 1000 for a mixture, because its steps are starts of expectation maximisation";
            return Err(RecipeError::invalid("train.steps", expected, shared.train.steps));
        }
        match options.out_of_range() {
            Some((field, expected, found)) => Err(RecipeError::invalid(field, expected, found)),
            None => Ok(()),
        }
    }

    fn model(options: &MixtureRecipe, data: &DataShape, _: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        Ok(Box::new(GaussianMixture::new(options.clone(), data.dim())?))
    }
}

/// A larger number of starts is probably a number of gradient steps that was meant for another family.
const MOST_STARTS: u64 = 1000;
