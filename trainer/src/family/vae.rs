//! VAE: Auto-Encoding Variational Bayes (arXiv 1312.6114).

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use serde::{Deserialize, Serialize};

use super::{Dense, DenseLayer, Heads, Mlp, Model, Params};
pub use super::{HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN, Likelihood};
use crate::compiler::graph::FloatModel;
use crate::compiler::lower;
use crate::nn::{self, Activation, Rng};
use crate::recipe::ExportRecipe;
use crate::train::Step;

pub mod conditional;
#[cfg(test)]
mod tests;

use conditional::join;

/// The encoder's log-variance is clamped from below to this value (nats).
pub const LOGVAR_MIN: f64 = -12.0;
/// The encoder's log-variance is clamped from above to this value (nats).
pub const LOGVAR_MAX: f64 = 4.0;
/// The two SGVB estimators of the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Estimator {
    /// All Monte Carlo: `log p(x,z) - log q(z|x)` at the sampled `z` (equation 6).
    A,
    /// Monte Carlo for the likelihood, analytic KL divergence (equation 7).
    #[default]
    B,
}

/// The shape of a VAE with dense encoder and decoder.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct VaeSpec {
    /// Number of data dimensions.
    pub input: usize,
    /// Widths of the encoder's hidden layers from the data on; the decoder mirrors them.
    pub hidden: Vec<usize>,
    /// Number of latent dimensions.
    pub latent: usize,
    /// Activation of every hidden layer.
    pub activation: Activation,
    /// The decoder's likelihood.
    pub likelihood: Likelihood,
}

/// Every layer of a VAE as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// Hidden layers of the encoder, from the data on.
    pub encoder: Vec<DenseLayer>,
    /// Mean of `q(z|x)`.
    pub mu: DenseLayer,
    /// Log-variance of `q(z|x)`, before clamping to [`LOGVAR_MIN`], [`LOGVAR_MAX`].
    pub logvar: DenseLayer,
    /// Hidden layers of the decoder, from the latent on.
    pub decoder: Vec<DenseLayer>,
    /// Logits (Bernoulli) or mean (Gaussian).
    pub head: DenseLayer,
    /// Gaussian log-variance, before clamping to [`HEAD_LOGVAR_MIN`], [`HEAD_LOGVAR_MAX`].
    pub head_logvar: Option<DenseLayer>,
}

/// A batch's loss, each a scalar and a mean over the batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What to minimise, `nll + beta kl` (nats).
    pub total: Tensor,
    /// `-log p(x|z)` (nats).
    pub nll: Tensor,
    /// `KL(q(z|x) || p(z))` (nats): analytic, or its Monte Carlo estimate.
    pub kl: Tensor,
}

/// A variational auto-encoder with dense encoder and decoder (arXiv 1312.6114).
///
/// `q(z|x) = N(mu(x), diag exp(logvar(x)))`, `p(z) = N(0, I)`, and `p(x|z)` as [`Likelihood`] says.
pub struct Vae {
    spec: VaeSpec,
    params: Params,
    encoder: Mlp,
    mu: Dense,
    logvar: Dense,
    decoder: Mlp,
    head: Dense,
    head_logvar: Option<Dense>,
    classes: usize,
    free_bits: f64,
}

impl Vae {
    /// A model with weights and biases uniform in `+-1/sqrt(fan_in)`, drawn from `seed`.
    ///
    /// # Errors
    /// A width of zero, a `dtype` that is not a float type, or whatever candle reports.
    pub fn new(spec: VaeSpec, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        Self::conditional(spec, 0, seed, device, dtype)
    }

    /// A model of `p(x|y)` for `classes` classes, as [`Vae::new`]; an ordinary VAE for none. See [`mod@conditional`].
    ///
    /// # Errors
    /// As [`Vae::new`].
    pub fn conditional(spec: VaeSpec, classes: usize, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        let mut params = Params::new(seed, device, dtype)?;
        let reversed: Vec<usize> = spec.hidden.iter().rev().copied().collect();
        let encoder = params.mlp("encoder", spec.input + classes, &spec.hidden, spec.activation)?;
        let mu = params.dense("mu", encoder.out, spec.latent)?;
        let logvar = params.dense("logvar", encoder.out, spec.latent)?;
        let decoder = params.mlp("decoder", spec.latent + classes, &reversed, spec.activation)?;
        let head = params.dense("head", decoder.out, spec.input)?;
        let second = spec.likelihood.second_head().map(|name| params.dense(name, decoder.out, spec.input));
        let head_logvar = second.transpose()?;
        Ok(Self { spec, params, encoder, mu, logvar, decoder, head, head_logvar, classes, free_bits: 0.0 })
    }

    /// The same with free bits: what a latent dimension's divergence, averaged over the batch, is below `nats` costs the loss
    /// nothing (arXiv 1606.04934, section on free bits). Only for estimator B.
    #[must_use]
    pub fn with_free_bits(self, nats: f64) -> Self {
        Self { free_bits: nats, ..self }
    }

    /// The model's shape.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// Every variable with its name: `encoder.0.weight` `[out, inp]`, `encoder.0.bias` `[out]`, and so on for `mu`,
    /// `logvar`, `decoder.*`, `head` and, with a Gaussian likelihood, `head_logvar`.
    pub fn vars(&self) -> &[(String, Var)] {
        self.params.vars()
    }

    fn apply(&self, layer: Dense, x: &Tensor) -> Result<Tensor> {
        layer.apply(&self.params, x, Activation::Identity)
    }

