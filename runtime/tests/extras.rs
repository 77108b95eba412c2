//! Blobs with errors in the second tensor that an operation writes, and in the use of classes.

use elbo::LoadError as E;
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind, Tensor, TensorKind};
use elbo::{Limits, LoadError, Model};
use elbo_fuzz_blobs::builder::{Parts, Records};

fn load(parts: &Parts) -> Result<(), LoadError> {
    Model::load(bytemuck::cast_slice(&parts.words()), Limits::host()).map(|_| ())
}

/// Checks that `edit` of the blob from `make` gives exactly this error.
#[track_caller]
fn breaks(make: fn() -> Parts, expected: LoadError, edit: impl FnOnce(&mut Records)) {
    let mut parts = make();
    assert_eq!(load(&parts), Ok(()));
    edit(&mut parts);
    assert_eq!(load(&parts), Err(expected));
}

/// Operations 0 and 1 normal, 2 planar; tensors 0 z, 1 parameters, 2 log-determinant, 3 y.
fn planar() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::SampleDensity, |p| {
        let (z, params) = (p.normal(2), p.normal(5));
        let y = p.flow(Opcode::Planar, z, params, false);
        p.outputs(&[y, p.extra()]);
    });
    parts
}

/// The same program, in which nothing reads the log-determinant.
fn silent() -> Parts {
    let mut parts = planar();
    parts.programs[0].kind = ProgramKind::Sample as u32;
    parts.programs[0].outputs[1] = NO_TENSOR;
    parts.tensors[2].last = 3;
    parts
}

/// Removes the log-determinant and makes the flow write it to another tensor.
fn redirect(parts: &mut Records, third: u16) {
    parts.tensors.remove(2);
    parts.programs[0].tensors_len = 3;
    parts.programs[0].outputs[0] = 2;
    (parts.ops[2].output, parts.ops[2].inputs[2]) = (2, third);
}

/// Operation 0 normal, 1 couplings, 2 slice; tensors 0 z, 1 log-determinant, 2 image and zeros, 3 image.
fn couplings() -> Parts {
    let mut parts = Parts::new();
    for _ in 0..2 {
        parts.matrix([1, 1], Packing::RowMajor, 32768, |_, _| 5, |_| 7, |_| 1 << 30);
    }
    let (couplings, layers, activation) = (1, 0, HiddenActivation::Identity);
    let stack =
        CouplingStack { couplings, layers, activation, sixteen: false, inverse: false, normal: false, scale_log2: 0 };
    parts.program(ProgramKind::SampleDensity, |p| {
        let z = p.normal(2);
        let (y, log_det) = p.couplings(stack, 0, 1, z, 12);
        p.outputs(&[y, log_det]);
    });
    parts
}

#[test]
fn fields_of_couplings() {
    breaks(couplings, E::Operation { op: 1 }, |p| p.ops[1].inputs[1] = 0);
    breaks(couplings, E::Shape { op: 1 }, |p| p.ops[1].arg = 1);
    breaks(couplings, E::Operand { op: 1 }, |p| p.ops[1].arg = 2);
    breaks(couplings, E::Shape { op: 1 }, |p| p.ops[1].imm = 0);
    breaks(couplings, E::Shape { op: 1 }, |p| p.ops[1].param = 4);
    breaks(couplings, E::Bound { op: 1 }, |p| {
        (p.matrices[1].input_bound, p.matrices[1].output_bound) = (16384, 20482);
    });
    breaks(couplings, E::Bound { op: 1 }, |p| p.tensors[1].bound = 51);
    breaks(couplings, E::Bound { op: 1 }, |p| p.tensors[2].bound = 32767);
    breaks(couplings, E::Shape { op: 1 }, |p| p.tensors[2].len -= 1);
    breaks(couplings, E::Work { program: 0 }, |p| p.programs[0].macs -= 1);
    breaks(couplings, E::Lifetime { tensor: 1 }, |p| p.ops[1].inputs[2] = 0);
    breaks(couplings, E::Overlap { tensor: 0, with: 2 }, |p| p.tensors[2].offset = p.tensors[0].offset);
}

