//! Data sets: the embedded digits, half-moons, MNIST, and IDX, CSV or NPY files, each gzipped or not.
//!
//! The format is told by content, not by name. Every value that reaches a [`Dataset`] is finite,
//! images lie in \[0, 1\], and tables are standardised by their train split.

mod digits;
mod error;
mod idx;
mod moons;
mod npy;
mod split;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use error::DataError;
use split::Part;
pub use split::{Split, Standardise};

/// Largest file, packed or unpacked, that is read.
const MAX_BYTES: u64 = 8 << 30;

/// What the values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Values in \[0, 1\], drawn Bernoulli(p) when binarised.
    Image,
    /// Real features, standardised.
    Table,
}

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
    /// Rows to fit on; at least one, but for [`Dataset::without_rows`].
    pub train: Split,
    /// Rows to choose by; may be empty.
    pub validation: Split,
    /// Rows to report on; may be empty.
    pub test: Split,
    /// What was applied to a table; `None` for images.
    pub standardise: Option<Standardise>,
    /// CRC-32 of the source's unpacked bytes (the same for `x.csv` and `x.csv.gz`); of several
    /// files, one after the other: train images, train labels, test images, test labels.
    pub crc32: u32,
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
            test: Split::default(),
            standardise: None,
            crc32: 0,
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
        let (kind, crc32) = (Kind::Table, crc32fast::hash(&bytes));
        Source { path, name: name.to_owned(), kind, shape: [1, dim], x, labels: None, parts: None, crc32 }
            .finish(options)
    }

    /// Number of classes: one more than the largest label; 0 without labels.
    #[must_use]
    pub fn classes(&self) -> usize {
        let splits = [&self.train, &self.validation, &self.test];
        let labels = splits.into_iter().filter_map(|split| split.labels.as_ref()).flatten();
        labels.max().map_or(0, |largest| *largest as usize + 1)
    }
}

/// How to read and split a source.
#[derive(Debug, Clone, PartialEq)]
pub struct DataOptions {
    /// CSV column of labels; by default `label`, else `anomaly`, where there is one. Columns named
    /// `label`, `anomaly` and `split` are never features. Without a header, columns are `c0`, `c1`...
    pub label_column: Option<String>,
    /// CSV column of `train`, `val`, `test` and `unused`; by default `split`, where there is one.
    pub split_column: Option<String>,
    /// CSV columns that are neither features nor labels: names, times, text.
    pub drop_columns: Vec<String>,
    /// Share of the train rows that is taken for validation, from their end after a seeded shuffle,
    /// where the source marks no validation rows; in \[0, 1).
    pub validation_fraction: f32,
    /// Seed of the shuffle.
    pub seed: u64,
    /// What is applied to a table instead of what its own train rows say: that of the model which will see the rows.
    pub standardise: Option<Standardise>,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            label_column: None,
            split_column: None,
            drop_columns: Vec::new(),
            validation_fraction: 0.1,
            seed: 0,
            standardise: None,
        }
    }
}

/// Values before splitting.
struct Source<'a> {
    path: &'a Path,
    name: String,
    kind: Kind,
    shape: [usize; 2],
    /// `[n, shape[0] * shape[1]]`.
    x: Vec<f32>,
    labels: Option<Vec<u32>>,
    parts: Option<Vec<Part>>,
    crc32: u32,
}

impl Source<'_> {
    /// Splits the rows and standardises tables.
    fn finish(self, options: &DataOptions) -> Result<Dataset, DataError> {
        let dim = self.shape[0] * self.shape[1];
        if dim == 0 || self.x.is_empty() {
            return Err(DataError::Empty {
                path: self.path.to_owned(),
                what: "values",
                hint: "the array has a dimension of 0; supply at least one row and one column",
            });
        }
        let n = self.x.len() / dim;
        let indices = split::assign(self.path, n, self.parts.as_deref(), options)?;
        let gather = |rows: &[usize]| Split::gather(&self.x, dim, self.labels.as_deref(), rows);
        let mut train = gather(&indices.train);
        let mut validation = gather(&indices.validation);
        let mut test = gather(&indices.test);
        let standardise = (self.kind == Kind::Table)
            .then(|| options.standardise.clone().unwrap_or_else(|| Standardise::fit(&train, dim)));
        if let Some(s) = standardise.as_ref().filter(|s| s.mean.len() != dim) {
            return Err(DataError::Shape {
                path: self.path.to_owned(),
                expected: format!("{} features, as the model takes", s.mean.len()),
                found: format!("{dim}; --drop-columns leaves columns out, --label-column names the labels"),
            });
        }
        if let Some(s) = &standardise {
            for split in [&mut train, &mut validation, &mut test] {
                s.apply(&mut split.x);
            }
        }
        Ok(Dataset {
            name: self.name,
            kind: self.kind,
            shape: self.shape,
            dim,
            train,
            validation,
            test,
            standardise,
            crc32: self.crc32,
        })
    }
}

