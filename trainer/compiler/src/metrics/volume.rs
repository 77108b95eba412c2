//! VUS-PR: the volume under the surface of precision and recall (Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin,
//! *Volume under the surface: a new accuracy evaluation measure for time-series anomaly detection*, PVLDB 15, 2022).
//!
//! Labels of events are seldom exact to the row, and a detector often sees an event a little early or late. So for a
//! buffer of `l` rows, the label of a row at a distance `d <= l / 2` from an event is `sqrt(1 - d / l)` instead of 0. Where
//! two buffers overlap, the labels add up to at most 1, and their events count as one. An alarm from a threshold on, with
//! `hits` the sum of the labels of the alarming rows and `beside` the part of it that lies outside of the events, has
//!
//! ```text
//! precision = hits / number of alarming rows
//! recall    = min(1, hits / (rows of events + beside / 2)) * share of events with an alarm in event or buffer
//! ```
//!
//! The area under precision and recall is the sum over the distinct scores, as for
//! [`average_precision`](super::average_precision), and VUS-PR the mean of the areas for `l = 0, 1, ..., window`. The divisor
//! of the recall is that of the authors' program (`RangeAUC_volume_opt` of their package `vus`), with which benchmarks are
//! computed: scores that are highest exactly in the events have the value 1. That program takes 250 thresholds, and this one
//! all. With a window of 0 and one event, VUS-PR is the average precision; with several events it is smaller as long as
//! an event is not found.

use std::ops::Range;

use super::events::{Labelled, runs};
use super::ranked::Ranked;

/// A row in or near an event.
#[derive(Clone, Copy, Debug)]
struct Near {
    row: usize,
    /// Its group of equal scores.
    tie: usize,
    /// The nearest event, and the rows to it: 0 within the event.
    event: usize,
    distance: usize,
    /// The rows to the second nearest event. Two buffers add up to at least 2 sqrt(1/2), which is limited to 1.
    second: usize,
}

/// Labelled rows from which VUS-PR is computed for any weights.
#[derive(Clone, Debug)]
pub struct Volume {
    window: usize,
    /// From the highest score to the lowest.
    near: Vec<Near>,
    /// The group of equal scores of each row.
    tie: Vec<usize>,
    ties: usize,
    events: Vec<Range<usize>>,
    /// Whether an event is in the same sequence as the one before it.
    joined: Vec<bool>,
}

impl Volume {
    /// Prepares buffers of up to `window` rows. `None` without an event, without a normal row, or if a score is not a
    /// number.
    #[must_use]
    pub fn new(rows: &Labelled<'_>, window: usize) -> Option<Self> {
        let ranked = Ranked::new(rows.scores, rows.anomalous)?;
        let events = runs(rows.anomalous, rows.sequences);
        if events.is_empty() || rows.anomalous.iter().all(|anomalous| *anomalous) {
            return None;
        }
        let n = rows.scores.len();
        let mut nearest = vec![None; n];
        let mut joined = vec![false; events.len()];
        for sequence in rows.sequences {
            let until = |row: usize| events.partition_point(|event| event.start < row);
            let inside = until(sequence.start)..until(sequence.end);
            inside.clone().skip(1).for_each(|event| joined[event] = true);
            let mut next = inside.start;
            for at in sequence.clone() {
                next += usize::from(next < inside.end && events[next].end <= at);
                // Two events on either side are enough for the two nearest.
                let around = next.saturating_sub(2).max(inside.start)..inside.end.min(next + 2);
                let distance = |event: usize| match &events[event] {
                    event if at < event.start => event.start - at,
                    event => (at + 1).saturating_sub(event.end),
                };
                let mut reached: Vec<(usize, usize)> = around.map(|event| (distance(event), event)).collect();
                reached.retain(|(distance, _)| *distance <= window / 2);
                reached.sort_unstable();
                let second = reached.get(1).map_or(usize::MAX, |(distance, _)| *distance);
                nearest[at] = reached.first().map(|(distance, event)| (*event, *distance, second));
            }
        }
        let mut tie = vec![0; n];
        let mut near = Vec::new();
        let mut ties = 0;
        for tied in ranked.ties() {
            for row in tied.iter().copied() {
                tie[row] = ties;
                let found = nearest[row];
                near.extend(found.map(|(event, distance, second)| Near { row, tie: ties, event, distance, second }));
            }
            ties += 1;
        }
        Some(Self { window, near, tie, ties, events, joined })
    }

