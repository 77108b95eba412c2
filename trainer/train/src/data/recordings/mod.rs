//! Recordings: samples of sensors in the order of time, cut into windows of equal length.
//!
//! A recording comes from a table whose rows are samples, from an array, from a WAV file, or from a folder of such files.
//! No window spans a gap, two recordings, or two parts of the split. Samples are stored in 16 bits, as a board measures
//! them. `docs/data.md` has the rules.

mod arrays;
mod assign;
mod companion;
mod cut;
mod error;
mod faults;
mod folder;
pub mod machine;
mod marks;
mod quantise;
mod recording;
mod source;
mod stamp;
mod table;
#[cfg(test)]
mod tests;
mod times;
mod wav;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::RecordingError;

use super::error::DataError;
use super::options::DataOptions;
use super::split::Part;
use source::Source;
#[cfg(feature = "parquet")]
pub(super) use stamp::text as time_text;

/// How recordings are cut into windows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WindowOptions {
    /// Samples of a window, in each channel; at least 2.
    pub window: usize,
    /// Samples from the start of a window to the start of the next; at least 1. Windows overlap where it is smaller than
    /// the window.
    pub hop: usize,
    /// Samples a second, in hertz; without it as the files say, if they do.
    pub rate: Option<f64>,
    /// The column of times; without it recognised by name and content, `-` for none.
    pub time_column: Option<String>,
    /// The column that says to which machine or recording a row belongs; without it a column called `group`, `machine`,
    /// `record` or `recording`, `-` for none.
    pub group_column: Option<String>,
    /// Labels of samples without a fault, where they are not 0 or a word such as `normal`: all others are anomalies.
    pub normal: Vec<String>,
    /// Takes missing samples for gaps that end a stretch of windows, instead of refusing them.
    pub gaps: bool,
    /// What the model that will see the windows says of them. It decides instead of the options and the source: channels,
    /// fractional bits, rate, and names of columns.
    pub reading: Option<WindowReading>,
}

/// How the recordings of a model were read, so that others are read alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowReading {
    /// Channels of a window.
    pub channels: usize,
    /// Names of the channels, in the model's order; empty where the source had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Units of the channels, where the source had a row of them; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
    /// Names of columns that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// The column of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The labels of samples without a fault, where an option named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub normal: Vec<String>,
    /// The column of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The column of times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The column of machines or recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Samples a second, in hertz, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Fractional bits of a stored sample.
    pub frac: u8,
}

/// Where a window comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowPlace {
    /// Index of its recording in [`Windows::recordings`].
    pub recording: usize,
    /// Its first sample, from 0, in this recording.
    pub start: usize,
    /// The time of this sample in seconds, as the column of times has it: since 1970 for dates.
    pub time: Option<f64>,
}

/// A recording from which windows were cut.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingInfo {
    /// The file's name, with the number or the group where the file has several recordings.
    pub name: String,
    /// The machine or other group to which it belongs.
    pub group: Option<String>,
    /// Samples in each channel.
    pub samples: usize,
    /// Stretches without a gap.
    pub segments: usize,
}

/// Windows of recordings, in the order of the recordings and of time. Windows that are in no part of the split are left
/// out, which [`Windows::notes`] says.
#[derive(Debug, Clone)]
pub struct Windows {
    /// The file's name without extensions, or the folder's.
    pub name: String,
    /// CRC-32 of the unpacked bytes of the file; of several files, one after the other: the table of a folder, then the
    /// recordings in the order in which they are read, each before its companion.
    pub crc32: u32,
    /// What a person should know of how the source was read, a sentence each: what was guessed, left out or looks wrong.
    pub notes: Vec<String>,
    /// Names of the channels; `c0`, `c1` and so on where the source has none.
    pub channels: Vec<String>,
    /// Units of the channels, where the source had a row of them; else empty.
    pub units: Vec<String>,
    /// Samples of a window, in each channel.
    pub window: usize,
    /// Samples a second, in hertz, if known.
    pub rate: Option<f64>,
    /// Fractional bits: a stored sample is the value times 2^`frac`, rounded and limited to 16 bits.
    pub frac: u8,
    /// Samples `[windows, channels, window]`.
    pub samples: Vec<i16>,
    /// Where each window comes from.
    pub starts: Vec<WindowPlace>,
    /// The recordings, those without a window included.
    pub recordings: Vec<RecordingInfo>,
    /// The part of each window: never [`Part::Unused`].
    pub parts: Vec<Part>,
    /// 1 for each window that has a sample labelled as an anomaly and 0 for the others, where the source has labels.
    pub labels: Option<Vec<u32>>,
    /// What a model keeps so that other recordings are read alike.
    pub reading: WindowReading,
}

impl Windows {
    /// Number of windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no window; [`load_windows`] returns at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The samples of window `at`, `[channels, window]`.
    ///
    /// # Panics
    /// If `at >= self.len()`.
    #[must_use]
    pub fn samples_of(&self, at: usize) -> &[i16] {
        let size = self.channels.len() * self.window;
        &self.samples[at * size..(at + 1) * size]
    }

    /// The windows of a part.
    pub fn of(&self, part: Part) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(move |at| self.parts[*at] == part)
    }
}

/// The name of the [simulated machine](machine).
const MACHINE: &str = "machine";

/// Loads the recordings of `spec`, the path of a file or of a folder, or `machine` for the [simulated one](machine), and
/// cuts them into windows.
///
/// `data_dir` falls back to the environment variable `ELBO_DATA`; a path that does not exist is also looked for there.
///
/// A source without a split of its own is split by time: of each recording the first 60 % are train, the next 15 %
/// validation and the rest test, with the length of a window left out before each later block. If there are at least eight
/// recordings and all are short, up to eight windows long, whole recordings are assigned instead, in the order of the
/// source and by group.
///
/// # Errors
/// Those of [`load`](super::load), and [`DataError::Recording`].
pub fn load_windows(
    spec: &str,
    data_dir: Option<&Path>,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Windows, DataError> {
    let range =
        |option, expected, found: usize| Err(DataError::InvalidOption { option, expected, found: found.to_string() });
    if windows.window < 2 {
        return range("window", "at least 2 samples", windows.window);
    }
    if windows.hop == 0 {
        return range("hop", "at least 1 sample", windows.hop);
    }
    if let Some(rate) = windows.rate.filter(|rate| !(rate.is_finite() && *rate > 0.0)) {
        let (expected, found) = ("a number of hertz above 0", rate.to_string());
        return Err(DataError::InvalidOption { option: "rate", expected, found });
    }
    if spec == MACHINE {
        return cut::windows(Path::new(spec), machine::source(options.seed), options, windows);
    }
    let data_dir = data_dir.map(Path::to_owned).or_else(|| std::env::var_os("ELBO_DATA").map(PathBuf::from));
    let path = super::located(spec, data_dir);
    if !path.exists() {
        let hint =
            "give the path of a file of recordings (CSV, NPY, NPZ, WAV, Parquet or Arrow), or of a folder of such \
                    files; if the data have moved, name them again with --data"
                .to_owned();
        return Err(DataError::NotFound { path, hint });
    }
    let source =
        if path.is_dir() { folder::read(&path, options, windows)? } else { Source::of_file(&path, options, windows)? };
    cut::windows(&path, source, options, windows)
}
