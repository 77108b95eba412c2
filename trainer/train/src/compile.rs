//! Compiling a trained model to a blob, with the data that calibrate it.

use elbo::kernel::Packing;
use elbo::program::ProgramKind;
use elbo_compiler::front::{Front, identity};
use elbo_compiler::graph::FloatProgram;
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::{Compiled, FloatModel, HeldOut, HeldOutScores, Likelihood, ModelDescription, Options};

use crate::data::{Dataset, Split, WIDEST};
use crate::model::Model;
use crate::nn::Rng;
use crate::rows::model_rows;
use crate::settings::{ExportRecipe, RecipeError};

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The compiler refuses the model.
    #[error(transparent)]
    Compiler(#[from] elbo_compiler::CompileError),
    /// Rows so wide that the sums over them could overflow.
    #[error(
        "rows of {width} values are too wide for a program of this model, whose sums hold at most {WIDEST} values; leave \
         programs out, with --programs score or --monte-carlo-samples 0, or train on fewer columns, with --drop-columns"
    )]
    Wide {
        /// Values of a row.
        width: usize,
    },
    /// A program that the blob shall contain is none of the model.
    #[error("the model has no program `{name}`. It has: {available}.")]
    NoProgram {
        /// The name of the program.
        name: &'static str,
        /// The names of the programs that the model has.
        available: String,
    },
    /// A score that the blob shall contain takes no draws.
    #[error("the program `{name}` needs draws. Say how many with {option}.")]
    NoDraws {
        /// The name of the program.
        name: &'static str,
        /// The option that says how many.
        option: &'static str,
    },
    /// A setting is out of its range.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
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
    /// The programs that the blob shall contain. `None` stands for all that the model has.
    pub programs: Option<Vec<ProgramKind>>,
    /// Replaces [`ExportRecipe::monte_carlo_samples`].
    pub monte_carlo_samples: Option<usize>,
    /// Replaces [`ExportRecipe::importance_samples`].
    pub importance_samples: Option<usize>,
    /// Number of train rows with which the scales are calibrated.
    pub calibration_rows: usize,
    /// Seed of the binarisation, of the noise of both calibrations and of the self-test.
    pub seed: u64,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            packing: Packing::Dsp4,
            weight_bits: None,
            programs: None,
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

/// Compiles a model. Its scales are calibrated with the train rows of `dataset`, and its scores with the calibration rows.
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
    compile_calibrated(model, names, dataset, export, options, None)
}

/// As [`compile`], but the scores are calibrated with `scores` if there are any.
///
/// # Errors
/// Every variant of [`CompileError`].
pub(crate) fn compile_calibrated(
    model: &dyn Model,
    names: Names<'_>,
    dataset: &Dataset,
    export: &ExportRecipe,
    options: &CompileOptions,
    scores: Option<&HeldOutScores>,
) -> Result<Compilation, CompileError> {
    let mut export = export.clone();
    export.monte_carlo_samples = options.monte_carlo_samples.unwrap_or(export.monte_carlo_samples);
    export.importance_samples = options.importance_samples.or(export.importance_samples);
    export.complete(dataset.kind);
    export.check()?;
    let float = lowered(model, &export, options.programs.as_deref(), dataset.front.as_ref())?;
    let (likelihood, seed) = (model.likelihood(), options.seed);
    let mut calibration = model_rows(&dataset.train, likelihood, seed);
    calibration.truncate(options.calibration_rows);
    let rows = program_rows(dataset, &dataset.calibration, likelihood, seed.wrapping_add(1));
    let held_out = scores.map_or(HeldOut::Rows(&rows), HeldOut::Scores);
    let mut test = program_rows(dataset, &dataset.test, likelihood, seed.wrapping_add(2));
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
    // A description states the draws of the scores that the blob has.
    let draws = |kind: ProgramKind, count: usize| float.program(kind).map_or(0, |_| count as u32);
    let description = ModelDescription {
        family: names.family.to_owned(),
        likelihood,
        // A front end limits what it computes.
        data: if dataset.train.n == 0 || dataset.front.is_some() {
            model.data_range()
        } else {
            model.data_range().with_headroom(&calibration)
        },
        latent: model.latent(),
        classes: model.classes(),
    };
    let options = Options {
        name: names.name.to_owned(),
        shape: dataset.shape.map(|n| n as u16),
        standardise: dataset.standardise().map(|s| (rounded(&s.mean), rounded(&s.std))),
        reading: if dataset.train.n == 0 { Vec::new() } else { dataset.reading.encode() },
        monte_carlo: draws(ProgramKind::ScoreMonteCarlo, export.monte_carlo_samples),
        importance: draws(ProgramKind::ScoreImportance, export.importance_samples.unwrap_or(0)),
        packing: options.packing,
        weight_bits: options.weight_bits.or(export.weight_bits),
        front: dataset.front.clone(),
        example: dataset
            .front
            .as_ref()
            .and_then(|_| program_rows(dataset, &dataset.train, likelihood, seed).into_iter().next()),
        seed,
    };
    let compiled = elbo_compiler::compile(float, &description, &calibration, held_out, &options);
    let compiled = compiled.map_err(|source| match source {
        elbo_compiler::CompileError::Plan(_) if dataset.dim > WIDEST => CompileError::Wide { width: dataset.dim },
        other => other.into(),
    })?;
    Ok(Compilation { compiled, test })
}

