//! The traits that a model implements to be trained, evaluated and compiled.

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
/// Rows are `[b, d]` in `f32` on the CPU. Bounds and losses are in nats.
pub trait Model: Send + Sync {
    /// The variables.
    fn params(&self) -> &Params;

    /// Number of values of a row.
    fn input(&self) -> usize;

    /// The likelihood, which determines the form in which the model reads rows.
    fn likelihood(&self) -> Likelihood;

    /// The range of the data on a device. Pixels are represented exactly, and standardised features up to 16 standard
    /// deviations.
    fn data_range(&self) -> InputRange {
        match self.likelihood() {
            Likelihood::Bernoulli | Likelihood::Logistic => InputRange::Unit,
            Likelihood::Gaussian => InputRange::Real(15.99),
        }
    }

    /// Number of latent dimensions.
    fn latent(&self) -> usize;

    /// Number of classes, or 0 for a model without classes.
    fn classes(&self) -> usize {
        0
    }

    /// Whether the classes are the labels of the data. Otherwise the model finds the classes itself, like the
    /// components of a mixture.
    fn classes_are_labels(&self) -> bool {
        true
    }

    /// Groups of variables, each with its own optimiser. By default one group contains all variables.
    fn groups(&self) -> Vec<Group> {
        vec![Group { vars: (0..self.params().vars().len()).collect(), rule: Rule::Adam }]
    }

    /// Takes one training step with [`Step::minimise`], and returns the loss.
    ///
    /// # Errors
    /// Any error of candle. The default implementation always fails; it is for models that implement [`Fit`] instead.
    fn step(&self, _step: &mut Step<'_>) -> Result<f64> {
        candle_core::bail!("this model is fitted as a whole and has no training steps")
    }

    /// What the model can do in addition to training and lowering.
    fn capabilities(&self) -> Capabilities<'_>;

    /// How the training loss is displayed.
    fn objective(&self) -> Objective {
        Objective::default()
    }

    /// Lowers the model to the float graph of its programs, which the compiler reads.
    ///
    /// # Errors
    /// Any error of candle.
    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel>;
}

/// The optional abilities of a model. By default it has none.
#[derive(Clone, Copy, Default)]
pub struct Capabilities<'m> {
    /// The model has a bound on the log-likelihood of rows.
    pub bounds: Option<&'m dyn Bounded>,
    /// The model has a score for anomalies that is not such a bound.
    pub scorer: Option<&'m dyn Scorer>,
    /// The model draws samples.
    pub sampler: Option<&'m dyn Sampler>,
    /// The model classifies rows.
    pub classifier: Option<&'m dyn Classifier>,
    /// The model learns from an energy instead of rows.
    pub energy: Option<&'m dyn EnergyFit>,
    /// The model is fitted as a whole instead of by gradient steps.
    pub fit: Option<&'m dyn Fit>,
}

/// A model with a bound on the log-likelihood of a row.
pub trait Bounded: Sync {
    /// A lower bound on `log p(x)` of each row with one noise sample per row, or its exact value: `x [b, d]` to `[b]`.
    ///
    /// # Errors
    /// Any error of candle.
    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Tensor>;

    /// Whether [`Bounded::bound`] is the exact `log p(x)`, which needs no noise.
    fn exact(&self) -> bool {
        false
    }

    /// The importance-weighted bound on `log p(x)` with `k` samples (arXiv 1509.00519, equation 8): `x [b, d]` to
    /// `[b]`. `None` if the model has no such bound, for example because its bound is exact.
    ///
    /// # Errors
    /// `k = 0`, or any error of candle.
    fn importance_bound(&self, _x: &Tensor, _k: usize, _noise: &mut Rng) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// A model with an anomaly score that is not a bound on the log-likelihood.
pub trait Scorer: Sync {
    /// The score of each row, which is higher for a less likely row: `x [b, d]` to `[b]`.
    ///
    /// # Errors
    /// Any error of candle.
    fn score(&self, x: &Tensor) -> Result<Tensor>;
}

/// A model that draws samples.
pub trait Sampler: Sync {
    /// Draws `n` samples of the latent variables, and returns the means of `p(x|...)`, `[n, d]`. Pictures show these
    /// means.
    ///
    /// # Errors
    /// Any error of candle.
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor>;
}

/// A model that classifies rows.
pub trait Classifier: Sync {
    /// The probability of each class given a row, averaged over `samples` samples of the other latent variables: `x [b,
    /// d]` to `[b, classes]`.
    ///
    /// # Errors
    /// `samples` is 0, or any error of candle.
    fn classify(&self, x: &Tensor, samples: usize, noise: &mut Rng) -> Result<Tensor>;

    /// The default number of samples.
    fn samples(&self) -> usize;
}

/// A model `q` that learns from an energy `U` instead of rows, where `p(z) = exp(-U(z)) / Z`.
pub trait EnergyFit: Sync {
    /// The name of the energy.
    fn energy_name(&self) -> &'static str;

    /// `log q(z) + U(z)` in nats for `n` draws `z ~ q`: `[n]`. Minus the mean is a lower bound on `ln Z`, which
    /// validations use.
    ///
    /// # Errors
    /// Any error of candle.
    fn free_energy(&self, n: usize, noise: &mut Rng) -> Result<Tensor>;

    /// `U(z)` in nats: `z [n, d]` to `[n]`.
    ///
    /// # Errors
    /// Points of another width.
    fn potential(&self, z: &Tensor) -> Result<Tensor>;

    /// `ln Z` in nats.
    ///
    /// # Errors
    /// Any error of candle.
    fn log_z(&self) -> Result<f64>;
}

/// A model that is fitted as a whole, for example by expectation maximisation. It stores the result in its variables.
pub trait Fit: Sync {
    /// Fits the variables to the rows. The steps of the settings limit the number of passes. After every pass, calls
    /// `watch` with the number of passes so far and the loss (nats per row), and stops if it returns `Break`. To
    /// continue a fit that was stopped, `done` is the number of passes that led to the current variables; otherwise it
    /// is 0.
    ///
    /// # Errors
    /// Rows to which the model cannot be fitted, or an error of `watch` or of candle.
    fn fit(&self, rows: &Split, settings: &TrainRecipe, done: u64, watch: &mut Watch<'_>) -> Result<()>;
}

/// Receives the number of passes and the loss after each pass, and returns whether to continue.
pub type Watch<'w> = dyn FnMut(u64, f64) -> Result<ControlFlow<()>> + 'w;

/// The name of the training loss of a family, and how its curve is drawn. The curve shows minus the loss, which is the
/// quantity that the family estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The name of the curve.
    pub curve: &'static str,
    /// The column for this quantity in the table of metrics, which also has a column for the loss.
    pub column: Option<&'static str>,
    /// The unit of the values.
    pub unit: &'static str,
    /// Number of validations over which the curve is median-filtered. With 1 it is not filtered.
    pub median: usize,
}

impl Default for Objective {
    fn default() -> Self {
        Self { curve: "train, as minimised", column: None, unit: "nats per row", median: 1 }
    }
}
