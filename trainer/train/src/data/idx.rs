//! IDX arrays, the format of MNIST: big-endian, `00 00 <type> <rank>`, then one `u32` per dimension.

use std::path::Path;

use super::error::DataError;
use super::kind::{Array, Element};
use super::values::Values;

/// The type byte of unsigned bytes.
pub(super) const U8: u8 = 0x08;

/// The type byte of a file that [`parse`] has read.
pub(super) fn dtype(bytes: &[u8]) -> u8 {
    bytes.get(2).copied().unwrap_or_default()
}

fn width(dtype: u8) -> Option<usize> {
    match dtype {
        0x08 | 0x09 => Some(1),
        0x0b => Some(2),
        0x0c | 0x0d => Some(4),
        0x0e => Some(8),
        _ => None,
    }
}

/// Parses one IDX file.
///
/// # Errors
/// `IdxMagic`, `IdxDtype`, `IdxTruncated`, `IdxLength` and `NonFinite`; nothing is allocated from the header
/// before it is held against the file's length.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let truncated = |expected| DataError::IdxTruncated { path: path.to_owned(), expected, found: bytes.len() };
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(truncated(4));
    };
    let [zero0, zero1, dtype, rank] = *magic;
    if zero0 != 0 || zero1 != 0 || rank == 0 {
        return Err(DataError::IdxMagic { path: path.to_owned(), found: hex(magic) });
    }
    let Some(width) = width(dtype) else {
        return Err(DataError::IdxDtype {
            path: path.to_owned(),
            expected: "0x08 (u8), 0x09 (i8), 0x0b (i16), 0x0c (i32), 0x0d (f32) or 0x0e (f64)",
            found: dtype,
        });
    };
    let rank = usize::from(rank);
    let Some((head, body)) = rest.split_at_checked(4 * rank) else {
        return Err(truncated(4 + 4 * rank));
    };
    let dims: Vec<usize> = head.as_chunks::<4>().0.iter().map(|&c| u32::from_be_bytes(c) as usize).collect();
    let declared = dims.iter().fold(width as u128, |acc, &d| acc.saturating_mul(d as u128));
    if declared != body.len() as u128 {
        return Err(DataError::IdxLength { path: path.to_owned(), dims, declared, actual: body.len() });
    }
    let values = match dtype {
        0x08 => Values::Single(body.iter().map(|&b| f32::from(b)).collect()),
        0x09 => Values::Single(body.iter().map(|&b| f32::from(b.cast_signed())).collect()),
        0x0b => Values::Single(decode(body, |c| f32::from(i16::from_be_bytes(c)))),
        0x0c => Values::Double(decode(body, |c| f64::from(i32::from_be_bytes(c)))),
        0x0d => Values::Single(decode(body, f32::from_be_bytes)),
        _ => Values::Double(decode(body, f64::from_be_bytes)),
    };
    values.check(path, dims[1..].iter().product())?;
    let element = if dtype == U8 { Element::Byte } else { Element::Number };
    Ok(Array { dims, values, element })
}

fn decode<const W: usize, T>(body: &[u8], element: impl Fn([u8; W]) -> T) -> Vec<T> {
    body.as_chunks::<W>().0.iter().map(|&c| element(c)).collect()
}

/// Parses a file of labels: rank 1, unsigned bytes.
///
/// # Errors
/// Those of [`parse`], and `IdxDtype` or `Shape` where the array is not a list of bytes.
pub(super) fn parse_labels(path: &Path, bytes: &[u8]) -> Result<Vec<u32>, DataError> {
    let array = parse(path, bytes)?;
    if array.element != Element::Byte {
        return Err(DataError::IdxDtype {
            path: path.to_owned(),
            expected: "0x08 (u8) for labels",
            found: dtype(bytes),
        });
    }
    if array.dims.len() != 1 {
        return Err(DataError::Shape {
            path: path.to_owned(),
            expected: "one dimension of labels".to_owned(),
            found: format!("{:?}", array.dims),
        });
    }
    Ok(array.values.iter().map(|v| v as u32).collect())
}

/// The bytes as `00 1f ...`.
pub(super) fn hex(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    parts.join(" ")
}
