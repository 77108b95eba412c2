//! The programs of auxiliary deep generative models: sample, classify, and scores for a row of unknown class.
//!
//! The first layer of a network is a sum of affine maps. The terms that do not depend on a loop are computed before it.

use candle_core::Result;
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::DenseLayer;
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};

use super::{Adgm, HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN, Input, LOGVAR_MAX, LOGVAR_MIN, Net, Structure};
use crate::layers::Params;
use crate::lower::HeadLayers;
use crate::lower::{Affine, Tower, activate};
use crate::nn::Activation;
use crate::settings::ExportRecipe;

/// The layers of a network in the float graph.
struct NetLayers {
    /// The affine map of each continuous input. The first one contains the bias.
    inputs: Vec<(Input, Affine)>,
    class: Option<Affine>,
    rest: Tower,
    activation: Activation,
    heads: Vec<Affine>,
}

/// The inputs of the networks that are already known: the nodes of `x`, `a`, `z` and the one-hot class.
#[derive(Clone, Copy, Default)]
struct Given {
    x: Option<NodeId>,
    a: Option<NodeId>,
    z: Option<NodeId>,
    class: Option<NodeId>,
}

impl Given {
    fn get(self, input: Input) -> Option<NodeId> {
        match input {
            Input::X => self.x,
            Input::A => self.a,
            Input::Z => self.z,
        }
    }
}

impl NetLayers {
    fn new(model: &mut FloatModel, name: &str, params: &Params, net: &Net) -> Result<Self> {
        let mut inputs = Vec::new();
        for (i, (input, weight)) in net.inputs.iter().enumerate() {
            let (out, inp) = params.get(*weight).dims2()?;
            let b = if i == 0 { params.values(net.bias)? } else { vec![0.0; out] };
            let layer = DenseLayer { w: params.values(*weight)?, b, out, inp };
            inputs.push((*input, Affine::add(model, &format!("{name}.{input:?}").to_lowercase(), layer)));
        }
        let class = match net.classes {
            None => None,
            Some(rows) => {
                let (classes, out) = params.get(rows).dims2()?;
                let values = params.values(rows)?;
                let w = (0..out).flat_map(|o| (0..classes).map(move |c| c * out + o)).map(|at| values[at]).collect();
                let layer = DenseLayer { w, b: vec![0.0; out], out, inp: classes };
                Some(Affine::add(model, &format!("{name}.y"), layer))
            }
        };
        let rest = Tower::mlp(model, &format!("{name}.rest"), params, &net.rest)?;
        let heads = net.heads.iter().enumerate();
        let heads = heads.map(|(i, head)| Affine::dense(model, &format!("{name}.head.{i}"), params, *head));
        Ok(Self { inputs, class, rest, activation: net.rest.activation, heads: heads.collect::<Result<_>>()? })
    }

    /// Adds the affine maps of the inputs in `given` to `sum`.
    fn partial(&self, b: &mut Builder, given: Given, sum: Option<NodeId>) -> Option<NodeId> {
        let continuous = self.inputs.iter().filter_map(|(input, layer)| Some((*layer, given.get(*input)?)));
        let class = self.class.and_then(|layer| Some((layer, given.class?)));
        let parts: Vec<(Affine, NodeId)> = continuous.chain(class).collect();
        parts.into_iter().fold(sum, |sum, (layer, x)| {
            let part = layer.apply(b, x);
            Some(sum.map_or(part, |sum| b.map(Opcode::AddVec, 0, &[sum, part])))
        })
    }

    /// The last hidden layer. `sum` is the complete sum of the first layer's affine maps.
    fn hidden(&self, b: &mut Builder, sum: Option<NodeId>) -> NodeId {
        let first = activate(b, self.activation, sum.unwrap_or_default());
        self.rest.apply(b, first)
    }

    /// The Gaussian that the heads compute. Its log-variance is clamped to an interval.
    fn gaussian(&self, b: &mut Builder, sum: Option<NodeId>, (low, high): (f64, f64)) -> (NodeId, NodeId) {
        let h = self.hidden(b, sum);
        let (mu, raw) = (self.heads[0].apply(b, h), self.heads[1].apply(b, h));
        (mu, b.clamp([low as f32, high as f32], raw))
    }
}

struct Lowering<'m> {
    model: &'m Adgm,
    q_a: NetLayers,
    q_y: Option<NetLayers>,
    q_z: NetLayers,
    p_x: NetLayers,
    p_a: NetLayers,
}

