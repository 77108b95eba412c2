//! What can go wrong while loading data, with the place and the remedy.

use std::io;
use std::path::PathBuf;

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
        "unknown data set `{name}`: expected `digits`, `moons`, `mnist` or the path of an IDX, CSV or NPY file, \
         and no file of this name exists"
    )]
    UnknownName {
        /// The name as given.
        name: String,
    },
    /// The file's content is none of the known formats.
    #[error(
        "{}: expected IDX, CSV or NPY (each may be gzipped), found {found}; convert it to one of them",
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
        "{}: line {line}, column `{column}`: expected a number, found `{found}`; \
         leave the column out with --drop-columns {column}, or encode it, or fill the gap",
        path.display()
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
         check for a stray or missing delimiter",
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
    /// A label is not a non-negative integer.
    #[error(
        "{}: line {line}, label column `{column}`: expected an integer from 0 to 4294967295, found `{found}`; \
         number the classes, or name another column with --label-column, or leave it out with --drop-columns {column}",
        path.display()
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
        "{}: line {line}, split column `{column}`: expected train, val, test or unused, found `{found}`",
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
        "{}: NPY dtype: expected a real number of at most 64 bits (f4, f8, i1..i8, u1..u8), found {found}; \
         convert with .astype('float32')",
        path.display()
    )]
    NpyDtype {
        /// The file.
        path: PathBuf,
        /// The dtype.
        found: String,
    },
    /// An NPY array is stored in Fortran order.
    #[error(
        "{}: NPY order: expected C order, found Fortran order; convert with numpy.ascontiguousarray",
        path.display()
    )]
    NpyOrder {
        /// The file.
        path: PathBuf,
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
}
