//! Normalizing flows: Variational Inference with Normalizing Flows (arXiv 1505.05770), with the couplings of NICE
//! (arXiv 1410.8516) and RealNVP (arXiv 1605.08803).
//!
//! A flow is a stack of invertible steps. This module uses flows in three ways. A flow of rows is a density: it maps a
//! row to standard normal noise and is fitted by maximum likelihood, and its inverse draws samples. A flow of an energy
//! is a sampler: it maps noise to points and is fitted by minimising the free energy, `KL(q || p) - ln Z`. A flow can
//! also be the posterior of a VAE, in which case the encoder computes its parameters ([`posterior`]).

mod coupling;
mod energy;
mod lower;
pub mod posterior;
mod recipe;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Result, Tensor, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use energy::Energy;
pub use recipe::{Entry, FlowRecipe};

use crate::layers::{Params, Slot};
use crate::model::{Bounded, Capabilities, EnergyFit, Model, Sampler};
use crate::nn::{self, FlowStep, Rng};
use crate::settings::ExportRecipe;
use crate::step::Step;
use coupling::Coupling;
use elbo_compiler::FloatModel;
use elbo_compiler::Likelihood;
use elbo_compiler::stimulus::InputRange;

/// The kinds of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// A planar step, [`FlowStep::Planar`].
    Planar,
    /// A radial step, [`FlowStep::Radial`].
    Radial,
    /// Additive couplings, followed by a scale for each column.
    Nice,
    /// Affine couplings with a bounded log-scale.
    #[default]
    RealNvp,
}

impl FlowKind {
    /// The step, if its parameters are one vector. `None` for couplings.
    #[must_use]
    pub fn step(self) -> Option<FlowStep> {
        match self {
            Self::Planar => Some(FlowStep::Planar),
            Self::Radial => Some(FlowStep::Radial),
            Self::Nice | Self::RealNvp => None,
        }
    }

    /// The default number of steps.
    #[must_use]
    pub fn default_steps(self) -> usize {
        if self.step().is_some() { 32 } else { 8 }
    }
}

/// The weight of `log p` in step `step`, counted from 0: `min(1, 0.01 + step / over)`, or 1 if `over` is 0.
#[must_use]
pub fn annealing_weight(over: u64, step: u64) -> f64 {
    if over == 0 { 1.0 } else { (0.01 + step as f64 / over as f64).min(1.0) }
}

/// The steps of a flow.
enum Stack {
    /// Steps with `K p` parameters, one step after another.
    Steps(FlowStep, Slot),
    /// Couplings that change the two halves of the columns in turn. NICE also has a log-scale for each column.
    Couplings(Vec<Coupling>, Option<Slot>),
}

/// A flow whose parameters are variables.
///
/// The variables of planar and radial steps are `steps [K p]`, in the order of [`FlowStep`]. Couplings have
/// `coupling.K.net.I`, `coupling.K.shift` and, for RealNVP, `coupling.K.log_scale`. NICE has `log_scale [d]`. Couplings
/// with an even index change the last `floor(d / 2)` columns given the first `ceil(d / 2)`. Those with an odd index
/// change the first columns given the last.
pub struct Flow {
    recipe: FlowRecipe,
    dim: usize,
    params: Params,
    stack: Stack,
}

impl Flow {
    /// A flow in `dim` dimensions. `seed` determines its initial parameters.
    ///
    /// # Errors
    /// No dimension, no step, couplings with a single column, or an energy in other than two dimensions.
    pub fn new(recipe: FlowRecipe, dim: usize, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        if let Some((field, expected, found)) = recipe.out_of_range() {
            bail!("recipe field `flow.{field}`: expected {expected}, found {found}");
        }
        if recipe.energy.is_some() && dim != 2 {
            bail!("an energy of the plane needs 2 dimensions, found {dim}");
        }
        let mut params = Params::new(seed, device, dtype)?;
        let stack = match recipe.kind.step() {
            Some(step) => {
                let start = initial(step, recipe.count(), dim, seed)?;
                Stack::Steps(step, params.variable("steps", &start)?)
            }
            None => {
                if dim < 2 {
                    bail!("a coupling changes some columns given the others: expected at least 2 columns, found {dim}");
                }
                let (first, last) = (dim.div_ceil(2), dim / 2);
                let scaled = recipe.kind == FlowKind::RealNvp;
                let bound = scaled.then(|| f64::from(recipe.scale_log2).exp2());
                let hidden = (recipe.hidden.as_slice(), recipe.activation);
                let coupling = |k: usize| {
                    let widths = if k.is_multiple_of(2) { (first, last) } else { (last, first) };
                    Coupling::new(&mut params, &format!("coupling.{k}"), widths, hidden, bound)
                };
                let couplings = (0..recipe.count()).map(coupling).collect::<Result<Vec<_>>>()?;
                let scale = match scaled {
                    true => None,
                    false => Some(params.variable("log_scale", &Tensor::zeros(dim, DType::F32, &Device::Cpu)?)?),
                };
                Stack::Couplings(couplings, scale)
            }
        };
        Ok(Self { recipe, dim, params, stack })
    }

