//! Affine couplings (RealNVP, arXiv 1605.08803, equations 7 and 8).

use crate::bounds::{FULL, to_q16};
use crate::fixed;
use crate::program::{Op, Tensor};

/// Fractional bits of `exp(s)`: 18 significant ones at the least scale.
const SCALE_FRAC: u32 = 30;
/// Largest magnitude of a log-scale `s`, Q16 nats: `exp(s)` stays below 2^12.
const LOG_SCALE_MAX: i32 = 8 << 16;
/// What an inverse multiplies is at most this, so that the product fits 64 bits.
const DIFFERENCE_MAX: i32 = 1 << 21;

/// What a coupling makes of one element: `moved exp(s) + shift`, or `(moved - shift) exp(-s)`, rounded once.
///
/// The result is right to half an LSB and 2^-18 of the product.
pub(crate) struct Coupling {
    inverse: bool,
    /// Fractional bits at which the log-scale is read.
    read: u32,
    moved_up: u32,
    shift_up: u32,
    down: u32,
}

impl Coupling {
    /// For operands of these fractional bits: what is moved, the log-scale, the shift and the output.
    pub fn new(op: &Op, [moved, log_scale, shift, output]: [u32; 4]) -> Self {
        let inverse = op.imm != 0;
        // What is multiplied, and what the shift is added at or subtracted from.
        let factor = if inverse { moved.max(shift) } else { moved };
        let sum = if inverse { factor } else { factor + SCALE_FRAC };
        Self {
            inverse,
            read: log_scale.wrapping_add_signed(i32::from(op.param)),
            moved_up: factor.saturating_sub(moved),
            shift_up: sum.saturating_sub(shift),
            down: (factor + SCALE_FRAC).saturating_sub(output),
        }
    }

    /// Largest magnitude of the result where these are the operands' bounds; none if an intermediate might not fit.
    pub fn bound(&self, [moved, log_scale, shift]: [&Tensor; 3]) -> Option<u16> {
        let [moved, log_scale, shift] = [moved, log_scale, shift].map(|tensor| i32::from(tensor.bound));
        let fits = !self.inverse || (moved << self.moved_up) + (shift << self.shift_up) <= DIFFERENCE_MAX;
        if !fits || to_q16(log_scale, self.read) > LOG_SCALE_MAX {
            return None;
        }
        let sign = if self.inverse { -1 } else { 1 };
        Some(self.value([moved, sign * log_scale, sign * shift]).clamp(1, i32::from(FULL)) as u16)
    }

    /// The result, before it saturates to 16 bits.
    pub fn value(&self, [moved, log_scale, shift]: [i32; 3]) -> i32 {
        let log_scale = to_q16(log_scale, self.read);
        let scale = fixed::exp(if self.inverse { -log_scale } else { log_scale }, SCALE_FRAC) as i64;
        let (moved, shift) = (i64::from(moved) << self.moved_up, i64::from(shift) << self.shift_up);
        let value = if self.inverse { (moved - shift) * scale } else { moved * scale + shift };
        let rounded = (value + (1 << self.down >> 1)) >> self.down;
        rounded.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }
}
