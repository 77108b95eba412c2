//! The interpreter: runs a verified program over the arena. It cannot fail, and it has no code that panics.
//!
//! The proof is about the blob as it was read. Should the flash change afterwards, records still decode to something and
//! accesses are still checked, so that the numbers may be wrong but nothing else happens; a budget of the proven work
//! ends every run.

use crate::bounds::{element_frac, to_q16};
use crate::error::SessionError;
use crate::nats::Nats;
use crate::noise::{Noise, Silence};
use crate::program::{MAX_LOOP_DEPTH, Op, Opcode, ProgramKind, ProgramRecord, Tensor, TensorKind};
use crate::verify::Scope;
use crate::{Model, density, fixed, kernel, normal};

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
        self.run(ProgramKind::Sample, &[], &mut [out], noise).map(|_| ())
    }

    /// As [`Session::sample`], of one class.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::NoSuchClass`], [`SessionError::OutputLength`].
    pub fn sample_class(&mut self, class: usize, noise: &mut impl Noise, out: &mut [i16]) -> Result<(), SessionError> {
        self.call(ProgramKind::SampleClass, Given::Class(class), &mut [out], noise).map(|_| ())
    }

    /// Draws x with its negative log-density -log q(x), exact.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::OutputLength`].
    pub fn sample_density(&mut self, noise: &mut impl Noise, out: &mut [i16]) -> Result<Nats, SessionError> {
        self.run(ProgramKind::SampleDensity, &[], &mut [out], noise)
    }

    /// Decodes the latent `z`, clamped to the declared range.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn decode(&mut self, z: &[i16], out: &mut [i16]) -> Result<(), SessionError> {
        self.run(ProgramKind::Decode, &[z], &mut [out], &mut Silence).map(|_| ())
    }

    /// The latent that [`Session::decode`] takes to `x`, for a flow.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn invert(&mut self, x: &[i16], z: &mut [i16]) -> Result<(), SessionError> {
        self.run(ProgramKind::Invert, &[x], &mut [z], &mut Silence).map(|_| ())
    }

    /// The posterior's mean and log-variance for the input `x`, clamped to the declared range.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn encode(&mut self, x: &[i16], mu: &mut [i16], logvar: &mut [i16]) -> Result<(), SessionError> {
        self.run(ProgramKind::Encode, &[x], &mut [mu, logvar], &mut Silence).map(|_| ())
    }

    /// Decodes the posterior's mean for the input `x`.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn reconstruct(&mut self, x: &[i16], out: &mut [i16]) -> Result<(), SessionError> {
        self.run(ProgramKind::Reconstruct, &[x], &mut [out], &mut Silence).map(|_| ())
    }

    /// Fills in what is missing of `x`: where `mask` is positive `x` is observed and stays, the rest is drawn.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn impute(
        &mut self,
        x: &[i16],
        mask: &[i16],
        noise: &mut impl Noise,
        out: &mut [i16],
    ) -> Result<(), SessionError> {
        self.run(ProgramKind::Impute, &[x, mask], &mut [out], noise).map(|_| ())
    }

    /// The probability of every class for the input `x`, Q15.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn classify(
        &mut self,
        x: &[i16],
        noise: &mut impl Noise,
        probabilities: &mut [i16],
    ) -> Result<(), SessionError> {
        self.run(ProgramKind::Classify, &[x], &mut [probabilities], noise).map(|_| ())
    }

    /// How unlikely `x` is, without noise: higher is more anomalous. -ELBO with the latent at the posterior's mean; the exact
    /// -log p(x) of a flow; the negative critic of a generative adversarial network, whose scale is arbitrary.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score(&mut self, x: &[i16]) -> Result<Nats, SessionError> {
        self.run(ProgramKind::Score, &[x], &mut [], &mut Silence)
    }

    /// -ELBO of `x`, the mean over the number of latent draws that the model was compiled for.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score_monte_carlo(&mut self, x: &[i16], noise: &mut impl Noise) -> Result<Nats, SessionError> {
        self.run(ProgramKind::ScoreMonteCarlo, &[x], &mut [], noise)
    }

    /// Importance-weighted bound on -log p(x) with the number of latent draws that the model was compiled for
    /// (Burda et al., arXiv 1509.00519, equation 8).
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score_importance(&mut self, x: &[i16], noise: &mut impl Noise) -> Result<Nats, SessionError> {
        self.run(ProgramKind::ScoreImportance, &[x], &mut [], noise)
    }

    /// Runs any program: its input vectors, clamped to their declared ranges, and room for its output vectors, as its
    /// kind's [`Signature`](crate::program::Signature) says. Returns its scalar, 0 where it has none.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`]; a vector that is
    /// missing counts as empty.
    pub fn run(
        &mut self,
        kind: ProgramKind,
        inputs: &[&[i16]],
        outputs: &mut [&mut [i16]],
        noise: &mut dyn Noise,
    ) -> Result<Nats, SessionError> {
        self.call(kind, Given::Vectors(inputs), outputs, noise)
    }

    fn call(
        &mut self,
        kind: ProgramKind,
        given: Given<'_>,
        outputs: &mut [&mut [i16]],
        noise: &mut dyn Noise,
    ) -> Result<Nats, SessionError> {
        let (record, scope) = self.model.find(kind).ok_or(SessionError::ProgramAbsent)?;
        let signature = kind.signature();
        let vectors = usize::from(signature.vectors);
        for (slot, tensor) in record.outputs.into_iter().enumerate().take(vectors) {
            let (expected, given) = (scope.tensor(tensor).len as usize, outputs.get(slot).map_or(0, |out| out.len()));
            if expected != given {
                return Err(SessionError::OutputLength { expected, given });
            }
        }
        for (slot, tensor) in record.inputs.into_iter().enumerate().take(signature.inputs.into()) {
            self.write_input(&scope.tensor(tensor), given, slot)?;
        }
        self.execute(&record, &scope, noise);
        for (tensor, out) in record.outputs.into_iter().zip(outputs.iter_mut()).take(vectors) {
            let values = vector(self.arena, &scope.tensor(tensor)).unwrap_or_default();
            for (out, value) in out.iter_mut().zip(values) {
                *out = *value;
            }
        }
        let scalar = record.outputs.get(vectors).filter(|_| signature.scalar);
        Ok(Nats::from_bits(scalar.map_or(0, |tensor| read_scalar(self.arena, &scope.tensor(*tensor), 0))))
    }

    /// Copies an input into the arena, clamped to the range that the proof is for.
    fn write_input(&mut self, tensor: &Tensor, given: Given<'_>, slot: usize) -> Result<(), SessionError> {
        let expected = tensor.len as usize;
        let slots = vector_mut(self.arena, tensor).unwrap_or_default();
        let bound = i32::from(tensor.bound);
        match given {
            Given::Vectors(inputs) => {
                let input = inputs.get(slot).copied().unwrap_or_default();
                if expected != input.len() {
                    return Err(SessionError::InputLength { expected, given: input.len() });
                }
                for (slot, &q) in slots.iter_mut().zip(input) {
                    *slot = i32::from(q).clamp(-bound, bound) as i16;
                }
            }
            Given::Class(class) => {
                if class >= expected {
                    return Err(SessionError::NoSuchClass { classes: expected, class });
                }
                for (index, slot) in slots.iter_mut().enumerate() {
                    *slot = if index == class { bound.min(i32::from(i16::MAX)) as i16 } else { 0 };
                }
            }
        }
        Ok(())
    }

    fn execute(&mut self, record: &ProgramRecord, scope: &Scope<'_>, noise: &mut dyn Noise) {
        let mut loops = [Frame::default(); MAX_LOOP_DEPTH];
        let mut depth = 0usize;
        let mut budget = record.work;
        let mut next = 0usize;
        while next < scope.op_count() {
            let op = Op::read(scope.ops, next);
            let [a, b, c] = op.inputs;
            let inputs = [scope.tensor(a), scope.tensor(b), scope.tensor(c)];
            let output = scope.tensor(op.output);
            let Some(left) = budget.checked_sub(scope.cost(&op, &inputs, &output).work) else { break };
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
                    // Halfwords of what an iteration gives.
                    let width = if inputs[0].kind == TensorKind::Nats { 4 } else { 1 };
                    let len = inputs[0].len.saturating_mul(width);
                    let slot = scope.tensor(start.output).offset.wrapping_add(iteration.wrapping_mul(len));
                    copy(self.arena, inputs[0].offset, len, slot, 0);
                    if iteration + 1 < start.imm {
                        frame.iteration += 1;
                        next = usize::from(frame.start);
                    } else {
                        depth -= 1;
                    }
                }
                #[cfg(feature = "adgm")]
                Opcode::OneHot => {
                    let iteration =
                        depth.checked_sub(1).and_then(|top| loops.get(top)).map_or(0, |frame| frame.iteration);
                    let out = vector_mut(self.arena, &output).unwrap_or_default();
                    out.fill(0);
                    if let Some(chosen) = out.get_mut(usize::from(iteration)) {
                        *chosen = op.imm as i16;
                    }
                }
                Opcode::Normal => {
                    if let Some(out) = vector_mut(self.arena, &output) {
                        noise.normal(out);
                        // The proof is for what the runtime's own noise can give.
                        out.iter_mut().for_each(|q| *q = (*q).clamp(-normal::MAX, normal::MAX));
                    }
                }
                _ => step(self.arena, scope, &op, &inputs, &output),
            }
            next += 1;
        }
        self.steps = record.work - budget;
    }
}

