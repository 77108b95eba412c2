//! The programs of a flow: sample, decode, invert, the exact score, and a draw with its log-density.
//!
//! The latent of NICE is what its couplings give: the learnt log-scale of every column belongs to the prior, whose columns
//! are `N(0, exp(-2 s))`, so that integer couplings invert each other exactly.

use candle_core::Result;
use elbo::program::{Opcode, ProgramKind};

use super::{Flow, Stack};
use crate::compiler::graph::{Builder, FloatModel, FloatProgram, NodeId};
use crate::compiler::lower::{Affine, Tower};

/// A coupling's layers.
struct CouplingLayers {
    net: Tower,
    shift: Affine,
    log_scale: Option<Affine>,
}

/// What moves points, as layers.
enum Steps {
    /// Opcode, constant layer and its length.
    Steps(Opcode, usize, usize),
    /// Couplings; how far the log-scale's tanh is shifted to the left.
    Couplings(Vec<CouplingLayers>, i32),
}

/// The prior's scale: constants `exp(s)` and `exp(-s)` of every column, and `sum s`.
struct PriorScale {
    up: usize,
    down: usize,
    sum: f32,
}

struct Lowering {
    dim: usize,
    steps: Steps,
    prior: Option<PriorScale>,
    /// Whether the steps lead from noise to data; those of a density lead the other way.
    forward_draws: bool,
    limit: Option<f32>,
}

pub(super) fn lower(flow: &Flow) -> Result<FloatModel> {
    let mut model = FloatModel::default();
    let params = &flow.params;
    let mut prior = None;
    let steps = match &flow.stack {
        Stack::Steps(step, slot) => {
            let values = params.values(*slot)?;
            Steps::Steps(step.opcode(), model.constant("steps", &values), values.len())
        }
        Stack::Couplings(couplings, scale) => {
            let mut all = Vec::new();
            for (k, coupling) in couplings.iter().enumerate() {
                let name = format!("coupling.{k}");
                all.push(CouplingLayers {
                    net: Tower::mlp(&mut model, &format!("{name}.net"), params, &coupling.net)?,
                    shift: Affine::dense(&mut model, &format!("{name}.shift"), params, coupling.shift)?,
                    log_scale: match coupling.log_scale {
                        None => None,
                        Some(layer) => Some(Affine::dense(&mut model, &format!("{name}.log_scale"), params, layer)?),
                    },
                });
            }
            if let Some(slot) = scale {
                let scale = params.values(*slot)?;
                let exp = |sign: f32| scale.iter().map(|s| (sign * s).exp()).collect::<Vec<f32>>();
                let up = model.constant("scale", &exp(1.0));
                let down = model.constant("scale.inverse", &exp(-1.0));
                prior = Some(PriorScale { up, down, sum: scale.iter().sum() });
            }
            Steps::Couplings(all, flow.recipe.scale_log2)
        }
    };
    let forward_draws = flow.recipe.energy.is_some();
    let limit = (!forward_draws).then_some(flow.recipe.limit as f32);
    let lowering = Lowering { dim: flow.dim, steps, prior, forward_draws, limit };
    model.programs =
        vec![lowering.sample(), lowering.decode(), lowering.score(), lowering.invert(), lowering.sample_density()];
    Ok(model)
}

impl Lowering {
    /// The steps, or their inverse, applied to `x`, and the log-determinant of that in nats; none where it is 0.
    fn apply(&self, b: &mut Builder, inverse: bool, x: NodeId) -> (NodeId, Option<NodeId>) {
        match &self.steps {
            Steps::Steps(opcode, layer, len) => {
                let params = b.constant(*layer, *len, x);
                let (y, log_det) = b.flow(*opcode, inverse, x, params);
                (y, Some(log_det))
            }
            Steps::Couplings(couplings, scale_log2) => {
                let first = self.dim.div_ceil(2);
                let mut halves = [b.slice(x, 0, first), b.slice(x, first, self.dim - first)];
                let mut total: Option<NodeId> = None;
                let mut order: Vec<usize> = (0..couplings.len()).collect();
                if inverse {
                    order.reverse();
                }
                for k in order {
                    let (given, moved) = (halves[k % 2], halves[(k + 1) % 2]);
                    let (y, log_scale) = couple(b, &couplings[k], -*scale_log2 as i8, inverse, given, moved);
                    halves[(k + 1) % 2] = y;
                    if let Some(log_scale) = log_scale {
                        let sum = b.scalar(Opcode::Sum, -*scale_log2 as i8, &[log_scale]);
                        total = Some(total.map_or(sum, |total| b.scalar(Opcode::Add, 0, &[total, sum])));
                    }
                }
                let total = total.map(|total| if inverse { b.scalar(Opcode::Neg, 0, &[total]) } else { total });
                (b.concat(halves[0], halves[1]), total)
            }
        }
    }

