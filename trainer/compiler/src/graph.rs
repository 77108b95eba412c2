//! The float graph: a program before quantisation, with the very operations of the runtime, and its interpreter.
//!
//! A node is an operation and the tensor that it writes. What the integer program clamps (log-variances), the graph
//! clamps too, so that both are compared on equal terms.

mod evaluate;

use elbo::coupling::CouplingStack;
use elbo::kernel::ConvGeometry;
use elbo::program::{Opcode, ProgramKind};

/// A dense layer as plain numbers: `y = W x + b`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseLayer {
    /// Weights, row-major, `[out, inp]`.
    pub w: Vec<f32>,
    /// Bias, `[out]`.
    pub b: Vec<f32>,
    /// Number of outputs.
    pub out: usize,
    /// Number of inputs.
    pub inp: usize,
}

/// Index of a node in its program.
pub type NodeId = usize;

/// What a node's operation has besides operands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Immediate {
    /// Nothing.
    #[default]
    None,
    /// Iterations of a loop.
    Iterations(u32),
    /// Interval of a clamp.
    Interval([f32; 2]),
    /// First element of a slice.
    Start(usize),
    /// Constant of an offset, in nats.
    Constant(f32),
    /// Shape of a stack of couplings.
    Stack(CouplingStack),
    /// Geometry of a convolution.
    Geometry(ConvGeometry),
}

/// One operation of a float program, the program's input, or what an operation writes besides its output.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operation. `None` without operands is the program's next input; with one, the second result of that node.
    pub opcode: Option<Opcode>,
    /// `a` is read as `a 2^-param`; 1 for an inverted flow.
    pub param: i8,
    /// The nodes that it reads.
    pub inputs: Vec<NodeId>,
    /// Elements of its output.
    pub len: usize,
    /// Index of a dense layer, or of the first of a convolution's or a stack of couplings'.
    pub layer: usize,
    /// What else the operation has.
    pub imm: Immediate,
}

impl Node {
    /// Whether it is an input of its program.
    pub fn is_input(&self) -> bool {
        self.opcode.is_none() && self.inputs.is_empty()
    }

    /// Whether it is the second result of the node that it names.
    pub fn is_third(&self) -> bool {
        self.opcode.is_none() && !self.inputs.is_empty()
    }

    /// Iterations of a loop, 1 of anything else.
    pub fn iterations(&self) -> u32 {
        if let Immediate::Iterations(n) = self.imm { n } else { 1 }
    }

    /// The layers that it multiplies by.
    pub fn layers(&self) -> std::ops::Range<usize> {
        let count = match (self.opcode, self.imm) {
            (Some(Opcode::Dense), _) => 1,
            (Some(Opcode::Conv), Immediate::Geometry(geometry)) => geometry.phases() as usize,
            (Some(Opcode::Couplings), Immediate::Stack(stack)) => {
                usize::from(stack.couplings) * usize::from(stack.matrices())
            }
            _ => 0,
        };
        self.layer..self.layer + count
    }
}

/// One program in floating point.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatProgram {
    /// What it computes.
    pub kind: ProgramKind,
    /// Its operations, in order.
    pub nodes: Vec<Node>,
    /// Nodes whose tensors are the outputs.
    pub outputs: Vec<NodeId>,
}

/// A model in floating point: layers and the programs over them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatModel {
    /// Dense layers, by the index that nodes use.
    pub layers: Vec<DenseLayer>,
    /// Names of the layers, for reports.
    pub layer_names: Vec<String>,
    /// The programs.
    pub programs: Vec<FloatProgram>,
}

impl FloatModel {
    /// Adds a layer and returns its index.
    pub fn layer(&mut self, name: impl Into<String>, layer: DenseLayer) -> usize {
        self.layers.push(layer);
        self.layer_names.push(name.into());
        self.layers.len() - 1
    }

    /// Adds a layer whose outputs are constants, for [`Builder::constant`].
    pub fn constant(&mut self, name: impl Into<String>, values: &[f32]) -> usize {
        self.layer(name, DenseLayer { w: vec![0.0; values.len()], b: values.to_vec(), out: values.len(), inp: 1 })
    }
}

