//! Operations with a stated error: their definition in floating point, and everything within the error of it. Results
//! are in units of the output's last bit.

use super::integer::{self, Vector, nats, rescale};
use super::interval::Interval;

/// One nat in Q16.
const NAT: f64 = 65536.0;

/// The number that the format uses for ln 2 pi, in Q16.
const LN_2PI: f64 = 120_449.0;

/// What an operation may give: a number that is exact, and what is added to it.
pub struct Near {
    pub base: i64,
    pub rest: Interval,
}

impl Near {
    fn around(value: f64, error: f64) -> Self {
        Self { base: 0, rest: Interval::around(value, error) }
    }
}

pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Vector<'_> {
    pub fn value(&self, i: usize) -> f64 {
        self.q[i] as f64 / f64::from(self.frac).exp2()
    }
}

/// `f` of every element that is read at `read` fractional bits.
fn map(a: &[i64], read: i32, f: impl Fn(f64) -> (f64, f64)) -> Vec<Near> {
    let near = |&q: &i64| {
        let (value, error) = f(q as f64 / f64::from(read).exp2());
        Near::around(value, error)
    };
    a.iter().map(near).collect()
}

pub fn tanh(a: &[i64], read: i32) -> Vec<Near> {
    map(a, read, |x| (32768.0 * x.tanh(), 1.25))
}

/// 32767 stands for one.
pub fn sigmoid(a: &[i64], read: i32) -> Vec<Near> {
    map(a, read, |x| ((32768.0 / (1.0 + (-x).exp())).min(32767.0), 1.0))
}

pub fn exp(a: &[i64], read: i32, frac: u32) -> Vec<Near> {
    map(a, read, |x| {
        let value = x.exp() * f64::from(frac).exp2();
        (value.min(32767.0), 0.5 + value.min(32768.0) * (-26f64).exp2())
    })
}

pub fn bernoulli_nll(logits: Vector<'_>, x: Vector<'_>) -> Near {
    let fit: i128 = logits.q.iter().zip(x.q).map(|(l, x)| i128::from(*l) * i128::from(*x)).sum();
    let normaliser: f64 = (0..logits.q.len()).map(|i| softplus(logits.value(i))).sum();
    let base = -nats(rescale(fit, logits.frac + x.frac, 16));
    Near { base, rest: Interval::around(NAT * normaliser, 1.5 * logits.q.len() as f64) }
}

pub fn gaussian_nll(mean: Vector<'_>, logvar: Vector<'_>, x: Vector<'_>) -> Near {
    let (mut sum, mut error) = (0.0, 0.5);
    for i in 0..x.q.len() {
        let square = NAT * 0.5 * (x.value(i) - mean.value(i)).powi(2) * (-logvar.value(i)).exp();
        let whole = square + 0.5 * (NAT * logvar.value(i) + LN_2PI);
        sum += whole.min(43f64.exp2());
        error += 0.5 + square.min(44f64.exp2()) * (-24f64).exp2();
    }
    Near::around(sum, error)
}

pub fn kl(mu: Vector<'_>, logvar: Vector<'_>) -> Near {
    let (mut sum, mut error) = (0.0, 1.0);
    for i in 0..mu.q.len() {
        let variance = NAT * 0.5 * logvar.value(i).exp();
        sum += NAT * 0.5 * (mu.value(i).powi(2) - 1.0 - logvar.value(i)) + variance;
        error += 0.25 + variance * (-26f64).exp2();
    }
    Near::around(sum, error)
}

/// `ln gamma(n / 2)` by its recurrence relation.
fn ln_gamma_of_half(n: u32) -> f64 {
    let even = n.is_multiple_of(2);
    let first = if even { 0.0 } else { 0.5 * std::f64::consts::PI.ln() };
    first + (if even { 2 } else { 1 }..n).step_by(2).map(|k| (f64::from(k) / 2.0).ln()).sum::<f64>()
}

