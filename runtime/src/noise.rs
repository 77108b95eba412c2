//! Sources of a program's noise.
//!
//! Every source of uniform 32-bit words is one: [`from_fn`] takes a closure, so that a firmware needs no version of
//! `rand_core` in particular. If it has a generator of `rand_core`, the features `rand_core_010`, `rand_core_09` and
//! `rand_core_06` accept it as it is. A source of another kind implements [`Noise`] itself.

#[cfg(feature = "rand_core_010")]
use crate::normal::fill_normal;
use crate::normal::normal_from_bits;
#[cfg(feature = "rand_core_010")]
use rand_core::Rng;

/// A source of noise: a closure in [`from_fn`], [`Xoshiro128PlusPlus`](crate::rng::Xoshiro128PlusPlus), or, with the
/// feature `rand_core_010`, every infallible `rand_core::Rng` of version 0.10, for example a hardware generator. An
/// implementation of your own can replay recorded draws.
pub trait Noise {
    /// Fills `out` with draws of N(0, 1) in Q3.12, in order of dimension. A program draws one sample after another.
    /// Before the call `out` contains zeros. Larger values than [`normal::MAX`](crate::normal::MAX) count as this value.
    fn normal(&mut self, out: &mut [i16]);
}

#[cfg(feature = "rand_core_010")]
impl<R: Rng> Noise for R {
    fn normal(&mut self, out: &mut [i16]) {
        fill_normal(self, out);
    }
}

#[cfg(not(feature = "rand_core_010"))]
impl Noise for crate::rng::Xoshiro128PlusPlus {
    fn normal(&mut self, out: &mut [i16]) {
        out.fill_with(|| normal_from_bits(self.next_word()));
    }
}

/// The source that [`from_fn`] returns.
#[derive(Clone, Copy, Debug)]
pub struct FromFn<F>(F);

/// A source of noise from a function that returns 32 uniform random bits. A draw calls it once.
///
/// ```
/// use elbo::noise::{self, Noise};
///
/// let mut words = [0x1234_5678_u32, 0x9abc_def0].into_iter().cycle();
/// let mut noise = noise::from_fn(|| words.next().unwrap_or(0));
/// let mut draws = [0; 4];
/// noise.normal(&mut draws);
/// assert_eq!(draws[..2], draws[2..]);
/// ```
pub fn from_fn<F: FnMut() -> u32>(word: F) -> FromFn<F> {
    FromFn(word)
}

impl<F: FnMut() -> u32> Noise for FromFn<F> {
    fn normal(&mut self, out: &mut [i16]) {
        out.fill_with(|| normal_from_bits((self.0)()));
    }
}

/// A generator of `rand_core` 0.9, which embassy and the HALs of the RP2040 and of the nRF chips use.
#[cfg(feature = "rand_core_09")]
#[derive(Clone, Copy, Debug)]
pub struct RandCore09<R>(pub R);

#[cfg(feature = "rand_core_09")]
impl<R: rand_core_09::RngCore> Noise for RandCore09<R> {
    fn normal(&mut self, out: &mut [i16]) {
        from_fn(|| self.0.next_u32()).normal(out);
    }
}

/// A generator of `rand_core` 0.6, which embassy and older HALs use.
#[cfg(feature = "rand_core_06")]
#[derive(Clone, Copy, Debug)]
pub struct RandCore06<R>(pub R);

#[cfg(feature = "rand_core_06")]
impl<R: rand_core_06::RngCore> Noise for RandCore06<R> {
    fn normal(&mut self, out: &mut [i16]) {
        from_fn(|| self.0.next_u32()).normal(out);
    }
}

/// The noise of programs that are proved to draw none.
pub(crate) struct Silence;

impl Noise for Silence {
    fn normal(&mut self, _: &mut [i16]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Xoshiro128PlusPlus;

    fn draws(mut noise: impl Noise) -> [i16; 9] {
        let mut out = [0; 9];
        noise.normal(&mut out);
        out
    }

    /// Words of a generator, in every version of `rand_core`.
    #[cfg(any(feature = "rand_core_06", feature = "rand_core_09"))]
    struct Words(Xoshiro128PlusPlus);

    #[test]
    fn words_are_words_from_wherever_they_come() {
        let rng = Xoshiro128PlusPlus::new(5);
        let expected = draws(rng.clone());
        assert!(expected.iter().any(|draw| *draw != 0));
        let mut words = rng.clone();
        assert_eq!(draws(from_fn(|| words.next_word())), expected);
        #[cfg(feature = "rand_core_09")]
        assert_eq!(draws(RandCore09(Words(rng.clone()))), expected);
        #[cfg(feature = "rand_core_06")]
        {
            assert_eq!(draws(RandCore06(Words(rng.clone()))), expected);
            assert_eq!(draws(RandCore06(&mut Words(rng))), expected, "by reference too");
        }
    }

    #[cfg(feature = "rand_core_09")]
    impl rand_core_09::RngCore for Words {
        fn next_u32(&mut self) -> u32 {
            self.0.next_word()
        }

        fn next_u64(&mut self) -> u64 {
            rand_core_09::impls::next_u64_via_u32(self)
        }

        fn fill_bytes(&mut self, out: &mut [u8]) {
            rand_core_09::impls::fill_bytes_via_next(self, out);
        }
    }

    #[cfg(feature = "rand_core_06")]
    impl rand_core_06::RngCore for Words {
        fn next_u32(&mut self) -> u32 {
            self.0.next_word()
        }

        fn next_u64(&mut self) -> u64 {
            rand_core_06::impls::next_u64_via_u32(self)
        }

        fn fill_bytes(&mut self, out: &mut [u8]) {
            rand_core_06::impls::fill_bytes_via_next(self, out);
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
            self.fill_bytes(out);
            Ok(())
        }
    }
}
