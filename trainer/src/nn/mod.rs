//! Building blocks of training.

mod activation;

pub use activation::Activation;
