//! Planning: float programs become integer programs in which every tensor has a scale and a place.

use crate::graph::{FloatProgram, Immediate, Node, NodeId, NodeKind};
use crate::quantize::Matrices;
use crate::scales::{Scales, input_format, rescaled};
use elbo::kernel::Packing;
use elbo::program::{Matrix, NO_TENSOR, Op, Opcode, Tensor};
use elbo_writer::{Program, ProgramWriter, WriteError, nats, operation, vector};

/// A program that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[error("program {program}: {source}")]
pub struct PlanError {
    program: &'static str,
    source: WriteError,
}

/// Inserts the operations that only integers need. An operand that is finer than its reader accepts is rounded first,
/// once for all readers of that scale. The product with a layer that has a remainder becomes the sum of two products.
fn legalize(
    program: &FloatProgram,
    fracs: &[u32],
    scales: &Scales,
    remainders: &[Option<usize>],
) -> (FloatProgram, Vec<u32>) {
    let wanted = rescaled(program, fracs, &scales.layers);
    let (mut nodes, mut new_fracs) = (Vec::<Node>::new(), Vec::new());
    let mut renamed: Vec<NodeId> = Vec::new();
    // The rounded copies: source, scale and copy. A copy made inside a loop does not exist after the loop.
    let mut rounded: Vec<(NodeId, u32, NodeId)> = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        if node.opens_loop() || node.closes_loop() {
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
                    kind: NodeKind::Operation(Opcode::Clamp),
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
            nodes.push(Node { kind: NodeKind::Operation(Opcode::AddVec), param: 0, inputs: sum, len, layer: 0, imm });
        }
        new_fracs.resize(nodes.len(), fracs[at]);
        renamed.push(nodes.len() - 1);
    }
    let outputs = program.outputs.iter().map(|output| renamed[*output]).collect();
    (FloatProgram { kind: program.kind, nodes, outputs }, new_fracs)
}

/// Plans program `index` of a model over the quantised `matrices`.
///
/// # Errors
/// [`PlanError`] if an operation does not support a scale or a bound.
pub fn plan(program: &FloatProgram, index: usize, scales: &Scales, matrices: &Matrices) -> Result<Program, PlanError> {
    let (program, fracs) = legalize(program, &scales.nodes[index], scales, &matrices.remainders);
    // The packing and the place of a matrix have no effect on a program.
    let records: Vec<Matrix> = matrices.all.iter().map(|matrix| matrix.layer(Packing::RowMajor).record(0)).collect();
    let written = write(&program, &fracs, scales, &records);
    let mut planned = written.map_err(|source| PlanError { program: program.kind.name(), source })?;
    place(&mut planned.tensors, &planned.ops);
    Ok(planned)
}

/// Writes a program at the scales `fracs`. Its nodes must be operations that integers can compute.
fn write(program: &FloatProgram, fracs: &[u32], scales: &Scales, matrices: &[Matrix]) -> Result<Program, WriteError> {
    let in_nats = crate::scales::nats(program);
    let mut writer = ProgramWriter::new(program.kind, matrices);
    let mut tensor_of: Vec<u16> = Vec::new();
    let mut inputs = 0;
    for (at, node) in program.nodes.iter().enumerate() {
        let (len, frac) = (node.len as u32, fracs[at] as u8);
        let tensor = if let Some(opcode) = node.opcode() {
            let operands: Vec<u16> = node.inputs.iter().map(|input| tensor_of[*input]).collect();
            let (imm, param) = node.integers(fracs[at]);
            let arg = if node.layers().is_empty() { 0 } else { node.layer as u16 };
            let output: Tensor = if in_nats[at] { nats(len) } else { vector(len, frac) };
            writer.append(Op { param, arg, imm, ..operation(opcode, &operands) }, output)?
        } else if node.is_log_det() {
            // The operation has already created this tensor.
            writer.extra_of(tensor_of[node.inputs[0]]).unwrap_or(NO_TENSOR)
        } else {
            let (_, bound) = input_format(program.kind, inputs, scales.data);
            inputs += 1;
            writer.input(len, frac, bound)?
        };
        tensor_of.push(tensor);
    }
    let outputs: Vec<u16> = program.outputs.iter().map(|output| tensor_of[*output]).collect();
    writer.outputs(&outputs)?;
    writer.finish()
}

/// Gives every tensor a place, the largest first: the lowest gap that no tensor alive at the same time occupies. An
/// operation that can work in place takes over the memory of an input that it reads last.
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
