//! DLGM, the deep latent Gaussian model: Stochastic Backpropagation (arXiv 1401.4082).

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use elbo_compiler::FloatModel;
use elbo_compiler::Likelihood;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::vae::{LOGVAR_MAX, LOGVAR_MIN};
use crate::layers::{Dense, Mlp, Params, Slot};
use crate::likelihood::{Density, Heads};
use crate::model::{Bounded, Capabilities, Model, Sampler};
use crate::nn::{self, Activation, Rng};
use crate::settings::Estimator;
use crate::settings::ExportRecipe;
use crate::step::Step;

mod lower;
mod posterior;
mod recipe;
#[cfg(test)]
mod tests;

pub use posterior::Posterior;
pub use recipe::{DlgmRecipe, Entry};

/// Largest magnitude of the rank-1 factor [`Posterior::v`], which is clamped. It is the limit of Q3.12.
pub const V_BOUND: f64 = 8.0;

/// Scale (see [`Params`]) of the layers that compute the rank-1 factors. It is small because their gradients are mostly
/// noise while the factors are small.
const V_SCALE: f64 = 0.01;
/// Scale of the last layer of every `T_l`. It is small because the part of the upper layer that the lower layer does
/// not need acts as noise.
const TRANSITION_SCALE: f64 = 0.1;
/// Scale of every `G_l`. All information about a layer's noise passes through it.
const NOISE_SCALE: f64 = 0.1;

/// Covariance of the recognition model (arXiv 1401.4082).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Covariance {
    /// `C = D^-1`.
    Diagonal,
    /// `C^-1 = D + u u^T`.
    #[default]
    Rank1,
}

/// The shape of a DLGM.
#[derive(Clone, Debug, PartialEq)]
pub struct DlgmSpec {
    /// Number of data dimensions.
    pub input: usize,
    /// Sizes of the stochastic layers, starting with the one next to the data. There is at least one.
    pub layers: Vec<usize>,
    /// Widths of the recognition model's hidden layers, starting at the data. `T_0` has the same widths in reverse
    /// order.
    pub hidden: Vec<usize>,
    /// Widths of the hidden layers of every other `T_l`, starting at the upper stochastic layer.
    pub transition: Vec<usize>,
    /// Activation of every hidden layer.
    pub activation: Activation,
    /// The likelihood of the data.
    pub likelihood: Likelihood,
    /// Covariance of the recognition model.
    pub covariance: Covariance,
}

/// Options that regularise the training and are not part of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularisation {
    /// See [`DlgmRecipe::weight_prior`].
    pub weight_prior: f64,
    /// See [`DlgmRecipe::input_noise`].
    pub input_noise: f64,
    /// See [`DlgmRecipe::input_dropout`].
    pub input_dropout: f64,
}

/// The loss of a batch. Each term is a scalar, the mean over the batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The loss to minimise, `nll + beta kl` (nats).
    pub total: Tensor,
    /// `-log p(v|xi)` (nats).
    pub nll: Tensor,
    /// `sum_l KL(q(xi_l|v) || N(0, I))` (nats), analytic or estimated by Monte Carlo.
    pub kl: Tensor,
}

/// Stochastic layer `l`: its part of the recognition model, `G_l`, and `T_l` if there is a layer above.
struct Layer {
    size: usize,
    mu: Dense,
    logvar: Dense,
    v: Option<Dense>,
    /// The matrix `G_l`, `[size, size]`.
    noise: Slot,
    /// Zeros `[size]`, because `G_l xi_l` has no bias. `T_l` has one.
    no_bias: Tensor,
    /// The hidden layers of `T_l`, and its last affine map. The output is added to `G_l xi_l`.
    transition: Option<(Mlp, Dense)>,
}

