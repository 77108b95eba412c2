//! VAE, the variational auto-encoder: Auto-Encoding Variational Bayes (arXiv 1312.6114).

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use elbo_compiler::FloatModel;
use elbo_compiler::Likelihood;
use serde::{Deserialize, Serialize};

use super::flow::posterior::{Posterior, PosteriorRecipe};
use crate::layers::Params;
use crate::layers::conv::{Body, ConvRecipe, Layer, Stack};
use crate::likelihood::{Density, Heads};
use crate::model::{Bounded, Capabilities, Model, Sampler};
use crate::nn::{self, Activation, Rng};
use crate::settings::{Estimator, ExportRecipe};
use crate::step::Step;
use conditional::join;

pub use recipe::{Entry, VaeRecipe};

pub mod conditional;
mod lower;
mod recipe;
#[cfg(test)]
mod tests;

/// Lower limit of the encoder's log-variance (nats).
pub const LOGVAR_MIN: f64 = -12.0;
/// Upper limit of the encoder's log-variance (nats).
pub const LOGVAR_MAX: f64 = 4.0;

/// The shape of a VAE with dense encoder and decoder.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct VaeSpec {
    /// Number of data dimensions.
    pub input: usize,
    /// Widths of the encoder's hidden layers, starting at the data. The decoder has the same widths in reverse order.
    pub hidden: Vec<usize>,
    /// Number of latent dimensions.
    pub latent: usize,
    /// Activation of every hidden layer.
    pub activation: Activation,
    /// The likelihood of the decoder.
    pub likelihood: Likelihood,
}

/// The loss of a batch. Each term is a scalar, the mean over the batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The loss to minimise, `nll + beta kl` (nats).
    pub total: Tensor,
    /// `-log p(x|z)` (nats).
    pub nll: Tensor,
    /// `KL(q(z|x) || p(z))` (nats), analytic or estimated by Monte Carlo.
    pub kl: Tensor,
}

/// A variational auto-encoder (arXiv 1312.6114).
///
/// The distributions are `q(z|x) = N(mu(x), diag exp(logvar(x)))`, `p(z) = N(0, I)`, and `p(x|z)` as given by
/// [`Likelihood`]. With a flow, `q(z|x)` is the distribution of the Gaussian's draws after the steps of the flow
/// ([`Posterior`]). The bounds then contain `log q` at the last latent, and KL divergences are Monte Carlo estimates.
pub struct Vae {
    spec: VaeSpec,
    params: Params,
    encoder: Stack,
    mu: Layer,
    logvar: Layer,
    decoder: Stack,
    head: Layer,
    /// The layer of the log-variance or the log-scale, if the likelihood has one.
    second_head: Option<Layer>,
    posterior: Option<Posterior>,
    classes: usize,
    free_bits: f64,
}

/// Optional parts of a VAE, in addition to its dense layers.
#[derive(Clone, Debug, Default)]
pub struct Parts<'p> {
    /// Convolutions between an image and the dense layers. The first element is the number of rows and columns of the
    /// image.
    pub conv: Option<([usize; 2], ConvRecipe)>,
    /// A flow for the posterior of the latent (arXiv 1505.05770).
    pub flow: Option<&'p PosteriorRecipe>,
    /// Number of classes of a conditional VAE `p(x|y)`, or 0 for an ordinary VAE. See [`mod@conditional`].
    pub classes: usize,
    /// KL divergence in nats, averaged over the batch, up to which a latent dimension costs nothing (free bits, arXiv
    /// 1606.04934). It applies only to estimator B.
    pub free_bits: f64,
}

/// The parameters of `q(z|x)` for a batch.
struct Recognised {
    mu: Tensor,
    logvar: Tensor,
    /// The parameters of the flow's steps.
    flow: Option<Tensor>,
}

impl Vae {
    /// A model with weights and biases that are uniform in `+-1/sqrt(fan_in)` and drawn with `seed`.
    ///
    /// # Errors
    /// A width of zero, a `dtype` that is not a float type, or any error of candle.
    pub fn new(spec: VaeSpec, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        Self::with_parts(spec, Parts::default(), seed, device, dtype)
    }

