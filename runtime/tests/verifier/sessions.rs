//! Sessions of a verified model: what they refuse before anything runs.

use crate::{base, impute};
use elbo::program::{Opcode, ProgramKind};
use elbo::{Arena, Limits, Model, SessionError};
use rand_core::SeedableRng;

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
