//! Noise, which is drawn again in every iteration of a loop.

use super::bounds::OperandError;
use super::machine::{Machine, Step, vector_mut};
use super::{Matrices, Operation, Steps, Transform};
use crate::normal;

pub(super) struct Normal;

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
