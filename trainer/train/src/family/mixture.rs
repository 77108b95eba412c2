//! Mixtures with full covariances, `p(x) = sum_c w_c sum_j pi_j N(x; mu_c, lambda_j L_c L_c^T)`, fitted by expectation
//! maximisation. With the single scale 1 the components are Gaussians, with several their tails are heavier.
//!
//! The score is the exact `-log p(x)`. For a single Gaussian it is half the squared Mahalanobis distance plus a
//! constant. There are no gradient steps. Instead, a step of the training loop is one start of expectation
//! maximisation. Before the first start, cross-validation chooses the number of components
//! ([`order`]), unless the recipe states it.

use candle_core::{DType, Device, Error, Result, Tensor};
use elbo_compiler::stimulus::InputRange;
use elbo_compiler::{FloatModel, Likelihood};

use crate::data::Split;
use crate::layers::{Params, Slot};
use crate::model::{Bounded, Capabilities, Fit, Model, Sampler, Watch};
use crate::nn::Rng;
use crate::noise::seed_of_start;
use crate::settings::{ExportRecipe, TrainRecipe};
use crate::step::Group;

pub mod em;
pub mod gaussians;
pub mod linalg;
mod lower;
pub mod order;
pub mod prior;
mod recipe;
mod start;
#[cfg(test)]
mod tests;

use gaussians::{Mixture, Scale};
pub use recipe::{Entry, MixtureRecipe};

/// The possible limits of a feature's magnitude on a device, in standard deviations. They are the limits of Q4.11,
/// Q5.10 and Q6.9.
const RANGES: [f32; 3] = [15.99, 31.98, 63.96];

/// A mixture as a model. Its variables are `weights` `[k]`, `means` `[k, d]`, `factors` `[k, d, d]` (the lower Cholesky
/// factors of the covariances at scale 1), `scales` `[j, 2]` (a factor of the covariances and its share of the rows) and
/// `range` `[1]` (the limit of a feature's magnitude on a device). A component with weight 0 or a scale with share 0 is
/// none: the fit dropped it, or cross-validation chose fewer components.
pub struct GaussianMixture {
    params: Params,
    weights: Slot,
    means: Slot,
    factors: Slot,
    scales: Slot,
    range: Slot,
    recipe: MixtureRecipe,
    /// The largest number of components.
    most: usize,
    input: usize,
}

impl GaussianMixture {
    /// A mixture before its fit: one standard normal component.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn new(recipe: MixtureRecipe, input: usize) -> Result<Self> {
        let mut params = Params::new(0, &Device::Cpu, DType::F32)?;
        let k = recipe.components.unwrap_or_else(|| order::largest(recipe.most_components, input));
        let mut variable = |name: &str, values: Vec<f32>, shape: &[usize]| {
            params.variable(name, &Tensor::from_vec(values, shape, &Device::Cpu)?)
        };
        let weights = variable("weights", (0..k).map(|c| f32::from(u8::from(c == 0))).collect(), &[k])?;
        let means = variable("means", vec![0.0; k * input], &[k, input])?;
        let identity = |at: usize| f32::from(u8::from(at / input % input == at % input));
        let factors = variable("factors", (0..k * input * input).map(identity).collect(), &[k, input, input])?;
        let scales = (0..2 * recipe.scales).map(|at| f32::from(u8::from(at < 2))).collect();
        let scales = variable("scales", scales, &[recipe.scales, 2])?;
        let range = variable("range", vec![RANGES[0]], &[1])?;
        Ok(Self { params, weights, means, factors, scales, range, recipe, most: k, input })
    }

    /// The mixture in double precision that the variables represent.
    ///
    /// # Errors
    /// Variables that do not represent a mixture, which happens only if their file was modified.
    pub fn mixture(&self) -> Result<Mixture> {
        let d = self.input;
        let values =
            |slot: Slot| -> Result<Vec<f64>> { Ok(self.params.values(slot)?.into_iter().map(f64::from).collect()) };
        let (weights, means, factors) = (values(self.weights)?, values(self.means)?, values(self.factors)?);
        let kept: Vec<usize> = (0..weights.len()).filter(|component| weights[*component] > 0.0).collect();
        let parts = |all: &[f64], len: usize| -> Vec<f64> {
            kept.iter().flat_map(|component| &all[component * len..][..len]).copied().collect()
        };
        let total: f64 = weights.iter().sum();
        let weights = kept.iter().map(|component| weights[*component] / total).collect();
        let scales = values(self.scales)?;
        let scales = scales.chunks_exact(2).filter(|scale| scale[1] > 0.0);
        let scales: Vec<Scale> = scales.map(|scale| Scale { factor: scale[0], share: scale[1] }).collect();
        let mixture = Mixture::from_factors(weights, parts(&means, d), parts(&factors, d * d))
            .and_then(|mixture| mixture.with_scales(&scales));
        mixture.ok_or_else(|| Error::Msg("the variables do not represent a mixture; train the model again".to_owned()))
    }

    /// Sets the variables to `mixture`, and the limit of a feature's magnitude to `range`.
    ///
    /// # Errors
    /// A mixture with more components, more scales or other columns than the model has.
    pub fn set(&self, mixture: &Mixture, range: f32) -> Result<()> {
        let (k, d) = (self.most, self.input);
        let set = |slot: Slot, values: &[f64], shape: &[usize]| {
            let mut padded: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            padded.resize(shape.iter().product(), 0.0);
            self.params.set(slot, &Tensor::from_vec(padded, shape, &Device::Cpu)?)
        };
        set(self.weights, &mixture.weights, &[k])?;
        set(self.means, &mixture.means, &[k, d])?;
        set(self.factors, &mixture.factors, &[k, d, d])?;
        let scales: Vec<f64> = mixture.scales().iter().flat_map(|scale| [scale.factor, scale.share]).collect();
        set(self.scales, &scales, &[self.recipe.scales, 2])?;
        set(self.range, &[range.into()], &[1])
    }

    /// The number of components that the recipe states, or that cross-validation on the rows chooses.
    fn components(&self, rows: &Split, seed: u64) -> std::result::Result<usize, em::EmError> {
        let Some(components) = self.recipe.components else {
            let orders = order::orders(rows.n, self.input, self.most);
            let candidates = order::candidates(&rows.x, self.input, &orders, &self.recipe.em(seed))?;
            // Without a candidate there are too few rows to leave some out.
            return Ok(order::best(&candidates).map_or(1, |best| best.components));
        };
        Ok(components)
    }

    fn range(&self) -> f32 {
        self.params.values(self.range).ok().and_then(|range| range.first().copied()).unwrap_or(RANGES[0])
    }
}

