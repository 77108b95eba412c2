//! `elbo inspect` and `elbo sample` run a blob on the host. The results are bit for bit those of a board.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use elbo::program::ProgramKind;
use elbo::{Limits, Model};
use elbo_compiler::host::{Blob, Runner, draws, quantize};
use elbo_compiler::rate::{self, Period};
use elbo_compiler::stimulus::generator;
use elbo_compiler::{report, rules};
use elbo_trainer::data::Reading;
use elbo_trainer::plot;

use crate::counts;
use crate::output::{out, outln};

/// Options of `elbo inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// The blob.
    pub model: PathBuf,
    /// Also shows the rules of a detector with this false-alarm rate, as a firmware writes them: a share of normal rows, such
    /// as 0.1%, or a number of alarms in a time, such as 1/week.
    #[arg(long, value_name = "RATE")]
    pub false_alarms: Option<String>,
    /// The time from one row to the next, for a rate in a time; that of a model of recordings is known.
    #[arg(long, value_name = "TIME", requires = "false_alarms")]
    pub period: Option<Period>,
}

/// Options of `elbo sample`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  elbo sample digits.elbo -o digits.png\n  elbo sample digits.elbo --count 4 --text\n  elbo sample energy.elbo --count 2000 -o energy.svg"
)]
pub struct Sample {
    /// The blob.
    pub model: PathBuf,
    /// File to which the samples are written. A .png contains a grid of images. An .svg contains points in the plane,
    /// over the contours of their density. A .csv contains one sample per row, in the units of the data.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Number of samples.
    #[arg(long, default_value_t = 64)]
    pub count: usize,
    /// Seed of the noise. A board draws the same samples from the same seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also prints the images as text.
    #[arg(long)]
    pub text: bool,
}

/// Reads a blob.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Blob> {
    Blob::read(path)
        .with_context(|| format!("{}: cannot be read. Give a blob that `elbo compile` has written", path.display()))
}

/// Proves a blob that was read from `path`.
///
/// # Errors
/// The verifier refuses it.
pub fn load<'b>(blob: &'b Blob, path: &Path) -> Result<Model<'b>> {
    blob.load(Limits::host()).with_context(|| format!("{}: the verifier refuses this blob", path.display()))
}

/// Runs `elbo inspect`.
///
/// # Errors
/// The file cannot be read, or the blob is refused.
pub fn inspect(args: &Inspect) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let [height, width] = meta.shape;
    outln!("{} ({}), {:?} likelihood, {height}x{width}", meta.name, meta.family, meta.likelihood)?;
    outln!("latent {}", meta.latent)?;
    for (kind, draws) in [
        (ProgramKind::ScoreMonteCarlo, meta.monte_carlo_samples),
        (ProgramKind::ScoreImportance, meta.importance_samples),
    ] {
        if model.program(kind).is_some() {
            outln!("{} takes {draws} draws", kind.name())?;
        }
    }
    if meta.classes > 0 {
        outln!("classes {}", meta.classes)?;
    }
    out!("{}", report::calibrations(&model)?)?;
    if let Some(text) = &args.false_alarms {
        let hop = model.windows()?.and_then(|windows| Period::of_samples(windows.hop, windows.rate.into()));
        let calibration = meta.calibrations.get(ProgramKind::Score).unwrap_or_default();
        outln!("\n{}", rules::report(calibration, rate::parse(text, args.period.or(hop))?))?;
    }
    outln!("{}", report::costs(&model, blob.bytes().len()))?;
    outln!("{}", report::firmware(&model))?;
    out!("{}", report::disassembly(&model))?;
    Ok(())
}

/// Runs `elbo sample`.
///
/// # Errors
/// The blob is refused or has no program that draws samples, or the output cannot be written.
pub fn sample(args: &Sample) -> Result<()> {
    let count = counts::count("--count", args.count, &counts::SAMPLES)?;
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let samples = draws(&model, count, args.seed)?.context("the model has no program that draws samples")?;
    let shape = meta.shape.map(usize::from);
    if args.text {
        for image in &samples {
            outln!("{}", plot::text_art(image, shape))?;
        }
    }
    let Some(path) = &args.output else {
        if !args.text {
            bail!(
                "nothing says where the samples go. Give -o FILE.png for images, -o FILE.svg for points in the plane, -o FILE.csv for numbers, or --text."
            );
        }
        return Ok(());
    };
    match path.extension().and_then(|e| e.to_str()) {
        Some("png") => plot::sample_grid(path, &samples, shape, samples.len().isqrt().max(1), 4)?,
        Some("svg") => scatter(&model, &samples, path)?,
        Some("csv") => {
            let mut text = String::new();
            let reading = Reading::of_model(&model)?;
            for sample in &samples {
                text.push_str(&unstandardised(sample, &reading).join(","));
                text.push('\n');
            }
            std::fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        _ => bail!("{}: the format is unknown. Give a name that ends in .png, .svg or .csv.", path.display()),
    }
    outln!("wrote {} samples to {}", samples.len(), path.display())?;
    Ok(())
}

/// Draws points, over the contours of their density if the model has an exact one.
fn scatter(model: &Model<'_>, samples: &[Vec<f32>], path: &Path) -> Result<()> {
    let points: Vec<[f32; 2]> = samples.iter().filter_map(|sample| sample.as_slice().try_into().ok()).collect();
    if points.len() < samples.len() {
        bail!(
            "{}: a scatter plot needs samples of two values. Give -o FILE.csv for any number of values.",
            path.display()
        );
    }
    // The score is the exact density only if the model also has this program.
    let exact = model.program(ProgramKind::SampleDensity).and(model.program(ProgramKind::Score));
    let Some(info) = exact.and_then(|program| program.inputs[0]) else {
        return Ok(plot::scatter(path, &points, None)?);
    };
    let runner = std::cell::RefCell::new(Runner::new(model));
    let log_density = |point: [f32; 2]| {
        // This program draws no noise, so the generator has no effect.
        let scored = runner.borrow_mut().run(ProgramKind::Score, &[quantize(&point, &info)], &mut generator(0));
        scored.map_or(f64::NEG_INFINITY, |outputs| -outputs.nats().to_f64())
    };
    Ok(plot::scatter(path, &points, Some(&log_density))?)
}

/// A row in the units of its columns, each with as many digits as tell a hundred-thousandth of its deviation.
fn unstandardised(row: &[f32], reading: &Reading) -> Vec<String> {
    let scale = reading.standardise.as_ref().filter(|scale| scale.mean.len() == row.len());
    let value = |(at, v): (usize, &f32)| match scale {
        None => v.to_string(),
        Some(scale) => {
            let decimals = (5.0 - scale.std[at].log10().floor()).clamp(0.0, 60.0) as usize;
            format!("{:.decimals$}", scale.restored(at, *v))
        }
    };
    row.iter().enumerate().map(value).collect()
}
