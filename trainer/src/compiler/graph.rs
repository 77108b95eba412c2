//! The float graph: a program before quantisation, with the very operations of the runtime, and its interpreter.
//!
//! A node is an operation and the tensor that it writes. What the integer program clamps (log-variances), the graph
//! clamps too, so that both are compared on equal terms.

use crate::family::DenseLayer;
use elbo::program::{Opcode, ProgramKind};

/// Index of a node in its program.
pub type NodeId = usize;

/// One operation of a float program.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operation; `None` for the program's input.
    pub opcode: Option<Opcode>,
    /// `a` is read as `a 2^-param`.
    pub param: i8,
    /// The nodes that it reads.
    pub inputs: Vec<NodeId>,
    /// Elements of its output.
    pub len: usize,
    /// Index of a dense layer.
    pub layer: usize,
    /// Iterations of a loop.
    pub iterations: u32,
    /// Interval of a clamp.
    pub interval: [f32; 2],
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
#[derive(Clone, Debug, PartialEq)]
pub struct FloatModel {
    /// Dense layers, by the index that nodes use.
    pub layers: Vec<DenseLayer>,
    /// Names of the layers, for reports.
    pub layer_names: Vec<String>,
    /// The programs.
    pub programs: Vec<FloatProgram>,
}

/// Builds a program node by node.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn node(&self, opcode: Option<Opcode>, inputs: &[NodeId], len: usize) -> Node {
        Node { opcode, param: 0, inputs: inputs.to_vec(), len, layer: 0, iterations: 0, interval: [0.0; 2] }
    }

    /// Length of a node's output.
    pub fn len(&self, node: NodeId) -> usize {
        self.nodes[node].len
    }

    /// The program's input of `len` elements.
    pub fn input(&mut self, len: usize) -> NodeId {
        self.push(self.node(None, &[], len))
    }

    /// `layer` applied to `x`, `out` elements.
    pub fn dense(&mut self, layer: usize, out: usize, x: NodeId) -> NodeId {
        let node = Node { layer, ..self.node(Some(Opcode::Dense), &[x], out) };
        self.push(node)
    }

    /// An element-wise operation.
    pub fn map(&mut self, opcode: Opcode, param: i8, inputs: &[NodeId]) -> NodeId {
        let node = Node { param, ..self.node(Some(opcode), inputs, self.len(inputs[0])) };
        self.push(node)
    }

    /// `x` clamped to `interval`.
    pub fn clamp(&mut self, interval: [f32; 2], x: NodeId) -> NodeId {
        let node = Node { interval, ..self.node(Some(Opcode::Clamp), &[x], self.len(x)) };
        self.push(node)
    }

    /// `len` draws of N(0, 1).
    pub fn normal(&mut self, len: usize) -> NodeId {
        self.push(self.node(Some(Opcode::Normal), &[], len))
    }

    /// An operation whose output is a scalar in nats.
    pub fn scalar(&mut self, opcode: Opcode, param: i8, inputs: &[NodeId]) -> NodeId {
        let node = Node { param, ..self.node(Some(opcode), inputs, 1) };
        self.push(node)
    }

    /// Opens a loop; its vector collects what [`Builder::end`] is given.
    pub fn begin(&mut self, iterations: u32) -> NodeId {
        let node = Node { iterations, ..self.node(Some(Opcode::Loop), &[], iterations as usize) };
        self.push(node)
    }

    /// Closes the innermost loop.
    pub fn end(&mut self, value: NodeId) {
        let node = self.node(Some(Opcode::End), &[value], 0);
        self.push(node);
    }

    /// The finished program.
    pub fn finish(self, kind: ProgramKind, outputs: &[NodeId]) -> FloatProgram {
        FloatProgram { kind, nodes: self.nodes, outputs: outputs.to_vec() }
    }
}

/// Where a float program's noise comes from: fills a slice with draws of N(0, 1).
pub type FloatNoise<'n> = dyn FnMut(&mut [f32]) + 'n;

impl FloatModel {
    /// The program of this kind.
    pub fn program(&self, kind: ProgramKind) -> Option<&FloatProgram> {
        self.programs.iter().find(|program| program.kind == kind)
    }

    /// Runs a program and returns its outputs. Scalars are nats.
    pub fn run(&self, program: &FloatProgram, input: &[f32], noise: &mut FloatNoise<'_>) -> Vec<Vec<f32>> {
        let values = self.trace(program, input, noise);
        program.outputs.iter().map(|output| values[*output].clone()).collect()
    }