/// A deep latent Gaussian model with `L` stochastic layers, and its recognition model (arXiv 1401.4082).
///
/// The generative model is `xi_l ~ N(0, I)`, `h_L = G_L xi_L`, `h_l = T_l(h_{l+1}) + G_l xi_l` and `p(v | T_0(h_1))`,
/// which is a [`Likelihood`]. The recognition model has one Gaussian `q(xi_l | v)` for each layer, see [`Posterior`].
/// Its parameters are affine in the last hidden layer of one network.
///
/// Lists over layers start at the bottom (`l = 1`). Noise is drawn from the top layer to the bottom, in the order in
/// which ancestral sampling needs it.
pub struct Dlgm {
    spec: DlgmSpec,
    regularisation: Regularisation,
    params: Params,
    encoder: Mlp,
    layers: Vec<Layer>,
    decoder: Mlp,
    head: Dense,
    second_head: Option<Dense>,
    /// Index of the first variable of the generative model. All later variables belong to it too.
    generative: usize,
}

impl Dlgm {
    /// A model with uniform weights and biases that are drawn with `seed`. The bound is `1/sqrt(fan_in)`, and larger in
    /// the hidden layers of the generative model.
    ///
    /// # Errors
    /// No stochastic layer, a width of zero, a `dtype` that is not a float type, or any error of candle.
    pub fn new(
        spec: DlgmSpec,
        regularisation: Regularisation,
        seed: u64,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        if spec.layers.is_empty() {
            bail!("a deep latent Gaussian model needs at least one stochastic layer");
        }
        let mut params = Params::new(seed, device, dtype)?;
        let encoder = params.mlp("encoder", spec.input, &spec.hidden, spec.activation)?;
        let mut recognition = Vec::new();
        for (l, &size) in (1..).zip(&spec.layers) {
            let mut head = |name: &str| params.dense(&format!("{name}.{l}"), encoder.out, size);
            let (mu, logvar) = (head("mu")?, head("logvar")?);
            let v = (spec.covariance == Covariance::Rank1).then(|| head("v")).transpose()?;
            let slots = v.iter().flat_map(|v| v.slots());
            slots.for_each(|slot| params.set_scale(slot, V_SCALE));
            recognition.push((mu, logvar, v));
        }
        let generative = params.vars().len();
        let mut layers = Vec::new();
        for (i, (mu, logvar, v)) in recognition.into_iter().enumerate() {
            let (l, size) = (i + 1, spec.layers[i]);
            let noise = params.uniform(&format!("noise.{l}.weight"), &[size, size], 1.0 / (size as f64).sqrt())?;
            params.set_scale(noise, NOISE_SCALE);
            let no_bias = Tensor::zeros(size, dtype, device)?;
            let mut transition = None;
            if let Some(&above) = spec.layers.get(l) {
                let hidden = params.mlp(&format!("transition.{l}"), above, &spec.transition, spec.activation)?;
                let last = params.dense(&format!("transition.{l}.out"), hidden.out, size)?;
                last.slots().into_iter().for_each(|slot| params.set_scale(slot, TRANSITION_SCALE));
                transition = Some((hidden, last));
            }
            layers.push(Layer { size, mu, logvar, v, noise, no_bias, transition });
        }
        let mirrored: Vec<usize> = spec.hidden.iter().rev().copied().collect();
        let decoder = params.mlp("decoder", spec.layers[0], &mirrored, spec.activation)?;
        let head = params.dense("head", decoder.out, spec.input)?;
        let second = spec.likelihood.second_head().map(|name| params.dense(name, decoder.out, spec.input));
        let second_head = second.transpose()?;
        let model = Self { spec, regularisation, params, encoder, layers, decoder, head, second_head, generative };
        model.spread()?;
        Ok(model)
    }

    /// Increases the weights of the generative model's hidden layers and of `G_l`, so that the `xi_l` influence the
    /// data through any number of layers. `G_l xi_l` gets variance 1, and the hidden layers are multiplied by
    /// [`Activation::gain`]. The heads and the recognition model do not change, because their log-variances must start
    /// near 0.
    fn spread(&self) -> Result<()> {
        for (name, var) in self.vars() {
            let hidden = name.starts_with("transition.") || name.starts_with("decoder.");
            if name.starts_with("noise.") {
                var.set(&(var.as_tensor() * (3f64.sqrt() / NOISE_SCALE))?)?;
            } else if hidden && name.ends_with(".weight") {
                var.set(&(var.as_tensor() * self.spec.activation.gain())?)?;
            }
        }
        Ok(())
    }

