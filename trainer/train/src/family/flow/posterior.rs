//! A flow as the posterior of a VAE (arXiv 1505.05770, section 4.2). The encoder computes the parameters of its steps.

use candle_core::{Result, Tensor, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::annealing_weight;
use crate::layers::{Dense, Params};
use crate::nn::{self, Activation, FlowStep, Rng};

/// A flow for the posterior of the latent, the table `[vae.posterior]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PosteriorRecipe {
    /// Flow for the posterior of the latent: `planar` or `radial`. The encoder computes its parameters.
    pub kind: FlowStep,
    /// Number of steps of this flow.
    pub steps: usize,
    /// Number of steps of annealing. At step `t`, `log p` has the weight `min(1, 0.01 + t / anneal_steps)` (arXiv
    /// 1505.05770, section 6.2). With 0 the weight is always 1.
    pub anneal_steps: u64,
}

impl Default for PosteriorRecipe {
    fn default() -> Self {
        Self { kind: FlowStep::Planar, steps: 10, anneal_steps: 0 }
    }
}

/// Scale of the variables of the layer that computes the parameters.
const HEAD_SCALE: f64 = 0.1;

/// `K` planar or radial steps from `z_0 ~ N(mu(x), diag exp(logvar(x)))` to the latent `z_K`. A dense layer called
/// `flow` computes their parameters, `[K p]`, from the last hidden layer of the encoder.
pub struct Posterior {
    /// The layer that computes the parameters of all steps.
    pub head: Dense,
    recipe: PosteriorRecipe,
}

impl Posterior {
    /// A flow for `latent` dimensions whose parameters depend on `inp` hidden units. It is initially the identity for
    /// every row, because the model would first have to unlearn a random flow.
    ///
    /// # Errors
    /// No step, or any error of candle.
    pub fn new(recipe: &PosteriorRecipe, params: &mut Params, inp: usize, latent: usize) -> Result<Self> {
        if recipe.steps == 0 {
            bail!("recipe field `vae.posterior.steps`: expected at least one step, found 0");
        }
        let head = params.constant("flow", inp, HEAD_SCALE, |rng| identity(recipe.kind, recipe.steps, latent, rng))?;
        Ok(Self { head, recipe: recipe.clone() })
    }

    /// The kind of the steps.
    pub fn step(&self) -> FlowStep {
        self.recipe.kind
    }

    /// The parameters, from the last hidden layer: `h [b, inp]` to `[b, K p]`.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn parameters(&self, params: &Params, h: &Tensor) -> Result<Tensor> {
        self.head.apply(params, h, Activation::Identity)
    }

    /// `z_K` and the sum of `log|det|` in nats, for `z_0 [b, z]` and parameters `[b, K p]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn apply(&self, z: &Tensor, parameters: &Tensor) -> Result<(Tensor, Tensor)> {
        nn::flow(self.recipe.kind, z, parameters)
    }

    /// The weight of `log p(x, z_K)` in a step, counted from 0 (section 6.2).
    pub fn annealing_weight(&self, step: u64) -> f64 {
        annealing_weight(self.recipe.anneal_steps, step)
    }
}

/// Parameters of `count` steps that are the identity, with random directions. Planar steps have `|w| = 1` and `u` along
/// `w` such that `u' = 0`. Radial steps have `beta = 0`.
fn identity(step: FlowStep, count: usize, latent: usize, rng: &mut Rng) -> Vec<f32> {
    let of_step = |_| {
        let mut parameters = vec![0.0; step.params(latent)];
        let (direction, rest) = parameters.split_at_mut(latent);
        rng.fill_normal(direction);
        if step == FlowStep::Planar {
            let norm = direction.iter().map(|w| w * w).sum::<f32>().sqrt();
            direction.iter_mut().for_each(|w| *w /= norm);
            // w.u' = softplus(w.u) - 1 = 0.
            rest.iter_mut().zip(direction).for_each(|(u, w)| *u = *w * (1f32.exp() - 1.0).ln());
        }
        parameters
    };
    (0..count).flat_map(of_step).collect()
}
