//! Evaluation on held-out data: bounds on the log-likelihood, error rates and scores.

use candle_core::{Device, Result, Tensor};

use crate::data::Split;
use crate::model::{Bounded, Model};
use crate::nn::Rng;
use crate::noise::{Purpose, generator};
use crate::rows::observe;

/// Number of rows that are evaluated at once.
const ROWS: usize = 1000;

/// A mean over repetitions and the standard error of this mean, in nats per row.
///
/// The standard error accounts for the drawn pixels and latents, not for the choice of the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean over all rows and repetitions.
    pub mean: f64,
    /// The standard error of the mean over the repetitions. It is 0 if there is only one.
    pub standard_error: f64,
}

impl Estimate {
    /// The estimate from the mean of each repetition.
    fn from_means(means: &[f64]) -> Self {
        let n = means.len() as f64;
        let mean = means.iter().sum::<f64>() / n;
        let squares: f64 = means.iter().map(|m| (m - mean).powi(2)).sum();
        let standard_error = if means.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
        Self { mean, standard_error }
    }
}

/// The family's bound on `log p(x)` with one sample (for a VAE, equation 7 of arXiv 1312.6114). It is averaged over
/// `count` fixed binarisations of the split, each with its own noise.
///
/// # Errors
/// An empty split, a count of 0, a family without a bound, or an error of candle.
pub fn elbo_over_binarisations(model: &dyn Model, split: &Split, count: usize, seed: u64) -> Result<Estimate> {
    Ok(elbo_of_rows(model, split, count, seed)?.0)
}

/// Returns the result of [`elbo_over_binarisations`] and the mean of each row over the repetitions.
///
/// # Errors
/// As [`elbo_over_binarisations`].
pub fn elbo_of_rows(model: &dyn Model, split: &Split, count: usize, seed: u64) -> Result<(Estimate, Vec<f64>)> {
    let bounds = bounds(model)?;
    over_draws(model, split, count, ROWS, |x, noise| bounds.bound(x, noise).map(Some), seed)
}

/// The importance-weighted bound with `k` samples (arXiv 1509.00519, equation 8), averaged over `count` fixed
/// binarisations of the split.
///
/// # Errors
/// An empty split, a count of 0, `k = 0`, a family without this bound, or an error of candle.
pub fn importance_weighted(model: &dyn Model, split: &Split, k: usize, count: usize, seed: u64) -> Result<Estimate> {
    let rows = (8 * ROWS / k.max(1)).max(1);
    let bounds = bounds(model)?;
    Ok(over_draws(model, split, count, rows, |x, noise| bounds.importance_bound(x, k, noise), seed)?.0)
}

/// The free energy `E[log q(z) + U(z)]` in nats of a model that learns from an energy, averaged over `draws` draws. The
/// standard error is that of the mean over the draws.
///
/// # Errors
/// A model that learns from rows, no draw, or an error of candle.
pub fn free_energy(model: &dyn Model, draws: usize, seed: u64) -> Result<Estimate> {
    let mut noise = generator(seed, Purpose::TestLatents, 0);
    let Some(energy) = model.capabilities().energy else {
        candle_core::bail!("this model learns from rows of data, not from an energy");
    };
    let mut values = Vec::with_capacity(draws);
    while values.len() < draws {
        let n = (draws - values.len()).min(ROWS);
        values.extend(energy.free_energy(n, &mut noise)?.to_vec1::<f32>()?.into_iter().map(f64::from));
    }
    if values.is_empty() {
        candle_core::bail!("nothing to evaluate: ask for at least one draw");
    }
    Ok(Estimate::from_means(&values))
}

/// The number of rows that a model classifies wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRate {
    /// Number of rows whose most probable class is not their label.
    pub wrong: usize,
    /// Number of classified rows.
    pub rows: usize,
}

impl ErrorRate {
    /// The share of rows that are classified wrong.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.wrong as f64 / self.rows as f64
    }
}

/// How often the most probable class differs from the label, over all rows of the split except those with an index in
/// `seen`, which is in ascending order. `None` if the model does not classify or the rows have no labels. Grey values
/// are not binarised.
///
/// # Errors
/// No row to classify, no sample, or an error of candle.
pub fn error_rate(
    model: &dyn Model,
    split: &Split,
    seen: &[usize],
    samples: usize,
    seed: u64,
) -> Result<Option<ErrorRate>> {
    let (Some(labels), Some(classifier)) = (&split.labels, model.capabilities().classifier) else { return Ok(None) };
    let rows: Vec<usize> = (0..split.n).filter(|row| seen.binary_search(row).is_err()).collect();
    if rows.is_empty() {
        candle_core::bail!("nothing to classify: the training used the labels of all {} rows", split.n);
    }
    let mut noise = generator(seed, Purpose::TestLatents, 0);
    let mut wrong = 0;
    for part in rows.chunks(ROWS) {
        let x: Vec<f32> = part.iter().flat_map(|row| split.row(*row)).copied().collect();
        let x = Tensor::from_vec(x, (part.len(), model.input()), &Device::Cpu)?;
        let classes = classifier.classify(&x, samples, &mut noise)?.argmax(1)?.to_vec1::<u32>()?;
        wrong += part.iter().zip(classes).filter(|(row, class)| labels[**row] != *class).count();
    }
    Ok(Some(ErrorRate { wrong, rows: rows.len() }))
}

