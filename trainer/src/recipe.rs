//! Recipes: everything that decides a run, in one TOML file with every default written out.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use crate::data::{DataError, DataOptions, Dataset, Kind, Split};
use crate::family::adgm::{self, Adgm, AdgmRecipe, AdgmSpec, Structure};
use crate::family::conv::{Body, ConvRecipe};
use crate::family::dlgm::DlgmRecipe;
use crate::family::flow::{Energy, Flow, FlowKind, FlowRecipe};
use crate::family::vae::{Estimator, Parts, Vae, VaeSpec};
use crate::family::wgan::{Wgan, WganRecipe, WganSpec};
use crate::family::{Likelihood, Model};
use crate::nn::Activation;

/// The built-in recipes: name and TOML text.
pub const BUILT_IN: [(&str, &str); 12] = [
    ("digits", include_str!("../recipes/digits.toml")),
    ("mnist", include_str!("../recipes/mnist.toml")),
    ("energy-u1", include_str!("../recipes/energy-u1.toml")),
    ("energy-u2", include_str!("../recipes/energy-u2.toml")),
    ("energy-u3", include_str!("../recipes/energy-u3.toml")),
    ("energy-u4", include_str!("../recipes/energy-u4.toml")),
    ("adgm-mnist", include_str!("../recipes/adgm-mnist.toml")),
    ("adgm-mnist-small", include_str!("../recipes/adgm-mnist-small.toml")),
    ("moons-adgm", include_str!("../recipes/moons-adgm.toml")),
    ("moons-sdgm", include_str!("../recipes/moons-sdgm.toml")),
    ("wgan-digits", include_str!("../recipes/wgan-digits.toml")),
    ("wgan-mnist", include_str!("../recipes/wgan-mnist.toml")),
];

/// What can be wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Neither a built-in name nor a file.
    #[error("unknown recipe `{0}`: expected {names} or the path of a TOML file", names = names())]
    Unknown(String),
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The recipe's file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Not the TOML of a recipe.
    #[error("{origin}: not a recipe: {source}")]
    Parse {
        /// The file or the built-in name.
        origin: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value outside its range.
    #[error("recipe field `{field}`: expected {expected}, found {found}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// The tensor library cannot make the model.
    #[error("the model cannot be made: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The built-in names, for a message.
fn names() -> String {
    BUILT_IN.map(|(name, _)| format!("`{name}`")).join(", ")
}

/// What a model must know of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape {
    /// Rows and columns of one example; one row for a table.
    pub shape: [usize; 2],
    /// What the values mean.
    pub kind: Kind,
    /// Number of classes: one more than the largest label; 0 without labels.
    pub classes: usize,
}

impl DataShape {
    /// The shape of a data set.
    #[must_use]
    pub fn of(dataset: &Dataset) -> Self {
        Self { shape: dataset.shape, kind: dataset.kind, classes: dataset.classes() }
    }

    /// Values of one example.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

/// The model family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Variational auto-encoder.
    #[default]
    Vae,
    /// Deep latent Gaussian model.
    Dlgm,
    /// Normalizing flow.
    Flow,
    /// Auxiliary deep generative model.
    Adgm,
    /// Skip deep generative model.
    Sdgm,
    /// Auxiliary VAE.
    Avae,
    /// Wasserstein GAN.
    Wgan,
}

impl Family {
    /// Its name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vae => "vae",
            Self::Dlgm => "dlgm",
            Self::Flow => "flow",
            Self::Adgm => "adgm",
            Self::Sdgm => "sdgm",
            Self::Avae => "avae",
            Self::Wgan => "wgan",
        }
    }
}

