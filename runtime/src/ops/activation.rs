//! Functions of one number, element by element.

use super::bounds::{OperandError, require, to_q16};
use super::machine::{Machine, Step, map_q16, moved};
use super::{Matrices, Operation, Steps, Transform};
use crate::{exact, fixed};

pub(super) struct Relu;
pub(super) struct LeakyRelu;
pub(super) struct Exp;
pub(super) struct Clamp;

impl Operation for Relu {
    const STEPS: Steps = Steps::of(92, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound())
    }
}

impl Transform for Relu {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        clamp(machine, step, 0, i16::MAX);
    }
}

impl Operation for LeakyRelu {
    const STEPS: Steps = Steps::of(84, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(o.op.imm <= i16::MAX as u32, OperandError::Bound)?;
        Ok(o.a().bound())
    }
}

impl Transform for LeakyRelu {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let slope = step.op.imm as i32;
        for q in moved(machine.arena, step.a(), step.y()).iter_mut().filter(|q| **q < 0) {
            *q = (exact::add(exact::mul((*q).into(), slope), 1 << 14) >> 15) as i16;
        }
    }
}

impl Operation for Exp {
    const STEPS: Steps = Steps::of(92, 16);
    const ERROR: &'static str = "0.5 LSB + 2^-26 of the result";
    const LIMIT: &'static str = "32767";
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let largest = fixed::exp(to_q16(i32::from(o.a().bound()), o.read()), o.output_frac());
        Ok(saturate(largest).max(1))
    }
}

impl Transform for Exp {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let frac = step.output_frac();
        map_q16(machine.arena, step, |q| saturate(fixed::exp(q, frac)).into());
    }
}

/// At most what an activation holds.
fn saturate(value: u64) -> u16 {
    if value >> 15 == 0 { value as u16 } else { i16::MAX as u16 }
}

impl Operation for Clamp {
    const STEPS: Steps = Steps::of(92, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let (low, high) = o.op.interval();
        require(low <= high, OperandError::Bound)?;
        Ok(low.unsigned_abs().max(high.unsigned_abs()).max(1))
    }
}

impl Transform for Clamp {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (low, high) = step.op.interval();
        clamp(machine, step, low, high);
    }
}

/// The first input, rounded half up to the output's scale and clamped to an interval.
#[inline(never)]
fn clamp(machine: &mut Machine<'_, '_>, step: &Step<'_>, low: i16, high: i16) {
    let shift = step.frac(0).saturating_sub(step.output_frac()).min(15);
    let half = (1i32 << shift) >> 1;
    for q in moved(machine.arena, step.a(), step.y()) {
        let rounded = (i32::from(*q) + half) >> shift;
        *q = rounded.min(i32::from(high)).max(i32::from(low)) as i16;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::noise::Silence;
    use crate::ops::Opcode;
    use crate::ops::record::{NO_TENSOR, Op, Operand, Tensor, TensorKind};
    use crate::ops::scope::Scope;

    /// The result of an operation for every activation with `frac` fractional bits, in place.
    pub(in crate::ops) fn all(opcode: Opcode, frac: u8, imm: u32) -> std::vec::Vec<(i16, i16)> {
        let inputs: std::vec::Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut arena = inputs.clone();
        let tensor = Tensor { kind: TensorKind::I16, frac, bound: 1 << 15, len: 1 << 16, ..Tensor::default() };
        let op = Op { opcode, param: 0, output: 0, inputs: [0, NO_TENSOR, NO_TENSOR], arg: 0, imm };
        let record = tensor.encode();
        let tensor = Operand(&record);
        let step = Step { op, tensors: [tensor, Operand::NONE, Operand::NONE, tensor] };
        let scope = Scope::default();
        let mut noise = Silence;
        crate::ops::run(&mut Machine::new(&mut arena, &scope, &mut noise), &step);
        inputs.into_iter().zip(arena).collect()
    }

    #[test]
    fn leaky_relu_is_rounded_to_nearest() {
        for slope in [0, 1, 328, 3277, 1 << 14, 32767] {
            for (a, y) in all(Opcode::LeakyRelu, 11, slope) {
                let exact = f64::from(a) * if a < 0 { f64::from(slope) / 32768.0 } else { 1.0 };
                assert_eq!(f64::from(y), (exact + 0.5).floor(), "{a} {slope}");
            }
        }
    }

    #[test]
    fn a_slope_of_one_or_more_is_refused() {
        let tensor = Tensor { kind: TensorKind::I16, frac: 11, bound: 9, len: 1, ..Tensor::default() };
        let bound = |imm| {
            let op = Op { opcode: Opcode::LeakyRelu, param: 0, output: 0, inputs: [0; 3], arg: 0, imm };
            crate::ops::bounds::output_bounds(&op, &[tensor; 3], &tensor, &|_| None).map(|bounds| bounds.output)
        };
        assert_eq!([0x7FFF, 0x8000, u32::MAX].map(bound), [Ok(9), Err(OperandError::Bound), Err(OperandError::Bound)]);
    }
}