pub fn student_t_nll(degrees_log2: i32, location: Vector<'_>, log_square: Vector<'_>, x: Vector<'_>) -> Near {
    let degrees = 1u32 << degrees_log2;
    let nu = f64::from(degrees);
    let normaliser = ln_gamma_of_half(degrees) - ln_gamma_of_half(degrees + 1) + 0.5 * (nu * std::f64::consts::PI).ln();
    let term = |i: usize| {
        let square = (x.value(i) - location.value(i)).powi(2) * (-log_square.value(i)).exp();
        0.5 * (nu + 1.0) * (square / nu).ln_1p() + 0.5 * log_square.value(i) + normaliser
    };
    let sum: f64 = (0..x.q.len()).map(term).sum();
    Near::around(NAT * sum, (0.6 * (nu + 1.0) + 2.0) * x.q.len() as f64)
}

pub fn logistic_nll(mean: Vector<'_>, log_scale: Vector<'_>, x: Vector<'_>) -> Near {
    let mut sum = Interval::exactly(0.0);
    for i in 0..x.q.len() {
        let precision = (-log_scale.value(i)).exp();
        let (distance, half) = ((x.value(i) - mean.value(i)) * precision, precision / 510.0);
        let one = 1i64 << x.frac;
        let (lowest, highest) = (x.q[i] * 510 < one, (one - x.q[i]) * 510 < one);
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
        sum = sum + Interval::around(NAT * term, error).clamped(-8.0, 40f64.exp2());
    }
    Near { base: 0, rest: sum }
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
pub fn softmax(a: &[i64], frac: u32) -> Vec<Near> {
    let (weights, total) = shares(relative(a).map(|q| q / f64::from(frac).exp2()));
    weights.into_iter().map(|weight| Near::around((32768.0 * weight / total).min(32767.0), 0.51)).collect()
}

pub fn log_mean_exp(a: &[i64]) -> Near {
    let (weights, total) = shares(relative(a).map(|q| q / NAT));
    let base = a.iter().copied().max().unwrap_or(0);
    Near { base, rest: Interval::around(NAT * (total / weights.len() as f64).ln(), 0.55) }
}

/// Values beyond 2^46 count as this.
pub fn free_energy(a: &[i64], b: Vector<'_>) -> Near {
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

fn dot(a: Vector<'_>, b: Vector<'_>) -> f64 {
    (0..a.q.len()).map(|i| a.value(i) * b.value(i)).sum()
}

pub fn rank_one(a: Vector<'_>, b: Vector<'_>) -> Vec<Near> {
    let grown = 1.0 + dot(b, b);
    let along = dot(a, b) / (grown + grown.sqrt()) * f64::from(a.frac).exp2();
    let norm = a.q.iter().map(|&q| (q * q) as f64).sum::<f64>().sqrt();
    let turned = |i: usize| (a.q[i] as f64 - along * b.value(i)).clamp(-32768.0, 32767.0);
    (0..a.q.len()).map(|i| Near::around(turned(i), 0.5 + norm * (-27f64).exp2())).collect()
}

pub fn half_log_det(a: Vector<'_>) -> Near {
    Near::around(NAT * 0.5 * dot(a, a).ln_1p(), 0.8)
}

pub fn rank_one_kl(a: Vector<'_>, b: Vector<'_>) -> Near {
    let ratio = NAT * 0.5 * dot(b, b) / (1.0 + dot(a, a));
    Near::around(NAT * 0.5 * dot(a, a).ln_1p() - ratio, 1.3 + ratio * (-28f64).exp2())
}

/// `a - 1/2 |b|^2` of every component, which is exact.
pub fn gaussian_logits(a: Vector<'_>, b: Vector<'_>) -> Vec<i64> {
    let len = b.q.len() / a.q.len();
    let parts = b.q.chunks(len.max(1));
    a.q.iter()
        .zip(parts)
        .map(|(&peak, q)| integer::total(&[peak], a.frac) - integer::half_sum_sq(Vector { q, frac: b.frac }))
        .collect()
}
