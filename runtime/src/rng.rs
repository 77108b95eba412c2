//! A small seedable generator of 32-bit words.
//!
//! Any other source of words serves as well, for example a hardware generator: see [`noise`](crate::noise). The
//! generator here is for repeatable runs: the same seed gives the same words on every machine. With the feature
//! `rand_core_010` it implements the traits of `rand_core` 0.10.

#[cfg(feature = "rand_core_010")]
use core::convert::Infallible;
#[cfg(feature = "rand_core_010")]
use rand_core::{SeedableRng, TryRng, utils};

/// xoshiro128++ 1.0 of Blackman and Vigna (*Scrambled linear pseudorandom number generators*, 2021): 128 bits of state,
/// period 2^128 - 1, only 32-bit additions, shifts and exclusive-ors.
///
/// It is not suitable for secrets, because its state can be computed from its output.
///
/// The words equal those of `rand_xoshiro::Xoshiro128PlusPlus` from the same seed.
///
/// ```
/// use elbo::rng::Xoshiro128PlusPlus;
///
/// let mut rng = Xoshiro128PlusPlus::new(7);
/// let mut same = Xoshiro128PlusPlus::new(7);
/// assert_eq!(rng.next_word(), same.next_word());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xoshiro128PlusPlus {
    // Four fields, not an array: the optimiser keeps them in registers throughout a loop of draws.
    s0: u32,
    s1: u32,
    s2: u32,
    s3: u32,
}

impl Xoshiro128PlusPlus {
    /// The generator of a seed. Its state is two words of SplitMix64, as the authors of xoshiro recommend, so that seeds
    /// that differ in one bit give unrelated sequences. `rand_core`'s `seed_from_u64` gives the same.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let low = split_mix_64(&mut state);
        let high = split_mix_64(&mut state);
        Self { s0: low as u32, s1: (low >> 32) as u32, s2: high as u32, s3: (high >> 32) as u32 }
    }

    /// The next 32 random bits.
    #[inline]
    pub fn next_word(&mut self) -> u32 {
        let word = self.s0.wrapping_add(self.s3).rotate_left(7).wrapping_add(self.s0);
        let shifted = self.s1 << 9;
        self.s2 ^= self.s0;
        self.s3 ^= self.s1;
        self.s1 ^= self.s2;
        self.s0 ^= self.s3;
        self.s2 ^= shifted;
        self.s3 = self.s3.rotate_left(11);
        word
    }
}

#[cfg(feature = "rand_core_010")]
impl SeedableRng for Xoshiro128PlusPlus {
    type Seed = [u8; 16];

    /// The seed is the state, as four little-endian words. The all-zero seed would make the generator return zeros
    /// forever; it is replaced by the state of `seed_from_u64(0)`.
    fn from_seed(seed: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(seed);
        if bits == 0 {
            return Self::new(0);
        }
        Self { s0: bits as u32, s1: (bits >> 32) as u32, s2: (bits >> 64) as u32, s3: (bits >> 96) as u32 }
    }

    /// As [`new`](Self::new).
    fn seed_from_u64(seed: u64) -> Self {
        Self::new(seed)
    }
}

#[cfg(feature = "rand_core_010")]
impl TryRng for Xoshiro128PlusPlus {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_u64_via_u32(self)
    }

    #[inline]
    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        utils::fill_bytes_via_next_word(destination, || self.try_next_u32())
    }
}

/// One step of SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).
fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(all(test, feature = "rand_core_010"))]
mod tests {
    use super::*;
    use rand_core::Rng;
    use rand_xoshiro::Xoshiro128PlusPlus as Reference;

    #[test]
    fn first_words_of_the_authors_c_code() {
        let mut rng = Xoshiro128PlusPlus::from_seed([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
        let words: [u32; 10] = core::array::from_fn(|_| rng.next_u32());
        let expected =
            [641, 1573767, 3222811527, 3517856514, 836907274, 4247214768, 3867114732, 1355841295, 495546011, 621204420];
        assert_eq!(words, expected);
    }

    #[test]
    fn agrees_with_rand_xoshiro_from_every_kind_of_seed() {
        for seed in [0, 1, 42, 0xdead_beef_0bad_cafe, u64::MAX] {
            let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
            let mut reference = Reference::seed_from_u64(seed);
            for _ in 0..10_000 {
                assert_eq!(rng.next_u32(), reference.next_u32(), "seed {seed}");
            }
            assert_eq!(rng.next_u64(), reference.next_u64());
            let (mut ours, mut theirs) = ([0; 23], [0; 23]);
            rng.fill_bytes(&mut ours);
            reference.fill_bytes(&mut theirs);
            assert_eq!(ours, theirs);
            assert_eq!(rng.next_u32(), reference.next_u32());
        }
        for seed in [[0; 16], [0xff; 16], *b"sixteen bytes!!!"] {
            let mut rng = Xoshiro128PlusPlus::from_seed(seed);
            let mut reference = Reference::from_seed(seed);
            for _ in 0..100 {
                assert_eq!(rng.next_u32(), reference.next_u32(), "seed {seed:?}");
            }
        }
    }
}
