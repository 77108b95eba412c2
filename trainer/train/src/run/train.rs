//! Training into a run folder, and resuming an interrupted training.

use std::path::{Path, PathBuf};

use super::folds::train_folds;
use super::{CHECKPOINT, Lock, METRICS, MODEL, Run, RunError, check_vacant, create, results};
use crate::arrays::{Arrays, arrays_to_bytes};
use crate::data::DataError;
use crate::files::write_atomic;
use crate::model::{Model, Objective};
use crate::recipe::Recipe;
use crate::settings::{DataShape, RecipeError, TrainRecipe};
use crate::train::{Checkpoint, End, Learner, Metric, Observer, Outcome, ProgressStore, State, Trainer};

/// Why a training into a run folder failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is not valid.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data set cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file of the run folder cannot be written.
    #[error("{}: cannot be written: {source}; {kept}", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
        /// From which step the training can be resumed.
        kept: String,
    },
    /// The checkpoint does not belong to this run.
    #[error("{}: not a checkpoint to resume from: {reason}", path.display())]
    Checkpoint {
        /// The path of the checkpoint.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The loss or a weight is not finite.
    #[error("step {step}: the loss or a weight is not a finite number; lower learning_rate; {kept}")]
    Diverged {
        /// The number of the step, counted from 1.
        step: u64,
        /// From which step the training can be resumed.
        kept: String,
    },
    /// The tensor library reports an error.
    #[error("training failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Trains the model of `recipe`, and writes the results to the new run folder `out`.
///
/// # Errors
/// Every variant of [`TrainError`].
pub fn train(recipe: &Recipe, out: &Path, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    recipe.check()?;
    check_vacant(out).or_else(|error| Lock::probe(out).and(Err(error)))?;
    let dataset = recipe.dataset()?;
    observer.data(&dataset);
    let mut recipe = recipe.clone();
    let shape = DataShape::of(&dataset);
    let model = recipe.model(&shape)?;
    recipe.labelled_rows(&dataset.train, shape.classes)?;
    recipe.family.complete(&*model);
    recipe.export.complete(shape.kind);
    recipe.calibration.complete(&dataset)?;
    if recipe.train.restarts > 0 && dataset.train.n > 0 && dataset.validation.n == 0 {
        let (field, expected) = (
            "train.restarts",
            "0 for data without validation rows, because the validation ELBO chooses the best restart",
        );
        return Err(RecipeError::invalid(field, expected, recipe.train.restarts).into());
    }
    let lock = create(out, &recipe, &dataset)?;
    let learner = Learner::new(&*model, &recipe.train)?;
    let state = State { seed: recipe.train.seed, ..State::default() };
    let folder = Folder { out: out.to_owned(), recipe: &recipe, shape, saved: None, _lock: lock };
    let trainer = Trainer::new(&recipe.train, &dataset, learner, state, folder)?;
    finish(trainer.run(observer)?, &recipe, &dataset, &*model, observer)
}

/// Resumes the training of the run folder `path` from its checkpoint.
///
/// # Errors
/// Every variant of [`TrainError`].
pub fn resume(path: &Path, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    resume_run(&Run::open(path)?, observer)
}

/// Continues a run that has been opened, whose data may have been named again.
///
/// # Errors
/// Every variant of [`TrainError`].
pub fn resume_run(run: &Run, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    let path = run.path.as_path();
    let lock = Lock::take(path)?;
    let dataset = run.dataset()?;
    observer.data(&dataset);
    let shape = DataShape::of(&dataset);
    let model = run.recipe.model(&shape)?;
    let mut learner = Learner::new(&*model, &run.recipe.train)?;
    let file = path.join(CHECKPOINT);
    let fail = |reason| TrainError::Checkpoint { path: file.clone(), reason };
    // A training that was stopped before its first checkpoint starts from the beginning.
    let checkpoint = match file.exists() {
        true => Some(Checkpoint::read(&file).map_err(fail)?),
        false => None,
    };
    let mut state = State { seed: run.recipe.train.seed, ..State::default() };
    if let Some(checkpoint) = checkpoint {
        if checkpoint.state.seed != run.recipe.train.seed {
            return Err(fail(format!("it was trained with seed {}", checkpoint.state.seed)));
        }
        learner.restore(&checkpoint).map_err(|e| fail(e.to_string()))?;
        state = checkpoint.state;
    }
    let saved = (state.step > 0).then_some(state.step);
    let folder = Folder { out: path.to_owned(), recipe: &run.recipe, shape, saved, _lock: lock };
    let trainer = Trainer::new(&run.recipe.train, &dataset, learner, state, folder)?;
    if trainer.finished() {
        return with_folds(trainer.outcome(End::Finished), path, &run.recipe, &dataset, observer);
    }
    finish(trainer.run(observer)?, &run.recipe, &dataset, &*model, observer)
}

/// Writes the pictures of the model with its best weights, and trains the models of the calibration.
fn finish(
    (outcome, folder): (Outcome, Folder<'_>),
    recipe: &Recipe,
    dataset: &crate::data::Dataset,
    model: &dyn Model,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let drawn = results::draw(&folder.out, recipe, dataset, &outcome.metrics, model);
    drawn.map_err(|(path, source)| TrainError::Write { path, source, kept: folder.resume_hint() })?;
    with_folds(outcome, &folder.out, recipe, dataset, observer)
}

/// Trains the models of the calibration after a training that was not interrupted.
fn with_folds(
    mut outcome: Outcome,
    folder: &Path,
    recipe: &Recipe,
    dataset: &crate::data::Dataset,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    if outcome.end != End::Interrupted && train_folds(folder, recipe, dataset, observer)? {
        outcome.end = End::Interrupted;
    }
    Ok(outcome)
}

/// A run folder during a training.
struct Folder<'r> {
    out: PathBuf,
    recipe: &'r Recipe,
    shape: DataShape,
    /// The step of the checkpoint in the folder.
    saved: Option<u64>,
    /// Held until the last file is written.
    _lock: Lock,
}

impl Folder<'_> {
    /// A part of an error message: from which step the training can be resumed.
    fn resume_hint(&self) -> String {
        match self.saved {
            Some(step) => format!("the checkpoint of step {step} is intact"),
            None => "there is no checkpoint yet".to_owned(),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.out.join(name);
        write_atomic(&path, bytes).map_err(|source| TrainError::Write { path, source, kept: self.resume_hint() })
    }
}

impl ProgressStore for Folder<'_> {
    type Error = TrainError;

    fn diverged(&self, step: u64) -> TrainError {
        TrainError::Diverged { step, kept: self.resume_hint() }
    }

    fn new_model(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, TrainError> {
        let recipe = Recipe { train: start.clone(), ..self.recipe.clone() };
        Ok(recipe.model(&self.shape)?)
    }

    fn metrics(&mut self, metrics: &[Metric], objective: Objective) -> Result<(), TrainError> {
        self.write(METRICS, results::metrics_csv(metrics, objective).as_bytes())
    }

    fn save(&mut self, checkpoint: &Checkpoint, best: &Arrays) -> Result<(), TrainError> {
        let fail = |reason| TrainError::Checkpoint { path: self.out.join(CHECKPOINT), reason };
        let bytes = checkpoint.to_bytes().map_err(fail)?;
        self.write(CHECKPOINT, &bytes)?;
        self.saved = Some(checkpoint.state.step);
        let bytes = arrays_to_bytes(best, Default::default()).map_err(fail)?;
        self.write(MODEL, &bytes)
    }
}

#[cfg(test)]
mod tests;
