//! Mutates the seeds and runs what comes out, by the million and without coverage: `stress --cases 10000000`.

use anyhow::{Context, Result};
use clap::Parser;
use elbo::Arena;
use elbo_fuzz_blobs::{Outcome, Random, SEEDS, mutate, run, seeds};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

/// Words of a case's buffer.
const SPACE: usize = 2048;
/// Most steps that a case may run.
const WORK: u64 = 1 << 14;

#[derive(Parser)]
struct Options {
    /// Number of cases.
    #[arg(long, default_value_t = 100_000)]
    cases: u64,
    /// Seed of the first case; case `i` has seed `seed + i`.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; all cores unless told.
    #[arg(long)]
    threads: Option<u64>,
    /// Instead, write the seeds into this folder.
    #[arg(long, value_name = "FOLDER")]
    write_seeds: Option<PathBuf>,
}

#[derive(Default)]
struct Tally {
    ran: u64,
    too_large: u64,
    steps: u64,
    refused: BTreeMap<String, u64>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(folder) = options.write_seeds {
        for (name, parts) in seeds::seeds() {
            let path = folder.join(name).with_extension("elbo");
            std::fs::write(&path, bytemuck::cast_slice(&parts.words())).with_context(|| path.display().to_string())?;
        }
        return Ok(());
    }
    let threads = options.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let start = Instant::now();
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let cases = (worker..options.cases).step_by(threads as usize);
                scope.spawn(move || work(cases.map(|case| options.seed.wrapping_add(case))))
            })
            .collect();
        // A case that panics has printed its seed; the run ends there.
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| std::process::abort())).collect()
    });
    report(options.cases, &tallies, start.elapsed().as_secs_f64());
    Ok(())
}

fn work(cases: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    let mut arena = Box::new(Arena::<{ 1 << 14 }>::new());
    let memory = arena.as_mut_slice();
    let seeds: Vec<Vec<u32>> = SEEDS.iter().map(|(_, bytes)| bytemuck::cast_slice(bytes).to_vec()).collect();
    let mut words = vec![0u32; SPACE];
    for case in cases {
        let guard = Guard(case);
        let mut random = Random(case);
        let seed = &seeds[random.below(seeds.len())];
        words[..seed.len()].copy_from_slice(seed);
        let len = mutate(&mut words, seed.len(), random.bits());
        let bytes = bytemuck::cast_slice(&words[..len]);
        let outcome = run(bytes, WORK, memory);
        match outcome {
            Outcome::Refused(error) => {
                let name = format!("{error:?}");
                let name = name.split([' ', '{']).next().unwrap_or_default();
                match tally.refused.get_mut(name) {
                    Some(count) => *count += 1,
                    None => _ = tally.refused.insert(name.into(), 1),
                }
            }
            Outcome::TooLarge => tally.too_large += 1,
            Outcome::Ran { steps, .. } => {
                memory.fill(random.bits() as i16);
                assert_eq!(run(bytes, WORK, memory), outcome, "what the memory held before has an effect");
                tally.ran += 1;
                tally.steps += steps;
            }
        }
        std::mem::forget(guard);
    }
    tally
}

/// Names the case when it panics.
struct Guard(u64);

impl Drop for Guard {
    fn drop(&mut self) {
        eprintln!("failed: stress --cases 1 --seed {}", self.0);
    }
}

fn report(cases: u64, tallies: &[Tally], seconds: f64) {
    let sum = |field: fn(&Tally) -> u64| tallies.iter().map(field).sum::<u64>();
    let share = |count: u64| 100.0 * count as f64 / cases.max(1) as f64;
    let (ran, too_large, steps) = (sum(|t| t.ran), sum(|t| t.too_large), sum(|t| t.steps));
    println!("{cases} cases in {seconds:.1} s");
    println!("verified and ran    {ran:>10} {:6.2} %  {steps} steps", share(ran));
    println!("verified, too large {too_large:>10} {:6.2} %", share(too_large));
    let mut refused = BTreeMap::<&str, u64>::new();
    for (name, count) in tallies.iter().flat_map(|tally| &tally.refused) {
        *refused.entry(name).or_default() += count;
    }
    for (name, count) in refused {
        println!("{name:<19} {count:>10} {:6.2} %", share(count));
    }
}
