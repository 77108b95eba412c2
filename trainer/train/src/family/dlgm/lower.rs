//! The programs of a DLGM: ancestral sampling, decode, encode, reconstruct, the three scores and imputation.
//!
//! A latent vector consists of all `xi_l`, starting with the layer next to the data.

use candle_core::Result;
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};

use super::{Dlgm, LOGVAR_MAX, LOGVAR_MIN, V_BOUND};
use crate::lower::HeadLayers;
use crate::lower::{Affine, Tower};
use crate::settings::ExportRecipe;

/// Number of imputation steps. Each step encodes the row and draws the latents again.
const IMPUTATION_STEPS: usize = 8;

/// One stochastic layer in the float graph.
struct LayerNodes {
    size: usize,
    mu: Affine,
    logvar: Affine,
    v: Option<Affine>,
    noise: Affine,
    transition: Option<(Tower, Affine)>,
}

/// The parameters of `q(xi_l | x)` for one layer.
struct Posterior {
    mu: NodeId,
    logvar: NodeId,
    v: Option<NodeId>,
}

struct Lowering {
    input: usize,
    encoder: Tower,
    layers: Vec<LayerNodes>,
    decoder: Tower,
    heads: HeadLayers,
}

pub(super) fn lower(dlgm: &Dlgm, export: &ExportRecipe) -> Result<FloatModel> {
    let mut model = FloatModel::default();
    let (m, p) = (&mut model, &dlgm.params);
    let encoder = Tower::mlp(m, "encoder", p, &dlgm.encoder)?;
    let mut layers = Vec::new();
    for (l, layer) in (1..).zip(&dlgm.layers) {
        layers.push(LayerNodes {
            size: layer.size,
            mu: Affine::dense(m, &format!("mu.{l}"), p, layer.mu)?,
            logvar: Affine::dense(m, &format!("logvar.{l}"), p, layer.logvar)?,
            v: layer.v.map(|v| Affine::dense(m, &format!("v.{l}"), p, v)).transpose()?,
            noise: Affine::linear(m, &format!("noise.{l}"), p, layer.noise)?,
            transition: match &layer.transition {
                None => None,
                Some((hidden, last)) => Some((
                    Tower::mlp(m, &format!("transition.{l}"), p, hidden)?,
                    Affine::dense(m, &format!("transition.{l}.out"), p, *last)?,
                )),
            },
        });
    }
    let lowering = Lowering {
        input: dlgm.spec.input,
        encoder,
        layers,
        decoder: Tower::mlp(m, "decoder", p, &dlgm.decoder)?,
        heads: HeadLayers::new(m, p, dlgm.spec.likelihood, dlgm.head.into(), dlgm.second_head.map(Into::into))?,
    };
    model.programs = vec![
        lowering.sample(),
        lowering.decode(),
        lowering.encode(),
        lowering.reconstruct(),
        lowering.score(),
        lowering.score_monte_carlo(export.monte_carlo_samples as u32),
        lowering.score_importance(export.importance_samples as u32),
        lowering.impute(),
    ];
    Ok(model)
}

impl Lowering {
    fn posteriors(&self, b: &mut Builder, x: NodeId) -> Vec<Posterior> {
        let h = self.encoder.apply(b, x);
        let bound = V_BOUND as f32;
        let of = |layer: &LayerNodes| {
            let (mu, raw) = (layer.mu.apply(b, h), layer.logvar.apply(b, h));
            let logvar = b.clamp([LOGVAR_MIN as f32, LOGVAR_MAX as f32], raw);
            let v = layer.v.map(|v| {
                let raw = v.apply(b, h);
                b.clamp([-bound, bound], raw)
            });
            Posterior { mu, logvar, v }
        };
        self.layers.iter().map(of).collect()
    }

