//! The golden blobs, which several tests share.

use std::path::{Path, PathBuf};

/// A file of `tests/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// One golden blob for every family and likelihood. The blobs of planar and radial flows were made by `elbo train
/// --energy u1 --steps 4000`, `elbo train --energy u1 --flow radial --set flow.steps=8 --steps 2000` and `elbo train digits
/// --hidden 16 --latent 4 --posterior planar --set vae.posterior.steps=4 --steps 3000`, each followed by `elbo compile`. The blob of
/// the mixture was made by `elbo train --family mixture --data moons --components 6 PLAIN`, and that of a front end by `elbo train
/// --family mixture --data machine --front spectrum,statistics,samples --window 80 --hop 80 --bands 6 --components 1 --set
/// front.decimate=20 --set front.statistics=median_absolute,kurtosis PLAIN`, where PLAIN stands for the options of plain Gaussians:
/// `--set mixture.scales=1 --set mixture.rounding=false --set mixture.target=diagonal --set mixture.shrinkage=0.05 --set
/// mixture.floor=0.001`.
#[must_use]
pub fn families() -> Vec<PathBuf> {
    let names = [
        "adgm",
        "conditional",
        "dlgm",
        "front",
        "logistic",
        "mixture",
        "nice",
        "planar",
        "posterior",
        "radial",
        "realnvp",
        "wgan",
    ];
    names.map(|name| data(&format!("families/{name}.elbo"))).to_vec()
}

// The unchanged code examples of the front page. A doc comment here would change the base of their paths.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct FrontPage;
