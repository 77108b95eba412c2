//! False-alarm rates.

use super::PValue;
use core::fmt;
use core::num::NonZeroU32;
use serde::{Deserialize, Serialize};

/// A false-alarm rate: the share of normal rows that may alarm, as an exact fraction above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(into = "(u32, u32)", try_from = "(u32, u32)")]
pub struct Rate {
    numerator: NonZeroU32,
    denominator: NonZeroU32,
}

impl Rate {
    /// 10 %.
    pub const ONE_IN_10: Self = Self::one_in(NonZeroU32::new(10).unwrap());
    /// 1 %.
    pub const ONE_IN_100: Self = Self::one_in(NonZeroU32::new(100).unwrap());
    /// 0.1 %.
    pub const ONE_IN_1000: Self = Self::one_in(NonZeroU32::new(1000).unwrap());

    /// `numerator` false alarms among `denominator` normal rows, or `None` if the rate is 0 or above 1.
    pub const fn new(numerator: u32, denominator: u32) -> Option<Self> {
        match (NonZeroU32::new(numerator), NonZeroU32::new(denominator)) {
            (Some(alarms), Some(among)) if numerator <= denominator => {
                Some(Self { numerator: alarms, denominator: among })
            }
            _ => None,
        }
    }

    /// One false alarm among this number of normal rows.
    pub const fn one_in(rows: NonZeroU32) -> Self {
        Self { numerator: NonZeroU32::MIN, denominator: rows }
    }

    /// The numerator of the fraction.
    pub const fn numerator(self) -> u32 {
        self.numerator.get()
    }

    /// The denominator of the fraction.
    pub const fn denominator(self) -> u32 {
        self.denominator.get()
    }

    /// The same fraction as a p-value.
    pub(crate) const fn as_p_value(self) -> PValue {
        PValue::new(self.numerator(), self.denominator())
    }

    /// The least number of calibration rows that support this rate. With `n` rows no p-value is below `1 / (1 + n)`.
    pub fn rows_needed(self) -> u32 {
        self.denominator.get().div_ceil(self.numerator.get()) - 1
    }
}

impl From<Rate> for (u32, u32) {
    fn from(rate: Rate) -> Self {
        (rate.numerator(), rate.denominator())
    }
}

impl TryFrom<(u32, u32)> for Rate {
    type Error = &'static str;

    fn try_from((numerator, denominator): (u32, u32)) -> Result<Self, Self::Error> {
        Self::new(numerator, denominator).ok_or("expected a rate above 0 and at most 1")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// Why there is no threshold for a false-alarm rate: the calibration has too few rows for so rare an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TooFewRows {
    /// Calibration rows that there are. They support rates from `1 / (1 + rows)` on.
    pub rows: u32,
    /// Calibration rows that the rate needs.
    pub needed: u32,
}

impl fmt::Display for TooFewRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, needed } = self;
        write!(f, "this false-alarm rate needs {needed} calibration rows, and there are {rows}: ")?;
        match rows {
            0 => write!(f, "calibrate the model with normal rows"),
            _ => write!(f, "ask for a rate of at least 1/{}, or calibrate with more rows", rows.saturating_add(1)),
        }
    }
}

impl core::error::Error for TooFewRows {}
