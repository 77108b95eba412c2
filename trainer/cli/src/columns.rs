//! Options that say how a file of rows is read where a trained model says the rest.

use std::path::PathBuf;

use anyhow::Result;
use elbo::Model;
use elbo_trainer::data::{DataOptions, Dataset, Reading};
use elbo_trainer::run::Run;
use elbo_trainer::settings::CalibrationRecipe;

use crate::output::noteln;

/// How a file is written, and what its columns are where that differs from the model's training data.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "How the file is read")]
pub struct Columns {
    /// Column of labels, `-` for none; by default the one of the training. Labels 0 and 1 give an AUC, 1 being an anomaly.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub label_column: Option<String>,
    /// Column with train, val, calibration, test or unused; by default the one of the training.
    #[arg(long, value_name = "NAME")]
    pub split_column: Option<String>,
    /// Columns to leave out that the training did not have; may be given several times, a name with a comma in double quotes.
    #[arg(long, value_name = "NAMES")]
    pub drop_columns: Vec<String>,
    /// The first line is a header; by default recognised.
    #[arg(long, conflicts_with = "no_header")]
    pub header: bool,
    /// The first line is a row.
    #[arg(long)]
    pub no_header: bool,
    /// What separates the columns: one character, `tab` or `blank`; by default recognised.
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,
    /// The decimal mark, `.` or `,`; by default recognised.
    #[arg(long, value_name = "MARK")]
    pub decimal: Option<String>,
    /// The value of white in images, where it is not the one of the training.
    #[arg(long, value_name = "VALUE")]
    pub white: Option<f64>,
    /// Takes what lies outside black and white in images for black and white, instead of refusing the file.
    #[arg(long)]
    pub clamp: bool,
}

impl Columns {
    /// Options that read rows as the model takes them: its columns by name, standardised as its training rows were.
    ///
    /// # Errors
    /// A description that cannot be decoded.
    pub fn options(&self, model: &Model<'_>) -> Result<DataOptions> {
        let reading = Reading::of_model(model)?;
        Ok(DataOptions {
            label_column: self.label_column.clone(),
            split_column: self.split_column.clone(),
            drop_columns: self.drop_columns.clone(),
            header: (self.header || self.no_header).then_some(self.header),
            delimiter: self.delimiter.clone(),
            decimal: self.decimal.clone(),
            white: self.white,
            clamp: self.clamp,
            calibration: CalibrationRecipe::default().rows(),
            reading: Some(reading),
            ..DataOptions::default()
        })
    }
}

/// Names the data of a run again.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Moved {
    /// The data of the training, where they have moved since.
    #[arg(long, value_name = "DATA")]
    pub data: Option<String>,
    /// Folder in which the data are looked for.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Moved {
    /// Tells the run where its data are now.
    pub fn apply(&self, run: &mut Run) {
        run.name_data(self.data.as_deref(), self.data_dir.as_deref());
    }
}

/// Says on standard error what a person should know of how the data were read.
pub fn say(dataset: &Dataset) {
    for note in &dataset.notes {
        noteln!("{note}");
    }
}
