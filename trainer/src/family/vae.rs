//! VAE: Auto-Encoding Variational Bayes (arXiv 1312.6114).

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use serde::{Deserialize, Serialize};

pub use super::Likelihood;
use super::flow::{FlowRecipe, posterior::Posterior};
use super::{Dense, DenseLayer, Mlp, Model, Params};
use crate::compiler::graph::FloatModel;
use crate::compiler::lower;
use crate::nn::{self, Activation, Rng};
use crate::recipe::ExportRecipe;
use crate::train::Step;

#[cfg(test)]
mod tests;

/// The encoder's log-variance is clamped from below to this value (nats).
pub const LOGVAR_MIN: f64 = -12.0;
/// The encoder's log-variance is clamped from above to this value (nats).
pub const LOGVAR_MAX: f64 = 4.0;
/// The Gaussian likelihood's log-variance is clamped from below to this value: the variance floor (nats).
pub const HEAD_LOGVAR_MIN: f64 = -8.0;
/// The Gaussian likelihood's log-variance is clamped from above to this value (nats).
pub const HEAD_LOGVAR_MAX: f64 = 4.0;

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
/// `q(z|x) = N(mu(x), diag exp(logvar(x)))`, `p(z) = N(0, I)`, and `p(x|z)` as [`Likelihood`] says. With a flow,
/// `q(z|x)` is what that Gaussian becomes after its steps ([`Posterior`]); the bounds then hold `log q` at the last
/// latent, and every KL divergence is its Monte Carlo estimate.
pub struct Vae {
    spec: VaeSpec,
    params: Params,
    encoder: Mlp,
    mu: Dense,
    logvar: Dense,
    decoder: Mlp,
    head: Dense,
    head_logvar: Option<Dense>,
    posterior: Option<Posterior>,
}

/// `q(z|x)` of a batch.
struct Recognised {
    mu: Tensor,
    logvar: Tensor,
    /// Of the posterior's steps.
    flow: Option<Tensor>,
}

impl Vae {
    /// A model with weights and biases uniform in `+-1/sqrt(fan_in)`, drawn from `seed`.
    ///
    /// # Errors
    /// A width of zero, a `dtype` that is not a float type, or whatever candle reports.
    pub fn new(spec: VaeSpec, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        Self::with_flow(spec, None, seed, device, dtype)
    }

    /// As [`Vae::new`], with a flow on the latent (arXiv 1505.05770).
    ///
    /// # Errors
    /// As [`Vae::new`], and those of [`Posterior::new`].
    pub fn with_flow(
        spec: VaeSpec,
        flow: Option<&FlowRecipe>,
        seed: u64,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let mut params = Params::new(seed, device, dtype)?;
        let reversed: Vec<usize> = spec.hidden.iter().rev().copied().collect();
        let encoder = params.mlp("encoder", spec.input, &spec.hidden, spec.activation)?;
        let mu = params.dense("mu", encoder.out, spec.latent)?;
        let logvar = params.dense("logvar", encoder.out, spec.latent)?;
        let decoder = params.mlp("decoder", spec.latent, &reversed, spec.activation)?;
        let head = params.dense("head", decoder.out, spec.input)?;
        let head_logvar = match spec.likelihood {
            Likelihood::Bernoulli => None,
            Likelihood::Gaussian => Some(params.dense("head_logvar", decoder.out, spec.input)?),
        };
        let posterior = flow.map(|flow| Posterior::new(flow, &mut params, encoder.out, spec.latent)).transpose()?;
        Ok(Self { spec, params, encoder, mu, logvar, decoder, head, head_logvar, posterior })
    }

    /// The model's shape.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// Every variable with its name: `encoder.0.weight` `[out, inp]`, `encoder.0.bias` `[out]`, and so on for `mu`,
    /// `logvar`, `decoder.*`, `head`, with a Gaussian likelihood `head_logvar`, and with a flow `flow`.
    pub fn vars(&self) -> &[(String, Var)] {
        self.params.vars()
    }

