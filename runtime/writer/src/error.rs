//! The errors of writing a program or a blob.

use crate::work::TooDeep;
use core::fmt;
use elbo::blob::MAX_RECORDS;
use elbo::bounds::{FULL, OperandError};
use elbo::program::{MAX_LOOP_DEPTH, MAX_TENSOR_LEN, Opcode};

/// Why a program or a blob cannot be written. Indices of operations and tensors count from the start of their program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// An operation refuses its operands.
    Operands {
        /// Index of the refused operation.
        op: usize,
        /// Code of the refused operation.
        opcode: Opcode,
        /// The violated requirement.
        reason: OperandError,
    },
    /// An operation refers to a tensor that does not exist, that it may not read yet, or that it has no use for.
    Reference {
        /// Index of the refused operation.
        op: usize,
        /// Code of the refused operation.
        opcode: Opcode,
        /// The reference.
        tensor: u16,
    },
    /// The length, scale or bound of an input or output of an operation or program is out of range.
    Tensor {
        /// Index of the refused tensor.
        tensor: usize,
    },
    /// A tensor is read after the loop in which it was written.
    LeavesLoop {
        /// The tensor.
        tensor: usize,
    },
    /// A loop is ended although none is open.
    NoLoop {
        /// Index of the refused `End`.
        op: usize,
    },
    /// A program ends while a loop is still open.
    OpenLoop {
        /// The output of the innermost open loop.
        vector: u16,
    },
    /// Loops are nested more deeply than a program allows.
    TooDeep {
        /// Index of the refused `Loop`.
        op: usize,
    },
    /// A program has a third input or a third output, or an output that does not exist.
    Slots,
    /// The constants of a matrix are invalid.
    Matrix {
        /// Index of the refused matrix.
        matrix: usize,
        /// The violated requirement.
        reason: MatrixError,
    },
    /// More programs, tensors, operations or matrices than a blob may have.
    Records,
    /// The arena or the constants are longer than a 32-bit word can express.
    TooLarge,
    /// The metadata cannot be encoded.
    Metadata,
}

/// Why the constants of a [`DenseLayer`](crate::DenseLayer) are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatrixError {
    /// There are no rows or columns, or too many.
    Shape,
    /// The number of weights is not `rows * cols`, or the number of biases or multipliers is not `rows`.
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
                    OperandError::Kind => "an operand has the wrong type, or the matrix does not exist",
                    OperandError::Shape => "their lengths do not fit together",
                    OperandError::Scale => "it does not support their scales",
                    OperandError::Bound => "its result or an intermediate cannot be bounded",
                };
                write!(f, "operation {op} ({opcode:?}) refuses its operands: {reason}")
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
            Self::NoLoop { op } => write!(f, "operation {op} ends a loop, but no loop is open"),
            Self::OpenLoop { vector } => write!(f, "the loop that fills tensor {vector} is not ended"),
            Self::TooDeep { op } => {
                write!(
                    f,
                    "operation {op} opens a loop inside {MAX_LOOP_DEPTH} others: at most {MAX_LOOP_DEPTH} loops may be nested"
                )
            }
            Self::Slots => {
                f.write_str("a program has at most two inputs and two outputs, and its outputs must be written")
            }
            Self::Matrix { matrix, reason } => write!(f, "matrix {matrix}: {reason}"),
            Self::Records => {
                write!(f, "a blob has at most {MAX_RECORDS} programs, tensors, operations and matrices each")
            }
            Self::TooLarge => f.write_str("the arena or the constants are longer than 32 bits can express"),
            Self::Metadata => f.write_str("the metadata cannot be encoded"),
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
