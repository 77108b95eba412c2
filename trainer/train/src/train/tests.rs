use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor};
use elbo_compiler::{FloatModel, Likelihood};

use super::{End, FitError, Outcome, StopAfter, fit};
use crate::data::{DataOptions, Dataset, Split};
use crate::layers::{Params, Slot};
use crate::model::{Bounded, Capabilities, Fit, Model, Watch};
use crate::nn::Rng;
use crate::settings::{ExportRecipe, TrainRecipe};

/// A Gaussian of unit variance about a mean that every pass brings halfway to that of the rows.
struct Mean {
    params: Params,
    mean: Slot,
    dim: usize,
    /// The pass whose loss is no number.
    breaks: u64,
}

impl Mean {
    fn new(dim: usize, breaks: u64) -> Self {
        let mut params = Params::new(0, &Device::Cpu, DType::F32).unwrap();
        let mean = params.variable("mean", &Tensor::zeros(dim, DType::F32, &Device::Cpu).unwrap()).unwrap();
        Self { params, mean, dim, breaks }
    }
}

impl Model for Mean {
    fn params(&self) -> &Params {
        &self.params
    }

    fn input(&self) -> usize {
        self.dim
    }

    fn likelihood(&self) -> Likelihood {
        Likelihood::Gaussian
    }

    fn latent(&self) -> usize {
        0
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { bounds: Some(self), fit: Some(self), ..Capabilities::default() }
    }

    fn lower(&self, _: &ExportRecipe) -> Result<FloatModel> {
        Ok(FloatModel::default())
    }
}

impl Bounded for Mean {
    fn bound(&self, x: &Tensor, _: &mut Rng) -> Result<Tensor> {
        let constant = 0.5 * self.dim as f64 * (2.0 * std::f64::consts::PI).ln();
        (x.broadcast_sub(self.params.get(self.mean))?.sqr()?.sum(1)? * -0.5)? - constant
    }

    fn exact(&self) -> bool {
        true
    }
}

impl Fit for Mean {
    fn fit(&self, rows: &Split, settings: &TrainRecipe, done: u64, watch: &mut Watch<'_>) -> Result<()> {
        let x = Tensor::from_slice(&rows.x, (rows.n, self.dim), &Device::Cpu)?;
        for pass in done + 1..=settings.steps {
            let mean = ((self.params.get(self.mean) + x.mean(0)?)? * 0.5)?;
            self.params.set(self.mean, &mean)?;
            let loss = self.bound(&x, &mut Rng::new(0))?.mean_all()?.neg()?.to_scalar::<f32>()?;
            let loss = if pass == self.breaks { f64::NAN } else { f64::from(loss) };
            if watch(pass, loss)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

/// Rows around 3 and -1. They are shifted after the data set has standardised them.
fn dataset() -> Dataset {
    let mut rng = Rng::new(3);
    let rows: Vec<Vec<f32>> = (0..200).map(|_| vec![rng.unit() as f32, rng.unit() as f32]).collect();
    let mut dataset = Dataset::of_table("points", &rows, &DataOptions::default()).unwrap();
    for split in [&mut dataset.train, &mut dataset.validation] {
        split.x.iter_mut().enumerate().for_each(|(i, v)| *v += if i % 2 == 0 { 3.0 } else { -1.0 });
    }
    dataset
}

fn fitted(breaks: u64, settings: &TrainRecipe, stop: u64) -> (Vec<f32>, std::result::Result<Outcome, FitError>) {
    let mut model = Mean::new(2, breaks);
    let outcome = fit(&mut model, &dataset(), settings, &mut StopAfter(stop));
    (model.params.get(model.mean).to_vec1().unwrap(), outcome)
}

/// The moving average of the weights, on by default, does not touch it; every pass is validated.
#[test]
fn a_model_that_is_fitted_as_a_whole_is_watched_after_every_pass() {
    let settings = TrainRecipe { steps: 20, ..TrainRecipe::default() };
    let (mean, outcome) = fitted(0, &settings, u64::MAX);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.end, outcome.step, outcome.metrics.len()), (End::Finished, 20, 20));
    assert!((mean[0] - 3.0).abs() < 0.1 && (mean[1] + 1.0).abs() < 0.1, "{mean:?}");
    let losses: Vec<f64> = outcome.metrics.iter().map(|metric| metric.train_loss).collect();
    assert!(losses[..8].windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    let best = outcome.metrics.iter().filter_map(|metric| metric.validation_elbo).fold(f64::MIN, f64::max);
    assert_eq!(outcome.best_elbo, Some(best));
}

#[test]
fn it_ends_where_the_observer_the_patience_or_a_loss_says_so() {
    let settings = TrainRecipe { steps: 50, ..TrainRecipe::default() };
    let (_, outcome) = fitted(0, &settings, 3);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.end, outcome.step), (End::Interrupted, 3));
    let (_, outcome) = fitted(0, &TrainRecipe { steps: 500, patience: 4, ..settings.clone() }, u64::MAX);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.end, outcome.step - outcome.best_step), (End::Early, 4));
    let (_, outcome) = fitted(5, &settings, u64::MAX);
    assert!(matches!(outcome, Err(FitError::Diverged { step: 5 })), "{outcome:?}");
}
