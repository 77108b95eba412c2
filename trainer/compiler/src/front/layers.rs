//! The layers of a front end: constants, means and averages. All programs share them.

use super::{Front, LARGEST_LOG, LARGEST_SAMPLE, Part};
use crate::graph::{DenseLayer, FloatModel};
use crate::scales::HEADROOM;

/// Standard deviations from the mean, beyond which features are alike.
const FARTHEST: f32 = 15.99;

/// The layers of every part.
pub(super) struct Layers {
    pub parts: Vec<PartLayers>,
}

/// The layers of a part, by their indices.
pub(super) struct PartLayers {
    /// The edges of the bands of a spectrum, or for each channel the average of neighbouring samples.
    pub own: Vec<usize>,
    /// The mean of the samples and its copies, one for each sample, and then those of the averages.
    pub centre: Option<[[usize; 2]; 2]>,
    /// What is subtracted from every feature, and what the difference is multiplied by.
    pub standardise: Option<[usize; 2]>,
    /// The largest magnitude of the features of a segment, before they are standardised.
    pub largest: f32,
    /// The largest difference from the mean that counts.
    pub farthest: f32,
}

/// How the features of a channel change before they are standardised.
#[derive(Clone, Copy)]
struct Scaling {
    /// By what they are multiplied, a power of two.
    gain: f32,
    /// What is subtracted from them before.
    shift: f32,
    /// The largest magnitude of the result.
    largest: f32,
}

impl Scaling {
    /// That of samples, which become about as large as 1. So 16 bits hold them with a fraction. They have these means and
    /// standard deviations.
    fn of_samples(mean: &[f32], std: &[f32], centred: bool) -> Self {
        let most = largest(std).max(f32::MIN_POSITIVE);
        let gain = (-most.log2()).round().exp2();
        // Centred samples have no common mean.
        let shift = if centred { 0.0 } else { mean.iter().sum::<f32>() / mean.len().max(1) as f32 };
        let spread = mean.iter().fold(0f32, |spread, mean| spread.max((mean - shift).abs()));
        Self { gain, shift, largest: (FARTHEST / HEADROOM * most + spread) * gain }
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, value| largest.max(value.abs()))
}

fn constant(values: Vec<f32>) -> DenseLayer {
    DenseLayer { w: vec![0.0; values.len()], out: values.len(), b: values, inp: 1 }
}

impl Layers {
    /// Adds the layers of a front end to a model, and their ranges to those of its layers.
    pub(super) fn add(front: &Front, model: &mut FloatModel, ranges: &mut Vec<f32>) -> Self {
        let mut add = |name: &str, layer: DenseLayer, range: f32| {
            ranges.push(range);
            model.layer(format!("front.{name}"), layer)
        };
        let mut at = 0;
        let of_part = |part: &Part| {
            let len = part.len(front.window);
            let features = at..at + front.channels * len;
            at = features.end;
            let scale = front.standardise.as_ref().map(|[mean, std]| [&mean[features.clone()], &std[features.clone()]]);
            let scaling: Vec<Scaling> = (0..front.channels)
                .map(|channel| match (part, scale) {
                    (Part::Samples { centred, .. }, Some(scale)) => {
                        let [mean, std] = scale.map(|of| &of[channel * len..][..len]);
                        Scaling::of_samples(mean, std, *centred)
                    }
                    _ => Scaling { gain: 1.0, shift: 0.0, largest: part.largest() },
                })
                .collect();
            let most = scaling.iter().fold(0f32, |most, scaling| most.max(scaling.largest));
            let (mut own, mut centre) = (Vec::new(), None);
            match part {
                Part::Spectrum { edges, .. } => {
                    let edges: Vec<f32> = edges.iter().map(|edge| f32::from(*edge)).collect();
                    // At this range the scale of whole numbers is the finest.
                    own.push(add("edges", constant(edges), LARGEST_SAMPLE / 2.0));
                }
                Part::Statistics(_) => {}
                Part::Samples { decimate, centred } => {
                    for Scaling { gain, shift, largest } in &scaling {
                        let w = vec![gain / *decimate as f32; *decimate];
                        let average = DenseLayer { w, b: vec![-shift * gain], out: 1, inp: *decimate };
                        own.push(add("average", average, *largest));
                    }
                    let mut mean = |name: &str, len: usize, range: f32| {
                        let weights = vec![1.0 / len as f32; len];
                        let mean = DenseLayer { w: weights, b: vec![0.0], out: 1, inp: len };
                        let copies = DenseLayer { w: vec![1.0; len], b: vec![0.0; len], out: len, inp: 1 };
                        [add(&format!("{name}.mean"), mean, range), add(&format!("{name}.copies"), copies, range)]
                    };
                    centre = centred.then(|| {
                        let samples = mean("samples", front.window, LARGEST_SAMPLE / HEADROOM);
                        [samples, mean("averages", len, most)]
                    });
                }
            }
            // Features are sums over segments.
            let count = part.segments(front.window).len() as f32;
            let (mut farthest, mut standardise) = (0f32, None);
            if let Some([mean, std]) = scale {
                let of = |feature: usize| scaling[feature / len];
                let (mut means, mut factors) = (Vec::new(), Vec::new());
                for (feature, (mean, std)) in mean.iter().zip(std).enumerate() {
                    let Scaling { gain, shift, .. } = of(feature);
                    means.push((mean - shift) * gain * count);
                    factors.push(1.0 / (std * gain * count));
                    farthest = farthest.max(FARTHEST / HEADROOM * std * gain * count);
                }
                if !matches!(part, Part::Samples { .. }) {
                    farthest = farthest.min(LARGEST_LOG * count);
                }
                let ranges = [largest(&means), largest(&factors)];
                standardise =
                    Some([add("means", constant(means), ranges[0]), add("factors", constant(factors), ranges[1])]);
            }
            PartLayers { own, centre, standardise, largest: most, farthest }
        };
        Self { parts: front.parts.iter().map(of_part).collect() }
    }
}
