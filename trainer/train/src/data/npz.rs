//! NPZ archives: arrays of NumPy by name, some of which are features and some labels.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::kind::Array;
use super::npy;
use super::split::Part;

/// First bytes of every archive.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// What an archive says.
#[derive(Debug)]
pub(super) struct Archive {
    pub array: Array,
    /// Labels, one a row.
    pub labels: Option<Vec<u32>>,
    /// Parts, one a row, where there are arrays for training and for testing.
    pub parts: Option<Vec<Part>>,
    pub note: String,
}

/// Names of labels beside an array of features.
const LABELS: [&str; 5] = ["y", "label", "labels", "target", "anomaly"];

/// A member and its array.
type Member = (String, Array);

fn place(path: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}:{name}", path.display()))
}

/// Reads all arrays of the archive; at most `most` bytes of each.
fn members(path: &Path, bytes: &[u8], most: u64) -> Result<Vec<Member>, DataError> {
    let damaged = |reason: String| DataError::Archive { path: path.to_owned(), reason };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| DataError::unknown(path, bytes))?;
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
    if !names.iter().any(|name| name.ends_with(".npy")) {
        return Err(DataError::unknown(path, bytes));
    }
    let mut found = Vec::new();
    for file in names.iter().filter(|name| name.ends_with(".npy")) {
        let name = file.trim_end_matches(".npy").to_owned();
        let mut content = Vec::new();
        let member = archive.by_name(file).map_err(|e| damaged(format!("`{file}`: {e}")))?;
        member.take(most).read_to_end(&mut content).map_err(|e| damaged(format!("`{file}`: {e}")))?;
        match npy::parse(&place(path, &name), &content) {
            Ok(array) => found.push((name, array)),
            // Names, settings and the like stand beside the numbers.
            Err(DataError::NpyDtype { .. } | DataError::Shape { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(found)
}

/// Whole numbers as labels.
fn labels(path: &Path, name: &str, array: &Array) -> Result<Vec<u32>, DataError> {
    let label = |(row, value): (usize, f64)| {
        let whole = value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
        whole.then_some(value as u32).ok_or_else(|| DataError::BadLabel {
            path: path.to_owned(),
            line: row as u64 + 1,
            column: name.to_owned(),
            found: value.to_string(),
        })
    };
    array.values.iter().enumerate().map(label).collect()
}

/// Whether an array can be the labels of `n` rows.
fn fits(array: &Array, n: usize) -> bool {
    array.dims[0] == n && array.values.len() == n
}

/// Reads an archive: its only array of two dimensions or more are the features, and a list as long as it has rows, named
/// `y`, `label` or alike, the labels; or `x_train` and `x_test` with `y_train` and `y_test`, as Keras saves data sets.
///
/// # Errors
/// `UnknownFormat`, `Archive`, `BadLabel`, `Shape`; those of [`npy::parse`].
pub(super) fn parse(path: &Path, bytes: &[u8], most: u64) -> Result<Archive, DataError> {
    let mut all = members(path, bytes, most)?;
    let take = |all: &mut Vec<Member>, name: &str| {
        let at = all.iter().position(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(all.swap_remove(at))
    };
    let has = |name: &str| all.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    if has("x_train")
        && has("x_test")
        && let (Some((_, train)), Some((name, test))) = (take(&mut all, "x_train"), take(&mut all, "x_test"))
    {
        if train.dims[1..] != test.dims[1..] {
            return Err(DataError::Shape {
                path: place(path, &name),
                expected: format!("rows of {:?} as in x_train", &train.dims[1..]),
                found: format!("{:?}", &test.dims[1..]),
            });
        }
        let [n, m] = [train.dims[0], test.dims[0]];
        let marks = [(take(&mut all, "y_train"), n), (take(&mut all, "y_test"), m)];
        let mut joined = Some(Vec::new());
        for (member, n) in marks {
            let of = member.filter(|(_, array)| fits(array, n)).map(|(name, array)| labels(path, &name, &array));
            joined = joined.zip(of.transpose()?).map(|(mut joined, more): (Vec<u32>, _)| {
                joined.extend(more);
                joined
            });
        }
        let dims = [&[n + m], &train.dims[1..]].concat();
        let element = train.element;
        let array = Array { dims, values: train.values.join(test.values), element };
        let parts = [vec![Part::Train; n], vec![Part::Test; m]].concat();
        let note = format!("{}: {n} rows of x_train and {m} of x_test", path.display());
        return Ok(Archive { array, labels: joined, parts: Some(parts), note });
    }
    let candidates: Vec<String> =
        all.iter().filter(|(_, array)| array.dims.len() > 1).map(|(name, _)| name.clone()).collect();
    let preferred = ["x", "data", "features", "images"];
    let named = |known: &&str| candidates.iter().find(|name| name.eq_ignore_ascii_case(known)).cloned();
    let chosen = match candidates.as_slice() {
        [one] => Some(one.clone()),
        _ => preferred.iter().find_map(named),
    };
    let Some((name, array)) = chosen.and_then(|name| take(&mut all, &name)) else {
        let list = all.iter().map(|(name, array)| format!("{name} {:?}", array.dims)).collect::<Vec<_>>().join(", ");
        let reason =
            format!("which of its arrays are the rows? It holds {list}; save one with numpy.save, or call it `x`");
        return Err(DataError::Archive { path: path.to_owned(), reason });
    };
    let beside = all.iter().find(|(name, other)| {
        fits(other, array.dims[0]) && LABELS.iter().any(|known| name.eq_ignore_ascii_case(known))
    });
    let of_labels = beside.map_or(String::new(), |(name, _)| format!(", labels `{name}`"));
    let note = format!("{}: rows of the array `{name}`{of_labels}", path.display());
    let labels = beside.map(|(name, array)| labels(path, name, array)).transpose()?;
    Ok(Archive { array, labels, parts: None, note })
}

/// An archive of these files, for tests.
#[cfg(test)]
pub(super) fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
