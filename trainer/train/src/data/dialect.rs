//! How a text table is written: its encoding, what separates its columns, its decimal mark.

use std::borrow::Cow;
use std::path::Path;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::error::DataError;
use super::options::DataOptions;

/// Records that are looked at to recognise a dialect.
const SAMPLE: usize = 200;

/// What separates columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// One character.
    Byte(u8),
    /// Any number of blanks and tabs.
    Blanks,
}

/// How numbers and columns are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub delimiter: Delimiter,
    /// `.` or `,`.
    pub decimal: char,
}

impl Dialect {
    const PLAIN: Self = Self { delimiter: Delimiter::Byte(b','), decimal: '.' };

    /// The number that a field is; `true` and `false` are 1 and 0.
    pub(super) fn number(self, field: &str) -> Option<f64> {
        if field.eq_ignore_ascii_case("true") || field.eq_ignore_ascii_case("false") {
            return Some(f64::from(u8::from(field.len() == 4)));
        }
        if self.decimal == '.' {
            return field.parse().ok();
        }
        (!field.contains('.')).then(|| field.replace(',', ".").parse().ok()).flatten()
    }

    /// What is unusual about it, for a person; nothing for commas and points.
    pub(super) fn about(self) -> Option<String> {
        let delimiter = match self.delimiter {
            Delimiter::Byte(b',') => None,
            Delimiter::Byte(b'\t') => Some("tabs between the columns".to_owned()),
            Delimiter::Byte(byte) => Some(format!("`{}` between the columns", char::from(byte))),
            Delimiter::Blanks => Some("blanks between the columns".to_owned()),
        };
        let decimal = (self.decimal == ',').then(|| "decimal commas".to_owned());
        let parts: Vec<String> = [delimiter, decimal].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(" and "))
    }
}

/// The text of a file, and a word on its encoding if that is not UTF-8.
pub(super) fn decode(bytes: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(&bytes[mark..]);
        return (text, (encoding != encoding_rs::UTF_8).then(|| encoding.name()));
    }
    if let Some(encoding) = utf_16_without_mark(bytes) {
        return (encoding.decode_without_bom_handling(bytes).0, Some(encoding.name()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (WINDOWS_1252.decode_without_bom_handling(bytes).0, Some(WINDOWS_1252.name())),
    }
}

/// Latin text in UTF-16 has a zero in every other byte.
fn utf_16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let (pairs, _) = bytes[..bytes.len().min(4096)].as_chunks::<2>();
    let zeros = |place: usize| pairs.iter().filter(|pair| pair[place] == 0).count();
    let (first, second) = (zeros(0), zeros(1));
    let most = pairs.len() - pairs.len() / 10;
    match (first, second) {
        _ if pairs.is_empty() => None,
        (0, high) if high >= most => Some(UTF_16LE),
        (low, 0) if low >= most => Some(UTF_16BE),
        _ => None,
    }
}

/// What spreadsheets write into the first line to name the separator: `sep=;`. The rest of the text, and the separator.
pub(super) fn separator_line(text: &str) -> Option<(&str, char)> {
    let (first, rest) = text.split_once('\n')?;
    let first = first.trim_matches(['\r', '"', ' ']);
    let said = first.strip_prefix("sep=").or_else(|| first.strip_prefix("SEP="))?;
    let mut characters = said.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) if one.is_ascii() => Some((rest, one)),
        // A tab may have been trimmed away by what wrote the file.
        (None, _) => Some((rest, '\t')),
        _ => None,
    }
}

/// The delimiter that an option names.
fn delimiter_of(text: &str) -> Result<Delimiter, DataError> {
    match text {
        "tab" | "\\t" | "\t" => Ok(Delimiter::Byte(b'\t')),
        "blank" | "blanks" | "space" | " " => Ok(Delimiter::Blanks),
        "comma" => Ok(Delimiter::Byte(b',')),
        "semicolon" => Ok(Delimiter::Byte(b';')),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii_punctuation() && !b"\".-+#".contains(byte) => Ok(Delimiter::Byte(*byte)),
            _ => Err(DataError::InvalidOption {
                option: "delimiter",
                expected: "one character such as `;`, or `tab` or `blank`",
                found: text.to_owned(),
            }),
        },
    }
}

