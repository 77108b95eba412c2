//! `cargo xtask`: the only entry point for newcomers and for CI.

mod bench;
mod demo;
mod firmware;
mod fuzz;
mod setup;
mod shell;
mod test;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, check and show Elbo")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the tools of the other tasks: bare-metal Rust targets, the Arm emulator, cargo-hack and cargo-deny
    Setup,
    /// Train, compile and run a model on emulated boards
    Demo {
        /// Tell a story instead: `anomaly` trains on a machine that runs well, and lets an emulated board find its faults
        #[arg(value_enum, conflicts_with = "family")]
        story: Option<Story>,
        /// The model's family, of those with a recipe `demo-FAMILY`: `elbo recipe` lists them
        #[arg(long, default_value = "vae")]
        family: String,
    },
    /// Run every check and test
    Test {
        /// Run only the steps whose names contain this text
        #[arg(long, value_name = "STEP")]
        only: Option<String>,
    },
    /// Count instructions on every emulated core
    Bench {
        /// Compare the training step with stock candle instead
        #[arg(long)]
        train: bool,
        /// Compare the instructions of every operation with the work that it counts instead
        #[arg(long, conflicts_with = "train")]
        work: bool,
        /// Count the instructions of loading models, and of the blobs that take the longest, instead
        #[arg(long, conflicts_with_all = ["train", "work"])]
        load: bool,
        /// Measure the programs of this blob instead of those of a VAE of digits
        #[arg(long, value_name = "BLOB", conflicts_with_all = ["train", "work", "load"])]
        model: Option<PathBuf>,
    },
    /// Run mutated blobs, which must run as proved if the verifier accepts them
    Fuzz(fuzz::Options),
    /// Build every board's firmware
    Firmware {
        /// Check code size and the absence of panics and floating point instead
        #[arg(long)]
        check: bool,
    },
}

/// What a demo shows instead of a family.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Story {
    /// A board that monitors a machine
    Anomaly,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Setup => {
            setup::run()?;
            setup::tools::install()
        }
        Task::Demo { story: Some(Story::Anomaly), .. } => demo::anomaly(),
        Task::Demo { story: None, family } => demo::run(&family),
        Task::Test { only } => test::run(only.as_deref()),
        Task::Bench { train: true, .. } => bench::training(),
        Task::Bench { work: true, .. } => bench::work(),
        Task::Bench { load: true, .. } => bench::loads(),
        Task::Bench { model, .. } => bench::cores(model),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Firmware { check } => {
            setup::run()?;
            if check { firmware::check() } else { firmware::build() }
        }
    }
}
