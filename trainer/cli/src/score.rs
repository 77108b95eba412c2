//! `elbo score` scores the rows of a file with a blob: one line for each row, in the order of the file.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use elbo::program::ProgramKind;
use elbo::{Calibration, Meta, Model, Nats, Rate};
use elbo_compiler::host::{Runner, quantize};
use elbo_compiler::rate::{self, Period, percent};
use elbo_compiler::stimulus::generator;
use elbo_compiler::{Likelihood, quantile, roc};
use elbo_trainer::data::{self, DataOptions, Dataset, Split};
use elbo_trainer::family::{self, Score as Meaning};
use elbo_trainer::rows;

use crate::blob::{load, read};
use crate::causes::Causes;
use crate::columns::{Columns, say};
use crate::output::{noteln, out, outln};

/// The kinds of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScoreKind {
    /// The model's score without noise: -ELBO with the latent at the posterior's mean, -log p, or the negated critic.
    Mean,
    /// -ELBO, averaged over draws of the latent.
    MonteCarlo,
    /// The importance-weighted bound on -log p(x).
    Importance,
}

impl ScoreKind {
    fn program(self) -> ProgramKind {
        match self {
            Self::Mean => ProgramKind::Score,
            Self::MonteCarlo => ProgramKind::ScoreMonteCarlo,
            Self::Importance => ProgramKind::ScoreImportance,
        }
    }

    /// The option of `elbo compile` that adds the program to a blob.
    fn remedy(self) -> &'static str {
        match self {
            Self::Mean => "Compile the model with the program `score`.",
            Self::MonteCarlo => {
                "Choose another --kind, or compile a model of this kind with --monte-carlo-samples L, L at least 1."
            }
            Self::Importance => {
                "Choose another --kind, or compile a model of this kind with --importance-samples K, K at least 1."
            }
        }
    }
}

/// The parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The rows to train on.
    Train,
    /// The rows to choose by.
    Validation,
    /// The rows that say how rare a score is.
    Calibration,
    /// The rows to report on.
    Test,
}

/// Options of `elbo score`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  elbo score fan.elbo --data window.csv -o scores.csv
  elbo score fan.elbo --data window.csv --id time > scores.csv
  elbo score fan.elbo --data window.csv --false-alarms 0.1% -o scores.csv
  elbo score pump.elbo --data log.csv --false-alarms 1/week --period 5m
  elbo score fan.elbo --data recordings --false-alarms 1/day --causes 3 -o alarms.csv
  elbo score digits.elbo --data digits --split test --kind importance -o scores.csv

