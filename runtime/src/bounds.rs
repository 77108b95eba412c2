//! What an operation asks of its operands and how large its result can be.
//!
//! The compiler calls [`output_bounds`] to declare a tensor's bound, the verifier to check it: one definition of both.

use crate::fixed;
#[cfg(feature = "conv")]
use crate::kernel::ConvGeometry;
use crate::normal;
use crate::program::{Form, Matrix, Op, Opcode, Tensor, TensorKind};

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
const MAX_LOG2: u32 = 62;
/// Finest scale at which an exponential's argument is below 16 in magnitude.
const EXP_FRAC: u8 = 11;
/// Coarsest scale of what flows and rank-one covariances read.
const FINE: u32 = 8;
/// Most dimensions of a flow.
const MAX_FLOW_LEN: u32 = 1024;
/// log2 of the largest 1/2 ln(1 + |a|^2), Q16: below 64 nats for any vector.
const LOG_DET_LOG2: u32 = 22;
/// log2 of the largest log-determinant of a flow, Q16: 65536 steps of at most 2^20 nats.
const FLOW_LOG_DET_LOG2: u16 = 52;
/// log2 of the largest contribution of one dimension to a discretised-logistic negative log-likelihood, Q16.
const LOGISTIC_TERM_LOG2: u32 = 40;
/// log2 of the largest contribution of one dimension to a Gaussian negative log-likelihood, Q16: see [`Opcode::GaussianNll`].
pub(crate) const GAUSSIAN_TERM_LOG2: u32 = 44;

/// Smallest e with n <= 2^e, for n >= 1.
#[inline(never)]
fn ceil_log2(n: u32) -> u32 {
    32 - n.saturating_sub(1).leading_zeros()
}

/// log2 bound of a sum of `n` terms below 2^`term` at `frac` fractional bits, brought to Q16.
#[inline(never)]
fn sum_log2(n: u32, term: u32, frac: u32) -> u32 {
    term + ceil_log2(n) + 16u32.saturating_sub(frac)
}

fn require(holds: bool, otherwise: OperandError) -> Result<(), OperandError> {
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
    /// Of the third reference, where the operation writes it, in the same units.
    pub third: u16,
}

/// Checks types, lengths and scales of `op`'s operands and returns the bounds of what it writes. Every tensor's scale, bound
/// and length must be in range. `inputs` beyond [`Opcode::inputs`] are ignored, but for a third that is written; so are
/// the bounds of what is written.
///
/// For `End` the output is its loop's tensor; for `Loop` only the length is checked and the bound returned as declared.
///
/// # Errors
/// The first requirement that does not hold.
pub fn output_bounds(
    op: &Op,
    inputs: &[Tensor; 3],
    output: &Tensor,
    matrices: &dyn Fn(u16) -> Option<Matrix>,
) -> Result<Bounds, OperandError> {
    use OperandError::{Kind, Scale, Shape};
    let [a, b, c] = inputs;
    require(op.opcode.compiled(), Kind)?;
    let third = match op.opcode {
        Opcode::Planar | Opcode::Radial => {
            require(c.kind == TensorKind::Nats, Kind)?;
            require(c.len == 1, Shape)?;
            require(op.param == 0 || op.param == 1, Scale)?;
            FLOW_LOG_DET_LOG2
        }
        Opcode::Couplings => {
            require(c.kind == TensorKind::Nats && matrices(op.arg).is_some(), Kind)?;
            require(c.len == 1, Shape)?;
            // Half of 2^22 for each of 2^15 coordinates, and what a log-determinant may be.
            FLOW_LOG_DET_LOG2 + 1
        }
        Opcode::Conv => {
            require(c.kind == TensorKind::I16 && matrices(op.arg).is_some(), Kind)?;
            require(scratch_len(op, matrices) == Some(c.len), Shape)?;
            FULL
        }
        _ => 0,
    };
    Ok(Bounds { output: output_bound(op, [a, b, c], output, matrices)?, third })
}

