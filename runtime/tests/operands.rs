//! Tests `bounds::output_bounds`: the requirements of every operation on its operands, violated one at a time.

use elbo::bounds::{OperandError as E, output_bounds};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, ScaleRule, Tensor, TensorKind};

/// Operands that hold, and the bounds that follow.
struct Case {
    op: Op,
    inputs: [Tensor; 3],
    output: Tensor,
    matrices: Vec<Matrix>,
    bound: u16,
    extra: u16,
}

fn vector(frac: u8, bound: u16, len: u32) -> Tensor {
    Tensor { kind: TensorKind::I16, frac, bound, len, ..Tensor::default() }
}

fn nats(bound: u16, len: u32) -> Tensor {
    Tensor { kind: TensorKind::Nats, frac: 16, bound, len, ..Tensor::default() }
}

fn matrix(rows: u32, cols: u32, output_bound: u16) -> Matrix {
    let packing = Some(Packing::RowMajor);
    Matrix { rows, cols, packing, input_bound: 100, output_bound, params: 0, weights: 0 }
}

/// One of a coupling's, which reads whole halfwords.
fn coupled([rows, cols]: [u32; 2]) -> Matrix {
    Matrix { input_bound: 32768, ..matrix(rows, cols, 9) }
}

/// 3x3 pixels of two channels to 5x5 of three: phases with 4, 2, 2 and 1 taps.
const UP: ConvGeometry = ConvGeometry { height: 3, width: 3, kernel: 3, stride: 1, up: 2, pad: 1, output_padding: 0 };
/// 3x3 pixels of two channels to 2x2 of three.
#[cfg(feature = "conv")]
const DOWN: ConvGeometry = ConvGeometry { stride: 2, up: 1, ..UP };

/// Two couplings of five dimensions, each with a hidden layer: the matrices of [`case`].
const STACK: CouplingStack = CouplingStack {
    couplings: 2,
    layers: 1,
    activation: HiddenActivation::Relu,
    sixteen: false,
    inverse: false,
    normal: false,
    scale_log2: 0,
};

fn case(opcode: Opcode) -> Case {
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
        Opcode::Conv => 32768,
        _ => 0,
    };
    let op = Op { opcode, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm };
    Case { op, inputs, output, matrices, bound, extra }
}

/// Vectors of five elements, or scalars, at scales that the table allows, with the bound that follows from them.
fn by_the_table(opcode: Opcode) -> Case {
    let form = opcode.form();
    let frac = |rule| match rule {
        ScaleRule::Exactly(frac) => frac,
        _ => 11,
    };
    let mut inputs = [Tensor::default(); 3];
    for (slot, input) in inputs.iter_mut().enumerate().take(form.inputs()) {
        let activations = form.input_kind(slot) != Some(TensorKind::Nats);
        *input = if activations { vector(frac(form.input_scale(slot)), 100, 5) } else { nats(9, 1) };
    }
    let len = form.output_len(inputs[0].len).unwrap_or(1);
    let activations = form.output_kind() != Some(TensorKind::Nats);
    let output = if activations { vector(frac(form.written_scale()), 1, len) } else { nats(0, len) };
    let op = Op { opcode, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm: 0 };
    let mut case = Case { op, inputs, output, matrices: Vec::new(), bound: 0, extra: 0 };
    if let Ok([bound, extra]) = case.bounds() {
        (case.bound, case.extra) = (bound, extra);
    }
    case
}

impl Case {
    fn bounds(&self) -> Result<[u16; 2], E> {
        let matrices = |index: u16| self.matrices.get(usize::from(index)).copied();
        output_bounds(&self.op, &self.inputs, &self.output, &matrices).map(|bounds| [bounds.output, bounds.extra])
    }
}

/// The operations of this build.
fn opcodes() -> impl Iterator<Item = Opcode> {
    Opcode::ALL.into_iter().filter(|opcode| opcode.compiled())
}

#[track_caller]
fn gives(opcode: Opcode, expected: Result<u16, E>, edit: impl FnOnce(&mut Case)) {
    let mut case = case(opcode);
    edit(&mut case);
    let expected = if opcode.compiled() { expected } else { Err(E::Kind) };
    assert_eq!(case.bounds().map(|bounds| bounds[0]), expected, "{opcode:?}");
}

