//! The messages. The order of variants and fields is the wire format: append, never reorder.

use elbo::ProgramKind;
use serde::{Deserialize, Serialize};

use crate::monitor::{Judgement, MonitorConfig, MonitorStatus, SensorReport, Source};

/// Largest number of bytes of values in one frame: 32 halfwords.
pub const CHUNK: usize = 64;

/// A request of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Asks for the properties of the board. Answer: [`Reply::Info`].
    Info,
    /// Asks for the shapes of a program. Answer: [`Reply::Shape`].
    Shape(#[serde(with = "program_code")] ProgramKind),
    /// A piece of the next program's input, starting at element `offset`. Pieces must arrive in order. There is no
    /// answer: a piece that does not continue the previous one is dropped, and the next program is then refused because
    /// of the input's length.
    Input {
        /// Index of the first element; 0 starts a new input.
        offset: u16,
        /// Little-endian i16.
        bytes: &'a [u8],
    },
    /// Draws `count` samples with one generator. Answer: `Values` for each, then [`Reply::Done`].
    Sample {
        /// Seed of the generator.
        seed: u64,
        /// Number of samples.
        count: u32,
    },
    /// Runs a program on the input, which holds its input vectors one after another. Answer: `Values` if the program
    /// has output vectors, then [`Reply::Nats`] if it has a scalar, otherwise `Done`.
    Run {
        /// The program.
        #[serde(with = "program_code")]
        program: ProgramKind,
        /// Seed of the generator, for a program that draws noise.
        seed: u64,
    },
    /// Asks for the memory used. Answer: [`Reply::Stack`].
    Stack,
    /// Times `repeat` runs of a benchmark. Answer: [`Reply::Ticks`].
    Bench {
        /// The benchmark.
        bench: Bench,
        /// Number of runs. The answer is the total of all runs.
        repeat: u32,
    },
    /// Sets the measurement of the emulated accelerometer, in thousandths of the Earth's gravity. No answer.
    Axes {
        /// Along x, to the right.
        x: i16,
        /// Along y, away from the user.
        y: i16,
        /// Along z, upwards; 1000 if the board lies flat.
        z: i16,
    },
    /// Reads the accelerometer and decodes the latent for this tilt. Answer: `Values`, then `Done`.
    Tilt,
    /// Runs the kernels' test suite on this core. Answer: `Done`, or [`Failure::SelfTest`].
    SelfTest,
    /// Runs cases of mutated blobs. Answer: [`Reply::Fuzzed`].
    Fuzz {
        /// The first case's number.
        first: u64,
        /// Number of cases.
        count: u32,
    },
    /// Makes the board fail on purpose, so that a test can show that the host notices. No answer.
    Fail(Fault),
    /// Samples of a recording for the monitor, one value for each channel in turn: whole samples, 32 values at most. There
    /// is no answer to the samples themselves. Every window that they complete is answered by [`Reply::Judgement`] or
    /// [`Reply::Sensor`].
    Samples {
        /// The number of the first sample, counted from 0 in its recording, modulo 2^32. A number that does not continue
        /// the one before is a gap, over which no window extends; 0 begins another recording, for which the
        /// rule starts anew.
        at: u32,
        /// Little-endian i16.
        bytes: &'a [u8],
    },
    /// Sets the rule of the monitor, and forgets all windows. Answer: `Done`, or [`Failure::Rule`].
    Configure(MonitorConfig),
    /// Forgets all windows, ends an alarm, sets the counts to 0, and takes samples from this source. Answer: `Done`.
    Reset(Source),
    /// Asks what the monitor has seen. Answer: [`Reply::Monitor`].
    Monitor,
}

/// An answer of the board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// Answer to [`Request::Info`].
    Info(#[serde(borrow)] Info<'a>),
    /// Answer to [`Request::Shape`].
    Shape(ProgramShape),
    /// A piece of the outputs. All outputs of a run follow each other, and `offset` counts through all of them.
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
    /// Answer to [`Request::Stack`].
    Stack(StackUse),
    /// Answer to [`Request::Bench`]: ticks of the board's counter, before calibration.
    Ticks(u32),
    /// The request was refused.
    Failure(#[serde(borrow)] Failure<'a>),
    /// Answer to [`Request::Fuzz`].
    Fuzzed(Fuzzed),
    /// What the monitor says of one window. On a live sensor it comes without a request.
    Judgement(Judgement),
    /// A window, or a time without samples, that has no verdict because the sensor does not work. It comes without a
    /// request, too.
    Sensor(SensorReport),
    /// Answer to [`Request::Monitor`].
    Monitor(MonitorStatus),
    /// This many samples were lost before the next window. It comes without a request.
    Lost(u32),
}

/// The outcomes of cases of mutated blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fuzzed {
    /// Number of blobs that were verified and ran.
    pub ran: u32,
    /// Number of blobs that were verified, but do not fit the board's memory.
    pub too_large: u32,
    /// Number of blobs that were refused.
    pub refused: u32,
    /// Elementary steps of the blobs that ran.
    pub steps: u64,
    /// A checksum of the outcomes of all cases.
    pub digest: u32,
    /// Halfwords of memory for each case.
    pub memory: u32,
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fault {
    /// Panic.
    Panic,
    /// Stop answering.
    Hang,
    /// Execute an undefined instruction, which faults.
    Undefined,
}

/// Properties of a board and of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info<'a> {
    /// The board's name in the host's list of boards.
    pub board: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// Bytes of the blob.
    pub blob_len: u32,
    /// Halfwords of arena that the model needs.
    pub arena_len: u32,
    /// Halfwords of arena that the firmware has.
    pub arena_capacity: u32,
    /// Largest number of elements of the inputs, and of the outputs.
    pub value_capacity: u16,
}

