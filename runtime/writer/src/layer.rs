//! The constants of a layer, and the bounds and records that follow from them.

use crate::error::MatrixError;
use elbo::bounds::FULL;
use elbo::kernel::{Packing, pack_params, pack_weights};
use elbo::program::{MAX_TENSOR_LEN, Matrix};

/// The constants of a dense layer, or of one phase of a convolution. Each row gives `y = (weights x + bias) *
/// multiplier / 2^32`, rounded once and saturated to 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseLayer<'a> {
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub cols: usize,
    /// `[rows * cols]`, row-major.
    pub weights: &'a [i8],
    /// `[rows]`, at the accumulator's scale.
    pub bias: &'a [i32],
    /// `[rows]`, not negative.
    pub multiplier: &'a [i32],
    /// The order of the weights in flash. It affects speed but not results.
    pub packing: Packing,
    /// Largest |q| of the inputs.
    pub input_bound: u16,
}

impl DenseLayer<'_> {
    /// Largest magnitude of the accumulator of row `row`. It must be at most `i32::MAX`.
    pub fn largest_accumulator(&self, row: usize) -> u64 {
        let start = row.saturating_mul(self.cols);
        let weights = self.weights.get(start..start.saturating_add(self.cols)).unwrap_or_default();
        let sum: u64 = weights.iter().map(|w| u64::from(w.unsigned_abs())).sum();
        sum * u64::from(self.input_bound) + self.bias.get(row).map_or(0, |bias| u64::from(bias.unsigned_abs()))
    }

    /// Largest |q| of the outputs.
    pub fn output_bound(&self) -> u16 {
        let outputs = self.multiplier.iter().enumerate().map(|(row, multiplier)| {
            let product = self.largest_accumulator(row).saturating_mul((*multiplier).max(0) as u64);
            product.saturating_add(1 << 31) >> 32
        });
        outputs.max().unwrap_or(0).clamp(1, u64::from(FULL)) as u16
    }

    /// The record of the layer if its constants start at word `params` of the data section.
    pub fn record(&self, params: u32) -> Matrix {
        let unplaced = Matrix {
            rows: self.rows as u32,
            cols: self.cols as u32,
            packing: Some(self.packing),
            input_bound: self.input_bound,
            output_bound: self.output_bound(),
            params,
            weights: 0,
        };
        Matrix { weights: params.saturating_add(unplaced.params_len()), ..unplaced }
    }

    /// The constants in the order of the data section: the parameters of the rows, then the weights.
    pub(crate) fn data(&self) -> impl Iterator<Item = u32> {
        let weight = |row: usize, col: usize| self.weights.get(row * self.cols + col).copied().unwrap_or(0);
        let of = |values: &[i32], row: usize| values.get(row).copied().unwrap_or(0);
        pack_params(self.rows, move |row| of(self.bias, row), move |row| of(self.multiplier, row)).chain(pack_weights(
            self.rows,
            self.cols,
            self.packing,
            weight,
        ))
    }

    /// Checks that the runtime can prove the absence of overflow.
    ///
    /// # Errors
    /// The first requirement that is violated.
    pub fn check(&self) -> Result<(), MatrixError> {
        let most = MAX_TENSOR_LEN as usize;
        if !(1..=most).contains(&self.rows) || !(1..=most).contains(&self.cols) {
            return Err(MatrixError::Shape);
        }
        if self.rows.checked_mul(self.cols) != Some(self.weights.len())
            || [self.bias.len(), self.multiplier.len()] != [self.rows; 2]
        {
            return Err(MatrixError::Lengths);
        }
        if !(1..=FULL).contains(&self.input_bound) {
            return Err(MatrixError::InputBound);
        }
        for (row, multiplier) in self.multiplier.iter().enumerate() {
            if *multiplier < 0 {
                return Err(MatrixError::Multiplier { row });
            }
            if self.largest_accumulator(row) > i32::MAX as u64 {
                return Err(MatrixError::Overflow { row });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const LAYER: DenseLayer<'static> = DenseLayer {
        rows: 2,
        cols: 3,
        weights: &[1, -2, 3, -128, 0, 127],
        bias: &[-10, 4],
        multiplier: &[1 << 30, 1 << 20],
        packing: Packing::Dsp4,
        input_bound: 100,
    };

    #[test]
    fn the_bound_is_that_of_the_largest_row() {
        assert_eq!([0, 1, 2].map(|row| LAYER.largest_accumulator(row)), [610, 25504, 0]);
        // 610 / 4 is larger than 25504 / 4096; it is rounded to nearest.
        assert_eq!(LAYER.output_bound(), 153);
        assert_eq!(DenseLayer { input_bound: 32768, ..LAYER }.output_bound(), 32768);
        assert_eq!(DenseLayer { multiplier: &[0, 0], ..LAYER }.output_bound(), 1);
    }

    #[test]
    fn constants_are_parameters_and_then_weights() {
        let record = LAYER.record(5);
        assert_eq!((record.rows, record.cols, record.params, record.weights), (2, 3, 5, 13));
        let data: Vec<u32> = LAYER.data().collect();
        assert_eq!(data.len() as u32, record.params_len() + record.weights_len());
        assert_eq!(data[..6], [-10i32 as u32, 4, 0, 0, 1 << 30, 1 << 20]);
        assert_eq!(data[8].to_le_bytes(), [1, 3, 0xFE, 0]);
    }

    #[test]
    fn what_the_runtime_would_refuse_is_refused() {
        assert_eq!(LAYER.check(), Ok(()));
        assert_eq!(DenseLayer { rows: 0, ..LAYER }.check(), Err(MatrixError::Shape));
        assert_eq!(DenseLayer { cols: 65537, ..LAYER }.check(), Err(MatrixError::Shape));
        assert_eq!(DenseLayer { cols: 2, ..LAYER }.check(), Err(MatrixError::Lengths));
        assert_eq!(DenseLayer { bias: &[0], ..LAYER }.check(), Err(MatrixError::Lengths));
        assert_eq!(DenseLayer { input_bound: 0, ..LAYER }.check(), Err(MatrixError::InputBound));
        assert_eq!(DenseLayer { multiplier: &[0, -1], ..LAYER }.check(), Err(MatrixError::Multiplier { row: 1 }));
        let almost = i32::MAX - 600;
        assert_eq!(DenseLayer { bias: &[almost, 0], ..LAYER }.check(), Ok(()));
        assert_eq!(DenseLayer { bias: &[almost + 1, 0], ..LAYER }.check(), Err(MatrixError::Overflow { row: 0 }));
    }
}
