//! Elbo's runtime: verify a model once, then sample it and score with it, in integer arithmetic and without a heap.
//!
//! A model is a blob, which `elbo compile` writes: one program for each thing that the model can do. [`Model::load`] proves
//! that every program runs to its end without overflow, within its memory and in known work. [`Session`] runs them.
//!
//! ```
//! use elbo::{Arena, Limits, LoadError, Model, ProgramKind};
//!
//! /// Prints how unlikely `row` is under the model in `blob`.
//! fn score(blob: &'static [u8], row: &[i16], arena: &mut Arena<4096>) -> Result<(), LoadError> {
//!     let model = Model::load(blob, Limits { max_work: 1_000_000 })?;
//!     assert!(model.program(ProgramKind::Score).is_some_and(|program| program.scalar));
//!     let mut session = model.session(arena.as_mut_slice()).expect("an arena that is large enough");
//!     println!("{} nats", session.score(row).expect("as many features as the model has"));
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! Each of `adgm`, `conv`, `dlgm`, `flow` and `logistic`, all of them default, brings the operations that one family of models
//! needs beside the common ones; a firmware for one model saves their code. A blob that needs what is left out is refused
//! with [`LoadError::Unsupported`], and no choice of features changes a result. `defmt`, `dsp` and `selftest` are
//! explained in `Cargo.toml`.
#![cfg_attr(not(test), no_std)]
#![deny(missing_docs, unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_arithmetic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_arithmetic))]

mod arena;
pub mod blob;
mod crc;
mod error;
pub mod fixed;
pub mod kernel;
mod meta;
mod model;
mod nats;
mod noise;
pub mod normal;
mod ops;
pub mod program;
pub mod rng;
mod session;
mod verify;

#[doc(hidden)]
pub use ops::bounds;
#[cfg(feature = "flow")]
#[doc(hidden)]
pub use ops::{coupling, flow};

pub use arena::Arena;
pub use crc::{crc32_i16, crc32_words};
pub use error::{LoadError, SessionError};
pub use meta::{Likelihood, Meta, SelfTest};
pub use model::{Limits, Model, ProgramInfo, VectorInfo};
pub use nats::Nats;
pub use noise::Noise;
pub use program::ProgramKind;
pub use session::Session;
