//! The run folder, which contains the results of a training in documented files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::arrays::arrays_from_bytes;
use crate::compile::{Compilation, CompileError, CompileOptions, Names, compile_calibrated};
use crate::data::{DataError, Dataset, Reading};
use crate::files::write_atomic;
use crate::model::Model;
use crate::recipe::Recipe;
use crate::settings::{DataShape, RecipeError};

mod folds;
mod lock;
mod results;
mod train;

use lock::{LOCK, Lock};
pub use train::{TrainError, resume, resume_run, train};

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
    /// The folder holds files of someone else.
    #[error("{}: the folder is not empty and holds no run, so nothing is written to it; choose another --out", .0.display())]
    Foreign(PathBuf),
    /// The folder already contains a run.
    #[error(
        "{}: already contains a run; continue it with `elbo train --resume {}` or choose another --out",
        .0.display(), .0.display()
    )]
    Exists(PathBuf),
    /// Another process trains into the folder.
    #[error("{}: {holder} trains into this folder now; wait until it ends, or choose another --out", path.display())]
    Held {
        /// The path of the folder.
        path: PathBuf,
        /// The process, by its number.
        holder: String,
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
         name the data of the training with --data, or train again"
    )]
    DataChanged {
        /// The data set as the recipe names it.
        spec: String,
        /// The checksum at the time of the training.
        expected: String,
        /// The checksum now.
        found: String,
    },
    /// The data are split in another way than at the training.
    #[error(
        "{}: {found} train, validation and test rows, but the model was trained with {expected}; it was trained by another \
         version, which kept other rows for the calibration: train again", path.display()
    )]
    SplitChanged {
        /// The path of the folder.
        path: PathBuf,
        /// The numbers of rows at the time of the training.
        expected: String,
        /// Those now.
        found: String,
    },
    /// A model that the calibration needs has not been trained.
    #[error("{}: this model of the calibration is missing; train it with `elbo train --resume {}`", path.display(), run.display())]
    FoldMissing {
        /// The path of the file.
        path: PathBuf,
        /// The path of the folder.
        run: PathBuf,
    },
    /// The model cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// The record of the data, the file `data.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Name of the data set.
    pub name: String,
    /// The data set as the recipe names it.
    pub source: String,
    /// CRC-32 of the uncompressed source, in hexadecimal.
    pub crc32: String,
    /// Number of train rows.
    pub train_rows: usize,
    /// Number of validation rows.
    pub validation_rows: usize,
    /// Number of calibration rows.
    #[serde(default)]
    pub calibration_rows: usize,
    /// Number of test rows.
    pub test_rows: usize,
    /// Number of classes: the largest label plus 1, or 0 if the data have no labels.
    #[serde(default)]
    pub classes: usize,
    /// How the rows were read: images or a table, shape, names of columns, standardisation.
    #[serde(flatten)]
    pub reading: Reading,
}

