//! WGAN: Wasserstein GAN (arXiv 1701.07875), with the gradient penalty of arXiv 1704.00028 and the spectral
//! normalisation of arXiv 1802.05957 as alternatives to clipped weights.

use candle_core::{DType, Device, Result, Tensor, bail};
use elbo_compiler::FloatModel;
use elbo_compiler::Likelihood;
use elbo_compiler::stimulus::InputRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::conv::{Body, Layer, Stack};
use crate::layers::{Params, Slot};
use crate::model::{Capabilities, Model, Objective, Sampler, Scorer};
use crate::nn::{self, Activation, Rng};
use crate::settings::ExportRecipe;
use crate::step::Step;
use crate::step::{Group, Rule};

mod lower;
mod recipe;
#[cfg(test)]
mod tests;

pub use recipe::{Entry, WganRecipe};

/// How the critic is kept Lipschitz continuous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Constraint {
    /// Weights and biases are clipped to `+-clip` after every step of the critic (arXiv 1701.07875, algorithm 1).
    #[default]
    Clip,
    /// The loss has a penalty on gradients with a norm other than 1 (arXiv 1704.00028, algorithm 1).
    Penalty,
    /// Every weight matrix is divided by its largest singular value (arXiv 1802.05957, algorithm 1).
    Spectral,
}

/// The shape of a WGAN.
#[derive(Clone, Debug, PartialEq)]
pub struct WganSpec {
    /// The hidden layers of the critic, starting at the data. The generator has the same layers in reverse order.
    pub body: Body,
    /// Dimensions of the standard normal noise that the generator reads.
    pub latent: usize,
    /// Whether all values are in `[0, 1]`, as for images.
    pub unit: bool,
    /// The options of the training.
    pub rules: WganRecipe,
}

/// A layer as numbers. Spectral normalisation and other factors are folded into its weights.
#[derive(Clone, Debug)]
pub struct FoldedLayer {
    /// The shape of the layer.
    pub layer: Layer,
    /// Weights, row-major, in the order of the variable.
    pub w: Vec<f32>,
    /// Biases.
    pub b: Vec<f32>,
    /// The activation function after the layer.
    pub activation: Activation,
}

/// A generator `g` and a critic `f` that solve `min_g max_f E f(x) - E f(g(z))` (arXiv 1701.07875, equation 3).
///
/// The output of the critic is linear. Let `a` be the output of the generator's last layer. The pixels of an image are
/// `sigmoid(2 a)`, which equals `(1 + tanh a) / 2`. Other values are `a`.
pub struct Wgan {
    spec: WganSpec,
    params: Params,
    critic: Stack,
    value: Layer,
    /// An estimate of the left singular vector of every weight of the critic. It exists only with spectral
    /// normalisation.
    singular: Vec<Slot>,
    generator: Stack,
    head: Layer,
}

/// Index of the group of the critic's variables.
const CRITIC: usize = 0;
/// Index of the group of the generator's variables.
const GENERATOR: usize = 1;

/// The losses of a step of the critic, as scalars.
#[derive(Clone, Debug)]
pub struct CriticLoss {
    /// The loss to minimise: `E f(g(z)) - E f(x)`, plus the gradient penalty if there is one.
    pub total: Tensor,
    /// `E f(x) - E f(g(z))`, which estimates the Wasserstein distance up to the Lipschitz constant of the critic.
    pub estimate: Tensor,
}

impl Wgan {
    /// A model with weights and biases that are uniform in `+-1/sqrt(fan_in)` and drawn with `seed`. Its variables are
    /// `critic.*`, `value`, `generator.*` and `head`. Spectral normalisation adds `singular.*`.
    ///
    /// # Errors
    /// A width of zero, an image too small for its convolutions, or a `dtype` that is not a float type.
    pub fn new(spec: WganSpec, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        let mut params = Params::new(seed, device, dtype)?;
        let critic = spec.body.encoder(&mut params, "critic")?;
        let value = params.dense("value", critic.out, 1)?.into();
        let generator = spec.body.decoder(&mut params, "generator", spec.latent)?;
        let head = spec.body.head(&mut params, "head", &generator)?;
        let mut singular = Vec::new();
        if spec.rules.constraint == Constraint::Spectral {
            for (i, layer) in critic.layers.iter().chain([&value]).enumerate() {
                let rows = params.get(layer.weight()).dim(0)?;
                singular.push(params.uniform(&format!("singular.{i}"), &[rows], 1.0)?);
            }
        }
        Ok(Self { spec, params, critic, value, singular, generator, head })
    }

