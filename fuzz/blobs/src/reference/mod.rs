//! An interpreter of its own, written from `docs/blob-format.md`. It shares no arithmetic, bound or decoder with the
//! runtime, computes integers in 128 bits and everything else in intervals of floating-point numbers, and gives every
//! tensor memory of its own.
//!
//! It follows a run of the runtime operation by operation. After each one it compares what the operation wrote with
//! what the definition gives: bit for bit if the definition is exact, otherwise within the stated error. It then checks
//! that every number lies within the bound that the blob declares. A rounded result is taken over, so that the next
//! operation is judged by its own error alone.

mod definition;
mod integer;
mod interval;
mod records;
mod transport;

use crate::mutate::Random;
use definition::Expected;
use elbo::program::{NO_TENSOR, Opcode};
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Model, Noise, ProgramKind};
use integer::Vector;
use interval::Near;
use rand_core::{Rng, SeedableRng};
use records::{Blob, Operation, Program, Tensor};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

/// Inputs and noise of a checked run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Uniform inputs and normal noise: those of [`run`](crate::run()).
    Usual,
    /// Inputs and noise at their limits, chosen by this number.
    Extreme(u64),
    /// Every element of the first input has this value, and everything else the opposite one.
    Level(i16),
}

/// How many tensors were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Tensors whose elements equal the definition's.
    pub exact: u64,
    /// Tensors whose elements are within the stated error of the definition.
    pub rounded: u64,
}

impl Checked {
    /// Adds the tensors of another run.
    pub fn join(&mut self, other: &Self) {
        self.exact += other.exact;
        self.rounded += other.rounded;
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exact, rounded } = self;
        write!(
            f,
            "tensors within their bounds: {exact} equal the independent interpreter's, {rounded} are within the error"
        )
    }
}

/// Runs every program of a valid blob of words and checks every tensor that it writes. `memory` is as for
/// [`run`](crate::run()), which must have found it large enough.
///
/// # Panics
/// If a tensor differs from its definition or exceeds its bound; if the programs follow another path; if the blob is
/// not valid or the memory too small.
pub fn check(words: &[u32], memory: &mut [i16], given: Given) -> Checked {
    check_through(words, memory, given, |_, _, arena, show| show(arena))
}

/// Like [`check`], but the interpreter sees of the runtime's arena what `lens` shows it. `lens` receives the kind of the
/// program, the index of the operation that was run, and the arena. For tests of this check.
///
/// # Panics
/// Those of [`check`].
pub fn check_through(
    words: &[u32],
    memory: &mut [i16],
    given: Given,
    mut lens: impl FnMut(ProgramKind, usize, &[i16], &mut dyn FnMut(&[i16])),
) -> Checked {
    let model = Model::load(bytemuck::cast_slice(words), Limits { max_work: u64::MAX }).expect("a valid blob");
    let (arena, _) = memory.split_at_mut(model.arena_len().next_multiple_of(4));
    let blob = Blob::new(words);
    let mut session = model.session(arena).expect("the arena is large enough and aligned");
    let mut checked = Checked::default();
    for program in blob.programs() {
        let kind = ProgramKind::from_code(program.kind).expect("a known kind");
        let signature = kind.signature();
        let seen = RefCell::default();
        let mut noise = Draws { given, rng: Xoshiro128PlusPlus::seed_from_u64(kind as u64), seen: &seen };
        let tensor = |reference: u16| blob.tensor(program.tensor + usize::from(reference));
        let inputs: Vec<Vec<i16>> = program.inputs[..usize::from(signature.inputs)]
            .iter()
            .enumerate()
            .map(|(slot, &input)| (0..tensor(input).len).map(|_| noise.input(slot)).collect())
            .collect();
        let mut outputs: Vec<Vec<i16>> = program.outputs[..usize::from(signature.vectors)]
            .iter()
            .map(|&output| vec![0; tensor(output).len])
            .collect();
        let mut replay = Replay::new(blob, program, kind, &inputs);
        let nats = {
            let inputs: Vec<&[i16]> = inputs.iter().map(Vec::as_slice).collect();
            let mut outputs: Vec<&mut [i16]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            let observe = |index: usize, arena: &[i16]| {
                lens(kind, index, arena, &mut |arena| replay.step(index, arena, &seen));
            };
            session.run_observed(kind, &inputs, &mut outputs, &mut noise, observe).expect("a program that runs")
        };
        replay.end(&outputs, signature.scalar.then(|| nats.to_bits()));
        checked.join(&replay.checked);
    }
    checked
}

