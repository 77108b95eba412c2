//! Kernels: the loops that do the arithmetic.
//!
//! The portable implementation of a kernel is its definition. An arch implementation must give the same bits for every
//! input, so that a result never depends on the machine; `check` holds the one suite that every implementation
//! of [`dense`](dense()) has to pass, on the host and on the device. Integer sums are exact, so the order in which a kernel
//! adds, and the packing in which weights lie, change nothing.
//!
//! Kernels are total: an operand that is too short makes a kernel do nothing. A verified program never runs into that.

mod conv;
mod dense;
#[cfg(elbo_dsp)]
mod dsp;
#[cfg(elbo_m0)]
mod m0;
mod pack;

#[cfg(any(test, feature = "selftest"))]
pub mod check;

pub(crate) use pack::LANES;

#[cfg(feature = "flow")]
pub(crate) use dense::add_rows;

pub use conv::{ConvGeometry, conv};
pub use dense::{DenseMatrix, dense, dense_portable};
pub use pack::{
    Packing, pack_params, pack_weights, pack_word, params_len, unpack_word, weights_len, word_index, words_per_row,
};
