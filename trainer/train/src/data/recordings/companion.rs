//! The table that says of each row of an array, or of each file of a folder, what it is: label, part of the split, group.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::columns::Columns;
use super::super::error::DataError;
use super::super::options::DataOptions;
use super::super::split::Part;
use super::super::{labels, name_of, read as bytes_of, text};
use super::error::RecordingError;
use super::marks::Classes;
use super::{WindowOptions, WindowReading, table, times};

/// What a companion says, one entry a row.
#[derive(Debug, Clone, Default)]
pub(super) struct Companion {
    pub labels: Option<Vec<u32>>,
    pub parts: Option<Vec<Part>>,
    pub groups: Option<Vec<String>>,
    /// What the labels stand for.
    pub classes: Classes,
    /// The names of the columns of labels, split and groups.
    pub record: WindowReading,
    pub notes: Vec<String>,
    /// Of its bytes.
    pub crc: crc32fast::Hasher,
}

/// The companion of an array: `NAME_meta.csv` beside `NAME.npy` or `NAME_x.npy`, or `meta.csv`, gzipped or not. The second
/// says whether the name is that of this array alone.
pub(super) fn beside(path: &Path) -> Option<(PathBuf, bool)> {
    let stem = name_of(path);
    let short = stem.strip_suffix("_x").unwrap_or(&stem);
    let names = [format!("{stem}_meta.csv"), format!("{short}_meta.csv"), "meta.csv".to_owned()];
    let both = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let found = both.map(|name| path.with_file_name(name)).find(|path| path.is_file())?;
    let own = found.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("meta.csv"));
    Some((found, own))
}

/// Reads a companion of an array of `rows` rows; `own` says whether its name is that of this array alone. `None`, and a
/// note, for a table that belongs to something else.
///
/// # Errors
/// `Companion` for another number of rows; those of text tables, labels and splits.
pub(super) fn read(
    path: &Path,
    own: bool,
    (array, rows): (&Path, usize),
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Result<Companion, String>, DataError> {
    let bytes = bytes_of(path)?;
    let columns = text::parse(path, &bytes, options, &|_| true)?;
    let n = columns.n;
    if n != rows && own {
        let (path, array) = (path.to_owned(), array.to_owned());
        return Err(RecordingError::Companion { path, array, expected: rows, found: n }.into());
    }
    if n != rows {
        let (path, array) = (path.display(), array.display());
        return Ok(Err(format!("{path}: it has {n} rows, and {array} has {rows}: it is not used")));
    }
    let mut found = settle(path, &columns, options, windows)?;
    found.crc.update(&bytes);
    Ok(Ok(found))
}

/// The table of a folder: a row for each of its files.
#[derive(Debug)]
pub(super) struct Listing {
    pub path: PathBuf,
    /// The row of each file, by the name that the table gives it.
    rows: HashMap<String, usize>,
    pub companion: Companion,
}

impl Listing {
    /// The row of a file, which the table may name with its folder, and without its end.
    ///
    /// # Errors
    /// `NotListed`.
    pub(super) fn row(&self, folder: &Path, file: &Path) -> Result<usize, DataError> {
        let inside = file.strip_prefix(folder).unwrap_or(file).to_string_lossy().replace('\\', "/");
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unpacked = |name: &str| name.strip_suffix(".gz").unwrap_or(name).to_owned();
        let names = [unpacked(&inside), unpacked(&name), name_of(file), inside, name];
        let found = names.iter().find_map(|name| self.rows.get(name));
        found
            .copied()
            .ok_or_else(|| RecordingError::NotListed { path: self.path.clone(), file: file.to_owned() }.into())
    }
}

/// Reads the table `meta.csv` of a folder, if there is one and it has a column of files.
///
/// # Errors
/// Those of text tables, labels and splits.
pub(super) fn of_folder(
    folder: &Path,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Option<Listing>, DataError> {
    let both = ["meta.csv", "meta.csv.gz"].map(|name| folder.join(name));
    let Some(path) = both.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    let bytes = bytes_of(&path)?;
    let columns = text::parse(&path, &bytes, options, &|_| true)?;
    let is_file =
        |name: &str| ["file", "filename", "file_name", "path"].iter().any(|known| name.eq_ignore_ascii_case(known));
    let Some(files) = columns.list.iter().find(|column| is_file(&column.name)) else { return Ok(None) };
    let rows = times::fields(files).enumerate().map(|(row, name)| (name.replace('\\', "/"), row)).collect();
    let mut companion = settle(&path, &columns, options, windows)?;
    companion.crc.update(&bytes);
    Ok(Some(Listing { path, rows, companion }))
}

/// Finds labels, split and groups among the columns.
fn settle(
    path: &Path,
    columns: &Columns,
    options: &DataOptions,
    windows: &WindowOptions,
) -> Result<Companion, DataError> {
    let mut found = Companion::default();
    let [label, split] = columns.marks(path, options, &[], &mut found.notes)?;
    let group = table::group_of(path, columns, &[], windows, &mut found.notes)?;
    let texts = |at: usize| times::fields(&columns.list[at]).collect::<Vec<String>>();
    let name = |at: usize| columns.list[at].name.clone();
    if let Some(at) = label {
        let labels = labels::read(path, &name(at), &texts(at), None, |row| columns.line(row))?;
        found.labels = Some(found.classes.of_labels(path, &name(at), &labels)?);
    }
    found.parts = split.map(|at| columns.parts(path, at, &texts(at))).transpose()?;
    found.groups = group.map(texts);
    let said: Vec<String> = [("labels", label), ("split", split), ("groups", group)]
        .into_iter()
        .filter_map(|(what, at)| at.map(|at| format!("{what} in column `{}`", name(at))))
        .collect();
    let said = if said.is_empty() { "neither labels nor a split nor groups".to_owned() } else { said.join(", ") };
    let names: Vec<&str> = columns.list.iter().take(20).map(|column| column.name.as_str()).collect();
    found.notes.push(format!(
        "{}: a table of what the recordings are: {said}; its columns are {}",
        path.display(),
        names.join(", ")
    ));
    found.record.label = label.map(name);
    found.record.split = split.map(name);
    found.record.group = group.map(name);
    Ok(found)
}
