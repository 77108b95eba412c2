//! A VAE with classes, random weights and every kind of program. It serves to bring up a board and to test without
//! training. Its samples show nothing meaningful.

use elbo::bounds::FULL;
use elbo::kernel::Packing;
use elbo::program::Opcode;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Calibrations, Likelihood, Limits, Meta, Model, ProgramKind, SelfTest};
use elbo_writer::{BlobWriter, DenseLayer, ProgramWriter, WriteError};
use rand_core::{Rng, SeedableRng};

/// Sizes of a synthetic model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Rows and columns of an image.
    pub shape: [u16; 2],
    /// Units of the one hidden layer of encoder and decoder.
    pub hidden: u32,
    /// Number of latent dimensions.
    pub latent: u32,
    /// Draws of the Monte Carlo and importance-weighted scores.
    pub draws: u32,
    /// Order of the weights.
    pub packing: Packing,
    /// Number of classes of `sample_class` and `classify`.
    pub classes: u32,
    /// The programs of the model.
    pub programs: &'static [ProgramKind],
    /// Seed of the weights.
    pub seed: u64,
}

impl Default for Recipe {
    /// The sizes of the digits model (64-64-8), ten classes and every program.
    fn default() -> Self {
        Self {
            shape: [8, 8],
            hidden: 64,
            latent: 8,
            draws: 8,
            packing: Packing::RowMajor,
            classes: 10,
            programs: &ProgramKind::ALL,
            seed: 1,
        }
    }
}

/// Fractional bits of hidden units, latents and log-variances.
const FRAC: u8 = 11;

