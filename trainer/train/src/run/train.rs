//! Training into a run folder, and going on with one that was interrupted.

use std::path::{Path, PathBuf};

use super::{CHECKPOINT, METRICS, MODEL, RECIPE, Run, RunError, create, results};
use crate::arrays::{Arrays, arrays_to_bytes};
use crate::data::DataError;
use crate::files::write_atomic;
use crate::model::{Model, Objective};
use crate::recipe::Recipe;
use crate::settings::{DataShape, RecipeError, TrainRecipe};
use crate::train::{Checkpoint, End, Keeper, Learner, Metric, Observer, Outcome, State, Trainer};

/// What can end a run before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is refused.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The folder holds a run already.
    #[error("{}: holds a run already; continue it with `elbo train --resume {}` or choose another --out", .0.display(), .0.display())]
    Exists(PathBuf),
    /// A file of the run folder cannot be written.
    #[error("{}: cannot be written: {source}; {kept}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
        /// What is left to go on from.
        kept: String,
    },
    /// The checkpoint is not one of this run.
    #[error("{}: not a checkpoint to resume from: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The loss or a weight is no longer a number.
    #[error("step {step}: the loss or a weight is no longer a finite number; lower learning_rate; {kept}")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// What is left to go on from.
        kept: String,
    },
    /// The tensor library reports an error.
    #[error("training failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Trains by `recipe` into the new run folder `out`.
///
/// # Errors
/// Every variant of [`TrainError`].
pub fn train(recipe: &Recipe, out: &Path, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    recipe.check()?;
    if out.join(RECIPE).exists() {
        return Err(TrainError::Exists(out.to_owned()));
    }
    let dataset = recipe.dataset()?;
    observer.data(&dataset);
    let mut recipe = recipe.clone();
    let shape = DataShape::of(&dataset);
    let model = recipe.model(&shape)?;
    recipe.labelled_rows(&dataset.train, shape.classes)?;
    recipe.family.complete(&*model);
    if recipe.train.restarts > 0 && dataset.train.n > 0 && dataset.validation.n == 0 {
        let (field, expected) = ("train.restarts", "0 without validation rows, whose ELBO would choose");
        return Err(RecipeError::invalid(field, expected, recipe.train.restarts).into());
    }
    create(out, &recipe, &dataset)?;
    let learner = Learner::new(&*model, &recipe.train)?;
    let state = State { seed: recipe.train.seed, ..State::default() };
    let folder = Folder { out: out.to_owned(), recipe: &recipe, shape, saved: None };
    let trainer = Trainer::new(&recipe.train, &dataset, learner, state, folder)?;
    finish(trainer.run(observer)?, &recipe, &dataset, &*model)
}

/// Continues the run in the folder `path` from its checkpoint.
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
    let dataset = run.dataset()?;
    observer.data(&dataset);
    let shape = DataShape::of(&dataset);
    let model = run.recipe.model(&shape)?;
    let mut learner = Learner::new(&*model, &run.recipe.train)?;
    let file = path.join(CHECKPOINT);
    let fail = |reason| TrainError::Checkpoint { path: file.clone(), reason };
    // A run that was stopped before its first checkpoint starts again.
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
    let folder = Folder { out: path.to_owned(), recipe: &run.recipe, shape, saved };
    let trainer = Trainer::new(&run.recipe.train, &dataset, learner, state, folder)?;
    if trainer.finished() {
        return Ok(trainer.outcome(End::Finished));
    }
    finish(trainer.run(observer)?, &run.recipe, &dataset, &*model)
}

/// Writes the pictures of a model with its best weights.
fn finish(
    (outcome, folder): (Outcome, Folder<'_>),
    recipe: &Recipe,
    dataset: &crate::data::Dataset,
    model: &dyn Model,
) -> Result<Outcome, TrainError> {
    let drawn = results::draw(&folder.out, recipe, dataset, &outcome.metrics, model);
    drawn.map_err(|(path, source)| TrainError::Write { path, source, kept: folder.kept() })?;
    Ok(outcome)
}

/// A run folder while a model is trained into it.
struct Folder<'r> {
    out: PathBuf,
    recipe: &'r Recipe,
    shape: DataShape,
    /// The step of the checkpoint on disk.
    saved: Option<u64>,
}

impl Folder<'_> {
    /// What an error leaves to go on from.
    fn kept(&self) -> String {
        match self.saved {
            Some(step) => format!("the checkpoint of step {step} is intact"),
            None => "there is no checkpoint yet".to_owned(),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.out.join(name);
        write_atomic(&path, bytes).map_err(|source| TrainError::Write { path, source, kept: self.kept() })
    }
}

impl Keeper for Folder<'_> {
    type Error = TrainError;

    fn diverged(&self, step: u64) -> TrainError {
        TrainError::Diverged { step, kept: self.kept() }
    }

    fn again(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, TrainError> {
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
