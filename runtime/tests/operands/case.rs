//! For every operation operands that hold, and the bounds that follow from them.

use elbo::bounds::{OperandError as E, output_bounds};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::front::{Bands, Taper};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, ScaleRule, Tensor, TensorKind};

/// Operands that hold, and the bounds that follow.
pub struct Case {
    pub op: Op,
    pub inputs: [Tensor; 3],
    pub output: Tensor,
    pub matrices: Vec<Matrix>,
    pub bound: u16,
    pub extra: u16,
}

pub fn vector(frac: u8, bound: u16, len: u32) -> Tensor {
    Tensor { kind: TensorKind::I16, frac, bound, len, ..Tensor::default() }
}

pub fn nats(bound: u16, len: u32) -> Tensor {
    Tensor { kind: TensorKind::Nats, frac: 16, bound, len, ..Tensor::default() }
}

pub fn matrix(rows: u32, cols: u32, output_bound: u16) -> Matrix {
    let packing = Some(Packing::RowMajor);
    Matrix { rows, cols, packing, input_bound: 100, output_bound, params: 0, weights: 0 }
}

/// One of a coupling's, which reads whole halfwords.
pub fn coupled([rows, cols]: [u32; 2]) -> Matrix {
    Matrix { input_bound: 32768, ..matrix(rows, cols, 9) }
}

/// 3x3 pixels of two channels to 5x5 of three: phases with 4, 2, 2 and 1 taps.
pub const UP: ConvGeometry =
    ConvGeometry { height: 3, width: 3, kernel: 3, stride: 1, up: 2, pad: 1, output_padding: 0 };

/// Two couplings of five dimensions, each with a hidden layer: the matrices of [`case`].
pub const STACK: CouplingStack = CouplingStack {
    couplings: 2,
    layers: 1,
    activation: HiddenActivation::Relu,
    sixteen: false,
    inverse: false,
    normal: false,
    scale_log2: 0,
};

