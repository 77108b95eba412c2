//! The dense layer: `out = sat16(round((bias + W x) * m / 2^32))`, weights i8, activations i16, sums i32.

use super::pack::{LANES, Packing, unpack_word, words_per_row};
use crate::fixed::requantize;

/// A dense layer in flash, laid out as [`pack_weights`](super::pack_weights) and [`pack_params`](super::pack_params) do.
#[derive(Clone, Copy, Debug)]
pub struct DenseMatrix<'a> {
    /// Outputs.
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    /// Inputs.
    pub cols: usize,
    /// The order of `weights`.
    /// Order of the weights.
    pub packing: Packing,
    /// i8 weights, four to a word.
    pub weights: &'a [u32],
    /// Per group of four rows: four biases, then four multipliers, both i32.
    pub params: &'a [u32],
}

/// Multiplies by a matrix: reads `cols` rounded up to a multiple of 4 of `x` and writes `rows`, rounded likewise, of `out`.
///
/// Row `r` becomes `sat16((acc * m[r] + 2^31) >> 32)` where `acc` is the bias plus the sum of weight times activation,
/// wrapping; the verifier proves that it never wraps. Padded rows become 0, and what `x` holds in padded columns
/// has no effect. Does nothing when a slice is shorter than the matrix needs.
///
/// Uses the fastest kernel that the crate was compiled with; see [`dense_portable`] for the definition.
#[inline]
pub fn dense(matrix: &DenseMatrix<'_>, x: &[i16], out: &mut [i16]) {
    #[allow(unused_mut)]
    let Some(mut operands) = Operands::new(matrix, x, out) else {
        return;
    };
    #[cfg(elbo_dsp)]
    if super::dsp::dense(&mut operands) {
        return;
    }
    #[cfg(elbo_m0)]
    if super::m0::dense(&mut operands) {
        return;
    }
    operands.run();
}

/// The definition of [`dense`]: plain Rust, the same bits on every machine.
pub fn dense_portable(matrix: &DenseMatrix<'_>, x: &[i16], out: &mut [i16]) {
    if let Some(operands) = Operands::new(matrix, x, out) {
        operands.run();
    }
}

/// A matrix and its vectors, trimmed to what a kernel touches: their lengths agree.
pub(super) struct Operands<'a> {
    pub(super) packing: Packing,
    /// A word per element of `x` for each stored row: all of `out` in `Dsp4`, without the padding rows in `RowMajor`.
    pub(super) weights: &'a [u32],
    pub(super) params: &'a [[u32; 2 * LANES]],
    pub(super) x: &'a [[i16; LANES]],
    pub(super) out: &'a mut [[i16; LANES]],
}

impl<'a> Operands<'a> {
    fn new(matrix: &DenseMatrix<'a>, x: &'a [i16], out: &'a mut [i16]) -> Option<Self> {
        let words = words_per_row(matrix.cols);
        let groups = matrix.rows.div_ceil(LANES);
        let len = super::weights_len(matrix.rows, matrix.cols, matrix.packing)?;
        Some(Self {
            packing: matrix.packing,
            weights: matrix.weights.get(..len)?,
            params: matrix.params.as_chunks().0.get(..groups)?,
            x: x.as_chunks().0.get(..words)?,
            out: out.as_chunks_mut().0.get_mut(..groups)?,
        })
    }

    fn run(self) {
        match self.packing {
            Packing::RowMajor => self.row_major(),
            Packing::Dsp4 => self.dsp4(),
        }
    }

    fn row_major(self) {
        let mut rest = self.weights;
        for (out, &[b0, b1, b2, b3, m0, m1, m2, m3]) in self.out.iter_mut().zip(self.params) {
            let rows = [(b0, m0), (b1, m1), (b2, m2), (b3, m3)];
            for (y, (bias, m)) in out.iter_mut().zip(rows) {
                // Past the last row there are no weights, so that the sum of a padded row is its bias, zero.
                let (row, tail) = rest.split_at_checked(self.x.len()).unwrap_or_default();
                rest = tail;
                *y = requantize(add_products(bias as i32, row, self.x), m as i32);
            }
        }
    }

    fn dsp4(self) {
        let mut rest = self.weights.as_chunks::<LANES>().0;
        for (out, &[b0, b1, b2, b3, m0, m1, m2, m3]) in self.out.iter_mut().zip(self.params) {
            let Some((group, tail)) = rest.split_at_checked(self.x.len()) else {
                return;
            };
            rest = tail;
            let mut acc = [b0, b1, b2, b3].map(|bias| bias as i32);
            for (words, x) in group.iter().zip(self.x) {
                for (acc, &word) in acc.iter_mut().zip(words) {
                    *acc = acc.wrapping_add(dot(word, Packing::Dsp4, x));
                }
            }
            for ((y, acc), m) in out.iter_mut().zip(acc).zip([m0, m1, m2, m3]) {
                *y = requantize(acc, m as i32);
            }
        }
    }
}

/// Adds the products of a row in `RowMajor` packing and its activations to `sum`.
#[inline(never)]
fn add_products(mut sum: i32, row: &[u32], x: &[[i16; LANES]]) -> i32 {
    for (&word, x) in row.iter().zip(x) {
        sum = sum.wrapping_add(dot(word, Packing::RowMajor, x));
    }
    sum
}

/// Four weights times four activations.
#[inline(always)]
fn dot(word: u32, packing: Packing, x: &[i16; LANES]) -> i32 {
    let w = unpack_word(word, packing).map(i32::from);
    let x = x.map(i32::from);
    w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3]
}
