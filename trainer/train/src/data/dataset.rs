//! A data set in memory, and the way to it from the values of a source.

use std::path::Path;

use elbo_compiler::front::Front;

use super::WIDEST;
use super::columns::quoted;
use super::error::DataError;
use super::kind::{self, Array, Element, Kind, Laid};
use super::labels::Labels;
use super::options::{DataOptions, Reading};
use super::scaling::{self, Standardise};
use super::split::{self, Indices, Part, Split};
use super::values::Values;

/// A data set in memory.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// `digits`, `moons`, `mnist`, or the file's name without extensions.
    pub name: String,
    /// What the values mean.
    pub kind: Kind,
    /// Rows and columns of one example; `[1, dim]` for tables.
    pub shape: [usize; 2],
    /// Values of one example: the product of `shape`.
    pub dim: usize,
    /// Rows to fit on; at least one, but for [`Dataset::without_rows`] and for rows read for a model.
    pub train: Split,
    /// Rows to choose by; may be empty.
    pub validation: Split,
    /// Rows that say how rare a score is; may be empty.
    pub calibration: Split,
    /// Rows to report on; may be empty.
    pub test: Split,
    /// How the rows were read: what a model keeps so that others are read alike.
    pub reading: Reading,
    /// The name of each row of the source, from the column that [`DataOptions::id_column`] names.
    pub ids: Option<Vec<String>>,
    /// The machine, recording or other group of each row of the source, where it says so.
    pub groups: Option<Vec<String>>,
    /// Whether each row of the source follows the one before it without a gap; `None` if all do.
    pub follows: Option<Vec<bool>>,
    /// What a person should know of how the source was read, a sentence each: what was guessed, left out or looks wrong.
    pub notes: Vec<String>,
    /// CRC-32 of the source's unpacked bytes (the same for `x.csv` and `x.csv.gz`); of several
    /// files, one after the other: train images, train labels, test images, test labels.
    pub crc32: u32,
    /// What makes the rows from windows of samples; `None` if the rows are those of the source.
    pub front: Option<Front>,
}

impl Dataset {
    /// What stands for the data of a model in `dim` dimensions that learns from a formula.
    #[must_use]
    pub fn without_rows(name: &str, dim: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Table,
            shape: [1, dim],
            dim,
            train: Split::default(),
            validation: Split::default(),
            calibration: Split::default(),
            test: Split::default(),
            reading: Reading { shape: [1, dim], ..Reading::default() },
            ids: None,
            groups: None,
            follows: None,
            notes: Vec::new(),
            crc32: 0,
            front: None,
        }
    }

    /// A table from memory: split and standardised as one from a file is.
    ///
    /// # Errors
    /// `Empty` without rows, `Shape` for rows of different lengths, `NonFinite`, `InvalidOption`.
    pub fn of_table(name: &str, rows: &[Vec<f32>], options: &DataOptions) -> Result<Self, DataError> {
        let path = Path::new(name);
        let dim = rows.first().map_or(0, Vec::len);
        for (at, row) in rows.iter().enumerate() {
            if row.len() != dim {
                let (expected, found) = (format!("rows of {dim} values"), format!("{} in row {}", row.len(), at + 1));
                return Err(DataError::Shape { path: path.to_owned(), expected, found });
            }
            if let Some(column) = row.iter().position(|v| !v.is_finite()) {
                let (path, row, found) = (path.to_owned(), at as u64 + 1, row[column].to_string());
                return Err(DataError::NonFinite { path, row, column: column.to_string(), found });
            }
        }
        let x = rows.concat();
        let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        let array = Array { dims: vec![rows.len(), dim], values: Values::Single(x), element: Element::Number };
        Source::new(path, name, array, crc32fast::hash(&bytes)).finish(options)
    }

    /// Number of classes: one more than the largest label; 0 without labels.
    #[must_use]
    pub fn classes(&self) -> usize {
        let splits = [&self.train, &self.validation, &self.calibration, &self.test];
        let labels = splits.into_iter().filter_map(|split| split.labels.as_ref()).flatten();
        labels.max().map_or(0, |largest| *largest as usize + 1)
    }

    /// What was applied to a table; `None` for images.
    #[must_use]
    pub fn standardise(&self) -> Option<&Standardise> {
        self.reading.standardise.as_ref()
    }
}

