//! Arithmetic of scalars in nats.

use super::bounds::OperandError;
use super::machine::{Step, Values};
use super::{Matrices, Operation, Reduction, Steps};
use crate::exact;

pub(super) struct Add;
pub(super) struct Sub;
pub(super) struct Neg;
pub(super) struct Offset;

impl Operation for Add {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(o.b().bound()) + 1)
    }
}

impl Reduction for Add {
    fn nats(values: &Values<'_>) -> i64 {
        exact::add_64(values.scalars[0], values.scalars[1])
    }
}

impl Operation for Sub {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(o.b().bound()) + 1)
    }
}

impl Reduction for Sub {
    fn nats(values: &Values<'_>) -> i64 {
        exact::sub_64(values.scalars[0], values.scalars[1])
    }
}

impl Operation for Neg {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound())
    }
}

impl Reduction for Neg {
    fn nats(values: &Values<'_>) -> i64 {
        exact::sub_64(0, values.scalars[0])
    }
}

impl Operation for Offset {
    const STEPS: Steps = Steps::of(100, 0);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        Ok(o.a().bound().max(31) + 1)
    }
}

impl Reduction for Offset {
    fn nats(values: &Values<'_>) -> i64 {
        exact::add_64(values.scalars[0], i64::from(values.op().imm as i32))
    }
}
