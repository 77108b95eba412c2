//! Scores rows with a blob, for every command that needs scores, their p-values and alarms.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use elbo::detector::{Detector, DetectorConfig, Rule, State};
use elbo::program::ProgramKind;
use elbo::{Calibration, Meta, Model, Nats, Rate};
use elbo_compiler::host::{Runner, quantize};
use elbo_compiler::rate::{self, Period};
use elbo_compiler::rules;
use elbo_compiler::stimulus::generator;
use elbo_compiler::{Likelihood, metrics::roc};
use elbo_trainer::data::{self, DataOptions, Dataset, Split};
use elbo_trainer::family::{self, Score as Meaning};
use elbo_trainer::rows;

use crate::columns::{Columns, say};

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

/// What is scored, and at which rate it alarms.
#[derive(Args, Debug)]
pub struct Scoring {
    /// The blob.
    pub model: PathBuf,
    /// Data to score: `digits`, `mnist`, a file or a folder in a format that `elbo train` reads. Every row is scored, and
    /// for a model with a front end every window.
    #[arg(long, display_order = 0)]
    pub data: Option<String>,
    /// Folder that contains the data set. The default is the environment variable ELBO_DATA.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
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
    /// Says which rows alarm at this false-alarm rate: a share of normal rows, such as 0.1% or 1/1000, or a number of
    /// alarms in a time, such as 1/day or 2/hour.
    #[arg(long, value_name = "RATE")]
    pub false_alarms: Option<String>,
    /// The rule by which rows alarm: `threshold` for each row by itself; `2-of-3` for two of three rows, or other numbers; or
    /// the moving `average` or cumulative `sum` of -ln p, which find a small lasting change sooner. --false-alarms is then
    /// one over the mean number of normal rows to an alarm.
    #[arg(long, value_name = "RULE", default_value = "threshold", requires = "false_alarms")]
    pub rule: String,
    /// The time from one row to the next, for a rate in a time: 250ms, 5m or 1h, for example. Windows of recordings with a
    /// known rate need no such option.
    #[arg(long, value_name = "TIME")]
    pub period: Option<Period>,
    // Its heading would be that of all options behind it.
    #[command(flatten)]
    pub columns: Columns,
}

/// A false-alarm rate, and what alarms at it.
#[derive(Clone, Copy)]
pub struct Alarm<'b> {
    pub rate: Rate,
    /// The least score of a single row that alarms; `None` if the calibration does not support this rate for single rows.
    pub threshold: Option<Nats>,
    /// Whether each row alarms by itself. The rate of a rule with memory is that of the starts of alarms.
    pub single: bool,
    /// The rule, which has seen nothing yet.
    detector: Detector<'b>,
}

impl<'b> Alarm<'b> {
    /// The alarm of a rule, by its name.
    ///
    /// # Errors
    /// The text is no rule, or the calibration does not support it at this rate.
    pub fn new(calibration: Calibration<'b>, rule: &str, rate: Rate) -> Result<Self> {
        let config = DetectorConfig { rule: rules::parse(rule, rate)?, latching: false };
        let single = matches!(config.rule, Rule::Threshold { .. });
        let detector = Detector::new(calibration, config)?;
        Ok(Self { rate, threshold: calibration.threshold(rate).ok(), single, detector })
    }

    /// Whether there is an alarm after each of these scores, in the order in which a device sees them.
    pub fn after(&self, scores: impl IntoIterator<Item = Nats>) -> Vec<bool> {
        let mut detector = self.detector;
        scores.into_iter().map(|score| detector.observe(score).state == State::Alarm).collect()
    }
}

/// What the calibration in a blob says of scores.
#[derive(Clone, Copy, Default)]
pub struct Judgement<'b> {
    pub calibration: Option<Calibration<'b>>,
    /// The rate that was asked for.
    pub alarm: Option<Alarm<'b>>,
}

impl<'b> Judgement<'b> {
    /// The alarm that was asked for, else that of single rows at 1 %; `None` if the calibration does not support that.
    pub fn alarm_or_default(&self) -> Option<Alarm<'b>> {
        self.alarm.or_else(|| Alarm::new(self.calibration?, "threshold", Rate::ONE_IN_100).ok())
    }
}

/// Rows and their scores.
pub struct Scored<'b> {
    pub model: Model<'b>,
    pub dataset: Dataset,
    /// The part of the data set that was scored.
    part: Option<Part>,
    /// The rows as the model reads them.
    pub rows: Vec<Vec<f32>>,
    pub scores: Vec<Nats>,
    pub judged: Judgement<'b>,
    /// The time from one row to the next, if it is known.
    pub period: Option<Period>,
    /// What a score is called in a text, and as the header of a column.
    pub name: String,
    pub column: &'static str,
}