    fn to_latent(&self, b: &mut Builder, x: NodeId) -> (NodeId, Option<NodeId>) {
        self.apply(b, self.forward_draws, x)
    }

    fn to_data(&self, b: &mut Builder, z: NodeId) -> (NodeId, Option<NodeId>) {
        self.apply(b, !self.forward_draws, z)
    }

    /// A latent from the prior, and the noise it is made of.
    fn draw(&self, b: &mut Builder) -> (NodeId, NodeId) {
        let eps = b.normal(self.dim);
        match &self.prior {
            None => (eps, eps),
            Some(prior) => {
                let scale = b.constant(prior.down, self.dim, eps);
                (b.map(Opcode::Mul, 0, &[eps, scale]), eps)
            }
        }
    }

    /// `-log N(eps; 0, I)` and the prior's scale, in nats, of standard normal noise.
    fn prior_nll(&self, b: &mut Builder, eps: NodeId) -> NodeId {
        let squares = b.scalar(Opcode::HalfSumSq, 0, &[eps]);
        let constant = 0.5 * self.dim as f32 * std::f32::consts::TAU.ln();
        b.offset(constant - self.prior.as_ref().map_or(0.0, |prior| prior.sum), squares)
    }

    fn sample(&self) -> FloatProgram {
        let mut b = Builder::default();
        let (z, _) = self.draw(&mut b);
        let (x, _) = self.to_data(&mut b, z);
        b.finish(ProgramKind::Sample, &[x])
    }

    fn decode(&self) -> FloatProgram {
        let mut b = Builder::default();
        let z = b.input(self.dim);
        let (x, _) = self.to_data(&mut b, z);
        b.finish(ProgramKind::Decode, &[x])
    }

    fn invert(&self) -> FloatProgram {
        let mut b = Builder::default();
        let x = b.input(self.dim);
        let (z, _) = self.to_latent(&mut b, x);
        b.finish(ProgramKind::Invert, &[z])
    }

    /// -log p(x), exact, of the clamped row.
    fn score(&self) -> FloatProgram {
        let mut b = Builder::default();
        let mut x = b.input(self.dim);
        if let Some(limit) = self.limit {
            x = b.clamp([-limit, limit], x);
        }
        let (z, log_det) = self.to_latent(&mut b, x);
        let eps = match &self.prior {
            None => z,
            Some(prior) => {
                let scale = b.constant(prior.up, self.dim, z);
                b.map(Opcode::Mul, 0, &[z, scale])
            }
        };
        let nll = self.prior_nll(&mut b, eps);
        let out = log_det.map_or(nll, |log_det| b.scalar(Opcode::Sub, 0, &[nll, log_det]));
        b.finish(ProgramKind::Score, &[out])
    }

    fn sample_density(&self) -> FloatProgram {
        let mut b = Builder::default();
        let (z, eps) = self.draw(&mut b);
        let (x, log_det) = self.to_data(&mut b, z);
        let nll = self.prior_nll(&mut b, eps);
        let out = log_det.map_or(nll, |log_det| b.scalar(Opcode::Add, 0, &[nll, log_det]));
        b.finish(ProgramKind::SampleDensity, &[x, out])
    }
}

/// One coupling or its inverse: the moved half, and the tanh of which the log-scale is `2^-param`.
fn couple(
    b: &mut Builder,
    layers: &CouplingLayers,
    param: i8,
    inverse: bool,
    given: NodeId,
    moved: NodeId,
) -> (NodeId, Option<NodeId>) {
    let h = layers.net.apply(b, given);
    let shift = layers.shift.apply(b, h);
    let Some(log_scale) = layers.log_scale else {
        let opcode = if inverse { Opcode::SubVec } else { Opcode::AddVec };
        return (b.map(opcode, 0, &[moved, shift]), None);
    };
    let raw = log_scale.apply(b, h);
    let tanh = b.map(Opcode::Tanh, 0, &[raw]);
    (b.couple(param, inverse, [moved, tanh, shift]), Some(tanh))
}
