//! All metrics of a detector on labelled rows, with intervals.

use std::ops::Range;

use rayon::prelude::*;

use super::affiliation::{Affiliation, affiliation};
use super::bootstrap::{block_len, block_weights, interval};
use super::events::{Labelled, delays, runs};
use super::ranked::Ranked;
use super::volume::Volume;
use crate::stimulus::generator;

/// The largest false-alarm rate of the partial AUC.
pub const PARTIAL: f64 = 0.1;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of rows that alarm.
    Alarms,
    /// Share of normal rows that alarm.
    FalseAlarms,
    /// Share of events in which a row alarms.
    EventsFound,
    /// Median of the rows from the start of an event to its first alarm, over the events that are found.
    Delay,
    /// [`auc`](super::roc::auc).
    Auc,
    /// [`partial_auc`](super::roc::partial_auc) up to [`PARTIAL`].
    PartialAuc,
    /// [`average_precision`](super::average_precision).
    AveragePrecision,
    /// [`vus_pr`](super::vus_pr).
    VusPr,
    /// Mean of the affiliation precision over the events with alarms in their zones.
    AffiliationPrecision,
    /// Mean of the affiliation recall over the events.
    AffiliationRecall,
}

impl Metric {
    /// Every metric, in the order in which they are reported.
    pub const ALL: [Self; 10] = [
        Self::Alarms,
        Self::FalseAlarms,
        Self::EventsFound,
        Self::Delay,
        Self::Auc,
        Self::PartialAuc,
        Self::AveragePrecision,
        Self::VusPr,
        Self::AffiliationPrecision,
        Self::AffiliationRecall,
    ];

    /// A name for machines.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Alarms => "alarms",
            Self::FalseAlarms => "false_alarms",
            Self::EventsFound => "events_found",
            Self::Delay => "delay",
            Self::Auc => "auc",
            Self::PartialAuc => "partial_auc",
            Self::AveragePrecision => "average_precision",
            Self::VusPr => "vus_pr",
            Self::AffiliationPrecision => "affiliation_precision",
            Self::AffiliationRecall => "affiliation_recall",
        }
    }
}

/// A value and the interval that holds the middle 95 % of its bootstrap replicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value on all rows.
    pub value: f64,
    /// Lower and upper bound; `None` without enough replicates in which the metric is defined, or if all are equal.
    pub interval: Option<[f64; 2]>,
}

/// How intervals are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Replicates; 0 gives no intervals.
    pub replicates: usize,
    /// Rows of a block; `None` chooses by [`block_len`].
    pub block: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
}

/// What a detector did on labelled rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Number of rows.
    pub rows: usize,
    /// Number of anomalous rows.
    pub anomalous: usize,
    /// Rows that alarm.
    pub alarms: Option<usize>,
    /// Normal rows that alarm.
    pub false_alarms: Option<usize>,
    /// The events.
    pub events: Vec<Range<usize>>,
    /// Events in which a row alarms.
    pub found: Option<usize>,
    /// The first row that alarms.
    pub first_alarm: Option<usize>,
    /// Rows of a block of the bootstrap.
    pub block: usize,
    /// The metrics that are defined on these rows: those of order need both classes, and those of alarms a threshold.
    pub metrics: Vec<(Metric, Estimate)>,
}

impl Evaluation {
    /// The estimate of a metric, if it is defined on these rows.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<Estimate> {
        self.metrics.iter().find(|(known, _)| *known == metric).map(|(_, estimate)| *estimate)
    }
}

/// What the metrics are computed from, for any weights.
struct Prepared<'a> {
    anomalous: &'a [bool],
    alarms: Option<&'a [bool]>,
    ranked: Option<Ranked>,
    volume: Option<Volume>,
    delays: Vec<Option<usize>>,
    affiliation: Vec<Affiliation>,
}