/// Writes the blob of a recipe.
///
/// # Panics
/// If the blob cannot be written or the runtime refuses it: the sizes exceed a blob's limits, or this file contains a
/// mistake.
#[must_use]
pub fn blob(recipe: &Recipe) -> Vec<u8> {
    let words = write(recipe).unwrap_or_else(|error| panic!("the synthetic blob cannot be written: {error}"));
    if let Err(error) = Model::load(bytemuck::cast_slice(&words), Limits::host()) {
        panic!("the synthetic blob is refused: {error}");
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn write(recipe: &Recipe) -> Result<Vec<u32>, WriteError> {
    let pixels = u32::from(recipe.shape[0]) * u32::from(recipe.shape[1]);
    let mut blob = BlobWriter::new();
    let mut weights = Weights { rng: Xoshiro128PlusPlus::seed_from_u64(recipe.seed), packing: recipe.packing };
    let mut layer = |rows, cols, typical| weights.layer(&mut blob, rows, cols, typical);
    let layers = Layers {
        encoder: layer(recipe.hidden, pixels, 1 << 14)?,
        mean: layer(recipe.latent, recipe.hidden, 1 << FRAC)?,
        log_variance: layer(recipe.latent, recipe.hidden, 1 << FRAC)?,
        decoder: layer(recipe.hidden, recipe.latent, 1 << FRAC)?,
        logits: layer(pixels, recipe.hidden, 1 << 14)?,
        class_scores: layer(recipe.classes, recipe.hidden, 1 << FRAC)?,
        class_mean: layer(recipe.latent, recipe.classes, 1 << 15)?,
    };
    for &kind in recipe.programs {
        blob.program(kind, |p| layers.program(p, recipe, pixels))?;
    }
    blob.meta(&Meta {
        name: "synthetic",
        family: "vae",
        likelihood: Likelihood::Bernoulli,
        shape: recipe.shape,
        latent: recipe.latent as u16,
        classes: recipe.classes as u16,
        monte_carlo_samples: recipe.draws as u16,
        importance_samples: recipe.draws as u16,
        feature_mean: &[],
        feature_std: &[],
        calibrations: Calibrations::default(),
        self_test: SelfTest { seed: 0, input: &[], digests: &[] },
    })?;
    Ok(blob.finish())
}

/// Creates layers with random weights.
struct Weights {
    rng: Xoshiro128PlusPlus,
    packing: Packing,
}

impl Weights {
    /// A layer whose weights are as large as its overflow proof allows, up to 8 bits. Its outputs are about 1.5 in
    /// magnitude for inputs of magnitude `typical`.
    fn layer(&mut self, blob: &mut BlobWriter, rows: u32, cols: u32, typical: u32) -> Result<u16, WriteError> {
        let largest = ((1u32 << 30) / (cols * u32::from(FULL))).clamp(1, 127) as i32;
        let weights: Vec<i8> =
            (0..rows * cols).map(|_| ((self.rng.next_u32() >> 8) as i32 % (2 * largest + 1) - largest) as i8).collect();
        let sum = f64::from(largest) / 3f64.sqrt() * f64::from(typical) * f64::from(cols).sqrt();
        let multiplier = (1.5 * f64::from(FRAC).exp2() / sum * 32f64.exp2()) as i32;
        let bias: Vec<i32> =
            (0..rows).map(|_| (f64::from(self.rng.next_u32() as i32) * sum / 32f64.exp2()) as i32).collect();
        blob.matrix(&DenseLayer {
            rows: rows as usize,
            cols: cols as usize,
            weights: &weights,
            bias: &bias,
            multiplier: &vec![multiplier; rows as usize],
            packing: self.packing,
            input_bound: FULL,
        })
    }
}

struct Layers {
    encoder: u16,
    mean: u16,
    log_variance: u16,
    decoder: u16,
    logits: u16,
    class_scores: u16,
    class_mean: u16,
}

impl Layers {
    fn hidden(&self, p: &mut ProgramWriter<'_>, x: u16) -> Result<u16, WriteError> {
        let h = p.dense(x, self.encoder, FRAC)?;
        p.map(Opcode::Relu, &[h], FRAC, 0)
    }

    fn encode(&self, p: &mut ProgramWriter<'_>, x: u16) -> Result<(u16, u16), WriteError> {
        let h = self.hidden(p, x)?;
        Ok((p.dense(h, self.mean, FRAC)?, p.dense(h, self.log_variance, FRAC)?))
    }

    fn mean(&self, p: &mut ProgramWriter<'_>, x: u16) -> Result<u16, WriteError> {
        let h = self.hidden(p, x)?;
        p.dense(h, self.mean, FRAC)
    }

    /// Decodes a latent to logits.
    fn decode(&self, p: &mut ProgramWriter<'_>, z: u16) -> Result<u16, WriteError> {
        let h = p.dense(z, self.decoder, FRAC)?;
        let h = p.map(Opcode::Tanh, &[h], 15, 0)?;
        p.dense(h, self.logits, FRAC)
    }

    /// Decodes a latent to probabilities.
    fn image(&self, p: &mut ProgramWriter<'_>, z: u16) -> Result<u16, WriteError> {
        let logits = self.decode(p, z)?;
        p.map(Opcode::Sigmoid, &[logits], 15, 0)
    }

    fn program(&self, p: &mut ProgramWriter<'_>, recipe: &Recipe, pixels: u32) -> Result<(), WriteError> {
        match p.kind() {
            ProgramKind::Sample => {
                let z = p.normal(recipe.latent)?;
                let x = self.image(p, z)?;
                p.outputs(&[x])
            }
            ProgramKind::Decode => {
                let z = p.input(recipe.latent, FRAC, FULL)?;
                let x = self.image(p, z)?;
                p.outputs(&[x])
            }
            ProgramKind::Encode => {
                let x = p.input(pixels, 15, FULL)?;
                let (mean, log_variance) = self.encode(p, x)?;
                p.outputs(&[mean, log_variance])
            }
            ProgramKind::Reconstruct => {
                let x = p.input(pixels, 15, FULL)?;
                let mean = self.mean(p, x)?;
                let y = self.image(p, mean)?;
                p.outputs(&[y])
            }
            // The class shifts the mean of the prior.
            ProgramKind::SampleClass => {
                let class = p.input(recipe.classes, 15, FULL)?;
                let mean = p.dense(class, self.class_mean, FRAC)?;
                let noise = p.normal(recipe.latent)?;
                let z = p.map(Opcode::AddVec, &[noise, mean], FRAC, 0)?;
                let x = self.image(p, z)?;
                p.outputs(&[x])
            }
            ProgramKind::Classify => {
                let x = p.input(pixels, 15, FULL)?;
                let h = self.hidden(p, x)?;
                let scores = p.dense(h, self.class_scores, FRAC)?;
                let probabilities = p.map(Opcode::Softmax, &[scores], 15, 0)?;
                p.outputs(&[probabilities])
            }
            ProgramKind::Impute => {
                let x = p.input(pixels, 15, FULL)?;
                let mask = p.input(pixels, 0, FULL)?;
                let mean = self.mean(p, x)?;
                let noise = p.normal(recipe.latent)?;
                let z = p.map(Opcode::AddVec, &[noise, mean], FRAC, 0)?;
                let drawn = self.image(p, z)?;
                let y = p.map(Opcode::Select, &[x, drawn, mask], 15, 0)?;
                p.outputs(&[y])
            }
            ProgramKind::Invert => {
                let x = p.input(pixels, 15, FULL)?;
                let mean = self.mean(p, x)?;
                p.outputs(&[mean])
            }
            // The density of the latent, without its constant.
            ProgramKind::SampleDensity => {
                let z = p.normal(recipe.latent)?;
                let density = p.scalar(Opcode::HalfSumSq, &[z], 0)?;
                let x = self.image(p, z)?;
                p.outputs(&[x, density])
            }
            ProgramKind::Features => {
                let x = p.input(pixels, 15, FULL)?;
                let y = p.map(Opcode::Relu, &[x], 15, 0)?;
                p.outputs(&[y])
            }
            _ => self.score(p, recipe, pixels),
        }
    }

    fn score(&self, p: &mut ProgramWriter<'_>, recipe: &Recipe, pixels: u32) -> Result<(), WriteError> {
        let x = p.input(pixels, 15, FULL)?;
        let (mean, log_variance) = self.encode(p, x)?;
        if matches!(p.kind(), ProgramKind::Score | ProgramKind::ScoreFeatures) {
            let kl = p.scalar(Opcode::Kl, &[mean, log_variance], 0)?;
            let logits = self.decode(p, mean)?;
            let nll = p.scalar(Opcode::BernoulliNll, &[logits, x], 0)?;
            let score = p.scalar(Opcode::Add, &[kl, nll], 0)?;
            return p.outputs(&[score]);
        }
        let deviation = p.map(Opcode::Exp, &[log_variance], 12, 1)?;
        let values = p.begin(recipe.draws)?;
        let noise = p.normal(recipe.latent)?;
        let z = p.map(Opcode::Fma, &[deviation, noise, mean], FRAC, 0)?;
        let logits = self.decode(p, z)?;
        let nll = p.scalar(Opcode::BernoulliNll, &[logits, x], 0)?;
        if p.kind() == ProgramKind::ScoreMonteCarlo {
            p.end(nll)?;
            let nll = p.scalar(Opcode::Mean, &[values], 0)?;
            let kl = p.scalar(Opcode::Kl, &[mean, log_variance], 0)?;
            let score = p.scalar(Opcode::Add, &[kl, nll], 0)?;
            return p.outputs(&[score]);
        }
        // log w = log p(x|z) + log p(z) - log q(z|x). The constants of the last two densities cancel.
        let prior = p.scalar(Opcode::HalfSumSq, &[z], 0)?;
        let joint = p.scalar(Opcode::Add, &[nll, prior], 0)?;
        let posterior = p.scalar(Opcode::HalfSumSq, &[noise], 0)?;
        let log_weight = p.scalar(Opcode::Sub, &[posterior, joint], 0)?;
        p.end(log_weight)?;
        let bound = p.scalar(Opcode::LogMeanExp, &[values], 0)?;
        let entropy = p.scalar(Opcode::Sum, &[log_variance], 1)?;
        let bound = p.scalar(Opcode::Add, &[bound, entropy], 0)?;
        let score = p.scalar(Opcode::Neg, &[bound], 0)?;
        p.outputs(&[score])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::rng::Xoshiro128PlusPlus;

    #[test]
    fn every_size_and_packing_is_proved_and_gives_the_same_numbers() {
        for (shape, hidden, latent) in [([8, 8], 64, 8), ([1, 5], 3, 2), ([28, 28], 32, 16)] {
            let mut scores = Vec::new();
            for packing in [Packing::RowMajor, Packing::Dsp4] {
                let blob = aligned(&blob(&Recipe { shape, hidden, latent, packing, ..Recipe::default() }));
                let model = Model::load(bytemuck::cast_slice(&blob), Limits::host()).unwrap();
                let mut arena = vec![0u64; model.arena_len().div_ceil(4)];
                let mut session = model.session(bytemuck::cast_slice_mut(&mut arena)).unwrap();
                let x: Vec<i16> = (0..shape[0] * shape[1]).map(|i| (i as i16).wrapping_mul(997)).collect();
                let mut rng = Xoshiro128PlusPlus::seed_from_u64(9);
                scores.push((session.score(&x).unwrap(), session.score_importance(&x, &mut rng).unwrap()));
            }
            assert_eq!(scores[0], scores[1]);
            assert!(scores[0].0.to_f64() > 0.0);
        }
    }

    #[test]
    fn weights_follow_the_seed() {
        let one = blob(&Recipe::default());
        assert_eq!(one, blob(&Recipe::default()));
        assert_ne!(one, blob(&Recipe { seed: 2, ..Recipe::default() }));
    }

    fn aligned(bytes: &[u8]) -> Vec<u32> {
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}
