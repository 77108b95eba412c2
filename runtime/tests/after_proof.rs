//! What a change of the blob after its proof can do, what a refused call leaves behind, and what noise is handed. A
//! change stops the runtime's checks of sums in this process, so that other tests have their own.

use elbo::program::{Opcode, ProgramKind};
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Arena, Limits, Model, Noise, SessionError};
use elbo_fuzz_blobs::SEEDS;
use elbo_fuzz_blobs::builder::{Parts, Records};
use rand_core::SeedableRng;

fn model(words: &[u32]) -> Model<'_> {
    Model::load(bytemuck::cast_slice(words), Limits { max_work: 1 << 20 }).expect("valid")
}

/// Sums ten elements in every iteration of a loop, and returns the mean of the sums.
fn parts() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(10, 12, 4096);
        let sums = p.begin(3);
        let y = p.map(Opcode::Relu, &[x], 12, 0);
        let sum = p.scalar(Opcode::Sum, &[y], 0);
        p.end(sums, sum);
        let mean = p.scalar(Opcode::Mean, &[sums], 0);
        p.outputs(&[mean]);
    });
    parts
}

/// Runs the score after `change` and returns its outcome, its steps and the proved work.
fn after(change: impl FnOnce(&mut Records)) -> (Result<elbo::Nats, SessionError>, u64, u64) {
    let words = parts().words();
    let mut changed = parts();
    change(&mut changed);
    let changed = changed.words();
    let proved = model(&words);
    let work = proved.program(ProgramKind::Score).expect("there").work;
    let mut arena = Arena::<64>::new();
    let mut session = proved.changed(&changed).expect("as many words").session(arena.as_mut_slice()).expect("enough");
    let outcome = session.score(&[5; 10]);
    (outcome, session.steps(), work)
}

#[test]
fn the_budget_is_the_proved_one() {
    let (outcome, steps, work) = after(|p| p.programs[0].work = u64::MAX);
    assert!(outcome.is_ok() && steps == work);
    // A run without end, if the budget were the changed one.
    let (outcome, steps, work) = after(|p| {
        p.programs[0].work = u64::MAX;
        p.ops.iter_mut().filter(|op| op.opcode == Opcode::Loop).for_each(|op| op.imm = u32::MAX);
    });
    assert!(outcome == Err(SessionError::Changed) && steps <= work, "{steps} {work}");
}

#[test]
fn a_step_is_paid_by_the_lengths_that_it_goes_through() {
    let relu = |p: &Records| p.ops.iter().position(|op| op.opcode == Opcode::Relu).expect("there");
    for bit in 5..32 {
        let (outcome, steps, work) = after(|p| {
            let output = p.ops[relu(p)].output;
            p.tensors[usize::from(output)].len ^= 1 << bit;
        });
        assert!(outcome == Err(SessionError::Changed) && steps < work, "bit {bit}: {outcome:?} after {steps}");
    }
}

#[test]
fn less_work_than_proved_is_noticed_too() {
    let (outcome, steps, work) = after(|p| p.programs[0].ops_len = 2);
    assert!(outcome == Err(SessionError::Changed) && steps < work);
    let (outcome, ..) = after(|p| p.ops.iter_mut().for_each(|op| op.opcode = Opcode::Invalid));
    assert_eq!(outcome, Err(SessionError::Changed));
}

#[test]
fn a_program_that_is_gone_or_asks_for_other_lengths() {
    let (outcome, ..) = after(|p| p.programs[0].kind = ProgramKind::Decode as u32);
    assert_eq!(outcome, Err(SessionError::ProgramAbsent));
    let (outcome, ..) = after(|p| p.tensors[0].len = 11);
    assert_eq!(outcome, Err(SessionError::InputLength { expected: 11, given: 10 }));
}

