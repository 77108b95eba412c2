//! The layout of the weights and parameters of a dense layer in flash. The compiler and the kernels share it.
//!
//! A weight word contains four columns of one row. Columns are padded to whole words with zero weights, and the
//! parameters of rows to whole groups of four.

/// Columns in a weight word, and rows in a group.
pub(crate) const LANES: usize = 4;

/// The order of the weights of a matrix. It affects speed but never a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// Row after row, `words_per_row` words each; the bytes of a word are four columns in order.
    RowMajor = 0,
    /// Groups of four rows, padded with zero rows: for each four columns one word of each row. The bytes are columns
    /// 0, 2, 1, 3, so that SXTB16 gives the column pair (0, 1) and, rotated by 8, the pair (2, 3).
    Dsp4 = 1,
}

impl Packing {
    /// The packing with this code in a blob.
    pub const fn from_tag(tag: u32) -> Option<Self> {
        match tag {
            0 => Some(Self::RowMajor),
            1 => Some(Self::Dsp4),
            _ => None,
        }
    }

    /// Mask of the bytes in a row's last word that are not columns, for a matrix with `cols` columns.
    pub const fn padding_mask(self, cols: u32) -> u32 {
        match (cols % 4, self) {
            (0, _) => 0,
            (1, _) => 0xFFFF_FF00,
            (2, Self::RowMajor) => 0xFFFF_0000,
            (2, Self::Dsp4) => 0xFF00_FF00,
            (_, _) => 0xFF00_0000,
        }
    }
}

/// Number of weight words in a row of `cols` columns.
pub const fn words_per_row(cols: usize) -> usize {
    cols.div_ceil(LANES)
}

/// Number of weight words in a matrix, or `None` if it does not fit `usize`.
pub const fn weights_len(rows: usize, cols: usize, packing: Packing) -> Option<usize> {
    let stored_rows = match packing {
        Packing::RowMajor => Some(rows),
        Packing::Dsp4 => rows.div_ceil(LANES).checked_mul(LANES),
    };
    match stored_rows {
        Some(rows) => rows.checked_mul(words_per_row(cols)),
        None => None,
    }
}

/// Number of parameter words of a matrix: four biases and four multipliers for each group of four rows.
pub const fn params_len(rows: usize) -> Option<usize> {
    rows.div_ceil(LANES).checked_mul(2 * LANES)
}

/// Packs the weights `w` of four columns into a word.
pub const fn pack_word(w: [i8; 4], packing: Packing) -> u32 {
    let [a, b, c, d] = [w[0] as u8, w[1] as u8, w[2] as u8, w[3] as u8];
    u32::from_le_bytes(match packing {
        Packing::RowMajor => [a, b, c, d],
        Packing::Dsp4 => [a, c, b, d],
    })
}

/// The weights of four columns in order; the inverse of [`pack_word`].
#[inline]
pub const fn unpack_word(word: u32, packing: Packing) -> [i8; 4] {
    let [a, b, c, d] = word.to_le_bytes();
    let [b, c] = match packing {
        Packing::RowMajor => [b, c],
        Packing::Dsp4 => [c, b],
    };
    [a as i8, b as i8, c as i8, d as i8]
}

/// Index of the word with the columns `4 * word ..` of a row, in the weights of a matrix with `cols` columns.
pub const fn word_index(cols: usize, packing: Packing, row: usize, word: usize) -> usize {
    let words = words_per_row(cols);
    match packing {
        Packing::RowMajor => row * words + word,
        Packing::Dsp4 => (row / LANES * words + word) * LANES + row % LANES,
    }
}