    /// Like [`Vae::new`], with optional parts.
    ///
    /// # Errors
    /// Those of [`Vae::new`] and [`Posterior::new`], an image that is too small for its convolutions, or classes
    /// together with convolutions.
    pub fn with_parts(spec: VaeSpec, parts: Parts<'_>, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        let Parts { conv, flow, classes, free_bits } = parts;
        if conv.is_some() && classes > 0 {
            bail!("a conditional VAE cannot have convolutions, because its classes are not pixels");
        }
        let mut params = Params::new(seed, device, dtype)?;
        let body = Body { input: spec.input, conv, hidden: spec.hidden.clone(), activation: spec.activation };
        let encoder = Body { input: spec.input + classes, ..body.clone() }.encoder(&mut params, "encoder")?;
        let mu = params.dense("mu", encoder.out, spec.latent)?.into();
        let logvar = params.dense("logvar", encoder.out, spec.latent)?.into();
        let decoder = body.decoder(&mut params, "decoder", spec.latent + classes)?;
        let head = body.head(&mut params, "head", &decoder)?;
        let second_head = match spec.likelihood.second_head() {
            None => None,
            Some(name) => Some(body.head(&mut params, name, &decoder)?),
        };
        let posterior = flow.map(|flow| Posterior::new(flow, &mut params, encoder.out, spec.latent)).transpose()?;
        Ok(Self { spec, params, encoder, mu, logvar, decoder, head, second_head, posterior, classes, free_bits })
    }

    /// The model's shape.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// All variables with their names: `encoder.0.weight` `[out, inp]`, `encoder.0.bias` `[out]` and so on for `mu`,
    /// `logvar`, `decoder.*` and `head`. A Gaussian likelihood adds `head_logvar`, and a logistic one `head_log_scale`.
    /// A flow adds `flow`, which has a scale of 1/10.
    pub fn vars(&self) -> &[(String, Var)] {
        self.params.vars()
    }

    fn apply(&self, layer: Layer, x: &Tensor) -> Result<Tensor> {
        layer.apply(&self.params, x, Activation::Identity)
    }

    /// Mean and log-variance of `q(z|x)`: `x [b, d]` to two tensors `[b, z]`. The log-variance is clamped to
    /// [`LOGVAR_MIN`] and [`LOGVAR_MAX`].
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn encode(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let q = self.recognise(x)?;
        Ok((q.mu, q.logvar))
    }

    fn recognise(&self, x: &Tensor) -> Result<Recognised> {
        let h = self.encoder.apply(&self.params, x)?;
        let mu = self.apply(self.mu, &h)?;
        let logvar = nn::clamp(&self.apply(self.logvar, &h)?, LOGVAR_MIN, LOGVAR_MAX)?;
        let flow = self.posterior.as_ref().map(|p| p.parameters(&self.params, &h)).transpose()?;
        Ok(Recognised { mu, logvar, flow })
    }

    /// A latent `[b, z]` and an estimate `[b]` of `KL(q(z|x) || p(z))` in nats, given noise `eps [b, z]`. Estimator A
    /// is `log q - log p` at the latent. Estimator B is the analytic divergence of `q(z_0|x)` plus the change of `log q
    /// - log p` by the flow.
    fn draw(&self, q: &Recognised, eps: &Tensor, estimator: Estimator) -> Result<(Tensor, Tensor)> {
        let z = nn::reparameterise(&q.mu, &q.logvar, eps)?;
        let divergence = match estimator {
            Estimator::A => nn::log_ratio_standard_normal(&z, &q.logvar, eps)?,
            Estimator::B => nn::kl_standard_normal(&q.mu, &q.logvar)?,
        };
        let (Some(posterior), Some(parameters)) = (&self.posterior, &q.flow) else { return Ok((z, divergence)) };
        let (image, log_det) = posterior.apply(&z, parameters)?;
        let change = (((image.sqr()? - z.sqr()?)?.sum(1)? * 0.5)? - log_det)?;
        Ok((image, (divergence + change)?))
    }

