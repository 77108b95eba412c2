//! The runtime and the independent interpreter agree on every tensor: of mutated seeds, of every operation at its
//! extremes, and of every operation with operands of any scale and bound.

use elbo::Arena;
use elbo::front::Statistic;
use elbo::kernel::Packing;
use elbo::program::{Immediate, Op, Opcode, ProgramKind, ScaleRule, Tensor, TensorKind};
use elbo_fuzz_blobs::builder::{Parts, Program, nats_of};
use elbo_fuzz_blobs::operands::{Applied, applied, follow, parameters, record};
use elbo_fuzz_blobs::reference::{Checked, Given, check, check_through};
use elbo_fuzz_blobs::{MEMORY, Outcome, Random, SEEDS, SPACE, extremes, run_twice, write_case};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn mutated_seeds() {
    let (mut words, mut arena) = ([0; SPACE], Arena::<MEMORY>::new());
    let mut checked = Checked::default();
    for case in 0..4000 {
        let len = write_case(case, &mut words);
        if matches!(run_twice(&mut words, len, arena.as_mut_slice()), Outcome::Ran { .. }) {
            for given in [Given::Usual, Given::Extreme(case)] {
                checked.join(&check(&words[..len], arena.as_mut_slice(), given));
            }
        }
    }
    assert!(checked.exact > 20_000 && checked.rounded > 5_000, "{checked}");
}

#[test]
fn operations_at_their_extremes() {
    let mut arena = Box::new(Arena::<{ 1 << 17 }>::new());
    for extreme in extremes::all(64) {
        let words = extreme.words();
        for given in [Given::Usual, Given::Extreme(1), Given::Extreme(2)] {
            let checked = check(&words, arena.as_mut_slice(), given);
            assert!(checked.exact > 0, "{}: {checked}", extreme.name);
        }
    }
}

/// One bit of one element is wrong, of every tensor that an operation of a seed writes with an exact definition; or much,
/// of a rounded one.
#[test]
fn a_wrong_tensor_is_noticed() {
    let mut arena = Arena::<MEMORY>::new();
    for (name, bytes) in SEEDS {
        let words: Vec<u32> = bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
        let model = elbo::Model::load(bytes, elbo::Limits::host()).unwrap();
        for kind in ProgramKind::ALL.into_iter().filter(|kind| model.program(*kind).is_some()) {
            let records = model.blob().programs().as_chunks::<12>().0;
            let record = records.iter().find(|record| record[0] == kind as u32).unwrap();
            for index in 0..record[2] as usize {
                let op = Op::read(model.blob().ops(), record[1] as usize + index);
                if matches!(op.opcode, Opcode::Loop | Opcode::End) {
                    continue;
                }
                let written = Tensor::read(model.blob().tensors(), record[3] as usize + usize::from(op.output));
                let mut altered = false;
                let by = if op.opcode.error().is_none() { 1 } else { 20 };
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    check_through(&words, arena.as_mut_slice(), Given::Usual, |of, at, arena, show| {
                        if of != kind || at != index || altered {
                            return show(arena);
                        }
                        altered = true;
                        let mut wrong = arena.to_vec();
                        let element = &mut wrong[written.offset as usize];
                        *element = element.checked_add(by).unwrap_or(*element - by);
                        show(&wrong);
                    })
                }));
                assert!(altered && outcome.is_err(), "{name}, {kind:?}: operation {index}, {:?}", op.opcode);
            }
        }
    }
}

/// Most elements of an operand.
const LONGEST: u32 = 5;

/// Every operation without matrices, with operands of random scales, bounds and lengths that reach their bounds. The
/// bound that the writer derives must hold for each result.
#[test]
fn operands_of_any_scale_and_bound() {
    let mut arena = Box::new(Arena::<{ 1 << 14 }>::new());
    let mut counts = [0u32; Opcode::ALL.len() + 1];
    for case in 0..6000 {
        let mut random = Random(case);
        let mut parts = Parts::new();
        let matrices = [0, 1, 2].map(|part| selection(&mut parts, part));
        let mut applied = Vec::new();
        parts.program(ProgramKind::Impute, |p| {
            let x = p.input(3 * LONGEST, 15, 32768);
            let _ = p.input(1, 15, 32768);
            for _ in 0..6 {
                let opcode = Opcode::ALL[random.below(Opcode::ALL.len())];
                if apply(p, opcode, x, matrices, &mut random).is_some() {
                    applied.push(opcode);
                }
            }
            let y = p.slice(x, 0, 1);
            p.outputs(&[y]);
        });
        let words = parts.words();
        for round in 0..4 {
            check(&words, arena.as_mut_slice(), Given::Extreme(case * 4 + round));
        }
        applied.into_iter().for_each(|opcode| counts[opcode as usize] += 1);
    }
    for opcode in Opcode::ALL {
        let rules = opcode.rules();
        let covered = (follow(opcode) || opcode.facts().is_invertible()) && rules.inputs() > 0;
        assert!(!covered || counts[opcode as usize] > 30, "{opcode:?}: {counts:?}");
    }
}

