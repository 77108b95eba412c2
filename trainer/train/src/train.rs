//! The training loop: dynamic binarisation, validation on fixed noise, early stopping, checkpoints.
//!
//! A run is a function of its recipe and data. It may be interrupted after any step and resumed, and ends with the same
//! bits.

mod checkpoint;
mod learner;
pub(crate) mod noise;
mod progress;
mod step;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};

pub use checkpoint::Metric;
pub(crate) use checkpoint::{Checkpoint, State, arrays_from_bytes, arrays_to_bytes};
pub(crate) use learner::arrays;
use learner::{Learner, Weights};
use noise::{Purpose, generator, seed_of_start};
use progress::Progress;
pub use step::Step;

use crate::data::{DataError, Dataset};
use crate::evaluate::observe;
use crate::recipe::{DataShape, Family, Recipe, RecipeError, TrainRecipe};
use crate::run::{self, Run, RunError};

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

/// How a run is watched and stopped.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Set it to end the run after the current step, with a checkpoint.
    pub stop: Arc<AtomicBool>,
    /// Ends the run after this step, with a checkpoint.
    pub stop_after: Option<u64>,
    /// Shows nothing.
    pub quiet: bool,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps were taken.
    Finished,
    /// The validation bound stopped improving, in the last start where there are several.
    Early,
    /// It was stopped and can be resumed.
    Interrupted,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Steps taken.
    pub step: u64,
    /// Best validation bound (nats per row), where there are validation rows.
    pub best_elbo: Option<f64>,
    /// The step it was reached at.
    pub best_step: u64,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
}

/// Trains by `recipe` into the new run folder `out`.
///
/// # Errors
/// Every variant of [`TrainError`].
pub fn train(recipe: &Recipe, out: &Path, control: &Control) -> Result<Outcome, TrainError> {
    recipe.check()?;
    if out.join(run::RECIPE).exists() {
        return Err(TrainError::Exists(out.to_owned()));
    }
    let dataset = recipe.dataset()?;
    let mut recipe = recipe.clone();
    let shape = DataShape::of(&dataset);
    let model = recipe.model(&shape)?;
    recipe.labelled_rows(&dataset.train, shape.classes)?;
    recipe.model.likelihood = Some(model.likelihood());
    if recipe.family == Family::Dlgm {
        recipe.dlgm = Some(recipe.dlgm.unwrap_or_default().complete(&recipe.model));
    }
    if recipe.family == Family::Flow {
        recipe.flow.get_or_insert_default();
    }
    if recipe.train.restarts > 0 && dataset.train.n > 0 && dataset.validation.n == 0 {
        let (field, expected) = ("train.restarts", "0 without validation rows, whose ELBO would choose");
        return Err(RecipeError::Invalid { field, expected, found: recipe.train.restarts.to_string() }.into());
    }
    run::create(out, &recipe, &dataset)?;
    let learner = Learner::new(model, &recipe.train)?;
    let state = State { seed: recipe.train.seed, ..State::default() };
    Trainer::new(recipe, dataset, learner, state, out)?.run(control)
}

/// Continues the run in the folder `path` from its checkpoint.
///
/// # Errors
/// Every variant of [`TrainError`].
pub fn resume(path: &Path, control: &Control) -> Result<Outcome, TrainError> {
    let run = Run::open(path)?;
    let dataset = run.dataset()?;
    let model = run.recipe.model(&DataShape::of(&dataset))?;
    let mut learner = Learner::new(model, &run.recipe.train)?;
    let file = path.join(run::CHECKPOINT);
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
    let trainer = Trainer::new(run.recipe, dataset, learner, state, path)?;
    if trainer.state.finished {
        return Ok(trainer.outcome(End::Finished));
    }
    trainer.run(control)
}

/// The optimisation's settings in a start, counted from 0.
fn table_of_start(train: &TrainRecipe, start: u64) -> TrainRecipe {
    TrainRecipe { seed: seed_of_start(train.seed, start), ..train.clone() }
}

struct Trainer {
    recipe: Recipe,
    /// The recipe's table for the present start: with the seed of that start.
    train: TrainRecipe,
    dataset: Dataset,
    learner: Learner,
    state: State,
    out: PathBuf,
    /// For every draw, the validation rows in parts.
    validation: Vec<Vec<Tensor>>,
    /// The order of the rows, and the epoch it belongs to.
    order: (u64, Vec<usize>),
    /// The step of the checkpoint on disk.
    saved: Option<u64>,
}

impl Trainer {
    /// Rows that are validated at once.
    const ROWS: usize = 1000;