    /// The parameters of `p(x|z)`, clamped to the limits of the [`Likelihood`]: `z [b, z]` to `[b, d]` each.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn decode_with_logvar(&self, z: &Tensor) -> Result<Heads> {
        let h = self.decoder.apply(&self.params, z)?;
        let second = self.second_head.map(|layer| self.apply(layer, &h)).transpose()?;
        self.spec.likelihood.clamp(self.apply(self.head, &h)?, second)
    }

    /// Logits (Bernoulli) or mean (Gaussian) of `p(x|z)`: `z [b, z]` to `[b, d]`.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let h = self.decoder.apply(&self.params, z)?;
        self.apply(self.head, &h)
    }

    /// `-log p(x|z)` in nats: `x [b, d]`, `z [b, z]` to `[b]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn nll(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let (x, class) = self.split(x)?;
        self.spec.likelihood.nll(&self.decode_with_logvar(&join(z, class.as_ref())?)?, &x)
    }

    /// The loss of a batch `x [b, d]` with standard normal noise `eps [b, z]`: `nll + beta kl`. At `beta = 1` it is
    /// minus the estimator of equation 6 (A) or equation 7 (B) of the paper. With a flow, estimator B is the analytic
    /// divergence of `q(z_0|x)` plus a Monte Carlo estimate of the change by the flow. A flow near the identity
    /// therefore adds little variance.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn loss(&self, x: &Tensor, eps: &Tensor, beta: f64, estimator: Estimator) -> Result<Loss> {
        self.annealed_loss(x, eps, beta, estimator, 1.0)
    }

    /// Like [`Vae::loss`], but `log p(x, z)` has the weight `weight` (arXiv 1505.05770, equation 20).
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn annealed_loss(
        &self,
        x: &Tensor,
        eps: &Tensor,
        beta: f64,
        estimator: Estimator,
        weight: f64,
    ) -> Result<Loss> {
        let q = self.recognise(x)?;
        let (z, kl) = self.draw(&q, eps, estimator)?;
        let (nll, kl) = (self.nll(x, &z)?.mean_all()?, kl.mean_all()?);
        let counted = match self.free_bits > 0.0 {
            true => conditional::free_bits_divergence(&q.mu, &q.logvar, self.free_bits)?,
            false => kl.clone(),
        };
        let mut total = (&nll + (counted * beta)?)?;
        if weight < 1.0 {
            // -log p(x, z), without the constant of log p(z).
            let joint = (&nll + (z.sqr()?.sum(1)?.mean_all()? * 0.5)?)?;
            total = (total - (joint * (1.0 - weight))?)?;
        }
        Ok(Loss { total, nll, kl })
    }

    /// The evidence lower bound in nats with one sample: `x [b, d]`, `eps [b, z]` to `[b]`. The KL divergence is
    /// analytic (equation 7), or a Monte Carlo estimate if there is a flow.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn elbo(&self, x: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let q = self.recognise(x)?;
        let estimator = if self.posterior.is_some() { Estimator::A } else { Estimator::B };
        let (z, kl) = self.draw(&q, eps, estimator)?;
        (self.nll(x, &z)? + kl)?.neg()
    }

    /// The importance-weighted bound in nats, `log 1/k sum_k p(x, z_k) / q(z_k|x)` (arXiv 1509.00519, equation 8): `x
    /// [b, d]`, `eps [k, b, z]` to `[b]`. It decodes `k b` latents at once.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match, or `k = 0`.
    pub fn iwae(&self, x: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let (k, b, latent) = eps.dims3()?;
        let q = self.recognise(x)?;
        let repeat = |t: &Tensor| nn::repeat_rows(t, k);
        let flow = q.flow.as_ref().map(repeat).transpose()?;
        let q = Recognised { mu: repeat(&q.mu)?, logvar: repeat(&q.logvar)?, flow };
        let (z, log_ratio) = self.draw(&q, &eps.reshape((k * b, latent))?, Estimator::A)?;
        let nll = self.nll(&repeat(x)?, &z)?;
        nn::log_mean_exp(&(nll + log_ratio)?.neg()?.reshape((k, b))?)
    }

    fn noise(&self, rng: &mut Rng, shape: &[usize], like: &Tensor) -> Result<Tensor> {
        rng.normal(shape, like.dtype(), like.device())
    }
}

impl Model for Vae {
    fn params(&self) -> &Params {
        &self.params
    }

    fn input(&self) -> usize {
        self.spec.input
    }

    fn likelihood(&self) -> Likelihood {
        self.spec.likelihood
    }

    fn latent(&self) -> usize {
        self.spec.latent
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        let x = step.batch(self.likelihood())?;
        let x = join(&x, self.classes_of(step)?.as_ref())?;
        let eps = self.noise(&mut step.noise, &[x.dim(0)?, self.spec.latent], &x)?;
        let (beta, estimator) = (step.recipe.beta_at(step.index), step.recipe.estimator);
        let weight = self.posterior.as_ref().map_or(1.0, |p| p.annealing_weight(step.index));
        let loss = self.annealed_loss(&x, &eps, beta, estimator, weight)?;
        step.minimise(0, &loss.total)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { bounds: Some(self), sampler: Some(self), ..Capabilities::default() }
    }

    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel> {
        lower::lower(self, export)
    }
}

impl Bounded for Vae {
    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Tensor> {
        let bound = |x: &Tensor| self.elbo(x, &self.noise(noise, &[x.dim(0)?, self.spec.latent], x)?);
        self.over_classes(x, bound)
    }

    fn importance_bound(&self, x: &Tensor, k: usize, noise: &mut Rng) -> Result<Option<Tensor>> {
        let bound = |x: &Tensor| self.iwae(x, &self.noise(noise, &[k, x.dim(0)?, self.spec.latent], x)?);
        self.over_classes(x, bound).map(Some)
    }
}

impl Sampler for Vae {
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let z = noise.normal((n, self.spec.latent), DType::F32, &Device::Cpu)?;
        self.spec.likelihood.mean(&self.decode_with_logvar(&join(&z, self.in_turn(n)?.as_ref())?)?)
    }
}