/// Every reduction of long vectors whose elements are all at a limit, at every scale that matters. Sums are then as large
/// as they can be.
#[test]
fn long_operands_at_their_limits() {
    let mut arena = Box::new(Arena::<{ 4 << 16 }>::new());
    let mut counts = [0u32; Opcode::ALL.len() + 1];
    for opcode in Opcode::ALL {
        let rules = opcode.rules();
        let reduces = rules.output_kind() == Some(TensorKind::Nats) && rules.output_len(2) == Some(1);
        if !reduces || rules.input_kind(0) != Some(TensorKind::I16) {
            continue;
        }
        for (len, fracs) in [1, 3, 1 << 15, (1 << 15) + 1, 1 << 16].into_iter().flat_map(|len| {
            [[0, 0], [1, 0], [0, 11], [8, 11], [11, 11], [8, 15], [15, 8], [15, 15]].map(|fracs| (len, fracs))
        }) {
            let mut parts = Parts::new();
            let mut accepted = false;
            parts.program(ProgramKind::Impute, |p| {
                let x = p.input(len, fracs[0], 32768);
                let other = p.input(len, fracs[1], 32768);
                let y = p.slice(x, 0, 1);
                let same = p.clamp(other, fracs[0].min(fracs[1]), i16::MIN, i16::MAX);
                for inputs in [[x, other, x], [x, other, same], [x, x, x], [same, other, x]] {
                    let inputs = &inputs[..rules.inputs()];
                    let mut takes = |param| p.try_op(record(opcode, param, 0), inputs, nats_of(1)).is_some();
                    accepted |= takes(0);
                    accepted |= rules.uses_param() && (1..=i8::MAX).rev().any(takes);
                }
                p.outputs(&[y]);
            });
            if !accepted {
                continue;
            }
            counts[opcode as usize] += 1;
            let words = parts.words();
            for level in [i16::MIN, i16::MAX, 1] {
                check(&words, arena.as_mut_slice(), Given::Level(level));
            }
        }
        assert!(counts[opcode as usize] >= 5, "{opcode:?}: {counts:?}");
    }
}

/// A matrix that copies one of three parts of its input.
fn selection(parts: &mut Parts, part: usize) -> u16 {
    let len = LONGEST as usize;
    let weight = |row: usize, col: usize| if col == part * len + row { 127 } else { 0 };
    parts.matrix([len, 3 * len], Packing::RowMajor, 32768, weight, |_| 0, |_| (1 << 25) + (1 << 18) + 2065)
}

/// Activations of a scale with a bound that they reach.
fn operand(p: &mut Program<'_>, x: u16, matrix: u16, len: u32, frac: u8, random: &mut Random) -> u16 {
    let copied = p.dense(x, matrix, frac);
    let bound = [1, 2, 1 << random.below(16), random.below(32768) as u32 + 1, 32768, 32768][random.below(6)];
    let (low, high) = (-(bound as i32), bound.min(32767) as i16);
    let clamped = p.clamp(copied, frac, low as i16, high);
    p.slice(clamped, 0, len)
}

