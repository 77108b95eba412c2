//! From the scores of windows to alarms.
//!
//! A [`Detector`] takes the score of one window after another, turns it into a p-value by the model's
//! [`Calibration`], and applies a [`Rule`]. It needs no heap and no floating point, its state has a fixed size, and a host and
//! a board that see the same scores give the same verdicts. A [`Drift`] test asks a second, slower question: whether the normal
//! state has moved since the calibration.
//!
//! The false-alarm rate of a rule is stated as its *average run length*: the mean number of normal windows from the start,
//! or from a reset, to the first alarm. It follows from the distribution of p-values under normal running. They are uniform,
//! so that `-ln p` has the exponential distribution with mean 1. `elbo_compiler::run_length` computes the limits of rules from
//! average run lengths on the host. They assume windows that do not depend on each other; windows that overlap
//! give alarms in bursts, and rather more of them.

mod drift;
mod rule;
#[cfg(test)]
mod tests;

use crate::calibration::{Calibration, PValue, TooFewRows};
use crate::nats::Nats;
use core::fmt;
use serde::{Deserialize, Serialize};

pub use drift::{Drift, DriftConfig, NormalState};
pub use rule::Rule;
use rule::{Memory, Reached};

/// Whether there is an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// No alarm.
    #[default]
    Normal,
    /// The rule has raised an alarm, and nothing has ended it yet.
    Alarm,
}

/// What a detector says of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Verdict {
    /// The score of the window.
    pub score: Nats,
    /// The share of normal windows that score as high.
    pub p: PValue,
    /// The state after the window.
    pub state: State,
}

/// A rule, and how its alarm ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DetectorConfig {
    /// When there is an alarm.
    pub rule: Rule,
    /// Whether an alarm lasts until [`Detector::reset`]. Otherwise it ends by the rule.
    pub latching: bool,
}

/// Why there cannot be a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DetectorError {
    /// The calibration has too few rows: its p-values are never so small that the rule could raise an alarm.
    TooFewRows(TooFewRows),
    /// A number of the rule is out of its range, or the alarm would end at a level above the one at which it begins.
    Rule,
}

impl From<TooFewRows> for DetectorError {
    fn from(error: TooFewRows) -> Self {
        Self::TooFewRows(error)
    }
}

impl fmt::Display for DetectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewRows(error) => error.fmt(f),
            Self::Rule => {
                f.write_str("a number of the rule is out of its range: see the fields of `Rule`, and let `clear` be no stricter than `alarm`")
            }
        }
    }
}

impl core::error::Error for DetectorError {}

/// A rule at work on p-values.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Monitor {
    config: DetectorConfig,
    memory: Memory,
    state: State,
}

impl Monitor {
    /// A monitor that has seen nothing yet. `smallest` is the smallest p-value that it can be given:
    /// [`Calibration::smallest`].
    ///
    /// # Errors
    /// [`DetectorError`].
    pub fn new(config: DetectorConfig, smallest: PValue) -> Result<Self, DetectorError> {
        config.rule.check(smallest)?;
        Ok(Self { config, memory: config.rule.start(), state: State::Normal })
    }

    /// Takes the p-value of the next window, and returns the state after it.
    pub fn observe(&mut self, p: PValue) -> State {
        match (self.config.rule.step(&mut self.memory, p), self.state) {
            (Reached::Alarm, _) => self.state = State::Alarm,
            (Reached::Clear, _) if !self.config.latching => self.state = State::Normal,
            (Reached::Clear | Reached::Between, _) => {}
        }
        self.state
    }

    /// The state after the last window.
    pub fn state(&self) -> State {
        self.state
    }

    /// Ends an alarm and forgets all windows.
    pub fn reset(&mut self) {
        (self.memory, self.state) = (self.config.rule.start(), State::Normal);
    }
}

/// Raises alarms by a model's calibration and a rule.
///
/// ```
/// use elbo::detector::{Detector, DetectorConfig, Rule, State};
/// use elbo::{Calibration, Nats, Rate};
///
/// // The scores of nine normal windows; a model has them in `Meta::calibrations`.
/// let mut buffer = [0; Calibration::room(9)];
/// let mut normal = [3, 1, 4, 1, 5, 9, 2, 6, 5].map(|nats| Nats::from_bits(nats << 16));
/// let calibration = Calibration::of_scores(&mut normal, &mut buffer)?;
///
/// // Two of the last three windows are among the highest tenth.
/// let rule = Rule::Count { rate: Rate::ONE_IN_10, window: 3, alarm: 2, clear: 1 };
/// let mut detector = Detector::new(calibration, DetectorConfig { rule, latching: false })?;
/// let states = [1, 12, 2, 11, 3, 3, 3].map(|nats| detector.observe(Nats::from_bits(nats << 16)).state);
/// assert_eq!(states.map(|state| state == State::Alarm), [false, false, false, true, true, true, false]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Detector<'b> {
    calibration: Calibration<'b>,
    monitor: Monitor,
}

impl<'b> Detector<'b> {
    /// A detector that has seen nothing yet.
    ///
    /// # Errors
    /// [`DetectorError::TooFewRows`] if the calibration does not support the rule. There is no detector then, and a device
    /// must not alarm. [`DetectorError::Rule`] if the rule is not valid.
    pub fn new(calibration: Calibration<'b>, config: DetectorConfig) -> Result<Self, DetectorError> {
        Ok(Self { calibration, monitor: Monitor::new(config, calibration.smallest())? })
    }

    /// Takes the score of the next window. The time is bounded by the number of knots of the calibration.
    pub fn observe(&mut self, score: Nats) -> Verdict {
        let p = self.calibration.p_value(score);
        Verdict { score, p, state: self.monitor.observe(p) }
    }

    /// The state after the last window.
    pub fn state(&self) -> State {
        self.monitor.state()
    }

    /// Ends an alarm, also one that latches, and forgets all windows.
    pub fn reset(&mut self) {
        self.monitor.reset();
    }
}
