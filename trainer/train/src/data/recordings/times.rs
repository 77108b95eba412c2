//! The column of times: which one it is, what it says in seconds, and the rate and the gaps that follow.

use std::path::Path;

use super::super::columns::{Cells, Column, Columns};
use super::super::error::DataError;
use super::error::RecordingError;
use super::stamp::{self, Stamp};
use super::{WindowOptions, WindowReading};

/// Names of columns of times, the likeliest first.
const KNOWN: [&str; 9] = ["timestamp", "datetime", "date_time", "time", "date", "ts", "epoch", "elapsed", "t"];
/// A step beyond this many usual ones is a gap.
const GAP: f64 = 1.5;

/// The times of the rows.
#[derive(Debug, Clone)]
pub(super) struct Times {
    /// Name of the column, or of two.
    pub column: String,
    /// Whether it is a column of date and one of the time of day.
    pub two: bool,
    /// Seconds, one a row.
    pub seconds: Vec<f64>,
    /// The fields, for messages.
    pub texts: Vec<String>,
    /// Whether the numbers have no unit and are taken for seconds.
    pub unitless: bool,
}

/// The rate and the gaps of times in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steps {
    /// Samples a second; `None` for fewer than two times, or if all are equal.
    pub rate: Option<f64>,
    /// A longer step, in seconds, is a gap.
    pub longest: f64,
}

/// Lower-case name without a unit, and the seconds of the unit: `time_ms` and `Time [ms]` are `time` in 0.001.
fn base(name: &str) -> (String, Option<f64>) {
    let lower = name.to_lowercase();
    let mut words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let unit = words.last().filter(|_| words.len() > 1).and_then(|word| seconds_of(word));
    if unit.is_some() {
        words.pop();
    }
    (words.join("_"), unit)
}

/// The seconds of a unit.
fn seconds_of(unit: &str) -> Option<f64> {
    match unit.trim() {
        "s" | "sec" | "seconds" => Some(1.0),
        "ms" => Some(1e-3),
        "us" | "µs" | "μs" => Some(1e-6),
        "ns" => Some(1e-9),
        _ => None,
    }
}

/// Whether a column of this name is kept as text, because it may be one of times.
pub(super) fn may_be(name: &str, windows: &WindowOptions) -> bool {
    let reading = windows.reading.as_ref();
    let said = [windows.time_column.as_ref(), reading.and_then(|reading| reading.time.as_ref())];
    said.into_iter().flatten().any(|other| other == name) || KNOWN.contains(&base(name).0.as_str())
}

/// Takes the column of times out of the columns; one of those at the places `dropped` only if an option names it.
///
/// # Errors
/// `MissingColumn` and `NamedTwice` for a column that an option names, `NotATime`.
pub(super) fn take(
    path: &Path,
    columns: &mut Columns,
    dropped: &[usize],
    windows: &WindowOptions,
) -> Result<Option<Times>, DataError> {
    let reading = windows.reading.as_ref();
    let at = match (windows.time_column.as_deref(), reading.and_then(|reading| reading.time.as_deref())) {
        (Some("-"), _) => return Ok(None),
        (Some(name), _) => vec![columns.one(path, name)?],
        (None, Some(name)) if columns.list.iter().any(|column| column.name == name) => vec![columns.one(path, name)?],
        (None, _) => recognised(columns, dropped, reading),
    };
    let taken: Vec<Column> = at.iter().map(|at| columns.list[*at].clone()).collect();
    let Some(first) = taken.first() else { return Ok(None) };
    let texts: Vec<String> = match taken.as_slice() {
        [date, time] => fields(date).zip(fields(time)).map(|(date, time)| format!("{date}T{time}")).collect(),
        _ => fields(first).collect(),
    };
    let name = taken.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join("` and `");
    let unit = base(&first.name).1.or_else(|| seconds_of(&first.unit));
    let times = seconds(&texts, unit).map_err(|row| RecordingError::NotATime {
        path: path.to_owned(),
        line: columns.line(row),
        column: name.clone(),
        found: texts[row].clone(),
    })?;
    let mut place = 0..;
    columns.list.retain(|_| !place.next().is_some_and(|place| at.contains(&place)));
    Ok(Some(Times { column: name, two: taken.len() > 1, seconds: times.0, texts, unitless: times.1 }))
}

