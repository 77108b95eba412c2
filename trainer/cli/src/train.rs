//! `elbo train`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use elbo_compiler::Likelihood;
use elbo_trainer::family::dlgm::Covariance;
use elbo_trainer::family::flow::{Energy, FlowKind, FlowRecipe};
use elbo_trainer::family::wgan::{Constraint, WganRecipe};
use elbo_trainer::layers::conv::ConvRecipe;
use elbo_trainer::nn::{Activation, FlowStep};
use elbo_trainer::recipe::{Family, Recipe};
use elbo_trainer::run::{resume, train};
use elbo_trainer::settings::Estimator;
use elbo_trainer::settings::Schedule;
use elbo_trainer::train::End;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::columns::Columns;
use crate::progress::Progress;

const EXAMPLES: &str = "Examples:
  elbo train digits                               a built-in recipe; seconds
  elbo train --family wgan --data digits          another family, with its own defaults; minutes
  elbo train mnist --data-dir data --seed 1       with the four MNIST files in data or data/mnist
  elbo train --data sensor.csv                    a VAE of the rows of a table
  elbo train --data sensor.csv --hidden 32,16 --latent 4 --steps 5000
  elbo train --data log.csv --drop-columns time,site --label-column fault
  elbo train digits --family dlgm --layers 8,8    a deep latent Gaussian model
  elbo train --family flow --data sensor.csv      a RealNVP flow: its score is exact
  elbo train --energy u1 --flow realnvp           a flow that draws from an energy, without data
  elbo train mnist --posterior planar             a VAE whose posterior is a planar flow
  elbo train my.toml --out runs/mine              a recipe of your own
  elbo train --resume runs/mine                   go on after Ctrl-C; ends with the same bits

The options override the recipe. The run folder's README.txt explains the files; its recipe.toml
repeats the run.";

