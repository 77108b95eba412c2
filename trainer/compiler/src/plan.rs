//! Planning: float programs become integer programs, every tensor with a scale, a bound, a lifetime and a place.

use crate::assemble::{PlannedProgram, QuantizedMatrix};
use crate::graph::{FloatProgram, Immediate, Node, NodeId};
use crate::quantize::Matrices;
use crate::scales::{Scales, input_format, nats, rescaled};
use elbo::bounds::{OperandError, output_bounds, scratch_len};
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, Tensor, TensorKind, op_cost};

/// A program that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[error("operation {op} ({opcode:?}) of program {program} cannot take its operands: {reason:?}")]
pub struct PlanError {
    program: &'static str,
    op: usize,
    opcode: Opcode,
    reason: OperandError,
}

/// Inserts what integers need and floats do not: an operand that is finer than its reader takes is rounded in between, once
/// for all readers of that scale; and the product with a layer that has a remainder is the sum of two.
fn legalize(
    program: &FloatProgram,
    fracs: &[u32],
    scales: &Scales,
    remainders: &[Option<usize>],
) -> (FloatProgram, Vec<u32>) {
    let wanted = rescaled(program, fracs, &scales.layers);
    let (mut nodes, mut new_fracs) = (Vec::<Node>::new(), Vec::new());
    let mut renamed: Vec<NodeId> = Vec::new();
    // What was rounded to which scale, and in how many open loops: a copy made inside a loop is not there after it.
    let mut rounded: Vec<(NodeId, u32, NodeId)> = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        if matches!(node.opcode, Some(Opcode::Loop | Opcode::End)) {
            rounded.clear();
        }
        let mut node = node.clone();
        for (slot, input) in node.inputs.iter_mut().enumerate() {
            let source = *input;
            *input = renamed[source];
            let Some((.., frac)) = wanted.iter().find(|(reader, of, _)| (*reader, *of) == (at, slot)) else {
                continue;
            };
            let known = rounded.iter().find(|(of, to, _)| (*of, *to) == (source, *frac));
            *input = known.map(|(.., copy)| *copy).unwrap_or_else(|| {
                let full = 32767.0 / (1u32 << frac) as f32;
                let original = &program.nodes[source];
                nodes.push(Node {
                    opcode: Some(Opcode::Clamp),
                    param: 0,
                    inputs: vec![renamed[source]],
                    len: original.len,
                    layer: 0,
                    imm: Immediate::Interval([-full, full]),
                });
                new_fracs.push(*frac);
                rounded.push((source, *frac, nodes.len() - 1));
                nodes.len() - 1
            });
        }
        let rest = remainders[node.layers()].first().copied().flatten().map(|layer| Node { layer, ..node.clone() });
        nodes.push(node);
        if let Some(rest) = rest {
            let (sum, len) = (vec![nodes.len() - 1, nodes.len()], rest.len);
            nodes.push(rest);
            let imm = Immediate::None;
            nodes.push(Node { opcode: Some(Opcode::AddVec), param: 0, inputs: sum, len, layer: 0, imm });
        }
        new_fracs.resize(nodes.len(), fracs[at]);
        renamed.push(nodes.len() - 1);
    }
    let outputs = program.outputs.iter().map(|output| renamed[*output]).collect();
    (FloatProgram { kind: program.kind, nodes, outputs }, new_fracs)
}

/// The integers of an operation's immediates.
fn immediates(node: &Node, frac: u32) -> (u32, i8) {
    match node.imm {
        Immediate::None if node.opcode == Some(Opcode::OneHot) => (1 << frac, 0),
        Immediate::None => (0, node.param),
        Immediate::Iterations(count) => (count, 0),
        Immediate::Interval(interval) => {
            let [low, high] = interval.map(|v| (v * (1u32 << frac) as f32).round().clamp(-32768.0, 32767.0) as i16);
            (Op::interval_imm(low, high), 0)
        }
        Immediate::Start(start) => (start as u32, 0),
        Immediate::Constant(constant) => ((f64::from(constant) * 65536.0).round() as i32 as u32, 0),
        Immediate::Stack(stack) => stack.pack(),
        Immediate::Geometry(geometry) => geometry.pack(),
    }
}