Each line of the result has the number of its row in the file, counted from 1, and the score. A higher score
means a less likely row. With --p-values or --false-alarms the column `p` follows: the share of normal rows that
score as high, by the calibration in the blob. With --false-alarms the last column, `alarm`, is 1 where p is at
most that rate, and else 0. With --causes a last column names the features that make a row unlikely. If new normal rows are like those of the calibration, no larger share of them alarms
on average. A summary follows: on standard output with -o, else on standard error.")]
pub struct Score {
    /// The blob.
    pub model: PathBuf,
    /// Data to score: `digits`, `mnist`, or a file in a format that `elbo train` reads. Every row is scored.
    #[arg(long)]
    pub data: Option<String>,
    /// Folder that contains the data set. The default is the environment variable ELBO_DATA.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub columns: Columns,
    /// Scores only the rows of this part of the data set, as its column `split` says or as the training divides it.
    #[arg(long, value_enum)]
    pub split: Option<Part>,
    /// Scores every row, which is the default.
    #[arg(long, hide = true, conflicts_with = "split")]
    pub all: bool,
    /// Column that names the rows, for example a time. Its text stands beside each score.
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// The kind of score.
    #[arg(long, value_enum, default_value = "mean")]
    pub kind: ScoreKind,
    /// Seed of the binarisation and of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Adds the p-value of every score.
    #[arg(long)]
    pub p_values: bool,
    /// Says which rows alarm at this false-alarm rate: a share of normal rows, such as 0.1% or 1/1000, or a number of
    /// alarms in a time, such as 1/day or 2/hour.
    #[arg(long, value_name = "RATE")]
    pub false_alarms: Option<String>,
    /// Names the features that contribute most to the score, this many of each row, with their contributions in nats. With
    /// --false-alarms only for rows that alarm.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub causes: usize,
    /// The time from one row to the next, for a rate in a time: 250ms, 5m or 1h, for example. Windows of recordings with a
    /// known rate need no such option.
    #[arg(long, value_name = "TIME", requires = "false_alarms")]
    pub period: Option<Period>,
    /// Writes the scores to this CSV file, instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What a score is called in a summary, and as the header of a column.
fn names(meta: &Meta<'_>, kind: ScoreKind) -> (String, &'static str) {
    let meaning = family::find(meta.family).map(|family| family.score);
    match (kind, meaning) {
        (ScoreKind::Mean, Ok(meaning)) => (meaning.name().to_owned(), meaning.column()),
        (ScoreKind::MonteCarlo, _) => {
            (format!("{} over {} draws", Meaning::Bound.name(), meta.monte_carlo_samples), Meaning::Bound.column())
        }
        (ScoreKind::Importance, _) => (
            format!("importance-weighted -ELBO in nats over {} draws", meta.importance_samples),
            "negative_importance_weighted_elbo_nats",
        ),
        // A model from elsewhere: its author knows what it scores.
        (ScoreKind::Mean, Err(_)) => ("score".to_owned(), "score"),
    }
}

/// Runs `elbo score`.
///
/// # Errors
/// The blob is refused, the rows have another length than the model reads, or the output cannot be written.
pub fn score(args: &Score) -> Result<()> {
    let blob = read(&args.model)?;
    let model = load(&blob, &args.model)?;
    let meta = model.meta()?;
    let Some(spec) = &args.data else {
        bail!("--data is required: a blob does not contain its data. Name a file, or `digits` or `mnist`.");
    };
    let kind = args.kind.program();
    let info = model
        .program(kind)
        .and_then(|p| p.inputs[0])
        .with_context(|| format!("the model has no program {}. {}", kind.name(), args.kind.remedy()))?;
    let options =
        DataOptions { unsplit: args.split.is_none(), id_column: args.id.clone(), ..args.columns.options(&model)? };
    let dataset = data::load(spec, args.data_dir.as_deref(), &options)?;
    say(&dataset);
    if info.len != dataset.dim {
        bail!(
            "{spec}: has rows of {} values, but the model takes {}. Name the model's own data with --data.",
            dataset.dim,
            info.len
        );
    }
    let split = match args.split {
        Some(Part::Train) => &dataset.train,
        Some(Part::Validation) => &dataset.validation,
        Some(Part::Calibration) => &dataset.calibration,
        Some(Part::Test) | None => &dataset.test,
    };
    if split.n == 0 {
        bail!("{spec}: the split has no rows. Choose another one, or leave --split out to score every row.");
    }
    let (mut runner, mut noise) = (Runner::new(&model), generator(args.seed));
    let mut scores = Vec::with_capacity(split.n);
    let rows = rows::model_rows(split, Likelihood::try_from(meta.likelihood)?, args.seed);
    for x in &rows {
        scores.push(runner.run(kind, &[quantize(x, &info)], &mut noise)?.nats());
    }
    let mut judged = judgement(args, &model)?;
    if args.causes > 0 {
        let alarms = |at: usize| judged.alarm.is_none_or(|(_, threshold)| scores[at] >= threshold);
        judged.causes = Some(Causes::of(&model, args.causes)?.texts(&rows, alarms)?);
    }
    let (name, column) = names(&meta, args.kind);
    let id = args.id.as_deref().or(dataset.ids.is_some().then_some("window"));
    let table = table(&dataset, split, &scores, id, column, &judged);
    let mut summary = summary(&name, &scores, split);
    summary.push_str(&judged.summary(&scores));
    match &args.output {
        Some(path) => {
            std::fs::write(path, table).with_context(|| format!("{}: cannot be written", path.display()))?;
            outln!("{summary}")?;
        }
        None => {
            out!("{table}")?;
            noteln!("{summary}");
        }
    }
    Ok(())
}

/// What the calibration in a blob says of scores.
#[derive(Default)]
struct Judgement<'b> {
    calibration: Option<Calibration<'b>>,
    /// Whether the p-values stand in the table.
    shown: bool,
    /// The false-alarm rate that was asked for, and the least score that alarms.
    alarm: Option<(Rate, Nats)>,
    /// The causes of every score, if they are asked for.
    causes: Option<Vec<String>>,
}

