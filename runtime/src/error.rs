//! Errors: why a blob or a call is refused.

use core::fmt;

/// Why [`Model::load`](crate::Model::load) refuses a blob. Indices count the records of a section from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoadError {
    /// The blob's address is not a multiple of four: use [`include_blob!`](crate::include_blob) or align the flash section.
    Misaligned,
    /// There are fewer bytes than the blob's header declares.
    Truncated,
    /// The first four bytes are not `ELBO`.
    NotABlob,
    /// The blob was written in another version of the format: compile the model again with this release's tools.
    Version {
        /// Version in the blob.
        found: u32,
        /// The only version that this runtime reads.
        supported: u32,
    },
    /// The counts in the header do not match the blob's length.
    Layout,
    /// The checksum does not match: the blob is damaged.
    Checksum,
    /// The metadata cannot be decoded.
    Metadata,
    /// A matrix has no rows or columns, or too many; or its packing is unknown, or a bound is out of range.
    MatrixShape {
        /// The matrix.
        matrix: u16,
    },
    /// The constants of a matrix do not follow those of the previous one without a gap, or they exceed the data section, or
    /// data remain after the last matrix.
    MatrixLayout {
        /// The matrix.
        matrix: u16,
    },
    /// A weight, bias or multiplier in the padding of a matrix is not zero.
    Padding {
        /// The matrix.
        matrix: u16,
    },
    /// An accumulator could overflow 32 bits for activations within the declared bound, or a multiplier is negative.
    Overflow {
        /// The matrix.
        matrix: u16,
        /// The row.
        row: u16,
    },
    /// The output bound that a matrix declares is not the one that follows from its rows.
    OutputBound {
        /// The matrix.
        matrix: u16,
    },
    /// A program's kind is unknown, or two programs have the same one.
    ProgramKind {
        /// The program.
        program: u16,
    },
    /// A program's operations or tensors lie outside their section, or do not follow those of the program before it.
    ProgramRange {
        /// The program.
        program: u16,
    },
    /// A program's inputs or outputs are not those that its kind requires.
    Signature {
        /// The program.
        program: u16,
    },
    /// A tensor's type, scale, bound or length is out of range.
    Tensor {
        /// The tensor.
        tensor: u16,
    },
    /// A tensor lies outside the arena or is not aligned.
    TensorPlace {
        /// The tensor.
        tensor: u16,
    },
    /// The proof of a program would take too long for the length of the blob: too many tensors are alive at the same
    /// time, or too many operations read the same matrices.
    TooManyChecks {
        /// The program.
        program: u16,
    },
    /// A tensor's lifetime is wrong: the tensors are not in the order in which they are written, the operation that its record names does not write it, the lifetime is empty or extends
    /// beyond its loop, or the tensor is the scratch of a convolution and lives longer than the convolution.
    Lifetime {
        /// The tensor.
        tensor: u16,
    },
    /// Two tensors share memory while both are alive.
    Overlap {
        /// The earlier tensor.
        tensor: u16,
        /// The later tensor.
        with: u16,
    },
    /// An operation's code is unknown, or a field that the operation does not use is not empty.
    Operation {
        /// The operation.
        op: u16,
    },
    /// This build of the runtime does not include the operation: enable the feature of its family.
    Unsupported {
        /// The operation.
        op: u16,
    },
    /// An operation refers to a tensor or matrix that does not exist or has the wrong type.
    Operand {
        /// The operation.
        op: u16,
    },
    /// An operation reads a tensor before it is written or after its last use, or reads the output of a loop before the loop
    /// ends.
    NotAlive {
        /// The operation.
        op: u16,
    },
    /// The lengths of an operation's operands do not fit together.
    Shape {
        /// The operation.
        op: u16,
    },
    /// An operation does not support the scales of its operands.
    Scale {
        /// The operation.
        op: u16,
    },
    /// An operation's result can exceed the declared bound, or an intermediate could overflow.
    Bound {
        /// The operation.
        op: u16,
    },
    /// A loop is not closed, is nested too deeply, or has zero or too many iterations; or a `OneHot` stands outside every
    /// loop.
    Loop {
        /// The operation.
        op: u16,
    },
    /// An operation draws noise in a program whose kind is deterministic.
    Noise {
        /// The operation.
        op: u16,
    },
    /// A program's work differs from the declared amount or does not fit 64 bits.
    Work {
        /// The program.
        program: u16,
    },
    /// A program declares more work than [`Limits::max_work`](crate::Limits::max_work), or than the machine counts: raise
    /// the limit if a run may take that long, or compile a smaller model.
    TooMuchWork {
        /// The program.
        program: u16,
    },
}

