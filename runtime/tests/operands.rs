//! `bounds::output_bound`: what every operation asks of its operands, one broken requirement at a time.

use elbo::bounds::{OperandError as E, output_bound};
use elbo::kernel::Packing;
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, Tensor, TensorKind};

/// Operands that hold, and the bound that follows.
struct Case {
    op: Op,
    inputs: [Tensor; 3],
    output: Tensor,
    matrix: Option<Matrix>,
    bound: u16,
}

fn vector(frac: u8, bound: u16, len: u32) -> Tensor {
    Tensor { kind: TensorKind::I16, frac, bound, len, ..Tensor::default() }
}

fn nats(bound: u16, len: u32) -> Tensor {
    Tensor { kind: TensorKind::Nats, frac: 16, bound, len, ..Tensor::default() }
}

fn case(opcode: Opcode) -> Case {
    let (a, none) = (vector(11, 100, 5), Tensor::default());
    let matrix = Matrix {
        rows: 3,
        cols: 5,
        packing: Some(Packing::RowMajor),
        input_bound: 100,
        output_bound: 77,
        params: 0,
        weights: 0,
    };
    let (inputs, output, bound) = match opcode {
        Opcode::Dense => ([a, none, none], vector(9, 1, 3), 77),
        Opcode::Relu => ([a, none, none], vector(11, 1, 5), 100),
        Opcode::Tanh | Opcode::Sigmoid => ([a, none, none], vector(15, 1, 5), 32767),
        // exp(100 / 2048) at 10 bits.
        Opcode::Exp => ([a, none, none], vector(10, 1, 5), 1075),
        Opcode::Clamp => ([a, none, none], vector(10, 1, 5), 0x300),
        // (100 100 + (100 << 11) + 2^11) >> 12.
        Opcode::Fma => ([a, a, a], vector(10, 1, 5), 52),
        Opcode::Normal => ([none; 3], vector(12, 1, 5), elbo::normal::MAX as u16),
        Opcode::BernoulliNll => ([a, a, none], nats(0, 1), 36),
        Opcode::GaussianNll => ([a, a, a], nats(0, 1), 48),
        Opcode::Kl => ([a, a, none], nats(0, 1), 45),
        Opcode::HalfSumSq => ([a, none, none], nats(0, 1), 17),
        Opcode::Sum => ([a, none, none], nats(0, 1), 15),
        Opcode::Add | Opcode::Sub => ([nats(9, 1), nats(30, 1), none], nats(0, 1), 31),
        Opcode::Neg => ([nats(9, 1), none, none], nats(0, 1), 9),
        Opcode::Loop => ([none; 3], nats(33, 4), 33),
        Opcode::End => ([nats(9, 1), none, none], nats(0, 4), 9),
        Opcode::Mean => ([nats(9, 4), none, none], nats(0, 1), 9),
        Opcode::LogMeanExp => ([nats(9, 4), none, none], nats(0, 1), 10),
        Opcode::Invalid => ([none; 3], none, 0),
    };
    let imm = match opcode {
        Opcode::Loop => 4,
        Opcode::Clamp => Op::interval_imm(-0x300, 20),
        _ => 0,
    };
    let op = Op { opcode, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm };
    Case { op, inputs, output, matrix: (opcode == Opcode::Dense).then_some(matrix), bound }
}

impl Case {
    fn bound(&self) -> Result<u16, E> {
        output_bound(&self.op, &self.inputs, &self.output, self.matrix.as_ref())
    }
}

#[track_caller]
fn gives(opcode: Opcode, expected: Result<u16, E>, edit: impl FnOnce(&mut Case)) {
    let mut case = case(opcode);
    edit(&mut case);
    assert_eq!(case.bound(), expected, "{opcode:?}");
}

#[test]
fn bounds_that_follow() {
    for opcode in Opcode::ALL {
        let case = case(opcode);
        assert_eq!(case.bound(), Ok(case.bound), "{opcode:?}");
    }
    assert_eq!(case(Opcode::Invalid).bound(), Err(E::Kind));
}

#[test]
fn operands_of_the_wrong_type() {
    for opcode in Opcode::ALL {
        for slot in 0..opcode.inputs() {
            for kind in [TensorKind::I16, TensorKind::Nats, TensorKind::Invalid] {
                if kind != case(opcode).inputs[slot].kind {
                    gives(opcode, Err(E::Kind), |case| case.inputs[slot].kind = kind);
                }
            }
        }
        if opcode != Opcode::End {
            gives(opcode, Err(E::Kind), |case| case.output.kind = TensorKind::Invalid);
        }
    }
    gives(Opcode::Dense, Err(E::Kind), |case| case.matrix = None);
}

#[test]
fn operands_of_other_lengths() {
    for opcode in Opcode::ALL {
        // Reductions take vectors of any length.
        let free = matches!(opcode, Opcode::HalfSumSq | Opcode::Sum | Opcode::Mean | Opcode::LogMeanExp);
        for slot in 0..if free { 0 } else { opcode.inputs() } {
            gives(opcode, Err(E::Shape), |case| case.inputs[slot].len += 1);
        }
        if !matches!(opcode, Opcode::Normal | Opcode::End) {
            gives(opcode, Err(E::Shape), |case| case.output.len += 1);
        }
    }
}

#[test]
fn scales_that_are_not_supported() {
    let wrong = Err(E::Scale);
    gives(Opcode::Relu, wrong, |case| case.output.frac = 10);
    gives(Opcode::Tanh, wrong, |case| case.output.frac = 14);
    gives(Opcode::Sigmoid, wrong, |case| case.op.param = 6);
    gives(Opcode::Tanh, wrong, |case| case.op.param = -12);
    gives(Opcode::Tanh, Ok(32767), |case| case.op.param = 5);
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
    gives(Opcode::Normal, wrong, |case| case.output.frac = 11);
    gives(Opcode::BernoulliNll, wrong, |case| case.inputs[0].frac = 0);
    gives(Opcode::GaussianNll, wrong, |case| case.inputs[2].frac = 10);
    gives(Opcode::GaussianNll, wrong, |case| (case.inputs[0].frac, case.inputs[2].frac) = (7, 7));
    gives(Opcode::GaussianNll, Ok(48), |case| (case.inputs[0].frac, case.inputs[2].frac) = (8, 8));
    gives(Opcode::GaussianNll, wrong, |case| case.inputs[1].frac = 10);
    gives(Opcode::Kl, wrong, |case| case.inputs[1].frac = 10);
    gives(Opcode::Sum, wrong, |case| case.op.param = 14);
    gives(Opcode::Sum, wrong, |case| case.op.param = -12);
    gives(Opcode::Sum, Ok(10), |case| case.op.param = 13);
    gives(Opcode::Sum, Ok(26), |case| case.op.param = -11);
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
    gives(Opcode::Add, Ok(62), |case| case.inputs[0].bound = 61);
    gives(Opcode::Add, wrong, |case| case.inputs[0].bound = 62);
    gives(Opcode::Sub, wrong, |case| case.inputs[1].bound = 62);
    gives(Opcode::Mean, Ok(60), |case| case.inputs[0].bound = 60);
    gives(Opcode::Mean, wrong, |case| case.inputs[0].bound = 61);
    gives(Opcode::LogMeanExp, wrong, |case| case.inputs[0].bound = 62);
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
}