/// Scalars of a bound from a few bits to the largest.
fn scalars(p: &mut Program<'_>, count: u32, random: &mut Random) -> Option<u16> {
    let collected = (count > 1 || random.below(2) == 0).then(|| p.begin(count));
    let draws = p.normal(1 + random.below(3) as u32);
    let mut term = match random.below(3) {
        0 => p.scalar(Opcode::HalfSumSq, &[draws], 0),
        1 => p.scalar(Opcode::Sum, &[draws], -12),
        _ => p.scalar(Opcode::Sum, &[draws], 12),
    };
    for _ in 0..random.below(45) {
        match p.try_op(record(Opcode::Add, 0, 0), &[term, term], nats_of(1)) {
            Some(sum) => term = sum,
            None => break,
        }
    }
    if random.below(2) == 0 {
        term = p.scalar(Opcode::Neg, &[term], 0);
    }
    match collected {
        Some(vector) => {
            p.end(vector, term);
            Some(vector)
        }
        None => Some(term),
    }
}

/// A flow of one or two steps.
fn flow(p: &mut Program<'_>, opcode: Opcode, x: u16, matrices: [u16; 3], random: &mut Random) -> u16 {
    let planar = opcode == Opcode::Planar;
    let dimensions = 1 + random.below(if planar { 2 } else { 3 }) as u32;
    let width = if planar { 2 * dimensions + 1 } else { dimensions + 2 };
    let [z_frac, frac] = [0; 2].map(|_| 8 + random.below(8) as u8);
    let z = operand(p, x, matrices[0], dimensions, z_frac, random);
    let mut params = operand(p, x, matrices[1], width, frac, random);
    if random.below(2) == 0 {
        let more = operand(p, x, matrices[2], width, frac, random);
        params = p.concat(params, more, frac);
    }
    p.flow(opcode, z, params, random.below(2) == 0)
}

/// Appends an operation with operands that its line in the table allows; none if it refuses them all the same.
fn apply(p: &mut Program<'_>, opcode: Opcode, x: u16, matrices: [u16; 3], random: &mut Random) -> Option<u16> {
    let rules = opcode.rules();
    if matches!(opcode, Opcode::Planar | Opcode::Radial) {
        return Some(flow(p, opcode, x, matrices, random));
    }
    let lens = [0; 2].map(|_| 1 + random.below(LONGEST as usize) as u32);
    let shapes: Vec<Applied> = applied(opcode, &lens).into_iter().filter(|some| !some.inputs.is_empty()).collect();
    let mut chosen = shapes.get(random.below(shapes.len().max(1)))?.clone();
    if chosen.output.kind == TensorKind::I16 && !matches!(rules.written_scale(), ScaleRule::Exactly(_)) {
        chosen.output.frac = [random.below(16) as u8, 8, 0][random.below(3)];
    }
    for slot in 0..chosen.inputs.len() {
        let fracs = match rules.input_scale(slot) {
            ScaleRule::Exactly(frac) => frac..=frac,
            ScaleRule::SameAsFirst => chosen.inputs[0].frac..=chosen.inputs[0].frac,
            ScaleRule::SameAsOutput => chosen.output.frac..=chosen.output.frac,
            ScaleRule::AtLeast(least) => least..=15,
            ScaleRule::NotCoarserThanOutput => chosen.output.frac..=15,
            ScaleRule::ReadAtMost(_) | ScaleRule::Any => 0..=15,
        };
        if chosen.inputs[slot].kind == TensorKind::I16 {
            let fracs: Vec<u8> = fracs.collect();
            chosen.inputs[slot].frac = fracs[random.below(fracs.len())];
        }
    }
    chosen.op.imm = match opcode.facts().imm() {
        Immediate::Interval => random.bits() as u32,
        Immediate::Factor => random.below(32768) as u32,
        Immediate::Nats => [random.bits() as u32, i32::MIN as u32, i32::MAX as u32][random.below(3)],
        Immediate::Index => random.below(2) as u32,
        Immediate::Statistics => 1 << random.below(Statistic::ALL.len()),
        Immediate::None
        | Immediate::Iterations
        | Immediate::Value
        | Immediate::Geometry
        | Immediate::Couplings
        | Immediate::Bands => chosen.op.imm,
    };
    let parameters = parameters(&chosen);
    chosen.op.param = *parameters.get(random.below(parameters.len().max(1)))?;
    let mut inputs = Vec::new();
    for (slot, input) in chosen.inputs.iter().enumerate() {
        inputs.push(match input.kind {
            TensorKind::Nats => scalars(p, input.len, random)?,
            TensorKind::I16 | TensorKind::Invalid => operand(p, x, matrices[slot], input.len, input.frac, random),
        });
    }
    p.try_op(chosen.op, &inputs, chosen.output)
}
