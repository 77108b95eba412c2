//! Matrices: no accumulator may overflow for activations within the declared bound.

use crate::blob::Blob;
use crate::error::LoadError;
use crate::exact::SLOW_PRODUCTS;
use crate::kernel::{LANES, Packing};
use crate::ops::bounds::FULL;
use crate::program::{MAX_TENSOR_LEN, Matrix};

/// Checks every matrix.
pub(super) fn verify_matrices(blob: &Blob<'_>) -> Result<(), LoadError> {
    let (matrices, data) = (blob.matrices(), blob.data());
    let mut cursor = 0u32;
    for index in 0..blob.matrix_count() {
        let matrix = index as u16;
        let m = Matrix::read(matrices, index);
        let dims = 1..=MAX_TENSOR_LEN;
        let Some(packing) = m.packing else {
            return Err(LoadError::MatrixShape { matrix });
        };
        if !dims.contains(&m.rows) || !dims.contains(&m.cols) || !(1..=FULL).contains(&m.input_bound) {
            return Err(LoadError::MatrixShape { matrix });
        }
        let place = || {
            let middle =
                cursor.checked_add(m.params_len()).filter(|middle| m.params == cursor && m.weights == *middle)?;
            let end = middle.checked_add(m.weights_len())?;
            let section = data.get(cursor as usize..end as usize)?;
            Some((end, section.split_at_checked(m.params_len() as usize)?))
        };
        let (end, (params, weights)) = place().ok_or(LoadError::MatrixLayout { matrix })?;
        cursor = end;
        verify_rows(&m, packing, params, weights, matrix)?;
    }
    if cursor as usize == data.len() {
        Ok(())
    } else {
        Err(LoadError::MatrixLayout { matrix: blob.matrix_count() as u16 })
    }
}

fn verify_rows(m: &Matrix, packing: Packing, params: &[u32], weights: &[u32], matrix: u16) -> Result<(), LoadError> {
    let padding_mask = packing.padding_mask(m.cols);
    let words = m.row_words() as usize;
    let mut output_bound = 1u32;
    let mut row = 0;
    let mut groups = weights.chunks(LANES * words);
    for params in params.as_chunks::<{ 2 * LANES }>().0 {
        let group = groups.next().unwrap_or_default();
        for lane in 0..LANES {
            let (bias, multiplier) = (params[lane] as i32, params[LANES + lane]);
            let (sum, last) = row_sum(group, packing, lane, words);
            if last & padding_mask != 0 || (row >= m.rows && (sum | params[lane] | multiplier) != 0) {
                return Err(LoadError::Padding { matrix });
            }
            let largest = bounded_product(sum, m.input_bound)
                .and_then(|products| products.checked_add(bias.unsigned_abs()))
                .filter(|largest| *largest <= i32::MAX as u32 && multiplier <= i32::MAX as u32)
                .ok_or(LoadError::Overflow { matrix, row: row as u16 })?;
            // Most rows have a smaller bound than an earlier row, and the exact product is slow on a Cortex-M0.
            if ((largest >> 16) + 1) * ((multiplier >> 16) + 1) > output_bound {
                output_bound = output_bound.max(scaled(largest, multiplier).min(u32::from(FULL)));
            }
            row += 1;
        }
    }
    if output_bound == u32::from(m.output_bound) { Ok(()) } else { Err(LoadError::OutputBound { matrix }) }
}

/// The product of a sum below 2^24 and a bound of at most 2^15, or `None` if it is 2^32 or more. It uses products of 32
/// bits, because those of 64 bits are slow on a Cortex-M0.
fn bounded_product(sum: u32, bound: u16) -> Option<u32> {
    let bound = u32::from(bound);
    let (high, low) = ((sum >> 16) * bound, (sum & 0xFFFF) * bound);
    if high <= 0xFFFF { (high << 16).checked_add(low) } else { None }
}

/// `a b / 2^32`, rounded half up, for factors below 2^31.
fn scaled(a: u32, b: u32) -> u32 {
    if SLOW_PRODUCTS { scaled_by_halves(a, b) } else { ((u64::from(a) * u64::from(b) + (1 << 31)) >> 32) as u32 }
}

