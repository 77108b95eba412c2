//! What a blob says about itself: read on demand, needed by tools and people, never by the interpreter.

use serde::{Deserialize, Serialize};

/// How the decoder's outputs are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Likelihood {
    /// Bits or probabilities: outputs are means in Q15.
    Bernoulli,
    /// Real numbers, standardised.
    Gaussian,
    /// 256 grey levels in [0, 1], the discretised logistic.
    Logistic,
}

/// A model's description, postcard-encoded in the blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta<'b> {
    /// The name given by the person who trained it.
    pub name: &'b str,
    /// Model family, "vae" for example.
    pub family: &'b str,
    /// Distribution of the data given the latent.
    pub likelihood: Likelihood,
    /// Rows and columns of an image; one row for a table.
    pub shape: [u16; 2],
    /// Latent dimensions.
    pub latent: u16,
    /// Classes, 0 of a model that knows none.
    pub classes: u16,
    /// Draws of the Monte Carlo score.
    pub monte_carlo_samples: u16,
    /// Draws of the importance-weighted score.
    pub importance_samples: u16,
    /// Mean of every feature before standardisation, f32 little-endian; empty when the model takes data as they are.
    pub feature_mean: &'b [u8],
    /// Standard deviation of every feature, likewise.
    pub feature_std: &'b [u8],
    /// Quantiles of the deterministic score on held-out normal data, Q16 nats: 50, 90, 95, 99 and 99.9 %.
    pub score_quantiles: [i64; 5],
    /// What the compiler's machine computed: a board that gets the same has the same semantics.
    pub self_test: SelfTest<'b>,
}

/// One input with the digests of what every program makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest<'b> {
    /// Seed of [`Xoshiro128PlusPlus`](crate::rng::Xoshiro128PlusPlus) (through `seed_from_u64`) at the start of each
    /// program, from which inputs that are not data come too: the upper halves of its first words.
    pub seed: u64,
    /// The row of data, i16 little-endian; empty where no program reads one.
    pub input: &'b [u8],
    /// CRC-32 of each program's outputs in the order of the kinds' codes, little-endian: of the vectors' bytes, then of the
    /// eight bytes of the scalar, 0 where there is none.
    pub digests: &'b [u8],
}
