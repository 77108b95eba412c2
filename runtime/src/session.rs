//! The interpreter: runs a verified program over the arena. It cannot fail, and it has no code that panics.
//!
//! The proof is about the blob as it was read. Should the flash change afterwards, records still decode to something and
//! accesses are still checked, so that the numbers may be wrong but nothing else happens; a budget of the proven work
//! ends every run.

use crate::bounds::to_q16;
use crate::error::SessionError;
use crate::nats::Nats;
use crate::noise::{Noise, Silence};
use crate::program::{MAX_LOOP_DEPTH, Op, Opcode, ProgramKind, ProgramRecord, Tensor, op_work};
use crate::verify::Scope;
use crate::{Model, density, fixed, kernel};

/// A verified model with the memory to run it.
#[derive(Debug)]
pub struct Session<'b, 'a> {
    model: Model<'b>,
    arena: &'a mut [i16],
    steps: u64,
}

impl<'b, 'a> Session<'b, 'a> {
    pub(crate) fn new(model: Model<'b>, arena: &'a mut [i16]) -> Result<Self, SessionError> {
        let (needed, given) = (model.arena_len(), arena.len());
        if given < needed {
            return Err(SessionError::ArenaTooSmall { needed, given });
        }
        if !arena.as_ptr().addr().is_multiple_of(8) {
            return Err(SessionError::ArenaMisaligned);
        }
        Ok(Self { model, arena, steps: 0 })
    }

