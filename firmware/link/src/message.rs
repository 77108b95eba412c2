//! What is said. The order of variants and of fields is the wire format: append, never reorder.

use serde::{Deserialize, Serialize};

/// The most bytes of values in one frame: 32 halfwords.
pub const CHUNK: usize = 64;

/// The host asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Who are you? Answer: [`Reply::Info`].
    Info,
    /// What are a program's shapes? Answer: [`Reply::Shape`].
    Shape(Program),
    /// A piece of the next program's input, in order, from element `offset`. No answer: a piece that does not
    /// continue the last one is dropped, and the program that follows is refused for the length that it finds.
    Input {
        /// Index of the first element; 0 starts a new input.
        offset: u16,
        /// Little-endian i16.
        bytes: &'a [u8],
    },
    /// Draw `count` samples with one generator. Answer: `Values` for each, then [`Reply::Done`].
    Sample {
        /// Seed of the generator.
        seed: u64,
        /// How many.
        count: u32,
    },
    /// Run a program on the input, which holds its input vectors one after another. Answer: `Values` if it has output
    /// vectors, then [`Reply::Nats`] if it has a scalar, else `Done`.
    Run {
        /// Which.
        program: Program,
        /// Seed of the generator, for a program that draws.
        seed: u64,
    },
    /// How much memory is used? Answer: [`Reply::Stack`].
    Stack,
    /// Time `repeat` runs of something. Answer: [`Reply::Ticks`].
    Bench {
        /// Of what.
        bench: Bench,
        /// How often; the answer is for all of them.
        repeat: u32,
    },
    /// What the emulated accelerometer shall measure, in thousandths of the Earth's gravity. No answer.
    Axes {
        /// Along x, to the right.
        x: i16,
        /// Along y, away from the user.
        y: i16,
        /// Along z, up; 1000 when the board lies flat.
        z: i16,
    },
    /// Read the accelerometer and decode the latent that the tilt means. Answer: `Values`, then `Done`.
    Tilt,
    /// Run the kernels' test suite on this core. Answer: `Done`, or [`Failure::SelfTest`].
    SelfTest,
    /// Run cases of mutated blobs. Answer: [`Reply::Fuzzed`].
    Fuzz {
        /// The first case's number.
        first: u64,
        /// How many.
        count: u32,
    },
    /// Fail on purpose, so that the host can show that it notices. No answer.
    Fail(Fault),
}

/// The board answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// To [`Request::Info`].
    Info(#[serde(borrow)] Info<'a>),
    /// To [`Request::Shape`].
    Shape(ProgramShape),
    /// A piece of the outputs. The outputs of one run follow each other, and the `offset` counts through them all.
    Values {
        /// Index of the first element.
        offset: u16,
        /// Little-endian i16.
        bytes: &'a [u8],
    },
    /// All values have been sent.
    Done,
    /// A score, in Q16 nats.
    Nats(i64),
    /// To [`Request::Stack`].
    Stack(StackUse),
    /// To [`Request::Bench`]: the board's counter, before calibration.
    Ticks(u32),
    /// The request was refused.
    Failure(#[serde(borrow)] Failure<'a>),
    /// To [`Request::Fuzz`].
    Fuzzed(Fuzzed),
}

/// What became of cases of mutated blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fuzzed {
    /// How many were verified and ran.
    pub ran: u32,
    /// How many were verified, but do not fit the board's memory.
    pub too_large: u32,
    /// How many were refused.
    pub refused: u32,
    /// Elementary steps of those that ran.
    pub steps: u64,
    /// A checksum of all that became of every case.
    pub digest: u32,
    /// Halfwords of memory that a case had.
    pub memory: u32,
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fault {
    /// Panic.
    Panic,
    /// Never answer again.
    Hang,
    /// Execute an undefined instruction, which faults.
    Undefined,
}

/// What a board is and what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info<'a> {
    /// The board's name in the host's registry.
    pub board: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// Bytes of the blob.
    pub blob_len: u32,
    /// Halfwords of arena that the model needs.
    pub arena_len: u32,
    /// Halfwords of arena that the firmware has.
    pub arena_capacity: u32,
    /// Elements that the firmware can hold of an input, and of the outputs.
    pub value_capacity: u16,
}

/// A program that a model may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Program {
    /// Draw from the prior and decode.
    Sample,
    /// Latent to means.
    Decode,
    /// Input to latent mean and log-variance.
    Encode,
    /// Input to means, through the latent mean.
    Reconstruct,
    /// Negative ELBO at the latent mean.
    Score,
    /// Negative ELBO, Monte Carlo.
    ScoreMonteCarlo,
    /// Negative importance-weighted bound.
    ScoreImportance,
    /// Draw from the model of one class.
    SampleClass,
    /// Input to the probability of every class.
    Classify,
    /// Fill in what a mask leaves out.
    Impute,
    /// Input to the latent that decodes to it.
    Invert,
    /// Draw with the negative log-density.
    SampleDensity,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 12] = [
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
    ];
}

