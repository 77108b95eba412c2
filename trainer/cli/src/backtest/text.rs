//! The results of a backtest for a reader.

use std::fmt::Write as _;

use elbo_compiler::metrics::{Estimate, Evaluation, Metric};
use elbo_compiler::rate::percent;

use super::{Measures, Order, Results};
use crate::scorer::Scored;

/// Seconds of a day.
pub(crate) const DAY: f64 = 86_400.0;

/// Groups that are shown one by one.
const SHOWN: usize = 40;

/// The results, a block of lines for each part.
pub(super) fn text(scored: &Scored<'_>, results: &Results, measures: &Measures, id: Option<&str>) -> String {
    let mut blocks: Vec<String> =
        results.parts.iter().take(SHOWN + 1).map(|part| block(scored, part, measures, id)).collect();
    if let Some(more) = results.parts.len().checked_sub(SHOWN + 2) {
        blocks.push(format!("{} more groups stand in the file of --json.", more + 1));
    }
    blocks.join("\n\n")
}

fn block(scored: &Scored<'_>, part: &(String, Evaluation, Order), measures: &Measures, id: Option<&str>) -> String {
    let mut text = format!("{}: {}", part.0, counts(&part.1));
    if measures.bootstrap > 0 {
        let _ = write!(text, " [95 % intervals, blocks of {} rows]", part.1.block);
    }
    for (name, value) in lines(scored, part, measures, id) {
        let _ = write!(text, "\n  {name:<24} {value}");
    }
    text
}

/// How many rows and events there are.
pub(crate) fn counts(found: &Evaluation) -> String {
    let events = found.events.len();
    format!(
        "{} row{}, {} anomalous in {events} event{}",
        found.rows,
        plural(found.rows),
        found.anomalous,
        plural(events)
    )
}

/// The end of a noun of which there are so many.
pub(crate) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The name and the value of each measure.
pub(crate) fn lines(
    scored: &Scored<'_>,
    (_, found, order): &(String, Evaluation, Order),
    measures: &Measures,
    id: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let mut line = |name, value| lines.push((name, value));
    let seconds = scored.period.map(|period| period.seconds());
    let nominal = match scored.judged.alarm_or_default() {
        Some(alarm) if alarm.single => format!(", nominal {}", percent(alarm.rate)),
        Some(alarm) => format!(", nominal for starts of alarms {}", percent(alarm.rate)),
        None => String::new(),
    };
    for (metric, estimate) in &found.metrics {
        let estimate = *estimate;
        match metric {
            Metric::Alarms | Metric::FalseAlarms => {
                let (count, rows) = match metric {
                    Metric::Alarms => (found.alarms, found.rows),
                    _ => (found.false_alarms, found.rows - found.anomalous),
                };
                let what = if *metric == Metric::Alarms { "alarms" } else { "false alarms" };
                let count = count.unwrap_or(0);
                match seconds {
                    Some(seconds) => {
                        let days = rows as f64 * seconds / DAY;
                        let rate = shown(estimate, DAY / seconds, &significant);
                        line(what, format!("{rate} a day ({count} in {})", duration(days * DAY)));
                    }
                    None => {
                        let rate = shown(estimate, 1000.0, &significant);
                        line(what, format!("{rate} in 1000 rows ({count} in {rows})"));
                    }
                }
                if *metric == Metric::FalseAlarms {
                    let share = shown(estimate, 100.0, &significant);
                    line("normal rows that alarm", format!("{share} %{nominal}"));
                }
            }
            Metric::EventsFound => {
                let share = shown(estimate, 1.0, &|value| format!("{value:.2}"));
                line("events found", format!("{share} ({} of {})", found.found.unwrap_or(0), found.events.len()));
            }
            Metric::Delay => {
                let value = match seconds {
                    Some(seconds) => shown(estimate, seconds, &duration),
                    None => shown(estimate, 1.0, &|value| format!("{value}")) + " rows",
                };
                line("delay, median", value);
            }
            Metric::Auc => line("AUC", area(estimate)),
            Metric::PartialAuc => line("partial AUC to 10 %", area(estimate)),
            Metric::AveragePrecision => {
                let chance = found.anomalous as f64 / found.rows as f64;
                line("average precision", format!("{}, by chance {chance:.3}", area(estimate)));
            }
            Metric::VusPr => line("VUS-PR", format!("{}, window {}", area(estimate), measures.vus_window)),
            Metric::AffiliationPrecision => line("affiliation precision", area(estimate)),
            Metric::AffiliationRecall => line("affiliation recall", area(estimate)),
        }
    }
    if found.alarms.is_some() {
        line(
            "first alarm",
            found.first_alarm.map_or_else(|| "none".to_owned(), |at| first(scored, order.rows[at], id)),
        );
    }
    lines
}

/// The row of an alarm, and its name if it has one.
fn first(scored: &Scored<'_>, at: usize, id: Option<&str>) -> String {
    let name = scored.id_header(id).zip(scored.id(at)).map(|(column, id)| format!(", {column} {id}"));
    format!("row {}{}", scored.place(at) + 1, name.unwrap_or_default())
}

fn area(estimate: Estimate) -> String {
    shown(estimate, 1.0, &|value| format!("{value:.4}"))
}

/// A value times a factor, with its interval.
fn shown(estimate: Estimate, factor: f64, write: &dyn Fn(f64) -> String) -> String {
    let value = write(factor * estimate.value);
    match estimate.interval {
        Some([low, high]) => format!("{value} [{}, {}]", write(factor * low), write(factor * high)),
        None => value,
    }
}

/// A number with three digits that count.
pub(crate) fn significant(value: f64) -> String {
    let places = if value > 0.0 { (2.0 - value.log10().floor()).clamp(0.0, 6.0) as usize } else { 0 };
    format!("{value:.places$}")
}

/// A time in the largest unit of which there is one, with the next smaller one.
pub(crate) fn duration(seconds: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("d", DAY), ("h", 3600.0), ("min", 60.0), ("s", 1.0)];
    if seconds < 60.0 {
        let text = format!("{seconds:.3}");
        return format!("{} s", text.trim_end_matches('0').trim_end_matches('.'));
    }
    let seconds = seconds.round();
    let at = UNITS.iter().position(|(_, length)| seconds >= *length).unwrap_or(3);
    let whole = (seconds / UNITS[at].1).floor();
    let rest = UNITS.get(at + 1).map(|(name, length)| (name, ((seconds - whole * UNITS[at].1) / length).floor()));
    let rest = rest.filter(|(_, count)| *count > 0.0).map(|(name, count)| format!(" {count} {name}"));
    format!("{whole} {}{}", UNITS[at].0, rest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_at_most() {
        let shown = [0.0, 0.25, 59.5, 60.0, 3725.0, 90_000.0, 864_000.0].map(duration);
        assert_eq!(shown, ["0 s", "0.25 s", "59.5 s", "1 min", "1 h 2 min", "1 d 1 h", "10 d"]);
    }

    #[test]
    fn three_digits_count() {
        assert_eq!([0.0, 0.012_345, 1.2345, 59_473.4].map(significant), ["0", "0.0123", "1.23", "59473"]);
    }

    #[test]
    fn an_interval_follows_its_value() {
        let estimate = Estimate { value: 0.5, interval: Some([0.25, 0.75]) };
        assert_eq!(shown(estimate, 2.0, &|value| format!("{value:.1}")), "1.0 [0.5, 1.5]");
        assert_eq!(area(Estimate { interval: None, ..estimate }), "0.5000");
    }
}
