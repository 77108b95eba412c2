//! From layers to a blob: lower, calibrate, quantise, plan, assemble, and let the runtime prove the result.
//!
//! Each pass is a file that reads one representation and returns the next.

pub mod assemble;
pub mod calibrate;
pub mod fidelity;
pub mod fold;
pub mod graph;
pub mod lower;
pub mod plan;
pub mod quantize;
pub mod report;

use crate::family::Likelihood;
use crate::host::Blob;
use assemble::{Assembly, PlannedProgram, QuantizedMatrix};
use calibrate::{InputRange, Scales, calibrate};
use elbo::bounds::FULL;
use elbo::kernel::Packing;
use elbo::program::{Opcode, ProgramKind};
use elbo::{Limits, LoadError, Meta, SelfTest};
use graph::FloatModel;
use rand_core::SeedableRng;

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A scale or bound does not fit an operation.
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    /// A layer's weights are too large for the scale that its output must have.
    #[error(
        "layer {layer}: its weights are too large for an output of {frac} fractional bits; train with weight decay or a smaller latent range"
    )]
    Scale {
        /// Name of the layer.
        layer: String,
        /// Fractional bits that its output must have.
        frac: u32,
    },
    /// There are no rows to calibrate with.
    #[error("no rows to calibrate with: the training split is empty")]
    NoCalibrationData,
    /// The metadata do not encode.
    #[error("the metadata do not encode: {0}")]
    Meta(#[from] postcard::Error),
    /// The runtime refuses what the compiler made: a bug in the compiler.
    #[error("the runtime refuses the compiled blob: {0}")]
    Refused(LoadError),
}

/// What the compiler is told besides the layers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model's name, kept in the blob.
    pub name: String,
    /// Rows and columns of an image; one row for a table.
    pub shape: [u16; 2],
    /// Mean and standard deviation of every feature, when the data were standardised.
    pub standardise: Option<(Vec<f32>, Vec<f32>)>,
    /// Draws of the Monte Carlo score.
    pub monte_carlo: u32,
    /// Draws of the importance-weighted score.
    pub importance: u32,
    /// Order of the weights.
    pub packing: Packing,
    /// Seed of the calibration's latents and of the self-test.
    pub seed: u64,
}

/// A compiled model with everything that the reports show.
#[derive(Debug)]
pub struct Compiled {
    /// The blob.
    pub blob: Blob,
    /// The float programs that it was made from.
    pub float: FloatModel,
    /// The scales chosen.
    pub scales: Scales,
    /// The quantised layers.
    pub matrices: Vec<QuantizedMatrix>,
    /// The planned programs.
    pub programs: Vec<PlannedProgram>,
}

/// What a blob says about the model it was made from.
#[derive(Clone, Debug)]
pub struct About {
    /// Model family, "vae" for example.
    pub family: String,
    /// Distribution of the data given the latent.
    pub likelihood: Likelihood,
    /// Latent dimensions.
    pub latent: usize,
}

