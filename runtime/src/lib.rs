//! no_std, no-heap, fixed-point inference for deep generative models.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod fixed;
pub mod normal;
pub mod rng;
