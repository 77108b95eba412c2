//! `cargo xtask test`: every check and test, step by step.

mod dependencies;
mod documentation;
mod features;
mod packages;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell::{self, root};
use crate::{firmware, setup};

type Step = fn() -> Result<()>;

/// The steps in order. Quick steps come first.
const STEPS: [(&str, Step); 14] = [
    ("set-up", || setup::run().and_then(|()| setup::tools::install())),
    ("format", || cargo(&["fmt", "--all", "--check"]).and_then(|()| firmware_cargo(&["fmt", "--all", "--check"]))),
    ("dependencies", dependencies::check),
    ("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ("lints of the firmware", || firmware_app(&["clippy"], &["--all-targets", "--", "-D", "warnings"])),
    ("documentation", documentation::check),
    ("every feature of the runtime alone", features::check),
    ("the runtime's oldest compiler", features::oldest_compiler),
    ("the writer of blobs on a Cortex-M0", writer_for_bare_metal),
    ("packages", packages::check),
    ("firmware of every board", firmware::build),
    ("no panic, and code size", firmware::check),
    ("tests", || cargo(&["test", "--workspace"])),
    ("firmware's own tests", || firmware_app(&["test"], &[])),
];

/// Runs every step, or those whose names contain `only`. It stops at the first failure.
pub fn run(only: Option<&str>) -> Result<()> {
    let chosen: Vec<_> = STEPS.iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))).collect();
    if chosen.is_empty() {
        bail!("no step has a name with this text; the steps are: {}", STEPS.map(|(name, _)| name).join(", "));
    }
    let mut times = Vec::new();
    for (name, work) in chosen {
        println!("== {name}");
        let start = Instant::now();
        work().with_context(|| format!("step `{name}` failed"))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("== {name}: {seconds:.0} s");
        times.push((name, seconds));
    }
    println!("\nAll steps passed:");
    for (name, seconds) in &times {
        println!("{seconds:>6.0} s  {name}");
    }
    println!("{:>6.0} s  in total", times.iter().map(|(_, seconds)| seconds).sum::<f64>());
    Ok(())
}

/// Checks that the writer of blobs needs a heap, but no operating system.
fn writer_for_bare_metal() -> Result<()> {
    let arguments = ["build", "--package", "elbo-writer", "--target", "thumbv6m-none-eabi"];
    shell::run(elbo_link::host::bare_cargo()?.args(arguments).current_dir(root()))
}

/// The crate of the applications, built for the host.
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

fn cargo(arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("cargo").args(arguments).current_dir(root()))
}

fn firmware_cargo(arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("cargo").args(arguments).current_dir(root().join("firmware")))
}
