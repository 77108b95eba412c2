//! The last pass: programs and layers become a blob (`docs/blob-format.md`).

use elbo::kernel::Packing;
use elbo_writer::{BlobWriter, DenseLayer, Program, WriteError};

/// A dense layer in integers: `y = requantize(weights x + bias, multiplier)` per row.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Largest |q| of the activations it is proved for.
    pub input_bound: u16,
    /// `[rows * cols]`, row-major.
    pub weights: Vec<i8>,
    /// `[rows]`, at the accumulator's scale.
    pub bias: Vec<i32>,
    /// `[rows]`, not negative; the row's output is `acc * multiplier / 2^32`.
    pub multiplier: Vec<i32>,
}

impl QuantizedMatrix {
    /// The layer as a blob has it.
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

    /// Largest magnitude of row `row`'s accumulator, for which the 32-bit proof asks `<= i32::MAX`.
    pub fn largest_accumulator(&self, row: usize) -> u64 {
        self.layer(Packing::RowMajor).largest_accumulator(row)
    }
}

/// The blob of planned programs and the matrices that they name by index, without metadata.
///
/// # Errors
/// [`WriteError`] when there are more records than a blob may have, or a matrix cannot be proved.
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
