//! Mutates the seeds and runs the resulting blobs, by the million and without coverage: `stress --cases 10000000`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use elbo::Arena;
use elbo_fuzz_blobs::reference::{self, Checked, Given};
use elbo_fuzz_blobs::{
    AfterProof, MEMORY, Outcome, SLOWER, SPACE, Tally, run_after_proof, run_changed, run_twice, save_case, seeds,
    write_case,
};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Mutate the seeds, and run what the verifier lets through")]
struct Options {
    /// Number of cases
    #[arg(long, default_value_t = 100_000)]
    cases: u64,
    /// Number of the first case; the others follow it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Instead, load this many blobs, change them after the proof, and run all their programs
    #[arg(long, value_name = "N", conflicts_with_all = ["cases", "least_share", "panic_at", "hang_at", "replay", "save"])]
    after_proof: Option<u64>,
    /// With --after-proof, change this blob instead of the seeds and their mutations
    #[arg(long, value_name = "FILE", requires = "after_proof")]
    blob: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long)]
    threads: Option<u64>,
    /// Fail if a smaller share of the cases is verified and runs, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    least_share: f64,
    /// Do not compare every tensor with the independent interpreter, which takes most of the time
    #[arg(long)]
    no_reference: bool,
    /// Seconds after which a case counts as hanging; normally it takes microseconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    patience: f64,
    /// Panic on this case, to test that it is noticed
    #[arg(long, hide = true)]
    panic_at: Option<u64>,
    /// Hang on this case, to test that it is noticed
    #[arg(long, hide = true)]
    hang_at: Option<u64>,
    /// Folder for the blob of a failing case
    #[arg(long, value_name = "FOLDER", default_value = "fuzz/failures")]
    failures: PathBuf,
    /// Run the blob in this file instead
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Save the blob of case `--seed` instead, whether or not it fails
    #[arg(long)]
    save: bool,
    /// Write the seeds into this folder instead
    #[arg(long, value_name = "FOLDER")]
    write_seeds: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    options.cases = options.after_proof.unwrap_or(options.cases);
    if let Some(folder) = &options.write_seeds {
        for (name, parts) in seeds::seeds() {
            write(&folder.join(name).with_extension("elbo"), &parts.words())?;
        }
        return Ok(());
    }
    if let Some(file) = &options.replay {
        return replay(file);
    }
    if options.save {
        println!("{}", save_case(options.seed, &options.failures)?.display());
        return Ok(());
    }
    let start = Instant::now();
    let blob = options.blob.as_deref().map(read).transpose()?;
    let counts = all_cases(&options, blob.as_deref());
    if options.after_proof.is_some() {
        report_after_proof(&counts.after, start.elapsed().as_secs_f64());
        return Ok(());
    }
    report(&counts, start.elapsed().as_secs_f64());
    let share = 100.0 * counts.tally.ran as f64 / options.cases.max(1) as f64;
    ensure!(share >= options.least_share, "less than {} % of the cases were verified and ran", options.least_share);
    Ok(())
}

#[derive(Default)]
struct Counts {
    tally: Tally,
    checked: Checked,
    after: AfterProof,
    refused: BTreeMap<String, u64>,
}

/// The progress of a worker: its current case, and the number of finished cases.
#[derive(Default)]
struct Place {
    case: AtomicU64,
    done: AtomicU64,
}

fn all_cases(options: &Options, blob: Option<&[u32]>) -> Counts {
    let threads = options.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let places: Vec<Place> = (0..threads.max(1)).map(|_| Place::default()).collect();
    let finished = AtomicBool::new(false);
    let mut counts = Counts::default();
    thread::scope(|scope| {
        let workers: Vec<_> = places
            .iter()
            .enumerate()
            .map(|(worker, place)| {
                let cases = (worker as u64..options.cases).step_by(places.len());
                let cases = cases.map(|index| options.seed.wrapping_add(index));
                scope.spawn(move || work(cases, place, options, blob))
            })
            .collect();
        let watch = scope.spawn(|| watch(&places, options, &finished));
        for worker in workers {
            // A panicking case has already printed its number; the run ends here.
            let part = worker.join().unwrap_or_else(|_| std::process::exit(1));
            counts.tally.join(&part.tally);
            counts.checked.join(&part.checked);
            counts.after.join(&part.after);
            for (name, count) in part.refused {
                *counts.refused.entry(name).or_default() += count;
            }
        }
        finished.store(true, Ordering::Relaxed);
        watch.thread().unpark();
    });
    counts
}

