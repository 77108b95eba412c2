//! What tests that cross crates share: the golden blobs.

use std::path::{Path, PathBuf};

/// A file of `tests/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// One golden blob of every family and likelihood. Those of the planar and radial flows are made by
/// `elbo train --energy u1 --steps 4000`, `elbo train --energy u1 --flow radial --set flow.steps=8 --steps 2000` and
/// `elbo train digits --hidden 16 --latent 4 --posterior planar --set vae.posterior.steps=4 --steps 3000`, and `elbo compile`.
#[must_use]
pub fn families() -> Vec<PathBuf> {
    let names = ["adgm", "conditional", "dlgm", "logistic", "nice", "planar", "posterior", "radial", "realnvp", "wgan"];
    names.map(|name| data(&format!("families/{name}.elbo"))).to_vec()
}

// The snippets of the front page as they are written. A doc comment here would change where their paths start.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct FrontPage;
