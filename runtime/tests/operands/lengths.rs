//! Types and lengths that an operation does not accept.

use crate::case::{STACK, case, coupled, vector};
use crate::{gives, opcodes};
use elbo::bounds::OperandError as E;
use elbo::coupling::CouplingStack;
use elbo::program::{Opcode, TensorKind};

#[test]
fn operands_of_the_wrong_type() {
    for opcode in opcodes() {
        let written = opcode.writes_extra().then_some(2);
        for slot in (0..opcode.inputs()).chain(written) {
            for kind in [TensorKind::I16, TensorKind::Nats, TensorKind::Invalid] {
                if kind != case(opcode).inputs[slot].kind {
                    gives(opcode, Err(E::Kind), |case| case.inputs[slot].kind = kind);
                }
            }
        }
        // The output of a loop may have either type. Its end compares this type with that of the stored value.
        if !matches!(opcode, Opcode::Loop) {
            gives(opcode, Err(E::Kind), |case| case.output.kind = TensorKind::Invalid);
        }
    }
    gives(Opcode::Dense, Err(E::Kind), |case| case.matrices.clear());
    gives(Opcode::Dense, Err(E::Kind), |case| case.op.arg = 1);
    gives(Opcode::End, Ok(9), |case| (case.inputs[0], case.output) = (vector(11, 9, 3), vector(11, 1, 12)));
}

#[test]
fn operands_of_other_lengths() {
    use Opcode as O;
    for opcode in opcodes() {
        // Reductions of one vector take any length. So do loops, whose iterations the verifier counts.
        let reduces = opcode.inputs() == 1 && opcode.rules().output_len(2) == Some(1);
        let free = matches!(opcode, O::End | O::Statistics) || reduces && case(opcode).inputs[0].len > 1;
        for slot in 0..if free { 0 } else { opcode.inputs() } {
            // A slice may be part of a longer vector.
            let expected = if opcode == O::Slice { Ok(100) } else { Err(E::Shape) };
            gives(opcode, expected, |case| case.inputs[slot].len += 1);
        }
        if !matches!(opcode, O::Normal | O::OneHot | O::End) {
            let more = if opcode == O::MeanVec { 2 } else { 1 };
            gives(opcode, Err(E::Shape), |case| case.output.len += more);
        }
    }
    gives(O::Slice, Ok(100), |case| case.op.imm = 0);
    gives(O::Slice, Err(E::Shape), |case| case.op.imm = 4);
    gives(O::Slice, Err(E::Shape), |case| case.op.imm = u32::MAX - 1);
    gives(O::MeanVec, Ok(100), |case| case.output.len = 3);
    gives(O::MeanVec, Ok(100), |case| case.output.len = 6);
    gives(O::MeanVec, Err(E::Shape), |case| case.output.len = 12);
    gives(O::Concat, Err(E::Shape), |case| case.inputs[0].len = 1 << 16);
    for opcode in [O::Planar, O::Radial] {
        gives(opcode, Err(E::Shape), |case| case.inputs[2].len = 2);
        gives(opcode, Err(E::Shape), |case| case.inputs[1].len = 1);
        // One step of the largest number of dimensions, and one dimension more.
        for (n, expected) in [(1024, Ok(32768)), (1025, Err(E::Shape)), (65536, Err(E::Shape))] {
            gives(opcode, expected, |case| {
                (case.inputs[0].len, case.output.len) = (n, n);
                case.inputs[1].len = if opcode == O::Planar { 2 * n + 1 } else { n + 2 };
            });
        }
    }
    let full = Ok(32768);
    gives(O::Couplings, Err(E::Shape), |case| case.inputs[2].len = 2);
    gives(O::Couplings, Err(E::Kind), |case| case.op.arg = 6);
    gives(O::Couplings, Err(E::Bound), |case| case.matrices[3].input_bound = 32767);
    // The sizes of the matrices follow from each other, except for the rows of hidden layers.
    for at in 0..6 {
        let rows = if at % 3 == 0 { 2..4 } else { 1..2 };
        for (more_rows, more_cols) in rows.map(|more| (more, 0)).chain([(0, 1)]) {
            gives(O::Couplings, Err(E::Shape), |case| {
                case.matrices[at].rows += more_rows;
                case.matrices[at].cols += more_cols;
            });
        }
    }
    gives(O::Couplings, Err(E::Shape), |case| case.matrices.truncate(5));
    gives(O::Couplings, Err(E::Shape), |case| (case.inputs[0].len, case.output.len) = (1, 40));
    let with = |edit: &dyn Fn(&mut CouplingStack)| {
        let mut stack = STACK;
        edit(&mut stack);
        stack.pack()
    };
    let shape = |expected, edit: &dyn Fn(&mut CouplingStack)| {
        gives(O::Couplings, expected, |case| (case.op.imm, case.op.param) = with(edit));
    };
    shape(full, &|stack| stack.couplings = 1);
    shape(Err(E::Shape), &|stack| stack.couplings = 0);
    shape(Err(E::Shape), &|stack| stack.couplings = 3);
    shape(Err(E::Shape), &|stack| stack.layers = 0);
    shape(Err(E::Shape), &|stack| stack.layers = 2);
    shape(Err(E::Shape), &|stack| stack.sixteen = true);
    for scale_log2 in [-9, 4, 127, -128] {
        shape(Err(E::Shape), &|stack| stack.scale_log2 = scale_log2);
    }
    for scale_log2 in [-8, 3] {
        shape(full, &|stack| stack.scale_log2 = scale_log2);
    }
    for (bits, expected) in
        [(1 << 16, full), (2 << 16, full), (3 << 16, Err(E::Shape)), (8 << 16, full), (16 << 16, full)]
    {
        gives(O::Couplings, expected, |case| case.op.imm |= bits);
    }
    for bit in 21..32 {
        gives(O::Couplings, Err(E::Shape), |case| case.op.imm |= 1 << bit);
    }
    // The columns of the upper bytes are padded to a multiple of four; those of the lower bytes follow.
    gives(O::Couplings, full, |case| {
        (case.op.imm, case.op.param) = with(&|stack| stack.sixteen = true);
        case.matrices.iter_mut().for_each(|matrix| matrix.cols = 2 * matrix.cols.next_multiple_of(4));
    });
    // Without hidden layers.
    gives(O::Couplings, full, |case| {
        (case.op.imm, case.op.param) = with(&|stack| stack.layers = 0);
        case.matrices = [[2, 3], [2, 3], [3, 2], [3, 2]].map(coupled).to_vec();
        case.output.len = 32;
    });
    gives(O::Loop, Ok(33), |case| (case.op.imm, case.output.len) = (4, 12));
    gives(O::Loop, Ok(33), |case| (case.op.imm, case.output) = (4, vector(11, 33, 12)));
    gives(O::Loop, Err(E::Shape), |case| case.op.imm = 0);
    gives(O::Loop, Err(E::Shape), |case| case.op.imm = 8);
}
