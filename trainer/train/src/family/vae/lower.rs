//! The programs of a VAE: sample, decode, encode, reconstruct and three scores.

use candle_core::Result;
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};

use super::{LOGVAR_MAX, LOGVAR_MIN, Vae, VaeSpec};
use crate::lower::HeadLayers;
use crate::lower::{Affine, Tower};
use crate::settings::ExportRecipe;

/// The layers of a VAE in the float graph.
struct Lowering<'v> {
    spec: &'v VaeSpec,
    classes: usize,
    encoder: Tower,
    mu: Affine,
    logvar: Affine,
    decoder: Tower,
    heads: HeadLayers,
    flow: Option<(Opcode, Affine)>,
}

/// The parameters of `q(z|x)`.
struct Posterior {
    mu: NodeId,
    logvar: NodeId,
    /// The parameters of the flow's steps.
    flow: Option<NodeId>,
}

pub(super) fn lower(vae: &Vae, export: &ExportRecipe) -> Result<FloatModel> {
    let mut model = FloatModel::default();
    let (m, p) = (&mut model, &vae.params);
    let lowering = Lowering {
        spec: &vae.spec,
        classes: vae.classes,
        encoder: Tower::stack(m, "encoder", p, &vae.encoder)?,
        mu: Affine::layer(m, "mu", p, vae.mu)?,
        logvar: Affine::layer(m, "logvar", p, vae.logvar)?,
        decoder: Tower::stack(m, "decoder", p, &vae.decoder)?,
        heads: HeadLayers::new(m, p, vae.spec.likelihood, vae.head, vae.second_head)?,
        flow: match &vae.posterior {
            None => None,
            Some(posterior) => Some((posterior.step().opcode(), Affine::dense(m, "flow", p, posterior.head)?)),
        },
    };
    if vae.classes > 0 {
        model.programs = vec![
            lowering.sample(),
            lowering.score(),
            lowering.score_monte_carlo(export.monte_carlo_samples as u32),
            lowering.score_importance(export.importance_samples as u32),
        ];
        return Ok(model);
    }
    model.programs = vec![
        lowering.sample(),
        lowering.decode(),
        lowering.encode(),
        lowering.reconstruct(),
        lowering.score(),
        lowering.score_monte_carlo(export.monte_carlo_samples as u32),
        lowering.score_importance(export.importance_samples as u32),
    ];
    Ok(model)
}