#[test]
fn bounds_that_follow() {
    for opcode in Opcode::ALL {
        let case = case(opcode);
        let expected = if opcode.compiled() { Ok([case.bound, case.extra]) } else { Err(E::Kind) };
        assert_eq!(case.bounds(), expected, "{opcode:?}");
    }
    assert_eq!(case(Opcode::Invalid).bounds(), Err(E::Kind));
}

#[test]
fn what_is_written_declares_nothing() {
    for opcode in opcodes().filter(|opcode| *opcode != Opcode::Loop) {
        let mut case = case(opcode);
        case.output.bound = 13;
        if opcode.writes_extra() {
            case.inputs[2].bound = 13;
        }
        assert_eq!(case.bounds(), Ok([case.bound, case.extra]), "{opcode:?}");
    }
}

#[test]
fn operands_that_do_not_exist_have_no_effect() {
    for opcode in opcodes() {
        let mut case = case(opcode);
        let used = if opcode.writes_extra() { 3 } else { opcode.inputs() };
        let unused = if matches!(opcode, Opcode::Conv | Opcode::Couplings) { 1..2 } else { used..3 };
        for slot in unused {
            case.inputs[slot] = vector(3, 999, 77);
        }
        assert_eq!(case.bounds(), Ok([case.bound, case.extra]), "{opcode:?}");
    }
}

#[test]
fn operands_of_the_wrong_type() {
    for opcode in opcodes() {
        let written = opcode.writes_extra().then_some(2);
        for slot in (0..opcode.inputs()).chain(written) {
            for kind in [TensorKind::I16, TensorKind::Nats, TensorKind::Invalid] {
                if kind != case(opcode).inputs[slot].kind {
                    gives(opcode, Err(E::Kind), |case| case.inputs[slot].kind = kind);
                }
            }
        }
        // The output of a loop may have either type. Its end compares this type with that of the stored value.
        if !matches!(opcode, Opcode::Loop) {
            gives(opcode, Err(E::Kind), |case| case.output.kind = TensorKind::Invalid);
        }
    }
    gives(Opcode::Dense, Err(E::Kind), |case| case.matrices.clear());
    gives(Opcode::Dense, Err(E::Kind), |case| case.op.arg = 1);
    gives(Opcode::End, Ok(9), |case| (case.inputs[0], case.output) = (vector(11, 9, 3), vector(11, 1, 12)));
}

