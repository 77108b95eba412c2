//! ADGM, SDGM and the auxiliary VAE: Auxiliary Deep Generative Models (arXiv 1602.05473).

mod labels;
mod lower;
mod net;
mod recipe;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use candle_core::{DType, Device, Error, Result, Tensor, bail};

pub use labels::choose;
pub use net::{Class, Input, Net};

pub use recipe::{AdgmRecipe, AuxiliaryFamily, Entry};

use super::vae::{LOGVAR_MAX, LOGVAR_MIN};
use crate::data::Split;
use crate::layers::Params;
use crate::likelihood::Heads;
use crate::likelihood::{Density, HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN};
use crate::model::{Bounded, Capabilities, Classifier, Model, Sampler};
use crate::nn::{self, Activation, Rng};
use crate::settings::Estimator;
use crate::settings::ExportRecipe;
use crate::step::Step;
use elbo_compiler::FloatModel;
use elbo_compiler::Likelihood;

/// Scale of the weights of the class in an ADGM. The class is one input next to the tens of inputs from the latent and
/// the auxiliary variable, and Adam changes the weights of all inputs equally fast. The value was found on MNIST with
/// 100 labels. An SDGM learns half-moons worse with it.
const CLASS_SCALE: f64 = 4.0;

/// Number of rows of a network's input that [`Adgm::classify`] processes at once.
const CLASSIFY_ROWS: usize = 10_000;

/// The structure of the generative model. The inference model is always `q(a|x) q(y|a,x) q(z|a,x,y)`, without `y` if
/// there are no classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// Auxiliary deep generative model: `p(z) p(y) p(x|z,y) p(a|x,z,y)` (equation 4 with equation 8).
    Adgm,
    /// Skip deep generative model: `p(z) p(y) p(a|z,y) p(x|a,z,y)` (section 2.4).
    Sdgm,
    /// Auxiliary VAE, without classes: `p(z) p(x|z) p(a|x,z)` and `q(a|x) q(z|a,x)` (section 2.2).
    Avae,
}

/// The shape of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct AdgmSpec {
    /// The generative model.
    pub structure: Structure,
    /// Number of data dimensions.
    pub input: usize,
    /// Number of classes. The auxiliary VAE ignores it.
    pub classes: usize,
    /// Widths of the hidden layers of every network. There is at least one.
    pub hidden: Vec<usize>,
    /// Dimensions of the auxiliary variable.
    pub auxiliary: usize,
    /// Dimensions of the latent variable.
    pub latent: usize,
    /// Activation of every hidden layer.
    pub activation: Activation,
    /// Likelihood of the data.
    pub likelihood: Likelihood,
}

/// Standard normal noise for `b` rows. All classes of a row share it. This adds no bias, and makes the classes
/// comparable.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Noise of the auxiliary variable, `[b, auxiliary]`.
    pub a: Tensor,
    /// Noise of the latent variable, `[b, latent]`.
    pub z: Tensor,
}

/// Options of a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Weight of the terms that tie `a` and `z` to their priors. It is 1 for the bound.
    pub beta: f64,
    /// Whether the divergence of `q(z|a,x,y)` is analytic (B) or sampled (A). The divergence of `a` is always sampled.
    pub estimator: Estimator,
    /// See [`AdgmRecipe::least_class`]. It is 0 for the bound.
    pub least_class: f64,
}

/// An auxiliary deep generative model with dense networks (arXiv 1602.05473).
///
/// All conditional distributions of `a` and `z` are diagonal Gaussians. `q(y|a,x)` is categorical, `p(y)` is uniform,
/// and `p(z) = N(0, I)`.
pub struct Adgm {
    spec: AdgmSpec,
    options: AdgmRecipe,
    split_seed: u64,
    params: Params,
    q_a: Net,
    q_y: Option<Net>,
    q_z: Net,
    p_x: Net,
    p_a: Net,
    labelled: OnceLock<Vec<usize>>,
}

