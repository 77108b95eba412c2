//! Tensors: formats, places, lifetimes and overlaps.

use crate::{base, breaks, load};
use elbo::LoadError as E;
use elbo::program::{Opcode, ProgramKind, TensorKind};
use elbo_fuzz_blobs::builder::Parts;

#[test]
fn tensors() {
    let wrong = |tensor| E::Tensor { tensor };
    breaks(wrong(1), |p| p.tensors[1].kind = TensorKind::Invalid);
    breaks(wrong(1), |p| p.tensors[1].frac = 16);
    breaks(wrong(1), |p| p.tensors[1].bound = 0);
    breaks(wrong(3), |p| p.tensors[3].bound = 32769);
    breaks(wrong(4), |p| p.tensors[4].frac = 15);
    breaks(wrong(7), |p| p.tensors[7].bound = 63);
    breaks(wrong(4), |p| p.tensors[4].len = 0);
    breaks(wrong(10), |p| p.tensors[10].len = 65537);

    let place = |tensor| E::TensorPlace { tensor };
    breaks(place(3), |p| p.tensors[3].offset += 2);
    breaks(place(5), |p| p.tensors[5].offset = p.arena_len);
    breaks(place(8), |p| p.tensors[8].offset = u32::MAX - 3);
    let largest = base().tensors.iter().position(|t| t.offset + t.extent() == base().arena_len).expect("it") as u16;
    breaks(place(largest), |p| p.arena_len -= 1);
}

#[test]
fn lifetimes() {
    let wrong = |tensor| E::Lifetime { tensor };
    breaks(wrong(1), |p| p.tensors[1].first = 2);
    breaks(wrong(1), |p| p.tensors[1].first = 0);
    breaks(wrong(7), |p| p.tensors[7].last = p.tensors[7].first - 1);
    breaks(wrong(7), |p| p.tensors[7].last = 8);
    // Inside the loop of operations 1 to 5 of its program: a tensor read from outside, the loop's output, and a tensor
    // written inside.
    breaks(wrong(3), |p| p.tensors[3].last = 3);
    breaks(wrong(4), |p| p.tensors[4].last = 4);
    breaks(wrong(7), |p| p.tensors[7].last = 6);
}

/// References to operations past the end decode to an empty operation whose output is tensor 0. This must not count as
/// writing tensor 0.
#[test]
fn an_output_that_nothing_writes() {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Sample, |p| {
        let z = p.normal(2);
        p.outputs(&[z]);
    });
    assert_eq!(load(&parts.words()), Ok(()));
    parts.programs[0].ops_len = 0;
    parts.programs[0].work = 0;
    (parts.tensors[0].first, parts.tensors[0].last) = (1, 1);
    assert_eq!(load(&parts.words()), Err(E::Lifetime { tensor: 0 }));
}

#[test]
fn overlaps_and_operations_in_place() {
    breaks(E::Overlap { tensor: 0, with: 1 }, |p| p.tensors[1].offset = p.tensors[0].offset);
    breaks(E::Overlap { tensor: 3, with: 5 }, |p| p.tensors[5].offset = p.tensors[3].offset);
    // Relu replaces its input. This is refused if the input is read later, has another length, or the operation cannot
    // work in place.
    let overlap = E::Overlap { tensor: 1, with: 2 };
    breaks(overlap, |p| p.tensors[1].last = 3);
    breaks(overlap, |p| p.tensors[2].len = 4);
    breaks(overlap, |p| p.ops[1].opcode = Opcode::Dense);
    // Tensors stand in the order in which they are written.
    let mut parts = base();
    parts.tensors.swap(1, 2);
    (parts.ops[0].output, parts.ops[1].inputs[0], parts.ops[1].output) = (2, 2, 1);
    parts.programs[0].outputs[0] = 1;
    assert_eq!(load(&parts.words()), Err(E::Lifetime { tensor: 2 }));
    // Memory may be reused after a tensor's last use: the loop's output may replace an input that is no longer alive.
    breaks(E::Overlap { tensor: 4, with: 8 }, |p| p.tensors[8].offset = p.tensors[4].offset);
    let mut parts = base();
    parts.tensors[8].offset = parts.tensors[7].offset;
    assert_eq!(load(&parts.words()), Ok(()));
}