/// How the learning rate changes over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine, from `learning_rate` down to 0.
    #[default]
    Cosine,
    /// `learning_rate` throughout.
    Constant,
    /// `learning_rate` times `decay` every `decay_steps` steps.
    Step,
}

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Names the run folder.
    pub name: String,
    /// The model family.
    #[serde(default)]
    pub family: Family,
    /// The data set; none where an energy is learnt.
    #[serde(default)]
    pub data: DataRecipe,
    /// The model's shape.
    #[serde(default)]
    pub model: ModelRecipe,
    /// What only a deep latent Gaussian model has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlgm: Option<DlgmRecipe>,
    /// The optimisation.
    #[serde(default)]
    pub train: TrainRecipe,
    /// Options of the families `adgm`, `sdgm` and `avae`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adgm: Option<AdgmRecipe>,
    /// What `elbo compile` puts into the blob.
    #[serde(default)]
    pub export: ExportRecipe,
    /// What is particular to flows: of family `flow`, or on the latent of a `vae`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowRecipe>,
    /// Convolutions between an image and the dense layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conv: Option<ConvRecipe>,
    /// The rules of a WGAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wgan: Option<WganRecipe>,
}

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
}

impl Default for ExportRecipe {
    fn default() -> Self {
        Self { monte_carlo_samples: 8, importance_samples: 64, sample: true }
    }
}

impl Recipe {
    /// The default recipe for a data set.
    #[must_use]
    pub fn for_data(spec: &str) -> Self {
        let file = Path::new(spec).file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').find(|part| !part.is_empty()).unwrap_or("run").to_owned();
        Self {
            name,
            family: Family::Vae,
            data: DataRecipe { spec: spec.to_owned(), ..DataRecipe::default() },
            model: ModelRecipe::default(),
            dlgm: None,
            train: TrainRecipe::default(),
            adgm: None,
            export: ExportRecipe::default(),
            flow: None,
            conv: None,
            wgan: None,
        }
    }

    /// The default recipe for an energy of the plane, to which no data belong.
    #[must_use]
    pub fn for_energy(energy: Energy, kind: FlowKind) -> Self {
        let flow = FlowRecipe {
            kind,
            steps: kind.default_steps(),
            energy: Some(energy),
            anneal_steps: 5000,
            ..FlowRecipe::default()
        };
        Self {
            name: format!("energy-{}", energy.name()),
            family: Family::Flow,
            data: DataRecipe::default(),
            model: ModelRecipe { hidden: vec![32, 32], ..ModelRecipe::default() },
            dlgm: None,
            train: FlowRecipe::train_for_energy(),
            adgm: None,
            export: ExportRecipe::default(),
            flow: Some(flow),
            conv: None,
            wgan: None,
        }
    }

    /// The energy that is learnt instead of data.
    #[must_use]
    pub fn energy(&self) -> Option<Energy> {
        self.flow.as_ref().and_then(|flow| flow.energy)
    }

