//! The definition of every operation: one arm of [`define`] each, in exact integers or in floating point with the stated
//! error. Results are in units of the output's last bit.

use super::integer::{Geometry, Vector, dense, nats, rescale, saturate, word};
use super::interval::{Interval, Near, softplus};
use super::records::{Matrix, Operation, Tensor};
use super::transport::{Couplings, Image, Stack};
use elbo::program::Opcode;

/// One nat in Q16.
const NAT: f64 = 65536.0;

/// The number that the format uses for ln 2 pi, in Q16.
const LN_2PI: f64 = 120_449.0;

/// What a tensor may hold after an operation.
pub enum Expected {
    /// These numbers.
    Exactly(Vec<i64>),
    /// Numbers within the stated error.
    Near(Vec<Near>),
    /// Scratch, which nothing reads.
    Anything,
}

impl From<Near> for Expected {
    fn from(near: Near) -> Self {
        Self::Near(vec![near])
    }
}

/// What an operation reads.
pub struct Given<'g> {
    pub operation: Operation,
    /// Its operands; those that it does not have are empty.
    pub operands: [Vector<'g>; 3],
    /// The output.
    pub y: Tensor,
    /// Iteration of the innermost loop.
    pub iteration: Option<usize>,
    /// So many matrices, the first of which the record names.
    pub matrices: &'g dyn Fn(usize) -> Vec<Matrix>,
    /// So many draws of noise.
    pub draw: &'g dyn Fn(usize) -> Vec<i64>,
}

