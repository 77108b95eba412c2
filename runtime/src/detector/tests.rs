use super::*;
use crate::calibration::Rate;
use crate::rng::Xoshiro128PlusPlus;
use proptest::prelude::*;
use std::vec::Vec;
use std::{format, vec};

fn rate(numerator: u32, denominator: u32) -> Rate {
    Rate::new(numerator, denominator).unwrap()
}

fn p(per_mille: u32) -> PValue {
    rate(per_mille, 1000).as_p_value()
}

fn nats(milli: i64) -> Nats {
    Nats::from_bits((milli << 16) / 1000)
}

/// Whether there is an alarm after each of these p-values, in thousandths.
fn alarms(rule: Rule, latching: bool, per_mille: &[u32]) -> Vec<bool> {
    let mut monitor = Monitor::new(DetectorConfig { rule, latching }, p(1)).unwrap();
    per_mille.iter().map(|share| monitor.observe(p(*share)) == State::Alarm).collect()
}

#[test]
fn a_threshold_has_two_levels() {
    let rule = Rule::Threshold { alarm: rate(1, 100), clear: rate(1, 10) };
    let seen = [500, 11, 10, 50, 100, 101, 50, 1];
    assert_eq!(alarms(rule, false, &seen), [false, false, true, true, true, false, false, true]);
    assert_eq!(alarms(rule, true, &seen), [false, false, true, true, true, true, true, true]);
}

#[test]
fn a_count_looks_at_the_last_windows_only() {
    let rule = Rule::Count { rate: rate(1, 10), window: 4, alarm: 2, clear: 1 };
    let seen = [50, 500, 500, 500, 50, 50, 500, 500, 500, 500, 500];
    let expected = [false, false, false, false, false, true, true, true, true, false, false];
    assert_eq!(alarms(rule, false, &seen), expected);
    let whole = Rule::Count { rate: rate(1, 2), window: 32, alarm: 32, clear: 32 };
    let found = alarms(whole, false, &[100; 40]);
    assert_eq!(found.iter().position(|alarm| *alarm), Some(31));
}

/// The integers follow the formulas in floating point.
#[test]
fn averages_and_sums_follow_their_formulas() {
    let mut rng = Xoshiro128PlusPlus::new(1);
    let seen: Vec<u32> = (0..2000).map(|at| 1 + rng.next_word() % if at / 200 % 2 == 0 { 32 } else { 6 }).collect();
    let of = |rule| -> Vec<bool> {
        let config = DetectorConfig { rule, latching: false };
        let mut monitor = Monitor::new(config, rate(1, 32).as_p_value()).unwrap();
        seen.iter().map(|rank| monitor.observe(rate(*rank, 32).as_p_value()) == State::Alarm).collect()
    };
    let (found_average, found_sum) = (
        of(Rule::Ewma { shift: 3, alarm: nats(1800), clear: nats(1400) }),
        of(Rule::Cusum { reference: nats(1500), alarm: nats(5000), clear: nats(2500) }),
    );
    let (mut average, mut sum) = (1.0, 0f64);
    let mut state = [false; 2];
    for (at, rank) in seen.iter().enumerate() {
        let surprise = -(f64::from(*rank) / 32.0).ln();
        average += (surprise - average) / 8.0;
        sum = (sum + surprise - 1.5).clamp(0.0, 5.0);
        state[0] = if average >= 1.8 { true } else { state[0] && average >= 1.4 };
        state[1] = if sum >= 5.0 - 1e-3 { true } else { state[1] && sum >= 2.5 };
        assert_eq!([found_average[at], found_sum[at]], state, "window {at}: {average} {sum}");
    }
    let changes = |found: &[bool]| found.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes(&found_sum) >= 8 && changes(&found_average) >= 8);
}

