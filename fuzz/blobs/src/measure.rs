//! Counts the instructions of operations and of proofs on emulated boards.

use crate::extremes::{self, OFTEN, ONCE, TIMES};
use anyhow::{Context, Result};
use elbo::{Limits, Model};
use elbo_link::Bench;
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Placement};
use std::path::Path;

/// The cost of one execution of an operation.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The operation and its operands.
    pub name: String,
    /// Instructions that the board executed.
    pub instructions: f64,
    /// Work that the runtime counts.
    pub work: f64,
}

impl Measurement {
    /// Instructions for each unit of work.
    pub fn ratio(&self) -> f64 {
        self.instructions / self.work
    }
}

/// Every operation at its extremes on an emulated board. `folder` receives the blobs.
///
/// # Errors
/// The firmware cannot be built, the emulator is missing, or the board refuses a blob.
pub fn operations(board: &'static Board, folder: &Path) -> Result<Vec<Measurement>> {
    // The smallest board has 16 KB of RAM.
    let all = extremes::all(if board.ram < 1 << 20 { 64 } else { 512 });
    let mut rest: Vec<(String, Vec<u32>)> =
        all.into_iter().map(|extreme| (extreme.name.clone(), extreme.words())).collect();
    let mut measured = Vec::new();
    // The flash of a small board does not hold all of them at once.
    while !rest.is_empty() {
        let mut room = board.flash as usize / 2;
        let fit = |(_, words): &&(String, Vec<u32>)| {
            let left = room.checked_sub(words.len() * 4);
            room = left.unwrap_or(0);
            left.is_some()
        };
        let some = rest.iter().take_while(fit).count().max(1);
        measure(board, rest.drain(..some).collect(), folder, &mut measured)?;
    }
    Ok(measured)
}

/// Measures the operation of each blob.
fn measure(
    board: &'static Board,
    extremes: Vec<(String, Vec<u32>)>,
    folder: &Path,
    measured: &mut Vec<Measurement>,
) -> Result<()> {
    let blobs: Vec<Vec<u32>> = extremes.iter().map(|(_, words)| words.clone()).collect();
    let (mut client, offsets) = serve(board, &blobs, &folder.join("extremes.elbo"))?;
    for ((name, words), offset) in extremes.iter().zip(offsets) {
        let model = Model::load(bytemuck::cast_slice(words), Limits { max_work: u64::MAX })?;
        let work = |kind| model.program(kind).map_or(0.0, |program| program.work as f64);
        let mut run = |program| client.instructions(Bench::ProgramAt { offset, program }, 3);
        let runs = run(ONCE).and_then(|once| Ok([once, run(OFTEN)?]));
        let [once, often] = runs.with_context(|| format!("{name} on {}", board.name))?;
        let more = f64::from(TIMES - 1);
        let (instructions, work) = ((often - once) / more, (work(OFTEN) - work(ONCE)) / more);
        measured.push(Measurement { name: name.clone(), instructions, work });
    }
    Ok(())
}

/// Instructions of loading each blob, accepted or refused, on an emulated board.
///
/// # Errors
/// The firmware cannot be built, or the emulator is missing.
pub fn loads(board: &'static Board, blobs: &[Vec<u32>], folder: &Path) -> Result<Vec<f64>> {
    let (mut client, offsets) = serve(board, blobs, &folder.join("blobs.elbo"))?;
    offsets.into_iter().map(|offset| client.instructions(Bench::LoadAt { offset }, 1)).collect()
}

/// Starts a board with these blobs in its flash, and returns where each of them starts.
fn serve(board: &'static Board, blobs: &[Vec<u32>], file: &Path) -> Result<(Client, Vec<u32>)> {
    // A firmware is not built for a model that is refused, so a valid one comes first.
    let mut bytes = crate::SEEDS[0].1.to_vec();
    let offsets = blobs.iter().map(|words| {
        let offset = bytes.len() as u32;
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        offset
    });
    let offsets = offsets.collect();
    std::fs::write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    let firmware = Firmware::new(board, Application::Serve, Placement::Linked(file.to_owned())).feature("bench");
    Ok((Emulator::start(board, &firmware.build()?)?.connect()?, offsets))
}
