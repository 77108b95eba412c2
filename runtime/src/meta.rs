//! The description of a model in its blob. Tools and people read it on demand; the interpreter never does.

use crate::calibration::Calibrations;
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
    /// How rare a score is among normal rows that neither trained nor chose the model.
    pub calibrations: Calibrations<'b>,
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

/// What the rows of data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DataKind {
    /// Images, with values from 0 (black) to 1 (white).
    Image,
    /// Tables of standardised features.
    Table,
}

/// How the rows of a model's data were read, so that others are read alike. It stands behind the [`Meta`] of a blob,
/// postcard-encoded, and tools read it. A device can show the names of its columns by it.
///
/// A list of names is one text, in which every name ends with U+0000: [`Reading::names`] takes it apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading<'b> {
    /// Images or tables.
    pub kind: DataKind,
    /// The value of white in the files of images; 0 for bytes, in which it is 255.
    pub white: f32,
    /// Whether images of colour were made grey; else their channels are stacked, one below the other.
    pub grey: bool,
    /// Whether standardised features are limited to plus and minus 16.
    pub limited: bool,
    /// Mean of every feature before standardisation, as little-endian f64; empty if [`Meta::feature_mean`] is exact enough.
    pub feature_mean_wide: &'b [u8],
    /// Names of the features in the order of the model's input; empty if they have none.
    pub columns: &'b str,
    /// Units of the features in the same order; empty if they are not known.
    pub units: &'b str,
    /// Names of columns that were left out.
    pub dropped: &'b str,
    /// The name of the column of labels, if there was one.
    pub label: &'b str,
    /// The name of the column that gives the part of the data set, if there was one.
    pub split: &'b str,
    /// The text of label 0, of label 1 and so on; empty if labels are numbers.
    pub classes: &'b str,
}

impl<'b> Reading<'b> {
    /// The names in a list, such as [`columns`](Self::columns).
    pub fn names(list: &'b str) -> impl Iterator<Item = &'b str> {
        list.split_terminator('\0')
    }
}

/// How recordings become the windows that a model with a front end reads. It stands behind the [`Reading`] of a blob,
/// postcard-encoded. An application needs it to collect samples.
///
/// A program reads all samples of the first channel, then all of the second, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windows<'b> {
    /// Channels of a window.
    pub channels: u16,
    /// Samples of each channel.
    pub window: u16,
    /// Samples from the start of a window to that of the next.
    pub hop: u32,
    /// Samples a second, in hertz; 0 if it is not known.
    pub rate: f32,
    /// Fractional bits: a sample is the measured value times 2 to this power, rounded and limited to 16 bits.
    pub frac: u8,
    /// Names of the channels, as [`Reading::names`] takes them apart; empty if they have none.
    pub names: &'b str,
    /// Units of the channels in the same order; empty if they are not known.
    pub units: &'b str,
    /// The name of the column of times, if there was one.
    pub time: &'b str,
    /// The name of the column of machines or recordings, if there was one.
    pub group: &'b str,
    /// Labels of samples without a fault, where an option named them.
    pub normal: &'b str,
}
