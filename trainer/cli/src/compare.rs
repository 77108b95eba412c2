//! A model on a board against the same model on the host: every byte must be the same.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Nats};
use elbo_compiler::host::{Blob, HostArena};
use elbo_compiler::stimulus::{Role, role};
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Placement};
use elbo_link::{Bench, Program, StackUse};
use rand_core::{Rng, SeedableRng};

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

/// Runs every program that the model carries on board and host: `samples` samples, and for each of `rows` all others. What
/// costs ten deterministic scores or more is run for every tenth row.
///
/// # Errors
/// The first value that differs; or the board does not answer.
pub fn compare(client: &mut Client, model: &Path, rows: &[Vec<i16>], samples: u32, seed: u64) -> Result<Comparison> {
    let blob = Blob::read(model).with_context(|| format!("{}: cannot be read", model.display()))?;
    let model = blob.load(Limits::host())?;
    let mut arena = HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice())?;
    let rng = |seed: u64| Xoshiro128PlusPlus::seed_from_u64(seed);
    let mut comparison = Comparison {
        samples: Vec::new(),
        scores: Vec::new(),
        values: 0,
        memory: client.memory_use()?,
        load_instructions: client.instructions(Bench::Load, 3)?,
    };
    if let Some(output) = model.program(ProgramKind::Sample).and_then(|program| program.outputs[0]) {
        let drawn = client.sample(seed, samples)?;
        let (mut generator, mut expected, mut out) = (rng(seed), Vec::with_capacity(drawn.len()), vec![0; output.len]);
        for _ in 0..samples {
            session.sample(&mut generator, &mut out)?;
            expected.extend_from_slice(&out);
        }
        same("sample", 0, &drawn, &expected)?;
        comparison.values += drawn.len();
        comparison.samples = drawn.chunks(output.len).map(<[i16]>::to_vec).collect();
    }

    let cheapest = model.program(ProgramKind::Score).map_or(u64::MAX, |program| program.work);
    for (program, kind) in Program::ALL.into_iter().zip(ProgramKind::ALL) {
        let Some(info) = model.program(kind).filter(|_| kind != ProgramKind::Sample) else { continue };
        let step = if info.work / 10 > cheapest { 10 } else { 1 };
        for (index, x) in rows.iter().enumerate().step_by(step) {
            let noise = seed.wrapping_add(index as u64);
            let mut generator = rng(!noise);
            let given = info.inputs.iter().flatten().enumerate().map(|(slot, vector)| match role(kind, slot) {
                Role::Data => x.clone(),
                _ => (0..vector.len).map(|_| (generator.next_u32() >> 16) as i16).collect(),
            });
            let given: Vec<Vec<i16>> = given.collect();
            let inputs: Vec<&[i16]> = given.iter().map(Vec::as_slice).collect();
            let mut out: Vec<Vec<i16>> = info.outputs.iter().flatten().map(|vector| vec![0; vector.len]).collect();
            let mut slots: Vec<&mut [i16]> = out.iter_mut().map(Vec::as_mut_slice).collect();
            let nats = session.run(kind, &inputs, &mut slots, &mut rng(noise))?;
            let (vectors, scalar) = client.run(program, &given.concat(), noise)?;
            same(kind.name(), index, &vectors, &out.concat())?;
            same(kind.name(), index, scalar.as_slice(), info.scalar.then_some(nats.to_bits()).as_slice())?;
            comparison.values += vectors.len() + usize::from(info.scalar);
            if kind == ProgramKind::Score {
                comparison.scores.push(nats);
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
