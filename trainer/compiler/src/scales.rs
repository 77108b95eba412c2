//! Scales: a power of two for every tensor of every program and for both sides of every layer.
//!
//! Every node first wants the finest scale at which what was seen of it fits 16 bits with room to spare. Then scales only
//! become coarser, until every operation can take its operands: a layer reads one scale in all programs, likelihoods
//! compare at one scale, flows stay at theirs. What cannot be made coarser where it is written (noise, bounded functions,
//! the data) is rounded where it is read: `plan.rs` inserts that.

use elbo::bounds::FULL;
use elbo::normal;
use elbo::program::{Opcode, ProgramKind};

use crate::calibrate::Ranges;
use crate::graph::{FloatModel, FloatProgram, Immediate, Node, NodeId};
use crate::quantize::{LayerScale, finest_output};
use crate::stimulus::{InputRange, Role, output_role, role};

/// Room above the largest value seen, so that other inputs seldom saturate.
const HEADROOM: f32 = 1.25;
/// Scale of pixels, masks and classes: Q1.14.
const UNIT_FRAC: u32 = 14;
/// Fractional bits of nats.
const NATS_FRAC: u32 = 16;
/// The largest magnitude that a latent is given room for at least: noise ends at 6.4.
const LATENT_RANGE: f32 = 7.99;

/// The scales of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// Fractional bits of every node of every program; 16 for nats.
    pub nodes: Vec<Vec<u32>>,
    /// Of every layer.
    pub layers: Vec<LayerScale>,
    /// How the data are represented.
    pub data: InputRange,
}

/// Finest scale at which `range` fits 16 bits, at most 15 bits.
pub fn finest(range: f32) -> u32 {
    (0..=15).rev().find(|frac| range * (1u32 << frac) as f32 <= 32767.0).unwrap_or(0)
}

/// Fractional bits and largest |q| of input `slot` of a program.
pub fn input_format(kind: ProgramKind, slot: usize, data: InputRange) -> (u32, u16) {
    match (role(kind, slot), data) {
        (Role::Latent, _) => (normal::FRAC, FULL - 1),
        (Role::Data, InputRange::Real(range)) => (finest(range), FULL - 1),
        _ => (UNIT_FRAC, 1 << UNIT_FRAC),
    }
}

/// How an operation treats the scale of one of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Any scale will do.
    Any,
    /// No finer than this.
    AtMost(u32),
}

/// One program with what is derived from it.
struct Shape<'p> {
    program: &'p FloatProgram,
    /// The node that a loop's `End` stores, for every loop.
    stored: Vec<Option<NodeId>>,
}

impl<'p> Shape<'p> {
    fn new(program: &'p FloatProgram) -> Self {
        let mut stored = vec![None; program.nodes.len()];
        let mut open = Vec::new();
        for (at, node) in program.nodes.iter().enumerate() {
            match node.opcode {
                Some(Opcode::Loop) => open.push(at),
                Some(Opcode::End) => {
                    if let Some(start) = open.pop() {
                        stored[start] = node.inputs.first().copied();
                    }
                }
                _ => {}
            }
        }
        Self { program, stored }
    }

    fn is_nats(&self, at: NodeId) -> bool {
        let node = &self.program.nodes[at];
        match node.opcode {
            None => node.is_third(),
            Some(Opcode::Loop) => self.stored[at].is_none_or(|stored| self.is_nats(stored)),
            Some(opcode) => writes_nats(opcode),
        }
    }

    /// What every scale of this node must be at most, by its operands.
    fn ceiling(&self, at: NodeId, fracs: &[u32], layers: &[LayerScale]) -> u32 {
        let node = &self.program.nodes[at];
        let of = |slot: usize| fracs[node.inputs[slot]];
        match node.opcode {
            Some(Opcode::Dense | Opcode::Conv) => layers[node.layer].output,
            Some(Opcode::Relu | Opcode::Clamp | Opcode::Slice | Opcode::MeanVec | Opcode::Planar | Opcode::Radial) => {
                of(0)
            }
            Some(Opcode::Concat | Opcode::Select | Opcode::AddVec | Opcode::SubVec) => of(0).min(of(1)),
            Some(Opcode::Mul | Opcode::Fma) => of(0) + of(1),
            Some(Opcode::Loop) => self.stored[at].map_or(u32::MAX, |stored| fracs[stored]),
            _ => u32::MAX,
        }
    }

