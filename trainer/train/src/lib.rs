//! The trainer of Elbo. It trains deep generative models with candle, and lowers them to the float graph that the
//! compiler (crate `elbo-compiler`) turns into a blob.
//!
//! [`train::fit`] trains any [`model::Model`] in memory, and [`compile::compile`] turns it into a blob.
//! `examples/own_model.rs` shows how to write a model of your own. [`run::train()`] trains the model of a
//! [`recipe::Recipe`] and writes the results to a folder, the run folder. [`run::Run::compile`] compiles the model of
//! such a folder.

mod arrays;
pub mod auto;
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
