//! The recordings of a file, whatever its format.

use std::path::Path;

use super::super::columns::{Cells, Column, Columns};
use super::super::error::DataError;
use super::super::kind::Kind;
use super::super::options::{DataOptions, Reading};
#[cfg(feature = "parquet")]
use super::super::parquet;
use super::super::{name_of, npy, npz, read, text};
use super::marks::Classes;
use super::recording::Recording;
use super::{WindowOptions, WindowReading, arrays, table, wav};

/// Recordings with one set of channels.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub name: String,
    /// Names of the channels; `c0`, `c1` and so on where the source has none.
    pub channels: Vec<String>,
    /// Names of columns, for the record; its channels, rate and fractional bits follow later.
    pub record: WindowReading,
    pub recordings: Vec<Recording>,
    /// What the labels of the recordings stand for.
    pub classes: Classes,
    pub notes: Vec<String>,
    pub crc: crc32fast::Hasher,
}

impl Source {
    /// Reads the recordings of a file.
    ///
    /// # Errors
    /// Those of the format.
    pub(super) fn of_file(path: &Path, options: &DataOptions, windows: &WindowOptions) -> Result<Self, DataError> {
        let bytes = read(path)?;
        if bytes.is_empty() {
            let hint = "the file is empty; fetch or write it again";
            return Err(DataError::Empty { path: path.to_owned(), what: "bytes", hint });
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        let options = &of_model(options, windows);
        let lower = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let lower = lower.strip_suffix(".gz").unwrap_or(&lower);
        #[cfg(feature = "parquet")]
        if bytes.starts_with(parquet::PARQUET) || bytes.starts_with(parquet::ARROW) {
            let columns = parquet::parse(path, bytes, &|name| table::is_text(name, options, windows))?;
            return table::read(path, columns, crc, options, windows);
        }
        if wav::is_wav(&bytes) {
            return wav::read(path, &bytes, crc, options);
        }
        if bytes.starts_with(npy::MAGIC) || lower.ends_with(".npy") {
            let array = npy::parse_any(path, &bytes)?;
            return arrays::read(path, array, crc, options, windows);
        }
        if bytes.starts_with(npz::MAGIC) {
            let archive = npz::parse(path, &bytes, super::super::MAX_BYTES)?;
            return arrays::of_archive(path, archive, crc, options, windows);
        }
        let columns = text::parse(path, &bytes, options, &|name| table::is_text(name, options, windows))?;
        table::read(path, columns, crc, options, windows)
    }

    /// A source without recordings yet.
    pub(super) fn new(path: &Path, channels: Vec<String>, record: WindowReading, crc: crc32fast::Hasher) -> Self {
        Self {
            name: name_of(path),
            channels,
            record,
            recordings: Vec::new(),
            classes: Classes::default(),
            notes: Vec::new(),
            crc,
        }
    }
}

/// The options with what the model says of its channels.
pub(super) fn of_model(options: &DataOptions, windows: &WindowOptions) -> DataOptions {
    let reading = windows.reading.as_ref().map(|reading| Reading {
        kind: Kind::Table,
        shape: [1, reading.channels],
        columns: reading.names.clone(),
        units: reading.units.clone(),
        dropped: reading.dropped.clone(),
        label: reading.label.clone(),
        split: reading.split.clone(),
        ..Reading::default()
    });
    DataOptions { reading, ..options.clone() }
}

/// Which channels of a source without names are read.
pub(super) struct Chosen {
    /// Their places.
    pub places: Vec<usize>,
    /// Their names, `c0` and so on.
    pub names: Vec<String>,
    /// The place of a channel that holds labels.
    pub label: Option<usize>,
    pub record: WindowReading,
    pub notes: Vec<String>,
}

/// Chooses among the `count` channels of a source without names, as among columns of a table without a header.
///
/// # Errors
/// `MissingColumn` for a channel that an option names, `ColumnCount`, `Empty`.
pub(super) fn choose(path: &Path, count: usize, options: &DataOptions) -> Result<Chosen, DataError> {
    let name = |at: usize| format!("c{at}");
    let list = (0..count).map(|at| Column { name: name(at), unit: String::new(), cells: Cells::numbers() }).collect();
    let table = Columns { list, ..Columns::default() }.settle(path, options)?;
    let place = |known: &String| (0..count).find(|at| name(*at) == *known);
    let label = table.record.label.as_ref().and_then(place);
    let split = table.record.split.as_ref().and_then(place);
    let dropped: Vec<usize> = table.record.dropped.iter().filter_map(place).collect();
    let kept = |at: &usize| !dropped.contains(at) && Some(*at) != label && Some(*at) != split;
    let places: Vec<usize> = (0..count).filter(kept).collect();
    let record = WindowReading {
        channels: places.len(),
        dropped: table.record.dropped,
        label: table.record.label,
        ..WindowReading::default()
    };
    Ok(Chosen { names: places.iter().map(|at| name(*at)).collect(), places, label, record, notes: table.notes })
}

/// The options without those that name columns, for a source whose marks stand elsewhere.
pub(super) fn without_marks(options: &DataOptions) -> DataOptions {
    DataOptions { label_column: None, split_column: None, id_column: None, group_column: None, ..options.clone() }
}
