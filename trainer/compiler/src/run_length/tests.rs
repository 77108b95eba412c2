use super::*;
use crate::stimulus::generator;
use elbo::Calibration;
use elbo::detector::{Detector, DetectorConfig, Drift, DriftConfig, NormalState, State};
use rand_core::Rng;

const ROWS: usize = 1 << 20;

/// Scores from 1 to a million: a calibration whose p-values are as good as uniform.
fn with_calibration<T>(then: impl FnOnce(Calibration<'_>) -> T) -> T {
    let mut scores: Vec<Nats> = (1..=ROWS as i64).map(Nats::from_bits).collect();
    let mut buffer = vec![0; Calibration::room(ROWS)];
    then(Calibration::of_scores(&mut scores, &mut buffer).unwrap())
}

/// The mean number of windows to an alarm, over `runs` runs with scores that are uniform to the power `power` from above: 1
/// for normal windows, and larger where windows are less usual.
fn simulated(calibration: Calibration<'_>, rule: Rule, runs: u32, power: f64) -> f64 {
    let mut detector = Detector::new(calibration, DetectorConfig { rule, latching: true }).unwrap();
    let mut rng = generator(u64::from(runs));
    let mut windows = 0u64;
    for _ in 0..runs {
        detector.reset();
        loop {
            windows += 1;
            let share = (f64::from(rng.next_u32()) + 0.5) / 32f64.exp2();
            let score = (1.0 - share.powf(power)) * ROWS as f64 + 1.0;
            if detector.observe(Nats::from_bits(score as i64)).state == State::Alarm {
                break;
            }
        }
    }
    windows as f64 / f64::from(runs)
}

fn rate(windows: u32) -> Rate {
    Rate::new(1, windows).unwrap()
}

/// Every rule, with the limit of its false-alarm rate.
fn rules(windows: u32) -> [Rule; 5] {
    let rate = rate(windows);
    [
        Rule::Threshold { alarm: rate, clear: rate },
        count_rule(2, 3, rate).unwrap(),
        count_rule(3, 10, rate).unwrap(),
        ewma_rule(3, rate).unwrap(),
        cusum_rule(1.5, rate).unwrap(),
    ]
}

/// The time to a false alarm is that which was asked for, within four standard errors of 4,000 runs.
#[test]
fn normal_windows_alarm_at_the_stated_rate() {
    with_calibration(|calibration| {
        for rule in rules(500) {
            let length = simulated(calibration, rule, 4000, 1.0);
            println!("{rule:?}: {length}");
            assert!((468.0..532.0).contains(&length), "{rule:?}: {length}");
        }
    });
}

/// A small lasting shift is found sooner by a sum or an average than by single windows.
#[test]
fn a_shift_is_found_sooner_by_a_sum_than_by_single_windows() {
    with_calibration(|calibration| {
        // -ln p has the mean 2 instead of 1.
        let [single, _, several, average, sum] = rules(2000).map(|rule| simulated(calibration, rule, 1000, 2.0));
        assert!(sum < 0.5 * single && average < 0.5 * single && several < single, "{single} {several} {average} {sum}");
        // An extreme window alarms at once by the threshold.
        let [single, .., sum] = rules(2000).map(|rule| simulated(calibration, rule, 1000, 200.0));
        assert!(single < 1.1 && sum < 3.0, "{single} {sum}");
    });
}

/// Exact average run lengths: of exponential sums with a reference of at least the limit, only one window counts; and one of n
/// windows is a single one.
#[test]
fn run_lengths_are_those_of_closed_forms() {
    let length = cusum(3.0, 1.0);
    // The sum stays below the limit unless -ln p >= 4 at once, from 0, or in two steps; bounds of both.
    let at_once = 4f64.exp();
    assert!(length < at_once && length > at_once / 2.5, "{length} {at_once}");
    assert!((count(1, 7, 0.01) - 100.0).abs() < 1e-6);
    // The mean waiting time for k successes in a row is (1 - q^k) / ((1 - q) q^k).
    let q: f64 = 0.1;
    let exact = (1.0 - q.powi(3)) / ((1.0 - q) * q.powi(3));
    assert!((count(3, 3, q) / exact - 1.0).abs() < 1e-9, "{} {exact}", count(3, 3, q));
    // A weight of 1 is a threshold of -ln p.
    assert!((ewma(0, 5.0) / 5f64.exp() - 1.0).abs() < 1e-6, "{}", ewma(0, 5.0));
    // Refining the cells does not move the length of a sum: halves of the limit agree with twice as fine cells.
    let (reference, limit) = (1.5, 8.0);
    let fine = {
        let cells = 2 * CELLS;
        let width = limit / cells as f64;
        let middle = |state: usize| if state == 0 { 0.0 } else { (state as f64 - 0.5) * width };
        run_lengths(cells + 1, |from, to| {
            let offset = middle(from) - reference;
            match to {
                0 => exponential(-offset),
                to => exponential(to as f64 * width - offset) - exponential((to - 1) as f64 * width - offset),
            }
        })[0]
    };
    assert!((cusum(reference, limit) / fine - 1.0).abs() < 2e-3, "{} {fine}", cusum(reference, limit));
}

#[test]
fn what_has_no_limit_is_refused() {
    assert!(matches!(cusum_rule(1.5, rate(1)), Err(RunLengthError::Rate(_))));
    assert!(cusum_rule(1.0, rate(100)).is_err() && ewma_rule(7, rate(100)).is_err());
    assert!(count_rule(3, 2, rate(100)).is_err() && count_rule(0, 2, rate(100)).is_err());
    assert!(count_rule(2, 15, rate(100)).is_err());
}

#[test]
fn chi_square_quantiles_are_the_tabulated_ones() {
    for (windows, quantile) in [(10, 12.017), (20, 14.067), (100, 18.475), (1000, 24.322)] {
        let found = f64::from(chi_square(rate(windows))) / 65536.0;
        assert!((found - quantile).abs() < 1e-3, "{found} {quantile}");
    }
}

/// Blocks of normal windows are taken for moved at the stated rate, whatever the sample of the calibration; a calibration of
/// another distribution is found.
#[test]
fn a_moved_state_is_found_and_an_unmoved_one_is_not() {
    let mut rng = generator(5);
    let mut draw = |shift: i64| (0..12).map(|_| i64::from(rng.next_u32() >> 16)).sum::<i64>() + shift;
    for (rows, block) in [(60, 40), (200, 100), (1000, 400), (300, 1000)] {
        let config = DriftConfig { block, limit: chi_square(rate(20)) };
        let mut moved = [0, 0];
        for _ in 0..1000 {
            let mut scores: Vec<Nats> = (0..rows).map(|_| Nats::from_bits(draw(0))).collect();
            let mut buffer = vec![0; Calibration::room(rows)];
            let calibration = Calibration::of_scores(&mut scores, &mut buffer).unwrap();
            // The standard deviation of a score is 65536.
            for (moved, shift) in moved.iter_mut().zip([0, 65536]) {
                let mut drift = Drift::new(&calibration, config).unwrap();
                for at in 1..=block {
                    let answer = drift.observe(calibration.p_value(Nats::from_bits(draw(shift))));
                    assert_eq!(answer == NormalState::Unknown, at < block);
                }
                *moved += u32::from(drift.answer() == NormalState::Moved);
            }
        }
        // Five per cent, within three standard errors and the approximation by the chi-square distribution.
        assert!((20..=85).contains(&moved[0]) && moved[1] > 700, "{rows} rows, blocks of {block}: {moved:?} of 1000");
    }
    let few = Calibration::default();
    assert!(Drift::new(&few, DriftConfig { block: 100, limit: 1 }).is_err());
}
