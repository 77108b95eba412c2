//! `elbo score` scores the rows of a file with a blob: one line for each row, in the order of the file.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use elbo::{Calibration, Nats};
use elbo_compiler::metrics::roc;
use elbo_compiler::quantile;
use elbo_compiler::rate::percent;

use crate::blob::{load, read};
use crate::causes::Causes;
use crate::output::{noteln, out, outln};
use crate::scorer::{Judgement, Scored, Scoring, uncalibrated};

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
score as high, by the calibration in the blob. With --false-alarms the column `alarm` is 1 where p is at most that
rate, and else 0, or where another --rule alarms, applied to the rows in the order of the file. With --causes a last
column names the features that make a row unlikely. If new normal rows are like those of the calibration, no larger
share of them alarms on average. A summary follows: on standard output with -o, else on standard error.")]
pub struct Score {
    /// Adds the p-value of every score.
    #[arg(long)]
    pub p_values: bool,
    /// Names the features that contribute most to the score, this many of each row, with their contributions in nats. With
    /// --false-alarms only for rows that alarm.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub causes: usize,
    /// Writes the scores to this CSV file, instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub scoring: Scoring,
}

/// Runs `elbo score`.
///
/// # Errors
/// The blob is refused, the rows have another length than the model reads, or the output cannot be written.
pub fn score(args: &Score) -> Result<()> {
    let path = &args.scoring.model;
    if args.scoring.period.is_some() && args.scoring.false_alarms.is_none() {
        bail!("--period is for a rate in a time: give --false-alarms as well, for example --false-alarms 1/day.");
    }
    let blob = read(path)?;
    let scored = args.scoring.run(load(&blob, path)?, |options| options)?;
    let judged = scored.judged;
    let shown = args.p_values || judged.alarm.is_some();
    if shown && judged.calibration.is_none() {
        return Err(uncalibrated(path));
    }
    let raised = judged.alarm.map(|alarm| scored.alarms(&alarm));
    let causes = match args.causes {
        0 => None,
        count => {
            let alarms = |at: usize| raised.as_ref().is_none_or(|raised| raised[at]);
            Some(Causes::of(&scored.model, count)?.texts(&scored.rows, alarms)?)
        }
    };
    let by_default = || judged.alarm_or_default().map(|alarm| scored.alarms(&alarm));
    let count = raised.clone().or_else(by_default).map(|raised| raised.iter().filter(|raised| **raised).count());
    let columns = Fields { calibration: judged.calibration.filter(|_| shown), raised, causes };
    let table = table(&scored, args.scoring.id.as_deref(), &columns);
    let mut summary = summary(&scored.name, &scored.scores, scored.anomalous().as_deref());
    summary.extend(count.map(|count| alarms(&judged, count)));
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

/// The columns behind the score.
#[derive(Default)]
struct Fields<'b> {
    /// What gives p-values, if they are asked for.
    calibration: Option<Calibration<'b>>,
    /// Which rows alarm, if a rate was asked for.
    raised: Option<Vec<bool>>,
    /// The causes of every score, if they are asked for.
    causes: Option<Vec<String>>,
}

impl Fields<'_> {
    /// The further columns.
    fn header(&self) -> String {
        let columns =
            [(self.calibration.is_some(), ",p"), (self.raised.is_some(), ",alarm"), (self.causes.is_some(), ",causes")];
        columns.into_iter().filter(|(shown, _)| *shown).map(|(_, column)| column).collect()
    }

    /// The further fields of the row with this number among those that are scored.
    fn of(&self, at: usize, score: Nats) -> String {
        let p = self.calibration.map(|calibration| calibration.p_value(score));
        let mut text = p.map_or_else(String::new, |p| format!(",{:.6}", p.to_f64()));
        text.extend(
            self.raised.iter().filter_map(|raised| raised.get(at)).map(|raised| format!(",{}", u8::from(*raised))),
        );
        text.extend(self.causes.iter().filter_map(|causes| causes.get(at)).map(|causes| format!(",{}", field(causes))));
        text
    }
}

/// Says that so many rows alarm, at 1 % unless a rate was asked for. Empty if the calibration does not support that.
fn alarms(judged: &Judgement<'_>, count: usize) -> String {
    let Some(alarm) = judged.alarm_or_default() else { return String::new() };
    let from = alarm.threshold.map_or_else(String::new, |nats| format!("score of a single row from {nats}, "));
    let rows = judged.calibration.map_or(0, |calibration| calibration.rows());
    format!(
        "\n{count} alarm at a false-alarm rate of {} ({from}calibrated with {rows} held-out rows)",
        percent(alarm.rate)
    )
}

