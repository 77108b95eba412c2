//! A blob compiled in an earlier version loads, and does what it did when it was compiled.

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, LoadError};
use elbo_trainer::host::{Blob, HostArena};
use rand_core::SeedableRng;
use std::path::Path;

fn golden() -> Blob {
    Blob::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits.elbo")).unwrap()
}

#[test]
fn the_golden_blob_passes_its_own_self_test() {
    let blob = golden();
    let model = blob.load(Limits::default()).unwrap();
    let test = model.meta().unwrap().self_test;
    let x: Vec<i16> = test.input.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let mut arena = HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice()).unwrap();
    let rng = || Xoshiro128PlusPlus::seed_from_u64(test.seed);
    let mut out = vec![0; x.len()];
    session.sample(&mut rng(), &mut out).unwrap();
    assert_eq!(elbo::crc32_i16(&out), test.sample);
    session.reconstruct(&x, &mut out).unwrap();
    assert_eq!(elbo::crc32_i16(&out), test.reconstruct);
    assert_eq!(session.score(&x).unwrap().to_bits(), test.score);
    assert_eq!(session.score_monte_carlo(&x, &mut rng()).unwrap().to_bits(), test.monte_carlo);
    assert_eq!(session.score_importance(&x, &mut rng()).unwrap().to_bits(), test.importance);
}

#[test]
fn another_version_is_refused_with_a_version_error() {
    let mut bytes = golden().bytes().to_vec();
    bytes[4] = 2;
    let blob = Blob::from_bytes(&bytes);
    assert_eq!(blob.load(Limits::default()).unwrap_err(), LoadError::Version { found: 2, supported: 1 });
}
