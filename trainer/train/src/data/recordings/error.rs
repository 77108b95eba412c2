//! What can go wrong with recordings, with the place and the remedy.

use std::path::PathBuf;

use super::super::advice::{found_text, shell};

/// An error of [`load_windows`](super::load_windows) that tables and images do not have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A WAV file is damaged, or holds something else than plain samples.
    #[error("{}: WAV: {reason}", path.display())]
    Wav {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A field of the column of times is no time.
    #[error(
        "{}: line {line}, time column `{column}`: expected a time such as 2026-01-31T10:32:39.5 or a number, found {}; \
         fill the gap, or name another column with --time-column, or say --time-column - if the rows have no times",
        path.display(), found_text(found)
    )]
    NotATime {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column name.
        column: String,
        /// The field's text.
        found: String,
    },
    /// A time lies before the one above it.
    #[error(
        "{}: line {line}, time column `{column}`: {} lies before {}, the time above it; sort the rows by time, name the \
         column of machines or recordings with --group-column if several are mixed, take the rows for evenly spaced with \
         --drop-columns {}, or take the column for a channel with --time-column -",
        path.display(), found_text(found), found_text(before), shell(column)
    )]
    NotIncreasing {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column name.
        column: String,
        /// The field's text.
        found: String,
        /// The text of the row before.
        before: String,
    },
    /// A sample is missing or not finite.
    #[error(
        "{}: row {row}, column `{column}`: expected a sample, found {}; fill the gap, or end the windows there with \
         --gaps, or leave the column out with --drop-columns {}",
        path.display(), found_text(found), shell(column)
    )]
    MissingSample {
        /// The file.
        path: PathBuf,
        /// Line in a text file, row in other formats; from 1.
        row: u64,
        /// Channel.
        column: String,
        /// What stands there.
        found: String,
    },
    /// Two recordings cannot be put together.
    #[error(
        "{second} has {found}, but {first} has {expected}; the recordings of one model must agree in this: leave one of \
         them out, or convert it"
    )]
    Differ {
        /// The first recording.
        first: String,
        /// The other.
        second: String,
        /// What the first has.
        expected: String,
        /// What the other has.
        found: String,
    },
    /// The rate differs from the one of the model.
    #[error(
        "{recording} has {found} samples a second, and the model reads {expected}; convert it, or give --rate {expected} \
         if the file is wrong"
    )]
    RateOfModel {
        /// The recording.
        recording: String,
        /// Rate of the model, in hertz.
        expected: f64,
        /// Rate of the recording, in hertz.
        found: f64,
    },
    /// No stretch of samples is as long as a window.
    #[error(
        "{}: no window of {window} samples fits: the longest stretch without a gap has {longest}; take a shorter window, \
         or check the times and groups of the rows",
        path.display()
    )]
    TooShort {
        /// The file or folder.
        path: PathBuf,
        /// Samples of a window.
        window: usize,
        /// Samples of the longest stretch.
        longest: usize,
    },
    /// Samples are too large or too small for 16 bits.
    #[error(
        "{}: channel `{channel}` has samples up to {largest:e}, but 16 bits hold up to 32767 in steps of at least 1/32768; \
         {} the samples by a power of two in the file and in the firmware",
        path.display(), if *largest > 1.0 { "divide" } else { "multiply" }
    )]
    Range {
        /// The file or folder.
        path: PathBuf,
        /// Channel.
        channel: String,
        /// The largest magnitude.
        largest: f64,
    },
    /// No channel measures anything.
    #[error(
        "{}: every channel {what}; check the sensor, its range and its wiring, and record again",
        path.display()
    )]
    Faulty {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with them.
        what: String,
    },
    /// The labels do not say which of them are normal.
    #[error(
        "{}: which labels of column `{column}` are normal? It holds {values}; say it with --normal {}, for example, or \
         read no labels with --label-column -",
        path.display(), shell(example)
    )]
    NormalUnknown {
        /// The file or folder.
        path: PathBuf,
        /// Column name.
        column: String,
        /// The first labels.
        values: String,
        /// One of them.
        example: String,
    },
    /// An option names a label that does not occur.
    #[error(
        "{}: no label of column `{column}` is `{normal}`, which --normal names; the labels are {values}",
        path.display()
    )]
    NoSuchLabel {
        /// The file or folder.
        path: PathBuf,
        /// Column name.
        column: String,
        /// The label that was asked for.
        normal: String,
        /// The first labels.
        values: String,
    },
    /// A file of a folder is not in the folder's table.
    #[error(
        "{}: no row for {}; add one, or move the file to another folder",
        path.display(), file.display()
    )]
    NotListed {
        /// The table.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// A companion has not one row for each recording.
    #[error(
        "{}: expected {expected} rows, one for each row of {}, found {found}; rename the file if it does not belong to it",
        path.display(), array.display()
    )]
    Companion {
        /// The companion.
        path: PathBuf,
        /// The array.
        array: PathBuf,
        /// Rows of the array.
        expected: usize,
        /// Rows of the companion.
        found: usize,
    },
}
