//! Two interleaving half circles with noise: the semi-supervised example of arXiv 1602.05473, section 4.1.

use std::f64::consts::PI;
use std::path::Path;

use super::error::DataError;
use super::kind::{Array, Element};
use super::labels::Labels;
use super::values::Values;
use super::{DataOptions, Dataset, Kind, Source};
use crate::nn::Rng;

/// Points, half of them of each class.
const POINTS: usize = 10_000;
/// Standard deviation of the noise of each coordinate. The best classifier is right 97.1 % of the time.
const NOISE: f64 = 0.2;
/// The points are always the same; the split seed decides the splits and which points are labelled.
const SEED: u64 = 0;

/// The points `[POINTS, 2]` without noise, and their classes: scikit-learn's `make_moons`. Class 0 is the upper half of
/// the unit circle about the origin, class 1 the lower half of that about (1, 1/2).
fn circles() -> (Vec<[f64; 2]>, Vec<u32>) {
    let of_class = POINTS / 2;
    let angle = |i: usize| PI * i as f64 / (of_class - 1) as f64;
    let outer = (0..of_class).map(|i| [angle(i).cos(), angle(i).sin()]);
    let inner = (0..of_class).map(|i| [1.0 - angle(i).cos(), 0.5 - angle(i).sin()]);
    let labels = (0..POINTS).map(|i| (i / of_class) as u32).collect();
    (outer.chain(inner).collect(), labels)
}

/// The half-moons: 1,000 rows for test, `validation_fraction` for validation and the rest for train, standardised.
///
/// # Errors
/// `InvalidOption`.
pub(super) fn load(options: &DataOptions) -> Result<Dataset, DataError> {
    let (points, labels) = circles();
    let mut noise = vec![0.0; 2 * POINTS];
    Rng::new(SEED).fill_normal(&mut noise);
    let noisy = |(at, noise): (f64, f32)| (at + NOISE * f64::from(noise)) as f32;
    let x: Vec<f32> = points.into_iter().flatten().zip(noise).map(noisy).collect();
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    let array = Array { dims: vec![POINTS, 2], values: Values::Single(x), element: Element::Number };
    let options = DataOptions { kind: options.kind.or(Some(Kind::Table)), ..options.clone() };
    Source {
        labels: Some(Labels { values: labels, ..Labels::default() }),
        ..Source::new(Path::new("moons (computed)"), "moons", array, crc32fast::hash(&bytes))
    }
    .finish(&options)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `sklearn.datasets.make_moons(10000, shuffle=False)`, by its formula in another language.
    #[test]
    fn the_circles_are_those_of_make_moons() {
        let (points, labels) = circles();
        assert_eq!((points.len(), labels.iter().sum::<u32>()), (10_000, 5000));
        for (row, want, class) in [
            (0, [1.0, 0.0], 0),
            (1250, [0.706_995_678_167_621_6, 0.707_217_866_751_332_1], 0),
            (4999, [-1.0, 0.0], 0),
            (5000, [0.0, 0.5], 1),
            (8000, [1.309_375_583_980_645_4, -0.450_939_928_721_386], 1),
            (9999, [2.0, 0.5], 1),
        ] {
            assert!(points[row].iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{row}: {:?}", points[row]);
            assert_eq!(labels[row], class);
        }
    }

    #[test]
    fn points_are_noisy_standardised_and_split_by_the_seed() {
        let with = |seed| load(&DataOptions { seed, ..DataOptions::default() }).unwrap();
        let d = with(0);
        assert_eq!((d.kind, d.dim, d.classes()), (Kind::Table, 2, 2));
        assert_eq!((d.train.n, d.validation.n, d.test.n), (8000, 1000, 1000));
        assert_eq!(d.crc32, with(1).crc32);
        assert_ne!(d.test, with(1).test);
        let n = d.train.n as f64;
        for column in 0..2 {
            let values = || d.train.x.iter().skip(column).step_by(2).map(|v| f64::from(*v));
            let (mean, square) = (values().sum::<f64>() / n, values().map(|v| v * v).sum::<f64>() / n);
            assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-3);
        }
        // Standardisation undone, the distance from the own circle's centre has the noise's spread about 1.
        let s = d.standardise().unwrap();
        let labels = d.train.labels.as_ref().unwrap();
        let radial = (0..d.train.n).map(|i| {
            let at = |k: usize| s.restored(k, d.train.row(i)[k]);
            let centre = if labels[i] == 0 { [0.0, 0.0] } else { [1.0, 0.5] };
            (at(0) - centre[0]).hypot(at(1) - centre[1]) - 1.0
        });
        let spread = (radial.map(|r| r * r).sum::<f64>() / n).sqrt();
        assert!((spread - NOISE).abs() < 0.01, "{spread}");
    }
}
