//! A flow as the posterior of a VAE (arXiv 1505.05770, section 4.2): the encoder gives the parameters of its steps.

use candle_core::{Result, Tensor, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::annealed;
use crate::layers::{Dense, Params};
use crate::nn::{self, Activation, FlowStep, Rng};

/// A flow on the latent of a VAE, the recipe's table `[vae.posterior]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PosteriorRecipe {
    /// Flow on the latent of a VAE, its parameters from the encoder: `planar` or `radial`.
    pub kind: FlowStep,
    /// Number of steps of that flow.
    pub steps: usize,
    /// `log p` counts `min(1, 0.01 + t / anneal_steps)` at step `t` (arXiv 1505.05770, section 6.2); 0 for 1.
    pub anneal_steps: u64,
}

impl Default for PosteriorRecipe {
    fn default() -> Self {
        Self { kind: FlowStep::Planar, steps: 10, anneal_steps: 0 }
    }
}

/// Scale of the layer that gives the parameters.
const HEAD_SCALE: f64 = 0.1;

/// `K` planar or radial steps from `z_0 ~ N(mu(x), diag exp(logvar(x)))` to the latent `z_K`, their parameters one dense
/// layer `flow` of the encoder's last hidden layer, `[K p]`.
pub struct Posterior {
    /// To the parameters, one step after another.
    pub head: Dense,
    recipe: PosteriorRecipe,
}

impl Posterior {
    /// From `inp` hidden units, in `latent` dimensions. It starts as the identity, whatever the row: what a random flow does
    /// to the latent has to be unlearnt first.
    ///
    /// # Errors
    /// No step, or whatever candle reports.
    pub fn new(recipe: &PosteriorRecipe, params: &mut Params, inp: usize, latent: usize) -> Result<Self> {
        if recipe.steps == 0 {
            bail!("a posterior of no steps: recipe field `vae.posterior.steps` is at least 1");
        }
        let head = params.constant("flow", inp, HEAD_SCALE, |rng| identity(recipe.kind, recipe.steps, latent, rng))?;
        Ok(Self { head, recipe: recipe.clone() })
    }

    /// What its steps are.
    pub fn step(&self) -> FlowStep {
        self.recipe.kind
    }

    /// The parameters, `h [b, inp]` to `[b, K p]`.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn parameters(&self, params: &Params, h: &Tensor) -> Result<Tensor> {
        self.head.apply(params, h, Activation::Identity)
    }

    /// `z_K` and the sum of `log|det|` in nats of `z_0 [b, z]` with these parameters `[b, K p]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn apply(&self, z: &Tensor, parameters: &Tensor) -> Result<(Tensor, Tensor)> {
        nn::flow(self.recipe.kind, z, parameters)
    }

    /// The weight of `log p(x, z_K)` at a step (section 6.2), counted from 0.
    pub fn annealed(&self, step: u64) -> f64 {
        annealed(self.recipe.anneal_steps, step)
    }
}

/// Parameters of `count` steps that change nothing, in random directions: planar ones with `|w| = 1` and `u` along `w` such that
/// `u' = 0`, radial ones with `beta = 0`.
fn identity(step: FlowStep, count: usize, latent: usize, rng: &mut Rng) -> Vec<f32> {
    let of_step = |_| {
        let mut parameters = vec![0.0; step.params(latent)];
        let (direction, rest) = parameters.split_at_mut(latent);
        rng.fill_normal(direction);
        if step == FlowStep::Planar {
            let norm = direction.iter().map(|w| w * w).sum::<f32>().sqrt();
            direction.iter_mut().for_each(|w| *w /= norm);
            // softplus(w.u) - 1 = 0
            rest.iter_mut().zip(direction).for_each(|(u, w)| *u = *w * (1f32.exp() - 1.0).ln());
        }
        parameters
    };
    (0..count).flat_map(of_step).collect()
}
