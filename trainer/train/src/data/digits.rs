//! The embedded 8x8 digits.

use std::path::Path;

use super::error::DataError;
use super::kind::{Array, Element};
use super::{DataOptions, Dataset, Kind, Reading, Source, columns, gunzip, text};

/// The value of a white pixel.
const WHITE: f64 = 16.0;

/// `trainer/train/data/digits/README.md` gives origin and licence.
static DIGITS: &[u8] = include_bytes!("../../data/digits/digits.csv.gz");

/// The digits: 1437 rows of 64 values for train and validation, 360 for test.
///
/// # Errors
/// `InvalidOption`; the embedded file itself is sound.
pub(super) fn load(options: &DataOptions) -> Result<Dataset, DataError> {
    let path = Path::new("digits (embedded)");
    let bytes = gunzip(path, DIGITS.to_vec())?;
    let plain = DataOptions { reading: None, ..DataOptions::default() };
    let as_text = |name: &str| columns::is_text(name, &plain);
    let table = text::parse(path, &bytes, &plain, &as_text)?.settle(path, &plain)?;
    let array =
        Array { dims: vec![table.values.len() / table.dim, 8, 8], values: table.values, element: Element::Number };
    // 16 dots of 4 x 4 are a white pixel. A model that reads images as bytes or floats reads these as they are.
    let reading = options.reading.clone().map(|reading| Reading { white: Some(WHITE), ..reading });
    let kind = options.kind.or(Some(Kind::Image));
    let options = DataOptions { kind, white: options.white.or(Some(WHITE)), reading, ..options.clone() };
    Source { labels: table.labels, parts: table.parts, ..Source::new(path, "digits", array, crc32fast::hash(&bytes)) }
        .finish(&options)
}
