//! What an operation asks of its operands and how large its result can be.
//!
//! The compiler calls [`output_bound`] to declare a tensor's bound, the verifier to check it: one definition of both.

use crate::fixed;
use crate::normal;
use crate::program::{Matrix, Op, Opcode, Tensor, TensorKind};

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
/// log2 of the largest contribution of one dimension to a Gaussian negative log-likelihood, Q16: see [`Opcode::GaussianNll`].
pub(crate) const GAUSSIAN_TERM_LOG2: u32 = 44;

/// Smallest e with n <= 2^e, for n >= 1.
#[inline(never)]
fn ceil_log2(n: u32) -> u32 {
    32 - n.saturating_sub(1).leading_zeros()
}

/// log2 bound of a sum of `n` terms below 2^`term` at `frac` fractional bits, brought to Q16.
fn sum_log2(n: u32, term: u32, frac: u32) -> u32 {
    term + ceil_log2(n) + 16u32.saturating_sub(frac)
}

/// Fractional bits with which an operation reads its input: `frac + param`.
pub(crate) fn read_frac(frac: u8, param: i8) -> Option<u32> {
    u32::try_from(i32::from(frac) + i32::from(param)).ok()
}

/// Brings an activation read at `frac <= 16` fractional bits to Q16, saturating.
#[inline(always)]
pub(crate) fn to_q16(q: i32, frac: u32) -> i32 {
    let shift = 16u32.saturating_sub(frac);
    let limit = i32::MAX >> shift;
    q.clamp(-limit, limit) << shift
}