    /// The model's shape.
    pub fn spec(&self) -> &DlgmSpec {
        &self.spec
    }

    /// All variables with their names. The recognition model has `encoder.*` and, for every layer `l` from 1, `mu.l`,
    /// `logvar.l` and, with rank 1, `v.l`. The generative model has `noise.l.weight` (`G_l`, without a bias) for every
    /// layer. For every layer below another one it has `T_l`: the hidden layers `transition.l.*` and the last layer
    /// `transition.l.out`. `T_0` is `decoder.*`, `head` and, with a Gaussian likelihood, `head_logvar` (with a logistic
    /// one, `head_log_scale`).
    pub fn vars(&self) -> &[(String, Var)] {
        self.params.vars()
    }

    fn apply(&self, layer: Dense, x: &Tensor) -> Result<Tensor> {
        layer.apply(&self.params, x, Activation::Identity)
    }

    /// The recognition model: `x [b, d]` to `q(xi_l | x)` of every layer. `logvar` is clamped to [`LOGVAR_MIN`] and
    /// [`LOGVAR_MAX`], and the magnitude of `v` to [`V_BOUND`].
    ///
    /// # Errors
    /// A batch of another width, type or device than the model's.
    pub fn encode(&self, x: &Tensor) -> Result<Vec<Posterior>> {
        let h = self.encoder.apply(&self.params, x)?;
        let posterior = |layer: &Layer| {
            let v = layer.v.map(|v| nn::clamp(&self.apply(v, &h)?, -V_BOUND, V_BOUND));
            let logvar = nn::clamp(&self.apply(layer.logvar, &h)?, LOGVAR_MIN, LOGVAR_MAX)?;
            Ok(Posterior { mu: self.apply(layer.mu, &h)?, logvar, v: v.transpose()? })
        };
        self.layers.iter().map(posterior).collect()
    }

    /// The generative model: `xi_l [b, n_l]` of every layer to the parameters of `p(x | xi)`, `[b, d]` each.
    ///
    /// # Errors
    /// A wrong number of layers, or shapes, types or devices that do not match.
    pub fn decode(&self, xi: &[Tensor]) -> Result<Heads> {
        self.check(xi)?;
        let mut above: Option<Tensor> = None;
        for (layer, xi) in self.layers.iter().zip(xi).rev() {
            let noise = nn::linear(xi, &self.params.effective(layer.noise)?, &layer.no_bias, Activation::Identity)?;
            above = Some(match (&layer.transition, above) {
                (Some((hidden, last)), Some(h)) => (self.apply(*last, &hidden.apply(&self.params, &h)?)? + noise)?,
                _ => noise,
            });
        }
        let Some(h) = above else { bail!("the model has no stochastic layers") };
        let h = self.decoder.apply(&self.params, &h)?;
        let second = self.second_head.map(|layer| self.apply(layer, &h)).transpose()?;
        self.spec.likelihood.clamp(self.apply(self.head, &h)?, second)
    }

    /// `-log p(x | xi)` in nats: `x [b, d]`, `xi_l [b, n_l]` to `[b]`.
    ///
    /// # Errors
    /// As [`Dlgm::decode`].
    pub fn nll(&self, x: &Tensor, xi: &[Tensor]) -> Result<Tensor> {
        self.spec.likelihood.nll(&self.decode(xi)?, x)
    }

