//! Scales: a power of two for every tensor of every program, and for the inputs and outputs of every layer.
//!
//! Every node starts with the finest scale at which the observed values fit 16 bits with headroom. Then scales only
//! become coarser, until every operation accepts its operands: a layer reads one scale in all programs, likelihoods
//! compare values at one scale, and flows keep the scale of their input. The scale of some tensors cannot be coarsened
//! where they are written (noise, bounded functions, the data). These are rounded where they are read; `plan.rs`
//! inserts this rounding.

use elbo::bounds::FULL;
use elbo::normal;
use elbo::program::{Opcode, Precision, ProgramKind, Role, ScaleRule, TensorKind};

use crate::calibrate::Ranges;
use crate::graph::{FloatModel, FloatProgram, Node, NodeId, NodeKind};
use crate::quantize::{LayerScale, finest_output};
use crate::stimulus::InputRange;

/// Headroom above the largest observed value, so that other inputs seldom saturate.
pub(crate) const HEADROOM: f32 = 1.25;
/// Scale of pixels, masks and classes: Q1.14.
const UNIT_FRAC: u32 = 14;
/// Fractional bits of nats.
const NATS_FRAC: u32 = 16;
/// The scale of a latent always allows at least this magnitude. Noise ends at 6.4.
const LATENT_RANGE: f32 = 7.99;

/// The scales of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// Fractional bits of every node of every program; 16 for nats.
    pub nodes: Vec<Vec<u32>>,
    /// The scales of every layer.
    pub layers: Vec<LayerScale>,
    /// The range of the data.
    pub data: InputRange,
}

/// Finest scale at which `range` fits 16 bits, with at most 15 fractional bits.
pub fn finest(range: f32) -> u32 {
    (0..=15).rev().find(|frac| range * (1u32 << frac) as f32 <= 32767.0).unwrap_or(0)
}

/// Number of fractional bits and largest |q| of input `slot` of a program. A program without this input has the format
/// of the data there.
pub fn input_format(kind: ProgramKind, slot: usize, data: InputRange) -> (u32, u16) {
    let unit = (UNIT_FRAC, 1 << UNIT_FRAC);
    match kind.input_roles().get(slot).copied().unwrap_or(Role::Data) {
        Role::Latent => (normal::FRAC, FULL - 1),
        Role::Data => match data {
            InputRange::Unit => unit,
            InputRange::Real(range) => (finest(range), FULL - 1),
            InputRange::Samples(_) => (0, FULL - 1),
        },
        Role::Features => match data {
            InputRange::Unit => unit,
            InputRange::Real(range) | InputRange::Samples(range) => (finest(range), FULL - 1),
        },
        Role::Class | Role::Mask => unit,
    }
}

/// One program with the nodes that its loops store.
struct Analysis<'p> {
    program: &'p FloatProgram,
    /// For every loop, the node that its `End` stores.
    stored: Vec<Option<NodeId>>,
}

impl<'p> Analysis<'p> {
    fn new(program: &'p FloatProgram) -> Self {
        let mut stored = vec![None; program.nodes.len()];
        let mut open = Vec::new();
        for (at, node) in program.nodes.iter().enumerate() {
            if node.opens_loop() {
                open.push(at);
            } else if node.closes_loop()
                && let Some(start) = open.pop()
            {
                stored[start] = node.inputs.first().copied();
            }
        }
        Self { program, stored }
    }

    fn is_nats(&self, at: NodeId) -> bool {
        match self.program.nodes[at].kind {
            NodeKind::Input => false,
            NodeKind::LogDet => true,
            NodeKind::Operation(opcode) if opcode.facts().opens_loop() => {
                self.stored[at].is_none_or(|stored| self.is_nats(stored))
            }
            // An `End` writes into the tensor of its loop.
            NodeKind::Operation(opcode) => opcode.rules().output_kind().is_none_or(|kind| kind == TensorKind::Nats),
        }
    }

