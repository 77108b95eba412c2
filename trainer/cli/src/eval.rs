//! `elbo eval` evaluates a trained model on held-out rows, in floating point.

use std::path::PathBuf;

use anyhow::bail;
use elbo_compiler::metrics::roc;
use elbo_trainer::evaluate::{elbo_of_rows, error_rate, free_energy, importance_weighted, scores};
use elbo_trainer::model::{Bounded, EnergyFit, Model};
use elbo_trainer::run::Run;

use super::columns::{Moved, say};
use crate::counts;
use crate::output::outln;

const EXAMPLES: &str = "Examples:
  elbo eval runs/digits-s0                        ELBO on the test rows
  elbo eval runs/digits-s0 --importance 64        and the importance-weighted bound
  elbo eval runs/digits-s0 --split validation     on the validation rows

A grey image is drawn as black and white pixels, each white with its grey value as probability; the
bound is the mean over that many such drawings of every row. The standard error is that of the
drawing, not of the choice of rows. A semi-supervised model also classifies the rows; of the train
rows it is judged by those whose labels it has not seen. Rows labelled 0 and 1, 1 being an anomaly,
also give the area under the ROC curve of -ELBO.

A flow's log-likelihood is exact: every row is evaluated once. Of a flow that learnt an energy, the
Kullback-Leibler divergence from it is given: free energy + ln Z, over 1000 draws for each drawing.";

/// Computes the bound on the log-likelihood of held-out rows.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run folder that `elbo train` has written.
    run: PathBuf,
    #[command(flatten)]
    moved: Moved,
    /// How often each row is evaluated, each time with newly drawn bits and latents.
    #[arg(long, default_value_t = 100, value_name = "N")]
    binarisations: usize,
    /// Also computes the importance-weighted bound with K samples.
    #[arg(long, value_name = "K")]
    importance: Option<usize>,
    /// How often each row is evaluated for the importance-weighted bound.
    #[arg(long, default_value_t = 1, value_name = "N")]
    importance_binarisations: usize,
    /// The split whose rows are evaluated.
    #[arg(long, default_value = "test", value_parser = ["train", "validation", "calibration", "test"])]
    split: String,
    /// Number of auxiliary samples over which a classification is averaged. The default is the recipe's number.
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Seed of the bits and latents that are drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    for (option, given) in [
        ("--binarisations", Some(args.binarisations)),
        ("--importance", args.importance),
        ("--importance-binarisations", Some(args.importance_binarisations)),
        ("--samples", args.samples),
    ] {
        given.map(|given| counts::count(option, given, &counts::DRAWS)).transpose()?;
    }
    let mut run = Run::open(&args.run)?;
    args.moved.apply(&mut run);
    let model = run.model()?;
    let able = model.capabilities();
    if let Some(energy) = able.energy {
        return of_energy(&*model, energy, args);
    }
    let dataset = run.dataset()?;
    say(&dataset);
    let split = match args.split.as_str() {
        "train" => &dataset.train,
        "validation" => &dataset.validation,
        "calibration" => &dataset.calibration,
        _ => &dataset.test,
    };
    if split.n == 0 {
        bail!(
            "the data set `{}` has no rows in the split `{}`. Choose another one with --split.",
            dataset.name,
            args.split
        );
    }
    let name = format!("{} {} rows", split.n, args.split);
    if let Some(scores) = elbo_trainer::nn::on_pool(|| scores(&*model, &split.x))? {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        outln!(
            "score  {mean:.6} on average ({name}). Rows that are more unusual have higher scores. This family has no bound in nats."
        )?;
        if let Some(area) =
            split.labels.as_deref().and_then(roc::anomalies).and_then(|anomalous| roc::auc(&scores, &anomalous))
        {
            outln!("AUC    {area:.4} of the score")?;
        }
        return Ok(());
    }
    let exact = able.bounds.is_some_and(Bounded::exact);
    let (drawings, score) = if exact { (1, "log p") } else { (args.binarisations, "ELBO") };
    let (elbo, of_rows) = elbo_trainer::nn::on_pool(|| elbo_of_rows(&*model, split, drawings, args.seed))?;
    if exact {
        outln!("log p  {:.3} nats per row ({name}, exact)", elbo.mean)?;
    } else {
        outln!(
            "ELBO   {:.3} +- {:.3} nats per row ({name}, {drawings} drawings, seed {})",
            elbo.mean,
            elbo.standard_error,
            args.seed
        )?;
    }
    if let Some(anomalous) = split.labels.as_deref().and_then(roc::anomalies) {
        let scores: Vec<f64> = of_rows.iter().map(|elbo| -elbo).collect();
        if let Some(area) = roc::auc(&scores, &anomalous) {
            let count = anomalous.iter().filter(|anomalous| **anomalous).count();
            outln!("AUC    {area:.4} of -{score}, {count} anomalies among {name}")?;
        }
    }
    if let Some(classifier) = able.classifier.filter(|_| dataset.classes() > 0) {
        let seen = match args.split.as_str() {
            "train" => run.recipe.labelled_rows(split, dataset.classes())?.unwrap_or_default(),
            _ => Vec::new(),
        };
        let samples = args.samples.unwrap_or(classifier.samples());
        if let Some(error) = elbo_trainer::nn::on_pool(|| error_rate(&*model, split, &seen, samples, args.seed))? {
            let which = if seen.is_empty() { String::new() } else { format!(" without {} labelled ones", seen.len()) };
            outln!(
                "error  {:.2} % ({} of {}{which}, {samples} auxiliary samples, seed {})",
                100.0 * error.rate(),
                error.wrong,
                format_args!("{} {} rows", error.rows, args.split),
                args.seed
            )?;
        }
    }
    if let Some(k) = args.importance {
        let count = args.importance_binarisations;
        let bound = elbo_trainer::nn::on_pool(|| importance_weighted(&*model, split, k, count, args.seed))?;
        outln!(
            "IW-{k}  {:.3} +- {:.3} nats per row ({name}, {count} drawings, seed {})",
            bound.mean,
            bound.standard_error,
            args.seed
        )?;
    }
    Ok(())
}

/// Prints the divergence of a flow from the energy that it was fitted to.
fn of_energy(model: &dyn Model, energy: &dyn EnergyFit, args: &Args) -> anyhow::Result<()> {
    if args.importance.is_some() {
        bail!("--importance needs rows of data, but this flow was fitted to an energy. Leave the option out.");
    }
    let draws = 1000 * args.binarisations;
    let free = elbo_trainer::nn::on_pool(|| free_energy(model, draws, args.seed))?;
    let log_z = energy.log_z()?;
    outln!("free energy  {:.4} +- {:.4} nats ({draws} draws, seed {})", free.mean, free.standard_error, args.seed)?;
    outln!("ln Z         {log_z:.4} nats ({}, with its soft box, by integration)", energy.energy_name())?;
    outln!("KL(q || p)   {:.4} +- {:.4} nats", free.mean + log_z, free.standard_error)?;
    Ok(())
}