/// What goes into a program, what comes out, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramShape {
    /// Elements of all input vectors together.
    pub input_len: u16,
    /// Elements of all output vectors together.
    pub output_len: u16,
    /// Steps of the interpreter's verified bound.
    pub work: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// What to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Bench {
    /// Nothing: the cost of measuring.
    Nothing,
    /// A loop of two instructions, run `loops` times: what a tick is worth.
    Spin {
        /// How often.
        loops: u32,
    },
    /// Checking and proving the blob.
    Load,
    /// One run of a program on whatever the input buffer holds.
    Program(Program),
    /// Standard normal draws, the generator included.
    Normal {
        /// How many.
        count: u32,
    },
    /// One dense layer on synthetic weights.
    Dense {
        /// Outputs.
        rows: u16,
        /// Inputs.
        cols: u16,
        /// Whether weights are packed for the DSP extension.
        dsp: bool,
    },
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackUse {
    /// Static variables, the arena among them.
    pub static_bytes: u32,
    /// The most that the stack has used since the reset.
    pub stack_bytes: u32,
    /// What neither has ever touched.
    pub free_bytes: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The frame did not decode, or was longer than [`crate::FRAME`].
    BadFrame,
    /// There is no verified model, for the reason given.
    NoModel(&'a str),
    /// The model has no such program.
    NoProgram,
    /// The input that has arrived is not as long as the program's.
    InputLength {
        /// Elements that the program reads.
        expected: u16,
        /// Elements that have arrived.
        received: u16,
    },
    /// The session refused, for the reason given.
    Session(&'a str),
    /// The board has no such device, or this firmware was built without it.
    Unsupported,
    /// The outputs or the operands do not fit this board's memory.
    NoRoom,
    /// A kernel differs from its definition on this core.
    SelfTest(&'a str),
}

impl core::fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BadFrame => f.write_str("the request arrived damaged"),
            Self::NoModel(reason) => write!(f, "no model is loaded: {reason}"),
            Self::NoProgram => f.write_str("the model has no such program"),
            Self::InputLength { expected, received } => {
                write!(f, "the program reads {expected} elements, and {received} have arrived")
            }
            Self::Session(reason) => write!(f, "the session refused: {reason}"),
            Self::Unsupported => f.write_str("this firmware cannot do that"),
            Self::NoRoom => f.write_str("it does not fit the board's memory"),
            Self::SelfTest(which) => write!(f, "a kernel differs from its definition: {which}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Serialize>(message: &T) -> Vec<u8> {
        let mut buffer = [0; 128];
        postcard::to_slice(message, &mut buffer).unwrap().to_vec()
    }

    #[test]
    fn golden_requests() {
        assert_eq!(bytes(&Request::Info), [0]);
        assert_eq!(bytes(&Request::Shape(Program::Decode)), [1, 1]);
        assert_eq!(bytes(&Request::Input { offset: 300, bytes: &[1, 2] }), [2, 0xac, 2, 2, 1, 2]);
        assert_eq!(bytes(&Request::Sample { seed: 7, count: 1000 }), [3, 7, 0xe8, 7]);
        assert_eq!(bytes(&Request::Run { program: Program::ScoreImportance, seed: 1 }), [4, 6, 1]);
        assert_eq!(bytes(&Request::Stack), [5]);
        assert_eq!(bytes(&Request::Bench { bench: Bench::Spin { loops: 3 }, repeat: 2 }), [6, 1, 3, 2]);
        assert_eq!(bytes(&Request::Axes { x: -1, y: 1, z: 1000 }), [7, 1, 2, 0xd0, 0x0f]);
        assert_eq!(bytes(&Request::Tilt), [8]);
        assert_eq!(bytes(&Request::SelfTest), [9]);
        assert_eq!(bytes(&Request::Fuzz { first: 300, count: 100 }), [10, 0xac, 2, 100]);
        assert_eq!(bytes(&Request::Fail(Fault::Undefined)), [11, 2]);
    }

    #[test]
    fn golden_replies() {
        let info = Info { board: "b", model: "m", blob_len: 1, arena_len: 2, arena_capacity: 3, value_capacity: 4 };
        assert_eq!(bytes(&Reply::Info(info)), [0, 1, b'b', 1, b'm', 1, 2, 3, 4]);
        let shape = ProgramShape { input_len: 64, output_len: 16, work: 5, macs: 200 };
        assert_eq!(bytes(&Reply::Shape(shape)), [1, 64, 16, 5, 0xc8, 1]);
        assert_eq!(bytes(&Reply::Values { offset: 32, bytes: &[9] }), [2, 32, 1, 9]);
        assert_eq!(bytes(&Reply::Done), [3]);
        assert_eq!(bytes(&Reply::Nats(-2)), [4, 3]);
        let stack = StackUse { static_bytes: 1, stack_bytes: 2, free_bytes: 3 };
        assert_eq!(bytes(&Reply::Stack(stack)), [5, 1, 2, 3]);
        assert_eq!(bytes(&Reply::Ticks(8)), [6, 8]);
        assert_eq!(bytes(&Reply::Failure(Failure::InputLength { expected: 64, received: 0 })), [7, 3, 64, 0]);
        let fuzzed = Fuzzed { ran: 1, too_large: 2, refused: 3, steps: 4, digest: 5, memory: 6 };
        assert_eq!(bytes(&Reply::Fuzzed(fuzzed)), [8, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn every_program_is_listed_once() {
        for (index, program) in Program::ALL.iter().enumerate() {
            assert_eq!(bytes(program), [index as u8]);
        }
    }
}
