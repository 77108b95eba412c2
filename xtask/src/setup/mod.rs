//! Installs what the other tasks need in addition to rustup's stable toolchain: the bare-metal targets and the Arm
//! emulator. It prints what it installs and why, and does nothing if everything is there.

mod apt;
mod debian;
pub mod tools;

use std::process::Command;

use anyhow::{Context, Result, bail};
use elbo_link::host::BareToolchain;
use elbo_link::host::toolchain::{TARGETS, default_has_targets};

use crate::shell;

/// Installs everything for `cargo xtask setup`.
pub fn run() -> Result<()> {
    match toolchain()? {
        BareToolchain::Default => println!("bare-metal targets: in the default toolchain"),
        BareToolchain::Assembled(folder) => println!("bare-metal targets: in {}", folder.display()),
    }
    emulator()?;
    println!("emulator: {}", shell::output(Command::new(EMULATOR).arg("--version"))?.lines().next().unwrap_or("?"));
    Ok(())
}

const EMULATOR: &str = "qemu-system-arm";

/// The toolchain for the boards, which is created if there is none.
pub fn toolchain() -> Result<BareToolchain> {
    if default_has_targets() {
        return Ok(BareToolchain::Default);
    }
    if rustup_may_install() {
        println!("Adding the bare-metal targets ({}) to the default toolchain", TARGETS.join(", "));
        match shell::run(Command::new("rustup").args(["target", "add"]).args(TARGETS)) {
            Ok(()) if default_has_targets() => return Ok(BareToolchain::Default),
            Ok(()) => bail!("rustup added the targets, but `rustc` does not see them: is another rustc first in PATH?"),
            Err(error) => eprintln!("{error:#}\nFalling back to Debian's Rust packages."),
        }
    }
    debian::assemble()
        .context("the bare-metal targets are missing; install them with `rustup target add` and run this again")
}

/// Ensures that the Arm emulator is installed.
pub fn emulator() -> Result<()> {
    if !shell::has(EMULATOR) {
        apt::install(&["qemu-system-arm"], "to emulate the boards")?;
    }
    Ok(())
}

fn rustup_may_install() -> bool {
    std::env::var("RUSTUP_AUTO_INSTALL").as_deref() != Ok("0") && shell::has("rustup")
}
