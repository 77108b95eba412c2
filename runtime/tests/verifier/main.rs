//! Every way in which a blob can be invalid, one at a time, with the error that names it.

mod container;
mod matrices;
mod operations;
mod programs;
mod sessions;
mod tensors;

use elbo::kernel::Packing;
use elbo::program::{Opcode, ProgramKind};
use elbo::{Limits, LoadError, Model};
use elbo_fuzz_blobs::builder::{Parts, Records, seal};
use elbo_fuzz_blobs::seeds;

/// Programs, with their tensors and operations counted from the start of the sections:
/// - 0, reconstruct: operations 0 dense, 1 relu in place; tensors 0 x, 1, 2;
/// - 1, Monte Carlo score: 2 loop, 3 normal, 4 fma, 5 half sum of squares, 6 end, 7 mean; tensors 3 x, 4 the loop's, 5,
///   6, 7, 8;
/// - 2, decode: 8 dense; tensors 9 z, 10.
fn base() -> Parts {
    let mut parts = Parts::new();
    let weight = |row: usize, col: usize| (row * 5 + col) as i8 - 7;
    for packing in [Packing::RowMajor, Packing::Dsp4] {
        parts.matrix([3, 5], packing, 4096, weight, |row| row as i32 - 1, |_| 1 << 30);
    }
    parts.program(ProgramKind::Reconstruct, |p| {
        let x = p.input(5, 12, 4096);
        let h = p.dense(x, 0, 10);
        let y = p.map_in_place(Opcode::Relu, &[h], 10, 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::ScoreMonteCarlo, |p| {
        let x = p.input(2, 12, 4096);
        let terms = p.begin(3);
        let noise = p.normal(2);
        let z = p.map(Opcode::Fma, &[noise, x, x], 10, 0);
        let term = p.scalar(Opcode::HalfSumSq, &[z], 0);
        p.end(terms, term);
        let y = p.scalar(Opcode::Mean, &[terms], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Decode, |p| {
        let z = p.input(5, 12, 4096);
        let y = p.dense(z, 1, 10);
        p.outputs(&[y]);
    });
    parts.meta = seeds::meta("base", elbo::Likelihood::Gaussian, 5);
    parts
}

/// Two inputs. The program keeps the elements of the first that the second marks.
fn impute() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Impute, |p| {
        let (x, mask) = (p.input(3, 12, 4096), p.input(3, 0, 1));
        let y = p.map(Opcode::Mul, &[x, mask], 12, 0);
        p.outputs(&[y]);
    });
    parts
}

fn load(words: &[u32]) -> Result<(), LoadError> {
    Model::load(bytemuck::cast_slice(words), Limits::host()).map(|_| ())
}

/// Checks that `edit` gives exactly this error.
#[track_caller]
fn breaks(expected: LoadError, edit: impl FnOnce(&mut Records)) {
    let mut parts = base();
    edit(&mut parts);
    assert_eq!(load(&parts.words()), Err(expected));
}

/// The same for the words of the blob, whose checksum is updated.
#[track_caller]
fn words_break(expected: LoadError, edit: impl FnOnce(&mut Vec<u32>)) {
    let mut words = base().words();
    edit(&mut words);
    seal(&mut words);
    assert_eq!(load(&words), Err(expected));
}

#[test]
fn the_unbroken_blobs_load() {
    assert_eq!(load(&base().words()), Ok(()));
    assert_eq!(load(&Parts::new().words()), Ok(()));
    for (name, parts) in seeds::plain() {
        assert_eq!(load(&parts.words()), Ok(()), "{name}");
    }
}
