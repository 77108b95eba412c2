//! Natural units of information in 64-bit fixed point.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Nats in Q16: 65536 is one nat. The proof ensures that the sums of a program fit 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Nats(i64);

impl Nats {
    /// The number with this Q16 representation.
    pub const fn from_bits(q16: i64) -> Self {
        Self(q16)
    }

    /// The Q16 representation.
    pub const fn to_bits(self) -> i64 {
        self.0
    }

    /// The Q16 representation in 32 bits, or `None` outside ±32768 nats.
    pub fn to_q16(self) -> Option<i32> {
        i32::try_from(self.0).ok()
    }

    /// The value in floating point, for hosts and displays.
    #[expect(clippy::float_arithmetic, reason = "the one way out of fixed point")]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 65536.0
    }
}

impl fmt::Display for Nats {
    /// Three decimals, rounded to nearest, without floating point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, thousandths) = (magnitude >> 16, ((magnitude & 0xFFFF) * 1000 + 0x8000) >> 16);
        let (whole, thousandths) = (whole + thousandths / 1000, thousandths % 1000);
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}.{thousandths:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_three_decimals() {
        let text = |value: f64| Nats::from_bits((value * 65536.0).round() as i64).to_string();
        assert_eq!(text(23.35), "23.350");
        assert_eq!(text(-0.25), "-0.250");
        assert_eq!(text(0.99999), "1.000");
        assert_eq!(text(-99.6004), "-99.600");
        assert_eq!(Nats::default().to_string(), "0.000");
    }

    #[test]
    fn a_conversion_that_would_saturate_is_refused() {
        assert_eq!(Nats::from_bits(1 << 20).to_q16(), Some(1 << 20));
        assert_eq!(Nats::from_bits(1 << 31).to_q16(), None);
    }
}