impl Scoring {
    /// Scores the rows. `options` changes how they are read.
    ///
    /// # Errors
    /// The rows have another length than the model reads, or the calibration does not support the false-alarm rate.
    pub fn run<'b>(&self, model: Model<'b>, options: impl FnOnce(DataOptions) -> DataOptions) -> Result<Scored<'b>> {
        let meta = model.meta()?;
        let Some(spec) = &self.data else {
            bail!("--data is required: a blob does not contain its data. Name a file, or `digits` or `mnist`.");
        };
        let kind = self.kind.program();
        let info = model
            .program(kind)
            .and_then(|p| p.inputs[0])
            .with_context(|| format!("the model has no program {}. {}", kind.name(), self.kind.remedy()))?;
        let hop = model.windows()?.and_then(|windows| Period::of_samples(windows.hop, windows.rate.into()));
        let period = self.period.or(hop);
        let judged = self.judgement(&model, period)?;
        let read =
            DataOptions { unsplit: self.split.is_none(), id_column: self.id.clone(), ..self.columns.options(&model)? };
        let dataset = data::load(spec, self.data_dir.as_deref(), &options(read))?;
        say(&dataset);
        if info.len != dataset.dim {
            bail!(
                "{spec}: has rows of {} values, but the model takes {}. Name the model's own data with --data.",
                dataset.dim,
                info.len
            );
        }
        let split = part(&dataset, self.split);
        if split.n == 0 {
            bail!("{spec}: the split has no rows. Choose another one, or leave --split out to score every row.");
        }
        let (mut runner, mut noise) = (Runner::new(&model), generator(self.seed));
        let mut scores = Vec::with_capacity(split.n);
        let rows = rows::model_rows(split, Likelihood::try_from(meta.likelihood)?, self.seed);
        for x in &rows {
            scores.push(runner.run(kind, &[quantize(x, &info)], &mut noise)?.nats());
        }
        let (name, column) = names(&meta, self.kind);
        Ok(Scored { model, dataset, part: self.split, rows, scores, judged, period, name, column })
    }

    /// # Errors
    /// The text is no rate, the blob has no calibration for it, or too few rows calibrated it.
    fn judgement<'b>(&self, model: &Model<'b>, period: Option<Period>) -> Result<Judgement<'b>> {
        let rate = self.false_alarms.as_deref().map(|text| rate::parse(text, period)).transpose()?;
        let calibration = model.meta()?.calibrations.get(self.kind.program());
        let alarm = match rate {
            None => None,
            Some(rate) => {
                let calibration = calibration.ok_or_else(|| uncalibrated(&self.model))?;
                Some(Alarm::new(calibration, &self.rule, rate)?)
            }
        };
        Ok(Judgement { calibration, alarm })
    }
}

/// Says that a blob has no calibration.
pub fn uncalibrated(model: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{}: the blob has no calibration of this score, because no held-out rows were left for it. Train with a \
         --calibration-fraction above 0 or with --calibration-folds, and compile again.",
        model.display()
    )
}

fn part(dataset: &Dataset, part: Option<Part>) -> &Split {
    match part {
        Some(Part::Train) => &dataset.train,
        Some(Part::Validation) => &dataset.validation,
        Some(Part::Calibration) => &dataset.calibration,
        Some(Part::Test) | None => &dataset.test,
    }
}

impl Scored<'_> {
    /// The part of the data set that was scored.
    pub fn split(&self) -> &Split {
        part(&self.dataset, self.part)
    }

    /// The place in the source, from 0, of the row with this number among those that were scored.
    pub fn place(&self, at: usize) -> usize {
        self.split().rows.get(at).copied().unwrap_or(at)
    }

    /// The name of this row in the source.
    pub fn id(&self, at: usize) -> Option<&str> {
        self.dataset.ids.as_ref()?.get(self.place(at)).map(String::as_str)
    }

    /// The header of the names of rows.
    pub fn id_header<'a>(&'a self, column: Option<&'a str>) -> Option<&'a str> {
        column.or(self.dataset.ids.is_some().then_some("window"))
    }

    /// Which rows are labelled as anomalies; `None` if not both kinds occur.
    pub fn anomalous(&self) -> Option<Vec<bool>> {
        self.split().labels.as_deref().and_then(roc::anomalies)
    }

    /// Whether each row alarms, if a detector sees all of them in the order of the source.
    pub fn alarms(&self, alarm: &Alarm<'_>) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by_key(|at| self.place(*at));
        let mut alarms = vec![false; order.len()];
        for (at, raised) in order.iter().zip(alarm.after(order.iter().map(|at| self.scores[*at]))) {
            alarms[*at] = raised;
        }
        alarms
    }

    /// The scores in nats.
    pub fn nats(&self) -> Vec<f64> {
        self.scores.iter().map(|score| score.to_f64()).collect()
    }
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
