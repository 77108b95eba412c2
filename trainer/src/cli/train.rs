//! `elbo train`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::bail;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::columns::Columns;
use crate::family::dlgm::Covariance;
use crate::family::vae::{Estimator, Likelihood};
use crate::nn::Activation;
use crate::recipe::{Family, Recipe, Schedule};
use crate::train::{Control, End, resume, train};

const EXAMPLES: &str = "Examples:
  elbo train digits                               a built-in recipe (digits, mnist); seconds
  elbo train mnist --data-dir data --seed 1       with the four MNIST files in data or data/mnist
  elbo train --data sensor.csv                    a VAE of the rows of a table
  elbo train --data sensor.csv --hidden 32,16 --latent 4 --steps 5000
  elbo train --data log.csv --drop-columns time,site --label-column fault
  elbo train digits --family dlgm --layers 8,8    a deep latent Gaussian model
  elbo train my.toml --out runs/mine              a recipe of your own
  elbo train --resume runs/mine                   go on after Ctrl-C; ends with the same bits

The options override the recipe. The run folder's README.txt explains the files; its recipe.toml
repeats the run.";

/// Train a model from a recipe or a data file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Built-in recipe (digits, mnist) or the path of a TOML file.
    recipe: Option<String>,
    /// Model family: vae or dlgm (deep latent Gaussian model).
    #[arg(long, value_parser = word::<Family>)]
    family: Option<Family>,
    /// Data set: digits, mnist, or an IDX, CSV or NPY file.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Folder in which the data set is looked for (else the environment variable ELBO_DATA).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    columns: Columns,
    /// Share of the train rows taken for validation.
    #[arg(long, value_name = "SHARE")]
    validation_fraction: Option<f32>,
    /// Widths of the encoder's hidden layers; the decoder mirrors them.
    #[arg(long, value_delimiter = ',', value_name = "WIDTHS")]
    hidden: Option<Vec<usize>>,
    /// Latent dimensions.
    #[arg(long)]
    latent: Option<usize>,
    /// Activation of the hidden layers: relu, tanh or identity.
    #[arg(long, value_parser = word::<Activation>)]
    activation: Option<Activation>,
    /// bernoulli (images), logistic (images of 256 grey values) or gaussian.
    #[arg(long, value_parser = word::<Likelihood>)]
    likelihood: Option<Likelihood>,
    /// Sizes of a DLGM's stochastic layers, from the data up.
    #[arg(long, value_delimiter = ',', value_name = "SIZES")]
    layers: Option<Vec<usize>>,
    /// diagonal or rank1: covariance of a DLGM's recognition model.
    #[arg(long, value_parser = word::<Covariance>)]
    covariance: Option<Covariance>,
    /// Noise on a DLGM's recognition model in training: probability of flipping a bit, or deviation.
    #[arg(long, value_name = "NOISE")]
    input_noise: Option<f64>,
    /// Variance of the Gaussian prior of a DLGM's generative weights; 0 for none.
    #[arg(long, value_name = "VARIANCE")]
    weight_prior: Option<f64>,
    /// Optimiser steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Rows a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Adam's step size at its largest.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// cosine or constant.
    #[arg(long, value_parser = word::<Schedule>)]
    schedule: Option<Schedule>,
    /// Decoupled weight decay.
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// Weight of the KL divergence.
    #[arg(long)]
    beta: Option<f64>,
    /// Model each class by itself, p(x|y): a VAE of labelled data.
    #[arg(long)]
    conditional: bool,
    /// Nats that every latent dimension of a VAE may use without paying.
    #[arg(long, value_name = "NATS")]
    free_bits: Option<f64>,
    /// Steps over which beta grows to its value.
    #[arg(long, value_name = "STEPS")]
    kl_warmup_steps: Option<u64>,
    /// a (all Monte Carlo) or b (analytic KL).
    #[arg(long, value_parser = word::<Estimator>)]
    estimator: Option<Estimator>,
    /// Decay of the moving average of the weights; 0 for none.
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Seed of weights, order and noise.
    #[arg(long)]
    seed: Option<u64>,
    /// Validations without improvement after which training stops; 0 for never.
    #[arg(long, value_name = "VALIDATIONS")]
    patience: Option<u64>,
    /// Run folder to make; by default runs/NAME-sSEED.
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder.
    #[arg(long, value_name = "RUN", exclusive = true)]
    resume: Option<PathBuf>,
}

/// A value of an enum by its name in recipes.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, WordError> {
    let deserializer: StrDeserializer<'_, WordError> = text.into_deserializer();
    T::deserialize(deserializer)
}