/// What a caller gives a program to read.
#[derive(Clone, Copy)]
enum Given<'x> {
    Vectors(&'x [&'x [i16]]),
    Class(usize),
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
        Opcode::Tanh | Opcode::Sigmoid | Opcode::Exp | Opcode::Relu | Opcode::Clamp => {
            let out = moved(arena, a, y).iter_mut();
            match op.opcode {
                Opcode::Tanh => out.for_each(|q| *q = fixed::tanh(to_q16(i32::from(*q), read)) as i16),
                Opcode::Sigmoid => out.for_each(|q| *q = fixed::sigmoid(to_q16(i32::from(*q), read)) as i16),
                Opcode::Exp => {
                    let scale = frac(y);
                    let exp = |q: i16| fixed::exp(to_q16(i32::from(q), read), scale);
                    out.for_each(|q| *q = exp(*q).min(i16::MAX as u64) as i16);
                }
                _ => {
                    let (low, high) = if op.opcode == Opcode::Relu { (0, i16::MAX) } else { op.interval() };
                    let shift = frac(a).saturating_sub(frac(y)).min(15);
                    let half = (1i32 << shift) >> 1;
                    let rounded = |q: i16| (i32::from(q) + half) >> shift;
                    out.for_each(|q| *q = rounded(*q).min(i32::from(high)).max(i32::from(low)) as i16);
                }
            }
        }
        Opcode::Fma | Opcode::Mul | Opcode::AddVec | Opcode::SubVec => elements(arena, op.opcode, inputs, y),
        Opcode::Concat => {
            copy(arena, a.offset, a.len, y.offset, frac(a).saturating_sub(frac(y)));
            copy(arena, b.offset, b.len, y.offset.wrapping_add(a.len), frac(b).saturating_sub(frac(y)));
        }
        Opcode::Slice => copy(arena, a.offset.wrapping_add(op.imm), y.len, y.offset, 0),
        #[cfg(feature = "dlgm")]
        Opcode::Select => {
            for i in 0..y.len {
                let chosen = if at(arena, c.offset, i) > 0 { a } else { b };
                put(arena, y.offset, i, at(arena, chosen.offset, i));
            }
        }
        #[cfg(feature = "adgm")]
        Opcode::Softmax => {
            if let Some((logits, out)) = apart(arena, a, y) {
                let len = (a.len as usize, y.len as usize);
                let (logits, out) = (logits.get(..len.0).unwrap_or_default(), out.get_mut(..len.1).unwrap_or_default());
                crate::categorical::softmax(logits, frac(a), out);
            }
        }
        #[cfg(feature = "adgm")]
        Opcode::MeanVec => {
            for i in 0..y.len {
                let terms = (i..a.len).step_by(y.len.max(1) as usize);
                let mean = density::mean(terms.map(|i| i64::from(at(arena, a.offset, i))));
                put(arena, y.offset, i, mean as i32);
            }
        }
        #[cfg(feature = "dlgm")]
        Opcode::RankOne => {
            moved(arena, a, y);
            if let Some((v, out)) = apart(arena, b, y) {
                let len = (b.len as usize, y.len as usize);
                let (v, out) = (v.get(..len.0).unwrap_or_default(), out.get_mut(..len.1).unwrap_or_default());
                crate::rank_one::rotate(out, v, frac(b));
            }
        }
        #[cfg(feature = "flow")]
        Opcode::Planar | Opcode::Radial => {
            moved(arena, a, y);
            if let Some((params, z)) = apart(arena, b, y) {
                let len = (b.len as usize, y.len as usize);
                let (params, z) = (params.get(..len.0).unwrap_or_default(), z.get_mut(..len.1).unwrap_or_default());
                let flow = if op.opcode == Opcode::Planar { crate::flow::planar } else { crate::flow::radial };
                let log_det = flow(z, frac(y), params, frac(b), op.param != 0);
                write_scalar(arena, c, 0, log_det);
            }
        }
        #[cfg(feature = "flow")]
        Opcode::Couplings => {
            let matrices = |at: u16| scope.dense_matrix(op.arg.checked_add(at)?);
            let stack = crate::coupling::CouplingStack::unpack(op.imm, op.param);
            if let (Some(stack), Some((x, out))) = (stack, apart(arena, a, y)) {
                let len = (a.len as usize, y.len as usize);
                let (x, out) = (x.get(..len.0).unwrap_or_default(), out.get_mut(..len.1).unwrap_or_default());
                let log_det = crate::flow::couple(stack, matrices, (x, frac(a)), (out, frac(y)));
                write_scalar(arena, c, 0, log_det.unwrap_or_default());
            }
        }
        #[cfg(feature = "conv")]
        Opcode::Conv => {
            let ranges = [a, c, y].map(|tensor| range(tensor.offset, tensor.len));
            if let Ok([x, scratch, out]) = arena.get_disjoint_mut(ranges) {
                let matrices = |phase: usize| scope.dense_matrix(op.arg.checked_add(phase as u16)?);
                kernel::conv(x, kernel::ConvGeometry::unpack(op.imm, op.param), matrices, scratch, out);
            }
        }
        _ => {
            let [va, vb, vc] = inputs.each_ref().map(|tensor| vector(arena, tensor).unwrap_or_default());
            let scalars = (0..a.len).map(|i| read_scalar(arena, a, i));
            let [first, second] = [a, b].map(|tensor| read_scalar(arena, tensor, 0));
            let nats = match op.opcode {
                Opcode::Offset => first.wrapping_add(i64::from(op.imm as i32)),
                Opcode::Add => first.wrapping_add(second),
                Opcode::Sub => first.wrapping_sub(second),
                Opcode::Neg => first.wrapping_neg(),
                Opcode::BernoulliNll => density::bernoulli_nll(va, frac(a), vb, frac(b)),
                Opcode::GaussianNll => density::gaussian_nll(va, vb, frac(b), vc, frac(c)),
                Opcode::Kl => density::kl(va, frac(a), vb, frac(b)),
                Opcode::HalfSumSq => density::half_sum_sq(va, frac(a)),
                Opcode::Sum => density::sum(va, read),
                #[cfg(feature = "dlgm")]
                Opcode::HalfLogDet => crate::rank_one::half_log_det(va, frac(a)),
                #[cfg(feature = "dlgm")]
                Opcode::RankOneKl => crate::rank_one::kl_correction(va, frac(a), vb, frac(b)),
                #[cfg(feature = "logistic")]
                Opcode::LogisticNll => density::logistic_nll(va, vb, frac(b), vc, frac(c)),
                #[cfg(feature = "adgm")]
                Opcode::FreeEnergy => crate::categorical::free_energy(scalars, vb, frac(b)),
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
    let matrix = scope.dense_matrix(op.arg)?;
    let (x, out) = apart(arena, a, y)?;
    kernel::dense(&matrix, x, out);
    Some(())
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

/// The element at `offset + i` of the arena.
#[inline(always)]
fn at(arena: &[i16], offset: u32, i: u32) -> i32 {
    i32::from(arena.get(offset.wrapping_add(i) as usize).copied().unwrap_or(0))
}

/// Writes the element at `offset + i` of the arena, saturated.
#[inline(always)]
fn put(arena: &mut [i16], offset: u32, i: u32, value: i32) {
    if let Some(out) = arena.get_mut(offset.wrapping_add(i) as usize) {
        *out = value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

/// Copies `len` elements, each rounded half up by `shift` bits.
#[inline(never)]
fn copy(arena: &mut [i16], from: u32, len: u32, to: u32, shift: u32) {
    let shift = shift.min(15);
    let half = (1i32 << shift) >> 1;
    for i in 0..len {
        let q = (at(arena, from, i) + half) >> shift;
        put(arena, to, i, q);
    }
}

/// y = a b + c, a b, a + b or a - b, aligned at one scale and rounded half up once.
#[inline(never)]
fn elements(arena: &mut [i16], opcode: Opcode, inputs: &[Tensor; 3], y: &Tensor) {
    let [a, b, c] = inputs;
    let frac = element_frac(opcode, [u32::from(a.frac), u32::from(b.frac)]);
    let align = |tensor: &Tensor| frac.saturating_sub(u32::from(tensor.frac)).min(31);
    let shift = frac.saturating_sub(u32::from(y.frac)).min(31);
    let half = (1i32 << shift) >> 1;
    // One loop for all: a sum is a product with a power of two, and a product adds nothing.
    let (product, third, sign) = match opcode {
        Opcode::Fma => (true, c, 1),
        Opcode::Mul => (true, b, 0),
        Opcode::AddVec => (false, b, 1),
        _ => (false, b, -1),
    };
    let (unit, third_unit) = (1i32 << align(a), sign << align(third));
    for i in 0..y.len {
        let factor = if product { at(arena, b.offset, i) } else { unit };
        let sum = at(arena, a.offset, i).wrapping_mul(factor);
        let sum = sum.wrapping_add(at(arena, third.offset, i).wrapping_mul(third_unit));
        put(arena, y.offset, i, sum.wrapping_add(half) >> shift);
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
