//! From recordings to windows.

use std::path::Path;

use super::super::error::DataError;
use super::super::options::DataOptions;
use super::super::split::Part;
use super::assign;
use super::error::RecordingError;
use super::faults;
use super::quantise;
use super::recording::Recording;
use super::source::Source;
use super::{RecordingInfo, WindowOptions, WindowPlace, WindowReading, Windows};

/// Rates that differ by less are the same.
const SAME_RATE: f64 = 0.01;

/// A window that was cut, before its samples are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    pub recording: usize,
    pub start: usize,
    /// Whether one of its samples is labelled as an anomaly.
    pub anomalous: bool,
}

/// Cuts the recordings, assigns the windows to the parts of the split, and stores their samples in 16 bits.
///
/// # Errors
/// `TooShort`, `Differ`, `RateOfModel`, `Range`, `Faulty`, `NormalUnknown`, `Empty` without train windows.
pub(super) fn windows(
    path: &Path,
    mut source: Source,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Windows, DataError> {
    let window = windows.window;
    let rate = rate(&source.recordings, windows)?;
    if windows.rate.is_none() && source.recordings.iter().all(|recording| recording.rate.is_none()) {
        source.notes.push(match rate {
            Some(rate) => {
                format!("{}: no rate is stated; that of the model is taken, {rate} samples a second", path.display())
            }
            None => {
                format!("{}: the rate is not known; --rate says how many samples a second there are", path.display())
            }
        });
    }
    let anomalies = anomalies(path, &mut source, options, windows)?;
    let mut cuts = Vec::new();
    for (at, recording) in source.recordings.iter().enumerate() {
        for segment in &recording.segments {
            let last = (segment.end + 1).saturating_sub(window);
            for start in (segment.start..last).step_by(windows.hop) {
                let marked = |sample| recording.labels.at(sample).is_some_and(|class| is_anomaly(&anomalies, class));
                cuts.push(Cut { recording: at, start, anomalous: (start..start + window).any(marked) });
            }
        }
    }
    if cuts.is_empty() {
        let stretches = source.recordings.iter().flat_map(|recording| &recording.segments);
        let longest = stretches.map(|segment| segment.len()).max().unwrap_or(0);
        return Err(RecordingError::TooShort { path: path.to_owned(), window, longest }.into());
    }
    let mut notes = std::mem::take(&mut source.notes);
    let parts = assign::assign(path, &source.recordings, &cuts, window, options, &mut notes)?;
    let (cuts, parts): (Vec<Cut>, Vec<Part>) =
        cuts.into_iter().zip(parts).filter(|(_, part)| *part != Part::Unused).unzip();
    let frac = match &windows.reading {
        Some(reading) => reading.frac,
        None => quantise::frac(path, &source, &cuts, &parts, window, &mut notes)?,
    };
    let samples = quantise::store(path, &source, &cuts, window, frac, &mut notes);
    faults::note(path, &source.channels, &samples, window, options.unsplit, &mut notes)?;
    let labels = anomalies.map(|_| cuts.iter().map(|cut| u32::from(cut.anomalous)).collect());
    let place = |cut: &Cut| {
        let times = source.recordings[cut.recording].times.as_ref();
        WindowPlace { recording: cut.recording, start: cut.start, time: times.map(|times| times[cut.start]) }
    };
    let info = |recording: &Recording| RecordingInfo {
        name: recording.name.clone(),
        group: recording.group.clone(),
        samples: recording.n,
        segments: recording.segments.len(),
    };
    // What the model says of its windows stays as it is, whatever this source has.
    let reading = windows.reading.clone().unwrap_or_else(|| WindowReading {
        rate,
        frac,
        normal: windows.normal.clone(),
        ..source.record.clone()
    });
    Ok(Windows {
        name: source.name,
        crc32: source.crc.finalize(),
        notes,
        units: source.record.units,
        window,
        rate,
        frac,
        samples,
        starts: cuts.iter().map(place).collect(),
        recordings: source.recordings.iter().map(info).collect(),
        channels: source.channels,
        parts,
        labels,
        reading,
    })
}

fn is_anomaly(anomalies: &Option<Vec<bool>>, class: u32) -> bool {
    anomalies.as_ref().is_some_and(|anomalies| anomalies[class as usize])
}

/// The rate of all recordings: as stated, else as they say, which must agree with each other and with the model.
fn rate(recordings: &[Recording], windows: &WindowOptions) -> Result<Option<f64>, DataError> {
    let same = |a: f64, b: f64| (a / b - 1.0).abs() < SAME_RATE;
    let model = windows.reading.as_ref().and_then(|reading| reading.rate);
    if let Some(rate) = windows.rate {
        return match model.filter(|model| !same(*model, rate)) {
            Some(expected) => {
                let recording = "--rate".to_owned();
                Err(RecordingError::RateOfModel { recording, expected, found: rate }.into())
            }
            None => Ok(Some(rate)),
        };
    }
    let mut known = recordings.iter().filter_map(|recording| recording.rate.map(|rate| (recording, rate)));
    let Some((first, rate)) = known.next() else { return Ok(model) };
    if let Some(expected) = model {
        let mut all = std::iter::once((first, rate)).chain(known);
        return match all.find(|(_, rate)| !same(*rate, expected)) {
            Some((recording, found)) => {
                Err(RecordingError::RateOfModel { recording: recording.name.clone(), expected, found }.into())
            }
            None => Ok(Some(expected)),
        };
    }
    match known.find(|(_, other)| !same(*other, rate)) {
        Some((second, other)) => Err(RecordingError::Differ {
            first: first.name.clone(),
            second: second.name.clone(),
            expected: format!("{rate} samples a second"),
            found: format!("{other}"),
        }
        .into()),
        None => Ok(Some(rate)),
    }
}

/// Whether each class of the labels is an anomaly; `None` without labels.
fn anomalies(
    path: &Path,
    source: &mut Source,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Option<Vec<bool>>, DataError> {
    if source.recordings.iter().all(|recording| recording.labels.is_none()) {
        return match windows.normal.first().filter(|_| options.label_column.as_deref() != Some("-")) {
            None => Ok(None),
            Some(normal) => Err(DataError::InvalidOption {
                option: "normal",
                expected: "no normal labels, because the recordings have no labels; name their column with --label-column",
                found: normal.clone(),
            }),
        };
    }
    let column = source.record.label.clone().unwrap_or_default();
    let of_model = windows.reading.as_ref().map(|reading| reading.normal.as_slice()).unwrap_or_default();
    if windows.normal.is_empty() && windows.reading.is_some() {
        // Other recordings need not have every label that those of the model had.
        return Ok(Some(source.classes.anomalies_of_model(of_model)));
    }
    source.classes.anomalies(path, &column, &windows.normal, &mut source.notes).map(Some)
}
