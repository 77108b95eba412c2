//! The common part of the fuzzers, the stress run and the comparison of devices with the host: valid blobs, mutations
//! that know their structure, and one way to run the results.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(missing_docs, unsafe_code)]

mod after;
#[cfg(feature = "std")]
pub mod builder;
mod case;
#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "std")]
pub mod extremes;
#[cfg(feature = "std")]
mod failure;
#[cfg(feature = "device")]
pub mod measure;
mod mutate;
#[cfg(feature = "std")]
pub mod operands;
#[cfg(feature = "std")]
pub mod reference;
mod repair;
mod run;
mod seed;
#[cfg(feature = "std")]
pub mod seeds;
#[cfg(feature = "std")]
pub mod worst;

pub use after::{AfterProof, Clock, SLOWER, run_after_proof, run_changed};
pub use case::{MEMORY, SPACE, Tally, WORK, run_case, run_cases, run_twice, scratch_len, split_scratch, write_case};
#[cfg(feature = "std")]
pub use failure::save_case;
pub use mutate::{Random, mutate, mutate_bytes};
pub use run::{Outcome, run};
pub use seed::SEEDS;
