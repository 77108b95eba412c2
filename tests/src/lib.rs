//! What tests that cross crates share: the golden blobs.

use std::path::{Path, PathBuf};

/// A file of `tests/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// One golden blob of every family and likelihood.
#[must_use]
pub fn families() -> Vec<PathBuf> {
    let names = ["adgm", "conditional", "dlgm", "logistic", "nice", "planar", "posterior", "radial", "realnvp", "wgan"];
    names.map(|name| data(&format!("families/{name}.elbo"))).to_vec()
}
