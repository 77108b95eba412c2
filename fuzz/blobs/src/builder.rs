//! A small assembler of valid blobs: bounds, lifetimes and work follow from the operations.

use elbo::blob::{CHECKED_FROM, FORMAT_VERSION, HEADER_WORDS, MAGIC};
use elbo::bounds::{FULL, output_bounds, scratch_len};
use elbo::coupling::CouplingStack;
use elbo::kernel::{ConvGeometry, Packing, pack_params, pack_weights};
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, ProgramKind, ProgramRecord, Tensor, TensorKind, op_cost};

/// The records of a blob, still editable.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Halfwords of the arena.
    pub arena_len: u32,
    /// Programs.
    pub programs: Vec<ProgramRecord>,
    /// Tensors of all programs.
    pub tensors: Vec<Tensor>,
    /// Operations of all programs.
    pub ops: Vec<Op>,
    /// Matrices.
    pub matrices: Vec<Matrix>,
    /// Metadata, encoded.
    pub meta: Vec<u8>,
    /// Parameters and weights.
    pub data: Vec<u32>,
}

impl Default for Parts {
    fn default() -> Self {
        Self::new()
    }
}

impl Parts {
    /// A blob of nothing.
    pub fn new() -> Self {
        Self {
            arena_len: 0,
            programs: Vec::new(),
            tensors: Vec::new(),
            ops: Vec::new(),
            matrices: Vec::new(),
            meta: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Adds a matrix and returns its index.
    pub fn matrix(
        &mut self,
        [rows, cols]: [usize; 2],
        packing: Packing,
        input_bound: u16,
        weight: impl Fn(usize, usize) -> i8,
        bias: impl Fn(usize) -> i32,
        multiplier: impl Fn(usize) -> i32,
    ) -> u16 {
        let params = self.data.len() as u32;
        self.data.extend(pack_params(rows, &bias, &multiplier));
        let weights = self.data.len() as u32;
        self.data.extend(pack_weights(rows, cols, packing, &weight));
        let largest = |row: usize| {
            let sum: u64 = (0..cols).map(|col| u64::from(weight(row, col).unsigned_abs())).sum();
            let accumulator = sum * u64::from(input_bound) + u64::from(bias(row).unsigned_abs());
            (accumulator * multiplier(row) as u64 + (1 << 31)) >> 32
        };
        let output_bound = (0..rows).map(largest).max().unwrap_or(0).clamp(1, u64::from(FULL)) as u16;
        let (rows, cols, packing) = (rows as u32, cols as u32, Some(packing));
        self.matrices.push(Matrix { rows, cols, packing, input_bound, output_bound, params, weights });
        self.matrices.len() as u16 - 1
    }

    /// Adds a program that `write` emits.
    pub fn program(&mut self, kind: ProgramKind, write: impl FnOnce(&mut Program<'_>)) {
        let mut program = Program {
            matrices: &self.matrices,
            ops: Vec::new(),
            tensors: Vec::new(),
            inputs: [NO_TENSOR; 2],
            outputs: [NO_TENSOR; 2],
            place: 0,
        };
        write(&mut program);
        program.settle_lifetimes();
        let (work, macs) = work(&program.ops, &program.tensors, &self.matrices);
        let record = ProgramRecord {
            kind: kind as u32,
            ops_start: self.ops.len() as u32,
            ops_len: program.ops.len() as u32,
            tensors_start: self.tensors.len() as u32,
            tensors_len: program.tensors.len() as u32,
            inputs: program.inputs,
            outputs: program.outputs,
            work,
            macs,
        };
        self.arena_len = self.arena_len.max(program.place);
        self.ops.append(&mut program.ops);
        self.tensors.append(&mut program.tensors);
        self.programs.push(record);
    }

    /// The sealed blob.
    pub fn words(&self) -> Vec<u32> {
        let mut words = vec![0; HEADER_WORDS];
        words[0] = MAGIC;
        words[1] = FORMAT_VERSION;
        words[4] = self.arena_len;
        words[5] = self.programs.len() as u32;
        words[6] = self.tensors.len() as u32;
        words[7] = self.ops.len() as u32;
        words[8] = self.matrices.len() as u32;
        words[9] = self.meta.len() as u32;
        words[10] = self.data.len() as u32;
        words.extend(self.programs.iter().flat_map(ProgramRecord::encode));
        words.extend(self.tensors.iter().flat_map(Tensor::encode));
        words.extend(self.ops.iter().flat_map(Op::encode));
        words.extend(self.matrices.iter().flat_map(Matrix::encode));
        words.extend(self.meta.chunks(4).map(|chunk| {
            let mut bytes = [0; 4];
            bytes[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(bytes)
        }));
        words.extend(&self.data);
        seal(&mut words);
        words
    }
}

/// Writes the length and the checksum.
pub fn seal(words: &mut [u32]) {
    words[2] = words.len() as u32;
    words[3] = elbo::crc32_words(&words[CHECKED_FROM..]);
}

/// Steps and multiply-accumulates of a run, counted by running through the loops' counts.
fn work(ops: &[Op], tensors: &[Tensor], matrices: &[Matrix]) -> (u64, u64) {
    let (mut repeats, mut work, mut macs) = (vec![1u64], 0, 0);
    let len = |tensor: u16| tensors.get(usize::from(tensor)).map_or(0, |tensor| tensor.len);
    for op in ops {
        let repeat = repeats[repeats.len() - 1];
        let first = if op.opcode.inputs() == 0 { op.output } else { op.inputs[0] };
        let cost = op_cost(op, len(first), len(op.inputs[1]), &|index| matrices.get(usize::from(index)).copied());
        work += repeat * cost.work;
        macs += repeat * cost.macs;
        match op.opcode {
            Opcode::Loop => repeats.push(repeat * u64::from(op.imm)),
            Opcode::End => drop(repeats.pop()),
            _ => {}
        }
    }
    (work, macs)
}

/// A program being written. Every tensor gets a place of its own unless the operation is told to work in place.
#[derive(Debug)]
pub struct Program<'m> {
    matrices: &'m [Matrix],
    /// Operations so far.
    pub ops: Vec<Op>,
    /// Tensors so far.
    pub tensors: Vec<Tensor>,
    inputs: [u16; 2],
    outputs: [u16; 2],
    place: u32,
}

impl Program<'_> {
    /// The next input vector.
    pub fn input(&mut self, len: u32, frac: u8, bound: u16) -> u16 {
        let tensor = Tensor { kind: TensorKind::I16, frac, bound, len, ..Tensor::default() };
        let slot = usize::from(self.inputs[0] != NO_TENSOR);
        self.inputs[slot] = self.tensors.len() as u16;
        self.place(tensor)
    }

    /// Declares the outputs.
    pub fn outputs(&mut self, outputs: &[u16]) {
        self.outputs[..outputs.len()].copy_from_slice(outputs);
    }

    fn place(&mut self, mut tensor: Tensor) -> u16 {
        tensor.offset = self.place;
        self.place += tensor.extent();
        self.tensors.push(tensor);
        self.tensors.len() as u16 - 1
    }

    fn emit(&mut self, mut op: Op, inputs: &[u16], mut output: Tensor, in_place: bool) -> u16 {
        op.inputs[..inputs.len()].copy_from_slice(inputs);
        let here = self.ops.len() as u16 + 1;
        if op.opcode.writes_extra() {
            let third = self.third_of(&op, here);
            op.inputs[2] = self.place(third);
        }
        let tensors = op.inputs.map(|input| self.tensors.get(usize::from(input)).copied().unwrap_or_default());
        let matrices = |index: u16| self.matrices.get(usize::from(index)).copied();
        let bounds = output_bounds(&op, &tensors, &output, &matrices)
            .unwrap_or_else(|error| panic!("{op:?} of {tensors:?}: {error:?}"));
        output.bound = bounds.output;
        if op.opcode.writes_extra() {
            self.tensors[usize::from(op.inputs[2])].bound = bounds.extra;
        }
        output.first = here;
        op.output = self.tensors.len() as u16;
        self.ops.push(op);
        if in_place {
            output.offset = tensors[0].offset;
            self.tensors.push(output);
            op.output
        } else {
            self.place(output)
        }
    }

    /// What an operation writes besides its output: a log-determinant, or scratch.
    fn third_of(&self, op: &Op, first: u16) -> Tensor {
        let a = self.tensors[usize::from(op.inputs[0])];
        match op.opcode {
            Opcode::Conv => {
                let matrices = |index: u16| self.matrices.get(usize::from(index)).copied();
                let len = scratch_len(op, &matrices).expect("a valid convolution");
                Tensor { first, len, ..vector_of(len, a.frac) }
            }
            _ => Tensor { first, ..nats_of(1) },
        }
    }

    /// A dense layer.
    pub fn dense(&mut self, a: u16, matrix: u16, frac: u8) -> u16 {
        let output = vector_of(self.matrices[usize::from(matrix)].rows, frac);
        self.emit(Op { arg: matrix, ..op_of(Opcode::Dense) }, &[a], output, false)
    }

    /// An operation of vectors that gives one as long as its first.
    pub fn map(&mut self, opcode: Opcode, inputs: &[u16], frac: u8, param: i8) -> u16 {
        let output = vector_of(self.tensors[usize::from(inputs[0])].len, frac);
        self.emit(Op { param, ..op_of(opcode) }, inputs, output, false)
    }

    /// The same, in the place of its first input.
    pub fn map_in_place(&mut self, opcode: Opcode, inputs: &[u16], frac: u8, param: i8) -> u16 {
        let output = vector_of(self.tensors[usize::from(inputs[0])].len, frac);
        self.emit(Op { param, ..op_of(opcode) }, inputs, output, true)
    }

    /// A clamp.
    pub fn clamp(&mut self, a: u16, frac: u8, low: i16, high: i16) -> u16 {
        let output = vector_of(self.tensors[usize::from(a)].len, frac);
        self.emit(Op { imm: Op::interval_imm(low, high), ..op_of(Opcode::Clamp) }, &[a], output, false)
    }

    /// Noise.
    pub fn normal(&mut self, len: u32) -> u16 {
        self.emit(op_of(Opcode::Normal), &[], vector_of(len, 12), false)
    }

    /// An operation that gives a scalar.
    pub fn scalar(&mut self, opcode: Opcode, inputs: &[u16], param: i8) -> u16 {
        self.emit(Op { param, ..op_of(opcode) }, inputs, nats_of(1), false)
    }

    /// Any operation, its record and output as given but for what follows from the operands.
    pub fn op(&mut self, op: Op, inputs: &[u16], output: Tensor) -> u16 {
        self.emit(op, inputs, output, false)
    }

    /// What the last operation wrote besides its output.
    pub fn third(&self) -> u16 {
        self.ops.last().map_or(NO_TENSOR, |op| op.inputs[2])
    }

    /// Affine couplings with the matrices from `matrix` on, hidden layers of at most `widest`: their image and its
    /// log-determinant.
    pub fn couplings(&mut self, stack: CouplingStack, matrix: u16, widest: usize, z: u16, frac: u8) -> (u16, u16) {
        let len = self.tensors[usize::from(z)].len;
        let (imm, param) = stack.pack();
        let output = vector_of(CouplingStack::output_len(len as usize, widest) as u32, frac);
        let whole = self.emit(Op { param, imm, arg: matrix, ..op_of(Opcode::Couplings) }, &[z], output, false);
        let log_det = self.third();
        (self.slice(whole, 0, len), log_det)
    }

    /// `len` elements from `start` on.
    pub fn slice(&mut self, a: u16, start: u32, len: u32) -> u16 {
        let output = vector_of(len, self.tensors[usize::from(a)].frac);
        self.emit(Op { imm: start, ..op_of(Opcode::Slice) }, &[a], output, false)
    }

    /// One vector after the other.
    pub fn concat(&mut self, a: u16, b: u16, frac: u8) -> u16 {
        let [a_len, b_len] = [a, b].map(|tensor| self.tensors[usize::from(tensor)].len);
        self.emit(op_of(Opcode::Concat), &[a, b], vector_of(a_len + b_len, frac), false)
    }

    /// `value` at the place of the loop's iteration.
    pub fn one_hot(&mut self, len: u32, frac: u8, value: u32) -> u16 {
        self.emit(Op { imm: value, ..op_of(Opcode::OneHot) }, &[], vector_of(len, frac), false)
    }

    /// The mean of the vectors of `len` elements that a loop has collected.
    pub fn mean_vectors(&mut self, a: u16, len: u32) -> u16 {
        let output = vector_of(len, self.tensors[usize::from(a)].frac);
        self.emit(op_of(Opcode::MeanVec), &[a], output, false)
    }

    /// A scalar plus a Q16 constant.
    pub fn offset(&mut self, a: u16, constant: i32) -> u16 {
        self.emit(Op { imm: constant as u32, ..op_of(Opcode::Offset) }, &[a], nats_of(1), false)
    }

    /// A planar or radial flow; its log-determinant is the [third](Self::third).
    pub fn flow(&mut self, opcode: Opcode, z: u16, params: u16, inverse: bool) -> u16 {
        let tensor = self.tensors[usize::from(z)];
        let output = vector_of(tensor.len, tensor.frac);
        self.emit(Op { param: i8::from(inverse), ..op_of(opcode) }, &[z, params], output, false)
    }

    /// A convolution with the matrices of its phases from `matrix` on.
    pub fn conv(&mut self, a: u16, matrix: u16, geometry: ConvGeometry, frac: u8) -> u16 {
        let channels = self.matrices[usize::from(matrix)].rows;
        let len = geometry.output_len(channels).expect("a small image");
        let (imm, param) = geometry.pack();
        self.emit(Op { param, arg: matrix, imm, ..op_of(Opcode::Conv) }, &[a], vector_of(len, frac), false)
    }

    /// Opens a loop; its vector of scalars.
    pub fn begin(&mut self, count: u32) -> u16 {
        self.emit(Op { imm: count, ..op_of(Opcode::Loop) }, &[], nats_of(count), false)
    }

    /// Opens a loop that collects vectors of `len` activations.
    pub fn begin_vectors(&mut self, count: u32, len: u32, frac: u8) -> u16 {
        self.emit(Op { imm: count, ..op_of(Opcode::Loop) }, &[], vector_of(count * len, frac), false)
    }

    /// Closes the loop that filled `vector` with `a`.
    pub fn end(&mut self, vector: u16, a: u16) {
        self.tensors[usize::from(vector)].bound = self.tensors[usize::from(a)].bound;
        self.ops.push(Op { inputs: [a, NO_TENSOR, NO_TENSOR], output: NO_TENSOR, ..op_of(Opcode::End) });
    }

    /// Shortest lifetimes that hold: the last use, or the end of the outermost loop that reads from outside.
    fn settle_lifetimes(&mut self) {
        let mut open: Vec<u16> = Vec::new();
        let mut spans = Vec::new();
        for (index, op) in self.ops.iter().enumerate() {
            let here = index as u16 + 1;
            match op.opcode {
                Opcode::Loop => open.push(here),
                Opcode::End => spans.push((open.pop().expect("a loop is open"), here)),
                _ => {}
            }
        }
        let past_the_end = self.ops.len() as u16 + 1;
        for index in 0..self.tensors.len() {
            let first = self.tensors[index].first;
            let mut last = first;
            for (op, record) in self.ops.iter().enumerate() {
                let reads = record.inputs.contains(&(index as u16)) && !record.writes(index as u16);
                let here = op as u16 + 1;
                if reads {
                    let outer = spans.iter().filter(|(start, end)| first <= *start && *start < here && here < *end);
                    last = last.max(outer.map(|(_, end)| *end).max().unwrap_or(here));
                }
            }
            if let Some((_, end)) = spans.iter().find(|(start, _)| *start == first) {
                last = last.max(*end);
            }
            if self.outputs.contains(&(index as u16)) {
                last = past_the_end;
            }
            self.tensors[index].last = last;
        }
    }
}

/// An operation's record with nothing but its code.
fn op_of(opcode: Opcode) -> Op {
    Op { opcode, param: 0, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm: 0 }
}

/// An unplaced vector of activations.
pub fn vector_of(len: u32, frac: u8) -> Tensor {
    Tensor { kind: TensorKind::I16, frac, len, ..Tensor::default() }
}

/// Unplaced nats.
pub fn nats_of(len: u32) -> Tensor {
    Tensor { kind: TensorKind::Nats, frac: 16, len, ..Tensor::default() }
}
