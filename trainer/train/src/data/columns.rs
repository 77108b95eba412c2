//! The columns of a table: which are features, labels or neither, and how they meet the columns of a model.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use super::error::DataError;
use super::labels::{self, Labels};
use super::options::{DataOptions, Reading};
use super::split::Part;
use super::values::Values;

/// Columns of these names are labels or the split, and never features.
const RESERVED: [&str; 3] = ["label", "anomaly", "split"];
/// Columns of these names are labels where their values are 0 and 1, or a few words.
const LIKELY: [&str; 8] = ["class", "target", "outlier", "is_anomaly", "is_outlier", "fault", "y", "attack"];
/// Stands for no column of labels.
const NO_LABEL: &str = "-";

/// The first field of a column that is no finite number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bad {
    /// Its line, or its row in a format without lines; from 1.
    pub line: u64,
    /// Its text.
    pub found: String,
    /// Whether it is a number, but not a finite one.
    pub number: bool,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cells {
    /// Numbers; NaN where there is none, of which the first is `bad`.
    Numbers { values: Vec<f64>, bad: Option<Bad> },
    /// Texts.
    Text(Vec<String>),
}

impl Cells {
    pub(super) fn numbers() -> Self {
        Self::Numbers { values: Vec::new(), bad: None }
    }

    /// Whether the values are 0, 1, 2 and so on.
    fn counts(&self) -> bool {
        match self {
            Self::Numbers { values, bad: None } => values.iter().enumerate().all(|(i, v)| *v == i as f64),
            Self::Numbers { .. } | Self::Text(_) => false,
        }
    }
}

/// A column with its name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// As the file has it; `c0`, `c1` and so on where it has none.
    pub name: String,
    /// As the file has it; empty where it has none.
    pub unit: String,
    pub cells: Cells,
}

/// The columns of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    pub list: Vec<Column>,
    /// Whether the names are the file's own.
    pub named: bool,
    /// Rows.
    pub n: usize,
    /// The line of each row; empty where the row's number is its place.
    pub lines: Vec<u64>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A table whose features, labels and parts are known.
#[derive(Debug)]
pub(super) struct Table {
    /// Features, row-major `[n, dim]`, all finite.
    pub values: Values,
    /// Feature columns.
    pub dim: usize,
    /// Labels, one a row.
    pub labels: Option<Labels>,
    /// Parts, one a row.
    pub parts: Option<Vec<Part>>,
    /// Names of the rows.
    pub ids: Option<Vec<String>>,
    /// Groups of the rows.
    pub groups: Option<Vec<String>>,
    /// Names of columns, for the record: features, units, those left out, labels and split.
    pub record: Reading,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Whether a column of this name is kept as text, because it may be one of labels or of the split.
pub(super) fn is_text(name: &str, options: &DataOptions) -> bool {
    let reading = options.reading.as_ref();
    let said = [&options.label_column, &options.split_column, &options.id_column, &options.group_column];
    let said = said.into_iter().flatten();
    let recorded = reading.into_iter().flat_map(|r| [&r.label, &r.split]).flatten();
    said.chain(recorded).any(|other| other == name)
        || RESERVED.iter().chain(&LIKELY).any(|known| name.eq_ignore_ascii_case(known))
            && !reading.is_some_and(|r| r.columns.iter().any(|column| column == name))
}

/// The first columns of a file, for a message.
fn shown(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut names: Vec<String> = names.take(21).map(|name| quoted(name.as_ref())).collect();
    if names.len() > 20 {
        names[20] = "...".to_owned();
    }
    names.join(", ")
}

/// A name as an option takes it.
pub(super) fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && !name.contains([',', '"', ' ', '\n', '\t', '\'']);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"").replace('\n', " ")) }
}

impl Columns {
    /// The line of a row.
    pub(super) fn line(&self, row: usize) -> u64 {
        self.lines.get(row).copied().unwrap_or(row as u64 + 1)
    }

    /// The places of all columns of this name.
    fn all(&self, path: &Path, name: &str) -> Result<Vec<usize>, DataError> {
        let found: Vec<usize> = (0..self.list.len()).filter(|i| self.list[*i].name == name).collect();
        if found.is_empty() {
            let available = shown(self.list.iter().map(|column| &column.name));
            return Err(DataError::MissingColumn { path: path.to_owned(), column: name.to_owned(), available });
        }
        Ok(found)
    }

    /// The one column of this name.
    pub(super) fn one(&self, path: &Path, name: &str) -> Result<usize, DataError> {
        match *self.all(path, name)? {
            [at] => Ok(at),
            _ => Err(DataError::NamedTwice { path: path.to_owned(), column: name.to_owned() }),
        }
    }