    /// The mean of the areas over all buffers, where row `i` counts `weights[i]` times. `None` if no event has a weight.
    ///
    /// # Panics
    /// If the number of weights is not that of the rows.
    #[must_use]
    pub fn of(&self, weights: &[u32]) -> Option<f64> {
        assert_eq!(weights.len(), self.tie.len(), "one weight for each row");
        let mut alarms = vec![0u64; self.ties];
        weights.iter().zip(&self.tie).for_each(|(weight, tie)| alarms[*tie] += u64::from(*weight));
        let mut sum = 0;
        for count in &mut alarms {
            sum += *count;
            *count = sum;
        }
        let areas = (0..=self.window).map(|buffer| self.area(buffer, weights, &alarms));
        Some(areas.sum::<Option<f64>>()? / (self.window + 1) as f64)
    }

    /// The area with a buffer of this many rows. `alarms` are the rows that score at least as high as each tie.
    fn area(&self, buffer: usize, weights: &[u32], alarms: &[u64]) -> Option<f64> {
        let labels: Vec<f64> =
            (0..=buffer / 2).map(|d| if d == 0 { 1.0 } else { (1.0 - d as f64 / buffer as f64).sqrt() }).collect();
        // The number of the joined event to which each event belongs.
        let mut joined = Vec::with_capacity(self.events.len());
        for (at, event) in self.events.iter().enumerate() {
            let touches = self.joined[at] && event.start - self.events[at - 1].end < 2 * (buffer / 2);
            joined.push(joined.last().map_or(0, |last| if touches { *last } else { last + 1 }));
        }
        let reach = buffer / 2;
        let label = |near: &Near| if near.second <= reach { 1.0 } else { labels[near.distance] };
        let rows = || {
            let seen = self.near.iter().filter(|near| weights[near.row] > 0 && near.distance <= reach);
            seen.map(|near| {
                (near.tie, f64::from(weights[near.row]), joined[near.event], label(near), near.distance == 0)
            })
        };
        let mut present = vec![false; self.events.len()];
        let mut in_events = 0.0;
        for (_, weight, event, _, inside) in rows() {
            present[event] = true;
            in_events += weight * f64::from(u8::from(inside));
        }
        let events = present.iter().filter(|present| **present).count();
        if in_events == 0.0 {
            return None;
        }
        let (mut found, mut hits, mut beside, mut recall, mut area) = (0usize, 0.0, 0.0, 0.0, 0.0);
        let mut rows = rows().peekable();
        while let Some((tie, weight, event, value, inside)) = rows.next() {
            hits += weight * value;
            beside += if inside { 0.0 } else { weight * value };
            found += usize::from(std::mem::take(&mut present[event]));
            if rows.peek().is_some_and(|next| next.0 == tie) {
                continue;
            }
            let now = f64::min(1.0, hits / (in_events + 0.5 * beside)) * found as f64 / events as f64;
            area += (now - recall) * hits / alarms[tie] as f64;
            recall = now;
        }
        Some(area)
    }
}

