//! The training loop: dynamic binarisation, validation on fixed noise, early stopping, restarts.
//!
//! A training is a function of its settings and data. It may be interrupted after any step and resumed, and ends with the same
//! bits. [`fit`] trains a model in memory; [`crate::run`] keeps what it learns in a folder.

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

/// Watches a training, and may end it. `()` does neither.
pub trait Observer {
    /// The data set is read; [`Dataset::notes`] say how.
    fn data(&mut self, _dataset: &Dataset) {}

    /// The loop begins, or goes on, after `step` of at most `steps` steps.
    fn begin(&mut self, _step: u64, _steps: u64) {}

    /// Whether to end here, after `step` steps. A run folder then has a checkpoint of them.
    fn stop(&mut self, _step: u64) -> bool {
        false
    }

    /// `step` steps are taken.
    fn step(&mut self, _step: u64) {}

    /// The model was validated.
    fn metric(&mut self, _metric: &Metric, _objective: Objective) {}

    /// The loop ends.
    fn end(&mut self) {}
}

impl Observer for () {}

/// Ends a training after this many steps.
#[derive(Clone, Copy, Debug)]
pub struct StopAfter(pub u64);

impl Observer for StopAfter {
    fn stop(&mut self, step: u64) -> bool {
        step >= self.0
    }
}

/// Why a model in memory was not trained to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] RecipeError),
    /// The loss or a weight is no longer a number.
    #[error("step {step}: the loss or a weight is no longer a finite number; lower learning_rate")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
    },
    /// The tensor library reports an error.
    #[error("training failed: {0}")]
    Tensor(#[from] candle_core::Error),
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
    /// A line for each validation.
    pub metrics: Vec<Metric>,
}

/// Trains a model in memory on the train rows of `dataset`; what it validates on are the validation rows. At the end the model
/// has the weights of the best validation.
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
    let (outcome, Memory) = Trainer::new(settings, dataset, learner, state, Memory)?.run(observer)?;
    Ok(outcome)
}

fn no_restarts(settings: &TrainRecipe) -> FitError {
    let expected = "0 for a model that is trained in memory: make it again from another seed instead";
    RecipeError::invalid("train.restarts", expected, settings.restarts).into()
}

/// What a loop must not lose, and who keeps it.
pub(crate) trait Keeper {
    /// Why the training ended before its time.
    type Error: From<candle_core::Error>;

    /// The loss or a weight is no longer a number.
    fn diverged(&self, step: u64) -> Self::Error;

    /// Another untrained model, for a start with these settings.
    fn again(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, Self::Error>;

    /// Keeps all metrics so far.
    fn metrics(&mut self, metrics: &[Metric], objective: Objective) -> Result<(), Self::Error>;

    /// Keeps a checkpoint and the weights of the best model so far.
    fn save(&mut self, checkpoint: &Checkpoint, best: &Arrays) -> Result<(), Self::Error>;
}

/// Keeps nothing but what the model itself holds.
struct Memory;

impl Keeper for Memory {
    type Error = FitError;

    fn diverged(&self, step: u64) -> FitError {
        FitError::Diverged { step }
    }

    fn again(&self, start: &TrainRecipe) -> Result<Box<dyn Model>, FitError> {
        Err(no_restarts(start))
    }

    fn metrics(&mut self, _: &[Metric], _: Objective) -> Result<(), FitError> {
        Ok(())
    }

    fn save(&mut self, _: &Checkpoint, _: &Arrays) -> Result<(), FitError> {
        Ok(())
    }
}

/// The optimisation's settings in a start, counted from 0.
pub(crate) fn table_of_start(train: &TrainRecipe, start: u64) -> TrainRecipe {
    TrainRecipe { seed: seed_of_start(train.seed, start), ..train.clone() }
}

/// A training under way.
pub(crate) struct Trainer<'t, K> {
    settings: &'t TrainRecipe,
    /// The settings of the present start: with the seed of that start.
    train: TrainRecipe,
    dataset: &'t Dataset,
    learner: Learner<'t>,
    state: State,
    keeper: K,
    /// For every draw, the validation rows in parts.
    validation: Vec<Vec<Tensor>>,
    /// The order of the rows, and the epoch it belongs to.
    order: (u64, Vec<usize>),
}

impl<'t, K: Keeper> Trainer<'t, K> {
    /// Rows that are validated at once.
    const ROWS: usize = 1000;

    pub fn new(
        settings: &'t TrainRecipe,
        dataset: &'t Dataset,
        learner: Learner<'t>,
        state: State,
        keeper: K,
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
        let train = table_of_start(settings, state.start);
        Ok(Self { settings, train, dataset, learner, state, keeper, validation, order: (u64::MAX, Vec::new()) })
    }

    /// Whether a checkpoint says that there is nothing left to do.
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
        self.keeper.metrics(&self.state.metrics, self.learner.model.objective())?;
        self.learner.set(&self.best()?)?;
        Ok((self.outcome(end), self.keeper))
    }

    /// Trains to the end of the present start. `begun` says when the session did, and after how many seconds of training.
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
                observer.metric(self.measure()?, objective);
                self.keeper.metrics(&self.state.metrics, objective)?;
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
                return Err(self.keeper.diverged(self.state.step));
            }
            (self.state.loss_sum, self.state.loss_count) = (loss.to_bits(), 1);
            self.state.seconds = begun.1 + begun.0.elapsed().as_secs_f64();
            observer.step(self.state.step);
            let objective = self.learner.model.objective();
            observer.metric(self.measure()?, objective);
            self.keeper.metrics(&self.state.metrics, objective)?;
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

    /// Begins anew from other initial weights; the best model so far stays.
    fn restart(&mut self) -> Result<(), K::Error> {
        self.state.restart();
        self.train = table_of_start(self.settings, self.state.start);
        let fresh = self.keeper.again(&self.train)?;
        self.learner.restart(&*fresh, &self.train)?;
        self.order = (u64::MAX, Vec::new());
        Ok(())
    }

    /// Steps of the present start.
    fn step_of_start(&self) -> u64 {
        self.state.step - self.state.start_step
    }

    fn step(&mut self) -> Result<(), K::Error> {
        let step = self.step_of_start();
        let batch = self.batch(step);
        let (learner, train, rows) = (&mut self.learner, &self.train, &self.dataset.train);
        let loss = crate::nn::on_pool(|| learner.step(train, step, rows, &batch))?;
        if !loss.is_finite() {
            return Err(self.keeper.diverged(self.state.step + 1));
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
    fn measure(&mut self) -> Result<&Metric, K::Error> {
        let averaged = self.learner.averaged()?;
        let elbo = self.validate(&averaged)?;
        let step = self.state.step;
        if let Some(elbo) = elbo {
            if !elbo.is_finite() {
                return Err(self.keeper.diverged(step));
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

    /// Keeps the checkpoint and the best model so far.
    fn save(&mut self) -> Result<(), K::Error> {
        if !self.learner.is_finite()? {
            return Err(self.keeper.diverged(self.state.step));
        }
        let mut checkpoint = Checkpoint { state: self.state.clone(), ..Checkpoint::default() };
        self.learner.save(&mut checkpoint)?;
        let model = self.learner.with_weights(&self.best()?, arrays)??;
        self.keeper.save(&checkpoint, &model)
    }

    fn best(&self) -> Result<Weights, K::Error> {
        Ok(self.learner.best.clone().map_or_else(|| self.learner.averaged(), Ok)?)
    }

    /// What came of it.
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
