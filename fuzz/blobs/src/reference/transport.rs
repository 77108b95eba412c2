//! Flows and couplings, step by step in intervals: what the errors of earlier steps may have become is part of every
//! later one.

use super::integer::Vector;
use super::interval::{Interval, softplus};
use super::records::Matrix;

/// What a flow gives: the coordinates in units of the last bit, and the log-determinant in Q16 nats.
pub struct Image {
    pub point: Vec<Interval>,
    pub log_det: Interval,
}

const MARGIN: f64 = 3.0 / 64.0;
/// Coordinates that keep eight bits more between the steps of a stack.
const PRECISE: usize = 64;
/// Error of `softplus` in a radial step.
const SOFTPLUS_ERROR: f64 = 3e-7;
/// The same in a planar step, where the argument is rounded to 16 bits.
const ROUNDED_ERROR: f64 = 4.2e-6;

/// A stack of planar or radial steps.
pub struct Stack<'v> {
    pub point: Vector<'v>,
    pub params: Vector<'v>,
    pub inverse: bool,
}

impl Stack<'_> {
    fn run(&self, width: usize, step: impl Fn(&[Interval], &[f64]) -> (Vec<Interval>, Interval)) -> Image {
        let params: Vec<f64> = (0..self.params.q.len()).map(|i| self.params.value(i)).collect();
        let unit = f64::from(self.point.frac).exp2();
        let mut point: Vec<Interval> =
            (0..self.point.q.len()).map(|i| Interval::exactly(self.point.value(i))).collect();
        let mut log_det = Interval::exactly(0.0);
        let mut steps: Vec<&[f64]> = params.chunks_exact(width).collect();
        if self.inverse {
            steps.reverse();
        }
        for values in steps {
            let (moved, nats) = step(&point, values);
            let stored = |(i, value): (usize, Interval)| {
                let (rounding, last) = if i < PRECISE { (1.0 / 512.0, 1.0 / 256.0) } else { (0.5, 1.0) };
                let value = value.scaled(unit).widened(rounding + 1e-4);
                value.clamped(-32768.0, 32768.0 - last).scaled(1.0 / unit)
            };
            point = moved.into_iter().enumerate().map(stored).collect();
            // The sum of rounded logarithms.
            log_det = log_det + (if self.inverse { -nats } else { nats }).scaled(65536.0).widened(0.6);
        }
        let last = |(i, value): (usize, &Interval)| {
            let rounding = if i < PRECISE { 0.5 } else { 0.0 };
            value.scaled(unit).widened(rounding).clamped(-32768.0, 32767.0)
        };
        Image { point: point.iter().enumerate().map(last).collect(), log_det }
    }

    pub fn planar(&self) -> Image {
        let d = self.point.q.len();
        self.run(2 * d + 1, |point, step| planar(point, step, self.inverse, self.params.frac))
    }

    pub fn radial(&self) -> Image {
        let d = self.point.q.len();
        self.run(d + 2, |point, step| radial(point, step, self.inverse))
    }
}

fn planar(point: &[Interval], step: &[f64], inverse: bool, frac: u32) -> (Vec<Interval>, Interval) {
    let d = point.len();
    let (w, u, bias) = (&step[..d], &step[d..2 * d], step[2 * d]);
    let dot = |b: &[f64]| w.iter().zip(b).map(|(w, b)| w * b).sum::<f64>();
    let (product, norm) = (dot(u), dot(w));
    let gap = softplus(-product) - 1.0;
    // `w.u` is rounded to 24 bits.
    let rounding = if 2 * frac > 24 { (-25f64).exp2() } else { 0.0 };
    let (mut c, mut slope) = (gap / norm.max(1.0 / 64.0), product + gap * (64.0 * norm).min(1.0));
    let mut c_error = (ROUNDED_ERROR + rounding) / norm.max(1.0 / 64.0);
    if slope <= MARGIN - 1.0 + 1e-6 {
        (c, slope) = ((MARGIN - 1.0 - product) / norm, MARGIN - 1.0);
        c_error = c_error.max((ROUNDED_ERROR + rounding) / norm);
    }
    // The quotient has 28 bits.
    c_error += c.abs() * (-27f64).exp2();
    let slope = Interval::around(slope.min(16384.0), ROUNDED_ERROR + 2.0 * rounding + (-23f64).exp2());
    let along: Interval = point.iter().zip(w).map(|(z, w)| z.scaled(*w)).sum();
    let mut a = (along + Interval::exactly(bias)).widened((-20f64).exp2());
    if inverse {
        let error = slope.size() * (-15f64).exp2() + slope.radius() + (-19f64).exp2();
        let inverted = |image: f64| {
            let (mut low, mut high) = (-16.0f64, 16.0f64);
            for _ in 0..60 {
                let middle = (low + high) / 2.0;
                if middle + slope.middle() * middle.tanh() <= image { low = middle } else { high = middle }
            }
            low
        };
        a = a.widened(error).rising(inverted).widened((-19f64).exp2());
    }
    let tanh = a.rising(f64::tanh).widened((-15f64).exp2()).clamped(-1.0, 1.0);
    let moved = if inverse { -tanh } else { tanh };
    let image = point.iter().zip(w.iter().zip(u)).map(|(z, (w, u))| {
        let direction = Interval::around(u + c * w, c_error * w.abs());
        *z + moved * direction
    });
    let det = Interval::exactly(1.0) + slope * (Interval::exactly(1.0) - tanh.square());
    // At least the margin, but for the rounding of the factors.
    let det = det.widened((-22f64).exp2()).clamped(MARGIN - 1e-6, f64::INFINITY);
    (image.collect(), det.rising(f64::ln))
}

