//! Kernels: the inner loops of the arithmetic.
//!
//! The portable implementation of a kernel is its definition. An implementation for an architecture must give the same
//! bits for every input, so that a result never depends on the machine. `check` contains the test suite that every
//! implementation of [`dense`](dense()) has to pass, on the host and on the device. Integer sums are exact, so neither
//! the order of additions nor the packing of weights changes a result.
//!
//! Kernels never fail: if an operand is too short, a kernel does nothing. This never happens in a verified program.

mod conv;
mod dense;
#[cfg(elbo_dsp)]
mod dsp;
#[cfg(feature = "front")]
mod fft;
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
#[cfg(all(test, feature = "front"))]
pub(crate) use fft::tests as fft_tests;
#[cfg(feature = "front")]
pub use fft::{Power, power};
pub use pack::{
    Packing, pack_params, pack_weights, pack_word, params_len, unpack_word, weights_len, word_index, words_per_row,
};
