//! The interpreter runs a verified program over the arena. It has no code that panics.
//!
//! The proof holds for the blob as it was read. If the flash changes afterwards, records still decode to some value and
//! accesses are still checked. The proved work of a program lies in RAM, and every step is paid from it before it is
//! done, by the lengths that it really goes through. A changed program therefore gives wrong numbers at worst, and
//! ends with [`SessionError::Changed`] if its work is not what was proved.

use crate::Model;
use crate::error::SessionError;
use crate::nats::Nats;
use crate::noise::{Noise, Silence};
use crate::ops;
use crate::ops::machine::{Machine, read_scalar, vector, vector_mut};
use crate::ops::record::Operand;
use crate::ops::scope::Scope;
use crate::program::ProgramKind;

/// A verified model with the memory to run it.
///
/// A call is refused if its arguments do not fit the program, before anything is written. Besides the errors that it
/// names, every call can end with [`SessionError::Changed`] if the blob's memory has changed since the model was loaded.
///
/// The memory keeps the last input, and what was computed from it: see [`Session::wipe`].
#[derive(Debug)]
pub struct Session<'b, 'a> {
    model: Model<'b>,
    arena: &'a mut [i16],
    steps: usize,
}

impl<'b> Model<'b> {
    /// Creates a session over `arena`. Its previous contents have no effect and are overwritten.
    ///
    /// # Errors
    /// [`SessionError::ArenaTooSmall`], [`SessionError::ArenaMisaligned`].
    pub fn session<'a>(&self, arena: &'a mut [i16]) -> Result<Session<'b, 'a>, SessionError> {
        Session::new(self, arena)
    }
}

impl<'b, 'a> Session<'b, 'a> {
    fn new(model: &Model<'b>, arena: &'a mut [i16]) -> Result<Self, SessionError> {
        let (needed, given) = (model.arena_len(), arena.len());
        if given < needed {
            return Err(SessionError::ArenaTooSmall { needed, given });
        }
        if !arena.as_ptr().addr().is_multiple_of(8) {
            return Err(SessionError::ArenaMisaligned);
        }
        Ok(Self { model: model.in_parts(), arena, steps: 0 })
    }

