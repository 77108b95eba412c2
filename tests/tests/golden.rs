//! A blob compiled by an earlier version either loads with the same results as when it was compiled, or is refused with
//! a version error.

use elbo::{Limits, LoadError};
use elbo_compiler::host::{Blob, self_test};
use elbo_tests::{data, families};

#[test]
fn golden_blobs_pass_their_own_self_tests() {
    for path in families().into_iter().chain([data("digits.elbo")]) {
        let blob = Blob::read(&path).unwrap();
        let model = blob.load(Limits::host()).unwrap();
        let test = model.meta().unwrap().self_test;
        let x: Vec<i16> = test.input.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        assert!(!test.digests.is_empty(), "{}", path.display());
        assert_eq!(self_test(&model, &x, test.seed).unwrap(), test.digests, "{}", path.display());
    }
}

#[test]
fn another_version_is_refused_with_a_version_error() {
    let blob = Blob::read(&data("digits-v1.elbo")).unwrap();
    assert_eq!(blob.load(Limits::host()).unwrap_err(), LoadError::Version { found: 1, supported: 5 });
}

/// The runtime's package contains a copy, because it cannot access files outside its folder.
#[test]
fn the_runtimes_examples_show_the_golden_model() {
    let copy = data("../../runtime/examples/digits.elbo");
    assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(data("digits.elbo")).unwrap());
}
