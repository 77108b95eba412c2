//! `cargo xtask demo`: from training to samples on an emulated board, for a model of any family, and from training to an
//! alarm on one.

use std::fs;
use std::time::Instant;

use anyhow::Result;

use crate::setup;
use crate::shell::{self, elbo, root};

/// Trains, compiles, and runs the model on both boards. Every stage is announced before it starts, and cargo shows what
/// it compiles.
pub fn run(family: &str) -> Result<()> {
    heading("Looking for the bare-metal targets and the Arm emulator; what is missing is installed");
    setup::run()?;
    let folder = root().join("runs/demo");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (run, model) = (folder.to_string_lossy().into_owned(), path("model.elbo"));
    heading("Building the command `elbo`, the trainer and compiler: the first time takes minutes");
    shell::build_elbo()?;
    heading(&format!("Training a model of the family {family}"));
    elbo(&["train", &format!("demo-{family}"), "--out", &run])?;
    let source = source(&fs::read_to_string(path("data.toml"))?);
    let (data, picture, count) = match source.as_str() {
        "" => ("none", path("draws.svg"), "2000"),
        source => (source, path("draws.png"), "64"),
    };
    heading("Compiling the model: what it needs, and what quantisation cost");
    elbo(&["compile", &run, "-o", &model])?;
    for board in ["mps2-an386", "microbit"] {
        heading(&format!("Building the firmware of an emulated {board} around the model, and running it there"));
        elbo(&["check", &model, "--board", board, "--data", data])?;
    }
    heading("Drawing on this computer what the boards draw");
    elbo(&["sample", &model, "--count", count, "-o", &picture])?;
    println!("\nThe model is {model}. Watch a board draw:  cargo run -p elbo-cli -- flash {model} --board microbit");
    Ok(())
}

/// Trains on a simulated machine that runs well, and streams recordings in which it breaks to an emulated Cortex-M4.
pub fn anomaly() -> Result<()> {
    heading("Looking for the bare-metal targets and the Arm emulator; what is missing is installed");
    setup::run()?;
    heading("Building the command `elbo`, the trainer and compiler: the first time takes minutes");
    shell::build_elbo()?;
    let start = Instant::now();
    let folder = root().join("runs/demo-anomaly");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let (run, model) = (folder.to_string_lossy().into_owned(), folder.join("machine.elbo"));
    let model = model.to_string_lossy().into_owned();
    heading(
        "Learning how a machine sounds while it runs well. It is a simulated motor with an accelerometer: three axes, 200 \
         samples a second. No fault is shown to the model",
    );
    elbo(&[
        "train", "--data", "machine", "--front", "spectrum", "--window", "256", "--hop", "256", "--family", "mixture",
        "--out", &run,
    ])?;
    heading("Compiling the model, from samples to scores, to integers that a microcontroller computes");
    elbo(&["compile", &run, "-o", &model])?;
    heading(
        "Building the monitor for an emulated Cortex-M4, and streaming three recordings over its serial port. After two \
         minutes each, the rotor goes out of balance, a bearing breaks, and a screw comes loose. An alarm needs three \
         of four windows that are rarer than 1 % of normal ones. It names the features that say so: an axis and a band of \
         frequencies. The rotor turns 24 times a second, the bearing rings at 83 Hz, and the loose screw at 12 Hz",
    );
    elbo(&[
        "replay",
        &model,
        "--data",
        "machine",
        "--split",
        "test",
        "--board",
        "mps2-an386",
        "--confirm",
        "3/4",
        "--changes",
    ])?;
    println!(
        "\nThe model learnt, and the board found the faults, in {:.0} seconds. The model is {model}.\n\
         Watch the board monitor a machine that runs well:  cargo run -p elbo-cli -- flash {model} --board mps2-an386 --app monitor",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// The data of a run by its record of them; empty where a model learns without data.
fn source(record: &str) -> String {
    let value = record.lines().find_map(|line| line.strip_prefix("source = "));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

fn heading(text: &str) {
    println!("\n== {text}");
}