/// The shapes of a program's inputs and outputs, and its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramShape {
    /// Elements of all input vectors together.
    pub input_len: u16,
    /// Elements of all output vectors together.
    pub output_len: u16,
    /// Elementary steps of a run, as proved.
    pub work: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Bench {
    /// Nothing. This measures the overhead.
    Nothing,
    /// A loop of two instructions, run `loops` times. This calibrates the counter.
    Spin {
        /// Number of iterations.
        loops: u32,
    },
    /// Loading a blob: checksum and proof.
    Load,
    /// One run of a program on the current contents of the input buffer.
    Program(#[serde(with = "program_code")] ProgramKind),
    /// Standard normal draws, including the generator.
    Normal {
        /// Number of draws.
        count: u32,
    },
    /// One dense layer on synthetic weights.
    Dense {
        /// Number of outputs.
        rows: u16,
        /// Number of inputs.
        cols: u16,
        /// Whether weights are packed for the DSP extension.
        dsp: bool,
    },
    /// Loading one of several blobs that were linked one after another.
    LoadAt {
        /// Bytes before the blob.
        offset: u32,
    },
    /// One run of a program of such a blob, on an input of zeros.
    ProgramAt {
        /// Bytes before the blob.
        offset: u32,
        /// The program.
        #[serde(with = "program_code")]
        program: ProgramKind,
    },
    /// The monitor's work on one window: score, p-value and rule. The window is the last one, or empty.
    Judge {
        /// Whether the causes of the score are found, too.
        explain: bool,
    },
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackUse {
    /// Static variables, including the arena.
    pub static_bytes: u32,
    /// Largest size of the stack since the reset.
    pub stack_bytes: u32,
    /// Memory that was never used.
    pub free_bytes: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The frame cannot be decoded, or is longer than [`crate::FRAME`].
    BadFrame,
    /// There is no verified model, for the reason given.
    NoModel(&'a str),
    /// The model has no such program.
    NoProgram,
    /// The length of the received input is not that of the program's input.
    InputLength {
        /// Elements that the program reads.
        expected: u16,
        /// Elements that have arrived.
        received: u16,
    },
    /// The session refused, for the reason given.
    Session(&'a str),
    /// The board has no such device, or this firmware was built without support for it.
    Unsupported,
    /// The outputs or the operands do not fit this board's memory.
    NoRoom,
    /// A kernel differs from its definition on this core.
    SelfTest(&'a str),
    /// The request names something that this firmware does not know, such as a program of a later version.
    Unknown,
    /// The detector's reason to refuse a rule.
    Rule(&'a str),
}

impl core::fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BadFrame => f.write_str("the request arrived damaged"),
            Self::Unknown => f.write_str(
                "the firmware does not know this request or this program; build it from the same version as the host",
            ),
            Self::NoModel(reason) => write!(f, "no model is loaded: {reason}"),
            Self::NoProgram => f.write_str("the model has no such program"),
            Self::InputLength { expected, received } => {
                write!(f, "the program reads {expected} elements, and {received} have arrived")
            }
            Self::Session(reason) => write!(f, "the session refused: {reason}"),
            Self::Unsupported => f.write_str("this firmware cannot do that"),
            Self::NoRoom => f.write_str("it does not fit the board's memory"),
            Self::Rule(reason) => write!(f, "the detector refused the rule: {reason}"),
            Self::SelfTest(which) => write!(f, "a kernel differs from its definition: {which}"),
        }
    }
}

/// A program is encoded as one byte: its code in the blob.
mod program_code {
    use elbo::ProgramKind;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(kind: &ProgramKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*kind as u8)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<ProgramKind, D::Error> {
        let code = u8::deserialize(deserializer)?;
        ProgramKind::from_code(code.into()).ok_or_else(|| D::Error::custom("no program has this code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Cause, Explain, SensorFault};
    use elbo::Rate;
    use elbo::detector::{DetectorConfig, DriftConfig, Rule};

    fn bytes<T: Serialize>(message: &T) -> Vec<u8> {
        let mut buffer = [0; 128];
        postcard::to_slice(message, &mut buffer).unwrap().to_vec()
    }

    #[test]
    fn golden_requests() {
        assert_eq!(bytes(&Request::Info), [0]);
        assert_eq!(bytes(&Request::Shape(ProgramKind::Decode)), [1, 2]);
        assert_eq!(bytes(&Request::Input { offset: 300, bytes: &[1, 2] }), [2, 0xac, 2, 2, 1, 2]);
        assert_eq!(bytes(&Request::Sample { seed: 7, count: 1000 }), [3, 7, 0xe8, 7]);
        assert_eq!(bytes(&Request::Run { program: ProgramKind::ScoreImportance, seed: 1 }), [4, 7, 1]);
        assert_eq!(bytes(&Request::Stack), [5]);
        assert_eq!(bytes(&Request::Bench { bench: Bench::Spin { loops: 3 }, repeat: 2 }), [6, 1, 3, 2]);
        assert_eq!(
            bytes(&Request::Bench { bench: Bench::Program(ProgramKind::SampleDensity), repeat: 2 }),
            [6, 3, 12, 2]
        );
        assert_eq!(bytes(&Request::Axes { x: -1, y: 1, z: 1000 }), [7, 1, 2, 0xd0, 0x0f]);
        assert_eq!(bytes(&Request::Tilt), [8]);
        assert_eq!(bytes(&Request::SelfTest), [9]);
        assert_eq!(bytes(&Request::Fuzz { first: 300, count: 100 }), [10, 0xac, 2, 100]);
        assert_eq!(bytes(&Request::Fail(Fault::Undefined)), [11, 2]);
        assert_eq!(bytes(&Request::Samples { at: 300, bytes: &[1, 2] }), [12, 0xac, 2, 2, 1, 2]);
        let rule = Rule::Threshold { alarm: Rate::ONE_IN_100, clear: Rate::ONE_IN_10 };
        let detector = DetectorConfig { rule, latching: true };
        let drift = Some(DriftConfig { block: 40, limit: 2 });
        let config = MonitorConfig { detector, drift, explain: Explain::Always };
        assert_eq!(bytes(&Request::Configure(config)), [13, 0, 1, 100, 1, 10, 1, 1, 40, 2, 1]);
        assert_eq!(bytes(&Request::Reset(Source::Link)), [14, 1]);
        assert_eq!(bytes(&Request::Monitor), [15]);
        assert_eq!(bytes(&Request::Bench { bench: Bench::Judge { explain: true }, repeat: 2 }), [6, 8, 1, 2]);
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
        assert_eq!(bytes(&Reply::Failure(Failure::Unknown)), [7, 8]);
        let fuzzed = Fuzzed { ran: 1, too_large: 2, refused: 3, steps: 4, digest: 5, memory: 6 };
        assert_eq!(bytes(&Reply::Fuzzed(fuzzed)), [8, 1, 2, 3, 4, 5, 6]);
        let causes = [Some(Cause { feature: 300, nats: -1 }), None, None, None];
        let judgement = Judgement { window: 1, score: -2, p: Some((1, 200)), alarm: true, moved: Some(false), causes };
        assert_eq!(bytes(&Reply::Judgement(judgement)), [9, 1, 3, 1, 1, 0xc8, 1, 1, 1, 0, 1, 0xac, 2, 1, 0, 0, 0]);
        let report = SensorReport { window: 1, channel: 2, fault: SensorFault::Saturated };
        assert_eq!(bytes(&Reply::Sensor(report)), [10, 1, 2, 1]);
        let status = MonitorStatus {
            source: Source::Link,
            detecting: true,
            alarm: false,
            windows: 1,
            alarms: 2,
            faults: 3,
            lost: 4,
            dropped: 5,
        };
        assert_eq!(bytes(&Reply::Monitor(status)), [11, 1, 1, 0, 1, 2, 3, 4, 5]);
        assert_eq!(bytes(&Reply::Lost(7)), [12, 7]);
        assert_eq!(bytes(&Reply::Failure(Failure::Rule("r"))), [7, 9, 1, b'r']);
    }

    #[test]
    fn programs_are_sent_by_their_codes() {
        for kind in ProgramKind::ALL {
            let request = Request::Shape(kind);
            assert_eq!(bytes(&request), [1, kind as u8]);
            assert_eq!(postcard::from_bytes(&bytes(&request)), Ok(request));
        }
        for code in [0, ProgramKind::ALL.len() as u8 + 1, u8::MAX] {
            assert_eq!(postcard::from_bytes::<Request<'_>>(&[1, code]), Err(postcard::Error::SerdeDeCustom));
        }
    }
}
