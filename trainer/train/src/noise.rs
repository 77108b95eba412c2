//! An independent random generator for every purpose and step.
//!
//! A generator is a function of `(seed, purpose, index)`, and no state is carried from step to step. A training that is
//! resumed at step `n` therefore draws the same numbers as an uninterrupted one.

use crate::nn::Rng;

/// What a generator is used for. The numbers are part of the reproducibility and must never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Order of the rows; the index is the epoch.
    Shuffle = 1,
    /// Pixels in training; the index is the step.
    Pixels = 2,
    /// Latents in training; the index is the step.
    Latents = 3,
    /// Pixels of validation; the index is the repetition.
    ValidationPixels = 4,
    /// Latents of validation; the index is the repetition.
    ValidationLatents = 5,
    /// Pixels of evaluations; the index is the repetition.
    TestPixels = 6,
    /// Latents of evaluations; the index is the repetition.
    TestLatents = 7,
    /// Latents of pictures.
    Pictures = 8,
    /// Rows that are drawn in addition to the batch; the index is the step.
    Rows = 9,
}

/// The generator of `(seed, purpose, index)`.
pub fn generator(seed: u64, purpose: Purpose, index: u64) -> Rng {
    Rng::new([seed, purpose as u64, index].into_iter().fold(0, |state, word| mix(state ^ word)))
}

/// The seed of a start, counted from 0. The first start has the seed of the run.
pub fn seed_of_start(seed: u64, start: u64) -> u64 {
    if start == 0 { seed } else { mix(mix(seed) ^ start) }
}

/// A step of SplitMix64 (Steele, Lea and Flood 2014), a bijection in which every input bit affects every output bit.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_are_reproducible_and_distinct() {
        let draw = |seed, purpose, index| generator(seed, purpose, index).unit().to_bits();
        let all = [
            draw(1, Purpose::Pixels, 7),
            draw(2, Purpose::Pixels, 7),
            draw(1, Purpose::Latents, 7),
            draw(1, Purpose::Pixels, 8),
        ];
        assert_eq!(all[0], draw(1, Purpose::Pixels, 7));
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }
}
