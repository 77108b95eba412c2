//! The model of a firmware, chosen when it is built:
//!
//! | variable | meaning |
//! |---|---|
//! | `ELBO_MODEL` | the blob's file. It is proved on the host first: a blob that the board would refuse is a build error. |
//! | `ELBO_MODEL_ADDRESS` | the blob is not linked in but lies at this flash address, where it can be replaced without touching the application. |
//! | `ELBO_MODEL_SPACE` | bytes reserved there; 256 KiB if unset. |
//! | `ELBO_ARENA`, `ELBO_VALUES` | halfwords of arena, and of input and output buffers: what `ELBO_MODEL` needs if unset. Larger ones leave room for later models. |
#![no_std]

include!(concat!(env!("OUT_DIR"), "/model.rs"));
