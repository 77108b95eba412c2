//! `elbo flash` and `elbo check` run a blob on a board.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use elbo::program::ProgramKind;
use elbo::{DataKind, Model, Nats, VectorInfo};
use elbo_compiler::host::{dequantize, quantize, row_format};
use elbo_link::host::{Application, Board, Client, Emulator, Firmware, Means, Placement};
use elbo_trainer::data;
use elbo_trainer::{plot, rows};

use super::blob::{load, read};
use super::columns::{Columns, say};
use crate::output::{noteln, out, outln};
use crate::replay::Shown;
use crate::{compare, counts};

/// The application of a firmware.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum App {
    /// Draws samples and prints them as text, forever.
    Generate,
    /// Decodes the latent that belongs to the tilt of the board, and prints it. In an emulator, keys tilt the board.
    Steer,
    /// Answers the requests of a host.
    Serve,
    /// Judges the windows of a sensor, for a model with a front end. An emulated board has a simulated machine.
    Monitor,
}

/// Options of `elbo flash`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  elbo flash digits.elbo --board mps2-an386
  elbo flash digits.elbo --board microbit --app steer
  elbo flash machine.elbo --board mps2-an386 --app monitor
  elbo flash digits.elbo --board mps2-an386 --model-address 0x200000   (the model has its own address)")]
pub struct Flash {
    /// The blob.
    pub model: PathBuf,
    /// The board. The error for an unknown name lists all boards.
    #[arg(long)]
    pub board: String,
    /// The application of a firmware.
    #[arg(long, value_enum, default_value = "generate")]
    pub app: App,
    /// Places the model at this flash address instead of linking it into the firmware. It can then be replaced alone.
    #[arg(long, value_parser = address)]
    pub model_address: Option<u32>,
    /// Bytes of flash that are reserved for a model with its own address.
    #[arg(long, default_value_t = 256 << 10)]
    pub model_space: u32,
}

fn address(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

/// Options of `elbo check`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  elbo check digits.elbo --board microbit\n  elbo check digits.elbo --board mps2-an386 --samples 1000 --rows 1000"
)]
pub struct Check {
    /// The blob.
    pub model: PathBuf,
    /// An emulated board.
    #[arg(long)]
    pub board: String,
    /// Data whose test split is run. With `none`, noise is run instead. The default is `digits` for a model of 8x8 images,
    /// else `none`.
    #[arg(long)]
    pub data: Option<String>,
    /// Folder that contains the data set. The default is the environment variable ELBO_DATA.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub columns: Columns,
    /// Number of samples that are compared.
    #[arg(long, default_value_t = 100)]
    pub samples: usize,
    /// Number of rows that are compared.
    #[arg(long, default_value_t = 100)]
    pub rows: usize,
    /// Seed of the binarisation and of the noise.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs `elbo flash`.
///
/// # Errors
/// The board is unknown, the blob is refused, or the toolchain, the emulator or the probe is missing.
pub fn flash(args: &Flash) -> Result<()> {
    let board = Board::find(&args.board)?;
    let application = match args.app {
        App::Generate => Application::Generate,
        App::Steer => Application::Steer,
        App::Serve => Application::Serve,
        App::Monitor => Application::Monitor,
    };
    let placement = match args.model_address {
        None => Placement::Linked(args.model.clone()),
        Some(address) => Placement::Apart { model: args.model.clone(), address, space: args.model_space },
    };
    noteln!("building {} for {} ({})", application.name(), board.name, board.core);
    let image = Firmware::new(board, application, placement).build()?;
    let Means::Probe { chip } = board.means else {
        noteln!("running in the emulator. Press Ctrl-C to end.");
        if application == Application::Monitor {
            return watch(Emulator::start_in_real_time(board, &image)?.connect()?, &args.model);
        }
        return Emulator::interact(board, &image);
    };
    let probe = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("probe-rs")
            .args(arguments)
            .status()
            .context("cannot start probe-rs. Install it with `cargo install probe-rs-tools --locked`")?;
        ensure!(status.success(), "probe-rs failed. Check that the debug probe of the board is connected.");
        Ok(())
    };
    if let Some((file, address)) = &image.apart {
        let file = file.to_string_lossy();
        probe(&[
            "download",
            "--chip",
            chip,
            "--binary-format",
            "bin",
            "--base-address",
            &format!("{address:#x}"),
            &file,
        ])?;
    }
    probe(&["run", "--chip", chip, &image.path.to_string_lossy()])
}

