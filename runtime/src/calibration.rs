//! What a score means: how rare it is among the scores of normal rows that the model has not seen.
//!
//! A calibration is made of the scores of `n` such rows. The *conformal p-value* of a score `s` is
//!
//! ```text
//! p(s) = (1 + number of calibration scores >= s) / (1 + n)
//! ```
//!
//! (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005; Bates, Candès, Lei, Romano and Sesia,
//! *Testing for outliers with conformal p-values*, 2023). If a new row is exchangeable with the calibration rows, then
//! `P(p <= a) <= a` for every `a`, whatever the model and the distribution of the rows. So an alarm at `p <= a` is false
//! for at most the share `a` of normal rows, on average over calibrations. For one calibration the share varies: with
//! `k = floor(a (n + 1))` it has the distribution Beta(k, n + 1 - k).

mod encode;
mod p_value;
mod rate;
#[cfg(test)]
mod tests;

use crate::nats::Nats;
use crate::program::ProgramKind;
use serde::{Deserialize, Serialize};

pub use encode::BufferTooSmall;
pub use p_value::PValue;
pub use rate::{Rate, TooFewRows};

/// More rows than this count as this number, so that fractions fit 32 bits.
const MOST_ROWS: u32 = 1 << 30;

/// The scores of calibration rows as a short table, which answers how rare a score is.
///
/// The table holds some of the scores, the *knots*: the 32 largest, and then those whose ranks grow by a sixteenth each
/// time. Between knots the larger p-value counts. So a p-value is exact where fewer than 32 calibration scores are as
/// large, and elsewhere it is never below the exact one and at most 17/16 of it. In the metadata the table is the number of
/// rows and bytes: the largest score as a zigzag variable-length integer in Q16 nats, and for each further knot the
/// difference to the one before, which is not negative.
///
/// Any number of rows and any bytes are a table. A table that is cut off gives larger p-values, and nothing panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Calibration<'b> {
    rows: u32,
    knots: &'b [u8],
}

impl<'b> Calibration<'b> {
    /// A calibration of so many rows with this table.
    pub(crate) const fn from_parts(rows: u32, knots: &'b [u8]) -> Self {
        Self { rows, knots }
    }

    /// Number of calibration rows.
    pub fn rows(&self) -> u32 {
        self.rows.min(MOST_ROWS)
    }

    /// Number of bytes of the table of knots.
    pub fn table_len(&self) -> usize {
        self.knots.len()
    }

    /// The smallest p-value that this calibration can give: `1 / (1 + rows)`.
    pub fn smallest(&self) -> PValue {
        PValue::new(1, self.rows() + 1)
    }

    /// The p-value of a score. It takes time linear in the number of knots.
    pub fn p_value(&self, score: Nats) -> PValue {
        let all = self.rows() + 1;
        // Fewer calibration scores than the rank of a lower knot are as large as the score.
        let lower = self.knots().find(|knot| knot.score < score.to_bits());
        PValue::new(lower.map_or(all, |knot| knot.rank), all)
    }

    /// The least score whose p-value is at most `rate`, which is below 1. A score alarms at this false-alarm rate exactly if
    /// it is at least the threshold.
    ///
    /// # Errors
    /// [`TooFewRows`] if no score has so small a p-value. There is no threshold then, and a detector must not alarm.
    pub fn threshold(&self, rate: Rate) -> Result<Nats, TooFewRows> {
        let all = self.rows() + 1;
        let rare = self.knots().take_while(|knot| PValue::new(knot.rank, all).is_at_most(rate)).last();
        let knot = rare.ok_or(TooFewRows { rows: self.rows(), needed: rate.rows_needed() })?;
        Ok(Nats::from_bits(knot.score.saturating_add(1)))
    }

    /// The largest numerator of a p-value that is at most `most`; 0 if there is none.
    pub(crate) fn numerator_at_most(&self, most: u32) -> u32 {
        self.knots().map(|knot| knot.rank).take_while(|rank| *rank <= most).last().unwrap_or(0)
    }

    fn knots(&self) -> Knots<'_> {
        Knots { bytes: self.knots, rows: self.rows(), last: Knot { rank: 0, score: 0 } }
    }
}

/// A calibration score: the `rank`-th largest, counted from 1, in Q16 nats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Knot {
    rank: u32,
    score: i64,
}

/// The rank of the knot after the one with this rank.
const fn next_rank(rank: u32) -> u32 {
    let step = rank / 16;
    rank + if step == 0 { 1 } else { step }
}

/// The knots from the largest score on, until the bytes or the ranks end.
struct Knots<'b> {
    bytes: &'b [u8],
    rows: u32,
    last: Knot,
}

impl Iterator for Knots<'_> {
    type Item = Knot;

    fn next(&mut self) -> Option<Knot> {
        let rank = next_rank(self.last.rank);
        if rank > self.rows {
            return None;
        }
        let number = self.varint()?;
        let score = match self.last.rank {
            0 => (number >> 1) as i64 ^ -((number & 1) as i64),
            _ => self.last.score.saturating_sub_unsigned(number),
        };
        self.last = Knot { rank, score };
        Some(self.last)
    }
}

impl Knots<'_> {
    /// The next number, in seven bits of each byte from the lowest on. `None` if the bytes end before it does.
    fn varint(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            // Ten bytes hold 64 bits.
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }
}

/// The calibrations of a model's scores, one for each program that scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Calibrations<'b> {
    /// That of the deterministic score, which is the exact one of a flow or a mixture.
    #[serde(borrow)]
    pub score: Calibration<'b>,
    /// That of the Monte Carlo score.
    pub score_monte_carlo: Calibration<'b>,
    /// That of the importance-weighted score.
    pub score_importance: Calibration<'b>,
}

impl<'b> Calibrations<'b> {
    /// The calibration of a program's score. `None` if the program does not score, or if there were no calibration rows.
    pub fn get(&self, kind: ProgramKind) -> Option<Calibration<'b>> {
        let calibration = match kind {
            ProgramKind::Score | ProgramKind::ScoreFeatures => self.score,
            ProgramKind::ScoreMonteCarlo => self.score_monte_carlo,
            ProgramKind::ScoreImportance => self.score_importance,
            ProgramKind::Sample
            | ProgramKind::Decode
            | ProgramKind::Encode
            | ProgramKind::Reconstruct
            | ProgramKind::SampleClass
            | ProgramKind::Classify
            | ProgramKind::Impute
            | ProgramKind::Invert
            | ProgramKind::SampleDensity
            | ProgramKind::Features => return None,
        };
        (calibration.rows > 0).then_some(calibration)
    }
}