    /// The largest number of fractional bits that this node may have, given its operands.
    fn finest_written(&self, at: NodeId, fracs: &[u32], layers: &[LayerScale]) -> u32 {
        let node = &self.program.nodes[at];
        let of = |slot: usize| fracs[node.inputs[slot]];
        let Some(opcode) = node.opcode() else { return u32::MAX };
        match opcode.facts().precision() {
            Precision::Matrices => layers[node.layer].output,
            Precision::Sum => of(0).min(of(1)),
            Precision::Product => of(0) + of(1),
            Precision::Rules => {
                let from = |slot: &usize| match opcode.rules().input_scale(*slot) {
                    ScaleRule::SameAsOutput | ScaleRule::NotCoarserThanOutput => Some(of(*slot)),
                    ScaleRule::Any
                    | ScaleRule::SameAsFirst
                    | ScaleRule::AtLeast(_)
                    | ScaleRule::Exactly(_)
                    | ScaleRule::ReadAtMost(_) => None,
                };
                let stored = self.stored[at].map(|stored| fracs[stored]);
                (0..node.inputs.len()).filter_map(|slot| from(&slot)).chain(stored).min().unwrap_or(u32::MAX)
            }
        }
    }

    /// The largest number of fractional bits at which node `at` accepts operand `slot`, or `None` if it accepts any.
    fn finest_read(&self, at: NodeId, slot: usize, fracs: &[u32], layers: &[LayerScale]) -> Option<u32> {
        let node = &self.program.nodes[at];
        let of = |slot: usize| fracs[node.inputs[slot]];
        let opcode = node.opcode()?;
        if opcode.facts().closes_loop() {
            let start = self.stored.iter().position(|stored| *stored == Some(node.inputs[0]));
            return start.map(|start| fracs[start]);
        }
        match opcode.facts().precision() {
            Precision::Matrices => Some(layers[node.layer].input),
            Precision::Sum => Some(fracs[at]),
            // A third operand is added at the scale of the product, within 32 bits.
            Precision::Product => (slot == 0 && node.inputs.len() > 2).then(|| (of(2) + 15).saturating_sub(of(1))),
            Precision::Rules => match opcode.rules().input_scale(slot) {
                ScaleRule::SameAsOutput => Some(fracs[at]),
                ScaleRule::Exactly(frac) => Some(frac.into()),
                // With more fractional bits the operand would not fit Q16.
                ScaleRule::ReadAtMost(most) => Some(u32::from(most).saturating_add_signed(-i32::from(node.param))),
                ScaleRule::SameAsFirst => Some(of(0).min(of(slot))),
                ScaleRule::Any | ScaleRule::AtLeast(_) if slot == 0 => {
                    let same = (1..node.inputs.len())
                        .filter(|other| opcode.rules().input_scale(*other) == ScaleRule::SameAsFirst);
                    same.map(of).min().map(|other| of(0).min(other))
                }
                ScaleRule::Any | ScaleRule::AtLeast(_) | ScaleRule::NotCoarserThanOutput => None,
            },
        }
    }

    /// The finest scale of a node, given its observed range.
    fn wanted(&self, at: NodeId, range: f32, data: InputRange, layers: &[LayerScale]) -> u32 {
        let node = &self.program.nodes[at];
        if self.is_nats(at) {
            return NATS_FRAC;
        }
        if let Some(frac) = fixed_output(node) {
            return frac;
        }
        let Some(opcode) = node.opcode() else {
            let slot = self.program.nodes[..at].iter().filter(|node| node.is_input()).count();
            return input_format(self.program.kind, slot, data).0;
        };
        let facts = opcode.facts();
        if facts.precision() == Precision::Matrices {
            return layers[node.layer].output;
        }
        if facts.passes_elements() {
            // The scale is limited only by those of the operands.
            return 15;
        }
        let range = range * HEADROOM;
        finest(if let Some([low, high]) = node.interval() {
            low.abs().max(high.abs())
        } else if opcode == Opcode::Exp {
            let largest = |[_, high]: [f32; 2]| (high * 2f32.powi(-i32::from(node.param))).exp();
            self.program.nodes[node.inputs[0]].interval().map_or(range, largest)
        } else if matches!(opcode, Opcode::Fma | Opcode::Couplings) {
            // These operations write latents.
            range.max(LATENT_RANGE)
        } else {
            range
        })
    }

