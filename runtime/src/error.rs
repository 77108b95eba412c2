//! Why a blob is refused and why a call is refused.

use core::fmt;

/// Why [`Model::load`](crate::Model::load) refuses a blob. Indices count records from the start of their section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoadError {
    /// The first byte is not at a multiple of four: use [`include_blob!`](crate::include_blob) or align the flash section.
    Misaligned,
    /// The bytes end before the blob does.
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
    /// The header's counts do not add up to the blob's length.
    Layout,
    /// The checksum does not match: the blob is damaged.
    Checksum,
    /// The metadata do not decode.
    Metadata,
    /// A matrix has no rows or columns, too many of them, an unknown packing or a bound out of range.
    MatrixShape {
        /// The matrix.
        matrix: u16,
    },
    /// A matrix's constants are not where the previous one's end, reach past the data, or leave data that no matrix owns.
    MatrixLayout {
        /// The matrix.
        matrix: u16,
    },
    /// A weight, bias or multiplier that pads a matrix is not zero.
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
    /// A matrix declares another output bound than the one its rows have.
    OutputBound {
        /// The matrix.
        matrix: u16,
    },
    /// A program's kind is unknown, or two programs have the same one.
    ProgramKind {
        /// The program.
        program: u16,
    },
    /// A program's operations or tensors lie outside their section.
    ProgramRange {
        /// The program.
        program: u16,
    },
    /// A program's inputs or outputs are not what its kind asks for.
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
    /// A tensor is not written by the operation that its record names, or its lifetime is empty or leaves its loop, or it is
    /// a convolution's scratch and outlives it.
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
    /// An operation's code is unknown, or a field that it does not use is not empty.
    Operation {
        /// The operation.
        op: u16,
    },
    /// An operation that this build of the runtime leaves out: enable the feature of its family.
    Unsupported {
        /// The operation.
        op: u16,
    },
    /// An operation refers to a tensor or matrix that does not exist, or is of the wrong type.
    Operand {
        /// The operation.
        op: u16,
    },
    /// An operation reads a tensor before it is written or after its last use, or a loop's before the loop ends.
    NotAlive {
        /// The operation.
        op: u16,
    },
    /// An operation's operands have lengths that do not fit together.
    Shape {
        /// The operation.
        op: u16,
    },
    /// An operation's operands have scales that it does not support.
    Scale {
        /// The operation.
        op: u16,
    },
    /// An operation's result can exceed the declared bound, or an intermediate could overflow.
    Bound {
        /// The operation.
        op: u16,
    },
    /// Loops are not properly nested, are nested too deeply, or run zero or too many times, or a class is asked of a loop
    /// outside of all.
    Loop {
        /// The operation.
        op: u16,
    },
    /// A program that its kind calls deterministic draws noise.
    Noise {
        /// The operation.
        op: u16,
    },
    /// A program declares another amount of work than it does, or does more than the caller's limit or 64 bits allow.
    Work {
        /// The program.
        program: u16,
    },
}

/// Why a session or one of its calls is refused. Nothing has run and nothing was written.
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
    /// The arena does not start at a multiple of eight bytes: use [`Arena`](crate::Arena).
    ArenaMisaligned,
    /// The model does not carry this program.
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
                return f.write_str("the bytes end before the blob does: it was cut short, copy or flash it again");
            }
            E::NotABlob => return f.write_str("not a blob, which starts with `ELBO`: `elbo compile` writes one"),
            E::Version { found, supported } => {
                return write!(
                    f,
                    "the blob is format version {found}, this runtime reads version {supported}: compile it again with this \
                     version's trainer, or update the runtime"
                );
            }
            E::Layout => {
                return f.write_str("the header's counts do not add up to the blob's length: compile the model again");
            }
            E::Checksum => {
                return f.write_str("the checksum does not match, the blob is damaged: copy or flash it again");
            }
            E::Metadata => return f.write_str("the metadata do not decode: compile the model again"),
            E::Overflow { matrix, row } => {
                return write!(f, "matrix {matrix}, row {row}: its sum or multiplier is out of range{AGAIN}");
            }
            E::Overlap { tensor, with } => {
                return write!(f, "tensors {tensor} and {with} share memory while both are alive{AGAIN}");
            }
            E::MatrixShape { matrix } => ("matrix", matrix, "its shape, packing or bound is out of range"),
            E::MatrixLayout { matrix } => ("matrix", matrix, "its constants are not where they belong"),
            E::Padding { matrix } => ("matrix", matrix, "its padding is not zero"),
            E::OutputBound { matrix } => ("matrix", matrix, "its output bound is not that of its rows"),
            E::ProgramKind { program } => ("program", program, "its kind is unknown or occurs twice"),
            E::ProgramRange { program } => ("program", program, "its records lie outside their section"),
            E::Signature { program } => ("program", program, "its inputs or outputs do not fit its kind"),
            E::Tensor { tensor } => ("tensor", tensor, "its type, scale, bound or length is out of range"),
            E::TensorPlace { tensor } => ("tensor", tensor, "it lies outside the arena or unaligned"),
            E::Lifetime { tensor } => ("tensor", tensor, "its lifetime is not what the operations say"),
            E::Operation { op } => ("operation", op, "its code or an unused field is not valid"),
            E::Unsupported { op } => {
                return write!(
                    f,
                    "operation {op}: this build of the runtime leaves it out; enable the feature of the model's family"
                );
            }
            E::Operand { op } => ("operation", op, "an operand is missing or of the wrong type"),
            E::NotAlive { op } => ("operation", op, "it reads a tensor outside its lifetime"),
            E::Shape { op } => ("operation", op, "its operands' lengths do not fit"),
            E::Scale { op } => ("operation", op, "its operands' scales do not fit"),
            E::Bound { op } => ("operation", op, "its result can exceed its bound"),
            E::Loop { op } => ("operation", op, "loops are not nested or counted properly"),
            E::Noise { op } => ("operation", op, "a deterministic program draws noise"),
            E::Work { program } => ("program", program, "it does other work than it declares, or too much"),
        };
        write!(f, "{record} {index}: {fault}{AGAIN}")
    }
}

/// What to do about a blob whose proof fails although its checksum is right.
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
                f.write_str("the model does not carry this program: `elbo inspect` lists those it has")
            }
            Self::InputLength { expected, given } => {
                write!(f, "the program takes {expected} elements and got {given}: pass its input's length")
            }
            Self::NoSuchClass { classes, class } => {
                write!(f, "the model has {classes} classes and no class {class}: count them from 0")
            }
            Self::OutputLength { expected, given } => {
                write!(f, "the program gives {expected} elements and got room for {given}: pass its output's length")
            }
        }
    }
}

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
        ]
    }

    fn numbers(text: &str) -> Vec<&str> {
        text.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty()).collect()
    }

    /// The fields' numbers and what is wrong stand where a board does not cut them off; what to do follows a mark.
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
        ]);
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
            "the blob is format version 3, this runtime reads version 1: compile it again with this version's trainer, or \
             update the runtime"
        );
    }
}
