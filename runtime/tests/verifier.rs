//! Every way in which a blob can be invalid, one at a time, with the error that names it.

use elbo::LoadError as E;
use elbo::blob::HEADER_WORDS;
use elbo::kernel::Packing;
use elbo::program::{NO_TENSOR, Op, Opcode, PROGRAM_WORDS, ProgramKind, TensorKind};
use elbo::{Arena, Limits, LoadError, Model, SessionError};
use elbo_fuzz_blobs::builder::{Parts, Records, seal};
use elbo_fuzz_blobs::{SEEDS, seeds};
use rand_core::SeedableRng;

/// Programs, with their tensors and operations counted from the start of the sections:
/// - 0, reconstruct: operations 0 dense, 1 relu in place; tensors 0 x, 1, 2;
/// - 1, Monte Carlo score: 2 loop, 3 normal, 4 fma, 5 half sum of squares, 6 end, 7 mean; tensors 3 x, 4 the loop's, 5, 6, 7, 8;
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

#[test]
fn containers() {
    let mut words = base().words();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    for shift in 1..4 {
        assert_eq!(Model::load(&bytes[shift..], Limits::host()).err(), Some(E::Misaligned));
    }
    words_break(E::NotABlob, |words| words[0] ^= 1 << 24);
    for found in [0, 1, 2, 4, u32::MAX] {
        words_break(E::Version { found, supported: 3 }, |words| words[1] = found);
    }
    for count in 5..=10 {
        words_break(E::Layout, |words| words[count] += 5);
        words_break(E::Layout, |words| words[count] = u32::MAX);
    }
    words_break(E::Layout, |words| words[8] = 4097);
    words_break(E::Layout, |words| words[11] = 1);
    words_break(E::Layout, |words| words.push(0));
    words[2] = 11;
    assert_eq!(load(&words), Err(E::Layout));
    words[2] = words.len() as u32;
    words[4] ^= 1;
    assert_eq!(load(&words), Err(E::Checksum));
}

#[test]
fn every_truncation_is_named_and_what_follows_is_ignored() {
    let mut words = base().words();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    for len in 0..bytes.len() {
        assert_eq!(Model::load(&bytes[..len], Limits::host()).err(), Some(E::Truncated), "{len}");
    }
    words.extend([u32::MAX; 5]);
    assert_eq!(load(&words), Ok(()));
    assert!(Model::load(&bytemuck::cast_slice(&words)[..words.len() * 4 - 3], Limits::host()).is_ok());
}

