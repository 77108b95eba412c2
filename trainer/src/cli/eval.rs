//! `elbo eval`.

use std::path::PathBuf;

use anyhow::bail;

use crate::evaluate::{elbo_of_rows, importance_weighted, scores};
use crate::roc;
use crate::run::Run;

const EXAMPLES: &str = "Examples:
  elbo eval runs/digits-s0                        ELBO on the test rows
  elbo eval runs/digits-s0 --importance 64        and the importance-weighted bound
  elbo eval runs/digits-s0 --split validation     on the validation rows

A grey image is drawn as black and white pixels, each white with its grey value as probability; the
bound is the mean over that many such drawings of every row. The standard error is that of the
drawing, not of the choice of rows. Rows labelled 0 and 1, 1 being an anomaly, also give the area
under the ROC curve of -ELBO.";

/// Bound the log-likelihood of held-out rows.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run folder, as written by `elbo train`.
    run: PathBuf,
    /// Drawings (binarisations and latent noise) of every row.
    #[arg(long, default_value_t = 100, value_name = "N")]
    binarisations: usize,
    /// Also give the importance-weighted bound with K samples.
    #[arg(long, value_name = "K")]
    importance: Option<usize>,
    /// Drawings for the importance-weighted bound.
    #[arg(long, default_value_t = 1, value_name = "N")]
    importance_binarisations: usize,
    /// Rows to evaluate.
    #[arg(long, default_value = "test", value_parser = ["train", "validation", "test"])]
    split: String,
    /// Seed of the drawings.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let run = Run::open(&args.run)?;
    let (dataset, model) = (run.dataset()?, run.model()?);
    let split = match args.split.as_str() {
        "train" => &dataset.train,
        "validation" => &dataset.validation,
        _ => &dataset.test,
    };
    if split.n == 0 {
        bail!("the data set `{}` has no {} rows; choose another --split", dataset.name, args.split);
    }
    let name = format!("{} {} rows", split.n, args.split);
    if let Some(scores) = crate::nn::on_pool(|| scores(&*model, &split.x))? {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        println!("score  {mean:.6} on average, higher for stranger rows ({name}); this family has no bound in nats");
        if let Some(area) = roc::anomalies(split).and_then(|anomalous| roc::auc(&scores, &anomalous)) {
            println!("AUC    {area:.4} of the score");
        }
        return Ok(());
    }
    let (elbo, of_rows) = crate::nn::on_pool(|| elbo_of_rows(&*model, split, args.binarisations, args.seed))?;
    println!(
        "ELBO   {:.3} +- {:.3} nats per row ({name}, {} drawings, seed {})",
        elbo.mean, elbo.standard_error, args.binarisations, args.seed
    );
    if let Some(anomalous) = roc::anomalies(split) {
        let scores: Vec<f64> = of_rows.iter().map(|elbo| -elbo).collect();
        if let Some(area) = roc::auc(&scores, &anomalous) {
            let count = anomalous.iter().filter(|anomalous| **anomalous).count();
            println!("AUC    {area:.4} of -ELBO, {count} anomalies among {name}");
        }
    }
    if let Some(k) = args.importance {
        let count = args.importance_binarisations;
        let bound = crate::nn::on_pool(|| importance_weighted(&*model, split, k, count, args.seed))?;
        println!(
            "IW-{k}  {:.3} +- {:.3} nats per row ({name}, {count} drawings, seed {})",
            bound.mean, bound.standard_error, args.seed
        );
    }
    Ok(())
}