/// The rows of a split in the form in which the programs of a blob read them: with a front end the windows of samples.
pub(crate) fn program_rows(dataset: &Dataset, split: &Split, likelihood: Likelihood, seed: u64) -> Vec<Vec<f32>> {
    let Some(front) = &dataset.front else { return model_rows(split, likelihood, seed) };
    let windows = split.windows.chunks_exact(front.samples().max(1));
    windows.map(|window| window.iter().map(|sample| f32::from(*sample)).collect()).collect()
}

/// The programs of a model in floating point: those that are asked for, without the scores that take no draws.
fn lowered(
    model: &dyn Model,
    export: &ExportRecipe,
    wanted: Option<&[ProgramKind]>,
    front: Option<&Front>,
) -> Result<FloatModel, CompileError> {
    let [monte_carlo, importance] = [export.monte_carlo_samples, export.importance_samples.unwrap_or(0)];
    // A loop has at least one iteration. A score without draws is lowered like one with a draw, and then left out.
    let least = ExportRecipe {
        monte_carlo_samples: monte_carlo.max(1),
        importance_samples: Some(importance.max(1)),
        ..export.clone()
    };
    let mut float = model.lower(&least)?;
    if let Some(front) = front {
        // A mask of features means nothing for windows of samples.
        float.programs.retain(|program| program.kind != ProgramKind::Impute);
        float.programs.push(identity(front.len()));
        let score = float.program(ProgramKind::Score).cloned();
        float.programs.extend(score.map(|score| FloatProgram { kind: ProgramKind::ScoreFeatures, ..score }));
    }
    let available: Vec<&str> = float.programs.iter().map(|program| program.kind.name()).collect();
    let available = available.join(", ");
    let scores = [
        (ProgramKind::ScoreMonteCarlo, monte_carlo, "--monte-carlo-samples"),
        (ProgramKind::ScoreImportance, importance, "--importance-samples"),
    ];
    let undrawn = |kind: ProgramKind| scores.iter().find(|(of, draws, _)| *of == kind && *draws == 0);
    for kind in wanted.unwrap_or_default() {
        if float.program(*kind).is_none() {
            return Err(CompileError::NoProgram { name: kind.name(), available });
        }
        if let Some((.., option)) = undrawn(*kind) {
            return Err(CompileError::NoDraws { name: kind.name(), option });
        }
    }
    let kept = |kind: ProgramKind| undrawn(kind).is_none() && wanted.is_none_or(|wanted| wanted.contains(&kind));
    float.programs.retain(|program| kept(program.kind));
    Ok(float)
}

fn rounded(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
