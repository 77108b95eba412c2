//! Writing a program, operation by operation.

mod operations;

pub use operations::{nats, operation, vector};

use crate::error::WriteError;
use crate::lifetimes;
use crate::work::WorkCounter;
use alloc::vec::Vec;
use elbo::blob::MAX_RECORDS;
use elbo::bounds::{FULL, OperandError, output_bounds, scratch_len};
use elbo::program::{Extra, MAX_TENSOR_LEN, Matrix, NO_TENSOR, Op, Opcode, ProgramKind, Tensor, TensorKind};

/// A finished program.
///
/// Its tensors lie one after another in the arena. A memory planner may change their offsets to other multiples of four
/// halfwords, as long as no two tensors overlap that are alive at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The kind of the program.
    pub kind: ProgramKind,
    /// Its operations, in order.
    pub ops: Vec<Op>,
    /// Its tensors, with bounds, lifetimes and places.
    pub tensors: Vec<Tensor>,
    /// Input tensors.
    pub inputs: [u16; 2],
    /// Output tensors.
    pub outputs: [u16; 2],
    /// Elementary steps of a run, as the runtime counts them.
    pub work: u64,
    /// Multiply-accumulates of a run.
    pub macs: u64,
}

impl Program {
    /// Halfwords of the arena that it needs.
    pub fn arena_len(&self) -> u32 {
        self.tensors.iter().map(|tensor| tensor.offset.saturating_add(tensor.extent())).max().unwrap_or(0)
    }
}

/// Writes a program. A tensor is identified by a number, which counts from 0 in the order of creation.
#[derive(Clone, Debug)]
pub struct ProgramWriter<'m> {
    kind: ProgramKind,
    matrices: &'m [Matrix],
    ops: Vec<Op>,
    tensors: Vec<Tensor>,
    inputs: [u16; 2],
    outputs: [u16; 2],
    /// The open loops, innermost last: their outputs and the indices of their operations.
    open: Vec<(u16, usize)>,
    work: WorkCounter,
    /// First free halfword of the arena.
    free: u32,
    extra_first: bool,
}

impl<'m> ProgramWriter<'m> {
    /// Starts a program whose layers refer to `matrices` by index.
    pub fn new(kind: ProgramKind, matrices: &'m [Matrix]) -> Self {
        Self {
            kind,
            matrices,
            ops: Vec::new(),
            tensors: Vec::new(),
            inputs: [NO_TENSOR; 2],
            outputs: [NO_TENSOR; 2],
            open: Vec::new(),
            work: WorkCounter::default(),
            free: 0,
            extra_first: false,
        }
    }

    /// The kind of the program.
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// The operations appended so far.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The tensors created so far. Their lifetimes are not final.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The matrix with this index.
    pub fn matrix(&self, index: u16) -> Option<Matrix> {
        self.matrices.get(usize::from(index)).copied()
    }

    /// The second tensor that the operation with this `output` wrote: a log-determinant or scratch.
    pub fn extra_of(&self, output: u16) -> Option<u16> {
        let op = self.ops.iter().find(|op| op.output == output && op.opcode.writes_extra())?;
        op.inputs.last().copied()
    }

    /// Adds the next input of the program: `len` activations with `frac` fractional bits and a magnitude of at most
    /// `bound`.
    ///
    /// # Errors
    /// [`WriteError::Slots`] if there are too many inputs, [`WriteError::Tensor`] if a number is out of range.
    pub fn input(&mut self, len: u32, frac: u8, bound: u16) -> Result<u16, WriteError> {
        let tensor = Tensor { bound, ..vector(len, frac) };
        self.check_range(&tensor)?;
        if !(1..=FULL).contains(&bound) {
            return Err(WriteError::Tensor { tensor: self.tensors.len() });
        }
        self.check_room(&tensor, None)?;
        let slot = self.inputs.iter().position(|input| *input == NO_TENSOR).ok_or(WriteError::Slots)?;
        let reference = self.push(tensor, None);
        if let Some(input) = self.inputs.get_mut(slot) {
            *input = reference;
        }
        Ok(reference)
    }

