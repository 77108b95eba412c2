//! Planar and radial flows (arXiv 1505.05770, equations 10 to 14 and appendix A), forward and inverse, in place.
//!
//! The parameters of a step may be constants of the blob or outputs of a network. The conditions that make a step
//! invertible are therefore enforced here for all possible values. Sums over dimensions are exact in 64 bits.
//!
//! Between the steps of a stack, the first [`PRECISE_COORDINATES`] coordinates keep 8 bits more than `z` stores. They are rounded to
//! the scale of `z` only once, after the last step. Further coordinates are rounded by every step. Coordinates
//! saturate.
//!
//! [`planar`] and [`radial`] accept any values of `z` and of the parameters, with 8 to 15 fractional bits (other
//! numbers count as the nearer limit) and at most 1024 dimensions. Parameters left over after the last full step are
//! ignored. A step takes a fixed number of operations per dimension, and at most 25 bisections.

use super::bounds::{FULL, OperandError, require};
use super::machine::{Machine, Step, apart_exact, moved, write_scalar};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::fixed::{self, divide};

#[cfg(test)]
mod tests;

pub(super) struct Planar;
pub(super) struct Radial;

/// Largest number of dimensions of a flow.
const MAX_LEN: u32 = 1024;
/// log2 of the largest log-determinant of a flow in Q16: 65536 steps of at most 2^20 nats.
pub(super) const LOG_DET_LOG2: u16 = 52;

impl Operation for Planar {
    const STEPS: Steps = Steps::of(128, 0);
    const ERROR: &'static str = "stated in `runtime/src/ops/flow.rs`";
    const LIMIT: &'static str = "stated there";
    const EXTRA_BOUND: u16 = LOG_DET_LOG2;

    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        bound_of(o, planar_width)
    }

    /// An inverted step searches for its root.
    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        let step = if o.op.param == 0 { 280 } else { 540 };
        cost_of(o, planar_width, step, 18)
    }
}

impl Transform for Planar {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        run(machine, step, planar);
    }
}

impl Operation for Radial {
    const STEPS: Steps = Steps::of(128, 0);
    const ERROR: &'static str = "stated in `runtime/src/ops/flow.rs`";
    const LIMIT: &'static str = "stated there";
    const EXTRA_BOUND: u16 = LOG_DET_LOG2;

    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        bound_of(o, radial_width)
    }

    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        let step = if o.op.param == 0 { 400 } else { 520 };
        cost_of(o, radial_width, step, 36)
    }
}

impl Transform for Radial {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        run(machine, step, radial);
    }
}

/// Number of parameters of a planar step of `dimensions`.
const fn planar_width(dimensions: usize) -> usize {
    2 * dimensions + 1
}

/// Number of parameters of a radial step of `dimensions`.
const fn radial_width(dimensions: usize) -> usize {
    dimensions + 2
}

/// `step` for each step of the flow, and `each` for each parameter.
fn cost_of(o: &Step<'_>, width: fn(usize) -> usize, step: usize, each: usize) -> Count {
    let params = o.b().len() as usize;
    let dimensions = o.y().len().min(MAX_LEN) as usize;
    let steps = params.checked_div(width(dimensions)).unwrap_or(0);
    Count::of_steps(product(steps, step).saturating_add(product(params, each)))
}

fn bound_of(o: &Step<'_>, width: fn(usize) -> usize) -> Result<u16, OperandError> {
    require(o.op.param == 0 || o.op.param == 1, OperandError::Scale)?;
    require(o.a().len() <= MAX_LEN, OperandError::Shape)?;
    require(o.b().len().checked_rem(width(o.y().len() as usize) as u32) == Some(0), OperandError::Shape)?;
    Ok(FULL)
}

#[inline(always)]
fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>, flow: impl Fn(&mut [i16], u32, &[i16], u32, bool) -> i64) {
    let (a, params, log_det, y) = (step.a(), step.b(), step.c(), step.y());
    moved(machine.arena, a, y);
    // More dimensions, which only a changed flash contains, could overflow a sum.
    if let Some((params, z)) = apart_exact(machine.arena, params, y).filter(|_| y.len() <= MAX_LEN) {
        let nats = flow(z, step.output_frac(), params, step.frac(1), step.op.param != 0);
        write_scalar(machine.arena, log_det, 0, nats);
    }
}

