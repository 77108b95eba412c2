//! The last pass: turns programs and layers into a blob (`docs/blob-format.md`).

use elbo::kernel::Packing;
use elbo_writer::{BlobWriter, DenseLayer, Program, WriteError};

/// A dense layer in integers. Each row gives `y = requantize(weights x + bias, multiplier)`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub cols: usize,
    /// Largest |q| of the inputs, for which the layer is proved.
    pub input_bound: u16,
    /// `[rows * cols]`, row-major.
    pub weights: Vec<i8>,
    /// `[rows]`, at the accumulator's scale.
    pub bias: Vec<i32>,
    /// `[rows]`, not negative; the row's output is `acc * multiplier / 2^32`.
    pub multiplier: Vec<i32>,
}

impl QuantizedMatrix {
    /// The layer in the form that the writer of blobs takes.
    pub fn layer(&self, packing: Packing) -> DenseLayer<'_> {
        DenseLayer {
            rows: self.rows,
            cols: self.cols,
            weights: &self.weights,
            bias: &self.bias,
            multiplier: &self.multiplier,
            packing,
            input_bound: self.input_bound,
        }
    }

    /// Largest magnitude of the accumulator of row `row`. The proof requires that it is at most `i32::MAX`.
    pub fn largest_accumulator(&self, row: usize) -> u64 {
        self.layer(Packing::RowMajor).largest_accumulator(row)
    }
}

/// Builds a blob without metadata from planned programs and the matrices that they refer to by index.
///
/// # Errors
/// [`WriteError`] if there are more records than a blob may have, or if a matrix cannot be proved.
pub fn assemble(
    programs: &[Program],
    matrices: &[QuantizedMatrix],
    packing: Packing,
) -> Result<BlobWriter, WriteError> {
    let mut blob = BlobWriter::new();
    for matrix in matrices {
        blob.matrix(&matrix.layer(packing))?;
    }
    for program in programs {
        blob.add(program)?;
    }
    Ok(blob)
}
