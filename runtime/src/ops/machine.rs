//! The state of a running program: the arena, its loops, its noise, and the layout of tensors in memory.
//!
//! Every access is checked. Even if the flash changes after the proof, nothing outside the arena is read or written.

use core::ops::Range;

#[cfg(feature = "loops")]
use super::loops::Frames;
use super::{Count, Matrices};
use crate::exact::product;
use crate::noise::Noise;
use crate::ops::record::{Op, Operand};
use crate::ops::scope::Scope;

/// A running program.
pub(crate) struct Machine<'s, 'n> {
    pub arena: &'s mut [i16],
    pub scope: &'s Scope<'s>,
    #[cfg_attr(not(feature = "sampling"), allow(dead_code))]
    pub noise: &'n mut dyn Noise,
    /// Index of the next operation, counted from 0.
    pub next: usize,
    /// Set if a program that changed after its proof cannot continue.
    pub halted: bool,
    #[cfg(feature = "loops")]
    pub loops: Frames,
}

impl<'s, 'n> Machine<'s, 'n> {
    pub fn new(arena: &'s mut [i16], scope: &'s Scope<'s>, noise: &'n mut dyn Noise) -> Self {
        Self {
            arena,
            scope,
            noise,
            next: 0,
            halted: false,
            #[cfg(feature = "loops")]
            loops: Frames::new(),
        }
    }
}

/// One operation with its tensors: the inputs `a`, `b` and `c` and the output `y`. `c` may be a second tensor that it
/// writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'b> {
    pub op: Op,
    /// `a`, `b`, `c`, `y`.
    pub tensors: [Operand<'b>; 4],
}

impl<'b> Step<'b> {
    #[inline(always)]
    pub fn a(&self) -> Operand<'b> {
        self.tensors[0]
    }

    #[inline(always)]
    pub fn b(&self) -> Operand<'b> {
        self.tensors[1]
    }

    #[inline(always)]
    pub fn c(&self) -> Operand<'b> {
        self.tensors[2]
    }

    #[inline(always)]
    pub fn y(&self) -> Operand<'b> {
        self.tensors[3]
    }

    /// The number of elements that an execution goes through: those of the first input, or of the output if they are as
    /// many in a proved program.
    #[inline]
    pub fn elements(&self) -> u32 {
        let output = if self.op.opcode.rules().fills_output() { self.y().len() } else { 0 };
        self.a().len().max(output)
    }

    /// The steps of an execution itself and of its elements, which are a part of its cost.
    #[inline]
    pub fn steps(&self) -> Count {
        let (fixed, each) = self.op.opcode.steps().parts();
        let elements = product(self.elements() as usize, each as usize);
        Count::of_steps(elements.saturating_add(fixed as usize))
    }

    /// The cost of one execution.
    #[inline]
    pub fn cost(&self, matrices: &Matrices<'_>) -> Count {
        super::cost(self, matrices)
    }

    /// Fractional bits of an input.
    #[inline(always)]
    pub fn frac(&self, slot: usize) -> u32 {
        self.tensors[slot].frac()
    }

    /// Fractional bits with which the first input is read.
    #[inline(always)]
    pub fn read(&self) -> u32 {
        self.frac(0).wrapping_add_signed(i32::from(self.op.param))
    }

    /// Fractional bits of the output.
    #[inline(always)]
    pub fn output_frac(&self) -> u32 {
        self.frac(3)
    }
}

/// The operands of a reduction.
pub(crate) struct Values<'m> {
    #[cfg_attr(not(feature = "loops"), allow(dead_code))]
    arena: &'m [i16],
    step: &'m Step<'m>,
    /// The inputs of type activations.
    pub vectors: [&'m [i16]; 3],
    /// The scalars of the first two inputs, if these are nats.
    pub scalars: [i64; 2],
}

impl<'m> Values<'m> {
    #[inline(always)]
    pub fn new(arena: &'m [i16], step: &'m Step) -> Self {
        let mut vectors = [&[][..]; 3];
        for (vector, tensor) in vectors.iter_mut().zip(&step.tensors) {
            *vector = self::vector(arena, *tensor).unwrap_or_default();
        }
        let scalars = [read_scalar(arena, step.a(), 0), read_scalar(arena, step.b(), 0)];
        Self { arena, step, vectors, scalars }
    }

    /// The operation.
    #[inline(always)]
    pub fn op(&self) -> &'m Op {
        &self.step.op
    }

    /// Fractional bits of an input.
    #[inline(always)]
    pub fn frac(&self, slot: usize) -> u32 {
        self.step.frac(slot)
    }

    /// Fractional bits with which the first input is read.
    #[inline(always)]
    pub fn read(&self) -> u32 {
        self.step.read().min(24)
    }

    /// All scalars of the first input.
    #[cfg(feature = "loops")]
    #[inline(always)]
    pub fn terms(&self) -> impl Iterator<Item = i64> + Clone {
        let tensor = self.step.a();
        (0..tensor.len()).map(move |i| read_scalar(self.arena, tensor, i))
    }
}