/// Fractional bits of the scalars of a step.
pub const FRAC: u32 = 24;
/// 1.0 at [`FRAC`] bits.
const ONE: i64 = 1 << FRAC;
/// Fractional bits of the distance from a radial step's centre.
const DISTANCE_FRAC: u32 = 18;

/// Lower limit of `1 + w.u'` of a planar step, and of `alpha` and `alpha + beta` of a radial one, in Q24: 3/64, which
/// is `softplus(-3.04)`. The inverse of a planar step stretches distances along `w` by at most 1/MARGIN.
pub const MARGIN: i64 = 3 << (FRAC - 6);
/// Lower limit of `|w|^2` where a planar step divides by it, in Q24: 1/64.
pub const NORM_SQUARED_MIN: i64 = 1 << (FRAC - 6);
/// Value at which a planar step's `w.u'` saturates in the log-determinant and in the inverse, in Q24: 2^14.
const SLOPE_MAX: i64 = 1 << 38;
/// The search for a planar pre-activation covers `±16`, in Q20. Beyond this `tanh` is constant.
const SEARCH_LOG2: u32 = 24;

/// Number of coordinates that keep 8 additional bits from step to step of a stack.
pub const PRECISE_COORDINATES: usize = 64;
/// Number of additional bits.
const MORE: u32 = 8;

/// The coordinates of a point with [`MORE`] fractional bits more than are stored.
struct Point<'z> {
    stored: &'z mut [i16],
    /// The additional bits of the first coordinates.
    rest: [u8; PRECISE_COORDINATES],
}

impl<'z> Point<'z> {
    fn new(stored: &'z mut [i16]) -> Self {
        Self { stored, rest: [0; PRECISE_COORDINATES] }
    }

    fn coordinates(&self) -> impl Iterator<Item = i32> {
        let rest = self.rest.iter().copied().chain(core::iter::repeat(0));
        self.stored.iter().zip(rest).map(|(&q, rest)| i32::from(q) << MORE | i32::from(rest))
    }

    fn dot(&self, w: &[i16]) -> i64 {
        w.iter().zip(self.coordinates()).map(|(&w, z)| i64::from(w) * i64::from(z)).sum()
    }

    /// Replaces every coordinate by `to(index, value)`.
    fn replace(&mut self, mut to: impl FnMut(usize, i32) -> i64) {
        let mut rest = self.rest.iter_mut();
        for (at, q) in self.stored.iter_mut().enumerate() {
            match rest.next() {
                Some(rest) => {
                    let value = to(at, i32::from(*q) << MORE | i32::from(*rest));
                    let value = value.clamp(-1 << (15 + MORE), (1 << (15 + MORE)) - 1);
                    (*q, *rest) = ((value >> MORE) as i16, value as u8);
                }
                None => *q = saturate(rescale(to(at, i32::from(*q) << MORE), MORE, 0)),
            }
        }
    }

    /// Rounds the coordinates to the stored bits.
    fn round(&mut self) {
        for (q, rest) in self.stored.iter_mut().zip(&self.rest) {
            *q = q.saturating_add(i16::from(*rest >> (MORE - 1)));
        }
    }
}