#[test]
fn a_sum_ends_its_alarm_soon_after_the_cause_has_gone() {
    let rule = Rule::Cusum { reference: nats(1500), alarm: nats(5000), clear: nats(2500) };
    // A long fault, and then windows that are exactly as usual as the average.
    let seen: Vec<u32> = [1].repeat(1000).into_iter().chain([368].repeat(10)).collect();
    let found = alarms(rule, false, &seen);
    assert!(found[0] && found[999] && !found[1005], "{:?}", &found[995..]);
}

#[test]
fn a_latched_alarm_lasts_until_it_is_reset() {
    let rule = Rule::Threshold { alarm: rate(1, 100), clear: rate(1, 100) };
    let mut monitor = Monitor::new(DetectorConfig { rule, latching: true }, p(1)).unwrap();
    assert_eq!([5, 900, 900].map(|share| monitor.observe(p(share))), [State::Alarm; 3]);
    monitor.reset();
    assert_eq!((monitor.state(), monitor.observe(p(900))), (State::Normal, State::Normal));
    // What led to the alarm is forgotten, too.
    let rule = Rule::Count { rate: rate(1, 100), window: 3, alarm: 2, clear: 1 };
    let mut monitor = Monitor::new(DetectorConfig { rule, latching: true }, p(1)).unwrap();
    assert_eq!([5, 5].map(|share| monitor.observe(p(share))), [State::Normal, State::Alarm]);
    monitor.reset();
    assert_eq!(monitor.observe(p(5)), State::Normal);
}

#[test]
fn a_rule_that_could_never_alarm_is_refused() {
    let error = |rule, smallest| Monitor::new(DetectorConfig { rule, latching: false }, smallest).err();
    let few = |rows, needed| Some(DetectorError::TooFewRows(TooFewRows { rows, needed }));
    let threshold = Rule::Threshold { alarm: rate(1, 1000), clear: rate(1, 1000) };
    assert_eq!(error(threshold, rate(1, 145).as_p_value()), few(144, 999));
    assert_eq!(error(threshold, rate(1, 1000).as_p_value()), None);
    let average = Rule::Ewma { shift: 2, alarm: nats(6000), clear: nats(3000) };
    assert_eq!(error(average, rate(1, 145).as_p_value()), few(144, 403));
    assert_eq!(error(average, rate(1, 405).as_p_value()), None);
    let sum = Rule::Cusum { reference: nats(1500), alarm: nats(6000), clear: nats(3000) };
    assert_eq!((error(sum, rate(1, 4).as_p_value()), error(sum, rate(1, 5).as_p_value())), (few(3, 4), None));
    let text = format!("{}", few(144, 999).unwrap());
    assert!(text.contains("needs 999") && text.contains("1/145"), "{text}");
}

#[test]
fn a_rule_out_of_its_range_is_refused() {
    let high = nats(9000);
    for rule in [
        Rule::Threshold { alarm: rate(1, 10), clear: rate(1, 100) },
        Rule::Count { rate: rate(1, 10), window: 33, alarm: 2, clear: 1 },
        Rule::Count { rate: rate(1, 10), window: 3, alarm: 4, clear: 1 },
        Rule::Count { rate: rate(1, 10), window: 3, alarm: 2, clear: 3 },
        Rule::Count { rate: rate(1, 10), window: 0, alarm: 0, clear: 0 },
        Rule::Ewma { shift: 17, alarm: high, clear: high },
        Rule::Ewma { shift: 1, alarm: nats(0), clear: nats(0) },
        Rule::Cusum { reference: nats(900), alarm: high, clear: high },
        Rule::Cusum { reference: nats(1500), alarm: nats(1000), clear: high },
    ] {
        let refused = Monitor::new(DetectorConfig { rule, latching: false }, p(1)).err();
        assert_eq!(refused, Some(DetectorError::Rule), "{rule:?}");
    }
}