/// The draws that a [`Replay`] has not yet seen.
type Seen = RefCell<VecDeque<i16>>;

/// The inputs and the noise of a run.
struct Draws<'s> {
    given: Given,
    rng: Xoshiro128PlusPlus,
    seen: &'s Seen,
}

impl Draws<'_> {
    fn input(&mut self, slot: usize) -> i16 {
        let usual = (self.rng.next_u32() >> 16) as i16;
        match &mut self.given {
            Given::Usual => usual,
            Given::Extreme(state) => extreme(state, usual),
            Given::Level(q) => {
                if slot == 0 {
                    *q
                } else {
                    !*q
                }
            }
        }
    }
}

/// A number that is more often than not at a limit.
fn extreme(state: &mut u64, usual: i16) -> i16 {
    let mut random = Random(*state);
    let choice = random.below(16);
    *state = random.0;
    *[i16::MIN, i16::MAX, i16::MIN, i16::MAX, i16::MIN, i16::MAX, 0, 1, -1, 2, 255, 4096].get(choice).unwrap_or(&usual)
}

impl Noise for Draws<'_> {
    fn normal(&mut self, out: &mut [i16]) {
        match &mut self.given {
            Given::Usual => self.rng.normal(out),
            Given::Extreme(state) => out.fill_with(|| extreme(state, 300)),
            Given::Level(q) => out.fill(!*q),
        }
        self.seen.borrow_mut().extend(out.iter().copied());
    }
}

/// The state of a program.
struct Replay<'w> {
    blob: Blob<'w>,
    program: Program,
    kind: ProgramKind,
    values: Vec<Vec<i64>>,
    next: usize,
    /// The open loops: the index of each one's `Loop`, and its iteration.
    loops: Vec<(usize, usize)>,
    checked: Checked,
}

impl<'w> Replay<'w> {
    fn new(blob: Blob<'w>, program: Program, kind: ProgramKind, inputs: &[Vec<i16>]) -> Self {
        let mut values: Vec<Vec<i64>> =
            (0..program.tensors).map(|index| vec![0; blob.tensor(program.tensor + index).len]).collect();
        for (&reference, input) in program.inputs.iter().zip(inputs) {
            let bound = i64::from(blob.tensor(program.tensor + usize::from(reference)).bound);
            values[usize::from(reference)] = input.iter().map(|&q| i64::from(q).clamp(-bound, bound)).collect();
        }
        Self { blob, program, kind, values, next: 0, loops: Vec::new(), checked: Checked::default() }
    }

    fn tensor(&self, reference: u16) -> Tensor {
        self.blob.tensor(self.program.tensor + usize::from(reference))
    }

    fn q(&self, reference: u16) -> &[i64] {
        &self.values[usize::from(reference)]
    }