impl Prepared<'_> {
    /// The metrics, where each row and each event counts as often as its weight says.
    fn metrics(&self, rows: &[u32], events: &[u32]) -> [Option<f64>; Metric::ALL.len()] {
        let share = |of: &dyn Fn(usize) -> bool| {
            let alarms = self.alarms?;
            let [mut hits, mut all] = [0u64; 2];
            for at in (0..rows.len()).filter(|at| of(*at)) {
                all += u64::from(rows[at]);
                hits += u64::from(rows[at]) * u64::from(alarms[at]);
            }
            (all > 0).then(|| hits as f64 / all as f64)
        };
        let mean = |values: &dyn Fn(usize) -> Option<f64>| {
            let [mut sum, mut all] = [0.0; 2];
            for (at, weight) in events.iter().enumerate() {
                if let Some(value) = values(at) {
                    sum += f64::from(*weight) * value;
                    all += f64::from(*weight);
                }
            }
            (all > 0.0 && self.alarms.is_some()).then(|| sum / all)
        };
        let steps = self.ranked.as_ref().and_then(|ranked| ranked.steps(rows));
        Metric::ALL.map(|metric| match metric {
            Metric::Alarms => share(&|_| true),
            Metric::FalseAlarms => share(&|at| !self.anomalous[at]),
            Metric::EventsFound => mean(&|at| Some(f64::from(u8::from(self.delays[at].is_some())))),
            Metric::Delay => {
                let weighted = self.delays.iter().zip(events).filter_map(|(delay, weight)| Some(((*delay)?, *weight)));
                median(weighted.flat_map(|(delay, weight)| std::iter::repeat_n(delay, weight as usize)).collect())
            }
            Metric::Auc => steps.as_ref().map(|steps| steps.auc()),
            Metric::PartialAuc => steps.as_ref().and_then(|steps| steps.partial_auc(PARTIAL)),
            Metric::AveragePrecision => steps.as_ref().map(|steps| steps.average_precision()),
            Metric::VusPr => steps.as_ref().and(self.volume.as_ref()).and_then(|volume| volume.of(rows)),
            Metric::AffiliationPrecision => mean(&|at| self.affiliation[at].precision),
            Metric::AffiliationRecall => mean(&|at| Some(self.affiliation[at].recall)),
        })
    }
}

/// The mean of the two middle values, or the middle one.
fn median(mut values: Vec<usize>) -> Option<f64> {
    values.sort_unstable();
    let n = values.len();
    let middle = [n.checked_sub(1)? / 2, n / 2].map(|at| values[at] as f64);
    Some(0.5 * (middle[0] + middle[1]))
}

