//! How well a score separates anomalies from normal rows.

use super::ranked::{Ranked, Steps};

/// Area under the ROC curve: the probability that an anomalous row scores higher than a normal one, where ties count
/// half (the Mann-Whitney statistic; Fawcett, An introduction to ROC analysis, 2006, section 7). `None` if one of the
/// classes has no row, or if a score is not a number.
///
/// # Panics
/// If the number of scores differs from the number of marks.
#[must_use]
pub fn auc(scores: &[f64], anomalous: &[bool]) -> Option<f64> {
    Some(Ranked::new(scores, anomalous)?.steps(&vec![1; scores.len()])?.auc())
}

/// Area under the ROC curve up to the false-alarm rate `most`, divided by `most`: the mean share of anomalies that are
/// found at the false-alarm rates from 0 to `most`, with straight lines between tied scores. `None` as for [`auc`], or if
/// `most` is not in (0, 1].
///
/// # Panics
/// If the number of scores differs from the number of marks.
#[must_use]
pub fn partial_auc(scores: &[f64], anomalous: &[bool], most: f64) -> Option<f64> {
    Ranked::new(scores, anomalous)?.steps(&vec![1; scores.len()])?.partial_auc(most)
}

impl Steps {
    /// [`auc`] of rows that count several times.
    #[must_use]
    pub fn auc(&self) -> f64 {
        let [normal, anomalous] = self.all();
        // Twice the number of correctly ordered pairs, which is an exact integer.
        let below = |before: u64, after: u64| 2 * normal as u128 - u128::from(before + after);
        let twice: u128 = self.pairs().map(|(a, b)| u128::from(b[1] - a[1]) * below(a[0], b[0])).sum();
        twice as f64 / (2.0 * normal * anomalous)
    }

    /// [`partial_auc`] of rows that count several times.
    #[must_use]
    pub fn partial_auc(&self, most: f64) -> Option<f64> {
        if !(most > 0.0 && most <= 1.0) {
            return None;
        }
        let [normal, anomalous] = self.all();
        let ([mut alarms, mut found], mut area) = ([0.0; 2], 0.0);
        for (before, after) in self.pairs() {
            let width = (after[0] - before[0]) as f64 / normal;
            let height = (after[1] - before[1]) as f64 / anomalous;
            let inside = width.min(most - alarms);
            let slope = if width > 0.0 { height / width } else { 0.0 };
            area += inside * (found + 0.5 * slope * inside);
            (alarms, found) = (alarms + width, found + height);
            if alarms >= most {
                break;
            }
        }
        Some(area / most)
    }
}

/// Which rows are anomalous: those labelled 1, if every label is 0 or 1. `None` if there are other labels, or if one of
/// the two does not occur.
#[must_use]
pub fn anomalies(labels: &[u32]) -> Option<Vec<bool>> {
    let both = labels.contains(&0) && labels.contains(&1);
    (both && labels.iter().all(|label| *label <= 1)).then(|| labels.iter().map(|label| *label == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pairs: &[(f64, bool)]) -> Option<f64> {
        let (scores, anomalous): (Vec<f64>, Vec<bool>) = pairs.iter().copied().unzip();
        auc(&scores, &anomalous)
    }

    #[test]
    fn known_partial_areas() {
        let scores = [4.0, 3.0, 2.0, 2.0, 1.0];
        let anomalous = [true, false, true, false, true];
        // Of three anomalies, one lies above all normal rows, one is tied with the second of them, one lies below.
        let partial = |most: f64| partial_auc(&scores, &anomalous, most).unwrap();
        assert!((partial(0.5) - 1.0 / 3.0).abs() < 1e-12);
        assert!((partial(1.0) - (1.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12, "{}", partial(1.0));
        assert!((partial(1.0) - auc(&scores, &anomalous).unwrap()).abs() < 1e-12);
        assert_eq!(partial_auc(&scores, &anomalous, 0.0), None);
    }

    #[test]
    fn known_areas() {
        assert_eq!(of(&[(1.0, false), (2.0, false), (3.0, true)]), Some(1.0));
        assert_eq!(of(&[(1.0, true), (2.0, false), (3.0, false)]), Some(0.0));
        assert_eq!(of(&[(1.0, true), (1.0, false)]), Some(0.5));
        // scikit-learn's roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), from its documentation.
        assert_eq!(of(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]), Some(0.75));
    }

    #[test]
    fn an_area_needs_both_classes_and_numbers() {
        assert_eq!(of(&[(1.0, true), (2.0, true)]), None);
        assert_eq!(of(&[(1.0, false)]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(f64::NAN, true), (1.0, false)]), None);
    }

    #[test]
    fn only_zeros_and_ones_mark_anomalies() {
        assert_eq!(anomalies(&[0, 1, 0]), Some(vec![false, true, false]));
        for labels in [&[0, 0][..], &[1, 1], &[0, 1, 2], &[]] {
            assert_eq!(anomalies(labels), None, "{labels:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_share_of_pairs_in_the_right_order(
            pairs in prop::collection::vec((0u8..12, any::<bool>()), 2..60)
        ) {
            let pairs: Vec<(f64, bool)> = pairs.into_iter().map(|(score, mark)| (f64::from(score), mark)).collect();
            let (mut sum, mut count) = (0f64, 0f64);
            for (high, _) in pairs.iter().filter(|p| p.1) {
                for (low, _) in pairs.iter().filter(|p| !p.1) {
                    sum += if high > low { 1.0 } else if high == low { 0.5 } else { 0.0 };
                    count += 1.0;
                }
            }
            let expected = (count > 0.0).then_some(sum / count);
            prop_assert_eq!(of(&pairs).map(|a| (a * 1e9).round()), expected.map(|e| (e * 1e9).round()));
        }
    }
}
