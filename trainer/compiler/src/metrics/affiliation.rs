//! Affiliation precision and recall (Huet, Navarro and Rossi, *Local evaluation of time series anomaly detection
//! algorithms*, KDD 2022).
//!
//! Each event has a zone: the times that are nearer to it than to any other event. Distances in a zone are compared with
//! those of an alarm at a random time of the zone, so that no parameter and no scale is needed. With `X` uniform in the
//! zone `I` of the event `J`,
//!
//! ```text
//! precision of J = mean over the alarms x in I of P(dist(X, J) >= dist(x, J))
//! recall of J    = mean over the times y of J of P(|X - y| >= dist(y, alarms in I))
//! ```
//!
//! Both are 1 for alarms that equal the event. Alarms at random times have a precision and recall of about one half or
//! more, so a value is read against one half and not against 0. An event without alarms in its zone has a recall of 0 and
//! no precision. Row `i` lasts from time `i` to `i + 1`.

use std::ops::Range;

use super::events::runs;

/// How near the alarms of a zone are to its event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affiliation {
    /// How near the alarms are to the event; `None` without an alarm in the zone.
    pub precision: Option<f64>,
    /// How near the event's times are to an alarm.
    pub recall: f64,
}

/// Precision and recall of each event, in the order of the events that [`runs`] finds. Alarms in sequences without an event
/// belong to no event and do not count.
///
/// # Panics
/// If the number of alarms differs from the number of marks.
#[must_use]
pub fn affiliation(alarms: &[bool], anomalous: &[bool], sequences: &[Range<usize>]) -> Vec<Affiliation> {
    assert_eq!(alarms.len(), anomalous.len(), "one mark for each row");
    let mut found = Vec::new();
    for sequence in sequences {
        let one = std::slice::from_ref(sequence);
        let (events, alarms) = (runs(anomalous, one), runs(alarms, one));
        for (at, event) in events.iter().enumerate() {
            let middle = |a: usize, b: usize| 0.5 * (a + b) as f64;
            let start = if at == 0 { sequence.start as f64 } else { middle(events[at - 1].end, event.start) };
            let end = events.get(at + 1).map_or(sequence.end as f64, |next| middle(event.end, next.start));
            found.push(Zone { start, end, event }.affiliation(&alarms));
        }
    }
    found
}

/// The times nearest to an event.
struct Zone<'a> {
    start: f64,
    end: f64,
    event: &'a Range<usize>,
}

impl Zone<'_> {
    fn affiliation(&self, alarms: &[Range<usize>]) -> Affiliation {
        // The parts of the alarms within the zone.
        let first = alarms.partition_point(|run| run.end as f64 <= self.start);
        let inside: Vec<[f64; 2]> = alarms[first..]
            .iter()
            .map(|run| [(run.start as f64).max(self.start), (run.end as f64).min(self.end)])
            .take_while(|[start, end]| start < end)
            .collect();
        Affiliation { precision: self.precision(&inside), recall: self.recall(&inside) }
    }

    /// The probability that a random time of the zone is at least as far from the event as `x`.
    fn far_from_event(&self, x: f64) -> f64 {
        let [start, end] = [self.event.start as f64, self.event.end as f64];
        let distance = if x < start { start - x } else { (x - end).max(0.0) };
        if distance == 0.0 {
            return 1.0;
        }
        let nearer = end - start + distance.min(start - self.start) + distance.min(self.end - end);
        1.0 - nearer / (self.end - self.start)
    }

    fn precision(&self, alarms: &[[f64; 2]]) -> Option<f64> {
        let total: f64 = alarms.iter().map(|[start, end]| end - start).sum();
        // Between half rows the probability is linear, and its mean is that of the middle.
        let part =
            |[start, end]: &[f64; 2]| halves(*start, *end, 2.0).map(|x| 0.5 * self.far_from_event(x)).sum::<f64>();
        (total > 0.0).then(|| alarms.iter().map(part).sum::<f64>() / total)
    }

    fn recall(&self, alarms: &[[f64; 2]]) -> f64 {
        if alarms.is_empty() {
            return 0.0;
        }
        let [start, end] = [self.event.start as f64, self.event.end as f64];
        // Between eighths of a row the nearest alarm and the nearer end of the zone do not change.
        let sum: f64 = halves(start, end, 8.0)
            .map(|y| {
                let next = alarms.partition_point(|alarm| alarm[1] <= y);
                let after = alarms.get(next).map_or(f64::INFINITY, |alarm| (alarm[0] - y).max(0.0));
                let before = next.checked_sub(1).map_or(f64::INFINITY, |last| y - alarms[last][1]);
                let distance = after.min(before);
                let nearer = distance.min(y - self.start) + distance.min(self.end - y);
                0.125 * (1.0 - nearer / (self.end - self.start))
            })
            .sum();
        sum / (end - start)
    }
}

