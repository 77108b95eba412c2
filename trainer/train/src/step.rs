//! The interface between a family and one training step.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use elbo_compiler::Likelihood;

use crate::data::Split;
use crate::nn::{Adam, AdamParams, OptimiserState, RmsProp, RmsPropParams, Rng};
use crate::noise::{Purpose, generator};
use crate::rows::observe;
use crate::settings::TrainRecipe;

/// One training step: its rows, its noise and its optimisers. All randomness is a function of the seed and the step, so
/// that a resumed run draws the same numbers as an uninterrupted one.
pub struct Step<'s> {
    /// The step, counted from 0.
    pub index: u64,
    /// The settings of the optimisation.
    pub recipe: &'s TrainRecipe,
    /// Generator of the latent noise.
    pub noise: Rng,
    /// The train rows. There are none if the model learns from an energy.
    pub rows: &'s Split,
    pixels: Rng,
    draws: Rng,
    batch: &'s [usize],
    optimisers: &'s mut [Optimiser],
}

impl<'s> Step<'s> {
    pub(crate) fn new(
        recipe: &'s TrainRecipe,
        index: u64,
        rows: &'s Split,
        batch: &'s [usize],
        optimisers: &'s mut [Optimiser],
    ) -> Self {
        let rng = |purpose| generator(recipe.seed, purpose, index);
        Self {
            index,
            recipe,
            noise: rng(Purpose::Latents),
            rows,
            pixels: rng(Purpose::Pixels),
            draws: rng(Purpose::Rows),
            batch,
            optimisers,
        }
    }

    /// The rows of this step's batch in the form that the model reads, `[b, d]`. Every epoch uses each row of the split
    /// at most once.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn batch(&mut self, likelihood: Likelihood) -> Result<Tensor> {
        self.gather(self.batch, likelihood)
    }

    /// The labels of the batch, or `None` if the data have no labels.
    #[must_use]
    pub fn labels(&self) -> Option<Vec<u32>> {
        self.labels_of(self.batch)
    }

    /// Draws `n` further rows with replacement from the rows with an index in `among`. Returns the rows, `[n, d]`, and
    /// their indices.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn draw(&mut self, among: &[usize], n: usize, likelihood: Likelihood) -> Result<(Tensor, Vec<usize>)> {
        let rows: Vec<usize> = (0..n).map(|_| among[self.draws.below(among.len())]).collect();
        Ok((self.gather(&rows, likelihood)?, rows))
    }

    /// The rows with these indices in the form that the model reads, `[n, d]`.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn take(&mut self, rows: &[usize], likelihood: Likelihood) -> Result<Tensor> {
        self.gather(rows, likelihood)
    }

    /// The labels of the rows with these indices, or `None` if the data have no labels.
    #[must_use]
    pub fn labels_of(&self, rows: &[usize]) -> Option<Vec<u32>> {
        let labels = self.rows.labels.as_ref()?;
        Some(rows.iter().map(|row| labels[*row]).collect())
    }

    fn gather(&mut self, rows: &[usize], likelihood: Likelihood) -> Result<Tensor> {
        let x: Vec<f32> = rows.iter().flat_map(|row| self.rows.row(*row)).copied().collect();
        let dim = x.len() / rows.len().max(1);
        Tensor::from_vec(observe(likelihood, &mut self.pixels, &x), (rows.len(), dim), &Device::Cpu)
    }

    /// Takes one optimiser step for a group of variables with the gradient of the scalar `loss`, and returns the value
    /// of the loss. If the loss is not finite, the variables do not change.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn minimise(&mut self, group: usize, loss: &Tensor) -> Result<f64> {
        let value = f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        if value.is_finite() {
            self.optimisers[group].step(&loss.backward()?, self.recipe.rate(self.index))?;
        }
        Ok(value)
    }
}

/// Variables that one optimiser updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Indices into [`Params::vars`](crate::layers::Params::vars).
    pub vars: Vec<usize>,
    /// The update rule.
    pub rule: Rule,
}

/// The update rule of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Adam (arXiv 1412.6980) with the decoupled weight decay of the recipe.
    Adam,
    /// RMSProp (Tieleman and Hinton 2012), without weight decay.
    RmsProp,
}

/// The optimiser of one group of variables.
pub(crate) enum Optimiser {
    Adam(Adam),
    RmsProp(RmsProp),
}

impl Optimiser {
    pub fn new(group: &Group, vars: &[(String, Var)], recipe: &TrainRecipe) -> Result<Self> {
        let vars: Vec<(String, Var)> = group.vars.iter().map(|at| vars[*at].clone()).collect();
        let adam = AdamParams { weight_decay: recipe.weight_decay, ..AdamParams::default() };
        match group.rule {
            Rule::Adam => Ok(Self::Adam(Adam::new(&vars, adam)?)),
            Rule::RmsProp => Ok(Self::RmsProp(RmsProp::new(&vars, RmsPropParams::default())?)),
        }
    }

    fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.step(gradients, rate),
            Self::RmsProp(rmsprop) => rmsprop.step(gradients, rate),
        }
    }

    pub fn state(&self) -> Result<OptimiserState> {
        match self {
            Self::Adam(adam) => adam.state(),
            Self::RmsProp(rmsprop) => rmsprop.state(),
        }
    }

    pub fn restore(&mut self, state: &OptimiserState) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.restore(state),
            Self::RmsProp(rmsprop) => rmsprop.restore(state),
        }
    }
}
