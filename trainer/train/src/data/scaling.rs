//! Standardisation of tables: fitted in 64 bits, before anything is rounded to 32.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Values;

/// How the features of a table are brought to one scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// Mean 0 and standard deviation 1 on the train rows.
    #[default]
    Standard,
    /// Median 0, and the interquartile range of a standard Gaussian, so that a few wild values do not count. What lies
    /// beyond 16 of these units counts as 16, as it does on a board.
    Robust,
}

/// Interquartile range of a standard Gaussian.
const GAUSSIAN_RANGE: f64 = 1.349;
/// What a board can represent of a standardised feature.
const FARTHEST: f64 = 16.0;
/// A value counts as wild beyond this many robust deviations.
const WILD: f64 = 20.0;

/// What is subtracted from every feature, and what the rest is divided by; each of length `dim`.
///
/// The deviation is a 32-bit float, and so is the mean where that is exact to a ten-thousandth of the deviation: what a blob
/// stores of them. So rows are standardised in training exactly as they are for a compiled model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Standardise {
    /// Means, or medians.
    pub mean: Vec<f64>,
    /// Standard deviations, or interquartile ranges over 1.349; 1 for a feature whose values are all equal.
    pub std: Vec<f64>,
    /// Whether the result is limited to plus and minus 16.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
}

/// A feature that cannot be standardised in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Unscalable {
    /// The feature.
    pub column: usize,
    /// Its deviation.
    pub deviation: f64,
}

/// A feature that a few wild values have widened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Widened {
    /// The feature.
    pub column: usize,
    /// Wild values.
    pub count: usize,
    /// The farthest of them.
    pub farthest: f64,
    /// Between these lies the middle half of all values.
    pub quartiles: [f64; 2],
}

/// The mean in 32 bits where that is as good.
fn short(mean: f64, deviation: f64) -> f64 {
    let rounded = f64::from(mean as f32);
    if (mean - rounded).abs() <= 1e-4 * deviation { rounded } else { mean }
}

/// Lower quartile, median and upper quartile; `values` are reordered.
fn quartiles(values: &mut [f64]) -> [f64; 3] {
    let n = values.len();
    let mut at = |share: f64| {
        let place = share * (n - 1) as f64;
        let (_, low, above) = values.select_nth_unstable_by(place as usize, f64::total_cmp);
        let (low, next) = (*low, above.iter().copied().fold(f64::INFINITY, f64::min));
        if place.fract() == 0.0 { low } else { low + place.fract() * (next - low) }
    };
    [at(0.25), at(0.5), at(0.75)]
}

/// The values of one feature in the given rows.
fn column<'v>(x: &'v Values, dim: usize, rows: &'v [usize], column: usize) -> impl Iterator<Item = f64> + Clone + 'v {
    rows.iter().map(move |row| x.at(row * dim + column))
}

impl Standardise {
    /// Fits on the given rows of `x`, `[n, dim]`.
    pub(super) fn fit(x: &Values, dim: usize, rows: &[usize], scaling: Scaling) -> Result<Self, Unscalable> {
        let mut fitted = Self { limited: scaling == Scaling::Robust, ..Self::default() };
        for at in 0..dim {
            let (mean, deviation) = match scaling {
                Scaling::Standard => moments(column(x, dim, rows, at)),
                Scaling::Robust => robust(column(x, dim, rows, at)),
            };
            // Not the deviation decides: the mean of equal values may be rounded.
            let first = column(x, dim, rows, at).next();
            let constant = column(x, dim, rows, at).all(|v| Some(v) == first);
            let deviation = if constant { 1.0 } else { f64::from(deviation as f32) };
            if !(deviation > 0.0 && deviation.is_finite()) {
                return Err(Unscalable { column: at, deviation });
            }
            fitted.mean.push(short(if constant { first.unwrap_or(0.0) } else { mean }, deviation));
            fitted.std.push(deviation);
        }
        Ok(fitted)
    }

    /// The standardised value of a feature.
    #[must_use]
    pub fn scaled(&self, column: usize, value: f64) -> f32 {
        let scaled = (value - self.mean[column]) / self.std[column];
        let limited = if self.limited { scaled.clamp(-FARTHEST, FARTHEST) } else { scaled };
        limited as f32
    }

    /// A standardised value in the feature's own unit.
    #[must_use]
    pub fn restored(&self, column: usize, value: f32) -> f64 {
        f64::from(value) * self.std[column] + self.mean[column]
    }
}

/// Mean and standard deviation; the second pass about the mean of the first keeps what a large offset would swallow.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count().max(1) as f64;
    let first = values.clone().next().unwrap_or(0.0);
    let mean = first + values.clone().map(|v| (v - first) / n).sum::<f64>();
    let square = values.map(|v| (v - mean).powi(2) / n).sum::<f64>();
    (mean, square.sqrt())
}

