//! Arm's MPS2 boards, as QEMU emulates them. They differ in their core and in where their devices are.
#![no_std]

mod application;
mod board;
mod layout;
mod timer;
mod uart;

#[cfg(feature = "log")]
use defmt_semihosting as _;

pub use application::{generate, serve, steer};
pub use layout::{An386, An500, An505, Layout};
