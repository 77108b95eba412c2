//! The proof: it checks once everything that is needed so that the interpreter cannot fail. It allocates no memory.
//!
//! Matrices come first: no accumulator may overflow for activations within the declared bound. Then every program is
//! checked. Its tensors lie in the arena, are written once before they are read, and share no memory while alive. The
//! operands of every operation fit, and the declared bound of the result is the one that follows from them. Loops are
//! nested, and the work is the declared amount.
//!
//! The time is linear in the length of the blob. Every record is checked once, because programs share no records. The
//! checks of which a record can need many, such as that of two tensors that are alive at the same time, are counted: see
//! [`Checks`].

mod loops;
mod matrices;

use core::cell::Cell;

use crate::blob::Blob;
use crate::error::LoadError;
use crate::ops::Count;
use crate::ops::bounds::{OperandError, prove};
use crate::ops::record::{Operand, TensorRecord};
use crate::ops::scope::Scope;
use crate::program::{Extra, MAX_TENSOR_LEN, NO_TENSOR, Op, Opcode, ProgramKind, ProgramRecord, Signature, TensorKind};
use loops::Loops;
use matrices::verify_matrices;

/// What was proved of a blob's programs. It lies in RAM, so that a change of the flash does not change it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    /// Halfwords of arena that the programs need.
    pub arena_len: u32,
    /// Elementary steps of one run of the program of each kind, in the order of their codes; 0 if there is none. A run
    /// counts as many as the machine's word holds.
    work: [usize; ProgramKind::ALL.len()],
}

impl Proof {
    /// Nothing is proved. The compiler does not know that the numbers are zeros, because it would call `memset`.
    pub fn none() -> Self {
        Self { arena_len: 0, work: [core::hint::black_box(0); ProgramKind::ALL.len()] }
    }

    /// Elementary steps of one run of the program of a kind; 0 if there is none.
    #[inline]
    pub fn work(&self, kind: ProgramKind) -> usize {
        self.work.get(kind as usize - 1).copied().unwrap_or_default()
    }
}

/// Proves every matrix and program of `blob`.
///
/// # Errors
/// The first fault. `max_work` limits the elementary steps of one run of every program. `proof` is complete only if
/// there is no fault.
#[inline(never)]
pub(crate) fn verify(blob: &Blob<'_>, max_work: u64, proof: &mut Proof) -> Result<(), LoadError> {
    let programs = blob.programs();
    verify_matrices(blob)?;
    let (checks, arena_len) = (Checks::of(blob), blob.arena_len());
    let (mut seen, mut ops_end, mut tensors_end) = (0u32, 0, 0);
    for index in 0..blob.program_count() {
        let program = index as u16;
        let record = ProgramRecord::read(programs, index);
        let kind = ProgramKind::from_code(record.kind).filter(|kind| seen & 1 << *kind as u32 == 0);
        let kind = kind.ok_or(LoadError::ProgramKind { program })?;
        seen |= 1 << kind as u32;
        let signature = kind.signature();
        // More work than the caller can afford needs no proof.
        let declared = usize::try_from(record.work).ok().filter(|_| record.work <= max_work);
        let declared = declared.ok_or(LoadError::TooMuchWork { program })?;
        let scope = blob.scope(&record).filter(|_| record.ops_start == ops_end && record.tensors_start == tensors_end);
        let scope = scope.ok_or(LoadError::ProgramRange { program })?;
        (ops_end, tensors_end) = (ops_end + record.ops_len, tensors_end + record.tensors_len);
        scope.verify_signature(&record, signature).ok_or(LoadError::Signature { program })?;
        proof.arena_len = proof.arena_len.max(scope.verify_tensors(&record, arena_len)?);
        let mut cost = Count::default();
        let proved =
            scope.verify_overlaps(&checks).and_then(|()| scope.verify_ops(signature.noise, &checks, &mut cost));
        // A check that could not be made proves nothing, whatever follows from it.
        if checks.exhausted() {
            return Err(LoadError::TooManyChecks { program });
        }
        proved?;
        // A saturated sum proves nothing.
        if cost.work != declared || cost.macs as u64 != record.macs || cost.work == usize::MAX {
            return Err(LoadError::Work { program });
        }
        if let Some(proved) = proof.work.get_mut(kind as usize - 1) {
            *proved = declared;
        }
    }
    Ok(())
}

/// The number of checks that may still be made, for checks of which one record can need many.
///
/// A blob may need [`Checks::PER_WORD`] of them for each of its words. This is enough for 64 tensors that are alive at
/// the same time as any other, and for a program of every kind whose couplings read the same matrices of one weight.
struct Checks {
    left: Cell<usize>,
}

impl Checks {
    const PER_WORD: usize = 8;
    /// The number of checks that reading a matrix counts as, because it takes longer than comparing two tensors.
    const MATRIX: usize = 8;

    fn of(blob: &Blob<'_>) -> Self {
        Self { left: Cell::new(blob.len().saturating_mul(Self::PER_WORD)) }
    }

