//! Recipes: everything that decides a run, in one TOML file with every default written out.

mod check;
mod model;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{DataError, Dataset};
use crate::family::adgm::AdgmRecipe;
use crate::family::dlgm::DlgmRecipe;
use crate::family::flow::{Energy, FlowKind, FlowRecipe};
use crate::family::wgan::WganRecipe;
use crate::layers::conv::ConvRecipe;
use crate::nn::Activation;
use crate::settings::{DataRecipe, ExportRecipe, ModelRecipe, RecipeError, Schedule, TrainRecipe};

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

/// The built-in names, for a message.
fn names() -> String {
    BUILT_IN.map(|(name, _)| format!("`{name}`")).join(", ")
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
            // Couplings of smooth networks: an energy's density has no kinks.
            model: ModelRecipe { hidden: vec![32, 32], activation: Activation::Tanh, ..ModelRecipe::default() },
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
            return Err(RecipeError::Unknown { name: name.to_owned(), known: names() });
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
}

#[cfg(test)]
mod tests;
