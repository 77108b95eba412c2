//! Cargo subcommands that the tests need. Missing ones are built from crates.io into `target/tools`, each in a fixed
//! version.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::shell::{self, root};

/// A cargo subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
    purpose: &'static str,
}

/// Runs cargo for each feature.
pub const HACK: Tool = Tool { name: "cargo-hack", version: "0.6.46", purpose: "to check every feature alone" };
/// Checks licences, sources and advisories of dependencies.
pub const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", purpose: "to check the dependencies' licences" };

/// Builds the tools that are missing.
pub fn install() -> Result<()> {
    [HACK, DENY].iter().try_for_each(Tool::install)
}

impl Tool {
    /// The tool's command, without arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.binary());
        command.current_dir(root());
        command
    }

    fn binary(&self) -> PathBuf {
        folder().join("bin").join(self.name)
    }

    fn install(&self) -> Result<()> {
        let Self { name, version, purpose } = self;
        if self.is_installed() {
            println!("{name}: {version}");
            return Ok(());
        }
        println!("Building {name} {version}, {purpose} (once, a minute or less)");
        let start = Instant::now();
        // The tool spends little time computing, so an optimised build would take longer than it saves.
        shell::run(
            Command::new("cargo")
                .args(["install", "--locked", "--debug", "--force", "--root"])
                .arg(folder())
                .arg(format!("{name}@{version}"))
                .env("CARGO_PROFILE_DEV_DEBUG", "false")
                .env("CARGO_INCREMENTAL", "0")
                .current_dir(root()),
        )?;
        println!("{name}: {version}, built in {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Whether cargo's list of installed tools contains this version.
    fn is_installed(&self) -> bool {
        let listed = fs::read_to_string(folder().join(".crates.toml")).unwrap_or_default();
        listed.contains(&format!("\"{} {} (", self.name, self.version)) && self.binary().is_file()
    }
}

fn folder() -> PathBuf {
    root().join("target/tools")
}
