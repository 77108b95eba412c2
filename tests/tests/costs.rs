//! Counted instructions of operations and of proofs on emulated cores.

use elbo::{Limits, LoadError, Model};
use elbo_fuzz_blobs::{measure, worst};
use elbo_link::host::Board;

fn board(name: &str) -> &'static Board {
    Board::find(name).expect("an emulated board")
}

/// A step of work takes a similar time in every operation and for every shape.
fn steps_take_similar_times(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut measured = measure::operations(board(name), folder.path()).unwrap();
    measured.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let [least, .., most] = &measured[..] else { panic!("too few operations") };
    assert!(most.ratio() <= 8.0 * least.ratio(), "{name}: {most:?} {least:?}");
}

#[test]
fn steps_take_similar_times_on_a_cortex_m4() {
    steps_take_similar_times("mps2-an386");
}

#[test]
fn steps_take_similar_times_on_a_cortex_m0() {
    steps_take_similar_times("microbit");
}

/// Loading a model takes at most 25 instructions a byte on the smallest core. Six of them are those of the checksum.
#[test]
fn a_model_is_loaded_fast() {
    let folder = tempfile::tempdir().unwrap();
    let mut models = elbo_tests::families();
    models.push(elbo_tests::data("digits.elbo"));
    let words = models.iter().map(|model| {
        let bytes = std::fs::read(model).unwrap();
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    });
    let words: Vec<Vec<u32>> = words.collect();
    let loads = measure::loads(board("microbit"), &words, folder.path()).unwrap();
    for ((model, words), instructions) in models.iter().zip(&words).zip(loads) {
        let per_byte = instructions / (words.len() * 4) as f64;
        assert!(per_byte <= 25.0, "{}: {per_byte} instructions a byte", model.display());
    }
}

/// The proof of the blobs that take longest is linear in their length.
#[test]
fn no_blob_takes_long_to_prove() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = worst::hostile();
    let words: Vec<Vec<u32>> = blobs.iter().map(|(_, words)| words.clone()).collect();
    let loads = measure::loads(board("microbit"), &words, folder.path()).unwrap();
    for ((name, words), instructions) in blobs.iter().zip(loads) {
        let per_byte = instructions / (words.len() * 4) as f64;
        assert!(per_byte <= 250.0, "{name}: {per_byte} instructions a byte");
    }
}

#[test]
fn a_proof_that_would_take_too_long_is_refused() {
    let refused = worst::hostile().into_iter().filter(|(_, words)| {
        let loaded = Model::load(bytemuck::cast_slice(words), Limits { max_work: u64::MAX });
        matches!(loaded, Err(LoadError::TooManyChecks { program: 0 }))
    });
    let refused: Vec<String> = refused.map(|(name, _)| name).collect();
    assert_eq!(refused, ["all tensors alive", "couplings over all matrices", "convolutions of 225 phases"]);
}
