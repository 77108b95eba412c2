//! Runs all passes in order: from layers to a blob that the runtime has proved.

use crate::assemble::{QuantizedMatrix, assemble};
use crate::calibrate::{Ranges, calibrate};
use crate::front::Front;
use crate::graph::FloatModel;
use crate::held_out::{HeldOut, HeldOutScores};
use crate::host::{Blob, RunError, quantize_row, self_test};
use crate::likelihood::Likelihood;
use crate::quantize::WeightBits;
use crate::scales::{Scales, assign};
use crate::stimulus::InputRange;
use crate::{fold, plan, quantize};
use elbo::kernel::Packing;
use elbo::program::ScaleRule;
use elbo::{Limits, LoadError, Meta, SelfTest};
use elbo_writer::{Program, WriteError};

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// An operation does not support a scale or bound.
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    /// A layer's weights are too large for the scale that its output must have.
    #[error(
        "layer {layer}: the weights are too large for an output with {frac} fractional bits. Train with weight decay or with a smaller latent range."
    )]
    Scale {
        /// Name of the layer.
        layer: String,
        /// Fractional bits that its output must have.
        frac: u32,
    },
    /// There are no rows to calibrate with.
    #[error("there are no rows to calibrate with, because the training split is empty. Give data with training rows.")]
    NoCalibrationData,
    /// The model cannot be written as a blob.
    #[error("the model cannot be written as a blob: {0}")]
    Write(#[from] WriteError),
    /// The runtime refuses the compiled blob. This is a bug in the compiler.
    #[error(
        "the runtime refuses the compiled blob: {0}. This is a bug in the compiler. Please report it with the run folder."
    )]
    Refused(LoadError),
    /// A program cannot be run on a row of data.
    #[error("the compiled blob cannot run on the given rows: {0}. Give rows with as many values as the model reads.")]
    Run(#[from] RunError),
}

/// The options of the compiler.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's name, which is stored in the blob.
    pub name: String,
    /// Rows and columns of an image; one row for a table.
    pub shape: [u16; 2],
    /// Mean and standard deviation of every feature, if the data are standardised.
    pub standardise: Option<(Vec<f32>, Vec<f32>)>,
    /// How rows are read, as `elbo_writer::encode_reading` encodes it; empty for a model that reads none.
    pub reading: Vec<u8>,
    /// Latent draws of the Monte Carlo score.
    pub monte_carlo: u32,
    /// Latent draws of the importance-weighted score.
    pub importance: u32,
    /// Order of the weights.
    pub packing: Packing,
    /// Bits of a weight. `None` stands for [`WeightBits::by_default`].
    pub weight_bits: Option<WeightBits>,
    /// What programs compute from a window of samples before the model reads it. `None` if they read its rows.
    pub front: Option<Front>,
    /// A row in the form that the programs read, for the self-test. `None` stands for the first of those that calibrate.
    pub example: Option<Vec<f32>>,
    /// Seed of the latents for calibration and of the self-test.
    pub seed: u64,
}

/// A compiled model, with everything that the reports show.
#[derive(Debug)]
pub struct Compiled {
    /// The blob.
    pub blob: Blob,
    /// The float programs from which it was compiled.
    pub float: FloatModel,
    /// The ranges observed in calibration.
    pub ranges: Ranges,
    /// The scales chosen.
    pub scales: Scales,
    /// The bits of a weight.
    pub weight_bits: WeightBits,
    /// The quantised layers, followed by the remainder matrices of layers with 16-bit weights.
    pub matrices: Vec<QuantizedMatrix>,
    /// The planned programs.
    pub programs: Vec<Program>,
}

/// The description of a model that its blob contains.
#[derive(Clone, Debug)]
pub struct ModelDescription {
    /// Model family, "vae" for example.
    pub family: String,
    /// Distribution of the data given the latent.
    pub likelihood: Likelihood,
    /// The range of the data.
    pub data: InputRange,
    /// Latent dimensions.
    pub latent: usize,
    /// Number of classes, 0 for a model without classes.
    pub classes: usize,
}