    /// Whether the operation that writes a node can use another scale.
    fn is_free(&self, at: NodeId) -> bool {
        let node = &self.program.nodes[at];
        if node.opcode().is_none() { self.program.kind == ProgramKind::Decode } else { fixed_output(node).is_none() }
    }
}

/// The number of fractional bits of a node's output, if its operation allows only one.
fn fixed_output(node: &Node) -> Option<u32> {
    let opcode = node.opcode()?;
    if opcode == Opcode::OneHot {
        return Some(UNIT_FRAC);
    }
    if let ScaleRule::Exactly(frac) = opcode.rules().written_scale() { Some(frac.into()) } else { None }
}

/// Chooses the scales of a model from the observed `ranges`.
pub fn assign(model: &FloatModel, ranges: &Ranges, data: InputRange) -> Scales {
    let programs: Vec<Analysis<'_>> = model.programs.iter().map(Analysis::new).collect();
    let mut layers: Vec<LayerScale> = (0..model.layers.len())
        .map(|layer| LayerScale {
            input: 15,
            input_bound: 1,
            output: first_output(&programs, layer, ranges.layers[layer]),
        })
        .collect();
    let mut nodes: Vec<Vec<u32>> = Vec::new();
    for (analysis, ranges) in programs.iter().zip(&ranges.nodes) {
        let all = ranges.iter().enumerate();
        nodes.push(all.map(|(at, range)| analysis.wanted(at, *range, data, &layers)).collect());
    }
    loop {
        let before = (nodes.clone(), layers.clone());
        for (analysis, fracs) in programs.iter().zip(&mut nodes) {
            coarsen(analysis, fracs, &mut layers);
        }
        for (layer, scale) in layers.iter_mut().enumerate() {
            scale.output = finest_output(&model.layers[layer], scale.input, scale.output);
        }
        share_phases(&programs, &mut layers);
        share_ends(&programs, &mut nodes, data);
        if (&nodes, &layers) == (&before.0, &before.1) {
            break;
        }
    }
    for analysis in &programs {
        for node in &analysis.program.nodes {
            let bound = node.inputs.first().map_or(0, |source| source_bound(analysis, *source, data));
            node.layers().for_each(|layer| layers[layer].input_bound = layers[layer].input_bound.max(bound));
        }
    }
    Scales { nodes, layers, data }
}

/// One pass over a program that coarsens scales where necessary.
fn coarsen(analysis: &Analysis<'_>, fracs: &mut [u32], layers: &mut [LayerScale]) {
    for (at, node) in analysis.program.nodes.iter().enumerate() {
        if !analysis.is_nats(at) {
            fracs[at] = fracs[at].min(analysis.finest_written(at, fracs, layers));
            node.layers().for_each(|layer| layers[layer].output = layers[layer].output.min(fracs[at]));
        }
        for (slot, &source) in node.inputs.iter().enumerate() {
            if analysis.is_nats(source) {
                continue;
            }
            node.layers().for_each(|layer| layers[layer].input = layers[layer].input.min(fracs[source]));
            if let Some(frac) = analysis.finest_read(at, slot, fracs, layers)
                && analysis.is_free(source)
            {
                fracs[source] = fracs[source].min(frac);
            }
        }
    }
}