#[test]
fn operands_of_other_lengths() {
    use Opcode as O;
    for opcode in opcodes() {
        // Reductions take vectors of any length. So do loops, whose iterations the verifier counts.
        let free = matches!(opcode, O::HalfSumSq | O::HalfLogDet | O::Sum | O::Mean | O::LogMeanExp | O::End);
        for slot in 0..if free { 0 } else { opcode.inputs() } {
            // A slice may be part of a longer vector.
            let expected = if opcode == O::Slice { Ok(100) } else { Err(E::Shape) };
            gives(opcode, expected, |case| case.inputs[slot].len += 1);
        }
        if !matches!(opcode, O::Normal | O::OneHot | O::End) {
            let more = if opcode == O::MeanVec { 2 } else { 1 };
            gives(opcode, Err(E::Shape), |case| case.output.len += more);
        }
    }
    gives(O::Slice, Ok(100), |case| case.op.imm = 0);
    gives(O::Slice, Err(E::Shape), |case| case.op.imm = 4);
    gives(O::Slice, Err(E::Shape), |case| case.op.imm = u32::MAX - 1);
    gives(O::MeanVec, Ok(100), |case| case.output.len = 3);
    gives(O::MeanVec, Ok(100), |case| case.output.len = 6);
    gives(O::MeanVec, Err(E::Shape), |case| case.output.len = 12);
    gives(O::Concat, Err(E::Shape), |case| case.inputs[0].len = 1 << 16);
    for opcode in [O::Planar, O::Radial] {
        gives(opcode, Err(E::Shape), |case| case.inputs[2].len = 2);
        gives(opcode, Err(E::Shape), |case| case.inputs[1].len = 1);
        // One step of the largest number of dimensions, and one dimension more.
        for (n, expected) in [(1024, Ok(32768)), (1025, Err(E::Shape)), (65536, Err(E::Shape))] {
            gives(opcode, expected, |case| {
                (case.inputs[0].len, case.output.len) = (n, n);
                case.inputs[1].len = if opcode == O::Planar { 2 * n + 1 } else { n + 2 };
            });
        }
    }
    let full = Ok(32768);
    gives(O::Couplings, Err(E::Shape), |case| case.inputs[2].len = 2);
    gives(O::Couplings, Err(E::Kind), |case| case.op.arg = 6);
    gives(O::Couplings, Err(E::Bound), |case| case.matrices[3].input_bound = 32767);
    // The sizes of the matrices follow from each other, except for the rows of hidden layers.
    for at in 0..6 {
        let rows = if at % 3 == 0 { 2..4 } else { 1..2 };
        for (more_rows, more_cols) in rows.map(|more| (more, 0)).chain([(0, 1)]) {
            gives(O::Couplings, Err(E::Shape), |case| {
                case.matrices[at].rows += more_rows;
                case.matrices[at].cols += more_cols;
            });
        }
    }
    gives(O::Couplings, Err(E::Shape), |case| case.matrices.truncate(5));
    gives(O::Couplings, Err(E::Shape), |case| (case.inputs[0].len, case.output.len) = (1, 40));
    let with = |edit: &dyn Fn(&mut CouplingStack)| {
        let mut stack = STACK;
        edit(&mut stack);
        stack.pack()
    };
    let shape = |expected, edit: &dyn Fn(&mut CouplingStack)| {
        gives(O::Couplings, expected, |case| (case.op.imm, case.op.param) = with(edit));
    };
    shape(full, &|stack| stack.couplings = 1);
    shape(Err(E::Shape), &|stack| stack.couplings = 0);
    shape(Err(E::Shape), &|stack| stack.couplings = 3);
    shape(Err(E::Shape), &|stack| stack.layers = 0);
    shape(Err(E::Shape), &|stack| stack.layers = 2);
    shape(Err(E::Shape), &|stack| stack.sixteen = true);
    for scale_log2 in [-9, 4, 127, -128] {
        shape(Err(E::Shape), &|stack| stack.scale_log2 = scale_log2);
    }
    for scale_log2 in [-8, 3] {
        shape(full, &|stack| stack.scale_log2 = scale_log2);
    }
    for (bits, expected) in
        [(1 << 16, full), (2 << 16, full), (3 << 16, Err(E::Shape)), (8 << 16, full), (16 << 16, full)]
    {
        gives(O::Couplings, expected, |case| case.op.imm |= bits);
    }
    for bit in 21..32 {
        gives(O::Couplings, Err(E::Shape), |case| case.op.imm |= 1 << bit);
    }
    // The columns of the upper bytes are padded to a multiple of four; those of the lower bytes follow.
    gives(O::Couplings, full, |case| {
        (case.op.imm, case.op.param) = with(&|stack| stack.sixteen = true);
        case.matrices.iter_mut().for_each(|matrix| matrix.cols = 2 * matrix.cols.next_multiple_of(4));
    });
    // Without hidden layers.
    gives(O::Couplings, full, |case| {
        (case.op.imm, case.op.param) = with(&|stack| stack.layers = 0);
        case.matrices = [[2, 3], [2, 3], [3, 2], [3, 2]].map(coupled).to_vec();
        case.output.len = 32;
    });
    gives(O::Loop, Ok(33), |case| (case.op.imm, case.output.len) = (4, 12));
    gives(O::Loop, Ok(33), |case| (case.op.imm, case.output) = (4, vector(11, 33, 12)));
    gives(O::Loop, Err(E::Shape), |case| case.op.imm = 0);
    gives(O::Loop, Err(E::Shape), |case| case.op.imm = 8);
}