/// One line for each row, in the order of the source.
fn table(scored: &Scored<'_>, id: Option<&str>, fields: &Fields<'_>) -> String {
    let places: Vec<usize> = (0..scored.scores.len()).map(|at| scored.place(at)).collect();
    let rows = Rows { places: &places, scores: &scored.scores, ids: scored.dataset.ids.as_deref() };
    rows.table(scored.id_header(id), scored.column, fields)
}

/// Scores with the places of their rows in the source.
struct Rows<'a> {
    places: &'a [usize],
    scores: &'a [Nats],
    ids: Option<&'a [String]>,
}

impl Rows<'_> {
    fn table(&self, id: Option<&str>, column: &str, fields: &Fields<'_>) -> String {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by_key(|at| self.places[*at]);
        let mut text = "row".to_owned();
        text.extend(id.map(|name| format!(",{}", field(name))));
        let _ = writeln!(text, ",{column}{}", fields.header());
        for at in order {
            let place = self.places[at];
            let _ = write!(text, "{}", place + 1);
            text.extend(self.ids.iter().filter_map(|ids| ids.get(place)).map(|id| format!(",{}", field(id))));
            let _ = writeln!(text, ",{:.6}{}", self.scores[at].to_f64(), fields.of(at, self.scores[at]));
        }
        text
    }
}

/// A text as a field of CSV.
pub(crate) fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The distribution of the scores, and the area under the ROC curve if anomalies are labelled.
fn summary(name: &str, scores: &[Nats], anomalous: Option<&[bool]>) -> String {
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
    if let Some(anomalous) = anomalous
        && let Some(area) = roc::auc(&values, anomalous)
    {
        let _ = write!(text, "\nAUC {area:.4}, {} anomalies", anomalous.iter().filter(|a| **a).count());
    }
    text
}

#[cfg(test)]
mod tests {
    use elbo::Rate;

    use super::*;
    use crate::scorer::Alarm;

    fn nats(values: &[i64]) -> Vec<Nats> {
        values.iter().map(|value| Nats::from_bits(value << 16)).collect()
    }

    #[test]
    fn lines_stand_in_the_order_of_the_file() {
        let ids = ["a", "b", "c,d", "e", "f"].map(str::to_owned);
        let scores = nats(&[40, 0, 20]);
        let rows = Rows { places: &[4, 0, 2], scores: &scores, ids: Some(&ids) };
        let lines = |fields| rows.table(Some("time"), "score", &fields);
        assert_eq!(lines(Fields::default()), "row,time,score\n1,a,0.000000\n3,\"c,d\",20.000000\n5,f,40.000000\n");
        let mut buffer = vec![0; Calibration::room(3)];
        let calibration = Calibration::of_scores(&mut nats(&[10, 20, 30]), &mut buffer).ok();
        let fields = |raised| Fields { calibration, raised, causes: None };
        assert_eq!(
            lines(fields(None)),
            "row,time,score,p\n1,a,0.000000,1.000000\n3,\"c,d\",20.000000,0.750000\n5,f,40.000000,0.250000\n"
        );
        let rate = Rate::new(1, 4).unwrap();
        let alarm = calibration.map(|of| Alarm::new(of, "threshold", rate).unwrap());
        let judged = Judgement { calibration, alarm };
        assert!(alarms(&judged, 1).starts_with("\n1 alarm at a false-alarm rate of 25 %"));
        let lines = lines(fields(alarm.map(|alarm| alarm.after(scores.iter().copied()))));
        assert!(lines.starts_with("row,time,score,p,alarm\n1,a,0.000000,1.000000,0\n"), "{lines}");
        assert!(lines.ends_with("5,f,40.000000,0.250000,1\n"), "{lines}");
    }

    #[test]
    fn a_summary_states_only_what_the_rows_support() {
        let of = |values: &[i64]| summary("-log p in nats", &nats(values), None);
        assert_eq!(of(&[7]), "1 row, -log p in nats: 7.000");
        assert_eq!(of(&[1, 3]), "2 rows, -log p in nats: mean 2.000, median 3.000, largest 3.000");
        assert!(of(&(0..20).collect::<Vec<i64>>()).contains("95 % 19.000"));
    }
}
