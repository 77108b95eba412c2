//! The variables of a model, and the layers that use them.

pub mod conv;
mod params;

pub use params::{Dense, Mlp, Params, Slot};
