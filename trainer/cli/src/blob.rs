//! `elbo inspect`, `sample` and `score`: what can be done with a blob on the host, bit for bit what a board does.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Model};
use elbo_compiler::host::{Blob, HostArena, draws, quantize};
use elbo_compiler::report;
use elbo_compiler::{Likelihood, roc};
use elbo_trainer::data::{self, Reading};
use elbo_trainer::{plot, rows};
use rand_core::SeedableRng;

use super::columns::{Columns, say};

/// Options of `elbo inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// The blob.
    pub model: PathBuf,
}

/// Options of `elbo sample`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  elbo sample digits.elbo -o digits.png\n  elbo sample digits.elbo --count 4 --text\n  elbo sample energy.elbo --count 2000 -o energy.svg"
)]
pub struct Sample {
    /// The blob.
    pub model: PathBuf,
    /// Where to: a .png with a grid of images, an .svg with points of the plane over their density's contours, or a .csv
    /// with one sample a row, in the data's own units.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Number of samples.
    #[arg(long, default_value_t = 64)]
    pub count: usize,
    /// Seed of the noise; a board draws the same samples from the same seed.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Prints the images as text.
    #[arg(long)]
    pub text: bool,
}

/// Which score to compute.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ScoreKind {
    /// -ELBO at the posterior's mean; deterministic.
    Mean,
    /// -ELBO, the mean over draws.
    MonteCarlo,
    /// Importance-weighted bound on -log p(x).
    Importance,
}

/// Options of `elbo score`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  elbo score digits.elbo --data digits\n  elbo score fan.elbo --data window.csv --kind importance -o scores.csv"
)]
pub struct Score {
    /// The blob.
    pub model: PathBuf,
    /// Data: `digits`, `mnist`, or a file, as `elbo train` reads them; the test split is scored, or all rows with --all.
    #[arg(long)]
    pub data: Option<String>,
    /// Folder of data sets; the variable ELBO_DATA by default.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub columns: Columns,
    /// Scores every row instead of the test split's.
    #[arg(long)]
    pub all: bool,
    /// Which score.
    #[arg(long, value_enum, default_value = "mean")]
    pub kind: ScoreKind,
    /// Seed of binarisation and noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Writes one score a row to this CSV file.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

fn read(path: &Path) -> Result<Blob> {
    Blob::read(path).with_context(|| format!("{}: cannot be read; `elbo compile` writes blobs", path.display()))
}

fn load<'b>(blob: &'b Blob, path: &Path) -> Result<Model<'b>> {
    blob.load(Limits::default()).with_context(|| format!("{}: refused by the verifier", path.display()))
}

/// Runs `elbo inspect`.
///
/// # Errors
/// A file that cannot be read or is refused.
pub fn inspect(args: &Inspect) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    println!("{} ({}), {:?} likelihood, {}x{}", meta.name, meta.family, meta.likelihood, meta.shape[0], meta.shape[1]);
    println!("latent {}, L = {}, K = {}", meta.latent, meta.monte_carlo_samples, meta.importance_samples);
    if meta.classes > 0 {
        println!("classes {}", meta.classes);
    }
    let quantiles = meta.score_quantiles.map(|q| elbo::Nats::from_bits(q).to_string());
    println!(
        "scores of held-out rows, nats: 50 % {} 90 % {} 95 % {} 99 % {} 99.9 % {}",
        quantiles[0], quantiles[1], quantiles[2], quantiles[3], quantiles[4]
    );
    println!("{}", report::costs(&model, blob.bytes().len()));
    print!("{}", report::disassembly(&model));
    Ok(())
}

/// Runs `elbo sample`.
///
/// # Errors
/// A blob that is refused or cannot sample, an output that cannot be written.
pub fn sample(args: &Sample) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let samples = draws(&model, args.count, args.seed)?.context("the model cannot sample")?;
    let shape = meta.shape.map(usize::from);
    if args.text {
        samples.iter().for_each(|image| println!("{}", plot::text_art(image, shape)));
    }
    let Some(path) = &args.output else {
        if !args.text {
            bail!("say where to: -o FILE.png (images), -o FILE.svg (two columns), -o FILE.csv or --text");
        }
        return Ok(());
    };
    match path.extension().and_then(|e| e.to_str()) {
        Some("png") => plot::sample_grid(path, &samples, shape, samples.len().isqrt().max(1), 4)?,
        Some("svg") => scatter(&model, &samples, path)?,
        Some("csv") => {
            let mut text = String::new();
            let reading = Reading::of_blob(&meta, model.reading()?.as_ref());
            for sample in &samples {
                text.push_str(&unstandardised(sample, &reading).join(","));
                text.push('\n');
            }
            std::fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        _ => bail!("{}: expected a name that ends in .png, .svg or .csv", path.display()),
    }
    println!("wrote {} samples to {}", samples.len(), path.display());
    Ok(())
}

