//! What the rest of the trainer asks of a model.

use candle_core::{Result, Tensor};
use elbo_compiler::stimulus::InputRange;
use elbo_compiler::{FloatModel, Likelihood};

use crate::layers::Params;
use crate::nn::Rng;
use crate::settings::ExportRecipe;
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
    /// Whatever candle reports.
    fn step(&self, step: &mut Step<'_>) -> Result<f64>;

    /// A lower bound on `log p(x)` of each row, one sample of noise each, or its exact value: `x [b, d]` to `[b]`. `None`
    /// for a family that has none.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn bound(&self, _x: &Tensor, _noise: &mut Rng) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The importance-weighted bound on `log p(x)` with `k` samples (arXiv 1509.00519, equation 8): `x [b, d]` to `[b]`.
    /// `None` where [`Model::bound`] is exact or absent.
    ///
    /// # Errors
    /// Whatever candle reports; no sample.
    fn importance_bound(&self, _x: &Tensor, _k: usize, _noise: &mut Rng) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Whether [`Model::bound`] is `log p(x)` itself, without noise.
    fn exact(&self) -> bool {
        false
    }

    /// `log q(z) + U(z)` of `n` draws `z ~ q` of a model that learns from an energy instead of rows, `[n]` (nats): minus
    /// its mean is a lower bound on `ln Z`, and what validation looks at. `None` for models of rows.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn free_energy(&self, _n: usize, _noise: &mut Rng) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The probability of each class given a row, averaged over `samples` samples of whatever else is latent: `x [b, d]` to
    /// `[b, classes]`. `None` for a family without classes.
    ///
    /// # Errors
    /// Whatever candle reports; no sample.
    fn classify(&self, _x: &Tensor, _samples: usize, _noise: &mut Rng) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The means of `p(x|...)` of `n` draws from the model, `[n, d]`: what pictures show.
    ///
    /// # Errors
    /// A model that draws nothing, which is the default; whatever candle reports.
    fn sample(&self, _n: usize, _noise: &mut Rng) -> Result<Tensor> {
        candle_core::bail!("this model draws no samples")
    }

    /// An anomaly score of each row that is no bound, higher for stranger rows: `x [b, d]` to `[b]`. `None` for a family
    /// whose score is its [`Model::bound`], with the sign turned.
    ///
    /// # Errors
    /// Whatever candle reports.
    fn score(&self, _x: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

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
