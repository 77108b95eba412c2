//! The host's side: finds, builds and starts a board's firmware, and communicates with it.
//!
//! ```no_run
//! use elbo_link::ProgramKind;
//! use elbo_link::host::{Application, Board, Emulator, Firmware, Placement};
//!
//! # fn main() -> anyhow::Result<()> {
//! let board = Board::find("mps2-an386")?;
//! let image = Firmware::new(board, Application::Serve, Placement::Linked("model.elbo".into())).build()?;
//! let mut board = Emulator::start(board, &image)?.connect()?;
//! let pixels = board.sample(7, 1)?;
//! let q16_nats = board.score(ProgramKind::Score, &pixels, 0)?;
//! # Ok(()) }
//! ```

mod board;
mod client;
mod emulator;
mod firmware;
pub mod toolchain;

pub use board::{Board, Means};
pub use client::{BoardInfo, Client};
pub use emulator::Emulator;
pub use firmware::{Application, Firmware, Image, Placement};
pub use toolchain::{BareToolchain, bare_cargo};