/// Partial sums of the networks' first layers, with the terms that no loop changes.
#[derive(Clone, Copy, Default)]
struct Sums {
    q_y: Option<NodeId>,
    q_z: Option<NodeId>,
    p_x: Option<NodeId>,
    p_a: Option<NodeId>,
}

const Q_RANGE: (f64, f64) = (LOGVAR_MIN, LOGVAR_MAX);
const P_RANGE: (f64, f64) = (HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX);

pub(super) fn lower(adgm: &Adgm, export: &ExportRecipe) -> Result<FloatModel> {
    let mut model = FloatModel::default();
    let mut net = |name: &str, net: &Net| NetLayers::new(&mut model, name, &adgm.params, net);
    let lowering = Lowering {
        model: adgm,
        q_a: net("q_a", &adgm.q_a)?,
        q_y: adgm.q_y.as_ref().map(|q_y| net("q_y", q_y)).transpose()?,
        q_z: net("q_z", &adgm.q_z)?,
        p_x: net("p_x", &adgm.p_x)?,
        p_a: net("p_a", &adgm.p_a)?,
    };
    let draws = export.monte_carlo_samples as u32;
    model.programs = vec![lowering.sample()];
    model.programs.extend(lowering.classify(adgm.options.samples as u32));
    model.programs.push(lowering.score(None));
    model.programs.push(lowering.score(Some(draws)));
    Ok(model)
}

