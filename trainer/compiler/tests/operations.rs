//! Every operation of vectors of one length is compiled, and its integers are close to the float graph. The operations
//! and their operands follow from the table of operations.

use elbo::ProgramKind;
use elbo::front::{Bands, Statistic, Taper};
use elbo::kernel::Packing;
use elbo::program::{Extra, Immediate as Holds, Opcode, ScaleRule, TensorKind};
use elbo_compiler::fidelity::paired;
use elbo_compiler::graph::{Builder, DenseLayer, FloatModel, FloatProgram, Immediate, NodeId};
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::stimulus::{InputRange, generator};
use elbo_compiler::{HeldOut, Likelihood, ModelDescription, Options, compile};
use rand_core::Rng;

/// Elements of an operand.
const LEN: usize = 6;

/// Whether an operation takes only vectors of activations of one length.
fn takes_vectors(opcode: Opcode) -> bool {
    let rules = opcode.rules();
    let kinds = (0..rules.inputs()).all(|slot| rules.input_kind(slot) == Some(TensorKind::I16));
    let settled = rules.output_len(LEN as u32).is_some() && rules.extra() == Extra::None && !rules.uses_arg();
    opcode.compiled() && rules.inputs() > 0 && kinds && settled
}

fn immediate(of: Holds) -> Immediate {
    match of {
        Holds::None => Immediate::None,
        Holds::Factor => Immediate::Slope(0.3),
        Holds::Interval => Immediate::Interval([-0.5, 0.7]),
        Holds::Iterations
        | Holds::Index
        | Holds::Nats
        | Holds::Value
        | Holds::Geometry
        | Holds::Couplings
        | Holds::Bands
        | Holds::Statistics => unreachable!("{of:?} belongs to no operation of vectors of one length"),
    }
}

/// A score: what the operation gives for three parts of the row, or half its squares.
fn program(opcode: Opcode) -> FloatProgram {
    let rules = opcode.rules();
    let mut b = Builder::default();
    let x = b.input(3 * LEN);
    // Only noise has the scale of noise.
    let noise = |slot| rules.input_scale(slot) == ScaleRule::SameAsOutput && rules.written_scale() != ScaleRule::Any;
    let inputs: Vec<NodeId> =
        (0..rules.inputs()).map(|slot| if noise(slot) { b.normal(LEN) } else { b.slice(x, slot * LEN, LEN) }).collect();
    let mut y = if rules.output_len(2) == Some(1) { b.scalar(opcode, 0, &inputs) } else { b.map(opcode, 0, &inputs) };
    if rules.output_kind() == Some(TensorKind::I16) {
        y = b.scalar(Opcode::HalfSumSq, 0, &[y]);
    } else if b.len(y) > 1 {
        y = b.scalar(Opcode::Mean, 0, &[y]);
    }
    let mut program = b.finish(ProgramKind::ScoreMonteCarlo, &[y]);
    let node = program.nodes.iter_mut().find(|node| node.opcode() == Some(opcode)).expect("the operation");
    node.imm = immediate(opcode.facts().imm());
    program
}

/// Rows of real numbers of at most this magnitude.
fn description(largest: f32) -> ModelDescription {
    ModelDescription {
        family: "test".into(),
        likelihood: Likelihood::Gaussian,
        data: InputRange::Real(largest),
        latent: LEN,
        classes: 0,
    }
}

fn options(len: usize) -> Options {
    Options {
        name: "operation".into(),
        shape: [1, len as u16],
        standardise: None,
        reading: Vec::new(),
        monte_carlo: 1,
        importance: 0,
        packing: Packing::RowMajor,
        weight_bits: Some(WeightBits::Eight),
        front: None,
        example: None,
        seed: 1,
    }
}

#[test]
fn integers_are_close_to_the_float_graph() {
    let mut random = generator(1);
    let mut value = || random.next_u32() as i32 as f32 / (1u32 << 31) as f32;
    let rows: Vec<Vec<f32>> = (0..60).map(|_| (0..3 * LEN).map(|_| value()).collect()).collect();
    let description = description(1.0);
    let options = options(3 * LEN);
    for opcode in Opcode::ALL.into_iter().filter(|opcode| takes_vectors(*opcode)) {
        let float = FloatModel { programs: vec![program(opcode)], ..FloatModel::default() };
        let compiled = compile(float, &description, &rows, HeldOut::Rows(&[]), &options)
            .unwrap_or_else(|e| panic!("{opcode:?}: {e}"));
        let pairs = paired(&compiled, ProgramKind::ScoreMonteCarlo, &rows, 3).expect("a program that runs");
        let scores: Vec<[f64; 2]> = pairs.iter().map(|pair| pair.scalars).collect();
        for &[float, integer] in &scores {
            assert!((float - integer).abs() < 0.003 + 0.003 * float.abs(), "{opcode:?}: {float} {integer}");
        }
        let differ = scores.iter().any(|[float, _]| (float - scores[0][0]).abs() > 0.02);
        assert!(differ, "{opcode:?} gives the same for all rows: {scores:?}");
    }
}