fn output_bound(
    op: &Op,
    [a, b, c]: [&Tensor; 3],
    output: &Tensor,
    matrices: &dyn Fn(u16) -> Option<Matrix>,
) -> Result<u16, OperandError> {
    use OperandError::{Bound, Kind, Scale, Shape};
    let n = a.len;
    let form = op.opcode.form();
    for (slot, input) in [a, b, c].into_iter().enumerate().take(form.inputs()) {
        require(form.has(Form::ANY_KIND) || input.kind == form.input_kind(slot), Kind)?;
        require(form.has(Form::ANY_LENGTHS) || input.len == if form.has(Form::ONE_IN) { 1 } else { n }, Shape)?;
    }
    require(form.has(Form::ANY_KIND) || output.kind == form.output_kind(), Kind)?;
    require(!form.has(Form::SAME_LENGTH) || output.len == n, Shape)?;
    require(!form.has(Form::ONE_OUT) || output.len == 1, Shape)?;

    let bits = |tensor: &Tensor| ceil_log2(u32::from(tensor.bound));
    let (fa, fb, fc, fy) = (u32::from(a.frac), u32::from(b.frac), u32::from(c.frac), u32::from(output.frac));
    let read = fa.wrapping_add_signed(i32::from(op.param));
    // Bounds of activations; those of nats are logarithms, with one limit for all.
    let log2 = match op.opcode {
        Opcode::Invalid => return Err(Kind),
        // Here again, so that what is not compiled in leaves no code behind.
        opcode if !opcode.compiled() => return Err(Kind),
        Opcode::Dense => {
            let matrix = matrices(op.arg).ok_or(Kind)?;
            require(n == matrix.cols && output.len == matrix.rows, Shape)?;
            require(a.bound <= matrix.input_bound, Bound)?;
            return Ok(matrix.output_bound);
        }
        Opcode::Relu => {
            require(fa == fy, Scale)?;
            return Ok(a.bound);
        }
        Opcode::Tanh | Opcode::Sigmoid => {
            require(read <= 16 && fy == 15, Scale)?;
            return Ok(i16::MAX as u16);
        }
        Opcode::Exp => {
            require(read <= 16, Scale)?;
            let largest = fixed::exp(to_q16(i32::from(a.bound), read), fy);
            return Ok(largest.min(i16::MAX as u64).max(1) as u16);
        }
        Opcode::Clamp => {
            require(fy <= fa, Scale)?;
            let (low, high) = op.interval();
            require(low <= high, Bound)?;
            return Ok(low.unsigned_abs().max(high.unsigned_abs()).max(1));
        }
        Opcode::Fma | Opcode::Mul | Opcode::AddVec | Opcode::SubVec => return element_bound(op.opcode, [a, b, c], fy),
        Opcode::Concat => {
            require(a.len.checked_add(b.len) == Some(output.len), Shape)?;
            return Ok(rounded_bound(a, fy)?.max(rounded_bound(b, fy)?));
        }
        Opcode::Slice => {
            require(n.checked_sub(op.imm).is_some_and(|rest| output.len <= rest), Shape)?;
            require(fa == fy, Scale)?;
            return Ok(a.bound);
        }
        Opcode::Select => {
            require(fa == fy && fb == fy, Scale)?;
            return Ok(a.bound.max(b.bound));
        }
        Opcode::OneHot => {
            require((1..=i16::MAX as u32).contains(&op.imm), Bound)?;
            return Ok(op.imm as u16);
        }
        Opcode::Softmax => {
            require(fy == 15, Scale)?;
            return Ok(i16::MAX as u16);
        }
        Opcode::MeanVec => {
            require(fa == fy, Scale)?;
            require(n.checked_rem(output.len) == Some(0), Shape)?;
            return Ok(a.bound);
        }
        Opcode::RankOne => {
            require(fa == fy && fa == normal::FRAC && fb >= FINE, Scale)?;
            return Ok(FULL);
        }
        Opcode::Planar | Opcode::Radial => {
            require(fa == fy && fa >= FINE && fb >= FINE, Scale)?;
            let step = if op.opcode == Opcode::Planar { 2 * n + 1 } else { n + 2 };
            require(n <= MAX_FLOW_LEN && b.len.checked_rem(step) == Some(0), Shape)?;
            return Ok(FULL);
        }
        #[cfg(feature = "flow")]
        Opcode::Couplings => {
            let needs = crate::coupling::CouplingStack::needs(op, n, matrices).ok_or(Shape)?;
            require(needs.len == output.len, Shape)?;
            // The halfwords of a number of 31 bits may have any value.
            require(needs.input_bound == FULL, Bound)?;
            return Ok(FULL);
        }
        #[cfg(not(feature = "flow"))]
        Opcode::Couplings => return Err(Kind),
        #[cfg(feature = "conv")]
        Opcode::Conv => return conv_bound(op, a, output, matrices),
        #[cfg(not(feature = "conv"))]
        Opcode::Conv => return Err(Kind),
        Opcode::Normal => {
            require(fy == normal::FRAC, Scale)?;
            return Ok(normal::MAX as u16);
        }
        Opcode::BernoulliNll => {
            require(fa >= 1, Scale)?;
            sum_log2(n, bits(a) + bits(b), fa + fb).max(sum_log2(n, 32, 16)) + 1
        }
        Opcode::GaussianNll => {
            require(fa == fc && fa >= 8 && b.frac >= EXP_FRAC, Scale)?;
            sum_log2(n, GAUSSIAN_TERM_LOG2 + 1, 16)
        }
        Opcode::Kl => {
            require(b.frac >= EXP_FRAC, Scale)?;
            // exp(16) 2^16 < 2^40 covers the other three terms.
            sum_log2(n, 2 * bits(a), 2 * fa).max(sum_log2(n, 40, 16)) + 2
        }
        Opcode::HalfSumSq => sum_log2(n, 2 * bits(a), 2 * fa),
        Opcode::HalfLogDet => {
            require(fa >= FINE, Scale)?;
            LOG_DET_LOG2
        }
        Opcode::RankOneKl => {
            require(fa >= FINE && fb >= FINE, Scale)?;
            sum_log2(n, 2 * bits(b), 2 * fb).max(LOG_DET_LOG2) + 1
        }
        Opcode::LogisticNll => {
            require(fa == fc && fa >= FINE && b.frac >= EXP_FRAC, Scale)?;
            sum_log2(n, LOGISTIC_TERM_LOG2, 16)
        }
        Opcode::Sum => {
            require(read <= 24, Scale)?;
            sum_log2(n, bits(a), read)
        }
        Opcode::Add | Opcode::Sub => u32::from(a.bound.max(b.bound)) + 1,
        Opcode::Neg => u32::from(a.bound),
        Opcode::Offset => u32::from(a.bound).max(31) + 1,
        Opcode::End => {
            require(a.kind == output.kind, Kind)?;
            require(a.frac == output.frac, Scale)?;
            return Ok(a.bound);
        }
        Opcode::Loop => {
            require(output.len.checked_rem(op.imm) == Some(0), Shape)?;
            return Ok(output.bound);
        }
        // A mean of what is cut at 2^46, and an entropy below 12.
        Opcode::FreeEnergy => u32::from(a.bound).clamp(20, 46) + 2,
        Opcode::Mean => {
            require(sum_log2(n, u32::from(a.bound), 16) <= MAX_LOG2, Bound)?;
            u32::from(a.bound)
        }
        // Rounding may leave the interval of the terms by a few LSB.
        Opcode::LogMeanExp => u32::from(a.bound) + 1,
    };
    require(log2 <= MAX_LOG2, Bound)?;
    Ok(log2 as u16)
}

