//! The float graph: a program before quantisation. It has the same operations as the runtime, and an interpreter.
//!
//! A node is an operation together with the tensor that it writes. The graph clamps the same values (log-variances) as
//! the integer program, so that the comparison of the two is fair.

mod evaluate;
mod front;

use elbo::coupling::CouplingStack;
use elbo::front::{Bands, Statistic};
use elbo::kernel::ConvGeometry;
use elbo::program::{Op, Opcode, ProgramKind};

/// A dense layer in floating point: `y = W x + b`.
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

/// The argument of a node's operation other than its operands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Immediate {
    /// No argument.
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
    /// Slope of a leaky ReLU below zero or of a hard sigmoid, from 0 to 1.
    Slope(f32),
    /// Shape of a stack of couplings.
    Stack(CouplingStack),
    /// Geometry of a convolution.
    Geometry(ConvGeometry),
    /// Layout of band energies.
    Bands(Bands),
    /// Set of statistics: a sum of [`Statistic::bit`](elbo::front::Statistic::bit)s.
    Statistics(u32),
}

/// The origin of a node's tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// The caller: the tensor is the next input of the program.
    Input,
    /// An operation.
    Operation(Opcode),
    /// The log-determinant that another operation writes in addition to its output. That operation is the only input of
    /// this node.
    LogDet,
}

/// One tensor of a float program, and the operation that writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The origin of the tensor.
    pub kind: NodeKind,
    /// `a` is read as `a 2^-param`. For a flow, 1 means the inverse.
    pub param: i8,
    /// The operands.
    pub inputs: Vec<NodeId>,
    /// Number of elements of the output.
    pub len: usize,
    /// Index of the dense layer, or of the first layer of a convolution or a stack of couplings.
    pub layer: usize,
    /// The argument of the operation other than its operands.
    pub imm: Immediate,
}

impl Node {
    /// The operation, or `None` for an input or a log-determinant.
    pub fn opcode(&self) -> Option<Opcode> {
        if let NodeKind::Operation(opcode) = self.kind { Some(opcode) } else { None }
    }

    /// Whether it is an input of the program.
    pub fn is_input(&self) -> bool {
        self.kind == NodeKind::Input
    }

    /// Whether it is the log-determinant of its operand.
    pub fn is_log_det(&self) -> bool {
        self.kind == NodeKind::LogDet
    }

    /// Whether it opens a loop.
    pub fn opens_loop(&self) -> bool {
        self.opcode().is_some_and(|opcode| opcode.facts().opens_loop())
    }

    /// Whether it closes the innermost loop.
    pub fn closes_loop(&self) -> bool {
        self.opcode().is_some_and(|opcode| opcode.facts().closes_loop())
    }

    /// The interval of a clamp; `None` for any other operation.
    pub fn interval(&self) -> Option<[f32; 2]> {
        if let Immediate::Interval(interval) = self.imm { Some(interval) } else { None }
    }

    /// Iterations of a loop; 1 for any other operation.
    pub fn iterations(&self) -> u32 {
        if let Immediate::Iterations(n) = self.imm { n } else { 1 }
    }

    /// The fields `imm` and `param` of the operation's record, if the output has `frac` fractional bits.
    pub fn integers(&self, frac: u32) -> (u32, i8) {
        match self.imm {
            Immediate::None if self.opcode() == Some(Opcode::OneHot) => (1 << frac, 0),
            Immediate::None => (0, self.param),
            Immediate::Iterations(count) => (count, 0),
            Immediate::Interval(interval) => {
                let [low, high] = interval.map(|v| (v * (1u32 << frac) as f32).round().clamp(-32768.0, 32767.0) as i16);
                (Op::interval_imm(low, high), 0)
            }
            Immediate::Start(start) => (start as u32, 0),
            Immediate::Constant(constant) => ((f64::from(constant) * 65536.0).round() as i32 as u32, 0),
            Immediate::Slope(slope) => ((slope * 32768.0).round().clamp(0.0, 32767.0) as u32, 0),
            Immediate::Stack(stack) => stack.pack(),
            Immediate::Geometry(geometry) => geometry.pack(),
            Immediate::Bands(bands) => (bands.pack(), 0),
            Immediate::Statistics(which) => (which, 0),
        }
    }

