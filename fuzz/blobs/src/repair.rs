//! Recomputes the claims of a changed blob from its contents: bounds, lengths of loop outputs, work and, on demand,
//! places. Claims that cannot be repaired are left for the verifier to refuse.

use elbo::blob::{HEADER_WORDS, MAX_RECORDS};
use elbo::bounds::{FULL, output_bounds, scratch_len};
use elbo::kernel::{ConvGeometry, Packing, unpack_word, word_index};
use elbo::program::{
    Extra, Length, MATRIX_WORDS, MAX_TENSOR_LEN, Matrix, OP_WORDS, Op, PROGRAM_WORDS, ProgramRecord, TENSOR_WORDS,
    Tensor, TensorKind,
};
use elbo_writer::WorkCounter;

/// The start of every section of a blob with a valid container.
pub(crate) struct Sections {
    counts: [u32; 6],
    pub programs: usize,
    pub tensors: usize,
    pub ops: usize,
    pub matrices: usize,
    pub meta: usize,
    pub data: usize,
}

impl Sections {
    /// `None` if the counts do not fit the length.
    pub fn of(words: &[u32]) -> Option<Self> {
        let counts: [u32; 6] = words.get(5..11)?.try_into().ok()?;
        let [programs, tensors, ops, matrices, meta, data] = counts;
        if [programs, tensors, ops, matrices].iter().any(|count| *count > MAX_RECORDS) || meta.max(data) > 1 << 20 {
            return None;
        }
        let mut at = HEADER_WORDS;
        let mut take = |count: u32, size: usize| {
            let start = at;
            at += count as usize * size;
            start
        };
        let sections = Self {
            counts,
            programs: take(programs, PROGRAM_WORDS),
            tensors: take(tensors, TENSOR_WORDS),
            ops: take(ops, OP_WORDS),
            matrices: take(matrices, MATRIX_WORDS),
            meta: take(meta.div_ceil(4), 1),
            data: take(data, 1),
        };
        (at <= words.len()).then_some(sections)
    }

    /// The count in header word `field`.
    pub fn count(&self, field: usize) -> usize {
        self.counts[field - 5] as usize
    }

    fn programs<'w>(&self, words: &'w [u32]) -> &'w [u32] {
        &words[self.programs..self.tensors]
    }

    /// The program that contains operation `op` and whose ranges are valid.
    pub fn owner(&self, words: &[u32], op: usize) -> Option<ProgramRecord> {
        let has = |record: &ProgramRecord| {
            op.checked_sub(record.ops_start as usize).is_some_and(|i| i < record.ops_len as usize)
        };
        (0..self.count(5)).filter_map(|index| self.program(words, index)).map(|(record, ..)| record).find(has)
    }

    /// Ranges of a program's operations and tensors, in records, or `None` if they are invalid.
    fn program(&self, words: &[u32], index: usize) -> Option<(ProgramRecord, usize, usize)> {
        let record = ProgramRecord::read(self.programs(words), index);
        let inside = |start: u32, len: u32, count: usize| u64::from(start) + u64::from(len) <= count as u64;
        let whole = inside(record.ops_start, record.ops_len, self.count(7))
            && inside(record.tensors_start, record.tensors_len, self.count(6));
        whole.then_some((record, record.ops_start as usize, record.tensors_start as usize))
    }
}

/// Recomputes the bounds of matrices and of written tensors, the lengths that follow from matrices and loops, and the
/// programs' work.
pub(crate) fn repair_claims(words: &mut [u32]) {
    let Some(sections) = Sections::of(words) else { return };
    for index in 0..sections.count(8) {
        let matrix = Matrix::read(&words[sections.matrices..sections.meta], index);
        if let Some(bound) = rows_bound(&matrix, &words[sections.data..]) {
            let at = sections.matrices + index * MATRIX_WORDS;
            words[at..at + MATRIX_WORDS].copy_from_slice(&Matrix { output_bound: bound, ..matrix }.encode());
        }
    }
    for index in 0..sections.count(5) {
        let _ = repair_program(words, &sections, index);
    }
}

/// The output bound of a small matrix.
fn rows_bound(matrix: &Matrix, data: &[u32]) -> Option<u16> {
    let packing = matrix.packing?;
    if matrix.rows > 64 || matrix.cols > 256 {
        return None;
    }
    let (rows, cols) = (matrix.rows as usize, matrix.cols as usize);
    let (params, weights) = (data.get(matrix.params as usize..)?, data.get(matrix.weights as usize..)?);
    let mut bound = 1;
    for row in 0..rows {
        let mut sum = 0u64;
        for word in 0..cols.div_ceil(4) {
            let packed = *weights.get(word_index(cols, packing, row, word))?;
            sum += unpack_word(packed, Packing::RowMajor).iter().map(|w| u64::from(w.unsigned_abs())).sum::<u64>();
        }
        let at = row / 4 * 8 + row % 4;
        let (bias, multiplier) = (*params.get(at)? as i32, *params.get(at + 4)?);
        let largest = sum * u64::from(matrix.input_bound) + u64::from(bias.unsigned_abs());
        bound = bound.max((u128::from(largest) * u128::from(multiplier) + (1 << 31)) >> 32);
    }
    Some(bound.min(u128::from(FULL)) as u16)
}

