//! How far a metric may be from its value on more data like these.
//!
//! Neighbouring windows of a recording are alike, so that resampling single rows would give intervals that are too narrow.
//! The circular block bootstrap draws blocks of contiguous rows with replacement, as many as the data have, and computes
//! the metric again (Politis and Romano, *A circular block-resampling procedure for stationary data*, 1992; after Künsch,
//! *The jackknife and the bootstrap for general stationary observations*, 1989). The interval holds the middle 95 % of
//! the results. It says nothing of machines or faults that the data do not contain.

use elbo::rng::Xoshiro128PlusPlus;
use rand_core::Rng;

use crate::quantile;

/// A number below `below`, which is at least 1.
fn draw(rng: &mut Xoshiro128PlusPlus, below: usize) -> usize {
    ((u128::from(rng.next_u64()) * below as u128) >> 64) as usize
}

/// How often each of `rows` rows is drawn if they are drawn in blocks of `block` contiguous ones; behind the last row
/// follows the first. The counts add up to `rows`.
pub fn block_weights(rows: usize, block: usize, rng: &mut Xoshiro128PlusPlus) -> Vec<u32> {
    let mut weights = vec![0; rows];
    let mut left = rows;
    while left > 0 {
        let (start, len) = (draw(rng, rows), block.clamp(1, left));
        (start..start + len).for_each(|at| weights[at % rows] += 1);
        left -= len;
    }
    weights
}

/// A block length: that of the longest event, so that blocks hold events, but at least the cube root of the number of rows
/// and at most a fiftieth of it, so that there are blocks to draw from.
#[must_use]
pub fn block_len(rows: usize, longest_event: usize) -> usize {
    let root = (rows as f64).cbrt().ceil() as usize;
    longest_event.min(rows / 50).max(root).max(1)
}

/// The middle 95 % of the values. `None` for fewer than 40, of which a fortieth part says nothing, and where both ends are
/// the same: rows without a single false alarm, drawn again and again, do not say how rare one is.
#[must_use]
pub fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_unstable_by(f64::total_cmp);
    let bounds = || Some([quantile(&values, 0.025)?, quantile(&values, 0.975)?]);
    bounds().filter(|[low, high]| values.len() >= 40 && low < high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stimulus::generator;

    #[test]
    fn blocks_are_contiguous_and_as_many_as_the_rows() {
        let weights = block_weights(100, 7, &mut generator(3));
        assert_eq!(weights.iter().sum::<u32>(), 100);
        assert_eq!(weights, block_weights(100, 7, &mut generator(3)));
        assert_ne!(weights, block_weights(100, 7, &mut generator(4)));
        // A weight changes at most at the two ends of each of the 15 blocks.
        assert!(weights.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 30);
        assert_eq!(block_weights(5, 9, &mut generator(1)), [1; 5]);
        assert!(block_weights(0, 3, &mut generator(1)).is_empty());
    }

    #[test]
    fn a_block_holds_an_event_if_there_are_enough_rows() {
        assert_eq!(
            [block_len(22_695, 567), block_len(1000, 500), block_len(1000, 3), block_len(1, 1)],
            [453, 20, 10, 1]
        );
    }

    #[test]
    fn an_interval_is_the_middle_of_many_values() {
        assert_eq!(interval((0..1000).map(f64::from).collect()), Some([25.0, 975.0]));
        assert_eq!([interval((0..39).map(f64::from).collect()), interval(vec![1.0; 1000])], [None, None]);
    }

    /// The share of ones of independent rows has the standard deviation sqrt(p (1 - p) / n).
    #[test]
    fn the_interval_of_a_mean_has_the_known_width() {
        let mut rng = generator(9);
        let shares: Vec<f64> = (0..2000)
            .map(|_| {
                let weights = block_weights(400, 1, &mut rng);
                f64::from(weights.iter().step_by(2).sum::<u32>()) / 400.0
            })
            .collect();
        let [low, high] = interval(shares).unwrap();
        assert!(((high - low) - 2.0 * 1.96 * 0.025).abs() < 0.01, "{low} {high}");
    }
}
