//! Blobs that change after their proof: a model is loaded, bits of its memory change, and every program is run. A run
//! may give wrong numbers or end with an error. It may not panic, exceed the proved work, or take much longer than the
//! unchanged program.

use crate::case::{SPACE, write_case};
use crate::mutate::Random;
use crate::seed::SEEDS;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Model, ProgramInfo, ProgramKind, Session, SessionError, crc32_i16, crc32_words};
use rand_core::{Rng, SeedableRng};

/// How often a run of a changed program may take as long as one of the proved program.
pub const SLOWER: u64 = 20;

/// What happened to the runs of changed programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AfterProof {
    /// Runs that did exactly the proved work.
    pub ran: u64,
    /// Runs that were stopped because they departed from the proved work.
    pub stopped: u64,
    /// Runs that were refused: the program is gone, or takes other lengths than were passed.
    pub refused: u64,
    /// The sum over all runs of a checksum of the case, the program and the outcome.
    pub digest: u32,
    /// The longest run of a changed program, in hundredths of the time of the proved program. 0 without a clock.
    pub slowest: u64,
}

impl AfterProof {
    /// Number of runs.
    pub fn runs(&self) -> u64 {
        self.ran + self.stopped + self.refused
    }

    /// Adds the runs of another count.
    pub fn join(&mut self, other: &Self) {
        self.ran += other.ran;
        self.stopped += other.stopped;
        self.refused += other.refused;
        self.digest = self.digest.wrapping_add(other.digest);
        self.slowest = self.slowest.max(other.slowest);
    }

    fn add(&mut self, case: u64, kind: ProgramKind, outcome: Result<u32, SessionError>) {
        let seen = match outcome {
            Ok(digest) => {
                self.ran += 1;
                [1, digest]
            }
            Err(SessionError::Changed) => {
                self.stopped += 1;
                [2, 0]
            }
            Err(SessionError::InputLength { expected, .. } | SessionError::OutputLength { expected, .. }) => {
                self.refused += 1;
                [3, expected as u32]
            }
            Err(SessionError::ProgramAbsent) => {
                self.refused += 1;
                [4, 0]
            }
            Err(error) => panic!("{kind:?} is refused for no reason: {error}"),
        };
        let seen = [case as u32, (case >> 32) as u32, kind as u32, seen[0], seen[1]];
        self.digest = self.digest.wrapping_add(crc32_words(&seen));
    }
}

/// Nanoseconds from any start, for comparing the times of runs.
pub type Clock<'c> = &'c mut dyn FnMut() -> u64;

/// Makes a blob from `case` that is proved, and changes it after the proof: see [`run_changed`].
///
/// # Panics
/// Those of [`run_changed`].
pub fn run_after_proof(
    case: u64,
    words: &mut [[u32; SPACE]; 2],
    memory: &mut [i16],
    clock: Option<Clock<'_>>,
) -> AfterProof {
    let [proved, changed] = words;
    let len = proved_blob(case, proved);
    run_changed(case, &proved[..len], &mut changed[..len], memory, clock)
}

/// Proves the blob in `proved`, changes a copy of it in `changed`, and runs every program over the copy. `case` determines
/// the change, the inputs and the noise. With a clock, a run is also compared with one of the unchanged program.
///
/// # Panics
/// If the blob is refused or the memory too small; if a run takes more than the proved work or [`SLOWER`] times its time,
/// or ends with an unexpected error.
pub fn run_changed(
    case: u64,
    proved: &[u32],
    changed: &mut [u32],
    memory: &mut [i16],
    mut clock: Option<Clock<'_>>,
) -> AfterProof {
    let mut random = Random(case ^ 0xAF7E_12F0_0F00_D5A5);
    changed.copy_from_slice(proved);
    let model = load(proved).expect("a blob that can be proved");
    change(&model, changed, &mut random);
    let after = model.changed(changed).expect("as many words");
    // The description is read on demand, and may not be there any more.
    let _ = after.meta();

    let mut counts = AfterProof::default();
    let arena_len = model.arena_len().next_multiple_of(4);
    let (arena, vectors) = memory.split_at_mut(arena_len);
    for kind in ProgramKind::ALL {
        let Some(info) = model.program(kind) else { continue };
        // The caller passes what the model asks for now, or what it was proved for.
        let now = after.program(kind).filter(|_| random.below(4) > 0).filter(|now| halfwords(now) <= vectors.len());
        let asked = now.unwrap_or(info);
        // A changed program may read what it has not written.
        arena.fill(kind as i16);
        let mut run = |model: &Model<'_>, info: &ProgramInfo| {
            let mut session = model.session(&mut *arena).expect("the arena is large enough and aligned");
            let outcome = run_program(&mut session, kind, info, vectors);
            (outcome, session.steps())
        };
        let (outcome, steps) = run(&after, &asked);
        assert!(steps <= info.work, "{kind:?} took {steps} steps and was proved for {}", info.work);
        assert!(
            outcome.is_err() || steps == info.work,
            "{kind:?} took {steps} steps of {} and gave a result",
            info.work
        );
        counts.add(case, kind, outcome);
        // A run over other vectors than before cannot be compared with one over those of the proof.
        if let Some(clock) = clock.as_mut().filter(|_| halfwords(&asked) == halfwords(&info)) {
            let mut time = |model: &Model<'_>, info: &ProgramInfo| {
                let start = clock();
                let _ = run(model, info);
                clock() - start
            };
            let slower = slowdown(|changed| if changed { time(&after, &asked) } else { time(&model, &info) });
            assert!(slower <= 100 * SLOWER, "{kind:?} takes {slower} % of its time");
            counts.slowest = counts.slowest.max(slower);
        }
    }
    counts
}