/// Points over the contours of their density, where the model has an exact one.
fn scatter(model: &Model<'_>, samples: &[Vec<f32>], path: &Path) -> Result<()> {
    let points: Vec<[f32; 2]> = samples.iter().filter_map(|sample| sample.as_slice().try_into().ok()).collect();
    if points.len() < samples.len() {
        bail!("{}: a scatter plot is of two columns; -o FILE.csv takes any number", path.display());
    }
    // Only a flow scores by its density.
    let exact = model.program(ProgramKind::SampleDensity).and(model.program(ProgramKind::Score));
    let Some(info) = exact.and_then(|program| program.inputs[0]) else {
        return Ok(plot::scatter(path, &points, None)?);
    };
    let arena = std::cell::RefCell::new(HostArena::new(model));
    let log_density = |point: [f32; 2]| {
        let mut arena = arena.borrow_mut();
        let score = model.session(arena.as_mut_slice()).and_then(|mut session| session.score(&quantize(&point, &info)));
        score.map_or(f64::NEG_INFINITY, |nats| -nats.to_f64())
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

/// Runs `elbo score`.
///
/// # Errors
/// A blob that is refused, data of another width, an output that cannot be written.
pub fn score(args: &Score) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let Some(spec) = &args.data else {
        bail!("--data is required: a blob does not know its data; name a file, or `digits` or `mnist`");
    };
    let dataset = data::load(spec, args.data_dir.as_deref(), &args.columns.options(&model)?)?;
    say(&dataset);
    let kind = match args.kind {
        ScoreKind::Mean => ProgramKind::Score,
        ScoreKind::MonteCarlo => ProgramKind::ScoreMonteCarlo,
        ScoreKind::Importance => ProgramKind::ScoreImportance,
    };
    let info =
        model.program(kind).and_then(|p| p.inputs[0]).with_context(|| format!("the model has no {}", kind.name()))?;
    if info.len != dataset.dim {
        bail!("{spec}: rows of {} values, but the model takes {}", dataset.dim, info.len);
    }
    let likelihood = Likelihood::from(meta.likelihood);
    let splits = if args.all { vec![&dataset.train, &dataset.validation, &dataset.test] } else { vec![&dataset.test] };
    let mut arena = HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice())?;
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(args.seed);
    let mut scores = Vec::new();
    let mut labels = Some(Vec::new());
    for split in splits {
        labels = labels.zip(split.labels.as_deref()).map(|(all, new)| [all.as_slice(), new].concat());
        for x in rows::model_rows(split, likelihood, args.seed) {
            let q = quantize(&x, &info);
            scores.push(match kind {
                ProgramKind::ScoreMonteCarlo => session.score_monte_carlo(&q, &mut rng)?,
                ProgramKind::ScoreImportance => session.score_importance(&q, &mut rng)?,
                _ => session.score(&q)?,
            });
        }
    }
    if let Some(path) = &args.output {
        let mut file = std::fs::File::create(path).with_context(|| format!("{}: cannot be written", path.display()))?;
        writeln!(file, "score_nats")?;
        for score in &scores {
            writeln!(file, "{:.6}", score.to_f64())?;
        }
    }
    let values: Vec<f64> = scores.iter().map(|s| s.to_f64()).collect();
    let mut sorted = values.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let at =
        |share: f64| sorted.get((share * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(f64::NAN);
    let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64;
    println!(
        "{} rows, -ELBO in nats: mean {mean:.3}, median {:.3}, 95 % {:.3}, largest {:.3}",
        sorted.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    if let Some(anomalous) = labels.as_deref().and_then(roc::anomalies)
        && let Some(area) = roc::auc(&values, &anomalous)
    {
        println!("AUC {area:.4}, {} anomalies", anomalous.iter().filter(|a| **a).count());
    }
    Ok(())
}
