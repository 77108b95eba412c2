//! Checks dependencies: their licences and sources according to `deny.toml`, and known vulnerabilities.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::tools::DENY;
use crate::shell;

const MANIFESTS: [&str; 3] = ["Cargo.toml", "firmware/Cargo.toml", "fuzz/fuzzers/Cargo.toml"];

/// Checks all three workspaces.
pub fn check() -> Result<()> {
    for manifest in MANIFESTS {
        shell::run(deny(manifest).args(["licenses", "bans", "sources"]))?;
    }
    advisories()
}

/// Checks for known vulnerabilities if the list of advisories can be fetched.
fn advisories() -> Result<()> {
    for manifest in MANIFESTS {
        let mut command = deny(manifest);
        command.arg("advisories");
        let text = shell::display(&command);
        eprintln!("+ {text}");
        let output = command.output().with_context(|| format!("cannot start `{text}`"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            continue;
        }
        if errors.contains("failed to fetch advisory database") {
            println!("SKIPPED: known vulnerabilities. RustSec's list of them cannot be fetched from this machine.");
            return Ok(());
        }
        bail!("`{text}` failed: {}\n{errors}", output.status);
    }
    Ok(())
}

fn deny(manifest: &str) -> Command {
    let mut command = DENY.command();
    command.args(["--manifest-path", manifest, "--config", "deny.toml", "check"]);
    command
}
