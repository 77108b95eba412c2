//! Programs: kinds, ranges, work, inputs and outputs.

use crate::{base, breaks, impute, load, words_break};
use elbo::LoadError as E;
use elbo::blob::HEADER_WORDS;
use elbo::program::{NO_TENSOR, Opcode, PROGRAM_WORDS, ProgramKind, TensorKind};
use elbo::{Limits, Model};
use elbo_fuzz_blobs::builder::{Parts, Records};

#[test]
fn programs() {
    breaks(E::ProgramKind { program: 1 }, |p| p.programs[1].kind = 0);
    breaks(E::ProgramKind { program: 2 }, |p| p.programs[2].kind = ProgramKind::ALL.len() as u32 + 1);
    breaks(E::ProgramKind { program: 2 }, |p| p.programs[2].kind = ProgramKind::Reconstruct as u32);
    breaks(E::ProgramKind { program: 2 }, |p| p.programs[2].kind |= 1 << 8);
    words_break(E::ProgramKind { program: 2 }, |words| words[HEADER_WORDS + 2 * PROGRAM_WORDS + 7] = 1);
    let range = E::ProgramRange { program: 2 };
    // Two programs share an operation, or one belongs to none.
    breaks(range, |p| (p.programs[2].ops_start, p.programs[2].ops_len) = (7, 2));
    breaks(range, |p| p.programs[2].tensors_start -= 1);
    for wrong in [9, u32::MAX] {
        breaks(range, |p| p.programs[2].ops_start = wrong);
        breaks(range, |p| p.programs[2].ops_len = wrong);
    }
    for wrong in [10, u32::MAX] {
        breaks(range, |p| p.programs[2].tensors_start = wrong);
        breaks(range, |p| p.programs[2].tensors_len = wrong);
    }
    let work = E::Work { program: 1 };
    breaks(work, |p| p.programs[1].work += 1);
    breaks(work, |p| p.programs[1].work |= 1 << 32);
    breaks(E::TooMuchWork { program: 1 }, |p| p.programs[1].work |= 1 << 41);
    breaks(work, |p| p.programs[1].macs += 1);
    let (parts, words) = (base(), base().words());
    let most = parts.programs.iter().map(|program| program.work).max().expect("programs");
    let limited = |max_work| Model::load(bytemuck::cast_slice(&words), Limits { max_work }).map(|_| ());
    assert_eq!(limited(most), Ok(()));
    let program = parts.programs.iter().position(|program| program.work == most).expect("it") as u16;
    assert_eq!(limited(most - 1), Err(E::TooMuchWork { program }));
}

#[test]
fn signatures() {
    let wrong = |program| E::Signature { program };
    breaks(wrong(0), |p| p.programs[0].inputs[0] = NO_TENSOR);
    breaks(wrong(0), |p| p.programs[0].inputs[1] = 0);
    breaks(wrong(0), |p| p.programs[0].inputs[0] = 2);
    breaks(wrong(0), |p| p.programs[0].outputs[0] = NO_TENSOR);
    breaks(wrong(0), |p| p.programs[0].outputs[1] = 2);
    breaks(wrong(0), |p| p.programs[0].outputs[0] = 0);
    breaks(wrong(0), |p| p.programs[0].kind = ProgramKind::Sample as u32);
    for kind in [ProgramKind::Encode, ProgramKind::Impute, ProgramKind::SampleDensity] {
        breaks(wrong(0), |p| p.programs[0].kind = kind as u32);
    }
    breaks(wrong(0), |p| p.programs[0].kind = ProgramKind::Score as u32);
    breaks(wrong(1), |p| p.programs[1].outputs[0] = 4);
    breaks(wrong(1), |p| p.programs[1].inputs[0] = 1);
    breaks(wrong(1), |p| p.tensors[8].len = 2);
    breaks(wrong(1), |p| p.tensors[8].last -= 1);
    breaks(wrong(2), |p| p.tensors[9].kind = TensorKind::Nats);
}

#[test]
fn two_inputs() {
    assert_eq!(load(&impute().words()), Ok(()));
    let breaks = |expected, edit: &dyn Fn(&mut Records)| {
        let mut parts = impute();
        edit(&mut parts);
        assert_eq!(load(&parts.words()), Err(expected));
    };
    let signature = E::Signature { program: 0 };
    breaks(signature, &|p| p.programs[0].inputs = [0, 0]);
    breaks(signature, &|p| p.programs[0].inputs = [1, 1]);
    breaks(signature, &|p| p.programs[0].inputs = [0, NO_TENSOR]);
    breaks(signature, &|p| p.programs[0].inputs = [NO_TENSOR, 1]);
    breaks(signature, &|p| p.programs[0].inputs = [0, 2]);
    breaks(signature, &|p| p.programs[0].inputs = [0, 3]);
    breaks(signature, &|p| p.programs[0].kind = ProgramKind::Decode as u32);
    breaks(signature, &|p| p.tensors[1].kind = TensorKind::Nats);
    breaks(signature, &|p| p.tensors[1].first = 1);
    // The place of another input, even one that nothing reads.
    breaks(E::Overlap { tensor: 0, with: 1 }, &|p| p.tensors[1].offset = p.tensors[0].offset);
    breaks(E::Overlap { tensor: 0, with: 1 }, &|p| {
        p.tensors[1].offset = p.tensors[0].offset;
        (p.ops[0].inputs[2], p.tensors[1].last) = (0, 0);
    });
    let mut swapped = impute();
    swapped.programs[0].inputs = [1, 0];
    assert_eq!(load(&swapped.words()), Ok(()), "either order");
}

/// Work that does not fit 64 bits is refused for every record and every limit of the caller.
#[test]
fn work_beyond_any_count() {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(1, 0, 1);
        let vectors: Vec<u16> = (0..4).map(|_| p.begin(2)).collect();
        let mut a = p.scalar(Opcode::Sum, &[x], 0);
        for vector in vectors.into_iter().rev() {
            p.end(vector, a);
            a = p.scalar(Opcode::Mean, &[vector], 0);
        }
        p.outputs(&[a]);
    });
    let parts: &mut Records = &mut parts;
    for op in parts.ops.iter_mut().filter(|op| op.opcode == Opcode::Loop) {
        op.imm = 65536;
        parts.tensors[usize::from(op.output)].len = 65536;
    }
    parts.arena_len = 0;
    for tensor in &mut parts.tensors {
        tensor.offset = parts.arena_len;
        parts.arena_len += tensor.extent();
    }
    let limits = Limits { max_work: u64::MAX };
    for work in [u64::MAX, u64::MAX - 1, 0] {
        parts.programs[0].work = work;
        assert_eq!(Model::load(bytemuck::cast_slice(&parts.words()), limits).err(), Some(E::Work { program: 0 }));
    }
}