/// Every single bit of every seed: nothing panics, and no run exceeds its proved work.
#[test]
fn every_flipped_bit_after_the_proof() {
    let mut arena = Box::new(Arena::<{ 1 << 12 }>::new());
    let (mut stopped, mut ran) = (0, 0);
    for (name, bytes) in SEEDS {
        let words: Vec<u32> = bytemuck::cast_slice(bytes).to_vec();
        let proved = model(&words);
        for place in 0..words.len() * 32 {
            let mut changed = words.clone();
            changed[place / 32] ^= 1 << (place % 32);
            let after = proved.changed(&changed).expect("as many words");
            let mut session = after.session(arena.as_mut_slice()).expect("enough");
            for kind in ProgramKind::ALL {
                let Some(info) = proved.program(kind) else { continue };
                let vectors = |of: [Option<elbo::VectorInfo>; 2]| of.map(|v| vec![77i16; v.map_or(0, |v| v.len)]);
                let ([x, other], [mut first, mut second]) = (vectors(info.inputs), vectors(info.outputs));
                let mut rng = Xoshiro128PlusPlus::seed_from_u64(1);
                let outcome = session.run(kind, &[&x, &other], &mut [&mut first, &mut second], &mut rng);
                let ended = matches!(outcome, Ok(_) | Err(SessionError::Changed));
                assert!(!ended || session.steps() <= info.work, "{name}, bit {place}, {kind:?}");
                match outcome {
                    Ok(_) => ran += 1,
                    Err(SessionError::Changed) => stopped += 1,
                    Err(
                        SessionError::ProgramAbsent
                        | SessionError::InputLength { .. }
                        | SessionError::OutputLength { .. },
                    ) => {}
                    Err(error) => panic!("{name}, bit {place}, {kind:?}: {error}"),
                }
            }
        }
    }
    assert!(ran > 10_000 && stopped > 10_000, "{ran} {stopped}");
}

/// A source that leaves its buffer as it is.
struct Forgetful;

impl Noise for Forgetful {
    fn normal(&mut self, _: &mut [i16]) {}
}

/// One program that reads a confidential input, and one that returns its noise.
fn two_programs() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Reconstruct, |p| {
        let x = p.input(4, 12, 4096);
        let y = p.map(Opcode::Relu, &[x], 12, 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Sample, |p| {
        let z = p.normal(4);
        p.outputs(&[z]);
    });
    parts.program(ProgramKind::Impute, |p| {
        let (x, mask) = (p.input(4, 12, 4096), p.input(4, 12, 4096));
        let y = p.map(Opcode::Select, &[x, x, mask], 12, 0);
        p.outputs(&[y]);
    });
    parts
}

#[test]
fn noise_is_not_handed_an_earlier_input() {
    let words = two_programs().words();
    let mut arena = Arena::<64>::new();
    let mut session = model(&words).session(arena.as_mut_slice()).expect("enough");
    let mut out = [0; 4];
    session.reconstruct(&[1111; 4], &mut out).expect("runs");
    session.sample(&mut Forgetful, &mut out).expect("runs");
    assert_eq!(out, [0; 4]);
}

#[test]
fn a_refused_call_writes_nothing_at_all() {
    let words = two_programs().words();
    let model = model(&words);
    let mut arena = Arena::<64>::new();
    arena.as_mut_slice().fill(0x5555);
    let mut session = model.session(arena.as_mut_slice()).expect("enough");
    let (x, noise) = ([1111; 4], &mut Xoshiro128PlusPlus::seed_from_u64(1));
    assert!(session.impute(&x, &x[..3], noise, &mut [0; 4]).is_err());
    assert!(session.impute(&x, &x, noise, &mut [0; 5]).is_err());
    assert!(session.reconstruct(&x[..3], &mut [0; 4]).is_err());
    assert!(arena.as_mut_slice().iter().all(|q| *q == 0x5555), "an input was written");
}

#[test]
fn wiping_removes_the_last_input() {
    let words = two_programs().words();
    let mut arena = Arena::<64>::new();
    let mut session = model(&words).session(arena.as_mut_slice()).expect("enough");
    session.reconstruct(&[1111; 4], &mut [0; 4]).expect("runs");
    session.wipe();
    assert_eq!(arena.as_mut_slice(), [0; 64]);
    let mut session = model(&words).session(arena.as_mut_slice()).expect("enough");
    session.reconstruct(&[1111; 4], &mut [0; 4]).expect("runs");
    assert!(arena.as_mut_slice().contains(&1111), "without wiping it stays");
}

#[test]
fn a_larger_arena_than_needed_may_be_declared() {
    let mut parts = two_programs();
    let needed = model(&parts.words()).arena_len();
    parts.arena_len = u32::MAX - 7;
    let words = parts.words();
    let model = model(&words);
    assert_eq!((model.arena_len(), model.blob().arena_len()), (needed, u32::MAX - 7));
    let mut arena = Arena::<64>::new();
    let mut out = [0; 4];
    let mut session = model.session(&mut arena.as_mut_slice()[..needed]).expect("enough");
    session.reconstruct(&[9; 4], &mut out).expect("runs");
    assert_eq!(out, [9; 4]);
}
