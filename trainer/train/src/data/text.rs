//! Text tables: from the bytes of a CSV file, or one like it, to columns.

use std::path::Path;

use super::advice;
use super::columns::{Bad, Cells, Column, Columns};
use super::dialect::{self, Delimiter, Dialect};
use super::error::DataError;
use super::header;
use super::options::DataOptions;

/// Records that are looked at to recognise a header.
const SAMPLE: usize = 100;

/// The first lines of a table and how to go on from them.
struct Plan<'t> {
    text: &'t str,
    first_line: u64,
    dialect: Dialect,
    names: Vec<String>,
    units: Vec<String>,
    /// Whether the names are the file's own.
    named: bool,
    /// Records above the first row.
    skipped: usize,
}

/// Parses the text of a table. `as_text` says which columns, by name and place, are kept as text.
///
/// # Errors
/// `UnknownFormat`, `HeaderUnclear`, `Ragged`, `Empty`, `InvalidOption` and `Io`.
pub(super) fn parse(
    path: &Path,
    bytes: &[u8],
    options: &DataOptions,
    as_text: &dyn Fn(&str) -> bool,
) -> Result<Columns, DataError> {
    let (text, encoding) = dialect::decode(bytes);
    if text.contains('\0') {
        return Err(DataError::unknown(path, bytes));
    }
    if let Some(found) = advice::of_text(&text) {
        return Err(DataError::UnknownFormat { path: path.to_owned(), found: found.to_owned() });
    }
    let mut notes = Vec::new();
    let plan = plan(path, &text, options, &mut notes)?;
    let about: Vec<String> =
        [encoding.map(|name| format!("encoding {name}")), plan.dialect.about()].into_iter().flatten().collect();
    if !about.is_empty() {
        notes.push(format!("{}: read with {}", path.display(), about.join(", ")));
    }
    let width = plan.names.len();
    let mut list: Vec<Column> = Vec::with_capacity(width);
    for (at, name) in plan.names.iter().enumerate() {
        let cells = if as_text(name) { Cells::Text(Vec::new()) } else { Cells::numbers() };
        list.push(Column { name: name.clone(), unit: plan.units.get(at).cloned().unwrap_or_default(), cells });
    }
    let mut lines = Vec::new();
    let mut empty = vec![true; width];
    let mut seen = 0;
    dialect::records(path, plan.text, plan.dialect.delimiter, plan.first_line, |line, fields| {
        seen += 1;
        if seen <= plan.skipped {
            return Ok(true);
        }
        // A delimiter at the end of the rows but not of the header.
        let fields = match fields {
            [all @ .., ""] if all.len() == width => all,
            other => other,
        };
        if fields.len() != width {
            return Err(DataError::Ragged { path: path.to_owned(), line, expected: width, found: fields.len() });
        }
        for ((field, column), empty) in fields.iter().zip(&mut list).zip(&mut empty) {
            *empty &= field.is_empty();
            match &mut column.cells {
                Cells::Text(texts) => texts.push((*field).to_owned()),
                Cells::Numbers { values, bad } => {
                    let value = plan.dialect.number(field);
                    if bad.is_none() && !value.is_some_and(|v| (v as f32).is_finite()) {
                        *bad = Some(Bad { line, found: (*field).to_owned(), number: value.is_some() });
                    }
                    values.push(value.unwrap_or(f64::NAN));
                }
            }
        }
        lines.push(line);
        Ok(true)
    })?;
    let fail = |what, hint| DataError::Empty { path: path.to_owned(), what, hint };
    if lines.is_empty() {
        return Err(match seen {
            0 => fail("rows", "the file has no lines but blank ones and comments"),
            _ => fail("rows", "the file holds only a header"),
        });
    }
    if width > 1 && empty[width - 1] && (!plan.named || plan.names[width - 1].is_empty()) {
        list.pop();
        notes.push(format!("{}: the empty last column is left out; the lines end with a delimiter", path.display()));
    }
    Ok(Columns { list, named: plan.named, n: lines.len(), lines, notes })
}

/// Recognises dialect and header.
fn plan<'t>(path: &Path, text: &'t str, options: &DataOptions, notes: &mut Vec<String>) -> Result<Plan<'t>, DataError> {
    let (text, separator, first_line) = match dialect::separator_line(text) {
        Some((rest, separator)) => (rest, Some(separator), 2),
        None => (text, None, 1),
    };
    let dialect = dialect::recognise(path, text, separator, options)?;
    let mut sample: Vec<Vec<String>> = Vec::new();
    let mut at = first_line;
    dialect::records(path, text, dialect.delimiter, first_line, |line, fields| {
        if sample.is_empty() {
            at = line;
        }
        sample.push(fields.iter().map(ToString::to_string).collect());
        Ok(sample.len() < SAMPLE)
    })?;
    let width = sample.first().map_or(0, Vec::len);
    let head = header::decide(path, at, &sample, dialect, options.header)?;
    let mut named = head.names;
    notes.extend(head.note);
    let mut names = match named {
        true => sample[0].clone(),
        false => (0..width).map(|i| format!("c{i}")).collect(),
    };
    if !named
        && options.header.is_none()
        && let Some(found) = names_above(text, (at - first_line) as usize, width, dialect)
    {
        let shown = found.join(", ");
        notes.push(format!("{}: the comment above the first row names its columns: {shown}", path.display()));
        (names, named) = (found, true);
    }
    let units = if head.units { sample[1].clone() } else { Vec::new() };
    let skipped = usize::from(head.names) + usize::from(head.units);
    Ok(Plan { text, first_line, dialect, names, units, named, skipped })
}

/// The names in the last comment of the `lines` lines above the first record.
fn names_above(text: &str, lines: usize, width: usize, dialect: Dialect) -> Option<Vec<String>> {
    let comment = text.lines().take(lines).filter_map(|line| line.strip_prefix('#')).last()?;
    let fields: Vec<&str> = match dialect.delimiter {
        Delimiter::Blanks => comment.split_whitespace().collect(),
        Delimiter::Byte(byte) => comment.split(char::from(byte)).map(str::trim).collect(),
    };
    header::of_comment(&fields, width, dialect)
}
