//! Checks the runtime with every feature alone, with none and with all, and with the oldest supported compiler.

use std::process::Command;

use anyhow::{Context, Result};
use elbo_link::host::BareToolchain;

use super::cargo;
use crate::setup::tools::HACK;
use crate::shell::{self, root};

/// One core without and one with the DSP extension. Each has its own kernels.
const TARGETS: [&str; 2] = ["thumbv6m-none-eabi", "thumbv7em-none-eabi"];

/// Checks that no feature alone gives a warning, on the host and on bare metal, nor none or all of them with the tests.
/// Disabled operations must be refused.
pub fn check() -> Result<()> {
    shell::run(HACK.command().args([
        "hack",
        "clippy",
        "--package",
        "elbo",
        "--each-feature",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    for features in ["--no-default-features", "--all-features"] {
        cargo(&["clippy", "--package", "elbo", features, "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    }
    let toolchain = BareToolchain::find()?;
    for target in TARGETS {
        bare(&toolchain, target)?;
    }
    cargo(&["test", "--package", "elbo", "--no-default-features", "--lib", "--tests"])?;
    // Sources of noise from every version of `rand_core`.
    cargo(&["test", "--package", "elbo", "--all-features", "--lib", "noise"])?;
    // The code of the README, as docs.rs builds it.
    cargo(&["test", "--package", "elbo", "--all-features", "--doc"])
}

fn bare(toolchain: &BareToolchain, target: &str) -> Result<()> {
    let cargo = toolchain.cargo();
    let mut command = HACK.command();
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .args(["hack", "check", "--package", "elbo", "--each-feature", "--quiet", "--target", target])
        .arg("--target-dir")
        .arg(root().join("target/features"))
        .env("CARGO", cargo.get_program())
        .env("RUSTFLAGS", "-D warnings");
    shell::run(&mut command)
}

/// Checks that the runtime uses nothing newer than its oldest supported compiler. If rustup has that compiler, the
/// runtime is also built with it.
pub fn oldest_compiler() -> Result<()> {
    let version = promised()?;
    println!("the runtime requires Rust {version}");
    cargo(&[
        "clippy",
        "--package",
        "elbo",
        "--all-features",
        "--",
        "-D",
        "warnings",
        "-D",
        "clippy::incompatible_msrv",
    ])?;
    let toolchains = shell::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let Some(toolchain) =
        toolchains.lines().filter_map(|line| line.split(' ').next()).find(|name| is_of(name, &version))
    else {
        println!("SKIPPED: a build with Rust {version}, which is not installed here. The lint above replaces it.");
        return Ok(());
    };
    shell::run(
        Command::new("cargo")
            .arg(format!("+{toolchain}"))
            .args(["check", "--package", "elbo", "--all-features", "--target-dir"])
            .arg(root().join("target/oldest"))
            .current_dir(root()),
    )
}

/// The field `rust-version` of the runtime.
fn promised() -> Result<String> {
    let text = shell::output(
        Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root()),
    )?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("`cargo metadata` gave no JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let runtime = packages.into_iter().find(|package| package["name"] == "elbo");
    let version = runtime.and_then(|package| package["rust_version"].as_str());
    Ok(version.context("runtime/Cargo.toml states no rust-version")?.to_owned())
}

/// Whether a rustup toolchain, for example `1.88.0-x86_64-unknown-linux-gnu`, has this version.
fn is_of(toolchain: &str, version: &str) -> bool {
    toolchain.strip_prefix(version).is_some_and(|rest| rest.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_told_by_its_version() {
        assert!(is_of("1.88.0-x86_64-unknown-linux-gnu", "1.88"));
        assert!(is_of("1.88-x86_64-unknown-linux-gnu", "1.88"));
        assert!(!is_of("1.880.0-x86_64-unknown-linux-gnu", "1.88"));
        assert!(!is_of("stable-x86_64-unknown-linux-gnu", "1.88"));
    }

    #[test]
    fn the_runtime_states_its_oldest_compiler() {
        assert!(promised().unwrap().starts_with("1."));
    }
}