    /// What operand `slot` of node `at` must be read at.
    fn demand(&self, at: NodeId, slot: usize, fracs: &[u32], layers: &[LayerScale]) -> Demand {
        let node = &self.program.nodes[at];
        match (node.opcode, slot) {
            (Some(Opcode::Dense | Opcode::Conv), _) => Demand::AtMost(layers[node.layer].input),
            (Some(Opcode::Relu | Opcode::Slice | Opcode::MeanVec | Opcode::Planar | Opcode::Radial), 0)
            | (Some(Opcode::Select), 0 | 1) => Demand::AtMost(fracs[at]),
            // What is read with more fractional bits would not fit Q16.
            (Some(Opcode::Exp | Opcode::Tanh | Opcode::Sigmoid), 0) => {
                Demand::AtMost(16u32.saturating_add_signed(-i32::from(node.param)))
            }
            (Some(Opcode::AddVec | Opcode::SubVec), 0 | 1) => Demand::AtMost(fracs[at]),
            // The third operand joins the product at the product's scale, within 32 bits.
            (Some(Opcode::Fma), 0) => {
                Demand::AtMost((fracs[node.inputs[2]] + 15).saturating_sub(fracs[node.inputs[1]]))
            }
            (Some(Opcode::GaussianNll | Opcode::LogisticNll), 0 | 2) => {
                Demand::AtMost(fracs[node.inputs[0]].min(fracs[node.inputs[2]]))
            }
            (Some(Opcode::End), _) => {
                let start = self.stored.iter().position(|stored| *stored == Some(node.inputs[0]));
                start.map_or(Demand::Any, |start| Demand::AtMost(fracs[start]))
            }
            _ => Demand::Any,
        }
    }

    /// What a node would be read at best, from what was seen of it.
    fn wanted(&self, at: NodeId, range: f32, data: InputRange, layers: &[LayerScale]) -> u32 {
        let node = &self.program.nodes[at];
        if self.is_nats(at) {
            return NATS_FRAC;
        }
        match node.opcode {
            None => {
                let slot = self.program.nodes[..at].iter().filter(|node| node.is_input()).count();
                input_format(self.program.kind, slot, data).0
            }
            Some(Opcode::Dense | Opcode::Conv) => layers[node.layer].output,
            Some(Opcode::Tanh | Opcode::Sigmoid | Opcode::Softmax | Opcode::Posterior) => 15,
            Some(Opcode::Normal | Opcode::RankOne) => normal::FRAC,
            Some(Opcode::OneHot) => UNIT_FRAC,
            Some(Opcode::Exp) => {
                let largest = |[_, high]: [f32; 2]| (high * 2f32.powi(-i32::from(node.param))).exp();
                finest(interval(&self.program.nodes[node.inputs[0]]).map_or(range * HEADROOM, largest))
            }
            Some(Opcode::Fma | Opcode::Couplings) => finest((range * HEADROOM).max(LATENT_RANGE)),
            Some(Opcode::Clamp) => {
                finest(interval(node).map_or(range * HEADROOM, |[low, high]| low.abs().max(high.abs())))
            }
            Some(Opcode::Relu | Opcode::Slice | Opcode::Concat | Opcode::Select | Opcode::Loop | Opcode::MeanVec) => 15,
            Some(_) => finest(range * HEADROOM),
        }
    }