fn radial(point: &[Interval], step: &[f64], inverse: bool) -> (Vec<Interval>, Interval) {
    let d = point.len();
    let limited = |raw: f64| Interval::around(softplus(raw).max(MARGIN), SOFTPLUS_ERROR).clamped(MARGIN, f64::INFINITY);
    let (alpha, inner) = (limited(step[d]), limited(step[d + 1]));
    let differences: Vec<Interval> =
        point.iter().zip(step).map(|(z, centre)| (*z - Interval::exactly(*centre)).widened((-19f64).exp2())).collect();
    let norm = |of: &dyn Fn(&Interval) -> f64| differences.iter().map(|x| of(x).powi(2)).sum::<f64>().sqrt();
    let spread = norm(&|x| x.radius()) + (-18f64).exp2();
    let mut distance = Interval::around(norm(&|x| x.middle()), spread).clamped(0.0, f64::INFINITY);
    if inverse {
        let root = |image: f64, alpha: f64, inner: f64| {
            let c = inner - image;
            let root = (c * c + 4.0 * alpha * image).sqrt();
            // Without cancellation.
            if c > 0.0 { 2.0 * alpha * image / (root + c) } else { (root - c) / 2.0 }
        };
        let step = (-18f64).exp2();
        distance = Interval {
            low: root(distance.low, alpha.low - step, inner.high + step),
            high: root(distance.high, alpha.high + step, inner.low - step),
        };
        distance = distance.widened((-17f64).exp2()).clamped(0.0, f64::INFINITY);
    }
    let quotient = |numerator: Interval, denominator: Interval| {
        numerator * Interval { low: 1.0 / denominator.high, high: 1.0 / denominator.low }
    };
    let (from, to) = if inverse { (inner, alpha) } else { (alpha, inner) };
    // (r + to) / (r + from), which is monotone in r.
    let factor = {
        let ratio = |r: f64| quotient(Interval::exactly(r) + to, Interval::exactly(r) + from);
        let (a, b) = (ratio(distance.low), ratio(distance.high));
        Interval { low: a.low.min(b.low), high: a.high.max(b.high) }
    };
    let factor = factor.widened((factor.size() + 1.0) * (-27f64).exp2());
    let image = differences.iter().zip(step).map(|(x, centre)| {
        let error = (factor.size() + 1.0) * (-18f64).exp2();
        Interval::exactly(*centre) + (*x * factor).widened(error)
    });
    let ln = |x: Interval| x.clamped(1e-12, f64::INFINITY).rising(f64::ln).widened(1.5e-7);
    let (tangential, radial) = (ln(distance + inner), ln(distance + alpha));
    let numerator = distance.square() + distance * alpha.scaled(2.0) + alpha * inner;
    let log_det =
        (tangential - radial).scaled(d as f64 - 1.0) + ln(numerator.widened((-34f64).exp2())) - radial.scaled(2.0);
    (image.collect(), log_det)
}

/// A stack of affine couplings.
pub struct Couplings {
    pub count: usize,
    pub layers: usize,
    /// 0 max(x, 0), 1 tanh, 2 none.
    activation: u32,
    sixteen: bool,
    inverse: bool,
    normal: bool,
    scale_log2: i32,
}