pub fn case(opcode: Opcode) -> Case {
    let (a, none) = (vector(11, 100, 5), Tensor::default());
    let scratch = |len| vector(0, 1, len);
    let (inputs, output, bound) = match opcode {
        Opcode::Dense => ([a, none, none], vector(9, 1, 3), 77),
        Opcode::Relu => ([a, none, none], vector(11, 1, 5), 100),
        Opcode::Tanh | Opcode::Sigmoid | Opcode::Softmax => ([a, none, none], vector(15, 1, 5), 32767),
        // exp(100 / 2048) at 10 bits.
        Opcode::Exp => ([a, none, none], vector(10, 1, 5), 1075),
        Opcode::Clamp => ([a, none, none], vector(10, 1, 5), 0x300),
        // (100 100 + (100 << 11) + 2^11) >> 12.
        Opcode::Fma => ([a, a, a], vector(10, 1, 5), 52),
        // (100 200 + 2^9) >> 10.
        Opcode::Mul => ([a, vector(9, 200, 5), none], vector(10, 1, 5), 20),
        // (100 + (200 << 2) + 2^0) >> 1.
        Opcode::AddVec | Opcode::SubVec => ([a, vector(9, 200, 5), none], vector(10, 1, 5), 450),
        // (300 + 2^0) >> 1 of the second.
        Opcode::Concat => ([vector(12, 500, 5), vector(11, 300, 2), none], vector(10, 1, 7), 150),
        Opcode::Slice => ([a, none, none], vector(11, 1, 2), 100),
        Opcode::Select => ([a, vector(11, 101, 5), vector(3, 7, 5)], vector(11, 1, 5), 101),
        Opcode::OneHot => ([none; 3], vector(14, 1, 5), 16384),
        Opcode::MeanVec => ([vector(11, 100, 6), none, none], vector(11, 1, 2), 100),
        Opcode::RankOne => ([vector(12, 100, 5), vector(8, 9, 5), none], vector(12, 1, 5), 32768),
        // Planar: two steps of w (2), u (2) and b. Radial: z0 (2), alpha and beta.
        Opcode::Planar => ([vector(8, 100, 2), vector(15, 9, 10), nats(0, 1)], vector(8, 1, 2), 32768),
        Opcode::Radial => ([vector(8, 100, 2), vector(15, 9, 8), nats(0, 1)], vector(8, 1, 2), 32768),
        // A patch has 2x2 taps of two channels, and a pixel three channels; each is rounded up to a multiple of four.
        Opcode::Conv => ([vector(11, 100, 18), none, scratch(8 + 4)], vector(9, 1, 5 * 5 * 3), 44),
        // 64 samples, and the edges of 8 triangles; logarithms below 23.
        Opcode::LogBands => ([vector(0, 100, 64), vector(0, 99, 10), scratch(128)], vector(10, 1, 8), 23 << 10),
        Opcode::Statistics => ([vector(0, 100, 64), none, none], vector(10, 1, 3), 23 << 10),
        Opcode::Normal => ([none; 3], vector(12, 1, 5), elbo::normal::MAX as u16),
        Opcode::BernoulliNll => ([a, a, none], nats(0, 1), 36),
        Opcode::GaussianNll => ([a, a, a], nats(0, 1), 48),
        // 2^40 for each of five elements.
        Opcode::LogisticNll => ([a, a, a], nats(0, 1), 43),
        // Two halves of 3 and 2 coordinates and two buffers for hidden layers of at most 7 units, in groups of four
        // with two halfwords each.
        Opcode::Couplings => ([a, none, nats(0, 1)], vector(10, 1, 48), 32768),
        Opcode::Kl => ([a, a, none], nats(0, 1), 45),
        Opcode::HalfSumSq => ([a, none, none], nats(0, 1), 17),
        // Below 64 nats for every vector.
        Opcode::HalfLogDet => ([a, none, none], nats(0, 1), 22),
        Opcode::RankOneKl => ([a, vector(8, 1 << 14, 5), none], nats(0, 1), 32),
        Opcode::FreeEnergy => ([nats(30, 5), a, none], nats(0, 1), 32),
        // One of 100 at 11 bits is 2^12 in Q16; two squares of 2^14 at 22 bits are 2^15.
        Opcode::GaussianLogits => ([a, vector(11, 100, 10), none], nats(0, 5), 16),
        Opcode::Posterior => ([nats(30, 5), none, none], vector(15, 1, 5), 32767),
        Opcode::Sum => ([a, none, none], nats(0, 1), 15),
        Opcode::Add | Opcode::Sub => ([nats(9, 1), nats(30, 1), none], nats(0, 1), 31),
        Opcode::Neg => ([nats(9, 1), none, none], nats(0, 1), 9),
        Opcode::Offset => ([nats(9, 1), none, none], nats(0, 1), 32),
        Opcode::Loop => ([none; 3], nats(33, 4), 33),
        Opcode::End => ([nats(9, 1), none, none], nats(0, 4), 9),
        Opcode::Mean => ([nats(9, 4), none, none], nats(0, 1), 9),
        Opcode::LogMeanExp => ([nats(9, 4), none, none], nats(0, 1), 10),
        Opcode::Invalid => ([none; 3], none, 0),
        // A new operation is tested in its own file, and here according to its line in the table.
        opcode => return by_the_table(opcode),
    };
    let imm = match opcode {
        Opcode::Loop => 4,
        Opcode::Clamp => Op::interval_imm(-0x300, 20),
        Opcode::Slice => 3,
        Opcode::OneHot => 16384,
        Opcode::Offset => u32::MAX,
        Opcode::Conv => UP.pack().0,
        Opcode::Couplings => STACK.pack().0,
        Opcode::LogBands => Bands { window_log2: 6, taper: Taper::Hann, triangular: true }.pack(),
        Opcode::Statistics => 0b10_1001,
        _ => 0,
    };
    let matrices = match opcode {
        Opcode::Dense => vec![matrix(3, 5, 77)],
        // The first phase has only the middle tap.
        Opcode::Conv => vec![matrix(3, 2, 5), matrix(3, 4, 44), matrix(3, 4, 7), matrix(3, 8, 9)],
        Opcode::Couplings => [[7, 3], [2, 7], [2, 7], [4, 2], [3, 4], [3, 4]].map(coupled).to_vec(),
        _ => Vec::new(),
    };
    let extra = match opcode {
        Opcode::Planar | Opcode::Radial => 52,
        Opcode::Couplings => 53,
        Opcode::Conv | Opcode::LogBands => 32768,
        _ => 0,
    };
    let op = Op { opcode, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm };
    Case { op, inputs, output, matrices, bound, extra }
}

/// Vectors of five elements, or scalars, at scales that the table allows, with the bound that follows from them.
fn by_the_table(opcode: Opcode) -> Case {
    let rules = opcode.rules();
    let frac = |rule| match rule {
        ScaleRule::Exactly(frac) => frac,
        _ => 11,
    };
    let mut inputs = [Tensor::default(); 3];
    for (slot, input) in inputs.iter_mut().enumerate().take(rules.inputs()) {
        let activations = rules.input_kind(slot) != Some(TensorKind::Nats);
        *input = if activations { vector(frac(rules.input_scale(slot)), 100, 5) } else { nats(9, 1) };
    }
    let len = rules.output_len(inputs[0].len).unwrap_or(1);
    let activations = rules.output_kind() != Some(TensorKind::Nats);
    let output = if activations { vector(frac(rules.written_scale()), 1, len) } else { nats(0, len) };
    let op = Op { opcode, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm: 0 };
    let mut case = Case { op, inputs, output, matrices: Vec::new(), bound: 0, extra: 0 };
    if let Ok([bound, extra]) = case.bounds() {
        (case.bound, case.extra) = (bound, extra);
    }
    case
}

impl Case {
    pub fn bounds(&self) -> Result<[u16; 2], E> {
        let matrices = |index: u16| self.matrices.get(usize::from(index)).copied();
        output_bounds(&self.op, &self.inputs, &self.output, &matrices).map(|bounds| [bounds.output, bounds.extra])
    }
}