/// Why a session or one of its calls is refused. Except for [`Changed`](Self::Changed), the program has not run and
/// nothing was written, neither to the outputs nor to the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionError {
    /// The arena is too small.
    ArenaTooSmall {
        /// Halfwords that the model needs: [`Model::arena_len`](crate::Model::arena_len).
        needed: usize,
        /// Halfwords given.
        given: usize,
    },
    /// The arena's address is not a multiple of eight bytes: use [`Arena`](crate::Arena).
    ArenaMisaligned,
    /// The model does not contain this program.
    ProgramAbsent,
    /// An input has the wrong number of elements.
    InputLength {
        /// Elements that the program takes.
        expected: usize,
        /// Elements given.
        given: usize,
    },
    /// The model has no such class.
    NoSuchClass {
        /// Classes that the model has.
        classes: usize,
        /// Class given, counted from 0.
        class: usize,
    },
    /// An output has the wrong number of elements.
    OutputLength {
        /// Elements that the program gives.
        expected: usize,
        /// Elements given.
        given: usize,
    },
    /// The run did not do the work that was proved, so the memory of the blob has changed since the model was loaded. The
    /// run was stopped before it exceeded that work. The outputs are not valid.
    Changed,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use LoadError as E;
        let (record, index, fault) = match *self {
            E::Misaligned => {
                return f.write_str(
                    "the blob does not start at a multiple of four bytes: embed it with `include_blob!` or align its flash section",
                );
            }
            E::Truncated => {
                return f.write_str("the bytes end before the blob does: copy or flash the whole blob again");
            }
            E::NotABlob => {
                return f.write_str("not a blob, which would start with `ELBO`: write one with `elbo compile`");
            }
            E::Version { found, supported } => {
                return write!(
                    f,
                    "the blob has format version {found}, this runtime reads version {supported}: compile it again with this \
                     version's trainer, or update the runtime"
                );
            }
            E::Layout => {
                return f.write_str("the header's counts do not match the blob's length: compile the model again");
            }
            E::Checksum => {
                return f.write_str("the checksum does not match, the blob is damaged: copy or flash it again");
            }
            E::Metadata => return f.write_str("the metadata do not decode: compile the model again"),
            E::Overflow { matrix, row } => {
                return write!(f, "matrix {matrix}, row {row}: accumulator or multiplier out of range{AGAIN}");
            }
            E::Overlap { tensor, with } => {
                return write!(f, "tensors {tensor} and {with} share memory while both are alive{AGAIN}");
            }
            E::MatrixShape { matrix } => ("matrix", matrix, "its shape, packing or bound is out of range"),
            E::MatrixLayout { matrix } => ("matrix", matrix, "its constants leave a gap or exceed the data"),
            E::Padding { matrix } => ("matrix", matrix, "its padding is not zero"),
            E::OutputBound { matrix } => ("matrix", matrix, "its output bound differs from its rows' bound"),
            E::ProgramKind { program } => ("program", program, "its kind is unknown or occurs twice"),
            E::ProgramRange { program } => ("program", program, "its records are not next in their section"),
            E::TooManyChecks { program } => ("program", program, "its proof takes too long"),
            E::Signature { program } => ("program", program, "its inputs or outputs do not fit its kind"),
            E::Tensor { tensor } => ("tensor", tensor, "its type, scale, bound or length is out of range"),
            E::TensorPlace { tensor } => ("tensor", tensor, "it lies outside the arena or is not aligned"),
            E::Lifetime { tensor } => ("tensor", tensor, "its lifetime does not match the operations"),
            E::Operation { op } => ("operation", op, "its code is unknown or an unused field is set"),
            E::Unsupported { op } => {
                return write!(
                    f,
                    "operation {op}: this build of the runtime leaves it out; enable the feature of the model's family"
                );
            }
            E::Operand { op } => ("operation", op, "an operand is missing or has the wrong type"),
            E::NotAlive { op } => ("operation", op, "it reads a tensor outside its lifetime"),
            E::Shape { op } => ("operation", op, "its operands' lengths do not fit together"),
            E::Scale { op } => ("operation", op, "it does not support its operands' scales"),
            E::Bound { op } => ("operation", op, "its result can exceed the declared bound"),
            E::Loop { op } => ("operation", op, "loop nesting or iteration count is invalid"),
            E::Noise { op } => ("operation", op, "it draws noise in a deterministic program"),
            E::Work { program } => ("program", program, "its work is not as declared"),
            E::TooMuchWork { program } => {
                return write!(
                    f,
                    "program {program}: a run takes more steps than the limit; raise `Limits::max_work` or compile a smaller model"
                );
            }
        };
        write!(f, "{record} {index}: {fault}{AGAIN}")
    }
}

/// What to do if the proof of a blob fails although its checksum is right.
const AGAIN: &str = "; compile the model again with this version's trainer";

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ArenaTooSmall { needed, given } => {
                write!(f, "the model needs {needed} halfwords of memory and got {given}: use an `Arena<{needed}>`")
            }
            Self::ArenaMisaligned => {
                f.write_str("the memory does not start at a multiple of eight bytes: use an `Arena`")
            }
            Self::ProgramAbsent => {
                f.write_str("the model does not contain this program: `elbo inspect` lists its programs")
            }
            Self::InputLength { expected, given } => {
                write!(f, "the program takes {expected} input elements and got {given}: pass exactly that many")
            }
            Self::NoSuchClass { classes, class } => {
                write!(f, "the model has {classes} classes and no class {class}: classes count from 0")
            }
            Self::OutputLength { expected, given } => {
                write!(
                    f,
                    "the program gives {expected} elements, the buffer has {given}: pass one of {expected} elements"
                )
            }
            Self::Changed => f.write_str("the model's memory changed after its proof: load the model again"),
        }
    }
}