/// Compiles a model. `calibration` and `held_out` are rows of x as the model sees them (binarised, standardised).
///
/// # Errors
/// [`CompileError`].
pub fn compile(
    float: FloatModel,
    about: &About,
    calibration: &[Vec<f32>],
    held_out: &[Vec<f32>],
    options: &Options,
) -> Result<Compiled, CompileError> {
    if calibration.is_empty() {
        return Err(CompileError::NoCalibrationData);
    }
    let float = fold::fold(float);
    let range = match about.likelihood {
        Likelihood::Bernoulli | Likelihood::Logistic => InputRange::Unit,
        Likelihood::Gaussian => InputRange::Standardised,
    };
    let mut scales = calibrate(&float, calibration, range, options.seed);
    let matrices = quantize_layers(&float, &mut scales)?;
    let programs = float.programs.iter().map(|p| plan::plan(p, &scales, &matrices)).collect::<Result<Vec<_>, _>>()?;

    let mut assembly = Assembly { programs, matrices, packing: options.packing, meta: Vec::new() };
    // Once to run it, once more with what that run found.
    let input = held_out.first().unwrap_or(&calibration[0]);
    let draft = Blob::from_words(assembly.words());
    let self_test = run_self_test(&draft, input, options.seed)?;
    let quantiles = score_quantiles(&draft, held_out)?;
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let (mean, std) = options.standardise.as_ref().map(|(mean, std)| (bytes(mean), bytes(std))).unwrap_or_default();
    let meta = Meta {
        name: &options.name,
        family: &about.family,
        likelihood: match about.likelihood {
            Likelihood::Bernoulli | Likelihood::Logistic => elbo::Likelihood::Bernoulli,
            Likelihood::Gaussian => elbo::Likelihood::Gaussian,
        },
        shape: options.shape,
        latent: about.latent as u16,
        monte_carlo_samples: options.monte_carlo as u16,
        importance_samples: options.importance as u16,
        feature_mean: &mean,
        feature_std: &std,
        score_quantiles: quantiles,
        self_test: SelfTest { input: &self_test.input, ..self_test.digests },
    };
    assembly.meta = postcard::to_stdvec(&meta)?;
    let blob = Blob::from_words(assembly.words());
    blob.load(Limits::default()).map_err(CompileError::Refused)?;
    Ok(Compiled { blob, float, scales, matrices: assembly.matrices, programs: assembly.programs })
}

/// Quantises every layer for the scale of what it reads, refining the scales of outputs that would need too large a multiplier.
fn quantize_layers(float: &FloatModel, scales: &mut Scales) -> Result<Vec<QuantizedMatrix>, CompileError> {
    let mut matrices: Vec<Option<QuantizedMatrix>> = vec![None; float.layers.len()];
    for program in &float.programs {
        let mut fracs = Vec::new();
        for node in &program.nodes {
            let source = node.inputs.first().copied();
            if node.opcode == Some(Opcode::Dense) && matrices[node.layer].is_none() {
                let from = &program.nodes[node.inputs[0]];
                let noise = from.opcode == Some(Opcode::Normal);
                let input_frac = if noise { scales.latent } else { fracs[node.inputs[0]] };
                let input_bound = match from.opcode {
                    None => scales.bound(program.kind),
                    _ => FULL,
                };
                let layer = &float.layers[node.layer];
                let wanted = scales.layers[node.layer];
                let output_frac = quantize::finest_output(layer, input_frac, wanted);
                if output_frac < wanted && forced(float, node.layer) {
                    return Err(CompileError::Scale { layer: float.layer_names[node.layer].clone(), frac: wanted });
                }
                scales.layers[node.layer] = output_frac;
                // A latent comes from a decoder's caller, an encoder or the noise: the largest of their bounds.
                let bound = if noise { FULL } else { input_bound };
                matrices[node.layer] = Some(quantize::quantize(layer, input_frac, output_frac, bound));
            }
            fracs.push(scales.frac(node.opcode, node.layer, program.kind, source.map(|s| fracs[s])));
        }
    }
    Ok(matrices.into_iter().flatten().collect())
}

/// Whether an operation fixes the scale of a layer's output: latents, log-variances and Gaussian means.
fn forced(float: &FloatModel, layer: usize) -> bool {
    float.programs.iter().any(|program| {
        let of_layer = |input: &usize| {
            let node = &program.nodes[*input];
            node.opcode == Some(Opcode::Dense) && node.layer == layer
        };
        program.nodes.iter().any(|node| {
            matches!(node.opcode, Some(Opcode::Clamp | Opcode::Kl | Opcode::Fma | Opcode::GaussianNll))
                && node.inputs.iter().any(of_layer)
        })
    })
}

struct SelfTestRun {
    input: Vec<u8>,
    digests: SelfTest<'static>,
}