/// Band energies and statistics of a window: the sum of each, so that a row tests all of them.
#[test]
fn a_front_end_is_close_to_the_float_graph() {
    const WINDOW: usize = 128;
    let mut random = generator(2);
    let mut value = || random.next_u32() as i32 as f32 / (1u32 << 31) as f32;
    // Tones of several pitches and volumes in noise.
    let rows: Vec<Vec<f32>> = (0..40)
        .map(|row| {
            let (pitch, volume) = (0.05 * row as f32, 3.0 * 1.25f32.powi(row));
            (0..WINDOW).map(|i| (100.0 + volume * ((pitch * i as f32).sin() + 0.5 * value())).round()).collect()
        })
        .collect();
    let edges =
        DenseLayer { w: vec![0.0; 7], b: [1, 3, 6, 10, 18, 30, 65].map(|edge| edge as f32).to_vec(), out: 7, inp: 1 };
    let front = |bands: Option<Bands>| {
        let mut b = Builder::default();
        let x = b.input(WINDOW);
        let features = match bands {
            Some(bands) => {
                let one = b.slice(x, 0, 1);
                let edges = b.dense(0, 7, one);
                b.log_bands(bands, x, edges)
            }
            None => b.statistics(&Statistic::ALL, x),
        };
        let sum = b.scalar(Opcode::Sum, 0, &[features]);
        b.finish(ProgramKind::Score, &[sum])
    };
    let layout = |taper, triangular| Some(Bands { window_log2: 7, taper, triangular });
    for bands in [None, layout(Taper::Hann, true), layout(Taper::Hann, false), layout(Taper::Rectangular, true)] {
        let float =
            FloatModel { layers: vec![edges.clone()], layer_names: vec!["edges".into()], programs: vec![front(bands)] };
        let compiled =
            compile(float, &description(24000.0), &rows, HeldOut::Rows(&[]), &options(WINDOW)).expect("a front end");
        for pair in paired(&compiled, ProgramKind::Score, &rows, 3).expect("a program that runs") {
            let [float, integer] = pair.scalars;
            assert!((float - integer).abs() < 0.03, "{bands:?}: {float} {integer}");
        }
    }
}

/// A mean that is huge for rows far out saturates: a model that learned such a layer still has a score.
#[test]
fn a_likelihood_with_huge_means_compiles() {
    let mean = DenseLayer { w: vec![60.0, -60.0, 60.0, -60.0], b: vec![0.0; 2], out: 2, inp: 2 };
    let log_variance = DenseLayer { w: vec![0.0; 4], b: vec![0.5; 2], out: 2, inp: 2 };
    let mut b = Builder::default();
    let x = b.input(2);
    let (mean_of_x, log_variance_of_x) = (b.dense(0, 2, x), b.dense(1, 2, x));
    let log_variance_of_x = b.clamp([-8.0, 4.0], log_variance_of_x);
    let score = b.scalar(Opcode::GaussianNll, 0, &[mean_of_x, log_variance_of_x, x]);
    let float = FloatModel {
        layers: vec![mean, log_variance],
        layer_names: vec!["mean".into(), "log-variance".into()],
        programs: vec![b.finish(ProgramKind::Score, &[score])],
    };
    // Normal rows cancel almost.
    let rows: Vec<Vec<f32>> = (0..20).map(|at| vec![1.0, 1.0 + 0.01 * at as f32]).collect();
    let compiled = compile(float, &description(15.99), &rows, HeldOut::Rows(&[]), &options(2)).expect("a score");
    for pair in paired(&compiled, ProgramKind::Score, &rows, 3).expect("a program that runs") {
        let [float, integer] = pair.scalars;
        assert!((float - integer).abs() < 0.1 + 0.01 * float, "{float} {integer}");
    }
}