/// Plans program `index` of a model over the quantised `matrices`.
///
/// # Errors
/// [`PlanError`] when a scale or a bound does not fit an operation.
pub fn plan(
    program: &FloatProgram,
    index: usize,
    scales: &Scales,
    matrices: &Matrices,
) -> Result<PlannedProgram, PlanError> {
    let (program, fracs) = legalize(program, &scales.nodes[index], scales, &matrices.remainders);
    let records: Vec<Matrix> = matrices.all.iter().map(record).collect();
    let matrices = |index: u16| records.get(usize::from(index)).copied();
    let nats = nats(&program);
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut tensor_of: Vec<u16> = Vec::new();
    let mut ops: Vec<Op> = Vec::new();
    let mut open: Vec<(u16, u64)> = Vec::new();
    let mut inputs_seen = [NO_TENSOR; 2];
    let (mut repeat, mut work, mut macs) = (1u64, 0u64, 0u64);

    for (at, node) in program.nodes.iter().enumerate() {
        let frac = fracs[at];
        let kind = if nats[at] { TensorKind::Nats } else { TensorKind::I16 };
        let here = ops.len() as u16 + 1;
        let mut output =
            Tensor { kind, frac: frac as u8, len: node.len as u32, first: here, last: here, ..Tensor::default() };
        let Some(opcode) = node.opcode else {
            if node.is_third() {
                // The operation has made it.
                let of = tensor_of[node.inputs[0]];
                tensor_of.push(ops.iter().find(|op| op.output == of).map_or(NO_TENSOR, |op| op.inputs[2]));
                continue;
            }
            let slot = usize::from(inputs_seen[0] != NO_TENSOR);
            inputs_seen[slot] = tensors.len() as u16;
            tensor_of.push(tensors.len() as u16);
            (output.bound, output.first, output.last) = (input_format(program.kind, slot, scales.data).1, 0, 0);
            tensors.push(output);
            continue;
        };
        let (imm, param) = immediates(node, frac);
        let mut op = Op {
            opcode,
            param,
            output: tensors.len() as u16,
            inputs: [NO_TENSOR; 3],
            arg: if node.layers().is_empty() { 0 } else { node.layer as u16 },
            imm,
        };
        for (slot, input) in op.inputs.iter_mut().zip(&node.inputs) {
            *slot = tensor_of[*input];
        }
        if opcode.writes_extra() {
            op.inputs[2] = tensors.len() as u16 + 1;
        }
        let fail = |reason| PlanError { program: program.kind.name(), op: usize::from(here) - 1, opcode, reason };
        let mut operands = op.inputs.map(|input| tensors.get(usize::from(input)).copied().unwrap_or_default());
        if opcode.writes_extra() {
            operands[2] = match opcode {
                Opcode::Conv => {
                    let len = scratch_len(&op, &matrices).ok_or_else(|| fail(OperandError::Shape))?;
                    Tensor { kind: TensorKind::I16, frac: operands[0].frac, len, ..output }
                }
                _ => Tensor { kind: TensorKind::Nats, frac: 16, len: 1, ..output },
            };
        }
        let closing = (opcode == Opcode::End).then(|| open.pop()).flatten();
        if let Some((vector, _)) = closing {
            op.output = NO_TENSOR;
            output = tensors[usize::from(vector)];
        }
        let bounds = output_bounds(&op, &operands, &output, &matrices).map_err(fail)?;
        let len = if opcode.inputs() == 0 { output.len } else { operands[0].len };
        let cost = op_cost(&op, len, operands[1].len, &matrices);
        work += cost.work * repeat;
        macs += cost.macs * repeat;
        if opcode == Opcode::Loop {
            open.push((tensors.len() as u16, repeat));
            repeat *= u64::from(imm);
        }
        match closing {
            Some((vector, outside)) => {
                repeat = outside;
                tensors[usize::from(vector)].bound = bounds.output;
                tensor_of.push(vector);
            }
            None => {
                tensor_of.push(tensors.len() as u16);
                output.bound = bounds.output;
                tensors.push(output);
                if opcode.writes_extra() {
                    tensors.push(Tensor { bound: bounds.extra, ..operands[2] });
                }
            }
        }
        ops.push(op);
    }

    let outputs: Vec<u16> = program.outputs.iter().map(|output| tensor_of[*output]).collect();
    set_lifetimes(&mut tensors, &ops, &outputs);
    place(&mut tensors, &ops);
    let second = outputs.get(1).copied().unwrap_or(NO_TENSOR);
    Ok(PlannedProgram {
        kind: program.kind,
        ops,
        tensors,
        inputs: inputs_seen,
        outputs: [outputs[0], second],
        work,
        macs,
    })
}

