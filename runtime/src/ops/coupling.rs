//! Stacks of affine couplings (RealNVP, arXiv 1605.08803, equations 4 and 7 to 8), forward and inverse.
//!
//! The point and the activations of its networks are 31-bit numbers with 16 fractional bits. Errors of rounding to 16
//! bits between couplings would be amplified by later couplings, and the stack could not be inverted. A number consists
//! of a halfword and the 15 bits below it, so that the dense kernels can multiply both parts. Weights have 8 bits, or
//! 16 bits as two matrices side by side.

use super::bounds::{FULL, OperandError, require};
use super::flow::{LOG_DET_LOG2, rescale, saturate};
use super::machine::{Machine, Step, apart_exact, write_scalar};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::coupling::{CouplingStack, HiddenActivation};
use crate::exact::product;
use crate::fixed;
use crate::kernel::{DenseMatrix, LANES, add_rows, words_per_row};
use crate::ops::record::{MAX_TENSOR_LEN, Matrix, Op};

pub(super) struct Couplings;

impl Operation for Couplings {
    const STEPS: Steps = Steps::of(248, 0);
    const ERROR: &'static str = "stated in `runtime/src/ops/coupling.rs`";
    const LIMIT: &'static str = "stated there";
    /// Half of 2^22 for each of 2^15 coordinates, plus the bound of a log-determinant.
    const EXTRA_BOUND: u16 = LOG_DET_LOG2 + 1;

    fn bound(o: &Step<'_>, matrices: &Matrices<'_>) -> Result<u16, OperandError> {
        Self::prove(o, matrices, &mut Count::default())
    }

    fn cost(o: &Step<'_>, matrices: &Matrices<'_>) -> Count {
        let mut cost = Count::default();
        let _ = needs(&o.op, o.a().len(), matrices, &mut cost);
        cost
    }

    fn prove(o: &Step<'_>, matrices: &Matrices<'_>, cost: &mut Count) -> Result<u16, OperandError> {
        let needs = needs(&o.op, o.a().len(), matrices, cost).ok_or(OperandError::Shape)?;
        require(needs.len == o.y().len(), OperandError::Shape)?;
        // The halfwords of a 31-bit number may have any value.
        require(needs.input_bound == FULL, OperandError::Bound)?;
        Ok(FULL)
    }
}

impl Transform for Couplings {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (op, a, log_det) = (&step.op, step.a(), step.c());
        let Some(stack) = CouplingStack::unpack(op.imm, op.param) else { return };
        // After a change of the flash the matrices may not be those whose cost was charged.
        let fits = needs(op, a.len(), &|index| machine.scope.matrix(index), &mut Count::default());
        if fits.is_none_or(|needs| needs.len != step.y().len()) {
            return;
        }
        let matrices = |at: u16| machine.scope.dense_matrix(op.arg.checked_add(at)?);
        if let Some((x, out)) = apart_exact(machine.arena, a, step.y()) {
            let nats = couple(stack, matrices, (x, step.frac(0)), (out, step.output_frac().min(FRAC)));
            write_scalar(machine.arena, log_det, 0, nats.unwrap_or_default());
        }
    }
}

/// Fractional bits of the point and the activations.
const FRAC: u32 = 16;
/// Fractional bits of `exp(s)`.
const SCALE_FRAC: u32 = 22;
/// log2 of the factor of a bias.
const BIAS_LOG2: u32 = 4;
/// Where coordinates and shifts saturate.
const POINT_MAX: i64 = CouplingStack::POINT_LIMIT << FRAC;
/// Activations saturate at 16384, which takes 31 bits.
const ACTIVATION_MAX: i32 = (1 << (14 + FRAC)) - 1;
/// Bits of the lower part of a number. Both the upper part and this part (with a sign bit) are halfwords.
const LOWER: u32 = 15;

/// Steps of four rows of a matrix, besides those of its weights.
const GROUP: usize = 165;
/// Further steps of one row: its activation function, or a part of those of a coordinate.
const ROW: usize = 30;

/// What a stack needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    /// Halfwords of its output.
    len: u32,
    /// Largest |q| that all matrices take.
    input_bound: u16,
}

