//! Writing a calibration. Hosts and boards use this one implementation.

use super::{Calibration, MOST_ROWS, next_rank};
use crate::nats::Nats;
use core::fmt;

/// The buffer for the table of a calibration is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTooSmall;

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the buffer is too small for the table: `Calibration::room` gives the number of bytes")
    }
}

impl core::error::Error for BufferTooSmall {}

impl<'b> Calibration<'b> {
    /// A number of bytes that is enough for the table of this number of rows. A usual table takes a fourth of it.
    pub const fn room(rows: usize) -> usize {
        let (mut rank, mut knots) = (1, 0);
        while rank as usize <= rows && rank <= MOST_ROWS {
            rank = next_rank(rank);
            knots += 1;
        }
        10 * knots
    }

    /// Makes the calibration of these scores, which are sorted in place. The table is written to `buffer`. Scores beyond
    /// the first 2^30 are ignored.
    ///
    /// # Errors
    /// [`BufferTooSmall`] if the table does not fit the buffer.
    pub fn of_scores(scores: &mut [Nats], buffer: &'b mut [u8]) -> Result<Self, BufferTooSmall> {
        let rows = u32::try_from(scores.len()).unwrap_or(MOST_ROWS).min(MOST_ROWS);
        let scores = scores.get_mut(..rows as usize).unwrap_or_default();
        scores.sort_unstable();
        let (mut rank, mut last, mut len) = (1, 0i64, 0);
        // The `rank`-th largest score stands `rank` places before the end.
        while let Some(score) = scores.len().checked_sub(rank as usize).and_then(|place| scores.get(place)) {
            let score = score.to_bits();
            let number = match rank {
                1 => (score << 1 ^ score >> 63) as u64,
                _ => last.abs_diff(score),
            };
            len = put(number, buffer, len).ok_or(BufferTooSmall)?;
            (rank, last) = (next_rank(rank), score);
        }
        let knots = buffer.get(..len).unwrap_or_default();
        Ok(Self { rows, knots })
    }
}

/// Writes a number from `at` on, and returns where it ends.
fn put(mut number: u64, buffer: &mut [u8], mut at: usize) -> Option<usize> {
    loop {
        let more = number >> 7 != 0;
        *buffer.get_mut(at)? = (number & 0x7F) as u8 | u8::from(more) << 7;
        at += 1;
        number >>= 7;
        if !more {
            return Some(at);
        }
    }
}
