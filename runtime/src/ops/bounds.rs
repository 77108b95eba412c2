//! The requirements of an operation on its operands, and the bound of its result.
//!
//! The compiler calls [`output_bounds`] to declare the bound of a tensor. The verifier uses the same definition to
//! check it.

use super::machine::Step;
pub use super::scratch_len;
use super::{Count, Extra, Matrices};
use crate::ops::record::{Op, Operand, Tensor, TensorKind};

/// Why an operation refuses its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandError {
    /// An operand has the wrong type.
    Kind,
    /// The lengths of the operands do not fit together.
    Shape,
    /// The operation does not support these scales.
    Scale,
    /// The result, or an intermediate, cannot be bounded.
    Bound,
}

/// The bound of an output, or an error, in one word: the compiler packs a `Result` of them in more instructions.
#[derive(Clone, Copy)]
pub(crate) struct Verdict(u32);

impl Verdict {
    #[inline(always)]
    pub fn of(result: Result<u16, OperandError>) -> Self {
        match result {
            Ok(bound) => Self(bound.into()),
            Err(error) => Self(u32::MAX - error as u32),
        }
    }

    #[inline(always)]
    pub fn result(self) -> Result<u16, OperandError> {
        use OperandError::{Bound, Kind, Scale, Shape};
        match u16::try_from(self.0) {
            Ok(bound) => Ok(bound),
            Err(_) => Err(match u32::MAX - self.0 {
                0 => Kind,
                1 => Shape,
                2 => Scale,
                _ => Bound,
            }),
        }
    }
}

/// Bound of a saturated activation.
pub const FULL: u16 = 1 << 15;
/// Largest log2 of nats. It leaves room for a sign and one addition in 64 bits.
pub(super) const MAX_LOG2: u16 = 62;
/// Coarsest scale at which an exponential's argument is below 16 in magnitude.
pub const EXP_FRAC: u8 = 11;
/// Coarsest scale that flows and rank-one covariances accept.
pub const MIN_FRAC: u8 = 8;

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

/// log2 bound in Q16 of values below 2^`log2` at `frac` fractional bits. Bits beyond 16 are rounded away.
#[inline(always)]
pub(super) fn q16_log2(log2: u32, frac: u32) -> u32 {
    log2 + 16u32.saturating_sub(frac)
}

/// log2 bound in Q16 of the square of an element of a tensor.
#[inline(never)]
pub(super) fn square_log2(tensor: Operand<'_>) -> u32 {
    q16_log2(2 * bits(tensor), 2 * tensor.frac())
}

pub(super) fn require(holds: bool, otherwise: OperandError) -> Result<(), OperandError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Converts an activation read at `frac <= 16` fractional bits to Q16, saturating.
#[inline(always)]
pub(crate) fn to_q16(q: i32, frac: u32) -> i32 {
    let shift = 16u32.saturating_sub(frac);
    let limit = i32::MAX >> shift;
    q.clamp(-limit, limit) << shift
}

/// The bounds of what an operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bound of the output: the largest |q| of activations, or log2 of the largest magnitude of nats.
    pub output: u16,
    /// Bound of the second tensor that it writes, in the same units; 0 if there is none.
    pub extra: u16,
}

/// Smallest e such that every |q| of the tensor is at most 2^e.
pub(super) fn bits(tensor: Operand<'_>) -> u32 {
    ceil_log2(u32::from(tensor.bound()))
}

/// Checks types, lengths and scales of the operands of `op` and returns the bounds of what it writes. The scale, bound
/// and length of every tensor must be in range. `inputs` beyond [`Opcode::inputs`](super::Opcode::inputs) are ignored,
/// except for a third one that the operation writes. The declared bounds of written tensors are ignored too.
///
/// For `End` the output is the tensor of its loop. For `Loop` only the length is checked, and the bound is returned as
/// declared.
///
/// # Errors
/// The first requirement that is violated.
pub fn output_bounds(
    op: &Op,
    inputs: &[Tensor; 3],
    output: &Tensor,
    matrices: &Matrices<'_>,
) -> Result<Bounds, OperandError> {
    require(op.opcode.compiled(), OperandError::Kind)?;
    let [a, b, c] = inputs;
    let records = [a, b, c, output].map(Tensor::encode);
    let step = Step { op: *op, tensors: records.each_ref().map(Operand) };
    let bound = prove(&step, matrices, &mut Count::default()).result()?;
    require(output.kind != TensorKind::Nats || bound <= MAX_LOG2, OperandError::Bound)?;
    Ok(Bounds { output: bound, extra: op.opcode.extra_bound() })
}

/// The bound of the output, which a tensor of nats may not be able to declare. The cost of one execution is added to
/// `cost`, except for its steps.
#[inline(never)]
pub(crate) fn prove(step: &Step<'_>, matrices: &Matrices<'_>, cost: &mut Count) -> Verdict {
    match operands_fit(step, matrices) {
        Ok(()) => super::prove(step, matrices, cost),
        Err(error) => Verdict::of(Err(error)),
    }
}

#[inline(always)]
fn operands_fit(step: &Step<'_>, matrices: &Matrices<'_>) -> Result<(), OperandError> {
    use OperandError::{Kind, Scale, Shape};
    let op = &step.op;
    let rules = op.opcode.rules();
    if rules.writes_extra() {
        let (kind, len) = match rules.extra() {
            Extra::Scratch => (TensorKind::I16, scratch_len(op, matrices)),
            Extra::LogDet | Extra::None => (TensorKind::Nats, Some(1)),
        };
        require(step.c().kind() == kind, Kind)?;
        require(!rules.uses_arg() || matrices(op.arg).is_some(), Kind)?;
        require(Some(step.c().len()) == len, Shape)?;
    }
    let (first, output) = (step.a().len(), step.y());
    let (len, [mut kind, others]) = (rules.input_len(first), rules.input_kinds(output.kind_code()));
    for input in step.tensors.iter().take(rules.inputs()) {
        require(kind == input.kind_code(), Kind)?;
        require(len.is_none_or(|len| len == input.len()), Shape)?;
        kind = others;
    }
    require(rules.takes_any_kind() || rules.output_code() == output.kind_code(), Kind)?;
    require(rules.output_len(first).is_none_or(|len| len == output.len()), Shape)?;
    require(rules.scales_hold(step), Scale)
}
