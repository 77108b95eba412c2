//! The programs of a flow: sample, decode, invert, the exact score, and sampling with the log-density.
//!
//! The latent of NICE is the image under its couplings. The learnt log-scale `s` of every column is part of the prior,
//! whose columns are `N(0, exp(-2 s))`. Without a scale in between, integer couplings invert each other exactly.

use candle_core::{Error, Result};
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};

use super::coupling::Coupling;
use super::{Flow, Stack};
use crate::lower::{Affine, Tower};
use crate::nn::Activation;

/// The layers of an additive coupling in the float graph.
struct Addition {
    net: Tower,
    shift: Affine,
}

/// The steps of a flow in the float graph.
enum Steps {
    /// Steps with parameters: their operation, the layer of the constant parameters, and their number.
    Parametric(Opcode, usize, usize),
    /// Additive couplings.
    Additions(Vec<Addition>),
    /// Affine couplings: their shape, the first layer, and the width of the widest hidden layer.
    Couplings(CouplingStack, usize, usize),
}

/// The scale of the prior: the constants `exp(s)` and `exp(-s)` of every column, and `sum s`.
struct PriorScale {
    up: usize,
    down: usize,
    sum: f32,
}

struct Lowering {
    dim: usize,
    steps: Steps,
    prior: Option<PriorScale>,
    /// Whether the steps map noise to data, as in a flow of an energy. Those of a density map data to noise.
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
            Steps::Parametric(step.opcode(), model.constant("steps", &values), values.len())
        }
        Stack::Couplings(couplings, Some(slot)) => {
            let mut all = Vec::new();
            for (k, coupling) in couplings.iter().enumerate() {
                let net = Tower::mlp(&mut model, &format!("coupling.{k}.net"), params, &coupling.net)?;
                let shift = Affine::dense(&mut model, &format!("coupling.{k}.shift"), params, coupling.shift)?;
                all.push(Addition { net, shift });
            }
            let scale = params.values(*slot)?;
            let exp = |sign: f32| scale.iter().map(|s| (sign * s).exp()).collect::<Vec<f32>>();
            let up = model.constant("scale", &exp(1.0));
            let down = model.constant("scale.inverse", &exp(-1.0));
            prior = Some(PriorScale { up, down, sum: scale.iter().sum() });
            Steps::Additions(all)
        }
        Stack::Couplings(couplings, None) => {
            let first = model.layers.len();
            let (mut widest, mut shape) = (1, None);
            for (k, coupling) in couplings.iter().enumerate() {
                let Coupling { net, shift, log_scale, .. } = coupling;
                let ends = [("shift", Some(*shift)), ("log_scale", *log_scale)];
                let ends = ends.into_iter().filter_map(|(name, layer)| Some((name.to_owned(), layer?)));
                let hidden = net.layers.iter().enumerate().map(|(i, layer)| (format!("net.{i}"), *layer));
                for (name, layer) in hidden.chain(ends) {
                    Affine::dense(&mut model, &format!("coupling.{k}.{name}"), params, layer)?;
                }
                widest = net.layers.iter().fold(widest, |widest, layer| widest.max(layer.out));
                shape = Some((net.layers.len(), net.activation));
            }
            let (layers, activation) = shape.unwrap_or_default();
            let count = |n: usize| {
                u8::try_from(n).map_err(|_| Error::Msg(format!("expected at most 255 couplings or layers, found {n}")))
            };
            let stack = CouplingStack {
                couplings: count(couplings.len())?,
                layers: count(layers)?,
                activation: match activation {
                    Activation::Relu => HiddenActivation::Relu,
                    Activation::Tanh => HiddenActivation::Tanh,
                    Activation::Identity => HiddenActivation::Identity,
                },
                sixteen: false,
                inverse: false,
                normal: false,
                scale_log2: flow.recipe.scale_log2 as i8,
            };
            Steps::Couplings(stack, first, widest)
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
    /// Applies the steps, or their inverse, to `x`. Returns the image, and the log-determinant in nats unless it is 0.
    fn apply(&self, b: &mut Builder, inverse: bool, x: NodeId) -> (NodeId, Option<NodeId>) {
        match &self.steps {
            Steps::Parametric(opcode, layer, len) => {
                let params = b.constant(*layer, *len, x);
                let (y, log_det) = b.flow(*opcode, inverse, x, params);
                (y, Some(log_det))
            }
            Steps::Additions(couplings) => {
                let first = self.dim.div_ceil(2);
                let mut halves = [b.slice(x, 0, first), b.slice(x, first, self.dim - first)];
                let mut order: Vec<usize> = (0..couplings.len()).collect();
                if inverse {
                    order.reverse();
                }
                let opcode = if inverse { Opcode::SubVec } else { Opcode::AddVec };
                for k in order {
                    let h = couplings[k].net.apply(b, halves[k % 2]);
                    let shift = couplings[k].shift.apply(b, h);
                    halves[(k + 1) % 2] = b.map(opcode, 0, &[halves[(k + 1) % 2], shift]);
                }
                (b.concat(halves[0], halves[1]), None)
            }
            Steps::Couplings(stack, layer, widest) => {
                let (y, log_det) = b.couplings(CouplingStack { inverse, ..*stack }, *layer, *widest, x);
                (y, Some(log_det))
            }
        }
    }

    fn to_latent(&self, b: &mut Builder, x: NodeId) -> (NodeId, Option<NodeId>) {
        self.apply(b, self.forward_draws, x)
    }

    fn to_data(&self, b: &mut Builder, z: NodeId) -> (NodeId, Option<NodeId>) {
        self.apply(b, !self.forward_draws, z)
    }

    /// A latent drawn from the prior, and the noise that it was computed from.
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

    /// The constant of `-log N(eps; 0, I)` in nats, which does not depend on `eps`.
    fn normal_constant(&self) -> f32 {
        0.5 * self.dim as f32 * std::f32::consts::TAU.ln()
    }

    /// Minus the log-density of the latent under the prior in nats, given the noise `eps` that the latent was computed
    /// from.
    fn prior_nll(&self, b: &mut Builder, eps: NodeId) -> NodeId {
        let squares = b.scalar(Opcode::HalfSumSq, 0, &[eps]);
        b.offset(self.normal_constant() - self.prior.as_ref().map_or(0.0, |prior| prior.sum), squares)
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

    /// The exact -log p(x) of the clamped row, plus half the square of what the clamp cuts off.
    fn score(&self) -> FloatProgram {
        let mut b = Builder::default();
        let row = b.input(self.dim);
        let (mut x, mut tail) = (row, None);
        if let Some(limit) = self.limit {
            let inside = b.clamp([-limit, limit], row);
            let excess = b.map(Opcode::SubVec, 0, &[row, inside]);
            tail = Some(b.scalar(Opcode::HalfSumSq, 0, &[excess]));
            // The excess may need a coarser scale than the flow, so that the two do not share a clamp.
            x = b.clamp([-limit, limit], row);
        }
        let nll = self.score_of(&mut b, x);
        let out = tail.map_or(nll, |tail| b.scalar(Opcode::Add, 0, &[nll, tail]));
        b.finish(ProgramKind::Score, &[out])
    }

    /// The exact -log p(x).
    fn score_of(&self, b: &mut Builder, x: NodeId) -> NodeId {
        if let Steps::Couplings(stack, layer, widest) = &self.steps {
            let stack = CouplingStack { inverse: self.forward_draws, normal: true, ..*stack };
            let (_, density) = b.couplings(stack, *layer, *widest, x);
            let nll = b.scalar(Opcode::Neg, 0, &[density]);
            return b.offset(self.normal_constant(), nll);
        }
        let (z, log_det) = self.to_latent(b, x);
        let eps = match &self.prior {
            None => z,
            Some(prior) => {
                let scale = b.constant(prior.up, self.dim, z);
                b.map(Opcode::Mul, 0, &[z, scale])
            }
        };
        let nll = self.prior_nll(b, eps);
        log_det.map_or(nll, |log_det| b.scalar(Opcode::Sub, 0, &[nll, log_det]))
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
