//! Loops.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, copy};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::ops::record::{MAX_LOOP_DEPTH, Op, TensorKind};

pub(super) struct Loop;
pub(super) struct End;

/// The open loops of a running program.
pub(crate) struct Frames {
    frames: [Frame; MAX_LOOP_DEPTH],
    depth: usize,
}

/// An open loop: the index of its `Loop` operation and the current iteration, both below 2^16.
#[derive(Clone, Copy)]
struct Frame {
    start: u16,
    iteration: u16,
}

impl Frames {
    /// No loop is open.
    #[inline]
    pub fn new() -> Self {
        // If the compiler knew that this is a zero too, it would call `memset`.
        let depth = core::hint::black_box(0);
        Self { frames: [Frame { start: 0, iteration: 0 }; MAX_LOOP_DEPTH], depth }
    }

    /// Opens a loop at operation `start`, or returns `None` if too many are open.
    #[inline]
    fn open(&mut self, start: usize) -> Option<()> {
        *self.frames.get_mut(self.depth)? = Frame { start: start as u16, iteration: 0 };
        self.depth += 1;
        Some(())
    }

    /// The `Loop` operation of the innermost loop and its current iteration.
    #[inline]
    pub fn innermost(&self) -> Option<(usize, u16)> {
        let frame = self.frames.get(self.depth.checked_sub(1)?)?;
        Some((usize::from(frame.start), frame.iteration))
    }

    /// Begins the next iteration of the innermost loop and returns its `Loop` operation, or leaves the loop after the
    /// last one.
    #[inline]
    fn repeat(&mut self, iterations: u32) -> Option<usize> {
        let frame = self.frames.get_mut(self.depth.checked_sub(1)?)?;
        match frame.iteration.checked_add(1) {
            Some(iteration) if u32::from(iteration) < iterations => {
                frame.iteration = iteration;
                Some(usize::from(frame.start))
            }
            _ => {
                self.depth -= 1;
                None
            }
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
        machine.halted |= machine.loops.open(machine.next).is_none();
    }
}

impl Operation for End {
    const STEPS: Steps = Steps::of(72, 3);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound())
    }

    /// A scalar in nats has four halfwords.
    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        let more = if o.a().kind() == TensorKind::Nats { 9 } else { 0 };
        Count::of_steps(product(o.a().len() as usize, more))
    }
}

impl Transform for End {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let Some((start, iteration)) = machine.loops.innermost() else {
            machine.halted = true;
            return;
        };
        let (output, _, iterations) = Op::loop_fields(machine.scope.ops, start);
        let value = step.a();
        let width = if value.kind() == TensorKind::Nats { 4 } else { 1 };
        let halfwords = value.len().saturating_mul(width);
        let slots = machine.scope.tensor(output).offset();
        let slot = slots.wrapping_add(u32::from(iteration).wrapping_mul(halfwords));
        copy(machine.arena, value.offset(), halfwords, slot, 0);
        if let Some(start) = machine.loops.repeat(iterations) {
            machine.next = start;
        }
    }
}
