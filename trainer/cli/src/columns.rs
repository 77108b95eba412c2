//! Options that describe the columns of a CSV table.

use elbo::Meta;
use elbo_trainer::data::{DataOptions, Standardise};

/// The meaning of the columns of a CSV table.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Columns {
    /// CSV column with labels. The default is the column `label`, or else `anomaly`. If the labels are 0 and 1, 1 marks
    /// an anomaly and the AUC is reported.
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// CSV column that assigns each row to train, val, test or unused. The default is the column `split`.
    #[arg(long, value_name = "NAME")]
    pub split_column: Option<String>,
    /// CSV columns that are left out, such as columns of text. Separate several names with commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub drop_columns: Vec<String>,
}

impl Columns {
    /// Options that read rows in the form that the model of `meta` reads. They are standardised with the means and
    /// standard deviations of its training data.
    pub fn options(&self, meta: &Meta<'_>) -> DataOptions {
        let floats =
            |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>();
        let (mean, std) = (floats(meta.feature_mean), floats(meta.feature_std));
        DataOptions {
            label_column: self.label_column.clone(),
            split_column: self.split_column.clone(),
            drop_columns: self.drop_columns.clone(),
            standardise: (!mean.is_empty() && mean.len() == std.len()).then_some(Standardise { mean, std }),
            ..DataOptions::default()
        }
    }
}
