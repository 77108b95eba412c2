//! Stacks of affine couplings (RealNVP, arXiv 1605.08803, equations 4 and 7 to 8), forward and inverse.
//!
//! A point and everything that its networks compute has 16 fractional bits and 32 in all: what one coupling contracts, others
//! stretch, so that 16 bits between them would not let a stack be undone. Weights have 8 bits, or 16 as two matrices side by
//! side.

use super::{rescale, saturate};
use crate::coupling::{CouplingStack, HiddenActivation};
use crate::fixed;
use crate::kernel::{DenseMatrix, LANES, Packing, word_index, words_per_row};

/// Fractional bits of the point and the activations.
const FRAC: u32 = 16;
/// Fractional bits of `exp(s)`.
const SCALE_FRAC: u32 = 22;
/// log2 of what a bias counts.
const BIAS_LOG2: u32 = 4;
/// Coordinates and shifts saturate at 2048.
const POINT_MAX: i64 = 1 << (11 + FRAC);
/// Activations saturate at 16384.
const ACTIVATION_MAX: i32 = 1 << (14 + FRAC);

/// An integer of 32 bits in two halfwords of the arena, the low one first.
type Wide = [i16; 2];
/// As many as a word has weights.
type Quad = [Wide; LANES];
const ZERO: Quad = [[0; 2]; LANES];

/// Moves `point`, at `point_frac` fractional bits, to the beginning of `out`, at `out_frac`, and fills the rest with zeros.
/// Returns the log-determinant in Q16 nats; nothing where a matrix is missing or `out` too short.
///
/// A coordinate is right to a few of 2^-16 a coupling, what its network and `exp(s)` make of such errors, and half an LSB.
pub(crate) fn couple<'m>(
    stack: CouplingStack,
    matrices: impl Fn(u16) -> Option<DenseMatrix<'m>>,
    (point, point_frac): (&[i16], u32),
    (out, out_frac): (&mut [i16], u32),
) -> Option<i64> {
    out.fill(0);
    let first = point.len().div_ceil(2);
    let quads = out.as_chunks_mut().0.as_chunks_mut().0;
    let (even, quads) = quads.split_at_mut_checked(first.div_ceil(LANES))?;
    let (odd, quads) = quads.split_at_mut_checked((point.len() / 2).div_ceil(LANES))?;
    let (hidden, other) = quads.split_at_mut(quads.len() / 2);
    let (low, high) = point.split_at_checked(first)?;
    for (half, from) in [(&mut *even, low), (&mut *odd, high)] {
        for (coordinate, q) in half.as_flattened_mut().iter_mut().zip(from) {
            let value = i64::from(*q) << (FRAC - point_frac.min(FRAC));
            *coordinate = wide(value.clamp(-POINT_MAX, POINT_MAX) as i32);
        }
    }
    let mut halves = [(&mut *even, low.len()), (&mut *odd, high.len())];
    let mut buffers = [hidden, other];

    // Fractional bits at which a log-scale's tanh, in Q30, is the log-scale.
    let tanh_frac = 30u32.saturating_add_signed(-i32::from(stack.scale_log2));
    let mut log_det = 0;
    for step in 0..u16::from(stack.couplings) {
        let k = if stack.inverse { u16::from(stack.couplings) - 1 - step } else { step };
        let matrix = |layer: u16| matrices(k * stack.matrices() + layer);
        let [(even, even_len), (odd, odd_len)] = &mut halves;
        let (given, moved, len) =
            if k % 2 == 0 { (&**even, &mut **odd, *odd_len) } else { (&**odd, &mut **even, *even_len) };
        let layers = u16::from(stack.layers);
        for layer in 0..layers {
            let [x, y] = &mut buffers;
            let x = if layer == 0 { given } else { &**x };
            hide(stack, &matrix(layer)?, x, y);
            buffers.swap(0, 1);
        }
        let h = if stack.layers == 0 { given } else { &*buffers[0] };
        let (shift, raw) = (matrix(layers)?, matrix(layers + 1)?);
        for (row, coordinate) in moved.as_flattened_mut().iter_mut().enumerate().take(len) {
            let shift = i64::from(apply(stack, &shift, row, h)).clamp(-POINT_MAX, POINT_MAX);
            let tanh = i64::from(tanh(apply(stack, &raw, row, h)));
            log_det += tanh;
            let log_scale = rescale(tanh, tanh_frac, 16) as i32;
            let scale = fixed::exp(if stack.inverse { -log_scale } else { log_scale }, SCALE_FRAC) as i64;
            let value = i64::from(narrow(*coordinate));
            let product = if stack.inverse { (value - shift) * scale } else { value * scale + (shift << SCALE_FRAC) };
            *coordinate = wide(rescale(product, SCALE_FRAC, 0).clamp(-POINT_MAX, POINT_MAX) as i32);
        }
    }

    // What is written lies before what is read next.
    let second = 2 * LANES * first.div_ceil(LANES);
    for at in 0..point.len() {
        let from = if at < first { 2 * at } else { second + 2 * (at - first) };
        let value = out.get(from..).and_then(|rest| rest.first_chunk()).copied().map(narrow).unwrap_or_default();
        *out.get_mut(at)? = saturate(rescale(i64::from(value), FRAC, out_frac));
    }
    out.get_mut(point.len()..)?.fill(0);
    let log_det = rescale(log_det, tanh_frac, 16);
    Some(if stack.inverse { -log_det } else { log_det })
}

