//! A recipe's table `[mixture]`.

use serde::{Deserialize, Serialize};

use super::em::EmOptions;

/// Components and how they are fitted, the recipe's table `[mixture]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixtureRecipe {
    /// Number of Gaussians. With 1 the score is half the squared Mahalanobis distance, up to a constant. The fit drops a
    /// component that no rows support.
    pub components: usize,
    /// Independent starts of expectation maximisation, of which the likeliest mixture is kept.
    pub starts: usize,
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
        let EmOptions { starts, iterations, tolerance, floor, shrinkage, least_rows, seed: _ } = EmOptions::default();
        Self { components: 4, starts, iterations, tolerance, floor, shrinkage, least_rows }
    }
}

impl MixtureRecipe {
    /// The options of the fit.
    #[must_use]
    pub fn em(&self, seed: u64) -> EmOptions {
        let Self { components: _, starts, iterations, tolerance, floor, shrinkage, least_rows } = *self;
        EmOptions { starts, iterations, tolerance, floor, shrinkage, least_rows, seed }
    }

    /// The first field that is out of its range: its name, what is expected, what was found.
    #[must_use]
    pub fn mistake(&self) -> Option<(&'static str, &'static str, String)> {
        let counts = [("components", self.components), ("starts", self.starts), ("iterations", self.iterations)];
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