    /// Mean and log-variance of `q(z|x)`: `x [b, d]` to twice `[b, z]`, the latter clamped to [`LOGVAR_MIN`],
    /// [`LOGVAR_MAX`].
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn encode(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let h = self.encoder.apply(&self.params, x)?;
        let mu = self.apply(self.mu, &h)?;
        let logvar = self.apply(self.logvar, &h)?;
        Ok((mu, nn::clamp(&logvar, LOGVAR_MIN, LOGVAR_MAX)?))
    }

    /// The parameters of `p(x|z)`: `z [b, z]` to `[b, d]` each, clamped as the [`Likelihood`] asks for.
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn decode_with_logvar(&self, z: &Tensor) -> Result<Heads> {
        let h = self.decoder.apply(&self.params, z)?;
        let second = self.head_logvar.map(|layer| self.apply(layer, &h)).transpose()?;
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

    /// The loss of a batch `x [b, d]` with standard normal noise `eps [b, z]`: `nll + beta kl`, the estimator of
    /// equation 6 (A) or 7 (B) of the paper at `beta = 1`, with its sign turned.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn loss(&self, x: &Tensor, eps: &Tensor, beta: f64, estimator: Estimator) -> Result<Loss> {
        let (mu, logvar) = self.encode(x)?;
        let z = nn::reparameterise(&mu, &logvar, eps)?;
        let nll = self.nll(x, &z)?.mean_all()?;
        let kl = match estimator {
            Estimator::A => log_ratio(&z, &logvar, eps)?.mean_all()?,
            Estimator::B => nn::kl_standard_normal(&mu, &logvar)?.mean_all()?,
        };
        let paid = if self.free_bits > 0.0 { conditional::paid(&mu, &logvar, self.free_bits)? } else { kl.clone() };
        let total = (&nll + (paid * beta)?)?;
        Ok(Loss { total, nll, kl })
    }

    /// The evidence lower bound in nats with the analytic KL and one sample (equation 7): `x [b, d]`, `eps [b, z]` to
    /// `[b]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn elbo(&self, x: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let (mu, logvar) = self.encode(x)?;
        let z = nn::reparameterise(&mu, &logvar, eps)?;
        (self.nll(x, &z)? + nn::kl_standard_normal(&mu, &logvar)?)?.neg()
    }

    /// The importance-weighted bound in nats, `log 1/k sum_k p(x, z_k) / q(z_k|x)` (arXiv 1509.00519, equation 8):
    /// `x [b, d]`, `eps [k, b, z]` to `[b]`. Decodes `k b` latents at once.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match, or no sample.
    pub fn iwae(&self, x: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let (k, b, latent) = eps.dims3()?;
        if k == 0 {
            bail!("an importance-weighted bound needs at least one sample");
        }
        let (mu, logvar) = self.encode(x)?;
        let repeat = |t: &Tensor, width: usize| t.broadcast_as((k, b, width))?.reshape((k * b, width));
        let (mu, logvar) = (repeat(&mu, latent)?, repeat(&logvar, latent)?);
        let eps = eps.reshape((k * b, latent))?;
        let z = nn::reparameterise(&mu, &logvar, &eps)?;
        let nll = self.nll(&repeat(x, x.dim(1)?)?, &z)?;
        let log_weight = (nll + log_ratio(&z, &logvar, &eps)?)?.neg()?.reshape((k, b))?;
        let top = log_weight.max_keepdim(0)?.detach();
        let mean = log_weight.broadcast_sub(&top)?.exp()?.mean(0)?;
        mean.log()? + top.squeeze(0)?
    }

    /// Copies of every layer, for the compiler.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn layers(&self) -> Result<Layers> {
        let layer = |layer: Dense| layer.layer(&self.params);
        Ok(Layers {
            encoder: self.encoder.numbers(&self.params)?,
            mu: layer(self.mu)?,
            logvar: layer(self.logvar)?,
            decoder: self.decoder.numbers(&self.params)?,
            head: layer(self.head)?,
            head_logvar: self.head_logvar.map(layer).transpose()?,
        })
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

    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        let x = step.batch(self.likelihood())?;
        let x = join(&x, self.classes_of(step)?.as_ref())?;
        let eps = self.noise(&mut step.noise, &[x.dim(0)?, self.spec.latent], &x)?;
        let loss = self.loss(&x, &eps, step.recipe.beta_at(step.index), step.recipe.estimator)?;
        step.minimise(0, &loss.total)
    }

    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Option<Tensor>> {
        let bound = |x: &Tensor| self.elbo(x, &self.noise(noise, &[x.dim(0)?, self.spec.latent], x)?);
        self.over_classes(x, bound).map(Some)
    }

    fn importance_bound(&self, x: &Tensor, k: usize, noise: &mut Rng) -> Result<Option<Tensor>> {
        let bound = |x: &Tensor| self.iwae(x, &self.noise(noise, &[k, x.dim(0)?, self.spec.latent], x)?);
        self.over_classes(x, bound).map(Some)
    }

    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let z = noise.normal((n, self.spec.latent), DType::F32, &Device::Cpu)?;
        self.spec.likelihood.mean(&self.decode_with_logvar(&join(&z, self.in_turn(n)?.as_ref())?)?)
    }

    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel> {
        if self.classes > 0 || self.spec.likelihood == Likelihood::Logistic {
            bail!("a conditional VAE or a logistic likelihood cannot be compiled yet");
        }
        let draws = (export.monte_carlo_samples as u32, export.importance_samples as u32);
        Ok(lower::vae(&self.spec, &self.layers()?, draws.0, draws.1))
    }
}

/// `log q(z|x) - log p(z)` in nats at `z = mu + exp(logvar / 2) eps`, all `[n, z]`, to `[n]`: the constants cancel.
fn log_ratio(z: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    ((z.sqr()? - eps.sqr()?)? - logvar)?.sum(1)? * 0.5
}