/// Evaluates scores, and alarms if there is a threshold, on labelled rows in the order of time. VUS-PR has buffers of up to
/// `window` rows.
///
/// Metrics of rows are resampled by blocks of rows, and metrics of events by whole events, each with its zone: an event is a
/// block that must not be cut.
///
/// # Panics
/// If scores, marks and alarms differ in number, or a sequence ends behind them.
#[must_use]
pub fn evaluate(rows: &Labelled<'_>, alarms: Option<&[bool]>, window: usize, bootstrap: Bootstrap) -> Evaluation {
    let n = rows.scores.len();
    let events = runs(rows.anomalous, rows.sequences);
    let of_events = |alarms: &&[bool]| (delays(&events, alarms), affiliation(alarms, rows.anomalous, rows.sequences));
    let (delays, affiliation) = alarms.as_ref().map(of_events).unwrap_or_default();
    let prepared = Prepared {
        anomalous: rows.anomalous,
        alarms,
        ranked: Ranked::new(rows.scores, rows.anomalous),
        volume: Volume::new(rows, window),
        delays,
        affiliation,
    };
    let longest = events.iter().map(|event| event.len()).max().unwrap_or(0);
    let block = bootstrap.block.unwrap_or_else(|| block_len(n, longest));
    let counted = if alarms.is_some() { events.len() } else { 0 };
    let values = prepared.metrics(&vec![1; n], &vec![1; counted]);
    let replicates: Vec<_> = (0..bootstrap.replicates)
        .into_par_iter()
        .map(|at| {
            let mut rng = generator(bootstrap.seed.wrapping_add((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let weights = block_weights(n, block, &mut rng);
            prepared.metrics(&weights, &block_weights(counted, 1, &mut rng))
        })
        .collect();
    let metrics = Metric::ALL.into_iter().enumerate().filter_map(|(at, metric)| {
        let interval = || interval(replicates.iter().filter_map(|replicate| replicate[at]).collect());
        // One event drawn again and again would seem to be certain.
        let alone = matches!(
            metric,
            Metric::EventsFound | Metric::Delay | Metric::AffiliationPrecision | Metric::AffiliationRecall
        ) && events.len() < 2;
        let interval = if alone { None } else { interval() };
        Some((metric, Estimate { value: values[at]?, interval }))
    });
    let count = |of: &dyn Fn(usize) -> bool| alarms.map(|alarms| (0..n).filter(|at| alarms[*at] && of(*at)).count());
    Evaluation {
        rows: n,
        anomalous: rows.anomalous.iter().filter(|anomalous| **anomalous).count(),
        alarms: count(&|_| true),
        false_alarms: count(&|at| !rows.anomalous[at]),
        found: alarms.map(|_| prepared.delays.iter().flatten().count()),
        first_alarm: alarms.and_then(|alarms| alarms.iter().position(|alarm| *alarm)),
        metrics: metrics.collect(),
        events,
        block,
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one sequence")]
mod tests {
    use super::*;

    const PLAIN: Bootstrap = Bootstrap { replicates: 200, block: None, seed: 7 };

    fn of(scores: &[f64], threshold: f64, anomalous: impl Fn(usize) -> bool) -> Evaluation {
        let marks: Vec<bool> = (0..scores.len()).map(anomalous).collect();
        let alarms: Vec<bool> = scores.iter().map(|score| *score >= threshold).collect();
        evaluate(&Labelled { scores, anomalous: &marks, sequences: &[0..scores.len()] }, Some(&alarms), 10, PLAIN)
    }

    #[test]
    fn a_perfect_detector_has_ones_and_no_delay() {
        let event = |at: usize| (100..120).contains(&at) || (300..310).contains(&at);
        let scores: Vec<f64> = (0..400).map(|at| if event(at) { 5.0 } else { 1.0 }).collect();
        let found = of(&scores, 2.0, event);
        for metric in Metric::ALL {
            let expected = match metric {
                Metric::Alarms => 30.0 / 400.0,
                Metric::FalseAlarms | Metric::Delay => 0.0,
                _ => 1.0,
            };
            assert_eq!(found.get(metric).unwrap().value, expected, "{metric:?}");
        }
        assert_eq!((found.first_alarm, found.found, found.false_alarms), (Some(100), Some(2), Some(0)));
    }

    #[test]
    fn random_scores_have_the_values_of_chance_within_their_intervals() {
        let scores: Vec<f64> = (0..4000u64).map(|at| ((at * 2_654_435_761) % 4_294_967_296) as f64).collect();
        let found = of(&scores, 0.9 * 4_294_967_296.0, |at| at % 400 < 40);
        for (metric, chance) in [
            (Metric::Auc, 0.5),
            (Metric::PartialAuc, 0.05),
            (Metric::AveragePrecision, 0.1),
            (Metric::FalseAlarms, 0.1),
        ] {
            let estimate = found.get(metric).unwrap();
            let [low, high] = estimate.interval.unwrap();
            assert!(low <= estimate.value && estimate.value <= high, "{metric:?} {estimate:?}");
            assert!((estimate.value - chance).abs() < 0.05, "{metric:?} {estimate:?}");
        }
        assert_eq!(found.events.len(), 10);
        // The same seed gives the same intervals.
        assert_eq!(found, of(&scores, 0.9 * 4_294_967_296.0, |at| at % 400 < 40));
    }

    #[test]
    fn what_is_not_defined_is_left_out() {
        let normal = of(&[1.0, 2.0, 3.0], 3.0, |_| false);
        let keys: Vec<&str> = normal.metrics.iter().map(|(metric, _)| metric.key()).collect();
        assert_eq!(keys, ["alarms", "false_alarms"]);
        let rows = Labelled { scores: &[1.0, 2.0, 3.0], anomalous: &[false, false, true], sequences: &[0..3] };
        let silent = evaluate(&rows, None, 0, PLAIN);
        let keys: Vec<&str> = silent.metrics.iter().map(|(metric, _)| metric.key()).collect();
        assert_eq!(keys, ["auc", "partial_auc", "average_precision", "vus_pr"]);
        assert_eq!((silent.alarms, silent.first_alarm, silent.found), (None, None, None));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!([median(vec![]), median(vec![3, 1, 2]), median(vec![4, 1])], [None, Some(2.0), Some(2.5)]);
    }
}