#[test]
fn every_flipped_bit_is_caught() {
    for (name, bytes) in SEEDS {
        let mut words: Vec<u32> = bytemuck::cast_slice(bytes).to_vec();
        for word in 0..words.len() {
            for bit in 0..32 {
                words[word] ^= 1 << bit;
                let error = load(&words).expect_err(name);
                match word {
                    0 => assert_eq!(error, E::NotABlob),
                    1 => assert!(matches!(error, E::Version { .. })),
                    2 => assert!(matches!(error, E::Truncated | E::Checksum | E::Layout)),
                    _ => assert_eq!(error, E::Checksum, "{name}: word {word}"),
                }
                words[word] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn metadata() {
    let mut parts = base();
    parts.meta.truncate(9);
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("metadata are read on demand");
    assert_eq!(model.meta().err(), Some(E::Metadata));
    assert_eq!(E::Metadata.to_string(), "the metadata do not decode: compile the model again");
    let words = base().words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    assert_eq!(model.meta().map(|meta| meta.latent), Ok(5));
}

#[test]
fn matrices() {
    for matrix in 0..2u16 {
        let at = usize::from(matrix);
        breaks(E::MatrixShape { matrix }, |p| p.matrices[at].packing = None);
        for wrong in [0, 65537] {
            breaks(E::MatrixShape { matrix }, |p| p.matrices[at].rows = wrong);
            breaks(E::MatrixShape { matrix }, |p| p.matrices[at].cols = wrong);
        }
        for wrong in [0, 32769] {
            breaks(E::MatrixShape { matrix }, |p| p.matrices[at].input_bound = wrong);
        }
        breaks(E::MatrixLayout { matrix }, |p| p.matrices[at].params += 1);
        breaks(E::MatrixLayout { matrix }, |p| p.matrices[at].weights -= 1);
        breaks(E::OutputBound { matrix }, |p| p.matrices[at].output_bound += 1);
        let (params, weights) = (base().matrices[at].params as usize, base().matrices[at].weights as usize);
        // Row 3 pads three rows to four, bytes 1.. of a row's second word pad five columns to eight.
        breaks(E::Padding { matrix }, |p| p.data[params + 3] = 1);
        breaks(E::Padding { matrix }, |p| p.data[params + 7] = 1);
        let second = if matrix == 0 { 1 } else { 4 };
        breaks(E::Padding { matrix }, |p| p.data[weights + second] |= 1 << 8);
        breaks(E::Padding { matrix }, |p| p.data[weights + second] |= 1 << 31);
        for row in 0..3u16 {
            let lane = usize::from(row);
            breaks(E::Overflow { matrix, row }, |p| p.data[params + lane] = i32::MAX as u32);
            breaks(E::Overflow { matrix, row }, |p| p.data[params + lane] = i32::MIN as u32);
            breaks(E::Overflow { matrix, row }, |p| p.data[params + 4 + lane] = 1 << 31);
        }
    }
    breaks(E::Padding { matrix: 1 }, |p| p.data[p.matrices[1].weights as usize + 3] = 1);
    breaks(E::MatrixLayout { matrix: 2 }, |p| p.data.push(0));
    breaks(E::MatrixLayout { matrix: 1 }, |p| _ = p.data.pop());
    breaks(E::MatrixLayout { matrix: 1 }, |p| p.data.truncate(p.matrices[1].params as usize + 3));
}

#[test]
fn the_widest_row_overflows_and_a_lighter_one_does_not() {
    for packing in [Packing::RowMajor, Packing::Dsp4] {
        let mut parts = Parts::new();
        parts.matrix([1, 65536], packing, 255, |_, _| -128, |_| 0, |_| 1 << 30);
        assert_eq!(load(&parts.words()), Ok(()));
        parts.matrices[0].input_bound = 32768;
        assert_eq!(load(&parts.words()), Err(E::Overflow { matrix: 0, row: 0 }));
    }
}

#[test]
fn programs() {
    breaks(E::ProgramKind { program: 1 }, |p| p.programs[1].kind = 0);
    breaks(E::ProgramKind { program: 2 }, |p| p.programs[2].kind = 13);
    breaks(E::ProgramKind { program: 2 }, |p| p.programs[2].kind = ProgramKind::Reconstruct as u32);
    breaks(E::ProgramKind { program: 2 }, |p| p.programs[2].kind |= 1 << 8);
    words_break(E::ProgramKind { program: 2 }, |words| words[HEADER_WORDS + 2 * PROGRAM_WORDS + 7] = 1);
    let range = E::ProgramRange { program: 2 };
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
    breaks(work, |p| p.programs[1].macs += 1);
    let (parts, words) = (base(), base().words());
    let most = parts.programs.iter().map(|program| program.work).max().expect("programs");
    let limited = |max_work| Model::load(bytemuck::cast_slice(&words), Limits { max_work }).map(|_| ());
    assert_eq!(limited(most), Ok(()));
    let program = parts.programs.iter().position(|program| program.work == most).expect("it") as u16;
    assert_eq!(limited(most - 1), Err(E::Work { program }));
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
    parts.program(ProgramKind::Decode, |p| {
        let x = p.input(2, 12, 4096);
        let y = p.map(Opcode::Relu, &[x], 12, 0);
        p.outputs(&[y]);
    });
    parts.tensors.swap(0, 1);
    (parts.programs[0].inputs[0], parts.programs[0].outputs[0]) = (1, 0);
    (parts.ops[0].inputs[0], parts.ops[0].output) = (1, 0);
    assert_eq!(load(&parts.words()), Ok(()));
    parts.programs[0].ops_len = 0;
    parts.programs[0].work = 0;
    (parts.tensors[0].first, parts.tensors[0].last, parts.tensors[1].last) = (1, 1, 0);
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
    // The order of the records does not matter.
    let mut parts = base();
    parts.tensors.swap(1, 2);
    (parts.ops[0].output, parts.ops[1].inputs[0], parts.ops[1].output) = (2, 2, 1);
    parts.programs[0].outputs[0] = 1;
    assert_eq!(load(&parts.words()), Ok(()));
    // Memory may be reused after a tensor's last use: the loop's output may replace an input that is no longer alive.
    breaks(E::Overlap { tensor: 4, with: 8 }, |p| p.tensors[8].offset = p.tensors[4].offset);
    let mut parts = base();
    parts.tensors[8].offset = parts.tensors[7].offset;
    assert_eq!(load(&parts.words()), Ok(()));
}

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

#[test]
fn loops() {
    // The count is checked before the length of the output, because a count above 65536 can match no length.
    breaks(E::Loop { op: 2 }, |p| p.ops[2].imm = 0);
    breaks(E::Loop { op: 2 }, |p| p.ops[2].imm = 65537);
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
    // A fifth loop around all others. Its end would come too late to matter.
    let outermost = Op { output: deepest.tensors.len() as u16, ..deepest.ops[0] };
    deepest.ops.insert(0, outermost);
    for tensor in &mut deepest.tensors {
        tensor.first += u16::from(tensor.first != 0);
        tensor.last += 1;
    }
    let vector = elbo::program::Tensor { offset: deepest.arena_len, first: 1, ..deepest.tensors[1] };
    deepest.tensors.push(vector);
    deepest.arena_len += vector.extent();
    deepest.programs[0].ops_len += 1;
    deepest.programs[0].tensors_len += 1;
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

#[test]
fn classes_and_missing_vectors() {
    let mut parts = impute();
    parts.program(ProgramKind::SampleClass, |p| {
        let class = p.input(3, 14, 16384);
        let y = p.map(Opcode::Relu, &[class], 14, 0);
        p.outputs(&[y]);
    });
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    let mut arena = Arena::<64>::new();
    let mut session = model.session(arena.as_mut_slice()).expect("large enough");
    let noise = &mut elbo::rng::Xoshiro128PlusPlus::seed_from_u64(1);
    let (x, mut out) = ([5i16; 3], [7i16; 3]);
    for class in [3, usize::MAX] {
        assert_eq!(session.sample_class(class, noise, &mut out), Err(SessionError::NoSuchClass { classes: 3, class }));
    }
    let short = SessionError::OutputLength { expected: 3, given: 2 };
    assert_eq!(session.sample_class(9, noise, &mut out[..2]), Err(short));
    assert_eq!(session.run(ProgramKind::Impute, &[&x, &x], &mut [&mut out[..2]], noise), Err(short));
    let missing = SessionError::OutputLength { expected: 3, given: 0 };
    assert_eq!(session.run(ProgramKind::Impute, &[&x, &x], &mut [], noise), Err(missing));
    for (inputs, given) in [(&[&x[..], &x[..2]][..], 2), (&[&x[..2], &x[..]], 2), (&[&x[..]], 0), (&[], 0)] {
        let error = SessionError::InputLength { expected: 3, given };
        assert_eq!(session.run(ProgramKind::Impute, inputs, &mut [&mut out], noise), Err(error));
    }
    assert_eq!(session.invert(&x, &mut out), Err(SessionError::ProgramAbsent));
    assert_eq!((out, session.steps()), ([7; 3], 0), "nothing ran and nothing was written");
    assert_eq!(session.sample_class(2, noise, &mut out), Ok(()));
    assert_eq!(out, [0, 0, 16384]);
    // Inputs that the program does not have are ignored.
    let more: [&[i16]; 3] = [&x, &x, &[]];
    assert_eq!(session.run(ProgramKind::Impute, &more, &mut [&mut out, &mut []], noise), Ok(elbo::Nats::default()));
    assert_eq!(out, x);
}

#[test]
fn sessions() {
    let words = base().words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    let mut arena = Arena::<256>::new();
    let memory = arena.as_mut_slice();
    let needed = model.arena_len();
    let small = model.session(&mut memory[..needed - 1]).err();
    assert_eq!(small, Some(SessionError::ArenaTooSmall { needed, given: needed - 1 }));
    for shift in 1..4 {
        let shifted = model.session(&mut memory[shift..]).err();
        assert_eq!(shifted, Some(SessionError::ArenaMisaligned), "{shift}");
    }
    assert!(model.session(&mut memory[4..]).is_ok());
    let mut session = model.session(&mut memory[..needed]).expect("exactly enough");
    let mut out = [7i16; 4];
    let (x, noise) = ([0i16; 6], &mut elbo::rng::Xoshiro128PlusPlus::seed_from_u64(1));
    assert_eq!(session.sample(noise, &mut out), Err(SessionError::ProgramAbsent));
    assert_eq!(session.encode(&x[..5], &mut out, &mut []), Err(SessionError::ProgramAbsent));
    assert_eq!(session.score(&x), Err(SessionError::ProgramAbsent));
    assert_eq!(session.score_importance(&x, noise), Err(SessionError::ProgramAbsent));
    for given in [0, 2, 4] {
        let error = SessionError::OutputLength { expected: 3, given };
        assert_eq!(session.decode(&x[..5], &mut out[..given]), Err(error));
    }
    for given in [0, 4, 6] {
        let error = SessionError::InputLength { expected: 5, given };
        assert_eq!(session.reconstruct(&x[..given], &mut out[..3]), Err(error));
    }
    let error = SessionError::InputLength { expected: 2, given: 3 };
    assert_eq!(session.score_monte_carlo(&x[..3], noise), Err(error));
    assert_eq!((out, session.steps()), ([7; 4], 0), "nothing ran and nothing was written");
    assert_eq!(session.decode(&x[..5], &mut out[..3]), Ok(()));
    let info = session.model().program(ProgramKind::Decode).expect("there");
    assert_eq!((session.steps(), info.macs, model.program(ProgramKind::Score)), (info.work, 15, None));
}