    /// The columns that an option drops: each entry is a name, or several with commas between and quotes where they hold
    /// any.
    pub(super) fn dropped(&self, path: &Path, entries: &[String]) -> Result<Vec<usize>, DataError> {
        let mut places = Vec::new();
        for entry in entries {
            if self.list.iter().any(|column| column.name == *entry) {
                places.extend(self.all(path, entry)?);
                continue;
            }
            for name in names_in(entry) {
                places.extend(self.all(path, &name)?);
            }
        }
        Ok(places)
    }

    /// The column of labels and the one of the split.
    pub(super) fn marks(
        &self,
        path: &Path,
        options: &DataOptions,
        dropped: &[usize],
        notes: &mut Vec<String>,
    ) -> Result<[Option<usize>; 2], DataError> {
        let named = |name: &str| {
            let at = self.one(path, name)?;
            if dropped.contains(&at) {
                return Err(DataError::InvalidOption {
                    option: "drop_columns",
                    expected: "columns other than those named as labels or split",
                    found: name.to_owned(),
                });
            }
            Ok(Some(at))
        };
        let reading = options.reading.as_ref();
        let of_model: HashSet<&str> = reading.iter().flat_map(|r| &r.columns).map(String::as_str).collect();
        let kept = |i: &usize| !dropped.contains(i) && !of_model.contains(self.list[*i].name.as_str());
        let places = || (0..self.list.len()).filter(kept);
        let known = |name: &Option<String>| {
            let name = name.as_ref()?;
            places().find(|i| self.list[*i].name == *name)
        };
        let by_case = |name: &str| {
            let exact = places().find(|i| self.list[*i].name == name);
            exact.or_else(|| places().find(|i| self.list[*i].name.eq_ignore_ascii_case(name)))
        };
        let label = match (options.label_column.as_deref(), reading) {
            (Some(NO_LABEL), _) => None,
            (Some(name), _) => named(name)?,
            (None, Some(reading)) if reading.label.is_some() => known(&reading.label),
            (None, _) => {
                let sure = by_case("label").or_else(|| by_case("anomaly"));
                sure.or_else(|| self.likely(path, places(), reading.is_some(), notes))
            }
        };
        if let Some(at) = label.filter(|_| options.label_column.is_none() && reading.is_none()) {
            let name = &self.list[at].name;
            if RESERVED.iter().any(|known| name.eq_ignore_ascii_case(known)) && !RESERVED.contains(&name.as_str()) {
                notes.push(likely_note(path, name));
            }
        }
        let split = match (options.split_column.as_deref(), reading) {
            (Some(name), _) => named(name)?,
            (None, Some(reading)) if reading.split.is_some() => known(&reading.split),
            (None, _) => by_case("split"),
        };
        Ok([label, split])
    }

    /// A column whose name and values are those of labels.
    fn likely(
        &self,
        path: &Path,
        mut places: impl Iterator<Item = usize>,
        quiet: bool,
        notes: &mut Vec<String>,
    ) -> Option<usize> {
        let found = places.find(|i| {
            let Column { name, cells: Cells::Text(texts), .. } = &self.list[*i] else { return false };
            LIKELY.iter().any(|known| name.eq_ignore_ascii_case(known))
                && (labels::binary(texts) || labels::words(texts))
        })?;
        if !quiet {
            notes.push(likely_note(path, &self.list[found].name));
        }
        Some(found)
    }

    /// The feature at a place and, if it is one of text, all others of text.
    fn of_text(&self, at: usize, features: &[usize]) -> Vec<String> {
        let text = |i: &usize| match &self.list[*i].cells {
            Cells::Numbers { bad, .. } => bad.as_ref().is_some_and(|bad| !bad.number && !labels::missing(&bad.found)),
            Cells::Text(texts) => texts.iter().any(|text| text.parse::<f64>().is_err() && !labels::missing(text)),
        };
        let all = features.iter().filter(|i| **i == at || text(&at) && text(i));
        all.map(|i| self.list[*i].name.clone()).collect()
    }

    /// The numbers of a feature.
    fn feature(&self, path: &Path, at: usize, features: &[usize]) -> Result<Vec<f64>, DataError> {
        let Column { name, cells, .. } = &self.list[at];
        let texts;
        let cells = match cells {
            Cells::Text(fields) => {
                texts = numbers_of(fields, |row| self.line(row));
                &texts
            }
            numbers @ Cells::Numbers { .. } => numbers,
        };
        match cells {
            Cells::Numbers { values, bad: None } => Ok(values.clone()),
            Cells::Numbers { bad: Some(bad), .. } => {
                let (path, column, found) = (path.to_owned(), name.clone(), bad.found.clone());
                Err(match bad.number {
                    true => DataError::NonFinite { path, row: bad.line, column, found },
                    false => {
                        let drop = self.of_text(at, features);
                        DataError::NotNumeric { path, line: bad.line, column, found, drop }
                    }
                })
            }
            Cells::Text(_) => Ok(Vec::new()),
        }
    }

