//! Metrics of events against the implementations of their authors, on sixty rows.

use elbo_compiler::metrics::{Labelled, affiliation, vus_pr};

const SCORES: [f64; 60] = [
    0., 23., 31., 14., 22., 41., 25., 32., 15., 11., 18., 2., 9., 17., 0., 8., 31., 39., 6., 30., 49., 33., 28., 36.,
    31., 39., 46., 30., 37., 20., 16., 23., 7., 14., 22., 5., 13., 36., 4., 11., 35., 2., 26., 33., 1., 24., 32., 39.,
    23., 30., 25., 21., 28., 12., 19., 3., 10., 18., 1., 9.,
];

/// Events of four, two, six and one row; the second and the third are two rows apart.
fn anomalous() -> Vec<bool> {
    (0..60).map(|at| matches!(at, 5..9 | 20..22 | 24..30 | 50)).collect()
}

/// `RangeAUC_volume_opt` of the authors' package `vus` 0.0.6, with every score as a threshold.
#[test]
fn vus_pr_is_that_of_its_authors() {
    let anomalous = anomalous();
    let sequence = 0..SCORES.len();
    let rows = Labelled { scores: &SCORES, anomalous: &anomalous, sequences: std::slice::from_ref(&sequence) };
    for (window, expected) in
        [(0, 0.561_009_627_627_274_8), (9, 0.710_554_770_982_727_2), (30, 0.871_274_652_469_575_3)]
    {
        let found = vus_pr(&rows, window).unwrap();
        assert!((found - expected).abs() < 1e-12, "{window}: {found}");
    }
}

/// `pr_from_events` of the authors' package, for alarms from 36 on.
#[test]
fn affiliation_is_that_of_its_authors() {
    let alarms: Vec<bool> = SCORES.iter().map(|score| *score >= 36.0).collect();
    let sequence = 0..SCORES.len();
    let found = affiliation(&alarms, &anomalous(), std::slice::from_ref(&sequence));
    let expected = [
        (1.0, 0.844_827_586_206_896_7),
        (0.676_470_588_235_294_2, 0.941_176_470_588_235_2),
        (0.747_058_823_529_411_8, 0.980_392_156_862_745_1),
        (0.7, 0.75),
    ];
    assert_eq!(found.len(), expected.len());
    for (event, (precision, recall)) in found.iter().zip(expected) {
        assert!((event.precision.unwrap() - precision).abs() < 1e-12, "{event:?} {precision}");
        assert!((event.recall - recall).abs() < 1e-12, "{event:?} {recall}");
    }
}
