//! Labelled scores in the order from the highest to the lowest, with rows that count several times.

use std::ops::Range;

/// Rows by falling score. Every metric of the order of scores is a function of the [`Steps`] of some weights, so that a
/// bootstrap sorts once.
#[derive(Clone, Debug)]
pub struct Ranked {
    order: Vec<usize>,
    ties: Vec<Range<usize>>,
    anomalous: Vec<bool>,
}

impl Ranked {
    /// Ranks rows by their scores. `None` if a score is not a number.
    ///
    /// # Panics
    /// If the number of scores differs from the number of marks.
    #[must_use]
    pub fn new(scores: &[f64], anomalous: &[bool]) -> Option<Self> {
        assert_eq!(scores.len(), anomalous.len(), "one mark for each score");
        if scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut ties = Vec::new();
        let mut start = 0;
        for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
            ties.push(start..start + tied.len());
            start += tied.len();
        }
        Some(Self { order, ties, anomalous: anomalous.to_vec() })
    }

    /// The rows from the highest score to the lowest, in groups of equal scores.
    pub fn ties(&self) -> impl Iterator<Item = &[usize]> {
        self.ties.iter().map(|tied| &self.order[tied.clone()])
    }

    /// What is found and what alarms falsely at each threshold, where row `i` counts `weights[i]` times. `None` if either
    /// class has no weight.
    ///
    /// # Panics
    /// If the number of weights is not that of the rows.
    #[must_use]
    pub fn steps(&self, weights: &[u32]) -> Option<Steps> {
        assert_eq!(weights.len(), self.order.len(), "one weight for each row");
        let [mut normal, mut anomalous] = [0u64; 2];
        let mut at = Vec::with_capacity(self.ties.len());
        for tied in self.ties() {
            for row in tied {
                let count = if self.anomalous[*row] { &mut anomalous } else { &mut normal };
                *count += u64::from(weights[*row]);
            }
            at.push([normal, anomalous]);
        }
        (normal > 0 && anomalous > 0).then_some(Steps(at))
    }
}

/// For each distinct score, from the highest to the lowest, the number of normal rows and of anomalous rows that score at
/// least as high. The last step has all rows of both classes, at least one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps(pub(super) Vec<[u64; 2]>);

impl Steps {
    /// All normal and all anomalous rows.
    pub(super) fn all(&self) -> [f64; 2] {
        self.0.last().map_or([0.0; 2], |all| all.map(|count| count as f64))
    }

    /// The counts at each step and those before it.
    pub(super) fn pairs(&self) -> impl Iterator<Item = ([u64; 2], [u64; 2])> + '_ {
        std::iter::once([0; 2]).chain(self.0.iter().copied()).zip(self.0.iter().copied())
    }
}