/// # Errors
/// The blob has no calibration for what is asked for, or too few rows calibrated it.
fn judgement<'b>(args: &Score, model: &Model<'b>) -> Result<Judgement<'b>> {
    let hop = model.windows()?.and_then(|windows| Period::of_samples(windows.hop, windows.rate.into()));
    let rate = args.false_alarms.as_deref().map(|text| rate::parse(text, args.period.or(hop))).transpose()?;
    let calibration = model.meta()?.calibrations.get(args.kind.program());
    let shown = args.p_values || rate.is_some();
    if shown && calibration.is_none() {
        bail!(
            "{}: the blob has no calibration of this score, because no held-out rows were left for it. Train with a \
             --calibration-fraction above 0 or with --calibration-folds, and compile again.",
            args.model.display()
        );
    }
    let alarm = match (rate, calibration) {
        (Some(rate), Some(calibration)) => Some((rate, calibration.threshold(rate)?)),
        _ => None,
    };
    Ok(Judgement { calibration, shown, alarm, causes: None })
}

impl Judgement<'_> {
    /// The further columns.
    fn header(&self) -> String {
        let columns = [(self.shown, ",p"), (self.alarm.is_some(), ",alarm"), (self.causes.is_some(), ",causes")];
        columns.into_iter().filter(|(shown, _)| *shown).map(|(_, column)| column).collect()
    }

    /// The further fields of the row with this number among those that are scored.
    fn fields(&self, at: usize, score: Nats) -> String {
        let p = self.calibration.filter(|_| self.shown).map(|calibration| calibration.p_value(score));
        let mut text = p.map_or_else(String::new, |p| format!(",{:.6}", p.to_f64()));
        text.extend(self.alarm.map(|(_, threshold)| format!(",{}", u8::from(score >= threshold))));
        text.extend(self.causes.iter().filter_map(|causes| causes.get(at)).map(|causes| format!(",{}", field(causes))));
        text
    }

    /// How many rows alarm, at 1 % unless a rate was asked for. Empty if the calibration does not support that.
    fn summary(&self, scores: &[Nats]) -> String {
        let by_default = || Some((Rate::ONE_IN_100, self.calibration?.threshold(Rate::ONE_IN_100).ok()?));
        let Some((rate, threshold)) = self.alarm.or_else(by_default) else { return String::new() };
        let alarms = scores.iter().filter(|score| **score >= threshold).count();
        let rows = self.calibration.map_or(0, |calibration| calibration.rows());
        format!(
            "\n{alarms} alarm at a false-alarm rate of {} (score from {threshold}, calibrated with {rows} held-out rows)",
            percent(rate)
        )
    }
}

/// One line for each row, in the order of the source.
fn table(
    dataset: &Dataset,
    split: &Split,
    scores: &[Nats],
    id: Option<&str>,
    column: &str,
    judged: &Judgement<'_>,
) -> String {
    let mut order: Vec<usize> = (0..split.n).collect();
    let place = |at: usize| split.rows.get(at).copied().unwrap_or(at);
    order.sort_by_key(|at| place(*at));
    let mut text = "row".to_owned();
    text.extend(id.map(|name| format!(",{}", field(name))));
    let _ = writeln!(text, ",{column}{}", judged.header());
    for at in order {
        let _ = write!(text, "{}", place(at) + 1);
        text.extend(dataset.ids.iter().filter_map(|ids| ids.get(place(at))).map(|id| format!(",{}", field(id))));
        let _ = writeln!(text, ",{:.6}{}", scores[at].to_f64(), judged.fields(at, scores[at]));
    }
    text
}