    fn vector(&self, reference: u16) -> Vector<'_> {
        Vector { q: self.q(reference), frac: self.tensor(reference).frac }
    }

    /// Follows one operation of the runtime.
    fn step(&mut self, index: usize, arena: &[i16], noise: &Seen) {
        assert_eq!(index, self.next, "{:?}: the runtime takes another path", self.kind);
        let operation = self.blob.operation(self.program.first + index);
        self.next += 1;
        if operation.opcode == Opcode::Loop {
            return self.loops.push((index, 0));
        } else if operation.opcode == Opcode::End {
            return self.close(operation, arena);
        }
        let (output, extra) = self.evaluate(operation, noise);
        let exact = operation.opcode.error().is_none();
        assert_eq!(exact, matches!(output, Expected::Exactly(_)), "{:?}: its stated error", operation.opcode);
        self.compare(operation, operation.output, output, arena);
        if let Some(extra) = extra {
            self.compare(operation, operation.inputs[2], extra, arena);
        }
    }

    /// Stores the result of an iteration, and starts the next.
    fn close(&mut self, end: Operation, arena: &[i16]) {
        let (start, iteration) = *self.loops.last().expect("an open loop");
        let opening = self.blob.operation(self.program.first + start);
        let value = self.q(end.inputs[0]).to_vec();
        let at = iteration * value.len();
        let collected = &mut self.values[usize::from(opening.output)];
        collected[at..at + value.len()].copy_from_slice(&value);
        let expected = collected[..at + value.len()].to_vec();
        self.compare(end, opening.output, Expected::Exactly(expected), arena);
        if iteration + 1 < opening.imm as usize {
            *self.loops.last_mut().expect("an open loop") = (start, iteration + 1);
            self.next = start + 1;
        } else {
            self.loops.pop();
        }
    }

    /// Compares what the runtime wrote with what is expected, checks its bound, and takes it over.
    fn compare(&mut self, operation: Operation, reference: u16, expected: Expected, arena: &[i16]) {
        let tensor = self.tensor(reference);
        let got = tensor.read(arena);
        let name = || format!("{:?}, operation {}, {:?}", self.kind, self.next, operation.opcode);
        let written = match &expected {
            Expected::Exactly(values) => {
                for (i, (got, want)) in got.iter().zip(values).enumerate() {
                    assert_eq!(got, want, "{}: element {i} of {}", name(), values.len());
                }
                self.checked.exact += 1;
                values.len()
            }
            Expected::Near(values) => {
                for (i, (got, near)) in got.iter().zip(values).enumerate() {
                    let rest = (i128::from(*got) - i128::from(near.base)) as f64;
                    let Near { base, rest: range } = near;
                    assert!(range.contains(rest), "{}: element {i} is {got}, not {base} + {range:?}", name());
                }
                self.checked.rounded += 1;
                values.len()
            }
            Expected::Anything => return,
        };
        // A loop's vector is complete only after its last iteration.
        assert!(written == tensor.len || operation.opcode == Opcode::End, "{}: {written} elements", name());
        let most = if tensor.nats { 1i128 << tensor.bound } else { tensor.bound.into() };
        for (i, got) in got[..written].iter().enumerate() {
            assert!(i128::from(*got).abs() <= most, "{}: element {i} is {got}, beyond its bound {most}", name());
        }
        self.values[usize::from(reference)][..written].copy_from_slice(&got[..written]);
    }

    /// What an operation writes, and what it writes into a second tensor.
    fn evaluate(&self, operation: Operation, noise: &Seen) -> (Expected, Option<Expected>) {
        let operand = |reference: u16| {
            if reference == NO_TENSOR { Vector::default() } else { self.vector(reference) }
        };
        let first = usize::from(operation.arg);
        definition::define(&definition::Given {
            operation,
            operands: operation.inputs.map(operand),
            y: self.tensor(operation.output),
            iteration: self.loops.last().map(|(_, iteration)| *iteration),
            matrices: &|count| (first..first + count).map(|index| self.blob.matrix(index)).collect(),
            draw: &|count| noise.borrow_mut().drain(..count).map(i64::from).collect(),
        })
    }

    /// Compares the results that the caller sees.
    fn end(&self, outputs: &[Vec<i16>], scalar: Option<i64>) {
        assert!(self.next == self.program.operations && self.loops.is_empty(), "{:?} ended early", self.kind);
        for (&reference, output) in self.program.outputs.iter().zip(outputs) {
            let output: Vec<i64> = output.iter().map(|&q| q.into()).collect();
            assert_eq!(output, self.q(reference), "{:?}: an output has changed since it was written", self.kind);
        }
        if let Some(nats) = scalar {
            let reference = self.program.outputs[outputs.len()];
            assert_eq!(&[nats], self.q(reference), "{:?}: the scalar has changed since it was written", self.kind);
        }
    }
}
