//! Elbo's host side: data, training on candle, the compiler to verified blobs, and the command `elbo`.
#![warn(missing_docs)]

pub mod compiler;
pub mod data;
pub mod family;
pub mod host;
pub mod nn;
pub mod plot;
pub mod rows;
