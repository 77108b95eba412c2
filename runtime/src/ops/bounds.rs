//! What an operation asks of its operands and how large its result can be.
//!
//! The compiler calls [`output_bounds`] to declare a tensor's bound, the verifier to check it: one definition of both.

use super::machine::Step;
pub use super::scratch_len;
use super::{Extra, Matrices};
use crate::program::{Op, Tensor, TensorKind};

/// Why an operation cannot take its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandError {
    /// An operand has the wrong type.
    Kind,
    /// Lengths do not fit together.
    Shape,
    /// Scales are not supported.
    Scale,
    /// The result, or an intermediate, cannot be bounded.
    Bound,
}

/// Bound of a saturated activation.
pub const FULL: u16 = 1 << 15;
/// Largest log2 of nats, which leaves room for a sign and one addition in 64 bits.
pub(super) const MAX_LOG2: u16 = 62;
/// Coarsest scale at which an exponential's argument is below 16 in magnitude.
pub const EXP_FRAC: u8 = 11;
/// Coarsest scale of what flows and rank-one covariances read.
pub const FINE: u8 = 8;

/// Smallest e with n <= 2^e, for n >= 1.
#[inline(never)]
fn ceil_log2(n: u32) -> u32 {
    32 - n.saturating_sub(1).leading_zeros()
}

/// log2 bound of a sum of `n` terms below 2^`term`.
#[inline(never)]
pub(super) fn sum_log2(n: u32, term: u32) -> u16 {
    (term + ceil_log2(n)) as u16
}

/// log2 bound in Q16 of what is below 2^`log2` at `frac` fractional bits, which are rounded away beyond 16.
#[inline(always)]
pub(super) fn q16_log2(log2: u32, frac: u32) -> u32 {
    log2 + 16u32.saturating_sub(frac)
}

/// log2 bound in Q16 of a square of a tensor's elements.
#[inline(never)]
pub(super) fn square_log2(tensor: &Tensor) -> u32 {
    q16_log2(2 * bits(tensor), 2 * u32::from(tensor.frac))
}

pub(super) fn require(holds: bool, otherwise: OperandError) -> Result<(), OperandError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Brings an activation read at `frac <= 16` fractional bits to Q16, saturating.
#[inline(always)]
pub(crate) fn to_q16(q: i32, frac: u32) -> i32 {
    let shift = 16u32.saturating_sub(frac);
    let limit = i32::MAX >> shift;
    q.clamp(-limit, limit) << shift
}

/// The bounds of what an operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of the output: largest |q| of activations, log2 of the largest magnitude of nats.
    pub output: u16,
    /// Of what it writes besides, in the same units; 0 where that is nothing.
    pub extra: u16,
}

/// Smallest e with every |q| of a tensor at most 2^e.
pub(super) fn bits(tensor: &Tensor) -> u32 {
    ceil_log2(u32::from(tensor.bound))
}

/// Checks types, lengths and scales of `op`'s operands and returns the bounds of what it writes. Every tensor's scale, bound
/// and length must be in range. `inputs` beyond [`Opcode::inputs`](super::Opcode::inputs) are ignored, but for a third that
/// is written; so are the bounds of what is written.
///
/// For `End` the output is its loop's tensor; for `Loop` only the length is checked and the bound returned as declared.
///
/// # Errors
/// The first requirement that does not hold.
pub fn output_bounds(
    op: &Op,
    inputs: &[Tensor; 3],
    output: &Tensor,
    matrices: &Matrices<'_>,
) -> Result<Bounds, OperandError> {
    require(op.opcode.compiled(), OperandError::Kind)?;
    let [a, b, c] = *inputs;
    let output = output_bound(&Step { op: *op, tensors: [a, b, c, *output] }, matrices)?;
    Ok(Bounds { output, extra: op.opcode.extra_bound() })
}

/// The bound of the output alone, of an operation with its tensors.
pub(crate) fn output_bound(step: &Step, matrices: &Matrices<'_>) -> Result<u16, OperandError> {
    use OperandError::{Bound, Kind, Scale, Shape};
    let op = &step.op;
    let form = op.opcode.form();
    if form.writes_extra() {
        let (kind, len) = match form.extra() {
            Extra::Scratch => (TensorKind::I16, scratch_len(op, matrices)),
            Extra::LogDet | Extra::None => (TensorKind::Nats, Some(1)),
        };
        require(step.c().kind == kind, Kind)?;
        require(!form.uses_arg() || matrices(op.arg).is_some(), Kind)?;
        require(Some(step.c().len) == len, Shape)?;
    }
    let (first, output) = (step.a().len, step.y());
    for (slot, input) in step.tensors.iter().enumerate().take(form.inputs()) {
        require(form.input_kind(slot).unwrap_or(output.kind) == input.kind, Kind)?;
        require(form.input_len(first).is_none_or(|len| len == input.len), Shape)?;
    }
    require(form.output_kind().is_none_or(|kind| kind == output.kind), Kind)?;
    require(form.output_len(first).is_none_or(|len| len == output.len), Shape)?;
    require(form.scales_hold(step), Scale)?;
    let bound = super::bound(step, matrices)?;
    require(output.kind != TensorKind::Nats || bound <= MAX_LOG2, Bound)?;
    Ok(bound)
}
