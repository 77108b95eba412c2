//! VAE: Auto-Encoding Variational Bayes (arXiv 1312.6114).

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use serde::{Deserialize, Serialize};

use super::DenseLayer;
use crate::nn::{self, Activation, Rng};

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

/// The distribution `p(x|z)` of the data given the latent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Likelihood {
    /// Independent Bernoulli variables, given by their logits.
    #[default]
    Bernoulli,
    /// Independent Gaussian variables, given by mean and log-variance.
    Gaussian,
}

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

/// Where a dense layer's two variables are in the list of all.
#[derive(Clone, Copy)]
struct Dense(usize);

/// A variational auto-encoder with dense encoder and decoder (arXiv 1312.6114).
///
/// `q(z|x) = N(mu(x), diag exp(logvar(x)))`, `p(z) = N(0, I)`, and `p(x|z)` as [`Likelihood`] says.
pub struct Vae {
    spec: VaeSpec,
    vars: Vec<(String, Var)>,
    encoder: Vec<Dense>,
    mu: Dense,
    logvar: Dense,
    decoder: Vec<Dense>,
    head: Dense,
    head_logvar: Option<Dense>,
}

impl Vae {
    /// A model with weights and biases uniform in `+-1/sqrt(fan_in)`, drawn from `seed`.
    ///
    /// # Errors
    /// A width of zero, a `dtype` that is not a float type, or whatever candle reports.
    pub fn new(spec: VaeSpec, seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        if spec.input == 0 || spec.latent == 0 || spec.hidden.contains(&0) {
            bail!("every width of a VAE is at least 1: {spec:?}");
        }
        if !dtype.is_float() {
            bail!("a VAE in {dtype:?}, which is not a float type");
        }
        let mut rng = Rng::new(seed);
        let mut vars = Vec::new();
        let mut dense = |name: String, inp: usize, out: usize| -> Result<Dense> {
            let (w, b) = rng.dense(inp, out, dtype, device)?;
            vars.push((format!("{name}.weight"), w));
            vars.push((format!("{name}.bias"), b));
            Ok(Dense(vars.len() - 2))
        };
        let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
        let mut inp = spec.input;
        for (i, &out) in spec.hidden.iter().enumerate() {
            encoder.push(dense(format!("encoder.{i}"), inp, out)?);
            inp = out;
        }
        let mu = dense("mu".into(), inp, spec.latent)?;
        let logvar = dense("logvar".into(), inp, spec.latent)?;
        inp = spec.latent;
        for (i, &out) in spec.hidden.iter().rev().enumerate() {
            decoder.push(dense(format!("decoder.{i}"), inp, out)?);
            inp = out;
        }
        let head = dense("head".into(), inp, spec.input)?;
        let head_logvar = match spec.likelihood {
            Likelihood::Bernoulli => None,
            Likelihood::Gaussian => Some(dense("head_logvar".into(), inp, spec.input)?),
        };
        Ok(Self { spec, vars, encoder, mu, logvar, decoder, head, head_logvar })
    }

    /// The model's shape.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// Every variable with its name: `encoder.0.weight` `[out, inp]`, `encoder.0.bias` `[out]`, and so on for `mu`,
    /// `logvar`, `decoder.*`, `head` and, with a Gaussian likelihood, `head_logvar`.
    pub fn vars(&self) -> &[(String, Var)] {
        &self.vars
    }

    fn apply(&self, layer: Dense, x: &Tensor, activation: Activation) -> Result<Tensor> {
        nn::linear(x, self.vars[layer.0].1.as_tensor(), self.vars[layer.0 + 1].1.as_tensor(), activation)
    }

    fn hidden(&self, layers: &[Dense], x: &Tensor) -> Result<Tensor> {
        layers.iter().try_fold(x.clone(), |h, layer| self.apply(*layer, &h, self.spec.activation))
    }