/// What an operation writes, and what it writes into a second tensor.
pub fn define(given: &Given<'_>) -> (Expected, Option<Expected>) {
    let Operation { opcode, param, imm, .. } = given.operation;
    let ([a, b, c], y) = (given.operands, given.y);
    let read = a.frac as i32 + param;
    let x = |i: usize| a.q[i] as f64 / f64::from(read).exp2();
    let n = a.q.len();
    let each = |len: usize, f: &dyn Fn(usize) -> i64| Expected::Exactly((0..len).map(f).collect());
    let near = |len: usize, f: &dyn Fn(usize) -> (f64, f64)| {
        let element = |i: usize| {
            let (value, error) = f(i);
            Near::around(value, error)
        };
        Expected::Near((0..len).map(element).collect())
    };
    let scalar = |value: i128| Expected::Exactly(vec![nats(value)]);
    let sum = |rounding: f64, term: &dyn Fn(usize) -> Interval| {
        Expected::from(Near { base: 0, rest: (0..n).map(term).sum::<Interval>().widened(rounding) })
    };
    let plain = match opcode {
        Opcode::Dense => Expected::Exactly(dense(&(given.matrices)(1)[0], a.q)),
        Opcode::Relu => each(n, &|i| a.q[i].max(0)),
        Opcode::LeakyRelu => {
            let below = |q: i128| rescale(q * i128::from(imm), 15, 0) as i64;
            each(n, &|i| if a.q[i] < 0 { below(a.at(i)) } else { a.q[i] })
        }
        Opcode::HardSigmoid => {
            let slope = |q: i128| rescale(q * i128::from(imm), a.frac, 0) as i64;
            each(n, &|i| ((1 << 14) + slope(a.at(i))).clamp(0, 32767))
        }
        Opcode::Tanh => near(n, &|i| (32768.0 * x(i).tanh(), 1.25)),
        // 32767 stands for one.
        Opcode::Sigmoid => near(n, &|i| ((32768.0 / (1.0 + (-x(i)).exp())).min(32767.0), 1.0)),
        Opcode::Exp => near(n, &|i| {
            let value = x(i).exp() * f64::from(y.frac).exp2();
            (value.min(32767.0), 0.5 + value.min(32768.0) * (-26f64).exp2())
        }),
        Opcode::Clamp => {
            let (low, high) = (i64::from(imm as i16), i64::from((imm >> 16) as i16));
            each(n, &|i| (rescale(a.at(i), a.frac, y.frac) as i64).clamp(low, high))
        }
        Opcode::Fma => each(n, &|i| product(a, b, i, y.frac, c.aligned(i, a.frac + b.frac))),
        Opcode::Mul => each(n, &|i| product(a, b, i, y.frac, 0)),
        Opcode::AddVec => each(n, &|i| sum_of(a, b, i, y.frac, 1)),
        Opcode::SubVec => each(n, &|i| sum_of(a, b, i, y.frac, -1)),
        Opcode::Concat => each(n + b.q.len(), &|i| {
            let (part, at) = if i < n { (a, i) } else { (b, i - n) };
            saturate(rescale(part.at(at), part.frac, y.frac))
        }),
        Opcode::Slice => each(y.len, &|i| a.q[imm as usize + i]),
        Opcode::Select => each(n, &|i| if c.q[i] > 0 { a.q[i] } else { b.q[i] }),
        Opcode::Normal => {
            let (draws, limit) = ((given.draw)(y.len), i64::from(elbo::normal::MAX));
            each(y.len, &|i| draws[i].clamp(-limit, limit))
        }
        Opcode::OneHot => each(y.len, &|i| if Some(i) == given.iteration { imm.into() } else { 0 }),
        Opcode::BernoulliNll => bernoulli_nll(a, b).into(),
        Opcode::GaussianNll => sum(0.5, &|i| {
            let square = NAT * 0.5 * (c.value(i) - a.value(i)).powi(2) * (-b.value(i)).exp();
            let whole = square + 0.5 * (NAT * b.value(i) + LN_2PI);
            Interval::around(whole.min(43f64.exp2()), 0.5 + square.min(44f64.exp2()) * (-24f64).exp2())
        }),
        Opcode::LogisticNll => sum(0.0, &|i| logistic_nll(a.value(i), b.value(i), (c.q[i], c.frac))),
        Opcode::StudentTNll => {
            let nu = f64::from(param).exp2();
            let normaliser = normaliser_of_student_t(1 << param);
            sum(0.0, &|i| {
                let square = (c.value(i) - a.value(i)).powi(2) * (-b.value(i)).exp();
                let term = 0.5 * (nu + 1.0) * (square / nu).ln_1p() + 0.5 * b.value(i) + normaliser;
                Interval::around(NAT * term, 0.6 * (nu + 1.0) + 2.0)
            })
        }
        Opcode::LaplaceNll => sum(0.0, &|i| {
            let distance = NAT * (c.value(i) - a.value(i)).abs() * (-b.value(i)).exp();
            let term = distance + NAT * (b.value(i) + std::f64::consts::LN_2);
            Interval::around(term, 1.0 + distance * (-25f64).exp2()).clamped(f64::NEG_INFINITY, 43f64.exp2())
        }),
        Opcode::Kl => sum(1.0, &|i| {
            let variance = NAT * 0.5 * b.value(i).exp();
            let rest = NAT * 0.5 * (a.value(i).powi(2) - 1.0 - b.value(i));
            Interval::around(rest + variance, 0.25 + variance * (-26f64).exp2())
        }),
        Opcode::HalfSumSq => scalar(half_sum_sq(a)),
        Opcode::Sum => scalar(rescale(a.sum(), read as u32, 16)),
        Opcode::Add => scalar(a.at(0) + b.at(0)),
        Opcode::Sub => scalar(a.at(0) - b.at(0)),
        Opcode::Neg => scalar(-a.at(0)),
        Opcode::Offset => scalar(a.at(0) + i128::from(imm as i32)),
        Opcode::Mean => scalar(mean(a.sum(), a.q.len())),
        Opcode::MeanVec => each(y.len, &|i| {
            let total = a.q[i..].iter().step_by(y.len).map(|&q| i128::from(q)).sum();
            nats(mean(total, a.q.len() / y.len))
        }),
        Opcode::LogMeanExp => log_mean_exp(a.q).into(),
        Opcode::Softmax => softmax(a.q, a.frac),
        Opcode::Posterior => softmax(a.q, 16),
        Opcode::FreeEnergy => free_energy(a.q, b).into(),
        Opcode::RankOne => {
            let grown = 1.0 + dot(b, b);
            let along = dot(a, b) / (grown + grown.sqrt()) * f64::from(a.frac).exp2();
            let norm = a.q.iter().map(|&q| (q * q) as f64).sum::<f64>().sqrt();
            near(n, &|i| {
                let turned = (a.q[i] as f64 - along * b.value(i)).clamp(-32768.0, 32767.0);
                (turned, 0.5 + norm * (-27f64).exp2())
            })
        }
        Opcode::HalfLogDet => Near::around(NAT * 0.5 * dot(a, a).ln_1p(), 0.8).into(),
        Opcode::RankOneKl => {
            let ratio = NAT * 0.5 * dot(b, b) / (1.0 + dot(a, a));
            Near::around(NAT * 0.5 * dot(a, a).ln_1p() - ratio, 1.3 + ratio * (-28f64).exp2()).into()
        }
        Opcode::GaussianLogits => {
            let part = b.q.len() / a.q.len();
            let square = |i: usize| half_sum_sq(Vector { q: &b.q[i * part..][..part], frac: b.frac });
            each(n, &|i| nats(rescale(a.at(i), a.frac, 16) - square(i)))
        }
        Opcode::Conv => {
            let geometry = Geometry::of(imm, param);
            let matrices = (given.matrices)((geometry.up * geometry.up) as usize);
            return (Expected::Exactly(geometry.conv(a.q, &matrices)), Some(Expected::Anything));
        }
        Opcode::Planar => {
            return transported(Stack { point: a, params: b, inverse: param == 1 }.planar(), y.len);
        }
        Opcode::Radial => {
            return transported(Stack { point: a, params: b, inverse: param == 1 }.radial(), y.len);
        }
        Opcode::Couplings => {
            let couplings = Couplings::of(imm, param);
            return transported(couplings.run(a, y.frac, &(given.matrices)(couplings.matrices())), y.len);
        }
        Opcode::LogBands => {
            let bands = (imm >> 8 & 1 != 0, imm >> 16 & 1 != 0);
            return (log_bands(a.q, b.q, bands, y), Some(Expected::Anything));
        }
        Opcode::Statistics => statistics(a.q, imm, y.frac),
        Opcode::Invalid | Opcode::Loop | Opcode::End => unreachable!("{opcode:?} computes nothing"),
    };
    (plain, None)
}

