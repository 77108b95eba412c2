//! The compiler of Elbo: a model in floating point becomes a verified program of integers.
//!
//! What goes in is a [`FloatModel`], layers and programs over them; [`About`], which says what the model is; rows of data as
//! the model sees them; and [`Options`]. [`compile`] gives a [`Compiled`]: the blob, which the runtime has proved, and what
//! the reports show. Each pass is a module that reads one representation and returns the next:
//!
//! ```text
//! graph -> fold -> calibrate -> scales -> quantize -> plan -> assemble -> the runtime's proof
//! ```
//!
//! [`host`] runs a blob with the very runtime of a board, [`fidelity`] tells what quantisation cost.

pub mod assemble;
pub mod calibrate;
mod compile;
pub mod fidelity;
pub mod fold;
pub mod graph;
pub mod host;
mod likelihood;
pub mod plan;
pub mod quantize;
pub mod report;
pub mod roc;
pub mod scales;
pub mod stimulus;

pub use compile::{About, CompileError, Compiled, Options, compile};
pub use graph::{DenseLayer, FloatModel};
pub use likelihood::Likelihood;