    /// Counts `count` checks, or returns `None` if there are not that many left.
    #[inline]
    fn spend(&self, count: usize) -> Option<()> {
        let left = self.left.get().checked_sub(count);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ())
    }

    fn exhausted(&self) -> bool {
        self.left.get() == 0
    }
}

impl Scope<'_> {
    fn verify_signature(&self, record: &ProgramRecord, signature: Signature) -> Option<()> {
        let past_the_end = self.op_count() as u16 + 1;
        let ([a, b], [c, d]) = (record.inputs, record.outputs);
        let mut holds = a != b || b == NO_TENSOR;
        for (reference, slot) in [a, b].into_iter().zip(0..) {
            let t = self.tensor(reference);
            holds &= if slot < signature.inputs {
                t.kind_code() == TensorKind::I16 as u32 && t.first() == 0
            } else {
                reference == NO_TENSOR
            };
        }
        for (reference, slot) in [c, d].into_iter().zip(0..) {
            let t = self.tensor(reference);
            holds &= if slot < signature.vectors {
                t.kind_code() == TensorKind::I16 as u32 && t.last() == past_the_end
            } else if slot < signature.outputs() {
                t.kind_code() == TensorKind::Nats as u32 && t.len() == 1 && t.last() == past_the_end
            } else {
                reference == NO_TENSOR
            };
        }
        holds.then_some(())
    }

    /// Checks every tensor and returns the halfwords of arena that they take, which are at most `declared`.
    fn verify_tensors(&self, record: &ProgramRecord, declared: u32) -> Result<u32, LoadError> {
        let (mut arena_len, mut previous) = (0, 0);
        for (index, words) in self.tensors.iter().enumerate() {
            let tensor = self.tensors_start.wrapping_add(index as u16);
            let t = Operand(words);
            if !t.in_range() || !(1..=MAX_TENSOR_LEN).contains(&t.len()) {
                return Err(LoadError::Tensor { tensor });
            }
            let end = t.offset().checked_add((t.halfwords() + 3) & !3).filter(|end| *end <= declared);
            let end = end.filter(|_| t.offset().is_multiple_of(4)).ok_or(LoadError::TensorPlace { tensor })?;
            arena_len = arena_len.max(end);
            let written = match usize::from(t.first()).checked_sub(1) {
                None => record.inputs.contains(&(index as u16)),
                Some(op) => Op::record_writes(self.ops, op, index as u16),
            };
            // In the order in which they are written, so that the tensors alive at the same time follow each other.
            if !written || t.first() < previous || t.first() > t.last() || usize::from(t.last()) > self.op_count() + 1 {
                return Err(LoadError::Lifetime { tensor });
            }
            previous = t.first();
        }
        Ok(arena_len)
    }

    /// Checks that tensors that are alive at the same time share no memory.
    fn verify_overlaps(&self, checks: &Checks) -> Result<(), LoadError> {
        let mut records = self.tensors;
        let mut tensor = self.tensors_start;
        while let [record, later @ ..] = records {
            let (alive, overlaps) = self.overlaps(Operand(record), later);
            if overlaps {
                return Err(LoadError::Overlap { tensor, with: tensor.wrapping_add(alive as u16) });
            }
            // What is found after more comparisons than are allowed does not matter.
            if checks.spend(alive).is_none() {
                break;
            }
            (records, tensor) = (later, tensor.wrapping_add(1));
        }
        Ok(())
    }

    /// The number of `later` tensors that are alive at the same time as `old`, up to the first that shares memory with it,
    /// and whether there is one. All lie in the arena, at multiples of four.
    #[inline(never)]
    fn overlaps(&self, old: Operand<'_>, later: &[TensorRecord]) -> (usize, bool) {
        let (start, last_read) = (old.offset(), old.last());
        let end = start.wrapping_add(old.halfwords());
        let mut alive = 0;
        for new in later.iter().map(Operand).take_while(|new| new.first() <= last_read) {
            alive += 1;
            if new.offset() < end && start < new.offset().wrapping_add(new.halfwords()) && !self.replaces(old, new) {
                return (alive, true);
            }
        }
        (alive, false)
    }

    /// Whether tensor `new` takes exactly the place of tensor `old` in the operation that reads `old` last.
    #[inline(never)]
    fn replaces(&self, old: Operand<'_>, new: Operand<'_>) -> bool {
        let same_place = old.kind_code() == new.kind_code() && old.offset() == new.offset() && old.len() == new.len();
        let in_place = |op: usize| Op::record_in_place(self.ops, op);
        same_place
            && old.last() == new.first()
            && old.first() < new.first()
            && usize::from(new.first()).checked_sub(1).is_some_and(in_place)
    }

    /// Checks every operation of a program that may draw noise if `draws`. Adds the cost of a run to `run`.
    fn verify_ops(&self, draws: bool, checks: &Checks, run: &mut Count) -> Result<(), LoadError> {
        let mut loops = Loops::none(self.ops);
        for index in 0..self.op_count() {
            self.verify_op(index, draws, &mut loops, checks, run)?;
        }
        if loops.start != 0 {
            return Err(LoadError::Loop { op: self.ops_start.wrapping_add(loops.start - 1) });
        }
        Ok(())
    }

    /// Checks an operation and adds the cost of all its executions to `run`.
    fn verify_op(
        &self,
        index: usize,
        draws: bool,
        loops: &mut Loops<'_>,
        checks: &Checks,
        run: &mut Count,
    ) -> Result<(), LoadError> {
        let (op, here) = (self.ops_start.wrapping_add(index as u16), index as u16 + 1);
        let mut step = self.step(index);
        let rules = step.op.opcode.rules();
        require(step.op.param == 0 || rules.uses_param(), LoadError::Operation { op })?;
        require(step.op.arg == 0 || rules.uses_arg(), LoadError::Operation { op })?;
        require(step.op.imm == 0 || rules.uses_imm(), LoadError::Operation { op })?;
        require(step.op.opcode != Opcode::Invalid, LoadError::Operation { op })?;
        require(step.op.opcode.included(), LoadError::Unsupported { op })?;
        require(!rules.draws_noise() || draws, LoadError::Noise { op })?;

        for (&tensor, input) in step.op.inputs.iter().zip(&step.tensors).take(rules.inputs()) {
            // A tensor that does not exist is never alive.
            if input.first() >= here || here > input.last() {
                return Err(if self.exists(tensor) { LoadError::NotAlive { op } } else { LoadError::Operand { op } });
            }
            let until = loops.read_until(input.first()).ok_or(LoadError::NotAlive { op })?;
            require(input.last() >= until, self.lifetime(tensor))?;
        }
        let [a, b, c] = step.op.inputs;
        require(rules.inputs() > 0 || a == NO_TENSOR, LoadError::Operation { op })?;
        require(rules.inputs() > 1 || b == NO_TENSOR, LoadError::Operation { op })?;
        if rules.writes_extra() {
            require(step.c().first() == here && c != step.op.output, LoadError::Operand { op })?;
            // Scratch is not filled completely, so reading it could reveal what the arena held before.
            let last = if rules.extra() == Extra::Scratch { here } else { loops.end };
            require(step.c().last() <= last, self.lifetime(c))?;
        } else {
            require(rules.inputs() > 2 || c == NO_TENSOR, LoadError::Operation { op })?;
        }
        if rules.only_in_loop() {
            require(loops.start != 0, LoadError::Loop { op })?;
        }

        // The repeat count that applies to this operation: before a `Loop` opens and after an `End` closes one.
        let repeat = loops.repeat;
        let mut written = step.op.output;
        // What is written inside a loop must die inside it.
        let (mut earliest, mut latest) = (0, loops.end);
        if step.op.opcode == Opcode::Loop {
            require(usize::from(step.op.arg) <= self.op_count(), LoadError::Loop { op })?;
            loops.open(here).ok_or(LoadError::Loop { op })?;
            // Every iteration writes a part of the loop's output.
            earliest = step.op.arg;
        } else if step.op.opcode == Opcode::End {
            require(step.op.output == NO_TENSOR, LoadError::Operand { op })?;
            let (output, iterations) = loops.close(here).ok_or(LoadError::Loop { op })?;
            written = output;
            require(self.exists(written), LoadError::Operand { op })?;
            step.tensors[3] = self.tensor(written);
            (earliest, latest) = (here, u16::MAX);
            let slots = u64::from(step.a().len()) * u64::from(iterations);
            require(slots == u64::from(step.y().len()), LoadError::Shape { op })?;
        }
        require(step.op.opcode == Opcode::End || step.y().first() == here, LoadError::Operand { op })?;
        require(earliest <= step.y().last() && step.y().last() <= latest, self.lifetime(written))?;
        let matrices = |index: u16| checks.spend(Checks::MATRIX).and_then(|()| self.matrix(index));
        let mut cost = step.steps();
        let bound = prove(&step, &matrices, &mut cost).result().map_err(|error| match error {
            OperandError::Kind => LoadError::Operand { op },
            OperandError::Shape => LoadError::Shape { op },
            OperandError::Scale => LoadError::Scale { op },
            OperandError::Bound => LoadError::Bound { op },
        })?;
        // A tensor of nats that declares it is in range.
        require(bound == step.y().bound(), LoadError::Bound { op })?;
        require(!rules.writes_extra() || step.op.opcode.extra_bound() == step.c().bound(), LoadError::Bound { op })?;

        run.add(cost.times(repeat));
        Ok(())
    }

    fn exists(&self, tensor: u16) -> bool {
        usize::from(tensor) < self.tensor_count()
    }

    fn lifetime(&self, tensor: u16) -> LoadError {
        LoadError::Lifetime { tensor: self.tensors_start.wrapping_add(tensor) }
    }
}

fn require(holds: bool, otherwise: LoadError) -> Result<(), LoadError> {
    if holds { Ok(()) } else { Err(otherwise) }
}
