//! The embedded 8x8 digits.

use std::path::Path;

use super::error::DataError;
use super::{DataOptions, Dataset, Kind, Source, gunzip, table};

/// `trainer/train/data/digits/README.md` gives origin and licence.
static DIGITS: &[u8] = include_bytes!("../../data/digits/digits.csv.gz");

/// The digits: 1437 rows of 64 values for train and validation, 360 for test.
///
/// # Errors
/// `InvalidOption`; the embedded file itself is sound.
pub(super) fn load(options: &DataOptions) -> Result<Dataset, DataError> {
    let path = Path::new("digits (embedded)");
    let bytes = gunzip(path, DIGITS.to_vec())?;
    let defaults = DataOptions { label_column: None, split_column: None, drop_columns: Vec::new(), ..options.clone() };
    let mut table = table::parse(path, &bytes, &defaults)?;
    for v in &mut table.x {
        *v /= 16.0;
    }
    Source {
        path,
        name: "digits".to_owned(),
        kind: Kind::Image,
        shape: [8, 8],
        x: table.x,
        labels: table.labels,
        parts: table.parts,
        crc32: crc32fast::hash(&bytes),
    }
    .finish(options)
}