    /// The model's shape.
    pub fn spec(&self) -> &WganSpec {
        &self.spec
    }

    /// The rows that the generator computes from noise: `z [b, latent]` to `[b, d]`.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn generate(&self, z: &Tensor) -> Result<Tensor> {
        let h = self.generator.apply(&self.params, z)?;
        match self.spec.unit {
            true => self.head.apply(&self.params, &h, Activation::Tanh)?.affine(0.5, 0.5),
            false => self.head.apply(&self.params, &h, Activation::Identity),
        }
    }

    /// The critic's value of each row, which is higher for rows that look real: `x [b, d]` to `[b]`.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn critic(&self, x: &Tensor) -> Result<Tensor> {
        self.outputs(x, &self.weights(true)?)?.pop().map_or_else(|| bail!("the critic has no layers"), |y| y.squeeze(1))
    }

    /// The layers of the critic, from the data to the value.
    fn layers(&self) -> impl DoubleEndedIterator<Item = (Layer, Activation)> + ExactSizeIterator + '_ {
        (0..self.critic.layers.len() + 1).map(move |i| match self.critic.layers.get(i) {
            Some(layer) => (*layer, self.critic.activation),
            None => (self.value, Activation::Identity),
        })
    }

    /// The effective weights and biases of the critic. If `frozen` is true, they get no gradient.
    fn weights(&self, frozen: bool) -> Result<Vec<(Tensor, Tensor)>> {
        let of = |(i, (layer, _)): (usize, (Layer, Activation))| {
            let (mut w, b) = (self.params.get(layer.weight()).clone(), self.params.get(layer.bias()).clone());
            if let Some(slot) = self.singular.get(i) {
                w = w.broadcast_div(&singular_value(&w, self.params.get(*slot))?)?;
            }
            Ok(if frozen { (w.detach(), b.detach()) } else { (w, b) })
        };
        self.layers().enumerate().map(of).collect()
    }

    /// The output of every layer of the critic.
    fn outputs(&self, x: &Tensor, weights: &[(Tensor, Tensor)]) -> Result<Vec<Tensor>> {
        let mut outputs: Vec<Tensor> = Vec::with_capacity(weights.len());
        for ((layer, activation), (w, b)) in self.layers().zip(weights) {
            let y = layer.apply_with(outputs.last().unwrap_or(x), w, b, activation)?;
            outputs.push(y);
        }
        Ok(outputs)
    }

    /// The mean of the critic's values.
    fn mean_value(&self, x: &Tensor, weights: &[(Tensor, Tensor)]) -> Result<Tensor> {
        match self.outputs(x, weights)?.last() {
            Some(values) => values.mean_all(),
            None => bail!("the critic has no layers"),
        }
    }

    /// The losses of the critic on real rows `real [b, d]` and generated rows `fake [b, d]` (algorithm 1, line 5, with
    /// the sign of a loss). `noise` determines the points at which the gradient penalty is evaluated.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn critic_loss(&self, real: &Tensor, fake: &Tensor, noise: &mut Rng) -> Result<CriticLoss> {
        let weights = self.weights(false)?;
        let estimate = (self.mean_value(real, &weights)? - self.mean_value(fake, &weights)?)?;
        let mut total = estimate.neg()?;
        if self.spec.rules.constraint == Constraint::Penalty {
            let share = noise.uniform(0.0, 1.0, (real.dim(0)?, 1), real.dtype(), real.device())?;
            let between = (fake + (real - fake)?.broadcast_mul(&share)?)?;
            total = (total + (self.gradient_penalty(&between, &weights)? * self.spec.rules.penalty)?)?;
        }
        Ok(CriticLoss { total, estimate })
    }

    /// `E (|df/dx| - 1)^2` at the rows `x` (arXiv 1704.00028, equation 3).
    ///
    /// The gradient with respect to `x` is computed explicitly, layer by layer from the value to the data. One backward
    /// pass through this computation gives the gradient of its norm, although fused operations have no second
    /// derivative. The slope of a rectifier is constant.
    fn gradient_penalty(&self, x: &Tensor, weights: &[(Tensor, Tensor)]) -> Result<Tensor> {
        let outputs = self.outputs(x, weights)?;
        let mut g = Tensor::ones((x.dim(0)?, 1), x.dtype(), x.device())?;
        for (((layer, activation), (w, _)), y) in self.layers().zip(weights).zip(&outputs).rev() {
            g = match activation {
                Activation::Identity => g,
                Activation::Relu => (g * y.gt(0.0)?.to_dtype(y.dtype())?)?,
                Activation::Tanh => (g * y.sqr()?.affine(-1.0, 1.0)?)?,
            };
            g = layer.adjoint(w, &g)?;
        }
        // The square root has no derivative at 0.
        let norm = (g.sqr()?.sum(1)? + 1e-12)?.sqrt()?;
        (norm - 1.0)?.sqr()?.mean_all()
    }

    /// The loss of the generator, `-E f(g(z))` (algorithm 1, line 10): `z [b, latent]` to a scalar. The critic gets no
    /// gradient.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn generator_loss(&self, z: &Tensor) -> Result<Tensor> {
        self.mean_value(&self.generate(z)?, &self.weights(true)?)?.neg()
    }

    /// Takes a step of power iteration for every weight of the critic (arXiv 1802.05957, algorithm 1).
    fn iterate(&self) -> Result<()> {
        for (slot, (layer, _)) in self.singular.iter().zip(self.layers()) {
            let w = self.params.get(layer.weight()).detach().flatten_from(1)?;
            let u = self.params.get(*slot).detach();
            let v = unit(&w.t()?.matmul(&u.unsqueeze(1)?)?)?;
            self.params.set(*slot, &unit(&w.matmul(&v)?)?.squeeze(1)?)?;
        }
        Ok(())
    }

    /// The layers of the generator, from the noise to the values or, for images, to the logits of the pixels. The
    /// numbers of the last layer are doubled for images, because their pixels are `sigmoid(2 a)`.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn generator_layers(&self) -> Result<Vec<FoldedLayer>> {
        let layers = self.generator.layers.iter().map(|layer| (*layer, self.generator.activation, 1.0));
        let scale = if self.spec.unit { 2.0 } else { 1.0 };
        let number = |(layer, activation, scale): (Layer, Activation, f32)| {
            let (mut w, mut b) = (self.params.values(layer.weight())?, self.params.values(layer.bias())?);
            w.iter_mut().chain(&mut b).for_each(|v| *v *= scale);
            Ok(FoldedLayer { layer, w, b, activation })
        };
        layers.chain([(self.head, Activation::Identity, scale)]).map(number).collect()
    }

    /// The layers of the critic, from the data to the value. Spectral normalisation is folded into the weights.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn critic_layers(&self) -> Result<Vec<FoldedLayer>> {
        let values = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F32)?.to_vec1();
        let number = |((layer, activation), (w, b)): ((Layer, Activation), &(Tensor, Tensor))| {
            Ok(FoldedLayer { layer, w: values(w)?, b: values(b)?, activation })
        };
        self.layers().zip(&self.weights(true)?).map(number).collect()
    }

    fn noise(&self, rng: &mut Rng, n: usize) -> Result<Tensor> {
        let like = self.params.get(self.head.weight());
        rng.normal((n, self.spec.latent), like.dtype(), like.device())
    }
}