#[test]
fn scales_that_are_not_supported() {
    let wrong = Err(E::Scale);
    gives(Opcode::Relu, wrong, |case| case.output.frac = 10);
    gives(Opcode::Tanh, wrong, |case| case.output.frac = 14);
    gives(Opcode::Sigmoid, wrong, |case| case.op.param = 6);
    gives(Opcode::Tanh, wrong, |case| case.op.param = -12);
    gives(Opcode::Tanh, Ok(32767), |case| case.op.param = 5);
    gives(Opcode::Softmax, wrong, |case| case.output.frac = 14);
    gives(Opcode::Exp, wrong, |case| case.op.param = 6);
    gives(Opcode::Exp, Ok(32767), |case| case.op.param = -11);
    gives(Opcode::Exp, Ok(1), |case| (case.inputs[0].bound, case.output.frac) = (1, 0));
    gives(Opcode::Clamp, wrong, |case| case.output.frac = 12);
    gives(Opcode::Clamp, Err(E::Bound), |case| case.op.imm = Op::interval_imm(1, 0));
    gives(Opcode::Clamp, Ok(1), |case| case.op.imm = 0);
    gives(Opcode::Clamp, Ok(32768), |case| case.op.imm = Op::interval_imm(i16::MIN, -1));
    gives(Opcode::Fma, wrong, |case| (case.inputs[0].frac, case.inputs[1].frac) = (5, 5));
    gives(Opcode::Fma, wrong, |case| {
        case.inputs.iter_mut().for_each(|input| input.frac = 5);
        case.output.frac = 11;
    });
    gives(Opcode::Mul, wrong, |case| (case.inputs[0].frac, case.inputs[1].frac) = (4, 5));
    for opcode in [Opcode::AddVec, Opcode::SubVec] {
        gives(opcode, wrong, |case| case.output.frac = 12);
        gives(opcode, Ok(900), |case| case.output.frac = 11);
    }
    gives(Opcode::Concat, wrong, |case| case.output.frac = 12);
    gives(Opcode::Concat, Ok(300), |case| case.output.frac = 11);
    gives(Opcode::Slice, wrong, |case| case.output.frac = 10);
    gives(Opcode::Select, wrong, |case| case.inputs[0].frac = 10);
    gives(Opcode::Select, wrong, |case| case.inputs[1].frac = 10);
    gives(Opcode::Select, wrong, |case| case.output.frac = 10);
    gives(Opcode::MeanVec, wrong, |case| case.output.frac = 12);
    gives(Opcode::RankOne, wrong, |case| (case.inputs[0].frac, case.output.frac) = (11, 11));
    gives(Opcode::RankOne, wrong, |case| case.output.frac = 11);
    gives(Opcode::RankOne, wrong, |case| case.inputs[1].frac = 7);
    for opcode in [Opcode::Planar, Opcode::Radial] {
        gives(opcode, wrong, |case| case.output.frac = 9);
        gives(opcode, wrong, |case| (case.inputs[0].frac, case.output.frac) = (7, 7));
        gives(opcode, wrong, |case| case.inputs[1].frac = 7);
        gives(opcode, wrong, |case| case.op.param = 2);
        gives(opcode, wrong, |case| case.op.param = -1);
        gives(opcode, Ok(32768), |case| case.op.param = 1);
    }
    gives(Opcode::Normal, wrong, |case| case.output.frac = 11);
    gives(Opcode::BernoulliNll, wrong, |case| case.inputs[0].frac = 0);
    for opcode in [Opcode::GaussianNll, Opcode::LogisticNll] {
        let bound = Ok(case(opcode).bound);
        gives(opcode, wrong, |case| case.inputs[2].frac = 10);
        gives(opcode, wrong, |case| (case.inputs[0].frac, case.inputs[2].frac) = (7, 7));
        gives(opcode, bound, |case| (case.inputs[0].frac, case.inputs[2].frac) = (8, 8));
        gives(opcode, wrong, |case| case.inputs[1].frac = 10);
    }
    gives(Opcode::Kl, wrong, |case| case.inputs[1].frac = 10);
    gives(Opcode::HalfLogDet, wrong, |case| case.inputs[0].frac = 7);
    gives(Opcode::RankOneKl, wrong, |case| case.inputs[0].frac = 7);
    gives(Opcode::RankOneKl, wrong, |case| case.inputs[1].frac = 7);
    gives(Opcode::Sum, wrong, |case| case.op.param = 14);
    gives(Opcode::Sum, wrong, |case| case.op.param = -12);
    gives(Opcode::Sum, Ok(10), |case| case.op.param = 13);
    gives(Opcode::Sum, Ok(26), |case| case.op.param = -11);
    gives(Opcode::End, wrong, |case| (case.inputs[0], case.output) = (vector(11, 9, 3), vector(10, 1, 12)));
}

