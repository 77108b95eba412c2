//! Lowering that all families share: layers with variables become layers with numbers, which are applied to nodes of
//! the float graph.

use candle_core::Result;
use elbo::kernel::ConvGeometry;
use elbo::program::Opcode;
use elbo_compiler::DenseLayer;
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, NodeId};

use crate::layers::conv::{Layer, Stack};
use crate::layers::{Dense, Mlp, Params, Slot};
use crate::nn::Activation;

mod heads;

pub use heads::HeadLayers;

/// A layer of a [`FloatModel`].
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    index: usize,
    /// Number of outputs, or of output channels.
    out: usize,
    geometry: Option<ConvGeometry>,
}

impl Affine {
    /// Adds a layer given by its weights and biases.
    pub fn add(model: &mut FloatModel, name: &str, layer: DenseLayer) -> Self {
        let out = layer.out;
        Self { index: model.layer(name, layer), out, geometry: None }
    }

    /// Adds a dense layer.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn dense(model: &mut FloatModel, name: &str, params: &Params, layer: Dense) -> Result<Self> {
        Ok(Self::add(model, name, layer.layer(params)?))
    }

    /// Adds a linear map with weights `[out, inp]` and without a bias.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn linear(model: &mut FloatModel, name: &str, params: &Params, weight: Slot) -> Result<Self> {
        let (w, (out, inp)) = (params.values(weight)?, params.get(weight).dims2()?);
        Ok(Self::add(model, name, DenseLayer { w, b: vec![0.0; out], out, inp }))
    }

    /// Adds a dense layer or a convolution.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn layer(model: &mut FloatModel, name: &str, params: &Params, layer: Layer) -> Result<Self> {
        Ok(Self::with_numbers(model, name, layer, &params.values(layer.weight())?, &params.values(layer.bias())?))
    }

    /// Adds a dense layer or a convolution that has the shape of `layer` and these weights and biases.
    pub fn with_numbers(model: &mut FloatModel, name: &str, layer: Layer, w: &[f32], b: &[f32]) -> Self {
        match layer {
            Layer::Dense(dense) => {
                Self::add(model, name, DenseLayer { w: w.to_vec(), b: b.to_vec(), out: dense.out, inp: dense.inp })
            }
            Layer::Conv(conv) => {
                let phases = conv.matrices(w, b).into_iter().enumerate();
                let indices: Vec<usize> =
                    phases.map(|(phase, layer)| model.layer(format!("{name}/{phase}"), layer)).collect();
                Self { index: indices[0], out: conv.output[2], geometry: Some(conv.geometry()) }
            }
        }
    }

    /// Adds the node of the layer applied to `x`.
    pub fn apply(self, b: &mut Builder, x: NodeId) -> NodeId {
        match self.geometry {
            None => b.dense(self.index, self.out, x),
            Some(geometry) => b.conv(self.index, self.out, geometry, x),
        }
    }
}

/// A sequence of layers, each followed by the same activation function.
#[derive(Clone, Debug)]
pub struct Tower {
    layers: Vec<Affine>,
    activation: Activation,
}

impl Tower {
    /// Adds a stack of dense layers.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn mlp(model: &mut FloatModel, name: &str, params: &Params, mlp: &Mlp) -> Result<Self> {
        let layers = mlp.layers.iter().enumerate();
        let layers = layers.map(|(i, layer)| Affine::dense(model, &format!("{name}.{i}"), params, *layer));
        Ok(Self { layers: layers.collect::<Result<_>>()?, activation: mlp.activation })
    }

    /// Adds a stack of dense layers and convolutions.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn stack(model: &mut FloatModel, name: &str, params: &Params, stack: &Stack) -> Result<Self> {
        let layers = stack.layers.iter().enumerate();
        let layers = layers.map(|(i, layer)| Affine::layer(model, &format!("{name}.{i}"), params, *layer));
        Ok(Self { layers: layers.collect::<Result<_>>()?, activation: stack.activation })
    }

    /// Adds the nodes of all layers, and returns that of the last activations.
    pub fn apply(&self, b: &mut Builder, x: NodeId) -> NodeId {
        self.layers.iter().fold(x, |x, layer| {
            let pre = layer.apply(b, x);
            activate(b, self.activation, pre)
        })
    }
}

/// Adds the node of an activation function.
pub fn activate(b: &mut Builder, activation: Activation, x: NodeId) -> NodeId {
    match activation {
        Activation::Relu => b.map(Opcode::Relu, 0, &[x]),
        Activation::Tanh => b.map(Opcode::Tanh, 0, &[x]),
        Activation::Identity => x,
    }
}
