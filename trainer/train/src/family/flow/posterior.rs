//! A flow as the posterior of a VAE (arXiv 1505.05770, section 4.2): the encoder gives the parameters of its steps.

use candle_core::{Result, Tensor, bail};

use super::FlowRecipe;
use crate::layers::{Dense, Params};
use crate::nn::{self, Activation, FlowStep, Rng};

/// Scale of the layer that gives the parameters.
const HEAD_SCALE: f64 = 0.1;

/// `K` planar or radial steps from `z_0 ~ N(mu(x), diag exp(logvar(x)))` to the latent `z_K`, their parameters one dense
/// layer `flow` of the encoder's last hidden layer, `[K p]`.
pub struct Posterior {
    step: FlowStep,
    /// To the parameters, one step after another.
    pub head: Dense,
    recipe: FlowRecipe,
}

impl Posterior {
    /// From `inp` hidden units, in `latent` dimensions. It starts as the identity, whatever the row: what a random flow does
    /// to the latent has to be unlearnt first.
    ///
    /// # Errors
    /// Couplings, no step, or whatever candle reports.
    pub fn new(recipe: &FlowRecipe, params: &mut Params, inp: usize, latent: usize) -> Result<Self> {
        let Some(step) = recipe.kind.step() else {
            bail!("a posterior by couplings: the flow of a VAE has planar or radial steps");
        };
        if recipe.steps == 0 {
            bail!("a posterior of no steps: recipe field `flow.steps` is at least 1");
        }
        let head = params.constant("flow", inp, HEAD_SCALE, |rng| identity(step, recipe.steps, latent, rng))?;
        Ok(Self { step, head, recipe: recipe.clone() })
    }

    /// What its steps are.
    pub fn step(&self) -> FlowStep {
        self.step
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
        nn::flow(self.step, z, parameters)
    }

    /// The weight of `log p(x, z_K)` at a step (section 6.2), counted from 0.
    pub fn annealed(&self, step: u64) -> f64 {
        self.recipe.annealed(step)
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
