//! Recipes. A recipe determines a training run completely. As a file it is TOML with every default written out.
//!
//! A recipe names its model family. The options of the family are in a table with the family's name. The tables
//! `[data]`, `[front]`, `[train]`, `[calibration]` and `[export]` exist for every family. [`mod@table`] derives the list of
//! all fields from the types that hold them.

pub mod table;

use std::path::Path;

use serde::Serialize;

use crate::data::{DataError, DataOptions, Dataset, FrontRecipe, Reading, Split};
use crate::family::{self, Family};
use crate::model::Model;
use crate::settings::{CalibrationRecipe, DataRecipe, DataShape, ExportRecipe, RecipeError, Shared, TrainRecipe};

/// Name and TOML text of the built-in recipes of all families.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    family::ALL.iter().flat_map(|entry| entry.recipes.iter().copied())
}

/// More classes than a model can have. Every class is a column of its weights, and a program over the classes runs all.
const MOST_CLASSES: usize = 1000;

/// Values of a row that a blob can state.
const MOST_VALUES: usize = u16::MAX as usize;

/// Everything that determines a training run.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The name of the run folder, unless the command line gives another one.
    pub name: String,
    /// The data set. Its `spec` is empty if the family learns from an energy instead of data.
    pub data: DataRecipe,
    /// What is computed from windows of recordings before the model learns.
    pub front: FrontRecipe,
    /// The family with the options of its own table.
    pub family: Family,
    /// The settings of the optimisation.
    pub train: TrainRecipe,
    /// The calibration of the scores.
    pub calibration: CalibrationRecipe,
    /// The settings of `elbo compile`.
    pub export: ExportRecipe,
}

impl Serialize for Recipe {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'r> {
            name: &'r str,
            family: &'static str,
            data: &'r DataRecipe,
            #[serde(skip_serializing_if = "Option::is_none")]
            front: Option<&'r FrontRecipe>,
            #[serde(flatten)]
            options: &'r Family,
            train: &'r TrainRecipe,
            calibration: &'r CalibrationRecipe,
            export: &'r ExportRecipe,
        }
        let Self { name, data, front, family, train, calibration, export } = self;
        let front = Some(front).filter(|front| **front != FrontRecipe::default());
        let (family, options) = (family.name(), family);
        Written { name, family, data, front, options, train, calibration, export }.serialize(serializer)
    }
}

impl Recipe {
    /// The default recipe of the default family for a data set. `spec` names the data set, see [`DataRecipe::spec`].
    #[must_use]
    pub fn for_data(spec: &str) -> Self {
        Self::of_entry(&family::ALL[0], spec)
    }

    /// The default recipe of a family for a data set. `spec` names the data set, see [`DataRecipe::spec`].
    ///
    /// # Errors
    /// `UnknownFamily` if there is no family of this name.
    pub fn for_family(family: &str, spec: &str) -> Result<Self, RecipeError> {
        family::find(family).map(|entry| Self::of_entry(entry, spec))
    }

    fn of_entry(entry: &family::Entry, spec: &str) -> Self {
        let file = Path::new(spec).file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').find(|part| !part.is_empty()).unwrap_or("run").to_owned();
        Self {
            name: (entry.recipe_name)(&name),
            data: DataRecipe { spec: spec.to_owned(), ..DataRecipe::default() },
            front: FrontRecipe::default(),
            family: (entry.default)(),
            train: (entry.train)(),
            calibration: CalibrationRecipe::default(),
            export: (entry.export)(),
        }
    }