impl Adgm {
    /// A model with initial weights drawn with `seed`, see [`Net::new`]. `options` and `split_seed` determine which
    /// rows are labelled.
    ///
    /// # Errors
    /// A width of zero, no hidden layer, no class where the structure has classes, or any error of candle.
    pub fn new(
        spec: AdgmSpec,
        options: AdgmRecipe,
        split_seed: u64,
        seed: u64,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let classes = match spec.structure {
            Structure::Avae => 0,
            _ if spec.classes == 0 => bail!("an ADGM or SDGM needs data with labels"),
            _ => spec.classes,
        };
        let mut params = Params::new(seed, device, dtype)?;
        let (x, a, z) = ((Input::X, spec.input), (Input::A, spec.auxiliary), (Input::Z, spec.latent));
        let hidden = (spec.hidden.as_slice(), spec.activation);
        let gaussian = |width| [("mu", width), ("logvar", width)];
        let second = spec.likelihood.second_head().map(|name| (name, spec.input));
        let data: Vec<(&str, usize)> = [("head", spec.input)].into_iter().chain(second).collect();
        let mut net =
            |name, inputs: &[_], classes, heads: &[_]| Net::new(&mut params, name, inputs, classes, hidden, heads);
        let q_a = net("q_a", &[x], 0, &gaussian(spec.auxiliary))?;
        let q_y = (classes > 0).then(|| net("q_y", &[x, a], 0, &[("logits", classes)])).transpose()?;
        let q_z = net("q_z", &[x, a], classes, &gaussian(spec.latent))?;
        let skip = spec.structure == Structure::Sdgm;
        let (of_x, of_a): (&[_], &[_]) = if skip { (&[a, z], &[z]) } else { (&[z], &[x, z]) };
        let p_x = net("p_x", of_x, classes, &data)?;
        let p_a = net("p_a", of_a, classes, &gaussian(spec.auxiliary))?;
        if spec.structure == Structure::Adgm {
            [&q_z, &p_x, &p_a]
                .into_iter()
                .filter_map(|net| net.classes)
                .for_each(|slot| params.set_scale(slot, CLASS_SCALE));
        }
        let spec = AdgmSpec { classes, ..spec };
        Ok(Self { spec, options, split_seed, params, q_a, q_y, q_z, p_x, p_a, labelled: OnceLock::new() })
    }

    /// The model's shape. The auxiliary VAE has 0 classes.
    pub fn spec(&self) -> &AdgmSpec {
        &self.spec
    }

    /// The networks with their names, in the order of their variables: `q_a`, `q_y` if there are classes, `q_z`, `p_x`,
    /// `p_a`.
    pub fn nets(&self) -> impl Iterator<Item = (&'static str, &Net)> {
        let all = [("q_a", Some(&self.q_a)), ("q_y", self.q_y.as_ref())];
        let rest = [("q_z", &self.q_z), ("p_x", &self.p_x), ("p_a", &self.p_a)];
        all.into_iter().filter_map(|(name, net)| Some((name, net?))).chain(rest)
    }

    /// The mean and the clamped log-variance that a network computes.
    fn gaussian(
        &self,
        net: &Net,
        given: &[(Input, &Tensor)],
        class: Class<'_>,
        b: usize,
        (lo, hi): (f64, f64),
    ) -> Result<(Tensor, Tensor)> {
        let [mu, logvar] = mean_and_logvar(net.apply(&self.params, given, class, b)?)?;
        Ok((mu, nn::clamp(&logvar, lo, hi)?))
    }

    /// The parameters of `p(x|.)`.
    fn heads(&self, given: &[(Input, &Tensor)], class: Class<'_>, b: usize) -> Result<Heads> {
        let mut heads = self.p_x.apply(&self.params, given, class, b)?.into_iter();
        let Some(first) = heads.next() else { bail!("the network p(x|.) has no head") };
        self.spec.likelihood.clamp(first, heads.next())
    }

    /// A sample of `q(a|x)`, `[b, auxiliary]`, and its log-density in nats, `[b]`, given `x [b, d]` and noise `eps [b,
    /// auxiliary]`.
    fn auxiliary(&self, x: &Tensor, eps: &Tensor) -> Result<(Tensor, Tensor)> {
        let b = x.dim(0)?;
        let (mu, logvar) = self.gaussian(&self.q_a, &[(Input::X, x)], Class::Copies(1), b, (LOGVAR_MIN, LOGVAR_MAX))?;
        let a = nn::reparameterise(&mu, &logvar, eps)?;
        // (a - mu)^2 / variance is eps^2.
        let terms = ((&logvar + eps.sqr()?)? + (2.0 * std::f64::consts::PI).ln())?;
        Ok((a, (terms.sum(1)? * -0.5)?))
    }

    /// `log q(y|a,x)` in nats: `x [b, d]`, `a [c b, auxiliary]` to `[c b, classes]`.
    fn log_class(&self, q_y: &Net, x: &Tensor, a: &Tensor, copies: usize) -> Result<Tensor> {
        let given = [(Input::X, x), (Input::A, a)];
        let logits = q_y.apply(&self.params, &given, Class::Copies(copies), x.dim(0)?)?;
        let logits = logits.first().ok_or_else(|| Error::Msg("the network q(y|a,x) has no head".into()))?;
        nn::log_softmax(logits)
    }