fn run_self_test(blob: &Blob, input: &[f32], seed: u64) -> Result<SelfTestRun, CompileError> {
    let model = blob.load(Limits::default()).map_err(CompileError::Refused)?;
    let absent = || CompileError::Refused(LoadError::Metadata);
    let mut arena = crate::host::HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice()).map_err(|_| absent())?;
    let info = model.program(ProgramKind::Score).and_then(|p| p.input).ok_or_else(absent)?;
    let x = crate::host::quantize(input, &info);
    let mut out = vec![0; info.len];
    let rng = || elbo::rng::Xoshiro128PlusPlus::seed_from_u64(seed);
    let mut digests = SelfTest { seed, input: &[], sample: 0, reconstruct: 0, score: 0, monte_carlo: 0, importance: 0 };
    session.sample(&mut rng(), &mut out).map_err(|_| absent())?;
    digests.sample = elbo::crc32_i16(&out);
    session.reconstruct(&x, &mut out).map_err(|_| absent())?;
    digests.reconstruct = elbo::crc32_i16(&out);
    digests.score = session.score(&x).map_err(|_| absent())?.to_bits();
    digests.monte_carlo = session.score_monte_carlo(&x, &mut rng()).map_err(|_| absent())?.to_bits();
    digests.importance = session.score_importance(&x, &mut rng()).map_err(|_| absent())?.to_bits();
    Ok(SelfTestRun { input: x.iter().flat_map(|q| q.to_le_bytes()).collect(), digests })
}

