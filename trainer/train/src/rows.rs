//! Rows of data as a model sees them.

use elbo_compiler::Likelihood;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::data::Split;
use crate::nn::Rng;

/// Every row of `split`: pixels drawn Bernoulli(p) with `seed` for a Bernoulli likelihood, the nearest of 256
/// levels for a logistic one, else as they are.
pub fn model_rows(split: &Split, likelihood: Likelihood, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut value = |v: f32| match likelihood {
        Likelihood::Bernoulli => f32::from(u8::from(rng.random::<f32>() < v)),
        Likelihood::Gaussian => v,
        Likelihood::Logistic => level(v),
    };
    (0..split.n).map(|i| split.row(i).iter().map(|v| value(*v)).collect()).collect()
}

/// `count` rows of pure noise: fair bits for a Bernoulli likelihood, any level for a logistic one, uniform
/// within ±4 otherwise.
pub fn noise_rows(dim: usize, likelihood: Likelihood, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut value = || match likelihood {
        Likelihood::Bernoulli => f32::from(u8::from(rng.random::<bool>())),
        Likelihood::Gaussian => rng.random_range(-4.0..4.0),
        Likelihood::Logistic => level(rng.random()),
    };
    (0..count).map(|_| (0..dim).map(|_| value()).collect()).collect()
}

/// The data a model sees: pixels drawn from Bernoulli(p), the values themselves (Gaussian), or the nearest of 256 levels
/// (logistic).
pub(crate) fn observe(likelihood: Likelihood, rng: &mut Rng, x: &[f32]) -> Vec<f32> {
    match likelihood {
        Likelihood::Gaussian => x.to_vec(),
        Likelihood::Logistic => x.iter().copied().map(level).collect(),
        Likelihood::Bernoulli => {
            let mut out = vec![0.0; x.len()];
            rng.fill_bernoulli(x, &mut out);
            out
        }
    }
}

/// The nearest of 256 levels on `[0, 1]`.
fn level(x: f32) -> f32 {
    (x * 255.0).round() / 255.0
}
