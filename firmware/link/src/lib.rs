//! The serial protocol between a host and a board that runs Elbo: postcard messages in COBS frames, over any
//! [`embedded_io`] stream.
//!
//! The host asks and the board answers. [`Request::Input`] and [`Request::Axes`] have no answer; every other request
//! has any number of [`Reply::Values`] and then one closing reply, which is never `Values`.
//! Values are little-endian halfwords, [`CHUNK`] bytes at most in a frame, so that a board with 16 KB of RAM needs no
//! buffer of a message's size.
#![cfg_attr(not(any(feature = "host", test)), no_std)]
#![forbid(unsafe_code)]

pub mod frame;
#[cfg(feature = "host")]
pub mod host;
mod message;

pub use frame::{FRAME, FrameError, FrameReader, write_frame};
pub use message::{Bench, CHUNK, Failure, Fault, Fuzzed, Info, Program, ProgramShape, Reply, Request, StackUse};