/// The largest singular value of a weight `[out, ...]`, given its left singular vector `u [out]`. It is `u^T W v` with
/// `v = W^T u / |W^T u|`, and its gradient is `u v^T`. `v` may be treated as a constant, because it already maximises
/// the product.
fn singular_value(w: &Tensor, u: &Tensor) -> Result<Tensor> {
    let w = w.flatten_from(1)?;
    let u = unit(&u.detach().unsqueeze(1)?)?;
    let v = unit(&w.detach().t()?.matmul(&u)?)?;
    let sigma = u.t()?.matmul(&w.matmul(&v)?)?.flatten_all()?;
    sigma.squeeze(0)
}

/// A vector of length 1 in the direction of `x`. The zero vector stays zero.
fn unit(x: &Tensor) -> Result<Tensor> {
    let norm = (x.sqr()?.sum_all()?.sqrt()? + 1e-12)?;
    x.broadcast_div(&norm)
}

impl Model for Wgan {
    fn params(&self) -> &Params {
        &self.params
    }

    fn input(&self) -> usize {
        self.spec.body.input
    }

    /// Rows are read as they are, and never binarised.
    fn likelihood(&self) -> Likelihood {
        Likelihood::Gaussian
    }

    fn data_range(&self) -> InputRange {
        if self.spec.unit { InputRange::Unit } else { InputRange::Real(15.99) }
    }

