//! Every operation of vectors of one length is compiled, and its integers are close to the float graph. The operations
//! and their operands follow from the table of operations.

use elbo::ProgramKind;
use elbo::kernel::Packing;
use elbo::program::{Extra, Immediate as Holds, Opcode, ScaleRule, TensorKind};
use elbo_compiler::fidelity::paired;
use elbo_compiler::graph::{Builder, FloatModel, FloatProgram, Immediate, NodeId};
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::stimulus::{InputRange, generator};
use elbo_compiler::{Likelihood, ModelDescription, Options, compile};
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
        Holds::Iterations | Holds::Index | Holds::Nats | Holds::Value | Holds::Geometry | Holds::Couplings => {
            unreachable!("{of:?} belongs to no operation of vectors of one length")
        }
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

#[test]
fn integers_are_close_to_the_float_graph() {
    let mut random = generator(1);
    let mut value = || random.next_u32() as i32 as f32 / (1u32 << 31) as f32;
    let rows: Vec<Vec<f32>> = (0..60).map(|_| (0..3 * LEN).map(|_| value()).collect()).collect();
    let description = ModelDescription {
        family: "test".into(),
        likelihood: Likelihood::Gaussian,
        data: InputRange::Real(1.0),
        latent: LEN,
        classes: 0,
    };
    let options = Options {
        name: "operation".into(),
        shape: [1, 3 * LEN as u16],
        standardise: None,
        reading: Vec::new(),
        monte_carlo: 1,
        importance: 0,
        packing: Packing::RowMajor,
        weight_bits: WeightBits::Eight,
        seed: 1,
    };
    for opcode in Opcode::ALL.into_iter().filter(|opcode| takes_vectors(*opcode)) {
        let float = FloatModel { programs: vec![program(opcode)], ..FloatModel::default() };
        let compiled = compile(float, &description, &rows, &[], &options).unwrap_or_else(|e| panic!("{opcode:?}: {e}"));
        let pairs = paired(&compiled, ProgramKind::ScoreMonteCarlo, &rows, 3).expect("a program that runs");
        let scores: Vec<[f64; 2]> = pairs.iter().map(|pair| pair.scalars).collect();
        for &[float, integer] in &scores {
            assert!((float - integer).abs() < 0.003 + 0.003 * float.abs(), "{opcode:?}: {float} {integer}");
        }
        let differ = scores.iter().any(|[float, _]| (float - scores[0][0]).abs() > 0.02);
        assert!(differ, "{opcode:?} gives the same for all rows: {scores:?}");
    }
}
