//! Variables by name, and the layers over them.

pub mod conv;
mod params;

pub use params::{Dense, Mlp, Params, Slot};