/// The fields of a column.
pub(super) fn fields(column: &Column) -> Box<dyn Iterator<Item = String> + '_> {
    match &column.cells {
        Cells::Text(texts) => Box::new(texts.iter().cloned()),
        Cells::Numbers { values, .. } => Box::new(values.iter().map(f64::to_string)),
    }
}

/// Whether a model has a column of this name among its channels, or leaves it out.
pub(super) fn is_taken(name: &str, reading: Option<&WindowReading>) -> bool {
    reading.is_some_and(|reading| reading.names.iter().chain(&reading.dropped).any(|known| known == name))
}

/// The places of the column, or of two with date and time of day, whose name and first field are those of times.
fn recognised(columns: &Columns, dropped: &[usize], reading: Option<&WindowReading>) -> Vec<usize> {
    let first = |at: usize| fields(&columns.list[at]).next().and_then(|text| stamp::parse(&text));
    let free = |at: &usize| !dropped.contains(at) && !is_taken(&columns.list[*at].name, reading);
    let named = |known: &str| (0..columns.list.len()).filter(free).find(|at| base(&columns.list[*at].name).0 == known);
    if !columns.named {
        return Vec::new();
    }
    if let (Some(date), Some(time)) = (named("date"), named("time"))
        && let (Some(Stamp::Day(_)), Some(Stamp::Clock(_))) = (first(date), first(time))
    {
        return vec![date, time];
    }
    KNOWN.iter().filter_map(|known| named(known)).find(|at| first(*at).is_some()).into_iter().collect()
}

/// The times in seconds, and whether they are numbers without a unit; or the row that is no time.
fn seconds(texts: &[String], unit: Option<f64>) -> Result<(Vec<f64>, bool), usize> {
    let mut first: Option<Stamp> = None;
    let mut values = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let stamp = stamp::parse(text).filter(|stamp| first.is_none_or(|first| first.like(*stamp))).ok_or(row)?;
        first = first.or(Some(stamp));
        values.push(stamp.value());
    }
    let Some(Stamp::Number(start)) = first else { return Ok((values, false)) };
    // Since 1973, in each of these units, the time is larger than in the next longer one for thousands of years.
    let of_epoch = match start.abs() {
        large if large >= 1e17 => Some(1e-9),
        large if large >= 1e14 => Some(1e-6),
        large if large >= 1e11 => Some(1e-3),
        large if large >= 1e8 => Some(1.0),
        _ => None,
    };
    let unit = unit.or(of_epoch);
    values.iter_mut().for_each(|value| *value *= unit.unwrap_or(1.0));
    Ok((values, unit.is_none()))
}

/// Of so many times one may lie before the one above it: a clock that was set back.
const SET_BACK: usize = 1000;

