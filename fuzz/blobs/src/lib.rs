//! Valid blobs, structure-aware mutations of them and one way to run whatever comes out: the common part of the fuzzers,
//! the stress run and the comparison of devices with the host.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs, unsafe_code)]

#[cfg(feature = "std")]
pub mod builder;
mod mutate;
mod repair;
mod run;
#[cfg(feature = "std")]
pub mod seeds;

pub use mutate::{Random, mutate, mutate_bytes};
pub use run::{Outcome, run};

macro_rules! seeds {
    ($($name:literal),*) => {
        /// The checked-in seeds by name: small valid blobs that cover every operation.
        pub static SEEDS: &[(&str, &[u8])] = &[$(($name, {
            static BYTES: &[u8] = elbo::include_blob!(concat!("../../seeds/", $name, ".elbo"));
            BYTES
        })),*];
    };
}
seeds!("bernoulli", "gaussian", "elementwise", "nested", "decode");
