//! Fixed-point inference for deep generative models, without heap, floating point or panics.
#![cfg_attr(not(test), no_std)]

pub mod kernel;