/// Prints the verdicts of a monitor until it ends.
fn watch(mut client: Client, model: &Path) -> Result<()> {
    let blob = read(model)?;
    let names = data::Reading::of_model(&load(&blob, model)?)?.columns;
    loop {
        if let Some(shown) = Shown::of(&client.next_frame()?, &names) {
            out!("{}", shown.line(""))?;
        }
    }
}

/// Runs `elbo check`.
///
/// # Errors
/// Those of [`flash`], or a value differs between the board and the host. The first such value is named.
pub fn check(args: &Check) -> Result<()> {
    let samples = counts::count("--samples", args.samples, &counts::DRAWS)?;
    counts::count("--rows", args.rows, &counts::DRAWS)?;
    let board = Board::find(&args.board)?;
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let input = row_format(&model).context("no program of the model reads data")?;
    let of_digits = model.reading()?.is_none_or(|reading| reading.kind == DataKind::Image) && meta.shape == [8, 8];
    let spec = args.data.as_deref().unwrap_or(if of_digits { "digits" } else { "none" });
    let rows = rows_of(args, spec, &model, &input)?;
    let real = rows.len();
    let noise = rows::noise_rows(input.len, meta.likelihood.try_into()?, 10.min(args.rows), args.seed);
    let mut all = rows;
    all.extend(noise.iter().map(|x| quantize(x, &input)));

    outln!("building the firmware for {} ({})", board.name, board.core)?;
    let mut client = compare::start(board, &args.model)?;
    let result = compare::compare(&mut client, &args.model, &all, samples as u32, args.seed)?;
    let shape = meta.shape.map(usize::from);
    let output = model.program(ProgramKind::Sample).and_then(|p| p.outputs[0]);
    if let Some(output) = output.filter(|_| shape[0] > 1) {
        let art: Vec<String> =
            result.samples.iter().take(4).map(|q| plot::text_art(&dequantize(q, &output), shape)).collect();
        outln!("drawn by {}:\n{}", board.name, side_by_side(&art))?;
    }
    let mean = |scores: &[Nats]| scores.iter().map(|s| s.to_f64()).sum::<f64>() / scores.len().max(1) as f64;
    if let Some((of_real, of_noise)) = result.scores.split_at_checked(real) {
        outln!(
            "score on {}: {:.2} for {} rows of {}, {:.2} for noise",
            board.name,
            mean(of_real),
            of_real.len(),
            spec,
            mean(of_noise)
        )?;
    }
    outln!("{} samples, {} rows: all {} values equal the host's, bit for bit", args.samples, all.len(), result.values)?;
    let (memory, length) = (result.memory, blob.bytes().len());
    outln!(
        "RAM: {} bytes static, {} stack, {} free; loading: {:.1} instructions per blob byte ({length} bytes)",
        memory.static_bytes,
        memory.stack_bytes,
        memory.free_bytes,
        result.load_instructions / length as f64
    )?;
    Ok(())
}

/// The rows to run, at the model's scale. They are the test rows of a data set, or noise if there is none. If the data
/// set has too few rows, they are used again with newly drawn bits.
fn rows_of(args: &Check, spec: &str, model: &Model<'_>, input: &VectorInfo) -> Result<Vec<Vec<i16>>> {
    let meta = model.meta()?;
    if spec == "none" {
        return Ok(rows::noise_rows(input.len, meta.likelihood.try_into()?, args.rows, !args.seed)
            .iter()
            .map(|x| quantize(x, input))
            .collect());
    }
    let dataset = data::load(spec, args.data_dir.as_deref(), &args.columns.options(model)?)?;
    say(&dataset);
    ensure!(
        dataset.dim == input.len,
        "{}: has rows of {} values, but the model takes {}. Name the data set on which it was trained with --data, or give --data none.",
        spec,
        dataset.dim,
        input.len
    );
    let mut all = Vec::new();
    for round in 0.. {
        let drawn = rows::model_rows(&dataset.test, meta.likelihood.try_into()?, args.seed.wrapping_add(round));
        if all.len() >= args.rows || drawn.is_empty() {
            break;
        }
        all.extend(drawn.iter().take(args.rows - all.len()).map(|x| quantize(x, input)));
    }
    Ok(all)
}

fn side_by_side(pictures: &[String]) -> String {
    let lines: Vec<Vec<&str>> = pictures.iter().map(|p| p.lines().collect()).collect();
    let height = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = lines.iter().flatten().map(|line| line.chars().count()).max().unwrap_or(0);
    let row = |y: usize| {
        let cells: Vec<String> = lines.iter().map(|l| format!("{:<width$}", l.get(y).copied().unwrap_or(""))).collect();
        cells.join(" | ") + "\n"
    };
    (0..height).map(row).collect()
}