/// The same for a core without products of 64 bits.
fn scaled_by_halves(a: u32, b: u32) -> u32 {
    let (a_high, a_low, b_high, b_low) = (a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF);
    // Two products below 2^31 - 2^16, and the upper half of one: there is room for the half that rounds.
    let middle = a_high * b_low + a_low * b_high + ((a_low * b_low) >> 16);
    a_high * b_high + ((middle + (1 << 15)) >> 16)
}

/// For one of the four rows of a group, of `words` words each: the sum of |w| and the last word. A row has at most 2^14
/// words, so the sum is at most 2^23.
#[inline(always)]
fn row_sum(group: &[u32], packing: Packing, lane: usize, words: usize) -> (u32, u32) {
    match packing {
        Packing::RowMajor => lane_sum::<1>(group.get(lane * words..(lane + 1) * words).unwrap_or_default(), 0),
        Packing::Dsp4 => lane_sum::<LANES>(group, lane),
    }
}

/// The same for one of the rows that are interleaved in `words`.
#[inline(never)]
fn lane_sum<const ROWS: usize>(words: &[u32], row: usize) -> (u32, u32) {
    let (mut sum, mut last) = (0, 0);
    let mut words = words.as_chunks::<ROWS>().0;
    // The loops below take as long as three words.
    if cfg!(elbo_m0)
        && let [words] = words
    {
        last = words[row % ROWS];
        let lanes = abs_lanes(last);
        return ((lanes & 0xFFFF) + (lanes >> 16), last);
    }
    while !words.is_empty() {
        let (some, rest) = words.split_at(words.len().min(LANE_WORDS));
        words = rest;
        let mut lanes = 0;
        for words in some {
            last = words[row % ROWS];
            lanes += abs_lanes(last);
        }
        sum += (lanes & 0xFFFF) + (lanes >> 16);
    }
    (sum, last)
}

/// A word adds at most 256 to a lane, so 255 words fit before it overflows.
const LANE_WORDS: usize = 128;

/// Magnitudes of four signed bytes, as bytes (-128 gives 128), summed into two 16-bit lanes.
#[inline(always)]
fn abs_lanes(word: u32) -> u32 {
    let sign = (word >> 7) & 0x0101_0101;
    let abs = (word ^ sign.wrapping_mul(255)).wrapping_add(sign);
    (abs & 0x00FF_00FF) + ((abs >> 8) & 0x00FF_00FF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    #[test]
    fn magnitudes_of_packed_bytes() {
        let word = |bytes: [i8; 4]| u32::from_le_bytes(bytes.map(|b| b as u8));
        assert_eq!(abs_lanes(word([-128, 127, -1, 0])), 255 | 1 << 16);
        assert_eq!(abs_lanes(word([-128; 4])), 256 | 256 << 16);
        assert_eq!(abs_lanes(word([5, -128, 0, -7])), 133 | 7 << 16);
    }

    #[test]
    fn products_by_halves_are_exact() {
        let mut factors = std::vec![0u32, 1, 0x7FFF_FFFF, 0x8000, 0xFFFF, 0x1_0000, 0x7FFF_0000, 0x7FFF_8000];
        factors.extend((1..40u32).map(|i| i.wrapping_mul(0x9E37_79B9) >> 1));
        for &a in &factors {
            for &b in &factors {
                assert_eq!(scaled_by_halves(a, b), scaled(a, b), "{a} {b}");
            }
        }
    }

    #[test]
    fn lanes_do_not_overflow_on_the_longest_row() {
        let words = std::vec![0x8080_8080u32; 4 << 14];
        assert_eq!(lane_sum::<1>(&words[..1 << 14], 0).0, 1 << 23);
        assert_eq!(lane_sum::<4>(&words, 3).0, 1 << 23);
    }

    #[test]
    fn rows_of_either_packing() {
        let (rows, cols) = (7, 10);
        let weight = |row: usize, col: usize| (row * 31 + col * 17) as u8 as i8;
        for packing in [Packing::RowMajor, Packing::Dsp4] {
            let words: std::vec::Vec<u32> = kernel::pack_weights(rows, cols, packing, weight).collect();
            for row in 0..8 {
                let sum = (0..cols).map(|col| u32::from(weight(row, col).unsigned_abs())).sum::<u32>();
                let expected = if row < rows { sum } else { 0 };
                let group = words.chunks(LANES * 3).nth(row / LANES).unwrap_or_default();
                assert_eq!(row_sum(group, packing, row % LANES, 3).0, expected);
            }
        }
    }
}
