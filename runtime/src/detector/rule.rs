//! The rules by which p-values raise an alarm.

use super::DetectorError;
use crate::calibration::{PValue, Rate, TooFewRows};
use crate::fixed;
use crate::nats::Nats;
use serde::{Deserialize, Serialize};

/// When an alarm begins, and where it ends if it does not latch. Between `alarm` and `clear` the state stays as it is
/// (hysteresis). If both are equal, the alarm ends as soon as the rule no longer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Rule {
    /// One window: its p-value is at most `alarm`. The alarm ends with a p-value above `clear`. The average run length is
    /// `1 / alarm`.
    Threshold {
        /// The false-alarm rate.
        alarm: Rate,
        /// At least `alarm`.
        clear: Rate,
    },
    /// `alarm` of the last `window` windows have a p-value of at most `rate`. The alarm ends when fewer than `clear` have.
    Count {
        /// The rate of a single window.
        rate: Rate,
        /// 1 to 32 windows.
        window: u8,
        /// At most `window`.
        alarm: u8,
        /// At least 1 and at most `alarm`.
        clear: u8,
    },
    /// The exponentially weighted moving average of `-ln p` is at least `alarm` (Roberts, *Control chart tests based on
    /// geometric moving averages*, 1959). It starts at 1, its mean under normal running, and the newest window has the
    /// weight `2^-shift`. The alarm ends when it is below `clear`.
    Ewma {
        /// At most 16.
        shift: u8,
        /// In nats, above 0.
        alarm: Nats,
        /// Above 0 and at most `alarm`.
        clear: Nats,
    },
    /// The cumulative sum `s = max(0, s - ln p - reference)` is at least `alarm` (Page, *Continuous inspection schemes*,
    /// 1954). It starts at 0, and does not rise above `alarm`, so that it falls as soon as the cause has gone. The alarm
    /// ends when it is below `clear`. A shift after which `-ln p` has the mean `m` is found soonest with a `reference` of
    /// `m ln m / (m - 1)`, 1.39 for `m = 2`.
    Cusum {
        /// In nats, above 1.
        reference: Nats,
        /// In nats, above 0.
        alarm: Nats,
        /// Above 0 and at most `alarm`.
        clear: Nats,
    },
}

/// What a rule keeps of the windows so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Memory {
    /// Nothing.
    None,
    /// A bit for each of the last windows, the newest in the lowest.
    Bits(u32),
    /// An average in Q32, or a sum in Q16.
    Sum(i64),
}

/// Which level a rule has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Alarm,
    Between,
    Clear,
}

/// 1 nat.
const ONE: i64 = 1 << 16;

impl Rule {
    /// Checks the ranges, and that p-values from `smallest` on can raise an alarm.
    pub(super) fn check(&self, smallest: PValue) -> Result<(), DetectorError> {
        let valid = match *self {
            Self::Threshold { alarm, clear } => alarm.as_p_value().is_at_most(clear),
            Self::Count { window, alarm, clear, .. } => (1..=alarm).contains(&clear) && alarm <= window && window <= 32,
            Self::Ewma { shift, alarm, clear } => shift <= 16 && levels(alarm, clear),
            Self::Cusum { reference, alarm, clear } => reference.to_bits() > ONE && levels(alarm, clear),
        };
        if !valid {
            return Err(DetectorError::Rule);
        }
        let needed = match *self {
            Self::Threshold { alarm: rate, .. } | Self::Count { rate, .. } => {
                if smallest.is_at_most(rate) {
                    return Ok(());
                }
                rate.rows_needed()
            }
            // The average of p-values cannot exceed the largest, and a sum does not grow if none exceeds the reference.
            Self::Ewma { alarm: level, .. } | Self::Cusum { reference: level, .. } => {
                if surprise(smallest) > level.to_bits() {
                    return Ok(());
                }
                let rows = level.to_q16().map_or(u64::MAX, |nats| fixed::exp(nats, 0));
                u32::try_from(rows).unwrap_or(u32::MAX)
            }
        };
        Err(TooFewRows { rows: smallest.denominator() - 1, needed }.into())
    }

    /// The memory before the first window.
    pub(super) fn start(&self) -> Memory {
        match self {
            Self::Threshold { .. } => Memory::None,
            Self::Count { .. } => Memory::Bits(0),
            Self::Ewma { .. } => Memory::Sum(ONE << 16),
            Self::Cusum { .. } => Memory::Sum(0),
        }
    }

    /// Takes a p-value.
    pub(super) fn step(&self, memory: &mut Memory, p: PValue) -> Reached {
        let reached = |alarm: bool, clear: bool| match (alarm, clear) {
            (true, _) => Reached::Alarm,
            (false, true) => Reached::Clear,
            (false, false) => Reached::Between,
        };
        match *self {
            Self::Threshold { alarm, clear } => reached(p.is_at_most(alarm), !p.is_at_most(clear)),
            Self::Count { rate, window, alarm, clear } => {
                let before = if let Memory::Bits(bits) = *memory { bits } else { 0 };
                let bits =
                    (before << 1 | u32::from(p.is_at_most(rate))) & (u32::MAX >> (32 - u32::from(window)).min(31));
                *memory = Memory::Bits(bits);
                reached(bits.count_ones() >= u32::from(alarm), bits.count_ones() < u32::from(clear))
            }
            Self::Ewma { shift, alarm, clear } => {
                let average = sum(*memory);
                let average = average + (((surprise(p) << 16) - average) >> shift.min(16));
                *memory = Memory::Sum(average);
                reached(average >> 16 >= alarm.to_bits(), average >> 16 < clear.to_bits())
            }
            Self::Cusum { reference, alarm, clear } => {
                let more = surprise(p).saturating_sub(reference.to_bits());
                let sum = sum(*memory).saturating_add(more).max(0).min(alarm.to_bits());
                *memory = Memory::Sum(sum);
                reached(sum >= alarm.to_bits(), sum < clear.to_bits())
            }
        }
    }
}

fn levels(alarm: Nats, clear: Nats) -> bool {
    clear.to_bits() > 0 && clear <= alarm
}

fn sum(memory: Memory) -> i64 {
    if let Memory::Sum(sum) = memory { sum } else { 0 }
}

/// `-ln p` in Q16 nats, from 0 to 21. Sums and averages add up what a table of knots makes p-values too large, by up to a
/// sixteenth each. So the middle of the ranks that share a p-value counts, and the mean under normal running stays 1.
fn surprise(p: PValue) -> i64 {
    let ln = |number: u32, frac| i64::from(fixed::ln(u64::from(number), frac));
    let shared = p.numerator() / 17;
    let above = if p.numerator() <= 32 { 2 * p.numerator() } else { 2 * p.numerator() + 1 - shared };
    (ln(p.denominator(), 0) - ln(above, 1)).max(0)
}
