//! What can go wrong while loading data, with the place and the remedy.

use std::io;
use std::path::PathBuf;

use super::advice::{found_text, one_line, shell, shell_list};

/// An error of [`load`](super::load). Each message names the file, the place in it, what was
/// expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to read a file.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A gzip file is damaged, cut short or too large once unpacked.
    #[error("{}: the gzip stream is damaged or cut short ({source}); fetch the file again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        source: io::Error,
    },
    /// A file that should exist does not.
    #[error("{}: not found; {hint}", path.display())]
    NotFound {
        /// The file that was looked for.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// The data set's name is neither built in nor an existing file.
    #[error(
        "unknown data set `{name}`: expected `digits`, `moons`, `mnist` or the path of a file (CSV and \
         text like it, NPY, NPZ, IDX, Parquet or Arrow), and no file of this name exists"
    )]
    UnknownName {
        /// The name as given.
        name: String,
    },
    /// The file's content is none of the known formats.
    #[error(
        "{}: expected CSV or text like it, NPY, NPZ, IDX, Parquet or Arrow (each may be gzipped), found {found}; \
         save it as one of them",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the first bytes look like.
        found: String,
    },
    /// An option lies outside its range.
    #[error("option `{option}`: expected {expected}, found {found}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// There are no rows, no feature columns, or nothing is left for the train split.
    #[error("{}: no {what}; {hint}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A CSV field that should be a number is not one.
    #[error(
        "{}: line {line}, column `{}`: expected a number, found {}; \
         leave out {} with --drop-columns {}, or encode it, or fill the gap",
        path.display(), one_line(column), found_text(found),
        if drop.len() > 1 { "the columns of text" } else { "the column" }, shell_list(drop)
    )]
    NotNumeric {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column name (`c0`, `c1`, ... without a header).
        column: String,
        /// The field's text.
        found: String,
        /// This and all other columns of text.
        drop: Vec<String>,
    },
    /// A value is NaN, infinite, or too large for `f32`.
    #[error(
        "{}: row {row}, column `{column}`: expected a finite 32-bit number, found {found}; \
         drop the row or fill the gap",
        path.display()
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// Line in the file for CSV, row for arrays; from 1.
        row: u64,
        /// Column name, or index for arrays.
        column: String,
        /// The value.
        found: String,
    },
    /// A CSV row has more or fewer fields than the first.
    #[error(
        "{}: line {line}: expected {expected} fields as in the first row, found {found}; \
         check for a stray or missing delimiter, or say what separates the columns with --delimiter",
        path.display()
    )]
    Ragged {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Fields in the first row.
        expected: usize,
        /// Fields in this row.
        found: usize,
    },
    /// A column named in the options is not in the file.
    #[error("{}: no column `{column}`; the columns are {available}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column that was asked for.
        column: String,
        /// The first columns of the file.
        available: String,
    },
    /// A label is neither a text nor a non-negative integer.
    #[error(
        "{}: line {line}, label column `{column}`: expected a text or a whole number from 0 to 4294967295, found `{found}`; \
         fill the gap, or name another column with --label-column, or leave it out with --drop-columns {}",
        path.display(), shell(column)
    )]
    BadLabel {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column name.
        column: String,
        /// The field's text.
        found: String,
    },
    /// A split field names no split.
    #[error(
        "{}: line {line}, split column `{column}`: expected train, val, calibration, test or unused, found `{found}`",
        path.display()
    )]
    BadSplit {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column name.
        column: String,
        /// The field's text.
        found: String,
    },
    /// An IDX file does not begin with two zero bytes.
    #[error(
        "{}: IDX magic: expected 00 00 <type> <rank>, found {found}; this is not an IDX file",
        path.display()
    )]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// The first bytes in hexadecimal.
        found: String,
    },
    /// An IDX file declares an element type that is unknown or does not fit its role.
    #[error("{}: IDX element type: expected {expected}, found {found:#04x}", path.display())]
    IdxDtype {
        /// The file.
        path: PathBuf,
        /// The types that would do.
        expected: &'static str,
        /// The type byte.
        found: u8,
    },
    /// An IDX file ends inside its header.
    #[error(
        "{}: IDX header cut short: expected {expected} bytes, found {found}; fetch the file again",
        path.display()
    )]
    IdxTruncated {
        /// The file.
        path: PathBuf,
        /// Bytes the header needs.
        expected: usize,
        /// Bytes in the file.
        found: usize,
    },
    /// An IDX header declares more or fewer bytes than the file holds.
    #[error(
        "{}: the IDX header declares {dims:?}, that is {declared} bytes of data, but {actual} follow; \
         the header is wrong or the file is cut short: fetch it again",
        path.display()
    )]
    IdxLength {
        /// The file.
        path: PathBuf,
        /// The declared dimensions.
        dims: Vec<usize>,
        /// Bytes of data by the header (a `u128`, so that a false header cannot overflow it).
        declared: u128,
        /// Bytes of data in the file.
        actual: usize,
    },
    /// An array has the wrong dimensions for its role, or two files disagree.
    #[error("{}: dimensions: expected {expected}, found {found}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What would do.
        expected: String,
        /// The dimensions.
        found: String,
    },
    /// An NPY header cannot be read.
    #[error("{}: NPY header: {reason}; save the array again with numpy.save", path.display())]
    NpyHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An NPY element type is not a plain number.
    #[error(
        "{}: NPY dtype: expected a real number of at most 64 bits (f2, f4, f8, i1..i8, u1..u8), found {found}; \
         convert with .astype('float32')",
        path.display()
    )]
    NpyDtype {
        /// The file.
        path: PathBuf,
        /// The dtype.
        found: String,
    },
    /// An NPY header declares more or fewer bytes than the file holds.
    #[error(
        "{}: the NPY header declares shape {shape}, that is {declared} bytes of data, but {actual} follow; \
         the header is wrong or the file is cut short: save it again",
        path.display()
    )]
    NpyLength {
        /// The file.
        path: PathBuf,
        /// The declared shape.
        shape: String,
        /// Bytes of data by the header, saturating.
        declared: u128,
        /// Bytes of data in the file.
        actual: usize,
    },
    /// A line of a text table may be a header or a row.
    #[error(
        "{}: line {line} (`{found}`) may be a header or a row; say --header or --no-header",
        path.display()
    )]
    HeaderUnclear {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Its fields.
        found: String,
    },
    /// Two columns have the name that an option gives.
    #[error("{}: more than one column is named `{column}`; rename them in the file", path.display())]
    NamedTwice {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// A label is not among the classes of the model.
    #[error(
        "{}: line {line}, label column `{column}`: `{found}` is none of the model's classes {known}; \
         --label-column - reads the rows without labels",
        path.display()
    )]
    UnknownClass {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Column name.
        column: String,
        /// The label's text.
        found: String,
        /// The classes.
        known: String,
    },
    /// A column of labels has so many different texts that they are no classes.
    #[error(
        "{}: label column `{column}` holds {found} different texts, too many for classes; \
         leave it out with --drop-columns {}, or name another with --label-column",
        path.display(), shell(column)
    )]
    TooManyTexts {
        /// The file.
        path: PathBuf,
        /// Column name.
        column: String,
        /// Different texts.
        found: usize,
    },
    /// A file lacks a column that the model reads.
    #[error(
        "{}: no column `{}`, which the model reads; it reads {reads}, and the file has {available}",
        path.display(), one_line(column)
    )]
    ColumnOfModel {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The model's columns.
        reads: String,
        /// The file's columns.
        available: String,
    },
    /// A file has a column that the model does not know.
    #[error(
        "{}: column `{}` is none that the model reads ({reads}); leave it out with --drop-columns {}",
        path.display(), one_line(column), shell(column)
    )]
    UnknownColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The model's columns.
        reads: String,
    },
    /// A column is in another unit than the one that the model reads.
    #[error(
        "{}: column `{column}` is in `{found}`, and the model reads it in `{expected}`; convert it",
        path.display()
    )]
    UnitDiffers {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The unit of the model.
        expected: String,
        /// The unit of the file.
        found: String,
    },
    /// A file without names has more or fewer columns than the model reads.
    #[error(
        "{}: rows of {found} values, but the model takes {expected}{}; --drop-columns leaves columns out, \
         --label-column names the labels",
        path.display(), if reads.is_empty() { String::new() } else { format!(" ({reads})") }
    )]
    ColumnCount {
        /// The file.
        path: PathBuf,
        /// Columns of the model.
        expected: usize,
        /// Their names, if it knows them.
        reads: String,
        /// Columns of the file.
        found: usize,
    },
    /// The values of images do not say which of them is white.
    #[error(
        "{}: which value is white? {reason}; say it with --white, 255 or 1 for example",
        path.display()
    )]
    WhiteUnknown {
        /// The file.
        path: PathBuf,
        /// Why it is not known.
        reason: String,
    },
    /// A value lies outside black and white.
    #[error(
        "{}: row {row}, value {column}: expected 0 (black) to {white} (white) in an image, found {}; \
         --clamp takes what lies outside for black or white, --white says which value is white",
        path.display(), *found as f32
    )]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// Row, from 1.
        row: u64,
        /// Place in the row, from 0.
        column: usize,
        /// The value of white.
        white: f64,
        /// The value.
        found: f64,
    },
    /// The deviation of a column is too small or too large for 32 bits.
    #[error(
        "{}: column `{column}` has a deviation of {deviation:e}, beyond 32-bit numbers; change its unit",
        path.display()
    )]
    Unscalable {
        /// The file.
        path: PathBuf,
        /// Column name, or index where there is none.
        column: String,
        /// The deviation.
        deviation: f64,
    },
    /// An archive cannot be read, or does not say which of its arrays are meant.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The features of windows cannot be computed.
    #[error("the features of the windows cannot be computed: {0}")]
    Front(#[from] elbo_compiler::front::FrontError),
    /// Recordings cannot be read, or cut into windows.
    #[error(transparent)]
    Recording(#[from] super::recordings::RecordingError),
    /// A file of columns, Parquet or Arrow, cannot be read.
    #[error("{}: {format}: {reason}", path.display())]
    Columnar {
        /// The file.
        path: PathBuf,
        /// `Parquet` or `Arrow`.
        format: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
}