    fn latent(&self) -> usize {
        self.spec.latent
    }

    fn groups(&self) -> Vec<Group> {
        let of = |prefixes: [&str; 2]| {
            let named = self.params.vars().iter().enumerate();
            let vars = named.filter(|(_, (name, _))| prefixes.iter().any(|prefix| name.starts_with(prefix)));
            Group { vars: vars.map(|(at, _)| at).collect(), rule: Rule::RmsProp }
        };
        vec![of(["critic.", "value."]), of(["generator.", "head."])]
    }

    /// Takes the steps of the critic, each followed by its constraint, and then one step of the generator (algorithm
    /// 1). Returns the mean loss of the critic without the penalty, which is minus the estimate.
    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        let count = self.spec.rules.critic_steps_at(step.index);
        let (all, n): (Vec<usize>, usize) = ((0..step.rows.n).collect(), step.recipe.batch);
        let critic = self.groups().swap_remove(CRITIC);
        let mut loss = 0.0;
        for _ in 0..count {
            self.iterate()?;
            let (real, _) = step.draw(&all, n, self.likelihood())?;
            let fake = self.generate(&self.noise(&mut step.noise, n)?)?.detach();
            let CriticLoss { total, estimate } = self.critic_loss(&real, &fake, &mut step.noise)?;
            let value = step.minimise(CRITIC, &total)?;
            if !value.is_finite() {
                return Ok(value);
            }
            if self.spec.rules.constraint == Constraint::Clip {
                let vars = critic.vars.iter().map(|at| &self.params.vars()[*at].1);
                vars.into_iter().try_for_each(|var| nn::clip(var, self.spec.rules.clip))?;
            }
            loss -= f64::from(estimate.to_dtype(DType::F32)?.to_scalar::<f32>()?) / count as f64;
        }
        let z = self.noise(&mut step.noise, n)?;
        let value = step.minimise(GENERATOR, &self.generator_loss(&z)?)?;
        Ok(if value.is_finite() { loss } else { value })
    }

    /// A generator has no density, and therefore no bound.
    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { scorer: Some(self), sampler: Some(self), ..Capabilities::default() }
    }

    fn objective(&self) -> Objective {
        Objective {
            curve: "Wasserstein estimate",
            column: Some("wasserstein_estimate"),
            unit: "critic's units",
            median: 9,
        }
    }

    fn lower(&self, _: &ExportRecipe) -> Result<FloatModel> {
        lower::lower(self)
    }
}

impl Sampler for Wgan {
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        self.generate(&self.noise(noise, n)?)
    }
}

impl Scorer for Wgan {
    /// Minus the critic's value.
    fn score(&self, x: &Tensor) -> Result<Tensor> {
        self.critic(x)?.neg()
    }
}
