//! Elementwise sums and products of vectors. Terms are aligned at one scale, and the result is rounded half up once.

use super::bounds::{FULL, OperandError, require};
use super::machine::{Machine, Step, at, put};
use super::{Matrices, Operation, Steps, Transform};
use crate::exact;
use crate::ops::record::Operand;

pub(super) struct Fma;
pub(super) struct Mul;
pub(super) struct AddVec;
pub(super) struct SubVec;

/// The formula of an operation.
#[derive(Clone, Copy)]
enum Terms {
    /// `a b + c`.
    ProductPlus,
    /// `a b`.
    Product,
    /// `a + b`.
    Sum,
    /// `a - b`.
    Difference,
}

impl Terms {
    const fn multiplies(self) -> bool {
        matches!(self, Self::ProductPlus | Self::Product)
    }

    /// Fractional bits of the result before it is rounded.
    fn frac(self, a: u32, b: u32) -> u32 {
        if self.multiplies() { a + b } else { a.max(b) }
    }
}

impl Operation for Fma {
    const STEPS: Steps = Steps::of(72, 7);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        bound_of(o, Terms::ProductPlus)
    }
}

impl Transform for Fma {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        run(machine, step, Terms::ProductPlus);
    }
}

impl Operation for Mul {
    const STEPS: Steps = Steps::of(72, 7);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        bound_of(o, Terms::Product)
    }
}

impl Transform for Mul {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        run(machine, step, Terms::Product);
    }
}

impl Operation for AddVec {
    const STEPS: Steps = Steps::of(72, 6);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        bound_of(o, Terms::Sum)
    }
}

impl Transform for AddVec {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        run(machine, step, Terms::Sum);
    }
}

impl Operation for SubVec {
    const STEPS: Steps = Steps::of(72, 6);
    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        bound_of(o, Terms::Difference)
    }
}

impl Transform for SubVec {
    #[inline(always)]
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        run(machine, step, Terms::Difference);
    }
}

/// Every intermediate fits 32 bits.
#[inline(never)]
fn bound_of(o: &Step<'_>, terms: Terms) -> Result<u16, OperandError> {
    let (a, b) = (o.a(), o.b());
    let frac = terms.frac(a.frac(), b.frac());
    let shift = frac.checked_sub(o.output_frac()).ok_or(OperandError::Scale)?;
    require(!matches!(terms, Terms::ProductPlus) || o.frac(2) <= frac, OperandError::Scale)?;
    let product = u32::from(a.bound()) * u32::from(b.bound());
    let (first, second) = match terms {
        Terms::ProductPlus => (product, aligned_bound(o.c(), frac)),
        Terms::Product => (product, 0),
        Terms::Sum | Terms::Difference => (aligned_bound(a, frac), aligned_bound(b, frac)),
    };
    // Each is below 2^31.
    let largest = ((1u32 << shift >> 1) + first).saturating_add(second);
    require(largest <= i32::MAX as u32, OperandError::Bound)?;
    Ok((largest >> shift).clamp(1, u32::from(FULL)) as u16)
}

/// Bound of a tensor's elements at `frac <= 30` fractional bits, which must not be fewer than its own; at most 2^31.
#[inline(never)]
fn aligned_bound(tensor: Operand<'_>, frac: u32) -> u32 {
    let (shift, bound) = (frac.saturating_sub(tensor.frac()), u32::from(tensor.bound()));
    if bound <= i32::MAX as u32 >> shift { bound << shift } else { 1 << 31 }
}

#[inline(never)]
fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>, terms: Terms) {
    let (a, b, c, y) = (step.a(), step.b(), step.c(), step.y());
    let frac = terms.frac(step.frac(0), step.frac(1));
    let align = |tensor: Operand<'_>| frac.saturating_sub(tensor.frac()).min(31);
    let shift = frac.saturating_sub(step.output_frac()).min(31);
    let half = (1i32 << shift) >> 1;
    // One loop serves all operations: a sum is a product with a power of two, and a product adds zero.
    let (added, sign) = match terms {
        Terms::ProductPlus => (c, 1),
        Terms::Product => (b, 0),
        Terms::Sum => (b, 1),
        Terms::Difference => (b, -1),
    };
    let (unit, added_unit) = (1i32 << align(a), sign << align(added));
    let arena = &mut *machine.arena;
    for i in 0..y.len() {
        let factor = if terms.multiplies() { at(arena, b.offset(), i) } else { unit };
        let first = exact::mul(at(arena, a.offset(), i), factor);
        let sum = exact::add(first, exact::mul(at(arena, added.offset(), i), added_unit));
        put(arena, y.offset(), i, exact::add(sum, half) >> shift);
    }
}
