//! Runs the same cases on boards and on the host, and compares their digests.

use crate::{MEMORY, Tally, run_cases, save_case, scratch_len, split_scratch};
use anyhow::{Context, Result, bail, ensure};
use elbo_link::StackUse;
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Image, Placement};
use std::path::Path;

/// Number of cases in one request.
const PIECE: u32 = 100;

/// A machine that runs cases and may die on them.
pub trait Runner {
    /// Runs `count` cases, starting with case `first`.
    ///
    /// # Errors
    /// The machine refuses, stops answering, sends an invalid answer or dies.
    fn run(&mut self, first: u64, count: u32) -> Result<Tally>;
}

/// The host, with as much memory per case as a board has.
#[derive(Debug)]
pub struct Host {
    scratch: Vec<u32>,
}

impl Host {
    /// Uses `memory` halfwords per case.
    pub fn new(memory: usize) -> Self {
        Self { scratch: vec![0; scratch_len(memory)] }
    }
}

impl Runner for Host {
    fn run(&mut self, first: u64, count: u32) -> Result<Tally> {
        let (words, memory) = split_scratch(&mut self.scratch).context("the scratch is as long as it must be")?;
        Ok(run_cases(first, count, words, memory))
    }
}

/// An emulated board with firmware that runs cases.
#[derive(Debug)]
pub struct Device {
    board: &'static Board,
    image: Image,
    client: Client,
}

impl Device {
    /// Builds the firmware and starts it.
    ///
    /// # Errors
    /// The board is not emulated, its firmware cannot be built, or the emulator is missing.
    pub fn start(board: &'static Board) -> Result<Self> {
        ensure!(board.emulated(), "{} is not emulated, and cases run on emulated boards only", board.name);
        // The console needs a model; the smallest seed serves as one.
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/decode.elbo");
        let image = Firmware::new(board, Application::Serve, Placement::Linked(model)).feature("fuzz").build()?;
        let client = Emulator::start(board, &image)?.connect()?;
        Ok(Self { board, image, client })
    }

    /// Restarts the same firmware.
    ///
    /// # Errors
    /// The emulator is missing.
    pub fn restart(&mut self) -> Result<()> {
        self.client = Emulator::start(self.board, &self.image)?.connect()?;
        Ok(())
    }

    /// Halfwords of memory that the board gives a case.
    ///
    /// # Errors
    /// The board does not answer.
    pub fn memory(&mut self) -> Result<usize> {
        Ok(self.client.fuzz(0, 0)?.memory as usize)
    }

    /// The connection to the board.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Runner for Device {
    fn run(&mut self, first: u64, count: u32) -> Result<Tally> {
        let fuzzed = self.client.fuzz(first, count)?;
        Ok(Tally {
            ran: fuzzed.ran.into(),
            too_large: fuzzed.too_large.into(),
            refused: fuzzed.refused.into(),
            steps: fuzzed.steps,
            digest: fuzzed.digest,
        })
    }
}

/// The results on which a board and the host agree.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    /// The outcomes of the cases and their digest.
    pub tally: Tally,
    /// Halfwords of memory for each case.
    pub memory: usize,
    /// The board's use of memory after all cases.
    pub stack: StackUse,
}

/// Runs `count` cases, starting with case `first`, on a board and on the host. `progress` receives the number of
/// finished cases.
///
/// # Errors
/// The board fails, or its results differ. The message names the first failing case, the file of its blob (in
/// `failures`), and how to reproduce the failure.
pub fn compare(
    board: &'static Board,
    first: u64,
    count: u32,
    failures: &Path,
    mut progress: impl FnMut(u32),
) -> Result<Agreement> {
    let mut device = Device::start(board)?;
    let memory = device.memory()?;
    ensure!((4..=MEMORY).contains(&memory), "{} gives a case {memory} halfwords of memory", board.name);
    let mut host = Host::new(memory);
    let found = pieces(first, count, &mut device, &mut host, &mut progress)?;
    let (piece, len, why) = match found {
        Found::Agreement(tally) => {
            let stack = device.client().memory_use()?;
            ensure!(stack.free_bytes > 0, "{} has used all of its memory: the stack may have met it", board.name);
            return Ok(Agreement { tally, memory, stack });
        }
        Found::Difference { first, count, why } => (first, count, why),
    };
    let Some((case, why)) = narrow(piece, len, || Device::start(board), &mut host)? else {
        bail!("{}: cases {piece} to {}: {why}; none of them fails alone", board.name, piece + u64::from(len) - 1)
    };
    let path = save_case(case, failures)?;
    bail!(
        "case {case} on {}: {why}\nagain:            cargo xtask fuzz --device {} --cases 1 --seed {case}\non the \
         host alone: cargo xtask fuzz --replay {}",
        board.name,
        board.name,
        path.display()
    )
}