/// Loads `spec`: `digits` (embedded), `moons` (computed), `mnist` (from `data_dir/mnist` or `data_dir`), a folder of the
/// four MNIST-like files, or the path of an IDX, CSV or NPY file.
///
/// `data_dir` falls back to the environment variable `ELBO_DATA`; a path that does not exist is also
/// looked for there. A source without its own split is shuffled by the seed into 10 % test,
/// `validation_fraction` validation and the rest train.
///
/// # Errors
/// Every variant of [`DataError`].
pub fn load(spec: &str, data_dir: Option<&Path>, options: &DataOptions) -> Result<Dataset, DataError> {
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
    let path = PathBuf::from(spec);
    let path = match data_dir.map(|d| d.join(spec)) {
        Some(other) if !path.exists() && other.exists() => other,
        _ => path,
    };
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
                hint: "give the path of an IDX, CSV or NPY file, or one of `digits`, `moons` and `mnist`".to_owned(),
            }
        });
    }
    load_file(&path, options)
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
    let mut x = Vec::new();
    let mut labels = Vec::new();
    let mut parts = Vec::new();
    let mut shape: Option<[usize; 2]> = None;
    for (prefix, part) in [("train", Part::Train), ("t10k", Part::Test)] {
        let (path, bytes) = read_member(dir, &format!("{prefix}-images-idx3-ubyte"))?;
        crc.update(&bytes);
        let images = idx::parse(&path, &bytes)?;
        if images.dtype != idx::U8 {
            return Err(DataError::IdxDtype { path, expected: "0x08 (u8) for images", found: images.dtype });
        }
        let (n, found) = match *images.dims {
            [n, rows, cols] if shape.is_none_or(|s| s == [rows, cols]) => (n, [rows, cols]),
            _ => {
                return Err(DataError::Shape {
                    path,
                    expected: match shape {
                        None => "[images, rows, columns]".to_owned(),
                        Some([r, c]) => format!("[images, {r}, {c}] as in the train images"),
                    },
                    found: format!("{:?}", images.dims),
                });
            }
        };
        shape = Some(found);
        x.extend(images.data.iter().map(|v| v / 255.0));
        let (path, bytes) = read_member(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
        crc.update(&bytes);
        labels.extend(match_labels(&path, idx::parse_labels(&path, &bytes)?, n)?);
        parts.resize(parts.len() + n, part);
    }
    Source {
        path: dir,
        name: name.to_owned(),
        kind: Kind::Image,
        shape: shape.unwrap_or_default(),
        x,
        labels: Some(labels),
        parts: Some(parts),
        crc32: crc.finalize(),
    }
    .finish(options)
}

/// The labels beside IDX images: the same name with `images` and `idx3` replaced.
fn labels_beside(path: &Path, n: usize) -> Result<Option<Vec<u32>>, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.contains("images") {
        return Ok(None);
    }
    let stem = name.replace("images", "labels").replace("idx3", "idx1");
    let stem = stem.strip_suffix(".gz").unwrap_or(&stem);
    match read_member(path.parent().unwrap_or(Path::new("")), stem) {
        Ok((path, bytes)) => match_labels(&path, idx::parse_labels(&path, &bytes)?, n).map(Some),
        Err(DataError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

fn load_file(path: &Path, options: &DataOptions) -> Result<Dataset, DataError> {
    let bytes = read(path)?;
    let lower = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let lower = lower.strip_suffix(".gz").unwrap_or(&lower);
    let mut source = Source {
        path,
        name: name_of(path),
        kind: Kind::Table,
        shape: [1, 0],
        x: Vec::new(),
        labels: None,
        parts: None,
        crc32: crc32fast::hash(&bytes),
    };
    if bytes.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
            what: "bytes",
            hint: "the file is empty; fetch or write it again",
        });
    }
    if bytes.starts_with(npy::MAGIC) || lower.ends_with(".npy") {
        let array = npy::parse(path, &bytes)?;
        let scale = if array.bytes { 255.0 } else { 1.0 };
        source.array(&array.dims, array.data, scale);
    } else if bytes.starts_with(&[0, 0]) || lower.ends_with("ubyte") || lower.ends_with(".idx") {
        let array = idx::parse(path, &bytes)?;
        if array.dims.len() < 2 {
            return Err(DataError::Shape {
                path: path.to_owned(),
                expected: "[images, rows, columns] or [rows, features]".to_owned(),
                found: format!("{:?}", array.dims),
            });
        }
        if let Some(at) = array.data.iter().position(|v| !v.is_finite()) {
            let dim: usize = array.dims[1..].iter().product();
            return Err(DataError::NonFinite {
                path: path.to_owned(),
                row: (at / dim) as u64 + 1,
                column: (at % dim).to_string(),
                found: array.data[at].to_string(),
            });
        }
        let scale = if array.dtype == idx::U8 { 255.0 } else { 1.0 };
        source.array(&array.dims, array.data, scale);
        source.labels = labels_beside(path, array.dims[0])?;
    } else {
        let head = &bytes[..bytes.len().min(4096)];
        if head.contains(&0) || head.starts_with(b"PK\x03\x04") {
            return Err(DataError::UnknownFormat {
                path: path.to_owned(),
                found: format!("binary data ({})", idx::hex(&head[..head.len().min(8)])),
            });
        }
        let table = table::parse(path, &bytes, options)?;
        source.shape = [1, table.dim];
        source.x = table.x;
        source.labels = table.labels;
        source.parts = table.parts;
    }
    source.finish(options)
}

impl Source<'_> {
    /// Takes an array: images if it has rank 3 and `data / scale` lies in \[0, 1\], else a table.
    fn array(&mut self, dims: &[usize], mut data: Vec<f32>, scale: f32) {
        if data.is_empty() {
            // The other dimensions may have a product beyond `usize`; `finish` refuses the array.
            self.shape = [1, 0];
        } else if dims.len() == 3 && data.iter().all(|v| (0.0..=scale).contains(v)) {
            for v in &mut data {
                *v /= scale;
            }
            self.kind = Kind::Image;
            self.shape = [dims[1], dims[2]];
        } else {
            self.shape = [1, dims[1..].iter().product()];
        }
        self.x = data;
    }
}
