//! The model families, one file per paper.

mod layers;
pub mod vae;

pub use layers::DenseLayer;