    /// `-log p(x|.) + beta (-log p(a|.) + log q(z|a,x,y) - log p(z))` in nats at a sample of `q(z|a,x,y)`, for every
    /// copy of a row: `x [b, d]`, `a [b, auxiliary]`, `eps [b, latent]` to `[c b]`. With `beta = 1` and plus `log
    /// q(a|x) - log p(y)`, it is the negative bound of equation 8.
    fn energy(&self, x: &Tensor, a: &Tensor, class: Class<'_>, eps: &Tensor, terms: Terms) -> Result<Tensor> {
        let (b, q_range) = (x.dim(0)?, (LOGVAR_MIN, LOGVAR_MAX));
        let (mu, logvar) = self.gaussian(&self.q_z, &[(Input::X, x), (Input::A, a)], class, b, q_range)?;
        let copies = mu.dim(0)? / b.max(1);
        let eps = nn::repeat_rows(eps, copies)?;
        let z = nn::reparameterise(&mu, &logvar, &eps)?;
        let divergence = match terms.estimator {
            Estimator::A => nn::log_ratio_standard_normal(&z, &logvar, &eps)?,
            Estimator::B => nn::kl_standard_normal(&mu, &logvar)?,
        };
        let given = [(Input::X, x), (Input::A, a), (Input::Z, &z)];
        let heads = self.heads(&given, class, b)?;
        let of_x = self.spec.likelihood.nll(&heads, &nn::repeat_rows(x, copies)?)?;
        let (mu, logvar) = self.gaussian(&self.p_a, &given, class, b, (HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX))?;
        let of_a = nn::gaussian_nll(&mu, &logvar, &nn::repeat_rows(a, copies)?)?;
        of_x + ((of_a + divergence)? * terms.beta)?
    }

    /// The negative bound of rows with known class, and `-log q(y|a,x)`, both `[b]` in nats (equations 8 and 12): `x
    /// [b, d]`, `y` `u32 [b]`.
    ///
    /// # Errors
    /// A label outside the classes, a model without classes, or shapes, types or devices that do not match.
    pub fn labelled(&self, x: &Tensor, y: &Tensor, noise: &Noise, terms: Terms) -> Result<(Tensor, Tensor)> {
        let Some(q_y) = &self.q_y else { bail!("an auxiliary VAE has no classes") };
        if let Some(label) = y.to_vec1::<u32>()?.into_iter().find(|label| *label as usize >= self.spec.classes) {
            bail!("label {label}: expected a label below {}, the number of classes", self.spec.classes);
        }
        let (a, log_q_a) = self.auxiliary(x, &noise.a)?;
        let energy = self.energy(x, &a, Class::Known(y), &noise.z, terms)?;
        let bound = ((energy + (log_q_a * terms.beta)?)? + (self.spec.classes as f64).ln())?;
        let log_q_y = self.log_class(q_y, x, &a, 1)?.gather(&y.unsqueeze(1)?, 1)?.squeeze(1)?;
        Ok((bound, log_q_y.neg()?))
    }

    /// The negative bound of rows with unknown class, `[b]` in nats. It is the mean over all classes with the weights
    /// `q(y|a,x)`, minus the entropy of this distribution (equations 9 and 10). Without classes it is that of the
    /// auxiliary VAE (equation 3).
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn unlabelled(&self, x: &Tensor, noise: &Noise, terms: Terms) -> Result<Tensor> {
        let (a, log_q_a) = self.auxiliary(x, &noise.a)?;
        let log_q_a = (log_q_a * terms.beta)?;
        let Some(q_y) = &self.q_y else {
            return self.energy(x, &a, Class::Copies(1), &noise.z, terms)? + log_q_a;
        };
        let log_q_y = self.log_class(q_y, x, &a, 1)?.t()?.contiguous()?;
        let free = if terms.least_class > 0.0 {
            self.sum_over_likely_classes(x, &a, &log_q_y, noise, terms)?
        } else {
            let energies = self.energy(x, &a, Class::Every, &noise.z, terms)?.reshape(log_q_y.shape())?;
            log_q_y.exp()?.mul(&(energies + &log_q_y)?)?.sum(0)?
        };
        (free + log_q_a)? + (self.spec.classes as f64).ln()
    }

