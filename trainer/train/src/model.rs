//! What the rest of the trainer asks of a model.

use std::ops::ControlFlow;

use candle_core::{Result, Tensor};
use elbo_compiler::stimulus::InputRange;
use elbo_compiler::{FloatModel, Likelihood};

use crate::data::Split;
use crate::layers::Params;
use crate::nn::Rng;
use crate::settings::{ExportRecipe, TrainRecipe};
use crate::step::{Group, Rule, Step};

/// A model that can be trained, evaluated and compiled.
///
/// Rows are `[b, d]` in `f32` on the CPU, bounds and losses in nats.
pub trait Model: Send + Sync {
    /// Its variables.
    fn params(&self) -> &Params;

    /// Number of values of a row.
    fn input(&self) -> usize;

    /// How rows are read.
    fn likelihood(&self) -> Likelihood;

    /// How a device represents rows: pixels exactly, standardised features within 16 deviations.
    fn data_range(&self) -> InputRange {
        match self.likelihood() {
            Likelihood::Bernoulli | Likelihood::Logistic => InputRange::Unit,
            Likelihood::Gaussian => InputRange::Real(15.99),
        }
    }

    /// Number of latent dimensions.
    fn latent(&self) -> usize;

    /// Number of classes that the model knows, 0 of none.
    fn classes(&self) -> usize {
        0
    }

    /// Whether its classes are the labels of the data, rather than found in it.
    fn classes_are_labels(&self) -> bool {
        true
    }

    /// The variables that are optimised together, each group with its own optimiser. One group of all by default.
    fn groups(&self) -> Vec<Group> {
        vec![Group { vars: (0..self.params().vars().len()).collect(), rule: Rule::Adam }]
    }

    /// Takes one training step through [`Step::minimise`] and returns the loss.
    ///
    /// # Errors
    /// Whatever candle reports; a model that is fitted as a whole, by [`Fit`], which is the default.
    fn step(&self, _step: &mut Step<'_>) -> Result<f64> {
        candle_core::bail!("this model is fitted as a whole, not by steps")
    }

    /// What it can do beside learning and being lowered.
    fn capabilities(&self) -> Capabilities<'_>;

    /// What training shows.
    fn objective(&self) -> Objective {
        Objective::default()
    }

    /// Its programs in floating point, for the compiler.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel>;
}

/// What a model can do; nothing by default.
#[derive(Clone, Copy, Default)]
pub struct Capabilities<'m> {
    /// Bounds the log-likelihood of rows.
    pub bounds: Option<&'m dyn Bounded>,
    /// Scores rows by something that is no bound.
    pub scorer: Option<&'m dyn Scorer>,
    /// Draws rows.
    pub sampler: Option<&'m dyn Sampler>,
    /// Tells classes.
    pub classifier: Option<&'m dyn Classifier>,
    /// Learns from an energy instead of rows.
    pub energy: Option<&'m dyn EnergyFit>,
    /// Is fitted as a whole instead of by steps.
    pub fit: Option<&'m dyn Fit>,
}

/// A model with a bound on the log-likelihood of a row.
pub trait Bounded: Sync {
    /// A lower bound on `log p(x)` of each row, one sample of noise each, or its exact value: `x [b, d]` to `[b]`.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Tensor>;

    /// Whether [`Bounded::bound`] is `log p(x)` itself, without noise.
    fn exact(&self) -> bool {
        false
    }

    /// The importance-weighted bound on `log p(x)` with `k` samples (arXiv 1509.00519, equation 8): `x [b, d]` to `[b]`.
    /// `None` where there is none, as beside an exact value.
    ///
    /// # Errors
    /// Whatever candle reports; no sample.
    fn importance_bound(&self, _x: &Tensor, _k: usize, _noise: &mut Rng) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// A model whose anomaly score is no bound.
pub trait Scorer: Sync {
    /// The score of each row, higher for stranger ones: `x [b, d]` to `[b]`.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn score(&self, x: &Tensor) -> Result<Tensor>;
}

/// A model that draws.
pub trait Sampler: Sync {
    /// The means of `p(x|...)` of `n` draws from the model, `[n, d]`: what pictures show.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor>;
}

/// A model of labelled rows.
pub trait Classifier: Sync {
    /// The probability of each class given a row, averaged over `samples` samples of whatever else is latent: `x [b, d]` to
    /// `[b, classes]`.
    ///
    /// # Errors
    /// Whatever candle reports; no sample.
    fn classify(&self, x: &Tensor, samples: usize, noise: &mut Rng) -> Result<Tensor>;

    /// The number of samples where nobody says.
    fn samples(&self) -> usize;
}

/// A model `q` that learns from an energy `U` instead of rows, `p(z)` being `exp(-U(z)) / Z`.
pub trait EnergyFit: Sync {
    /// The energy's name.
    fn energy_name(&self) -> &'static str;

    /// `log q(z) + U(z)` of `n` draws `z ~ q`, `[n]` (nats): minus its mean is a lower bound on `ln Z`, and what validation
    /// looks at.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn free_energy(&self, n: usize, noise: &mut Rng) -> Result<Tensor>;

    /// `U(z)` in nats: `z [n, d]` to `[n]`.
    ///
    /// # Errors
    /// Points of another width.
    fn potential(&self, z: &Tensor) -> Result<Tensor>;

    /// `ln Z` in nats.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn log_z(&self) -> Result<f64>;
}

/// A model that is fitted as a whole, by expectation maximisation for example. It keeps what it learns in its variables.
pub trait Fit: Sync {
    /// Fits the variables to the rows, as the settings' steps allow. After every pass it gives `watch` the number of passes so
    /// far and the loss (nats per row), and ends at once where that says so. A fit that was ended goes on with `done`, the
    /// number of passes that led to the present variables; 0 for a fresh one.
    ///
    /// # Errors
    /// Rows that cannot be fitted; whatever `watch` or candle report.
    fn fit(&self, rows: &Split, settings: &TrainRecipe, done: u64, watch: &mut Watch<'_>) -> Result<()>;
}

/// Is told the number of passes and the loss after each, and says whether to go on.
pub type Watch<'w> = dyn FnMut(u64, f64) -> Result<ControlFlow<()>> + 'w;

/// What a family's training loss is called, and how its curve is drawn: with the sign turned, so that it is what the
/// family estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The curve's name.
    pub curve: &'static str,
    /// Column of the curve in the table of metrics, beside the loss itself.
    pub column: Option<&'static str>,
    /// What its values are in.
    pub unit: &'static str,
    /// Validations over which the curve is median-filtered; 1 for as it is.
    pub median: usize,
}

impl Default for Objective {
    fn default() -> Self {
        Self { curve: "train, as minimised", column: None, unit: "nats per row", median: 1 }
    }
}
