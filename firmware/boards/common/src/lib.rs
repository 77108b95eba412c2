//! Code that all Cortex-M boards share.
#![no_std]

#[cfg(feature = "semihosting")]
mod failure;
mod memory;
mod register;

pub use memory::memory_use;
pub use register::Register;
