//! Arrays of samples: one recording, or several of one length.

use std::path::Path;

use super::super::error::DataError;
use super::super::kind::Array;
use super::super::labels::Labels;
use super::super::npz::Archive;
use super::super::options::DataOptions;
use super::super::{name_of, values::Values};
use super::companion::{self, Companion};
use super::error::RecordingError;
use super::recording::{Marks, Recording, segments};
use super::source::{Source, choose, without_marks};
use super::table::of_rows;
use super::{WindowOptions, WindowReading};

/// The axes of an array.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axes {
    recordings: usize,
    samples: usize,
    channels: usize,
}

/// Reads an array, and the companion beside it.
///
/// # Errors
/// `Shape` for more than three dimensions, `MissingSample`; those of the companion.
pub(super) fn read(
    path: &Path,
    array: Array,
    crc: crc32fast::Hasher,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Source, DataError> {
    let about = (path, array.dims[0]);
    let found = match companion::beside(path) {
        None => None,
        Some((beside, own)) => Some(companion::read(&beside, own, about, options, windows)?),
    };
    let (companion, note) = match found {
        None => (None, None),
        Some(Ok(companion)) => (Some(companion), None),
        Some(Err(note)) => (None, Some(note)),
    };
    let mut source = of_array(path, array, companion, crc, options, windows)?;
    source.notes.splice(0..0, note);
    Ok(source)
}

/// Reads the array of an archive, with the labels and the split that the archive has.
///
/// # Errors
/// Those of [`read`].
pub(super) fn of_archive(
    path: &Path,
    archive: Archive,
    crc: crc32fast::Hasher,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Source, DataError> {
    let Archive { array, labels, parts, note } = archive;
    let mut companion = Companion { parts, ..Companion::default() };
    if let Some(values) = labels.filter(|_| options.label_column.as_deref() != Some("-")) {
        let labels = Labels { values, ..Labels::default() };
        companion.labels = Some(companion.classes.of_labels(path, "y", &labels)?);
        companion.record.label = Some("y".to_owned());
    }
    let marked = companion.labels.is_some() || companion.parts.is_some();
    let mut source = of_array(path, array, marked.then_some(companion), crc, options, windows)?;
    source.notes.insert(0, note);
    Ok(source)
}

/// What the dimensions of an array mean: `[samples]`, `[samples, channels]` or `[recordings, samples, channels]`; and of
/// two, `[recordings, samples]` if each row is marked and as long as a window.
fn axes(path: &Path, dims: &[usize], marked: bool, window: usize) -> Result<Axes, DataError> {
    let axes = match *dims {
        [samples] => Axes { recordings: 1, samples, channels: 1 },
        [recordings, samples] if marked && samples >= window => Axes { recordings, samples, channels: 1 },
        [samples, channels] => Axes { recordings: 1, samples, channels },
        [recordings, samples, channels] => Axes { recordings, samples, channels },
        _ => {
            return Err(DataError::Shape {
                path: path.to_owned(),
                expected: "[samples], [samples, channels] or [recordings, samples, channels]".to_owned(),
                found: format!("{dims:?}"),
            });
        }
    };
    if axes.recordings * axes.samples * axes.channels == 0 {
        let hint = "the array has a dimension of 0; supply at least one sample";
        return Err(DataError::Empty { path: path.to_owned(), what: "samples", hint });
    }
    Ok(axes)
}

fn of_array(
    path: &Path,
    array: Array,
    companion: Option<Companion>,
    mut crc: crc32fast::Hasher,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Source, DataError> {
    let axes = axes(path, &array.dims, companion.is_some(), windows.window)?;
    let chosen = match companion {
        Some(_) => choose(path, axes.channels, &without_marks(options))?,
        None => choose(path, axes.channels, options)?,
    };
    let marks = companion.unwrap_or_default();
    let (mut classes, mut record, mut notes) = (marks.classes, marks.record, marks.notes);
    crc.combine(&marks.crc);
    let (width, n) = (axes.channels, axes.samples);
    // Labels of every sample stand in a channel of the array.
    let of_channel = match chosen.label {
        None => None,
        Some(at) => {
            let values = array.values.iter().skip(at).step_by(width);
            let values = values.enumerate().map(|(row, value)| label(path, row, &chosen.record, value));
            let labels = Labels { values: values.collect::<Result<_, _>>()?, ..Labels::default() };
            let column = chosen.record.label.as_deref().unwrap_or_default();
            Some(classes.of_labels(path, column, &labels)?)
        }
    };
    let kept: Values = if chosen.places.len() == width {
        array.values
    } else {
        array
            .values
            .gather((0..axes.recordings * n).flat_map(|row| chosen.places.iter().map(move |at| row * width + at)))
    };
    let width = chosen.places.len();
    let lost = |value: f64| !(value as f32).is_finite();
    if let Some((at, found)) = kept.iter().enumerate().find(|(_, value)| lost(*value)).filter(|_| !windows.gaps) {
        return Err(RecordingError::MissingSample {
            path: path.to_owned(),
            row: (at / width) as u64 + 1,
            column: chosen.names[at % width].clone(),
            found: found.to_string(),
        }
        .into());
    }
    (record.channels, record.dropped) = (width, chosen.record.dropped);
    record.label = record.label.or(chosen.record.label);
    let mut source = Source::new(path, chosen.names, record, crc);
    source.classes = classes;
    notes.extend(chosen.notes);
    source.notes = notes;
    source.notes.push(format!("{}: {}", path.display(), said_of(axes)));
    if marks.groups.as_ref().is_some_and(|groups| groups.len() != axes.recordings) {
        source
            .notes
            .push(format!("{}: the groups of its samples are not used; they are one recording", path.display()));
    }
    // One recording may have a mark on each sample, and several have one on each of them.
    let each = axes.recordings == 1;
    for at in 0..axes.recordings {
        let values = if each { kept.clone() } else { of_rows(&kept, n * width, &[at]) };
        let missing = |row: usize| (0..width).any(|channel| lost(values.at(row * width + channel)));
        let stem = name_of(path);
        let labels = match (&marks.labels, &of_channel) {
            (Some(labels), _) if each && labels.len() == n => Marks::Each(labels.clone()),
            (Some(labels), _) => Marks::All(labels[at]),
            (None, Some(all)) => Marks::Each(all[at * n..(at + 1) * n].to_vec()),
            (None, None) => Marks::None,
        };
        let parts = match &marks.parts {
            Some(parts) if each && parts.len() == n => Marks::Each(parts.clone()),
            Some(parts) => Marks::All(parts[at]),
            None => Marks::None,
        };
        let groups = marks.groups.as_ref();
        let group = groups.filter(|groups| groups.len() == axes.recordings).map(|groups| groups[at].clone());
        source.recordings.push(Recording {
            segments: segments(n, |row| windows.gaps && missing(row), |_| false),
            group,
            labels,
            parts,
            ..Recording::new(if each { stem } else { format!("{stem}:{at}") }, values, n)
        });
    }
    Ok(source)
}

/// A whole number as a label.
fn label(path: &Path, row: usize, record: &WindowReading, value: f64) -> Result<u32, DataError> {
    let whole = value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
    whole.then_some(value as u32).ok_or_else(|| DataError::BadLabel {
        path: path.to_owned(),
        line: row as u64 + 1,
        column: record.label.clone().unwrap_or_default(),
        found: value.to_string(),
    })
}

fn said_of(axes: Axes) -> String {
    let channels = if axes.channels == 1 { "one channel".to_owned() } else { format!("{} channels", axes.channels) };
    match axes.recordings {
        1 => format!("one recording of {} samples in {channels}", axes.samples),
        n => format!("{n} recordings of {} samples in {channels}", axes.samples),
    }
}