    /// The layers whose weights it uses.
    pub fn layers(&self) -> std::ops::Range<usize> {
        let count = match self.imm {
            Immediate::Geometry(geometry) => geometry.phases() as usize,
            Immediate::Stack(stack) => usize::from(stack.couplings) * usize::from(stack.matrices()),
            Immediate::None
            | Immediate::Iterations(_)
            | Immediate::Interval(_)
            | Immediate::Start(_)
            | Immediate::Constant(_)
            | Immediate::Slope(_)
            | Immediate::Bands(_)
            | Immediate::Statistics(_) => usize::from(self.opcode() == Some(Opcode::Dense)),
        };
        self.layer..self.layer + count
    }
}

/// One program in floating point.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatProgram {
    /// The kind of the program.
    pub kind: ProgramKind,
    /// Its operations, in order.
    pub nodes: Vec<Node>,
    /// The nodes whose tensors are the outputs.
    pub outputs: Vec<NodeId>,
}

/// A model in floating point: layers, and the programs that use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatModel {
    /// Dense layers. Nodes refer to them by index.
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

    /// Adds a layer whose outputs are constants, for use with [`Builder::constant`].
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
    fn push(&mut self, kind: NodeKind, inputs: &[NodeId], len: usize, edit: impl FnOnce(&mut Node)) -> NodeId {
        let mut node = Node { kind, param: 0, inputs: inputs.to_vec(), len, layer: 0, imm: Immediate::None };
        edit(&mut node);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Number of elements of a node's output.
    pub fn len(&self, node: NodeId) -> usize {
        self.nodes[node].len
    }

    /// The next input of the program, with `len` elements.
    pub fn input(&mut self, len: usize) -> NodeId {
        self.push(NodeKind::Input, &[], len, |_| {})
    }

    /// Applies `layer` to `x`. The output has `out` elements.
    pub fn dense(&mut self, layer: usize, out: usize, x: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Dense), &[x], out, |node| node.layer = layer)
    }

    /// A convolution with one layer per phase, starting at index `layer`, and `channels` output channels.
    pub fn conv(&mut self, layer: usize, channels: usize, geometry: ConvGeometry, x: NodeId) -> NodeId {
        let (height, width) = geometry.output();
        self.push(NodeKind::Operation(Opcode::Conv), &[x], height as usize * width as usize * channels, |node| {
            node.layer = layer;
            node.imm = Immediate::Geometry(geometry);
        })
    }

    /// The outputs of a constant layer with `len` elements. `any` must be a node that can be read here; its value has
    /// no effect.
    pub fn constant(&mut self, layer: usize, len: usize, any: NodeId) -> NodeId {
        let one = self.slice(any, 0, 1);
        self.dense(layer, len, one)
    }

    /// An element-wise operation.
    pub fn map(&mut self, opcode: Opcode, param: i8, inputs: &[NodeId]) -> NodeId {
        self.push(NodeKind::Operation(opcode), inputs, self.len(inputs[0]), |node| node.param = param)
    }

    /// `x` where it is positive, `slope x` elsewhere, with a slope from 0 to 1.
    pub fn leaky_relu(&mut self, slope: f32, x: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::LeakyRelu), &[x], self.len(x), |node| node.imm = Immediate::Slope(slope))
    }

    /// `1/2 + slope x`, clamped to 0 and 1, with a slope from 0 to 1. Times `x` it is a hard swish.
    pub fn hard_sigmoid(&mut self, slope: f32, x: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::HardSigmoid), &[x], self.len(x), |node| {
            node.imm = Immediate::Slope(slope)
        })
    }

    /// `x` clamped to `interval`.
    pub fn clamp(&mut self, interval: [f32; 2], x: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Clamp), &[x], self.len(x), |node| {
            node.imm = Immediate::Interval(interval)
        })
    }

    /// Concatenates `a` and `b`.
    pub fn concat(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Concat), &[a, b], self.len(a) + self.len(b), |_| {})
    }

    /// `len` elements of `x`, starting at `start`.
    pub fn slice(&mut self, x: NodeId, start: usize, len: usize) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Slice), &[x], len, |node| node.imm = Immediate::Start(start))
    }

    /// A one-hot vector of `len` elements with a one at the index of the innermost loop's iteration.
    pub fn one_hot(&mut self, len: usize) -> NodeId {
        self.push(NodeKind::Operation(Opcode::OneHot), &[], len, |_| {})
    }

    /// `len` draws of N(0, 1).
    pub fn normal(&mut self, len: usize) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Normal), &[], len, |_| {})
    }

    /// A planar or radial flow of `z` with `params`, or its inverse. Returns the result and the log-determinant in
    /// nats.
    pub fn flow(&mut self, opcode: Opcode, inverse: bool, z: NodeId, params: NodeId) -> (NodeId, NodeId) {
        let flowed =
            self.push(NodeKind::Operation(opcode), &[z, params], self.len(z), |node| node.param = i8::from(inverse));
        (flowed, self.push(NodeKind::LogDet, &[flowed], 1, |_| {}))
    }

    /// A stack of couplings of `z`. Its layers start at index `layer`, and hidden layers have at most `widest` units.
    /// Returns the result and the log-determinant in nats.
    pub fn couplings(&mut self, stack: CouplingStack, layer: usize, widest: usize, z: NodeId) -> (NodeId, NodeId) {
        let len = self.len(z);
        let whole =
            self.push(NodeKind::Operation(Opcode::Couplings), &[z], CouplingStack::output_len(len, widest), |node| {
                (node.layer, node.imm) = (layer, Immediate::Stack(stack));
            });
        let log_det = self.push(NodeKind::LogDet, &[whole], 1, |_| {});
        (self.slice(whole, 0, len), log_det)
    }

    /// Logarithms of the energies of bands of the samples `x`. The values of `edges` are numbers of Fourier coefficients.
    pub fn log_bands(&mut self, bands: Bands, x: NodeId, edges: NodeId) -> NodeId {
        let len = self.len(edges) - bands.edges(0) as usize;
        self.push(NodeKind::Operation(Opcode::LogBands), &[x, edges], len, |node| node.imm = Immediate::Bands(bands))
    }

    /// Some statistics of the samples `x`, in the order of [`Statistic::ALL`].
    pub fn statistics(&mut self, which: &[Statistic], x: NodeId) -> NodeId {
        let set = which.iter().fold(0, |set, statistic| set | statistic.bit());
        let len = set.count_ones() as usize;
        self.push(NodeKind::Operation(Opcode::Statistics), &[x], len, |node| node.imm = Immediate::Statistics(set))
    }

    /// An operation whose output is a scalar in nats.
    pub fn scalar(&mut self, opcode: Opcode, param: i8, inputs: &[NodeId]) -> NodeId {
        self.push(NodeKind::Operation(opcode), inputs, 1, |node| node.param = param)
    }

    /// `peaks_c - 1/2 |u_c|^2` in nats for each element of `peaks` and the equal part of `u` that belongs to it.
    pub fn gaussian_logits(&mut self, peaks: NodeId, u: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::GaussianLogits), &[peaks, u], self.len(peaks), |_| {})
    }

    /// The scalar `x` plus a constant in nats.
    pub fn offset(&mut self, constant: f32, x: NodeId) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Offset), &[x], 1, |node| node.imm = Immediate::Constant(constant))
    }

    /// Opens a loop. Its output collects the scalars that are passed to [`Builder::end`].
    pub fn begin(&mut self, iterations: u32) -> NodeId {
        self.begin_vectors(iterations, 1)
    }

    /// Opens a loop that collects vectors of `len` elements.
    pub fn begin_vectors(&mut self, iterations: u32, len: usize) -> NodeId {
        self.push(NodeKind::Operation(Opcode::Loop), &[], iterations as usize * len, |node| {
            node.imm = Immediate::Iterations(iterations);
        })
    }

    /// Closes the innermost loop.
    pub fn end(&mut self, value: NodeId) {
        self.push(NodeKind::Operation(Opcode::End), &[value], 0, |_| {});
    }

    /// The elementwise mean of the vectors of `len` elements that a loop has collected.
    pub fn mean_vectors(&mut self, vectors: NodeId, len: usize) -> NodeId {
        self.push(NodeKind::Operation(Opcode::MeanVec), &[vectors], len, |_| {})
    }

    /// The finished program.
    pub fn finish(self, kind: ProgramKind, outputs: &[NodeId]) -> FloatProgram {
        FloatProgram { kind, nodes: self.nodes, outputs: outputs.to_vec() }
    }
}

