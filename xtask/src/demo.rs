//! `cargo xtask demo`: from training to samples on an emulated board, for a model of any family.

use std::fs;

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

/// The data of a run by its record of them; empty where a model learns without data.
fn source(record: &str) -> String {
    let value = record.lines().find_map(|line| line.strip_prefix("source = "));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

fn heading(text: &str) {
    println!("\n== {text}");
}
