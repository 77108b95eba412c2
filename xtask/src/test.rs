//! `cargo xtask test`: everything that must hold, step by step.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::shell::{self, root};
use crate::{firmware, setup};

/// Runs every step; stops at the first that fails.
pub fn run() -> Result<()> {
    step("set-up", setup::run)?;
    step("format", || cargo(&["fmt", "--all", "--check"]).and_then(|()| firmware_cargo(&["fmt", "--all", "--check"])))?;
    step("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("lints of the firmware", || firmware_app(&["clippy"], &["--all-targets", "--", "-D", "warnings"]))?;
    step("writer for a Cortex-M0", writer_for_bare_metal)?;
    step("firmware of every board", firmware::build)?;
    step("no panic, and code size", firmware::check)?;
    step("tests", || cargo(&["test", "--workspace"]))?;
    step("firmware's own tests", || firmware_app(&["test"], &[]))
}

/// The writer needs a heap, but no operating system.
fn writer_for_bare_metal() -> Result<()> {
    let arguments = ["build", "--package", "elbo-writer", "--target", "thumbv6m-none-eabi"];
    shell::run(elbo_link::host::bare_cargo()?.args(arguments).current_dir(root()))
}

/// The application that every board runs, built for the host.
fn firmware_app(command: &[&str], options: &[&str]) -> Result<()> {
    shell::run(
        Command::new("cargo")
            .args(command)
            .args(["--package", "elbo-app"])
            .args(options)
            .env("ELBO_MODEL", root().join("tests/data/digits.elbo"))
            .current_dir(root().join("firmware")),
    )
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let start = Instant::now();
    work().with_context(|| format!("step `{name}` failed"))?;
    println!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("cargo").args(arguments).current_dir(root()))
}

fn firmware_cargo(arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("cargo").args(arguments).current_dir(root().join("firmware")))
}
