//! Families that a build leaves out. Run with `cargo test -p elbo --no-default-features` or any set of features.

use elbo::LoadError as E;
use elbo::program::{OP_WORDS, Op, Opcode};
use elbo::{Limits, Model};
use elbo_fuzz_blobs::SEEDS;

/// Every seed either loads, or is refused at the first operation that this build does not include.
#[test]
fn an_operation_that_is_left_out_is_refused() {
    for (name, bytes) in SEEDS {
        let ops = elbo::blob::Blob::parse(bytes).expect("an intact seed").ops();
        let missing = (0..ops.len() / OP_WORDS).find(|index| !Op::read(ops, *index).opcode.compiled());
        let expected = missing.map(|op| E::Unsupported { op: op as u16 });
        assert_eq!(Model::load(bytes, Limits::host()).err(), expected, "{name}");
    }
}

#[test]
fn a_feature_brings_its_operations() {
    let features = [
        ("adgm", cfg!(feature = "adgm")),
        ("bernoulli", cfg!(feature = "bernoulli")),
        ("conv", cfg!(feature = "conv")),
        ("dlgm", cfg!(feature = "dlgm")),
        ("elementwise", cfg!(feature = "elementwise")),
        ("flow", cfg!(feature = "flow")),
        ("front", cfg!(feature = "front")),
        ("gaussian", cfg!(feature = "gaussian")),
        ("logistic", cfg!(feature = "logistic")),
        ("loops", cfg!(feature = "loops")),
        ("mixture", cfg!(feature = "mixture")),
        ("robust", cfg!(feature = "robust")),
        ("sampling", cfg!(feature = "sampling")),
        ("tanh", cfg!(feature = "tanh")),
    ];
    let mut operations = features.map(|_| 0);
    for opcode in Opcode::ALL {
        let places: Vec<usize> = opcode
            .features()
            .map(|name| features.iter().position(|(known, _)| *known == name).expect("a feature of this list"))
            .collect();
        let there = places.is_empty() || places.iter().any(|place| features[*place].1);
        assert_eq!(opcode.compiled(), there, "{opcode:?}");
        places.into_iter().for_each(|place| operations[place] += 1);
    }
    assert!(operations.iter().all(|count| *count > 0), "a feature that brings nothing: {operations:?}");
}