/// Values before splitting.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub name: String,
    pub array: Array,
    pub labels: Option<Labels>,
    /// Whether a label of 1 may mark an anomaly; labels of images and of built-in sets are classes.
    pub marks: bool,
    pub parts: Option<Vec<Part>>,
    /// Names of the rows.
    pub ids: Option<Vec<String>>,
    /// Groups of the rows.
    pub groups: Option<Vec<String>>,
    /// The record's names of columns; the rest of it follows from the values.
    pub record: Reading,
    pub notes: Vec<String>,
    pub crc32: u32,
}

impl<'a> Source<'a> {
    /// A source of this array alone.
    pub(super) fn new(path: &'a Path, name: &str, array: Array, crc32: u32) -> Self {
        Self {
            path,
            name: name.to_owned(),
            array,
            labels: None,
            marks: false,
            parts: None,
            ids: None,
            groups: None,
            record: Reading::default(),
            notes: Vec::new(),
            crc32,
        }
    }

    /// Decides images or table, splits the rows and standardises tables.
    pub(super) fn finish(mut self, options: &DataOptions) -> Result<Dataset, DataError> {
        let named =
            [("id_column", &options.id_column, &self.ids), ("group_column", &options.group_column, &self.groups)];
        for (option, asked, _) in named.into_iter().filter(|(_, _, found)| found.is_none()) {
            if let Some(name) = asked {
                let expected = "no column of names: this format has no columns with names";
                return Err(DataError::InvalidOption { option, expected, found: name.clone() });
            }
        }
        let (rank, element) = (self.array.dims.len(), self.array.element);
        let empty = Array { dims: Vec::new(), values: Values::Single(Vec::new()), element };
        let laid = kind::lay_out(self.path, std::mem::replace(&mut self.array, empty), options)?;
        let Laid { kind, shape, values, white, notes } = laid;
        self.notes.extend(notes);
        let dim = shape[0] * shape[1];
        if dim == 0 || values.len() == 0 {
            return Err(DataError::Empty {
                path: self.path.to_owned(),
                what: "values",
                hint: "the array has a dimension of 0; supply at least one row and one column",
            });
        }
        let n = values.len() / dim;
        if dim > WIDEST && options.reading.is_none() {
            self.notes.push(format!(
                "{}: rows of {dim} values are wider than {WIDEST}, beyond which most models cannot be compiled; \
                 --drop-columns leaves columns of a table out",
                self.path.display()
            ));
        }
        let mut indices = split::assign(self.path, n, self.parts.as_deref(), kind, options)?;
        self.leave_out(&mut indices, options)?;
        let mut record = std::mem::take(&mut self.record);
        if kind == Kind::Image {
            // Pixels have places instead of names.
            (record.columns, record.units) = (Vec::new(), Vec::new());
        }
        (record.kind, record.shape, record.white) = (kind, shape, white);
        let reading = options.reading.as_ref();
        record.colour = reading.map_or_else(|| options.colour.unwrap_or_default(), |reading| reading.colour);
        if kind == Kind::Table {
            record.standardise = Some(self.standardise(&values, dim, &indices, &record.columns, options)?);
            if reading.is_none() && options.kind.is_none() && rank == 2 && element == Element::Number {
                let mut names: Vec<String> = record.columns.iter().take(8).map(|name| quoted(name)).collect();
                if record.columns.len() > names.len() {
                    names.push("...".to_owned());
                }
                let of = if names.is_empty() { " without names".to_owned() } else { format!(": {}", names.join(", ")) };
                let columns = if dim == 1 { "column" } else { "columns" };
                let taken = format!("a table of {n} rows and {dim} {columns}{of}; --kind image reads rows as images");
                self.notes.insert(0, format!("{}: {taken}", self.path.display()));
            }
        }
        if let Some(reading) = reading {
            // What the model says of its rows stays as it is, whatever this file has.
            record = Reading { white: record.white, ..reading.clone() };
        }
        let labels = self.labels.as_ref().map(|labels| labels.values.as_slice());
        let scale = |column: usize, value: f64| match &record.standardise {
            Some(s) => s.scaled(column, value),
            None => value as f32,
        };
        let gather = |rows: &[usize]| Split::gather(&values, dim, labels, rows, scale);
        Ok(Dataset {
            name: self.name,
            kind,
            shape,
            dim,
            train: gather(&indices.train),
            validation: gather(&indices.validation),
            calibration: gather(&indices.calibration),
            test: gather(&indices.test),
            reading: record,
            ids: self.ids,
            groups: self.groups,
            follows: None,
            notes: self.notes,
            crc32: self.crc32,
            front: None,
        })
    }

