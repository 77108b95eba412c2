//! Functions of one number with a bounded range, by a table or in three straight pieces.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, map_q16, moved};
use super::{Matrices, Operation, Steps, Transform};
use crate::{exact, fixed};

pub(super) struct Tanh;
pub(super) struct Sigmoid;
pub(super) struct HardSigmoid;

impl Operation for Tanh {
    const STEPS: Steps = Steps::of(92, 8);
    const ERROR: &'static str = "1.25 LSB";
    const LIMIT: &'static str = "one is 32767";
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Tanh {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        map_q16(machine.arena, step, fixed::tanh);
    }
}

impl Operation for Sigmoid {
    const STEPS: Steps = Steps::of(92, 10);
    const ERROR: &'static str = "1 LSB";
    const LIMIT: &'static str = "one is 32767";
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Sigmoid {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        map_q16(machine.arena, step, fixed::sigmoid);
    }
}

impl Operation for HardSigmoid {
    const STEPS: Steps = Steps::of(84, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(o.op.imm <= i16::MAX as u32, OperandError::Bound)?;
        Ok(i16::MAX as u16)
    }
}

impl Transform for HardSigmoid {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (slope, shift) = (step.op.imm as i32, step.frac(0).min(15));
        // One half, and what rounds the product. The product is below 2^30.
        let rest = (1i32 << 14 << shift) + ((1i32 << shift) >> 1);
        for q in moved(machine.arena, step.a(), step.y()) {
            let sum = exact::add(exact::mul((*q).into(), slope), rest) >> shift;
            *q = sum.min(i16::MAX.into()).max(0) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Opcode;
    use crate::ops::activation::tests::all;
    use crate::ops::record::{Op, Tensor, TensorKind};

    #[test]
    fn hard_sigmoid_is_rounded_to_nearest_and_clamped() {
        for frac in [0, 1, 8, 11, 15] {
            for slope in [0, 1, 5461, 6554, 1 << 14, 32767] {
                for (a, y) in all(Opcode::HardSigmoid, frac, slope) {
                    let product = f64::from(a) * f64::from(slope) / f64::from(frac).exp2();
                    let exact = (16384.5 + product).floor().clamp(0.0, 32767.0);
                    assert_eq!(f64::from(y), exact, "{a} {frac} {slope}");
                }
            }
        }
    }

    #[test]
    fn a_slope_of_one_or_more_is_refused() {
        let tensor = Tensor { kind: TensorKind::I16, frac: 15, bound: 9, len: 1, ..Tensor::default() };
        let bound = |imm| {
            let op = Op { opcode: Opcode::HardSigmoid, param: 0, output: 0, inputs: [0; 3], arg: 0, imm };
            crate::ops::bounds::output_bounds(&op, &[tensor; 3], &tensor, &|_| None).map(|bounds| bounds.output)
        };
        let refused = Err(OperandError::Bound);
        assert_eq!([0x7FFF, 0x8000, u32::MAX].map(bound), [Ok(32767), refused, refused]);
    }
}
