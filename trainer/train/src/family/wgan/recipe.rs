//! The table `[wgan]` of a recipe.

use candle_core::{DType, Device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Constraint, Wgan, WganSpec};
use crate::data::Kind;
use crate::family::{Flag, Register};
use crate::layers::conv::{Body, ConvRecipe};
use crate::model::Model;
use crate::nn::Activation;
use crate::settings::{DataShape, RecipeError, Schedule, Shared, TrainRecipe, check_hidden};

/// The table `[wgan]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WganRecipe {
    /// Widths of the critic's hidden layers, starting at the data. The generator has the same widths in reverse order.
    pub hidden: Vec<usize>,
    /// Dimensions of the noise that the generator reads.
    pub latent: usize,
    /// Activation function of the hidden layers.
    pub activation: Activation,
    /// How the critic is kept Lipschitz continuous: `clip` (clipped weights), `penalty` (gradient penalty) or
    /// `spectral` (spectral normalisation).
    pub constraint: Constraint,
    /// Largest magnitude of the critic's weights and biases with `constraint = "clip"`.
    pub clip: f64,
    /// Weight of the gradient penalty with `constraint = "penalty"`.
    pub penalty: f64,
    /// Number of steps of the critic before each step of the generator.
    pub critic_steps: u64,
    /// Number of steps of the critic before each of the generator's first `warm_steps` steps and every `warm_every`th
    /// step.
    pub warm_critic_steps: u64,
    /// Number of the generator's first steps for which the critic takes `warm_critic_steps` steps.
    pub warm_steps: u64,
    /// The critic takes `warm_critic_steps` steps before every step of the generator whose index is a multiple of this
    /// number. With 0 it never does after the start.
    pub warm_every: u64,
    /// Convolutions between an image and the dense layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv: Option<ConvRecipe>,
}

impl Default for WganRecipe {
    fn default() -> Self {
        Self {
            hidden: vec![256, 256],
            latent: 16,
            activation: Activation::Relu,
            constraint: Constraint::Clip,
            clip: 0.01,
            penalty: 10.0,
            critic_steps: 5,
            warm_critic_steps: 100,
            warm_steps: 25,
            warm_every: 500,
            conv: None,
        }
    }
}

impl WganRecipe {
    /// Number of steps of the critic before step `step` of the generator, counted from 0.
    #[must_use]
    pub fn critic_steps_at(&self, step: u64) -> u64 {
        let warm = step < self.warm_steps || (self.warm_every > 0 && step.is_multiple_of(self.warm_every));
        if warm { self.warm_critic_steps } else { self.critic_steps }
    }

    /// The first field that is out of its range: its name, the expectation and the value.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str, String)> {
        for (field, value) in [("clip", self.clip), ("penalty", self.penalty)] {
            if !(value > 0.0 && value.is_finite()) {
                return Some((field, "a number above 0", value.to_string()));
            }
        }
        let steps = [("critic_steps", self.critic_steps), ("warm_critic_steps", self.warm_critic_steps)];
        let none = steps.into_iter().find(|(_, steps)| *steps == 0);
        none.map(|(field, steps)| (field, "a whole number of at least 1", steps.to_string()))
    }
}

/// The family `wgan`.
pub struct Entry;

impl Register for Entry {
    type Options = WganRecipe;

    const DESCRIPTION: &'static str = "Wasserstein GAN";

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("wgan-digits", include_str!("recipes/wgan-digits.toml")),
        ("wgan-mnist", include_str!("recipes/wgan-mnist.toml")),
        ("demo-wgan", include_str!("recipes/demo-wgan.toml")),
    ];

    const FLAGS: &'static [Flag] =
        &[Flag::HIDDEN, Flag::LATENT, Flag::CONV, Flag::new("constraint", "constraint", "CONSTRAINT")];

    const BOUNDED: bool = false;

    fn train() -> TrainRecipe {
        TrainRecipe {
            steps: 20_000,
            batch: 64,
            learning_rate: 5e-5,
            schedule: Schedule::Constant,
            validate_every: 100,
            ..TrainRecipe::default()
        }
    }

    fn recipe_name(data: &str) -> String {
        format!("wgan-{data}")
    }

    fn check(options: &WganRecipe, shared: Shared<'_>) -> Result<(), RecipeError> {
        check_hidden(&options.hidden)?;
        if options.latent == 0 {
            return Err(RecipeError::invalid("latent", "a whole number of at least 1", options.latent));
        }
        if shared.train.restarts > 0 {
            let expected = "0 for a WGAN, because it has no validation ELBO that could choose the best restart";
            return Err(RecipeError::invalid("train.restarts", expected, shared.train.restarts));
        }
        if let Some((field, expected, found)) = options.out_of_range() {
            return Err(RecipeError::invalid(field, expected, found));
        }
        options.conv.as_ref().map_or(Ok(()), ConvRecipe::check)
    }

    fn model(options: &WganRecipe, data: &DataShape, shared: Shared<'_>) -> Result<Box<dyn Model>, RecipeError> {
        let conv = options.conv.as_ref().map(|conv| conv.of_data(data)).transpose()?;
        let WganRecipe { hidden, latent, activation, .. } = options.clone();
        let body = Body { input: data.dim(), conv, hidden, activation };
        let spec = WganSpec { body, latent, unit: data.kind == Kind::Image, rules: options.clone() };
        Ok(Box::new(Wgan::new(spec, shared.train.seed, &Device::Cpu, DType::F32)?))
    }
}
