//! Applications that run a model on a board. They use drivers only through embedded-hal and embedded-io. One source
//! therefore serves every board and, with simulated devices, the tests on the host.
//!
//! - [`serve`] answers a host's requests, for tests, benchmarks and demos.
//! - [`generate`] draws samples as text, forever.
//! - [`steer`] decodes a latent that follows the tilt of the board.
//! - [`monitor`] judges the windows of a sensor, and tells the host of alarms and their causes.
#![cfg_attr(not(any(test, feature = "synthetic")), no_std)]
#![forbid(unsafe_code)]

pub mod art;
mod bench;
mod board;
mod console;
pub mod emulated;
mod generate;
mod keys;
pub mod lis3dh;
mod log;
pub mod monitor;
mod reason;
mod show;
mod steer;
#[cfg(any(test, feature = "synthetic"))]
pub mod synthetic;
#[cfg(test)]
mod test_board;
pub mod tilt;

pub use board::{Board, Memory};
pub use console::serve;
pub use generate::generate;
pub use steer::steer;

/// What an application affords for one run of any program of a model: 2^28 steps, which take about 15 seconds on a Cortex-M4
/// at 100 MHz. The boards here are for development. State less where a run must end sooner.
pub const LIMITS: elbo::Limits = elbo::Limits { max_work: 1 << 28 };
