//! Rows of data in the form in which a model reads them.

use elbo_compiler::Likelihood;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::data::Split;
use crate::nn::Rng;

/// Every row of `split` in the form in which a model with this likelihood reads it, for compiling and for running
/// blobs.
///
/// With a Bernoulli likelihood, a value is the probability that its pixel is 1, and the pixel is drawn with `seed`.
/// With a logistic likelihood, a value is rounded to the nearest of 256 levels. With a Gaussian likelihood, it stays as
/// it is.
pub fn model_rows(split: &Split, likelihood: Likelihood, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut draw = |p: &[f32], out: &mut [f32]| {
        p.iter().zip(out).for_each(|(p, pixel)| *pixel = f32::from(u8::from(rng.random::<f32>() < *p)));
    };
    (0..split.n).map(|i| model_form(likelihood, split.row(i), &mut draw)).collect()
}

/// Values in the form in which a model with this likelihood reads them (see [`model_rows`]), for training and
/// evaluation.
pub(crate) fn observe(likelihood: Likelihood, rng: &mut Rng, x: &[f32]) -> Vec<f32> {
    model_form(likelihood, x, |p, out| rng.fill_bernoulli(p, out))
}

/// The one place that turns values into what a model reads. `draw` fills its second argument with draws from Bernoulli
/// distributions, 0 or 1. Training and blobs draw their pixels from different streams of random bits, because the
/// result of a seed must never change.
fn model_form(likelihood: Likelihood, x: &[f32], draw: impl FnOnce(&[f32], &mut [f32])) -> Vec<f32> {
    match likelihood {
        Likelihood::Gaussian => x.to_vec(),
        Likelihood::Logistic => x.iter().copied().map(nearest_level).collect(),
        Likelihood::Bernoulli => {
            let mut pixels = vec![0.0; x.len()];
            draw(x, &mut pixels);
            pixels
        }
    }
}

/// `count` rows of `dim` values that are pure noise. The values are fair bits for a Bernoulli likelihood, uniform over
/// the 256 levels for a logistic one, and uniform from -4 to 4 for a Gaussian one.
pub fn noise_rows(dim: usize, likelihood: Likelihood, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut value = || match likelihood {
        Likelihood::Bernoulli => f32::from(u8::from(rng.random::<bool>())),
        Likelihood::Gaussian => rng.random_range(-4.0..4.0),
        Likelihood::Logistic => nearest_level(rng.random()),
    };
    (0..count).map(|_| (0..dim).map(|_| value()).collect()).collect()
}

/// The nearest of the 256 levels from 0 to 1.
fn nearest_level(x: f32) -> f32 {
    (x * 255.0).round() / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(x: Vec<f32>) -> Split {
        Split { n: x.len() / 4, x, ..Split::default() }
    }

    /// Pixels of a seed must stay the same for ever: blobs and trainings are reproducible by their seed.
    #[test]
    fn the_pixels_of_a_seed_are_known() {
        let p = vec![0.5; 16];
        let rows = model_rows(&split(p.clone()), Likelihood::Bernoulli, 1).concat();
        let training = observe(Likelihood::Bernoulli, &mut Rng::new(1), &p);
        let bits = |pixels: &[f32]| pixels.iter().map(|v| if *v == 1.0 { '1' } else { '0' }).collect::<String>();
        assert_eq!((bits(&rows).as_str(), bits(&training).as_str()), ("0010100011011111", "1000111001001010"));
    }

    #[test]
    fn certain_pixels_are_kept_and_other_likelihoods_draw_nothing() {
        let pixels = vec![0.0, 1.0, 1.0, 0.0];
        assert_eq!(model_rows(&split(pixels.clone()), Likelihood::Bernoulli, 3).concat(), pixels);
        let x = vec![0.1, 0.5, 0.25, 1.0];
        assert_eq!(model_rows(&split(x.clone()), Likelihood::Gaussian, 3).concat(), x);
        let levels = model_rows(&split(x.clone()), Likelihood::Logistic, 3).concat();
        assert_eq!(levels, observe(Likelihood::Logistic, &mut Rng::new(3), &x));
        assert!(
            levels.iter().zip([26.0, 128.0, 64.0, 255.0]).all(|(found, level)| *found == level / 255.0),
            "{levels:?}"
        );
    }
}
