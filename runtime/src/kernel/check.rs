//! The test suite for dense kernels. It needs no std, so that a firmware can run it on the device.
//!
//! The reference computes in 64 bits, with weights given as a function of row and column. It therefore shares neither
//! the packing nor the arithmetic of the kernels.

use super::DenseMatrix;
use super::pack::{LANES, Packing, pack_params, pack_weights};

/// A dense kernel: `dense` or `dense_portable`.
pub type Dense = fn(&DenseMatrix<'_>, &[i16], &mut [i16]);

/// The first difference between a kernel's result and the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Order of its weights.
    pub packing: Packing,
    /// The kind of case.
    pub about: About,
    /// Halfwords by which `x` and `out` are shifted from word alignment. Unless both are 0, the kernel must write
    /// nothing.
    pub offsets: (usize, usize),
    /// Index of the element of `out`. An index past the rows is the first element that the kernel must not change.
    pub element: usize,
    /// The value of the reference.
    pub expected: i16,
    /// The value of the kernel.
    pub found: i16,
}

/// The kind of a case: how its numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Numbers as in a model; about a third of the results saturate.
    Typical,
    /// Uniform random words: sums wrap and multipliers may be negative, and the bits must still agree.
    AnyBits,
    /// Weights -128 and 127, activations -32768 and 32767.
    Extremes,
    /// Products that lie halfway between two results.
    Ties,
    /// Multipliers 0.
    ZeroMultiplier,
    /// `x`, `out`, the weights or the parameters lack their last element: the kernel must write nothing.
    Short,
}

const CASES: [About; 6] =
    [About::Typical, About::AnyBits, About::Extremes, About::Ties, About::ZeroMultiplier, About::Short];

/// The largest number of rows and of columns that [`shape`] accepts.
pub const MAX_SIDE: usize = 72;

/// Checks `kernel` on every shape up to 9 by 9 and on `shapes` random ones. Needs about 8 KB of stack.
pub fn suite(kernel: Dense, shapes: u32) -> Result<(), Mismatch> {
    for rows in 0..=9 {
        for cols in 0..=9 {
            shape(kernel, rows, cols, 0)?;
        }
    }
    (0..shapes).try_for_each(|seed| {
        let side = |salt| 1 + uniform(seed, salt, 0) as usize % 70;
        shape(kernel, side(1), side(2), seed)
    })
}

/// Checks `kernel` on one shape: every case, packing and alignment, with numbers drawn from `seed`.
pub fn shape(kernel: Dense, rows: usize, cols: usize, seed: u32) -> Result<(), Mismatch> {
    // Some cases let sums wrap on purpose.
    crate::exact::forgo();
    for about in CASES {
        for packing in [Packing::RowMajor, Packing::Dsp4] {
            for offsets in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                Case { rows, cols, packing, about, seed }.check(kernel, offsets)?;
            }
        }
    }
    Ok(())
}

/// The contents of `out` and around it before a kernel runs.
const UNTOUCHED: i16 = 0x5aa5;

/// Aligned like an arena, with space for an offset at the start and a guard at the end.
#[repr(align(8))]
struct Vector([i16; MAX_SIDE + 4]);

#[derive(Clone, Copy)]
struct Case {
    rows: usize,
    cols: usize,
    packing: Packing,
    about: About,
    seed: u32,
}

impl Case {
    fn check(self, kernel: Dense, offsets: (usize, usize)) -> Result<(), Mismatch> {
        let mut weights = [0; MAX_SIDE * MAX_SIDE / LANES];
        let mut params = [0; MAX_SIDE * 2];
        let mut x = Vector([0; MAX_SIDE + 4]);
        let mut out = Vector([UNTOUCHED; MAX_SIDE + 4]);
        let weights_len =
            fill(&mut weights, pack_weights(self.rows, self.cols, self.packing, |r, c| self.weight(r, c)));
        let params_len = fill(&mut params, pack_params(self.rows, |r| self.bias(r), |r| self.multiplier(r)));
        let (x_len, out_len) = (self.cols.next_multiple_of(LANES), self.rows.next_multiple_of(LANES));
        fill(&mut x.0, (0..offsets.0 + x_len).map(|i| self.activation(i.wrapping_sub(offsets.0))));

        let lengths = [weights_len, params_len, x_len, out_len];
        for lacking in 0..lengths.len() {
            let mut lengths = lengths;
            if self.about == About::Short {
                match lengths[lacking].checked_sub(1) {
                    Some(len) => lengths[lacking] = len,
                    None => continue,
                }
            } else if lacking > 0 {
                break;
            }
            let matrix = DenseMatrix {
                rows: self.rows,
                cols: self.cols,
                packing: self.packing,
                weights: &weights[..lengths[0]],
                params: &params[..lengths[1]],
            };
            kernel(&matrix, &x.0[offsets.0..][..lengths[2]], &mut out.0[offsets.1..][..lengths[3]]);
            for (i, &found) in out.0.iter().enumerate() {
                let row = i.wrapping_sub(offsets.1);
                let nothing = self.about == About::Short || offsets != (0, 0) || self.cols == 0 || row >= out_len;
                let expected = if nothing { UNTOUCHED } else { self.expected(row) };
                if found != expected {
                    let Self { rows, cols, packing, about, .. } = self;
                    return Err(Mismatch { rows, cols, packing, about, offsets, element: row, expected, found });
                }
            }
        }
        Ok(())
    }

