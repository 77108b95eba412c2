//! Contributions of features add up to the difference of two scores.

mod common;

use elbo::program::{Opcode, ProgramKind};
use elbo::{Arena, Explained, Limits, Model, Nats, SessionError};
use elbo_fuzz_blobs::builder::{Parts, Program};
use proptest::prelude::*;

const LEN: usize = 6;

fn explained(words: &[u32], row: &mut [i16], reference: &mut [i16]) -> Result<(Explained, Vec<i64>), SessionError> {
    let model = Model::load(bytemuck::cast_slice(words), Limits::host()).expect("valid");
    let mut arena = Arena::<8192>::new();
    let mut session = model.session(arena.as_mut_slice()).expect("large enough");
    let mut out = vec![Nats::from_bits(7); row.len()];
    let explained = session.contributions(row, reference, &mut out)?;
    Ok((explained, out.into_iter().map(Nats::to_bits).collect()))
}

/// Half the sum of squares of a row, and of a row whose elements are differences of neighbours.
fn blob(kind: ProgramKind, neighbours: bool) -> Vec<u32> {
    let mut parts = Parts::new();
    parts.program(kind, |p: &mut Program<'_>| {
        let x = p.input(LEN as u32, 8, 32767);
        let y = if neighbours {
            let slice = |p: &mut Program<'_>, at: u32| p.slice(x, at, LEN as u32 - 1);
            let (first, second) = (slice(p, 0), slice(p, 1));
            p.map(Opcode::SubVec, &[first, second], 8, 0)
        } else {
            x
        };
        let score = p.scalar(Opcode::HalfSumSq, &[y], 0);
        p.outputs(&[score]);
    });
    parts.words()
}

proptest! {
    #[test]
    fn they_add_up_and_the_rows_stay(
        row in prop::array::uniform6(-9000i16..9000), reference in prop::array::uniform6(-9000i16..9000)
    ) {
        for neighbours in [false, true] {
            let (mut a, mut b) = (row, reference);
            let (explained, parts) = explained(&blob(ProgramKind::Score, neighbours), &mut a, &mut b).unwrap();
            prop_assert_eq!((a, b), (row, reference));
            let difference = explained.score.to_bits() - explained.reference.to_bits();
            prop_assert_eq!(parts.iter().sum::<i64>(), difference);
            if !neighbours {
                // The features do not interact: each contributes its own square.
                for ((part, x), r) in parts.iter().zip(row).zip(reference) {
                    let exact = (i64::from(x).pow(2) - i64::from(r).pow(2)) / 2;
                    prop_assert!((part - exact).abs() <= 2, "{part} {exact}");
                }
            }
        }
    }
}

#[test]
fn features_that_interact_share_what_they_cause() {
    // (x0 - x1)^2 / 2 from 0 to 2: each of both alone would cause a half, and together nothing.
    let (mut row, mut reference) = ([512, -512, -512, -512, -512, -512], [0, 0, 0, 0, 0, 0]);
    let (explained, parts) = explained(&blob(ProgramKind::Score, true), &mut row, &mut reference).unwrap();
    assert_eq!((explained.score.to_f64(), explained.reference.to_f64()), (8.0, 0.0));
    let parts: Vec<f64> = parts.iter().map(|bits| *bits as f64 / 65536.0).collect();
    assert_eq!(parts[0], parts[1]);
    assert_eq!(parts[0], 4.0);
}

#[test]
fn the_scored_features_of_a_front_end_are_preferred() {
    let words = blob(ProgramKind::ScoreFeatures, false);
    let (explained, _) = explained(&words, &mut [256; LEN], &mut [0; LEN]).unwrap();
    assert_eq!(explained.score.to_f64(), 3.0);
}

#[test]
fn lengths_that_do_not_match_change_nothing() {
    let words = blob(ProgramKind::Score, false);
    let mut row = [1, 2, 3, 4, 5, 6];
    let error = explained(&words, &mut row, &mut [0; 5]).unwrap_err();
    assert_eq!(error, SessionError::OutputLength { expected: 6, given: 5 });
    let error = explained(&words, &mut row[..5], &mut [0; 5]).unwrap_err();
    assert_eq!(error, SessionError::InputLength { expected: 6, given: 5 });
    assert_eq!(row, [1, 2, 3, 4, 5, 6]);
    let absent = blob(ProgramKind::ScoreMonteCarlo, false);
    assert_eq!(explained(&absent, &mut row, &mut [0; 6]).unwrap_err(), SessionError::ProgramAbsent);
}
