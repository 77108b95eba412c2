//! Lowering: a family's layers become the float programs that a blob carries.

use super::graph::{Builder, FloatModel, FloatProgram, NodeId};
use crate::family::DenseLayer;
use crate::family::vae::{HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN, LOGVAR_MAX, LOGVAR_MIN, Layers, Likelihood, VaeSpec};
use crate::nn::Activation;
use elbo::program::{Opcode, ProgramKind};

/// Layers by index, and how the VAE's parts use them.
struct Parts {
    encoder: Vec<usize>,
    mu: usize,
    logvar: usize,
    decoder: Vec<usize>,
    head: usize,
    head_logvar: Option<usize>,
}

/// The programs of a VAE (Kingma & Welling, arXiv 1312.6114): sample, decode, encode, reconstruct and the three scores,
/// Monte Carlo over `monte_carlo` and importance-weighted over `importance` draws.
pub fn vae(spec: &VaeSpec, layers: &Layers, monte_carlo: u32, importance: u32) -> FloatModel {
    let mut all: Vec<DenseLayer> = Vec::new();
    let mut names = Vec::new();
    let mut add = |name: String, layer: &DenseLayer| {
        all.push(layer.clone());
        names.push(name);
        all.len() - 1
    };
    let parts = Parts {
        encoder: layers.encoder.iter().enumerate().map(|(i, l)| add(format!("encoder.{i}"), l)).collect(),
        mu: add("mu".into(), &layers.mu),
        logvar: add("logvar".into(), &layers.logvar),
        decoder: layers.decoder.iter().enumerate().map(|(i, l)| add(format!("decoder.{i}"), l)).collect(),
        head: add("head".into(), &layers.head),
        head_logvar: layers.head_logvar.as_ref().map(|l| add("head_logvar".into(), l)),
    };
    let lowering = Lowering { spec, parts, layers: &all };
    let programs = vec![
        lowering.sample(),
        lowering.decode(),
        lowering.encode(),
        lowering.reconstruct(),
        lowering.score(),
        lowering.score_monte_carlo(monte_carlo),
        lowering.score_importance(importance),
    ];
    FloatModel { layers: all, layer_names: names, programs }
}

struct Lowering<'l> {
    spec: &'l VaeSpec,
    parts: Parts,
    layers: &'l [DenseLayer],
}

