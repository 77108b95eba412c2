//! `elbo report` writes a backtest as one HTML file, which needs no network.

mod data;
mod page;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::backtest::{Measures, results, say_what_is_missing, with_group};
use crate::blob::{load, read};
use crate::output::outln;
use crate::scorer::Scoring;

/// Options of `elbo report`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  elbo report fan.elbo --data recordings --false-alarms 1/day -o fan.html
  elbo report fan.elbo --data test.csv --split test -o fan.html
  elbo report pump.elbo --data log.csv --group machine --id time --period 5m -o pump.html

The page says what the model is and what it costs on a board. It shows the scores of normal and
anomalous rows with a threshold to drag, and the false alarms and the events found that follow; ROC,
precision and recall; the scores in the order of time with events and alarms; the features that
cause alarms; and how well the calibration holds. It is one file without references to others,
readable in light and dark, and can be printed. `elbo backtest` computes the same numbers, and
docs/evaluation.md explains them.")]
pub struct Report {
    /// The HTML file to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Column of machines or other groups, each of which is also evaluated alone. Without it as the recordings say.
    #[arg(long, value_name = "COLUMN")]
    pub group: Option<String>,
    #[command(flatten)]
    pub measures: Measures,
    #[command(flatten)]
    pub scoring: Scoring,
}

/// Runs `elbo report`.
///
/// # Errors
/// Those of `elbo backtest`, or the output cannot be written.
pub fn report(args: &Report) -> Result<()> {
    let path = &args.scoring.model;
    let blob = read(path)?;
    let scored = args.scoring.run(load(&blob, path)?, with_group(args.group.as_deref()))?;
    let results = results(&scored, &args.measures, args.scoring.seed)?;
    say_what_is_missing(&scored, &results, args.scoring.split.is_none());
    let id = args.scoring.id.as_deref();
    let page = page::Page {
        data: data::data(&scored, &results, &args.scoring)?,
        facts: page::facts(&scored, blob.bytes().len())?,
        programs: page::programs(&scored.model),
        features: page::features(&scored),
        tables: page::tables(&scored, &results, &args.measures, id),
        title: format!("{} on {}", scored.model.meta()?.name, scored.dataset.name),
    };
    let html = page.html();
    std::fs::write(&args.output, &html).with_context(|| format!("{}: cannot be written", args.output.display()))?;
    outln!("wrote {} ({} kB)", args.output.display(), html.len().div_ceil(1000))?;
    Ok(())
}