#[test]
fn a_configuration_is_a_few_bytes() {
    let rule = Rule::Cusum { reference: nats(1500), alarm: nats(7000), clear: nats(3500) };
    let config = DetectorConfig { rule, latching: true };
    let mut buffer = [0; 16];
    let bytes = postcard::to_slice(&config, &mut buffer).unwrap();
    assert_eq!(postcard::from_bytes::<DetectorConfig>(bytes), Ok(config));
    // A rate above 1 is no rate.
    assert!(postcard::from_bytes::<Rate>(&[3, 2]).is_err() && postcard::from_bytes::<Rate>(&[0, 2]).is_err());
    assert_eq!(postcard::from_bytes::<Rate>(&[2, 3]), Ok(rate(2, 3)));
    assert!(core::mem::size_of::<Detector<'_>>() <= 96 && core::mem::size_of::<Drift>() <= 80);
}

#[test]
fn a_detector_judges_by_its_calibration() {
    let mut scores: Vec<Nats> = (1..=99).map(|score| nats(1000 * score)).collect();
    let mut buffer = vec![0; Calibration::room(99)];
    let calibration = Calibration::of_scores(&mut scores, &mut buffer).unwrap();
    let rule = Rule::Threshold { alarm: Rate::ONE_IN_100, clear: Rate::ONE_IN_10 };
    let mut detector = Detector::new(calibration, DetectorConfig { rule, latching: false }).unwrap();
    let verdict = detector.observe(nats(99_001));
    assert_eq!((verdict.score, verdict.p, verdict.state), (nats(99_001), p(10), State::Alarm));
    assert_eq!((detector.observe(nats(3000)).state, detector.state()), (State::Normal, State::Normal));
}

#[test]
fn a_drift_test_answers_once_a_block() {
    let mut scores: Vec<Nats> = (1..=799).map(nats).collect();
    let mut buffer = vec![0; Calibration::room(799)];
    let calibration = Calibration::of_scores(&mut scores, &mut buffer).unwrap();
    let mut drift = Drift::new(&calibration, DriftConfig { block: 40, limit: 24 << 16 }).unwrap();
    let mut block = |of: &dyn Fn(i64) -> i64| {
        let answers: Vec<NormalState> = (0..40).map(|at| drift.observe(calibration.p_value(nats(of(at))))).collect();
        assert!(answers.windows(2).take(38).all(|pair| pair[0] == pair[1]));
        answers[39]
    };
    assert_eq!(block(&|at| 20 * at + 10), NormalState::Unmoved);
    assert_eq!(block(&|_| 790), NormalState::Moved);
    // Scores that are too usual are not normal, either.
    assert_eq!(block(&|_| 3), NormalState::Moved);
    assert_eq!(block(&|at| 20 * at + 10), NormalState::Unmoved);
    drift.reset();
    assert_eq!(drift.answer(), NormalState::Unknown);
    let short = DriftConfig { block: 39, limit: 1 };
    assert_eq!(Drift::new(&calibration, short).err(), Some(DetectorError::Rule));
}

proptest! {
    /// Whatever a configuration and a table say, nothing panics.
    #[test]
    fn any_configuration_and_any_scores_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..24), table in proptest::collection::vec(any::<u8>(), 0..60),
        rows in any::<u32>(), scores in proptest::collection::vec(any::<i64>(), 0..60), limit in any::<u32>(),
    ) {
        let mut encoded = vec![0; 80];
        let parts = postcard::to_slice(&(rows, table.as_slice()), &mut encoded).unwrap();
        let calibration: Calibration<'_> = postcard::from_bytes(parts).unwrap();
        let drift = Drift::new(&calibration, DriftConfig { block: 40, limit });
        let config = postcard::from_bytes::<DetectorConfig>(&bytes);
        let detector = config.map_err(|_| ()).and_then(|config| Detector::new(calibration, config).map_err(|_| ()));
        for score in scores {
            let score = Nats::from_bits(score);
            if let Ok(mut drift) = drift { drift.observe(calibration.p_value(score)); }
            if let Ok(mut detector) = detector { detector.observe(score); }
        }
    }
}
