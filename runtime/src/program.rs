//! Programs: what they compute, and the records and operations that they consist of.

pub use crate::ops::record::{
    MATRIX_WORDS, MAX_LOOP_DEPTH, MAX_TENSOR_LEN, Matrix, NO_TENSOR, OP_WORDS, Op, PROGRAM_WORDS, ProgramRecord,
    TENSOR_WORDS, Tensor, TensorKind,
};
pub use crate::ops::{
    Cost, Extra, Facts, Immediate, Length, Matrices, Opcode, Precision, Range, Rules, ScaleRule, op_cost,
};

/// The purpose of a program. A model has at most one program of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[non_exhaustive]
pub enum ProgramKind {
    /// noise -> x: draws a latent from the prior and decodes it.
    Sample = 1,
    /// z -> x: decodes a given latent.
    Decode = 2,
    /// x -> (mu, logvar): the posterior's parameters.
    Encode = 3,
    /// x -> x: decodes the posterior's mean.
    Reconstruct = 4,
    /// x -> -ELBO at the posterior's mean, in nats; deterministic.
    Score = 5,
    /// x, noise -> -ELBO, mean over L draws of the latent, in nats.
    ScoreMonteCarlo = 6,
    /// x, noise -> importance-weighted bound -log(1/K sum w_k) over K draws, in nats (Burda et al., arXiv 1509.00519).
    ScoreImportance = 7,
    /// class, noise -> x: draws from the model of one class. The class is given as a one-hot vector.
    SampleClass = 8,
    /// x, noise -> probability of every class, Q15.
    Classify = 9,
    /// x, mask, noise -> x: keeps the elements that the mask marks as observed (positive) and draws the others from the
    /// model.
    Impute = 10,
    /// x -> z: the latent that [`ProgramKind::Decode`] maps to x, for a flow.
    Invert = 11,
    /// noise -> x, -log q(x): a draw with its negative log-density in nats.
    SampleDensity = 12,
    /// samples -> x: the row that the other programs compute from a window of samples, for a model with a front end.
    Features = 13,
    /// x -> as [`ProgramKind::Score`], for a row that [`ProgramKind::Features`] has computed.
    ScoreFeatures = 14,
}

/// The meaning of a vector that programs read, or that one program writes and another reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A row of data; for a model with a front end a window of samples.
    Data,
    /// A row that a front end has computed.
    Features,
    /// A latent.
    Latent,
    /// One class, as a one-hot vector.
    Class,
    /// A mask, positive where the row is observed.
    Mask,
}

/// The types of a program's inputs and outputs, fixed by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Number of input vectors, 0 to 2.
    pub inputs: u8,
    /// Number of output vectors, 0 to 2.
    pub vectors: u8,
    /// Whether a scalar in nats follows the output vectors.
    pub scalar: bool,
    /// Whether the program may draw noise.
    pub noise: bool,
}

impl Signature {
    /// Number of output tensors, 1 or 2.
    pub fn outputs(&self) -> u8 {
        self.vectors + u8::from(self.scalar)
    }

    /// Type of output `slot`.
    pub fn output(&self, slot: u8) -> TensorKind {
        if slot < self.vectors { TensorKind::I16 } else { TensorKind::Nats }
    }
}

impl ProgramKind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Sample,
        Self::Decode,
        Self::Encode,
        Self::Reconstruct,
        Self::Score,
        Self::ScoreMonteCarlo,
        Self::ScoreImportance,
        Self::SampleClass,
        Self::Classify,
        Self::Impute,
        Self::Invert,
        Self::SampleDensity,
        Self::Features,
        Self::ScoreFeatures,
    ];

    /// The kind with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get((code as usize).wrapping_sub(1)).copied()
    }

    /// Name in snake case, as the tools print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Reconstruct => "reconstruct",
            Self::Score => "score",
            Self::ScoreMonteCarlo => "score_monte_carlo",
            Self::ScoreImportance => "score_importance",
            Self::SampleClass => "sample_class",
            Self::Classify => "classify",
            Self::Impute => "impute",
            Self::Invert => "invert",
            Self::SampleDensity => "sample_density",
            Self::Features => "features",
            Self::ScoreFeatures => "score_features",
        }
    }

    /// The inputs and outputs of programs of this kind.
    pub fn signature(self) -> Signature {
        let (inputs, vectors, scalar, noise) = match self {
            Self::Sample => (0, 1, false, true),
            Self::Decode | Self::Reconstruct | Self::Invert | Self::Features => (1, 1, false, false),
            Self::Encode => (1, 2, false, false),
            Self::Score | Self::ScoreFeatures => (1, 0, true, false),
            Self::ScoreMonteCarlo | Self::ScoreImportance => (1, 0, true, true),
            Self::SampleClass | Self::Classify => (1, 1, false, true),
            Self::Impute => (2, 1, false, true),
            Self::SampleDensity => (0, 1, true, true),
        };
        Signature { inputs, vectors, scalar, noise }
    }

    /// The meaning of each input vector, in order.
    pub fn input_roles(self) -> &'static [Role] {
        match self {
            Self::Sample | Self::SampleDensity => &[],
            Self::Decode => &[Role::Latent],
            Self::SampleClass => &[Role::Class],
            Self::ScoreFeatures => &[Role::Features],
            Self::Encode
            | Self::Reconstruct
            | Self::Score
            | Self::ScoreMonteCarlo
            | Self::ScoreImportance
            | Self::Classify
            | Self::Invert
            | Self::Features => &[Role::Data],
            Self::Impute => &[Role::Data, Role::Mask],
        }
    }

    /// The meaning of the first output vector, or `None` if no other program can read it.
    pub fn output_role(self) -> Option<Role> {
        match self {
            Self::Sample
            | Self::Decode
            | Self::Reconstruct
            | Self::SampleClass
            | Self::Impute
            | Self::SampleDensity => Some(Role::Data),
            Self::Invert => Some(Role::Latent),
            Self::Features => Some(Role::Features),
            Self::Encode
            | Self::Score
            | Self::ScoreMonteCarlo
            | Self::ScoreImportance
            | Self::Classify
            | Self::ScoreFeatures => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_codes() {
        for kind in ProgramKind::ALL {
            assert_eq!(ProgramKind::from_code(kind as u32), Some(kind));
        }
    }

    #[test]
    fn every_vector_has_its_meaning() {
        for kind in ProgramKind::ALL {
            let signature = kind.signature();
            assert_eq!(kind.input_roles().len(), usize::from(signature.inputs), "{kind:?}");
            assert!(kind.output_role().is_none() || signature.vectors == 1, "{kind:?}");
        }
    }
}
