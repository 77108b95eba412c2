//! How a source is read and split, and the record of it that a model keeps.

use serde::{Deserialize, Serialize};

use super::front::{Cut, FrontRecipe};
use super::kind::{Colour, Kind};
use super::scaling::{Scaling, Standardise};

/// How to read and split a source.
#[derive(Debug, Clone, PartialEq)]
pub struct DataOptions {
    /// Images or a table. Without it arrays of unsigned bytes with rows and columns are images, and all else is a table.
    pub kind: Option<Kind>,
    /// Rows and columns of an image, `28x28` for example, where the source does not say; a third number is the channels.
    pub shape: Option<String>,
    /// The value of white in images; without it 255 for bytes, else 1 or 255 by the largest value.
    pub white: Option<f64>,
    /// What becomes of colour images.
    pub colour: Option<Colour>,
    /// Takes values of images below black for black, and those above white for white, instead of refusing them.
    pub clamp: bool,
    /// Column of labels; by default `label`, else `anomaly`, else one of a few other names where its values look like
    /// labels; `-` for none. Columns named `label`, `anomaly` and `split` are never features. Without a header, columns
    /// are `c0`, `c1`...
    pub label_column: Option<String>,
    /// Column of `train`, `val`, `calibration`, `test` and `unused`; by default `split`, where there is one.
    pub split_column: Option<String>,
    /// Columns that are neither features nor labels: names, times, text. One entry may hold several names with commas
    /// between; a name with a comma in it stands by itself or in double quotes.
    pub drop_columns: Vec<String>,
    /// Whether the first line of a text table is a header; without it recognised.
    pub header: Option<bool>,
    /// What separates the columns of a text table: one character, `tab` or `blank`; without it recognised.
    pub delimiter: Option<String>,
    /// The decimal mark of a text table, `.` or `,`; without it recognised.
    pub decimal: Option<String>,
    /// Share of the train rows that is taken for validation, from their end after a seeded shuffle,
    /// where the source marks no validation rows; in \[0, 1).
    pub validation_fraction: f32,
    /// The rows that are kept for the calibration of the scores, where the source marks none.
    pub calibration: CalibrationRows,
    /// Seed of the shuffle.
    pub seed: u64,
    /// How the features of a table are scaled.
    pub scaling: Scaling,
    /// Takes all rows in the order of the source as test rows, whatever split the source has.
    pub unsplit: bool,
    /// The column that names the rows; it is a feature only if the model's own columns contain it.
    pub id_column: Option<String>,
    /// The column that says to which machine or other group a row belongs; recordings find it by its name, too.
    pub group_column: Option<String>,
    /// Leaves rows labelled 1 of a source whose labels are all 0 and 1 out of the train and validation rows: they are
    /// anomalies, which a model of the normal rows must not learn.
    pub leave_out_anomalies: bool,
    /// What is computed from windows of recordings; `None` takes the rows of the source as they are.
    pub front: Option<FrontRecipe>,
    /// What the model that will see the rows says of them. It decides instead of the options and the source: kind,
    /// shape, columns, labels, standardisation.
    pub reading: Option<Reading>,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            kind: None,
            shape: None,
            white: None,
            colour: None,
            clamp: false,
            label_column: None,
            split_column: None,
            drop_columns: Vec::new(),
            header: None,
            delimiter: None,
            decimal: None,
            validation_fraction: 0.1,
            calibration: CalibrationRows::default(),
            seed: 0,
            scaling: Scaling::Standard,
            unsplit: false,
            id_column: None,
            group_column: None,
            leave_out_anomalies: false,
            front: None,
            reading: None,
        }
    }
}

/// The rows that neither train nor choose a model, so that their scores say how rare a score is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CalibrationRows {
    /// This share of the train rows, taken from them after a seeded shuffle; in \[0, 1).
    Share(f32),
    /// The same, but none of a table with few train rows.
    ShareOfLarge {
        /// The share, in \[0, 1).
        share: f32,
        /// A table with fewer train rows keeps them all for the training.
        small: usize,
    },
}

impl Default for CalibrationRows {
    /// None.
    fn default() -> Self {
        Self::Share(0.0)
    }
}

/// How the rows of a model were read, so that others are read alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What the values mean.
    pub kind: Kind,
    /// Rows and columns of one example; one row for a table.
    pub shape: [usize; 2],
    /// The value of white in images; `None` for bytes, where it is 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub white: Option<f64>,
    /// What became of colour images.
    #[serde(default, skip_serializing_if = "Colour::is_default")]
    pub colour: Colour,
    /// Names of a table's features, in the model's order; empty where the source had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Units of the features, where the source had a row of them; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
    /// Names of columns that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// The column of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The column of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The text of label 0, of label 1 and so on, where the labels were texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// What was applied to a table; `None` for images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardise: Option<Standardise>,
    /// How recordings were cut into windows, for a model with a front end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}