/// Any error of this crate, for a function that loads a model and runs it.
///
/// ```
/// fn score(blob: &[u8], x: &[i16], arena: &mut [i16]) -> Result<elbo::Nats, elbo::Error> {
///     let model = elbo::Model::load(blob, elbo::Limits { max_work: 1_000_000 })?;
///     Ok(model.session(arena)?.score(x)?)
/// }
/// # assert!(matches!(score(&[], &[], &mut []), Err(elbo::Error::Load(_))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// A blob was refused.
    Load(LoadError),
    /// A session, or one of its calls, was refused or stopped.
    Session(SessionError),
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}
impl core::error::Error for LoadError {}
impl core::error::Error for SessionError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a console on a board keeps of a message, in bytes.
    const KEPT: usize = 64;

    fn load_errors() -> Vec<LoadError> {
        use LoadError as E;
        let (matrix, program, tensor, op) = (3107, 3209, 3301, 3407);
        vec![
            E::Misaligned,
            E::Truncated,
            E::NotABlob,
            E::Version { found: 3, supported: 1 },
            E::Layout,
            E::Checksum,
            E::Metadata,
            E::MatrixShape { matrix },
            E::MatrixLayout { matrix },
            E::Padding { matrix },
            E::Overflow { matrix, row: 4099 },
            E::OutputBound { matrix },
            E::ProgramKind { program },
            E::ProgramRange { program },
            E::TooManyChecks { program },
            E::Signature { program },
            E::Tensor { tensor },
            E::TensorPlace { tensor },
            E::Lifetime { tensor },
            E::Overlap { tensor, with: 4093 },
            E::Operation { op },
            E::Unsupported { op },
            E::Operand { op },
            E::NotAlive { op },
            E::Shape { op },
            E::Scale { op },
            E::Bound { op },
            E::Loop { op },
            E::Noise { op },
            E::Work { program },
            E::TooMuchWork { program },
        ]
    }

    fn numbers(text: &str) -> Vec<&str> {
        text.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty()).collect()
    }

    /// A board keeps only the first bytes of a message: these must contain the fields' numbers and the fault. The remedy
    /// follows a punctuation mark.
    fn check<E: core::error::Error>(errors: &[E]) {
        let messages: Vec<String> = errors.iter().map(E::to_string).collect();
        for (error, message) in errors.iter().zip(&messages) {
            let (fault, remedy) = message.split_once(';').or(message.split_once(':')).unwrap_or_default();
            assert!(fault.len() <= KEPT && !remedy.is_empty(), "{message}");
            let kept = numbers(&message[..message.len().min(KEPT)]);
            let fields = format!("{error:?}");
            assert!(numbers(&fields).iter().all(|number| kept.contains(number)), "{fields}: {message}");
        }
        let distinct: std::collections::HashSet<&String> = messages.iter().collect();
        assert_eq!(distinct.len(), errors.len());
    }

    #[test]
    fn messages_say_what_is_wrong_with_which_record_and_what_to_do() {
        check(&load_errors());
        check(&[
            SessionError::ArenaTooSmall { needed: 476, given: 475 },
            SessionError::ArenaMisaligned,
            SessionError::ProgramAbsent,
            SessionError::InputLength { expected: 64, given: 63 },
            SessionError::NoSuchClass { classes: 10, class: 11 },
            SessionError::OutputLength { expected: 64, given: 65 },
            SessionError::Changed,
        ]);
    }

    #[test]
    fn one_error_for_both_says_the_same() {
        let (load, session) = (LoadError::Checksum, SessionError::ProgramAbsent);
        assert_eq!(Error::from(load).to_string(), load.to_string());
        assert_eq!(Error::from(session).to_string(), session.to_string());
        assert_ne!(Error::from(load), Error::from(session));
    }

    #[test]
    fn a_record_is_named_by_its_kind() {
        for error in load_errors() {
            let (fields, message) = (format!("{error:?}"), error.to_string());
            for (field, name) in [
                ("matrix: ", "matrix 3107"),
                ("program: ", "program 3209"),
                ("op: ", "operation 3407"),
                ("row: ", "row 4099"),
            ] {
                assert_eq!(fields.contains(field), message.contains(name), "{message}");
            }
            assert_eq!(fields.contains("tensor: "), message.contains("3301"), "{message}");
        }
        let version = LoadError::Version { found: 3, supported: 1 }.to_string();
        assert_eq!(
            version,
            "the blob has format version 3, this runtime reads version 1: compile it again with this version's trainer, or \
             update the runtime"
        );
    }
}