/// Operation 0 a convolution, 1 relu; tensors 0 x, 1 scratch, 2 and 3.
fn conv() -> Parts {
    let mut parts = Parts::new();
    let geometry = ConvGeometry { height: 3, width: 3, kernel: 2, stride: 1, up: 1, pad: 0, output_padding: 0 };
    parts.matrix([1, 4], Packing::RowMajor, 4096, |_, col| col as i8, |_| 7, |_| 1 << 30);
    parts.program(ProgramKind::Reconstruct, |p| {
        let x = p.input(9, 12, 4096);
        let y = p.conv(x, 0, geometry, 10);
        let y = p.map(Opcode::Relu, &[y], 10, 0);
        p.outputs(&[y]);
    });
    parts
}

#[test]
fn an_extra_that_is_not_written_here() {
    // Nothing writes the tensor that the operation no longer writes.
    for third in [0, 1, 3, 9, NO_TENSOR] {
        breaks(planar, E::Lifetime { tensor: 2 }, |p| p.ops[2].inputs[2] = third);
        breaks(conv, E::Lifetime { tensor: 1 }, |p| p.ops[0].inputs[2] = if third == 1 { 2 } else { third });
    }
    breaks(planar, E::Lifetime { tensor: 2 }, |p| p.tensors[2].first = 2);
    breaks(planar, E::Lifetime { tensor: 2 }, |p| p.tensors[2].first = 0);
    // Without it, the third reference is an input, an earlier result, the output or nothing.
    let operand = E::Operand { op: 2 };
    for third in [0, 1, 2, 3, NO_TENSOR] {
        breaks(silent, operand, |p| redirect(p, third));
    }
}

#[test]
fn a_second_output_of_the_wrong_form() {
    let nats = |p: &mut Records, edit: &dyn Fn(&mut Tensor)| edit(&mut p.tensors[2]);
    breaks(silent, E::Bound { op: 2 }, |p| nats(p, &|t| t.bound += 1));
    breaks(silent, E::Bound { op: 2 }, |p| nats(p, &|t| t.bound = 0));
    breaks(silent, E::Operand { op: 2 }, |p| nats(p, &|t| (t.kind, t.frac) = (TensorKind::I16, 15)));
    breaks(silent, E::Shape { op: 2 }, |p| {
        nats(p, &|t| t.len = 2);
        p.tensors[2].offset = p.arena_len;
        p.arena_len += 8;
    });
    breaks(conv, E::Shape { op: 0 }, |p| p.tensors[1].len -= 1);
    breaks(conv, E::Shape { op: 0 }, |p| p.tensors[1].len -= 4);
    breaks(conv, E::Bound { op: 0 }, |p| p.tensors[1].bound = 32767);
    breaks(conv, E::Operand { op: 0 }, |p| {
        (p.tensors[1].kind, p.tensors[1].frac, p.tensors[1].bound) = (TensorKind::Nats, 16, 9);
        p.tensors[1].offset = p.arena_len;
        p.arena_len += p.tensors[1].extent();
    });
    breaks(planar, E::Signature { program: 0 }, |p| nats(p, &|t| t.len = 2));
    breaks(planar, E::Signature { program: 0 }, |p| p.programs[0].outputs = [2, 3]);
    breaks(planar, E::Signature { program: 0 }, |p| p.programs[0].outputs = [3, 3]);
}

#[test]
fn an_extra_in_the_place_of_something() {
    // Flows and convolutions do not work in place: the output may not replace an input that is read last here.
    for (old, new) in [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
        let overlap = E::Overlap { tensor: old, with: new };
        breaks(planar, overlap, |p| p.tensors[usize::from(new)].offset = p.tensors[usize::from(old)].offset);
    }
    for (old, new) in [(0, 1), (0, 2), (1, 2)] {
        let overlap = E::Overlap { tensor: old, with: new };
        breaks(conv, overlap, |p| p.tensors[usize::from(new)].offset = p.tensors[usize::from(old)].offset);
    }
    let mut parts = conv();
    parts.tensors[3].offset = parts.tensors[1].offset;
    assert_eq!(load(&parts), Ok(()), "scratch is free afterwards");
}

/// A convolution leaves part of its scratch unchanged. Reading it would show what the arena held before.
#[test]
fn scratch_dies_with_its_convolution() {
    let lives_on = E::Lifetime { tensor: 1 };
    breaks(conv, lives_on, |p| p.tensors[1].last = 2);
    breaks(conv, lives_on, |p| (p.tensors[1].last, p.programs[0].outputs[0]) = (3, 1));
    breaks(conv, E::NotAlive { op: 1 }, |p| p.ops[1].inputs[0] = 1);
}

