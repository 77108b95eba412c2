//! Quantiles of a sample.

/// The quantile of `share`, in \[0, 1\], of values in ascending order: the order statistic with the index
/// `floor(share * n)`, counted from 0, where `n` is the number of values. If `share` is 1, it is the largest value. The
/// result is always one of the values, without interpolation. `None` if there are no values.
#[must_use]
pub fn quantile<T: Copy>(ascending: &[T], share: f64) -> Option<T> {
    let index = (ascending.len() as f64 * share) as usize;
    ascending.get(index.min(ascending.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_an_order_statistic() {
        let hundred: Vec<i64> = (0..100).collect();
        let found = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0].map(|share| quantile(&hundred, share));
        assert_eq!(found, [0, 50, 90, 99, 99, 99].map(Some));
        assert_eq!([0.0, 0.3, 0.4, 1.0].map(|share| quantile(&[1.5, 2.5, 4.0], share).unwrap()), [1.5, 1.5, 2.5, 4.0]);
        assert_eq!((quantile(&[7], 0.2), quantile::<i64>(&[], 0.5)), (Some(7), None));
    }
}
