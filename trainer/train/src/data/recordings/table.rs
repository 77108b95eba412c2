//! Tables whose rows are samples in the order of time.

use std::collections::HashMap;
use std::path::Path;

use super::super::columns::{self, Cells, Columns, Table};
use super::super::error::DataError;
use super::super::labels::missing;
use super::super::options::DataOptions;
use super::super::{name_of, values::Values};
use super::error::RecordingError;
use super::recording::{Marks, Recording, segments};
use super::source::Source;
use super::times::{self, Times};
use super::{WindowOptions, WindowReading};

/// Names of columns of machines or recordings.
const GROUPS: [&str; 4] = ["group", "machine", "recording", "record"];

/// Whether a column of this name is kept as text.
pub(super) fn is_text(name: &str, options: &DataOptions, windows: &WindowOptions) -> bool {
    let reading = windows.reading.as_ref();
    let said = [windows.group_column.as_ref(), reading.and_then(|reading| reading.group.as_ref())];
    columns::is_text(name, options)
        || times::may_be(name, windows)
        || said.into_iter().flatten().any(|other| other == name)
        || GROUPS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The place of the column of groups: as the options or the model say, else by its name.
///
/// # Errors
/// `MissingColumn` and `NamedTwice` for a column that an option names.
pub(super) fn group_of(
    path: &Path,
    columns: &Columns,
    dropped: &[usize],
    windows: &WindowOptions,
    notes: &mut Vec<String>,
) -> Result<Option<usize>, DataError> {
    let reading = windows.reading.as_ref();
    let find = |name: &str| columns.list.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    match (windows.group_column.as_deref(), reading.and_then(|reading| reading.group.as_deref())) {
        (Some("-"), _) => Ok(None),
        (Some(name), _) => columns.one(path, name).map(Some),
        (None, Some(name)) => Ok(find(name)),
        (None, None) => {
            let free = |at: &usize| !dropped.contains(at) && !times::is_taken(&columns.list[*at].name, reading);
            let found = GROUPS.iter().filter_map(|name| find(name)).find(|at| columns.named && free(at));
            if let Some(at) = found.filter(|_| reading.is_none()) {
                notes.push(format!(
                    "{}: column `{}` says to which recording a row belongs; --group-column names another, or `-` for none",
                    path.display(),
                    columns.list[at].name
                ));
            }
            Ok(found)
        }
    }
}

/// Reads recordings from columns: one for each group.
///
/// # Errors
/// `NotATime`, `NotIncreasing`, `MissingSample`; those of [`Columns::settle`].
pub(super) fn read(
    path: &Path,
    mut columns: Columns,
    crc: crc32fast::Hasher,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Source, DataError> {
    let mut notes = Vec::new();
    let before: Vec<String> = columns.list.iter().map(|column| column.name.clone()).collect();
    let dropped = columns.dropped(path, &options.drop_columns)?;
    let times = times::take(path, &mut columns, &dropped, windows)?;
    let dropped = match options.drop_columns.as_slice() {
        [] => dropped,
        entries => columns.dropped(path, entries)?,
    };
    let group = group_of(path, &columns, &dropped, windows, &mut notes)?.map(|at| columns.list.remove(at));
    let lines = columns.lines.clone();
    let line = |row: usize| lines.get(row).copied().unwrap_or(row as u64 + 1);
    let holes = if windows.gaps { fill(&mut columns) } else { HashMap::new() };
    let (named, n) = (columns.named, columns.n);
    let names: Vec<String> = columns.list.iter().map(|column| column.name.clone()).collect();
    // A column that names the rows may be the one of times or groups.
    let known = |name: &String| columns.list.iter().any(|column| column.name == *name);
    let own = |name: &String| before.contains(name) && !known(name);
    let id_column = options.id_column.clone().filter(|name| !own(name));
    let options = &DataOptions { id_column, ..options.clone() };
    let table = columns.settle(path, options).map_err(missing_sample)?;
    let Table { values, dim, labels, parts, record, notes: more, .. } = table;
    notes.splice(0..0, more);
    let is_channel = |name: &String| {
        !record.dropped.contains(name) && record.label != Some(name.clone()) && record.split != Some(name.clone())
    };
    let mut lost = vec![false; n];
    holes.iter().filter(|(name, _)| is_channel(name)).flat_map(|(_, rows)| rows).for_each(|row| lost[*row] = true);
    let channels: Vec<String> = match &record.columns {
        of_file if !of_file.is_empty() => of_file.clone(),
        _ => names.iter().filter(|name| is_channel(name)).cloned().collect(),
    };
    let known = WindowReading {
        channels: dim,
        names: if named { channels.clone() } else { Vec::new() },
        units: record.units,
        dropped: record.dropped,
        label: record.label,
        split: record.split,
        time: times.as_ref().filter(|times| !times.two).map(|times| times.column.clone()),
        group: group.as_ref().map(|group| group.name.clone()),
        ..WindowReading::default()
    };
    let mut source = Source::new(path, channels, known, crc);
    source.notes = notes;
    let column = source.record.label.clone().unwrap_or_default();
    let labels = labels.map(|labels| source.classes.of_labels(path, &column, &labels)).transpose()?;
    let groups: Vec<(Option<String>, Vec<usize>)> = match &group {
        None => vec![(None, (0..n).collect())],
        Some(column) => by_group(times::fields(column)),
    };
    let count = lost.iter().filter(|lost| **lost).count();
    if count > 0 {
        source.notes.push(format!("{}: {count} rows with missing samples are taken for gaps", path.display()));
    }
    for (group, rows) in groups {
        let name = match &group {
            None => name_of(path),
            Some(group) => format!("{}:{group}", name_of(path)),
        };
        let seconds: Option<Vec<f64>> = times.as_ref().map(|t| rows.iter().map(|row| t.seconds[*row]).collect());
        let (mut rate, mut longest) = (None, f64::INFINITY);
        if let (Some(seconds), Some(times)) = (&seconds, &times) {
            let steps = times::steps(seconds).map_err(|at| not_increasing(path, times, &rows, at, &line))?;
            (rate, longest) = (steps.rate, steps.longest);
        }
        let together = seconds.is_some() || interleaved(&rows);
        let apart = |at: usize| match &seconds {
            Some(seconds) => !(0.0..=longest).contains(&(seconds[at] - seconds[at - 1])),
            None => !together && rows[at] != rows[at - 1] + 1,
        };
        let values = if rows.len() == n { values.clone() } else { of_rows(&values, dim, &rows) };
        source.recordings.push(Recording {
            segments: segments(rows.len(), |at| lost[rows[at]], apart),
            rate,
            labels: Marks::of_rows(labels.as_ref(), &rows),
            parts: Marks::of_rows(parts.as_ref(), &rows),
            times: seconds,
            group,
            ..Recording::new(name, values, rows.len())
        });
    }
    if let Some(times) = &times {
        source.notes.push(said_of(path, times, &source));
    }
    Ok(source)
}

/// What was taken from the column of times.
fn said_of(path: &Path, times: &Times, source: &Source) -> String {
    let rate = source.recordings.iter().find_map(|recording| recording.rate);
    let rate = rate.map_or("no rate".to_owned(), |rate| format!("{rate} samples a second"));
    let unit = if times.unitless { ", taken for seconds" } else { "" };
    let gaps: usize = source.recordings.iter().map(|recording| recording.segments.len().saturating_sub(1)).sum();
    let gaps = if gaps == 0 { String::new() } else { format!(", with {gaps} gaps") };
    format!("{}: times of column `{}`{unit}: {rate}{gaps}; --rate says otherwise", path.display(), times.column)
}

/// Zeros for missing numbers, and their rows by the name of the column.
fn fill(columns: &mut Columns) -> HashMap<String, Vec<usize>> {
    let mut found: HashMap<String, Vec<usize>> = HashMap::new();
    for column in &mut columns.list {
        if let Cells::Numbers { values, bad } = &mut column.cells
            && bad.as_ref().is_some_and(|bad| bad.number || missing(&bad.found))
        {
            let lost = |value: &f64| !(*value as f32).is_finite();
            let rows = values.iter().enumerate().filter(|(_, value)| lost(value)).map(|(row, _)| row);
            found.entry(column.name.clone()).or_default().extend(rows);
            values.iter_mut().filter(|value| lost(value)).for_each(|value| *value = 0.0);
            *bad = None;
        }
    }
    found
}

/// An error of a value that is missing, in the words of recordings.
fn missing_sample(error: DataError) -> DataError {
    match error {
        DataError::NonFinite { path, row, column, found } => {
            RecordingError::MissingSample { path, row, column, found }.into()
        }
        DataError::NotNumeric { path, line, column, found, .. } if missing(&found) => {
            RecordingError::MissingSample { path, row: line, column, found }.into()
        }
        other => other,
    }
}

fn not_increasing(
    path: &Path,
    times: &Times,
    rows: &[usize],
    at: usize,
    line: &dyn Fn(usize) -> u64,
) -> RecordingError {
    RecordingError::NotIncreasing {
        path: path.to_owned(),
        line: line(rows[at]),
        column: times.column.clone(),
        found: times.texts[rows[at]].clone(),
        before: times.texts[rows[at - 1]].clone(),
    }
}

/// The rows of each group, in the order in which the groups appear.
pub(super) fn by_group(groups: impl Iterator<Item = String>) -> Vec<(Option<String>, Vec<usize>)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut found: Vec<(Option<String>, Vec<usize>)> = Vec::new();
    for (row, group) in groups.enumerate() {
        let place = *places.entry(group.clone()).or_insert(found.len());
        if place == found.len() {
            found.push((Some(group), Vec::new()));
        }
        found[place].1.push(row);
    }
    found
}

/// Whether rows of other groups stand between nearly all of these, as where machines are measured in turn.
fn interleaved(rows: &[usize]) -> bool {
    let next = rows.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    next * 10 < rows.len()
}

/// The rows of row-major values.
pub(super) fn of_rows(values: &Values, dim: usize, rows: &[usize]) -> Values {
    values.gather(rows.iter().flat_map(|row| row * dim..(row + 1) * dim))
}
