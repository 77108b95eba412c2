//! The dense layer: `out = sat16(round((bias + W x) * m / 2^32))`, with i8 weights, i16 activations and i32 sums.

use super::pack::{LANES, Packing, unpack_word, words_per_row};
use crate::exact;
use crate::fixed::requantize;

/// A dense layer in flash, in the format of [`pack_weights`](super::pack_weights) and
/// [`pack_params`](super::pack_params).
#[derive(Clone, Copy, Debug)]
pub struct DenseMatrix<'a> {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// The order of `weights`.
    pub packing: Packing,
    /// i8 weights, four to a word.
    pub weights: &'a [u32],
    /// Per group of four rows: four biases, then four multipliers, both i32.
    pub params: &'a [u32],
}

/// Applies the layer: reads `cols` elements of `x` and writes `rows` elements of `out`, both rounded up to a multiple
/// of 4.
///
/// Row `r` becomes `sat16((acc * m[r] + 2^31) >> 32)`, where `acc` is the bias plus the sum of weights times
/// activations. The sum wraps; the verifier proves that it never does, and a build with debug assertions checks it. Padding rows become 0, and the elements of `x`
/// in padding columns have no effect. The function does nothing if the matrix is empty, or if a slice is too short or
/// not aligned to words of four bytes.
///
/// It uses the fastest kernel that the crate was compiled with. [`dense_portable`] is the definition.
#[inline]
pub fn dense(matrix: &DenseMatrix<'_>, x: &[i16], out: &mut [i16]) {
    let Some(operands) = Operands::new(matrix, x, out) else { return };
    match matrix.packing {
        Packing::RowMajor => operands.row_major(),
        #[cfg(elbo_dsp)]
        Packing::Dsp4 => super::dsp::dense(operands),
        #[cfg(elbo_m0)]
        Packing::Dsp4 => super::m0::dense(operands),
        #[cfg(not(any(elbo_dsp, elbo_m0)))]
        Packing::Dsp4 => operands.dsp4(),
    }
}

/// The definition of [`dense`] in plain Rust. It gives the same bits on every machine.
pub fn dense_portable(matrix: &DenseMatrix<'_>, x: &[i16], out: &mut [i16]) {
    let Some(operands) = Operands::new(matrix, x, out) else { return };
    match matrix.packing {
        Packing::RowMajor => operands.row_major(),
        Packing::Dsp4 => operands.dsp4(),
    }
}

/// Adds to `sums` the products of rows `4 group ..` with `x`, wrapping, over `x.len()` words of their columns starting
/// at word `first`. Does nothing if the matrix has no such words, or if `x` is not aligned to words of four bytes.
#[cfg(feature = "flow")]
pub(crate) fn add_rows(
    matrix: &DenseMatrix<'_>,
    group: usize,
    first: usize,
    x: &[[i16; LANES]],
    sums: &mut [i32; LANES],
) {
    let words = words_per_row(matrix.cols);
    if x.is_empty() || !x.as_ptr().addr().is_multiple_of(4) {
        return;
    }
    match matrix.packing {
        Packing::RowMajor => {
            for (row, sum) in (group * LANES..matrix.rows).zip(sums) {
                let start = row * words + first;
                let products = matrix.weights.get(start..start + x.len()).unwrap_or_default().iter().zip(x);
                *sum = products.fold(*sum, |sum, (word, x)| add_products(sum, *word, Packing::RowMajor, x));
            }
        }
        Packing::Dsp4 => {
            let start = (group * words + first) * LANES;
            let Some(weights) = matrix.weights.get(start..start + x.len() * LANES) else { return };
            let weights = weights.as_chunks().0;
            #[cfg(elbo_dsp)]
            super::dsp::add_group(weights, x, sums);
            #[cfg(elbo_m0)]
            super::m0::add_group(weights, x, sums);
            #[cfg(not(any(elbo_dsp, elbo_m0)))]
            add_group(weights, x, sums);
        }
    }
}

/// Adds to `sums` the products of four rows in `Dsp4` packing with the activations.
#[cfg_attr(any(elbo_dsp, elbo_m0), allow(dead_code))]
fn add_group(weights: &[[u32; LANES]], x: &[[i16; LANES]], sums: &mut [i32; LANES]) {
    for (words, x) in weights.iter().zip(x) {
        for (sum, &word) in sums.iter_mut().zip(words) {
            *sum = add_products(*sum, word, Packing::Dsp4, x);
        }
    }
}

/// A matrix and its vectors, cut to the parts that a kernel uses. None is empty, their lengths agree, and all begin at
/// words.
pub(super) struct Operands<'a> {
    /// One word per element of `x` for each stored row: all rows of `out` in `Dsp4`, without the padding rows in
    /// `RowMajor`.
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
        let aligned = (x.as_ptr().addr() | out.as_ptr().addr()).is_multiple_of(4);
        if len == 0 || !aligned {
            return None;
        }
        Some(Self {
            weights: matrix.weights.get(..len)?,
            params: matrix.params.as_chunks().0.get(..groups)?,
            x: x.as_chunks().0.get(..words)?,
            out: out.as_chunks_mut().0.get_mut(..groups)?,
        })
    }

    fn row_major(self) {
        let mut rest = self.weights;
        for (out, params) in self.out.iter_mut().zip(self.params) {
            let (biases, multipliers) = params.split_at(LANES);
            for ((y, &bias), &m) in out.iter_mut().zip(biases).zip(multipliers) {
                // There are no weights past the last row, so the sum of a padding row is its bias, zero.
                let (row, tail) = rest.split_at_checked(self.x.len()).unwrap_or_default();
                rest = tail;
                let words = row.iter().zip(self.x);
                let sum = words.fold(bias as i32, |sum, (word, x)| add_products(sum, *word, Packing::RowMajor, x));
                *y = requantize(sum, m as i32);
            }
        }
    }

    #[cfg_attr(any(elbo_dsp, elbo_m0), allow(dead_code))]
    fn dsp4(self) {
        let groups = self.weights.as_chunks::<LANES>().0.chunks_exact(self.x.len());
        for ((out, &[b0, b1, b2, b3, m0, m1, m2, m3]), group) in self.out.iter_mut().zip(self.params).zip(groups) {
            let mut sums = [b0, b1, b2, b3].map(|bias| bias as i32);
            add_group(group, self.x, &mut sums);
            for ((y, sum), m) in out.iter_mut().zip(sums).zip([m0, m1, m2, m3]) {
                *y = requantize(sum, m as i32);
            }
        }
    }
}

/// Adds four weights times four activations to `sum`. It is unrolled by hand, because a compiler that optimises for
/// size keeps loops.
#[inline(always)]
fn add_products(sum: i32, word: u32, packing: Packing, &[x0, x1, x2, x3]: &[i16; LANES]) -> i32 {
    let [w0, w1, w2, w3] = unpack_word(word, packing);
    let add = |sum, w: i8, x: i16| exact::add(sum, i32::from(w) * i32::from(x));
    add(add(add(add(sum, w0, x0), w1, x1), w2, x2), w3, x3)
}