    /// The last hidden layer of `T_0`, given the `xi` of every layer.
    fn hidden(&self, b: &mut Builder, xi: &[NodeId]) -> NodeId {
        let mut above: Option<NodeId> = None;
        for (layer, xi) in self.layers.iter().zip(xi).rev() {
            let noise = layer.noise.apply(b, *xi);
            above = Some(match (&layer.transition, above) {
                (Some((hidden, last)), Some(h)) => {
                    let h = hidden.apply(b, h);
                    let transformed = last.apply(b, h);
                    b.map(Opcode::AddVec, 0, &[transformed, noise])
                }
                _ => noise,
            });
        }
        let h = above.unwrap_or(xi[0]);
        self.decoder.apply(b, h)
    }

    /// The noise of every layer, drawn from the top layer down.
    fn noise(&self, b: &mut Builder) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = self.layers.iter().rev().map(|layer| b.normal(layer.size)).collect();
        all.reverse();
        all
    }

    fn sigmas(&self, b: &mut Builder, q: &[Posterior]) -> Vec<NodeId> {
        q.iter().map(|q| b.map(Opcode::Exp, 1, &[q.logvar])).collect()
    }

    /// `xi = mu + sigma (eps - kappa v (v.eps))` of every layer.
    fn draws(&self, b: &mut Builder, q: &[Posterior], sigmas: &[NodeId], eps: &[NodeId]) -> Vec<NodeId> {
        let draw = |((q, sigma), eps): ((&Posterior, &NodeId), &NodeId)| {
            let correlated = q.v.map_or(*eps, |v| b.map(Opcode::RankOne, 0, &[*eps, v]));
            b.map(Opcode::Fma, 0, &[*sigma, correlated, q.mu])
        };
        q.iter().zip(sigmas).zip(eps).map(draw).collect()
    }

    /// The sum of the divergences of all layers from the prior.
    fn kl(&self, b: &mut Builder, q: &[Posterior]) -> NodeId {
        let mut terms = Vec::new();
        for q in q {
            terms.push(b.scalar(Opcode::Kl, 0, &[q.mu, q.logvar]));
            if let Some(v) = q.v {
                let sigma = b.map(Opcode::Exp, 1, &[q.logvar]);
                let scaled = b.map(Opcode::Mul, 0, &[sigma, v]);
                terms.push(b.scalar(Opcode::RankOneKl, 0, &[v, scaled]));
            }
        }
        sum(b, &terms)
    }

    fn sample(&self) -> FloatProgram {
        let mut b = Builder::default();
        let xi = self.noise(&mut b);
        let h = self.hidden(&mut b, &xi);
        let out = self.heads.mean(&mut b, h);
        b.finish(ProgramKind::Sample, &[out])
    }

    fn decode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let z = b.input(self.layers.iter().map(|layer| layer.size).sum());
        let mut start = 0;
        let xi: Vec<NodeId> = self
            .layers
            .iter()
            .map(|layer| {
                start += layer.size;
                b.slice(z, start - layer.size, layer.size)
            })
            .collect();
        let h = self.hidden(&mut b, &xi);
        let out = self.heads.mean(&mut b, h);
        b.finish(ProgramKind::Decode, &[out])
    }

    fn encode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.input);
        let q = self.posteriors(&mut b, x);
        let mut all = |of: &dyn Fn(&Posterior) -> NodeId| {
            let first = of(&q[0]);
            q[1..].iter().fold(first, |all, q| b.concat(all, of(q)))
        };
        let (mu, logvar) = (all(&|q| q.mu), all(&|q| q.logvar));
        b.finish(ProgramKind::Encode, &[mu, logvar])
    }

    fn means(q: &[Posterior]) -> Vec<NodeId> {
        q.iter().map(|q| q.mu).collect()
    }

    fn reconstruct(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.input);
        let q = self.posteriors(&mut b, x);
        let h = self.hidden(&mut b, &Self::means(&q));
        let out = self.heads.mean(&mut b, h);
        b.finish(ProgramKind::Reconstruct, &[out])
    }

    fn score(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.input);
        let q = self.posteriors(&mut b, x);
        let kl = self.kl(&mut b, &q);
        let h = self.hidden(&mut b, &Self::means(&q));
        let nll = self.heads.nll(&mut b, x, h);
        let out = b.scalar(Opcode::Add, 0, &[nll, kl]);
        b.finish(ProgramKind::Score, &[out])
    }

    fn score_monte_carlo(&self, draws: u32) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.input);
        let q = self.posteriors(&mut b, x);
        let kl = self.kl(&mut b, &q);
        let sigmas = self.sigmas(&mut b, &q);
        let terms = b.begin(draws);
        let eps = self.noise(&mut b);
        let xi = self.draws(&mut b, &q, &sigmas, &eps);
        let h = self.hidden(&mut b, &xi);
        let nll = self.heads.nll(&mut b, x, h);
        b.end(nll);
        let mean = b.scalar(Opcode::Mean, 0, &[terms]);
        let out = b.scalar(Opcode::Add, 0, &[mean, kl]);
        b.finish(ProgramKind::ScoreMonteCarlo, &[out])
    }

    /// `log w = log p(x|xi) + sum_l (|eps|^2 - |xi|^2 + ln|C|) / 2` (arXiv 1509.00519, equation 8).
    fn score_importance(&self, draws: u32) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.input);
        let q = self.posteriors(&mut b, x);
        let mut half_log_dets = Vec::new();
        for q in &q {
            let diagonal = b.scalar(Opcode::Sum, 1, &[q.logvar]);
            half_log_dets.push(match q.v {
                None => diagonal,
                Some(v) => {
                    let narrower = b.scalar(Opcode::HalfLogDet, 0, &[v]);
                    b.scalar(Opcode::Sub, 0, &[diagonal, narrower])
                }
            });
        }
        let half_log_det = sum(&mut b, &half_log_dets);
        let sigmas = self.sigmas(&mut b, &q);
        let weights = b.begin(draws);
        let eps = self.noise(&mut b);
        let xi = self.draws(&mut b, &q, &sigmas, &eps);
        let mut ratios = Vec::new();
        for (eps, xi) in eps.iter().zip(&xi) {
            let log_q = b.scalar(Opcode::HalfSumSq, 0, &[*eps]);
            let log_p = b.scalar(Opcode::HalfSumSq, 0, &[*xi]);
            ratios.push(b.scalar(Opcode::Sub, 0, &[log_q, log_p]));
        }
        let ratio = sum(&mut b, &ratios);
        let h = self.hidden(&mut b, &xi);
        let nll = self.heads.nll(&mut b, x, h);
        let weight = b.scalar(Opcode::Sub, 0, &[ratio, nll]);
        b.end(weight);
        let mean = b.scalar(Opcode::LogMeanExp, 0, &[weights]);
        let bound = b.scalar(Opcode::Add, 0, &[mean, half_log_det]);
        let out = b.scalar(Opcode::Neg, 0, &[bound]);
        b.finish(ProgramKind::ScoreImportance, &[out])
    }

    /// Observed values do not change. The other values start from a sample of the model; every step encodes the row and
    /// draws the latents again. The missing values are means, because a device draws latents but no pixels.
    fn impute(&self) -> FloatProgram {
        let mut b = Builder::default();
        let (x, mask) = (b.input(self.input), b.input(self.input));
        let mut xi = self.noise(&mut b);
        let fill = |b: &mut Builder, xi: &[NodeId]| {
            let h = self.hidden(b, xi);
            let drawn = self.heads.mean(b, h);
            b.map(Opcode::Select, 0, &[x, drawn, mask])
        };
        for _ in 0..IMPUTATION_STEPS {
            let filled = fill(&mut b, &xi);
            let q = self.posteriors(&mut b, filled);
            let sigmas = self.sigmas(&mut b, &q);
            let eps = self.noise(&mut b);
            xi = self.draws(&mut b, &q, &sigmas, &eps);
        }
        let out = fill(&mut b, &xi);
        b.finish(ProgramKind::Impute, &[out])
    }
}

/// The sum of at least one scalar.
fn sum(b: &mut Builder, terms: &[NodeId]) -> NodeId {
    terms[1..].iter().fold(terms[0], |sum, term| b.scalar(Opcode::Add, 0, &[sum, *term]))
}
