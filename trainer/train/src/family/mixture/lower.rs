//! The programs of a mixture: the exact score, the posterior over components, the mean of a row's components, and draws.
//!
//! One layer whitens a row for all components, `u_c = L_c^-1 (x - mu_c)`. The joint log-density of component c is
//! `p_c - |u_c|^2 / 2`. A sample first computes the point of every component from the same noise. It then selects the
//! point of the last component whose threshold is below one further normal number. There is one `Select` for each
//! threshold, so that the point of every component can have its own scale.

use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};
use elbo_compiler::{DenseLayer, FloatModel};

use super::gaussians::Mixture;
use super::linalg::dot;
use crate::lower::Affine;

/// The largest magnitude of a whitened value that scores distinguish, in standard deviations. With a larger limit, 16
/// bits would be too coarse for rows that are near.
const MOST: f32 = 1023.0;

/// The layers of the programs of a mixture.
struct Layers {
    /// `[k d, d]`: computes `L_c^-1 (x - mu_c)` for every component.
    whiten: Affine,
    /// The largest magnitude of the outputs of `whiten` for inputs within their limit.
    reach: f32,
    /// Index of the constants `[k]`: the logarithm of every component's joint density at its mean, minus the largest of
    /// them, in nats.
    peaks: usize,
    /// Index of the layer `[d, k]` of the components' means, which posterior probabilities weight. Those of a single
    /// component are constants.
    means: usize,
    /// A constant of the score in nats: `-ln k` minus the largest of these logarithms.
    offset: f32,
}

pub(super) fn lower(mixture: &Mixture, range: f32, sample: bool) -> FloatModel {
    let mut model = FloatModel::default();
    let layers = layers(&mut model, mixture, range);
    let k = mixture.components();
    let density = |b: &mut Builder| {
        let x = b.input(mixture.dim());
        let x = b.clamp([-range, range], x);
        let u = layers.whiten.apply(b, x);
        // The scale of the layer must hold every value that passes the clamp, even if calibration has not seen it.
        let most = layers.reach.min(MOST);
        let u = b.clamp([-most, most], u);
        let peaks = b.constant(layers.peaks, k, x);
        b.gaussian_logits(peaks, u)
    };
    let mut b = Builder::default();
    let logits = density(&mut b);
    let mean = b.scalar(Opcode::LogMeanExp, 0, &[logits]);
    let score = b.scalar(Opcode::Neg, 0, &[mean]);
    let score = b.offset(layers.offset, score);
    let mut programs = vec![b.finish(ProgramKind::Score, &[score])];
    if k > 1 {
        let mut b = Builder::default();
        let logits = density(&mut b);
        let posterior = b.map(Opcode::Posterior, 0, &[logits]);
        programs.push(b.finish(ProgramKind::Classify, &[posterior]));
    }
    let mut b = Builder::default();
    let mean = if k == 1 {
        let x = b.input(mixture.dim());
        b.constant(layers.means, mixture.dim(), x)
    } else {
        let logits = density(&mut b);
        let posterior = b.map(Opcode::Posterior, 0, &[logits]);
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
    let most = mixture.peaks().iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let peaks: Vec<f32> = mixture.peaks().iter().map(|peak| (peak - most) as f32).collect();
    let offset = -((k as f64).ln() + most) as f32;
    let w: Vec<f32> = (0..d * k).map(|at| mixture.mean(at % k)[at / k] as f32).collect();
    let means = match k {
        1 => model.constant("means", &w),
        _ => model.layer("means", DenseLayer { w, b: vec![0.0; d], out: d, inp: k }),
    };
    Layers {
        means,
        whiten: Affine::add(model, "whiten", whiten),
        reach,
        peaks: model.constant("peaks", &peaks),
        offset,
    }
}

/// The program `sample` and, if there are several components, `sample_class`.
fn draws(model: &mut FloatModel, mixture: &Mixture) -> Vec<FloatProgram> {
    let (k, d) = (mixture.components(), mixture.dim());
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let points = DenseLayer { w: narrow(&mixture.factors), b: narrow(&mixture.means), out: k * d, inp: d };
    let points = Affine::add(model, "points", points);
    let draw = |b: &mut Builder, masks: Option<NodeId>| {
        let z = b.normal(d);
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
    let mut below = 0.0;
    for (next, weight) in mixture.weights[..k - 1].iter().enumerate() {
        below += weight;
        passed.b.extend(std::iter::repeat_n(-normal_quantile(below) as f32, d));
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