enum Found {
    Agreement(Tally),
    Difference { first: u64, count: u32, why: String },
}

/// Runs the cases piece by piece, up to the first piece on which the two differ.
fn pieces(
    first: u64,
    count: u32,
    device: &mut impl Runner,
    host: &mut impl Runner,
    progress: &mut impl FnMut(u32),
) -> Result<Found> {
    let mut tally = Tally::default();
    for start in (0..count).step_by(PIECE as usize) {
        let (first, count) = (first.wrapping_add(start.into()), PIECE.min(count - start));
        let expected = host.run(first, count)?;
        if let Some(why) = difference(device.run(first, count), &expected) {
            return Ok(Found::Difference { first, count, why });
        }
        tally.join(&expected);
        progress(start + count);
    }
    Ok(Found::Agreement(tally))
}

/// The first case that fails when it runs alone, and why. A device that may have died is restarted.
fn narrow<R: Runner>(
    first: u64,
    count: u32,
    mut start: impl FnMut() -> Result<R>,
    host: &mut impl Runner,
) -> Result<Option<(u64, String)>> {
    let mut device = start()?;
    for case in (0..count).map(|index| first.wrapping_add(index.into())) {
        let expected = host.run(case, 1)?;
        if let Some(why) = difference(device.run(case, 1), &expected) {
            return Ok(Some((case, why)));
        }
    }
    Ok(None)
}

fn difference(device: Result<Tally>, host: &Tally) -> Option<String> {
    match device {
        Err(error) => Some(format!("{error:#}")),
        Ok(tally) if tally != *host => Some(format!("the board has {tally:x?}, the host {host:x?}")),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that fails on one case, either by dying or by a wrong result.
    struct Faulty {
        host: Host,
        case: u64,
        dies: bool,
    }

    impl Runner for Faulty {
        fn run(&mut self, first: u64, count: u32) -> Result<Tally> {
            let mut tally = self.host.run(first, count)?;
            if (first..first + u64::from(count)).contains(&self.case) {
                ensure!(!self.dies, "the connection has ended");
                tally.digest ^= 1;
            }
            Ok(tally)
        }
    }

    #[test]
    fn the_case_that_differs_or_kills_is_named() {
        for dies in [false, true] {
            let start = || Ok(Faulty { host: Host::new(64), case: 237, dies });
            let mut host = Host::new(64);
            let found = pieces(0, 1000, &mut start().unwrap(), &mut host, &mut |_| ()).unwrap();
            let Found::Difference { first: 200, count: 100, why } = found else { panic!("not found") };
            assert_eq!(why.contains("connection"), dies, "{why}");
            let (case, _) = narrow(200, 100, start, &mut host).unwrap().unwrap();
            assert_eq!(case, 237);
        }
    }

    #[test]
    fn a_real_board_is_refused_by_name() {
        let error = Device::start(Board::find("pico").unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("pico is not emulated"), "{error}");
    }

    #[test]
    fn the_same_runner_agrees() {
        let mut seen = Vec::new();
        let found = pieces(7, 250, &mut Host::new(64), &mut Host::new(64), &mut |done| seen.push(done)).unwrap();
        let Found::Agreement(tally) = found else { panic!("a difference") };
        assert_eq!((tally.cases(), seen), (250, vec![100, 200, 250]));
    }
}
