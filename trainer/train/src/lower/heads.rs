//! The end of every generative model, lowered: the likelihood of the data given the last hidden layer.

use candle_core::Result;
use elbo::program::Opcode;
use elbo_compiler::FloatModel;
use elbo_compiler::Likelihood;
use elbo_compiler::graph::{Builder, NodeId};

use crate::layers::Params;
use crate::layers::conv::Layer;
use crate::likelihood::{
    Density, HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN, LOG_SCALE_MAX, LOG_SCALE_MIN, LOGISTIC_MEAN_MAX, LOGISTIC_MEAN_MIN,
};
use crate::lower::Affine;

/// The heads of a likelihood: the layers that compute its parameters from the last hidden layer.
#[derive(Clone, Copy, Debug)]
pub struct HeadLayers {
    likelihood: Likelihood,
    first: Affine,
    second: Option<Affine>,
}

impl HeadLayers {
    /// The heads given by layers that the float model already has.
    pub fn from_layers(likelihood: Likelihood, first: Affine, second: Option<Affine>) -> Self {
        Self { likelihood, first, second }
    }

    /// Adds the heads to the float model. `second` is the layer of the second parameter, if the likelihood has one.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn new(
        model: &mut FloatModel,
        params: &Params,
        likelihood: Likelihood,
        first: Layer,
        second: Option<Layer>,
    ) -> Result<Self> {
        let name = likelihood.second_head().unwrap_or_default();
        let first = Affine::layer(model, "head", params, first)?;
        let second = second.map(|layer| Affine::layer(model, name, params, layer)).transpose()?;
        Ok(Self::from_layers(likelihood, first, second))
    }

    /// Adds the mean of the likelihood given the last hidden layer.
    pub fn mean(self, b: &mut Builder, h: NodeId) -> NodeId {
        let first = self.first.apply(b, h);
        match self.likelihood {
            Likelihood::Bernoulli => b.map(Opcode::Sigmoid, 0, &[first]),
            Likelihood::Gaussian => first,
            Likelihood::Logistic => b.clamp([0.0, 1.0], first),
        }
    }

    /// Adds `-log p(x|h)` in nats.
    pub fn nll(self, b: &mut Builder, x: NodeId, h: NodeId) -> NodeId {
        let first = self.first.apply(b, h);
        let Some(second) = self.second else { return b.scalar(Opcode::BernoulliNll, 0, &[first, x]) };
        let raw = second.apply(b, h);
        match self.likelihood {
            Likelihood::Logistic => {
                let mean = b.clamp([LOGISTIC_MEAN_MIN as f32, LOGISTIC_MEAN_MAX as f32], first);
                let log_scale = b.clamp([LOG_SCALE_MIN as f32, LOG_SCALE_MAX as f32], raw);
                b.scalar(Opcode::LogisticNll, 0, &[mean, log_scale, x])
            }
            _ => {
                let logvar = b.clamp([HEAD_LOGVAR_MIN as f32, HEAD_LOGVAR_MAX as f32], raw);
                b.scalar(Opcode::GaussianNll, 0, &[first, logvar, x])
            }
        }
    }
}