/// Compiles a model. `calibration` are rows in the form that the model reads (binarised, standardised): those with which the
/// scales are calibrated. The blob's calibrations of the scores are made with `held_out`.
///
/// # Errors
/// [`CompileError`].
pub fn compile(
    float: FloatModel,
    description: &ModelDescription,
    calibration: &[Vec<f32>],
    held_out: HeldOut<'_>,
    options: &Options,
) -> Result<Compiled, CompileError> {
    if calibration.is_empty() {
        return Err(CompileError::NoCalibrationData);
    }
    let mut float = fold::fold(float);
    let weight_bits = options.weight_bits.unwrap_or_else(|| WeightBits::by_default(&float, description.data));
    quantize::set_weight_bits(&mut float, weight_bits);
    let mut ranges = calibrate(&float, calibration, description.data, options.seed);
    let mut data = description.data;
    if let Some(front) = &options.front {
        data = front.prepend(&mut float, &mut ranges, data);
    }
    let scales = assign(&float, &ranges, data);
    check_least_scales(&float, &scales)?;
    let matrices = quantize::quantize_model(&float, &scales.layers, weight_bits);
    if let Some(layer) = quantize::too_large(&float, &matrices) {
        let frac = if float.coupled()[layer] { 16 } else { scales.layers[layer].output };
        return Err(CompileError::Scale { layer: float.layer_names[layer].clone(), frac });
    }
    let planned = float.programs.iter().enumerate();
    let programs = planned.map(|(at, p)| plan::plan(p, at, &scales, &matrices)).collect::<Result<Vec<_>, _>>()?;

    let mut writer = assemble(&programs, &matrices.all, options.packing)?;
    // The blob is written twice: first to run it, and then with the results of that run in its metadata.
    let draft = Blob::from_words(writer.finish());
    let model = draft.load(Limits::host()).map_err(CompileError::Refused)?;
    let example = options.example.as_ref().unwrap_or(&calibration[0]);
    let row = quantize_row(&model, example);
    let digests = self_test(&model, &row, options.seed).map_err(RunError::Session)?;
    let input: Vec<u8> = row.iter().flat_map(|q| q.to_le_bytes()).collect();
    let scored;
    let held_out = match held_out {
        HeldOut::Scores(scores) => scores,
        HeldOut::Rows(rows) => {
            scored = HeldOutScores::of(&draft, rows, options.seed)?;
            &scored
        }
    };
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let (mean, std) = options.standardise.as_ref().map(|(mean, std)| (bytes(mean), bytes(std))).unwrap_or_default();
    held_out.calibrations(|calibrations| {
        writer.meta(&Meta {
            name: &options.name,
            family: &description.family,
            likelihood: description.likelihood.into(),
            shape: options.shape,
            latent: description.latent as u16,
            classes: description.classes as u16,
            monte_carlo_samples: options.monte_carlo as u16,
            importance_samples: options.importance as u16,
            feature_mean: &mean,
            feature_std: &std,
            calibrations,
            self_test: SelfTest { seed: options.seed, input: &input, digests: &digests },
        })
    })?;
    writer.reading(&options.reading);
    let blob = Blob::from_words(writer.finish());
    blob.load(Limits::host()).map_err(CompileError::Refused)?;
    Ok(Compiled { blob, float, ranges, scales, weight_bits, matrices: matrices.all, programs })
}

/// Refuses a layer whose weights are too large for the scale that the operation reading it requires. An example are
/// log-variances, which the exponential reads at 11 or more fractional bits.
fn check_least_scales(float: &FloatModel, scales: &Scales) -> Result<(), CompileError> {
    for (program, fracs) in float.programs.iter().zip(&scales.nodes) {
        for node in &program.nodes {
            let Some(opcode) = node.opcode() else { continue };
            for (slot, &source) in node.inputs.iter().enumerate() {
                let ScaleRule::AtLeast(least) = opcode.rules().input_scale(slot) else { continue };
                let read = &program.nodes[source];
                let layer = read.inputs.first().map_or(read, |before| &program.nodes[*before]);
                if fracs[source] < u32::from(least) && !layer.layers().is_empty() {
                    let layer = float.layer_names[layer.layer].clone();
                    return Err(CompileError::Scale { layer, frac: least.into() });
                }
            }
        }
    }
    Ok(())
}
