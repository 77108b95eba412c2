//! `cargo xtask demo`: from training to samples on an emulated board, for a model of any family.

use std::fs;

use anyhow::Result;
use clap::ValueEnum;

use crate::setup;
use crate::shell::{self, elbo, root};

/// The family of the demo.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Family {
    /// Variational auto-encoder.
    #[default]
    Vae,
    /// Deep latent Gaussian model.
    Dlgm,
    /// Normalizing flow that samples a two-dimensional energy.
    Flow,
    /// Auxiliary deep generative model with 100 labels.
    Adgm,
    /// Skip deep generative model with 100 labels.
    Sdgm,
    /// Wasserstein GAN.
    Wgan,
}

impl Family {
    /// The arguments of `elbo train`.
    fn training(self) -> &'static [&'static str] {
        match self {
            Self::Vae => &["digits"],
            Self::Dlgm => &["digits", "--family", "dlgm", "--layers", "8,4", "--hidden", "32"],
            Self::Flow => &["--energy", "u1"],
            Self::Adgm => &["digits", "--family", "adgm", "--labels", "100", "--hidden", "32", "--latent", "4"],
            Self::Sdgm => &["digits", "--family", "sdgm", "--labels", "100", "--hidden", "32", "--latent", "4"],
            Self::Wgan => &["wgan-digits", "--conv", "4,8", "--hidden", "24", "--latent", "6", "--steps", "3000"],
        }
    }

    /// The data for a board, and the file of the picture that it draws.
    fn data_and_picture(self) -> (&'static str, &'static str) {
        match self {
            Self::Flow => ("none", "draws.svg"),
            _ => ("digits", "draws.png"),
        }
    }
}

/// Trains, compiles, and runs the model on both boards. Every stage is announced before it starts, and cargo shows what
/// it compiles.
pub fn run(family: Family) -> Result<()> {
    heading("Looking for the bare-metal targets and the Arm emulator; what is missing is installed");
    setup::run()?;
    let folder = root().join("runs/demo");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (data, picture) = family.data_and_picture();
    let (run, model, picture) = (folder.to_string_lossy().into_owned(), path("model.elbo"), path(picture));
    heading("Building the command `elbo`, the trainer and compiler: the first time takes minutes");
    shell::build_elbo()?;
    heading(&format!("Training a model of the family {family:?}"));
    elbo(&[&["train"], family.training(), &["--out", &run]].concat())?;
    heading("Compiling the model: what it needs, and what quantisation cost");
    elbo(&["compile", &run, "-o", &model])?;
    for board in ["mps2-an386", "microbit"] {
        heading(&format!("Building the firmware of an emulated {board} around the model, and running it there"));
        elbo(&["check", &model, "--board", board, "--data", data])?;
    }
    heading("Drawing on this computer what the boards draw");
    let count = if matches!(family, Family::Flow) { "2000" } else { "64" };
    elbo(&["sample", &model, "--count", count, "-o", &picture])?;
    println!("\nThe model is {model}. Watch a board draw:  cargo run -p elbo-cli -- flash {model} --board microbit");
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}
