//! Why something cannot be written.

use crate::work::TooDeep;
use core::fmt;
use elbo::blob::MAX_RECORDS;
use elbo::bounds::{FULL, OperandError};
use elbo::program::{MAX_LOOP_DEPTH, MAX_TENSOR_LEN, Opcode};

/// Why a program or a blob cannot be written. Operations and tensors count from the start of their program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// An operation cannot take its operands.
    Operands {
        /// Which operation it would have been.
        op: usize,
        /// What it would have done.
        opcode: Opcode,
        /// What does not hold.
        reason: OperandError,
    },
    /// An operation refers to a tensor that there is not, that it may not read yet, or that it does not have.
    Reference {
        /// Which operation it would have been.
        op: usize,
        /// What it would have done.
        opcode: Opcode,
        /// The reference.
        tensor: u16,
    },
    /// An input or output of an operation or program has a length, scale or bound out of range.
    Tensor {
        /// The tensor it would have been.
        tensor: usize,
    },
    /// A tensor is read after the loop in which it was written.
    LeavesLoop {
        /// The tensor.
        tensor: usize,
    },
    /// A loop is ended where none is open.
    NoLoop {
        /// Which operation the end would have been.
        op: usize,
    },
    /// A program ends with a loop still open.
    OpenLoop {
        /// The vector of the innermost open loop.
        vector: u16,
    },
    /// A loop inside of as many as a program may nest.
    TooDeep {
        /// Which operation the loop would have been.
        op: usize,
    },
    /// A third input, a third output, or an output that is no tensor.
    Slots,
    /// A matrix's constants do not make a layer.
    Matrix {
        /// The matrix it would have been.
        matrix: usize,
        /// What does not hold.
        reason: MatrixError,
    },
    /// More programs, tensors, operations or matrices than a blob may have.
    Records,
    /// The arena or the constants are longer than a 32-bit word can say.
    TooLarge,
    /// The metadata do not encode.
    Metadata,
}

/// Why constants do not make a [`DenseLayer`](crate::DenseLayer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatrixError {
    /// There are no rows or columns, or too many.
    Shape,
    /// There are not `rows * cols` weights, or not `rows` biases and multipliers.
    Lengths,
    /// The input bound is 0 or above 32768.
    InputBound,
    /// A multiplier is negative.
    Multiplier {
        /// The row.
        row: usize,
    },
    /// An accumulator may overflow 32 bits.
    Overflow {
        /// The row.
        row: usize,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operands { op, opcode, reason } => {
                let reason = match reason {
                    OperandError::Kind => "one is of the wrong type, or is no matrix",
                    OperandError::Shape => "their lengths do not fit together",
                    OperandError::Scale => "it does not support their scales",
                    OperandError::Bound => "its result or an intermediate cannot be bounded",
                };
                write!(f, "operation {op} ({opcode:?}) cannot take its operands: {reason}")
            }
            Self::Reference { op, opcode, tensor } => {
                write!(f, "operation {op} ({opcode:?}) cannot refer to tensor {tensor}")
            }
            Self::Tensor { tensor } => write!(
                f,
                "tensor {tensor} needs 1 to {MAX_TENSOR_LEN} elements, at most 15 fractional bits (nats: 16) and a bound of \
                 1 to {FULL}"
            ),
            Self::LeavesLoop { tensor } => write!(f, "tensor {tensor} is read after the loop that writes it"),
            Self::NoLoop { op } => write!(f, "operation {op} would end a loop, but none is open"),
            Self::OpenLoop { vector } => write!(f, "the loop that fills tensor {vector} is not ended"),
            Self::TooDeep { op } => {
                write!(f, "operation {op} would be a loop inside of {MAX_LOOP_DEPTH} others, the most there may be")
            }
            Self::Slots => f.write_str("a program has at most two inputs and two outputs, which it has written"),
            Self::Matrix { matrix, reason } => write!(f, "matrix {matrix}: {reason}"),
            Self::Records => {
                write!(f, "a blob has at most {MAX_RECORDS} programs, tensors, operations and matrices each")
            }
            Self::TooLarge => f.write_str("the arena or the constants are longer than 32 bits can say"),
            Self::Metadata => f.write_str("the metadata do not encode"),
        }
    }
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => write!(f, "rows and columns must be 1 to {MAX_TENSOR_LEN}"),
            Self::Lengths => f.write_str("it needs rows * cols weights, and a bias and a multiplier for every row"),
            Self::InputBound => write!(f, "the input bound must be 1 to {FULL}"),
            Self::Multiplier { row } => write!(f, "the multiplier of row {row} is negative"),
            Self::Overflow { row } => write!(
                f,
                "the accumulator of row {row} may overflow 32 bits: make the weights, the bias or the input bound smaller"
            ),
        }
    }
}

impl core::error::Error for WriteError {}
impl core::error::Error for MatrixError {}

impl WriteError {
    pub(crate) fn too_deep(op: usize) -> impl Fn(TooDeep) -> Self {
        move |TooDeep| Self::TooDeep { op }
    }
}