/// Train a model from a recipe or a data file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Built-in recipe (digits, mnist, energy-u1, moons-adgm, wgan-digits, ...) or the path of a TOML file.
    recipe: Option<String>,
    /// Family: vae, dlgm (deep latent Gaussian model), flow, adgm or sdgm (semi-supervised), avae (auxiliary VAE), wgan.
    #[arg(long, value_parser = word::<Family>)]
    family: Option<Family>,
    /// Data set: digits, mnist, moons, or an IDX, CSV or NPY file.
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Folder in which the data set is looked for (else the environment variable ELBO_DATA).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    columns: Columns,
    /// Steps of a flow (family flow): planar, radial, nice or realnvp.
    #[arg(long, help_heading = "Flows", value_name = "KIND", value_parser = word::<FlowKind>)]
    flow: Option<FlowKind>,
    /// Number of steps of a flow; by default 32, or 8 couplings.
    #[arg(long, help_heading = "Flows", value_name = "K")]
    flow_steps: Option<usize>,
    /// Learn to draw from an energy of the plane instead of from data (family flow): u1, u2, u3 or u4.
    #[arg(long, help_heading = "Flows", value_parser = word::<Energy>)]
    energy: Option<Energy>,
    /// Flow on the latent of a VAE, its parameters from the encoder: planar or radial.
    #[arg(long, help_heading = "Flows", value_name = "KIND", value_parser = word::<FlowStep>, conflicts_with_all = ["flow", "energy"])]
    posterior: Option<FlowStep>,
    /// Number of steps of that flow; by default 10.
    #[arg(long, help_heading = "Flows", value_name = "K", requires = "posterior")]
    posterior_steps: Option<usize>,
    /// Steps over which log p comes to count in full in a flow's free energy.
    #[arg(long, help_heading = "Flows", value_name = "STEPS")]
    anneal_steps: Option<u64>,
    /// Share of the train rows taken for validation.
    #[arg(long, value_name = "SHARE")]
    validation_fraction: Option<f32>,
    /// Seed of the split, and of which rows are labelled.
    #[arg(long, value_name = "SEED")]
    split_seed: Option<u64>,
    /// Train rows that keep their label (adgm, sdgm); 0 for all.
    #[arg(long, help_heading = "Auxiliary deep generative models")]
    labels: Option<usize>,
    /// Dimensions of the auxiliary variable (adgm, sdgm, avae).
    #[arg(long, help_heading = "Auxiliary deep generative models")]
    auxiliary: Option<usize>,
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
    #[arg(long, help_heading = "Deep latent Gaussian models", value_delimiter = ',', value_name = "SIZES")]
    layers: Option<Vec<usize>>,
    /// diagonal or rank1: covariance of a DLGM's recognition model.
    #[arg(long, help_heading = "Deep latent Gaussian models", value_parser = word::<Covariance>)]
    covariance: Option<Covariance>,
    /// Noise on a DLGM's recognition model in training: probability of flipping a bit, or deviation.
    #[arg(long, help_heading = "Deep latent Gaussian models", value_name = "NOISE")]
    input_noise: Option<f64>,
    /// Variance of the Gaussian prior of a DLGM's generative weights; 0 for none.
    #[arg(long, help_heading = "Deep latent Gaussian models", value_name = "VARIANCE")]
    weight_prior: Option<f64>,
    /// Channels of convolutions between an image and the dense layers.
    #[arg(long, value_delimiter = ',', value_name = "CHANNELS")]
    conv: Option<Vec<usize>>,
    /// What keeps a WGAN's critic Lipschitz: clip, penalty or spectral.
    #[arg(long, help_heading = "Wasserstein GAN", value_parser = word::<Constraint>)]
    constraint: Option<Constraint>,
    /// Optimiser steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Rows a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Adam's step size at its largest.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// cosine, constant or step.
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
    /// Times to train again from other initial weights; the best validation ELBO of all is kept.
    #[arg(long, value_name = "TIMES")]
    restarts: Option<u64>,
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
    /// Family and flow, as far as the options say.
    fn settle_flow(&self, recipe: &mut Recipe) -> anyhow::Result<()> {
        let implied = (self.flow.is_some() || self.energy.is_some()).then_some(Family::Flow);
        let family = self.family.or(implied).unwrap_or(recipe.family);
        if family != recipe.family {
            recipe.name = format!("{}-{}", recipe.name, family.name());
            recipe.family = family;
        }
        if let Some(step) = self.posterior {
            if recipe.family != Family::Vae {
                bail!("--posterior is a flow on the latent of a VAE; for family `flow` give --flow");
            }
            let kind = match step {
                FlowStep::Planar => FlowKind::Planar,
                FlowStep::Radial => FlowKind::Radial,
            };
            let flow = recipe.flow.get_or_insert_with(|| FlowRecipe { steps: 10, ..FlowRecipe::default() });
            flow.kind = kind;
            flow.steps = self.posterior_steps.unwrap_or(flow.steps);
        }
        if recipe.family == Family::Flow {
            let flow = recipe.flow.get_or_insert_default();
            if let Some(kind) = self.flow.filter(|kind| *kind != flow.kind) {
                (flow.kind, flow.steps) = (kind, kind.default_steps());
            }
            flow.energy = self.energy.or(flow.energy);
        } else if let Some(option) = self.flow.map(|_| "--flow").or(self.flow_steps.map(|_| "--flow-steps")) {
            bail!("{option} is of family `flow`; for the posterior of a VAE give --posterior");
        }
        match &mut recipe.flow {
            Some(flow) => {
                flow.steps = self.flow_steps.unwrap_or(flow.steps);
                flow.anneal_steps = self.anneal_steps.unwrap_or(flow.anneal_steps);
            }
            None if self.anneal_steps.is_some() => bail!("--anneal-steps is of a flow: give --flow or --posterior"),
            None => {}
        }
        Ok(())
    }

    fn recipe(self) -> anyhow::Result<(Recipe, PathBuf)> {
        let mut recipe = match (&self.recipe, &self.data, self.energy) {
            (Some(name), ..) => Recipe::find(name)?,
            (None, _, Some(energy)) => Recipe::for_energy(energy, self.flow.unwrap_or(FlowKind::Planar)),
            (None, Some(data), None) => Recipe::for_family(self.family.unwrap_or_default(), data),
            (None, None, None) => bail!("nothing to train: name a recipe (`elbo train digits`) or give --data FILE"),
        };
        self.settle_flow(&mut recipe)?;
        macro_rules! override_by {
            ($($option:ident => $field:expr),* $(,)?) => { $(if let Some(v) = self.$option { $field = v.into(); })* };
        }
        if let Some(channels) = self.conv {
            recipe.conv = Some(ConvRecipe { channels, ..recipe.conv.unwrap_or_default() });
        }
        if let Some(constraint) = self.constraint {
            recipe.wgan = Some(WganRecipe { constraint, ..recipe.wgan.unwrap_or_default() });
        }
        override_by! {
            data => recipe.data.spec,
            data_dir => recipe.data.data_dir,
            validation_fraction => recipe.data.validation_fraction,
            split_seed => recipe.data.split_seed,
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
            restarts => recipe.train.restarts,
            patience => recipe.train.patience,
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
        if self.labels.is_some() || self.auxiliary.is_some() {
            let options = recipe.adgm.get_or_insert_default();
            options.labels = self.labels.unwrap_or(options.labels);
            options.auxiliary = self.auxiliary.unwrap_or(options.auxiliary);
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
        if PathBuf::from(&recipe.data.spec).exists()
            && !matches!(recipe.data.spec.as_str(), "digits" | "mnist" | "moons")
        {
            recipe.data.spec = std::path::absolute(&recipe.data.spec)?.display().to_string();
        }
        let default = PathBuf::from("runs").join(format!("{}-s{}", recipe.name, recipe.train.seed));
        Ok((recipe, self.out.unwrap_or(default)))
    }
}

pub(super) fn run(mut args: Args) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut progress = Progress::new(stop.clone());
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step, with a checkpoint; Ctrl-C again ends at once");
    })
    .map_err(|e| anyhow::anyhow!("cannot listen to Ctrl-C: {e}"))?;
    let (outcome, out) = match args.resume.take() {
        Some(path) => (resume(&path, &mut progress)?, path),
        None => {
            let (recipe, out) = args.recipe()?;
            (train(&recipe, &out, &mut progress)?, out)
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
