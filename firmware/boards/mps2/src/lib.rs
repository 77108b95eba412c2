//! Arm's MPS2 boards as emulated by QEMU. They differ in their core and in the addresses of their devices.
#![no_std]

mod application;
mod board;
mod layout;
mod timer;
mod uart;

#[cfg(feature = "log")]
use defmt_semihosting as _;

pub use application::{generate, monitor, serve, steer};
pub use layout::{An386, An500, An505, Layout};