    /// The free energy of a batch `x [b, d]` with standard normal noise `eps_l [b, n_l]`: `nll + beta kl`. The
    /// recognition model reads `seen [b, d]` instead of `x`. At `beta = 1` with analytic divergences (estimator B) it
    /// is the paper's free energy without the prior of the weights.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn loss(&self, x: &Tensor, seen: &Tensor, eps: &[Tensor], beta: f64, estimator: Estimator) -> Result<Loss> {
        let q = self.encode(seen)?;
        let xi = self.draw(&q, eps)?;
        let nll = self.nll(x, &xi)?.mean_all()?;
        let kl = match estimator {
            Estimator::A => log_ratio(&q, &xi, eps)?,
            Estimator::B => kl(&q)?,
        };
        let kl = kl.mean_all()?;
        let total = (&nll + (&kl * beta)?)?;
        Ok(Loss { total, nll, kl })
    }

    /// `-log p(theta)` of all generative weights under `N(0, weight_prior)` without its constant, a scalar in nats (the
    /// last term of the paper's free energy). `None` without a prior. The term counts once for the whole data set, so
    /// each of `N` rows has the share `1/N`.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn weight_penalty(&self) -> Result<Option<Tensor>> {
        if self.regularisation.weight_prior == 0.0 {
            return Ok(None);
        }
        let squares =
            self.params.slots().skip(self.generative).map(|slot| self.params.effective(slot)?.sqr()?.sum_all());
        let sum = squares.reduce(|a, b| a? + b?).transpose()?;
        sum.map(|sum| sum * (0.5 / self.regularisation.weight_prior)).transpose()
    }

    /// The input of the recognition model during training: `x [b, d]` with noise and dropout.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn corrupt(&self, x: &Tensor, noise: &mut Rng) -> Result<Tensor> {
        let Regularisation { input_noise, input_dropout, .. } = self.regularisation;
        let mut seen = x.clone();
        if input_noise > 0.0 {
            seen = match self.spec.likelihood {
                Likelihood::Bernoulli => {
                    let flips = noise.bernoulli(&(x.ones_like()? * input_noise)?)?;
                    // x + f - 2 x f is x where f is 0 and 1 - x where it is 1.
                    ((&seen + &flips)? - (seen.mul(&flips)? * 2.0)?)?
                }
                Likelihood::Gaussian | Likelihood::Logistic => {
                    (seen + (noise.normal(x.shape(), x.dtype(), x.device())? * input_noise)?)?
                }
            };
        }
        if input_dropout > 0.0 {
            let kept = noise.bernoulli(&(x.ones_like()? * (1.0 - input_dropout))?)?;
            seen = (seen.mul(&kept)? * (1.0 / (1.0 - input_dropout)))?;
        }
        Ok(seen)
    }

    /// The evidence lower bound in nats with analytic divergences and one sample: `x [b, d]`, `eps_l [b, n_l]` to
    /// `[b]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn elbo(&self, x: &Tensor, eps: &[Tensor]) -> Result<Tensor> {
        let q = self.encode(x)?;
        let xi = self.draw(&q, eps)?;
        (self.nll(x, &xi)? + kl(&q)?)?.neg()
    }

    /// The importance-weighted bound in nats with `k` samples (arXiv 1509.00519, equation 8): `x [b, d]`, `eps_l [k b,
    /// n_l]` to `[b]`. `eps_l` has the rows of each sample after those of the previous one. The function decodes `k b`
    /// rows at once.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match, or `k = 0`.
    pub fn iwae(&self, x: &Tensor, eps: &[Tensor], k: usize) -> Result<Tensor> {
        let q = self.encode(x)?.iter().map(|q| q.repeat(k)).collect::<Result<Vec<_>>>()?;
        let xi = self.draw(&q, eps)?;
        let nll = self.nll(&nn::repeat_rows(x, k)?, &xi)?;
        nn::log_mean_exp(&(nll + log_ratio(&q, &xi, eps)?)?.neg()?.reshape((k, x.dim(0)?))?)
    }

    /// Fills in missing values of `x [b, d]`. `observed [b, d]` is 1 for a known value and 0 for a missing one, whose
    /// value in `x` is ignored. The missing values start at random. Each of `steps` steps encodes the row, draws `xi`
    /// from the recognition model, and draws the missing values from `p(v | xi)` (the paper's imputation of missing
    /// data). This Markov chain approaches `p(missing | observed)` if the recognition model approximates the posterior.
    ///
    /// Returns `[b, d]`. Observed values are unchanged, and missing values are the means of the last step. Averaged
    /// over many calls, they estimate `E[missing | observed]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match, or `steps` is 0.
    pub fn impute(&self, x: &Tensor, observed: &Tensor, steps: usize, noise: &mut Rng) -> Result<Tensor> {
        if steps == 0 {
            bail!("imputation needs at least one step");
        }
        let known = observed.ne(0.0)?;
        if known.dims() != x.dims() {
            bail!("`observed` has the shape {:?}, expected that of the data, {:?}", known.dims(), x.dims());
        }
        let start = match self.spec.likelihood {
            Likelihood::Gaussian => noise.normal(x.shape(), x.dtype(), x.device())?,
            Likelihood::Bernoulli | Likelihood::Logistic => noise.bernoulli(&(x.ones_like()? * 0.5)?)?,
        };
        let mut filled = known.where_cond(x, &start)?;
        for step in 1..=steps {
            let eps = self.noise(noise, x.dim(0)?, x)?;
            let heads = self.decode(&self.draw(&self.encode(&filled)?, &eps)?)?;
            let likelihood = self.spec.likelihood;
            let values = if step == steps { likelihood.mean(&heads)? } else { likelihood.draw(&heads, noise)? };
            filled = known.where_cond(x, &values)?;
        }
        Ok(filled)
    }

    /// Standard normal noise for `rows` rows, `[rows, n_l]` for every layer. It is drawn from the top layer down.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn noise(&self, rng: &mut Rng, rows: usize, like: &Tensor) -> Result<Vec<Tensor>> {
        let draw = |layer: &Layer| rng.normal((rows, layer.size), like.dtype(), like.device());
        let mut noise = self.layers.iter().rev().map(draw).collect::<Result<Vec<_>>>()?;
        noise.reverse();
        Ok(noise)
    }

    fn draw(&self, q: &[Posterior], eps: &[Tensor]) -> Result<Vec<Tensor>> {
        self.check(eps)?;
        q.iter().zip(eps).map(|(q, eps)| q.draw(eps)).collect()
    }

    fn check(&self, of_layers: &[Tensor]) -> Result<()> {
        if of_layers.len() != self.layers.len() {
            bail!("expected a tensor for each of {} stochastic layers, found {}", self.layers.len(), of_layers.len());
        }
        Ok(())
    }
}

