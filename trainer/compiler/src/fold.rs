//! Folding: simplifies the float model without changing its results.
//!
//! - Two dense layers with nothing between them become one, if this adds neither weights nor multiply-accumulates.
//! - A clamp or a rectifier is removed if the range of its operand makes it the identity.
//! - Operations and layers that no output needs are removed. Noise is kept even if nothing reads it, because the draws
//!   that a program takes determine the later ones.
//!
//! Features are standardised before a model sees them (by `Dataset` on the host, by the caller on a device), and not by
//! the model's first layer. The reason is that a Gaussian likelihood reads the same standardised row as the encoder.

use crate::graph::{DenseLayer, FloatModel, FloatProgram, Node, NodeId};
use elbo::program::{Opcode, Range};

#[cfg(test)]
mod tests;

/// The folded model. Its programs give the same results up to rounding.
#[must_use]
pub fn fold(mut model: FloatModel) -> FloatModel {
    while let Some(merged) = (0..model.layers.len()).find_map(|layer| merge(&model, layer)) {
        model = merged;
    }
    for program in &mut model.programs {
        drop_identities(program);
        drop_dead_nodes(program);
    }
    drop_dead_layers(&mut model);
    model
}

fn reads_layer(program: &FloatProgram, node: NodeId, layer: usize) -> bool {
    program.nodes[node].opcode() == Some(Opcode::Dense) && program.nodes[node].layer == layer
}

/// `model` with the dense layer `inner` merged into the layers that read it. `None` if anything else reads it, if those
/// layers also read something else, or if the merged layers cost more.
fn merge(model: &FloatModel, inner: usize) -> Option<FloatModel> {
    let mut outers: Vec<usize> = Vec::new();
    for program in &model.programs {
        if program.outputs.iter().any(|output| reads_layer(program, *output, inner)) {
            return None;
        }
        for node in &program.nodes {
            if node.inputs.iter().any(|input| reads_layer(program, *input, inner)) {
                if node.opcode() != Some(Opcode::Dense) || node.layer == inner {
                    return None;
                }
                outers.push(node.layer);
            }
        }
    }
    outers.sort_unstable();
    outers.dedup();
    let only_reads_inner = |program: &FloatProgram, node: &Node| {
        let outer = node.opcode() == Some(Opcode::Dense) && outers.contains(&node.layer);
        !outer || reads_layer(program, node.inputs[0], inner)
    };
    if outers.is_empty() || !model.programs.iter().all(|p| p.nodes.iter().all(|node| only_reads_inner(p, node))) {
        return None;
    }

    let mut merged = model.clone();
    for outer in outers {
        merged.layers[outer] = product(&model.layers[outer], &model.layers[inner]);
        merged.layer_names[outer] = format!("{}+{}", model.layer_names[inner], model.layer_names[outer]);
        for program in &mut merged.programs {
            for at in 0..program.nodes.len() {
                if reads_layer(program, at, outer) {
                    let between = program.nodes[at].inputs[0];
                    program.nodes[at].inputs[0] = program.nodes[between].inputs[0];
                }
            }
        }
    }
    merged.programs.iter_mut().for_each(drop_dead_nodes);
    let macs = |m: &FloatModel| m.programs.iter().map(|p| macs(m, p)).collect::<Vec<u64>>();
    let dearer = macs(&merged).iter().zip(macs(model)).any(|(after, before)| *after > before);
    drop_dead_layers(&mut merged);
    (!dearer && weights(&merged) <= weights(model)).then_some(merged)
}

/// One layer that computes `outer` after `inner`. Its weights are computed in double precision.
fn product(outer: &DenseLayer, inner: &DenseLayer) -> DenseLayer {
    let (mut w, mut b) = (Vec::with_capacity(outer.out * inner.inp), Vec::with_capacity(outer.out));
    for (row, bias) in outer.w.chunks_exact(outer.inp).zip(&outer.b) {
        let mut sums = vec![0f64; inner.inp];
        let mut sum = f64::from(*bias);
        for ((factor, inner_row), inner_bias) in row.iter().zip(inner.w.chunks_exact(inner.inp)).zip(&inner.b) {
            let factor = f64::from(*factor);
            sums.iter_mut().zip(inner_row).for_each(|(sum, w)| *sum += factor * f64::from(*w));
            sum += factor * f64::from(*inner_bias);
        }
        w.extend(sums.iter().map(|sum| *sum as f32));
        b.push(sum as f32);
    }
    DenseLayer { w, b, out: outer.out, inp: inner.inp }
}

