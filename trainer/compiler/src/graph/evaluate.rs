//! The value of every operation of the float graph. The integer program is compared with this definition.

use super::{DenseLayer, Immediate, Node, front};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::flow::{MARGIN, NORM_SQUARED_MIN};
use elbo::kernel::ConvGeometry;
use elbo::program::Opcode;

/// The results of an operation other than its output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evaluated {
    /// The log-determinant of a flow in nats; 0 for any other operation.
    pub log_det: f32,
    /// The largest magnitude of the output and its intermediate values.
    pub extent: f32,
}

pub(super) fn evaluate(
    opcode: Opcode,
    node: &Node,
    layers: &[DenseLayer],
    operands: &[&[f32]],
    out: &mut [f32],
) -> Evaluated {
    let a = operands[0];
    let scale = 2f32.powi(-i32::from(node.param));
    let each = |out: &mut [f32], f: &dyn Fn(f32) -> f32| out.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a));
    let pairs = |out: &mut [f32], f: &dyn Fn(f32, f32) -> f32| {
        out.iter_mut().zip(a).zip(operands[1]).for_each(|((y, a), b)| *y = f(*a, *b));
    };
    let sum = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>() as f32;
    let at = |operand: usize, i: usize| f64::from(operands[operand][i]);
    match opcode {
        Opcode::Dense => dense(&layers[node.layer], a, out),
        Opcode::Conv => {
            if let Immediate::Geometry(geometry) = node.imm {
                convolve(geometry, &layers[node.layers()], a, out);
            }
        }
        Opcode::LogBands => {
            if let Immediate::Bands(bands) = node.imm {
                front::log_bands(bands, a, operands[1], out);
            }
        }
        Opcode::Statistics => {
            if let Immediate::Statistics(which) = node.imm {
                front::statistics(which, a, out);
            }
        }
        Opcode::Relu => each(out, &|v| v.max(0.0)),
        Opcode::LeakyRelu => {
            if let Immediate::Slope(slope) = node.imm {
                each(out, &|v| if v < 0.0 { slope * v } else { v });
            }
        }
        Opcode::HardSigmoid => {
            if let Immediate::Slope(slope) = node.imm {
                each(out, &|v| (0.5 + slope * v).clamp(0.0, 1.0));
            }
        }
        Opcode::Tanh => each(out, &|v| (v * scale).tanh()),
        Opcode::Sigmoid => each(out, &|v| 1.0 / (1.0 + (-v * scale).exp())),
        Opcode::Exp => each(out, &|v| (v * scale).exp()),
        Opcode::Couplings => {
            if let Immediate::Stack(stack) = node.imm {
                return couple(stack, &layers[node.layers()], a, out);
            }
        }
        Opcode::Clamp => {
            if let Immediate::Interval([low, high]) = node.imm {
                each(out, &|v| v.clamp(low, high));
            }
        }
        Opcode::Fma => (0..out.len()).for_each(|i| out[i] = operands[0][i] * operands[1][i] + operands[2][i]),
        Opcode::Mul => pairs(out, &|a, b| a * b),
        Opcode::AddVec => pairs(out, &|a, b| a + b),
        Opcode::SubVec => pairs(out, &|a, b| a - b),
        Opcode::Concat => {
            out[..a.len()].copy_from_slice(a);
            out[a.len()..].copy_from_slice(operands[1]);
        }
        Opcode::Slice => {
            if let Immediate::Start(start) = node.imm {
                out.copy_from_slice(&a[start..start + node.len]);
            }
        }
        Opcode::Select => {
            (0..out.len()).for_each(|i| out[i] = operands[usize::from(operands[2][i] <= 0.0)][i]);
        }
        Opcode::Softmax | Opcode::Posterior => {
            let log_sum = log_sum_exp(a);
            each(out, &|v| (f64::from(v) - log_sum).exp() as f32);
        }
        Opcode::GaussianLogits => {
            for (c, part) in operands[1].chunks_exact(operands[1].len() / a.len()).enumerate() {
                out[c] = (f64::from(a[c]) - 0.5 * dot(part, part)) as f32;
            }
        }
        Opcode::MeanVec => {
            let count = (a.len() / out.len()) as f32;
            out.fill(0.0);
            a.chunks(out.len()).for_each(|row| out.iter_mut().zip(row).for_each(|(y, v)| *y += v / count));
        }
        Opcode::FreeEnergy => {
            let log_sum = log_sum_exp(operands[1]);
            out[0] = sum(&|i| (at(1, i) - log_sum).exp() * (at(0, i) + at(1, i) - log_sum));
        }
        Opcode::RankOne => {
            let (dot, squares) = (dot(a, operands[1]), dot(operands[1], operands[1]));
            let kappa = 1.0 / (1.0 + squares + (1.0 + squares).sqrt());
            pairs(out, &|eps, v| (f64::from(eps) - kappa * dot * f64::from(v)) as f32);
        }
        Opcode::HalfLogDet => out[0] = (0.5 * dot(a, a).ln_1p()) as f32,
        Opcode::RankOneKl => {
            let (v, w) = (dot(a, a), dot(operands[1], operands[1]));
            out[0] = (0.5 * v.ln_1p() - 0.5 * w / (1.0 + v)) as f32;
        }
        Opcode::Planar | Opcode::Radial => return flow(opcode, node.param == 1, a, operands[1], out),
        Opcode::BernoulliNll => {
            out[0] = sum(&|i| softplus(at(0, i)) - at(0, i) * at(1, i));
        }
        Opcode::GaussianNll => {
            let ln_2pi = std::f64::consts::TAU.ln();
            out[0] = sum(&|i| 0.5 * ((at(2, i) - at(0, i)).powi(2) * (-at(1, i)).exp() + at(1, i) + ln_2pi));
        }
        Opcode::StudentTNll => {
            let nu = f64::from(1u32 << node.param);
            let constant = ln_gamma_of_half(nu) - ln_gamma_of_half(nu + 1.0) + 0.5 * (nu * std::f64::consts::PI).ln();
            out[0] = sum(&|i| {
                let square = (at(2, i) - at(0, i)).powi(2) * (-at(1, i)).exp();
                0.5 * (nu + 1.0) * (square / nu).ln_1p() + 0.5 * at(1, i) + constant
            });
        }
        Opcode::LaplaceNll => {
            out[0] = sum(&|i| (at(2, i) - at(0, i)).abs() * (-at(1, i)).exp() + at(1, i) + std::f64::consts::LN_2);
        }
        Opcode::LogisticNll => out[0] = sum(&|i| logistic_nll(at(0, i), at(1, i), at(2, i))),
        Opcode::Kl => out[0] = sum(&|i| 0.5 * (at(0, i).powi(2) + at(1, i).exp() - 1.0 - at(1, i))),
        Opcode::HalfSumSq => out[0] = sum(&|i| 0.5 * at(0, i).powi(2)),
        Opcode::Sum => out[0] = sum(&|i| at(0, i) * f64::from(scale)),
        Opcode::Add => out[0] = a[0] + operands[1][0],
        Opcode::Sub => out[0] = a[0] - operands[1][0],
        Opcode::Neg => out[0] = -a[0],
        Opcode::Offset => {
            if let Immediate::Constant(constant) = node.imm {
                out[0] = a[0] + constant;
            }
        }
        Opcode::Mean => out[0] = sum(&|i| at(0, i)) / a.len() as f32,
        Opcode::LogMeanExp => out[0] = (log_sum_exp(a) - (a.len() as f64).ln()) as f32,
        Opcode::Invalid | Opcode::Normal | Opcode::OneHot | Opcode::Loop | Opcode::End => {}
    }
    Evaluated::default()
}

