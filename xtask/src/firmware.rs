//! `cargo xtask firmware`: builds every board's images and checks the linked images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use elbo_link::host::{Application, Board, Firmware, Placement};
use object::{Object, ObjectSection, ObjectSymbol};

use crate::shell::root;

/// A use of the runtime, the feature of `firmware/minimal` that has its operations, and the largest size in flash of the
/// whole image on a Cortex-M4 without the model, in bytes.
const USES: [(&str, &str, Option<u64>); 7] = [
    ("the score of a blob of pixels that has nothing else", "pixels-score", Some(15 << 10)),
    ("the score of a blob of pixels that has all programs", "pixels", Some(15 << 10)),
    ("the score of a table's blob that has nothing else", "table-score", Some(15 << 10)),
    ("the score of a table's blob that has all programs", "table", Some(15 << 10)),
    ("the score of a blob of pixels, and alarms", "detect", None),
    ("a VAE's programs", "vae", Some(19 << 10)),
    ("every program and operation", "all", None),
];

/// The largest size of the monitor with the runtime on a Cortex-M4, in bytes.
const MONITOR_LIMIT: u64 = 56 << 10;

fn golden() -> PathBuf {
    root().join("tests/data/digits.elbo")
}

/// A model with a front end.
fn front() -> PathBuf {
    root().join("tests/data/families/front.elbo")
}

/// Builds every application for every board.
pub fn build() -> Result<()> {
    for board in Board::all() {
        for application in [Application::Serve, Application::Generate, Application::Steer, Application::Monitor] {
            let model = if application == Application::Monitor { front() } else { golden() };
            let image = Firmware::new(board, application, Placement::Linked(model)).build()?;
            println!(
                "{:<12} {:<10} {:<9} {:>7} bytes of code",
                board.name,
                board.core,
                application.name(),
                code(&image.path)?
            );
        }
    }
    Ok(())
}

/// Checks the smallest image of each of the [`USES`]. It must not be larger than stated, and contain neither a panic nor
/// floating point.
///
/// The searches are first tested on images that panic and use floating point on purpose. A search that finds nothing
/// there would find nothing anywhere.
pub fn check() -> Result<()> {
    let m4 = Board::find("mps2-an386")?;
    for (feature, forbidden) in [("panics", Forbidden::Panic), ("floats", Forbidden::Float)] {
        let control = minimal(m4).feature(feature).build()?;
        ensure!(
            !forbidden.found_in(&control.path)?.is_empty(),
            "the search for {forbidden:?} finds nothing in an image that contains it on purpose"
        );
    }
    for board in [m4, Board::find("microbit")?] {
        for (programs, feature, limit) in USES {
            let bytes = report(board, programs, &minimal(board).feature(feature).build()?.path)?;
            let limit = limit.filter(|_| board.name == m4.name).unwrap_or(u64::MAX);
            ensure!(bytes <= limit, "{programs}: the image takes {bytes} bytes, more than the limit of {limit}");
        }
        report_monitor(board)?;
    }
    Ok(())
}

/// Prints the size of the application `monitor` without drivers, with the operations that its model needs.
fn report_monitor(board: &'static Board) -> Result<()> {
    let placement = Placement::Apart { model: front(), address: 0x10_0000, space: 0x10_0000 };
    let firmware = Firmware::new(board, Application::Monitor, placement).package("minimal", "minimal");
    let image = firmware.feature("monitor").build()?;
    let whole = report(board, "the application `monitor` of a mixture behind a front end", &image.path)?;
    let limit = if board.dsp { MONITOR_LIMIT } else { u64::MAX };
    ensure!(whole <= limit, "the monitor: the image takes {whole} bytes, more than the limit of {limit}");
    Ok(())
}

/// Prints the sizes of an image and returns that of the whole.
fn report(board: &Board, programs: &str, image: &Path) -> Result<u64> {
    for forbidden in [Forbidden::Panic, Forbidden::Float] {
        let found = forbidden.found_in(image)?;
        ensure!(found.is_empty(), "{}, {programs}: the image contains {forbidden:?}: {}", board.core, found.join(", "));
    }
    let parts = breakdown(image)?;
    let (image, runtime): (u64, u64) = (parts.iter().sum(), parts[..4].iter().sum());
    println!("{}, {programs}: {image} bytes of flash without a model, of which {runtime} are the runtime", board.core);
    for (origin, bytes) in ORIGINS.iter().zip(parts) {
        println!("  {bytes:>6}  {origin}");
    }
    println!("  no panic and no floating point is linked");
    Ok(image)
}

