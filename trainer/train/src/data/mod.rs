//! Data sets: the embedded digits, half-moons, MNIST, and files: CSV and text like it, NPY, NPZ, IDX, Parquet and Arrow
//! IPC, each gzipped or not.
//!
//! The format is told by content, not by name. Whether rows are images or a table is decided by the model that will see
//! them, by an option, or by the type of the numbers, and never by their values. Every value that reaches a [`Dataset`] is
//! finite, images lie in \[0, 1\], and tables are standardised by their train split. What was guessed is in
//! [`Dataset::notes`], and what a model must keep to read other rows alike in [`Dataset::reading`].

mod advice;
mod columns;
mod dataset;
mod dialect;
mod digits;
mod error;
mod front;
mod header;
mod idx;
mod kind;
mod labels;
mod moons;
mod npy;
mod npz;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
pub mod recordings;
mod scaling;
mod split;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use columns::Columns;
pub use dataset::Dataset;
use dataset::Source;
pub use error::DataError;
pub use front::{BandScale, Cut, Features, FrontRecipe, StatisticName, TaperName};
use kind::{Array, Element};
pub use kind::{Colour, Kind};
use labels::Labels;
pub use options::{CalibrationRows, DataOptions, Reading};
pub use scaling::{Scaling, Standardise};
pub use split::{Part, Split};

/// Values of a row with which every program of every family can be proved; wider rows may be refused by the compiler.
pub const WIDEST: usize = 1 << 14;

/// Largest file, packed or unpacked, that is read.
const MAX_BYTES: u64 = 8 << 30;

/// Loads `spec`: `digits` (embedded), `moons` (computed), `mnist` (from `data_dir/mnist` or `data_dir`), a folder of the
/// four MNIST-like files, or the path of a file.
///
/// `data_dir` falls back to the environment variable `ELBO_DATA`; a path that does not exist is also
/// looked for there. A source without its own split is shuffled by the seed into 10 % test,
/// `validation_fraction` validation and the rest train.
///
/// # Errors
/// Every variant of [`DataError`].
pub fn load(spec: &str, data_dir: Option<&Path>, options: &DataOptions) -> Result<Dataset, DataError> {
    if options.front.is_some() || options.reading.as_ref().is_some_and(|reading| reading.cut.is_some()) {
        return front::load(spec, data_dir, options);
    }
    let data_dir = data_dir.map(Path::to_owned).or_else(|| std::env::var_os("ELBO_DATA").map(PathBuf::from));
    match spec {
        "digits" => return digits::load(options),
        "moons" => return moons::load(options),
        "mnist" => {
            let dir = data_dir.ok_or_else(|| DataError::NotFound {
                path: PathBuf::from("mnist"),
                hint: "name the folder of the MNIST files as data directory or in ELBO_DATA".to_owned(),
            })?;
            let inner = dir.join("mnist");
            let dir = if inner.is_dir() { inner } else { dir };
            return load_folder(&dir, "mnist", options);
        }
        _ => {}
    }
    let path = located(spec, data_dir);
    if path.is_dir() {
        return load_folder(&path, &name_of(&path), options);
    }
    if !path.exists() {
        let bare = path.components().count() == 1 && path.extension().is_none();
        return Err(if bare {
            DataError::UnknownName { name: spec.to_owned() }
        } else {
            DataError::NotFound {
                path,
                hint:
                    "give the path of a file of data, or one of `digits`, `moons` and `mnist`; if the data have moved, \
                       name them again with --data"
                        .to_owned(),
            }
        });
    }
    load_file(&path, options)
}

/// The path of a file or folder, looked for in the folder of data, too.
fn located(spec: &str, data_dir: Option<PathBuf>) -> PathBuf {
    let path = PathBuf::from(spec);
    match data_dir.map(|d| d.join(spec)) {
        Some(other) if !path.exists() && other.exists() => other,
        _ => path,
    }
}

/// The file name without `.gz` and without its extension.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// Unpacks gzip content, found by its magic bytes; other content is returned as it is.
fn gunzip(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, DataError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let fail = |source| DataError::Gzip { path: path.to_owned(), source };
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(MAX_BYTES).read_to_end(&mut out).map_err(fail)?;
    if out.len() as u64 == MAX_BYTES {
        return Err(fail(io::Error::other("more than 8 GiB unpacked")));
    }
    Ok(out)
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let fail = |source| DataError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(fail)?.len() > MAX_BYTES {
        return Err(fail(io::Error::other("the file is larger than 8 GiB")));
    }
    gunzip(path, fs::read(path).map_err(fail)?)
}

/// Reads `dir/stem` or `dir/stem.gz`, also with the last `-idx` of the name written `.idx`.
fn read_member(dir: &Path, stem: &str) -> Result<(PathBuf, Vec<u8>), DataError> {
    let dotted = stem.replace("-idx", ".idx");
    let names = [stem.to_owned(), format!("{stem}.gz"), dotted.clone(), format!("{dotted}.gz")];
    let Some(path) = names.iter().map(|n| dir.join(n)).find(|p| p.is_file()) else {
        return Err(DataError::NotFound {
            path: dir.join(stem),
            hint: "this folder needs the four IDX files of MNIST (train-images-idx3-ubyte, \
                   train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte), \
                   each with or without .gz"
                .to_owned(),
        });
    };
    let bytes = read(&path)?;
    Ok((path, bytes))
}

/// Checks that there are as many labels as images.
fn match_labels(path: &Path, labels: Vec<u32>, n: usize) -> Result<Vec<u32>, DataError> {
    if labels.len() == n {
        return Ok(labels);
    }
    Err(DataError::Shape {
        path: path.to_owned(),
        expected: format!("{n} labels, one for each image"),
        found: format!("{} labels", labels.len()),
    })
}

