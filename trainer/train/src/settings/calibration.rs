//! Which rows calibrate the scores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RecipeError;
use crate::data::{CalibrationRows, Dataset, Kind};

/// Number of folds of a small table.
const FOLDS: u32 = 5;
/// A table with fewer train rows is small: a tenth of them would not support a false-alarm rate of 1 % reliably.
const SMALL: usize = 3000;
/// Largest number of folds.
const MOST_FOLDS: u32 = 100;

/// How the scores are calibrated: normal rows that neither train nor choose the model say how rare a score is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationRecipe {
    /// Share of the train rows that calibrates the scores and does not train, if the data mark no such rows and there are no
    /// folds.
    pub fraction: f32,
    /// Number of further models that are trained, each without its share of the train and validation rows, which it then
    /// scores: so all of them calibrate. 0 means none. The default is 5 for a table of fewer than 3000 train rows, and 0
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<u32>,
}

impl Default for CalibrationRecipe {
    fn default() -> Self {
        Self { fraction: 0.1, folds: None }
    }
}

impl CalibrationRecipe {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        if !(0.0..1.0).contains(&self.fraction) {
            let expected = "a number from 0 up to but not including 1";
            return Err(RecipeError::invalid("calibration.fraction", expected, self.fraction));
        }
        match self.folds {
            Some(folds) if folds == 1 || folds > MOST_FOLDS => {
                let expected = format!("0 for none, or a number from 2 to {MOST_FOLDS}");
                Err(RecipeError::invalid("calibration.folds", expected, folds))
            }
            _ => Ok(()),
        }
    }

    /// The rows that are kept for the calibration when the data are split.
    #[must_use]
    pub fn rows(&self) -> CalibrationRows {
        match self.folds {
            None if self.fraction > 0.0 => CalibrationRows::ShareOfLarge { share: self.fraction, small: SMALL },
            None | Some(0) => CalibrationRows::Share(self.fraction),
            Some(_) => CalibrationRows::Share(0.0),
        }
    }

    /// Fills in the number of folds for these data, which were split as [`rows`](Self::rows) says.
    ///
    /// # Errors
    /// `Invalid` if there are folds and the data mark calibration rows, or if there are fewer rows than folds.
    pub fn complete(&mut self, dataset: &Dataset) -> Result<(), RecipeError> {
        let rows = dataset.train.n + dataset.validation.n;
        let small = dataset.kind == Kind::Table && dataset.calibration.n == 0 && dataset.train.n < SMALL;
        let by_default = small && self.fraction > 0.0 && rows >= 2 * FOLDS as usize;
        let folds = *self.folds.get_or_insert(if by_default { FOLDS } else { 0 });
        if folds == 0 {
            return Ok(());
        }
        if dataset.calibration.n > 0 {
            let expected = "0 for data that mark their calibration rows";
            return Err(RecipeError::invalid("calibration.folds", expected, folds));
        }
        if rows < 2 * folds as usize {
            let expected = format!("0, or at most {} for {rows} train and validation rows", rows / 2);
            return Err(RecipeError::invalid("calibration.folds", expected, folds));
        }
        Ok(())
    }
}