fn record(matrix: &QuantizedMatrix) -> Matrix {
    Matrix {
        rows: matrix.rows as u32,
        cols: matrix.cols as u32,
        packing: None,
        input_bound: matrix.input_bound,
        output_bound: matrix.output_bound(),
        params: 0,
        weights: 0,
    }
}

fn set_lifetimes(tensors: &mut [Tensor], ops: &[Op], outputs: &[u16]) {
    let mut open: Vec<u16> = Vec::new();
    let mut loops: Vec<(u16, u16)> = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let here = index as u16 + 1;
        for input in op.inputs.iter().filter(|input| **input != NO_TENSOR) {
            let tensor = &mut tensors[usize::from(*input)];
            tensor.last = tensor.last.max(here);
        }
        match op.opcode {
            Opcode::Loop => open.push(here),
            Opcode::End => loops.extend(open.pop().map(|start| (start, here))),
            _ => {}
        }
    }
    // What is read inside a loop and was written before it is read again by every iteration.
    for (start, end) in loops {
        for tensor in tensors.iter_mut() {
            if (tensor.first <= start && tensor.last > start) || tensor.first == start {
                tensor.last = tensor.last.max(end);
            }
        }
    }
    for output in outputs {
        tensors[usize::from(*output)].last = ops.len() as u16 + 1;
    }
}

/// Gives every tensor a place, largest first, in the lowest gap that no tensor alive at the same time occupies. An operation
/// that can work in place takes over the memory of an input that dies with it.
fn place(tensors: &mut [Tensor], ops: &[Op]) {
    let mut group: Vec<usize> = (0..tensors.len()).collect();
    for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.opcode.in_place()) {
        let here = index as u16 + 1;
        let new = usize::from(op.output);
        let dying = op.inputs.iter().filter(|input| **input != NO_TENSOR).map(|input| usize::from(*input));
        let taken = dying.rev().find(|old| tensors[*old].last == here && tensors[*old].len == tensors[new].len);
        if let Some(old) = taken {
            group[new] = group[old];
        }
    }
    let group = group.as_slice();
    let members = |leader: usize| (0..group.len()).filter(move |t| group[*t] == leader);
    let mut leaders: Vec<usize> = (0..group.len()).filter(|t| group[*t] == *t).collect();
    leaders.sort_by_key(|leader| std::cmp::Reverse((tensors[*leader].extent(), std::cmp::Reverse(*leader))));
    let mut placed: Vec<usize> = Vec::new();
    for leader in leaders {
        let together = |a: &Tensor, b: &Tensor| a.first <= b.last && b.first <= a.last;
        let mut taken: Vec<(u32, u32)> = placed
            .iter()
            .filter(|other| members(leader).any(|m| together(&tensors[m], &tensors[**other])))
            .map(|other| (tensors[*other].offset, tensors[*other].offset + tensors[*other].extent()))
            .collect();
        taken.sort_unstable();
        let extent = tensors[leader].extent();
        let offset = taken.iter().fold(0, |at, (start, end)| if at + extent <= *start { at } else { at.max(*end) });
        let group_members: Vec<usize> = members(leader).collect();
        for member in group_members {
            tensors[member].offset = offset;
            placed.push(member);
        }
    }
}
