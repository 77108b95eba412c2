//! Settings that all families share: the data, the layers of a model, the optimisation and the export.

mod calibration;
mod error;

use std::path::PathBuf;

use elbo_compiler::Likelihood;
use elbo_compiler::quantize::WeightBits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{CalibrationRows, Colour, DataError, DataOptions, Dataset, Kind, Reading, Scaling};
use crate::nn::Activation;

pub use calibration::CalibrationRecipe;
pub use error::RecipeError;

/// Properties of the data that determine the shape of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape {
    /// Rows and columns of one example. A row of a table is one row with a column for each feature.
    pub shape: [usize; 2],
    /// What the values mean.
    pub kind: Kind,
    /// Number of classes: the largest label plus 1, or 0 if the data have no labels.
    pub classes: usize,
}

impl DataShape {
    /// The shape of a data set.
    #[must_use]
    pub fn of(dataset: &Dataset) -> Self {
        Self { shape: dataset.shape, kind: dataset.kind, classes: dataset.classes() }
    }

    /// Number of values of one example.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

/// The data set and its split into train, validation and test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Data set: `digits`, `mnist`, `moons`, or the path of a file, which may be gzipped: CSV and text like it, NPY, NPZ,
    /// IDX, Parquet or Arrow. Empty if the family learns from an energy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub spec: String,
    /// Folder that contains `spec`. Without this field, the environment variable `ELBO_DATA` names the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Images or a table. By default arrays of unsigned bytes with rows and columns are images, and all else is a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Rows and columns of an image where each line of the file is one, 28x28 for example, or 32x32x3 in colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// The value of white in images; by default 255 for bytes, else 1 or 255 by the largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub white: Option<f64>,
    /// What becomes of colour images: `planes`, a channel below the other, or `grey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Takes values of images below black or above white for black and white, instead of refusing the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clamp: bool,
    /// How features of a table are scaled: by `standard` deviations about the mean, or `robust`, by the interquartile range
    /// about the median, for columns with wild values.
    #[serde(default)]
    pub scaling: Scaling,
    /// Whether the first line of a text table is a header; by default recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// What separates the columns of a text table: one character, `tab` or `blank`; by default recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// The decimal mark of a text table, `.` or `,`; by default recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<String>,
    /// Column of labels, texts or numbers; `-` for none; by default `label`, else `anomaly`. Labels 0 and 1 give an AUC, 1
    /// being an anomaly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Trains on rows labelled 1 of a table with labels 0 and 1, too. Without it a model that does not learn the labels
    /// leaves them out as anomalies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_anomalies: bool,
    /// Column with `train`, `val`, `calibration`, `test` or `unused`; by default `split`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
    /// Columns that are left out, such as text. May be given several times; a name with a comma in double quotes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_columns: Vec<String>,
    /// Share of the train rows that becomes the validation split if the data do not define one.
    #[serde(default = "DataRecipe::validation_fraction")]
    pub validation_fraction: f32,
    /// Seed of the split. It is independent of the training seed, so that runs with different training seeds are
    /// comparable.
    #[serde(default)]
    pub split_seed: u64,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self {
            spec: String::new(),
            data_dir: None,
            kind: None,
            shape: None,
            white: None,
            colour: None,
            clamp: false,
            scaling: Scaling::Standard,
            header: None,
            delimiter: None,
            decimal: None,
            keep_anomalies: false,
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

    /// How the data set is read; `learns_labels` says whether labels of 0 and 1 are classes to the model. `reading` is what
    /// a trained model says of its rows. No rows are kept for the calibration but those that the source marks.
    #[must_use]
    pub fn options(&self, learns_labels: bool, reading: Option<Reading>) -> DataOptions {
        DataOptions {
            kind: self.kind,
            shape: self.shape.clone(),
            white: self.white,
            colour: self.colour,
            clamp: self.clamp,
            label_column: self.label_column.clone(),
            split_column: self.split_column.clone(),
            drop_columns: self.drop_columns.clone(),
            header: self.header,
            delimiter: self.delimiter.clone(),
            decimal: self.decimal.clone(),
            validation_fraction: self.validation_fraction,
            calibration: CalibrationRows::default(),
            seed: self.split_seed,
            scaling: self.scaling,
            unsplit: false,
            id_column: None,
            group_column: None,
            leave_out_anomalies: !learns_labels && !self.keep_anomalies,
            front: None,
            reading,
        }
    }

    /// Loads the data set for a model that does not learn its labels.
    ///
    /// # Errors
    /// Every variant of [`DataError`].
    pub fn load(&self) -> Result<Dataset, DataError> {
        self.load_with(&self.options(false, None))
    }

    /// Loads the data set with these options.
    ///
    /// # Errors
    /// Every variant of [`DataError`].
    pub fn load_with(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        crate::data::load(&self.spec, self.data_dir.as_deref(), options)
    }
}

/// The layers and the likelihood, for the families that share these options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelRecipe {
    /// Widths of the encoder's hidden layers, starting at the data. The decoder has the same widths in reverse order.
    pub hidden: Vec<usize>,
    /// Number of latent dimensions.
    pub latent: usize,
    /// Activation function of the hidden layers.
    pub activation: Activation,
    /// Likelihood of the decoder: `bernoulli` (images), `logistic` (images with 256 grey values) or `gaussian`. The
    /// default is `bernoulli` for images and `gaussian` for tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["bernoulli", "logistic", "gaussian"]))]
    pub likelihood: Option<Likelihood>,
}

