//! The results of a backtest for a machine.

use elbo_compiler::metrics::{Evaluation, Metric};
use serde_json::{Map, Value, json};

use super::{Measures, Order, Results};
use crate::scorer::Scored;

/// The results as text in JSON. Rates are shares of rows, and delays are in rows; `seconds_of_a_row` makes times of them.
pub(super) fn json(scored: &Scored<'_>, results: &Results, measures: &Measures) -> String {
    let parts = |parts: &[(String, Evaluation, Order)]| -> Value {
        parts.iter().map(|(name, found, order)| part(scored, name, found, order)).collect()
    };
    let alarm = scored.judged.alarm_or_default();
    let value = json!({
        "data": scored.dataset.name,
        "score": scored.column,
        "seconds_of_a_row": scored.period.map(|period| period.seconds()),
        "nominal_rate": alarm.map(|alarm| f64::from(alarm.rate.numerator()) / f64::from(alarm.rate.denominator())),
        "threshold": alarm.and_then(|alarm| alarm.threshold).map(|nats| nats.to_f64()),
        "calibration_rows": scored.judged.calibration.map(|calibration| calibration.rows()),
        "vus_window": measures.vus_window,
        "replicates": measures.bootstrap,
        "all": part(scored, &results.parts[0].0, &results.parts[0].1, &results.parts[0].2),
        "groups": parts(&results.parts[1..]),
    });
    format!("{value:#}\n")
}

fn part(scored: &Scored<'_>, name: &str, found: &Evaluation, order: &Order) -> Value {
    let metrics: Map<String, Value> = Metric::ALL
        .into_iter()
        .map(|metric| {
            let estimate = found.get(metric);
            let value = estimate.map(|estimate| json!({"value": estimate.value, "interval": estimate.interval}));
            (metric.key().to_owned(), value.unwrap_or(Value::Null))
        })
        .collect();
    // Rows are counted from 1, as in the table of scores.
    let row = |at: usize| scored.place(order.rows[at]) + 1;
    let events: Value = found.events.iter().map(|event| json!([row(event.start), row(event.end - 1)])).collect();
    json!({
        "name": name,
        "rows": found.rows,
        "anomalous_rows": found.anomalous,
        "alarming_rows": found.alarms,
        "alarming_normal_rows": found.false_alarms,
        "events": events,
        "events_with_alarm": found.found,
        "first_alarm": found.first_alarm.map(row),
        "block": found.block,
        "metrics": metrics,
    })
}