/// The unit of the numbers inside a stack.
const UNIT: f64 = 65536.0;
const POINT_LIMIT: f64 = 2048.0;
const LIMIT: f64 = 16384.0;

impl Couplings {
    pub fn of(imm: u32, param: i32) -> Self {
        let flag = |bit: u32| imm >> bit & 1 != 0;
        Self {
            count: (imm & 0xFF) as usize,
            layers: (imm >> 8 & 0xFF) as usize,
            activation: imm >> 16 & 3,
            sixteen: flag(18),
            inverse: flag(19),
            normal: flag(20),
            scale_log2: param,
        }
    }

    /// Matrices of all couplings.
    pub fn matrices(&self) -> usize {
        self.count * (self.layers + 2)
    }

    fn apply(&self, matrix: &Matrix, x: &[Interval]) -> Vec<Interval> {
        let lower = x.len().next_multiple_of(4);
        let row = |(row, weights): (usize, &Vec<i64>)| {
            let weight = |i: usize| {
                let fine = if self.sixteen { weights[lower + i] as f64 / 256.0 } else { 0.0 };
                weights[i] as f64 + fine
            };
            let sum: Interval = x.iter().enumerate().map(|(i, x)| x.scaled(UNIT * weight(i))).sum();
            // The lower bytes are rounded once.
            let sum = sum.widened(if self.sixteen { 0.5 } else { 0.0 });
            let sum = sum + Interval::exactly(16.0 * matrix.bias[row] as f64);
            let value = sum.scaled(matrix.multiplier[row] as f64 * (-32f64).exp2()).widened(0.51);
            value.scaled(1.0 / UNIT).clamped(-LIMIT, LIMIT)
        };
        matrix.rows.iter().enumerate().map(row).collect()
    }

    fn tanh(x: Interval) -> Interval {
        x.rising(f64::tanh).widened((-15f64).exp2()).clamped(-1.0, 1.0)
    }

    /// The image of a point, rounded to `to` fractional bits.
    pub fn run(&self, point: Vector<'_>, to: u32, matrices: &[Matrix]) -> Image {
        let value = |i: usize| Interval::exactly(point.value(i).clamp(-POINT_LIMIT, POINT_LIMIT));
        let all: Vec<Interval> = (0..point.q.len()).map(value).collect();
        let (low, high) = all.split_at(point.q.len().div_ceil(2));
        let mut halves = [low.to_vec(), high.to_vec()];
        let mut log_det = Interval::exactly(0.0);
        for step in 0..self.count {
            let k = if self.inverse { self.count - 1 - step } else { step };
            let own = &matrices[k * (self.layers + 2)..][..self.layers + 2];
            let mut h = halves[k % 2].clone();
            for matrix in &own[..self.layers] {
                h = self.apply(matrix, &h);
                h.iter_mut().for_each(|x| match self.activation {
                    0 => *x = x.clamped(0.0, f64::INFINITY),
                    1 => *x = Self::tanh(*x).widened(0.5 / UNIT),
                    _ => {}
                });
            }
            let shifts = self.apply(&own[self.layers], &h);
            let raws = self.apply(&own[self.layers + 1], &h);
            for ((x, shift), raw) in halves[(k + 1) % 2].iter_mut().zip(shifts).zip(raws) {
                let shift = shift.clamped(-POINT_LIMIT, POINT_LIMIT);
                let log_scale = Self::tanh(raw).scaled(f64::from(self.scale_log2).exp2());
                log_det = log_det + log_scale;
                let exponent = if self.inverse { -log_scale } else { log_scale }.widened(0.51 / UNIT);
                let scale = exponent.rising(f64::exp);
                let scale = scale.widened((-23f64).exp2() + scale.size() * (-25f64).exp2());
                let moved = if self.inverse { (*x - shift) * scale } else { *x * scale + shift };
                *x = moved.widened(0.51 / UNIT).clamped(-POINT_LIMIT, POINT_LIMIT);
            }
        }
        let [low, high] = &halves;
        let image: Vec<Interval> = low.iter().chain(high).copied().collect();
        let mut nats = (if self.inverse { -log_det } else { log_det }).scaled(65536.0).widened(0.6);
        if self.normal {
            nats = nats - image.iter().map(|x| x.square().scaled(32768.0).widened(0.51)).sum();
        }
        let stored = |x: &Interval| x.scaled(f64::from(to).exp2()).widened(0.5).clamped(-32768.0, 32767.0);
        Image { point: image.iter().map(stored).collect(), log_det: nats }
    }
}
