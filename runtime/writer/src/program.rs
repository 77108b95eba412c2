//! A program, operation by operation.

use crate::error::WriteError;
use crate::lifetimes;
use crate::operations::{nats, operation, vector};
use crate::work::WorkCounter;
use alloc::vec::Vec;
use elbo::blob::MAX_RECORDS;
use elbo::bounds::{FULL, OperandError, output_bounds, scratch_len};
use elbo::program::{Extra, MAX_TENSOR_LEN, Matrix, NO_TENSOR, Op, Opcode, ProgramKind, Tensor, TensorKind};

/// A finished program.
///
/// Its tensors lie one after the other. Who plans memory changes their offsets, multiples of four halfwords, so that no two
/// that are alive together overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it computes.
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

/// Writes a program. Tensors are numbers that count from 0 in the order in which they were made.
#[derive(Clone, Debug)]
pub struct ProgramWriter<'m> {
    kind: ProgramKind,
    matrices: &'m [Matrix],
    ops: Vec<Op>,
    tensors: Vec<Tensor>,
    inputs: [u16; 2],
    outputs: [u16; 2],
    /// Vectors of the open loops, innermost last.
    open: Vec<u16>,
    work: WorkCounter,
    /// First free halfword of the arena.
    free: u32,
    extra_first: bool,
}

impl<'m> ProgramWriter<'m> {
    /// Starts a program whose layers name `matrices` by their index.
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

    /// What the program computes.
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// The operations so far.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The tensors so far, their lifetimes not settled.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// A matrix by its index.
    pub fn matrix(&self, index: u16) -> Option<Matrix> {
        self.matrices.get(usize::from(index)).copied()
    }

    /// What the operation that wrote `output` wrote besides: a log-determinant, or scratch.
    pub fn extra_of(&self, output: u16) -> Option<u16> {
        let op = self.ops.iter().find(|op| op.output == output && op.opcode.writes_extra())?;
        op.inputs.last().copied()
    }

    /// The program's next input: `len` activations of `frac` fractional bits and at most `bound` in magnitude.
    ///
    /// # Errors
    /// [`WriteError::Slots`] for a extra, [`WriteError::Tensor`] when it is out of range.
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

    /// Declares the program's outputs, vectors before the scalar.
    ///
    /// # Errors
    /// [`WriteError::Slots`] for more than two, or one that there is not.
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

    /// Makes what an operation writes besides its output before the output instead of after it. It changes the tensors'
    /// numbers and places, and nothing else.
    pub fn extra_first(&mut self) {
        self.extra_first = true;
    }

    /// What `op` writes besides its output, if it is one that does.
    fn extra(&self, op: &Op) -> Result<Option<Tensor>, WriteError> {
        match op.opcode.form().extra() {
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

    /// Appends an operation and returns its output, of which `output` gives type, scale and length: the bound follows. For
    /// an [`Opcode::End`] that is the vector of the loop it ends.
    ///
    /// What the operation writes besides is made too: see [`extra_of`](Self::extra_of).
    ///
    /// # Errors
    /// What the operation does not take. Nothing is appended then.
    pub fn append(&mut self, op: Op, output: Tensor) -> Result<u16, WriteError> {
        self.emit(op, output, None)
    }

    /// The same, the output in the place of the first input, which must not be read afterwards.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_in_place(&mut self, op: Op, output: Tensor) -> Result<u16, WriteError> {
        let [a, ..] = self.operands(&op);
        self.emit(op, output, Some(a.offset))
    }

    /// Ends the innermost loop, whose every iteration gives `item`, and returns the vector that it has filled.
    ///
    /// # Errors
    /// [`WriteError::NoLoop`], or what does not fit the loop's vector.
    pub fn end(&mut self, item: u16) -> Result<u16, WriteError> {
        let op = operation(Opcode::End, &[item]);
        let vector = self.open.last().copied().ok_or(WriteError::NoLoop { op: self.ops.len() })?;
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
        Ok(vector)
    }

    /// The program, its lifetimes settled.
    ///
    /// # Errors
    /// [`WriteError::OpenLoop`] or [`WriteError::LeavesLoop`].
    pub fn finish(mut self) -> Result<Program, WriteError> {
        if let Some(vector) = self.open.last() {
            return Err(WriteError::OpenLoop { vector: *vector });
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
            self.open.push(op.output);
        }
        self.ops.push(op);
        Ok(op.output)
    }

    /// Adds a tensor in its place, or in the first that is free.
    fn push(&mut self, tensor: Tensor, place: Option<u32>) -> u16 {
        let offset = place.unwrap_or(self.free);
        if place.is_none() {
            self.free += tensor.extent();
        }
        self.tensors.push(Tensor { offset, ..tensor });
        self.tensors.len() as u16 - 1
    }

    /// Whether there is room for an operation and what it writes.
    fn check_room(&self, tensor: &Tensor, extra: Option<&Tensor>) -> Result<(), WriteError> {
        let most = MAX_RECORDS as usize;
        if self.tensors.len() + 1 + usize::from(extra.is_some()) > most || self.ops.len() >= most {
            return Err(WriteError::Records);
        }
        let end = self.free.checked_add(tensor.extent());
        let end = end.and_then(|end| end.checked_add(extra.map_or(0, Tensor::extent)));
        end.map(|_| ()).ok_or(WriteError::TooLarge)
    }

    /// The next operation, counted from 1.
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

    /// Operands are there and filled, and nothing else is named.
    fn check_references(&self, op: &Op) -> Result<(), WriteError> {
        for (slot, tensor) in op.inputs.into_iter().enumerate() {
            let read = slot < op.opcode.inputs();
            let filled = usize::from(tensor) < self.tensors.len() && !self.open.contains(&tensor);
            let wrong = if read { !filled } else { tensor != NO_TENSOR };
            if wrong {
                return Err(WriteError::Reference { op: self.ops.len(), opcode: op.opcode, tensor });
            }
        }
        Ok(())
    }

    /// The scale and the length, without which bounds are not defined.
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
