//! The programs of a mixture: the exact score, the posterior over components, the mean of a row's components, and draws.
//!
//! One layer whitens a row for all components, `u_c = L_c^-1 (x - mu_c)`. The joint log-density of component c and
//! scale j is `p_c + p_j - |u_c|^2 / (2 lambda_j)`. With several scales, the score loops over them and multiplies `u` by
//! `lambda_j^(-1/2)`. A sample first computes the point of every component from the same noise. It then selects the
//! point of the last component whose threshold is below one further normal number. There is one `Select` for each
//! threshold, so that the point of every component can have its own scale. The scale of the noise is selected likewise.

use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};
use elbo_compiler::{DenseLayer, FloatModel};

use super::gaussians::{Mixture, Scale};
use super::linalg::dot;
use crate::lower::Affine;

/// The largest magnitude of a whitened value that scores distinguish, in standard deviations. With a larger limit, 16
/// bits would be too coarse for rows that are near.
const MOST: f32 = 1023.0;

/// The largest slope of a hard sigmoid.
const SLOPE: f32 = 32_767.0 / 32_768.0;

/// The layers of the programs of a mixture.
struct Layers {
    /// `[k d, d]`: computes `L_c^-1 (x - mu_c)` for every component.
    whiten: Affine,
    /// The largest magnitude of the outputs of `whiten` for inputs within their limit.
    reach: f32,
    /// Index of the constants `[j k]`: the logarithm of the joint density of every scale and component at its mean, minus
    /// the largest of them, in nats.
    peaks: usize,
    /// Index of the layer `[d, k]` of the components' means, which posterior probabilities weight. Those of a single
    /// component are constants.
    means: usize,
    /// What a loop over several scales reads.
    scales: Option<Scales>,
    /// A constant of the score in nats: minus the logarithm of the number of these densities, and minus the largest of
    /// their logarithms.
    offset: f32,
}

/// The layers that read the index of a scale as a one-hot vector.
struct Scales {
    /// Number of scales.
    count: usize,
    /// `[k d, j]`: computes `lambda_j^(-1/2)`, for every element of a whitened row.
    shrink: Affine,
    /// `[k, j]`: computes the `peaks` of a scale.
    peaks: Affine,
    /// `[k, j k]`: adds the posterior probabilities of the scales of each component, and subtracts one half.
    sum: Affine,
    /// Index of the constants `[j k d]`: the same as `shrink`, of all scales.
    all: usize,
}

impl Layers {
    /// The whitened row, `[k d]`.
    fn whitened(&self, b: &mut Builder, x: NodeId, range: f32) -> NodeId {
        let x = b.clamp([-range, range], x);
        let u = self.whiten.apply(b, x);
        // The scale of the layer must hold every value that passes the clamp, even if calibration has not seen it.
        let most = self.reach.min(MOST);
        b.clamp([-most, most], u)
    }

    /// `ln 1/(jk) sum exp` of the joint log-densities.
    fn mean(&self, b: &mut Builder, u: NodeId, k: usize) -> NodeId {
        let Some(scales) = &self.scales else {
            let peaks = b.constant(self.peaks, k, u);
            let logits = b.gaussian_logits(peaks, u);
            return b.scalar(Opcode::LogMeanExp, 0, &[logits]);
        };
        let means = b.begin(scales.count as u32);
        let scale = b.one_hot(scales.count);
        let (shrink, peaks) = (scales.shrink.apply(b, scale), scales.peaks.apply(b, scale));
        let u = b.map(Opcode::Mul, 0, &[u, shrink]);
        let logits = b.gaussian_logits(peaks, u);
        let mean = b.scalar(Opcode::LogMeanExp, 0, &[logits]);
        b.end(mean);
        b.scalar(Opcode::LogMeanExp, 0, &[means])
    }

    /// The posterior over the components.
    fn posterior(&self, b: &mut Builder, u: NodeId, k: usize) -> NodeId {
        let Some(scales) = &self.scales else {
            let peaks = b.constant(self.peaks, k, u);
            let logits = b.gaussian_logits(peaks, u);
            return b.map(Opcode::Posterior, 0, &[logits]);
        };
        let len = b.len(u);
        let repeated = (1..scales.count).fold(u, |all, _| b.concat(all, u));
        let shrink = b.constant(scales.all, scales.count * len, u);
        let all = b.map(Opcode::Mul, 0, &[repeated, shrink]);
        let peaks = b.constant(self.peaks, scales.count * k, u);
        let logits = b.gaussian_logits(peaks, all);
        let posterior = b.map(Opcode::Posterior, 0, &[logits]);
        let sum = scales.sum.apply(b, posterior);
        // The layer gives the sum less one half, and this operation adds it and gives Q15, as of any probability.
        b.hard_sigmoid(SLOPE, sum)
    }
}

