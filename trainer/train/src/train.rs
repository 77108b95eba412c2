//! The training loop: dynamic binarisation, validation with fixed noise, early stopping and restarts.
//!
//! The result of a training depends only on its settings and its data. A training may be interrupted after any step;
//! when it is resumed, it ends with the same bits. [`fit`] trains a model in memory. [`crate::run`] trains a model and
//! saves the results in a folder.

mod checkpoint;
mod learner;

use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::{Device, Tensor};

pub use checkpoint::Metric;
pub(crate) use checkpoint::{Checkpoint, State};
use learner::Weights;
pub(crate) use learner::{Learner, arrays};

use crate::arrays::Arrays;
use crate::data::Dataset;
use crate::model::{Fit, Model, Objective};
use crate::noise::{Purpose, generator, seed_of_start};
use crate::rows::observe;
use crate::settings::{RecipeError, TrainRecipe};

/// Is notified of the progress of a training, and may stop it. The implementation for `()` does nothing.
pub trait Observer {
    /// The data set is read; [`Dataset::notes`] say how.
    fn data(&mut self, _dataset: &Dataset) {}

    /// The training of a further model begins, the one of this fold of so many: its scores of the rows that it has not seen
    /// calibrate those of the model (see [`CalibrationRecipe`](crate::settings::CalibrationRecipe)).
    fn fold(&mut self, _fold: usize, _folds: usize) {}

    /// The loop starts, or continues after `step` steps. It takes at most `steps` steps.
    fn begin(&mut self, _step: u64, _steps: u64) {}

    /// Returns whether to stop now, after `step` steps. If the training writes a run folder, the folder then contains a
    /// checkpoint of this step.
    fn stop(&mut self, _step: u64) -> bool {
        false
    }

    /// A step has been taken; `step` is the number of steps so far.
    fn step(&mut self, _step: u64) {}

    /// The model has been validated.
    fn metric(&mut self, _metric: &Metric, _objective: Objective) {}

    /// The loop has ended.
    fn end(&mut self) {}
}

impl Observer for () {}

/// Stops a training after this number of steps.
#[derive(Clone, Copy, Debug)]
pub struct StopAfter(pub u64);

impl Observer for StopAfter {
    fn stop(&mut self, step: u64) -> bool {
        step >= self.0
    }
}

/// Why a model in memory could not be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The settings are not valid.
    #[error(transparent)]
    Settings(#[from] RecipeError),
    /// The loss or a weight is not finite.
    #[error("step {step}: the loss or a weight is not a finite number; lower learning_rate")]
    Diverged {
        /// The number of the step, counted from 1.
        step: u64,
    },
    /// The tensor library reports an error.
    #[error("training failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps have been taken.
    Finished,
    /// The validation bound stopped improving. With restarts, this refers to the last one.
    Early,
    /// The observer stopped it. It can be resumed.
    Interrupted,
}

/// The result of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why the training ended.
    pub end: End,
    /// Number of steps taken.
    pub step: u64,
    /// The best validation bound (nats per row), or `None` if there are no validation rows.
    pub best_elbo: Option<f64>,
    /// The step at which the best validation bound was reached.
    pub best_step: u64,
    /// Seconds of training, including those before interruptions.
    pub seconds: f64,
    /// One entry for each validation.
    pub metrics: Vec<Metric>,
}

/// Trains a model in memory on the train rows of `dataset`, and validates it on the validation rows. At the end the
/// model has the weights with the best validation bound.
///
/// # Errors
/// Every variant of [`FitError`].
pub fn fit(
    model: &mut dyn Model,
    dataset: &Dataset,
    settings: &TrainRecipe,
    observer: &mut dyn Observer,
) -> Result<Outcome, FitError> {
    settings.check()?;
    if settings.restarts > 0 {
        return Err(no_restarts(settings));
    }
    let learner = Learner::new(&*model, settings)?;
    let state = State { seed: settings.seed, ..State::default() };
    let (outcome, NoStore) = Trainer::new(settings, dataset, learner, state, NoStore)?.run(observer)?;
    Ok(outcome)
}

fn no_restarts(settings: &TrainRecipe) -> FitError {
    let expected = "0 for a model in memory; to restart, create the model again from another seed";
    RecipeError::invalid("train.restarts", expected, settings.restarts).into()
}

/// Where a training saves its progress.
pub(crate) trait ProgressStore {
    /// Why the training failed.
    type Error: From<candle_core::Error>;

    /// The error for a loss or a weight that is not finite.
    fn diverged(&self, step: u64) -> Self::Error;

    /// Creates another untrained model for a restart with these settings.
    fn new_model(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, Self::Error>;

    /// Saves all metrics so far.
    fn metrics(&mut self, metrics: &[Metric], objective: Objective) -> Result<(), Self::Error>;

    /// Saves a checkpoint and the weights of the best model so far.
    fn save(&mut self, checkpoint: &Checkpoint, best: &Arrays) -> Result<(), Self::Error>;
}

/// Saves nothing. The result of the training remains in the model.
struct NoStore;

impl ProgressStore for NoStore {
    type Error = FitError;

