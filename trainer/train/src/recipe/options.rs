//! The tables of a recipe that every family has.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::compiler::quantize::WeightBits;
use crate::data::{DataError, DataOptions, Dataset};
use crate::family::Likelihood;
use crate::family::vae::Estimator;
use crate::nn::Activation;

/// Which data set, and how it is split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// `digits`, `mnist`, or the path of an IDX, CSV or NPY file; empty where an energy is learnt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub spec: String,
    /// Folder in which `spec` is looked for; without it the environment variable `ELBO_DATA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// CSV column of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// CSV column that assigns rows to splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
    /// CSV columns that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_columns: Vec<String>,
    /// Share of the train rows used for validation, where the data names none.
    #[serde(default = "DataRecipe::validation_fraction")]
    pub validation_fraction: f32,
    /// Seed of the split; apart from the training seed, so that runs with different seeds stay comparable.
    #[serde(default)]
    pub split_seed: u64,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self {
            spec: String::new(),
            data_dir: None,
            label_column: None,
            split_column: None,
            drop_columns: Vec::new(),
            validation_fraction: Self::validation_fraction(),
            split_seed: 0,
        }
    }
}

impl DataRecipe {
    fn validation_fraction() -> f32 {
        0.1
    }

    /// Loads the data set.
    ///
    /// # Errors
    /// Every variant of [`DataError`].
    pub fn load(&self) -> Result<Dataset, DataError> {
        let options = DataOptions {
            label_column: self.label_column.clone(),
            split_column: self.split_column.clone(),
            drop_columns: self.drop_columns.clone(),
            validation_fraction: self.validation_fraction,
            seed: self.split_seed,
            standardise: None,
        };
        crate::data::load(&self.spec, self.data_dir.as_deref(), &options)
    }
}

/// The model's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRecipe {
    /// Widths of the encoder's hidden layers; the decoder mirrors them.
    pub hidden: Vec<usize>,
    /// Latent dimensions.
    pub latent: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// The decoder's likelihood; without it Bernoulli for images and Gaussian for tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Likelihood>,
    /// Whether a VAE models each class by itself, `p(x|y)`; needs labels.
    pub conditional: bool,
}

impl Default for ModelRecipe {
    fn default() -> Self {
        Self { hidden: vec![64], latent: 8, activation: Activation::Relu, likelihood: None, conditional: false }
    }
}

/// The optimisation: Adam on minibatches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainRecipe {
    /// Optimiser steps.
    pub steps: u64,
    /// Rows a step.
    pub batch: usize,
    /// Adam's step size at its largest.
    pub learning_rate: f64,
    /// How the step size changes.
    pub schedule: Schedule,
    /// Factor of the step schedule, above 0 and at most 1.
    pub decay: f64,
    /// Steps between two decays of the step schedule.
    pub decay_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Weight of the KL divergence; 1 is the evidence lower bound.
    pub beta: f64,
    /// Steps over which `beta` grows from 0 to its value.
    pub kl_warmup_steps: u64,
    /// Nats that every latent dimension of a VAE may use without paying, on average over a batch; 0 for none.
    pub free_bits: f64,
    /// The estimator of the bound: `a` (all Monte Carlo) or `b` (analytic KL).
    pub estimator: Estimator,
    /// Decay of the exponential moving average of the weights, in (0, 1); 0 for none. The average is what is validated
    /// and kept.
    pub ema: f64,
    /// Seed of weights, order and noise.
    pub seed: u64,
    /// How often to train again from other initial weights, `steps` steps each time; the model of the best validation bound
    /// of all is kept. For objectives with bad local optima.
    pub restarts: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Fixed draws of noise over which a validation averages.
    pub validation_draws: usize,
    /// Validations without a better bound after which training stops; 0 for never.
    pub patience: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl Default for TrainRecipe {
    fn default() -> Self {
        Self {
            steps: 10_000,
            batch: 100,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            decay: 0.75,
            decay_steps: 10_000,
            weight_decay: 0.0,
            beta: 1.0,
            kl_warmup_steps: 0,
            free_bits: 0.0,
            estimator: Estimator::B,
            ema: 0.999,
            seed: 0,
            restarts: 0,
            validate_every: 250,
            validation_draws: 4,
            patience: 20,
            checkpoint_every: 1000,
        }
    }
}

impl TrainRecipe {
    /// The learning rate of step `step`, counted from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Step => {
                let decays = i32::try_from(step / self.decay_steps).unwrap_or(i32::MAX);
                self.learning_rate * self.decay.powi(decays)
            }
            Schedule::Cosine => {
                let done = step as f64 / self.steps as f64;
                self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }

    /// The weight of the KL divergence at step `step`, counted from 0.
    #[must_use]
    pub fn beta_at(&self, step: u64) -> f64 {
        if step >= self.kl_warmup_steps {
            return self.beta;
        }
        self.beta * (step + 1) as f64 / self.kl_warmup_steps as f64
    }
}

/// What the compiled blob will carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportRecipe {
    /// Samples of the Monte Carlo score.
    pub monte_carlo_samples: usize,
    /// Samples of the importance-weighted score.
    pub importance_samples: usize,
    /// Whether the blob can draw samples.
    pub sample: bool,
    /// Bits of a weight: 8, or 16 at twice the flash and time.
    pub weight_bits: WeightBits,
}

impl Default for ExportRecipe {
    fn default() -> Self {
        Self { monte_carlo_samples: 8, importance_samples: 64, sample: true, weight_bits: WeightBits::Eight }
    }
}