/// What `op` needs to move `d` coordinates; none where its matrices do not fit. `cost` grows by that of the matrices that
/// do.
#[inline(never)]
fn needs(op: &Op, d: u32, matrices: &Matrices<'_>, cost: &mut Count) -> Option<Needs> {
    let stack = CouplingStack::unpack(op.imm, op.param).filter(|_| (2..=MAX_TENSOR_LEN).contains(&d))?;
    let (mut given, mut moved) = (d.div_ceil(2), d / 2);
    let (mut widest, mut input_bound) = (1, u16::MAX);
    let mut next = op.arg;
    for _ in 0..stack.couplings {
        let mut inputs = given;
        for layer in 0..stack.matrices() {
            let matrix = matrices(next)?;
            next = next.checked_add(1)?;
            let ends = layer >= u16::from(stack.layers);
            if matrix.cols as usize != stack.columns(inputs as usize) || (ends && matrix.rows != moved) {
                return None;
            }
            input_bound = input_bound.min(matrix.input_bound);
            cost.add(matrix_cost(&matrix));
            if !ends {
                inputs = matrix.rows;
                widest = widest.max(inputs);
            }
        }
        (given, moved) = (moved, given);
    }
    let len = u32::try_from(CouplingStack::output_len(d as usize, widest as usize)).ok()?;
    Some(Needs { len, input_bound })
}

/// The cost of a matrix. A weight is multiplied with both parts of a number, and four rows are computed together.
fn matrix_cost(matrix: &Matrix) -> Count {
    let (rows, cols, words) = (matrix.rows as usize, matrix.cols as usize, matrix.row_words() as usize);
    let groups = product(rows.div_ceil(LANES), GROUP);
    let row = product(words, 8).saturating_add(ROW);
    Count { work: product(rows, row).saturating_add(groups), macs: rows.wrapping_mul(cols) }
}

/// Moves `point`, at `point_frac` fractional bits, to the beginning of `out`, at `out_frac`, and fills the rest with zeros.
/// Returns the log-determinant in Q16 nats, less half the square of the image where that is asked for; nothing where a matrix
/// is missing or `out` too short.
///
/// The error of a coordinate has three parts: a few 2^-16 per coupling, the amplification of such errors by the
/// networks and by `exp(s)`, and half an LSB of the output.
fn couple<'m>(
    stack: CouplingStack,
    matrices: impl Fn(u16) -> Option<DenseMatrix<'m>>,
    (point, point_frac): (&[i16], u32),
    (out, out_frac): (&mut [i16], u32),
) -> Option<i64> {
    out.fill(0);
    let first = point.len().div_ceil(2);
    let (low, high) = point.split_at_checked(first)?;
    let extent = |len: usize| 2 * len.next_multiple_of(LANES);
    let (even, rest) = out.split_at_mut_checked(extent(low.len()))?;
    let (odd, rest) = rest.split_at_mut_checked(extent(high.len()))?;
    let (hidden, other) = rest.split_at_mut(rest.len() / 2);
    for (half, from) in [(&mut *even, low), (&mut *odd, high)] {
        for (at, q) in from.iter().enumerate() {
            let value = i64::from(*q) << (FRAC - point_frac.min(FRAC));
            set(half, at, value.clamp(-POINT_MAX, POINT_MAX) as i32);
        }
    }
    let mut buffers = [hidden, other];

    // With this number of fractional bits, the Q30 result of tanh is the log-scale.
    let tanh_frac = 30u32.saturating_add_signed(-i32::from(stack.scale_log2));
    let layers = u16::from(stack.layers);
    let mut log_det = 0;
    for step in 0..u16::from(stack.couplings) {
        let k = if stack.inverse { u16::from(stack.couplings) - 1 - step } else { step };
        let matrix = |layer: u16| matrices(k * stack.matrices() + layer);
        let (given, moved) = if k % 2 == 0 { (&*even, &mut *odd) } else { (&*odd, &mut *even) };
        for layer in 0..layers {
            let [x, y] = &mut buffers;
            hide(stack, &matrix(layer)?, if layer == 0 { given } else { x }, y);
            buffers.swap(0, 1);
        }
        let h = if layers == 0 { given } else { &*buffers[0] };
        let (shift, raw) = (matrix(layers)?, matrix(layers + 1)?);
        for group in 0..shift.rows.div_ceil(LANES) {
            let (shifts, raws) = (apply(stack, &shift, group, h), apply(stack, &raw, group, h));
            for (at, (shift, raw)) in (group * LANES..shift.rows).zip(shifts.into_iter().zip(raws)) {
                let shift = i64::from(shift).clamp(-POINT_MAX, POINT_MAX);
                let tanh = i64::from(tanh(raw));
                log_det += tanh;
                let log_scale = rescale(tanh, tanh_frac, 16) as i32;
                let scale = fixed::exp(if stack.inverse { -log_scale } else { log_scale }, SCALE_FRAC) as i64;
                let value = i64::from(get(moved, at));
                let product =
                    if stack.inverse { (value - shift) * scale } else { value * scale + (shift << SCALE_FRAC) };
                set(moved, at, rescale(product, SCALE_FRAC, 0).clamp(-POINT_MAX, POINT_MAX) as i32);
            }
        }
    }

    // Each written element lies before the elements that are still to be read.
    let (even, odd) = (..extent(low.len()), extent(low.len())..extent(low.len()) + extent(high.len()));
    let mut squares = 0;
    for at in 0..point.len() {
        let value = if at < first { get(out.get(even)?, at) } else { get(out.get(odd.clone())?, at - first) };
        squares += rescale(i64::from(value).pow(2), 2 * FRAC + 1, 16);
        *out.get_mut(at)? = saturate(rescale(i64::from(value), FRAC, out_frac));
    }
    out.get_mut(point.len()..)?.fill(0);
    let log_det = rescale(log_det, tanh_frac, 16);
    let log_det = if stack.inverse { -log_det } else { log_det };
    Some(if stack.normal { log_det - squares } else { log_det })
}

