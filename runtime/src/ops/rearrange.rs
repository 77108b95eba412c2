//! Concatenation and slicing of vectors.

use super::bounds::{FULL, OperandError, require};
use super::machine::{Machine, Step, copy};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::ops::record::Operand;

pub(super) struct Concat;
pub(super) struct Slice;

impl Operation for Concat {
    const STEPS: Steps = Steps::of(72, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(o.a().len().checked_add(o.b().len()) == Some(o.y().len()), OperandError::Shape)?;
        Ok(rounded_bound(o.a(), o.output_frac()).max(rounded_bound(o.b(), o.output_frac())))
    }

    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        Count::of_steps(product(o.b().len() as usize, 3))
    }
}

/// Bound of a tensor's elements rounded to `frac` fractional bits, which must not exceed its own, and saturated.
#[inline(never)]
fn rounded_bound(tensor: Operand<'_>, frac: u32) -> u16 {
    let shift = tensor.frac().saturating_sub(frac);
    let half = (1u32 << shift) >> 1;
    ((u32::from(tensor.bound()) + half) >> shift).clamp(1, u32::from(FULL)) as u16
}

impl Transform for Concat {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (a, b, y) = (step.a(), step.b(), step.y());
        let shift = |slot: usize| step.frac(slot).saturating_sub(step.output_frac());
        copy(machine.arena, a.offset(), a.len(), y.offset(), shift(0));
        copy(machine.arena, b.offset(), b.len(), y.offset().wrapping_add(a.len()), shift(1));
    }
}

impl Operation for Slice {
    const STEPS: Steps = Steps::of(64, 0);
    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        Count::of_steps(product(o.y().len() as usize, 3))
    }

    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(o.a().len().checked_sub(o.op.imm).is_some_and(|rest| o.y().len() <= rest), OperandError::Shape)?;
        Ok(o.a().bound())
    }
}

impl Transform for Slice {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let from = step.a().offset().wrapping_add(step.op.imm);
        copy(machine.arena, from, step.y().len().min(step.a().len()), step.y().offset(), 0);
    }
}
