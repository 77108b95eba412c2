//! What an operation asks of its operands and how large its result can be.
//!
//! The compiler calls [`output_bound`] to declare a tensor's bound, the verifier to check it: one definition of both.

use crate::fixed;
use crate::normal;
use crate::program::{Form, Matrix, Op, Opcode, Tensor};

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
    let n = a.len;
    let form = op.opcode.form();
    for input in inputs.iter().take(form.inputs()) {
        require(input.kind == form.kind(Form::NATS_IN), Kind)?;
        require(input.len == if form.has(Form::ONE_IN) { 1 } else { n }, Shape)?;
    }
    require(output.kind == form.kind(Form::NATS_OUT), Kind)?;
    require(!form.has(Form::SAME_LENGTH) || output.len == n, Shape)?;
    require(!form.has(Form::ONE_OUT) || output.len == 1, Shape)?;

    let bits = |tensor: &Tensor| ceil_log2(u32::from(tensor.bound));
    let (fa, fb, fc, fy) = (u32::from(a.frac), u32::from(b.frac), u32::from(c.frac), u32::from(output.frac));
    let read = fa.wrapping_add_signed(i32::from(op.param));
    // Bounds of activations; those of nats are logarithms, with one limit for all.
    let log2 = match op.opcode {
        Opcode::Invalid => return Err(Kind),
        Opcode::Dense => {
            let matrix = matrix.ok_or(Kind)?;
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
        Opcode::Fma => {
            let product = fa + fb;
            require(fc <= product && fy <= product, Scale)?;
            let shift = product - fy;
            let half = (1u64 << shift) >> 1;
            let largest = u64::from(a.bound) * u64::from(b.bound) + (u64::from(c.bound) << (product - fc)) + half;
            require(largest <= i32::MAX as u64, Bound)?;
            return Ok((largest as u32 >> shift).clamp(1, u32::from(FULL)) as u16);
        }
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
        Opcode::Sum => {
            require(read <= 24, Scale)?;
            sum_log2(n, bits(a), read)
        }
        Opcode::Add | Opcode::Sub => u32::from(a.bound.max(b.bound)) + 1,
        Opcode::Neg | Opcode::End => u32::from(a.bound),
        Opcode::Loop => {
            require(output.len == op.imm, Shape)?;
            u32::from(output.bound)
        }
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
