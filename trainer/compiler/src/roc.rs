//! How well a score separates anomalies from normal rows.

/// Area under the ROC curve: the probability that an anomalous row scores higher than a normal one, where ties count
/// half (the Mann-Whitney statistic; Fawcett, An introduction to ROC analysis, 2006, section 7). `None` if one of the
/// classes has no row, or if a score is not a number.
///
/// # Panics
/// If the number of scores differs from the number of marks.
#[must_use]
pub fn auc(scores: &[f64], anomalous: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), anomalous.len(), "one mark for each score");
    let positives = anomalous.iter().filter(|anomalous| **anomalous).count();
    let negatives = scores.len() - positives;
    if positives == 0 || negatives == 0 || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    // Twice the number of correctly ordered pairs, which is an exact integer.
    let (mut below, mut twice) = (0u64, 0u64);
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let hits = tied.iter().filter(|row| anomalous[**row]).count() as u64;
        let misses = tied.len() as u64 - hits;
        twice += hits * (2 * below + misses);
        below += misses;
    }
    Some(twice as f64 / (2.0 * positives as f64 * negatives as f64))
}

/// Area under the ROC curve up to the false-alarm rate `most`, divided by `most`: the mean share of anomalies that are
/// found at the false-alarm rates from 0 to `most`, with straight lines between tied scores. `None` as for [`auc`], or if
/// `most` is not in (0, 1].
///
/// # Panics
/// If the number of scores differs from the number of marks.
#[must_use]
pub fn partial_auc(scores: &[f64], anomalous: &[bool], most: f64) -> Option<f64> {
    auc(scores, anomalous).filter(|_| most > 0.0 && most <= 1.0)?;
    let positives = anomalous.iter().filter(|anomalous| **anomalous).count() as f64;
    let negatives = scores.len() as f64 - positives;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let ([mut alarms, mut found], mut area) = ([0.0; 2], 0.0);
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let hits = tied.iter().filter(|row| anomalous[**row]).count() as f64;
        let [width, height] = [(tied.len() as f64 - hits) / negatives, hits / positives];
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
