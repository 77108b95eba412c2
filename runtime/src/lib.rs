#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(missing_docs, unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_arithmetic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_arithmetic))]

/// The features of the crate, and what each of them brings.
// In a module of its own, because beside the README it would change the folder in which the README's examples look for
// files.
#[cfg(feature = "document-features")]
#[doc = document_features::document_features!()]
pub mod features {}

mod arena;
#[doc(hidden)]
pub mod blob;
mod calibration;
mod commissioning;
mod contributions;
#[doc(hidden)]
pub mod coupling;
mod crc;
pub mod detector;
mod error;
mod exact;
#[doc(hidden)]
pub mod fixed;
#[doc(hidden)]
pub mod front;
#[doc(hidden)]
pub mod kernel;
mod meta;
mod model;
mod nats;
pub mod noise;
pub mod normal;
mod ops;
#[doc(hidden)]
pub mod program;
pub mod rng;
mod session;
mod verify;

// Hidden items are for tools that write, read and fuzz blobs. They may change with every release.
#[doc(hidden)]
pub use ops::bounds;
#[cfg(feature = "flow")]
#[doc(hidden)]
pub use ops::flow;

pub use arena::Arena;
pub use calibration::{BufferTooSmall, Calibration, Calibrations, PValue, Rate, TooFewRows};
pub use commissioning::{Commissioned, Commissioning, NotCommissioned};
pub use contributions::Explained;
#[doc(hidden)]
pub use crc::{crc32_i16, crc32_words};
pub use error::{Error, LoadError, SessionError};
pub use meta::{DataKind, Likelihood, Meta, Reading, SelfTest, Windows};
pub use model::{Limits, Model, ProgramInfo, VectorInfo};
pub use nats::Nats;
pub use noise::Noise;
pub use program::{ProgramKind, Signature};
#[cfg(feature = "rand_core_010")]
pub use rand_core;
pub use session::Session;