/// `a b + rest`, where `rest` has the fractional bits of the product.
fn product(a: Vector<'_>, b: Vector<'_>, i: usize, to: u32, rest: i128) -> i64 {
    saturate(rescale(word(word(a.at(i) * b.at(i)) + rest), a.frac + b.frac, to))
}

/// `a + sign b`.
fn sum_of(a: Vector<'_>, b: Vector<'_>, i: usize, to: u32, sign: i128) -> i64 {
    let frac = a.frac.max(b.frac);
    saturate(rescale(word(a.aligned(i, frac) + sign * b.aligned(i, frac)), frac, to))
}

fn half_sum_sq(a: Vector<'_>) -> i128 {
    rescale(a.q.iter().map(|&q| i128::from(q).pow(2)).sum(), 2 * a.frac + 1, 16)
}

/// A mean, rounded half up.
fn mean(sum: i128, count: usize) -> i128 {
    (2 * sum + count as i128).div_euclid(2 * count as i128)
}

fn dot(a: Vector<'_>, b: Vector<'_>) -> f64 {
    (0..a.q.len()).map(|i| a.value(i) * b.value(i)).sum()
}

fn bernoulli_nll(logits: Vector<'_>, x: Vector<'_>) -> Near {
    let fit: i128 = logits.q.iter().zip(x.q).map(|(l, x)| i128::from(*l) * i128::from(*x)).sum();
    let normaliser: f64 = (0..logits.q.len()).map(|i| softplus(logits.value(i))).sum();
    let base = -nats(rescale(fit, logits.frac + x.frac, 16));
    Near { base, rest: Interval::around(NAT * normaliser, 1.5 * logits.q.len() as f64) }
}

fn logistic_nll(mean: f64, log_scale: f64, (q, frac): (i64, u32)) -> Interval {
    let precision = (-log_scale).exp();
    let one = 1i64 << frac;
    let (distance, half) = ((q as f64 / one as f64 - mean) * precision, precision / 510.0);
    let (lowest, highest) = (q * 510 < one, (one - q) * 510 < one);
    let mut term = 0.0;
    if !highest {
        term += softplus(-distance - half);
    }
    if !lowest {
        term += softplus(distance - half);
    }
    if !lowest && !highest {
        term -= (-(-2.0 * half).exp_m1()).ln();
    }
    let error = 7.0 + NAT * (distance.abs() + half) * (-25f64).exp2();
    Interval::around(NAT * term, error).clamped(-8.0, 40f64.exp2())
}