/// The time of a changed run in percent of a proved one. A time that looks long is measured again, because the machine
/// does other things too.
fn slowdown(mut time: impl FnMut(bool) -> u64) -> u64 {
    let percent = |changed: u64, proved: u64| 100 * changed / proved.max(1);
    let (mut changed, mut proved) = (time(true), time(false));
    for _ in 0..50 {
        if percent(changed, proved) <= 100 * SLOWER / 4 {
            break;
        }
        (changed, proved) = (changed.min(time(true)), proved.min(time(false)));
    }
    percent(changed, proved)
}

fn load(words: &[u32]) -> Option<Model<'_>> {
    Model::load(bytemuck::cast_slice(words), Limits { max_work: 1 << 40 }).ok()
}

/// Writes a blob that is proved and returns its length in words: that of the case if it is, otherwise a seed.
fn proved_blob(case: u64, words: &mut [u32; SPACE]) -> usize {
    let len = write_case(case, words);
    let fits = |model: Model<'_>| {
        let largest =
            ProgramKind::ALL.into_iter().filter_map(|kind| model.program(kind)).map(|info| halfwords(&info)).max();
        model.arena_len().next_multiple_of(4) + largest.unwrap_or(0) <= crate::MEMORY / 2
    };
    if load(&words[..len]).is_some_and(fits) {
        return len;
    }
    let (_, seed) = SEEDS[Random(case).below(SEEDS.len())];
    for (word, four) in words.iter_mut().zip(seed.as_chunks().0) {
        *word = u32::from_le_bytes(*four);
    }
    seed.len() / 4
}

/// Halfwords of all vectors of a program.
fn halfwords(info: &ProgramInfo) -> usize {
    let [inputs, outputs] = [info.inputs, info.outputs];
    inputs.into_iter().chain(outputs).flatten().fold(0, |sum, vector| vector.len.saturating_add(sum))
}

/// Changes one to eight places: a bit, a byte or a word. Most are in the header and the records, which decide what runs.
fn change(model: &Model<'_>, words: &mut [u32], random: &mut Random) {
    let blob = model.blob();
    let records = words.len() - blob.data().len() - blob.meta().len().div_ceil(4);
    for _ in 0..=random.below(8) {
        let places = if random.below(8) == 0 { words.len() } else { records };
        let (place, bits) = (random.below(places), random.bits());
        words[place] ^= match random.below(8) {
            0 => bits as u32,
            1 => u32::from(bits as u8) << (8 * (bits >> 8 & 3)),
            _ => 1 << (bits & 31),
        };
    }
}

/// Runs a program on reproducible inputs and noise, and returns a checksum of what it gives.
fn run_program(
    session: &mut Session<'_, '_>,
    kind: ProgramKind,
    info: &ProgramInfo,
    vectors: &mut [i16],
) -> Result<u32, SessionError> {
    let len = |vector: Option<elbo::VectorInfo>| vector.map_or(0, |vector| vector.len);
    let (first, rest) = vectors.split_at_mut(len(info.inputs[0]));
    let (second, rest) = rest.split_at_mut(len(info.inputs[1]));
    let (out, rest) = rest.split_at_mut(len(info.outputs[0]));
    let other = &mut rest[..len(info.outputs[1])];
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(kind as u64);
    for input in [&mut *first, &mut *second] {
        input.fill_with(|| (rng.next_u32() >> 16) as i16);
    }
    let nats = session.run(kind, &[first, second], &mut [&mut *out, &mut *other], &mut rng)?.to_bits();
    Ok(crc32_words(&[crc32_i16(out), crc32_i16(other), nats as u32, (nats >> 32) as u32]))
}
