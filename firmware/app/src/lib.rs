//! Applications that run a model on a board. They know drivers by embedded-hal and embedded-io only, so that one
//! source serves every board and, with stand-ins, the host's tests.
//!
//! - [`serve`]: answers a host's requests; what tests, benches and demos talk to.
//! - [`generate`]: draws samples for ever, as text.
//! - [`steer`]: the latent follows the tilt of the board.
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
