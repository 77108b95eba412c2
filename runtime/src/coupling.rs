//! The shape of a stack of affine couplings (RealNVP, arXiv 1605.08803), and what its operation needs.

use crate::kernel::LANES;

/// What a hidden layer of a coupling's network ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HiddenActivation {
    /// `max(x, 0)`.
    Relu = 0,
    /// `tanh(x)`.
    Tanh = 1,
    /// `x`.
    Identity = 2,
}

/// The shape of a stack of couplings: everything but the sizes of its matrices.
///
/// Coupling `k` leaves one half of the point as it is, the first `ceil(d/2)` coordinates where `k` is even, and makes of the
/// other half `x exp(s) + t`, where `t` and `s = 2^scale_log2 tanh(raw)` come from a network of the first. Its matrices
/// are those of the network's hidden layers, then that of `t`, then that of `raw`. They are read as those of activations of 16
/// fractional bits, and biases of 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CouplingStack {
    /// Number of couplings, at least 1.
    pub couplings: u8,
    /// Hidden layers of each network.
    pub layers: u8,
    /// What they end in.
    pub activation: HiddenActivation,
    /// Whether weights have 16 bits: a matrix has the columns of the upper bytes, a multiple of four, then those of the lower
    /// bytes, signed and worth a 256th each.
    pub sixteen: bool,
    /// Whether the stack is undone.
    pub inverse: bool,
    /// Whether half the square of the image is subtracted from the log-determinant: with `-d/2 ln 2 pi` it is then the
    /// log-density of what has a standard normal image.
    pub normal: bool,
    /// log2 of the bound of a log-scale, within [`Self::SCALE_LOG2`].
    pub scale_log2: i8,
}

impl CouplingStack {
    /// Coordinates and shifts saturate at this magnitude.
    pub const POINT_LIMIT: i64 = 2048;
    /// What `scale_log2` may be.
    pub const SCALE_LOG2: core::ops::RangeInclusive<i8> = -8..=3;

    /// `imm` and `param` of its operation.
    pub fn pack(self) -> (u32, i8) {
        let flags = [self.sixteen, self.inverse, self.normal].into_iter().zip(2..);
        let flags = flags.fold(self.activation as u8, |flags, (flag, bit)| flags | u8::from(flag) << bit);
        (u32::from_le_bytes([self.couplings, self.layers, flags, 0]), self.scale_log2)
    }

    /// What [`CouplingStack::pack`] made; none of anything else.
    pub fn unpack(imm: u32, param: i8) -> Option<Self> {
        let [couplings, layers, flags, rest] = imm.to_le_bytes();
        let activation = match flags & 3 {
            0 => HiddenActivation::Relu,
            1 => HiddenActivation::Tanh,
            2 => HiddenActivation::Identity,
            _ => return None,
        };
        let valid = couplings > 0 && flags >> 5 == 0 && rest == 0 && Self::SCALE_LOG2.contains(&param);
        let flag = |bit: u8| flags >> bit & 1 != 0;
        let (sixteen, inverse, normal) = (flag(2), flag(3), flag(4));
        valid.then_some(Self { couplings, layers, activation, sixteen, inverse, normal, scale_log2: param })
    }

    /// Columns of a matrix that reads `inputs` activations.
    pub fn columns(&self, inputs: usize) -> usize {
        if self.sixteen { 2 * inputs.next_multiple_of(LANES) } else { inputs }
    }

    /// Matrices of one coupling.
    pub fn matrices(&self) -> u16 {
        u16::from(self.layers) + 2
    }

    /// Elements of the operation's output for `d` coordinates and hidden layers of at most `widest`, 1 where there is none:
    /// the image, then zeros, which are where it was computed.
    pub fn output_len(d: usize, widest: usize) -> usize {
        2 * LANES * [d.div_ceil(2), d / 2, widest, widest].map(|len| len.div_ceil(LANES)).into_iter().sum::<usize>()
    }
}