    /// Settles what every column is.
    ///
    /// # Errors
    /// `MissingColumn`, `UnknownColumn`, `UnitDiffers`, `ColumnCount`, `NamedTwice`, `NotNumeric`, `NonFinite`, `BadLabel`,
    /// `UnknownClass`, `TooManyTexts`, `BadSplit`, `Empty` and `InvalidOption`.
    pub(super) fn settle(mut self, path: &Path, options: &DataOptions) -> Result<Table, DataError> {
        let mut notes = std::mem::take(&mut self.notes);
        let reading = options.reading.as_ref();
        let mut dropped = self.dropped(path, &options.drop_columns)?;
        if let Some(reading) = reading {
            let of_model: HashSet<&str> = reading.columns.iter().map(String::as_str).collect();
            let left_out: HashSet<&str> = reading.dropped.iter().map(String::as_str).collect();
            let known = |i: &usize| {
                let name = self.list[*i].name.as_str();
                left_out.contains(name) && !of_model.contains(name)
            };
            dropped.extend((0..self.list.len()).filter(known));
        }
        let [label, split] = self.marks(path, options, &dropped, &mut notes)?;
        let named = [&options.id_column, &options.group_column];
        let [id, group] = named.map(|name| name.as_deref().map(|name| self.one(path, name)).transpose());
        let (id, group) = (id?, group?);
        let of_model = |at: &usize| reading.is_some_and(|reading| reading.columns.contains(&self.list[*at].name));
        dropped.extend(
            id.into_iter()
                .chain(group)
                .filter(|at| self.named && !of_model(at) && Some(*at) != label && Some(*at) != split),
        );
        let dropped: HashSet<usize> = dropped.into_iter().collect();
        let free = |i: usize| Some(i) != label && Some(i) != split && !dropped.contains(&i);
        let reserved = |i: usize| RESERVED.iter().any(|known| self.list[i].name.eq_ignore_ascii_case(known));
        let index = |i: usize| {
            let name = &self.list[i].name;
            self.named
                && (name.is_empty() || name.starts_with("Unnamed: "))
                && self.list[i].cells.counts()
                && self.n > 1
        };
        let features: Vec<usize> = match reading.filter(|reading| self.named && !reading.columns.is_empty()) {
            Some(reading) => self.matched(path, reading, &|i| free(i) && !reserved(i) && !index(i), &mut notes)?,
            None => {
                let found: Vec<usize> =
                    (0..self.list.len()).filter(|i| free(*i) && !reserved(*i) && !index(*i)).collect();
                if let Some(reading) = reading.filter(|reading| reading.kind == super::Kind::Table) {
                    self.by_place(path, reading, &found, &mut notes)?;
                } else if let Some(at) = (0..self.list.len()).find(|i| free(*i) && !reserved(*i) && index(*i)) {
                    let name = quoted(&self.list[at].name);
                    notes.push(format!(
                        "{}: column {name} only counts the rows and is left out, as an index; give it a name to keep it",
                        path.display()
                    ));
                }
                found
            }
        };
        if features.is_empty() {
            return Err(DataError::Empty {
                path: path.to_owned(),
                what: "feature columns",
                hint: "every column is dropped or a label or split column",
            });
        }
        let columns = features.iter().map(|at| self.feature(path, *at, &features)).collect::<Result<Vec<_>, _>>()?;
        let dim = columns.len();
        let values = (0..self.n * dim).map(|i| columns[i % dim][i / dim]).collect();
        let texts = |at: usize| match &self.list[at].cells {
            Cells::Text(texts) => texts.clone(),
            Cells::Numbers { values, .. } => values.iter().map(f64::to_string).collect(),
        };
        let name = |at: usize| self.list[at].name.clone();
        let known = reading.map(|reading| reading.class_names.as_slice()).filter(|classes| !classes.is_empty());
        let labels = label
            .map(|at| labels::read(path, &self.list[at].name, &texts(at), known, |row| self.line(row)))
            .transpose()?;
        if let Some(classes) =
            labels.as_ref().map(|labels| &labels.classes).filter(|c| !c.is_empty() && reading.is_none())
        {
            let numbered: Vec<String> =
                classes.iter().take(20).enumerate().map(|(number, class)| format!("{class} = {number}")).collect();
            let column = label.map(name).unwrap_or_default();
            notes.push(format!("{}: labels of column `{column}`: {}", path.display(), numbered.join(", ")));
        }
        let [ids, groups] = [id, group].map(|at| at.map(texts));
        let parts = split.map(|at| self.parts(path, at, &texts(at))).transpose()?;
        let taken: HashSet<usize> = features.iter().copied().chain(label).chain(split).collect();
        let left_out = (0..self.list.len()).filter(|i| !taken.contains(i));
        let any_unit = features.iter().any(|at| !self.list[*at].unit.is_empty());
        let record = Reading {
            columns: if self.named { features.iter().map(|at| name(*at)).collect() } else { Vec::new() },
            units: if any_unit { features.iter().map(|at| self.list[*at].unit.clone()).collect() } else { Vec::new() },
            dropped: left_out.map(name).collect(),
            label: label.map(name),
            split: split.map(name),
            class_names: labels.as_ref().map(|labels| labels.classes.clone()).unwrap_or_default(),
            ..Reading::default()
        };
        Ok(Table { values: Values::Double(values), dim, labels, parts, ids, groups, record, notes })
    }

