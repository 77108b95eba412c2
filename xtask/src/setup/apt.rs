//! Installs Debian packages, with `sudo` if necessary.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::shell;

/// Installs `packages` after printing what is installed and why.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    ensure!(
        shell::has("apt-get"),
        "{} must be installed {why}, and this system has no apt-get: use its own package manager",
        packages.join(" ")
    );
    println!("Installing {} with apt-get, {why}", packages.join(", "));
    shell::run(as_root("apt-get")?.args(["update", "-qq"]))?;
    shell::run(as_root("apt-get")?.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

fn as_root(program: &str) -> Result<Command> {
    let mut command = if shell::output(Command::new("id").arg("-u"))?.trim() == "0" {
        Command::new("env")
    } else {
        ensure!(shell::has("sudo"), "installing packages needs root, and there is no sudo: run this as root");
        let mut command = Command::new("sudo");
        command.arg("env");
        command
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(command)
}
