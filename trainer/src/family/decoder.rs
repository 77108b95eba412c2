//! The end of every generative model, lowered: the likelihood of the data given a hidden layer.

use candle_core::Result;
use elbo::program::Opcode;

use super::vae::{HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN};
use super::{Likelihood, Params, conv::Layer};
use crate::compiler::graph::{Builder, FloatModel, NodeId};
use crate::compiler::lower::Affine;

/// The heads of a likelihood.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    likelihood: Likelihood,
    head: Affine,
    logvar: Option<Affine>,
}

impl Heads {
    /// Adds the heads `head` and, where there is one, `head_logvar`.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn new(
        model: &mut FloatModel,
        params: &Params,
        likelihood: Likelihood,
        head: Layer,
        logvar: Option<Layer>,
    ) -> Result<Self> {
        let head = Affine::layer(model, "head", params, head)?;
        let logvar = logvar.map(|layer| Affine::layer(model, "head_logvar", params, layer)).transpose()?;
        Ok(Self { likelihood, head, logvar })
    }

    /// The likelihood's mean given the last hidden layer.
    pub fn mean(self, b: &mut Builder, h: NodeId) -> NodeId {
        let head = self.head.apply(b, h);
        match self.likelihood {
            Likelihood::Bernoulli => b.map(Opcode::Sigmoid, 0, &[head]),
            Likelihood::Gaussian => head,
        }
    }

    /// `-log p(x|h)` in nats.
    pub fn nll(self, b: &mut Builder, x: NodeId, h: NodeId) -> NodeId {
        let head = self.head.apply(b, h);
        match self.logvar {
            None => b.scalar(Opcode::BernoulliNll, 0, &[head, x]),
            Some(layer) => {
                let raw = layer.apply(b, h);
                let logvar = b.clamp([HEAD_LOGVAR_MIN as f32, HEAD_LOGVAR_MAX as f32], raw);
                b.scalar(Opcode::GaussianNll, 0, &[head, logvar, x])
            }
        }
    }
}
