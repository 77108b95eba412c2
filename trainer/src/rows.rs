//! Rows of data as a model sees them.

use crate::data::Split;
use crate::family::vae::Likelihood;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Every row of `split`: pixels drawn Bernoulli(p) with `seed` for a Bernoulli likelihood, else as they are.
pub fn model_rows(split: &Split, likelihood: Likelihood, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut value = |v: f32| match likelihood {
        Likelihood::Bernoulli => f32::from(u8::from(rng.random::<f32>() < v)),
        Likelihood::Gaussian => v,
    };
    (0..split.n).map(|i| split.row(i).iter().map(|v| value(*v)).collect()).collect()
}
