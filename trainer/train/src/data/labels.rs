//! Labels: whole numbers as they are, texts as classes.

use std::path::Path;

use super::error::DataError;

/// Texts that are labels at most; more are names, times or remarks.
const MOST_TEXTS: usize = 1000;

/// Words for rows without a fault. A text among them is label 0 where there are two.
const NORMAL: [&str; 12] =
    ["normal", "ok", "good", "healthy", "false", "no", "none", "benign", "nominal", "negative", "inlier", "pass"];

/// Labels and the texts they stand for; none where they are numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Labels {
    pub values: Vec<u32>,
    pub classes: Vec<String>,
}

/// A whole number that a label can be, `1.000` included.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0).then_some(value as u32)
    })
}

/// Whether a field stands for a value that is missing.
pub(super) fn missing(text: &str) -> bool {
    const WORDS: [&str; 10] = ["", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a field stands for a label that is missing; `none` may be one, of rows without a fault.
fn unlabelled(text: &str) -> bool {
    missing(text) && !text.eq_ignore_ascii_case("none")
}

/// Whether all texts are the numbers 0 and 1.
pub(super) fn binary(texts: &[String]) -> bool {
    !texts.is_empty() && texts.iter().all(|text| number(text).is_some_and(|value| value < 2))
}

/// Whether no text is a number and there are few different ones.
pub(super) fn words(texts: &[String]) -> bool {
    let wordy = texts.iter().all(|text| text.parse::<f64>().is_err() && !unlabelled(text));
    wordy && distinct(texts).len() <= 100.min(texts.len() / 2 + 1)
}

fn distinct(texts: &[String]) -> Vec<String> {
    let all: std::collections::BTreeSet<&str> = texts.iter().map(String::as_str).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// Whether a text is a word for rows without a fault.
pub(super) fn normal(text: &str) -> bool {
    NORMAL.iter().any(|word| text.eq_ignore_ascii_case(word))
}

impl Labels {
    /// Whether label 1 marks an anomaly: all labels are the numbers 0 and 1, or one of two texts is a word for normal rows.
    pub(super) fn mark_anomalies(&self) -> bool {
        let known = self.classes.is_empty() || self.classes.len() == 2 && normal(&self.classes[0]);
        known && self.values.iter().all(|label| *label < 2)
    }
}

/// The classes of texts: a word for normal rows is 0 where there are two classes, else they are numbered by the alphabet.
fn numbered(mut classes: Vec<String>) -> Vec<String> {
    if let [a, b] = classes.as_slice()
        && normal(b)
        && !normal(a)
    {
        classes.swap(0, 1);
    }
    classes
}

/// Reads the labels of the column `column`; `known` are the classes of the model that will see the rows, if it has any.
/// `line` gives the place of a row.
///
/// # Errors
/// `BadLabel` for a field that is neither a label nor a text, `UnknownClass`, `TooManyTexts`.
pub(super) fn read(
    path: &Path,
    column: &str,
    texts: &[String],
    known: Option<&[String]>,
    line: impl Fn(usize) -> u64,
) -> Result<Labels, DataError> {
    let bad = |row: usize| DataError::BadLabel {
        path: path.to_owned(),
        line: line(row),
        column: column.to_owned(),
        found: texts[row].clone(),
    };
    if let Some(row) = texts.iter().position(|text| unlabelled(text)) {
        return Err(bad(row));
    }
    let classes = match known {
        Some(classes) => classes.to_vec(),
        None if texts.iter().all(|text| text.parse::<f64>().is_ok()) => Vec::new(),
        None => numbered(distinct(texts)),
    };
    if classes.is_empty() {
        let value = |(row, text): (usize, &String)| number(text).ok_or_else(|| bad(row));
        let values = texts.iter().enumerate().map(value).collect::<Result<_, _>>()?;
        return Ok(Labels { values, classes });
    }
    if classes.len() > MOST_TEXTS {
        let (path, column) = (path.to_owned(), column.to_owned());
        return Err(DataError::TooManyTexts { path, column, found: classes.len() });
    }
    let of = |(row, text): (usize, &String)| {
        let place = classes.iter().position(|class| class == text);
        place.map(|place| place as u32).ok_or_else(|| DataError::UnknownClass {
            path: path.to_owned(),
            line: line(row),
            column: column.to_owned(),
            found: text.clone(),
            known: classes.join(", "),
        })
    };
    let values = texts.iter().enumerate().map(of).collect::<Result<_, _>>()?;
    Ok(Labels { values, classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str], known: Option<&[String]>) -> Result<Labels, DataError> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        read(Path::new("t.csv"), "state", &texts, known, |row| row as u64 + 2)
    }

    #[test]
    fn numbers_stay_and_texts_are_numbered() {
        assert_eq!(labels(&["0", "1.000", "4000000000"], None).unwrap().values, [0, 1, 4_000_000_000]);
        let of_fault = labels(&["fault", "normal", "normal"], None).unwrap();
        assert_eq!((of_fault.values, of_fault.classes.join(" ")), (vec![1, 0, 0], "normal fault".to_owned()));
        let three = labels(&["walk", "run", "sit", "run"], None).unwrap();
        assert_eq!((three.values, three.classes.join(" ")), (vec![2, 0, 1, 0], "run sit walk".to_owned()));
        assert_eq!(labels(&["True", "False"], None).unwrap().values, [1, 0]);
        assert_eq!(labels(&["crack", "none", "none"], None).unwrap().values, [1, 0, 0]);
        let known = ["run".to_owned(), "sit".to_owned()];
        assert_eq!(labels(&["sit"], Some(&known)).unwrap().values, [1]);
    }

    #[test]
    fn what_is_no_label_has_its_line() {
        for text in ["-2", "0.5", "", "NaN"] {
            let e = labels(&["0", text], None).unwrap_err();
            assert!(matches!(&e, DataError::BadLabel { line: 3, found, .. } if found == text), "{e}");
        }
        let known = ["run".to_owned(), "sit".to_owned()];
        let e = labels(&["fly"], Some(&known)).unwrap_err();
        assert!(matches!(e, DataError::UnknownClass { .. }) && e.to_string().contains("run, sit"), "{e}");
        let many: Vec<String> = (0..2000).map(|i| format!("row {i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(labels(&many, None).unwrap_err(), DataError::TooManyTexts { found: 2000, .. }));
    }
}