    fn new(recipe: Recipe, dataset: Dataset, learner: Learner, state: State, out: &Path) -> Result<Self, TrainError> {
        let mut validation = Vec::new();
        let (input, likelihood) = (learner.model.input(), learner.model.likelihood());
        for draw in 0..recipe.train.validation_draws as u64 {
            let mut pixels = generator(recipe.train.seed, Purpose::ValidationPixels, draw);
            let mut rows = |x: &[f32]| {
                let x = observe(likelihood, &mut pixels, x);
                Tensor::from_vec(x.clone(), (x.len() / input, input), &Device::Cpu)
            };
            validation.push(dataset.validation.x.chunks(Self::ROWS * input).map(&mut rows).collect::<Result<_, _>>()?);
        }
        let saved = (state.step > 0).then_some(state.step);
        let (out, train) = (out.to_owned(), table_of_start(&recipe.train, state.start));
        Ok(Self { recipe, train, dataset, learner, state, out, validation, order: (u64::MAX, Vec::new()), saved })
    }

    fn run(mut self, control: &Control) -> Result<Outcome, TrainError> {
        let steps = self.train.steps.saturating_mul(self.train.restarts.saturating_add(1));
        let progress = Progress::new(self.state.step, steps, control.quiet);
        let begun = (Instant::now(), self.state.seconds);
        let mut end = self.start(control, &progress, begun)?;
        while end != End::Interrupted && self.state.start < self.train.restarts {
            self.restart()?;
            end = self.start(control, &progress, begun)?;
        }
        progress.end();
        self.state.finished = end != End::Interrupted;
        self.save()?;
        self.write_results()?;
        Ok(self.outcome(end))
    }

    /// Trains to the end of the present start. `begun` says when the session did, and after how many seconds of training.
    fn start(&mut self, control: &Control, progress: &Progress, begun: (Instant, f64)) -> Result<End, TrainError> {
        while self.step_of_start() < self.train.steps {
            let stopped = control.stop.load(Ordering::Relaxed);
            if stopped || control.stop_after.is_some_and(|last| self.state.step >= last) {
                return Ok(End::Interrupted);
            }
            self.step()?;
            self.state.seconds = begun.1 + begun.0.elapsed().as_secs_f64();
            progress.step(self.state.step);
            let (step, train) = (self.step_of_start(), &self.train);
            let (validate, patience) =
                (step.is_multiple_of(train.validate_every) || step == train.steps, train.patience);
            let save = step.is_multiple_of(train.checkpoint_every) && step < train.steps;
            if validate {
                let objective = self.learner.model.objective();
                progress.metric(self.measure()?, objective);
                self.write_metrics()?;
                if patience > 0 && self.state.stale >= patience {
                    return Ok(End::Early);
                }
            }
            if save {
                self.save()?;
            }
        }
        Ok(End::Finished)
    }

    /// Begins anew from other initial weights; the best model so far stays.
    fn restart(&mut self) -> Result<(), TrainError> {
        self.state.restart();
        self.train = table_of_start(&self.recipe.train, self.state.start);
        let recipe = Recipe { train: self.train.clone(), ..self.recipe.clone() };
        let best = self.learner.best.take();
        self.learner = Learner::new(recipe.model(&DataShape::of(&self.dataset))?, &self.train)?;
        self.learner.best = best;
        self.order = (u64::MAX, Vec::new());
        Ok(())
    }

    /// Steps of the present start.
    fn step_of_start(&self) -> u64 {
        self.state.step - self.state.start_step
    }