/// Calls `each` with the line number, from 1, and the fields of every record; ends early when it returns `false`.
/// Blank lines and lines that begin with `#` are no records. `first` is the number of the first line.
///
/// # Errors
/// `Io` for text that cannot be split; those of `each`.
pub(super) fn records(
    path: &Path,
    text: &str,
    delimiter: Delimiter,
    first: u64,
    mut each: impl FnMut(u64, &[&str]) -> Result<bool, DataError>,
) -> Result<(), DataError> {
    let mut fields: Vec<&str> = Vec::new();
    let Delimiter::Byte(byte) = delimiter else {
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            fields.clear();
            fields.extend(line.split_whitespace().map(|field| field.trim_matches('"')));
            if !each(first + at as u64, &fields)? {
                break;
            }
        }
        return Ok(());
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .delimiter(byte)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| DataError::Io { path: path.to_owned(), source: e.into() })? {
        let line = first - 1 + record.position().map_or(0, |position| line_of(text, position));
        let fields: Vec<&str> = record.iter().collect();
        if !each(line, &fields)? {
            break;
        }
    }
    Ok(())
}

/// The line on which a record begins; the reader's position lies before blank lines and comments above it.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let at = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let mut rest = text.get(at..).unwrap_or_default();
    let mut line = position.line();
    loop {
        if let Some(after) = rest.strip_prefix('\n') {
            (rest, line) = (after, line + 1);
        } else if let Some(after) = rest.strip_prefix('\r') {
            rest = after;
        } else if rest.starts_with('#') {
            let Some((_, after)) = rest.split_once('\n') else { return line };
            (rest, line) = (after, line + 1);
        } else {
            return line;
        }
    }
}

/// How well a dialect explains the first records.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Fit {
    /// Share of the records that have the usual number of columns, more for fields that are numbers.
    score: f64,
    /// The usual number of columns.
    width: usize,
}

/// Tries a dialect on the first records.
fn fit(path: &Path, text: &str, dialect: Dialect) -> Option<Fit> {
    let mut rows: Vec<(usize, usize, usize)> = Vec::new();
    let mut first = Vec::new();
    let mut commas = true;
    records(path, text, dialect.delimiter, 1, |_, fields| {
        let filled = fields.iter().filter(|field| !field.is_empty());
        let numbers = filled.clone().filter(|field| dialect.number(field).is_some()).count();
        match rows.is_empty() {
            true => first = fields.iter().map(ToString::to_string).collect::<Vec<String>>(),
            false => commas &= fields.iter().any(|field| field.contains(',')),
        }
        rows.push((fields.len(), filled.count(), numbers));
        Ok(rows.len() < SAMPLE)
    })
    .ok()?;
    let widths = || rows.iter().map(|row| row.0);
    let width = widths().max_by_key(|width| (widths().filter(|other| other == width).count(), *width))?;
    let regular: Vec<_> = rows.iter().filter(|row| row.0 == width).collect();
    let consistency = regular.len() as f64 / rows.len() as f64;
    // The first record may be a header.
    let body = if rows.len() > 1 && rows[0].0 == width { &regular[1..] } else { &regular[..] };
    let (filled, numbers) = body.iter().fold((0, 0), |(filled, numbers), row| (filled + row.1, numbers + row.2));
    let numeric = numbers as f64 / filled.max(1) as f64;
    // One column of decimal commas looks like two of whole numbers: only a header without a comma tells them apart.
    if dialect.decimal == ',' && width == 1 {
        let header = first.len() == 1 && !first[0].contains(',') && dialect.number(&first[0]).is_none();
        if !(header && commas) {
            return None;
        }
    }
    Some(Fit { score: consistency * (0.2 + numeric), width })
}

