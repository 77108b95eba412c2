//! `cargo xtask fuzz`: runs mutated blobs on the host and on boards, with or without guidance by coverage, and measures
//! their coverage.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use elbo_fuzz_blobs::device;
use elbo_link::host::Board;
use serde_json::Value;

use crate::setup;
use crate::shell::{self, root};

/// Cases of a run on the host.
const CASES: u64 = 10_000_000;
/// Cases of a run that measures coverage.
const COVERAGE_CASES: u64 = 1_000_000;
/// Cases of a run on a board.
const DEVICE_CASES: u64 = 10_000;
/// Executions of the guided fuzzer.
const GUIDED_CASES: u64 = 10_000_000;
/// Smallest share of the cases that must be verified and run, in percent.
const SHARE: f64 = 5.0;
/// Smallest share of the verifier's branches that the cases must take, in percent.
const COVERED: f64 = 95.0;
/// The source files that decide whether a blob is loaded.
const VERIFIER: [&str; 3] = ["verify.rs", "bounds.rs", "blob.rs"];
/// The longest input of the guided fuzzer, in bytes.
const LONGEST: u32 = 4096;

#[derive(Args)]
#[command(after_long_help = "\
The seeds under fuzz/seeds are small models. A case is a mutated seed: fields, records, weights and lengths are changed. \
Most often its bounds, its work and its checksum are then recomputed, so that the verifier has to check the rest. If the \
verifier accepts the blob, all its programs are run twice, with different memory around the blob. A case fails if it \
panics, takes another number of steps than was proved, exceeds a proved bound, or depends on memory that is not its own.

  cargo xtask fuzz                     ten million cases on the host
  cargo xtask fuzz --device            10 000 cases on an emulated Cortex-M4,
                                       whose digest must equal the host's
  cargo xtask fuzz --device microbit   the same on a Cortex-M0 with 16 KB of RAM
  cargo xtask fuzz --guided            ten million executions of libFuzzer with
                                       AddressSanitizer (needs nightly, cargo-fuzz)
  cargo xtask fuzz --after-proof       a million blobs that change after their
                                       proof: wrong numbers at worst
  cargo xtask fuzz --coverage          which branches of the verifier the cases
                                       take (needs nightly, LLVM's tools)

A case is identified by a number and is the same on every machine; --seed is the number of the first case. The blob of a \
failing case is saved under fuzz/failures (by the guided fuzzer, under fuzz/fuzzers/artifacts/verify). --replay runs it \
again. More: docs/fuzzing.md")]
pub struct Options {
    /// Number of cases [default: ten million; 10 000 with --device, a million with --coverage]
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// Number of the first case; with --guided, the seed of libFuzzer
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run the cases on an emulated board and compare with the host
    #[arg(long, value_name = "BOARD", num_args = 0..=1, default_missing_value = "mps2-an386", group = "way")]
    device: Option<String>,
    /// Let libFuzzer search for blobs that reach new code
    #[arg(long, group = "way")]
    guided: bool,
    /// Count the branches of the verifier that the cases take
    #[arg(long, group = "way")]
    coverage: bool,
    /// Change N blobs after their proof and run their programs: none may take longer than was proved
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000000", group = "way", conflicts_with = "cases")]
    after_proof: Option<u64>,
    /// Run one blob, for example a failing case
    #[arg(long, value_name = "FILE", group = "way", conflicts_with_all = ["cases", "seed"])]
    replay: Option<PathBuf>,
}

/// Runs the selected kind of fuzzing.
pub fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or(0);
    if let Some(board) = &options.device {
        on_device(board, seed, options.cases.unwrap_or(DEVICE_CASES))
    } else if options.guided {
        // libFuzzer treats 0 as "any seed".
        guided(options.seed.unwrap_or(1), options.cases.unwrap_or(GUIDED_CASES))
    } else if options.coverage {
        coverage(seed, options.cases.unwrap_or(COVERAGE_CASES))
    } else if let Some(cases) = options.after_proof {
        shell::run(stress().args(["--after-proof", &cases.to_string(), "--seed", &seed.to_string()]))
    } else if let Some(file) = &options.replay {
        let file = fs::canonicalize(file).with_context(|| format!("cannot read {}", file.display()))?;
        shell::run(stress().arg("--replay").arg(file))
    } else {
        on_host(seed, options.cases.unwrap_or(CASES))
    }
}

/// The command `stress`, built with assertions and overflow checks.
fn stress() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["run", "--quiet", "--package", "elbo-fuzz-blobs", "--bin", "stress", "--"]);
    command
}

fn on_host(seed: u64, cases: u64) -> Result<()> {
    let mut command = stress();
    command.args(["--cases", &cases.to_string(), "--seed", &seed.to_string()]);
    command.args(["--least-share", &share_of(cases).to_string()]);
    shell::run(&mut command)
}

