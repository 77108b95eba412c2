//! P-values: exact fractions.

use super::Rate;
use crate::fixed;
use crate::nats::Nats;
use core::cmp::Ordering;
use core::fmt;

/// A conformal p-value: the share of normal rows that score as high, as an exact fraction above 0 and at most 1.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PValue {
    numerator: u32,
    denominator: u32,
}

impl PValue {
    /// 1: a score as low as any.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// `numerator <= denominator <= 2^30 + 1`, and neither is 0.
    pub(super) const fn new(numerator: u32, denominator: u32) -> Self {
        Self { numerator, denominator }
    }

    /// The numerator of the fraction. The fraction is not reduced: it is the rank of the score among the calibration
    /// scores and itself.
    pub const fn numerator(self) -> u32 {
        self.numerator
    }

    /// The denominator of the fraction: the number of calibration rows plus one.
    pub const fn denominator(self) -> u32 {
        self.denominator
    }

    /// Whether the p-value is at most this rate, so that the score alarms at this false-alarm rate.
    pub fn is_at_most(self, rate: Rate) -> bool {
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        product(self.numerator, rate.denominator()) <= product(rate.numerator(), self.denominator)
    }

    /// The natural logarithm, 0 or negative. The error is at most 1.1 LSB of Q16 nats.
    pub fn ln(self) -> Nats {
        let ln = |number: u32| i64::from(fixed::ln(u64::from(number), 0));
        Nats::from_bits((ln(self.numerator) - ln(self.denominator)).min(0))
    }

    /// The value in floating point, for hosts and displays.
    #[expect(clippy::float_arithmetic, reason = "the one way out of exact fractions")]
    pub fn to_f64(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }
}

impl PartialEq for PValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PValue {}

impl PartialOrd for PValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PValue {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        product(self.numerator, other.denominator).cmp(&product(other.numerator, self.denominator))
    }
}

impl fmt::Display for PValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}