/// The anomaly scores of rows `x [n, d]`; a higher score means a less likely row. `None` if the family's score is its
/// bound.
///
/// # Errors
/// Any error of candle.
pub fn scores(model: &dyn Model, x: &[f32]) -> Result<Option<Vec<f64>>> {
    let Some(scorer) = model.capabilities().scorer else { return Ok(None) };
    let mut scores = Vec::with_capacity(x.len() / model.input().max(1));
    for x in x.chunks(ROWS * model.input()) {
        let x = Tensor::from_slice(x, (x.len() / model.input(), model.input()), &Device::Cpu)?;
        scores.extend(scorer.score(&x)?.to_vec1::<f32>()?.into_iter().map(f64::from));
    }
    Ok(Some(scores))
}

const NO_BOUND: &str = "this family has no such bound on the log-likelihood";

fn bounds(model: &dyn Model) -> Result<&dyn Bounded> {
    model.capabilities().bounds.map_or_else(|| candle_core::bail!("{NO_BOUND}"), Ok)
}

/// A bound on the rows of a batch, `[rows]`, averaged over the split and the repetitions, and the mean of each row over
/// the repetitions.
fn over_draws(
    model: &dyn Model,
    split: &Split,
    count: usize,
    rows: usize,
    bound: impl Fn(&Tensor, &mut Rng) -> Result<Option<Tensor>>,
    seed: u64,
) -> Result<(Estimate, Vec<f64>)> {
    if split.n == 0 || count == 0 {
        candle_core::bail!("nothing to evaluate: {} rows, {count} binarisations", split.n);
    }
    let mut means = Vec::with_capacity(count);
    let mut of_rows = vec![0.0; split.n];
    for draw in 0..count as u64 {
        let mut pixels = generator(seed, Purpose::TestPixels, draw);
        let mut noise = generator(seed, Purpose::TestLatents, draw);
        let (mut total, mut at) = (0.0, of_rows.iter_mut());
        for x in split.x.chunks(rows * model.input()) {
            let shape = (x.len() / model.input(), model.input());
            let x = Tensor::from_vec(observe(model.likelihood(), &mut pixels, x), shape, &Device::Cpu)?;
            let Some(values) = bound(&x, &mut noise)? else {
                candle_core::bail!("{NO_BOUND}");
            };
            let values = values.to_vec1::<f32>()?;
            total += values.iter().map(|&v| f64::from(v)).sum::<f64>();
            values.iter().zip(&mut at).for_each(|(value, mean)| *mean += f64::from(*value) / count as f64);
        }
        means.push(total / split.n as f64);
    }
    Ok((Estimate::from_means(&means), of_rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::vae::{Vae, VaeSpec};
    use crate::recipe::Recipe;
    use elbo_compiler::Likelihood;

    fn setting() -> (Vae, Split) {
        let mut dataset = Recipe::find("digits").unwrap().data.load().unwrap();
        dataset.test.x.truncate(40 * 64);
        dataset.test.n = 40;
        let spec = VaeSpec {
            input: 64,
            hidden: vec![8],
            latent: 2,
            activation: crate::nn::Activation::Relu,
            likelihood: Likelihood::Bernoulli,
        };
        (Vae::new(spec, 1, &Device::Cpu, candle_core::DType::F32).unwrap(), dataset.test)
    }

    #[test]
    fn a_seed_fixes_the_estimate_and_the_error_shrinks() {
        let (vae, split) = setting();
        let few = elbo_over_binarisations(&vae, &split, 4, 5).unwrap();
        assert_eq!(few, elbo_over_binarisations(&vae, &split, 4, 5).unwrap());
        assert_ne!(few.mean, elbo_over_binarisations(&vae, &split, 4, 6).unwrap().mean);
        let many = elbo_over_binarisations(&vae, &split, 64, 5).unwrap();
        assert!(many.standard_error > 0.0 && many.standard_error < few.standard_error);
        assert!((many.mean - few.mean).abs() < 5.0 * few.standard_error);
    }

    #[test]
    fn the_importance_weighted_bound_is_the_tighter_one() {
        let (vae, split) = setting();
        let elbo = elbo_over_binarisations(&vae, &split, 8, 5).unwrap();
        let tight = importance_weighted(&vae, &split, 64, 8, 5).unwrap();
        assert!(tight.mean > elbo.mean, "{tight:?} {elbo:?}");
    }

    #[test]
    fn an_empty_split_is_an_error() {
        let (vae, _) = setting();
        assert!(elbo_over_binarisations(&vae, &Split::default(), 1, 0).is_err());
    }
}
