//! Elementwise choice between two vectors, for example observed and drawn values.

use super::bounds::OperandError;
use super::machine::{Machine, Step, at, put};
use super::{Matrices, Operation, Steps, Transform};

pub(super) struct Select;

impl Operation for Select {
    const STEPS: Steps = Steps::of(64, 5);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(o.b().bound()))
    }
}

impl Transform for Select {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let (a, b, c, y) = (step.a(), step.b(), step.c(), step.y());
        let arena = &mut *machine.arena;
        for i in 0..y.len() {
            let chosen = if at(arena, c.offset(), i) > 0 { a } else { b };
            put(arena, y.offset(), i, at(arena, chosen.offset(), i));
        }
    }
}