    /// The model that this session runs.
    pub fn model(&self) -> &Model<'b> {
        &self.model
    }

    /// Elementary steps of the last run: [`ProgramInfo::work`](crate::ProgramInfo::work), exactly.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Draws a latent from the prior and decodes it. `out`: the likelihood's mean, scaled as
    /// [`ProgramInfo`](crate::ProgramInfo) says (Q15 probabilities for Bernoulli pixels).
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::OutputLength`].
    pub fn sample(&mut self, noise: &mut impl Noise, out: &mut [i16]) -> Result<(), SessionError> {
        self.vectors(ProgramKind::Sample, None, noise, [Some(out), None])
    }

    /// Decodes the latent `z`, clamped to the declared range.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn decode(&mut self, z: &[i16], out: &mut [i16]) -> Result<(), SessionError> {
        self.vectors(ProgramKind::Decode, Some(z), &mut Silence, [Some(out), None])
    }

    /// The posterior's mean and log-variance for the input `x`, clamped to the declared range.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn encode(&mut self, x: &[i16], mu: &mut [i16], logvar: &mut [i16]) -> Result<(), SessionError> {
        self.vectors(ProgramKind::Encode, Some(x), &mut Silence, [Some(mu), Some(logvar)])
    }

    /// Decodes the posterior's mean for the input `x`.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn reconstruct(&mut self, x: &[i16], out: &mut [i16]) -> Result<(), SessionError> {
        self.vectors(ProgramKind::Reconstruct, Some(x), &mut Silence, [Some(out), None])
    }

    /// -ELBO of `x` with the latent at the posterior's mean: higher is more anomalous. Deterministic.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score(&mut self, x: &[i16]) -> Result<Nats, SessionError> {
        self.scalar(ProgramKind::Score, x, &mut Silence)
    }

    /// -ELBO of `x`, the mean over the number of latent draws that the model was compiled for.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score_monte_carlo(&mut self, x: &[i16], noise: &mut impl Noise) -> Result<Nats, SessionError> {
        self.scalar(ProgramKind::ScoreMonteCarlo, x, noise)
    }

    /// Importance-weighted bound on -log p(x) with the number of latent draws that the model was compiled for
    /// (Burda et al., arXiv 1509.00519, equation 8).
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score_importance(&mut self, x: &[i16], noise: &mut impl Noise) -> Result<Nats, SessionError> {
        self.scalar(ProgramKind::ScoreImportance, x, noise)
    }

    fn scalar(&mut self, kind: ProgramKind, x: &[i16], noise: &mut dyn Noise) -> Result<Nats, SessionError> {
        let (record, scope) = self.model.find(kind).ok_or(SessionError::ProgramAbsent)?;
        self.write_input(&record, &scope, Some(x))?;
        self.run(&record, &scope, noise);
        let output = scope.tensor(record.outputs[0]);
        Ok(Nats::from_bits(read_scalar(self.arena, &output, 0)))
    }

    fn vectors(
        &mut self,
        kind: ProgramKind,
        input: Option<&[i16]>,
        noise: &mut dyn Noise,
        outputs: [Option<&mut [i16]>; 2],
    ) -> Result<(), SessionError> {
        let (record, scope) = self.model.find(kind).ok_or(SessionError::ProgramAbsent)?;
        for (slot, out) in record.outputs.iter().zip(&outputs) {
            let (expected, given) = (scope.tensor(*slot).len as usize, out.as_ref().map_or(0, |out| out.len()));
            if out.is_some() && expected != given {
                return Err(SessionError::OutputLength { expected, given });
            }
        }
        self.write_input(&record, &scope, input)?;
        self.run(&record, &scope, noise);
        for (slot, out) in record.outputs.iter().zip(outputs) {
            let (Some(values), Some(out)) = (vector(self.arena, &scope.tensor(*slot)), out) else { continue };
            for (out, value) in out.iter_mut().zip(values) {
                *out = *value;
            }
        }
        Ok(())
    }

    /// Copies the input into the arena, clamped to the range that the proof is for.
    fn write_input(
        &mut self,
        record: &ProgramRecord,
        scope: &Scope<'_>,
        input: Option<&[i16]>,
    ) -> Result<(), SessionError> {
        let Some(input) = input else { return Ok(()) };
        let tensor = scope.tensor(record.inputs[0]);
        let (expected, given) = (tensor.len as usize, input.len());
        if expected != given {
            return Err(SessionError::InputLength { expected, given });
        }
        let bound = i32::from(tensor.bound);
        if let Some(slots) = vector_mut(self.arena, &tensor) {
            for (slot, &q) in slots.iter_mut().zip(input) {
                *slot = i32::from(q).clamp(-bound, bound) as i16;
            }
        }
        Ok(())
    }

    fn run(&mut self, record: &ProgramRecord, scope: &Scope<'_>, noise: &mut dyn Noise) {
        let mut loops = [Frame::default(); MAX_LOOP_DEPTH];
        let mut depth = 0usize;
        let mut budget = record.work;
        let mut next = 0usize;
        while next < scope.op_count() {
            let op = Op::read(scope.ops, next);
            let [a, b, c] = op.inputs;
            let inputs = [scope.tensor(a), scope.tensor(b), scope.tensor(c)];
            let output = scope.tensor(op.output);
            let length = if op.opcode.inputs() == 0 { output.len } else { inputs[0].len };
            let Some(left) = budget.checked_sub(op_work(&op, length, scope.matrix(&op).as_ref())) else { break };
            budget = left;
            match op.opcode {
                Opcode::Loop => {
                    let Some(frame) = loops.get_mut(depth) else { break };
                    *frame = Frame { start: next as u16, iteration: 0 };
                    depth += 1;
                }
                Opcode::End => {
                    let Some(frame) = depth.checked_sub(1).and_then(|top| loops.get_mut(top)) else { break };
                    let start = Op::read(scope.ops, usize::from(frame.start));
                    let iteration = u32::from(frame.iteration);
                    let value = read_scalar(self.arena, &inputs[0], 0);
                    write_scalar(self.arena, &scope.tensor(start.output), iteration, value);
                    if iteration + 1 < start.imm {
                        frame.iteration += 1;
                        next = usize::from(frame.start);
                    } else {
                        depth -= 1;
                    }
                }
                Opcode::Normal => {
                    if let Some(out) = vector_mut(self.arena, &output) {
                        noise.normal(out);
                    }
                }
                _ => step(self.arena, scope, &op, &inputs, &output),
            }
            next += 1;
        }
        self.steps = record.work - budget;
    }
}

/// An open loop: its operation and the iteration that runs, both below 2^16.
#[derive(Clone, Copy, Default)]
struct Frame {
    start: u16,
    iteration: u16,
}

/// Runs one operation that neither loops nor draws.
fn step(arena: &mut [i16], scope: &Scope<'_>, op: &Op, inputs: &[Tensor; 3], y: &Tensor) {
    let [a, b, c] = inputs;
    let frac = |tensor: &Tensor| u32::from(tensor.frac);
    let read = frac(a).wrapping_add_signed(i32::from(op.param)).min(24);
    match op.opcode {
        Opcode::Dense => {
            let _ = dense(arena, scope, op, a, y);
        }
        Opcode::Tanh => map(arena, a, y, |q| fixed::tanh(to_q16(i32::from(q), read)) as i16),
        Opcode::Sigmoid => map(arena, a, y, |q| fixed::sigmoid(to_q16(i32::from(q), read)) as i16),
        Opcode::Exp => {
            let scale = frac(y);
            map(arena, a, y, |q| fixed::exp(to_q16(i32::from(q), read), scale).min(i16::MAX as u64) as i16);
        }
        Opcode::Relu | Opcode::Clamp => {
            let (low, high) = if op.opcode == Opcode::Relu { (0, i16::MAX) } else { op.interval() };
            let shift = frac(a).saturating_sub(frac(y)).min(15);
            let half = (1i32 << shift) >> 1;
            map(arena, a, y, |q| ((i32::from(q) + half) >> shift).min(i32::from(high)).max(i32::from(low)) as i16);
        }
        Opcode::Fma => fma(arena, inputs, y),
        Opcode::Add => write_scalar(arena, y, 0, read_scalar(arena, a, 0).wrapping_add(read_scalar(arena, b, 0))),
        Opcode::Sub => write_scalar(arena, y, 0, read_scalar(arena, a, 0).wrapping_sub(read_scalar(arena, b, 0))),
        Opcode::Neg => write_scalar(arena, y, 0, read_scalar(arena, a, 0).wrapping_neg()),
        _ => {
            let v = |tensor: &Tensor| vector(arena, tensor).unwrap_or_default();
            let scalars = (0..a.len).map(|i| read_scalar(arena, a, i));
            let nats = match op.opcode {
                Opcode::BernoulliNll => density::bernoulli_nll(v(a), frac(a), v(b), frac(b)),
                Opcode::GaussianNll => density::gaussian_nll(v(a), v(b), frac(b), v(c), frac(c)),
                Opcode::Kl => density::kl(v(a), frac(a), v(b), frac(b)),
                Opcode::HalfSumSq => density::half_sum_sq(v(a), frac(a)),
                Opcode::Sum => density::sum(v(a), read),
                Opcode::Mean => density::mean(scalars),
                Opcode::LogMeanExp => fixed::log_mean_exp(scalars),
                _ => return,
            };
            write_scalar(arena, y, 0, nats);
        }
    }
}

#[inline(never)]
fn dense(arena: &mut [i16], scope: &Scope<'_>, op: &Op, a: &Tensor, y: &Tensor) -> Option<()> {
    let matrix = scope.dense_matrix(op)?;
    let (x, out) = apart(arena, a, y)?;
    kernel::dense(&matrix, x, out);
    Some(())
}

/// y = f(a), in y's place: one loop for each function, whether or not it works in place.
#[inline(always)]
fn map(arena: &mut [i16], a: &Tensor, y: &Tensor, f: impl Fn(i16) -> i16) {
    for q in moved(arena, a, y) {
        *q = f(*q);
    }
}

/// y's elements, filled with a's unless they are the same.
#[inline(never)]
fn moved<'s>(arena: &'s mut [i16], a: &Tensor, y: &Tensor) -> &'s mut [i16] {
    if a.offset != y.offset
        && let Some((x, out)) = apart(arena, a, y)
    {
        for (out, q) in out.iter_mut().zip(x) {
            *out = *q;
        }
    }
    vector_mut(arena, y).unwrap_or_default()
}

/// y = a b + c, aligned at the product's scale and rounded half up once.
#[inline(never)]
fn fma(arena: &mut [i16], inputs: &[Tensor; 3], y: &Tensor) {
    let [a, b, c] = inputs;
    let product = u32::from(a.frac) + u32::from(b.frac);
    let align = product.saturating_sub(u32::from(c.frac)).min(31);
    let shift = product.saturating_sub(u32::from(y.frac)).min(31);
    let half = if shift == 0 { 0 } else { 1i32 << (shift - 1) };
    let at = |arena: &[i16], tensor: &Tensor, i: u32| {
        i32::from(arena.get(tensor.offset.wrapping_add(i) as usize).copied().unwrap_or(0))
    };
    for i in 0..y.len {
        let sum = (at(arena, a, i) * at(arena, b, i)).wrapping_add(at(arena, c, i) << align).wrapping_add(half);
        if let Some(out) = arena.get_mut(y.offset.wrapping_add(i) as usize) {
            *out = (sum >> shift).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        }
    }
}

fn range(start: u32, len: u32) -> core::ops::Range<usize> {
    start as usize..(start as usize).saturating_add(len as usize)
}

#[inline(never)]
fn vector<'s>(arena: &'s [i16], tensor: &Tensor) -> Option<&'s [i16]> {
    arena.get(range(tensor.offset, tensor.len))
}

#[inline(never)]
fn vector_mut<'s>(arena: &'s mut [i16], tensor: &Tensor) -> Option<&'s mut [i16]> {
    arena.get_mut(range(tensor.offset, tensor.len))
}

/// The extents of an input and an output that do not overlap.
#[inline(never)]
fn apart<'s>(arena: &'s mut [i16], a: &Tensor, y: &Tensor) -> Option<(&'s [i16], &'s mut [i16])> {
    let (input, output) = (range(a.offset, a.extent()), range(y.offset, y.extent()));
    if input.end <= output.start {
        let (low, high) = arena.split_at_mut_checked(output.start)?;
        Some((low.get(input)?, high.get_mut(..y.extent() as usize)?))
    } else {
        let (low, high) = arena.split_at_mut_checked(input.start)?;
        Some((high.get(..a.extent() as usize)?, low.get_mut(output)?))
    }
}

fn scalar_at(tensor: &Tensor, index: u32) -> core::ops::Range<usize> {
    range(tensor.offset.wrapping_add(index.wrapping_mul(4)), 4)
}

#[inline(never)]
fn read_scalar(arena: &[i16], tensor: &Tensor, index: u32) -> i64 {
    match arena.get(scalar_at(tensor, index)) {
        Some(&[a, b, c, d]) => {
            let half = |q: i16| u64::from(q as u16);
            (half(a) | half(b) << 16 | half(c) << 32 | half(d) << 48) as i64
        }
        _ => 0,
    }
}

#[inline(never)]
fn write_scalar(arena: &mut [i16], tensor: &Tensor, index: u32, value: i64) {
    if let Some([a, b, c, d]) = arena.get_mut(scalar_at(tensor, index)) {
        (*a, *b, *c, *d) = (value as i16, (value >> 16) as i16, (value >> 32) as i16, (value >> 48) as i16);
    }
}
