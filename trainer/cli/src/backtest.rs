//! `elbo backtest` measures how a detector would have done on labelled recordings.

mod json;
mod order;
pub(crate) mod text;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use elbo_compiler::metrics::{Bootstrap, Evaluation, Labelled, evaluate};
use elbo_trainer::data::DataOptions;

use crate::blob::{load, read};
use crate::output::{noteln, outln};
use crate::scorer::{Scored, Scoring};

pub(crate) use order::Order;

/// Options of `elbo backtest`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  elbo backtest fan.elbo --data recordings --false-alarms 1/day
  elbo backtest fan.elbo --data test.csv --false-alarms 0.1% --split test --json fan.json
  elbo backtest pump.elbo --data log.csv --group machine --false-alarms 1/week --period 5m

The data need labels, of which 1 marks an anomaly. An event is a run of anomalous rows, or windows,
that follow one another. Printed are, for all rows and for each group:
  alarms, false alarms    alarming rows in a day of data, or in 1000 rows without the time of a row
  normal rows that alarm  their share, beside the rate that was asked for (by default 1 %)
  events found            events in which at least one row alarms
  delay                   median time from the start of an event to its first alarm, if found
  AUC, partial AUC        area under the ROC curve, and its mean height up to 10 % false alarms
  average precision       area under precision and recall; by chance the share of anomalous rows
  VUS-PR                  the same with buffers around events, and a factor for events not found
  affiliation             how near alarms and events are; alarms at random have about 0.5 or more
Brackets hold 95 % intervals by a block bootstrap. They say nothing of machines or faults that the
data do not have. Point-adjusted F1 is not computed, because random scores reach high values of it.
docs/evaluation.md explains each measure.")]
pub struct Backtest {
    /// Column of machines or other groups, each of which is also evaluated alone. Without it as the recordings say.
    #[arg(long, value_name = "COLUMN")]
    pub group: Option<String>,
    /// Writes the results to this JSON file, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub measures: Measures,
    #[command(flatten)]
    pub scoring: Scoring,
}

/// How metrics are computed.
#[derive(Args, Clone, Copy, Debug)]
pub struct Measures {
    /// Largest buffer of VUS-PR around an event, in rows: half of it lies on each side.
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    pub vus_window: usize,
    /// Replicates of the bootstrap; 0 gives no intervals.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub bootstrap: usize,
    /// Rows of a block of the bootstrap. The default is the length of the longest event, at least the cube root and at most
    /// a fiftieth of the number of rows.
    #[arg(long, value_name = "ROWS")]
    pub block: Option<usize>,
}

/// Evaluations of all rows and of each group.
pub(crate) struct Results {
    /// A name for each, and its evaluation. The first has all rows.
    pub parts: Vec<(String, Evaluation, Order)>,
    /// Whether both normal and anomalous rows are labelled.
    pub labelled: bool,
}

/// Options that read the column of groups, too.
pub(crate) fn with_group(group: Option<&str>) -> impl FnOnce(DataOptions) -> DataOptions {
    let group = group.map(str::to_owned);
    |options| DataOptions { group_column: group, ..options }
}

/// Evaluates all rows, and each group if there are several.
///
/// # Errors
/// Options outside of their range, or labels that do not say which rows are anomalous.
pub(crate) fn results(scored: &Scored<'_>, measures: &Measures, seed: u64) -> Result<Results> {
    if measures.block == Some(0) {
        bail!("--block must be at least 1. Leave it out for a length that follows from the events.");
    }
    let labels = scored.split().labels.as_deref();
    if let Some(other) = labels.into_iter().flatten().find(|label| **label > 1) {
        bail!(
            "the labels are classes up to {other} or more, but a backtest needs labels of 0 for normal rows and 1 for \
             anomalies. Name another column with --label-column, or write one."
        );
    }
    let (nats, alarm) = (scored.nats(), scored.judged.alarm_or_default());
    let evaluated = |order: &Order| {
        let scores: Vec<f64> = order.rows.iter().map(|at| nats[*at]).collect();
        let anomalous: Vec<bool> = order.rows.iter().map(|at| labels.is_some_and(|labels| labels[*at] == 1)).collect();
        let alarms = alarm.map(|alarm| order.alarms(scored, &alarm));
        let rows = Labelled { scores: &scores, anomalous: &anomalous, sequences: &order.sequences };
        let bootstrap = Bootstrap { replicates: measures.bootstrap, block: measures.block, seed };
        evaluate(&rows, alarms.as_deref(), measures.vus_window, bootstrap)
    };
    let pooled = Order::of(scored);
    let mut parts: Vec<(String, Evaluation, Order)> = Vec::new();
    if pooled.groups.len() > 1 {
        for group in pooled.groups.iter().map(|(name, rows)| (name.clone(), pooled.part(rows))) {
            parts.push((group.0, evaluated(&group.1), group.1));
        }
    }
    parts.insert(0, ("all rows".to_owned(), evaluated(&pooled), pooled));
    Ok(Results { labelled: scored.anomalous().is_some(), parts })
}

/// Runs `elbo backtest`.
///
/// # Errors
/// Those of scoring and of [`results`], or the output cannot be written.
pub fn backtest(args: &Backtest) -> Result<()> {
    let path = &args.scoring.model;
    let blob = read(path)?;
    let scored = args.scoring.run(load(&blob, path)?, with_group(args.group.as_deref()))?;
    let results = results(&scored, &args.measures, args.scoring.seed)?;
    say_what_is_missing(&scored, &results, args.scoring.split.is_none());
    outln!("{}", text::text(&scored, &results, &args.measures, args.scoring.id.as_deref()))?;
    if let Some(path) = &args.json {
        let json = json::json(&scored, &results, &args.measures);
        std::fs::write(path, json).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

/// Says on standard error why metrics are absent, and what makes them too good.
pub(crate) fn say_what_is_missing(scored: &Scored<'_>, results: &Results, every_row: bool) {
    if scored.split().labels.is_none() {
        noteln!("the data have no labels, so only alarms are counted; --label-column names a column of labels");
    } else if !results.labelled {
        noteln!(
            "the labels mark {} rows as anomalies, so the areas are not defined",
            match results.parts[0].1.anomalous {
                0 => "no",
                _ => "all",
            }
        );
    }
    if scored.judged.alarm_or_default().is_none() {
        noteln!("the blob has no calibration that supports a false-alarm rate of 1 %, so alarms are not counted");
    }
    let reading = &scored.dataset.reading;
    let split = reading.cut.as_ref().and_then(|cut| cut.recordings.split.as_ref()).or(reading.split.as_ref());
    if let Some(split) = split.filter(|_| every_row) {
        noteln!(
            "every row is evaluated; if the model was trained on some of them, --split test takes those that column \
             `{split}` marks for a test"
        );
    }
}
