//! The classes of labels over all recordings, and which of them are anomalies.

use std::collections::HashMap;
use std::path::Path;

use super::super::error::DataError;
use super::super::labels::{self, Labels};
use super::error::RecordingError;

/// Different labels at most; more are numbers, names or times.
const MOST: usize = 1000;

/// The different labels of all recordings, in the order in which they are met.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes {
    names: Vec<String>,
    places: HashMap<String, u32>,
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn same(a: &str, b: &str) -> bool {
    a == b || number(a).is_some() && number(a) == number(b)
}

impl Classes {
    /// The class of a label.
    pub(super) fn of(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    /// The label of a class.
    pub(super) fn name(&self, class: u32) -> &str {
        self.names.get(class as usize).map_or("", String::as_str)
    }

    /// The class of each label of a column.
    ///
    /// # Errors
    /// `TooManyTexts`.
    pub(super) fn of_labels(&mut self, path: &Path, column: &str, labels: &Labels) -> Result<Vec<u32>, DataError> {
        let mut known: HashMap<u32, u32> = HashMap::new();
        let mut found = Vec::with_capacity(labels.values.len());
        for value in &labels.values {
            let class = *known.entry(*value).or_insert_with(|| match labels.classes.get(*value as usize) {
                Some(name) => self.of(name),
                None => self.of(&value.to_string()),
            });
            found.push(class);
        }
        if self.names.len() > MOST {
            let (path, column) = (path.to_owned(), column.to_owned());
            return Err(DataError::TooManyTexts { path, column, found: self.names.len() });
        }
        Ok(found)
    }

    /// The classes of another source in this numbering.
    pub(super) fn join(&mut self, other: &Self) -> Vec<u32> {
        other.names.iter().map(|name| self.of(name)).collect()
    }

    fn shown(&self) -> String {
        let mut names: Vec<String> = self.names.iter().take(10).map(|name| format!("`{name}`")).collect();
        if self.names.len() > names.len() {
            names.push("...".to_owned());
        }
        names.join(", ")
    }

    /// Whether each class is an anomaly for a model that knows the normal ones: by name, or 0 and words for normal.
    pub(super) fn anomalies_of_model(&self, normal: &[String]) -> Vec<bool> {
        let known = |name: &str| match normal {
            [] => number(name) == Some(0.0) || labels::normal(name),
            _ => normal.iter().any(|said| same(name, said)),
        };
        self.names.iter().map(|name| !known(name)).collect()
    }

    /// Whether each class is an anomaly: it is none of those that `normal` names; without these, 0 is normal beside 1, or
    /// the one word that stands for normal.
    ///
    /// # Errors
    /// `NormalUnknown` and `NoSuchLabel`.
    pub(super) fn anomalies(
        &self,
        path: &Path,
        column: &str,
        normal: &[String],
        notes: &mut Vec<String>,
    ) -> Result<Vec<bool>, DataError> {
        if !normal.is_empty() {
            if let Some(missing) = normal.iter().find(|said| !self.names.iter().any(|name| same(name, said))) {
                return Err(RecordingError::NoSuchLabel {
                    path: path.to_owned(),
                    column: column.to_owned(),
                    normal: missing.clone(),
                    values: self.shown(),
                }
                .into());
            }
            return Ok(self.names.iter().map(|name| !normal.iter().any(|said| same(name, said))).collect());
        }
        if self.names.iter().all(|name| matches!(number(name), Some(0.0 | 1.0))) {
            return Ok(self.names.iter().map(|name| number(name) == Some(1.0)).collect());
        }
        let words: Vec<&String> = self.names.iter().filter(|name| labels::normal(name)).collect();
        let [word] = words.as_slice() else {
            return Err(RecordingError::NormalUnknown {
                path: path.to_owned(),
                column: column.to_owned(),
                values: self.shown(),
                example: self.names.first().cloned().unwrap_or_default(),
            }
            .into());
        };
        notes.push(format!(
            "{}: labels of column `{column}` other than `{word}` are taken for anomalies; they are {}",
            path.display(),
            self.shown()
        ));
        Ok(self.names.iter().map(|name| name != *word).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anomalies(names: &[&str], normal: &[&str]) -> Result<Vec<bool>, DataError> {
        let mut classes = Classes::default();
        names.iter().for_each(|name| {
            classes.of(name);
        });
        let normal: Vec<String> = normal.iter().map(ToString::to_string).collect();
        classes.anomalies(Path::new("t.csv"), "state", &normal, &mut Vec::new())
    }

    #[test]
    fn zero_a_word_or_an_option_is_normal() {
        assert_eq!(anomalies(&["1", "0"], &[]).unwrap(), [true, false]);
        assert_eq!(anomalies(&["1"], &[]).unwrap(), [true]);
        assert_eq!(anomalies(&["crack", "OK", "wear"], &[]).unwrap(), [true, false, true]);
        assert_eq!(anomalies(&["N", "S", "V"], &["N", "S"]).unwrap(), [false, false, true]);
        assert_eq!(anomalies(&["0", "2", "3"], &["0.0"]).unwrap(), [false, true, true]);
        for (names, normal, part) in [
            (&["N", "S"][..], &[][..], "`N`, `S`"),
            (&["ok", "good", "bad"], &[], "--normal ok"),
            (&["0", "2"], &[], "--normal 0"),
            (&["N", "S"], &["n"], "`n`"),
        ] {
            let text = anomalies(names, normal).unwrap_err().to_string();
            assert!(text.contains(part) && text.contains("state"), "{text}");
        }
    }
}
