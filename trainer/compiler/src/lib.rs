//! The compiler of Elbo turns a model in floating point into a verified program of integer operations.
//!
//! [`compile`] takes a [`FloatModel`] (layers and the programs that use them), the description of the model
//! ([`ModelDescription`]), rows of data in the form that the model reads, and [`Options`]. It returns a [`Compiled`]:
//! the blob, which the runtime has proved, and the contents of the reports. Each pass is a module that reads one
//! representation and returns the next:
//!
//! ```text
//! graph -> fold -> calibrate -> front -> scales -> quantize -> plan -> assemble -> the runtime's proof
//! ```
//!
//! [`host`] runs a blob with the same runtime as a board. [`fidelity`] measures the cost of quantisation.

pub mod assemble;
pub mod calibrate;
mod compile;
mod explain;
pub mod fidelity;
pub mod fold;
pub mod front;
pub mod graph;
mod held_out;
pub mod host;
mod likelihood;
pub mod metrics;
pub mod plan;
mod quantile;
pub mod quantize;
pub mod rate;
pub mod report;
pub mod rules;
pub mod run_length;
pub mod scales;
pub mod stimulus;

pub use compile::{CompileError, Compiled, ModelDescription, Options, compile};
pub use explain::Explanation;
pub use graph::{DenseLayer, FloatModel};
pub use held_out::{HeldOut, HeldOutScores, SCORES};
pub use likelihood::{Likelihood, UnknownLikelihood};
pub use quantile::quantile;
