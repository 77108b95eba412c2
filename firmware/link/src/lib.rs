#![cfg_attr(not(feature = "host"), no_std)]
#![forbid(unsafe_code)]
//! The serial protocol between a host and a board that runs Elbo.

#[cfg(feature = "host")]
pub mod host;
