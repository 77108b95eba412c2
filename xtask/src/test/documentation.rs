//! Checks that rustdoc gives no warning.

use std::process::Command;

use anyhow::Result;

use crate::shell::{self, root};

/// Checks the whole workspace, and the runtime as docs.rs shows it.
pub fn check() -> Result<()> {
    for options in [&["--workspace"][..], &["--package", "elbo", "--all-features"]] {
        shell::run(
            Command::new("cargo")
                .args(["doc", "--no-deps"])
                .args(options)
                .env("RUSTDOCFLAGS", "-D warnings")
                .current_dir(root()),
        )?;
    }
    Ok(())
}