/// The middles of the `steps`-ths of a row from `start` to `end`.
fn halves(start: f64, end: f64, steps: f64) -> impl Iterator<Item = f64> {
    let count = ((end - start) * steps).round() as usize;
    (0..count).map(move |at| start + (at as f64 + 0.5) / steps)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one sequence")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(alarms: &str, events: &str) -> Vec<(Option<f64>, f64)> {
        let marks = |text: &str| text.bytes().map(|mark| mark == b'1').collect::<Vec<bool>>();
        let round = |value: f64| (value * 1e9).round() / 1e9;
        let found = affiliation(&marks(alarms), &marks(events), &[0..events.len()]);
        found.into_iter().map(|of| (of.precision.map(round), round(of.recall))).collect()
    }

    #[test]
    fn alarms_that_equal_the_events_are_perfect() {
        assert_eq!(of("0110010", "0110010"), [(Some(1.0), 1.0), (Some(1.0), 1.0)]);
    }

    #[test]
    fn an_event_without_an_alarm_in_its_zone_has_no_precision() {
        assert_eq!(of("0100000000", "0100000010"), [(Some(1.0), 1.0), (None, 0.0)]);
    }

    #[test]
    fn an_alarm_just_behind_the_event() {
        // Zone 0..10, event 4..6, alarm 6..7. Precision: the mean over distances d from 0 to 1 of 1 - (2 + 2 d) / 10.
        // Recall: y is 6 - y away, and 1 - 2 (6 - y) / 10 on average is 0.8.
        assert_eq!(of("0000001000", "0000110000"), [(Some(0.7), 0.8)]);
    }

    #[test]
    fn an_alarm_at_the_far_end_of_a_zone() {
        // Event 0..1, alarm 3..4 of 0..4: distances 2 to 3 to the right alone, so 1 - (1 + d) / 4 with mean 1/8. The
        // times y have distances 3 - y, of which y lies to the left: 1 - (3 - y + y) / 4 = 1/4.
        assert_eq!(of("0001", "1000"), [(Some(0.125), 0.25)]);
    }

    #[test]
    fn zones_meet_halfway() {
        // Events 1..2 and 4..5: the zones meet at 3. The alarm 2..4 belongs with half to each.
        let found = of("001100", "010010");
        // Zone 0..3, event 1..2, alarm 2..3: 1 - (1 + 2 d) / 3, mean 1/3. Recall: 2 - y away, 1 - 2 (2 - y) / 3, mean 2/3.
        let third = 0.333_333_333;
        assert_eq!(found, [(Some(third), 0.666_666_667), (Some(third), 0.666_666_667)]);
    }

    #[test]
    fn sequences_are_apart() {
        let marks = [true, false, false, true];
        let found = affiliation(&[false, true, true, false], &marks, &[0..2, 2..4]);
        assert_eq!(found[0], found[1]);
        // An alarm in a sequence without events belongs to none.
        let none = affiliation(&[true, false, true, true], &[true, false, false, false], &[0..2, 2..4]);
        assert_eq!(none, [Affiliation { precision: Some(1.0), recall: 1.0 }]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_fine_grid(rows in prop::collection::vec((any::<bool>(), any::<bool>()), 1..12)) {
            let (alarms, marks): (Vec<bool>, Vec<bool>) = rows.into_iter().unzip();
            let found = affiliation(&alarms, &marks, &[0..marks.len()]);
            let n = marks.len() as f64;
            let steps = 64;
            let times: Vec<f64> = (0..marks.len() * steps).map(|at| (at as f64 + 0.5) / steps as f64).collect();
            let events = runs(&marks, &[0..marks.len()]);
            let to_event = |x: f64, event: &Range<usize>| (event.start as f64 - x).max(x - event.end as f64).max(0.0);
            for (at, event) in events.iter().enumerate() {
                let zone: Vec<f64> = times.iter().copied().filter(|x| {
                    events.iter().all(|other| to_event(*x, event) <= to_event(*x, other))
                }).collect();
                let hits: Vec<f64> = zone.iter().copied().filter(|x| alarms[*x as usize]).collect();
                let share = |far: &dyn Fn(f64) -> bool| {
                    zone.iter().filter(|x| far(**x)).count() as f64 / zone.len() as f64
                };
                let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
                if hits.is_empty() {
                    prop_assert_eq!(found[at], Affiliation { precision: None, recall: 0.0 });
                    continue;
                }
                let precision =
                    mean(hits.iter().map(|x| share(&|z| to_event(z, event) >= to_event(*x, event))).collect());
                let recall = mean(zone.iter().filter(|y| to_event(**y, event) == 0.0).map(|y| {
                    let distance = hits.iter().map(|x| (x - y).abs()).fold(f64::INFINITY, f64::min);
                    share(&|z| (z - y).abs() >= distance)
                }).collect());
                prop_assert!((found[at].precision.unwrap() - precision).abs() < 0.05, "{} of {n}", precision);
                prop_assert!((found[at].recall - recall).abs() < 0.05, "{} of {n}", recall);
            }
        }
    }
}