/// `ln B(1/2, nu/2) + 1/2 ln nu`.
fn normaliser_of_student_t(nu: u32) -> f64 {
    ln_gamma_of_half(nu) - ln_gamma_of_half(nu + 1) + 0.5 * (f64::from(nu) * std::f64::consts::PI).ln()
}

/// `ln gamma(n / 2)` by its recurrence relation.
fn ln_gamma_of_half(n: u32) -> f64 {
    let even = n.is_multiple_of(2);
    let first = if even { 0.0 } else { 0.5 * std::f64::consts::PI.ln() };
    first + (if even { 2 } else { 1 }..n).step_by(2).map(|k| (f64::from(k) / 2.0).ln()).sum::<f64>()
}

/// The exponentials of numbers relative to the largest of them, and their sum.
fn shares(logits: impl Iterator<Item = f64>) -> (Vec<f64>, f64) {
    let weights: Vec<f64> = logits.map(f64::exp).collect();
    let total = weights.iter().sum();
    (weights, total)
}

fn relative(a: &[i64]) -> impl Iterator<Item = f64> {
    let most = a.iter().copied().max().unwrap_or(0);
    a.iter().map(move |&q| (i128::from(q) - i128::from(most)) as f64)
}

/// Probabilities of logits at `frac` fractional bits.
fn softmax(a: &[i64], frac: u32) -> Expected {
    let (weights, total) = shares(relative(a).map(|q| q / f64::from(frac).exp2()));
    let near = |weight: f64| Near::around((32768.0 * weight / total).min(32767.0), 0.51);
    Expected::Near(weights.into_iter().map(near).collect())
}

fn log_mean_exp(a: &[i64]) -> Near {
    let (weights, total) = shares(relative(a).map(|q| q / NAT));
    let base = a.iter().copied().max().unwrap_or(0);
    Near { base, rest: Interval::around(NAT * (total / weights.len() as f64).ln(), 0.55) }
}

/// Values beyond 2^46 count as this.
fn free_energy(a: &[i64], b: Vector<'_>) -> Near {
    let (weights, total) = shares(relative(b.q).map(|q| q / f64::from(b.frac).exp2()));
    let limit = 1i64 << 46;
    let values: Vec<i64> = a.iter().map(|&value| value.clamp(-limit, limit)).collect();
    let base = values[weights.iter().position(|&weight| weight == 1.0).unwrap_or(0)];
    let terms: Vec<f64> = relative(b.q)
        .zip(&values)
        .map(|(q, &value)| (value - base) as f64 + NAT * (q / f64::from(b.frac).exp2() - total.ln()))
        .collect();
    let energy: f64 = weights.iter().zip(&terms).map(|(weight, term)| weight / total * term).sum();
    let spread = terms.iter().copied().fold(f64::MIN, f64::max) - terms.iter().copied().fold(f64::MAX, f64::min);
    let error = 1.1 + spread * ((-26f64).exp2() + terms.len() as f64 * (-31f64).exp2());
    Near { base, rest: Interval::around(energy, error) }
}

/// The logarithm of a number in units of samples, which no result is below.
fn log_from(value: f64) -> f64 {
    value.ln().max(-16.0)
}

/// A result within an interval, rounded and saturated.
fn written(interval: Interval, frac: u32) -> Near {
    let rest = interval.scaled(f64::from(frac).exp2()).widened(0.5).clamped(-32768.0, 32767.0);
    Near { base: 0, rest }
}