/// VUS-PR with buffers of 0 to `window` rows. `None` as for [`Volume::new`].
#[must_use]
pub fn vus_pr(rows: &Labelled<'_>, window: usize) -> Option<f64> {
    Volume::new(rows, window)?.of(&vec![1; rows.scores.len()])
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one sequence")]
mod tests {
    use super::*;
    use crate::metrics::average_precision;
    use proptest::prelude::*;

    fn of(scores: &[f64], marks: &str, window: usize) -> f64 {
        let anomalous: Vec<bool> = marks.bytes().map(|mark| mark == b'1').collect();
        vus_pr(&Labelled { scores, anomalous: &anomalous, sequences: &[0..scores.len()] }, window).unwrap()
    }

    #[test]
    fn a_buffer_gives_credit_for_an_alarm_beside_the_event() {
        let scores = [0.0, 3.0, 2.0, 1.0, 0.0];
        // Without a buffer the event is the second alarm.
        assert_eq!(of(&scores, "00100", 0), 0.5);
        // With l = 2, the neighbours have labels of sqrt(1/2). The first alarm lies beside the event and has precision
        // sqrt(1/2) and recall sqrt(1/2) / (1 + sqrt(1/2) / 2); with the second alarm the recall is 1.
        let side = 0.5f64.sqrt();
        let first = side / (1.0 + 0.5 * side);
        let two = first * side + (1.0 - first) * (1.0 + side) / 2.0;
        // A buffer of 1 row has no side, because d <= 1/2 only for d = 0.
        assert!((of(&scores, "00100", 2) - (0.5 + 0.5 + two) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn recall_grows_with_the_events_that_are_found() {
        // The first event is found at once, the second last. At two alarms recall is 2/3 * 1/2.
        let found = of(&[9.0, 8.0, 1.0, 0.5, 0.0], "11001", 0);
        assert!((found - (1.0 / 3.0 + 2.0 / 3.0 * 3.0 / 5.0)).abs() < 1e-12, "{found}");
    }

    #[test]
    fn events_whose_buffers_overlap_are_one() {
        // With l = 2 the row between them has label 1, and one alarm finds the only event.
        let scores = [3.0, 2.0, 1.0];
        let rows = Labelled { scores: &scores, anomalous: &[true, false, true], sequences: &[0..3] };
        let volume = Volume::new(&rows, 2).unwrap();
        assert_eq!(volume.area(2, &[1; 3], &[1, 2, 3]), Some(1.0));
        // In two sequences they stay apart, and there is no buffer beyond the end of one.
        let rows = Labelled { sequences: &[0..1, 1..3], ..rows };
        let volume = Volume::new(&rows, 2).unwrap();
        assert!(volume.area(2, &[1; 3], &[1, 2, 3]).unwrap() < 1.0);
    }

    #[test]
    fn it_needs_an_event_and_a_normal_row() {
        let scores = [1.0, 2.0];
        for marks in [[false; 2], [true; 2]] {
            assert!(vus_pr(&Labelled { scores: &scores, anomalous: &marks, sequences: &[0..2] }, 4).is_none());
        }
    }

    proptest! {
        #[test]
        fn without_a_buffer_it_is_the_average_precision_of_one_event(
            scores in prop::collection::vec(0u8..20, 3..50), start in 0usize..50, len in 1usize..20
        ) {
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let start = start % (scores.len() - 1);
            let marks: Vec<bool> = (0..scores.len()).map(|at| at >= start && at < start + len && at + 1 < scores.len()).collect();
            let found = vus_pr(&Labelled { scores: &scores, anomalous: &marks, sequences: &[0..scores.len()] }, 0);
            prop_assert!((found.unwrap() - average_precision(&scores, &marks).unwrap()).abs() < 1e-9);
        }

        #[test]
        fn it_lies_between_0_and_1_and_does_not_change_with_a_monotone_map(
            rows in prop::collection::vec((0u8..20, any::<bool>()), 3..50), window in 0usize..12
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let marks: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let of = |scores: &[f64]| vus_pr(&Labelled { scores, anomalous: &marks, sequences: &[0..marks.len()] }, window);
            let found = of(&scores);
            prop_assert!(found.is_none_or(|found| (0.0..=1.0 + 1e-9).contains(&found)), "{:?}", found);
            prop_assert_eq!(found, of(&scores.iter().map(|score| score.exp()).collect::<Vec<f64>>()));
        }
    }
}