    /// Whether a node's scale can be chosen where it is written.
    fn is_free(&self, at: NodeId) -> bool {
        let node = &self.program.nodes[at];
        let fixed = [Opcode::Tanh, Opcode::Sigmoid, Opcode::Softmax, Opcode::Normal, Opcode::RankOne, Opcode::OneHot];
        match node.opcode {
            None => self.program.kind == ProgramKind::Decode,
            Some(opcode) => !fixed.contains(&opcode) && opcode != Opcode::Posterior,
        }
    }
}

fn interval(node: &Node) -> Option<[f32; 2]> {
    if let Immediate::Interval(interval) = node.imm { Some(interval) } else { None }
}

fn writes_nats(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::BernoulliNll
            | Opcode::GaussianNll
            | Opcode::LogisticNll
            | Opcode::Kl
            | Opcode::HalfSumSq
            | Opcode::Sum
            | Opcode::HalfLogDet
            | Opcode::RankOneKl
            | Opcode::FreeEnergy
            | Opcode::GaussianLogits
            | Opcode::Add
            | Opcode::Sub
            | Opcode::Neg
            | Opcode::Offset
            | Opcode::Mean
            | Opcode::LogMeanExp
            | Opcode::End
    )
}

/// Chooses the scales of a model from the `ranges` seen.
pub fn assign(model: &FloatModel, ranges: &Ranges, data: InputRange) -> Scales {
    let shapes: Vec<Shape<'_>> = model.programs.iter().map(Shape::new).collect();
    let mut layers: Vec<LayerScale> = (0..model.layers.len())
        .map(|layer| LayerScale {
            input: 15,
            input_bound: 1,
            output: first_output(&shapes, layer, ranges.layers[layer]),
        })
        .collect();
    let mut nodes: Vec<Vec<u32>> = Vec::new();
    for (shape, ranges) in shapes.iter().zip(&ranges.nodes) {
        let all = ranges.iter().enumerate();
        nodes.push(all.map(|(at, range)| shape.wanted(at, *range, data, &layers)).collect());
    }
    loop {
        let before = (nodes.clone(), layers.clone());
        for (shape, fracs) in shapes.iter().zip(&mut nodes) {
            coarsen(shape, fracs, &mut layers);
        }
        for (layer, scale) in layers.iter_mut().enumerate() {
            scale.output = finest_output(&model.layers[layer], scale.input, scale.output);
        }
        share_phases(&shapes, &mut layers);
        share_ends(&shapes, &mut nodes, data);
        if (&nodes, &layers) == (&before.0, &before.1) {
            break;
        }
    }
    for shape in &shapes {
        for node in &shape.program.nodes {
            let bound = node.inputs.first().map_or(0, |source| source_bound(shape, *source, data));
            node.layers().for_each(|layer| layers[layer].input_bound = layers[layer].input_bound.max(bound));
        }
    }
    Scales { nodes, layers, data }
}

/// One round over a program: lowers what must be coarser.
fn coarsen(shape: &Shape<'_>, fracs: &mut [u32], layers: &mut [LayerScale]) {
    for (at, node) in shape.program.nodes.iter().enumerate() {
        if !shape.is_nats(at) {
            let ceiling = shape.ceiling(at, fracs, layers);
            fracs[at] = fracs[at].min(ceiling);
            node.layers().for_each(|layer| layers[layer].output = layers[layer].output.min(fracs[at]));
        }
        for (slot, &source) in node.inputs.iter().enumerate() {
            if shape.is_nats(source) {
                continue;
            }
            node.layers().for_each(|layer| layers[layer].input = layers[layer].input.min(fracs[source]));
            if let Demand::AtMost(frac) = shape.demand(at, slot, fracs, layers)
                && shape.is_free(source)
            {
                fracs[source] = fracs[source].min(frac);
            }
        }
    }
}