fn repair_program(words: &mut [u32], sections: &Sections, index: usize) -> Option<()> {
    let (mut record, ops_start, tensors_start) = sections.program(words, index)?;
    let op_at = |words: &[u32], op: usize| Op::read(&words[sections.ops..sections.matrices], ops_start + op);
    let place = |reference: u16| {
        (u32::from(reference) < record.tensors_len)
            .then(|| sections.tensors + (tensors_start + usize::from(reference)) * TENSOR_WORDS)
    };
    let tensor = |words: &[u32], reference: u16| {
        place(reference).map(|at| Tensor::read(&words[at..at + TENSOR_WORDS], 0)).unwrap_or_default()
    };
    let matrices = |words: &[u32], index: u16| {
        let there = usize::from(index) < sections.count(8);
        there.then(|| Matrix::read(&words[sections.matrices..sections.meta], usize::from(index)))
    };
    // The open loops with their iterations, outputs and operations. Deeper nests are refused anyway.
    let (mut loops, mut depth) = ([(1u32, u16::MAX, 0usize); 8], 0usize);
    let mut counter = WorkCounter::default();
    for here in 0..record.ops_len as usize {
        let op = op_at(words, here);
        let mut inputs = op.inputs.map(|input| tensor(words, input));
        let (iterations, vector, opening) = loops[depth];
        let facts = op.opcode.facts();
        let written = if facts.closes_loop() { vector } else { op.output };
        let mut output = tensor(words, written);
        if let Some(len) = output_len(&op, &inputs, iterations, &|index| matrices(words, index))
            && output.kind != TensorKind::Invalid
        {
            output.len = len;
        }
        let scratch = scratch_len(&op, &|index| matrices(words, index));
        if let Some(len) = scratch.filter(|_| op.opcode.rules().extra() == Extra::Scratch) {
            inputs[2].len = len;
        }
        // The bound of an operation is defined only for valid tensors.
        let sound = inputs.iter().chain([&output]).all(|t| t.frac <= 16 && t.len <= MAX_TENSOR_LEN && t.bound <= FULL);
        if let Some(at) = place(written).filter(|_| sound)
            && let Ok(bounds) = output_bounds(&op, &inputs, &output, &|index| matrices(words, index))
        {
            output.bound = bounds.output;
            words[at..at + TENSOR_WORDS].copy_from_slice(&output.encode());
            if let Some(at) = place(op.inputs[2]).filter(|_| op.opcode.writes_extra()) {
                inputs[2].bound = bounds.extra;
                words[at..at + TENSOR_WORDS].copy_from_slice(&inputs[2].encode());
            }
        }
        if facts.opens_loop() && depth < 7 {
            depth += 1;
            loops[depth] = (op.imm, op.output, here);
        } else if facts.closes_loop() {
            depth = depth.checked_sub(1)?;
            // A loop names its end, counted from 1.
            let at = sections.ops + (ops_start + opening) * OP_WORDS;
            let named = Op { arg: here as u16 + 1, ..op_at(words, opening) };
            words[at..at + OP_WORDS].copy_from_slice(&named.encode());
        }
        // A program with too deep loops is refused regardless of its work.
        let _ = counter.count(&op, &inputs, &output, &|index| matrices(words, index));
    }
    (record.work, record.macs) = (counter.total().work, counter.total().macs);
    let at = sections.programs + index * PROGRAM_WORDS;
    words[at..at + PROGRAM_WORDS].copy_from_slice(&record.encode());
    Some(())
}

/// The length of an operation's output that its matrix or its loop requires.
fn output_len(op: &Op, inputs: &[Tensor; 3], iterations: u32, matrices: &dyn Fn(u16) -> Option<Matrix>) -> Option<u32> {
    match op.opcode.facts().length() {
        Length::Operands => None,
        Length::Rows => matrices(op.arg).map(|matrix| matrix.rows),
        Length::Pixels => ConvGeometry::unpack(op.imm, op.param).output_len(matrices(op.arg)?.rows),
        Length::Iterations => inputs[0].len.checked_mul(iterations),
    }
}

/// Gives every tensor a place of its own, except a tensor that replaced another. Lifetimes are not shortened.
pub(crate) fn repair_places(words: &mut [u32]) {
    let Some(sections) = Sections::of(words) else { return };
    for index in 0..sections.count(5) {
        let Some((record, _, start)) = sections.program(words, index) else { continue };
        let mut place = 0u32;
        for tensor in start..start + record.tensors_len as usize {
            let at = sections.tensors + tensor * TENSOR_WORDS;
            let mut tensor = Tensor::read(&words[at..at + TENSOR_WORDS], 0);
            tensor.offset = place;
            place = place.saturating_add(tensor.extent());
            words[at..at + TENSOR_WORDS].copy_from_slice(&tensor.encode());
        }
        words[4] = words[4].max(place);
    }
}