    /// Loads the data set: for an energy one without rows.
    ///
    /// # Errors
    /// Every variant of [`DataError`].
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        match self.energy() {
            Some(energy) => Ok(Dataset::without_rows(energy.name(), 2)),
            None => self.data.load(),
        }
    }

    /// The default recipe of a family for a data set.
    #[must_use]
    pub fn for_family(family: Family, spec: &str) -> Self {
        let mut recipe = Self { family, ..Self::for_data(spec) };
        if family == Family::Wgan {
            recipe.name = format!("wgan-{}", recipe.name);
            recipe.model = ModelRecipe { hidden: vec![256, 256], latent: 16, ..ModelRecipe::default() };
            recipe.wgan = Some(WganRecipe::default());
            recipe.train = TrainRecipe {
                steps: 20_000,
                batch: 64,
                learning_rate: 5e-5,
                schedule: Schedule::Constant,
                validate_every: 100,
                ..TrainRecipe::default()
            };
        }
        recipe
    }

    /// A built-in recipe by name, or one from a file.
    ///
    /// # Errors
    /// Every variant of [`RecipeError`].
    pub fn find(name: &str) -> Result<Self, RecipeError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if !path.exists() {
            return Err(RecipeError::Unknown(name.to_owned()));
        }
        Self::read(path)
    }

    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// `Io`, `Parse` and `Invalid`.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    fn parse(origin: &str, text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text)
            .map_err(|source| RecipeError::Parse { origin: origin.to_owned(), source: Box::new(source) })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Checks every range that the types do not.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        let at_least_1 = [
            ("model.latent", self.model.latent as u64),
            ("train.steps", self.train.steps),
            ("train.batch", self.train.batch as u64),
            ("train.validate_every", self.train.validate_every),
            ("train.validation_draws", self.train.validation_draws as u64),
            ("train.checkpoint_every", self.train.checkpoint_every),
            ("train.decay_steps", self.train.decay_steps),
            ("export.monte_carlo_samples", self.export.monte_carlo_samples as u64),
            ("export.importance_samples", self.export.importance_samples as u64),
        ];
        let invalid = |field, expected, found: &dyn std::fmt::Display| {
            Err(RecipeError::Invalid { field, expected, found: found.to_string() })
        };
        for (field, value) in at_least_1 {
            if value == 0 {
                return invalid(field, "a whole number of at least 1", &value);
            }
        }
        match (self.energy(), self.data.spec.as_str()) {
            (None, "") => {
                return invalid("data.spec", "a data set, or an energy to learn in `flow.energy`", &"neither");
            }
            (Some(_), spec) if !spec.is_empty() => {
                return invalid("data.spec", "no data beside `flow.energy`, which is learnt from its formula", &spec);
            }
            (Some(_), _) if self.family != Family::Flow => {
                return invalid("flow.energy", "family `flow`, which learns energies", &self.family.name());
            }
            _ => {}
        }
        if let Some((field, expected, found)) = self.flow.as_ref().and_then(FlowRecipe::invalid) {
            return invalid(field, expected, &found);
        }
        if self.model.hidden.contains(&0) {
            return invalid("model.hidden", "widths of at least 1", &format!("{:?}", self.model.hidden));
        }
        let t = &self.train;
        if !(t.learning_rate > 0.0 && t.learning_rate.is_finite()) {
            return invalid("train.learning_rate", "a number above 0", &t.learning_rate);
        }
        let at_least_0 =
            [("train.beta", t.beta), ("train.weight_decay", t.weight_decay), ("train.free_bits", t.free_bits)];
        for (field, value) in at_least_0 {
            if !(value >= 0.0 && value.is_finite()) {
                return invalid(field, "a number of at least 0", &value);
            }
        }
        if !(t.decay > 0.0 && t.decay <= 1.0) {
            return invalid("train.decay", "a number above 0 and at most 1", &t.decay);
        }
        if let Some(adgm) = &self.adgm {
            adgm.check()?;
        }
        if self.structure().is_some() && self.model.hidden.is_empty() {
            return invalid("model.hidden", "at least one hidden layer for this family", &"none");
        }
        if t.free_bits > 0.0 && t.estimator == Estimator::A {
            return invalid(
                "train.free_bits",
                "0 for estimator \"a\": they need the analytic KL of \"b\"",
                &t.free_bits,
            );
        }
        for (field, set) in [("model.conditional", self.model.conditional), ("train.free_bits", t.free_bits > 0.0)] {
            if set && self.family != Family::Vae {
                return invalid(field, "family = \"vae\" beside it", &self.family.name());
            }
        }
        if !(0.0..1.0).contains(&t.ema) {
            return invalid("train.ema", "a number from 0 up to but not including 1", &t.ema);
        }
        if !(0.0..1.0).contains(&self.data.validation_fraction) {
            let expected = "a number from 0 up to but not including 1";
            return invalid("data.validation_fraction", expected, &self.data.validation_fraction);
        }
        let mistakes =
            [self.conv.as_ref().and_then(ConvRecipe::mistake), self.wgan.as_ref().and_then(WganRecipe::mistake)];
        if let Some((field, expected, found)) = mistakes.into_iter().flatten().next() {
            return invalid(field, expected, &found);
        }
        if self.wgan.is_some() && self.family != Family::Wgan {
            return invalid("wgan", "no table [wgan] unless `family = \"wgan\"`", &self.family.name());
        }
        match &self.dlgm {
            Some(_) if self.family != Family::Dlgm => {
                invalid("dlgm", "family = \"dlgm\" beside it", &self.family.name())
            }
            Some(dlgm) => dlgm.check(),
            None => Ok(()),
        }
    }

    /// The generative model, where the family is one of auxiliary deep generative models.
    fn structure(&self) -> Option<Structure> {
        match self.family {
            Family::Adgm => Some(Structure::Adgm),
            Family::Sdgm => Some(Structure::Sdgm),
            Family::Avae => Some(Structure::Avae),
            _ => None,
        }
    }

    /// The options of the families `adgm`, `sdgm` and `avae`, with their defaults.
    #[must_use]
    pub fn adgm(&self) -> AdgmRecipe {
        self.adgm.clone().unwrap_or_default()
    }

    /// Indices of the train rows whose labels the family learns from; `None` for one that learns from none.
    ///
    /// # Errors
    /// `Invalid`: labels that are missing, outside the classes, or fewer than asked for.
    pub fn labelled_rows(&self, train: &Split, classes: usize) -> Result<Option<Vec<usize>>, RecipeError> {
        let classified = matches!(self.family, Family::Adgm | Family::Sdgm);
        let choose = || adgm::choose(train.labels.as_deref(), classes, self.adgm().labels, self.data.split_seed);
        classified.then(choose).transpose()
    }

    /// The untrained model for data of this shape, its weights drawn from the recipe's seed.
    ///
    /// # Errors
    /// `Invalid` for what does not fit the data, such as a Bernoulli likelihood of values outside \[0, 1\].
    pub fn model(&self, data: &DataShape) -> Result<Box<dyn Model>, RecipeError> {
        let likelihood = self.model.likelihood.unwrap_or(match data.kind {
            Kind::Image => Likelihood::Bernoulli,
            Kind::Table => Likelihood::Gaussian,
        });
        if likelihood != Likelihood::Gaussian && data.kind == Kind::Table {
            return Err(RecipeError::Invalid {
                field: "model.likelihood",
                expected: "`gaussian` for a table, whose values are standardised",
                found: format!("{likelihood:?}").to_lowercase(),
            });
        }
        if self.model.conditional && data.classes < 2 {
            return Err(RecipeError::Invalid {
                field: "model.conditional",
                expected: "data with labels of two classes or more (a table's with --label-column)",
                found: format!("{} classes", data.classes),
            });
        }
        if self.conv.is_some() && data.kind == Kind::Table {
            return Err(RecipeError::Invalid {
                field: "conv",
                expected: "no table [conv] for a table, whose rows are no images",
                found: format!("rows of {} features", data.dim()),
            });
        }
        let (input, activation) = (data.dim(), self.model.activation);
        let conv = self.conv.clone().map(|conv| (data.shape, conv));
        if self.family == Family::Wgan && self.model.likelihood == Some(Likelihood::Bernoulli) {
            return Err(RecipeError::Invalid {
                field: "model.likelihood",
                expected: "none, or `gaussian`: a WGAN compares rows as they are",
                found: "bernoulli".to_owned(),
            });
        }
        let (hidden, latent, seed) = (self.model.hidden.clone(), self.model.latent, self.train.seed);
        let refuse =
            |field, expected, found: &str| Err(RecipeError::Invalid { field, expected, found: found.to_owned() });
        match self.family {
            Family::Vae => {
                let spec = VaeSpec { input, hidden, latent, activation, likelihood };
                if self.flow.as_ref().is_some_and(|flow| flow.kind.step().is_none()) {
                    return refuse("flow.kind", "`planar` or `radial` for the posterior of a VAE", "couplings");
                }
                let classes = if self.model.conditional { data.classes } else { 0 };
                let parts = Parts { conv, flow: self.flow.as_ref(), classes, free_bits: self.train.free_bits };
                Ok(Box::new(Vae::with_parts(spec, parts, seed, &Device::Cpu, DType::F32)?))
            }
            Family::Flow => {
                let flow = self.flow.clone().unwrap_or_default();
                if data.kind == Kind::Image {
                    let expected = "a table for a flow: pixels are discrete and have no density; a VAE takes images";
                    return refuse("data.spec", expected, &format!("images of {} x {}", data.shape[0], data.shape[1]));
                }
                let coupling = flow.kind.step().is_none();
                if coupling && data.dim() < 2 {
                    let expected = "`planar` or `radial` for a table of one column: a coupling needs two";
                    return refuse("flow.kind", expected, "couplings");
                }
                let nets = (hidden.as_slice(), self.model.activation);
                Ok(Box::new(Flow::new(flow, data.dim(), nets, seed, &Device::Cpu, DType::F32)?))
            }
            Family::Dlgm => {
                let dlgm = self.dlgm.clone().unwrap_or_default();
                Ok(Box::new(dlgm.model(&self.model, data.dim(), likelihood, self.train.seed)?))
            }
            Family::Adgm | Family::Sdgm | Family::Avae => {
                let structure = self.structure().unwrap_or(Structure::Avae);
                if data.classes == 0 && structure != Structure::Avae {
                    return Err(RecipeError::Invalid {
                        field: "family",
                        expected: "`avae` or `vae` for data without labels; --label-column names a table's",
                        found: self.family.name().to_owned(),
                    });
                }
                let (classes, activation, options) = (data.classes, self.model.activation, self.adgm());
                let auxiliary = options.auxiliary;
                let input = data.dim();
                let spec = AdgmSpec { structure, input, classes, hidden, auxiliary, latent, activation, likelihood };
                let place = (&Device::Cpu, DType::F32);
                Ok(Box::new(Adgm::new(spec, options, self.data.split_seed, self.train.seed, place)?))
            }
            Family::Wgan => {
                let body = Body { input, conv, hidden, activation };
                let rules = self.wgan.clone().unwrap_or_default();
                let spec = WganSpec { body, latent, unit: data.kind == Kind::Image, rules };
                Ok(Box::new(Wgan::new(spec, seed, &Device::Cpu, DType::F32)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_parse_and_survive_being_written() {
        for (name, _) in BUILT_IN {
            let recipe = Recipe::find(name).unwrap();
            assert_eq!(recipe.name, name);
            let text = toml::to_string(&recipe).unwrap();
            assert_eq!(Recipe::parse("again", &text).unwrap(), recipe);
        }
    }

    #[test]
    fn a_misspelt_field_is_refused_by_name() {
        let text = "name = 'x'\n[data]\nspec = 'digits'\n[train]\nbatchsize = 3\n";
        let error = Recipe::parse("x.toml", text).unwrap_err().to_string();
        assert!(error.contains("batchsize") && error.contains("x.toml"), "{error}");
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        let mut recipe = Recipe::for_data("digits");
        recipe.check().unwrap();
        recipe.train.batch = 0;
        assert!(recipe.check().unwrap_err().to_string().contains("train.batch"));
        recipe.train.batch = 1;
        recipe.train.learning_rate = f64::NAN;
        assert!(recipe.check().unwrap_err().to_string().contains("train.learning_rate"));
    }

    #[test]
    fn the_cosine_falls_from_the_rate_to_zero_and_warm_up_rises_to_beta() {
        let train = TrainRecipe { steps: 100, kl_warmup_steps: 10, beta: 2.0, ..TrainRecipe::default() };
        assert_eq!(train.rate(0), train.learning_rate);
        assert!((train.rate(50) / train.learning_rate - 0.5).abs() < 1e-12 && train.rate(99) < 1e-6);
        assert_eq!((train.beta_at(0), train.beta_at(9), train.beta_at(10)), (0.2, 2.0, 2.0));
    }

    #[test]
    fn the_step_schedule_falls_by_its_factor() {
        let schedule = Schedule::Step;
        let train =
            TrainRecipe { schedule, learning_rate: 1.0, decay: 0.75, decay_steps: 10, ..TrainRecipe::default() };
        assert_eq!([0, 9, 10, 19, 20].map(|step| train.rate(step)), [1.0, 1.0, 0.75, 0.75, 0.5625]);
        assert_eq!(train.rate(u64::MAX), 0.0);
        let mut recipe = Recipe::for_data("digits");
        recipe.train.decay = 1.5;
        assert!(recipe.check().unwrap_err().to_string().contains("train.decay"));
        (recipe.train.decay, recipe.train.decay_steps) = (0.5, 0);
        assert!(recipe.check().unwrap_err().to_string().contains("train.decay_steps"));
    }

    #[test]
    fn names_come_from_the_file() {
        assert_eq!(Recipe::for_data("some/folder/cardio.csv.gz").name, "cardio");
    }
}
