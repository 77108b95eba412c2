//! `elbo inspect`, `sample` and `score` run a blob on the host. The results are bit for bit those of a board.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use elbo::program::ProgramKind;
use elbo::{Limits, Meta, Model};
use elbo_compiler::host::{Blob, Runner, draws, quantize};
use elbo_compiler::report;
use elbo_compiler::stimulus::generator;
use elbo_compiler::{Likelihood, quantile, roc};
use elbo_trainer::data;
use elbo_trainer::{plot, rows};

use super::columns::Columns;

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

/// The kinds of scores.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ScoreKind {
    /// -ELBO with the latent at the posterior's mean. It needs no noise.
    Mean,
    /// -ELBO, averaged over draws of the latent.
    MonteCarlo,
    /// The importance-weighted bound on -log p(x).
    Importance,
}

/// Options of `elbo score`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  elbo score digits.elbo\n  elbo score fan.elbo --data window.csv --kind importance -o scores.csv"
)]
pub struct Score {
    /// The blob.
    pub model: PathBuf,
    /// Data to score: `digits`, `mnist`, or an IDX, CSV or NPY file. Only the test split is scored, unless --all is
    /// given.
    #[arg(long, default_value = "digits")]
    pub data: String,
    /// Folder that contains the data set. The default is the environment variable ELBO_DATA.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub columns: Columns,
    /// Scores the rows of all splits.
    #[arg(long)]
    pub all: bool,
    /// The kind of score.
    #[arg(long, value_enum, default_value = "mean")]
    pub kind: ScoreKind,
    /// Seed of the binarisation and of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Writes the scores to this CSV file, one per row.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
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
/// The blob is refused or has no program that draws samples, or the output cannot be written.
pub fn sample(args: &Sample) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let samples = draws(&model, args.count, args.seed)?.context("the model has no program that draws samples")?;
    let shape = meta.shape.map(usize::from);
    if args.text {
        samples.iter().for_each(|image| println!("{}", plot::text_art(image, shape)));
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
            for sample in &samples {
                let fields: Vec<String> = unstandardised(sample, &meta).iter().map(f32::to_string).collect();
                text.push_str(&fields.join(","));
                text.push('\n');
            }
            std::fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        _ => bail!("{}: the format is unknown. Give a name that ends in .png, .svg or .csv.", path.display()),
    }
    println!("wrote {} samples to {}", samples.len(), path.display());
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

/// Converts a standardised row to the units of its columns.
fn unstandardised(row: &[f32], meta: &Meta<'_>) -> Vec<f32> {
    let numbers = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>();
    let (mean, std) = (numbers(meta.feature_mean), numbers(meta.feature_std));
    if mean.len() != row.len() || std.len() != row.len() {
        return row.to_vec();
    }
    row.iter().zip(mean.iter().zip(&std)).map(|(v, (mean, std))| v * std + mean).collect()
}

/// Runs `elbo score`.
///
/// # Errors
/// The blob is refused, the rows have another length than the model reads, or the output cannot be written.
pub fn score(args: &Score) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let dataset = data::load(&args.data, args.data_dir.as_deref(), &args.columns.options(&meta))?;
    let kind = match args.kind {
        ScoreKind::Mean => ProgramKind::Score,
        ScoreKind::MonteCarlo => ProgramKind::ScoreMonteCarlo,
        ScoreKind::Importance => ProgramKind::ScoreImportance,
    };
    let info = model
        .program(kind)
        .and_then(|p| p.inputs[0])
        .with_context(|| format!("the model has no program {}. Choose another --kind", kind.name()))?;
    if info.len != dataset.dim {
        bail!(
            "{}: has rows of {} values, but the model takes {}. Name the model's own data with --data.",
            args.data,
            dataset.dim,
            info.len
        );
    }
    let likelihood = Likelihood::try_from(meta.likelihood)?;
    let splits = if args.all { vec![&dataset.train, &dataset.validation, &dataset.test] } else { vec![&dataset.test] };
    let (mut runner, mut noise) = (Runner::new(&model), generator(args.seed));
    let mut scores = Vec::new();
    let mut labels = Some(Vec::new());
    for split in splits {
        labels = labels.zip(split.labels.as_deref()).map(|(all, new)| [all.as_slice(), new].concat());
        for x in rows::model_rows(split, likelihood, args.seed) {
            scores.push(runner.run(kind, &[quantize(&x, &info)], &mut noise)?.nats());
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
    let at = |share: f64| quantile(&sorted, share).unwrap_or(f64::NAN);
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
