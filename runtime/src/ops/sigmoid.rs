//! Functions of one number with a bounded range, by a table.

use super::bounds::OperandError;
use super::machine::{Machine, Step, map_q16};
use super::{Matrices, Operation, Steps, Transform};
use crate::fixed;

pub(super) struct Tanh;
pub(super) struct Sigmoid;

impl Operation for Tanh {
    const STEPS: Steps = Steps::of(92, 8);
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
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(i16::MAX as u16)
    }
}

impl Transform for Sigmoid {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        map_q16(machine.arena, step, fixed::sigmoid);
    }
}
