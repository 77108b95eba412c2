//! Scales that an operation does not accept, and results that cannot be bounded.

use crate::case::{case, vector};
use crate::gives;
use elbo::bounds::OperandError as E;
use elbo::program::{Op, Opcode, Tensor};

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
    gives(Opcode::Posterior, wrong, |case| case.output.frac = 14);
    gives(Opcode::GaussianLogits, Ok(18), |case| case.inputs[0].frac = 6);
    gives(Opcode::GaussianLogits, Ok(22), |case| case.inputs[1].frac = 5);
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
    for (len, expected) in [(32768, Ok(62)), (65536, wrong)] {
        gives(Opcode::GaussianLogits, expected, |case| {
            (case.inputs[0].len, case.inputs[1], case.output.len) = (1, vector(0, 32768, len), 1);
        });
    }
    gives(Opcode::HalfLogDet, Ok(22), |case| case.inputs[0] = vector(8, 32768, 65536));
    gives(Opcode::RankOneKl, Ok(47), |case| {
        (case.inputs[0].len, case.inputs[1]) = (65536, vector(8, 32768, 65536));
    });
}
