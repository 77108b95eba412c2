//! Selects the cargo that builds for bare metal. This is the default toolchain if it has the targets. Otherwise it is
//! the toolchain that `cargo xtask setup` assembles in the user's cache where rustup cannot add the targets.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The bare-metal targets of the boards under `firmware/boards`.
pub const TARGETS: [&str; 4] =
    ["thumbv6m-none-eabi", "thumbv7em-none-eabi", "thumbv7em-none-eabihf", "thumbv8m.main-none-eabi"];

/// Marks a complete sysroot. Its text identifies the compiler and the build steps.
pub const STAMP: &str = "elbo-toolchain.stamp";

/// A toolchain that can build every target of [`TARGETS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BareToolchain {
    /// The default toolchain.
    Default,
    /// The folder that `cargo xtask setup` assembled.
    Assembled(PathBuf),
}

impl BareToolchain {
    /// Finds a usable toolchain without changing anything.
    ///
    /// # Errors
    /// There is no usable toolchain. The message says which command creates one.
    pub fn find() -> Result<Self> {
        if default_has_targets() {
            return Ok(Self::Default);
        }
        let folder = assembled_folder()?;
        if folder.join(STAMP).is_file() {
            return Ok(Self::Assembled(folder));
        }
        bail!("no installed toolchain can build for {}. Run `cargo xtask setup`.", TARGETS.join(", "))
    }

    /// A cargo of this toolchain. Compiler flags from the environment are removed, because they would replace those in
    /// a board's `.cargo/config.toml`.
    #[must_use]
    pub fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Default => Command::new("cargo"),
            Self::Assembled(folder) => {
                let mut command = Command::new(folder.join("bin/cargo"));
                command.env("RUSTC", folder.join("bin/rustc"));
                command
            }
        };
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER"] {
            command.env_remove(name);
        }
        command
    }
}

/// Cargo for bare-metal builds; see [`BareToolchain::find`].
///
/// # Errors
/// Those of [`BareToolchain::find`].
pub fn bare_cargo() -> Result<Command> {
    BareToolchain::find().map(|toolchain| toolchain.cargo())
}

/// The folder of the assembled toolchain: `$XDG_CACHE_HOME/elbo/toolchain`, or `~/.cache/elbo/toolchain`.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn assembled_folder() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|value| Path::new(value).is_absolute()) {
        Some(cache) => PathBuf::from(cache),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(cache.join("elbo/toolchain"))
}

/// Whether the default `rustc` has a `core` for every target.
#[must_use]
pub fn default_has_targets() -> bool {
    TARGETS.iter().all(|target| {
        Command::new("rustc")
            .args(["--print", "target-libdir", "--target", target])
            .output()
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .is_some_and(|path| has_core(Path::new(path.trim())))
    })
}

fn has_core(folder: &Path) -> bool {
    std::fs::read_dir(folder)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_core_is_no_toolchain() {
        assert!(!has_core(Path::new("/nonexistent")));
    }

    #[test]
    fn the_callers_flags_do_not_reach_a_board() {
        let command = BareToolchain::Assembled("/x".into()).cargo();
        assert!(command.get_envs().any(|(name, value)| name == "RUSTFLAGS" && value.is_none()));
        assert_eq!(command.get_program(), "/x/bin/cargo");
    }
}