impl Lowering<'_> {
    /// Adds the affine maps of the inputs in `given` to all sums.
    fn sums(&self, b: &mut Builder, given: Given, sums: Sums) -> Sums {
        Sums {
            q_y: self.q_y.as_ref().and_then(|q_y| q_y.partial(b, Given { class: None, ..given }, sums.q_y)),
            q_z: self.q_z.partial(b, Given { z: None, ..given }, sums.q_z),
            p_x: self.p_x.partial(b, given, sums.p_x),
            p_a: self.p_a.partial(b, given, sums.p_a),
        }
    }

    /// The heads of p(x|.).
    fn data(&self) -> HeadLayers {
        HeadLayers::from_layers(self.model.spec.likelihood, self.p_x.heads[0], self.p_x.heads.get(1).copied())
    }

    fn draw(b: &mut Builder, (mu, logvar): (NodeId, NodeId), eps: NodeId) -> NodeId {
        let sigma = b.map(Opcode::Exp, 1, &[logvar]);
        b.map(Opcode::Fma, 0, &[sigma, eps, mu])
    }

    /// Draws from p(z), from p(a|z,y) if x depends on a, and computes the mean of p(x|.).
    fn sample(&self) -> FloatProgram {
        let spec = &self.model.spec;
        let mut b = Builder::default();
        let class = self.q_y.as_ref().map(|_| b.input(spec.classes));
        let z = b.normal(spec.latent);
        let mut given = Given { class, z: Some(z), ..Given::default() };
        if spec.structure == Structure::Sdgm {
            let sum = self.p_a.partial(&mut b, given, None);
            let gaussian = self.p_a.gaussian(&mut b, sum, P_RANGE);
            let eps = b.normal(spec.auxiliary);
            given.a = Some(Self::draw(&mut b, gaussian, eps));
        }
        let sum = self.p_x.partial(&mut b, given, None);
        let h = self.p_x.hidden(&mut b, sum);
        let out = self.data().mean(&mut b, h);
        b.finish(if class.is_some() { ProgramKind::SampleClass } else { ProgramKind::Sample }, &[out])
    }

    /// q(y|x), the mean of q(y|a,x) over samples of q(a|x).
    fn classify(&self, samples: u32) -> Option<FloatProgram> {
        let q_y = self.q_y.as_ref()?;
        let spec = &self.model.spec;
        let mut b = Builder::default();
        let x = b.input(spec.input);
        let given = Given { x: Some(x), ..Given::default() };
        let sum = self.q_a.partial(&mut b, given, None);
        let (mu, logvar) = self.q_a.gaussian(&mut b, sum, Q_RANGE);
        let sigma = b.map(Opcode::Exp, 1, &[logvar]);
        let of_x = q_y.partial(&mut b, given, None);
        let all = b.begin_vectors(samples, spec.classes);
        let eps = b.normal(spec.auxiliary);
        let a = b.map(Opcode::Fma, 0, &[sigma, eps, mu]);
        let logits = self.logits(&mut b, q_y, of_x, a);
        let probabilities = b.map(Opcode::Softmax, 0, &[logits]);
        b.end(probabilities);
        let out = b.mean_vectors(all, spec.classes);
        Some(b.finish(ProgramKind::Classify, &[out]))
    }

    fn logits(&self, b: &mut Builder, q_y: &NetLayers, of_x: Option<NodeId>, a: NodeId) -> NodeId {
        let sum = q_y.partial(b, Given { a: Some(a), ..Given::default() }, of_x);
        let h = q_y.hidden(b, sum);
        q_y.heads[0].apply(b, h)
    }

    /// The negative bound of a row with unknown class. With `draws` it is the mean over draws of `a` and `z`. Otherwise
    /// it is evaluated at their means, with the analytic entropies of q(a|x) and q(z|a,x,y).
    fn score(&self, draws: Option<u32>) -> FloatProgram {
        let spec = &self.model.spec;
        let mut b = Builder::default();
        let x = b.input(spec.input);
        let given = Given { x: Some(x), ..Given::default() };
        let sum = self.q_a.partial(&mut b, given, None);
        let (mu, logvar) = self.q_a.gaussian(&mut b, sum, Q_RANGE);
        let sums = self.sums(&mut b, given, Sums::default());
        let half_log_det = b.scalar(Opcode::Sum, 1, &[logvar]);
        let mut constant = -0.5 * spec.auxiliary as f32 * std::f32::consts::TAU.ln();
        if self.q_y.is_some() {
            constant += (spec.classes as f32).ln();
        }
        let (kind, value) = match draws {
            None => {
                // E |eps|^2 / 2.
                constant -= 0.5 * spec.auxiliary as f32;
                (ProgramKind::Score, self.bound(&mut b, x, mu, sums, false))
            }
            Some(draws) => {
                let sigma = b.map(Opcode::Exp, 1, &[logvar]);
                let terms = b.begin(draws);
                let eps = b.normal(spec.auxiliary);
                let a = b.map(Opcode::Fma, 0, &[sigma, eps, mu]);
                let bound = self.bound(&mut b, x, a, sums, true);
                let squares = b.scalar(Opcode::HalfSumSq, 0, &[eps]);
                let term = b.scalar(Opcode::Sub, 0, &[bound, squares]);
                b.end(term);
                (ProgramKind::ScoreMonteCarlo, b.scalar(Opcode::Mean, 0, &[terms]))
            }
        };
        let value = b.scalar(Opcode::Sub, 0, &[value, half_log_det]);
        let out = b.offset(constant, value);
        b.finish(kind, &[out])
    }

    /// `-log p(x|.) - log p(a|.) + KL(q(z|a,x,y) || p(z))` at `a`. The classes are summed, and the entropy of their
    /// distribution is subtracted.
    fn bound(&self, b: &mut Builder, x: NodeId, a: NodeId, sums: Sums, drawn: bool) -> NodeId {
        let spec = &self.model.spec;
        let given = Given { a: Some(a), ..Given::default() };
        let sums = self.sums(b, given, sums);
        let eps = drawn.then(|| b.normal(spec.latent));
        let Some(q_y) = &self.q_y else { return self.energy(b, x, a, None, sums, eps) };
        let h = q_y.hidden(b, sums.q_y);
        let logits = q_y.heads[0].apply(b, h);
        let energies = b.begin(spec.classes as u32);
        let class = b.one_hot(spec.classes);
        let energy = self.energy(b, x, a, Some(class), sums, eps);
        b.end(energy);
        b.scalar(Opcode::FreeEnergy, 0, &[energies, logits])
    }

    fn energy(
        &self,
        b: &mut Builder,
        x: NodeId,
        a: NodeId,
        class: Option<NodeId>,
        sums: Sums,
        eps: Option<NodeId>,
    ) -> NodeId {
        let of_class = Given { class, ..Given::default() };
        let sum = self.q_z.partial(b, of_class, sums.q_z);
        let (mu, logvar) = self.q_z.gaussian(b, sum, Q_RANGE);
        let kl = b.scalar(Opcode::Kl, 0, &[mu, logvar]);
        let z = eps.map_or(mu, |eps| Self::draw(b, (mu, logvar), eps));
        let given = Given { z: Some(z), class, ..Given::default() };
        let sum = self.p_x.partial(b, given, sums.p_x);
        let h = self.p_x.hidden(b, sum);
        let of_x = self.data().nll(b, x, h);
        let sum = self.p_a.partial(b, given, sums.p_a);
        let (mu, logvar) = self.p_a.gaussian(b, sum, P_RANGE);
        let of_a = b.scalar(Opcode::GaussianNll, 0, &[mu, logvar, a]);
        let both = b.scalar(Opcode::Add, 0, &[of_x, of_a]);
        b.scalar(Opcode::Add, 0, &[both, kl])
    }
}
