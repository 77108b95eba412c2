//! `cargo xtask bench`: counts instructions on every emulated core, and compares training with stock candle.

use std::path::PathBuf;
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