/// Energies of bands of a window, with a taper or not, in triangles or not.
fn log_bands(x: &[i64], edges: &[i64], (hann, triangles): (bool, bool), y: Tensor) -> Expected {
    use std::f64::consts::{PI, TAU};
    let n = x.len();
    let mean = x.iter().sum::<i64>() as f64 / n as f64;
    let largest = x.iter().map(|&x| (x as f64 - mean).abs()).fold(0.0, f64::max);
    let factor = |i: usize| if hann { (PI * i as f64 / n as f64).sin().powi(2) } else { 1.0 };
    let tapered: Vec<f64> = x.iter().enumerate().map(|(i, &x)| (x as f64 - mean) * factor(i)).collect();
    let turns: Vec<(f64, f64)> = (0..n).map(|i| (TAU * i as f64 / n as f64).sin_cos()).collect();
    // Magnitudes, each with its error.
    let magnitude = |k: usize| {
        let sum = |part: &dyn Fn((f64, f64)) -> f64| -> f64 {
            tapered.iter().enumerate().map(|(i, x)| x * part(turns[i * k % n])).sum()
        };
        let (re, im) = (sum(&|(_, cos)| cos), sum(&|(sin, _)| sin));
        Interval::around(re.hypot(im), 4.0 * n as f64 * largest * (-28f64).exp2()).clamped(0.0, f64::MAX).square()
    };
    let power: Vec<Interval> = (0..=n / 2).map(magnitude).collect();
    let mut last = 0;
    let edges: Vec<i64> = edges
        .iter()
        .map(|&edge| {
            last = edge.clamp(last, n as i64 / 2 + 1);
            last
        })
        .collect();
    let weight = |band: usize, k: usize| {
        let (k, edge) = (k as i64, |i: usize| edges[band + i]);
        let part = |k: i64, of: i64| Interval::around(k as f64 / of as f64, (-15f64).exp2()).clamped(0.0, 1.0);
        if !triangles {
            Interval::exactly(if (edge(0)..edge(1)).contains(&k) { 1.0 } else { 0.0 })
        } else if (edge(0)..edge(1)).contains(&k) {
            part(k - edge(0), edge(1) - edge(0))
        } else if (edge(1)..edge(2)).contains(&k) {
            part(edge(2) - k, edge(2) - edge(1))
        } else {
            Interval::exactly(0.0)
        }
    };
    let scale = if hann { 16.0 / 3.0 } else { 2.0 } / (n as f64).powi(2);
    let energy = |band: usize| -> Interval { power.iter().enumerate().map(|(k, p)| *p * weight(band, k)).sum() };
    let near = |band: usize| {
        let log = energy(band).scaled(scale).rising(log_from).widened(1e-6);
        written(log, y.frac)
    };
    Expected::Near((0..y.len).map(near).collect())
}

/// Those statistics of a window that are asked for, in the order of their bits.
fn statistics(x: &[i64], which: u32, frac: u32) -> Expected {
    let n = x.len() as f64;
    let mean = x.iter().sum::<i64>() as f64 / n;
    let deviations: Vec<f64> = x.iter().map(|&x| x as f64 - mean).collect();
    let moment = |power: i32| deviations.iter().map(|d| d.abs().powi(power)).sum::<f64>() / n;
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    };
    let middle = median(x.iter().map(|&x| x as f64).collect());
    let peak = deviations.iter().map(|d| d.abs()).fold(0.0, f64::max);
    let crossings = deviations.windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count() as f64;
    let relative = |value: f64| if peak == 0.0 { 0.0 } else { value };
    let all = [
        (log_from(moment(2)), 14),
        (log_from(moment(1)), 14),
        (log_from(median(x.iter().map(|&x| (x as f64 - middle).abs()).collect())), 14),
        (relative((peak / moment(2).sqrt()).ln()), 14),
        (relative((moment(4) / moment(2).powi(2)).ln()), 9),
        (relative(crossings / n), 14),
    ];
    let wanted = all.into_iter().enumerate().filter(|(bit, _)| which >> bit & 1 != 0);
    let near =
        |(_, (value, bits)): (usize, (f64, i32))| written(Interval::around(value, f64::from(-bits).exp2()), frac);
    Expected::Near(wanted.map(near).collect())
}

/// The point followed by zeros, and the log-determinant.
fn transported(image: Image, len: usize) -> (Expected, Option<Expected>) {
    let near = |rest: Interval| Near { base: 0, rest };
    let mut point: Vec<Near> = image.point.into_iter().map(near).collect();
    point.resize_with(len, || near(Interval::exactly(0.0)));
    (Expected::Near(point), Some(near(image.log_det).into()))
}