    /// The model that this session runs.
    pub fn model(&self) -> &Model<'b> {
        &self.model
    }

    /// Overwrites the whole arena with zeros. A session does not do so by itself: after a run, and after its end, the
    /// arena holds the last input and what was computed from it. Call this where inputs are confidential, after a run or
    /// before the memory is used for something else.
    pub fn wipe(&mut self) {
        self.arena.fill(0);
        // Otherwise the compiler may leave out stores to memory that is not read again.
        core::hint::black_box(&mut *self.arena);
    }

    /// Elementary steps of the last run. They equal [`ProgramInfo::work`](crate::ProgramInfo::work), or are fewer if the run
    /// ended with [`SessionError::Changed`].
    pub fn steps(&self) -> u64 {
        self.steps as u64
    }

    /// Draws a latent from the prior and decodes it. `out` receives the mean of the likelihood, at the scale that
    /// [`ProgramInfo`](crate::ProgramInfo) states (Q15 probabilities for Bernoulli pixels).
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::OutputLength`].
    pub fn sample(&mut self, noise: &mut impl Noise, out: &mut [i16]) -> Result<(), SessionError> {
        self.run(ProgramKind::Sample, &[], &mut [out], noise).map(|_| ())
    }

    /// Like [`Session::sample`], for one class.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::NoSuchClass`], [`SessionError::OutputLength`].
    pub fn sample_class(&mut self, class: usize, noise: &mut impl Noise, out: &mut [i16]) -> Result<(), SessionError> {
        self.call(ProgramKind::SampleClass, Given::Class(class), &mut [out], noise).map(|_| ())
    }

    /// Draws x and returns its exact negative log-density -log q(x).
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

    /// Computes the latent that [`Session::decode`] maps to `x`, for a flow.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`].
    pub fn invert(&mut self, x: &[i16], z: &mut [i16]) -> Result<(), SessionError> {
        self.run(ProgramKind::Invert, &[x], &mut [z], &mut Silence).map(|_| ())
    }

    /// Computes the posterior's mean and log-variance for the input `x`, which is clamped to the declared range.
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

    /// Fills in the missing elements of `x`. Where `mask` is positive, `x` is observed and kept; the other elements are
    /// drawn.
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

    /// Computes the probability of every class for the input `x`, in Q15.
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

    /// Returns how unlikely `x` is, without noise; a higher score is more anomalous. This is -ELBO with the latent at
    /// the posterior's mean, the exact -log p(x) of a flow, or the negated critic of a generative adversarial network,
    /// whose scale is arbitrary.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score(&mut self, x: &[i16]) -> Result<Nats, SessionError> {
        self.run(ProgramKind::Score, &[x], &mut [], &mut Silence)
    }

    /// Returns -ELBO of `x`, averaged over the number of latent draws that the model was compiled for.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score_monte_carlo(&mut self, x: &[i16], noise: &mut impl Noise) -> Result<Nats, SessionError> {
        self.run(ProgramKind::ScoreMonteCarlo, &[x], &mut [], noise)
    }

    /// Returns the importance-weighted bound on -log p(x) with the number of latent draws that the model was compiled
    /// for (Burda et al., arXiv 1509.00519, equation 8).
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`].
    pub fn score_importance(&mut self, x: &[i16], noise: &mut impl Noise) -> Result<Nats, SessionError> {
        self.run(ProgramKind::ScoreImportance, &[x], &mut [], noise)
    }

    /// Runs any program. The input vectors are clamped to their declared ranges. The lengths of inputs and outputs
    /// follow from the [`Signature`](crate::program::Signature) of the kind. Returns the program's scalar, or 0 if it
    /// has none.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], [`SessionError::OutputLength`]. A missing vector
    /// counts as an empty one.
    pub fn run(
        &mut self,
        kind: ProgramKind,
        inputs: &[&[i16]],
        outputs: &mut [&mut [i16]],
        noise: &mut dyn Noise,
    ) -> Result<Nats, SessionError> {
        self.call(kind, Given::Vectors(inputs), outputs, noise)
    }

    /// Like [`run`](Self::run). After every operation it shows the operation's index, counted from 0, and the arena. For
    /// tests, which compare every tensor with an interpreter of their own.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    #[doc(hidden)]
    pub fn run_observed(
        &mut self,
        kind: ProgramKind,
        inputs: &[&[i16]],
        outputs: &mut [&mut [i16]],
        noise: &mut dyn Noise,
        observe: impl FnMut(usize, &[i16]),
    ) -> Result<Nats, SessionError> {
        self.call_observed(kind, Given::Vectors(inputs), outputs, noise, observe)
    }

    fn call(
        &mut self,
        kind: ProgramKind,
        given: Given<'_>,
        outputs: &mut [&mut [i16]],
        noise: &mut dyn Noise,
    ) -> Result<Nats, SessionError> {
        self.call_observed(kind, given, outputs, noise, |_, _| {})
    }

    #[inline(always)]
    fn call_observed(
        &mut self,
        kind: ProgramKind,
        given: Given<'_>,
        outputs: &mut [&mut [i16]],
        noise: &mut dyn Noise,
        observe: impl FnMut(usize, &[i16]),
    ) -> Result<Nats, SessionError> {
        let Some((record, scope)) = self.model.find(kind) else { return Err(SessionError::ProgramAbsent) };
        let signature = kind.signature();
        let vectors = usize::from(signature.vectors);
        for slot in 0..vectors {
            let expected = scope.tensor(record.output(slot)).len() as usize;
            let given = outputs.get(slot).map_or(0, |out| out.len());
            if expected != given {
                return Err(SessionError::OutputLength { expected, given });
            }
        }
        // Nothing is written before everything is checked.
        for slot in 0..usize::from(signature.inputs) {
            given.check(slot, scope.tensor(record.input(slot)).len() as usize)?;
        }
        for slot in 0..usize::from(signature.inputs) {
            self.write_input(scope.tensor(record.input(slot)), given, slot);
        }
        self.execute(self.model.work(kind), &scope, noise, observe)?;
        for (slot, out) in outputs.iter_mut().enumerate().take(vectors) {
            let values = vector(self.arena, scope.tensor(record.output(slot))).ok_or(SessionError::Changed)?;
            for (out, value) in out.iter_mut().zip(values) {
                *out = *value;
            }
        }
        let scalar = scope.tensor(record.output(vectors));
        Ok(Nats::from_bits(if signature.scalar { read_scalar(self.arena, scalar, 0) } else { 0 }))
    }

    /// Copies an input into the arena, clamped to the range that was proved.
    fn write_input(&mut self, tensor: Operand<'_>, given: Given<'_>, slot: usize) {
        let slots = vector_mut(self.arena, tensor).unwrap_or_default();
        let bound = i32::from(tensor.bound());
        match given {
            Given::Vectors(_) => {
                for (slot, &q) in slots.iter_mut().zip(given.vector(slot)) {
                    *slot = i32::from(q).clamp(-bound, bound) as i16;
                }
            }
            Given::Class(class) => {
                for (index, slot) in slots.iter_mut().enumerate() {
                    *slot = if index == class { bound.min(i32::from(i16::MAX)) as i16 } else { 0 };
                }
            }
        }
    }

    /// Runs a program. Every step is paid from the proved work before it is done.
    fn execute(
        &mut self,
        work: usize,
        scope: &Scope<'_>,
        noise: &mut dyn Noise,
        mut observe: impl FnMut(usize, &[i16]),
    ) -> Result<(), SessionError> {
        let mut budget = work;
        let mut machine = Machine::new(self.arena, scope, noise);
        while !machine.halted && machine.next < scope.op_count() {
            let mut step = scope.step(machine.next);
            // What is paid for is done, even if the flash changes in between.
            let records = step.tensors.map(|tensor| *tensor.0);
            step.tensors = records.each_ref().map(Operand);
            match budget.checked_sub(scope.cost(&step).work) {
                Some(left) => budget = left,
                None => break,
            }
            let index = machine.next;
            ops::run(&mut machine, &step);
            observe(index, machine.arena);
            machine.next += 1;
        }
        let ended = !machine.halted && machine.next >= scope.op_count() && budget == 0;
        self.steps = work - budget;
        if ended { Ok(()) } else { Err(SessionError::Changed) }
    }
}

/// An input that a caller passes to a program.
#[derive(Clone, Copy)]
enum Given<'x> {
    Vectors(&'x [&'x [i16]]),
    Class(usize),
}

impl<'x> Given<'x> {
    /// The vector for an input; empty if it is missing.
    fn vector(self, slot: usize) -> &'x [i16] {
        match self {
            Self::Vectors(inputs) => inputs.get(slot).copied().unwrap_or_default(),
            Self::Class(_) => &[],
        }
    }

    /// Whether it fits an input of `expected` elements.
    fn check(self, slot: usize, expected: usize) -> Result<(), SessionError> {
        match self {
            Self::Vectors(_) => {
                let given = self.vector(slot).len();
                if given == expected { Ok(()) } else { Err(SessionError::InputLength { expected, given }) }
            }
            Self::Class(class) if class < expected => Ok(()),
            Self::Class(class) => Err(SessionError::NoSuchClass { classes: expected, class }),
        }
    }
}