impl Lowering<'_> {
    /// Appends the class to the values, if the model reads one.
    fn join(b: &mut Builder, x: NodeId, class: Option<NodeId>) -> NodeId {
        class.map_or(x, |class| b.concat(x, class))
    }

    /// The cost of a row, `-log 1/C sum exp(-cost)`. The closure gives the cost of the row for one class.
    fn over_classes(&self, b: &mut Builder, cost: impl FnOnce(&mut Builder, Option<NodeId>) -> NodeId) -> NodeId {
        if self.classes == 0 {
            return cost(b, None);
        }
        let bounds = b.begin(self.classes as u32);
        let class = b.one_hot(self.classes);
        let cost = cost(b, Some(class));
        let bound = b.scalar(Opcode::Neg, 0, &[cost]);
        b.end(bound);
        let mean = b.scalar(Opcode::LogMeanExp, 0, &[bounds]);
        b.scalar(Opcode::Neg, 0, &[mean])
    }

    fn posterior(&self, b: &mut Builder, x: NodeId, class: Option<NodeId>) -> Posterior {
        let x = Self::join(b, x, class);
        let h = self.encoder.apply(b, x);
        let (mu, raw) = (self.mu.apply(b, h), self.logvar.apply(b, h));
        let logvar = b.clamp([LOGVAR_MIN as f32, LOGVAR_MAX as f32], raw);
        Posterior { mu, logvar, flow: self.flow.map(|(_, head)| head.apply(b, h)) }
    }

    /// The image of a latent under the flow and its log-determinant. Without a flow the latent does not change.
    fn apply_flow(&self, b: &mut Builder, q: &Posterior, z: NodeId) -> (NodeId, Option<NodeId>) {
        match (self.flow, q.flow) {
            (Some((opcode, _)), Some(params)) => {
                let (z, log_det) = b.flow(opcode, false, z, params);
                (z, Some(log_det))
            }
            _ => (z, None),
        }
    }

    fn mean(&self, b: &mut Builder, z: NodeId, class: Option<NodeId>) -> NodeId {
        let z = Self::join(b, z, class);
        let h = self.decoder.apply(b, z);
        self.heads.mean(b, h)
    }

    /// -log p(x | z).
    fn nll(&self, b: &mut Builder, x: NodeId, z: NodeId, class: Option<NodeId>) -> NodeId {
        let z = Self::join(b, z, class);
        let h = self.decoder.apply(b, z);
        self.heads.nll(b, x, h)
    }

    fn sample(&self) -> FloatProgram {
        let mut b = Builder::default();
        let class = (self.classes > 0).then(|| b.input(self.classes));
        let z = b.normal(self.spec.latent);
        let out = self.mean(&mut b, z, class);
        b.finish(if class.is_some() { ProgramKind::SampleClass } else { ProgramKind::Sample }, &[out])
    }

    fn decode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let z = b.input(self.spec.latent);
        let out = self.mean(&mut b, z, None);
        b.finish(ProgramKind::Decode, &[out])
    }

    fn encode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let q = self.posterior(&mut b, x, None);
        b.finish(ProgramKind::Encode, &[q.mu, q.logvar])
    }

    fn reconstruct(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let h = self.encoder.apply(&mut b, x);
        let mu = self.mu.apply(&mut b, h);
        let flow = self.flow.map(|(_, head)| head.apply(&mut b, h));
        let (z, _) = self.apply_flow(&mut b, &Posterior { mu, logvar: mu, flow }, mu);
        let out = self.mean(&mut b, z, None);
        b.finish(ProgramKind::Reconstruct, &[out])
    }

    /// -ELBO at the mean of the Gaussian, with the analytic KL divergence. A flow maps this mean. The image then
    /// replaces the mean in the divergence, and the log-determinant at the mean is subtracted.
    fn score(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let out = self.over_classes(&mut b, |b, class| {
            let q = self.posterior(b, x, class);
            let mut kl = b.scalar(Opcode::Kl, 0, &[q.mu, q.logvar]);
            let (z, log_det) = self.apply_flow(b, &q, q.mu);
            if let Some(log_det) = log_det {
                let before = b.scalar(Opcode::HalfSumSq, 0, &[q.mu]);
                let after = b.scalar(Opcode::HalfSumSq, 0, &[z]);
                let change = b.scalar(Opcode::Sub, 0, &[after, before]);
                let change = b.scalar(Opcode::Sub, 0, &[change, log_det]);
                kl = b.scalar(Opcode::Add, 0, &[kl, change]);
            }
            let nll = self.nll(b, x, z, class);
            b.scalar(Opcode::Add, 0, &[nll, kl])
        });
        b.finish(ProgramKind::Score, &[out])
    }

    /// Estimator B (equation 7): the mean of -log p(x|z), plus the analytic KL divergence. With a flow, all terms that
    /// depend on the latent are averaged.
    fn score_monte_carlo(&self, draws: u32) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let out = self.over_classes(&mut b, |b, class| {
            let q = self.posterior(b, x, class);
            let outside = match self.flow {
                None => b.scalar(Opcode::Kl, 0, &[q.mu, q.logvar]),
                Some(_) => {
                    let half_log_det = b.scalar(Opcode::Sum, 1, &[q.logvar]);
                    b.scalar(Opcode::Neg, 0, &[half_log_det])
                }
            };
            let sigma = b.map(Opcode::Exp, 1, &[q.logvar]);
            let terms = b.begin(draws);
            let eps = b.normal(self.spec.latent);
            let z = b.map(Opcode::Fma, 0, &[sigma, eps, q.mu]);
            let (z, log_det) = self.apply_flow(b, &q, z);
            let mut term = self.nll(b, x, z, class);
            if let Some(log_det) = log_det {
                let ratio = self.log_ratio(b, eps, z, Some(log_det));
                term = b.scalar(Opcode::Sub, 0, &[term, ratio]);
            }
            b.end(term);
            let mean = b.scalar(Opcode::Mean, 0, &[terms]);
            b.scalar(Opcode::Add, 0, &[mean, outside])
        });
        b.finish(ProgramKind::ScoreMonteCarlo, &[out])
    }

    /// `log p(z) - log q(z|x)` without the half sum of the log-variances.
    fn log_ratio(&self, b: &mut Builder, eps: NodeId, z: NodeId, log_det: Option<NodeId>) -> NodeId {
        let log_q = b.scalar(Opcode::HalfSumSq, 0, &[eps]);
        let log_p = b.scalar(Opcode::HalfSumSq, 0, &[z]);
        let ratio = b.scalar(Opcode::Sub, 0, &[log_q, log_p]);
        log_det.map_or(ratio, |log_det| b.scalar(Opcode::Add, 0, &[ratio, log_det]))
    }

    /// -log 1/K sum w_k with log w = log p(x|z) - |z|^2/2 + |eps|^2/2 + sum logvar / 2 (arXiv 1509.00519, equation 8).
    fn score_importance(&self, draws: u32) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.spec.input);
        let out = self.over_classes(&mut b, |b, class| {
            let q = self.posterior(b, x, class);
            let half_log_det = b.scalar(Opcode::Sum, 1, &[q.logvar]);
            let sigma = b.map(Opcode::Exp, 1, &[q.logvar]);
            let weights = b.begin(draws);
            let eps = b.normal(self.spec.latent);
            let z = b.map(Opcode::Fma, 0, &[sigma, eps, q.mu]);
            let (z, log_det) = self.apply_flow(b, &q, z);
            let ratio = self.log_ratio(b, eps, z, log_det);
            let nll = self.nll(b, x, z, class);
            let weight = b.scalar(Opcode::Sub, 0, &[ratio, nll]);
            b.end(weight);
            let mean = b.scalar(Opcode::LogMeanExp, 0, &[weights]);
            let bound = b.scalar(Opcode::Add, 0, &[mean, half_log_det]);
            b.scalar(Opcode::Neg, 0, &[bound])
        });
        b.finish(ProgramKind::ScoreImportance, &[out])
    }
}
