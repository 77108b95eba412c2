//! Where a program's noise comes from.

use crate::normal::fill_normal;
use rand_core::Rng;

/// A source of noise. Every infallible [`rand_core::Rng`] is one: [`Xoshiro128PlusPlus`](crate::rng::Xoshiro128PlusPlus),
/// or a hardware generator; a source of your own may replay recorded draws.
pub trait Noise {
    /// Fills `out` with draws of N(0, 1) in Q3.12, in order of dimension. A program draws sample after sample.
    fn normal(&mut self, out: &mut [i16]);
}

impl<R: Rng> Noise for R {
    fn normal(&mut self, out: &mut [i16]) {
        fill_normal(self, out);
    }
}

/// No noise, for programs that are proved not to draw.
pub(crate) struct Silence;

impl Noise for Silence {
    fn normal(&mut self, _: &mut [i16]) {}
}