#[test]
fn results_that_cannot_be_bounded() {
    let wrong = Err(E::Bound);
    gives(Opcode::Dense, wrong, |case| case.inputs[0].bound = 101);
    gives(Opcode::Fma, Ok(32768), |case| {
        (case.inputs[0].bound, case.inputs[1].bound, case.output.frac) = (32767, 32767, 15);
    });
    gives(Opcode::Fma, wrong, |case| {
        case.inputs.iter_mut().for_each(|input| input.bound = 32768);
        case.inputs[2].frac = 0;
    });
    gives(Opcode::Fma, Ok(20100), |case| {
        case.inputs.iter_mut().for_each(|input| input.frac = 5);
        (case.inputs[2].frac, case.output.frac) = (10, 10);
        case.inputs[0].bound = 200;
    });
    gives(Opcode::Mul, Ok(1 << 10), |case| {
        (case.inputs[0].bound, case.inputs[1].bound, case.output.frac) = (32768, 32768, 0)
    });
    for opcode in [Opcode::AddVec, Opcode::SubVec] {
        // Scales that differ by 15: 2^30 and 2^15 fit 31 bits, but two of 2^30 do not.
        gives(opcode, Ok(32768), |case| {
            (case.inputs[0], case.inputs[1], case.output.frac) = (vector(15, 32768, 5), vector(0, 32768, 5), 15);
        });
        gives(opcode, Ok(1), |case| {
            (case.inputs[0], case.inputs[1], case.output.frac) = (vector(15, 1, 5), vector(15, 1, 5), 0);
        });
        gives(opcode, Ok(32768), |case| {
            (case.inputs[0], case.inputs[1], case.output.frac) = (vector(15, 32768, 5), vector(15, 32768, 5), 15);
        });
    }
    gives(Opcode::OneHot, wrong, |case| case.op.imm = 0);
    gives(Opcode::OneHot, wrong, |case| case.op.imm = 32768);
    gives(Opcode::OneHot, Ok(32767), |case| case.op.imm = 32767);
    gives(Opcode::Concat, Ok(32768), |case| case.inputs[0] = vector(10, 32768, 5));
    gives(Opcode::Concat, Ok(1), |case| {
        (case.inputs[0], case.inputs[1], case.output.frac) = (vector(15, 1, 5), vector(15, 1, 2), 0);
    });
    gives(Opcode::Add, Ok(62), |case| case.inputs[0].bound = 61);
    gives(Opcode::Add, wrong, |case| case.inputs[0].bound = 62);
    gives(Opcode::Sub, wrong, |case| case.inputs[1].bound = 62);
    gives(Opcode::Offset, Ok(62), |case| case.inputs[0].bound = 61);
    gives(Opcode::Offset, wrong, |case| case.inputs[0].bound = 62);
    gives(Opcode::Mean, Ok(60), |case| case.inputs[0].bound = 60);
    gives(Opcode::Mean, wrong, |case| case.inputs[0].bound = 61);
    gives(Opcode::LogMeanExp, wrong, |case| case.inputs[0].bound = 62);
    // Values beyond 2^46 are clamped, and the entropy is at most 12 nats.
    gives(Opcode::FreeEnergy, Ok(48), |case| case.inputs[0].bound = 62);
    gives(Opcode::FreeEnergy, Ok(22), |case| case.inputs[0].bound = 0);
    gives(Opcode::HalfSumSq, wrong, |case| {
        case.inputs[0] = vector(0, 32768, 1 << 17);
    });
    gives(Opcode::Sum, Ok(47), |case| (case.inputs[0], case.op.param) = (vector(0, 32768, 65536), 0));
    for (len, expected) in [(65536, Ok(62)), (65537, wrong)] {
        gives(Opcode::BernoulliNll, expected, |case| {
            case.inputs = [vector(1, 32768, len), vector(0, 32768, len), Tensor::default()];
        });
    }
    gives(Opcode::Kl, wrong, |case| {
        case.inputs = [vector(0, 32768, 65536), vector(11, 32768, 65536), Tensor::default()];
    });
    gives(Opcode::GaussianNll, Ok(61), |case| case.inputs.iter_mut().for_each(|input| input.len = 65536));
    gives(Opcode::LogisticNll, Ok(56), |case| case.inputs.iter_mut().for_each(|input| input.len = 65536));
    gives(Opcode::HalfLogDet, Ok(22), |case| case.inputs[0] = vector(8, 32768, 65536));
    gives(Opcode::RankOneKl, Ok(47), |case| {
        (case.inputs[0].len, case.inputs[1]) = (65536, vector(8, 32768, 65536));
    });
}