/// The source of a float program's noise: fills a slice with draws of N(0, 1).
pub type FloatNoise<'n> = dyn FnMut(&mut [f32]) + 'n;

/// Receives the output of a node every time it is executed, and the largest magnitude of its intermediate values.
pub type Watch<'w> = dyn FnMut(NodeId, &[f32], f32) + 'w;

impl FloatModel {
    /// The program of this kind.
    pub fn program(&self, kind: ProgramKind) -> Option<&FloatProgram> {
        self.programs.iter().find(|program| program.kind == kind)
    }

    /// For every layer, whether it belongs to a stack of couplings.
    pub fn coupled(&self) -> Vec<bool> {
        let mut coupled = vec![false; self.layers.len()];
        let nodes = self.programs.iter().flat_map(|program| &program.nodes);
        for node in nodes.filter(|node| node.opcode() == Some(Opcode::Couplings)) {
            coupled[node.layers()].fill(true);
        }
        coupled
    }

    /// Runs a program on its inputs and returns its outputs. Scalars are nats.
    pub fn run(&self, program: &FloatProgram, inputs: &[&[f32]], noise: &mut FloatNoise<'_>) -> Vec<Vec<f32>> {
        self.watched(program, inputs, noise, u32::MAX, &mut |_, _, _| {})
    }