impl Args {
    fn recipe(self) -> anyhow::Result<(Recipe, PathBuf)> {
        let mut recipe = match (&self.recipe, &self.data) {
            (Some(name), _) => Recipe::find(name)?,
            (None, Some(data)) => Recipe::for_data(data),
            (None, None) => bail!("nothing to train: name a recipe (`elbo train digits`) or give --data FILE"),
        };
        macro_rules! override_by {
            ($($option:ident => $field:expr),* $(,)?) => { $(if let Some(v) = self.$option { $field = v.into(); })* };
        }
        override_by! {
            data => recipe.data.spec,
            data_dir => recipe.data.data_dir,
            validation_fraction => recipe.data.validation_fraction,
            hidden => recipe.model.hidden,
            latent => recipe.model.latent,
            activation => recipe.model.activation,
            likelihood => recipe.model.likelihood,
            steps => recipe.train.steps,
            batch => recipe.train.batch,
            learning_rate => recipe.train.learning_rate,
            schedule => recipe.train.schedule,
            weight_decay => recipe.train.weight_decay,
            beta => recipe.train.beta,
            kl_warmup_steps => recipe.train.kl_warmup_steps,
            free_bits => recipe.train.free_bits,
            estimator => recipe.train.estimator,
            ema => recipe.train.ema,
            seed => recipe.train.seed,
            patience => recipe.train.patience,
        }
        if let Some(family) = self.family.filter(|family| *family != recipe.family) {
            recipe.name = format!("{}-{}", recipe.name, family.name());
            recipe.family = family;
            if family == Family::Dlgm && self.kl_warmup_steps.is_none() && recipe.train.kl_warmup_steps == 0 {
                // Upper layers that are not needed at once are lost without it.
                recipe.train.kl_warmup_steps = recipe.train.steps / 5;
            }
        }
        let of_dlgm = self.layers.is_some() || self.covariance.is_some();
        if of_dlgm || self.input_noise.is_some() || self.weight_prior.is_some() {
            if recipe.family != Family::Dlgm {
                let found = recipe.family.name();
                bail!("--layers, --covariance, --input-noise and --weight-prior are for --family dlgm, not {found}");
            }
            let dlgm = recipe.dlgm.get_or_insert_default();
            dlgm.layers = self.layers.or(dlgm.layers.take());
            dlgm.covariance = self.covariance.unwrap_or(dlgm.covariance);
            dlgm.input_noise = self.input_noise.unwrap_or(dlgm.input_noise);
            dlgm.weight_prior = self.weight_prior.unwrap_or(dlgm.weight_prior);
        }
        recipe.model.conditional |= self.conditional;
        let Columns { label_column, split_column, drop_columns } = self.columns;
        recipe.data.label_column = label_column.or(recipe.data.label_column);
        recipe.data.split_column = split_column.or(recipe.data.split_column);
        if !drop_columns.is_empty() {
            recipe.data.drop_columns = drop_columns;
        }
        // The run folder must find its data from wherever it is used.
        if let Some(dir) = &mut recipe.data.data_dir {
            *dir = std::path::absolute(&*dir)?;
        }
        if PathBuf::from(&recipe.data.spec).exists() && !matches!(recipe.data.spec.as_str(), "digits" | "mnist") {
            recipe.data.spec = std::path::absolute(&recipe.data.spec)?.display().to_string();
        }
        let default = PathBuf::from("runs").join(format!("{}-s{}", recipe.name, recipe.train.seed));
        Ok((recipe, self.out.unwrap_or(default)))
    }
}

pub(super) fn run(mut args: Args) -> anyhow::Result<()> {
    let control = Control::default();
    let stop = control.stop.clone();
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step, with a checkpoint; Ctrl-C again ends at once");
    })
    .map_err(|e| anyhow::anyhow!("cannot listen to Ctrl-C: {e}"))?;
    let (outcome, out) = match args.resume.take() {
        Some(path) => (resume(&path, &control)?, path),
        None => {
            let (recipe, out) = args.recipe()?;
            (train(&recipe, &out, &control)?, out)
        }
    };
    let bound = outcome
        .best_elbo
        .map_or(String::new(), |v| format!("; best validation ELBO {v:.3} nats per row at step {}", outcome.best_step));
    let how = match outcome.end {
        End::Finished => "trained",
        End::Early => "stopped early, no better bound in sight,",
        End::Interrupted => "interrupted",
    };
    println!("{how} after {} steps, {:.0} s{bound}", outcome.step, outcome.seconds);
    let run = out.display();
    match outcome.end {
        End::Interrupted => println!("go on:     elbo train --resume {run}"),
        _ => println!("run:       {run} (README.txt explains its files)\nevaluate:  elbo eval {run}"),
    }
    Ok(())
}
