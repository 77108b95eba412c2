//! Operands of every operation, derived from the table of operations. A new operation of vectors or scalars is therefore
//! in the seed of the table, in the extremes that are measured, and in the tests of the independent interpreter.

use elbo::bounds::output_bounds;
use elbo::program::{Extra, Immediate, NO_TENSOR, Op, Opcode, ScaleRule, Tensor, TensorKind};
use elbo_writer::{nats, vector};

/// Fractional bits of operands and results whose scale is free: those of noise.
pub const FRAC: u8 = elbo::normal::FRAC as u8;
/// log2 of a bound that scalars of noise stay below.
const NATS_LOG2: u16 = 40;

/// An operation with operands and an output that it accepts.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The record. The references to tensors are not filled in.
    pub op: Op,
    /// Type, scale, bound and length of each operand.
    pub inputs: Vec<Tensor>,
    /// Type, scale and length of the output.
    pub output: Tensor,
}

/// The record of an operation without references to tensors.
pub fn record(opcode: Opcode, param: i8, imm: u32) -> Op {
    Op { opcode, param, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm }
}

/// Whether the operands of an operation follow from the table. Those of the others also depend on matrices, on a loop, or
/// on the shape of a flow.
pub fn follow(opcode: Opcode) -> bool {
    let (rules, facts) = (opcode.rules(), opcode.facts());
    let outside = !rules.only_in_loop() && !facts.opens_loop() && !facts.closes_loop();
    outside && !rules.uses_arg() && rules.extra() == Extra::None
}

/// Every way to apply an operation to noise, and to scalars of noise, of the given lengths. None if its operands do not
/// [follow](follow()) from the table.
pub fn applied(opcode: Opcode, lens: &[u32]) -> Vec<Applied> {
    if !follow(opcode) {
        return Vec::new();
    }
    let rules = opcode.rules();
    let mut inputs: Vec<Vec<u32>> = vec![Vec::new()];
    for _ in 0..rules.inputs() {
        inputs = inputs.iter().flat_map(|some| lens.iter().map(|len| [&some[..], &[*len]].concat())).collect();
    }
    let shapes = inputs.iter().flat_map(|inputs| outputs(opcode, inputs, lens).map(|output| (&inputs[..], output)));
    shapes.filter_map(|(inputs, output)| of(opcode, inputs, output)).collect()
}

/// The lengths that an output may have, besides those that the operation refuses.
pub fn outputs(opcode: Opcode, inputs: &[u32], lens: &[u32]) -> impl Iterator<Item = u32> {
    let settled = opcode.rules().output_len(inputs.first().copied().unwrap_or(0)).filter(|_| !inputs.is_empty());
    let mut free = [lens, &[inputs.iter().sum()]].concat();
    free.sort_unstable();
    free.dedup();
    settled.map_or(free, |len| vec![len]).into_iter()
}

/// An operation with operands and an output of the given lengths, if it accepts them.
pub fn of(opcode: Opcode, inputs: &[u32], output: u32) -> Option<Applied> {
    let rules = opcode.rules();
    let operand = |(slot, len): (usize, &u32)| match rules.input_kind(slot) {
        Some(TensorKind::Nats) => Tensor { bound: NATS_LOG2, ..nats(*len) },
        _ => Tensor { bound: elbo::normal::MAX as u16, ..vector(*len, FRAC) },
    };
    let frac = if let ScaleRule::Exactly(frac) = rules.written_scale() { frac } else { FRAC };
    let op = record(opcode, 0, immediate(opcode.facts().imm()));
    let inputs: Vec<Tensor> = inputs.iter().enumerate().map(operand).collect();
    let applied = Applied { op, inputs, output: written(opcode, output, frac) };
    accepts(&applied).then_some(applied)
}

/// An output of this length, at a scale that activations have.
pub fn written(opcode: Opcode, len: u32, frac: u8) -> Tensor {
    if opcode.rules().output_kind() == Some(TensorKind::Nats) { nats(len) } else { vector(len, frac) }
}

/// Whether an operation accepts its operands.
pub fn accepts(applied: &Applied) -> bool {
    let mut inputs = [Tensor::default(); 3];
    inputs[..applied.inputs.len()].copy_from_slice(&applied.inputs);
    applied.output.len > 0 && output_bounds(&applied.op, &inputs, &applied.output, &|_| None).is_ok()
}

/// The values of the field `param` that the operation accepts with these operands.
pub fn parameters(applied: &Applied) -> Vec<i8> {
    let all = if applied.op.opcode.rules().uses_param() { i8::MIN..=i8::MAX } else { 0..=0 };
    let with = |param| Applied { op: Op { param, ..applied.op }, ..applied.clone() };
    all.filter(|&param| accepts(&with(param))).collect()
}

/// A value of the field `imm`.
fn immediate(of: Immediate) -> u32 {
    match of {
        Immediate::None | Immediate::Index | Immediate::Geometry | Immediate::Couplings | Immediate::Bands => 0,
        Immediate::Statistics => 1,
        Immediate::Iterations => 1,
        Immediate::Interval => Op::interval_imm(-8192, 4096),
        Immediate::Nats => 99,
        Immediate::Factor => 1 << 13,
        Immediate::Value => 1 << FRAC,
    }
}