/// Median and robust deviation. Where the middle half of the values are equal, the standard deviation has to do.
fn robust(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let mut sorted: Vec<f64> = values.clone().collect();
    if sorted.is_empty() {
        return (0.0, 1.0);
    }
    let [low, median, high] = quartiles(&mut sorted);
    let deviation = (high - low) / GAUSSIAN_RANGE;
    if deviation > 0.0 { (median, deviation) } else { (median, moments(values).1) }
}

/// The features whose standard deviation is mostly that of a few wild values, at most one row in fifty.
pub(super) fn widened(x: &Values, dim: usize, rows: &[usize]) -> Vec<Widened> {
    let of = |at: usize| {
        let mut sorted: Vec<f64> = column(x, dim, rows, at).collect();
        if sorted.len() < 20 {
            return None;
        }
        let (_, deviation) = moments(sorted.iter().copied());
        let [low, median, high] = quartiles(&mut sorted);
        let unit = (high - low) / GAUSSIAN_RANGE;
        if !(unit > 0.0 && deviation > 5.0 * unit) {
            return None;
        }
        let wild = || sorted.iter().copied().filter(|v| (v - median).abs() > WILD * unit);
        let count = wild().count();
        let farthest = wild().max_by(|a, b| (a - median).abs().total_cmp(&(b - median).abs()))?;
        (count * 50 <= sorted.len()).then_some(Widened { column: at, count, farthest, quartiles: [low, high] })
    };
    (0..dim).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(columns: &[&[f64]], scaling: Scaling) -> Result<Standardise, Unscalable> {
        let (dim, n) = (columns.len(), columns[0].len());
        let x = (0..n * dim).map(|i| columns[i % dim][i / dim]).collect();
        Standardise::fit(&Values::Double(x), dim, &(0..n).collect::<Vec<_>>(), scaling)
    }

    #[test]
    fn small_units_and_large_offsets_keep_their_spread() {
        let nano = [1e-9, 3e-9, 5e-9, 7e-9];
        let offset = [2e8 + 1.0, 2e8 + 3.0, 2e8 + 5.0, 2e8 + 7.0];
        let time = [1.8e18, 1.8e18 + 512.0, 1.8e18 + 1024.0, 1.8e18 + 1536.0];
        let s = fit(&[&nano, &offset, &time], Scaling::Standard).unwrap();
        let deviation = 5f64.sqrt();
        assert!((s.std[0] / (1e-9 * deviation) - 1.0).abs() < 1e-6 && (s.std[1] / deviation - 1.0).abs() < 1e-6);
        for (column, values) in [nano, offset, time].iter().enumerate() {
            let scaled = values.map(|v| s.scaled(column, v));
            for (found, want) in scaled.iter().zip([-3.0, -1.0, 1.0, 3.0]) {
                assert!((f64::from(*found) - want / deviation).abs() < 1e-3, "{column}: {scaled:?}");
                let restored = s.restored(column, *found);
                assert!(values.iter().any(|v| ((v - restored) / s.std[column]).abs() < 1e-3), "{restored}");
            }
        }
    }

    #[test]
    fn only_equal_values_are_constant() {
        let s = fit(&[&[0.1; 7], &[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1 + 1e-12]], Scaling::Standard).unwrap();
        assert!(s.scaled(0, 0.1).abs() < 1e-4 && s.std[0] == 1.0);
        assert!(s.std[1] < 1e-12);
        let e = fit(&[&[0.0, 1e-60]], Scaling::Standard).unwrap_err();
        assert_eq!(e.column, 0);
    }

    #[test]
    fn glitches_are_found_and_do_not_move_a_robust_scale() {
        let mut values: Vec<f64> = (0..200).map(|i| f64::from(i % 20) - 9.5).collect();
        let clean = fit(&[&values], Scaling::Robust).unwrap();
        let rows: Vec<usize> = (0..200).collect();
        assert!(widened(&Values::Double(values.clone()), 1, &rows).is_empty());
        (values[0], values[100]) = (65535.0, 65535.0);
        let found = widened(&Values::Double(values.clone()), 1, &rows);
        assert_eq!((found.len(), found[0].count, found[0].farthest), (1, 2, 65535.0));
        let robust = fit(&[&values], Scaling::Robust).unwrap();
        assert!((robust.std[0] / clean.std[0] - 1.0).abs() < 0.1 && robust.mean[0].abs() < 0.6, "{robust:?}");
        assert_eq!(robust.scaled(0, 65535.0), 16.0);
        assert!(fit(&[&values], Scaling::Standard).unwrap().std[0] > 1000.0);
    }

    #[test]
    fn quartiles_are_those_of_a_sorted_list() {
        assert_eq!(quartiles(&mut [4.0, 1.0, 3.0, 2.0, 5.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(&mut [4.0, 1.0, 3.0, 2.0]), [1.75, 2.5, 3.25]);
        assert_eq!(quartiles(&mut [7.0]), [7.0; 3]);
    }
}
