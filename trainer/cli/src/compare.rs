//! Compares a model on a board with the same model on the host. Every byte must be the same.

use std::path::Path;

use anyhow::{Result, ensure};
use elbo::Nats;
use elbo::program::ProgramKind;
use elbo_compiler::host::{Runner, inputs_with};
use elbo_compiler::stimulus::generator;
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Placement};
use elbo_link::{Bench, StackUse};

use crate::blob::{load, read};

/// The results of a comparison, and the resources that the board needed.
#[derive(Debug)]
pub struct Comparison {
    /// The board's samples, equal to the host's.
    pub samples: Vec<Vec<i16>>,
    /// The board's deterministic scores of the rows, equal to the host's.
    pub scores: Vec<Nats>,
    /// Number of values that were compared: elements of outputs, and scores.
    pub values: usize,
    /// Memory used by all runs.
    pub memory: StackUse,
    /// Instructions for checking and proving the blob.
    pub load_instructions: f64,
}

/// Starts the console firmware for `model` on an emulated board.
///
/// # Errors
/// The toolchain or the emulator is missing, or the firmware cannot be built.
pub fn start(board: &'static Board, model: &Path) -> Result<Client> {
    let placement = Placement::Linked(model.to_owned());
    let image = Firmware::new(board, Application::Serve, placement).build()?;
    Emulator::start(board, &image)?.connect()
}

/// Runs every program of the model on the board and on the host. It draws `samples` samples, and runs all other
/// programs for each of `rows`. A program that takes ten times the work of the deterministic score is run for every
/// tenth row only.
///
/// # Errors
/// A value differs, or the board does not answer. The first value that differs is named.
pub fn compare(client: &mut Client, model: &Path, rows: &[Vec<i16>], samples: u32, seed: u64) -> Result<Comparison> {
    let blob = read(model)?;
    let model = load(&blob, model)?;
    let mut runner = Runner::new(&model);
    let mut comparison = Comparison {
        samples: Vec::new(),
        scores: Vec::new(),
        values: 0,
        memory: client.memory_use()?,
        load_instructions: client.instructions(Bench::Load, 3)?,
    };
    if let Some(output) = model.program(ProgramKind::Sample).and_then(|program| program.outputs[0]) {
        let drawn = client.sample(seed, samples)?;
        let (mut noise, mut expected) = (generator(seed), Vec::with_capacity(drawn.len()));
        for _ in 0..samples {
            expected.extend(runner.run(ProgramKind::Sample, &[], &mut noise)?.vectors.concat());
        }
        same("sample", 0, &drawn, &expected)?;
        comparison.values += drawn.len();
        comparison.samples = drawn.chunks(output.len).map(<[i16]>::to_vec).collect();
    }

    let cheapest = model.program(ProgramKind::Score).map_or(u64::MAX, |program| program.work);
    for kind in ProgramKind::ALL {
        let Some(info) = model.program(kind).filter(|_| kind != ProgramKind::Sample) else { continue };
        let step = if info.work / 10 > cheapest { 10 } else { 1 };
        for (index, x) in rows.iter().enumerate().step_by(step) {
            let seed = seed.wrapping_add(index as u64);
            let inputs = inputs_with(x, kind, &info, &mut generator(!seed));
            let host = runner.run(kind, &inputs, &mut generator(seed))?;
            let (vectors, scalar) = client.run(kind, &inputs.concat(), seed)?;
            same(kind.name(), index, &vectors, &host.vectors.concat())?;
            same(kind.name(), index, scalar.as_slice(), host.scalar.map(Nats::to_bits).as_slice())?;
            comparison.values += vectors.len() + usize::from(info.scalar);
            if kind == ProgramKind::Score {
                comparison.scores.push(host.nats());
            }
        }
    }
    comparison.memory = client.memory_use()?;
    Ok(comparison)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, index: usize, board: &[T], host: &[T]) -> Result<()> {
    ensure!(
        board.len() == host.len(),
        "{what} {index}: {} values from the board, {} from the host",
        board.len(),
        host.len()
    );
    let different = board.iter().zip(host).position(|(board, host)| board != host);
    if let Some(at) = different {
        anyhow::bail!("{what} {index}, value {at}: {:?} on the board, {:?} on the host", board[at], host[at]);
    }
    Ok(())
}