    /// Like [`FloatModel::run`], with at most `most` iterations of each loop. Every output is passed to `watch`.
    pub fn watched(
        &self,
        program: &FloatProgram,
        inputs: &[&[f32]],
        noise: &mut FloatNoise<'_>,
        most: u32,
        watch: &mut Watch<'_>,
    ) -> Vec<Vec<f32>> {
        let mut values: Vec<Vec<f32>> = program.nodes.iter().map(|node| vec![0.0; node.len]).collect();
        // The log-determinants that operations write in addition to their outputs.
        let mut log_dets = vec![0f32; program.nodes.len()];
        let mut loops: Vec<(NodeId, u32)> = Vec::new();
        let mut inputs = inputs.iter();
        let mut at = 0;
        while let Some(node) = program.nodes.get(at) {
            let mut out = std::mem::take(&mut values[at]);
            let mut extent = 0f32;
            match node.kind {
                NodeKind::LogDet => out[0] = log_dets[node.inputs[0]],
                NodeKind::Input => out.copy_from_slice(inputs.next().expect("as many inputs as the program takes")),
                NodeKind::Operation(Opcode::Normal) => noise(&mut out),
                NodeKind::Operation(Opcode::OneHot) => {
                    let iteration = loops.last().map_or(0, |(_, iteration)| *iteration as usize);
                    out.iter_mut().enumerate().for_each(|(i, v)| *v = f32::from(u8::from(i == iteration)));
                }
                NodeKind::Operation(Opcode::Loop) => loops.push((at, 0)),
                NodeKind::Operation(Opcode::End) => {
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
                NodeKind::Operation(opcode) => {
                    let operands: Vec<&[f32]> = node.inputs.iter().map(|input| values[*input].as_slice()).collect();
                    let result = evaluate::evaluate(opcode, node, &self.layers, &operands, &mut out);
                    (log_dets[at], extent) = (result.log_det, result.extent);
                }
            }
            watch(at, &out, out.iter().fold(extent, |largest, v| largest.max(v.abs())));
            values[at] = out;
            at += 1;
        }
        program.outputs.iter().map(|output| values[*output].clone()).collect()
    }
}