impl Default for ModelRecipe {
    fn default() -> Self {
        Self { hidden: vec![64], latent: 8, activation: Activation::Relu, likelihood: None }
    }
}

impl ModelRecipe {
    /// Checks the ranges that do not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, which names the field without the family's table.
    pub fn check(&self) -> Result<(), RecipeError> {
        check_count("latent", self.latent)?;
        check_hidden(&self.hidden)
    }

    /// The likelihood for data of this shape.
    ///
    /// # Errors
    /// `Invalid` if the chosen likelihood does not suit the data.
    pub fn likelihood_of(&self, data: &DataShape) -> Result<Likelihood, RecipeError> {
        let likelihood = self.likelihood.unwrap_or(match data.kind {
            Kind::Image => Likelihood::Bernoulli,
            Kind::Table => Likelihood::Gaussian,
        });
        if likelihood != Likelihood::Gaussian && data.kind == Kind::Table {
            let expected = "`gaussian` for a table, whose values are standardised";
            return Err(RecipeError::invalid("likelihood", expected, format!("{likelihood:?}").to_lowercase()));
        }
        Ok(likelihood)
    }
}

/// Checks the widths of hidden layers.
///
/// # Errors
/// `Invalid` if a width is 0 or larger than [`MOST`].
pub fn check_hidden(hidden: &[usize]) -> Result<(), RecipeError> {
    check_widths("hidden", hidden)
}

/// Checks the sizes of layers.
///
/// # Errors
/// `Invalid` if a size is 0 or larger than [`MOST`].
pub fn check_widths(field: &str, widths: &[usize]) -> Result<(), RecipeError> {
    let expected = match (widths.contains(&0), widths.iter().any(|width| *width > MOST)) {
        (true, _) => "sizes of at least 1".to_owned(),
        (_, true) => format!("sizes of at most {MOST}"),
        (false, false) => return Ok(()),
    };
    Err(RecipeError::invalid(field, expected, format!("{widths:?}")))
}

/// The largest size and the largest count of draws: a blob states them in 16 bits.
pub const MOST: usize = 65535;

/// Checks a size, or a count of draws or steps.
///
/// # Errors
/// `Invalid` if it is 0 or larger than [`MOST`].
pub fn check_count(field: &str, value: usize) -> Result<(), RecipeError> {
    match value {
        0 => Err(RecipeError::invalid(field, "a whole number of at least 1", value)),
        value if value > MOST => Err(RecipeError::invalid(field, format!("a whole number of at most {MOST}"), value)),
        _ => Ok(()),
    }
}

/// The settings that a family may read in addition to the options of its own table.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'r> {
    /// The data set.
    pub data: &'r DataRecipe,
    /// The optimisation.
    pub train: &'r TrainRecipe,
}

/// How the learning rate changes during the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a period of a cosine, from `learning_rate` down to 0.
    #[default]
    Cosine,
    /// The learning rate is always `learning_rate`.
    Constant,
    /// The learning rate starts at `learning_rate` and is multiplied by `decay` every `decay_steps` steps.
    Step,
}

/// The two SGVB estimators of the evidence lower bound (arXiv 1312.6114).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Estimator {
    /// Monte Carlo estimate of the whole bound: `log p(x,z) - log q(z|x)` at the sampled `z` (equation 6).
    A,
    /// Monte Carlo estimate of the likelihood term, with the analytic KL divergence (equation 7).
    #[default]
    B,
}