impl Lowering<'_> {
    fn dense(&self, b: &mut Builder, layer: usize, x: NodeId) -> NodeId {
        b.dense(layer, self.layers[layer].out, x)
    }

    fn hidden(&self, b: &mut Builder, layers: &[usize], x: NodeId) -> NodeId {
        layers.iter().fold(x, |x, &layer| {
            let pre = self.dense(b, layer, x);
            match self.spec.activation {
                Activation::Relu => b.map(Opcode::Relu, 0, &[pre]),
                Activation::Tanh => b.map(Opcode::Tanh, 0, &[pre]),
                Activation::Identity => pre,
            }
        })
    }

    fn posterior(&self, b: &mut Builder, x: NodeId) -> (NodeId, NodeId) {
        let h = self.hidden(b, &self.parts.encoder, x);
        let mu = self.dense(b, self.parts.mu, h);
        let logvar = self.dense(b, self.parts.logvar, h);
        (mu, b.clamp([LOGVAR_MIN as f32, LOGVAR_MAX as f32], logvar))
    }

    /// The decoder's last hidden layer.
    fn decoder(&self, b: &mut Builder, z: NodeId) -> NodeId {
        self.hidden(b, &self.parts.decoder, z)
    }

    fn mean(&self, b: &mut Builder, z: NodeId) -> NodeId {
        let h = self.decoder(b, z);
        let head = self.dense(b, self.parts.head, h);
        match self.spec.likelihood {
            Likelihood::Bernoulli => b.map(Opcode::Sigmoid, 0, &[head]),
            Likelihood::Gaussian | Likelihood::Logistic => head,
        }
    }

    /// -log p(x | z).
    fn nll(&self, b: &mut Builder, x: NodeId, z: NodeId) -> NodeId {
        let h = self.decoder(b, z);
        let head = self.dense(b, self.parts.head, h);
        match self.parts.head_logvar {
            None => b.scalar(Opcode::BernoulliNll, 0, &[head, x]),
            Some(layer) => {
                let raw = self.dense(b, layer, h);
                let logvar = b.clamp([HEAD_LOGVAR_MIN as f32, HEAD_LOGVAR_MAX as f32], raw);
                b.scalar(Opcode::GaussianNll, 0, &[head, logvar, x])
            }
        }
    }

    /// z = mu + exp(logvar / 2) eps (equation 10 of the paper's appendix), and eps.
    fn draw(&self, b: &mut Builder, mu: NodeId, sigma: NodeId) -> (NodeId, NodeId) {
        let eps = b.normal(self.spec.latent);
        (b.map(Opcode::Fma, 0, &[sigma, eps, mu]), eps)
    }

    fn sample(&self) -> FloatProgram {
        let mut b = Builder::default();
        let z = b.normal(self.spec.latent);
        let out = self.mean(&mut b, z);
        b.finish(ProgramKind::Sample, &[out])
    }

    fn decode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let z = b.input(self.spec.latent);
        let out = self.mean(&mut b, z);
        b.finish(ProgramKind::Decode, &[out])
    }

    fn encode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let (mu, logvar) = self.posterior(&mut b, x);
        b.finish(ProgramKind::Encode, &[mu, logvar])
    }

    fn reconstruct(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let h = self.hidden(&mut b, &self.parts.encoder, x);
        let mu = self.dense(&mut b, self.parts.mu, h);
        let out = self.mean(&mut b, mu);
        b.finish(ProgramKind::Reconstruct, &[out])
    }

    fn score(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let (mu, logvar) = self.posterior(&mut b, x);
        let kl = b.scalar(Opcode::Kl, 0, &[mu, logvar]);
        let nll = self.nll(&mut b, x, mu);
        let out = b.scalar(Opcode::Add, 0, &[nll, kl]);
        b.finish(ProgramKind::Score, &[out])
    }

    /// Estimator B (equation 7): the mean of -log p(x|z), plus the analytic KL.
    fn score_monte_carlo(&self, draws: u32) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let (mu, logvar) = self.posterior(&mut b, x);
        let kl = b.scalar(Opcode::Kl, 0, &[mu, logvar]);
        let sigma = b.map(Opcode::Exp, 1, &[logvar]);
        let terms = b.begin(draws);
        let (z, _) = self.draw(&mut b, mu, sigma);
        let nll = self.nll(&mut b, x, z);
        b.end(nll);
        let mean = b.scalar(Opcode::Mean, 0, &[terms]);
        let out = b.scalar(Opcode::Add, 0, &[mean, kl]);
        b.finish(ProgramKind::ScoreMonteCarlo, &[out])
    }

    /// -log 1/K sum w_k with log w = log p(x|z) - |z|^2/2 + |eps|^2/2 + sum logvar / 2 (arXiv 1509.00519, equation 8).
    fn score_importance(&self, draws: u32) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let (mu, logvar) = self.posterior(&mut b, x);
        let half_log_det = b.scalar(Opcode::Sum, 1, &[logvar]);
        let sigma = b.map(Opcode::Exp, 1, &[logvar]);
        let weights = b.begin(draws);
        let (z, eps) = self.draw(&mut b, mu, sigma);
        let log_q = b.scalar(Opcode::HalfSumSq, 0, &[eps]);
        let log_p = b.scalar(Opcode::HalfSumSq, 0, &[z]);
        let nll = self.nll(&mut b, x, z);
        let ratio = b.scalar(Opcode::Sub, 0, &[log_q, log_p]);
        let weight = b.scalar(Opcode::Sub, 0, &[ratio, nll]);
        b.end(weight);
        let mean = b.scalar(Opcode::LogMeanExp, 0, &[weights]);
        let bound = b.scalar(Opcode::Add, 0, &[mean, half_log_det]);
        let out = b.scalar(Opcode::Neg, 0, &[bound]);
        b.finish(ProgramKind::ScoreImportance, &[out])
    }
}
