//! The run folder, which contains the results of a training in documented files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::arrays::arrays_from_bytes;
use crate::compile::{Compilation, CompileError, CompileOptions, Names, compile};
use crate::data::{DataError, Dataset, Kind};
use crate::files::write_atomic;
use crate::model::Model;
use crate::recipe::Recipe;
use crate::settings::{DataShape, RecipeError};

mod results;
mod train;

pub use train::{TrainError, resume, train};

/// The recipe with every default written out.
const RECIPE: &str = "recipe.toml";
/// The record of the data.
const DATA: &str = "data.toml";
/// The metrics, one line for each validation.
const METRICS: &str = "metrics.csv";
/// The best weights.
const MODEL: &str = "model.safetensors";
/// Everything that is needed to resume the training.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder or a file in it cannot be written.
    #[error("{}: the run folder cannot be written: {source}; choose another --out", path.display())]
    Write {
        /// The path of the folder or file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}; name a run folder that `elbo train` has written", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The recipe is not valid.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file has invalid contents.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The data set cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data set is not the one that the model was trained on.
    #[error(
        "the data set `{spec}` has changed since the training: its CRC-32 is {found}, expected {expected}; \
         restore the data, or train again"
    )]
    DataChanged {
        /// The data set as the recipe names it.
        spec: String,
        /// The checksum at the time of the training.
        expected: String,
        /// The checksum now.
        found: String,
    },
    /// The model cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// The record of the data, the file `data.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecord {
    /// Name of the data set.
    pub name: String,
    /// The data set as the recipe names it.
    pub source: String,
    /// `image` or `table`.
    pub kind: String,
    /// Rows and columns of one example.
    pub shape: [usize; 2],
    /// CRC-32 of the uncompressed source, in hexadecimal.
    pub crc32: String,
    /// Number of train rows.
    pub train_rows: usize,
    /// Number of validation rows.
    pub validation_rows: usize,
    /// Number of test rows.
    pub test_rows: usize,
    /// Number of classes: the largest label plus 1, or 0 if the data have no labels.
    #[serde(default)]
    pub classes: usize,
    /// The standardisation of the features of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardise: Option<StandardiseRecord>,
}

/// The standardisation of the features, `(x - mean) / std`, computed on the train rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardiseRecord {
    /// Mean of each feature, in the units of the data.
    pub mean: Vec<f32>,
    /// Standard deviation of each feature, in the units of the data.
    pub std: Vec<f32>,
}

impl DataRecord {
    fn of(recipe: &Recipe, dataset: &Dataset) -> Self {
        Self {
            name: dataset.name.clone(),
            source: recipe.data.spec.clone(),
            kind: if dataset.kind == Kind::Image { "image" } else { "table" }.to_owned(),
            shape: dataset.shape,
            crc32: format!("{:08x}", dataset.crc32),
            train_rows: dataset.train.n,
            validation_rows: dataset.validation.n,
            test_rows: dataset.test.n,
            classes: dataset.classes(),
            standardise: dataset
                .standardise
                .as_ref()
                .map(|s| StandardiseRecord { mean: s.mean.clone(), std: s.std.clone() }),
        }
    }
}

/// The contents of a run folder.
#[derive(Clone, Debug)]
pub struct Run {
    /// The path of the folder.
    pub path: PathBuf,
    /// The recipe with every default.
    pub recipe: Recipe,
    /// The record of the data.
    pub data: DataRecord,
}

impl Run {
    /// Opens a run folder.
    ///
    /// # Errors
    /// `Io`, `Recipe` and `Content`.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let file = path.join(RECIPE);
        let recipe = match Recipe::read(&file) {
            Err(RecipeError::Io { path, source }) => return Err(RunError::Io { path, source }),
            other => other?,
        };
        let file = path.join(DATA);
        let text = std::fs::read_to_string(&file).map_err(|source| RunError::Io { path: file.clone(), source })?;
        let data = toml::from_str(&text).map_err(|e| RunError::Content { path: file, reason: e.to_string() })?;
        Ok(Self { path: path.to_owned(), recipe, data })
    }

    /// Loads the data set, and checks that it is the one that the model was trained on.
    ///
    /// # Errors
    /// `Data` and `DataChanged`.
    pub fn dataset(&self) -> Result<Dataset, RunError> {
        let dataset = self.recipe.dataset()?;
        let found = format!("{:08x}", dataset.crc32);
        if found != self.data.crc32 {
            return Err(RunError::DataChanged {
                spec: self.recipe.data.spec.clone(),
                expected: self.data.crc32.clone(),
                found,
            });
        }
        Ok(dataset)
    }

    /// The shape of the data.
    #[must_use]
    pub fn shape(&self) -> DataShape {
        let kind = if self.data.kind == "table" { Kind::Table } else { Kind::Image };
        DataShape { shape: self.data.shape, kind, classes: self.data.classes }
    }

    /// The model with the best weights.
    ///
    /// # Errors
    /// `Io`, `Recipe` and `Content`.
    pub fn model(&self) -> Result<Box<dyn Model>, RunError> {
        let path = self.path.join(MODEL);
        let bytes = std::fs::read(&path).map_err(|source| RunError::Io { path: path.clone(), source })?;
        let content = |reason| RunError::Content { path: path.clone(), reason };
        let (arrays, _) = arrays_from_bytes(&bytes).map_err(content)?;
        let model = self.recipe.model(&self.shape())?;
        let load = || -> candle_core::Result<()> {
            let tensors = arrays
                .iter()
                .map(|(name, (shape, v))| Ok((name.clone(), Tensor::from_slice(v, shape.as_slice(), &Device::Cpu)?)))
                .collect::<candle_core::Result<HashMap<_, _>>>()?;
            model.params().load(&tensors)
        };
        load().map_err(|e| content(e.to_string()))?;
        Ok(model)
    }

    /// Compiles the model with the best weights. The model and the data are part of the result because reports need
    /// them.
    ///
    /// # Errors
    /// The errors of [`Run::dataset`] and [`Run::model`], and `Compile`.
    pub fn compile(&self, options: &CompileOptions) -> Result<CompiledRun, RunError> {
        let (dataset, model) = (self.dataset()?, self.model()?);
        let names = Names { name: &self.recipe.name, family: self.recipe.family.name() };
        let compilation = compile(&*model, names, &dataset, &self.recipe.export, options)?;
        Ok(CompiledRun { compilation, model, dataset })
    }
}