    /// Declares the outputs of the program, vectors before the scalar.
    ///
    /// # Errors
    /// [`WriteError::Slots`] if there are more than two, or if one does not exist.
    pub fn outputs(&mut self, outputs: &[u16]) -> Result<(), WriteError> {
        let mut named = [NO_TENSOR; 2];
        for (place, output) in outputs.iter().enumerate() {
            let slot = named.get_mut(place).ok_or(WriteError::Slots)?;
            self.tensors.get(usize::from(*output)).ok_or(WriteError::Slots)?;
            *slot = *output;
        }
        self.outputs = named;
        Ok(())
    }

    /// From now on, the second tensor of an operation is created before its output instead of after it. This changes
    /// only the numbers and places of tensors.
    pub fn extra_first(&mut self) {
        self.extra_first = true;
    }

    /// The second tensor that `op` writes, if there is one.
    fn extra(&self, op: &Op) -> Result<Option<Tensor>, WriteError> {
        match op.opcode.rules().extra() {
            Extra::None => Ok(None),
            Extra::LogDet => Ok(Some(nats(1))),
            Extra::Scratch => {
                let [image, ..] = self.operands(op);
                let len = scratch_len(op, &|index| self.matrix(index));
                let len = len.ok_or_else(|| self.refused(op.opcode, OperandError::Shape))?;
                Ok(Some(vector(len, image.frac)))
            }
        }
    }

    /// Appends an operation and returns its output. `output` gives the output's type, scale and length; the bound is
    /// derived. For an [`Opcode::End`] it returns the output of the loop that it ends.
    ///
    /// A second tensor that the operation writes is created too: see [`extra_of`](Self::extra_of).
    ///
    /// # Errors
    /// The requirement that is violated. The operation is then not appended.
    pub fn append(&mut self, op: Op, output: Tensor) -> Result<u16, WriteError> {
        self.emit(op, output, None)
    }

    /// The same as [`append`](Self::append), with the output in the place of the first input. The input must not be
    /// read afterwards.
    ///
    /// # Errors
    /// Those of [`append`](Self::append).
    pub fn append_in_place(&mut self, op: Op, output: Tensor) -> Result<u16, WriteError> {
        let [a, ..] = self.operands(&op);
        self.emit(op, output, Some(a.offset))
    }

    /// Ends the innermost loop, which collects `item` from every iteration, and returns the loop's output.
    ///
    /// # Errors
    /// [`WriteError::NoLoop`], or an error if `item` does not fit the loop's output.
    pub fn end(&mut self, item: u16) -> Result<u16, WriteError> {
        let op = operation(Opcode::End, &[item]);
        let (vector, start) = self.open.last().copied().ok_or(WriteError::NoLoop { op: self.ops.len() })?;
        self.check_references(&op)?;
        let (operands, output) = (self.operands(&op), self.tensor(vector));
        let bounds = output_bounds(&op, &operands, &output, &|index| self.matrix(index))
            .map_err(|reason| self.refused(op.opcode, reason))?;
        self.count(&op, &operands, &output)?;
        if let Some(tensor) = self.tensors.get_mut(usize::from(vector)) {
            tensor.bound = bounds.output;
        }
        self.open.pop();
        self.ops.push(op);
        let number = self.ops.len() as u16;
        if let Some(opening) = self.ops.get_mut(start) {
            opening.arg = number;
        }
        Ok(vector)
    }

    /// The finished program with final lifetimes.
    ///
    /// # Errors
    /// [`WriteError::OpenLoop`] or [`WriteError::LeavesLoop`].
    pub fn finish(mut self) -> Result<Program, WriteError> {
        if let Some(&(vector, _)) = self.open.last() {
            return Err(WriteError::OpenLoop { vector });
        }
        lifetimes::settle(&mut self.tensors, &self.ops, &self.outputs)?;
        let total = self.work.total();
        Ok(Program {
            kind: self.kind,
            ops: self.ops,
            tensors: self.tensors,
            inputs: self.inputs,
            outputs: self.outputs,
            work: total.work,
            macs: total.macs,
        })
    }