/// Converts every element of the first input to Q16, applies `f`, and writes the result.
#[inline(always)]
pub(super) fn map_q16(arena: &mut [i16], step: &Step<'_>, f: impl Fn(i32) -> i32) {
    let read = step.read();
    for q in moved(arena, step.a(), step.y()) {
        *q = f(activation_to_q16(*q, read)) as i16;
    }
}

/// Converts an activation read at `frac` fractional bits to Q16. It has 16 bits, so that the result fits.
#[inline(always)]
pub(super) fn activation_to_q16(q: i16, frac: u32) -> i32 {
    i32::from(q) << 16u32.saturating_sub(frac)
}

/// The elements of y, filled with those of a unless both are the same tensor.
#[inline(never)]
pub(super) fn moved<'s>(arena: &'s mut [i16], a: Operand<'_>, y: Operand<'_>) -> &'s mut [i16] {
    if a.offset() != y.offset()
        && let Some((x, out)) = apart(arena, a, y)
    {
        for (out, q) in out.iter_mut().zip(x) {
            *out = *q;
        }
    }
    vector_mut(arena, y).unwrap_or_default()
}

/// The element at `offset + i` of the arena.
#[inline(always)]
pub(super) fn at(arena: &[i16], offset: u32, i: u32) -> i32 {
    i32::from(arena.get(offset.wrapping_add(i) as usize).copied().unwrap_or(0))
}

/// Writes the element at `offset + i` of the arena, saturated.
#[inline(always)]
pub(super) fn put(arena: &mut [i16], offset: u32, i: u32, value: i32) {
    if let Some(out) = arena.get_mut(offset.wrapping_add(i) as usize) {
        *out = value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

/// Copies `len` elements, each rounded half up by `shift` bits.
#[inline(never)]
pub(super) fn copy(arena: &mut [i16], from: u32, len: u32, to: u32, shift: u32) {
    let shift = shift.min(15);
    let half = (1i32 << shift) >> 1;
    for i in 0..len {
        let q = (at(arena, from, i) + half) >> shift;
        put(arena, to, i, q);
    }
}

pub(super) fn range(start: u32, len: u32) -> Range<usize> {
    start as usize..(start as usize).saturating_add(len as usize)
}

/// The elements of a tensor, or `None` if it lies outside the arena.
#[inline(never)]
pub(crate) fn vector<'s>(arena: &'s [i16], tensor: Operand<'_>) -> Option<&'s [i16]> {
    arena.get(range(tensor.offset(), tensor.len()))
}

/// The elements of a tensor, for writing.
#[inline(never)]
pub(crate) fn vector_mut<'s>(arena: &'s mut [i16], tensor: Operand<'_>) -> Option<&'s mut [i16]> {
    arena.get_mut(range(tensor.offset(), tensor.len()))
}

/// The elements of an input and of an output, which must not overlap.
#[cfg(any(feature = "adgm", feature = "dlgm", feature = "flow", feature = "front"))]
#[inline(always)]
pub(super) fn apart_exact<'s>(
    arena: &'s mut [i16],
    a: Operand<'_>,
    y: Operand<'_>,
) -> Option<(&'s [i16], &'s mut [i16])> {
    let (x, out) = apart(arena, a, y)?;
    Some((x.get(..a.len() as usize).unwrap_or_default(), out.get_mut(..y.len() as usize).unwrap_or_default()))
}

/// The extents of an input and of an output, which must not overlap.
#[inline(never)]
pub(super) fn apart<'s>(arena: &'s mut [i16], a: Operand<'_>, y: Operand<'_>) -> Option<(&'s [i16], &'s mut [i16])> {
    let (input, output) = (range(a.offset(), a.extent()), range(y.offset(), y.extent()));
    if input.end <= output.start {
        let (low, high) = arena.split_at_mut_checked(output.start)?;
        Some((low.get(input)?, high.get_mut(..y.extent() as usize)?))
    } else {
        let (low, high) = arena.split_at_mut_checked(input.start)?;
        Some((high.get(..a.extent() as usize)?, low.get_mut(output)?))
    }
}

fn scalar_at(tensor: Operand<'_>, index: u32) -> Range<usize> {
    range(tensor.offset().wrapping_add(index.wrapping_mul(4)), 4)
}

/// The scalar at `index` of a tensor of nats; 0 outside the arena.
#[inline(never)]
pub(crate) fn read_scalar(arena: &[i16], tensor: Operand<'_>, index: u32) -> i64 {
    match arena.get(scalar_at(tensor, index)) {
        Some(&[a, b, c, d]) => {
            let half = |q: i16| u64::from(q as u16);
            (half(a) | half(b) << 16 | half(c) << 32 | half(d) << 48) as i64
        }
        _ => 0,
    }
}

/// Writes the scalar at `index` of a tensor of nats.
#[inline(never)]
pub(super) fn write_scalar(arena: &mut [i16], tensor: Operand<'_>, index: u32, value: i64) {
    if let Some([a, b, c, d]) = arena.get_mut(scalar_at(tensor, index)) {
        (*a, *b, *c, *d) = (value as i16, (value >> 16) as i16, (value >> 32) as i16, (value >> 48) as i16);
    }
}