    /// Runs a program and returns every node's value of its last execution.
    pub fn trace(&self, program: &FloatProgram, input: &[f32], noise: &mut FloatNoise<'_>) -> Vec<Vec<f32>> {
        let mut values: Vec<Vec<f32>> = program.nodes.iter().map(|node| vec![0.0; node.len]).collect();
        let mut loops: Vec<(NodeId, u32)> = Vec::new();
        let mut at = 0;
        while let Some(node) = program.nodes.get(at) {
            match node.opcode {
                None => values[at].copy_from_slice(input),
                Some(Opcode::Normal) => noise(&mut values[at]),
                Some(Opcode::Loop) => loops.push((at, 0)),
                Some(Opcode::End) => {
                    let value = values[node.inputs[0]][0];
                    if let Some((start, iteration)) = loops.pop() {
                        values[start][iteration as usize] = value;
                        if iteration + 1 < program.nodes[start].iterations {
                            loops.push((start, iteration + 1));
                            at = start;
                        }
                    }
                }
                Some(opcode) => {
                    let mut out = std::mem::take(&mut values[at]);
                    let operands: Vec<&[f32]> = node.inputs.iter().map(|input| values[*input].as_slice()).collect();
                    evaluate(opcode, node, &self.layers, &operands, &mut out);
                    values[at] = out;
                }
            }
            at += 1;
        }
        values
    }
}

fn evaluate(opcode: Opcode, node: &Node, layers: &[DenseLayer], operands: &[&[f32]], out: &mut [f32]) {
    let a = operands[0];
    let scale = 2f32.powi(-i32::from(node.param));
    let each = |out: &mut [f32], f: &dyn Fn(f32) -> f32| out.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a));
    let sum = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>() as f32;
    let at = |operand: usize, i: usize| f64::from(operands[operand][i]);
    match opcode {
        Opcode::Dense => dense(&layers[node.layer], a, out),
        Opcode::Relu => each(out, &|v| v.max(0.0)),
        Opcode::Tanh => each(out, &|v| (v * scale).tanh()),
        Opcode::Sigmoid => each(out, &|v| 1.0 / (1.0 + (-v * scale).exp())),
        Opcode::Exp => each(out, &|v| (v * scale).exp()),
        Opcode::Clamp => each(out, &|v| v.clamp(node.interval[0], node.interval[1])),
        Opcode::Fma => (0..out.len()).for_each(|i| out[i] = operands[0][i] * operands[1][i] + operands[2][i]),
        Opcode::BernoulliNll => {
            out[0] = sum(&|i| at(0, i).max(0.0) + (-at(0, i).abs()).exp().ln_1p() - at(0, i) * at(1, i));
        }
        Opcode::GaussianNll => {
            let ln_2pi = std::f64::consts::TAU.ln();
            out[0] = sum(&|i| 0.5 * ((at(2, i) - at(0, i)).powi(2) * (-at(1, i)).exp() + at(1, i) + ln_2pi));
        }
        Opcode::Kl => out[0] = sum(&|i| 0.5 * (at(0, i).powi(2) + at(1, i).exp() - 1.0 - at(1, i))),
        Opcode::HalfSumSq => out[0] = sum(&|i| 0.5 * at(0, i).powi(2)),
        Opcode::Sum => out[0] = sum(&|i| at(0, i) * f64::from(scale)),
        Opcode::Add => out[0] = a[0] + operands[1][0],
        Opcode::Sub => out[0] = a[0] - operands[1][0],
        Opcode::Neg => out[0] = -a[0],
        Opcode::Mean => out[0] = sum(&|i| at(0, i)) / a.len() as f32,
        Opcode::LogMeanExp => {
            let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mean = sum(&|i| (at(0, i) - f64::from(largest)).exp()) / a.len() as f32;
            out[0] = largest + mean.ln();
        }
        Opcode::Invalid | Opcode::Normal | Opcode::Loop | Opcode::End => {}
    }
}

fn dense(layer: &DenseLayer, x: &[f32], out: &mut [f32]) {
    for ((y, row), bias) in out.iter_mut().zip(layer.w.chunks_exact(layer.inp)).zip(&layer.b) {
        // Eight partial sums let the compiler use vectors.
        let mut lanes = [0f32; 8];
        let (blocks, tail) = row.as_chunks::<8>();
        let (x_blocks, x_tail) = x.as_chunks::<8>();
        for (w, x) in blocks.iter().zip(x_blocks) {
            for lane in 0..8 {
                lanes[lane] += w[lane] * x[lane];
            }
        }
        *y = bias + lanes.iter().sum::<f32>() + tail.iter().zip(x_tail).map(|(w, x)| w * x).sum::<f32>();
    }
}

#[cfg(test)]
mod tests;