    /// The built-in recipe with this name, or the recipe in the file with this path.
    ///
    /// # Errors
    /// Every variant of [`RecipeError`].
    pub fn find(name: &str) -> Result<Self, RecipeError> {
        if let Some((_, text)) = built_in().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known = built_in().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(RecipeError::Unknown { name: name.to_owned(), known });
        }
        Self::read(path)
    }

    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// `Io`, `Parse` and `In`.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Parses the TOML text of a recipe. `origin` is the file or built-in name that errors mention.
    ///
    /// # Errors
    /// `Parse` and `In`.
    pub fn parse(origin: &str, text: &str) -> Result<Self, RecipeError> {
        let table: toml::Table = toml::from_str(text)
            .map_err(|source| RecipeError::Parse { origin: origin.to_owned(), source: Box::new(source) })?;
        let recipe = Self::from_table(&table).map_err(|e| e.within(origin))?;
        recipe.check().map_err(|e| e.within(origin))?;
        Ok(recipe)
    }

    /// The TOML text of the recipe.
    ///
    /// # Errors
    /// `Table` if TOML cannot represent a number of the recipe.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Table { table: self.name.clone(), reason: e.to_string() })
    }

    /// The settings that a family may read in addition to its own options.
    fn shared(&self) -> Shared<'_> {
        Shared { data: &self.data, train: &self.train }
    }

    /// Checks that every value is in its range. Ranges that depend on the data are checked by [`Recipe::model`].
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        self.export.check()?;
        self.calibration.check()?;
        if !(0.0..1.0).contains(&self.data.validation_fraction) {
            let expected = "a number from 0 up to but not including 1";
            return Err(RecipeError::invalid("data.validation_fraction", expected, self.data.validation_fraction));
        }
        if self.front.is_absent() && self.front != FrontRecipe::default() {
            let expected =
                "at least one of `spectrum`, `statistics` and `samples`, because other fields of [front] are set";
            return Err(RecipeError::invalid("front.features", expected, "none; give --front spectrum, for example"));
        }
        self.train.check()?;
        self.family.check(self.shared())?;
        if self.data.spec.is_empty() && self.family.without_data().is_none() {
            return Err(RecipeError::invalid(
                "data.spec",
                "a data set, for example `digits` or the path of a file",
                "none",
            ));
        }
        Ok(())
    }

    /// Loads the data set. If the family learns from an energy, the result is a data set without rows.
    ///
    /// # Errors
    /// Every variant of [`DataError`].
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        self.dataset_as(None)
    }

    /// Loads the data set as a trained model read it.
    ///
    /// # Errors
    /// Every variant of [`DataError`].
    pub fn dataset_as(&self, reading: Option<Reading>) -> Result<Dataset, DataError> {
        let load = || {
            let front = Some(self.front.clone()).filter(|front| !front.is_absent());
            let options = self.data.options(self.family.learns_labels(), reading);
            self.data.load_with(&DataOptions { front, calibration: self.calibration.rows(), ..options })
        };
        self.family.without_data().map_or_else(load, Ok)
    }

    /// Creates the untrained model for data of this shape. The seed of the recipe determines its initial weights.
    ///
    /// # Errors
    /// `Invalid` if an option does not suit the data, for example a Bernoulli likelihood for values outside \[0, 1\].
    pub fn model(&self, data: &DataShape) -> Result<Box<dyn Model>, RecipeError> {
        if data.dim() > MOST_VALUES {
            let expected = format!("rows of at most {MOST_VALUES} values");
            let found = format!("rows of {}; leave columns out with --drop-columns", data.dim());
            return Err(RecipeError::invalid("data.spec", expected, found));
        }
        if self.family.learns_labels() && data.classes > MOST_CLASSES {
            let expected = format!("labels of at most {MOST_CLASSES} classes, numbered 0, 1, 2 and so on");
            let found = format!("labels up to {}, too many classes", data.classes - 1);
            return Err(RecipeError::invalid("data.label_column", expected, found));
        }
        self.family.model(data, self.shared())
    }

    /// Indices of the train rows whose labels the family uses. `None` if the family does not use labels.
    ///
    /// # Errors
    /// `Invalid` if labels are missing, if a label is not below `classes`, or if there are fewer labelled rows than the
    /// recipe requires.
    pub fn labelled_rows(&self, train: &Split, classes: usize) -> Result<Option<Vec<usize>>, RecipeError> {
        self.family.labelled_rows(train, classes, self.shared())
    }
}

#[cfg(test)]
mod tests;
