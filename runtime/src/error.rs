//! Why a blob is refused and why a call is refused.

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
    /// A tensor is not written by the operation that its record names, or its lifetime is empty or leaves its loop.
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
    /// An operation refers to a tensor or matrix that does not exist, or is of the wrong type.
    Operand {
        /// The operation.
        op: u16,
    },
    /// An operation reads a tensor before it is written or after its last use.
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
    /// Loops are not properly nested, are nested too deeply, or run zero or too many times.
    Loop {
        /// The operation.
        op: u16,
    },
    /// A program that its kind calls deterministic draws noise.
    Noise {
        /// The operation.
        op: u16,
    },
    /// A program declares another amount of work than it does, or more than the caller's limit.
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
    /// An output has the wrong number of elements.
    OutputLength {
        /// Elements that the program gives.
        expected: usize,
        /// Elements given.
        given: usize,
    },
}

macro_rules! display {
    ($($error:ty),*) => {$(
        impl core::fmt::Display for $error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(self, f)
            }
        }
        impl core::error::Error for $error {}
    )*};
}
display!(LoadError, SessionError);
