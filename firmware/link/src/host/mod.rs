//! The host's side: find, build and start a board's firmware, and talk to it.

pub mod toolchain;

pub use toolchain::{BareToolchain, bare_cargo};