/// The package `firmware/minimal` for a board's core. The model is separate, so that the compiler cannot optimise for
/// it.
fn minimal(board: &'static Board) -> Firmware {
    let placement = Placement::Apart { model: golden(), address: 0x10_0000, space: 0x10_0000 };
    Firmware::new(board, Application::Serve, placement).package("minimal", "minimal")
}

/// Code that the runtime must not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forbidden {
    Panic,
    Float,
}

impl Forbidden {
    /// The symbols of this kind in an image.
    fn found_in(self, image: &Path) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (name, _) in symbols(image)? {
            if self.is(&name) {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn is(self, name: &str) -> bool {
        match self {
            Self::Panic => name.contains("core::panicking") || name.contains("rust_begin_unwind"),
            // Cores without a floating-point unit call these functions.
            Self::Float => {
                ["__aeabi_f", "__aeabi_d", "__aeabi_i2", "__aeabi_l2", "__aeabi_ui2", "__aeabi_ul2"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
                    || name.contains("compiler_builtins::float")
            }
        }
    }
}

/// The origins of symbols, as far as their names show.
const ORIGINS: [&str; 5] = [
    "elbo",
    "the application, and what of elbo is inlined into it",
    "elbo's tables",
    "the core library, arithmetic and memory routines of the compiler",
    "vector table and start-up",
];

/// Bytes of flash by origin. Bytes without a symbol, such as alignment, count as start-up.
fn breakdown(image: &Path) -> Result<[u64; ORIGINS.len()]> {
    let mut bytes = [0; ORIGINS.len()];
    for (name, size) in symbols(image)? {
        let last = name.rsplit("::").next().unwrap_or_default();
        let origin = if name.starts_with("elbo::") || name.contains("<elbo::") || name.contains(" as elbo::") {
            if last.chars().any(|letter| letter.is_ascii_lowercase()) { 0 } else { 2 }
        } else if ["minimal::", "elbo_app::", "<elbo_app::", "elbo_link::", "<elbo_link::"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            1
        } else if [
            "compiler_builtins::",
            "__aeabi_",
            "__divmoddi4",
            "core::",
            "<core::",
            "serde_core::",
            "<serde_core::",
            "postcard::",
            "<postcard::",
            "<&",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        {
            3
        } else {
            continue;
        };
        bytes[origin] += size;
    }
    bytes[4] = code(image)?.saturating_sub(bytes.iter().sum());
    Ok(bytes)
}

fn code(image: &Path) -> Result<u64> {
    let bytes = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let file = object::File::parse(&*bytes)?;
    let size = |name: &str| file.section_by_name(name).map_or(0, |section| section.size());
    Ok(size(".vector_table") + size(".text") + size(".rodata") + size(".data"))
}

/// The symbols in flash: names, demangled and without hashes, and sizes.
fn symbols(image: &Path) -> Result<Vec<(String, u64)>> {
    let bytes = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let file = object::File::parse(&*bytes)?;
    let flash = [".text", ".rodata"].map(|name| file.section_by_name(name).map(|section| section.index()));
    let symbols: Vec<(String, u64)> = file
        .symbols()
        .filter(|symbol| symbol.section_index().is_some() && flash.contains(&symbol.section_index()))
        .filter_map(|symbol| Some((format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?)), symbol.size())))
        .collect();
    if symbols.is_empty() {
        bail!("{} has no symbols to check", image.display());
    }
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_is_recognised_by_name() {
        for name in ["core::panicking::panic_bounds_check", "__rustc::rust_begin_unwind"] {
            assert!(Forbidden::Panic.is(name) && !Forbidden::Float.is(name), "{name}");
        }
        for name in ["__aeabi_fmul", "__aeabi_i2f", "compiler_builtins::float::mul::__mulsf3"] {
            assert!(Forbidden::Float.is(name) && !Forbidden::Panic.is(name), "{name}");
        }
        for name in ["elbo::session::Session::run", "__aeabi_ldivmod", "__aeabi_memclr4", "__aeabi_lmul"] {
            assert!(!Forbidden::Float.is(name) && !Forbidden::Panic.is(name), "{name}");
        }
    }
}