/// The smallest share of cases that must run. There is none if only a few cases are run.
fn share_of(cases: u64) -> f64 {
    if cases < 1000 { 0.0 } else { SHARE }
}

fn on_device(name: &str, seed: u64, cases: u64) -> Result<()> {
    let board = Board::find(name)?;
    let cases = u32::try_from(cases).context("a board runs less than 2^32 cases at once")?;
    setup::run()?;
    let start = Instant::now();
    let mut shown = Instant::now();
    let agreement = device::compare(board, seed, cases, &root().join("fuzz/failures"), |done| {
        let terminal = std::io::stderr().is_terminal();
        if terminal || shown.elapsed().as_secs() >= 10 || done == cases {
            shown = Instant::now();
            let end = if terminal && done < cases { '\r' } else { '\n' };
            let percent = 100.0 * f64::from(done) / f64::from(cases);
            eprint!("{percent:5.1} %  {done} of {cases} cases on {name}{end}");
            let _ = std::io::stderr().flush();
        }
    })?;
    let tally = agreement.tally;
    let share = 100.0 * tally.ran as f64 / f64::from(cases.max(1));
    println!(
        "{} ({}): {cases} cases in {:.0} s, digest {:08x}, as on the host",
        board.name,
        board.core,
        start.elapsed().as_secs_f64(),
        tally.digest
    );
    println!("  verified and ran    {:>7} {share:6.2} %  {} steps", tally.ran, tally.steps);
    println!("  verified, too large {:>7}  for {} bytes of memory", tally.too_large, 2 * agreement.memory);
    println!("  refused             {:>7}", tally.refused);
    let stack = agreement.stack;
    println!("  stack {} bytes at most, {} bytes never used", stack.stack_bytes, stack.free_bytes);
    ensure!(share >= share_of(cases.into()), "less than {SHARE} % of the cases were verified and ran");
    Ok(())
}

fn guided(seed: u64, runs: u64) -> Result<()> {
    nightly()?;
    ensure!(
        Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()),
        "the guided fuzzer needs cargo-fuzz: cargo install cargo-fuzz"
    );
    let corpus = root().join("fuzz/corpus");
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let mut command = Command::new("cargo");
    command.current_dir(root());
    command.args(["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz/fuzzers", "--target-dir"]).arg(target("fuzz"));
    command.args(["verify", "fuzz/corpus", "fuzz/seeds", "--", "-print_final_stats=1", "-timeout=10"]);
    command.args([format!("-runs={runs}"), format!("-seed={seed}"), format!("-max_len={LONGEST}")]);
    let text = shell::display(&command);
    eprintln!("+ {text}");
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot start `{text}`"))?;
    let mut share = None;
    let mut shown = Instant::now();
    for line in BufReader::new(child.stderr.take().context("its standard error is piped")?).lines() {
        let line = line?;
        if let Some(found) = share_in(&line) {
            share = Some(found);
        }
        // One line for every blob that reaches new code would be too many.
        let event = line.starts_with('#') && !line.contains("DONE");
        if !event || shown.elapsed().as_secs() >= 10 {
            shown = if event { Instant::now() } else { shown };
            eprintln!("{line}");
        }
    }
    let status = child.wait()?;
    ensure!(
        status.success(),
        "`{text}` failed: {status}\nthe blob, if there is one, is under fuzz/fuzzers/artifacts/verify; again: cargo \
         xtask fuzz --replay FILE"
    );
    let share = share.context("the fuzzer did not say how many executions were verified and ran")?;
    ensure!(share >= share_of(runs), "{share} % of the executions were verified and ran, less than {SHARE} %");
    Ok(())
}

/// The percentage in the last line of the fuzzer's output.
fn share_in(line: &str) -> Option<f64> {
    line.strip_prefix("executed ")?.rsplit_once('(')?.1.strip_suffix(" %)")?.parse().ok()
}

fn coverage(seed: u64, cases: u64) -> Result<()> {
    let tools = Llvm::find(&nightly()?)?;
    let folder = target("coverage");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let profile = folder.join("stress.profraw");
    let mut command = stress();
    command.env("RUSTFLAGS", "-Cinstrument-coverage -Zcoverage-options=branch").env("LLVM_PROFILE_FILE", &profile);
    command.env("CARGO_TARGET_DIR", &folder).env("RUSTUP_TOOLCHAIN", "nightly");
    shell::run(command.args(["--no-reference", "--cases", &cases.to_string(), "--seed", &seed.to_string()]))?;
    let merged = folder.join("stress.profdata");
    shell::run(Command::new(&tools.profdata).args(["merge", "-sparse", "-o"]).args([&merged, &profile]))?;
    let mut command = Command::new(&tools.cov);
    command.args(["export", "-summary-only", "-instr-profile"]).arg(&merged).arg(folder.join("debug/stress"));
    let report: Value = serde_json::from_str(&shell::output(&mut command)?).context("llvm-cov gave no JSON")?;
    println!("{:<22} {:>15} {:>27}", "", "branches", "lines");
    let mut verifier = [Share::default(); 2];
    for name in VERIFIER {
        let shares = ["branches", "lines"].map(|what| Share::of(&report, name, what));
        let [Some(branches), Some(lines)] = shares else {
            bail!("the coverage report does not contain runtime/src/{name}")
        };
        println!("runtime/src/{name:<10} {branches} {lines}");
        ensure!(
            name != "verify.rs" || branches.percent() >= COVERED,
            "less than {COVERED} % of the branches of {name} were taken"
        );
        verifier = [verifier[0].with(branches), verifier[1].with(lines)];
    }
    let [branches, lines] = verifier;
    println!("{:<22} {branches} {lines}", "all of the verifier");
    ensure!(branches.percent() >= COVERED, "less than {COVERED} % of the verifier's branches were taken");
    println!(
        "branch by branch:  {} show -show-branches=count -instr-profile {} {} runtime/src/verify.rs",
        tools.cov,
        merged.display(),
        folder.join("debug/stress").display()
    );
    Ok(())
}

