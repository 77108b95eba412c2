//! The model of a firmware, which is chosen at build time:
//!
//! | variable | meaning |
//! |---|---|
//! | `ELBO_MODEL` | The file of the blob. It is proved on the host first, so a blob that the board would refuse is a build error. |
//! | `ELBO_MODEL_ADDRESS` | The blob is not linked into the image. It lies at this flash address, where it can be replaced without changing the application. |
//! | `ELBO_MODEL_SPACE` | Bytes reserved at this address; 256 KiB if unset. |
//! | `ELBO_ARENA`, `ELBO_VALUES` | Halfwords of the arena, and of the input and output buffers. If unset, they are what `ELBO_MODEL` needs. Larger ones leave room for later models. |
#![no_std]

include!(concat!(env!("OUT_DIR"), "/model.rs"));
