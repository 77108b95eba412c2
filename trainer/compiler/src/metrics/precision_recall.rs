//! Precision and recall of alarms over all thresholds.

use super::ranked::{Ranked, Steps};

/// Average precision: the sum over the distinct scores, from the highest, of the precision of an alarm from that score
/// on, times the growth of the share of anomalies found there. Nothing is interpolated between scores, because straight
/// lines between points of precision and recall are too favourable (Davis and Goadrich, The relationship between
/// precision-recall and ROC curves, ICML 2006). Its value for random scores is the share of anomalous rows. `None` if one
/// of the classes has no row, or if a score is not a number.
///
/// # Panics
/// If the number of scores differs from the number of marks.
#[must_use]
pub fn average_precision(scores: &[f64], anomalous: &[bool]) -> Option<f64> {
    Some(Ranked::new(scores, anomalous)?.steps(&vec![1; scores.len()])?.average_precision())
}

impl Steps {
    /// [`average_precision`] of rows that count several times.
    #[must_use]
    pub fn average_precision(&self) -> f64 {
        let [_, anomalous] = self.all();
        let growth = |a: [u64; 2], b: [u64; 2]| (b[1] - a[1]) as f64 / anomalous;
        let grown = self.pairs().filter(|(a, b)| b[1] > a[1]);
        grown.map(|(a, b)| growth(a, b) * b[1] as f64 / (b[0] + b[1]) as f64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pairs: &[(f64, bool)]) -> Option<f64> {
        let (scores, anomalous): (Vec<f64>, Vec<bool>) = pairs.iter().copied().unzip();
        average_precision(&scores, &anomalous)
    }

    #[test]
    fn known_averages() {
        assert_eq!(of(&[(3.0, true), (2.0, true), (1.0, false)]), Some(1.0));
        // The anomalies are second and third: (1/2 + 2/3) / 2.
        assert!((of(&[(3.0, false), (2.0, true), (1.0, true)]).unwrap() - 7.0 / 12.0).abs() < 1e-12);
        // scikit-learn's average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), from its documentation: 0.83.
        let known = of(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]).unwrap();
        assert!((known - 5.0 / 6.0).abs() < 1e-12, "{known}");
        // Without order, the precision is the share of anomalies.
        assert_eq!(of(&[(1.0, true), (1.0, false), (1.0, false), (1.0, false)]), Some(0.25));
        assert_eq!(of(&[(1.0, false)]), None);
        assert_eq!(of(&[(f64::NAN, true), (1.0, false)]), None);
    }

    proptest! {
        #[test]
        fn weights_are_repeated_rows_and_the_order_of_rows_does_not_matter(
            rows in prop::collection::vec((0u8..9, any::<bool>(), 0u32..4), 1..40), turn in 0usize..40
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let marks: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let weights: Vec<u32> = rows.iter().map(|row| row.2).collect();
            let steps = Ranked::new(&scores, &marks).unwrap().steps(&weights);
            let mut repeated: Vec<(f64, bool)> =
                rows.iter().flat_map(|(score, mark, count)| vec![(f64::from(*score), *mark); *count as usize]).collect();
            let turn = turn % repeated.len().max(1);
            repeated.rotate_left(turn);
            let (s, m): (Vec<f64>, Vec<bool>) = repeated.iter().copied().unzip();
            prop_assert_eq!(steps.as_ref().map(Steps::average_precision), average_precision(&s, &m));
            prop_assert_eq!(steps.as_ref().map(Steps::auc), super::super::roc::auc(&s, &m));
        }
    }
}
