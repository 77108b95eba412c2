//! Operations: fields, operands and loops.

use crate::{breaks, load};
use elbo::LoadError as E;
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind, TensorKind};
use elbo_fuzz_blobs::builder::{Parts, Records};

#[test]
fn operations() {
    let wrong = |op| E::Operation { op };
    breaks(wrong(8), |p| p.ops[8].opcode = Opcode::Invalid);
    breaks(wrong(1), |p| p.ops[1].param = 1);
    breaks(wrong(1), |p| p.ops[1].arg = 1);
    breaks(wrong(1), |p| p.ops[1].imm = 1);
    breaks(wrong(1), |p| p.ops[1].inputs[1] = 0);
    breaks(wrong(3), |p| p.ops[3].inputs[2] = 0);

    let operand = |op| E::Operand { op };
    breaks(operand(1), |p| p.ops[1].inputs[0] = 3);
    breaks(operand(0), |p| p.ops[0].arg = 2);
    breaks(operand(6), |p| p.ops[6].output = 1);
    // One operation writes the tensor of another one, or no tensor.
    for output in [1, NO_TENSOR] {
        breaks(operand(9), |p| {
            p.ops.push(Op { output, ..p.ops[8] });
            p.programs[2].ops_len = 2;
            (p.tensors[9].last, p.tensors[10].last) = (2, 3);
        });
    }

    let dead = |op| E::NotAlive { op };
    breaks(dead(1), |p| p.ops[1].inputs[0] = 2);
    breaks(dead(1), |p| p.ops[1].inputs[0] = 0);
    breaks(dead(6), |p| p.ops[6].inputs[0] = 1);
    breaks(E::Noise { op: 3 }, |p| p.programs[1].kind = ProgramKind::Score as u32);
    breaks(E::Shape { op: 8 }, |p| p.tensors[10].len = 2);
    breaks(E::Shape { op: 2 }, |p| p.tensors[4].len = 2);
    breaks(E::Scale { op: 1 }, |p| p.tensors[2].frac = 9);
    breaks(E::Bound { op: 1 }, |p| p.tensors[2].bound += 1);
    breaks(E::Bound { op: 8 }, |p| p.tensors[9].bound = 4097);
}