    /// Mean and log-variance of `q(z|x)`: `x [b, d]` to twice `[b, z]`, the latter clamped to [`LOGVAR_MIN`],
    /// [`LOGVAR_MAX`].
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn encode(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let h = self.hidden(&self.encoder, x)?;
        let mu = self.apply(self.mu, &h, Activation::Identity)?;
        let logvar = self.apply(self.logvar, &h, Activation::Identity)?;
        Ok((mu, nn::clamp(&logvar, LOGVAR_MIN, LOGVAR_MAX)?))
    }

    /// The parameters of `p(x|z)`: `z [b, z]` to logits `[b, d]` and `None` (Bernoulli), or to mean and log-variance
    /// `[b, d]`, the latter clamped to [`HEAD_LOGVAR_MIN`], [`HEAD_LOGVAR_MAX`] (Gaussian).
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn decode_with_logvar(&self, z: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let h = self.hidden(&self.decoder, z)?;
        let head = self.apply(self.head, &h, Activation::Identity)?;
        let logvar = match self.head_logvar {
            None => None,
            Some(layer) => {
                let logvar = self.apply(layer, &h, Activation::Identity)?;
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
        let h = self.hidden(&self.decoder, z)?;
        self.apply(self.head, &h, Activation::Identity)
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
        let (mu, logvar) = self.encode(x)?;
        let z = nn::reparameterise(&mu, &logvar, eps)?;
        let nll = self.nll(x, &z)?.mean_all()?;
        let kl = match estimator {
            Estimator::A => log_ratio(&z, &logvar, eps)?.mean_all()?,
            Estimator::B => nn::kl_standard_normal(&mu, &logvar)?.mean_all()?,
        };
        let total = (&nll + (&kl * beta)?)?;
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
        let nll = self.nll(&repeat(x, self.spec.input)?, &z)?;
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
        let values = |var: &Var| var.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
        let layer = |l: &Dense| -> Result<DenseLayer> {
            let (w, b) = (&self.vars[l.0].1, &self.vars[l.0 + 1].1);
            let (out, inp) = w.dims2()?;
            Ok(DenseLayer { w: values(w)?, b: values(b)?, out, inp })
        };
        Ok(Layers {
            encoder: self.encoder.iter().map(layer).collect::<Result<_>>()?,
            mu: layer(&self.mu)?,
            logvar: layer(&self.logvar)?,
            decoder: self.decoder.iter().map(layer).collect::<Result<_>>()?,
            head: layer(&self.head)?,
            head_logvar: self.head_logvar.as_ref().map(layer).transpose()?,
        })
    }

    /// Copies of every variable by name; training on does not change them.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn save(&self) -> Result<HashMap<String, Tensor>> {
        self.vars.iter().map(|(name, var)| Ok((name.clone(), var.copy()?.detach()))).collect()
    }

    /// Sets every variable from tensors of the same name, converted to the model's type and device; other names are
    /// ignored. On an error nothing has changed.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape than its variable.
    pub fn load(&self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let find = |(name, var): &(String, Var)| match tensors.get(name) {
            None => bail!("the checkpoint lacks {name}"),
            Some(t) if t.shape() != var.shape() => {
                bail!("the checkpoint has {name} of shape {:?}, not {:?}", t.dims(), var.dims())
            }
            Some(t) => t.to_device(var.device())?.to_dtype(var.dtype()),
        };
        let found = self.vars.iter().map(find).collect::<Result<Vec<_>>>()?;
        self.vars.iter().zip(&found).try_for_each(|((_, var), t)| var.set(t))
    }
}

/// `log q(z|x) - log p(z)` in nats at `z = mu + exp(logvar / 2) eps`, all `[n, z]`, to `[n]`: the constants cancel.
fn log_ratio(z: &Tensor, logvar: &Tensor, eps: &Tensor) -> Result<Tensor> {
    ((z.sqr()? - eps.sqr()?)? - logvar)?.sum(1)? * 0.5
}
