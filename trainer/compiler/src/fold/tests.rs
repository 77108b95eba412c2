use elbo::program::{Opcode, ProgramKind};
use rand::RngExt;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::graph::Builder;
use crate::stimulus::{fill_normal, generator};

/// Runs every program of both models on the same inputs and noise.
fn assert_same(before: &FloatModel, after: &FloatModel) {
    for (program, folded) in before.programs.iter().zip(&after.programs) {
        assert_eq!(program.kind, folded.kind);
        for seed in 0..20 {
            let len = if program.nodes[0].is_input() { program.nodes[0].len } else { 0 };
            let mut x = vec![0.0; len];
            fill_normal(&mut generator(seed), &mut x);
            let run = |model: &FloatModel, program: &FloatProgram| {
                let mut rng = generator(seed + 100);
                model.run(program, &[&x], &mut |out| fill_normal(&mut rng, out))
            };
            let (a, b) = (run(before, program), run(after, folded));
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{}: {a} {b}", program.kind.name());
            }
        }
    }
}

/// A layer `out` x `inp` of small numbers.
fn layer(out: usize, inp: usize, seed: u64) -> DenseLayer {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let limit = 1.0 / inp as f32;
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-limit..limit)).collect() };
    DenseLayer { w: draw(out * inp), b: draw(out), out, inp }
}

fn with(layers: Vec<DenseLayer>, program: FloatProgram) -> FloatModel {
    let layer_names = (0..layers.len()).map(|i| format!("l{i}")).collect();
    FloatModel { layers, layer_names, programs: vec![program] }
}

#[test]
fn a_layer_that_something_else_reads_is_kept() {
    let mut b = Builder::default();
    let x = b.input(6);
    let inner = b.dense(0, 6, x);
    let outer = b.dense(1, 6, inner);
    let also = b.scalar(Opcode::HalfSumSq, 0, &[inner]);
    let sum = b.scalar(Opcode::Sum, 0, &[outer]);
    let out = b.scalar(Opcode::Add, 0, &[also, sum]);
    let shared = with(vec![layer(6, 6, 1), layer(6, 6, 2)], b.finish(ProgramKind::Score, &[out]));
    assert_eq!(fold(shared.clone()), shared);

    let mut b = Builder::default();
    let x = b.input(6);
    let inner = b.dense(0, 6, x);
    let outer = b.dense(1, 6, inner);
    let output = with(vec![layer(6, 6, 1), layer(6, 6, 2)], b.finish(ProgramKind::Encode, &[inner, outer]));
    assert_eq!(fold(output.clone()), output);
}

#[test]
fn a_layer_that_another_program_reads_alone_is_kept() {
    let mut b = Builder::default();
    let x = b.input(6);
    let inner = b.dense(0, 6, x);
    let outer = b.dense(1, 6, inner);
    let mut before = with(vec![layer(6, 6, 1), layer(6, 6, 2)], b.finish(ProgramKind::Reconstruct, &[outer]));
    let mut b = Builder::default();
    let z = b.input(6);
    let outer = b.dense(1, 6, z);
    before.programs.push(b.finish(ProgramKind::Decode, &[outer]));
    assert_eq!(fold(before.clone()), before);
    // Without the other program, the first one would fold.
    before.programs.pop();
    assert_eq!(fold(before).layers.len(), 1);
}

#[test]
fn a_layer_is_not_moved_into_a_loop_that_repeats_it() {
    // The layers are 30 -> width -> 8, and the second layer runs three times. Merged, 240 weights run three times. With
    // a width of 60 this is less than before. With 10 it is fewer weights, but 720 multiply-accumulates instead of 540.
    for (width, merges) in [(60, true), (10, false)] {
        let mut b = Builder::default();
        let x = b.input(30);
        let inner = b.dense(0, width, x);
        let vector = b.begin(3);
        let outer = b.dense(1, 8, inner);
        let value = b.scalar(Opcode::Sum, 0, &[outer]);
        b.end(value);
        let out = b.scalar(Opcode::Mean, 0, &[vector]);
        let before = with(vec![layer(width, 30, 3), layer(8, width, 4)], b.finish(ProgramKind::Score, &[out]));
        let after = fold(before.clone());
        assert_same(&before, &after);
        assert_eq!(after.layers.len(), if merges { 1 } else { 2 });
    }
}