    /// `sum_y q(y) (energy + log q(y))` over the likely classes of each row, where `q` is renormalised: `log_q_y
    /// [classes, b]` to `[b]`.
    fn sum_over_likely_classes(
        &self,
        x: &Tensor,
        a: &Tensor,
        log_q_y: &Tensor,
        noise: &Noise,
        terms: Terms,
    ) -> Result<Tensor> {
        let (classes, b) = log_q_y.dims2()?;
        let least = log_q_y.max_keepdim(0)?.clamp(f64::NEG_INFINITY, terms.least_class.ln())?;
        let kept = log_q_y.broadcast_ge(&least)?;
        let cells: Vec<u32> = kept
            .flatten_all()?
            .to_vec1::<u8>()?
            .iter()
            .zip(0..)
            .filter(|(kept, _)| **kept != 0)
            .map(|(_, at)| at)
            .collect();
        let index = |of: &dyn Fn(u32) -> u32| Tensor::from_iter(cells.iter().map(|at| of(*at)), x.device());
        let (cell, row, class) = (index(&|at| at)?, index(&|at| at % b as u32)?, index(&|at| at / b as u32)?);
        let q = kept.where_cond(&log_q_y.exp()?, &log_q_y.zeros_like()?)?;
        let log_q = log_q_y.broadcast_sub(&q.sum_keepdim(0)?.log()?)?.reshape(classes * b)?.index_select(&cell, 0)?;
        let of_row = |t: &Tensor| t.index_select(&row, 0);
        let energies = self.energy(&of_row(x)?, &of_row(a)?, Class::Known(&class), &of_row(&noise.z)?, terms)?;
        let weighted = log_q.exp()?.mul(&(energies + &log_q)?)?;
        Tensor::zeros(b, x.dtype(), x.device())?.index_add(&row, &weighted, 0)
    }

    /// `q(y|x)`, the mean of `q(y|a,x)` over `samples` samples of `q(a|x)`: `x [b, d]` to `[b, classes]`.
    ///
    /// # Errors
    /// `samples` is 0, a model without classes, or shapes, types or devices that do not match.
    pub fn classify(&self, x: &Tensor, samples: usize, noise: &mut Rng) -> Result<Tensor> {
        let Some(q_y) = &self.q_y else { bail!("an auxiliary VAE has no classes") };
        if samples == 0 {
            bail!("a classification needs at least one sample");
        }
        let (b, x) = (x.dim(0)?, x.detach());
        let (mu, logvar) =
            self.gaussian(&self.q_a, &[(Input::X, &x)], Class::Copies(1), b, (LOGVAR_MIN, LOGVAR_MAX))?;
        let (mu, logvar) = (mu.detach(), logvar.detach());
        let mut sum = Tensor::zeros((b, self.spec.classes), x.dtype(), x.device())?;
        let most = (CLASSIFY_ROWS / b.max(1)).max(1);
        for from in (0..samples).step_by(most) {
            let n = most.min(samples - from);
            let eps = noise.normal((n * b, self.spec.auxiliary), x.dtype(), x.device())?;
            let a = nn::reparameterise(&nn::repeat_rows(&mu, n)?, &nn::repeat_rows(&logvar, n)?, &eps)?;
            let p = self.log_class(q_y, &x, &a, n)?.exp()?.reshape((n, b, self.spec.classes))?;
            sum = (sum + p.sum(0)?)?.detach();
        }
        sum / samples as f64
    }

    /// Noise for `b` rows.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn noise(&self, b: usize, rng: &mut Rng) -> Result<Noise> {
        let like = self.params.get(self.q_a.bias);
        let mut draw = |width: usize| rng.normal((b, width), like.dtype(), like.device());
        Ok(Noise { a: draw(self.spec.auxiliary)?, z: draw(self.spec.latent)? })
    }

    fn labelled_rows(&self, rows: &Split) -> Result<&[usize]> {
        if self.labelled.get().is_none() {
            let chosen = choose(rows.labels.as_deref(), self.spec.classes, self.options.labels, self.split_seed);
            // If two threads arrive here at once, both have the same value.
            let _ = self.labelled.set(chosen.map_err(Error::wrap)?);
        }
        Ok(self.labelled.get().map_or(&[], Vec::as_slice))
    }
}

