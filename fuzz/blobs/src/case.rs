//! Numbered cases. The number of a case determines its blob, its inputs and its noise, on every machine.

use crate::mutate::{Random, mutate};
use crate::run::{Outcome, run};
use crate::seed::SEEDS;

/// Words of the buffer for a case's blob.
pub const SPACE: usize = 1 << 10;
/// Halfwords of memory for running a case. A device with less memory finds more cases too large.
pub const MEMORY: usize = 1 << 14;
/// Largest number of steps of a program in a case.
pub const WORK: u64 = 1 << 14;

/// Writes the blob of `case` and returns its length in words.
pub fn write_case(case: u64, words: &mut [u32; SPACE]) -> usize {
    let mut random = Random(case);
    let (_, seed) = SEEDS[random.below(SEEDS.len())];
    for (word, four) in words.iter_mut().zip(seed.as_chunks().0) {
        *word = u32::from_le_bytes(*four);
    }
    mutate(words, seed.len() / 4, random.bits())
}

/// Makes the blob of `case` and runs it. A verified blob runs twice.
///
/// # Panics
/// Those of [`run_twice`].
pub fn run_case(case: u64, words: &mut [u32; SPACE], memory: &mut [i16]) -> Outcome {
    let len = write_case(case, words);
    run_twice(words, len, memory)
}

/// Runs the blob in the first `len` of `words`. A verified blob runs again after the words behind it and the memory
/// have been changed. A read outside the permitted memory would show as a difference, and a write into the blob as a
/// wrong checksum.
///
/// # Panics
/// Those of [`run`], or if the second run differs.
pub fn run_twice(words: &mut [u32], len: usize, memory: &mut [i16]) -> Outcome {
    let (blob, rest) = words.split_at_mut(len);
    let blob: &[u8] = bytemuck::cast_slice(blob);
    let outcome = run(blob, WORK, memory);
    if let Outcome::Ran { digest, .. } = outcome {
        rest.fill(!digest);
        memory.fill(digest as i16);
        assert_eq!(run(blob, WORK, memory), outcome, "what lies outside of the blob and its vectors has an effect");
    }
    outcome
}

/// The outcomes of several cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of blobs that were verified and ran.
    pub ran: u64,
    /// Number of blobs that were verified, but do not fit the given memory.
    pub too_large: u64,
    /// Number of blobs that were refused.
    pub refused: u64,
    /// Elementary steps of the blobs that ran.
    pub steps: u64,
    /// The sum over all cases of a checksum of the case's number and its outcome. It does not depend on the order of
    /// the cases.
    pub digest: u32,
}

impl Tally {
    /// Counts a case.
    pub fn add(&mut self, case: u64, outcome: &Outcome) {
        let mut of_run = [0; 2];
        match *outcome {
            Outcome::Ran { programs, steps, .. } => {
                self.ran += 1;
                self.steps += steps;
                of_run = [programs, steps as u32];
            }
            Outcome::TooLarge => self.too_large += 1,
            Outcome::Refused(_) => self.refused += 1,
        }
        let seen = [case as u32, (case >> 32) as u32, outcome.digest(), of_run[0], of_run[1]];
        self.digest = self.digest.wrapping_add(elbo::crc32_words(&seen));
    }

    /// Adds the cases of another tally.
    pub fn join(&mut self, other: &Self) {
        self.ran += other.ran;
        self.too_large += other.too_large;
        self.refused += other.refused;
        self.steps += other.steps;
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Number of cases.
    pub fn cases(&self) -> u64 {
        self.ran + self.too_large + self.refused
    }
}

/// Runs `count` cases, starting with case `first`.
///
/// # Panics
/// Those of [`run_case`].
pub fn run_cases(first: u64, count: u32, words: &mut [u32; SPACE], memory: &mut [i16]) -> Tally {
    let mut tally = Tally::default();
    for case in (0..count).map(|index| first.wrapping_add(index.into())) {
        tally.add(case, &run_case(case, words, memory));
    }
    tally
}

/// Words that [`split_scratch`] needs for `memory` halfwords.
pub const fn scratch_len(memory: usize) -> usize {
    SPACE + 1 + memory / 2
}

/// Divides a device's memory into the blob of a case and the memory to run it. `None` if there is not enough.
pub fn split_scratch(scratch: &mut [u32]) -> Option<(&mut [u32; SPACE], &mut [i16])> {
    let (words, rest) = scratch.split_first_chunk_mut()?;
    // The memory has the same length whether or not its alignment to eight bytes costs a word.
    let len = rest.len().checked_sub(1)?;
    let skip = rest.as_ptr().addr() / 4 % 2;
    Some((words, bytemuck::cast_slice_mut(&mut rest[skip..skip + len])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::Arena;

    #[test]
    fn a_tally_does_not_depend_on_the_order_or_the_division() {
        let (mut words, mut arena) = ([0; SPACE], Arena::<MEMORY>::new());
        let mut run = |first, count| run_cases(first, count, &mut words, arena.as_mut_slice());
        let whole = run(40, 300);
        let (mut parts, rest) = (run(100, 240), run(40, 60));
        parts.join(&rest);
        assert_eq!(whole, parts);
        assert_eq!(whole.cases(), 300);
        assert_ne!(whole.digest, run(41, 300).digest);
    }

    #[test]
    fn scratch_gives_aligned_memory_of_one_length() {
        let mut scratch = vec![0u32; scratch_len(64) + 1];
        for start in [0, 1] {
            let (_, memory) = split_scratch(&mut scratch[start..start + scratch_len(64)]).unwrap();
            assert_eq!((memory.len(), memory.as_ptr().addr() % 8), (64, 0));
        }
        assert!(split_scratch(&mut scratch[..SPACE]).is_none());
    }
}
