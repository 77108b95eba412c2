//! Mutations that know the format. Most of the resulting blobs have a valid container, and many are completely valid.

use crate::repair::{Sections, repair_claims, repair_places};
use elbo::blob::HEADER_WORDS;
use elbo::program::{MATRIX_WORDS, OP_WORDS, Op, Opcode, PROGRAM_WORDS, TENSOR_WORDS, Tensor};
use elbo_writer::seal;

/// SplitMix64: derives cheap random choices from a seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, or 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Words of the largest blob that [`mutate_bytes`] changes.
const SPACE: usize = 1 << 12;

/// Like [`mutate`], for a buffer of bytes whose first `len` are the blob.
pub fn mutate_bytes(bytes: &mut [u8], len: usize, seed: u64) -> usize {
    let space = (bytes.len() / 4).min(SPACE);
    let mut words = [0u32; SPACE];
    for (word, chunk) in words.iter_mut().zip(bytes[..len].chunks(4)) {
        let mut four = [0; 4];
        four[..chunk.len()].copy_from_slice(chunk);
        *word = u32::from_le_bytes(four);
    }
    let count = mutate(&mut words[..space], len.div_ceil(4).min(space), seed);
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(&words[..count]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    count * 4
}

/// Changes the blob in the first `len` of `words` and returns its new length, at most `words.len()`. The same seed
/// changes the same blob in the same way.
pub fn mutate(words: &mut [u32], len: usize, seed: u64) -> usize {
    let mut random = Random(seed);
    let mut len = len.min(words.len());
    let rounds = random.pick(&[1, 1, 1, 2, 3, 5]);
    let mut claims = random.below(4) != 0;
    for _ in 0..rounds {
        len = mutate_once(words, len, &mut random);
    }
    if random.one_in(4) {
        repair_places(&mut words[..len]);
        claims = true;
    }
    if claims {
        repair_claims(&mut words[..len]);
    }
    if len >= HEADER_WORDS && !random.one_in(64) {
        seal(&mut words[..len]);
    }
    match random.below(128) {
        0 => len - random.below(len.min(8) + 1),
        1 => random.below(len + 1),
        2 => {
            patch(words, 2, 1, &mut random);
            len
        }
        _ => len,
    }
}

fn mutate_once(words: &mut [u32], len: usize, random: &mut Random) -> usize {
    let Some(sections) = Sections::of(&words[..len]) else {
        let at = random.below(len);
        if let Some(word) = words[..len].get_mut(at) {
            *word = changed(*word, random);
        }
        return len;
    };
    match random.below(22) {
        0 => patch(words, 0, HEADER_WORDS, random),
        1 => patch(words, sections.programs, sections.count(5) * PROGRAM_WORDS, random),
        2 | 3 => patch(words, sections.tensors, sections.count(6) * TENSOR_WORDS, random),
        4 | 5 => patch(words, sections.ops, sections.count(7) * OP_WORDS, random),
        6 => patch(words, sections.matrices, sections.count(8) * MATRIX_WORDS, random),
        7 => patch(words, sections.meta, sections.data - sections.meta, random),
        8 | 9 => patch(words, sections.data, sections.count(10), random),
        10 => negate_weight(words, &sections, random),
        11 => loop_count(words, &sections, random),
        12 => other_operation(words, &sections, random),
        13 => operation_field(words, &sections, random),
        14 => tensor_field(words, &sections, random),
        15 => swap_records(words, &sections, random),
        16 => return insert_or_delete(words, len, &sections, random),
        17 => copy_record(words, &sections, random),
        18 | 19 => rewire(words, &sections, random),
        20 => words[4] = words[4].wrapping_add(4 * random.below(64) as u32),
        _ => return resize(words, len, random),
    }
    len
}

/// A value near `word`, or a common special value, in one byte, one halfword or the whole word.
fn changed(word: u32, random: &mut Random) -> u32 {
    const SPECIAL: [u32; 14] = [0, 1, 2, 3, 4, 15, 16, 0x7F, 0x80, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, u32::MAX];
    let (width, lanes) = random.pick(&[(8u32, 4), (16, 2), (32, 1)]);
    let shift = random.below(lanes) as u32 * width;
    let mask = (u32::MAX >> (32 - width)) << shift;
    let field = (word & mask) >> shift;
    let new = match random.below(6) {
        0 => random.pick(&SPECIAL),
        1 => field ^ 1 << random.below(width as usize),
        2 => field.wrapping_mul(2),
        3 => random.bits() as u32,
        _ => field.wrapping_add(random.pick(&[1, 2, 4, u32::MAX, u32::MAX - 1, u32::MAX - 3])),
    };
    word & !mask | new << shift & mask
}

fn patch(words: &mut [u32], start: usize, len: usize, random: &mut Random) {
    let at = start + random.below(len);
    if len > 0 && at < words.len() {
        words[at] = changed(words[at], random);
    }
}

/// Negates a weight: bounds stay the same, but results change.
fn negate_weight(words: &mut [u32], sections: &Sections, random: &mut Random) {
    for _ in 0..=random.below(8) {
        let at = sections.data + random.below(sections.count(10));
        if let Some(word) = words.get_mut(at) {
            let mut bytes = word.to_le_bytes();
            let lane = random.below(4);
            bytes[lane] = (bytes[lane] as i8).wrapping_neg() as u8;
            *word = u32::from_le_bytes(bytes);
        }
    }
}

fn any_op(
    words: &[u32],
    sections: &Sections,
    random: &mut Random,
    wanted: impl Fn(&Op) -> bool,
) -> Option<(usize, Op)> {
    let ops = words.get(sections.ops..sections.matrices)?;
    let count = sections.count(7);
    let start = random.below(count);
    (0..count).map(|i| (start + i) % count).map(|i| (i, Op::read(ops, i))).find(|(_, op)| wanted(op))
}

fn write_op(words: &mut [u32], sections: &Sections, (index, op): (usize, Op)) {
    let at = sections.ops + index * OP_WORDS;
    words[at..at + OP_WORDS].copy_from_slice(&op.encode());
}

fn loop_count(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let Some((index, mut op)) = any_op(words, sections, random, |op| op.opcode == Opcode::Loop) else { return };
    let before = op.imm.max(1);
    op.imm = random.pick(&[0, 1, 2, 3, 5, 9, 17, 300, 65536, 65537]);
    write_op(words, sections, (index, op));
    let Some(record) = sections.owner(words, index) else { return };
    if u32::from(op.output) < record.tensors_len {
        let at = (record.tensors_start as usize + usize::from(op.output)) * TENSOR_WORDS + sections.tensors + 1;
        words[at] = (words[at] / before).max(1).wrapping_mul(op.imm);
    }
}

fn other_operation(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let Some((index, mut op)) = any_op(words, sections, random, |_| true) else { return };
    let rules = op.opcode.rules();
    let any = random.one_in(8);
    let fits = |opcode: &Opcode| any || opcode.rules().takes_the_same(rules);
    let count = Opcode::ALL.iter().filter(|opcode| fits(opcode)).count();
    let chosen = Opcode::ALL.into_iter().filter(fits).nth(random.below(count));
    op.opcode = chosen.unwrap_or(op.opcode);
    if !op.opcode.rules().uses_imm() {
        op.imm = 0;
    }
    write_op(words, sections, (index, op));
}

fn operation_field(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let Some((index, mut op)) = any_op(words, sections, random, |_| true) else { return };
    match random.below(4) {
        0 => op.param = op.param.wrapping_add(random.pick(&[1, -1, 2, -2, 4, -4])),
        1 => {
            let inputs = op.opcode.inputs();
            let slot = random.below(inputs.max(1) + usize::from(op.opcode.writes_extra()));
            let slot = if slot == inputs && op.opcode.writes_extra() { 2 } else { slot };
            op.inputs[slot] = random.below(sections.count(6).min(24)) as u16;
        }
        2 if op.opcode == Opcode::Clamp => {
            let (low, high) = op.interval();
            let new = changed(high as u16 as u32, random) as i16;
            op.imm = if random.one_in(2) { Op::interval_imm(low, new) } else { Op::interval_imm(new, high) };
        }
        // The fields: couplings, layers, activation, weight bits, direction, density.
        2 if op.opcode == Opcode::Couplings && !random.one_in(3) => {
            op.imm ^= 1 << random.pick(&[0, 8, 16, 17, 18, 19, 19, 20])
        }
        2 if op.opcode == Opcode::Conv && !random.one_in(3) => op.imm = geometry(op.imm, random),
        2 if op.opcode.facts().opens_loop() && random.one_in(4) => {
            op.arg = op.arg.wrapping_add(random.pick(&[1, u16::MAX]))
        }
        2 if op.opcode.rules().uses_imm() && (op.opcode.facts().opens_loop() || !op.opcode.rules().uses_arg()) => {
            op.imm = changed(op.imm, random)
        }
        2 => op.arg = random.below(sections.count(8) + 1) as u16,
        _ => op.output = random.below(sections.count(6).min(24)) as u16,
    }
    write_op(words, sections, (index, op));
}

/// Makes an operation read another tensor of its program, and extends the lifetime of that tensor. This reads values
/// that must not be read, such as scratch and the outputs of open loops, or one vector twice.
fn rewire(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let Some((index, mut op)) = any_op(words, sections, random, |op| op.opcode.inputs() > 0) else { return };
    let Some(record) = sections.owner(words, index) else { return };
    let reference = random.below(record.tensors_len as usize);
    let at = (record.tensors_start as usize + reference) * TENSOR_WORDS + sections.tensors;
    if record.tensors_len == 0 {
        return;
    }
    let mut tensor = Tensor::read(&words[at..at + TENSOR_WORDS], 0);
    tensor.last = tensor.last.max((index - record.ops_start as usize) as u16 + 1);
    words[at..at + TENSOR_WORDS].copy_from_slice(&tensor.encode());
    op.inputs[random.below(op.opcode.inputs())] = reference as u16;
    write_op(words, sections, (index, op));
}

/// Changes one field of a convolution's geometry, most often to a slightly larger or smaller value.
fn geometry(imm: u32, random: &mut Random) -> u32 {
    let (shift, mask) = random.pick(&[(0, 255u32), (8, 255), (16, 15), (20, 15), (24, 15), (28, 15)]);
    let any = random.bits() as u32;
    let near = random.pick(&[1, u32::MAX, 2, u32::MAX - 1, any]);
    let field = (imm >> shift & mask).wrapping_add(near) & mask;
    imm & !(mask << shift) | field << shift
}

fn tensor_field(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let at = sections.tensors + random.below(sections.count(6)) * TENSOR_WORDS;
    if at + TENSOR_WORDS > sections.ops {
        return;
    }
    let mut tensor = Tensor::read(&words[at..at + TENSOR_WORDS], 0);
    let near = random.pick(&[1u32, 2, 4, u32::MAX, u32::MAX - 1, u32::MAX - 3]);
    match random.below(7) {
        0 => tensor.frac = tensor.frac.wrapping_add(near as u8),
        1 => tensor.frac = random.below(18) as u8,
        2 => tensor.bound = if random.one_in(2) { tensor.bound / 2 } else { tensor.bound.wrapping_add(near as u16) },
        3 => tensor.len = tensor.len.wrapping_add(near),
        4 => tensor.offset = tensor.offset.wrapping_add(near.wrapping_mul(4)),
        5 => tensor.first = tensor.first.wrapping_add(near as u16),
        _ => tensor.last = tensor.last.wrapping_add(near as u16),
    }
    words[at..at + TENSOR_WORDS].copy_from_slice(&tensor.encode());
}

fn any_records(sections: &Sections, random: &mut Random) -> (usize, usize, usize) {
    match random.below(5) {
        0 => (sections.programs, PROGRAM_WORDS, 5),
        1 => (sections.tensors, TENSOR_WORDS, 6),
        2 | 3 => (sections.ops, OP_WORDS, 7),
        _ => (sections.matrices, MATRIX_WORDS, 8),
    }
}

fn swap_records(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let (start, size, field) = any_records(sections, random);
    let count = sections.count(field);
    if count > 1 {
        let (a, b) = (random.below(count), random.below(count));
        for i in 0..size {
            words.swap(start + a * size + i, start + b * size + i);
        }
    }
}

fn copy_record(words: &mut [u32], sections: &Sections, random: &mut Random) {
    let (start, size, field) = any_records(sections, random);
    let count = sections.count(field);
    if count > 1 {
        let (from, to) = (start + random.below(count) * size, start + random.below(count) * size);
        words.copy_within(from..from + size, to);
    }
}

/// Adds or removes a record. For a program this is often the only change.
fn insert_or_delete(words: &mut [u32], len: usize, sections: &Sections, random: &mut Random) -> usize {
    let (start, size, field) = any_records(sections, random);
    let count = sections.count(field);
    let at = start + random.below(count) * size;
    if count == 0 {
        return len;
    }
    if random.one_in(3) {
        if len + size > words.len() {
            return len;
        }
        words.copy_within(at..len, at + size);
        words[field] += 1;
        if random.one_in(2) {
            words[at] = changed(words[at], random);
        }
        len + size
    } else {
        words.copy_within(at + size..len, at);
        words[field] -= 1;
        len - size
    }
}

fn resize(words: &mut [u32], len: usize, random: &mut Random) -> usize {
    let by = random.below(6);
    if random.one_in(2) {
        len.saturating_sub(by)
    } else {
        let end = (len + by).min(words.len());
        words[len..end].fill(0);
        end
    }
}
