//! What a monitor is told and what it says. The order of variants and fields is the wire format, as that of the messages.

use elbo::detector::{DetectorConfig, DriftConfig};
use serde::{Deserialize, Serialize};

/// Most causes that a verdict names.
pub const CAUSES: usize = 4;

/// Where samples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The board's sensor, or the machine that stands for one.
    Live,
    /// The host, which sends a recording.
    Link,
}

/// For which windows the causes of the score are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Explain {
    /// Windows in the state of alarm.
    #[default]
    Alarms,
    /// Every window.
    Always,
}

/// How a monitor judges windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorConfig {
    /// When there is an alarm.
    pub detector: DetectorConfig,
    /// A test whether the normal state has moved, if there is one.
    pub drift: Option<DriftConfig>,
    /// For which windows causes are found.
    pub explain: Explain,
}

/// What a monitor says of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The number of the window since the last reset, counted from 0. Windows without a verdict count as well.
    pub window: u32,
    /// The score, in Q16 nats.
    pub score: i64,
    /// Numerator and denominator of the p-value; `None` if the model has no calibration.
    pub p: Option<(u32, u32)>,
    /// Whether the state is that of alarm.
    pub alarm: bool,
    /// Whether the normal state has moved; `None` without a drift test, and before the end of its first block.
    pub moved: Option<bool>,
    /// The features that contribute most to the score, the largest first. None if causes were not asked for.
    pub causes: [Option<Cause>; CAUSES],
}

/// A feature that makes a window unlikely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The number of the feature, counted from 0.
    pub feature: u16,
    /// What it contributes to the score, in Q16 nats.
    pub nats: i64,
}

/// Why a sensor cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SensorFault {
    /// All samples of a channel are equal.
    Stuck,
    /// An eighth of the samples of a channel lie at the end of the sensor's range.
    Saturated,
    /// No samples arrive.
    Silent,
    /// The sensor does not answer.
    Failed,
}

/// A sensor that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorReport {
    /// The number of the window without a verdict, or of the next one.
    pub window: u32,
    /// The channel; 0 if all are meant.
    pub channel: u16,
    /// What is wrong.
    pub fault: SensorFault,
}

/// What a monitor has seen since the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorStatus {
    /// Where samples come from.
    pub source: Source,
    /// Whether there is a detector. A model without a calibration has scores only.
    pub detecting: bool,
    /// Whether the state is that of alarm.
    pub alarm: bool,
    /// Complete windows.
    pub windows: u32,
    /// How often an alarm began.
    pub alarms: u32,
    /// Windows without a verdict because of the sensor, and times without samples.
    pub faults: u32,
    /// Samples that were lost, as far as their number is known.
    pub lost: u32,
    /// Frames that could not be decoded.
    pub dropped: u32,
}