    /// The places of a model's columns in this file, by name; of equal names the first is the first.
    fn matched(
        &self,
        path: &Path,
        reading: &Reading,
        feature: &dyn Fn(usize) -> bool,
        notes: &mut Vec<String>,
    ) -> Result<Vec<usize>, DataError> {
        let mut places: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (at, column) in self.list.iter().enumerate() {
            places.entry(column.name.as_str()).or_default().push_back(at);
        }
        let mut found: Vec<usize> = Vec::with_capacity(reading.columns.len());
        let reads = || shown(reading.columns.iter());
        for (at, name) in reading.columns.iter().enumerate() {
            let Some(place) = places.get_mut(name.as_str()).and_then(VecDeque::pop_front) else {
                return Err(DataError::ColumnOfModel {
                    path: path.to_owned(),
                    column: name.clone(),
                    reads: reads(),
                    available: shown(self.list.iter().map(|column| &column.name)),
                });
            };
            let (expected, unit) = (reading.units.get(at).map_or("", String::as_str), &self.list[place].unit);
            if !expected.is_empty() && !unit.is_empty() && expected != unit {
                return Err(DataError::UnitDiffers {
                    path: path.to_owned(),
                    column: name.clone(),
                    expected: expected.to_owned(),
                    found: unit.clone(),
                });
            }
            found.push(place);
        }
        let matched: HashSet<usize> = found.iter().copied().collect();
        if let Some(stranger) = (0..self.list.len()).find(|i| feature(*i) && !matched.contains(i)) {
            let column = self.list[stranger].name.clone();
            return Err(DataError::UnknownColumn { path: path.to_owned(), column, reads: reads() });
        }
        if !found.is_sorted() {
            notes.push(format!("{}: the columns are in another order and are matched by name", path.display()));
        }
        Ok(found)
    }

    /// Checks that columns without names are as many as the model reads.
    fn by_place(
        &self,
        path: &Path,
        reading: &Reading,
        found: &[usize],
        notes: &mut Vec<String>,
    ) -> Result<(), DataError> {
        let expected = reading.shape[0] * reading.shape[1];
        if found.len() != expected {
            let (path, found) = (path.to_owned(), found.len());
            return Err(DataError::ColumnCount { path, expected, reads: shown(reading.columns.iter()), found });
        }
        if !reading.columns.is_empty() {
            let reads = shown(reading.columns.iter());
            notes.push(format!(
                "{}: there is no header; the columns are taken in the order that the model reads: {reads}",
                path.display()
            ));
        } else if self.named {
            notes.push(format!(
                "{}: the model knows no names of columns; they are taken in the order of the file",
                path.display()
            ));
        }
        Ok(())
    }

    pub(super) fn parts(&self, path: &Path, at: usize, texts: &[String]) -> Result<Vec<Part>, DataError> {
        let part = |(row, text): (usize, &String)| {
            Part::parse(text).ok_or_else(|| DataError::BadSplit {
                path: path.to_owned(),
                line: self.line(row),
                column: self.list[at].name.clone(),
                found: text.clone(),
            })
        };
        texts.iter().enumerate().map(part).collect()
    }
}

fn likely_note(path: &Path, name: &str) -> String {
    format!("{}: column `{name}` is taken for labels; --label-column - makes it a feature", path.display())
}

/// Texts as numbers, with the first that is none.
fn numbers_of(texts: &[String], line: impl Fn(usize) -> u64) -> Cells {
    let mut bad = None;
    let mut values = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let value = text.parse::<f64>().or_else(|_| text.replace(',', ".").parse()).ok();
        if bad.is_none() && !value.is_some_and(|v| (v as f32).is_finite()) {
            bad = Some(Bad { line: line(row), found: text.clone(), number: value.is_some() });
        }
        values.push(value.unwrap_or(f64::NAN));
    }
    Cells::Numbers { values, bad }
}

/// The names in a list with commas between, as a line of CSV has them.
fn names_in(entry: &str) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(entry.as_bytes());
    let first = reader.records().next().and_then(Result::ok);
    first.map_or_else(|| vec![entry.to_owned()], |record| record.iter().map(str::to_owned).collect())
}