/// Bound of `a`'s elements rounded to `frac` fractional bits and saturated.
#[inline(never)]
fn rounded_bound(a: &Tensor, frac: u32) -> Result<u16, OperandError> {
    let shift = u32::from(a.frac).checked_sub(frac).ok_or(OperandError::Scale)?;
    let half = (1u32 << shift) >> 1;
    Ok(((u32::from(a.bound) + half) >> shift).clamp(1, u32::from(FULL)) as u16)
}

/// Fractional bits at which [`Opcode::Fma`], `Mul`, `AddVec` and `SubVec` compute before they round to the output's.
pub(crate) fn element_frac(opcode: Opcode, [a, b]: [u32; 2]) -> u32 {
    if matches!(opcode, Opcode::AddVec | Opcode::SubVec) { a.max(b) } else { a + b }
}

/// Bound of an element-wise product or sum: every intermediate fits 32 bits.
fn element_bound(opcode: Opcode, [a, b, c]: [&Tensor; 3], fy: u32) -> Result<u16, OperandError> {
    use OperandError::{Bound, Scale};
    let sum = matches!(opcode, Opcode::AddVec | Opcode::SubVec);
    let frac = element_frac(opcode, [a, b].map(|tensor| u32::from(tensor.frac)));
    let shift = frac.checked_sub(fy).ok_or(Scale)?;
    let first = if sum { aligned_bound(a, frac)? } else { u32::from(a.bound) * u32::from(b.bound) };
    let second = match opcode {
        Opcode::Mul => 0,
        _ => aligned_bound(if sum { b } else { c }, frac)?,
    };
    let largest = (1u32 << shift >> 1).checked_add(first).and_then(|part| part.checked_add(second));
    let largest = largest.filter(|largest| *largest <= i32::MAX as u32).ok_or(Bound)?;
    Ok((largest >> shift).clamp(1, u32::from(FULL)) as u16)
}