/// Loads the four files of MNIST or of a set distributed like it.
fn load_folder(dir: &Path, name: &str, options: &DataOptions) -> Result<Dataset, DataError> {
    let mut crc = crc32fast::Hasher::new();
    let mut joined: Option<Array> = None;
    let mut labels = Vec::new();
    let mut parts = Vec::new();
    for (prefix, part) in [("train", Part::Train), ("t10k", Part::Test)] {
        let (path, bytes) = read_member(dir, &format!("{prefix}-images-idx3-ubyte"))?;
        crc.update(&bytes);
        let images = idx::parse(&path, &bytes)?;
        if images.element != Element::Byte {
            let found = idx::dtype(&bytes);
            return Err(DataError::IdxDtype { path, expected: "0x08 (u8) for images", found });
        }
        let n = images.dims[0];
        joined = Some(match joined {
            None if images.dims.len() == 3 => images,
            Some(train) if train.dims[1..] == images.dims[1..] => {
                let dims = [&[train.dims[0] + n], &train.dims[1..]].concat();
                Array { dims, values: train.values.join(images.values), element: Element::Byte }
            }
            train => {
                return Err(DataError::Shape {
                    path,
                    expected: match train {
                        None => "[images, rows, columns]".to_owned(),
                        Some(train) => format!("[images, {}, {}] as in the train images", train.dims[1], train.dims[2]),
                    },
                    found: format!("{:?}", images.dims),
                });
            }
        });
        let (path, bytes) = read_member(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
        crc.update(&bytes);
        labels.extend(match_labels(&path, idx::parse_labels(&path, &bytes)?, n)?);
        parts.resize(parts.len() + n, part);
    }
    let array = joined.unwrap_or(Array {
        dims: vec![0, 0],
        values: values::Values::Single(Vec::new()),
        element: Element::Byte,
    });
    let options = DataOptions { kind: options.kind.or(Some(Kind::Image)), ..options.clone() };
    Source {
        labels: Some(Labels { values: labels, ..Labels::default() }),
        parts: Some(parts),
        ..Source::new(dir, name, array, crc.finalize())
    }
    .finish(&options)
}

/// The labels beside IDX images: the same name with `images` and `idx3` or `idx4` replaced.
fn labels_beside(path: &Path, n: usize) -> Result<Option<Vec<u32>>, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.contains("images") {
        return Ok(None);
    }
    let stem = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    let stem = stem.strip_suffix(".gz").unwrap_or(&stem);
    match read_member(path.parent().unwrap_or(Path::new("")), stem) {
        Ok((path, bytes)) => match_labels(&path, idx::parse_labels(&path, &bytes)?, n).map(Some),
        Err(DataError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A table's columns as a source.
fn of_columns<'a>(
    path: &'a Path,
    columns: Columns,
    crc32: u32,
    options: &DataOptions,
) -> Result<Source<'a>, DataError> {
    let table = columns.settle(path, options)?;
    let dims = vec![table.values.len() / table.dim, table.dim];
    let array = Array { dims, values: table.values, element: Element::Number };
    Ok(Source {
        labels: table.labels,
        marks: true,
        parts: table.parts,
        ids: table.ids,
        groups: table.groups,
        record: table.record,
        notes: table.notes,
        ..Source::new(path, &name_of(path), array, crc32)
    })
}

fn load_file(path: &Path, options: &DataOptions) -> Result<Dataset, DataError> {
    let bytes = read(path)?;
    let lower = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let lower = lower.strip_suffix(".gz").unwrap_or(&lower);
    let crc32 = crc32fast::hash(&bytes);
    let name = name_of(path);
    let as_text = |name: &str| columns::is_text(name, options);
    if bytes.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
            what: "bytes",
            hint: "the file is empty; fetch or write it again",
        });
    }
    #[cfg(feature = "parquet")]
    if bytes.starts_with(parquet::PARQUET) || bytes.starts_with(parquet::ARROW) {
        let columns = parquet::parse(path, bytes, &as_text)?;
        return of_columns(path, columns, crc32, options)?.finish(options);
    }
    if bytes.starts_with(npy::MAGIC) || lower.ends_with(".npy") {
        let array = npy::parse(path, &bytes)?;
        return Source::new(path, &name, array, crc32).finish(options);
    }
    if bytes.starts_with(npz::MAGIC) {
        let archive = npz::parse(path, &bytes, MAX_BYTES)?;
        return Source {
            labels: archive.labels.map(|values| Labels { values, ..Labels::default() }),
            marks: true,
            parts: archive.parts,
            notes: vec![archive.note],
            ..Source::new(path, &name, archive.array, crc32)
        }
        .finish(options);
    }
    let idx = bytes.starts_with(&[0, 0]) || lower.ends_with("ubyte") || lower.ends_with(".idx");
    if idx {
        let array = idx::parse(path, &bytes)?;
        if array.dims.len() < 2 {
            return Err(DataError::Shape {
                path: path.to_owned(),
                expected: "[images, rows, columns] or [rows, features]".to_owned(),
                found: format!("{:?}", array.dims),
            });
        }
        let labels = labels_beside(path, array.dims[0])?;
        return Source {
            labels: labels.map(|values| Labels { values, ..Labels::default() }),
            ..Source::new(path, &name, array, crc32)
        }
        .finish(options);
    }
    let columns = text::parse(path, &bytes, options, &as_text)?;
    of_columns(path, columns, crc32, options)?.finish(options)
}