impl Model for Dlgm {
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
        self.spec.layers.iter().sum()
    }

    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        let x = step.batch(self.likelihood())?;
        let eps = self.noise(&mut step.noise, x.dim(0)?, &x)?;
        let seen = self.corrupt(&x, &mut step.noise)?;
        let loss = self.loss(&x, &seen, &eps, step.recipe.beta_at(step.index), step.recipe.estimator)?;
        let total = match self.weight_penalty()? {
            None => loss.total,
            Some(penalty) => (loss.total + (penalty * (1.0 / step.rows.n.max(1) as f64))?)?,
        };
        step.minimise(0, &total)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { bounds: Some(self), sampler: Some(self), ..Capabilities::default() }
    }

    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel> {
        lower::lower(self, export)
    }
}

impl Bounded for Dlgm {
    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Tensor> {
        let eps = self.noise(noise, x.dim(0)?, x)?;
        self.elbo(x, &eps)
    }

    fn importance_bound(&self, x: &Tensor, k: usize, noise: &mut Rng) -> Result<Option<Tensor>> {
        let eps = self.noise(noise, k * x.dim(0)?, x)?;
        self.iwae(x, &eps, k).map(Some)
    }
}

impl Sampler for Dlgm {
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let like = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        let xi = self.noise(noise, n, &like)?;
        self.spec.likelihood.mean(&self.decode(&xi)?)
    }
}

/// Sum of the divergences of all layers from the prior, `[b]` (nats).
fn kl(q: &[Posterior]) -> Result<Tensor> {
    sum(q.iter().map(Posterior::kl))
}

/// `log q(xi | v) - log p(xi)` of all layers, `[b]` (nats).
fn log_ratio(q: &[Posterior], xi: &[Tensor], eps: &[Tensor]) -> Result<Tensor> {
    sum(q.iter().zip(xi).zip(eps).map(|((q, xi), eps)| q.log_ratio(xi, eps)))
}

fn sum(terms: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    match terms.reduce(|a, b| a? + b?) {
        Some(sum) => sum,
        None => bail!("the model has no stochastic layers"),
    }
}