/// Bound of a tensor's elements at `frac <= 30` fractional bits, not fewer than it has.
#[inline(never)]
fn aligned_bound(tensor: &Tensor, frac: u32) -> Result<u32, OperandError> {
    let shift = frac.checked_sub(u32::from(tensor.frac)).ok_or(OperandError::Scale)?;
    let bound = u32::from(tensor.bound);
    require(bound <= i32::MAX as u32 >> shift, OperandError::Bound)?;
    Ok(bound << shift)
}

/// Halfwords of scratch that a convolution needs, if it is one.
pub fn scratch_len(op: &Op, matrices: &dyn Fn(u16) -> Option<Matrix>) -> Option<u32> {
    #[cfg(feature = "conv")]
    {
        let geometry = ConvGeometry::unpack(op.imm, op.param);
        let matrix = matrices(op.arg).filter(|_| geometry.is_valid())?;
        geometry.scratch_len(matrix.cols.checked_div(geometry.taps(0))?, matrix.rows)
    }
    #[cfg(not(feature = "conv"))]
    {
        let _ = (op, matrices);
        None
    }
}

/// Bound of a convolution's output: the largest of its phases' matrices, each of which must fit the others.
#[cfg(feature = "conv")]
fn conv_bound(
    op: &Op,
    a: &Tensor,
    output: &Tensor,
    matrices: &dyn Fn(u16) -> Option<Matrix>,
) -> Result<u16, OperandError> {
    use OperandError::{Bound, Kind, Shape};
    let geometry = ConvGeometry::unpack(op.imm, op.param);
    require(geometry.is_valid(), Shape)?;
    let first = matrices(op.arg).ok_or(Kind)?;
    let channels = first.cols / geometry.taps(0).max(1);
    require(geometry.input_len(channels) == Some(a.len), Shape)?;
    require(geometry.output_len(first.rows) == Some(output.len), Shape)?;
    let mut largest = 1;
    for phase in 0..geometry.phases() {
        let matrix = u16::try_from(phase).ok().and_then(|phase| matrices(op.arg.checked_add(phase)?)).ok_or(Kind)?;
        let cols = geometry.taps(phase).checked_mul(channels);
        require(cols == Some(matrix.cols) && matrix.rows == first.rows, Shape)?;
        require(a.bound <= matrix.input_bound, Bound)?;
        largest = largest.max(matrix.output_bound);
    }
    Ok(largest)
}
