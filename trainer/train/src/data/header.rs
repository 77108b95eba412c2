//! Whether the first line of a text table names its columns, and whether the second gives their units.

use std::path::Path;

use super::dialect::Dialect;
use super::error::DataError;
use super::labels::missing;

/// What the first lines are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The first record names the columns.
    pub names: bool,
    /// The record after it gives units.
    pub units: bool,
    /// What a person should know of the decision.
    pub note: Option<String>,
}

/// What a field looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Number,
    Missing,
    Text,
}

fn look(field: &str, dialect: Dialect) -> Look {
    match dialect.number(field) {
        Some(_) => Look::Number,
        None if missing(field) => Look::Missing,
        None => Look::Text,
    }
}

/// Decides by the first records of a file: the first of them begins on line `line`. `stated` is what an option says.
///
/// Names are a line without a number. A line of numbers is a row, unless it counts 0, 1, 2... above numbers with decimals,
/// as a header of numbers does. A line with both is a row if its texts stand above texts, too.
///
/// # Errors
/// `HeaderUnclear` for a line of which neither can be said.
pub(super) fn decide(
    path: &Path,
    line: u64,
    records: &[Vec<String>],
    dialect: Dialect,
    stated: Option<bool>,
) -> Result<Head, DataError> {
    let Some((first, below)) = records.split_first() else { return Ok(Head::default()) };
    let looks: Vec<Look> = first.iter().map(|field| look(field, dialect)).collect();
    let has = |kind: Look| looks.contains(&kind);
    let (names, note) = match stated {
        Some(names) => (names, None),
        None if !has(Look::Number) => (has(Look::Text), None),
        None if !has(Look::Text) => {
            let counting = counts(first);
            let decimals = |column: usize| {
                let mut fields = below.iter().filter_map(|row| row.get(column)).peekable();
                fields.peek().is_some() && fields.all(|field| field.parse::<i64>().is_err())
            };
            let of_decimals = (0..first.len()).filter(|column| decimals(*column)).count();
            let told = match counting {
                0 | 1 => false,
                2 => of_decimals >= 2,
                _ => of_decimals >= 1,
            };
            let shown = first.join(",");
            let path = path.display();
            let note = match (told, counting) {
                (true, _) => Some(format!(
                    "{path}: line {line} (`{shown}`) counts the columns and is taken for a header; --no-header makes it a row"
                )),
                (false, 3..) => Some(format!(
                    "{path}: line {line} (`{shown}`) is taken for a row; --header makes it the names of the columns"
                )),
                _ => None,
            };
            (told, note)
        }
        None => {
            // Text above numbers speaks for names, text above text for a row.
            let above_numbers = |column: usize| {
                let mut fields = below.iter().filter_map(|row| row.get(column)).peekable();
                fields.peek().is_some() && fields.all(|field| look(field, dialect) == Look::Number)
            };
            let texts = (0..first.len()).filter(|column| looks[*column] == Look::Text);
            if texts.clone().any(above_numbers) {
                return Err(DataError::HeaderUnclear { path: path.to_owned(), line, found: first.join(",") });
            }
            (false, None)
        }
    };
    let units = names && below.len() > 1 && are_units(&below[0], &below[1..], dialect);
    let shown = below.first().map(|row| row.join(",")).unwrap_or_default();
    let of_units =
        units.then(|| format!("{}: the line below the header (`{shown}`) is taken for units", path.display()));
    Ok(Head { names, units, note: note.or(of_units) })
}

/// How many fields there are if they count 0, 1, 2 and so on; an empty first field, that of an index, is left out.
fn counts(first: &[String]) -> usize {
    let fields = if first.first().is_some_and(String::is_empty) { &first[1..] } else { first };
    let counting = fields.iter().enumerate().all(|(at, field)| *field == at.to_string());
    if counting { fields.len() } else { 0 }
}

/// Whether a record has texts and no number where numbers stand below.
fn are_units(record: &[String], below: &[Vec<String>], dialect: Dialect) -> bool {
    let text_above_numbers = |column: usize| {
        look(&record[column], dialect) == Look::Text
            && below.iter().filter_map(|row| row.get(column)).all(|field| look(field, dialect) == Look::Number)
    };
    record.iter().all(|field| look(field, dialect) != Look::Number) && (0..record.len()).any(text_above_numbers)
}

/// The names in a comment above the first record, as `numpy.savetxt` writes them: as many as there are columns, none a
/// number.
pub(super) fn of_comment(fields: &[&str], width: usize, dialect: Dialect) -> Option<Vec<String>> {
    let named = fields.len() == width && fields.iter().all(|field| look(field, dialect) == Look::Text);
    named.then(|| fields.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Delimiter;
    use super::*;

    const PLAIN: Dialect = Dialect { delimiter: Delimiter::Byte(b','), decimal: '.' };

    fn head(text: &str, stated: Option<bool>) -> Result<Head, DataError> {
        let records: Vec<Vec<String>> = text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
        decide(Path::new("t.csv"), 1, &records, PLAIN, stated)
    }

    #[test]
    fn names_have_no_numbers_and_rows_have() {
        for (text, names, units) in [
            ("a,b\n1,2\n3,4", true, false),
            ("a,\n1,2\n3,4", true, false),
            ("1,2\n3,4", false, false),
            ("20.1,NA,1013\n20.3,0.1,1012", false, false),
            ("2026-01-01,20.1\n2026-01-02,20.3", false, false),
            ("0,1,2\n20.1,0.2,1013\n20.3,0.1,1012", true, false),
            ("0,1\n20.1,0.2\n20.3,0.1", true, false),
            (",0,1\n0,20.1,0.2\n1,20.3,0.1", true, false),
            ("0,1\n1,0\n0,0", false, false),
            ("0,1,2\n1,2,0\n2,0,1", false, false),
            ("temp,flow\nC,l/s\n1,2\n3,4", true, true),
            ("temp,state\n1,on\n3,off", true, false),
            ("state,mode\non,fast\noff,slow", true, false),
        ] {
            let found = head(text, None).unwrap();
            assert_eq!((found.names, found.units), (names, units), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_said_or_asked() {
        assert!(head("0,1,2\n20.1,0.2,1013", None).unwrap().note.unwrap().contains("--no-header"));
        assert!(head("0,1,2\n1,2,0\n2,0,1", None).unwrap().note.unwrap().contains("--header"));
        let e = head("20.1,err,1013\n20.3,0.1,1012", None).unwrap_err().to_string();
        assert!(e.contains("line 1") && e.contains("--header") && e.contains("--no-header"), "{e}");
        assert!(head("20.1,err,1013\n20.3,0.1,1012", Some(true)).unwrap().names);
        assert!(!head("a,b\n1,2", Some(false)).unwrap().names);
    }
}