pub(super) fn lower(mixture: &Mixture, range: f32, sample: bool) -> FloatModel {
    let mut model = FloatModel::default();
    let layers = layers(&mut model, mixture, range);
    let k = mixture.components();
    let mut b = Builder::default();
    let x = b.input(mixture.dim());
    let u = layers.whitened(&mut b, x, range);
    let mean = layers.mean(&mut b, u, k);
    let score = b.scalar(Opcode::Neg, 0, &[mean]);
    let score = b.offset(layers.offset, score);
    let mut programs = vec![b.finish(ProgramKind::Score, &[score])];
    if k > 1 {
        let mut b = Builder::default();
        let x = b.input(mixture.dim());
        let u = layers.whitened(&mut b, x, range);
        let posterior = layers.posterior(&mut b, u, k);
        programs.push(b.finish(ProgramKind::Classify, &[posterior]));
    }
    let mut b = Builder::default();
    let mean = if k == 1 {
        let x = b.input(mixture.dim());
        b.constant(layers.means, mixture.dim(), x)
    } else {
        let x = b.input(mixture.dim());
        let u = layers.whitened(&mut b, x, range);
        let posterior = layers.posterior(&mut b, u, k);
        b.dense(layers.means, mixture.dim(), posterior)
    };
    programs.push(b.finish(ProgramKind::Reconstruct, &[mean]));
    if sample {
        programs.extend(draws(&mut model, mixture));
    }
    model.programs = programs;
    model
}

fn layers(model: &mut FloatModel, mixture: &Mixture, range: f32) -> Layers {
    let (k, d) = (mixture.components(), mixture.dim());
    let mut whiten = DenseLayer { w: Vec::new(), b: Vec::new(), out: k * d, inp: d };
    for component in 0..k {
        for row in mixture.whitening(component).chunks_exact(d) {
            whiten.w.extend(row.iter().map(|w| *w as f32));
            whiten.b.push(-dot(row, mixture.mean(component)) as f32);
        }
    }
    let extent = |(row, b): (&[f32], &f32)| range * row.iter().map(|w| w.abs()).sum::<f32>() + b.abs();
    let reach = whiten.w.chunks_exact(d).zip(&whiten.b).map(extent).fold(0.0, f32::max);
    let means: Vec<f32> = (0..d * k).map(|at| mixture.mean(at % k)[at / k] as f32).collect();
    let means = match k {
        1 => model.constant("means", &means),
        _ => model.layer("means", DenseLayer { w: means, b: vec![0.0; d], out: d, inp: k }),
    };
    let count = mixture.scales().len();
    let of_scale = |scale: &Scale| mixture.peaks().iter().map(|peak| peak + scale.peak(d)).collect::<Vec<f64>>();
    let peaks = mixture.scales().iter().flat_map(of_scale).collect::<Vec<f64>>();
    let most = peaks.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let peaks: Vec<f32> = peaks.iter().map(|peak| (peak - most) as f32).collect();
    let offset = -((peaks.len() as f64).ln() + most) as f32;
    let whiten = Affine::add(model, "whiten", whiten);
    let scales = (count > 1).then(|| {
        let shrink: Vec<f32> = mixture.scales().iter().map(|scale| scale.factor.sqrt().recip() as f32).collect();
        let of_one_hot = |w: Vec<f32>, out: usize| DenseLayer { b: vec![0.0; out], w, out, inp: count };
        let transposed = (0..k).flat_map(|c| (0..count).map(move |j| j * k + c)).map(|at| peaks[at]).collect();
        let own = |at: usize| f32::from(u8::from(at / (count * k) == at % k));
        let sum = DenseLayer { w: (0..k * count * k).map(own).collect(), b: vec![-0.5; k], out: k, inp: count * k };
        let all: Vec<f32> = shrink.iter().flat_map(|shrink| std::iter::repeat_n(*shrink, k * d)).collect();
        let shrink = of_one_hot(shrink.repeat(k * d), k * d);
        let shrink = Affine::add(model, "shrink", shrink);
        let peaks = Affine::add(model, "scale_peaks", of_one_hot(transposed, k));
        Scales { count, shrink, peaks, sum: Affine::add(model, "sum", sum), all: model.constant("shrink_all", &all) }
    });
    let peaks = model.constant("peaks", &peaks);
    Layers { means, whiten, reach, peaks, scales, offset }
}

