//! `cargo xtask bench`: counts instructions on every emulated core, and compares training with stock candle.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Placement};
use elbo_link::{Bench, ProgramKind};

use crate::shell::{self, root};

/// Prints instructions, not cycles: the emulator counts one nanosecond for each instruction.
pub fn cores(model: Option<PathBuf>) -> Result<()> {
    crate::setup::run()?;
    let kernels_too = model.is_none();
    let model = model.unwrap_or_else(|| root().join("tests/data/digits.elbo"));
    let model = model.canonicalize().with_context(|| format!("cannot read {}", model.display()))?;
    for board in Board::all().iter().filter(|board| board.emulated()) {
        let image =
            Firmware::new(board, Application::Serve, Placement::Linked(model.clone())).feature("bench").build()?;
        let mut client = Emulator::start(board, &image)?.connect()?;
        println!("\n{} ({}), instructions under emulation", board.name, board.core);
        if kernels_too {
            kernels(&mut client, board)?;
        }
        let info = client.info()?;
        let load = client.instructions(Bench::Load, 3)?;
        println!(
            "  load (CRC and proof)          {:>12.0}  {:.2} per blob byte",
            load,
            load / f64::from(info.blob_len)
        );
        let count = 1000;
        let normal = client.instructions(Bench::Normal { count }, 10)?;
        println!("  normal draw                   {:>12.1}", normal / f64::from(count));
        for program in ProgramKind::ALL {
            let Some(shape) = client.find_shape(program)? else { continue };
            let instructions = client.instructions(Bench::Program(program), 3)?;
            let name = format!("{program:?}");
            println!(
                "  {name:<29} {instructions:>12.0}  {:.2} per multiply-accumulate",
                instructions / shape.macs as f64
            );
        }
    }
    Ok(())
}

/// Prints the instructions for each unit of work, for every operation at its extremes, the largest first.
pub fn work() -> Result<()> {
    crate::setup::run()?;
    for board in [Board::find("mps2-an386")?, Board::find("microbit")?] {
        let folder = root().join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let mut measured = elbo_fuzz_blobs::measure::operations(board, &folder)?;
        measured.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
        println!("\n{} ({}), instructions under emulation", board.name, board.core);
        println!("  {:<40} {:>12} {:>10} {:>9}", "operation", "instructions", "work", "ratio");
        for one in &measured {
            println!("  {:<40} {:>12.0} {:>10.0} {:>9.2}", one.name, one.instructions, one.work, one.ratio());
        }
        if let [most, .., least] = &measured[..] {
            println!("  largest ratio over smallest: {:.2}", most.ratio() / least.ratio());
        }
    }
    Ok(())
}

/// Prints the instructions of loading each byte of the models of the tests, and of the blobs that take longest.
pub fn loads() -> Result<()> {
    crate::setup::run()?;
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let mut models = Vec::new();
    for name in ["tests/data/digits.elbo", "tests/data/families"] {
        let path = root().join(name);
        let mut files = vec![path.clone()];
        if path.is_dir() {
            files = std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            files.sort();
        }
        for file in files {
            let bytes = std::fs::read(&file)?;
            let words = bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            models.push((file.file_name().unwrap_or_default().to_string_lossy().into_owned(), words));
        }
    }
    let [large, small] = [Board::find("mps2-an386")?, Board::find("microbit")?];
    print_loads(large, &models, &folder)?;
    print_loads(small, &models, &folder)?;
    let worst = elbo_fuzz_blobs::worst::all();
    let order = print_loads(large, &worst, &folder)?;
    // The flash of the small board has room for the worst of them.
    let mut placed: Vec<_> = order.into_iter().zip(worst).collect();
    placed.sort_by_key(|(place, _)| *place);
    let mut worst: Vec<_> = placed.into_iter().map(|(_, blob)| blob).collect();
    let mut room = (small.flash / 2) as usize;
    worst.retain(|(_, words)| {
        let fits = words.len() * 4 <= room;
        room -= if fits { words.len() * 4 } else { 0 };
        fits
    });
    print_loads(small, &worst, &folder).map(|_| ())
}

/// Prints the instructions for each byte, the largest number first, and returns the place of each blob in this order.
fn print_loads(board: &'static Board, blobs: &[(String, Vec<u32>)], folder: &Path) -> Result<Vec<usize>> {
    let words: Vec<Vec<u32>> = blobs.iter().map(|(_, words)| words.clone()).collect();
    let loads = elbo_fuzz_blobs::measure::loads(board, &words, folder)?;
    let per_byte = |at: usize| loads[at] / (blobs[at].1.len() * 4) as f64;
    let mut order: Vec<usize> = (0..blobs.len()).collect();
    order.sort_by(|a, b| per_byte(*b).total_cmp(&per_byte(*a)));
    println!("\n{} ({}), instructions under emulation of loading a blob", board.name, board.core);
    for &at in &order {
        let (name, words) = &blobs[at];
        println!("  {name:<50} {:>7} bytes {:>12.0} {:>8.2} per byte", words.len() * 4, loads[at], per_byte(at));
    }
    let mut places = vec![0; blobs.len()];
    order.into_iter().enumerate().for_each(|(place, at)| places[at] = place);
    Ok(places)
}

fn kernels(client: &mut Client, board: &Board) -> Result<()> {
    // Weights of 8 bits for the largest of these need 320 KB of RAM.
    let shapes: &[(u16, u16)] =
        if board.ram < 1 << 20 { &[(32, 32), (64, 64)] } else { &[(128, 640), (640, 128), (784, 400), (400, 784)] };
    for &(rows, cols) in shapes {
        for dsp in [true, false] {
            let bench = Bench::Dense { rows, cols, dsp };
            let Ok(instructions) = client.instructions(bench, 3) else { continue };
            let macs = f64::from(rows) * f64::from(cols);
            let (packing, words) = if dsp { ("dsp", 0.375) } else { ("plain", 0.0) };
            let moved =
                if dsp && board.dsp { format!(", {words} words per MAC by LDM and LDRD") } else { String::new() };
            println!(
                "  dense {cols:>4} -> {rows:<4} {packing:<9} {instructions:>14.0}  {:.3} per MAC{moved}",
                instructions / macs
            );
        }
    }
    Ok(())
}

/// Compares the training step with stock candle.
pub fn training() -> Result<()> {
    shell::run(
        Command::new("cargo")
            .args(["bench", "--profile", "dev", "--package", "elbo-trainer", "--bench", "train_step"])
            .current_dir(root()),
    )
}