#[cfg(feature = "conv")]
#[test]
fn convolutions() {
    let conv = |expected, edit: &dyn Fn(&mut Case)| gives(Opcode::Conv, expected, edit);
    let shape = Err(E::Shape);
    conv(Err(E::Kind), &|case| _ = case.matrices.pop());
    conv(Err(E::Kind), &|case| case.op.arg = 1 << 15);
    conv(Err(E::Kind), &|case| case.op.arg = u16::MAX);
    // The second matrix in the first phase has two taps too many.
    conv(shape, &|case| case.op.arg = 1);
    conv(shape, &|case| case.matrices.swap(0, 3));
    for phase in 0..4 {
        conv(shape, &|case| case.matrices[phase].rows = 2);
        conv(shape, &|case| case.matrices[phase].cols += 1);
        conv(Err(E::Bound), &|case| case.matrices[phase].input_bound = 99);
        conv(Ok(55), &|case| case.matrices[phase].output_bound = 55);
    }
    conv(shape, &|case| case.inputs[2].len += 4);
    conv(shape, &|case| case.inputs[2].len -= 4);
    // Invalid geometries: no columns, no kernel, a stride together with an upsampling, a phase without a tap, no
    // output.
    let geometry = |edit: &dyn Fn(&mut ConvGeometry)| {
        conv(shape, &|case| {
            let mut geometry = UP;
            edit(&mut geometry);
            (case.op.imm, case.op.param) = geometry.pack();
        });
    };
    geometry(&|g| g.height = 0);
    geometry(&|g| g.width = 0);
    geometry(&|g| g.kernel = 0);
    geometry(&|g| g.stride = 0);
    geometry(&|g| g.stride = 2);
    geometry(&|g| g.up = 0);
    geometry(&|g| g.up = 4);
    geometry(&|g| g.pad = 15);
    geometry(&|g| g.output_padding = 2);
    geometry(&|g| g.output_padding = 255);
    // One more of anything makes another image.
    geometry(&|g| g.height = 4);
    geometry(&|g| g.width = 2);
    geometry(&|g| g.kernel = 4);
    geometry(&|g| g.pad = 0);
    geometry(&|g| g.output_padding = 1);

    let down = |case: &mut Case| {
        (case.op.imm, case.op.param) = DOWN.pack();
        case.matrices = vec![matrix(3, 18, 12)];
        (case.inputs[2].len, case.output.len) = (20 + 4, 2 * 2 * 3);
    };
    conv(Ok(12), &down);
    conv(shape, &|case| {
        down(case);
        case.op.param = 1;
    });
    // Numbers of channels that do not divide the image, and images that are too large for a tensor.
    conv(shape, &|case| {
        down(case);
        case.matrices[0].cols = 8;
    });
    for (rows, cols) in [(65536, 65536), (u32::MAX, u32::MAX), (3, 0), (0, 18)] {
        conv(shape, &|case| {
            down(case);
            case.matrices[0] = matrix(rows, cols, 12);
        });
    }
    let large = ConvGeometry { height: 255, width: 255, kernel: 1, stride: 1, up: 1, pad: 0, output_padding: 0 };
    conv(shape, &|case| {
        (case.op.imm, case.op.param) = large.pack();
        case.matrices = vec![matrix(65536, 65536, 12)];
        (case.inputs[0].len, case.inputs[2].len, case.output.len) = (65536, 2 << 16, 65536);
    });
}