/// The settings of the optimisation with minibatches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainRecipe {
    /// Number of optimiser steps.
    pub steps: u64,
    /// Number of rows in a batch.
    pub batch: usize,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Schedule of the learning rate: `cosine`, `constant` or `step`.
    pub schedule: Schedule,
    /// Factor of the `step` schedule, above 0 and at most 1.
    pub decay: f64,
    /// Number of steps between two decays of the `step` schedule.
    pub decay_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Weight of the KL divergence. With 1 the objective is the evidence lower bound.
    pub beta: f64,
    /// Number of steps over which `beta` grows from 0 to its value.
    pub kl_warmup_steps: u64,
    /// Estimator of the bound: `a` (Monte Carlo estimate of all terms) or `b` (analytic KL divergence).
    pub estimator: Estimator,
    /// Decay of the exponential moving average of the weights, from 0 up to but not including 1. With 0 there is no
    /// average. Otherwise the averaged weights are validated and saved.
    pub ema: f64,
    /// Seed of the initial weights, of the order of the rows and of the noise.
    pub seed: u64,
    /// Number of further trainings from other initial weights, each of `steps` steps. The model with the best
    /// validation bound of all trainings is saved. This helps if the objective has bad local optima.
    pub restarts: u64,
    /// Number of steps between validations.
    pub validate_every: u64,
    /// Number of fixed noise draws over which a validation averages.
    pub validation_draws: usize,
    /// Number of validations without improvement after which the training stops. With 0 it never stops early.
    pub patience: u64,
    /// Number of steps between checkpoints.
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
    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        let invalid = |field: &str, expected: &str, found: &dyn std::fmt::Display| {
            Err(RecipeError::invalid(field, expected, found))
        };
        let at_least_1 = [
            ("train.steps", self.steps),
            ("train.batch", self.batch as u64),
            ("train.validate_every", self.validate_every),
            ("train.validation_draws", self.validation_draws as u64),
            ("train.checkpoint_every", self.checkpoint_every),
            ("train.decay_steps", self.decay_steps),
        ];
        for (field, value) in at_least_1 {
            if value == 0 {
                return invalid(field, "a whole number of at least 1", &value);
            }
        }
        // A batch and its noise are in memory at once.
        for (field, value, most) in
            [("train.batch", self.batch, 1_000_000), ("train.validation_draws", self.validation_draws, MOST)]
        {
            if value > most {
                return invalid(field, &format!("a whole number of at most {most}"), &value);
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return invalid("train.learning_rate", "a number above 0", &self.learning_rate);
        }
        for (field, value) in [("train.beta", self.beta), ("train.weight_decay", self.weight_decay)] {
            if !(value >= 0.0 && value.is_finite()) {
                return invalid(field, "a number of at least 0", &value);
            }
        }
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return invalid("train.decay", "a number above 0 and at most 1", &self.decay);
        }
        if !(0.0..1.0).contains(&self.ema) {
            return invalid("train.ema", "a number from 0 up to but not including 1", &self.ema);
        }
        Ok(())
    }

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

    /// The weight of the KL divergence in step `step`, counted from 0.
    #[must_use]
    pub fn beta_at(&self, step: u64) -> f64 {
        if step >= self.kl_warmup_steps {
            return self.beta;
        }
        self.beta * (step + 1) as f64 / self.kl_warmup_steps as f64
    }
}

/// What the compiled blob contains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportRecipe {
    /// Number of samples of the Monte Carlo score. With 0 the blob does not contain this score.
    pub monte_carlo_samples: usize,
    /// Number of samples of the importance-weighted score. Each takes 8 bytes of RAM. With 0 the blob does not contain this
    /// score. The default is 64 for images and 0 for tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_samples: Option<usize>,
    /// Whether the blob contains a program that draws samples.
    pub sample: bool,
    /// Number of bits of a weight: 8 or 16. With 16 bits scores stay much closer to the float model, and the blob takes
    /// twice the flash and time. The default is 16 for real-valued rows if the model has at most 65,536 weights, and 8
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u8>", extend("enum" = [8, 16]))]
    pub weight_bits: Option<WeightBits>,
}

impl Default for ExportRecipe {
    fn default() -> Self {
        Self { monte_carlo_samples: 8, importance_samples: None, sample: true, weight_bits: None }
    }
}

impl ExportRecipe {
    /// Fills in the number of samples of the importance-weighted score for data of this kind. The samples of a small model
    /// of a table would take more RAM than all its other values.
    pub fn complete(&mut self, kind: Kind) {
        self.importance_samples.get_or_insert(match kind {
            Kind::Image => 64,
            Kind::Table => 0,
        });
    }

    /// Checks the numbers of samples.
    ///
    /// # Errors
    /// `Invalid` if one is larger than [`MOST`].
    pub fn check(&self) -> Result<(), RecipeError> {
        let counts = [
            ("export.monte_carlo_samples", self.monte_carlo_samples),
            ("export.importance_samples", self.importance_samples.unwrap_or(0)),
        ];
        match counts.into_iter().find(|(_, count)| *count > MOST) {
            Some((field, count)) => {
                Err(RecipeError::invalid(field, format!("a whole number of at most {MOST}"), count))
            }
            None => Ok(()),
        }
    }
}
