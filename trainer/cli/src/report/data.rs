//! What the charts of a report are drawn from, as compact JSON.

use anyhow::Result;
use elbo::Rate;
use elbo_compiler::rate::percent;
use serde_json::{Value, json};

use crate::backtest::{Order, Results};
use crate::causes::Causes;
use crate::scorer::{Scored, Scoring};

/// Bars of the histogram of p-values.
const BARS: usize = 20;

/// Features that are shown.
const FEATURES: usize = 20;

/// Alarms whose causes are averaged; of more, as many at equal distances.
const EXPLAINED: usize = 1000;

/// The data of the charts. Scores are whole numbers in Q16 nats, so that a comparison with the threshold is exact.
///
/// # Errors
/// The runtime refuses to explain a row.
pub(super) fn data(scored: &Scored<'_>, results: &Results, scoring: &Scoring) -> Result<Value> {
    let (_, found, order) = &results.parts[0];
    let bits: Vec<i64> = order.rows.iter().map(|at| scored.scores[*at].to_bits()).collect();
    let alarm = scored.judged.alarm_or_default();
    let mut anomalous = vec![false; bits.len()];
    found.events.iter().cloned().flatten().for_each(|at| anomalous[at] = true);
    let normal: Vec<usize> = (0..bits.len()).filter(|at| !anomalous[*at]).map(|at| order.rows[at]).collect();
    let events: Value = found
        .events
        .iter()
        .map(|event| {
            let at = order.rows[event.start];
            json!({"start": event.start, "end": event.end, "row": scored.place(at) + 1, "id": scored.id(at)})
        })
        .collect();
    let group = |name: &String| if name.is_empty() { "all rows".to_owned() } else { name.clone() };
    Ok(json!({
        "scores": bits,
        "score": scored.name,
        "events": events,
        "idName": scored.id_header(scoring.id.as_deref()),
        "ends": order.sequences.iter().map(|sequence| sequence.end).collect::<Vec<usize>>(),
        "groups": order.groups.iter().map(|(name, rows)| json!([group(name), rows.start])).collect::<Value>(),
        "seconds": scored.period.map(|period| period.seconds()),
        "rule": scoring.rule,
        "threshold": alarm.and_then(|alarm| alarm.threshold).map(|nats| nats.to_bits()),
        "nominal": alarm.map(|alarm| percent(alarm.rate)),
        "causes": causes(scored, alarm.map(|alarm| order.alarms(scored, &alarm)).map(|alarms| (order, alarms)))?,
        "calibration": calibration(scored, &normal),
    }))
}

/// The mean contributions of features in alarms. Null without alarms, or for a model that cannot be explained.
fn causes(scored: &Scored<'_>, alarms: Option<(&Order, Vec<bool>)>) -> Result<Value> {
    let Some((order, raised)) = alarms else { return Ok(Value::Null) };
    let raised = order.rows.iter().zip(raised).filter(|(_, raised)| *raised);
    let alarms: Vec<&[f32]> = raised.map(|(at, _)| scored.rows[*at].as_slice()).collect();
    let chosen: Vec<&[f32]> = alarms.iter().copied().step_by(alarms.len().div_ceil(EXPLAINED).max(1)).collect();
    // A model without a score that has no noise has no causes.
    let Ok(causes) = Causes::of(&scored.model, FEATURES) else { return Ok(Value::Null) };
    if chosen.is_empty() {
        return Ok(Value::Null);
    }
    let means = causes.means(&chosen)?;
    Ok(json!({"features": means, "rows": chosen.len(), "alarms": alarms.len()}))
}

/// How the p-values of normal rows are distributed, and how many of them alarm at four rates. Null without a calibration.
fn calibration(scored: &Scored<'_>, normal: &[usize]) -> Value {
    let Some(calibration) = scored.judged.calibration.filter(|_| !normal.is_empty()) else { return Value::Null };
    let mut bars = [0usize; BARS];
    for at in normal {
        let p = calibration.p_value(scored.scores[*at]).to_f64();
        // The bar of (0, 1/20], and so on.
        bars[((p * BARS as f64).ceil() as usize).clamp(1, BARS) - 1] += 1;
    }
    let asked = scored.judged.alarm.map(|alarm| alarm.rate);
    let mut rates: Vec<Rate> =
        [Rate::ONE_IN_10, Rate::ONE_IN_100, Rate::ONE_IN_1000].into_iter().chain(asked).collect();
    let share = |rate: &Rate| f64::from(rate.numerator()) / f64::from(rate.denominator());
    rates.sort_by(|a, b| share(b).total_cmp(&share(a)));
    rates.dedup();
    let measured: Vec<Value> = rates
        .into_iter()
        .filter_map(|rate| {
            let threshold = calibration.threshold(rate).ok()?;
            let alarms = normal.iter().filter(|at| scored.scores[**at] >= threshold).count();
            Some(json!([percent(rate), alarms, share(&rate) * normal.len() as f64]))
        })
        .collect();
    json!({"bars": bars, "normal": normal.len(), "rows": calibration.rows(), "rates": measured})
}