/// The dialect of a text: as the options say, else the one that makes the most of its fields numbers in rows of one
/// length.
///
/// # Errors
/// `InvalidOption`.
pub(super) fn recognise(
    path: &Path,
    text: &str,
    separator: Option<char>,
    options: &DataOptions,
) -> Result<Dialect, DataError> {
    let stated = match (&options.delimiter, separator) {
        (Some(name), _) => Some(delimiter_of(name)?),
        (None, Some(one)) => Some(delimiter_of(&one.to_string())?),
        (None, None) => None,
    };
    let decimal = match options.decimal.as_deref() {
        None => None,
        Some("." | "point") => Some('.'),
        Some("," | "comma") => Some(','),
        Some(other) => {
            let (expected, found) = ("`.` or `,`", other.to_owned());
            return Err(DataError::InvalidOption { option: "decimal", expected, found });
        }
    };
    let delimiters = match stated {
        Some(delimiter) => vec![delimiter],
        None => vec![
            Delimiter::Byte(b','),
            Delimiter::Byte(b'\t'),
            Delimiter::Byte(b';'),
            Delimiter::Byte(b'|'),
            Delimiter::Blanks,
        ],
    };
    let candidates = delimiters.into_iter().flat_map(|delimiter| {
        let marks = decimal.map_or(vec!['.', ','], |mark| vec![mark]);
        marks.into_iter().map(move |decimal| Dialect { delimiter, decimal })
    });
    // A comma cannot be both.
    let candidates = candidates.filter(|d| d.delimiter != Delimiter::Byte(b',') || d.decimal == '.');
    let mut best: Option<(Fit, Dialect)> = None;
    for dialect in candidates {
        let Some(fit) = fit(path, text, dialect) else { continue };
        let better = best.is_none_or(|(known, _)| {
            fit.score > known.score + 1e-9 || (fit.score > known.score - 1e-9 && fit.width > known.width)
        });
        if better {
            best = Some((fit, dialect));
        }
    }
    let fallback = Dialect {
        delimiter: stated.unwrap_or(Dialect::PLAIN.delimiter),
        decimal: decimal.unwrap_or(Dialect::PLAIN.decimal),
    };
    Ok(best.map_or(fallback, |(_, dialect)| dialect))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Delimiter, char) {
        let d = recognise(Path::new("t.csv"), text, None, &DataOptions::default()).unwrap();
        (d.delimiter, d.decimal)
    }

    #[test]
    fn dialects_are_told_by_their_numbers() {
        use Delimiter::{Blanks, Byte};
        for (text, want) in [
            ("a,b\n1.5,2\n3,4\n", (Byte(b','), '.')),
            ("a;b\n1,5;2\n3;4,25\n", (Byte(b';'), ',')),
            ("20,3772;-0,8277;1012,2791\n19,6037;0,4765;1014,1671\n", (Byte(b';'), ',')),
            ("a|b\n1|2\n", (Byte(b'|'), '.')),
            ("\"t, C\";flow\n1.5;2\n3.5;4\n", (Byte(b';'), '.')),
            ("a\tb\n1,5\t2\n3\t4,25\n", (Byte(b'\t'), ',')),
            ("1.5e+01  2 -3\n4 5   6\n", (Blanks, '.')),
            ("2026-01-01 00:00,20.1,1013\n2026-01-01 00:10,20.3,1012\n", (Byte(b','), '.')),
            ("2026-01-01 00:00;20,1;1013\n2026-01-01 00:10;20,3;1012\n", (Byte(b';'), ',')),
            ("temp\n20,3772\n19,6037\n", (Byte(b';'), ',')),
            ("1,2\n3,4\n", (Byte(b','), '.')),
            ("a,b\n1,2\n3\n", (Byte(b','), '.')),
            ("1,2\n3\n4,5\n", (Byte(b','), '.')),
            ("v\n1.5\n2.5\n", (Byte(b','), '.')),
            ("a, b\n1, 2\n3, 4\n", (Byte(b','), '.')),
        ] {
            let (delimiter, decimal) = of(text);
            let same =
                (delimiter, decimal) == want || (decimal == want.1 && !text.contains([',', ';', '\t', '|', ' ']));
            // In one column with a header any delimiter that does not occur is as good as another.
            assert!(same || text.starts_with("temp\n") && decimal == ',', "{text}: {delimiter:?} {decimal}");
        }
    }

    #[test]
    fn encodings_are_told_by_mark_or_pattern() {
        let text = "temp °C,b\n1,2\n";
        let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let marked = [&[0xff, 0xfe], utf_16.as_slice()].concat();
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let bom = [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat();
        for (bytes, name) in [
            (text.as_bytes(), None),
            (&bom, None),
            (&marked, Some("UTF-16LE")),
            (&utf_16, Some("UTF-16LE")),
            (&big, Some("UTF-16BE")),
            (&latin, Some("windows-1252")),
        ] {
            let (decoded, said) = decode(bytes);
            assert_eq!((decoded.as_ref(), said), (text, name));
        }
    }

    #[test]
    fn options_decide_where_they_are_given() {
        let options =
            DataOptions { delimiter: Some("tab".into()), decimal: Some(",".into()), ..DataOptions::default() };
        let d = recognise(Path::new("t"), "a,b\n1,2\n", None, &options).unwrap();
        assert_eq!((d.delimiter, d.decimal), (Delimiter::Byte(b'\t'), ','));
        let wrong = DataOptions { delimiter: Some("ab".into()), ..DataOptions::default() };
        assert!(recognise(Path::new("t"), "", None, &wrong).is_err());
        assert_eq!(separator_line("sep=;\r\n1;2\n"), Some(("1;2\n", ';')));
        assert_eq!(separator_line("a,b\n1,2\n"), None);
    }

    #[test]
    fn lines_are_counted_over_blank_ones_and_comments() {
        let text = "# one\n\na,b\n# two\n1,2\n\n\n# three\r\n3,4";
        let mut lines = Vec::new();
        records(Path::new("t"), text, Delimiter::Byte(b','), 1, |line, fields| {
            lines.push((line, fields.join("/")));
            Ok(true)
        })
        .unwrap();
        assert_eq!(lines, [(3, "a/b".into()), (5, "1/2".into()), (9, "3/4".to_owned())]);
    }
}
