//! The stored seeds equal those that the generator writes. They load, and their results never change.

use elbo::program::{Matrix, OP_WORDS, Op, Opcode, ProgramKind};
use elbo::{Arena, Limits, LoadError, Model};
use elbo_fuzz_blobs::{Outcome, Random, SEEDS, mutate, run, seeds};

#[test]
fn seeds_are_what_the_generator_writes() {
    let generated = seeds::seeds();
    assert_eq!(generated.len(), SEEDS.len());
    for ((name, bytes), (same, parts)) in SEEDS.iter().zip(generated) {
        assert_eq!(*name, same);
        assert_eq!(*bytes, bytemuck::cast_slice::<u32, u8>(&parts.words()), "{name}: stress --write-seeds fuzz/seeds");
    }
}

#[test]
fn seeds_cover_every_operation() {
    for opcode in Opcode::ALL {
        let covered = SEEDS.iter().any(|(_, bytes)| {
            let model = Model::load(bytes, Limits::host()).expect("a valid seed");
            let ops = model.blob().ops();
            (0..ops.len() / OP_WORDS).any(|index| Op::read(ops, index).opcode == opcode)
        });
        assert!(covered, "{opcode:?}");
    }
}

#[test]
fn seeds_cover_every_kind_and_both_packings_and_are_small() {
    let (mut kinds, mut packings) = ([false; ProgramKind::ALL.len()], [false; 2]);
    for (name, bytes) in SEEDS {
        assert!(bytes.len() < 3 << 10, "{name}: {} bytes", bytes.len());
        let model = Model::load(bytes, Limits::host()).expect("a valid seed");
        assert!(
            model.arena_len() <= 1 << 10,
            "{name}: {} halfwords do not leave a small board room",
            model.arena_len()
        );
        for (seen, kind) in kinds.iter_mut().zip(ProgramKind::ALL) {
            *seen |= model.program(kind).is_some();
        }
        for index in 0..model.blob().matrix_count() {
            let packing = Matrix::read(model.blob().matrices(), index).packing.expect("a known packing");
            packings[packing as usize] = true;
        }
    }
    assert_eq!((kinds, packings), ([true; ProgramKind::ALL.len()], [true; 2]));
}

/// A later version either computes the same results from a blob of today or refuses its version. The seed that is
/// generated from the table of operations is excluded, because it grows with the table.
#[test]
fn seeds_compute_what_they_always_computed() {
    let golden = [
        ("bernoulli", 0x3b4ba4dc),
        ("gaussian", 0x42e1c696),
        ("elementwise", 0x8b240baf),
        ("nested", 0x2dc56b7c),
        ("decode", 0x427718aa),
        ("coupling", 0x6f8ce933),
        ("flow", 0xb31ee72d),
        ("dlgm", 0xc26096aa),
        ("adgm", 0x7dfb82f0),
        ("conv", 0x4161dc39),
        ("mixture", 0x1e7febc1),
        ("front", 0x67b6_d9e2),
    ];
    let mut arena = Arena::<4096>::new();
    let digests: Vec<(&str, u32)> = SEEDS
        .iter()
        .filter(|(name, _)| *name != "table")
        .map(|(name, bytes)| match run(bytes, 1 << 16, arena.as_mut_slice()) {
            Outcome::Refused(LoadError::Version { .. }) => (*name, 0),
            Outcome::Ran { digest, .. } => (*name, digest),
            other => panic!("{name}: {other:?}"),
        })
        .collect();
    assert_eq!(digests.len(), golden.len(), "{digests:#x?}");
    for ((name, digest), (_, expected)) in digests.iter().zip(golden) {
        assert!(*digest == expected || *digest == 0, "{name}: {digests:#x?}");
    }
}

#[test]
fn mutations_are_reproducible_and_many_stay_valid() {
    let mut arena = Arena::<{ 1 << 14 }>::new();
    let mut ran = 0;
    for case in 0..20_000 {
        let mut random = Random(case);
        let seed: &[u32] = bytemuck::cast_slice(SEEDS[random.below(SEEDS.len())].1);
        let mut words = [[0; 1024]; 2];
        let bits = random.bits();
        let lens = words.each_mut().map(|words| {
            words[..seed.len()].copy_from_slice(seed);
            mutate(words, seed.len(), bits)
        });
        assert_eq!(words[0][..lens[0]], words[1][..lens[1]], "case {case}");
        let outcome = run(bytemuck::cast_slice(&words[0][..lens[0]]), 1 << 14, arena.as_mut_slice());
        ran += u32::from(matches!(outcome, Outcome::Ran { .. }));
    }
    assert!(ran > 1000, "{ran} of 20000 ran");
}