    fn diverged(&self, step: u64) -> FitError {
        FitError::Diverged { step }
    }

    fn new_model(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, FitError> {
        Err(no_restarts(start))
    }

    fn metrics(&mut self, _: &[Metric], _: Objective) -> Result<(), FitError> {
        Ok(())
    }

    fn save(&mut self, _: &Checkpoint, _: &Arrays) -> Result<(), FitError> {
        Ok(())
    }
}

/// The settings of a start, counted from 0. Only the seed differs from that of the first start.
pub(crate) fn settings_of_start(train: &TrainRecipe, start: u64) -> TrainRecipe {
    TrainRecipe { seed: seed_of_start(train.seed, start), ..train.clone() }
}

/// The state of the training loop.
pub(crate) struct Trainer<'t, K> {
    settings: &'t TrainRecipe,
    /// The settings of the current start, with its seed.
    train: TrainRecipe,
    dataset: &'t Dataset,
    learner: Learner<'t>,
    state: State,
    store: K,
    /// The validation rows in batches, for each draw of the pixels.
    validation: Vec<Vec<Tensor>>,
    /// The epoch and its order of the rows.
    order: (u64, Vec<usize>),
}

impl<'t, K: ProgressStore> Trainer<'t, K> {
    /// Number of rows in a validation batch.
    const ROWS: usize = 1000;

    pub fn new(
        settings: &'t TrainRecipe,
        dataset: &'t Dataset,
        learner: Learner<'t>,
        state: State,
        store: K,
    ) -> candle_core::Result<Self> {
        let mut validation = Vec::new();
        let (input, likelihood) = (learner.model.input(), learner.model.likelihood());
        for draw in 0..settings.validation_draws as u64 {
            let mut pixels = generator(settings.seed, Purpose::ValidationPixels, draw);
            let mut rows = |x: &[f32]| {
                let x = observe(likelihood, &mut pixels, x);
                Tensor::from_vec(x.clone(), (x.len() / input, input), &Device::Cpu)
            };
            let parts = dataset.validation.x.chunks(Self::ROWS * input).map(&mut rows);
            validation.push(parts.collect::<candle_core::Result<_>>()?);
        }
        let train = settings_of_start(settings, state.start);
        Ok(Self { settings, train, dataset, learner, state, store, validation, order: (u64::MAX, Vec::new()) })
    }

    /// Whether the checkpoint is that of a finished training.
    pub fn finished(&self) -> bool {
        self.state.finished
    }

    /// Trains to the end, and gives the model its best weights.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<(Outcome, K), K::Error> {
        let steps = self.train.steps.saturating_mul(self.train.restarts.saturating_add(1));
        observer.begin(self.state.step, steps);
        let begun = (Instant::now(), self.state.seconds);
        let mut end = self.start(observer, begun)?;
        while end != End::Interrupted && self.state.start < self.train.restarts {
            self.restart()?;
            end = self.start(observer, begun)?;
        }
        observer.end();
        self.state.finished = end != End::Interrupted;
        self.save()?;
        self.store.metrics(&self.state.metrics, self.learner.model.objective())?;
        self.learner.set(&self.best()?)?;
        Ok((self.outcome(end), self.store))
    }