/// 50, 90, 95, 99 and 99.9 % quantiles of the deterministic score over `rows`, Q16 nats; zeros without rows.
fn score_quantiles(blob: &Blob, rows: &[Vec<f32>]) -> Result<[i64; 5], CompileError> {
    let mut scores: Vec<i64> =
        blob.scores(rows).map_err(CompileError::Refused)?.iter().map(|nats| nats.to_bits()).collect();
    scores.sort_unstable();
    let at = |share: f64| scores.get(((scores.len() as f64 * share) as usize).min(scores.len().saturating_sub(1)));
    Ok([0.5, 0.9, 0.95, 0.99, 0.999].map(|share| at(share).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::DenseLayer;
    use crate::family::vae::{Layers, VaeSpec};
    use crate::nn::Activation;
    use fidelity::fidelity;
    use rand::{RngExt, SeedableRng};

    fn random_layers(spec: &VaeSpec, seed: u64) -> Layers {
        let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut layer = |inp: usize, out: usize| {
            let limit = 1.7 / (inp as f32).sqrt();
            let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-limit..limit)).collect::<Vec<f32>>();
            DenseLayer { w: draw(inp * out), b: draw(out), out, inp }
        };
        let mut stack = |from: usize, widths: &[usize]| {
            let mut inp = from;
            widths.iter().map(|out| layer(std::mem::replace(&mut inp, *out), *out)).collect::<Vec<_>>()
        };
        let encoder = stack(spec.input, &spec.hidden);
        let reversed: Vec<usize> = spec.hidden.iter().rev().copied().collect();
        let decoder = stack(spec.latent, &reversed);
        let top = *spec.hidden.last().unwrap();
        let gaussian = spec.likelihood == Likelihood::Gaussian;
        Layers {
            encoder,
            mu: layer(top, spec.latent),
            logvar: layer(top, spec.latent),
            decoder,
            head: layer(spec.hidden[0], spec.input),
            head_logvar: gaussian.then(|| layer(spec.hidden[0], spec.input)),
        }
    }

    fn compile_random(spec: &VaeSpec, rows: &[Vec<f32>], options: &Options) -> Result<Compiled, CompileError> {
        let float = lower::vae(spec, &random_layers(spec, 3), options.monte_carlo, options.importance);
        let about = About { family: "vae".into(), likelihood: spec.likelihood, latent: spec.latent };
        compile(float, &about, rows, rows, options)
    }

    fn rows(spec: &VaeSpec, n: usize) -> Vec<Vec<f32>> {
        let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(5);
        let mut value = || match spec.likelihood {
            Likelihood::Bernoulli => f32::from(u8::from(rng.random_range(0.0..1.0) < 0.3)),
            Likelihood::Gaussian | Likelihood::Logistic => rng.random_range(-2.0..2.0),
        };
        (0..n).map(|_| (0..spec.input).map(|_| value()).collect()).collect()
    }

    fn compiled(
        likelihood: Likelihood,
        activation: Activation,
        packing: Packing,
        hidden: &[usize],
    ) -> (Compiled, Vec<Vec<f32>>) {
        let spec = VaeSpec { input: 37, hidden: hidden.to_vec(), latent: 6, activation, likelihood };
        let rows = rows(&spec, 64);
        let options = Options {
            name: "test".into(),
            shape: [1, 37],
            standardise: None,
            monte_carlo: 3,
            importance: 7,
            packing,
            seed: 1,
        };
        (compile_random(&spec, &rows, &options).unwrap(), rows)
    }

    #[test]
    fn every_kind_of_vae_compiles_and_follows_the_float_graph() {
        for likelihood in [Likelihood::Bernoulli, Likelihood::Gaussian] {
            for activation in [Activation::Relu, Activation::Tanh] {
                for hidden in [&[24][..], &[30, 18, 9]] {
                    let (compiled, rows) = compiled(likelihood, activation, Packing::Dsp4, hidden);
                    for kind in [ProgramKind::Score, ProgramKind::ScoreMonteCarlo, ProgramKind::ScoreImportance] {
                        let f = fidelity(&compiled, kind, &rows, None, 9).unwrap();
                        println!("{likelihood:?} {activation:?} {hidden:?} {f}");
                        assert_eq!(f.rows, rows.len());
                        // Untrained Gaussian heads put rows far into their tails: the bound is relative.
                        assert!(f.mean.abs() < 0.02 + 0.002 * f.float && f.rms < 0.05 + 0.01 * f.float, "{f}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_linear_model_is_folded_before_it_is_quantised() {
        let (compiled, rows) = compiled(Likelihood::Bernoulli, Activation::Identity, Packing::Dsp4, &[30, 18]);
        let shapes: Vec<(usize, usize)> = compiled.matrices.iter().map(|m| (m.rows, m.cols)).collect();
        assert_eq!(shapes, [(6, 37), (6, 37), (37, 6)]);
        for kind in [ProgramKind::Score, ProgramKind::ScoreMonteCarlo, ProgramKind::ScoreImportance] {
            let f = fidelity(&compiled, kind, &rows, None, 9).unwrap();
            assert!(f.mean.abs() < 0.02 + 0.002 * f.float && f.rms < 0.05 + 0.01 * f.float, "{f}");
        }
    }

    #[test]
    fn packing_never_changes_a_bit() {
        let (a, rows) = compiled(Likelihood::Bernoulli, Activation::Relu, Packing::Dsp4, &[21, 10]);
        let (b, _) = compiled(Likelihood::Bernoulli, Activation::Relu, Packing::RowMajor, &[21, 10]);
        assert_ne!(a.blob, b.blob);
        assert_eq!(a.blob.scores(&rows).unwrap(), b.blob.scores(&rows).unwrap());
    }

    #[test]
    fn runs_take_exactly_the_proven_work() {
        let (compiled, rows) = compiled(Likelihood::Gaussian, Activation::Tanh, Packing::Dsp4, &[16]);
        let model = compiled.blob.load(Limits::default()).unwrap();
        let mut arena = crate::host::HostArena::new(&model);
        let mut session = model.session(arena.as_mut_slice()).unwrap();
        let info = model.program(ProgramKind::ScoreImportance).unwrap();
        let x = crate::host::quantize(&rows[0], &info.input.unwrap());
        let mut rng = elbo::rng::Xoshiro128PlusPlus::seed_from_u64(1);
        session.score_importance(&x, &mut rng).unwrap();
        assert_eq!(session.steps(), info.work);
        session.score(&x).unwrap();
        assert_eq!(session.steps(), model.program(ProgramKind::Score).unwrap().work);
    }

    #[test]
    fn nothing_to_calibrate_with_is_an_error() {
        let spec = VaeSpec {
            input: 3,
            hidden: vec![4],
            latent: 2,
            activation: Activation::Relu,
            likelihood: Likelihood::Bernoulli,
        };
        let options = Options {
            name: "empty".into(),
            shape: [1, 3],
            standardise: None,
            monte_carlo: 1,
            importance: 1,
            packing: Packing::Dsp4,
            seed: 0,
        };
        let error = compile_random(&spec, &[], &options).unwrap_err();
        assert!(matches!(error, CompileError::NoCalibrationData));
    }
}