    /// The definition in different arithmetic: sums in 64 bits reduced to 32 bits at the end, and rounding by a floor
    /// division.
    fn expected(self, row: usize) -> i16 {
        if row >= self.rows {
            return 0;
        }
        let product = |col| i64::from(self.weight(row, col)) * i64::from(self.activation(col));
        let sum = i64::from(self.bias(row)) + (0..self.cols).map(product).sum::<i64>();
        let scaled = (i64::from(sum as i32) * i64::from(self.multiplier(row)) + 0x8000_0000).div_euclid(0x1_0000_0000);
        scaled.clamp(-32768, 32767) as i16
    }

    fn draw(self, salt: u32, index: usize) -> i32 {
        uniform(self.seed, (self.about as u32) << 8 | salt, index) as i32
    }

    fn weight(self, row: usize, col: usize) -> i8 {
        let draw = self.draw(0, row * MAX_SIDE + col);
        match self.about {
            About::Extremes => self.extreme(draw, row, -128, 127) as i8,
            _ => (draw >> 24) as i8,
        }
    }

    fn activation(self, col: usize) -> i16 {
        let draw = self.draw(1, col);
        match self.about {
            About::Extremes => self.extreme(draw, col / LANES, -32768, 32767) as i16,
            _ => (draw >> 16) as i16,
        }
    }

    fn bias(self, row: usize) -> i32 {
        let draw = self.draw(2, row);
        match self.about {
            About::AnyBits => draw,
            _ => draw >> 8,
        }
    }

    fn multiplier(self, row: usize) -> i32 {
        let draw = self.draw(3, row);
        match self.about {
            About::Typical | About::Short => draw & 0x00ff_ffff,
            About::AnyBits => draw,
            About::Extremes => [i32::MAX, 1 << 20, 1, draw & i32::MAX][row % 4],
            // Results are sums divided by 4 to 256, so that many of them are exactly halfway.
            About::Ties => 1 << (24 + row % 7),
            About::ZeroMultiplier => 0,
        }
    }

    /// One extreme throughout a run of four, or mixed extremes, so that sums reach both ends.
    fn extreme(self, draw: i32, run: usize, low: i32, high: i32) -> i32 {
        let sign = match run % 3 {
            0 => self.seed as i32,
            1 => !(self.seed as i32),
            _ => draw >> 16,
        };
        if sign & 1 == 0 { low } else { high }
    }
}

/// Fills the start of `slice` and returns the number of elements written.
fn fill<T>(slice: &mut [T], items: impl Iterator<Item = T>) -> usize {
    slice.iter_mut().zip(items).map(|(slot, item)| *slot = item).count()
}

/// The finalizer of MurmurHash3 over a few words. It gives test data as a function of position.
fn uniform(seed: u32, salt: u32, index: usize) -> u32 {
    let mut h =
        seed.wrapping_mul(0x9e37_79b9) ^ salt.wrapping_mul(0x85eb_ca77) ^ (index as u32).wrapping_mul(0xc2b2_ae3d);
    h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
    h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
    h ^ h >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{dense, dense_portable};
    use proptest::prelude::*;

    /// Instantiates the suite for a kernel.
    macro_rules! suite {
        ($name:ident, $kernel:path) => {
            mod $name {
                use super::*;

                #[test]
                fn suite() {
                    super::super::suite($kernel, 50).unwrap();
                }

                proptest! {
                    #[test]
                    fn any_shape(rows in 0usize..=70, cols in 0usize..=70, seed: u32) {
                        prop_assert_eq!(shape($kernel, rows, cols, seed), Ok(()));
                    }
                }
            }
        };
    }

    suite!(portable, dense_portable);
    suite!(selected, dense);

    /// A suite that accepts a wrong kernel proves nothing: each kind of case must detect the mistake that it is meant
    /// for.
    #[test]
    fn wrong_kernels_are_caught() {
        fn caught(kernel: Dense) -> Option<About> {
            suite(kernel, 20).err().map(|mismatch| mismatch.about)
        }
        let ignores_short_slices: Dense = |m, x, out| {
            dense_portable(m, x, out);
            if out.len() < m.rows.next_multiple_of(4) && !out.is_empty() {
                out[0] = 0;
            }
        };
        assert_eq!(caught(ignores_short_slices), Some(About::Short));

        let off_by_one: Dense = |m, x, out| {
            dense_portable(m, x, out);
            if let Some(y) = out.get_mut(m.rows.wrapping_sub(1)) {
                *y = y.wrapping_add(1);
            }
        };
        assert_eq!(caught(off_by_one), Some(About::Typical));

        let truncates_ties: Dense = |m, x, out| {
            let mut params = m.params.to_vec();
            // Multiplying by one less moves exact halves and exact results just below.
            params.chunks_mut(8).flat_map(|group| &mut group[4..]).for_each(|m| {
                if m.is_power_of_two() && *m > 1 << 20 {
                    *m -= 1;
                }
            });
            dense_portable(&DenseMatrix { params: &params, ..*m }, x, out);
        };
        assert_eq!(caught(truncates_ties), Some(About::Ties));
    }
}