/// The smallest limit that covers all rows, or the largest limit if none does. Values beyond it are clamped.
fn range_of(rows: &[f32]) -> f32 {
    let most = rows.iter().fold(0f32, |most, value| most.max(value.abs()));
    RANGES.into_iter().find(|range| most <= *range).unwrap_or(RANGES[2])
}

impl Model for GaussianMixture {
    fn params(&self) -> &Params {
        &self.params
    }

    fn input(&self) -> usize {
        self.input
    }

    fn likelihood(&self) -> Likelihood {
        Likelihood::Gaussian
    }

    fn data_range(&self) -> InputRange {
        InputRange::Real(self.range())
    }

    fn latent(&self) -> usize {
        self.input
    }

    /// Number of components, or 0 for a single one.
    fn classes(&self) -> usize {
        let components = self.mixture().map_or(0, |mixture| mixture.components());
        if components > 1 { components } else { 0 }
    }

    fn classes_are_labels(&self) -> bool {
        false
    }

    /// No groups, because there are no gradients.
    fn groups(&self) -> Vec<Group> {
        Vec::new()
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { bounds: Some(self), sampler: Some(self), fit: Some(self), ..Capabilities::default() }
    }

    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel> {
        Ok(lower::lower(&self.mixture()?, self.range(), export.sample))
    }
}

impl Fit for GaussianMixture {
    /// A pass is one start of expectation maximisation. The most likely mixture so far is kept.
    fn fit(&self, rows: &Split, settings: &TrainRecipe, done: u64, watch: &mut Watch<'_>) -> Result<()> {
        let seed = seed_of_start(settings.seed, 0);
        let components = self.components(rows, seed).map_err(|error| Error::Msg(error.to_string()))?;
        let mut least = f64::INFINITY;
        if done > 0 {
            least = -self.mixture()?.mean_log_likelihood(&rows.x);
        }
        for start in done..settings.steps {
            let options = self.recipe.em(seed_of_start(settings.seed, start));
            let fit = em::fit(&rows.x, self.input, components, &[], &options);
            let fit = fit.map_err(|error| Error::Msg(error.to_string()))?;
            if -fit.train < least {
                self.set(&fit.mixture, range_of(&rows.x))?;
                least = -self.mixture()?.mean_log_likelihood(&rows.x);
            }
            if watch(start + 1, least)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Bounded for GaussianMixture {
    fn bound(&self, x: &Tensor, _: &mut Rng) -> Result<Tensor> {
        let mixture = self.mixture()?;
        let values: Vec<f32> = x.to_vec2::<f32>()?.iter().map(|x| -mixture.nll(x) as f32).collect();
        Tensor::from_vec(values, x.dim(0)?, x.device())
    }

    fn exact(&self) -> bool {
        true
    }
}

impl Sampler for GaussianMixture {
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let mixture = self.mixture()?;
        let values: Vec<f32> = (0..n).flat_map(|_| mixture.sample(noise).1).map(|v| v as f32).collect();
        Tensor::from_vec(values, (n, self.input), &Device::Cpu)
    }
}