/// Builds a program node by node.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    fn push(&mut self, opcode: Option<Opcode>, inputs: &[NodeId], len: usize, edit: impl FnOnce(&mut Node)) -> NodeId {
        let mut node = Node { opcode, param: 0, inputs: inputs.to_vec(), len, layer: 0, imm: Immediate::None };
        edit(&mut node);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Length of a node's output.
    pub fn len(&self, node: NodeId) -> usize {
        self.nodes[node].len
    }

    /// The program's next input, of `len` elements.
    pub fn input(&mut self, len: usize) -> NodeId {
        self.push(None, &[], len, |_| {})
    }

    /// `layer` applied to `x`, `out` elements.
    pub fn dense(&mut self, layer: usize, out: usize, x: NodeId) -> NodeId {
        self.push(Some(Opcode::Dense), &[x], out, |node| node.layer = layer)
    }

    /// A convolution with the layers from `layer` on, one a phase, of `channels` output channels.
    pub fn conv(&mut self, layer: usize, channels: usize, geometry: ConvGeometry, x: NodeId) -> NodeId {
        let (height, width) = geometry.output();
        self.push(Some(Opcode::Conv), &[x], height as usize * width as usize * channels, |node| {
            node.layer = layer;
            node.imm = Immediate::Geometry(geometry);
        })
    }

    /// The outputs of a constant layer of `len` elements. `any` is a node that is alive here; its value has no effect.
    pub fn constant(&mut self, layer: usize, len: usize, any: NodeId) -> NodeId {
        let one = self.slice(any, 0, 1);
        self.dense(layer, len, one)
    }

    /// An element-wise operation.
    pub fn map(&mut self, opcode: Opcode, param: i8, inputs: &[NodeId]) -> NodeId {
        self.push(Some(opcode), inputs, self.len(inputs[0]), |node| node.param = param)
    }

    /// `x` clamped to `interval`.
    pub fn clamp(&mut self, interval: [f32; 2], x: NodeId) -> NodeId {
        self.push(Some(Opcode::Clamp), &[x], self.len(x), |node| node.imm = Immediate::Interval(interval))
    }

    /// `a` followed by `b`.
    pub fn concat(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push(Some(Opcode::Concat), &[a, b], self.len(a) + self.len(b), |_| {})
    }

    /// `len` elements of `x` from `start` on.
    pub fn slice(&mut self, x: NodeId, start: usize, len: usize) -> NodeId {
        self.push(Some(Opcode::Slice), &[x], len, |node| node.imm = Immediate::Start(start))
    }

    /// A one at the index of the innermost loop's iteration, `len` elements.
    pub fn one_hot(&mut self, len: usize) -> NodeId {
        self.push(Some(Opcode::OneHot), &[], len, |_| {})
    }

    /// `len` draws of N(0, 1).
    pub fn normal(&mut self, len: usize) -> NodeId {
        self.push(Some(Opcode::Normal), &[], len, |_| {})
    }

    /// A planar or radial flow of `z` with `params`, inverted or not, and the nats of its log-determinant.
    pub fn flow(&mut self, opcode: Opcode, inverse: bool, z: NodeId, params: NodeId) -> (NodeId, NodeId) {
        let flowed = self.push(Some(opcode), &[z, params], self.len(z), |node| node.param = i8::from(inverse));
        (flowed, self.push(None, &[flowed], 1, |_| {}))
    }

    /// A stack of couplings of `z` with the layers from `layer` on, hidden ones of at most `widest`, and the nats of its
    /// log-determinant.
    pub fn couplings(&mut self, stack: CouplingStack, layer: usize, widest: usize, z: NodeId) -> (NodeId, NodeId) {
        let len = self.len(z);
        let whole = self.push(Some(Opcode::Couplings), &[z], CouplingStack::output_len(len, widest), |node| {
            (node.layer, node.imm) = (layer, Immediate::Stack(stack));
        });
        let log_det = self.push(None, &[whole], 1, |_| {});
        (self.slice(whole, 0, len), log_det)
    }

    /// An operation whose output is a scalar in nats.
    pub fn scalar(&mut self, opcode: Opcode, param: i8, inputs: &[NodeId]) -> NodeId {
        self.push(Some(opcode), inputs, 1, |node| node.param = param)
    }

    /// `peaks_c - 1/2 |u_c|^2` in nats for each element of `peaks` and the equal part of `u` that belongs to it.
    pub fn gaussian_logits(&mut self, peaks: NodeId, u: NodeId) -> NodeId {
        self.push(Some(Opcode::GaussianLogits), &[peaks, u], self.len(peaks), |_| {})
    }

    /// The scalar `x` plus a constant in nats.
    pub fn offset(&mut self, constant: f32, x: NodeId) -> NodeId {
        self.push(Some(Opcode::Offset), &[x], 1, |node| node.imm = Immediate::Constant(constant))
    }

    /// Opens a loop; its vector collects the scalars that [`Builder::end`] is given.
    pub fn begin(&mut self, iterations: u32) -> NodeId {
        self.begin_vectors(iterations, 1)
    }

    /// Opens a loop that collects vectors of `len` elements.
    pub fn begin_vectors(&mut self, iterations: u32, len: usize) -> NodeId {
        self.push(Some(Opcode::Loop), &[], iterations as usize * len, |node| {
            node.imm = Immediate::Iterations(iterations);
        })
    }

    /// Closes the innermost loop.
    pub fn end(&mut self, value: NodeId) {
        self.push(Some(Opcode::End), &[value], 0, |_| {});
    }

    /// The mean of the vectors that a loop has collected, `len` elements.
    pub fn mean_vectors(&mut self, vectors: NodeId, len: usize) -> NodeId {
        self.push(Some(Opcode::MeanVec), &[vectors], len, |_| {})
    }

    /// The finished program.
    pub fn finish(self, kind: ProgramKind, outputs: &[NodeId]) -> FloatProgram {
        FloatProgram { kind, nodes: self.nodes, outputs: outputs.to_vec() }
    }
}

