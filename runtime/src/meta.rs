//! The description of a model in its blob. Tools and people read it on demand; the interpreter never does.

use serde::{Deserialize, Serialize};

/// The distribution of the decoder's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Likelihood {
    /// Bits or probabilities. Outputs are means in Q15.
    Bernoulli,
    /// Standardised real numbers.
    Gaussian,
    /// 256 grey levels in [0, 1], with the discretised logistic distribution.
    Logistic,
}

/// A model's description, postcard-encoded in the blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta<'b> {
    /// The name that the user gave the model.
    pub name: &'b str,
    /// Model family, "vae" for example.
    pub family: &'b str,
    /// Distribution of the data given the latent.
    pub likelihood: Likelihood,
    /// Rows and columns of an image; one row for a table.
    pub shape: [u16; 2],
    /// Latent dimensions.
    pub latent: u16,
    /// Number of classes, 0 for a model without classes.
    pub classes: u16,
    /// Latent draws of the Monte Carlo score.
    pub monte_carlo_samples: u16,
    /// Latent draws of the importance-weighted score.
    pub importance_samples: u16,
    /// Mean of every feature before standardisation, as little-endian f32; empty if the data are not standardised.
    pub feature_mean: &'b [u8],
    /// Standard deviation of every feature, in the same format.
    pub feature_std: &'b [u8],
    /// Quantiles of the deterministic score on held-out normal data, Q16 nats: 50, 90, 95, 99 and 99.9 %.
    pub score_quantiles: [i64; 5],
    /// Results that the compiler computed on the host. A board that computes the same results runs the model correctly.
    pub self_test: SelfTest<'b>,
}

/// An input, a seed, and digests of the outputs of every program for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest<'b> {
    /// Seed of [`Xoshiro128PlusPlus`](crate::rng::Xoshiro128PlusPlus) (through `seed_from_u64`) at the start of each
    /// program. Inputs that are not rows of data also come from this generator: they are the upper halves of its first
    /// words.
    pub seed: u64,
    /// The row of data, as little-endian i16; empty if no program reads one.
    pub input: &'b [u8],
    /// CRC-32 of the outputs of each program, little-endian, in the order of the kinds' codes. Each covers the bytes of
    /// the output vectors and then the eight bytes of the scalar, which is 0 if there is none.
    pub digests: &'b [u8],
}