fn weights(model: &FloatModel) -> usize {
    model.layers.iter().map(|layer| layer.w.len()).sum()
}

/// Multiply-accumulates of the dense layers in one run. Folding does not change those of other operations.
fn macs(model: &FloatModel, program: &FloatProgram) -> u64 {
    let mut repeats = vec![1u64];
    let mut total = 0;
    for node in &program.nodes {
        let repeat = repeats.last().copied().unwrap_or(1);
        if node.opens_loop() {
            repeats.push(repeat * u64::from(node.iterations()));
        } else if node.closes_loop() {
            repeats.pop();
        } else if node.opcode() == Some(Opcode::Dense) {
            total += repeat * model.layers[node.layer].w.len() as u64;
        }
    }
    total
}

/// The interval of all values of a node, as far as it follows from the node's operation alone.
fn range(node: &Node) -> [f32; 2] {
    const ANY: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
    match node.opcode().map_or(Range::Any, |opcode| opcode.facts().range()) {
        Range::Any => ANY,
        Range::NonNegative => [0.0, f32::INFINITY],
        Range::Unit => [0.0, 1.0],
        Range::SignedUnit => [-1.0, 1.0],
        Range::Interval => node.interval().unwrap_or(ANY),
    }
}

/// Replaces clamps and rectifiers that change nothing by their operands.
fn drop_identities(program: &mut FloatProgram) {
    let mut stands_for: Vec<NodeId> = Vec::with_capacity(program.nodes.len());
    for at in 0..program.nodes.len() {
        program.nodes[at].inputs.iter_mut().for_each(|input| *input = stands_for[*input]);
        let node = &program.nodes[at];
        let allowed = range(node);
        let identity = matches!(node.opcode(), Some(Opcode::Clamp | Opcode::Relu)) && {
            let [low, high] = range(&program.nodes[node.inputs[0]]);
            allowed[0] <= low && high <= allowed[1]
        };
        stands_for.push(if identity { node.inputs[0] } else { at });
    }
    program.outputs.iter_mut().for_each(|output| *output = stands_for[*output]);
}

/// Removes every node that no output needs, except noise.
fn drop_dead_nodes(program: &mut FloatProgram) {
    let nodes = &program.nodes;
    // The innermost loop around every node, and the end of every loop.
    let mut around: Vec<Option<NodeId>> = Vec::with_capacity(nodes.len());
    let mut end_of = vec![None; nodes.len()];
    let mut open: Vec<NodeId> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        if node.closes_loop()
            && let Some(start) = open.pop()
        {
            end_of[start] = Some(at);
        }
        around.push(open.last().copied());
        if node.opens_loop() {
            open.push(at);
        }
    }
    let mut alive = vec![false; nodes.len()];
    let draws = |node: &Node| node.opcode().is_some_and(|opcode| opcode.rules().draws_noise());
    let kept = |node: &Node| node.is_input() || draws(node);
    let mut pending: Vec<NodeId> = (0..nodes.len()).filter(|at| kept(&nodes[*at])).collect();
    pending.extend(&program.outputs);
    while let Some(at) = pending.pop() {
        if !std::mem::replace(&mut alive[at], true) {
            pending.extend(&nodes[at].inputs);
            pending.extend(around[at]);
            pending.extend(end_of[at]);
        }
    }
    let mut renamed = Vec::with_capacity(nodes.len());
    let mut count = 0;
    for alive in &alive {
        renamed.push(count);
        count += usize::from(*alive);
    }
    let mut at = 0..;
    program.nodes.retain(|_| at.next().is_some_and(|at| alive[at]));
    program.nodes.iter_mut().flat_map(|node| &mut node.inputs).for_each(|input| *input = renamed[*input]);
    program.outputs.iter_mut().for_each(|output| *output = renamed[*output]);
}

/// Removes the layers that no program uses, and renumbers the others.
fn drop_dead_layers(model: &mut FloatModel) {
    let mut read = vec![false; model.layers.len()];
    let nodes = model.programs.iter().flat_map(|program| &program.nodes);
    nodes.flat_map(Node::layers).for_each(|layer| read[layer] = true);
    let renamed: Vec<usize> = (0..read.len()).map(|at| read[..at].iter().filter(|read| **read).count()).collect();
    for node in model.programs.iter_mut().flat_map(|p| &mut p.nodes) {
        if !node.layers().is_empty() {
            node.layer = renamed[node.layer];
        }
    }
    let (mut layer, mut name) = (read.iter(), read.iter());
    model.layers.retain(|_| layer.next() == Some(&true));
    model.layer_names.retain(|_| name.next() == Some(&true));
}