/// Checks types, lengths and scales of `op`'s operands and returns the bound of its output: largest |q| of activations,
/// log2 of the largest magnitude of nats. Every tensor's scale, bound and length must be in range. `inputs` beyond [`Opcode::inputs`] are ignored; so is `output.bound`.
///
/// For `End` the output is its loop's vector; for `Loop` only the length is checked and the bound returned as declared.
///
/// # Errors
/// The first requirement that does not hold.
pub fn output_bound(
    op: &Op,
    inputs: &[Tensor; 3],
    output: &Tensor,
    matrix: Option<&Matrix>,
) -> Result<u16, OperandError> {
    use OperandError::{Bound, Kind, Scale, Shape};
    let [a, b, c] = inputs;
    let require = |holds: bool, otherwise: OperandError| if holds { Ok(()) } else { Err(otherwise) };
    let is = |tensor: &Tensor, kind: TensorKind| require(tensor.kind == kind, Kind);
    let activations = |tensor: &Tensor| is(tensor, TensorKind::I16);
    let nats = |tensor: &Tensor| is(tensor, TensorKind::Nats);
    let scalar = |tensor: &Tensor| is(tensor, TensorKind::Nats).and(require(tensor.len == 1, Shape));
    let log2 = |bits: u32| if bits <= MAX_LOG2 { Ok(bits as u16) } else { Err(Bound) };
    let bits = |tensor: &Tensor| ceil_log2(u32::from(tensor.bound));
    let (fa, fb, fc, fy) = (u32::from(a.frac), u32::from(b.frac), u32::from(c.frac), u32::from(output.frac));
    let n = a.len;

    match op.opcode {
        Opcode::Invalid => Err(Kind),
        Opcode::Dense => {
            activations(a)?;
            activations(output)?;
            let matrix = matrix.ok_or(Kind)?;
            require(n == matrix.cols && output.len == matrix.rows, Shape)?;
            require(a.bound <= matrix.input_bound, Bound)?;
            Ok(matrix.output_bound)
        }
        Opcode::Relu | Opcode::Tanh | Opcode::Sigmoid | Opcode::Exp => {
            activations(a)?;
            activations(output)?;
            require(n == output.len, Shape)?;
            if op.opcode == Opcode::Relu {
                require(fa == fy, Scale)?;
                return Ok(a.bound);
            }
            let frac = read_frac(a.frac, op.param).filter(|frac| *frac <= 16).ok_or(Scale)?;
            if op.opcode == Opcode::Exp {
                let largest = fixed::exp(to_q16(i32::from(a.bound), frac), fy);
                return Ok(largest.min(i16::MAX as u64).max(1) as u16);
            }
            require(fy == 15, Scale)?;
            Ok(i16::MAX as u16)
        }
        Opcode::Clamp => {
            activations(a)?;
            activations(output)?;
            require(n == output.len, Shape)?;
            require(fy <= fa, Scale)?;
            let (low, high) = op.interval();
            require(low <= high, Bound)?;
            Ok(low.unsigned_abs().max(high.unsigned_abs()).max(1))
        }
        Opcode::Fma => {
            [a, b, c, output].into_iter().try_for_each(activations)?;
            require(b.len == n && c.len == n && output.len == n, Shape)?;
            let product = fa + fb;
            require(fc <= product && fy <= product, Scale)?;
            let shift = product - fy;
            let half = if shift == 0 { 0 } else { 1u64 << (shift - 1) };
            let largest = u64::from(a.bound) * u64::from(b.bound) + (u64::from(c.bound) << (product - fc)) + half;
            require(largest <= i32::MAX as u64, Bound)?;
            Ok((largest >> shift).clamp(1, u64::from(FULL)) as u16)
        }
        Opcode::Normal => {
            activations(output)?;
            require(fy == normal::FRAC, Scale)?;
            Ok(normal::MAX as u16)
        }
        Opcode::BernoulliNll => {
            activations(a)?;
            activations(b)?;
            scalar(output)?;
            require(b.len == n, Shape)?;
            require(fa >= 1, Scale)?;
            log2(sum_log2(n, bits(a) + bits(b), fa + fb).max(32 + ceil_log2(n)) + 1)
        }
        Opcode::GaussianNll => {
            [a, b, c].into_iter().try_for_each(activations)?;
            scalar(output)?;
            require(b.len == n && c.len == n, Shape)?;
            require(fa == fc && fa >= 8 && b.frac >= EXP_FRAC, Scale)?;
            log2(GAUSSIAN_TERM_LOG2 + 1 + ceil_log2(n))
        }
        Opcode::Kl => {
            activations(a)?;
            activations(b)?;
            scalar(output)?;
            require(b.len == n, Shape)?;
            require(b.frac >= EXP_FRAC, Scale)?;
            let square = sum_log2(n, 2 * bits(a), 2 * fa);
            // exp(16) 2^16 < 2^40 covers the other three terms.
            log2(square.max(40 + ceil_log2(n)) + 2)
        }
        Opcode::HalfSumSq | Opcode::Sum => {
            activations(a)?;
            scalar(output)?;
            if op.opcode == Opcode::HalfSumSq {
                return log2(sum_log2(n, 2 * bits(a), 2 * fa));
            }
            let frac = read_frac(a.frac, op.param).filter(|frac| *frac <= 24).ok_or(Scale)?;
            log2(sum_log2(n, bits(a), frac))
        }
        Opcode::Add | Opcode::Sub => {
            [a, b, output].into_iter().try_for_each(scalar)?;
            log2(u32::from(a.bound.max(b.bound)) + 1)
        }
        Opcode::Neg => {
            scalar(a)?;
            scalar(output)?;
            Ok(a.bound)
        }
        Opcode::Loop => {
            nats(output)?;
            require(output.len == op.imm, Shape)?;
            Ok(output.bound)
        }
        Opcode::End => {
            scalar(a)?;
            Ok(a.bound)
        }
        Opcode::Mean => {
            nats(a)?;
            scalar(output)?;
            log2(u32::from(a.bound) + ceil_log2(n))?;
            Ok(a.bound)
        }
        Opcode::LogMeanExp => {
            nats(a)?;
            scalar(output)?;
            // Rounding may leave the interval of the terms by a few LSB.
            log2(u32::from(a.bound) + 1)
        }
    }
}
