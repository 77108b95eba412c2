//! Options that say what the columns of a CSV table are.

use elbo::Meta;
use elbo_trainer::data::{DataOptions, Standardise};

/// What the columns of a CSV table are.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Columns {
    /// CSV column of labels; by default `label`, else `anomaly`. Labels 0 and 1 give an AUC, 1 being an anomaly.
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// CSV column with train, val, test or unused; by default `split`.
    #[arg(long, value_name = "NAME")]
    pub split_column: Option<String>,
    /// CSV columns to leave out, such as text.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub drop_columns: Vec<String>,
}

impl Columns {
    /// Options that read rows as the model of `meta` takes them, standardised as its training rows were.
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