    /// The flow on its latent; its parameters are the layer `flow` of the encoder's last hidden layer.
    pub fn posterior(&self) -> Option<&Posterior> {
        self.posterior.as_ref()
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

    /// A latent and `log q(z|x) - log p(z)` in nats of it: `eps [b, z]` to `[b, z]` and `[b]`.
    fn draw(&self, q: &Recognised, eps: &Tensor) -> Result<(Tensor, Tensor)> {
        let z = nn::reparameterise(&q.mu, &q.logvar, eps)?;
        let (Some(posterior), Some(parameters)) = (&self.posterior, &q.flow) else {
            let ratio = log_ratio(&z, &q.logvar, eps)?;
            return Ok((z, ratio));
        };
        let (z, log_det) = posterior.apply(&z, parameters)?;
        let ratio = (log_ratio(&z, &q.logvar, eps)? - log_det)?;
        Ok((z, ratio))
    }

    /// The parameters of `p(x|z)`: `z [b, z]` to logits `[b, d]` and `None` (Bernoulli), or to mean and log-variance
    /// `[b, d]`, the latter clamped to [`HEAD_LOGVAR_MIN`], [`HEAD_LOGVAR_MAX`] (Gaussian).
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn decode_with_logvar(&self, z: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let h = self.decoder.apply(&self.params, z)?;
        let head = self.apply(self.head, &h)?;
        let logvar = match self.head_logvar {
            None => None,
            Some(layer) => {
                let logvar = self.apply(layer, &h)?;
                Some(nn::clamp(&logvar, HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX)?)
            }
        };
        Ok((head, logvar))
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
        match self.decode_with_logvar(z)? {
            (logits, None) => nn::bernoulli_nll(&logits, x),
            (mean, Some(logvar)) => nn::gaussian_nll(&mean, &logvar, x),
        }
    }

    /// The loss of a batch `x [b, d]` with standard normal noise `eps [b, z]`: `nll + beta kl`, the estimator of
    /// equation 6 (A) or 7 (B) of the paper at `beta = 1`, with its sign turned.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn loss(&self, x: &Tensor, eps: &Tensor, beta: f64, estimator: Estimator) -> Result<Loss> {
        self.annealed_loss(x, eps, beta, estimator, 1.0)
    }

    /// As [`Vae::loss`], with `log p(x, z)` counting only `weight` (arXiv 1505.05770, equation 20).
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
        let (z, log_ratio) = self.draw(&q, eps)?;
        let nll = self.nll(x, &z)?.mean_all()?;
        let kl = match (estimator, &self.posterior) {
            (Estimator::B, None) => nn::kl_standard_normal(&q.mu, &q.logvar)?.mean_all()?,
            _ => log_ratio.mean_all()?,
        };
        let mut total = (&nll + (&kl * beta)?)?;
        if weight < 1.0 {
            // -log p(x, z), without the constant of log p(z).
            let joint = (&nll + (z.sqr()?.sum(1)?.mean_all()? * 0.5)?)?;
            total = (total - (joint * (1.0 - weight))?)?;
        }
        Ok(Loss { total, nll, kl })
    }

    /// The evidence lower bound in nats with the analytic KL and one sample (equation 7; all Monte Carlo with a flow):
    /// `x [b, d]`, `eps [b, z]` to `[b]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn elbo(&self, x: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let q = self.recognise(x)?;
        let (z, log_ratio) = self.draw(&q, eps)?;
        let kl = match &self.posterior {
            None => nn::kl_standard_normal(&q.mu, &q.logvar)?,
            Some(_) => log_ratio,
        };
        (self.nll(x, &z)? + kl)?.neg()
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
        let q = self.recognise(x)?;
        let repeat = |t: &Tensor| t.broadcast_as((k, b, t.dim(1)?))?.reshape((k * b, t.dim(1)?));
        let flow = q.flow.as_ref().map(repeat).transpose()?;
        let q = Recognised { mu: repeat(&q.mu)?, logvar: repeat(&q.logvar)?, flow };
        let (z, log_ratio) = self.draw(&q, &eps.reshape((k * b, latent))?)?;
        let nll = self.nll(&repeat(x)?, &z)?;
        let log_weight = (nll + log_ratio)?.neg()?.reshape((k, b))?;
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
        let eps = self.noise(&mut step.noise, &[x.dim(0)?, self.spec.latent], &x)?;
        let (beta, estimator) = (step.recipe.beta_at(step.index), step.recipe.estimator);
        let weight = self.posterior.as_ref().map_or(1.0, |p| p.annealed(step.index));
        let loss = self.annealed_loss(&x, &eps, beta, estimator, weight)?;
        step.minimise(0, &loss.total)
    }

    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Option<Tensor>> {
        let eps = self.noise(noise, &[x.dim(0)?, self.spec.latent], x)?;
        self.elbo(x, &eps).map(Some)
    }

    fn importance_bound(&self, x: &Tensor, k: usize, noise: &mut Rng) -> Result<Option<Tensor>> {
        let eps = self.noise(noise, &[k, x.dim(0)?, self.spec.latent], x)?;
        self.iwae(x, &eps).map(Some)
    }

    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let z = noise.normal((n, self.spec.latent), DType::F32, &Device::Cpu)?;
        let head = self.decode(&z)?;
        match self.spec.likelihood {
            Likelihood::Bernoulli => (head.neg()?.exp()? + 1.0)?.recip(),
            Likelihood::Gaussian => Ok(head),
        }
    }

    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel> {
        if self.posterior.is_some() {
            bail!("a VAE whose posterior is a flow cannot be compiled yet");
        }
        let draws = (export.monte_carlo_samples as u32, export.importance_samples as u32);
        Ok(lower::vae(&self.spec, &self.layers()?, draws.0, draws.1))
    }
}

/// `log q(z|x) - log p(z)` in nats at `z = mu + exp(logvar / 2) eps`, all `[n, z]`, to `[n]`: the constants cancel.
fn log_ratio(z: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    ((z.sqr()? - eps.sqr()?)? - logvar)?.sum(1)? * 0.5
}
