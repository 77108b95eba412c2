//! Intervals of real numbers: a value with everything that may be wrong about it.

use std::ops::{Add, Mul, Neg, Sub};

/// What an operation with a stated error may give: a number that is exact, and what is added to it.
pub struct Near {
    pub base: i64,
    pub rest: Interval,
}

impl Near {
    pub fn around(value: f64, error: f64) -> Self {
        Self { base: 0, rest: Interval::around(value, error) }
    }
}

pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// All numbers from `low` to `high`.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// One number.
    pub fn exactly(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// The numbers within `error` of a value.
    pub fn around(value: f64, error: f64) -> Self {
        Self::exactly(value).widened(error)
    }

    pub fn widened(self, error: f64) -> Self {
        Self { low: self.low - error, high: self.high + error }
    }

    pub fn clamped(self, low: f64, high: f64) -> Self {
        Self { low: self.low.clamp(low, high), high: self.high.clamp(low, high) }
    }

    /// The image under a function that never decreases.
    pub fn rising(self, f: impl Fn(f64) -> f64) -> Self {
        Self { low: f(self.low), high: f(self.high) }
    }

    pub fn square(self) -> Self {
        let (a, b) = (self.low * self.low, self.high * self.high);
        let spans = self.low <= 0.0 && self.high >= 0.0;
        Self { low: if spans { 0.0 } else { a.min(b) }, high: a.max(b) }
    }

    pub fn scaled(self, factor: f64) -> Self {
        self * Self::exactly(factor)
    }

    pub fn middle(self) -> f64 {
        (self.low + self.high) / 2.0
    }

    /// The largest magnitude.
    pub fn size(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// Half its width.
    pub fn radius(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Whether it contains a number, up to the rounding errors of the arithmetic in floating point.
    pub fn contains(self, value: f64) -> bool {
        let slack = 1e-9 + (-48f64).exp2() * self.size();
        self.low - slack <= value && value <= self.high + slack
    }
}

impl Add for Interval {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { low: self.low + other.low, high: self.high + other.high }
    }
}

impl Sub for Interval {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Interval {
    type Output = Self;
    fn neg(self) -> Self {
        Self { low: -self.high, high: -self.low }
    }
}

impl Mul for Interval {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let products = [self.low * other.low, self.low * other.high, self.high * other.low, self.high * other.high];
        Self {
            low: products.into_iter().fold(f64::INFINITY, f64::min),
            high: products.into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl std::iter::Sum for Interval {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::exactly(0.0), Add::add)
    }
}