/// The initial output scale of a layer. It covers the observed range. If only clamps read the layer, it covers the
/// clamps' interval instead, because rare values may be important for a score. Logits and means of a likelihood have at least
/// as many fractional bits as it requires. Those that are larger saturate: a mean beyond 128 standard deviations, for a row
/// that is far out.
fn first_output(programs: &[Analysis<'_>], layer: usize, range: f32) -> u32 {
    let mut limit = 0f32;
    let mut least = 0;
    for analysis in programs {
        let nodes = &analysis.program.nodes;
        let of_layer = |source: &NodeId| nodes[*source].layers().contains(&layer);
        for node in nodes.iter().filter(|node| node.inputs.iter().any(of_layer)) {
            let reads = node.interval();
            limit = limit.max(reads.map_or(f32::INFINITY, |[low, high]| low.abs().max(high.abs())));
            let Some(opcode) = node.opcode().filter(|_| node.inputs.first().is_some_and(of_layer)) else { continue };
            let rules = opcode.rules();
            if let (ScaleRule::AtLeast(frac), Some(TensorKind::Nats)) = (rules.input_scale(0), rules.output_kind()) {
                least = least.max(frac.into());
            }
        }
        if analysis.program.outputs.iter().any(of_layer) {
            limit = f32::INFINITY;
        }
    }
    let frac = finest(if limit.is_finite() && limit > 0.0 { limit } else { range * HEADROOM });
    frac.max(least)
}

/// The phases of a transposed convolution write one tensor, and so need one scale.
fn share_phases(programs: &[Analysis<'_>], layers: &mut [LayerScale]) {
    for node in programs.iter().flat_map(|analysis| &analysis.program.nodes) {
        let phases = node.layers();
        let output = layers[phases.clone()].iter().map(|layer| layer.output).min();
        if let Some(output) = output {
            layers[phases].iter_mut().for_each(|layer| layer.output = output);
        }
    }
}

/// Programs use the same scale for real-valued rows as inputs and outputs, and for the latents of flows.
fn share_ends(programs: &[Analysis<'_>], nodes: &mut [Vec<u32>], data: InputRange) {
    for wanted in [Role::Data, Role::Latent] {
        if wanted == Role::Data && data == InputRange::Unit {
            // Input pixels are exact at their scale, and output pixels have a finer scale.
            continue;
        }
        let mut ends = Vec::new();
        for (at, analysis) in programs.iter().enumerate() {
            let (program, kind) = (analysis.program, analysis.program.kind);
            let inputs = program.nodes.iter().enumerate().filter(|(_, node)| node.is_input()).map(|(node, _)| node);
            let roles = kind.input_roles().iter().zip(inputs);
            // A front end makes the rows that programs write of the samples that they read.
            let samples = matches!(data, InputRange::Samples(_)) && wanted == Role::Data;
            let read = if samples { Role::Features } else { wanted };
            ends.extend(roles.filter(|(role, _)| **role == read).map(|(_, node)| (at, node)));
            if kind.output_role().is_some_and(|role| role == wanted || role == read) {
                ends.push((at, program.outputs[0]));
            }
        }
        let coarsest = ends.iter().map(|(at, node)| nodes[*at][*node]).min();
        for (at, node) in ends {
            nodes[at][node] = coarsest.unwrap_or(nodes[at][node]);
        }
    }
}

/// Largest |q| of a node that a layer reads. It is below the full range only for inputs of the program and one-hot
/// vectors.
fn source_bound(analysis: &Analysis<'_>, source: NodeId, data: InputRange) -> u16 {
    let node = &analysis.program.nodes[source];
    match node.opcode() {
        None => {
            let slot = analysis.program.nodes[..source].iter().filter(|node| node.is_input()).count();
            input_format(analysis.program.kind, slot, data).1
        }
        Some(opcode) => {
            if opcode == Opcode::OneHot {
                1 << UNIT_FRAC
            } else {
                FULL
            }
        }
    }
}

/// The operands that must be rounded to the scale their operation requires: `(node, slot, frac)`.
pub fn rescaled(program: &FloatProgram, fracs: &[u32], layers: &[LayerScale]) -> Vec<(NodeId, usize, u32)> {
    let analysis = Analysis::new(program);
    let mut all = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        for (slot, &source) in node.inputs.iter().enumerate() {
            if analysis.is_nats(source) || node.is_log_det() {
                continue;
            }
            if let Some(frac) = analysis.finest_read(at, slot, fracs, layers)
                && frac < fracs[source]
            {
                all.push((at, slot, frac));
            }
        }
    }
    all
}

/// For every node of a program, whether its tensor is in nats.
pub fn nats(program: &FloatProgram) -> Vec<bool> {
    let analysis = Analysis::new(program);
    (0..program.nodes.len()).map(|at| analysis.is_nats(at)).collect()
}
