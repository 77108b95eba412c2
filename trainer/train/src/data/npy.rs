//! NPY arrays: versions 1 to 3, C or Fortran order, plain numbers of either byte order.

use std::path::Path;

use half::f16;

use super::error::DataError;
use super::kind::{Array, Element};
use super::values::Values;

/// First bytes of every NPY file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The text after `'key':` in a header.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'")).or_else(|| header.find(&format!("\"{key}\"")))?;
    header[at + key.len() + 2..].trim_start().strip_prefix(':').map(str::trim_start)
}

/// The text between `open` at the start of `text` and the next `close`.
fn between(text: &str, open: char, close: char) -> Option<&str> {
    let rest = text.strip_prefix(open)?;
    rest.find(close).map(|end| &rest[..end])
}

/// Splits the file into header text and data.
fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("the magic bytes 93 4e 55 4d 50 59 are missing")?;
    let short = "the file ends inside the header";
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
    let (length, rest) = match version[0] {
        1 => {
            let (l, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
            (usize::from(u16::from_le_bytes(*l)), rest)
        }
        2 | 3 => {
            let (l, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
            (u32::from_le_bytes(*l) as usize, rest)
        }
        _ => return Err("expected format version 1, 2 or 3"),
    };
    let (text, data) = rest.split_at_checked(length).ok_or(short)?;
    let text = std::str::from_utf8(text).map_err(|_| "expected UTF-8 text")?;
    Ok((text, data))
}

fn each<const W: usize, T>(data: &[u8], swap: bool, element: impl Fn([u8; W]) -> T) -> Vec<T> {
    let read = |c: &[u8; W]| {
        let mut c = *c;
        if swap {
            c.reverse();
        }
        element(c)
    };
    data.as_chunks::<W>().0.iter().map(read).collect()
}

/// Decodes `data` of element type `code` (`f4`, `u1`, ...); `swap` for big-endian.
fn decode(code: &str, swap: bool, d: &[u8]) -> Values {
    match code {
        "f2" => Values::Single(each(d, swap, |c| f16::from_le_bytes(c).to_f32())),
        "f4" => Values::Single(each(d, swap, f32::from_le_bytes)),
        "f8" => Values::Double(each(d, swap, f64::from_le_bytes)),
        "i1" => Values::Single(d.iter().map(|&b| f32::from(b.cast_signed())).collect()),
        "i2" => Values::Single(each(d, swap, |c| f32::from(i16::from_le_bytes(c)))),
        "i4" => Values::Double(each(d, swap, |c| f64::from(i32::from_le_bytes(c)))),
        "i8" => Values::Double(each(d, swap, |c| i64::from_le_bytes(c) as f64)),
        "u2" => Values::Single(each(d, swap, |c| f32::from(u16::from_le_bytes(c)))),
        "u4" => Values::Double(each(d, swap, |c| f64::from(u32::from_le_bytes(c)))),
        "u8" => Values::Double(each(d, swap, |c| u64::from_le_bytes(c) as f64)),
        _ => Values::Single(d.iter().map(|&b| f32::from(b)).collect()),
    }
}

/// The places, row-major, of the elements of an array stored column-major.
fn row_major(dims: &[usize]) -> impl Iterator<Item = usize> + '_ {
    (0..dims.iter().product()).map(|at: usize| {
        // The last index runs fastest here and slowest in the file.
        let mut rest = at;
        let indices = dims.iter().rev().map(move |d| {
            let index = rest % d;
            rest /= d;
            index
        });
        let indices: Vec<usize> = indices.collect();
        indices.iter().zip(dims.iter().rev()).fold(0, |place, (index, d)| place * d + index)
    })
}

/// Parses one NPY file.
///
/// # Errors
/// `NpyHeader`, `NpyDtype`, `Shape` for rank 0, `NpyLength` and `NonFinite`;
/// nothing is allocated from the header before it is held against the file's length.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let array = parse_any(path, bytes)?;
    array.values.check(path, array.dims[1..].iter().product())?;
    Ok(array)
}

/// Parses one NPY file whose values may be NaN or infinite.
///
/// # Errors
/// Those of [`parse`] but `NonFinite`.
pub(super) fn parse_any(path: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let bad = |reason: &str| DataError::NpyHeader { path: path.to_owned(), reason: reason.to_owned() };
    let (header, body) = split_header(bytes).map_err(bad)?;

    let descr = value(header, "descr").ok_or_else(|| bad("expected a field `descr`, found none"))?;
    let dtype = between(descr, '\'', '\'').or_else(|| between(descr, '"', '"'));
    let wrong_dtype = || DataError::NpyDtype {
        path: path.to_owned(),
        found: dtype.map_or_else(|| "a structured type".to_owned(), |d| format!("`{d}`")),
    };
    let (order, code) = dtype.and_then(|d| d.split_at_checked(1)).ok_or_else(wrong_dtype)?;
    let width: usize = match (order, code) {
        ("<" | ">" | "|" | "=", "i1" | "u1" | "b1") => 1,
        ("<" | ">", "f2" | "i2" | "u2") => 2,
        ("<" | ">", "f4" | "i4" | "u4") => 4,
        ("<" | ">", "f8" | "i8" | "u8") => 8,
        _ => return Err(wrong_dtype()),
    };
    let fortran = match value(header, "fortran_order") {
        Some(v) if v.starts_with("False") => false,
        Some(v) if v.starts_with("True") => true,
        _ => return Err(bad("expected `fortran_order` True or False")),
    };
    let shape =
        value(header, "shape").and_then(|v| between(v, '(', ')')).ok_or_else(|| bad("expected a tuple `shape`"))?;
    let dims: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.trim_end_matches('L').parse())
        .collect::<Result<_, _>>()
        .map_err(|_| bad(&format!("expected non-negative integers in `shape`, found ({shape})")))?;
    if dims.is_empty() {
        return Err(DataError::Shape {
            path: path.to_owned(),
            expected: "(rows, features) or (rows, height, width)".to_owned(),
            found: format!("({shape})"),
        });
    }
    let declared = dims.iter().fold(width as u128, |acc, &d| acc.saturating_mul(d as u128));
    if declared != body.len() as u128 {
        return Err(DataError::NpyLength {
            path: path.to_owned(),
            shape: format!("({shape})"),
            declared,
            actual: body.len(),
        });
    }
    let mut values = decode(code, order == ">", body);
    if fortran {
        values = values.gather(row_major(&dims));
    }
    let element = match code {
        "u1" => Element::Byte,
        "b1" => Element::Bool,
        _ => Element::Number,
    };
    Ok(Array { dims, values, element })
}
