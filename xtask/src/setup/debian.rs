//! Provides bare-metal targets where rustup cannot add them: Debian's compiler builds `core`, `alloc` and
//! `compiler_builtins` from Debian's sources, once per target, into a sysroot in the user's cache.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use elbo_link::host::BareToolchain;
use elbo_link::host::toolchain::{STAMP, TARGETS, assembled_folder};

use super::apt;
use crate::shell;

const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const SOURCES: &str = "/usr/lib/rustlib/src/rust/library/core/Cargo.toml";
/// Increase this number when the steps below change, so that older sysroots are rebuilt.
const RECIPE: u32 = 1;
/// The name of the result in rustup: `cargo +elbo-bare build --target ...`.
const LINKED_NAME: &str = "elbo-bare";

/// The assembled toolchain. It is built if it is missing or was built by another compiler.
pub fn assemble() -> Result<BareToolchain> {
    let folder = assembled_folder()?;
    let parent = folder.parent().context("the cache folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Two tasks that start at the same time must not build into the same folder.
    let lock = fs::File::create(parent.join("toolchain.lock"))?;
    lock.lock()?;

    if ![RUSTC, CARGO, SOURCES].iter().all(|path| Path::new(path).exists()) {
        apt::install(&PACKAGES, "because rustup cannot add the bare-metal targets here")?;
    }
    let compiler = shell::output(Command::new(RUSTC).arg("-vV"))?;
    check_version(&compiler)?;
    let stamp = format!("recipe {RECIPE}\ntargets {}\n{compiler}", TARGETS.join(" "));
    if fs::read_to_string(folder.join(STAMP)).ok().as_deref() != Some(&stamp) {
        build(&folder, &compiler, &stamp)?;
    }
    link(&folder);
    Ok(BareToolchain::Assembled(folder))
}

/// Refuses a compiler that is older than the firmware requires.
fn check_version(compiler: &str) -> Result<()> {
    let minor = |version: &str| version.strip_prefix("1.")?.split('.').next()?.parse::<u32>().ok();
    let release = compiler.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("unknown");
    let needed = env!("CARGO_PKG_RUST_VERSION");
    ensure!(
        minor(release) >= minor(needed),
        "{RUSTC} is {release} and the firmware needs {needed}: add Debian's security updates to the package sources \
         (`deb http://deb.debian.org/debian-security bookworm-security main`), then `apt-get update` and `apt-get install {}`",
        PACKAGES.join(" ")
    );
    Ok(())
}

fn build(folder: &Path, compiler: &str, stamp: &str) -> Result<()> {
    println!(
        "Building core, alloc and compiler_builtins for {} with Debian's compiler (once, a minute or two)",
        TARGETS.join(", ")
    );
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let staging = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&staging);
    let host_folder = staging.join("lib/rustlib").join(host);
    fs::create_dir_all(host_folder.join("bin"))?;
    fs::create_dir_all(staging.join("bin"))?;

    let host_libraries = PathBuf::from("/usr/lib/rustlib").join(host).join("lib");
    ensure!(host_libraries.is_dir(), "{} is missing", host_libraries.display());
    symlink(&host_libraries, host_folder.join("lib"))?;
    symlink(find_lld(host)?, host_folder.join("bin/rust-lld"))?;
    script(&staging.join("bin/rustc"), &format!("exec {RUSTC} --sysroot '{}' \"$@\"", folder.display()))?;
    script(&staging.join("bin/cargo"), &format!("exec {CARGO} \"$@\""))?;

    let work = staging.join("build");
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "#![no_std]\n")?;
    fs::write(
        work.join("Cargo.toml"),
        "[package]\nname = \"sysroot\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [profile.release]\nopt-level = 3\ncodegen-units = 1\npanic = \"abort\"\n[workspace]\n",
    )?;
    for target in TARGETS {
        build_target(&work, target)?;
        let libraries = staging.join("lib/rustlib").join(target).join("lib");
        fs::create_dir_all(&libraries)?;
        copy_libraries(&work.join("target").join(target).join("release/deps"), &libraries)?;
    }
    fs::remove_dir_all(&work)?;
    fs::write(staging.join(STAMP), stamp)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&staging, folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn build_target(work: &Path, target: &str) -> Result<()> {
    let mut command = Command::new(CARGO);
    // Fat LTO of an application reads the bitcode of core.
    command
        .current_dir(work)
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", work.join("target"))
        .args(["build", "--release", "--quiet", "--target", target])
        .args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]);
    for name in ["RUSTUP_TOOLCHAIN", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER"] {
        command.env_remove(name);
    }
    shell::run(&mut command)
}

fn copy_libraries(from: &Path, to: &Path) -> Result<()> {
    for name in ["core", "alloc", "compiler_builtins"] {
        let prefix = format!("lib{name}-");
        let library = fs::read_dir(from)?
            .flatten()
            .find(|entry| {
                let file = entry.file_name();
                let file = file.to_string_lossy();
                file.starts_with(&prefix) && file.ends_with(".rlib")
            })
            .with_context(|| format!("cargo left no {prefix}*.rlib in {}", from.display()))?;
        fs::copy(library.path(), to.join(library.file_name()))?;
    }
    Ok(())
}

/// Debian's compiler package has no linker for bare metal, but rustup's toolchain includes one.
fn find_lld(host: &str) -> Result<PathBuf> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let lld = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    if lld.is_file() {
        return Ok(lld);
    }
    for system in ["/usr/bin/ld.lld", "/usr/bin/lld"] {
        if Path::new(system).is_file() {
            return Ok(system.into());
        }
    }
    apt::install(&["lld"], "because the default toolchain has no rust-lld")?;
    match Path::new("/usr/bin/ld.lld") {
        path if path.is_file() => Ok(path.into()),
        _ => bail!("no linker for bare metal: neither rust-lld nor ld.lld"),
    }
}

fn script(path: &Path, body: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{body}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Links the toolchain for use by hand. The tasks call the folder's cargo directly, so a failure here is harmless.
fn link(folder: &Path) {
    let known = Command::new("rustup").args(["toolchain", "list", "-v"]).output();
    let linked = known.is_ok_and(|list| {
        String::from_utf8_lossy(&list.stdout)
            .lines()
            .any(|line| line.starts_with(LINKED_NAME) && line.contains(&*folder.to_string_lossy()))
    });
    if !linked && shell::has("rustup") {
        let _ = shell::run(Command::new("rustup").args(["toolchain", "link", LINKED_NAME]).arg(folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_compiler_is_refused_and_a_new_one_is_not() {
        let error = check_version("rustc 1.85.0\nrelease: 1.85.0\nhost: x").unwrap_err().to_string();
        assert!(error.contains("1.85.0") && error.contains("bookworm-security"), "{error}");
        assert!(check_version("binary: rustc").is_err());
        check_version("release: 1.96.0\nhost: x").unwrap();
    }
}