/// The [`weights_len`] words of a matrix in flash, where `weight(row, col)` gives a weight.
pub fn pack_weights(
    rows: usize,
    cols: usize,
    packing: Packing,
    weight: impl Fn(usize, usize) -> i8,
) -> impl Iterator<Item = u32> {
    let words = words_per_row(cols);
    let interleaved = match packing {
        Packing::RowMajor => 1,
        Packing::Dsp4 => LANES,
    };
    let group = words * interleaved;
    let len = rows.div_ceil(interleaved) * group;
    (0..len).map(move |i| {
        let row = i / group * interleaved + i % interleaved;
        let col = i % group / interleaved * LANES;
        let lane = |lane: usize| {
            if row < rows && col + lane < cols { weight(row, col + lane) } else { 0 }
        };
        pack_word([lane(0), lane(1), lane(2), lane(3)], packing)
    })
}

/// The [`params_len`] words of a matrix in flash, from the bias and multiplier of each row.
pub fn pack_params(
    rows: usize,
    bias: impl Fn(usize) -> i32,
    multiplier: impl Fn(usize) -> i32,
) -> impl Iterator<Item = u32> {
    (0..rows.div_ceil(LANES) * 2 * LANES).map(move |i| {
        let row = i / (2 * LANES) * LANES + i % LANES;
        let value = match i / LANES % 2 {
            _ if row >= rows => 0,
            0 => bias(row),
            _ => multiplier(row),
        };
        value as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_hold_their_columns_in_the_stated_order() {
        let w = [-128, 1, 2, -1];
        assert_eq!(pack_word(w, Packing::RowMajor), 0xff02_0180);
        assert_eq!(pack_word(w, Packing::Dsp4), 0xff01_0280);
    }

    #[test]
    fn golden_matrix() {
        let weight = |row: usize, col: usize| (0x10 * row + col) as i8;
        let row_major: Vec<u32> = pack_weights(3, 5, Packing::RowMajor, weight).collect();
        assert_eq!(row_major, [0x0302_0100, 0x0000_0004, 0x1312_1110, 0x0000_0014, 0x2322_2120, 0x0000_0024]);
        let dsp4: Vec<u32> = pack_weights(3, 5, Packing::Dsp4, weight).collect();
        assert_eq!(dsp4, [0x0301_0200, 0x1311_1210, 0x2321_2220, 0, 0x0000_0004, 0x0000_0014, 0x0000_0024, 0]);
        let params: Vec<u32> = pack_params(5, |r| -(r as i32), |r| 100 + r as i32).collect();
        let minus = |r: i32| -r as u32;
        assert_eq!(params, [0, minus(1), minus(2), minus(3), 100, 101, 102, 103, minus(4), 0, 0, 0, 104, 0, 0, 0]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_none() {
        assert_eq!(weights_len(usize::MAX, 8, Packing::RowMajor), None);
        assert_eq!(weights_len(usize::MAX, 4, Packing::RowMajor), Some(usize::MAX));
        assert_eq!(weights_len(usize::MAX, 4, Packing::Dsp4), None);
        assert_eq!(params_len(usize::MAX), None);
    }

    proptest! {
        #[test]
        fn every_weight_lies_where_word_index_says(
            rows in 0usize..40,
            cols in 0usize..40,
            packing in prop_oneof![Just(Packing::RowMajor), Just(Packing::Dsp4)],
            salt: u32,
        ) {
            let weight = |row: usize, col: usize| {
                (salt ^ (row * 64 + col) as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0] as i8
            };
            let words: Vec<u32> = pack_weights(rows, cols, packing, weight).collect();
            prop_assert_eq!(Some(words.len()), weights_len(rows, cols, packing));
            prop_assert_eq!(Some(pack_params(rows, |_| 0, |_| 0).count()), params_len(rows));
            let mut sum = 0;
            for row in 0..rows {
                for col in 0..words_per_row(cols) * 4 {
                    let word = words[word_index(cols, packing, row, col / 4)];
                    let expected = if col < cols { weight(row, col) } else { 0 };
                    prop_assert_eq!(unpack_word(word, packing)[col % 4], expected);
                    sum += i64::from(expected);
                }
            }
            let stored: i64 = words.iter().flat_map(|word| word.to_le_bytes()).map(|b| i64::from(b as i8)).sum();
            prop_assert_eq!(stored, sum, "padding holds only zeros");
        }
    }
}
