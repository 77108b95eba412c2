//! Events: runs of anomalous rows that follow one another.

use std::ops::Range;

/// Labelled rows in the order of time.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// A score for each row; higher is more anomalous.
    pub scores: &'a [f64],
    /// Whether each row is anomalous.
    pub anomalous: &'a [bool],
    /// Stretches of rows that follow one another without a gap, in order, which together are all rows.
    pub sequences: &'a [Range<usize>],
}

/// The runs of marked rows, in order. No run spans two sequences.
#[must_use]
pub fn runs(marked: &[bool], sequences: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for sequence in sequences {
        let mut open = false;
        for at in sequence.clone() {
            match found.last_mut().filter(|_| open) {
                Some(last) if marked[at] => last.end += 1,
                _ if marked[at] => found.push(at..at + 1),
                _ => {}
            }
            open = marked[at];
        }
    }
    found
}

/// For each event the rows from its start to its first alarm; `None` for an event without an alarm.
#[must_use]
pub fn delays(events: &[Range<usize>], alarms: &[bool]) -> Vec<Option<usize>> {
    events.iter().map(|event| event.clone().position(|at| alarms[at])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> Vec<bool> {
        text.bytes().map(|mark| mark == b'1').collect()
    }

    #[test]
    fn an_event_ends_with_its_sequence() {
        let events = |text: &str, ends: &[usize]| {
            let starts = std::iter::once(&0).chain(ends);
            let sequences: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| *start..*end).collect();
            runs(&marks(text), &sequences)
        };
        assert_eq!(events("0110010", &[7]), [1..3, 5..6]);
        assert_eq!(events("0111", &[2, 4]), [1..2, 2..4]);
        assert_eq!(events("1111", &[4]), vec![0..4]);
        assert!(events("000", &[3]).is_empty());
    }

    #[test]
    fn a_delay_counts_from_the_start_of_the_event() {
        assert_eq!(delays(&[1..4, 5..6, 7..9], &marks("100101010")), [Some(2), Some(0), Some(0)]);
        assert_eq!(delays(&[0..2, 2..4], &marks("0001")), [None, Some(1)]);
    }
}
