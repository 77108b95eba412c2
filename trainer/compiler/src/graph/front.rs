//! The values of a front end's operations, by their definitions.

use elbo::front::{Bands, Statistic, Taper};
use std::f64::consts::{PI, TAU};

/// What no logarithm of a number in units of samples is below.
const LEAST: f64 = -16.0;

/// Logarithms of the energies of bands of the samples `x`: see [`Bands`].
pub(super) fn log_bands(bands: Bands, x: &[f32], edges: &[f32], out: &mut [f32]) {
    let n = x.len();
    let power = power(x, bands.taper);
    let highest = (n / 2 + 1) as f64;
    let edges: Vec<f64> = edges
        .iter()
        .scan(0.0, |last, edge| {
            *last = f64::from(*edge).clamp(*last, highest);
            Some(*last)
        })
        .collect();
    let weight = |edges: &[f64], k: f64| {
        if !bands.triangular {
            f64::from(u8::from(edges[0] <= k && k < edges[1]))
        } else if k < edges[1] {
            ((k - edges[0]) / (edges[1] - edges[0])).max(0.0)
        } else {
            // Not a number at the peak of a triangle that does not fall.
            ((edges[2] - k) / (edges[2] - edges[1])).max(0.0)
        }
    };
    let scale = match bands.taper {
        Taper::Rectangular => 2.0,
        Taper::Hann => 16.0 / 3.0,
    } / (n as f64).powi(2);
    for (out, edges) in out.iter_mut().zip(edges.windows(if bands.triangular { 3 } else { 2 })) {
        let energy: f64 = power.iter().enumerate().map(|(k, power)| weight(edges, k as f64) * power).sum();
        *out = (energy * scale).ln().max(LEAST) as f32;
    }
}

/// Squared magnitudes of the Fourier coefficients 0 to N/2 of the samples less their mean.
fn power(x: &[f32], taper: Taper) -> Vec<f64> {
    let n = x.len();
    let mean = mean(x.iter().map(|&x| x.into()));
    let factor = |i: usize| match taper {
        Taper::Rectangular => 1.0,
        Taper::Hann => (PI * i as f64 / n as f64).sin().powi(2),
    };
    let x: Vec<f64> = x.iter().enumerate().map(|(i, &x)| (f64::from(x) - mean) * factor(i)).collect();
    let turns: Vec<(f64, f64)> = (0..n).map(|i| (TAU * i as f64 / n as f64).sin_cos()).collect();
    let coefficient = |k: usize| {
        let (re, im) = x.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, x)| {
            let (sin, cos) = turns[i * k % n];
            (re + x * cos, im - x * sin)
        });
        re * re + im * im
    };
    (0..=n / 2).map(coefficient).collect()
}

/// The statistics in the set `which` of the samples `x`: see [`Statistic`].
pub(super) fn statistics(which: u32, x: &[f32], out: &mut [f32]) {
    let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let center = mean(x.iter().copied());
    let moment = |power: i32| mean(x.iter().map(|x| (x - center).abs().powi(power)));
    let peak = x.iter().map(|x| (x - center).abs()).fold(0.0, f64::max);
    let value = |statistic: Statistic| match statistic {
        Statistic::Variance => moment(2).ln().max(LEAST),
        Statistic::MeanAbsolute => moment(1).ln().max(LEAST),
        Statistic::MedianAbsolute => {
            let middle = median(x.clone());
            median(x.iter().map(|x| (x - middle).abs()).collect()).ln().max(LEAST)
        }
        Statistic::Crest | Statistic::Kurtosis | Statistic::Crossings if peak == 0.0 => 0.0,
        Statistic::Crest => (peak / moment(2).sqrt()).ln(),
        Statistic::Kurtosis => (moment(4) / moment(2).powi(2)).ln(),
        Statistic::Crossings => {
            let changes = x.windows(2).filter(|pair| (pair[0] < center) != (pair[1] < center)).count();
            changes as f64 / x.len() as f64
        }
    };
    let wanted = Statistic::ALL.into_iter().filter(|statistic| statistic.is_in(which));
    out.iter_mut().zip(wanted).for_each(|(out, statistic)| *out = value(statistic) as f32);
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