fn wide(value: i32) -> Wide {
    [value as i16, (value >> 16) as i16]
}

fn narrow([low, high]: Wide) -> i32 {
    i32::from(high) << 16 | i32::from(low as u16)
}

/// tanh of a number at [`FRAC`] bits, Q30.
fn tanh(x: i32) -> i32 {
    const FINER: u32 = 20 - FRAC;
    fixed::tanh_fine(x.clamp(-ACTIVATION_MAX >> FINER, ACTIVATION_MAX >> FINER) << FINER)
}

/// One hidden layer. Past its rows `y` gets zeros to a whole word of weights.
fn hide(stack: CouplingStack, matrix: &DenseMatrix<'_>, x: &[Quad], y: &mut [Quad]) {
    for (quad, first) in y.iter_mut().zip((0..matrix.rows).step_by(LANES)) {
        *quad = ZERO;
        for (activation, row) in quad.iter_mut().zip(first..matrix.rows) {
            let value = apply(stack, matrix, row, x);
            *activation = wide(match stack.activation {
                HiddenActivation::Relu => value.max(0),
                HiddenActivation::Tanh => (tanh(value) + (1 << 13)) >> (30 - FRAC),
                HiddenActivation::Identity => value,
            });
        }
    }
}

/// One row of a matrix times `x`: `(16 bias + W x) m / 2^32`, rounded half up, saturated.
fn apply(stack: CouplingStack, matrix: &DenseMatrix<'_>, row: usize, x: &[Quad]) -> i32 {
    let interleaved = matrix.packing == Packing::Dsp4;
    let stride = if interleaved { LANES } else { 1 };
    let start = word_index(matrix.cols, matrix.packing, row, 0);
    let words = words_per_row(matrix.cols) >> u32::from(stack.sixteen);
    let x = x.get(..words).unwrap_or_default();
    let upper = matrix.weights.get(start..).unwrap_or_default();
    let mut sum = if stack.sixteen {
        let lower = upper.get(words * stride..).unwrap_or_default();
        let sum = products(
            x,
            interleaved,
            |at| Some([*upper.get(at)?, *lower.get(at)?]),
            |[upper, lower], at| (byte(upper, at) << 8) + byte(lower, at),
        );
        rescale(sum, 8, 0)
    } else {
        products(x, interleaved, |at| upper.get(at).copied(), byte)
    };
    let param = |at: usize| matrix.params.get(at).copied().unwrap_or(0) as i32;
    let at = row / LANES * 2 * LANES + row % LANES;
    let (bias, m) = (param(at), param(at + LANES));
    sum += i64::from(bias) << BIAS_LOG2;
    // 2^47 times 2^31 in two parts.
    let sum = sum.clamp(-1 << 47, (1 << 47) - 1);
    let product = |part: i32| i64::from(part) * i64::from(m);
    let scaled = product((sum >> 16) as i32) + (product((sum & 0xFFFF) as i32) >> 16);
    rescale(scaled, 16, 0).clamp(i64::from(-ACTIVATION_MAX), i64::from(ACTIVATION_MAX)) as i32
}

/// Byte `at` of a word, signed.
#[inline(always)]
fn byte(word: u32, at: u32) -> i32 {
    (word << (24 - 8 * at)) as i32 >> 24
}

/// The sum of weight times activation. `words` gives what lies at an index, `weight` the one of its byte; bytes are columns 0,
/// 2, 1, 3 and words every fourth where a matrix is interleaved. Written out, because a compiler that saves space keeps
/// loops.
#[inline(always)]
fn products<W: Copy>(
    x: &[Quad],
    interleaved: bool,
    words: impl Fn(usize) -> Option<W>,
    weight: impl Fn(W, u32) -> i32,
) -> i64 {
    let mut sum = Sum::default();
    let mut next = 0;
    for &[x0, mut x1, mut x2, x3] in x {
        let Some(word) = words(next) else { break };
        if interleaved {
            (x1, x2) = (x2, x1);
            next += LANES - 1;
        }
        next += 1;
        sum.add(weight(word, 0), x0);
        sum.add(weight(word, 1), x1);
        sum.add(weight(word, 2), x2);
        sum.add(weight(word, 3), x3);
    }
    sum.total()
}

/// A sum of products, each of less than 16 bits and 32: one instruction each on most machines.
#[cfg(not(elbo_m0))]
#[derive(Default)]
struct Sum(i64);

#[cfg(not(elbo_m0))]
impl Sum {
    #[inline(always)]
    fn add(&mut self, weight: i32, x: Wide) {
        self.0 += i64::from(weight) * i64::from(narrow(x));
    }

    fn total(&self) -> i64 {
        self.0
    }
}

/// The same where an instruction multiplies to 32 bits: of the low and of the high halfwords.
#[cfg(elbo_m0)]
#[derive(Default)]
struct Sum(i64, i64);

#[cfg(elbo_m0)]
impl Sum {
    #[inline(always)]
    fn add(&mut self, weight: i32, [low, high]: Wide) {
        self.0 += i64::from(weight * i32::from(low as u16));
        self.1 += i64::from(weight * i32::from(high));
    }

    fn total(&self) -> i64 {
        self.0 + (self.1 << 16)
    }
}