#[test]
fn dead_nodes_vanish_and_noise_stays() {
    let mut b = Builder::default();
    let x = b.input(5);
    let unread = b.dense(0, 7, x);
    b.map(Opcode::Tanh, 0, &[unread]);
    let dead_vector = b.begin(4);
    let value = b.scalar(Opcode::HalfSumSq, 0, &[x]);
    b.end(value);
    b.scalar(Opcode::Mean, 0, &[dead_vector]);
    b.normal(3);
    let vector = b.begin(2);
    let eps = b.normal(5);
    b.map(Opcode::Exp, 0, &[eps]);
    let moved = b.map(Opcode::Fma, 0, &[eps, x, x]);
    let y = b.dense(1, 2, moved);
    let value = b.scalar(Opcode::HalfSumSq, 0, &[y]);
    b.end(value);
    let out = b.scalar(Opcode::Mean, 0, &[vector]);
    let before = with(vec![layer(7, 5, 1), layer(2, 5, 2)], b.finish(ProgramKind::ScoreMonteCarlo, &[out]));
    let after = fold(before.clone());
    assert_same(&before, &after);
    let opcodes: Vec<Option<Opcode>> = after.programs[0].nodes.iter().map(|node| node.opcode()).collect();
    let expected = [
        None,
        Some(Opcode::Normal),
        Some(Opcode::Loop),
        Some(Opcode::Normal),
        Some(Opcode::Fma),
        Some(Opcode::Dense),
        Some(Opcode::HalfSumSq),
        Some(Opcode::End),
        Some(Opcode::Mean),
    ];
    assert_eq!(opcodes, expected);
    assert_eq!(after.layer_names, ["l1"]);
}

#[test]
fn a_loop_stays_for_the_noise_in_it() {
    let mut b = Builder::default();
    let x = b.input(5);
    b.begin(4);
    let eps = b.normal(5);
    b.map(Opcode::Exp, 0, &[eps]);
    let value = b.scalar(Opcode::HalfSumSq, 0, &[eps]);
    b.end(value);
    let last = b.normal(5);
    let out = b.map(Opcode::Fma, 0, &[last, x, x]);
    let before = with(vec![], b.finish(ProgramKind::Encode, &[out]));
    let after = fold(before.clone());
    assert_same(&before, &after);
    assert_eq!(after.programs[0].nodes.len(), before.programs[0].nodes.len() - 1);
}

#[test]
fn clamps_that_change_nothing_vanish_and_others_stay() {
    let mut b = Builder::default();
    let x = b.input(4);
    let y = b.map(Opcode::Sigmoid, 0, &[x]);
    let y = b.clamp([-0.5, 1.0], y);
    let y = b.map(Opcode::Relu, 0, &[y]);
    let kept = b.clamp([0.25, 2.0], y);
    let out = b.clamp([0.25, 3.0], kept);
    let positive = b.map(Opcode::Relu, 0, &[x]);
    let before = with(vec![], b.finish(ProgramKind::Encode, &[out, y, positive]));
    let after = fold(before.clone());
    assert_same(&before, &after);
    let opcodes: Vec<Option<Opcode>> = after.programs[0].nodes.iter().map(|node| node.opcode()).collect();
    assert_eq!(opcodes, [None, Some(Opcode::Sigmoid), Some(Opcode::Clamp), Some(Opcode::Relu)]);
    assert_eq!(after.programs[0].outputs, [2, 1, 3]);
}
