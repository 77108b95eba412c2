//! A blob compiled in an earlier version loads, and does what it did when it was compiled.

use elbo::{Limits, LoadError};
use elbo_trainer::host::{Blob, self_test};
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
    assert!(!test.digests.is_empty());
    assert_eq!(self_test(&model, &x, test.seed), test.digests);
}

#[test]
fn another_version_is_refused_with_a_version_error() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits-v1.elbo");
    let blob = Blob::read(&path).unwrap();
    assert_eq!(blob.load(Limits::default()).unwrap_err(), LoadError::Version { found: 1, supported: 2 });
}
