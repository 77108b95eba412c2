//! The options of a fit, and why rows cannot be fitted.

use thiserror::Error;

use crate::family::mixture::prior::Target;
#[cfg(doc)]
use crate::family::mixture::prior::rounding;

/// The options of a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmOptions {
    /// Number of independent starts. The best one is kept, judged by the validation rows if there are any.
    pub starts: usize,
    /// Largest number of steps of a start.
    pub iterations: usize,
    /// A start ends when a step improves the objective by less than this value, in nats per row.
    pub tolerance: f64,
    /// Value that is added to the variance of every column in every component, in squared units of the rows.
    pub floor: f64,
    /// Whether the variance that the rounding of a column hides is added, too ([`rounding`]).
    pub rounding: bool,
    /// Weight of the target in the covariance of a component, in rows per column. For example, 0.05 with 20 columns is
    /// one row. A single component is not shrunk.
    pub shrinkage: f64,
    /// What the covariance of a component is shrunk towards.
    pub target: Target,
    /// Number of scales of the covariances, whose factors are 1, 3, 9 and so on. With 1 a component is a Gaussian.
    pub scales: usize,
    /// Number of rows that a component needs to be kept. If this is less than the number of columns plus one, some
    /// shrinkage is necessary.
    pub least_rows: f64,
    /// Seed of the starts.
    pub seed: u64,
}

impl Default for EmOptions {
    fn default() -> Self {
        Self {
            starts: 5,
            iterations: 200,
            tolerance: 1e-4,
            floor: 1e-3,
            rounding: false,
            shrinkage: 0.05,
            target: Target::Diagonal,
            scales: 1,
            least_rows: 2.0,
            seed: 0,
        }
    }
}

/// Why a mixture cannot be fitted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum EmError {
    /// There are no rows.
    #[error("a mixture needs at least one row, but there are none")]
    NoRows,
    /// The number of values is not a multiple of the number of columns.
    #[error("{values} values are not a whole number of rows of {dim} columns")]
    Shape {
        /// Number of values.
        values: usize,
        /// Number of columns.
        dim: usize,
    },
    /// A value is NaN or infinite.
    #[error("row {row}, column {column}: expected a finite number, found {value}")]
    NotFinite {
        /// Index of the row, counted from 0.
        row: usize,
        /// Index of the column, counted from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// The number of components is not possible for these rows.
    #[error("components is {components}: expected 1 to the number of train rows, {rows}")]
    Components {
        /// Number of components.
        components: usize,
        /// Number of rows.
        rows: usize,
    },
    /// An option is out of its range.
    #[error("{name} is {value}: expected {expected}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// Value of the option.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// A covariance is not positive definite, because of rounding.
    #[error(
        "the covariance of a component is singular to working precision: raise the covariance floor above {floor:e}"
    )]
    Singular {
        /// The floor, which was too low.
        floor: f64,
    },
}
