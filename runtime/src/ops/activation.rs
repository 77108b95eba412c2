//! Functions of one number, element by element.

use super::bounds::{OperandError, require, to_q16};
use super::machine::{Machine, Step, map_q16, moved};
use super::{Matrices, Operation, Transform};
use crate::fixed;

pub(super) struct Relu;
pub(super) struct Tanh;
pub(super) struct Sigmoid;
pub(super) struct Exp;
pub(super) struct Clamp;

impl Operation for Relu {
    fn bound(o: &Step, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound)
    }
}

impl Transform for Relu {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step) {
        clamp(machine, step, 0, i16::MAX);
    }
}

impl Operation for Tanh {
    fn bound(_: &Step, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Tanh {
    fn run(machine: &mut Machine<'_, '_>, step: &Step) {
        map_q16(machine.arena, step, fixed::tanh);
    }
}

impl Operation for Sigmoid {
    fn bound(_: &Step, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Sigmoid {
    fn run(machine: &mut Machine<'_, '_>, step: &Step) {
        map_q16(machine.arena, step, fixed::sigmoid);
    }
}

impl Operation for Exp {
    fn bound(o: &Step, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let largest = fixed::exp(to_q16(i32::from(o.a().bound), o.read()), o.output_frac());
        Ok(largest.min(i16::MAX as u64).max(1) as u16)
    }
}

impl Transform for Exp {
    fn run(machine: &mut Machine<'_, '_>, step: &Step) {
        let frac = step.output_frac();
        map_q16(machine.arena, step, |q| fixed::exp(q, frac).min(i16::MAX as u64) as i32);
    }
}

impl Operation for Clamp {
    fn bound(o: &Step, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let (low, high) = o.op.interval();
        require(low <= high, OperandError::Bound)?;
        Ok(low.unsigned_abs().max(high.unsigned_abs()).max(1))
    }
}

impl Transform for Clamp {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step) {
        let (low, high) = step.op.interval();
        clamp(machine, step, low, high);
    }
}

/// The first input, rounded half up to the output's scale and clamped to an interval.
#[inline(never)]
fn clamp(machine: &mut Machine<'_, '_>, step: &Step, low: i16, high: i16) {
    let shift = step.frac(0).saturating_sub(step.output_frac()).min(15);
    let half = (1i32 << shift) >> 1;
    for q in moved(machine.arena, step.a(), step.y()) {
        let rounded = (i32::from(*q) + half) >> shift;
        *q = rounded.min(i32::from(high)).max(i32::from(low)) as i16;
    }
}
