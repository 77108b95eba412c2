//! The serial protocol between a host and a board that runs Elbo: postcard messages in COBS frames, over any
//! [`embedded_io`] stream.
//!
//! The host sends requests and the board answers. [`Request::Input`], [`Request::Axes`] and [`Request::Samples`] have no answer. Every other
//! request is answered by any number of [`Reply::Values`], followed by one other reply, which ends the answer. Values
//! are little-endian halfwords, at most [`CHUNK`] bytes per frame, so that a board with 16 KB of RAM needs no buffer
//! for a whole message.
#![cfg_attr(not(any(feature = "host", test)), no_std)]
#![forbid(unsafe_code)]

pub mod frame;
#[cfg(feature = "host")]
pub mod host;
mod message;
mod monitor;

pub use elbo::ProgramKind;
pub use frame::{FRAME, FrameError, FrameReader, write_frame};
pub use message::{Bench, CHUNK, Failure, Fault, Fuzzed, Info, ProgramShape, Reply, Request, StackUse};
pub use monitor::{CAUSES, Cause, Explain, Judgement, MonitorConfig, MonitorStatus, SensorFault, SensorReport, Source};
