//! `cargo xtask demo`: from data to digits that an emulated board draws.

use std::fs;

use anyhow::Result;

use crate::setup;
use crate::shell::{elbo, root};

/// Trains, compiles, and runs the model on both boards.
pub fn run() -> Result<()> {
    setup::run()?;
    let folder = root().join("runs/demo");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let (run, model) =
        (folder.to_string_lossy().into_owned(), folder.join("digits.elbo").to_string_lossy().into_owned());
    heading("Training a VAE on 8x8 digits");
    elbo(&["train", "digits", "--out", &run])?;
    heading("Compiling it: what it needs, and what quantisation cost");
    elbo(&["compile", &run, "-o", &model])?;
    for board in ["mps2-an386", "microbit"] {
        heading(&format!("Running it on an emulated {board}"));
        elbo(&["check", &model, "--board", board])?;
    }
    println!(
        "\nThe model is {model}. Watch a board draw:  cargo run -p elbo-trainer -- flash {model} --board microbit"
    );
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}
