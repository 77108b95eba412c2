//! One recording: samples in the order of time, the stretches without a gap, and what is marked on them.

use std::ops::Range;

use super::super::split::Part;
use super::super::values::Values;

/// A mark on every sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Marks<T> {
    /// There is none.
    None,
    /// The same on all.
    All(T),
    /// One on each.
    Each(Vec<T>),
}

impl<T: Copy> Marks<T> {
    /// The mark on a sample.
    pub(super) fn at(&self, sample: usize) -> Option<T> {
        match self {
            Self::None => None,
            Self::All(mark) => Some(*mark),
            Self::Each(marks) => marks.get(sample).copied(),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The marks of these rows.
    pub(super) fn of_rows(marks: Option<&Vec<T>>, rows: &[usize]) -> Self {
        marks.map_or(Self::None, |marks| Self::Each(rows.iter().map(|row| marks[*row]).collect()))
    }
}

/// Samples of one source in the order of time.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    pub name: String,
    pub group: Option<String>,
    /// Samples `[n, channels]`, row-major. Outside of the segments they may be missing.
    pub values: Values,
    /// Samples in each channel.
    pub n: usize,
    /// Stretches without a gap, in order.
    pub segments: Vec<Range<usize>>,
    /// The time of each sample, in seconds.
    pub times: Option<Vec<f64>>,
    /// Samples a second, as the source says.
    pub rate: Option<f64>,
    /// The class of each sample.
    pub labels: Marks<u32>,
    pub parts: Marks<Part>,
}

impl Recording {
    /// A recording without marks, times and gaps.
    pub(super) fn new(name: String, values: Values, n: usize) -> Self {
        Self {
            name,
            group: None,
            values,
            n,
            segments: segments(n, |_| false, |_| false),
            times: None,
            rate: None,
            labels: Marks::None,
            parts: Marks::None,
        }
    }
}

/// The stretches of `n` samples that hold no missing sample, and none that is apart from the one before it.
pub(super) fn segments(n: usize, missing: impl Fn(usize) -> bool, apart: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in (0..n).filter(|at| !missing(*at)) {
        match found.last_mut() {
            Some(last) if last.end == at && !apart(at) => last.end += 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_end_where_samples_are_missing_or_apart() {
        assert_eq!(segments(4, |_| false, |at| at == 0), vec![0..4]);
        assert_eq!(segments(8, |at| at == 2 || at == 7, |at| at == 5), [0..2, 3..5, 5..7]);
        assert!(segments(0, |_| false, |_| false).is_empty());
    }
}
