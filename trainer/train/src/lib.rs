//! The trainer of Elbo: deep generative models, learnt with candle and lowered for the compiler.
//!
//! [`train::fit`] trains any [`model::Model`] in memory, and [`compile::compile`] makes it a blob: `examples/own_model.rs` shows
//! a model of one's own. [`run`] trains by a [`recipe::Recipe`] into a folder, and [`run::Run::compile`] compiles from there.

mod arrays;
pub mod compile;
#[cfg(test)]
mod compiled;
pub mod data;
pub mod evaluate;
pub mod family;
pub mod fields;
mod files;
pub mod judge;
pub mod layers;
pub mod likelihood;
pub mod lower;
pub mod model;
pub mod nn;
pub mod noise;
pub mod plane;
pub mod plot;
pub mod recipe;
pub mod rows;
pub mod run;
pub mod settings;
pub mod step;
#[cfg(test)]
mod testing;
pub mod train;
