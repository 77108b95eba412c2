//! `cargo xtask firmware`: every board's images, and what must hold of them once they are linked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use elbo_link::host::{Application, Board, Firmware, Placement};
use object::{Object, ObjectSection, ObjectSymbol};

use crate::shell::root;

/// Flash that the runtime and the smallest application around it may take, without the model. The aim is 16 KB for the
/// runtime alone; this keeps what has been reached.
const CODE_LIMIT: u64 = 24 << 10;

fn golden() -> PathBuf {
    root().join("tests/data/digits.elbo")
}

/// Builds every application for every board.
pub fn build() -> Result<()> {
    for board in Board::all() {
        for application in [Application::Serve, Application::Generate, Application::Steer] {
            let image = Firmware::new(board, application, Placement::Linked(golden())).build()?;
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

/// The smallest image that loads, samples, encodes and scores: its code must fit, and must have no way to panic.
pub fn check() -> Result<()> {
    for (name, address) in [("mps2-an386", 0x20_0000), ("microbit", 0x3_0000)] {
        // The model stands apart, so that what is linked is the runtime.
        let placement = Placement::Apart { model: golden(), address, space: 64 << 10 };
        let board = Board::find(name)?;
        let image = Firmware::new(board, Application::Serve, placement).package("minimal", "minimal").build()?;
        let panics = panic_symbols(&image.path)?;
        ensure!(panics.is_empty(), "{name} can panic: {}", panics.join(", "));
        let bytes = code(&image.path)?;
        println!("{name} ({}): {bytes} bytes of code without the model; no panic is linked", board.core);
        ensure!(bytes <= CODE_LIMIT, "{name}: {bytes} bytes of code, more than {CODE_LIMIT}");
    }
    Ok(())
}

fn code(image: &Path) -> Result<u64> {
    let bytes = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let file = object::File::parse(&*bytes)?;
    let size = |name: &str| file.section_by_name(name).map_or(0, |section| section.size());
    Ok(size(".vector_table") + size(".text") + size(".rodata") + size(".data"))
}

fn panic_symbols(image: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let file = object::File::parse(&*bytes)?;
    let names: Vec<String> = file.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned)).collect();
    if names.is_empty() {
        bail!("{} has no symbols to check", image.display());
    }
    let panics = |name: &String| name.contains("panicking") || name.contains("rust_begin_unwind");
    Ok(names.into_iter().filter(panics).collect())
}
