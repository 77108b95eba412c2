//! Whether the normal state has moved: a test that recent p-values are no longer uniform.

use super::DetectorError;
use crate::calibration::{Calibration, PValue, TooFewRows};
use crate::fixed;
use serde::{Deserialize, Serialize};

/// Number of classes of p-values.
const CLASSES: usize = 8;
/// Calibration rows with which every class is wide enough.
const LEAST_ROWS: u32 = 31;

/// Pearson's chi-square test over blocks of windows.
///
/// The p-values of a block are counted in eight classes of about equal width, whose ends are p-values that the calibration
/// can give. With `n` calibration rows and `N` windows in a block, the counts have a Dirichlet-multinomial
/// distribution if windows and calibration rows are exchangeable, because the calibration is itself a sample. Then `X^2`
/// divided by `(n + 1 + N) / (n + 2)` has approximately the chi-square distribution with seven degrees of freedom
/// (Mosimann, 1962). `elbo_compiler::run_length::chi_square` gives the limit for a false-alarm rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DriftConfig {
    /// Windows in a block, at least 40, so that five are expected in each class.
    pub block: u16,
    /// The quantile of the chi-square distribution with seven degrees of freedom above which the state has moved, in Q16.
    pub limit: u32,
}

/// The answer of a drift test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NormalState {
    /// No block is complete yet.
    #[default]
    Unknown,
    /// The p-values of the last complete block may well be uniform.
    Unmoved,
    /// They are not: the normal state has moved since the calibration, or too many windows are not normal.
    Moved,
}

/// A drift test at work.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Drift {
    config: DriftConfig,
    /// One more than the number of calibration rows: the denominator of every p-value.
    all: u32,
    /// The largest numerator of each class.
    ends: [u32; CLASSES],
    counts: [u16; CLASSES],
    seen: u16,
    answer: NormalState,
}

impl Drift {
    /// A test that has seen nothing yet, for the p-values of this calibration.
    ///
    /// # Errors
    /// [`DetectorError::TooFewRows`] with fewer than 31 calibration rows, or a table that is cut off, and
    /// [`DetectorError::Rule`] for a block of fewer than 40 windows.
    pub fn new(calibration: &Calibration<'_>, config: DriftConfig) -> Result<Self, DetectorError> {
        if config.block < 5 * CLASSES as u16 {
            return Err(DetectorError::Rule);
        }
        let all = calibration.rows() + 1;
        let mut ends = [0; CLASSES];
        for (class, end) in ends.iter_mut().enumerate() {
            // A share of at most (class + 1) / 8, and 1 for the last.
            let most = all / CLASSES as u32 * (class as u32 + 1);
            *end = if class + 1 == CLASSES { all } else { calibration.numerator_at_most(most) };
        }
        let widths = [0].iter().chain(&ends).zip(&ends).map(|(before, end)| end.saturating_sub(*before));
        if all <= LEAST_ROWS || widths.min().unwrap_or(0) == 0 {
            return Err(TooFewRows { rows: all - 1, needed: LEAST_ROWS }.into());
        }
        let (counts, answer) = ([0; CLASSES], NormalState::Unknown);
        Ok(Self { config, all, ends, counts, seen: 0, answer })
    }

    /// Takes the p-value of the next window, and returns the answer of the last complete block.
    pub fn observe(&mut self, p: PValue) -> NormalState {
        let class = self.ends.iter().position(|end| p.numerator() <= *end).unwrap_or(CLASSES - 1);
        if let Some(count) = self.counts.get_mut(class) {
            *count = count.saturating_add(1);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen >= self.config.block {
            self.answer = if self.exceeds() { NormalState::Moved } else { NormalState::Unmoved };
            (self.counts, self.seen) = ([0; CLASSES], 0);
        }
        self.answer
    }

    /// The answer of the last complete block.
    pub fn answer(&self) -> NormalState {
        self.answer
    }

    /// Forgets all windows.
    pub fn reset(&mut self) {
        (self.counts, self.seen, self.answer) = ([0; CLASSES], 0, NormalState::Unknown);
    }

    /// Whether the statistic of the complete block exceeds its limit.
    fn exceeds(&self) -> bool {
        let (all, block) = (u64::from(self.all), u64::from(self.config.block));
        // N X^2 = sum of O^2 (n + 1) / width, minus N^2. A class of at least a sixteenth makes a term of 36 bits.
        let mut before = 0;
        let mut sum = 0u64;
        for (count, end) in self.counts.iter().zip(&self.ends) {
            let width = end.saturating_sub(before).max(1);
            sum = sum.saturating_add(fixed::divide(u64::from(*count).pow(2) * all, width));
            before = *end;
        }
        let excess = sum.saturating_sub(block * block);
        let spread = fixed::divide((all + block) << 16, self.all + 1);
        let limit = (u64::from(self.config.limit).saturating_mul(spread) >> 16).saturating_mul(block);
        excess.saturating_mul(1 << 16) > limit
    }
}
