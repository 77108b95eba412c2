//! Compiling a trained model to a blob, with the data that calibrate it.

use elbo::kernel::Packing;
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::{Compiled, ModelDescription, Options};

use crate::data::Dataset;
use crate::model::Model;
use crate::nn::Rng;
use crate::rows::model_rows;
use crate::settings::ExportRecipe;

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The compiler refuses the model.
    #[error(transparent)]
    Compiler(#[from] elbo_compiler::CompileError),
    /// The tensor library reports an error.
    #[error("the model cannot be lowered: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Options of a compilation. Those that are `None` have the values of the [`ExportRecipe`].
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Order of the weights in the blob.
    pub packing: Packing,
    /// Replaces [`ExportRecipe::weight_bits`].
    pub weight_bits: Option<WeightBits>,
    /// Replaces [`ExportRecipe::monte_carlo_samples`].
    pub monte_carlo_samples: Option<usize>,
    /// Replaces [`ExportRecipe::importance_samples`].
    pub importance_samples: Option<usize>,
    /// Number of train rows for the calibration.
    pub calibration_rows: usize,
    /// Seed of the binarisation, of the noise of the calibration and of the self-test.
    pub seed: u64,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            packing: Packing::Dsp4,
            weight_bits: None,
            monte_carlo_samples: None,
            importance_samples: None,
            calibration_rows: 1000,
            seed: 0,
        }
    }
}

/// The names that a blob contains.
#[derive(Clone, Copy, Debug)]
pub struct Names<'n> {
    /// Name of the model.
    pub name: &'n str,
    /// Name of the family, for example `vae`.
    pub family: &'n str,
}

/// A compiled model and the test rows.
#[derive(Debug)]
pub struct Compilation {
    /// The blob and the contents of the reports.
    pub compiled: Compiled,
    /// The test rows in the form that the model reads. If the model learns from an energy, these are draws of the
    /// model.
    pub test: Vec<Vec<f32>>,
}

/// Compiles a model. It is calibrated with the train rows of `dataset`, and the quantiles of its score are those of the
/// validation rows.
///
/// # Errors
/// Every variant of [`CompileError`].
pub fn compile(
    model: &dyn Model,
    names: Names<'_>,
    dataset: &Dataset,
    export: &ExportRecipe,
    options: &CompileOptions,
) -> Result<Compilation, CompileError> {
    let mut export = export.clone();
    export.monte_carlo_samples = options.monte_carlo_samples.unwrap_or(export.monte_carlo_samples);
    export.importance_samples = options.importance_samples.unwrap_or(export.importance_samples);
    let (likelihood, seed) = (model.likelihood(), options.seed);
    let mut calibration = model_rows(&dataset.train, likelihood, seed);
    calibration.truncate(options.calibration_rows);
    let held_out = model_rows(&dataset.validation, likelihood, seed.wrapping_add(1));
    let mut test = model_rows(&dataset.test, likelihood, seed.wrapping_add(2));
    if dataset.train.n == 0 {
        // A model that learns from an energy is calibrated with its own draws.
        let Some(sampler) = model.capabilities().sampler else {
            return Err(candle_core::Error::Msg(
                "the calibration needs rows of data, or a model that draws samples".into(),
            )
            .into());
        };
        let draws = |purpose: u64| -> candle_core::Result<Vec<Vec<f32>>> {
            sampler.sample(options.calibration_rows, &mut Rng::new(seed.wrapping_add(purpose)))?.to_vec2()
        };
        (calibration, test) = (draws(0)?, draws(1)?);
    }
    let description = ModelDescription {
        family: names.family.to_owned(),
        likelihood,
        data: if dataset.train.n == 0 { model.data_range() } else { model.data_range().with_headroom(&calibration) },
        latent: model.latent(),
        classes: model.classes(),
    };
    let options = Options {
        name: names.name.to_owned(),
        shape: dataset.shape.map(|n| n as u16),
        standardise: dataset.standardise.as_ref().map(|s| (s.mean.clone(), s.std.clone())),
        monte_carlo: export.monte_carlo_samples as u32,
        importance: export.importance_samples as u32,
        packing: options.packing,
        weight_bits: options.weight_bits.unwrap_or(export.weight_bits),
        seed,
    };
    let compiled = elbo_compiler::compile(model.lower(&export)?, &description, &calibration, &held_out, &options)?;
    Ok(Compilation { compiled, test })
}
