//! Elbo's host side: data, training on candle, the compiler to verified blobs, and the command `elbo`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod compiler;
pub mod family;
pub mod host;
pub mod nn;