/// The program `sample` and, if there are several components, `sample_class`.
fn draws(model: &mut FloatModel, mixture: &Mixture) -> Vec<FloatProgram> {
    let (k, d) = (mixture.components(), mixture.dim());
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let points = DenseLayer { w: narrow(&mixture.factors), b: narrow(&mixture.means), out: k * d, inp: d };
    let points = Affine::add(model, "points", points);
    let spread = spread(model, mixture);
    let draw = |b: &mut Builder, masks: Option<NodeId>| {
        let z = b.normal(d);
        let z = spread.as_ref().map_or(z, |spread| spread.apply(b, z));
        let u = points.apply(b, z);
        let first = b.slice(u, 0, d);
        masks.into_iter().fold(first, |first, masks| {
            (1..k).fold(first, |x, component| {
                let (mask, point) = (b.slice(masks, (component - 1) * d, d), b.slice(u, component * d, d));
                b.map(Opcode::Select, 0, &[point, x, mask])
            })
        })
    };
    if k == 1 {
        let mut b = Builder::default();
        let x = draw(&mut b, None);
        return vec![b.finish(ProgramKind::Sample, &[x])];
    }
    // Part c - 1 of the layer's output for the normal number is positive if the sample comes from component c or a
    // later one. For a one-hot component it is positive if the sample comes from component c.
    let rows = (k - 1) * d;
    let mut passed = DenseLayer { w: vec![1.0; rows], b: Vec::new(), out: rows, inp: 1 };
    let mut is_class = DenseLayer { w: vec![0.0; rows * k], b: vec![-0.5; rows], out: rows, inp: k };
    passed.b = thresholds(&mixture.weights, d);
    for next in 0..k - 1 {
        (next * d..(next + 1) * d).for_each(|row| is_class.w[row * k + next + 1] = 1.0);
    }
    let passed = Affine::add(model, "passed", passed);
    let is_class = Affine::add(model, "is_class", is_class);
    let mut b = Builder::default();
    let e = b.normal(1);
    let masks = passed.apply(&mut b, e);
    let x = draw(&mut b, Some(masks));
    let sample = b.finish(ProgramKind::Sample, &[x]);
    let mut b = Builder::default();
    let class = b.input(k);
    let masks = is_class.apply(&mut b, class);
    let x = draw(&mut b, Some(masks));
    vec![sample, b.finish(ProgramKind::SampleClass, &[x])]
}

/// Minus the numbers that a standard normal variate exceeds if it stands for the second or a later of `weights`, for the
/// third or a later one, and so on. Each is repeated `d` times.
fn thresholds(weights: &[f64], d: usize) -> Vec<f32> {
    let mut below = 0.0;
    let of = |weight: &f64| {
        below += weight;
        std::iter::repeat_n(-normal_quantile(below) as f32, d)
    };
    weights[..weights.len() - 1].iter().flat_map(of).collect()
}

/// Multiplies noise by the square root of a scale that is drawn by its share.
struct Spread {
    d: usize,
    /// Indices of the constants `[d]` of every scale.
    factors: Vec<usize>,
    /// `[(j - 1) d, 1]`: from a normal number, positive where the scale is a later one.
    passed: Affine,
}

/// What draws a scale, if there are several.
fn spread(model: &mut FloatModel, mixture: &Mixture) -> Option<Spread> {
    let (d, scales) = (mixture.dim(), mixture.scales());
    if scales.len() == 1 {
        return None;
    }
    let factor =
        |(j, scale): (usize, &Scale)| model.constant(format!("spread.{j}"), &vec![scale.factor.sqrt() as f32; d]);
    let factors = scales.iter().enumerate().map(factor).collect();
    let rows = (scales.len() - 1) * d;
    let shares: Vec<f64> = scales.iter().map(|scale| scale.share).collect();
    let passed = DenseLayer { w: vec![1.0; rows], b: thresholds(&shares, d), out: rows, inp: 1 };
    Some(Spread { d, factors, passed: Affine::add(model, "passed_scale", passed) })
}

impl Spread {
    fn apply(&self, b: &mut Builder, z: NodeId) -> NodeId {
        let e = b.normal(1);
        let masks = self.passed.apply(b, e);
        let mut spread: Option<NodeId> = None;
        for (j, factors) in self.factors.iter().enumerate() {
            let factors = b.constant(*factors, self.d, z);
            let scaled = b.map(Opcode::Mul, 0, &[z, factors]);
            spread = Some(match spread {
                None => scaled,
                Some(before) => {
                    let mask = b.slice(masks, (j - 1) * self.d, self.d);
                    b.map(Opcode::Select, 0, &[scaled, before, mask])
                }
            });
        }
        spread.unwrap_or(z)
    }
}

/// The `z` with `P(Z <= z) = p` for a standard normal `Z`, computed by bisection between -8 and 8.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if distribution(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// `P(Z <= z)`, computed as 1/2 plus the series `phi(z) (z + z^3/3 + z^5/15 + ...)`, which converges for every `z`.
fn distribution(z: f64) -> f64 {
    let (mut term, mut sum, mut odd) = (z, z, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= z * z / odd;
        sum += term;
    }
    0.5 + sum * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::normal_quantile;

    #[test]
    fn quantiles_are_those_of_the_standard_normal() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959_963_984_540_054), (0.001, -3.090_232_306_167_813)] {
            assert!((normal_quantile(p) - z).abs() < 1e-9, "{p} {}", normal_quantile(p));
        }
    }
}
