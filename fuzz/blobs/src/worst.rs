//! Blobs that take the longest to prove for their length.

use crate::builder::Parts;
use crate::extremes;
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind};

/// Names and words of blobs that repeat one operation, and of those in [`hostile`].
pub fn all() -> Vec<(String, Vec<u32>)> {
    let repeated = |extreme: &extremes::Extreme| (format!("{}, often", extreme.name), extreme.repeated(100));
    extremes::all(64).iter().map(repeated).chain(hostile()).collect()
}

/// Names and words of blobs of which each needs many checks of one kind. Some of them are refused, because the proof
/// would take too long.
pub fn hostile() -> Vec<(String, Vec<u32>)> {
    vec![
        ("all tensors alive".into(), alive(500)),
        ("tensors alive in turn".into(), alive_in_turn(600, 60)),
        ("couplings over all matrices".into(), couplings(60, 100)),
        ("convolutions of 225 phases".into(), phases(100)),
        ("programs that share their records".into(), shared(300)),
        ("matrices of one weight".into(), matrices(300)),
        ("loops in loops".into(), loops(150)),
    ]
}

/// Every tensor is read by the last operations.
fn alive(count: u32) -> Vec<u32> {
    let mut parts = Parts::new();
    parts.program(ProgramKind::ScoreMonteCarlo, |p| {
        p.input(1, 11, 32767);
        let all: Vec<u16> = (0..count).map(|_| p.normal(1)).collect();
        let scalar = all.into_iter().map(|x| p.scalar(Opcode::HalfSumSq, &[x], 0)).last();
        p.outputs(&[scalar.expect("at least one")]);
    });
    parts.words()
}

/// As many tensors are alive at every time as a proof may compare.
fn alive_in_turn(count: usize, together: usize) -> Vec<u32> {
    let mut parts = Parts::new();
    parts.program(ProgramKind::ScoreMonteCarlo, |p| {
        let x = p.input(1, 11, 32767);
        let mut all = vec![x];
        for at in 0..count {
            let oldest = all[at.saturating_sub(together)];
            all.push(p.map(Opcode::Relu, &[oldest], 11, 0));
        }
        let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
        p.outputs(&[scalar]);
    });
    parts.words()
}

fn layer(parts: &mut Parts, rows: usize, cols: usize) -> u16 {
    parts.matrix([rows, cols], Packing::RowMajor, 32768, |_, _| 1, |_| 0, |_| 1 << 22)
}

/// Operations each of which reads every matrix.
fn couplings(count: u32, operations: u32) -> Vec<u32> {
    let mut parts = Parts::new();
    for _ in 0..2 * count {
        layer(&mut parts, 1, 1);
    }
    let stack = CouplingStack {
        couplings: count as u8,
        layers: 0,
        activation: HiddenActivation::Identity,
        sixteen: false,
        inverse: false,
        normal: false,
        scale_log2: 0,
    };
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(2, 11, 32767);
        let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
        for _ in 0..operations {
            p.couplings(stack, 0, 1, x, 11);
        }
        p.outputs(&[scalar]);
    });
    parts.words()
}

fn phases(operations: u32) -> Vec<u32> {
    let mut parts = Parts::new();
    let geometry = ConvGeometry { height: 1, width: 1, kernel: 15, stride: 1, up: 15, pad: 7, output_padding: 0 };
    for phase in 0..geometry.phases() {
        layer(&mut parts, 1, geometry.taps(phase) as usize);
    }
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(1, 11, 32767);
        let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
        for _ in 0..operations {
            p.conv(x, 0, geometry, 11);
        }
        p.outputs(&[scalar]);
    });
    parts.words()
}

/// All programs of a model name the same operations and tensors.
fn shared(operations: u32) -> Vec<u32> {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(1, 11, 32767);
        let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
        for _ in 0..operations {
            p.map(Opcode::Exp, &[x], 11, 0);
        }
        p.outputs(&[scalar]);
    });
    let first = parts.programs[0];
    for kind in [ProgramKind::ScoreMonteCarlo, ProgramKind::ScoreImportance] {
        parts.programs.push(elbo::program::ProgramRecord { kind: kind as u32, ..first });
    }
    parts.words()
}

fn matrices(count: u32) -> Vec<u32> {
    let mut parts = Parts::new();
    for _ in 0..count {
        layer(&mut parts, 1, 1);
    }
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(1, 11, 32767);
        let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
        p.outputs(&[scalar]);
    });
    parts.words()
}

/// Four loops in each other, again and again.
fn loops(count: u32) -> Vec<u32> {
    let mut parts = Parts::new();
    let begin = Op { opcode: Opcode::Loop, param: 0, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm: 1 };
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(1, 11, 32767);
        let scalar = p.scalar(Opcode::HalfSumSq, &[x], 0);
        for _ in 0..count {
            let open = [(); 4].map(|()| p.op(begin, &[], crate::builder::vector_of(1, 11)));
            let mut inner = x;
            for output in open.into_iter().rev() {
                p.end(output, inner);
                inner = output;
            }
        }
        p.outputs(&[scalar]);
    });
    parts.words()
}