/// Number `at` of several 31-bit numbers, which are stored as all upper parts followed by all lower parts.
fn get(numbers: &[i16], at: usize) -> i32 {
    let part = |at: usize| i32::from(numbers.get(at).copied().unwrap_or(0));
    part(at) << LOWER | part(numbers.len() / 2 + at)
}

fn set(numbers: &mut [i16], at: usize, value: i32) {
    let (upper, lower) = numbers.split_at_mut(numbers.len() / 2);
    if let (Some(upper), Some(lower)) = (upper.get_mut(at), lower.get_mut(at)) {
        (*upper, *lower) = ((value >> LOWER) as i16, (value & ((1 << LOWER) - 1)) as i16);
    }
}

/// tanh of a number at [`FRAC`] bits, in Q30.
fn tanh(x: i32) -> i32 {
    const FINER: u32 = 20 - FRAC;
    fixed::tanh_fine(x.clamp(-ACTIVATION_MAX >> FINER, ACTIVATION_MAX >> FINER) << FINER)
}

/// One hidden layer. The padding rows of a matrix are zero and give zeros.
fn hide(stack: CouplingStack, matrix: &DenseMatrix<'_>, x: &[i16], y: &mut [i16]) {
    for group in 0..matrix.rows.div_ceil(LANES) {
        for (row, value) in (group * LANES..).zip(apply(stack, matrix, group, x)) {
            let activation = match stack.activation {
                HiddenActivation::Relu => value.max(0),
                HiddenActivation::Tanh => (tanh(value) + (1 << 13)) >> (30 - FRAC),
                HiddenActivation::Identity => value,
            };
            set(y, row, activation);
        }
    }
}

/// Four rows of a matrix times `x`: `(16 bias + W x) m / 2^32`, rounded half up, saturated.
fn apply(stack: CouplingStack, matrix: &DenseMatrix<'_>, group: usize, x: &[i16]) -> [i32; LANES] {
    let words = words_per_row(matrix.cols) >> u32::from(stack.sixteen);
    let (upper, lower) = x.split_at(x.len() / 2);
    // Sums of the weights (or of their upper bytes) with the upper and the lower parts of `x`, then those of the lower
    // bytes.
    let mut sums = [[0; LANES]; 4];
    for (pass, sums) in sums.iter_mut().enumerate().take(if stack.sixteen { 4 } else { 2 }) {
        let x = if pass % 2 == 0 { upper } else { lower };
        add_rows(matrix, group, pass / 2 * words, x.as_chunks().0.get(..words).unwrap_or_default(), sums);
    }
    let mut values = [0; LANES];
    let params = matrix.params.get(2 * LANES * group..).unwrap_or_default();
    let [upper, lower, fine_upper, fine_lower] = &sums;
    for lane in 0..LANES {
        let sum =
            |upper: &[i32; LANES], lower: &[i32; LANES]| (i64::from(upper[lane]) << LOWER) + i64::from(lower[lane]);
        let param = |at: usize| i64::from(params.get(at + lane).copied().unwrap_or(0) as i32);
        let sum = sum(upper, lower) + ((sum(fine_upper, fine_lower) + 128) >> 8) + (param(0) << BIAS_LOG2);
        // Less than 2^47 times 2^31, computed in two parts.
        let product = |part: i32| i64::from(part) * i64::from(param(LANES) as i32);
        let scaled = product((sum >> 16) as i32) + (product((sum & 0xFFFF) as i32) >> 16);
        values[lane] = ((scaled + (1 << 15)) >> 16).clamp(i64::from(-ACTIVATION_MAX), i64::from(ACTIVATION_MAX)) as i32;
    }
    values
}
