//! Loops, and noise, which is drawn again in every iteration.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, copy, vector_mut};
use super::{Cost, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::normal;
use crate::ops::record::{Op, TensorKind};

pub(super) struct Normal;
pub(super) struct Loop;
pub(super) struct End;

impl Operation for Normal {
    const STEPS: Steps = Steps::of(72, 7);
    fn bound(_: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(normal::MAX as u16)
    }
}

impl Transform for Normal {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        if let Some(out) = vector_mut(machine.arena, step.y()) {
            // A source that writes nothing must not hand on what the arena held before.
            // The compiler does not know that it is a zero, because it would call `memset`, which takes 200 bytes of flash.
            out.fill(core::hint::black_box(0));
            machine.noise.normal(out);
            // The proof assumes the range of the runtime's own noise.
            out.iter_mut().for_each(|q| *q = (*q).clamp(-normal::MAX, normal::MAX));
        }
    }
}

impl Operation for Loop {
    const STEPS: Steps = Steps::of(72, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require(o.y().len().checked_rem(o.op.imm) == Some(0), OperandError::Shape)?;
        Ok(o.y().bound())
    }
}

impl Transform for Loop {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, _: &Step<'_>) {
        machine.open();
    }
}

impl Operation for End {
    const STEPS: Steps = Steps::of(72, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound())
    }

    /// A scalar in nats has four halfwords.
    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Option<Cost> {
        let more = if o.a().kind() == TensorKind::Nats { 9 } else { 0 };
        Some(Cost { work: product(o.a().len(), more), macs: 0 })
    }
}

impl Transform for End {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let Some((start, iteration)) = machine.innermost() else {
            machine.halted = true;
            return;
        };
        let opening = Op::read(machine.scope.ops, start);
        let value = step.a();
        let width = if value.kind() == TensorKind::Nats { 4 } else { 1 };
        let halfwords = value.len().saturating_mul(width);
        let slots = machine.scope.tensor(opening.output).offset();
        let slot = slots.wrapping_add(u32::from(iteration).wrapping_mul(halfwords));
        copy(machine.arena, value.offset(), halfwords, slot, 0);
        machine.repeat(opening.imm);
    }
}