    /// Trains to the end of the current start. `begun` is the time at which this session started, and the seconds of
    /// training before it.
    fn start(&mut self, observer: &mut dyn Observer, begun: (Instant, f64)) -> Result<End, K::Error> {
        if let Some(fit) = self.learner.model.capabilities().fit {
            return self.fit(fit, observer, begun);
        }
        while self.step_of_start() < self.train.steps {
            if observer.stop(self.state.step) {
                return Ok(End::Interrupted);
            }
            self.step()?;
            self.state.seconds = begun.1 + begun.0.elapsed().as_secs_f64();
            observer.step(self.state.step);
            let (step, train) = (self.step_of_start(), &self.train);
            let (validate, patience) =
                (step.is_multiple_of(train.validate_every) || step == train.steps, train.patience);
            let save = step.is_multiple_of(train.checkpoint_every) && step < train.steps;
            if validate {
                let objective = self.learner.model.objective();
                observer.metric(self.record_metrics()?, objective);
                self.store.metrics(&self.state.metrics, objective)?;
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

    /// Fits a model that is fitted as a whole, and validates it after every pass.
    fn fit(&mut self, fit: &dyn Fit, observer: &mut dyn Observer, begun: (Instant, f64)) -> Result<End, K::Error> {
        let (rows, train, before) = (&self.dataset.train, self.train.clone(), self.step_of_start());
        let (mut end, mut failure) = (End::Finished, None);
        let mut pass = |passes: u64, loss: f64| -> Result<Option<End>, K::Error> {
            self.state.step = self.state.start_step + passes;
            if !loss.is_finite() {
                return Err(self.store.diverged(self.state.step));
            }
            (self.state.loss_sum, self.state.loss_count) = (loss.to_bits(), 1);
            self.state.seconds = begun.1 + begun.0.elapsed().as_secs_f64();
            observer.step(self.state.step);
            let objective = self.learner.model.objective();
            observer.metric(self.record_metrics()?, objective);
            self.store.metrics(&self.state.metrics, objective)?;
            if train.patience > 0 && self.state.stale >= train.patience {
                return Ok(Some(End::Early));
            }
            Ok(observer.stop(self.state.step).then_some(End::Interrupted))
        };
        let mut watch = |passes: u64, loss: f64| match pass(passes, loss) {
            Ok(None) => Ok(ControlFlow::Continue(())),
            Ok(Some(how)) => {
                end = how;
                Ok(ControlFlow::Break(()))
            }
            Err(error) => {
                failure = Some(error);
                Ok(ControlFlow::Break(()))
            }
        };
        fit.fit(rows, &train, before, &mut watch)?;
        failure.map_or(Ok(end), Err)
    }

    /// Starts again from other initial weights. The best weights so far are kept.
    fn restart(&mut self) -> Result<(), K::Error> {
        self.state.restart();
        self.train = settings_of_start(self.settings, self.state.start);
        let fresh = self.store.new_model(&self.train)?;
        self.learner.restart(&*fresh, &self.train)?;
        self.order = (u64::MAX, Vec::new());
        Ok(())
    }

    /// Number of steps taken in the current start.
    fn step_of_start(&self) -> u64 {
        self.state.step - self.state.start_step
    }

    fn step(&mut self) -> Result<(), K::Error> {
        let step = self.step_of_start();
        let batch = self.batch(step);
        let (learner, train, rows) = (&mut self.learner, &self.train, &self.dataset.train);
        let loss = crate::nn::on_pool(|| learner.step(train, step, rows, &batch))?;
        if !loss.is_finite() {
            return Err(self.store.diverged(self.state.step + 1));
        }
        self.state.loss_sum = (f64::from_bits(self.state.loss_sum) + loss).to_bits();
        self.state.loss_count += 1;
        self.state.step += 1;
        Ok(())
    }

    /// The indices of the rows of a step's batch. Every epoch has its own order. The last rows of an epoch that do not
    /// fill a batch are skipped.
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

    /// Validates the model and adds an entry to the metrics. Keeps the weights if their validation bound is the best of
    /// all starts.
    fn record_metrics(&mut self) -> Result<&Metric, K::Error> {
        let averaged = self.learner.averaged()?;
        let elbo = self.validate(&averaged)?;
        let step = self.state.step;
        if let Some(elbo) = elbo {
            if !elbo.is_finite() {
                return Err(self.store.diverged(step));
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

    /// The mean bound over the validation rows and draws (nats). Without rows it is minus the free energy, if the model
    /// learns from an energy, and otherwise `None`.
    fn validate(&self, weights: &Weights) -> Result<Option<f64>, K::Error> {
        let seed = self.settings.seed;
        let bound = self.learner.with_weights(weights, |model| -> candle_core::Result<Option<f64>> {
            let able = model.capabilities();
            let (mut sum, mut rows) = (0.0, 0);
            for (draw, parts) in self.validation.iter().enumerate() {
                let mut noise = generator(seed, Purpose::ValidationLatents, draw as u64);
                if self.dataset.train.n == 0 {
                    let Some(energy) = able.energy else { return Ok(None) };
                    let values = crate::nn::on_pool(|| energy.free_energy(Self::ROWS, &mut noise))?;
                    sum -= values.to_vec1::<f32>()?.iter().map(|&v| f64::from(v)).sum::<f64>();
                    rows += Self::ROWS;
                }
                for x in parts {
                    let Some(bounds) = able.bounds else { return Ok(None) };
                    let values = crate::nn::on_pool(|| bounds.bound(x, &mut noise))?;
                    let values = values.to_vec1::<f32>()?;
                    sum += values.iter().map(|&v| f64::from(v)).sum::<f64>();
                    rows += values.len();
                }
            }
            Ok((rows > 0).then(|| sum / f64::from(rows as u32)))
        })??;
        Ok(bound)
    }

    /// Saves a checkpoint and the best weights so far.
    fn save(&mut self) -> Result<(), K::Error> {
        if !self.learner.is_finite()? {
            return Err(self.store.diverged(self.state.step));
        }
        let mut checkpoint = Checkpoint { state: self.state.clone(), ..Checkpoint::default() };
        self.learner.save(&mut checkpoint)?;
        let model = self.learner.with_weights(&self.best()?, arrays)??;
        self.store.save(&checkpoint, &model)
    }

    fn best(&self) -> Result<Weights, K::Error> {
        Ok(self.learner.best.clone().map_or_else(|| self.learner.averaged(), Ok)?)
    }

    /// The result of the training.
    pub fn outcome(&self, end: End) -> Outcome {
        Outcome {
            end,
            step: self.state.step,
            best_elbo: self.state.best_elbo.map(f64::from_bits),
            best_step: self.state.best_step,
            seconds: self.state.seconds,
            metrics: self.state.metrics.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