    /// The options.
    pub fn recipe(&self) -> &FlowRecipe {
        &self.recipe
    }

    /// The image of `x [b, d]` under all steps, `[b, d]`, and the sum of their `log|det|` in nats, `[b]`.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        match &self.stack {
            Stack::Steps(step, slot) => nn::flow(*step, x, self.params.get(*slot)),
            Stack::Couplings(couplings, scale) => {
                let mut halves = self.halves(x)?;
                let mut log_det = x.zeros_like()?.sum(1)?;
                for (k, coupling) in couplings.iter().enumerate() {
                    let (given, moved) = (k % 2, (k + 1) % 2);
                    let (image, more) = coupling.forward(&self.params, &halves[given], &halves[moved])?;
                    halves[moved] = image;
                    if let Some(more) = more {
                        log_det = (log_det + more)?;
                    }
                }
                let y = Tensor::cat(&halves, 1)?;
                match scale.map(|slot| self.params.get(slot)) {
                    None => Ok((y, log_det)),
                    Some(scale) => Ok((y.broadcast_mul(&scale.exp()?)?, log_det.broadcast_add(&scale.sum_all()?)?)),
                }
            }
        }
    }

    /// The inverse of [`Self::forward`]: `y [b, d]` to `[b, d]`. It has no gradient for planar and radial steps.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn inverse(&self, y: &Tensor) -> Result<Tensor> {
        match &self.stack {
            Stack::Steps(step, slot) => nn::flow_inverse(*step, y, self.params.get(*slot)),
            Stack::Couplings(couplings, scale) => {
                let y = match scale.map(|slot| self.params.get(slot)) {
                    None => y.clone(),
                    Some(scale) => y.broadcast_mul(&scale.neg()?.exp()?)?,
                };
                let mut halves = self.halves(&y)?;
                for (k, coupling) in couplings.iter().enumerate().rev() {
                    let (given, moved) = (k % 2, (k + 1) % 2);
                    halves[moved] = coupling.inverse(&self.params, &halves[given], &halves[moved])?;
                }
                Tensor::cat(&halves, 1)
            }
        }
    }

    fn halves(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let (first, last) = (self.dim.div_ceil(2), self.dim / 2);
        Ok([x.narrow(1, 0, first)?.contiguous()?, x.narrow(1, first, last)?.contiguous()?])
    }

    /// The exact `log p(x)` in nats: `x [b, d]` to `[b]`. For a flow of rows, this is the
    /// density of `x` clamped to the recipe's limit, less half the square of what the clamp cuts off, so that a row
    /// farther out is less likely. For a flow of an
    /// energy it is the log-density of the points that the flow draws.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        if self.recipe.energy.is_some() {
            let noise = self.inverse(x)?;
            return log_normal(&noise)? - self.forward(&noise)?.1;
        }
        let clamped = nn::clamp(x, -self.recipe.limit, self.recipe.limit)?;
        let (noise, log_det) = self.forward(&clamped)?;
        let tail = ((x - clamped)?.sqr()? * 0.5)?.sum(1)?;
        (log_normal(&noise)? + log_det)? - tail
    }

    fn energy(&self) -> Result<Energy> {
        self.recipe.energy.map_or_else(|| bail!("this flow learns from rows and has no energy"), Ok)
    }

    /// `log q(z) + weight U(z)` in nats, `[n]`, for the points `z` to which the flow maps standard normal `noise [n,
    /// 2]`. With weight 1 the mean is `KL(q || p) - ln Z`. It is equation 20 with `weight` in place of `beta_t`.
    ///
    /// # Errors
    /// A flow of rows, or noise of another width, type or device than the model's.
    pub fn free_energy_at(&self, noise: &Tensor, weight: f64) -> Result<Tensor> {
        let energy = self.energy()?;
        let (z, log_det) = self.forward(noise)?;
        (log_normal(noise)? - log_det)? + (energy.potential(&z)? * weight)?
    }
}

