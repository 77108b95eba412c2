//! CSV tables: numbers, with optional header, label column and split column.

use std::path::Path;

use super::DataOptions;
use super::error::DataError;
use super::split::Part;

/// A parsed table before it is split.
#[derive(Debug)]
pub(super) struct Table {
    /// Features, row-major `[n, dim]`, all finite.
    pub x: Vec<f32>,
    /// Rows.
    pub n: usize,
    /// Feature columns.
    pub dim: usize,
    /// One label per row.
    pub labels: Option<Vec<u32>>,
    /// One part per row.
    pub parts: Option<Vec<Part>>,
}

/// Columns of these names are never features.
const RESERVED: [&str; 3] = ["label", "anomaly", "split"];

fn delimiter(bytes: &[u8]) -> u8 {
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    [b',', b'\t', b';'].into_iter().find(|d| first.contains(d)).unwrap_or(b',')
}

/// The column `name`.
fn column(path: &Path, columns: &[String], name: &str) -> Result<usize, DataError> {
    columns.iter().position(|c| c == name).ok_or_else(|| {
        let mut available = columns.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
        if columns.len() > 20 {
            available.push_str(", ...");
        }
        DataError::MissingColumn { path: path.to_owned(), column: name.to_owned(), available }
    })
}

/// The column that is `named`, or the first of `defaults` that there is; none of `dropped`.
fn find(
    path: &Path,
    columns: &[String],
    dropped: &[usize],
    named: Option<&str>,
    defaults: &[&str],
) -> Result<Option<usize>, DataError> {
    let Some(name) = named else {
        let kept = |name: &str| columns.iter().position(|c| c == name).filter(|at| !dropped.contains(at));
        return Ok(defaults.iter().find_map(|name| kept(name)));
    };
    let at = column(path, columns, name)?;
    if dropped.contains(&at) {
        return Err(DataError::InvalidOption {
            option: "drop_columns",
            expected: "columns other than those named as labels or split",
            found: name.to_owned(),
        });
    }
    Ok(Some(at))
}

fn label(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0).then_some(value as u32)
    })
}

/// The line on which a record begins; the reader's position lies before any blank lines above it.
fn line_of(bytes: &[u8], position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|at| bytes.get(at..));
    let blank = rest.unwrap_or_default().iter().take_while(|b| matches!(b, b'\n' | b'\r'));
    position.line() + blank.filter(|&&b| b == b'\n').count() as u64
}

/// Parses the text of a table.
///
/// The first row is a header if any of its fields is not a number; without one, columns are named
/// `c0`, `c1`, ... Blank lines are skipped; the delimiter is a comma, tab or semicolon.
///
/// # Errors
/// `NotNumeric`, `NonFinite`, `Ragged`, `MissingColumn`, `BadLabel`, `BadSplit` and `Empty`.
pub(super) fn parse(path: &Path, bytes: &[u8], options: &DataOptions) -> Result<Table, DataError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(delimiter(bytes))
        .from_reader(bytes);
    let empty = |what, hint| DataError::Empty { path: path.to_owned(), what, hint };
    let mut record = csv::ByteRecord::new();
    let mut read = |record: &mut csv::ByteRecord| {
        reader.read_byte_record(record).map_err(|e| DataError::Io { path: path.to_owned(), source: e.into() })
    };
    if !read(&mut record)? {
        return Err(empty("rows", "the file is empty"));
    }
    let width = record.len();
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let header = record.iter().any(|f| !f.is_empty() && text(f).parse::<f64>().is_err());
    let columns: Vec<String> =
        if header { record.iter().map(text).collect() } else { (0..width).map(|i| format!("c{i}")).collect() };
    let dropped =
        options.drop_columns.iter().map(|name| column(path, &columns, name)).collect::<Result<Vec<_>, _>>()?;
    let label_at = find(path, &columns, &dropped, options.label_column.as_deref(), &["label", "anomaly"])?;
    let split_at = find(path, &columns, &dropped, options.split_column.as_deref(), &["split"])?;
    let features: Vec<usize> = (0..width)
        .filter(|&i| Some(i) != label_at && Some(i) != split_at && !dropped.contains(&i))
        .filter(|&i| !RESERVED.contains(&columns[i].as_str()))
        .collect();
    if features.is_empty() {
        return Err(empty("feature columns", "every column is dropped or a label or split column"));
    }

    let mut table = Table {
        x: Vec::new(),
        n: 0,
        dim: features.len(),
        labels: label_at.map(|_| Vec::new()),
        parts: split_at.map(|_| Vec::new()),
    };
    let mut pending = !header;
    while pending || read(&mut record)? {
        pending = false;
        let line = record.position().map_or(0, |p| line_of(bytes, p));
        if record.len() != width {
            return Err(DataError::Ragged { path: path.to_owned(), line, expected: width, found: record.len() });
        }
        for &i in &features {
            let field = &record[i];
            let parsed = std::str::from_utf8(field).ok().and_then(|t| t.parse::<f32>().ok());
            match parsed {
                Some(v) if v.is_finite() => table.x.push(v),
                Some(_) => {
                    return Err(DataError::NonFinite {
                        path: path.to_owned(),
                        row: line,
                        column: columns[i].clone(),
                        found: text(field),
                    });
                }
                None => {
                    return Err(DataError::NotNumeric {
                        path: path.to_owned(),
                        line,
                        column: columns[i].clone(),
                        found: text(field),
                    });
                }
            }
        }
        if let (Some(at), Some(labels)) = (label_at, table.labels.as_mut()) {
            let found = text(&record[at]);
            match label(&found) {
                Some(value) => labels.push(value),
                None => {
                    return Err(DataError::BadLabel {
                        path: path.to_owned(),
                        line,
                        column: columns[at].clone(),
                        found,
                    });
                }
            }
        }
        if let (Some(at), Some(parts)) = (split_at, table.parts.as_mut()) {
            let found = text(&record[at]);
            match Part::parse(&found) {
                Some(part) => parts.push(part),
                None => {
                    return Err(DataError::BadSplit {
                        path: path.to_owned(),
                        line,
                        column: columns[at].clone(),
                        found,
                    });
                }
            }
        }
        table.n += 1;
    }
    if table.n == 0 {
        return Err(empty("rows", "the file holds only a header"));
    }
    Ok(table)
}