/// The steps of times in order. A clock may be set back now and then, which is a gap. If that happens more often, the result
/// is the place of the first time that lies before the one above it.
pub(super) fn steps(seconds: &[f64]) -> Result<Steps, usize> {
    let mut back = (1..seconds.len()).filter(|at| seconds[*at] < seconds[at - 1]);
    if let Some(first) = back.next()
        && (1 + back.count()) * SET_BACK > seconds.len()
    {
        return Err(first);
    }
    let steps = || seconds.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step >= 0.0);
    let mut sorted: Vec<f64> = steps().collect();
    sorted.sort_by(f64::total_cmp);
    let none = Steps { rate: None, longest: f64::INFINITY };
    let Some(median) = sorted.get(sorted.len() / 2).copied() else { return Ok(none) };
    let Some(smallest) = sorted.iter().copied().find(|step| *step > 0.0) else { return Ok(none) };
    let n = sorted.len() as f64;
    let beyond = sorted.iter().filter(|step| **step > GAP * median).count() as f64;
    let usual = if median == 0.0 {
        // Several samples have one time.
        smallest
    } else if beyond > n / 4.0 {
        // Times rounded to little more than a step: 1, 2, 1, 2.
        sorted.iter().sum::<f64>() / n
    } else {
        median
    };
    let longest = GAP * usual;
    let kept = || steps().filter(|step| *step <= longest);
    let rate = kept().count() as f64 / kept().sum::<f64>();
    // Six digits are those of the times, and the rest of their rounding.
    let rate = format!("{rate:.5e}").parse().ok().filter(|rate: &f64| rate.is_finite());
    Ok(Steps { rate, longest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_state_a_unit() {
        assert_eq!(base("Time [ms]"), ("time".to_owned(), Some(1e-3)));
        assert_eq!(base("timestamp_us"), ("timestamp".to_owned(), Some(1e-6)));
        assert_eq!(base("date_time"), ("date_time".to_owned(), None));
        assert_eq!(base("s"), ("s".to_owned(), None));
    }

    #[test]
    fn the_size_of_a_number_tells_the_unit_of_an_epoch() {
        for (text, want) in [
            ("1700000000", 1.7e9),
            ("1700000000500", 1_700_000_000.5),
            ("1700000000500000", 1_700_000_000.5),
            ("1700000000500000000", 1_700_000_000.5),
        ] {
            let (found, unitless) = seconds(&[text.to_owned()], None).unwrap();
            assert!((found[0] - want).abs() < 1e-6 && !unitless, "{text}: {found:?}");
        }
        assert_eq!(seconds(&["16".to_owned()], Some(1e-3)), Ok((vec![0.016], false)));
        assert_eq!(seconds(&["16".to_owned()], None), Ok((vec![16.0], true)));
        assert_eq!(seconds(&["16".to_owned(), "2026-01-01".to_owned()], None), Err(1));
    }

    #[test]
    fn the_rate_is_that_of_the_steps_that_are_no_gaps() {
        let regular: Vec<f64> = (0..200).map(|i| f64::from(i) * 0.005 + if i < 100 { 0.0 } else { 9.0 }).collect();
        let found = steps(&regular).unwrap();
        assert_eq!(found.rate, Some(200.0));
        assert!((found.longest - 0.0075).abs() < 1e-9);
        // 360 Hz in whole milliseconds.
        let rounded: Vec<f64> = (0..3600).map(|i| (f64::from(i) / 0.36).floor() / 1000.0).collect();
        let found = steps(&rounded).unwrap();
        assert!((found.rate.unwrap() - 360.0).abs() < 0.1 && found.longest > 0.003, "{found:?}");
        // 667 Hz in whole milliseconds: steps of 1 and 2.
        let coarse: Vec<f64> = (0..2000).map(|i| (f64::from(i) * 1.5).floor() / 1000.0).collect();
        assert!(steps(&coarse).unwrap().longest > 0.002);
        // Ten samples a second in whole seconds.
        let equal: Vec<f64> = (0..100).map(|i| f64::from(i / 10)).collect();
        let found = steps(&equal).unwrap();
        assert!((found.rate.unwrap() - 11.0).abs() < 0.1 && found.longest == 1.5, "{found:?}");
        assert_eq!(steps(&[1.0, 2.0, 1.5]), Err(2));
        let set_back: Vec<f64> = (0..2000).map(|at| f64::from(if at < 900 { at } else { at - 60 })).collect();
        let found = steps(&set_back).unwrap();
        assert_eq!((found.rate, found.longest), (Some(1.0), 1.5));
        assert_eq!(steps(&[1.0]).unwrap().rate, None);
        assert_eq!(steps(&[1.0, 1.0]).unwrap().rate, None);
    }
}
