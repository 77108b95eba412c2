//! Writes blobs that the runtime `elbo` loads: programs of integer operations and the matrices that they read, with
//! header and checksum.
//!
//! A blob makes many claims that the runtime checks: the bound of every value, the lifetime and place of every tensor,
//! and the number of steps of a run. All of them follow from the operations. The user of this crate states only the
//! operations and their scales, and the crate derives the rest.
//!
//! [`BlobWriter`] collects matrices and programs. [`ProgramWriter`] appends one operation after another. A tensor is a
//! number that one operation returns and that later operations take.
//!
//! ```
//! use elbo::kernel::Packing;
//! use elbo::program::{Opcode, ProgramKind};
//! use elbo::{Arena, Limits, Model};
//! use elbo_writer::{BlobWriter, DenseLayer};
//!
//! let mut blob = BlobWriter::new();
//! // Two outputs of three inputs. A row gives `(weights x + bias) * multiplier / 2^32`.
//! let layer = blob.matrix(&DenseLayer {
//!     rows: 2,
//!     cols: 3,
//!     weights: &[1, 2, 3, -1, -2, -3],
//!     bias: &[0, 4],
//!     multiplier: &[1 << 30; 2],
//!     packing: Packing::RowMajor,
//!     input_bound: 4096,
//! })?;
//! blob.program(ProgramKind::Decode, |p| {
//!     let z = p.input(3, 12, 4096)?;
//!     let h = p.dense(z, layer, 10)?;
//!     let y = p.map(Opcode::Relu, &[h], 10, 0)?;
//!     p.outputs(&[y])
//! })?;
//! let words = blob.finish();
//!
//! let model = Model::load(bytemuck::cast_slice(&words), Limits::host())?;
//! let mut arena = Arena::<16>::new();
//! let mut session = model.session(arena.as_mut_slice())?;
//! let mut y = [0; 2];
//! session.decode(&[100, 200, 300], &mut y)?;
//! assert_eq!(y, [350, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Memory
//!
//! Every tensor gets a place of its own in the arena, except that [`append_in_place`](ProgramWriter::append_in_place)
//! uses the place of the first operand. A planner can let tensors share memory: it changes the offsets of a finished
//! [`Program`] before it [adds](BlobWriter::add) the program. The lifetimes of the tensors say which of them are alive
//! at the same time.
//!
//! # What is checked
//!
//! The writer refuses everything that would make the blob invalid: an operation that does not accept its operands, a
//! loop that is not ended, a matrix whose accumulators can overflow. It does not repeat the proof.
//! [`Model::load`](elbo::Model::load) decides whether the blob is valid.
//!
//! # Features
//!
//! `alloc`, on by default, enables the writers. Without it the crate needs no heap and provides [`WorkCounter`] and
//! [`seal`].
#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, doctest))]
extern crate std;

#[cfg(feature = "alloc")]
mod blob;
#[cfg(feature = "alloc")]
mod error;
#[cfg(feature = "alloc")]
mod layer;
#[cfg(feature = "alloc")]
mod lifetimes;
#[cfg(feature = "alloc")]
mod program;
mod seal;
mod work;

#[cfg(feature = "alloc")]
pub use blob::{BlobWriter, Records, encode_reading, encode_windows};
#[cfg(feature = "alloc")]
pub use error::{MatrixError, WriteError};
#[cfg(feature = "alloc")]
pub use layer::DenseLayer;
#[cfg(feature = "alloc")]
pub use program::{Program, ProgramWriter, nats, operation, vector};
pub use seal::seal;
pub use work::{TooDeep, WorkCounter};