/// A layer's first wish for its outputs: what was seen of them; all that clamps let pass where only clamps read it, for
/// what is rare may be what a score is about; and one integer bit at least for logits, whose softplus reads that.
fn first_output(shapes: &[Shape<'_>], layer: usize, range: f32) -> u32 {
    let mut limit = 0f32;
    let mut logits = false;
    for shape in shapes {
        let nodes = &shape.program.nodes;
        let of_layer = |source: &NodeId| nodes[*source].layers().contains(&layer);
        for node in nodes.iter().filter(|node| node.inputs.iter().any(of_layer)) {
            let reads = if node.opcode == Some(Opcode::Clamp) { interval(node) } else { None };
            limit = limit.max(reads.map_or(f32::INFINITY, |[low, high]| low.abs().max(high.abs())));
            logits |= node.opcode == Some(Opcode::BernoulliNll);
        }
        if shape.program.outputs.iter().any(of_layer) {
            limit = f32::INFINITY;
        }
    }
    let frac = finest(if limit.is_finite() && limit > 0.0 { limit } else { range * HEADROOM });
    if logits { frac.max(1) } else { frac }
}

/// The phases of a transposed convolution write one tensor, so at one scale.
fn share_phases(shapes: &[Shape<'_>], layers: &mut [LayerScale]) {
    for node in shapes.iter().flat_map(|shape| &shape.program.nodes) {
        let phases = node.layers();
        let output = layers[phases.clone()].iter().map(|layer| layer.output).min();
        if let Some(output) = output {
            layers[phases].iter_mut().for_each(|layer| layer.output = output);
        }
    }
}

/// Programs that give and programs that take the same thing do so at one scale: real-valued rows, and the latents of flows.
fn share_ends(shapes: &[Shape<'_>], nodes: &mut [Vec<u32>], data: InputRange) {
    for wanted in [Role::Data, Role::Latent] {
        if wanted == Role::Data && data == InputRange::Unit {
            // Pixels are exact as they come in, and finer as they come out.
            continue;
        }
        let mut ends = Vec::new();
        for (at, shape) in shapes.iter().enumerate() {
            let (program, kind) = (shape.program, shape.program.kind);
            let inputs = program.nodes.iter().enumerate().filter(|(_, node)| node.is_input()).map(|(node, _)| node);
            ends.extend(inputs.enumerate().filter(|(slot, _)| role(kind, *slot) == wanted).map(|(_, node)| (at, node)));
            if output_role(kind) == Some(wanted) {
                ends.push((at, program.outputs[0]));
            }
        }
        let coarsest = ends.iter().map(|(at, node)| nodes[*at][*node]).min();
        for (at, node) in ends {
            nodes[at][node] = coarsest.unwrap_or(nodes[at][node]);
        }
    }
}

/// Largest |q| that a layer is given by a node: less than full only for what comes from outside or is one-hot.
fn source_bound(shape: &Shape<'_>, source: NodeId, data: InputRange) -> u16 {
    let node = &shape.program.nodes[source];
    match node.opcode {
        None => {
            let slot = shape.program.nodes[..source].iter().filter(|node| node.is_input()).count();
            input_format(shape.program.kind, slot, data).1
        }
        Some(Opcode::OneHot) => 1 << UNIT_FRAC,
        _ => FULL,
    }
}

/// The operand scales that a program's operations ask for, where it is not what the operand has: `(node, slot, frac)`.
pub fn rescaled(program: &FloatProgram, fracs: &[u32], layers: &[LayerScale]) -> Vec<(NodeId, usize, u32)> {
    let shape = Shape::new(program);
    let mut all = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        for (slot, &source) in node.inputs.iter().enumerate() {
            if shape.is_nats(source) || node.is_third() {
                continue;
            }
            if let Demand::AtMost(frac) = shape.demand(at, slot, fracs, layers)
                && frac < fracs[source]
            {
                all.push((at, slot, frac));
            }
        }
    }
    all
}

/// Whether a node's tensor is nats, for every node of a program.
pub fn nats(program: &FloatProgram) -> Vec<bool> {
    let shape = Shape::new(program);
    (0..program.nodes.len()).map(|at| shape.is_nats(at)).collect()
}