#[test]
fn fields_of_flows_and_convolutions() {
    breaks(planar, E::Scale { op: 2 }, |p| p.ops[2].param = 2);
    breaks(planar, E::Operation { op: 2 }, |p| p.ops[2].imm = 1);
    breaks(planar, E::Operation { op: 2 }, |p| p.ops[2].arg = 1);
    breaks(planar, E::Shape { op: 2 }, |p| p.tensors[1].len = 6);
    breaks(planar, E::Work { program: 0 }, |p| p.ops[2].param = 1);
    breaks(conv, E::Operation { op: 0 }, |p| p.ops[0].inputs[1] = 0);
    breaks(conv, E::Operand { op: 0 }, |p| p.ops[0].arg = 1);
    breaks(conv, E::Shape { op: 0 }, |p| p.ops[0].imm ^= 1);
    breaks(conv, E::Shape { op: 0 }, |p| p.ops[0].imm = 0);
    breaks(conv, E::Shape { op: 0 }, |p| p.ops[0].param = 1);
    breaks(conv, E::Bound { op: 0 }, |p| p.tensors[0].bound = 4097);
    breaks(conv, E::Work { program: 0 }, |p| p.programs[0].macs += 1);
    // A flow may move its own parameters.
    let mut parts = Parts::new();
    parts.program(ProgramKind::Sample, |p| {
        let z = p.normal(5);
        let short = p.slice(z, 0, 1);
        let long = p.slice(z, 0, 3);
        let y = p.flow(Opcode::Radial, short, long, false);
        p.outputs(&[y]);
    });
    assert_eq!(load(&parts), Ok(()));
    parts.ops[3].inputs[1] = parts.ops[3].inputs[0];
    assert_eq!(load(&parts), Err(E::Shape { op: 3 }));
}

/// Operation 0 loop, 1 one-hot, 2 softmax, 3 end, 4 mean; tensors 0 x, 1 the loop's, 2, 3, 4.
fn classify() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Classify, |p| {
        let _ = p.input(1, 0, 1);
        let rows = p.begin_vectors(2, 3, 15);
        let class = p.one_hot(3, 14, 16384);
        let y = p.map(Opcode::Softmax, &[class], 15, 0);
        p.end(rows, y);
        let mean = p.mean_vectors(rows, 3);
        p.outputs(&[mean]);
    });
    parts
}

#[test]
fn classes() {
    breaks(classify, E::Bound { op: 1 }, |p| p.ops[1].imm = 0);
    breaks(classify, E::Bound { op: 1 }, |p| p.ops[1].imm = 32768);
    breaks(classify, E::Bound { op: 1 }, |p| p.ops[1].imm = 16383);
    breaks(classify, E::Operation { op: 1 }, |p| p.ops[1].inputs[0] = 0);
    breaks(classify, E::Overlap { tensor: 2, with: 3 }, |p| p.tensors[3].offset = p.tensors[2].offset);
    breaks(classify, E::NotAlive { op: 4 }, |p| p.ops[4].inputs[0] = 3);
    breaks(classify, E::Shape { op: 4 }, |p| p.tensors[4].len = 4);
    // There is no loop, so there is no iteration to take the index from.
    for after in [false, true] {
        let mut parts = Parts::new();
        parts.program(ProgramKind::Decode, |p| {
            let _ = p.input(1, 0, 1);
            if after {
                let rows = p.begin_vectors(2, 1, 14);
                let class = p.one_hot(1, 14, 1);
                p.end(rows, class);
            }
            let y = p.one_hot(3, 14, 1);
            p.outputs(&[y]);
        });
        assert_eq!(load(&parts), Err(E::Loop { op: if after { 3 } else { 0 } }));
    }
}

/// The output of an operation in place replaces one of its inputs that is read last there, and never an input of
/// another operation.
#[test]
fn operations_that_do_not_work_in_place() {
    for opcode in Opcode::ALL.into_iter().filter(|opcode| !opcode.in_place()) {
        let mut parts = Parts::new();
        parts.program(ProgramKind::Reconstruct, |p| {
            let x = p.input(3, 15, 4096);
            let y = p.map(Opcode::Relu, &[x], 15, 0);
            let y = p.map_in_place(Opcode::Relu, &[y], 15, 0);
            p.outputs(&[y]);
        });
        assert_eq!(load(&parts), Ok(()));
        parts.ops[1] = Op { opcode, ..parts.ops[1] };
        let error = load(&parts);
        // Some overlap, and some write a second tensor. Neither makes a difference.
        assert_eq!(error, Err(E::Overlap { tensor: 1, with: 2 }), "{opcode:?}");
    }
}