/// Applies the steps of a stack with `apply`, which returns nats. For the inverse it starts with the last step.
fn stack(
    z: &mut [i16],
    params: &[i16],
    width: usize,
    inverse: bool,
    mut apply: impl FnMut(&mut Point<'_>, &[i16]) -> i64,
) -> i64 {
    let mut point = Point::new(z);
    let mut apply = |step| apply(&mut point, step);
    let steps = params.chunks_exact(width);
    let nats = if inverse { steps.rev().map(&mut apply).sum() } else { steps.map(&mut apply).sum() };
    point.round();
    nats
}

/// Converts a value from `from` to `to` fractional bits, rounding half up.
pub(super) fn rescale(value: i64, from: u32, to: u32) -> i64 {
    match from.checked_sub(to) {
        None => value << (to - from),
        Some(0) => value,
        Some(shift) => (value + (1 << (shift - 1))) >> shift,
    }
}

pub(super) fn saturate(value: i64) -> i16 {
    value.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

fn dot(a: &[i16], b: &[i16]) -> i64 {
    a.iter().zip(b).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum()
}

/// `ln(1 + e^-|s|)` at [`FRAC`] bits, for `|s|` in Q16, with an error of at most 2e-7. This is the part of
/// `softplus(s)` and `softplus(-s)` that exceeds `max(s, 0)` and `max(-s, 0)`.
fn softplus_tail(magnitude: i64) -> i64 {
    let exponential = fixed::exp(-(magnitude.clamp(0, 32 << 16) as i32), 40);
    fixed::ln_q45((1 << 40) + exponential, 40) >> (45 - FRAC)
}

/// `max(softplus(x), MARGIN)` at [`FRAC`] bits.
fn softplus_above_margin(x: i16, frac: u32) -> i64 {
    let ramp = i64::from(x.max(0)) << (FRAC - frac);
    (ramp + softplus_tail(i64::from(x.unsigned_abs()) << (16 - frac))).max(MARGIN)
}

/// `mantissa * 2^-exponent` with a relative error of 2^-28. The mantissa is 0 or at least 2^29 in magnitude.
#[derive(Clone, Copy)]
struct Ratio {
    mantissa: i32,
    exponent: i32,
}

impl Ratio {
    /// `numerator / denominator` for magnitudes below 2^61; 0 if the denominator is 0.
    fn new(numerator: i64, denominator: u64) -> Self {
        let magnitude = numerator.unsigned_abs();
        if magnitude == 0 || denominator == 0 {
            return Self { mantissa: 0, exponent: 0 };
        }
        let up = magnitude.leading_zeros().saturating_sub(3);
        let zeros = denominator.leading_zeros();
        // In 2^30..2^31, so that the quotient of a number in 2^60..2^61 has 30 or 31 bits.
        let divisor = (denominator << zeros >> 33) as u32;
        let quotient = divide(magnitude << up, divisor.max(1)).min(i32::MAX as u64) as i32;
        let mantissa = if numerator < 0 { -quotient } else { quotient };
        Self { mantissa, exponent: up as i32 + 33 - zeros as i32 }
    }
}

/// `value * 2^left`, rounded down. Bits shifted out at the left are lost.
fn shift(value: i64, left: i32) -> i64 {
    match left {
        0.. => value << left.min(63),
        _ => value >> left.unsigned_abs().min(63),
    }
}

/// Applies `K` planar steps `z + u' tanh(w.z + b)` to `z`, or inverts them, starting with the last step. Returns the
/// sum of their `log|det|` in Q16 nats. This is the log-determinant of the applied map, so the inverse returns the
/// opposite sign.
///
/// The parameters of a step are `w [d]`, `u [d]`, `b [1]`. `u' = u + (softplus(-w.u) - 1) w / max(|w|^2, 1/64)`. If
/// necessary, `u'` is then moved along `w` so that `w.u' >= -1 + 3/64`. For `|w| >= 1/8` this means `w.u' =
/// max(softplus(w.u), 3/64) - 1` (appendix A.1 with `softplus(s) - s = softplus(-s)`). For a shorter `w` the correction
/// is smaller, which avoids a division by zero.
///
/// Before rounding, the error of a step's coordinate is at most 1/512 LSB plus `|u'|` 2^-15 plus `4.2e-6 / max(|w|, 1/8)`.
/// The last part is that of `softplus`, whose argument is rounded to 16 bits. The error of its `log|det|` is at most
/// `(6.2e-5 |w.u'| + 4.2e-6) / det` plus 2^-16. In the inverse and in `log|det|`, `w.u'` saturates at 2^14.
pub fn planar(z: &mut [i16], z_frac: u32, params: &[i16], params_frac: u32, inverse: bool) -> i64 {
    let (z_frac, params_frac) = (z_frac.clamp(8, 15) + MORE, params_frac.clamp(8, 15));
    let width = planar_width(z.len());
    stack(z, params, width, inverse, |point, step| planar_step(point, z_frac, step, params_frac, inverse))
}

/// `z_frac` is the number of fractional bits of the point, including [`MORE`].
fn planar_step(z: &mut Point<'_>, z_frac: u32, step: &[i16], frac: u32, inverse: bool) -> i64 {
    let (w, rest) = step.split_at_checked(z.stored.len()).unwrap_or_default();
    let (u, bias) = rest.split_at_checked(z.stored.len()).unwrap_or_default();
    let bias = bias.first().copied().unwrap_or_default();
    let (slope, correction) = planar_slope(w, u, frac);

    const A_FRAC: u32 = 20;
    let a = rescale(z.dot(w), frac + z_frac, A_FRAC) + rescale(i64::from(bias), frac, A_FRAC);
    let a = if inverse { planar_root(a, slope) } else { a.clamp(-1 << 30, 1 << 30) as i32 };
    let tanh = i64::from(fixed::tanh_fine(a));

    // z + t u + (t c) w, all at 30 + frac bits before rounding.
    let moved = if inverse { -tanh } else { tanh };
    let along = (moved * i64::from(correction.mantissa)) >> 30;
    z.replace(|at, value| {
        let [w, u] = [w, u].map(|of| of.get(at).copied().unwrap_or_default());
        let sum = moved * i64::from(u) + shift(along * i64::from(w), 30 - correction.exponent);
        i64::from(value) + rescale(sum, 30 + frac, z_frac)
    });

    let tanh = tanh >> (30 - FRAC);
    let derivative = (ONE * ONE - tanh * tanh) >> FRAC;
    let det = ONE + ((slope * derivative) >> FRAC);
    let log_det = i64::from(fixed::ln(det.max(1) as u64, FRAC));
    if inverse { -log_det } else { log_det }
}

/// `w.u'` at [`FRAC`] bits, from `-1 + MARGIN` to [`SLOPE_MAX`], and the `c` of `u' = u + c w`.
fn planar_slope(w: &[i16], u: &[i16], frac: u32) -> (i64, Ratio) {
    let (product, norm) = (dot(w, u), dot(w, w));
    let s = rescale(product, 2 * frac, FRAC);
    // softplus(-s) - 1
    let gap = (-s).max(0) + softplus_tail(rescale(product.abs(), 2 * frac, 16)) - ONE;
    let floor = NORM_SQUARED_MIN << (2 * frac) >> FRAC;
    let (mut slope, mut numerator, mut denominator) = (s + gap, gap, norm);
    if norm < floor {
        // |s| is below 2^9 here, and norm below 2^24.
        (slope, denominator) = (s + ((gap * norm) >> (2 * frac - 6)), floor);
    }
    if slope < MARGIN - ONE {
        (slope, numerator, denominator) = (MARGIN - ONE, MARGIN - ONE - s, norm);
    }
    let mut correction = Ratio::new(numerator, denominator as u64);
    correction.exponent += FRAC as i32 - 2 * frac as i32;
    (slope.min(SLOPE_MAX), correction)
}

/// Inverts `a + slope tanh(a) = image`, where `image` is `w.z + b` after a planar step: returns the largest `a` in the
/// search range with `a + slope tanh(a) <= image`. All values except the slope are in Q20. The solution is unique
/// because the slope is above -1.
fn planar_root(image: i64, slope: i64) -> i32 {
    let mut a = -1i32 << SEARCH_LOG2;
    for bit in (0..=SEARCH_LOG2).rev() {
        let trial = a + (1 << bit);
        let tanh = i64::from(fixed::tanh_fine(trial)) >> (30 - FRAC);
        if i64::from(trial) + ((slope * tanh) >> (2 * FRAC - 20)) <= image {
            a = trial;
        }
    }
    a
}

/// Applies `K` radial steps `z + beta (z - z0) / (alpha + |z - z0|)` to `z`, or inverts them in closed form, starting
/// with the last step. Returns the sum of their `log|det|` in Q16 nats, of the applied map.
///
/// The parameters of a step are `z0 [d]`, `alpha_raw [1]`, `beta_raw [1]`. `alpha = max(softplus(alpha_raw), 3/64)` and
/// `beta = -alpha + max(softplus(beta_raw), 3/64)` (appendix A.2). A distance `r` from the centre therefore becomes `r
/// (r + alpha + beta) / (r + alpha)`.
///
/// Before rounding, the error of a step's coordinate is at most 1/512 LSB plus `|beta| / alpha` 2^-17. The error of its
/// `log|det|` is at most 2e-4 plus `d` 1e-6 `/ (r + 3/64)`.
pub fn radial(z: &mut [i16], z_frac: u32, params: &[i16], params_frac: u32, inverse: bool) -> i64 {
    let (z_frac, params_frac) = (z_frac.clamp(8, 15) + MORE, params_frac.clamp(8, 15));
    let width = radial_width(z.len());
    stack(z, params, width, inverse, |point, step| radial_step(point, z_frac, step, params_frac, inverse))
}

/// `z_frac` is the number of fractional bits of the point, including [`MORE`].
fn radial_step(z: &mut Point<'_>, z_frac: u32, step: &[i16], frac: u32, inverse: bool) -> i64 {
    let (centre, shape) = step.split_at_checked(z.stored.len()).unwrap_or_default();
    let shape = |at| softplus_above_margin(shape.get(at).copied().unwrap_or_default(), frac);
    // `inner` is alpha + beta: a small distance is multiplied by inner / alpha.
    let (alpha, inner) = (shape(0), shape(1));

    let difference = |z: i32, centre: i16| {
        rescale(i64::from(z), z_frac, DISTANCE_FRAC) - (i64::from(centre) << (DISTANCE_FRAC - frac))
    };
    let squares = z.coordinates().zip(centre).map(|(z, &centre)| difference(z, centre).pow(2) as u64);
    let mut distance = i64::from(fixed::sqrt(squares.sum()));
    if inverse {
        distance = radial_root(distance, alpha, inner);
    }

    let fine = distance << (FRAC - DISTANCE_FRAC);
    let (from, to) = if inverse { (inner, alpha) } else { (alpha, inner) };
    let ratio = Ratio::new(to - from, (fine + from) as u64);
    let drop = ratio.exponent + DISTANCE_FRAC as i32 - z_frac as i32;
    z.replace(|at, value| {
        let product = i64::from(ratio.mantissa) * difference(value, centre.get(at).copied().unwrap_or_default());
        // Half an LSB is added, so that truncation rounds.
        i64::from(value) + ((shift(product, 1 - drop) + 1) >> 1)
    });

    let ln = |x: i64, frac| fixed::ln_q45(x.max(1) as u64, frac);
    let (tangential, radial) = (ln(fine + inner, FRAC), ln(fine + alpha, FRAC));
    // 1 + beta h + beta h' r = (r^2 + 2 alpha r + alpha (alpha + beta)) / (alpha + r)^2
    let numerator = distance * distance
        + ((alpha * distance) >> (FRAC - DISTANCE_FRAC - 1))
        + ((alpha * inner) >> (2 * (FRAC - DISTANCE_FRAC)));
    let dimensions = z.stored.len().clamp(1, 1024) as i64;
    let log_det = (dimensions - 1) * (tangential - radial) + ln(numerator, 2 * DISTANCE_FRAC) - 2 * radial;
    let log_det = rescale(log_det, 45, 16);
    if inverse { -log_det } else { log_det }
}

/// The distance that a radial step maps to `image`: the positive root of `r^2 + (inner - image) r - alpha image`.
fn radial_root(image: i64, alpha: i64, inner: i64) -> i64 {
    let coarse = |x| rescale(x, FRAC, DISTANCE_FRAC);
    let c = coarse(inner) - image;
    let discriminant = c * c + 4 * coarse(alpha) * image;
    (i64::from(fixed::sqrt(discriminant as u64)) - c + 1) >> 1
}