/// The number of covered items and of all items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    covered: u64,
    count: u64,
}

impl Share {
    /// The share of `what` in the runtime's file `name`, from a report of `llvm-cov export`.
    fn of(report: &Value, name: &str, what: &str) -> Option<Self> {
        let files = report.pointer("/data/0/files")?.as_array()?;
        let path = format!("runtime/src/{name}");
        let file = files.iter().find(|file| file["filename"].as_str().is_some_and(|file| file.ends_with(&path)))?;
        let summary = &file["summary"][what];
        Some(Self { covered: summary["covered"].as_u64()?, count: summary["count"].as_u64()? })
    }

    fn with(self, other: Self) -> Self {
        Self { covered: self.covered + other.covered, count: self.count + other.count }
    }

    fn percent(self) -> f64 {
        100.0 * self.covered as f64 / self.count.max(1) as f64
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>7} of {:<6} {:>6.2} %", self.covered, self.count, self.percent())
    }
}

/// LLVM's tools that read the coverage profiles of a compiler.
struct Llvm {
    profdata: String,
    cov: String,
}

impl Llvm {
    /// Finds the tools of the nightly toolchain, or those of the system if they have the same version.
    fn find(version: &str) -> Result<Self> {
        let major = llvm_major(version).context("`rustc +nightly -vV` names no version of LLVM")?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let sysroot = shell::output(Command::new("rustc").args(["+nightly", "--print", "sysroot"]))?;
        let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
        if own.join("llvm-profdata").is_file() && own.join("llvm-cov").is_file() {
            let tool = |name: &str| own.join(name).display().to_string();
            return Ok(Self { profdata: tool("llvm-profdata"), cov: tool("llvm-cov") });
        }
        let [profdata, cov] = ["llvm-profdata", "llvm-cov"].map(|name| format!("{name}-{major}"));
        ensure!(
            shell::has(&profdata) && shell::has(&cov),
            "coverage needs {profdata} and {cov}: install Debian's package llvm-{major} (apt-get install llvm-{major}), \
             or rustup's component llvm-tools for nightly"
        );
        Ok(Self { profdata, cov })
    }
}

fn llvm_major(version: &str) -> Option<u32> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?.parse().ok()
}

/// The version of the nightly compiler. It is looked up in rustup's list first, because rustup may install a toolchain
/// that it is asked to run.
fn nightly() -> Result<String> {
    let toolchains = shell::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    ensure!(
        toolchains.lines().any(|line| line.starts_with("nightly-")),
        "this needs a nightly compiler, which is not installed: run `rustup toolchain install nightly --profile minimal`"
    );
    shell::output(Command::new("rustc").args(["+nightly", "-vV"]))
}

/// A folder under `target` for files that are not cargo's.
fn target(name: &str) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_share_is_read() {
        assert_eq!(share_in("executed 1000000, verified and ran 120171 (12.02 %)"), Some(12.02));
        assert_eq!(share_in("stat::number_of_executed_units: 1000000"), None);
    }

    #[test]
    fn the_version_of_llvm_is_read() {
        assert_eq!(llvm_major("rustc 1.97.0-nightly\nhost: x\nLLVM version: 22.1.4\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.97.0-nightly"), None);
    }

    #[test]
    fn a_report_is_read_by_file() {
        let report = serde_json::json!({"data": [{"files": [
            {"filename": "/x/other/src/verify.rs", "summary": {"branches": {"count": 9, "covered": 9}}},
            {"filename": "/x/runtime/src/verify.rs", "summary": {"branches": {"count": 8, "covered": 6}}},
        ]}]});
        let share = Share::of(&report, "verify.rs", "branches").unwrap();
        assert_eq!((share, share.percent()), (Share { covered: 6, count: 8 }, 75.0));
        assert_eq!(Share::of(&report, "bounds.rs", "branches"), None);
    }
}