    /// Takes labelled anomalies out of the train, validation and calibration rows.
    fn leave_out(&mut self, indices: &mut Indices, options: &DataOptions) -> Result<(), DataError> {
        let Some(labels) = self.labels.as_ref().filter(|_| options.leave_out_anomalies && self.marks) else {
            return Ok(());
        };
        if !labels.mark_anomalies() {
            return Ok(());
        }
        let held = |indices: &Indices| [indices.train.len(), indices.validation.len(), indices.calibration.len()];
        let before = held(indices);
        for rows in [&mut indices.train, &mut indices.validation, &mut indices.calibration] {
            rows.retain(|row| labels.values[*row] == 0);
        }
        let after = held(indices);
        let [train, validation, calibration] = [0, 1, 2].map(|part| before[part] - after[part]);
        if train + validation + calibration == 0 {
            return Ok(());
        }
        if after[0] == 0 {
            return Err(DataError::Empty {
                path: self.path.to_owned(),
                what: "rows for the train split that are not labelled 1, an anomaly",
                hint: "--keep-anomalies trains on labelled rows, too, and --label-column - on rows without labels",
            });
        }
        let column = self.record.label.as_ref().map_or_else(String::new, |name| format!(" in column `{name}`"));
        self.notes.push(format!(
            "{}: {train} train, {validation} validation and {calibration} calibration rows are left out: they are labelled \
             1{column}, an anomaly; --keep-anomalies keeps them",
            self.path.display()
        ));
        Ok(())
    }

    /// The standardisation of the model that will see the rows, else that of the train rows, with a word on glitches.
    fn standardise(
        &mut self,
        values: &Values,
        dim: usize,
        indices: &Indices,
        columns: &[String],
        options: &DataOptions,
    ) -> Result<Standardise, DataError> {
        if let Some(reading) = &options.reading {
            let Some(known) = reading.standardise.as_ref().filter(|known| known.mean.len() == dim) else {
                return Err(DataError::ColumnCount {
                    path: self.path.to_owned(),
                    expected: reading.shape[0] * reading.shape[1],
                    reads: String::new(),
                    found: dim,
                });
            };
            return Ok(known.clone());
        }
        let name = |at: usize| columns.get(at).cloned().unwrap_or_else(|| at.to_string());
        if options.scaling == scaling::Scaling::Standard {
            let found = scaling::widened(values, dim, &indices.train);
            for w in found.iter().take(3) {
                self.notes.push(format!(
                    "{}: {} of {} train rows are far out in column `{}`, {} for example, where half of the values lie \
                     between {} and {}; they widen its scale: if they are glitches, leave such rows out or give --scaling robust",
                    self.path.display(),
                    w.count,
                    indices.train.len(),
                    name(w.column),
                    w.farthest as f32,
                    w.quartiles[0] as f32,
                    w.quartiles[1] as f32
                ));
            }
            if found.len() > 3 {
                self.notes.push(format!("{}: so have {} more columns", self.path.display(), found.len() - 3));
            }
        }
        Standardise::fit(values, dim, &indices.train, options.scaling).map_err(|e| DataError::Unscalable {
            path: self.path.to_owned(),
            column: name(e.column),
            deviation: e.deviation,
        })
    }
}
