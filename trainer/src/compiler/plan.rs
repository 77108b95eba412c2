//! Planning: float programs become integer programs, every tensor with a scale, a bound, a lifetime and a place.

use super::assemble::{PlannedProgram, QuantizedMatrix};
use super::calibrate::Scales;
use super::graph::{FloatProgram, Node, NodeId};
use elbo::bounds::{OperandError, output_bound};
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, Tensor, TensorKind, op_work};

/// A program that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[error("operation {op} ({opcode:?}) of program {program} cannot take its operands: {reason:?}")]
pub struct PlanError {
    program: &'static str,
    op: usize,
    opcode: Opcode,
    reason: OperandError,
}

/// Inserts what integers need and floats do not: noise at Q3.12 that a decoder reads as a latent at another scale is rescaled.
fn legalize(program: &FloatProgram, scales: &Scales) -> FloatProgram {
    let mut nodes: Vec<Node> = Vec::new();
    let mut renamed: Vec<NodeId> = Vec::new();
    let mut rescaled: Vec<Option<NodeId>> = vec![None; program.nodes.len()];
    for node in &program.nodes {
        let mut node = node.clone();
        if node.opcode == Some(Opcode::Dense) && scales.latent != elbo::normal::FRAC {
            let source = node.inputs[0];
            if program.nodes[source].opcode == Some(Opcode::Normal) {
                let full = 32767.0 / (1u32 << scales.latent) as f32;
                let rescale = *rescaled[source].get_or_insert_with(|| {
                    nodes.push(Node {
                        opcode: Some(Opcode::Clamp),
                        inputs: vec![renamed[source]],
                        interval: [-full, full],
                        ..program.nodes[source].clone()
                    });
                    nodes.len() - 1
                });
                node.inputs[0] = usize::MAX - rescale;
            }
        }
        for input in &mut node.inputs {
            *input = if *input > program.nodes.len() { usize::MAX - *input } else { renamed[*input] };
        }
        nodes.push(node);
        renamed.push(nodes.len() - 1);
    }
    FloatProgram { kind: program.kind, nodes, outputs: program.outputs.iter().map(|o| renamed[*o]).collect() }
}

/// Plans one program over the quantised `matrices`.
///
/// # Errors
/// [`PlanError`] when a scale or a bound does not fit an operation.
pub fn plan(
    program: &FloatProgram,
    scales: &Scales,
    matrices: &[QuantizedMatrix],
) -> Result<PlannedProgram, PlanError> {
    let program = legalize(program, scales);
    let records: Vec<Matrix> = matrices.iter().map(record).collect();
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut tensor_of: Vec<u16> = Vec::new();
    let mut ops: Vec<Op> = Vec::new();
    let mut op_of: Vec<u16> = Vec::new();
    let mut open: Vec<u16> = Vec::new();
    let (mut repeat, mut work, mut macs) = (1u64, 0u64, 0u64);

    for node in &program.nodes {
        let Some(opcode) = node.opcode else {
            tensor_of.push(tensors.len() as u16);
            op_of.push(0);
            tensors.push(Tensor {
                kind: TensorKind::I16,
                frac: scales.frac(None, 0, program.kind, None) as u8,
                bound: scales.bound(program.kind),
                len: node.len as u32,
                ..Tensor::default()
            });
            continue;
        };
        let here = ops.len() as u16 + 1;
        let source = node.inputs.first().map(|input| tensors[usize::from(tensor_of[*input])]);
        let frac = match (opcode, node.inputs.first().and_then(|input| program.nodes[*input].opcode)) {
            (Opcode::Clamp, Some(Opcode::Normal)) => scales.latent,
            _ => scales.frac(Some(opcode), node.layer, program.kind, source.map(|s| u32::from(s.frac))),
        };
        let scalar = opcode != Opcode::Normal && frac == 16;
        let mut op = Op {
            opcode,
            param: node.param,
            output: tensors.len() as u16,
            inputs: [NO_TENSOR; 3],
            arg: if opcode == Opcode::Dense { node.layer as u16 } else { 0 },
            imm: node.iterations,
        };
        if opcode == Opcode::Clamp {
            let q = |v: f32| (v * (1u32 << frac) as f32).round().clamp(-32768.0, 32767.0) as i16;
            op.imm = Op::interval_imm(q(node.interval[0]), q(node.interval[1]));
        }
        for (slot, input) in op.inputs.iter_mut().zip(&node.inputs) {
            *slot = tensor_of[*input];
        }
        let inputs = op.inputs.map(|input| tensors.get(usize::from(input)).copied().unwrap_or_default());
        let mut output = Tensor {
            kind: if scalar { TensorKind::Nats } else { TensorKind::I16 },
            frac: frac as u8,
            bound: 0,
            len: node.len as u32,
            offset: 0,
            first: here,
            last: here,
        };
        let matrix = (opcode == Opcode::Dense).then(|| records[node.layer]);
        let closing = (opcode == Opcode::End).then(|| open.pop()).flatten();
        if let Some(vector) = closing {
            op.output = NO_TENSOR;
            output = tensors[usize::from(vector)];
        }
        let bound = output_bound(&op, &inputs, &output, matrix.as_ref()).map_err(|reason| PlanError {
            program: program.kind.name(),
            op: ops.len(),
            opcode,
            reason,
        })?;
        let length = if opcode.inputs() == 0 { output.len } else { inputs[0].len };
        let steps = op_work(&op, length, matrix.as_ref());
        match opcode {
            Opcode::Loop => {
                work += steps * repeat;
                repeat *= u64::from(node.iterations);
                open.push(tensors.len() as u16);
            }
            Opcode::End => {
                work += steps * repeat;
                repeat /= u64::from(output.len);
            }
            _ => work += steps * repeat,
        }
        macs += matrix.map_or(0, |m| u64::from(m.rows) * u64::from(m.cols)) * repeat;
        match closing {
            Some(vector) => {
                tensors[usize::from(vector)].bound = bound;
                tensor_of.push(vector);
            }
            None => {
                tensor_of.push(tensors.len() as u16);
                output.bound = bound;
                tensors.push(output);
            }
        }
        op_of.push(here);
        ops.push(op);
    }

    let outputs: Vec<u16> = program.outputs.iter().map(|output| tensor_of[*output]).collect();
    set_lifetimes(&mut tensors, &ops, &outputs);
    place(&mut tensors, &ops);
    let input = if program.kind.signature().inputs == 1 { 0 } else { NO_TENSOR };
    let second = outputs.get(1).copied().unwrap_or(NO_TENSOR);
    Ok(PlannedProgram {
        kind: program.kind,
        ops,
        tensors,
        inputs: [input, NO_TENSOR],
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
