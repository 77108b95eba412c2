//! Words of errors: names as a shell takes them, and what a file of no known format is.

use std::path::Path;

use super::error::DataError;

/// A name without line breaks.
pub(super) fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

/// What was found in a field; text without an end is cut.
pub(super) fn found_text(found: &str) -> String {
    let short: String = one_line(found).chars().take(40).collect();
    let rest = if found.chars().count() > 40 { "..." } else { "" };
    format!("`{short}{rest}`")
}

/// Names of columns as a shell passes them on to an option that takes a list.
pub(super) fn shell_list(names: &[String]) -> String {
    match names {
        [one] => shell(one),
        _ => {
            let quoted = |name: &String| match name.contains([',', '"']) {
                true => format!("\"{}\"", name.replace('"', "\"\"")),
                false => name.clone(),
            };
            let list = names.iter().map(quoted).collect::<Vec<_>>().join(",");
            if names.iter().all(|name| shell(name) == *name) { list } else { format!("'{}'", one_line(&list)) }
        }
    }
}

/// A column's name as a shell passes it on.
pub(super) fn shell(name: &str) -> String {
    let name = one_line(name);
    let plain = |c: char| c.is_alphanumeric() || "_-./:%+@".contains(c);
    match name {
        name if !name.is_empty() && name.chars().all(plain) => name,
        name if name.contains('\'') => format!("\"{name}\""),
        name => format!("'{name}'"),
    }
}

/// The name of a text that is no table, where its first character tells.
pub(super) fn of_text(text: &str) -> Option<&'static str> {
    match text.trim_start().chars().next()? {
        '{' | '[' => Some("JSON, or something like it"),
        '<' => Some("XML or HTML"),
        '@' => Some("an ARFF file, or something like it"),
        _ => None,
    }
}

impl DataError {
    /// A file of no known format, named for what it is where its first bytes tell.
    pub(super) fn unknown(path: &Path, bytes: &[u8]) -> Self {
        const KNOWN: [(&[u8], &str); 13] = [
            (b"\x89HDF", "an HDF5 file"),
            (b"SQLite format 3", "an SQLite database"),
            (b"MATLAB 5.0", "a MATLAB file"),
            (b"\x89PNG", "a PNG picture"),
            (b"\xff\xd8\xff", "a JPEG picture"),
            (b"RIFF", "a WAV or AVI file"),
            (b"BZh", "a file packed by bzip2"),
            (b"\xfd7zXZ", "a file packed by xz"),
            (b"\x28\xb5\x2f\xfd", "a file packed by zstd"),
            (b"PAR1", "a Parquet file, which this build does not read"),
            (b"ARROW1", "an Arrow file, which this build does not read"),
            (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
            (b"\x80\x04", "a pickled Python object"),
        ];
        let name = if bytes.starts_with(b"PK\x03\x04") {
            let inside = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            let workbook = inside(b"xl/workbook") || inside(b"xl/worksheets");
            if workbook { "an Excel workbook" } else { "a ZIP archive without arrays of NumPy, or a damaged one" }
        } else {
            KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)).map_or("binary data", |(_, name)| name)
        };
        let first = &bytes[..bytes.len().min(8)];
        let hex: Vec<String> = first.iter().map(|b| format!("{b:02x}")).collect();
        DataError::UnknownFormat { path: path.to_owned(), found: format!("{name} ({})", hex.join(" ")) }
    }
}