/// `log N(z; 0, I)` in nats: `z [b, d]` to `[b]`.
fn log_normal(z: &Tensor) -> Result<Tensor> {
    ((z.sqr()? + (2.0 * std::f64::consts::PI).ln())? * -0.5)?.sum(1)
}

/// Initial parameters. Planar steps have directions with a length of about 1, and keep volumes on average. Radial steps
/// have centres drawn like the noise, and are the identity.
fn initial(step: FlowStep, count: usize, d: usize, seed: u64) -> Result<Tensor> {
    // The weights of layers are drawn with another generator.
    let mut rng = Rng::new(seed ^ 0xf10e);
    let mut values = Vec::with_capacity(count * step.params(d));
    let width = 1.0 / (d as f64).sqrt();
    for _ in 0..count {
        let mut uniform =
            |n: usize, scale: f64| -> Vec<f64> { (0..n).map(|_| scale * (2.0 * rng.unit() - 1.0)).collect() };
        match step {
            FlowStep::Planar => {
                let w = uniform(d, 1.5 * width);
                let along = 0.54 / w.iter().map(|w| w * w).sum::<f64>().max(0.1);
                let u = uniform(d, 0.5 * width);
                values.extend_from_slice(&w);
                values.extend(u.iter().zip(&w).map(|(u, w)| u + along * w));
                values.extend(uniform(1, 2.0));
            }
            FlowStep::Radial => {
                values.extend(uniform(d, 2.0));
                values.extend([0.5, 0.5].iter().zip(uniform(2, 0.1)).map(|(raw, noise)| raw + noise));
            }
        }
    }
    let n = values.len();
    Tensor::from_vec(values, n, &Device::Cpu)
}

impl Model for Flow {
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
        self.dim
    }

    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        if self.recipe.energy.is_some() {
            let noise = step.noise.normal((step.recipe.batch, self.dim), DType::F32, &Device::Cpu)?;
            let loss = self.free_energy_at(&noise, self.recipe.annealing_weight(step.index))?.mean_all()?;
            return step.minimise(0, &loss);
        }
        let x = step.batch(self.likelihood())?;
        let noise = (step.noise.normal(x.shape(), x.dtype(), x.device())? * self.recipe.noise)?;
        let loss = self.log_prob(&(x + noise)?)?.mean_all()?.neg()?;
        step.minimise(0, &loss)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let energy = self.recipe.energy.map(|_| self as &dyn EnergyFit);
        Capabilities { bounds: Some(self), sampler: Some(self), energy, ..Capabilities::default() }
    }

    fn data_range(&self) -> InputRange {
        // Energies are within the soft box of 4.
        let limit = if self.recipe.energy.is_some() { 8.0 } else { self.recipe.limit as f32 };
        InputRange::Real(limit * 0.9999)
    }

    fn lower(&self, _: &ExportRecipe) -> Result<FloatModel> {
        lower::lower(self)
    }
}

impl Bounded for Flow {
    fn bound(&self, x: &Tensor, _: &mut Rng) -> Result<Tensor> {
        self.log_prob(x)
    }

    fn exact(&self) -> bool {
        true
    }
}

impl Sampler for Flow {
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let noise = noise.normal((n, self.dim), DType::F32, &Device::Cpu)?;
        if self.recipe.energy.is_some() { Ok(self.forward(&noise)?.0) } else { self.inverse(&noise) }
    }
}

impl EnergyFit for Flow {
    fn energy_name(&self) -> &'static str {
        self.recipe.energy.map_or("none", Energy::name)
    }

    fn free_energy(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let noise = noise.normal((n, self.dim), DType::F32, &Device::Cpu)?;
        self.free_energy_at(&noise, 1.0)
    }

    fn potential(&self, z: &Tensor) -> Result<Tensor> {
        self.energy()?.potential(z)
    }

    fn log_z(&self) -> Result<f64> {
        self.energy()?.log_z()
    }
}
