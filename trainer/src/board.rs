//! A model on a board against the same model on the host: every byte must be the same.

use anyhow::{Context, Result, ensure};
use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Nats};
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Placement};
use elbo_link::{Bench, Program, StackUse};
use rand_core::SeedableRng;
use std::path::Path;

use crate::host::{Blob, HostArena};

/// What was compared, and what the board needed.
#[derive(Debug)]
pub struct Comparison {
    /// The board's samples, equal to the host's.
    pub samples: Vec<Vec<i16>>,
    /// The board's deterministic scores of the rows, equal to the host's.
    pub scores: Vec<Nats>,
    /// Values compared: outputs and scores.
    pub values: usize,
    /// Memory after all that.
    pub memory: StackUse,
    /// Instructions of checking and proving the blob.
    pub load_instructions: f64,
}

/// Starts the console firmware for `model` on an emulated board.
///
/// # Errors
/// The toolchain or emulator is missing, or the firmware does not build.
pub fn start(board: &'static Board, model: &Path) -> Result<Client> {
    let placement = Placement::Linked(model.to_owned());
    let image = Firmware::new(board, Application::Serve, placement).build()?;
    Emulator::start(board, &image)?.connect()
}

/// Draws `samples` samples, and encodes, reconstructs and scores `rows` in every way on board and host. The costly
/// importance-weighted score is computed for every tenth row.
///
/// # Errors
/// The first value that differs; or the board does not answer.
pub fn compare(client: &mut Client, model: &Path, rows: &[Vec<i16>], samples: u32, seed: u64) -> Result<Comparison> {
    let blob = Blob::read(model).with_context(|| format!("{}: cannot be read", model.display()))?;
    let model = blob.load(Limits::default())?;
    let mut arena = HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice())?;
    let length = |kind: ProgramKind, slot: usize| {
        model.program(kind).and_then(|program| program.outputs[slot]).map_or(0, |vector| vector.len)
    };
    let rng = |seed: u64| Xoshiro128PlusPlus::seed_from_u64(seed);

    let drawn = client.sample(seed, samples)?;
    let mut generator = rng(seed);
    let mut expected = Vec::with_capacity(drawn.len());
    let mut out = vec![0; length(ProgramKind::Sample, 0)];
    for _ in 0..samples {
        session.sample(&mut generator, &mut out)?;
        expected.extend_from_slice(&out);
    }
    same("sample", 0, &drawn, &expected)?;
    let mut values = drawn.len();

    let mut scores = Vec::with_capacity(rows.len());
    for (index, x) in rows.iter().enumerate() {
        let mut mu = vec![0; length(ProgramKind::Encode, 0)];
        let mut logvar = vec![0; length(ProgramKind::Encode, 1)];
        session.encode(x, &mut mu, &mut logvar)?;
        mu.extend_from_slice(&logvar);
        same("encode", index, &client.run(Program::Encode, x, 0)?, &mu)?;
        let mut mean = vec![0; length(ProgramKind::Reconstruct, 0)];
        session.reconstruct(x, &mut mean)?;
        same("reconstruct", index, &client.run(Program::Reconstruct, x, 0)?, &mean)?;
        let noise = seed.wrapping_add(index as u64);
        let score = session.score(x)?;
        same("score", index, &[client.score(Program::Score, x, 0)?], &[score.to_bits()])?;
        let monte_carlo = session.score_monte_carlo(x, &mut rng(noise))?.to_bits();
        same("score_monte_carlo", index, &[client.score(Program::ScoreMonteCarlo, x, noise)?], &[monte_carlo])?;
        if index % 10 == 0 {
            let importance = session.score_importance(x, &mut rng(noise))?.to_bits();
            same("score_importance", index, &[client.score(Program::ScoreImportance, x, noise)?], &[importance])?;
            values += 1;
        }
        values += mu.len() + mean.len() + 2;
        scores.push(score);
    }
    Ok(Comparison {
        samples: drawn.chunks(out.len().max(1)).map(<[i16]>::to_vec).collect(),
        scores,
        values,
        memory: client.memory_use()?,
        load_instructions: client.instructions(Bench::Load, 3)?,
    })
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