/// A text as a field of CSV.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The distribution of the scores, and the area under the ROC curve if anomalies are labelled.
fn summary(name: &str, scores: &[Nats], split: &Split) -> String {
    let values: Vec<f64> = scores.iter().map(|score| score.to_f64()).collect();
    let mut sorted = values.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut text = match sorted.as_slice() {
        [only] => format!("1 row, {name}: {only:.3}"),
        _ => format!("{} rows, {name}: mean {:.3}", sorted.len(), sorted.iter().sum::<f64>() / sorted.len() as f64),
    };
    if sorted.len() > 1 {
        // A share of 95 % says something only if a row in twenty is above.
        for (share, least, called) in [(0.5, 2, "median"), (0.95, 20, "95 %"), (1.0, 1, "largest")] {
            if let Some(value) = quantile(&sorted, share).filter(|_| sorted.len() >= least) {
                let _ = write!(text, ", {called} {value:.3}");
            }
        }
    }
    if let Some(anomalous) = split.labels.as_deref().and_then(roc::anomalies)
        && let Some(area) = roc::auc(&values, &anomalous)
    {
        let _ = write!(text, "\nAUC {area:.4}, {} anomalies", anomalous.iter().filter(|a| **a).count());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nats(values: &[i64]) -> Vec<Nats> {
        values.iter().map(|value| Nats::from_bits(value << 16)).collect()
    }

    #[test]
    fn lines_stand_in_the_order_of_the_file() {
        let split = Split { n: 3, x: vec![0.0; 3], rows: vec![4, 0, 2], ..Split::default() };
        let ids = ["a", "b", "c,d", "e", "f"].map(str::to_owned).to_vec();
        let dataset = Dataset { ids: Some(ids), ..Dataset::without_rows("x", 1) };
        let lines = |judged| table(&dataset, &split, &nats(&[40, 0, 20]), Some("time"), "score", &judged);
        assert_eq!(lines(Judgement::default()), "row,time,score\n1,a,0.000000\n3,\"c,d\",20.000000\n5,f,40.000000\n");
        let mut buffer = vec![0; Calibration::room(3)];
        let calibration = Calibration::of_scores(&mut nats(&[10, 20, 30]), &mut buffer).ok();
        let judged = || Judgement { calibration, shown: true, ..Judgement::default() };
        assert_eq!(
            lines(judged()),
            "row,time,score,p\n1,a,0.000000,1.000000\n3,\"c,d\",20.000000,0.750000\n5,f,40.000000,0.250000\n"
        );
        let alarm = calibration.map(|of| (Rate::new(1, 4).unwrap(), of.threshold(Rate::new(1, 4).unwrap()).unwrap()));
        let judged = Judgement { alarm, ..judged() };
        assert!(judged.summary(&nats(&[40, 0, 20])).starts_with("\n1 alarm at a false-alarm rate of 25 %"));
        let lines = lines(judged);
        assert!(lines.starts_with("row,time,score,p,alarm\n1,a,0.000000,1.000000,0\n"), "{lines}");
        assert!(lines.ends_with("5,f,40.000000,0.250000,1\n"), "{lines}");
    }

    #[test]
    fn a_summary_states_only_what_the_rows_support() {
        let of =
            |values: &[i64]| summary("-log p in nats", &nats(values), &Split { n: values.len(), ..Split::default() });
        assert_eq!(of(&[7]), "1 row, -log p in nats: 7.000");
        assert_eq!(of(&[1, 3]), "2 rows, -log p in nats: mean 2.000, median 3.000, largest 3.000");
        assert!(of(&(0..20).collect::<Vec<i64>>()).contains("95 % 19.000"));
    }
}
