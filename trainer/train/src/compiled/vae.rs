//! VAEs of every kind, compiled: the passes together.

use candle_core::{DType, Device};
use elbo::Limits;
use elbo::kernel::Packing;
use elbo::program::ProgramKind;
use elbo_compiler::fidelity::{Labels, fidelity};
use elbo_compiler::host::{HostArena, quantize};
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::stimulus::InputRange;
use elbo_compiler::{CompileError, Compiled, HeldOut, Likelihood, ModelDescription, Options, compile};
use rand::{RngExt, SeedableRng};

use crate::family::vae::{Vae, VaeSpec};
use crate::model::Model;
use crate::nn::Activation;
use crate::settings::ExportRecipe;

fn compile_random(spec: &VaeSpec, rows: &[Vec<f32>], options: &Options) -> Result<Compiled, CompileError> {
    let (monte_carlo_samples, importance_samples) = (options.monte_carlo as usize, options.importance as usize);
    let export =
        ExportRecipe { monte_carlo_samples, importance_samples: Some(importance_samples), ..ExportRecipe::default() };
    let float = Vae::new(spec.clone(), 3, &Device::Cpu, DType::F32).unwrap().lower(&export).unwrap();
    let data = match spec.likelihood {
        Likelihood::Gaussian => InputRange::Real(15.99),
        _ => InputRange::Unit,
    };
    let description =
        ModelDescription { family: "vae".into(), likelihood: spec.likelihood, data, latent: spec.latent, classes: 0 };
    compile(float, &description, rows, HeldOut::Rows(rows), options)
}

fn rows(spec: &VaeSpec, n: usize) -> Vec<Vec<f32>> {
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(5);
    let mut value = || match spec.likelihood {
        Likelihood::Bernoulli => f32::from(u8::from(rng.random_range(0.0..1.0) < 0.3)),
        _ => rng.random_range(-2.0..2.0),
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
        front: None,
        example: None,
        name: "test".into(),
        shape: [1, 37],
        standardise: None,
        reading: Vec::new(),
        monte_carlo: 3,
        importance: 7,
        packing,
        weight_bits: Some(WeightBits::Eight),
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
                    let f = fidelity(&compiled, kind, &rows, Labels::default(), 9).unwrap();
                    println!("{likelihood:?} {activation:?} {hidden:?} {f}");
                    assert_eq!(f.rows, rows.len());
                    // Untrained Gaussian heads put rows far into their tails: the bound is relative.
                    let d = f.nats.unwrap();
                    assert!(d.mean.abs() < 0.02 + 0.002 * d.float && d.rms < 0.05 + 0.01 * d.float, "{f}");
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
        let f = fidelity(&compiled, kind, &rows, Labels::default(), 9).unwrap();
        let d = f.nats.unwrap();
        assert!(d.mean.abs() < 0.02 + 0.002 * d.float && d.rms < 0.05 + 0.01 * d.float, "{f}");
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
    let model = compiled.blob.load(Limits::host()).unwrap();
    let mut arena = HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice()).unwrap();
    let info = model.program(ProgramKind::ScoreImportance).unwrap();
    let x = quantize(&rows[0], &info.inputs[0].unwrap());
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
        front: None,
        example: None,
        name: "empty".into(),
        shape: [1, 3],
        standardise: None,
        reading: Vec::new(),
        monte_carlo: 1,
        importance: 1,
        packing: Packing::Dsp4,
        weight_bits: Some(WeightBits::Eight),
        seed: 0,
    };
    let error = compile_random(&spec, &[], &options).unwrap_err();
    assert!(matches!(error, CompileError::NoCalibrationData));
}