    fn emit(&mut self, mut op: Op, output: Tensor, place: Option<u32>) -> Result<u16, WriteError> {
        let [a, ..] = op.inputs;
        if op.opcode == Opcode::End {
            return self.end(a);
        }
        self.check_references(&op)?;
        let here = self.here();
        let mut operands = self.operands(&op);
        let extra = self.extra(&op)?.map(|extra| Tensor { first: here, ..extra });
        if let (Some(extra), [.., operand]) = (extra, &mut operands) {
            *operand = extra;
        }
        self.check_range(&output)?;
        let bounds = output_bounds(&op, &operands, &output, &|index| self.matrix(index))
            .map_err(|reason| self.refused(op.opcode, reason))?;
        let output = Tensor { bound: bounds.output, first: here, ..output };
        let extra = extra.map(|extra| Tensor { bound: bounds.extra, ..extra });
        self.check_room(&output, extra.as_ref())?;
        self.count(&op, &operands, &output)?;

        let early = extra.filter(|_| self.extra_first).map(|extra| self.push(extra, None));
        op.output = self.push(output, place);
        let late = extra.filter(|_| !self.extra_first).map(|extra| self.push(extra, None));
        if let (Some(extra), [.., reference]) = (early.or(late), &mut op.inputs) {
            *reference = extra;
        }
        if op.opcode == Opcode::Loop {
            self.open.push((op.output, self.ops.len()));
        }
        self.ops.push(op);
        Ok(op.output)
    }

    /// Adds a tensor at the given place, or at the first free one.
    fn push(&mut self, tensor: Tensor, place: Option<u32>) -> u16 {
        let offset = place.unwrap_or(self.free);
        if place.is_none() {
            self.free += tensor.extent();
        }
        self.tensors.push(Tensor { offset, ..tensor });
        self.tensors.len() as u16 - 1
    }

    /// Whether there is room for an operation and the tensors that it writes.
    fn check_room(&self, tensor: &Tensor, extra: Option<&Tensor>) -> Result<(), WriteError> {
        let most = MAX_RECORDS as usize;
        if self.tensors.len() + 1 + usize::from(extra.is_some()) > most || self.ops.len() >= most {
            return Err(WriteError::Records);
        }
        let end = self.free.checked_add(tensor.extent());
        let end = end.and_then(|end| end.checked_add(extra.map_or(0, Tensor::extent)));
        end.map(|_| ()).ok_or(WriteError::TooLarge)
    }

    /// Number of the next operation, counted from 1.
    fn here(&self) -> u16 {
        self.ops.len() as u16 + 1
    }

    pub(crate) fn tensor(&self, reference: u16) -> Tensor {
        self.tensors.get(usize::from(reference)).copied().unwrap_or_default()
    }

    fn operands(&self, op: &Op) -> [Tensor; 3] {
        op.inputs.map(|input| self.tensor(input))
    }

    fn count(&mut self, op: &Op, operands: &[Tensor; 3], output: &Tensor) -> Result<(), WriteError> {
        let matrices = self.matrices;
        let matrix = |index: u16| matrices.get(usize::from(index)).copied();
        self.work.count(op, operands, output, &matrix).map_err(WriteError::too_deep(self.ops.len()))
    }

    pub(crate) fn refused(&self, opcode: Opcode, reason: OperandError) -> WriteError {
        WriteError::Operands { op: self.ops.len(), opcode, reason }
    }

    /// Checks that the operands exist and have been written, and that the record names no other tensors.
    fn check_references(&self, op: &Op) -> Result<(), WriteError> {
        for (slot, tensor) in op.inputs.into_iter().enumerate() {
            let read = slot < op.opcode.inputs();
            let filled =
                usize::from(tensor) < self.tensors.len() && !self.open.iter().any(|(vector, _)| *vector == tensor);
            let wrong = if read { !filled } else { tensor != NO_TENSOR };
            if wrong {
                return Err(WriteError::Reference { op: self.ops.len(), opcode: op.opcode, tensor });
            }
        }
        Ok(())
    }

    /// Checks scale and length, without which bounds are undefined.
    fn check_range(&self, tensor: &Tensor) -> Result<(), WriteError> {
        let scale = match tensor.kind {
            TensorKind::Invalid => false,
            TensorKind::I16 => tensor.frac <= 15,
            TensorKind::Nats => tensor.frac == 16,
        };
        let holds = scale && (1..=MAX_TENSOR_LEN).contains(&tensor.len);
        if holds { Ok(()) } else { Err(WriteError::Tensor { tensor: self.tensors.len() }) }
    }
}

#[cfg(test)]
mod tests;