/// `ln gamma(n / 2)` of a whole positive `n`.
fn ln_gamma_of_half(n: f64) -> f64 {
    let halves = |first: f64| (0..).map(move |k| first + f64::from(k)).take_while(move |v| *v < n / 2.0).map(f64::ln);
    if n % 2.0 == 0.0 { halves(1.0).sum() } else { 0.5 * std::f64::consts::PI.ln() + halves(0.5).sum::<f64>() }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn log_sum_exp(v: &[f32]) -> f64 {
    let largest = f64::from(v.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + v.iter().map(|v| (f64::from(*v) - largest).exp()).sum::<f64>().ln()
}

/// -ln P of one of 256 grey levels `x` in [0, 1] under a logistic distribution of this mean and log-scale.
fn logistic_nll(mean: f64, log_scale: f64, x: f64) -> f64 {
    let precision = (-log_scale).exp();
    let half = precision / 510.0;
    let (upper, lower) = ((x - mean) * precision + half, (x - mean) * precision - half);
    if x < 0.25 / 255.0 {
        softplus(-upper)
    } else if x > 254.75 / 255.0 {
        softplus(lower)
    } else {
        softplus(lower) + softplus(-upper) - (-(-2.0 * half).exp_m1()).ln()
    }
}

fn dense(layer: &DenseLayer, x: &[f32], out: &mut [f32]) {
    for ((y, row), bias) in out.iter_mut().zip(layer.w.chunks_exact(layer.inp)).zip(&layer.b) {
        // With eight partial sums the compiler can use vector instructions.
        let mut lanes = [0f32; 8];
        let (blocks, tail) = row.as_chunks::<8>();
        let (x_blocks, x_tail) = x.as_chunks::<8>();
        for (w, x) in blocks.iter().zip(x_blocks) {
            for lane in 0..8 {
                lanes[lane] += w[lane] * x[lane];
            }
        }
        *y = bias + lanes.iter().sum::<f32>() + tail.iter().zip(x_tail).map(|(w, x)| w * x).sum::<f32>();
    }
}

fn convolve(geometry: ConvGeometry, layers: &[DenseLayer], x: &[f32], out: &mut [f32]) {
    let (up, (height, width)) = (u32::from(geometry.up), geometry.output());
    for (phase, layer) in (0..).zip(layers) {
        let channels = layer.inp / geometry.taps(phase) as usize;
        let mut patch = vec![0f32; layer.inp];
        for (j, row) in (phase / up..height).step_by(up as usize).enumerate() {
            for (i, col) in (phase % up..width).step_by(up as usize).enumerate() {
                geometry.gather(x, channels, phase, (j as u32, i as u32), &mut patch);
                let pixel = (row * width + col) as usize * layer.out;
                dense(layer, &patch, &mut out[pixel..pixel + layer.out]);
            }
        }
    }
}

/// All steps of a flow, with the same limits as in the runtime (see [`elbo::flow`]).
fn flow(opcode: Opcode, inverse: bool, z: &[f32], params: &[f32], out: &mut [f32]) -> Evaluated {
    let mut point: Vec<f64> = z.iter().map(|v| f64::from(*v)).collect();
    let params: Vec<f64> = params.iter().map(|v| f64::from(*v)).collect();
    let step = if opcode == Opcode::Planar { planar } else { radial };
    let len = if opcode == Opcode::Planar { 2 * z.len() + 1 } else { z.len() + 2 };
    let mut steps: Vec<&[f64]> = params.chunks_exact(len).collect();
    if inverse {
        steps.reverse();
    }
    let (mut log_det, mut extent) = (0.0, 0f64);
    for params in steps {
        log_det += step(&mut point, params, inverse);
        extent = point.iter().fold(extent, |largest, v| largest.max(v.abs()));
    }
    out.iter_mut().zip(point).for_each(|(y, v)| *y = v as f32);
    Evaluated { log_det: log_det as f32, extent: extent as f32 }
}

/// A stack of couplings (see [`CouplingStack`]).
fn couple(stack: CouplingStack, layers: &[DenseLayer], z: &[f32], out: &mut [f32]) -> Evaluated {
    let (first, second) = z.split_at(z.len().div_ceil(2));
    let mut halves = [first.to_vec(), second.to_vec()];
    let mut couplings: Vec<_> = layers.chunks_exact(usize::from(stack.matrices())).enumerate().collect();
    if stack.inverse {
        couplings.reverse();
    }
    let mut log_det = 0.0;
    for (k, layers) in couplings {
        let affine = |layer: &DenseLayer, x: &[f32]| {
            let mut y = vec![0.0; layer.out];
            dense(layer, x, &mut y);
            y
        };
        let (hidden, ends) = layers.split_at(usize::from(stack.layers));
        let h = hidden.iter().fold(halves[k % 2].clone(), |x, layer| {
            let mut y = affine(layer, &x);
            y.iter_mut().for_each(|v| match stack.activation {
                HiddenActivation::Relu => *v = v.max(0.0),
                HiddenActivation::Tanh => *v = v.tanh(),
                HiddenActivation::Identity => {}
            });
            y
        });
        let (shift, raw) = (affine(&ends[0], &h), affine(&ends[1], &h));
        for ((v, t), raw) in halves[(k + 1) % 2].iter_mut().zip(shift).zip(raw) {
            let s = raw.tanh() * f32::from(stack.scale_log2).exp2();
            log_det += f64::from(s);
            *v = if stack.inverse { (*v - t) * (-s).exp() } else { *v * s.exp() + t };
        }
    }
    out.fill(0.0);
    out.iter_mut().zip(halves.concat()).for_each(|(y, v)| *y = v);
    let log_det = if stack.inverse { -log_det } else { log_det };
    let squares: f64 = if stack.normal { out.iter().map(|v| f64::from(*v).powi(2) / 2.0).sum() } else { 0.0 };
    Evaluated { log_det: (log_det - squares) as f32, extent: 0.0 }
}

const LEAST: f64 = MARGIN as f64 / (1 << 24) as f64;

fn planar(z: &mut [f64], params: &[f64], inverse: bool) -> f64 {
    let (w, rest) = params.split_at(z.len());
    let (u, bias) = rest.split_at(z.len());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (s, norm) = (dot(w, u), dot(w, w));
    let mut correction = (softplus(-s) - 1.0) / norm.max(NORM_SQUARED_MIN as f64 / (1 << 24) as f64);
    if s + correction * norm < LEAST - 1.0 {
        correction = (LEAST - 1.0 - s) / norm;
    }
    let slope = s + correction * norm;
    let image = dot(w, z) + bias[0];
    let tanh = if inverse { planar_root(image, slope) } else { image }.tanh();
    let moved = if inverse { -tanh } else { tanh };
    z.iter_mut().zip(w).zip(u).for_each(|((z, w), u)| *z += moved * (u + correction * w));
    let log_det = (slope * (1.0 - tanh * tanh)).ln_1p();
    if inverse { -log_det } else { log_det }
}

/// The solution `a` of `a + slope tanh(a) = image`.
fn planar_root(image: f64, slope: f64) -> f64 {
    let (mut low, mut high) = (image - slope.abs() - 1.0, image + slope.abs() + 1.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if middle + slope * middle.tanh() <= image { low = middle } else { high = middle }
    }
    low
}

fn radial(z: &mut [f64], params: &[f64], inverse: bool) -> f64 {
    let (centre, shape) = params.split_at(z.len());
    let [alpha, inner] = [shape[0], shape[1]].map(|raw| softplus(raw).max(LEAST));
    let mut r = z.iter().zip(centre).map(|(z, c)| (z - c).powi(2)).sum::<f64>().sqrt();
    if inverse {
        let c = inner - r;
        r = 0.5 * ((c * c + 4.0 * alpha * r).sqrt() - c);
    }
    let (from, to) = if inverse { (inner, alpha) } else { (alpha, inner) };
    let ratio = (to - from) / (r + from);
    z.iter_mut().zip(centre).for_each(|(z, c)| *z += ratio * (*z - c));
    let tangential = ((r + inner) / (r + alpha)).ln();
    let radial = ((r * r + 2.0 * alpha * r + alpha * inner) / (r + alpha).powi(2)).ln();
    let log_det = (z.len() as f64 - 1.0) * tangential + radial;
    if inverse { -log_det } else { log_det }
}
