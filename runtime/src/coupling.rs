//! The shape of a stack of affine couplings (RealNVP, arXiv 1605.08803).

use crate::kernel::LANES;

/// The activation function of the hidden layers of a coupling's network.
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

/// The shape of a stack of couplings, without the sizes of its matrices.
///
/// Coupling `k` keeps one half of the point: the first `ceil(d/2)` coordinates if `k` is even, the others if it is odd.
/// It replaces the other half by `x exp(s) + t`. A network that reads the kept half gives `t` and `s = 2^scale_log2
/// tanh(raw)`. The matrices of a coupling are those of the network's hidden layers, then that of `t`, then that of
/// `raw`. Their inputs have 16 fractional bits and their biases 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CouplingStack {
    /// Number of couplings, at least 1.
    pub couplings: u8,
    /// Hidden layers of each network.
    pub layers: u8,
    /// Activation function of the hidden layers.
    pub activation: HiddenActivation,
    /// Whether weights have 16 bits. A matrix then has the columns of the upper bytes, padded to a multiple of four,
    /// followed by those of the lower bytes, which are signed and count 1/256 each.
    pub sixteen: bool,
    /// Whether the stack is inverted.
    pub inverse: bool,
    /// Whether half the squared norm of the image is subtracted from the log-determinant. Together with `-d/2 ln 2 pi`
    /// the result is the log-density of the point if its image is standard normal.
    pub normal: bool,
    /// log2 of the bound of a log-scale, within [`Self::SCALE_LOG2`].
    pub scale_log2: i8,
}

impl CouplingStack {
    /// Coordinates and shifts saturate at this magnitude.
    pub const POINT_LIMIT: i64 = 2048;
    /// The range of `scale_log2`.
    pub const SCALE_LOG2: core::ops::RangeInclusive<i8> = -8..=3;

    /// The fields `imm` and `param` of the operation.
    pub fn pack(self) -> (u32, i8) {
        let flags = [self.sixteen, self.inverse, self.normal].into_iter().zip(2..);
        let flags = flags.fold(self.activation as u8, |flags, (flag, bit)| flags | u8::from(flag) << bit);
        (u32::from_le_bytes([self.couplings, self.layers, flags, 0]), self.scale_log2)
    }

    /// The inverse of [`CouplingStack::pack`]; `None` if the fields are invalid.
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

    /// Number of columns of a matrix that reads `inputs` activations.
    pub fn columns(&self, inputs: usize) -> usize {
        if self.sixteen { inputs.div_ceil(LANES).saturating_mul(2 * LANES) } else { inputs }
    }

    /// Number of matrices of one coupling.
    pub fn matrices(&self) -> u16 {
        u16::from(self.layers) + 2
    }

    /// Elements of the operation's output for `d` coordinates and hidden layers of at most `widest` units (1 if there
    /// is none). The output is the working memory; at the end it contains the image, followed by zeros.
    pub fn output_len(d: usize, widest: usize) -> usize {
        2 * LANES * [d.div_ceil(2), d / 2, widest, widest].map(|len| len.div_ceil(LANES)).into_iter().sum::<usize>()
    }
}