/// Where a float program's noise comes from: fills a slice with draws of N(0, 1).
pub type FloatNoise<'n> = dyn FnMut(&mut [f32]) + 'n;

/// Sees what a node writes, every time it is executed, and the largest magnitude on the way there.
pub type Watch<'w> = dyn FnMut(NodeId, &[f32], f32) + 'w;

impl FloatModel {
    /// The program of this kind.
    pub fn program(&self, kind: ProgramKind) -> Option<&FloatProgram> {
        self.programs.iter().find(|program| program.kind == kind)
    }

    /// Whether a layer is one of a stack of couplings, for every layer.
    pub fn coupled(&self) -> Vec<bool> {
        let mut coupled = vec![false; self.layers.len()];
        let nodes = self.programs.iter().flat_map(|program| &program.nodes);
        for node in nodes.filter(|node| node.opcode == Some(Opcode::Couplings)) {
            coupled[node.layers()].fill(true);
        }
        coupled
    }

    /// Runs a program on its inputs and returns its outputs. Scalars are nats.
    pub fn run(&self, program: &FloatProgram, inputs: &[&[f32]], noise: &mut FloatNoise<'_>) -> Vec<Vec<f32>> {
        self.watched(program, inputs, noise, u32::MAX, &mut |_, _, _| {})
    }

    /// As [`FloatModel::run`], with no more than `most` iterations of a loop, and everything that is written shown to `watch`.
    pub fn watched(
        &self,
        program: &FloatProgram,
        inputs: &[&[f32]],
        noise: &mut FloatNoise<'_>,
        most: u32,
        watch: &mut Watch<'_>,
    ) -> Vec<Vec<f32>> {
        let mut values: Vec<Vec<f32>> = program.nodes.iter().map(|node| vec![0.0; node.len]).collect();
        // A scalar that an operation writes beside its vector.
        let mut thirds = vec![0f32; program.nodes.len()];
        let mut loops: Vec<(NodeId, u32)> = Vec::new();
        let mut inputs = inputs.iter();
        let mut at = 0;
        while let Some(node) = program.nodes.get(at) {
            let mut out = std::mem::take(&mut values[at]);
            let mut extent = 0f32;
            match node.opcode {
                None if node.is_third() => out[0] = thirds[node.inputs[0]],
                None => out.copy_from_slice(inputs.next().expect("as many inputs as the program takes")),
                Some(Opcode::Normal) => noise(&mut out),
                Some(Opcode::OneHot) => {
                    let iteration = loops.last().map_or(0, |(_, iteration)| *iteration as usize);
                    out.iter_mut().enumerate().for_each(|(i, v)| *v = f32::from(u8::from(i == iteration)));
                }
                Some(Opcode::Loop) => loops.push((at, 0)),
                Some(Opcode::End) => {
                    let value = std::mem::take(&mut values[node.inputs[0]]);
                    if let Some((start, iteration)) = loops.pop() {
                        let slot = iteration as usize * value.len();
                        values[start][slot..slot + value.len()].copy_from_slice(&value);
                        if iteration + 1 < program.nodes[start].iterations().min(most) {
                            loops.push((start, iteration + 1));
                            values[node.inputs[0]] = value;
                            values[at] = out;
                            at = start + 1;
                            continue;
                        }
                    }
                    values[node.inputs[0]] = value;
                }
                Some(opcode) => {
                    let operands: Vec<&[f32]> = node.inputs.iter().map(|input| values[*input].as_slice()).collect();
                    let result = evaluate::evaluate(opcode, node, &self.layers, &operands, &mut out);
                    (thirds[at], extent) = (result.third, result.extent);
                }
            }
            watch(at, &out, out.iter().fold(extent, |largest, v| largest.max(v.abs())));
            values[at] = out;
            at += 1;
        }
        program.outputs.iter().map(|output| values[*output].clone()).collect()
    }
}