impl DataRecord {
    fn of(recipe: &Recipe, dataset: &Dataset) -> Self {
        Self {
            name: dataset.name.clone(),
            source: recipe.data.spec.clone(),
            crc32: format!("{:08x}", dataset.crc32),
            train_rows: dataset.train.n,
            validation_rows: dataset.validation.n,
            calibration_rows: dataset.calibration.n,
            test_rows: dataset.test.n,
            classes: dataset.classes(),
            reading: dataset.reading.clone(),
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

    /// Names the data set again, which has moved since the training.
    pub fn name_data(&mut self, spec: Option<&str>, data_dir: Option<&Path>) {
        if let Some(spec) = spec {
            spec.clone_into(&mut self.recipe.data.spec);
        }
        if let Some(dir) = data_dir {
            self.recipe.data.data_dir = Some(dir.to_owned());
        }
    }

    /// Loads the data set, and checks that it is the one that the model was trained on.
    ///
    /// # Errors
    /// `Data`, `DataChanged` and `SplitChanged`.
    pub fn dataset(&self) -> Result<Dataset, RunError> {
        let dataset = self.recipe.dataset_as(Some(self.data.reading.clone()))?;
        let found = format!("{:08x}", dataset.crc32);
        if found != self.data.crc32 {
            return Err(RunError::DataChanged {
                spec: self.recipe.data.spec.clone(),
                expected: self.data.crc32.clone(),
                found,
            });
        }
        let of = |train: usize, validation: usize, test: usize| format!("{train}, {validation} and {test}");
        let expected = of(self.data.train_rows, self.data.validation_rows, self.data.test_rows);
        let found = of(dataset.train.n, dataset.validation.n, dataset.test.n);
        if found != expected {
            return Err(RunError::SplitChanged { path: self.path.clone(), expected, found });
        }
        Ok(dataset)
    }

    /// The shape of the data.
    #[must_use]
    pub fn shape(&self) -> DataShape {
        let Reading { shape, kind, .. } = self.data.reading;
        DataShape { shape, kind, classes: self.data.classes }
    }

    /// The model with the best weights.
    ///
    /// # Errors
    /// `Io`, `Recipe` and `Content`.
    pub fn model(&self) -> Result<Box<dyn Model>, RunError> {
        self.load(&self.path.join(MODEL))
    }

    /// The model with the weights in a file.
    fn load(&self, path: &Path) -> Result<Box<dyn Model>, RunError> {
        let bytes = std::fs::read(path).map_err(|source| RunError::Io { path: path.to_owned(), source })?;
        let content = |reason| RunError::Content { path: path.to_owned(), reason };
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
    /// The errors of [`Run::dataset`] and [`Run::model`], `FoldMissing` and `Compile`.
    pub fn compile(&self, options: &CompileOptions) -> Result<CompiledRun, RunError> {
        let (dataset, model) = (self.dataset()?, self.model()?);
        let names = Names { name: &self.recipe.name, family: self.recipe.family.name() };
        let scores = folds::scores(self, names, &dataset, options)?;
        let compilation = compile_calibrated(&*model, names, &dataset, &self.recipe.export, options, scores.as_ref())?;
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

/// Checks that nothing is lost if a run is written to a folder: it does not exist, or is empty.
///
/// # Errors
/// `Exists` and `Foreign`, and `Write` if the path is no folder or cannot be read.
pub(crate) fn check_vacant(path: &Path) -> Result<(), RunError> {
    let fail = |source| RunError::Write { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(fail)?,
    };
    for entry in entries {
        if entry.map_err(fail)?.file_name() != LOCK {
            let own = path.join(RECIPE).exists() && path.join(DATA).exists();
            return Err(if own { RunError::Exists(path.to_owned()) } else { RunError::Foreign(path.to_owned()) });
        }
    }
    Ok(())
}

/// Creates the folder with the files that do not change during the training, and locks it.
///
/// # Errors
/// `Exists`, `Foreign`, `Held` and `Write`.
fn create(path: &Path, recipe: &Recipe, dataset: &Dataset) -> Result<Lock, RunError> {
    let text = |file: &str, e: toml::ser::Error| RunError::Content { path: path.join(file), reason: e.to_string() };
    let recipe_text = toml::to_string(recipe).map_err(|e| text(RECIPE, e))?;
    let data_text = toml::to_string(&DataRecord::of(recipe, dataset)).map_err(|e| text(DATA, e))?;
    check_vacant(path)?;
    std::fs::create_dir_all(path).map_err(|source| RunError::Write { path: path.to_owned(), source })?;
    let lock = Lock::take(path)?;
    // Another process may have written since the first check, and have ended.
    check_vacant(path)?;
    let files = [("README.txt", readme(recipe)), (DATA, data_text), (RECIPE, recipe_text)];
    for (name, content) in files {
        let file = path.join(name);
        write_atomic(&file, content.as_bytes()).map_err(|source| RunError::Write { path: file, source })?;
    }
    Ok(lock)
}

fn readme(recipe: &Recipe) -> String {
    format!(
        "A training run of Elbo: {name}\n\n\
         recipe.toml             the recipe of the run, with every default written out\n\
         data.toml               the data: source, CRC-32, rows of each split, how they were read, standardisation\n\
         metrics.csv             one line for each validation; bounds, and losses that are bounds, in nats per row\n\
         curve.svg               the metrics as a picture\n\
         samples.png             samples of the best model (only for images): means of p(x|z), with z from the prior\n\
         density.png             only for flows in two dimensions: the data or energy, the density of the model, and\n\
        \x20                       samples, on the square from -4 to 4, with the second column upwards\n\
         model.safetensors       the best weights; the weight of a layer is [out, in]\n\
         fold-1.safetensors      and so on: the weights of models that were trained without a share of the rows, whose\n\
        \x20                       scores then calibrate the score (only for calibration.folds above 0)\n\
         checkpoint.safetensors  weights, optimiser state, moving average and counters, for resuming the run\n\
         elbo.lock               locked while a process trains into this folder; holds the number of the process\n\n\
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
        assert_eq!(run.data.train_rows + run.data.validation_rows + run.data.calibration_rows, 1437);
        // The saved recipe also states the defaults that depend on the data.
        recipe.export.importance_samples = Some(64);
        recipe.calibration.folds = Some(0);
        assert_eq!(run.recipe, recipe);
    }

    #[test]
    fn other_folders_and_other_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Run::open(dir.path()).unwrap_err().to_string().contains("run folder"));
        let recipe = Recipe::find("digits").unwrap();
        create(dir.path(), &recipe, &recipe.dataset().unwrap()).unwrap();
        let mut run = Run::open(dir.path()).unwrap();
        assert!(run.model().is_err());
        run.data.crc32 = "00000000".to_owned();
        assert!(matches!(run.dataset(), Err(RunError::DataChanged { .. })));
    }
}