#[test]
fn loops() {
    // The count is checked before the length of the output, because a count above 65536 can match no length.
    breaks(E::Loop { op: 2 }, |p| p.ops[2].imm = 0);
    breaks(E::Loop { op: 2 }, |p| p.ops[2].imm = 65537);
    // A loop ends where its record says, which is inside the program.
    breaks(E::Loop { op: 2 }, |p| p.ops[2].arg = 100);
    breaks(E::Loop { op: 2 }, |p| p.ops[2].arg = 0);
    breaks(E::Lifetime { tensor: 3 }, |p| p.ops[2].arg += 1);
    // Without its loop, operation 2 is another operation that writes nats.
    let score = |write: fn(&mut elbo_fuzz_blobs::builder::Program<'_>)| {
        let mut parts = Parts::new();
        parts.program(ProgramKind::Score, write);
        parts
    };
    let mut closed_twice = score(|p| {
        let x = p.input(1, 0, 1);
        let a = p.scalar(Opcode::Sum, &[x], 0);
        p.outputs(&[a]);
    });
    let end = Op { opcode: Opcode::End, output: NO_TENSOR, inputs: [1, NO_TENSOR, NO_TENSOR], ..closed_twice.ops[0] };
    closed_twice.ops.push(end);
    closed_twice.programs[0].ops_len += 1;
    closed_twice.tensors[1].last += 1;
    assert_eq!(load(&closed_twice.words()), Err(E::Loop { op: 1 }));

    let mut open = score(|p| {
        let x = p.input(1, 0, 1);
        let a = p.scalar(Opcode::Sum, &[x], 0);
        let terms = p.begin(2);
        p.end(terms, a);
        p.outputs(&[a]);
    });
    // The end is removed, and with it the tensors that live one operation longer.
    open.ops.pop();
    open.programs[0].ops_len -= 1;
    open.tensors[1].last -= 1;
    assert_eq!(load(&open.words()), Err(E::Loop { op: 1 }));
    open.ops[1].inputs[0] = 0;
    assert_eq!(load(&open.words()), Err(E::Operation { op: 1 }));

    let deep = |depth: usize| {
        let mut parts = Parts::new();
        parts.program(ProgramKind::Score, |p| {
            let x = p.input(1, 0, 1);
            let vectors: Vec<u16> = (0..depth).map(|_| p.begin(2)).collect();
            let mut a = p.scalar(Opcode::Sum, &[x], 0);
            for vector in vectors.into_iter().rev() {
                p.end(vector, a);
                a = p.scalar(Opcode::Mean, &[vector], 0);
            }
            p.outputs(&[a]);
        });
        parts
    };
    let mut deepest = deep(4);
    assert_eq!(load(&deepest.words()), Ok(()));
    // A fifth loop around all others. The tensor that it writes follows the input.
    let end = deepest.ops.len() as u16 + 1;
    for op in &mut deepest.ops {
        for reference in op.inputs.iter_mut().chain([&mut op.output]).filter(|tensor| **tensor != NO_TENSOR) {
            *reference += u16::from(*reference > 0);
        }
        op.arg += u16::from(op.arg > 0);
    }
    for tensor in &mut deepest.tensors {
        tensor.first += u16::from(tensor.first != 0);
        tensor.last += 1;
    }
    let outermost = Op { output: 1, arg: end, ..deepest.ops[0] };
    deepest.ops.insert(0, outermost);
    let vector = elbo::program::Tensor { offset: deepest.arena_len, first: 1, last: end, ..deepest.tensors[1] };
    deepest.tensors.insert(1, vector);
    deepest.arena_len += vector.extent();
    deepest.programs[0].ops_len += 1;
    deepest.programs[0].tensors_len += 1;
    deepest.programs[0].outputs[0] += 1;
    assert_eq!(load(&deepest.words()), Err(E::Loop { op: 4 }));
    // The output of a loop has the type of its iterations' values.
    let vectors = || {
        let mut parts = Parts::new();
        parts.program(ProgramKind::Reconstruct, |p| {
            let x = p.input(3, 12, 4096);
            let rows = p.begin_vectors(2, 3, 12);
            let y = p.map(Opcode::Relu, &[x], 12, 0);
            p.end(rows, y);
            p.outputs(&[rows]);
        });
        parts
    };
    assert_eq!(load(&vectors().words()), Ok(()));
    let breaks_vectors = |expected, edit: &dyn Fn(&mut Records)| {
        let mut parts = vectors();
        edit(&mut parts);
        assert_eq!(load(&parts.words()), Err(expected));
    };
    breaks_vectors(E::Shape { op: 0 }, &|p| p.tensors[1].len = 7);
    breaks_vectors(E::Shape { op: 2 }, &|p| p.tensors[1].len = 8);
    breaks_vectors(E::Shape { op: 2 }, &|p| p.tensors[1].len = 4);
    breaks_vectors(E::Shape { op: 2 }, &|p| p.ops[0].imm = 3);
    breaks_vectors(E::Scale { op: 2 }, &|p| p.tensors[1].frac = 11);
    breaks_vectors(E::Bound { op: 2 }, &|p| p.tensors[1].bound = 4095);
    breaks_vectors(E::NotAlive { op: 1 }, &|p| p.ops[1].inputs[0] = 1);
    breaks_vectors(E::NotAlive { op: 2 }, &|p| p.ops[2].inputs[0] = 1);
    breaks_vectors(E::Work { program: 0 }, &|p| p.programs[0].work -= 2);
    breaks_vectors(E::Operand { op: 2 }, &|p| {
        // The same number of scalars.
        let nats = elbo::program::Tensor { kind: TensorKind::Nats, frac: 16, bound: 9, ..p.tensors[1] };
        p.programs[0].kind = ProgramKind::Score as u32;
        p.tensors[1] = elbo::program::Tensor { offset: p.arena_len, last: 3, ..nats };
        p.arena_len += nats.extent();
        p.tensors.push(elbo::program::Tensor { len: 1, first: 4, last: 5, offset: p.arena_len, ..nats });
        p.arena_len += 4;
        p.ops.push(Op { opcode: Opcode::Mean, output: 3, inputs: [1, NO_TENSOR, NO_TENSOR], imm: 0, ..p.ops[0] });
        (p.programs[0].ops_len, p.programs[0].tensors_len, p.programs[0].outputs[0]) = (4, 4, 3);
        p.tensors[1].last = 4;
    });
    // The output of a loop is not read before the loop ends, and an end writes no tensor of its own.
    breaks(E::NotAlive { op: 6 }, |p| p.ops[6].inputs[0] = 1);
    breaks(E::Lifetime { tensor: 4 }, |p| p.tensors[4].last = 5 - 1);
    breaks(E::Bound { op: 6 }, |p| p.tensors[4].bound += 1);
}