    fn step(&mut self) -> Result<(), TrainError> {
        let step = self.step_of_start();
        let batch = self.batch(step);
        let (learner, train, rows) = (&mut self.learner, &self.train, &self.dataset.train);
        let loss = crate::nn::on_pool(|| learner.step(train, step, rows, &batch))?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: self.state.step + 1, kept: self.kept() });
        }
        self.state.loss_sum = (f64::from_bits(self.state.loss_sum) + loss).to_bits();
        self.state.loss_count += 1;
        self.state.step += 1;
        Ok(())
    }

    /// The rows of a step. Every epoch has its own order; rows that do not fill a batch wait for another epoch.
    fn batch(&mut self, step: u64) -> Vec<usize> {
        let rows = &self.dataset.train;
        if rows.n == 0 {
            return Vec::new();
        }
        let size = self.train.batch.min(rows.n);
        let batches = (rows.n / size) as u64;
        let (epoch, at) = (step / batches, (step % batches) as usize);
        if self.order.0 != epoch {
            let order = generator(self.train.seed, Purpose::Shuffle, epoch).permutation(rows.n);
            self.order = (epoch, order);
        }
        self.order.1[at * size..(at + 1) * size].to_vec()
    }

    /// Adds a line of metrics, and keeps the weights if their validation bound is the best so far of all starts.
    fn measure(&mut self) -> Result<&Metric, TrainError> {
        let averaged = self.learner.averaged()?;
        let elbo = self.validate(&averaged)?;
        let step = self.state.step;
        if let Some(elbo) = elbo {
            if !elbo.is_finite() {
                return Err(TrainError::Diverged { step, kept: self.kept() });
            }
            let better = |than: Option<u64>| than.is_none_or(|best| elbo > f64::from_bits(best));
            if better(self.state.start_best) {
                (self.state.start_best, self.state.stale) = (Some(elbo.to_bits()), 0);
            } else {
                self.state.stale += 1;
            }
            if better(self.state.best_elbo) {
                (self.state.best_elbo, self.state.best_step) = (Some(elbo.to_bits()), step);
                self.learner.best = Some(averaged);
            }
        }
        self.state.metrics.push(Metric {
            step,
            train_loss: f64::from_bits(self.state.loss_sum) / self.state.loss_count.max(1) as f64,
            validation_elbo: elbo,
            learning_rate: self.train.rate(self.step_of_start() - 1),
            seconds: self.state.seconds,
        });
        (self.state.loss_sum, self.state.loss_count) = (0, 0);
        Ok(&self.state.metrics[self.state.metrics.len() - 1])
    }

    /// The mean bound over the validation rows and draws (nats); without rows minus the free energy of a model that has
    /// one.
    fn validate(&self, weights: &Weights) -> Result<Option<f64>, TrainError> {
        let seed = self.recipe.train.seed;
        let bound = self.learner.with_weights(weights, |model| -> candle_core::Result<Option<f64>> {
            let (mut sum, mut rows) = (0.0, 0);
            for (draw, parts) in self.validation.iter().enumerate() {
                let mut noise = generator(seed, Purpose::ValidationLatents, draw as u64);
                if self.dataset.train.n == 0 {
                    let energy = crate::nn::on_pool(|| model.free_energy(Self::ROWS, &mut noise))?;
                    let Some(values) = energy else { return Ok(None) };
                    sum -= values.to_vec1::<f32>()?.iter().map(|&v| f64::from(v)).sum::<f64>();
                    rows += Self::ROWS;
                }
                for x in parts {
                    let Some(values) = crate::nn::on_pool(|| model.bound(x, &mut noise))? else { return Ok(None) };
                    let values = values.to_vec1::<f32>()?;
                    sum += values.iter().map(|&v| f64::from(v)).sum::<f64>();
                    rows += values.len();
                }
            }
            Ok((rows > 0).then(|| sum / f64::from(rows as u32)))
        })??;
        Ok(bound)
    }

    /// What an error leaves to go on from.
    fn kept(&self) -> String {
        match self.saved {
            Some(step) => format!("the checkpoint of step {step} is intact"),
            None => "there is no checkpoint yet".to_owned(),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.out.join(name);
        run::write_atomic(&path, bytes).map_err(|source| TrainError::Write { path, source, kept: self.kept() })
    }

    fn write_metrics(&self) -> Result<(), TrainError> {
        self.write(run::METRICS, run::metrics_csv(&self.state.metrics, self.learner.model.objective()).as_bytes())
    }

    /// Writes the checkpoint and the best model so far.
    fn save(&mut self) -> Result<(), TrainError> {
        if !self.learner.is_finite()? {
            return Err(TrainError::Diverged { step: self.state.step, kept: self.kept() });
        }
        let mut checkpoint = Checkpoint { state: self.state.clone(), ..Checkpoint::default() };
        self.learner.save(&mut checkpoint)?;
        let fail = |reason| TrainError::Checkpoint { path: self.out.join(run::CHECKPOINT), reason };
        let bytes = checkpoint.to_bytes().map_err(fail)?;
        self.write(run::CHECKPOINT, &bytes)?;
        self.saved = Some(self.state.step);
        let best = self.best()?;
        let model = self.learner.with_weights(&best, arrays)??;
        let bytes = arrays_to_bytes(&model, Default::default()).map_err(fail)?;
        self.write(run::MODEL, &bytes)
    }

    fn best(&self) -> Result<Weights, TrainError> {
        Ok(self.learner.best.clone().map_or_else(|| self.learner.averaged(), Ok)?)
    }

    /// Writes metrics and pictures.
    fn write_results(&self) -> Result<(), TrainError> {
        self.write_metrics()?;
        let best = self.best()?;
        let drawn = self.learner.with_weights(&best, |model| {
            run::draw(&self.out, &self.recipe, &self.dataset, &self.state.metrics, model)
        })?;
        drawn.map_err(|(path, source)| TrainError::Write { path, source, kept: self.kept() })
    }

    fn outcome(&self, end: End) -> Outcome {
        Outcome {
            end,
            step: self.state.step,
            best_elbo: self.state.best_elbo.map(f64::from_bits),
            best_step: self.state.best_step,
            seconds: self.state.seconds,
        }
    }
}

#[cfg(test)]
mod tests;
