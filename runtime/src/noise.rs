//! The source of a program's noise.

use crate::normal::fill_normal;
use rand_core::Rng;

/// A source of noise. Every infallible [`rand_core::Rng`] implements it:
/// [`Xoshiro128PlusPlus`](crate::rng::Xoshiro128PlusPlus) or a hardware generator. An implementation of your own can
/// replay recorded draws.
pub trait Noise {
    /// Fills `out` with draws of N(0, 1) in Q3.12, in order of dimension. A program draws one sample after another.
    fn normal(&mut self, out: &mut [i16]);
}

impl<R: Rng> Noise for R {
    fn normal(&mut self, out: &mut [i16]) {
        fill_normal(self, out);
    }
}

/// The noise of programs that are proved to draw none.
pub(crate) struct Silence;

impl Noise for Silence {
    fn normal(&mut self, _: &mut [i16]) {}
}
