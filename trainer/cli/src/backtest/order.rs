//! The order of time of scored rows.

use std::ops::Range;

use crate::scorer::{Alarm, Scored};

/// Rows in the order of groups and of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Numbers among the rows that were scored.
    pub rows: Vec<usize>,
    /// Stretches of these rows that follow one another.
    pub sequences: Vec<Range<usize>>,
    /// The groups, in the order in which they appear, and the stretch of rows of each.
    pub groups: Vec<(String, Range<usize>)>,
}

impl Order {
    /// The order of the rows that were scored.
    pub(crate) fn of(scored: &Scored<'_>) -> Self {
        let places: Vec<usize> = (0..scored.scores.len()).map(|at| scored.place(at)).collect();
        Self::new(&places, scored.dataset.groups.as_deref(), scored.dataset.follows.as_deref())
    }

    /// The order of rows with these places in a source, whose rows have groups and may not follow the one before.
    fn new(places: &[usize], groups: Option<&[String]>, follows: Option<&[bool]>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        // For each row of the source its group, and the row of the same group before it.
        let mut last: Vec<Option<usize>> = Vec::new();
        let count = places.iter().max().map_or(0, |last| last + 1);
        let mut known = std::collections::HashMap::new();
        let source: Vec<(usize, Option<usize>)> = (0..count)
            .map(|place| {
                let name = groups.and_then(|groups| groups.get(place)).map_or("", String::as_str);
                let group = *known.entry(name).or_insert_with(|| {
                    names.push(name);
                    last.push(None);
                    names.len() - 1
                });
                (group, last[group].replace(place))
            })
            .collect();
        let mut rows: Vec<usize> = (0..places.len()).collect();
        rows.sort_by_key(|at| (source[places[*at]].0, places[*at]));
        let mut order = Self { rows, ..Self::default() };
        let mut before: Option<usize> = None;
        for (at, row) in order.rows.iter().enumerate() {
            let place = places[*row];
            let (group, previous) = source[place];
            let follows = follows.is_none_or(|follows| follows[place] && previous == place.checked_sub(1));
            match order.sequences.last_mut().filter(|_| follows && before.is_some() && previous == before) {
                Some(last) => last.end += 1,
                None => order.sequences.push(at..at + 1),
            }
            match order.groups.last_mut().filter(|(name, _)| *name == names[group]) {
                Some((_, last)) => last.end += 1,
                None => order.groups.push((names[group].to_owned(), at..at + 1)),
            }
            before = Some(place);
        }
        order
    }

    /// Whether each of the rows alarms. Each group has a detector of its own, which has seen nothing before its first row.
    pub(crate) fn alarms(&self, scored: &Scored<'_>, alarm: &Alarm<'_>) -> Vec<bool> {
        let all = [(String::new(), 0..self.rows.len())];
        let groups = if self.groups.is_empty() { &all } else { self.groups.as_slice() };
        let of_group = |(_, rows): &(String, Range<usize>)| {
            alarm.after(self.rows[rows.clone()].iter().map(|at| scored.scores[*at]))
        };
        groups.iter().flat_map(of_group).collect()
    }

    /// A stretch of the rows, which no sequence crosses.
    pub(crate) fn part(&self, rows: &Range<usize>) -> Self {
        let inside = self.sequences.iter().filter(|sequence| rows.contains(&sequence.start));
        Self {
            rows: self.rows[rows.clone()].to_vec(),
            sequences: inside.map(|sequence| sequence.start - rows.start..sequence.end - rows.start).collect(),
            groups: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &str) -> Vec<String> {
        text.chars().map(|letter| letter.to_string()).collect()
    }

    #[test]
    fn rows_of_machines_that_are_measured_in_turn_follow_one_another() {
        let order = Order::new(&[0, 1, 2, 3, 4], Some(&groups("abaab")), None);
        assert_eq!(order.rows, [0, 2, 3, 1, 4]);
        assert_eq!(order.sequences, [0..3, 3..5]);
        assert_eq!(order.groups, [("a".to_owned(), 0..3), ("b".to_owned(), 3..5)]);
        let part = order.part(&order.groups[1].1);
        assert_eq!((part.rows, part.sequences), (vec![1, 4], Vec::from_iter(Some(0..2))));
    }

    #[test]
    fn a_row_that_was_left_out_ends_a_sequence() {
        // Row 2 of the source is in another part, and the rows come shuffled.
        let order = Order::new(&[3, 0, 4, 1], None, None);
        assert_eq!(order.rows, [1, 3, 0, 2]);
        assert_eq!(order.sequences, [0..2, 2..4]);
        assert_eq!(order.groups, [(String::new(), 0..4)]);
    }

    #[test]
    fn a_gap_of_the_source_ends_a_sequence() {
        let order = Order::new(&[0, 1, 2, 3], None, Some(&[false, true, false, true]));
        assert_eq!(order.sequences, [0..2, 2..4]);
    }
}