impl Model for Adgm {
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
        if self.spec.structure == Structure::Avae { 0 } else { self.spec.classes }
    }

    /// The loss is the sum of the unlabelled bounds of the batch and of the labelled bounds of the labelled rows, which
    /// include `-alpha log q(y|a,x)` (equations 11 and 12). It is divided by the number of rows in the batch.
    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        let terms = Terms {
            beta: step.recipe.beta_at(step.index),
            estimator: step.recipe.estimator,
            least_class: self.options.least_class,
        };
        let x = step.batch(self.spec.likelihood)?;
        let batch = x.dim(0)?;
        let noise = self.noise(batch, &mut step.noise)?;
        let mut loss = self.unlabelled(&x, &noise, terms)?.mean_all()?;
        if self.spec.classes > 0 {
            let among = self.labelled_rows(step.rows)?;
            let (x, rows) = if among.len() <= self.options.labelled_batch {
                (step.take(among, self.spec.likelihood)?, among.to_vec())
            } else {
                step.draw(among, self.options.labelled_batch, self.spec.likelihood)?
            };
            let y = Tensor::new(step.labels_of(&rows).unwrap_or_default(), &Device::Cpu)?;
            let noise = self.noise(rows.len(), &mut step.noise)?;
            let (bound, cross_entropy) = self.labelled(&x, &y, &noise, terms)?;
            let alpha = self.options.alpha * step.rows.n as f64 / among.len() as f64;
            let labelled = (bound + (cross_entropy * alpha)?)?.sum_all()?;
            loss = (loss + (labelled / batch as f64)?)?;
        }
        step.minimise(0, &loss)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let classifier = self.q_y.as_ref().map(|_| self as &dyn Classifier);
        Capabilities { bounds: Some(self), sampler: Some(self), classifier, ..Capabilities::default() }
    }

    fn lower(&self, export: &ExportRecipe) -> Result<FloatModel> {
        lower::lower(self, export)
    }
}

impl Bounded for Adgm {
    fn bound(&self, x: &Tensor, noise: &mut Rng) -> Result<Tensor> {
        let noise = self.noise(x.dim(0)?, noise)?;
        let terms = Terms { beta: 1.0, estimator: Estimator::B, least_class: 0.0 };
        self.unlabelled(x, &noise, terms)?.neg()
    }

    /// `log 1/k sum_k sum_y p(x, y, a_k, z_ky) / (q(a_k|x) q(z_ky|a_k,x,y))`.
    fn importance_bound(&self, x: &Tensor, k: usize, noise: &mut Rng) -> Result<Option<Tensor>> {
        let b = x.dim(0)?;
        let x = nn::repeat_rows(x, k)?;
        let noise = self.noise(k * b, noise)?;
        let (a, log_q_a) = self.auxiliary(&x, &noise.a)?;
        let terms = Terms { beta: 1.0, estimator: Estimator::A, least_class: 0.0 };
        let (class, c) = if self.q_y.is_some() { (Class::Every, self.spec.classes) } else { (Class::Copies(1), 1) };
        let energy = self.energy(&x, &a, class, &noise.z, terms)?.reshape((c, k * b))?;
        let log_weight = energy.broadcast_add(&log_q_a)?.neg()?.reshape((c * k, b))?;
        // The sum over classes with p(y) = 1/c is a mean over classes and samples.
        nn::log_mean_exp(&log_weight).map(Some)
    }
}

impl Classifier for Adgm {
    fn classify(&self, x: &Tensor, samples: usize, noise: &mut Rng) -> Result<Tensor> {
        Self::classify(self, x, samples, noise)
    }

    fn samples(&self) -> usize {
        self.options.samples
    }
}

impl Sampler for Adgm {
    /// The classes take turns.
    fn sample(&self, n: usize, noise: &mut Rng) -> Result<Tensor> {
        let noise = self.noise(n, noise)?;
        let turns: Vec<u32> = (0..n).map(|i| (i % self.spec.classes.max(1)) as u32).collect();
        let y = Tensor::from_vec(turns, n, noise.z.device())?;
        let class = if self.spec.classes > 0 { Class::Known(&y) } else { Class::Copies(1) };
        let mut given = vec![(Input::Z, &noise.z)];
        let a;
        if self.spec.structure == Structure::Sdgm {
            let range = (HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX);
            let (mu, logvar) = self.gaussian(&self.p_a, &given, class, n, range)?;
            a = nn::reparameterise(&mu, &logvar, &noise.a)?;
            given.push((Input::A, &a));
        }
        self.spec.likelihood.mean(&self.heads(&given, class, n)?)
    }
}

fn mean_and_logvar(heads: Vec<Tensor>) -> Result<[Tensor; 2]> {
    heads.try_into().map_err(|_| Error::Msg("a Gaussian needs two heads, for its mean and its log-variance".into()))
}
