//! Weights of a categorical distribution become probabilities, with one division for all of them.

use crate::fixed;

/// Fractional bits of a weight relative to the largest: 2^16 of them times 16 bits of a value fit 63.
pub(super) const WEIGHT_FRAC: u32 = 30;

/// What a weight is multiplied with, and how far the product is shifted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    reciprocal: u64,
    shift: u32,
}

impl Share {
    /// Of weights of this sum, which is from 2^30 (the largest weight's own) to 2^46.
    #[inline]
    pub fn of(total: u64) -> Self {
        // 2^61 over the total's leading 31 bits.
        let drop = 33u32.saturating_sub(total.leading_zeros());
        Self { reciprocal: fixed::divide(1 << 61, (total >> drop) as u32), shift: 46 + drop }
    }

    /// A weight's share in Q15: 32767 stands for one, else at most 0.51 LSB from the true value.
    #[inline]
    pub fn probability(self, weight: u32) -> i16 {
        // A weight is at most 2^30 and the reciprocal 2^31.
        let share = (u64::from(weight).wrapping_mul(self.reciprocal) + (1 << (self.shift - 1))) >> self.shift;
        share.min(i16::MAX as u64) as i16
    }
}
