//! Families that a build leaves out: `cargo test -p elbo --no-default-features`, or any choice of features.

use elbo::LoadError as E;
use elbo::program::{OP_WORDS, Op, Opcode};
use elbo::{Limits, Model};
use elbo_fuzz_blobs::SEEDS;

/// Every seed loads, or names the first of its operations that this build does not have.
#[test]
fn an_operation_that_is_left_out_is_refused() {
    for (name, bytes) in SEEDS {
        let ops = elbo::blob::Blob::parse(bytes).expect("an intact seed").ops();
        let missing = (0..ops.len() / OP_WORDS).find(|index| !Op::read(ops, *index).opcode.compiled());
        let expected = missing.map(|op| E::Unsupported { op: op as u16 });
        assert_eq!(Model::load(bytes, Limits::default()).err(), expected, "{name}");
    }
}

#[test]
fn a_feature_is_a_family() {
    let families: [(&str, bool, &[Opcode]); 7] = [
        ("adgm", cfg!(feature = "adgm"), &[Opcode::OneHot, Opcode::Softmax, Opcode::MeanVec, Opcode::FreeEnergy]),
        ("conv", cfg!(feature = "conv"), &[Opcode::Conv]),
        ("dlgm", cfg!(feature = "dlgm"), &[Opcode::RankOne, Opcode::HalfLogDet, Opcode::RankOneKl]),
        ("flow", cfg!(feature = "flow"), &[Opcode::Planar, Opcode::Radial, Opcode::Couplings]),
        ("logistic", cfg!(feature = "logistic"), &[Opcode::LogisticNll]),
        ("mixture", cfg!(feature = "mixture"), &[Opcode::GaussianLogits, Opcode::Posterior]),
        ("dlgm or mixture", cfg!(any(feature = "dlgm", feature = "mixture")), &[Opcode::Select]),
    ];
    for (feature, there, opcodes) in families {
        assert!(opcodes.iter().all(|opcode| opcode.compiled() == there), "{feature}");
    }
    let plain = Opcode::ALL.iter().filter(|opcode| families.iter().all(|(_, _, family)| !family.contains(opcode)));
    assert_eq!(plain.filter(|opcode| opcode.compiled()).count(), Opcode::ALL.len() - 15);
}