/// A compiled run.
pub struct CompiledRun {
    /// The compiled model and the test rows.
    pub compilation: Compilation,
    /// The model that was compiled.
    pub model: Box<dyn Model>,
    /// The data set of the training.
    pub dataset: Dataset,
}

/// Creates the folder with the files that do not change during the training.
fn create(path: &Path, recipe: &Recipe, dataset: &Dataset) -> Result<(), RunError> {
    let text = |file: &str, e: toml::ser::Error| RunError::Content { path: path.join(file), reason: e.to_string() };
    let recipe_text = toml::to_string(recipe).map_err(|e| text(RECIPE, e))?;
    let data_text = toml::to_string(&DataRecord::of(recipe, dataset)).map_err(|e| text(DATA, e))?;
    std::fs::create_dir_all(path).map_err(|source| RunError::Write { path: path.to_owned(), source })?;
    let files = [("README.txt", readme(recipe)), (DATA, data_text), (RECIPE, recipe_text)];
    for (name, content) in files {
        let file = path.join(name);
        write_atomic(&file, content.as_bytes()).map_err(|source| RunError::Write { path: file, source })?;
    }
    Ok(())
}

fn readme(recipe: &Recipe) -> String {
    format!(
        "A training run of Elbo: {name}\n\n\
         recipe.toml             the recipe of the run, with every default written out\n\
         data.toml               the data: source, CRC-32, rows of each split, standardisation\n\
         metrics.csv             one line for each validation; bounds, and losses that are bounds, in nats per row\n\
         curve.svg               the metrics as a picture\n\
         samples.png             samples of the best model (only for images): means of p(x|z), with z from the prior\n\
         density.png             only for flows in two dimensions: the data or energy, the density of the model, and\n\
        \x20                       samples, on the square from -4 to 4, with the second column upwards\n\
         model.safetensors       the best weights; the weight of a layer is [out, in]\n\
         checkpoint.safetensors  weights, optimiser state, moving average and counters, for resuming the run\n\n\
         Resume:     elbo train --resume THIS_FOLDER\n\
         Evaluate:   elbo eval THIS_FOLDER --binarisations 100\n\
         Repeat:     elbo train THIS_FOLDER/recipe.toml --out ANOTHER_FOLDER\n",
        name = recipe.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::train;

    #[test]
    fn a_folder_holds_what_its_readme_says() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        let mut recipe = Recipe::find("digits").unwrap();
        recipe.train.steps = 3;
        train(&recipe, &out, &mut ()).unwrap();
        let readme = std::fs::read_to_string(out.join("README.txt")).unwrap();
        for entry in std::fs::read_dir(&out).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == "README.txt" || readme.contains(&name), "{name}");
        }
        for name in [RECIPE, DATA, METRICS, MODEL, CHECKPOINT, "curve.svg", "samples.png"] {
            assert!(out.join(name).exists() && readme.contains(name), "{name}");
        }
        let run = Run::open(&out).unwrap();
        assert_eq!((run.data.test_rows, run.model().unwrap().input()), (360, 64));
        assert_eq!(run.data.train_rows + run.data.validation_rows, 1437);
        assert_eq!(run.recipe, recipe);
    }

    #[test]
    fn other_folders_and_other_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Run::open(dir.path()).unwrap_err().to_string().contains("run folder"));
        let recipe = Recipe::find("digits").unwrap();
        create(dir.path(), &recipe, &recipe.data.load().unwrap()).unwrap();
        let mut run = Run::open(dir.path()).unwrap();
        assert!(run.model().is_err());
        run.data.crc32 = "00000000".to_owned();
        assert!(matches!(run.dataset(), Err(RunError::DataChanged { .. })));
    }
}