fn work(cases: impl Iterator<Item = u64>, place: &Place, options: &Options, blob: Option<&[u32]>) -> Counts {
    let mut counts = Counts::default();
    let mut arena = Box::new(Arena::<MEMORY>::new());
    let mut words = Box::new([0; SPACE]);
    let mut both = Box::new([[0; SPACE]; 2]);
    let mut changed = blob.unwrap_or_default().to_vec();
    let start = Instant::now();
    let mut clock = || start.elapsed().as_nanos() as u64;
    for case in cases {
        place.case.store(case, Ordering::Relaxed);
        let guard = Guard { case, failures: &options.failures, after_proof: options.after_proof.is_some() };
        if options.after_proof.is_some() {
            let after = match blob {
                Some(blob) => run_changed(case, blob, &mut changed, arena.as_mut_slice(), Some(&mut clock)),
                None => run_after_proof(case, &mut both, arena.as_mut_slice(), Some(&mut clock)),
            };
            std::mem::forget(guard);
            counts.after.join(&after);
            place.done.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        assert!(options.panic_at != Some(case), "on purpose");
        while options.hang_at == Some(case) {
            thread::yield_now();
        }
        let len = write_case(case, &mut words);
        let outcome = run_twice(&mut *words, len, arena.as_mut_slice());
        if matches!(outcome, Outcome::Ran { .. }) && !options.no_reference {
            for given in [Given::Usual, Given::Extreme(case)] {
                counts.checked.join(&reference::check(&words[..len], arena.as_mut_slice(), given));
            }
        }
        std::mem::forget(guard);
        counts.tally.add(case, &outcome);
        if let Outcome::Refused(error) = outcome {
            let name = format!("{error:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default();
            match counts.refused.get_mut(name) {
                Some(count) => *count += 1,
                None => _ = counts.refused.insert(name.into(), 1),
            }
        }
        place.done.fetch_add(1, Ordering::Relaxed);
    }
    place.case.store(u64::MAX, Ordering::Relaxed);
    counts
}

/// Shows the progress of the workers, and ends the run if one of them hangs.
fn watch(places: &[Place], options: &Options, finished: &AtomicBool) {
    let start = Instant::now();
    let (seconds, end) = if std::io::stderr().is_terminal() { (1.0, '\r') } else { (10.0, '\n') };
    let interval = Duration::from_secs_f64(options.patience.min(seconds));
    let mut seen: Vec<(u64, Instant)> = places.iter().map(|_| (0, start)).collect();
    loop {
        thread::park_timeout(interval);
        if finished.load(Ordering::Relaxed) {
            return;
        }
        let done: u64 = places.iter().map(|place| place.done.load(Ordering::Relaxed)).sum();
        let seconds = start.elapsed().as_secs_f64();
        let percent = 100.0 * done as f64 / options.cases as f64;
        eprint!("{percent:5.1} %  {done} of {} cases, {:.0} a second  {end}", options.cases, done as f64 / seconds);
        let _ = std::io::stderr().flush();
        for (place, (done, since)) in places.iter().zip(&mut seen) {
            let case = place.case.load(Ordering::Relaxed);
            let now = place.done.load(Ordering::Relaxed);
            if now != *done || case == u64::MAX {
                (*done, *since) = (now, Instant::now());
            } else if since.elapsed().as_secs_f64() > options.patience {
                eprintln!("\ncase {case} hangs");
                drop(Guard { case, failures: &options.failures, after_proof: options.after_proof.is_some() });
                std::process::exit(1);
            }
        }
    }
}

/// Saves the case if it panics, and prints how to reproduce it.
struct Guard<'f> {
    case: u64,
    failures: &'f Path,
    after_proof: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let case = self.case;
        if self.after_proof {
            eprintln!("\ncase {case} failed; run it again: cargo xtask fuzz --after-proof 1 --seed {case}");
            return;
        }
        eprintln!("\ncase {case} failed; run it again: cargo xtask fuzz --cases 1 --seed {case}");
        match save_case(case, self.failures) {
            Ok(path) => {
                eprintln!("its blob alone:         cargo xtask fuzz --replay {}", path.display());
            }
            Err(error) => eprintln!("its blob is not saved: {error:#}"),
        }
    }
}

fn write(path: &Path, words: &[u32]) -> Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn read(file: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect())
}

/// Runs a file like the fuzzers do: a case saved by this command or by the guided fuzzer.
fn replay(file: &Path) -> Result<()> {
    let mut words = read(file)?;
    let len = words.len();
    let mut arena = Box::new(Arena::<MEMORY>::new());
    let outcome = run_twice(&mut words, len, arena.as_mut_slice());
    println!("{}: {outcome:x?}", file.display());
    if matches!(outcome, Outcome::Ran { .. }) {
        let mut checked = Checked::default();
        let extremes = (0..100).map(Given::Extreme);
        for given in std::iter::once(Given::Usual).chain(extremes) {
            checked.join(&reference::check(&words[..len], arena.as_mut_slice(), given));
        }
        println!("{checked}");
    }
    Ok(())
}

fn report_after_proof(after: &AfterProof, seconds: f64) {
    let runs = after.runs();
    let share = |count: u64| 100.0 * count as f64 / runs.max(1) as f64;
    println!("{runs} runs of blobs that changed after their proof in {seconds:.1} s, digest {:08x}", after.digest);
    println!("ran, as long as proved  {:>10} {:6.2} %", after.ran, share(after.ran));
    println!("stopped                 {:>10} {:6.2} %", after.stopped, share(after.stopped));
    println!("refused                 {:>10} {:6.2} %", after.refused, share(after.refused));
    println!(
        "the slowest took {:.1} times its proved time, of {SLOWER} that are allowed",
        after.slowest as f64 / 100.0
    );
}

fn report(counts: &Counts, seconds: f64) {
    let Tally { ran, too_large, steps, digest, .. } = counts.tally;
    let cases = counts.tally.cases();
    let share = |count: u64| 100.0 * count as f64 / cases.max(1) as f64;
    println!("{cases} cases in {seconds:.1} s, digest {digest:08x}");
    println!("verified and ran    {ran:>10} {:6.2} %  {steps} steps", share(ran));
    if counts.checked != Checked::default() {
        println!("{}", counts.checked);
    }
    println!("verified, too large {too_large:>10} {:6.2} %", share(too_large));
    for (name, count) in &counts.refused {
        println!("{name:<19} {count:>10} {:6.2} %", share(*count));
    }
}
