use super::*;
use crate::rng::Xoshiro128PlusPlus;
use proptest::collection::vec;
use proptest::prelude::*;
use std::vec::Vec;
use std::{format, vec};

/// The calibration of these scores in Q16, with its bytes.
fn table(scores: &[i64]) -> (u32, Vec<u8>) {
    let mut scores: Vec<Nats> = scores.iter().copied().map(Nats::from_bits).collect();
    let mut buffer = vec![0; Calibration::room(scores.len())];
    let made = Calibration::of_scores(&mut scores, &mut buffer).unwrap();
    (made.rows, made.knots.to_vec())
}

fn of(table: &(u32, Vec<u8>)) -> Calibration<'_> {
    Calibration { rows: table.0, knots: &table.1 }
}

/// `1 + number of calibration scores >= score`.
fn exact(scores: &[i64], score: i64) -> u32 {
    1 + scores.iter().filter(|other| **other >= score).count() as u32
}

fn rate(numerator: u32, denominator: u32) -> Rate {
    Rate::new(numerator, denominator).unwrap()
}

/// Every p-value lies between the exact one and 17/16 of it, and is exact in the tail.
fn assert_follows(scores: &[i64], made: Calibration<'_>, score: i64) {
    let (p, exact) = (made.p_value(Nats::from_bits(score)), exact(scores, score));
    assert_eq!(p.denominator(), scores.len() as u32 + 1);
    assert!(p.numerator() >= exact && p.numerator() <= p.denominator(), "{p} for {exact}");
    assert!(16 * p.numerator() <= 17 * exact, "{p} for {exact}");
    assert!(exact > 32 || p.numerator() == exact, "{p} for {exact}");
}

proptest! {
    #[test]
    fn p_values_are_conservative_and_close(
        scores in vec(prop_oneof![-40i64..40, -1i64 << 40..1 << 40, any::<i64>()], 0..300),
        others in vec(prop_oneof![-41i64..41, any::<i64>()], 20),
    ) {
        let bytes = table(&scores);
        let made = of(&bytes);
        for score in scores.iter().flat_map(|s| [s.saturating_sub(1), *s, s.saturating_add(1)]).chain(others) {
            assert_follows(&scores, made, score);
        }
    }

    /// A score alarms exactly if its p-value is at most the rate, and a higher score never has a higher p-value.
    #[test]
    fn thresholds_agree_with_p_values_and_p_values_fall(
        scores in vec(-400i64..400, 0..200), numerator in 1u32..40, more in 0u32..4000,
    ) {
        let (bytes, rate) = (table(&scores), rate(numerator, numerator + more));
        let made = of(&bytes);
        let threshold = made.threshold(rate);
        prop_assert_eq!(threshold.is_err(), scores.len() < rate.rows_needed() as usize || scores.is_empty());
        if let Err(error) = threshold {
            prop_assert_eq!(error, TooFewRows { rows: made.rows(), needed: rate.rows_needed() });
        }
        let mut last = PValue::ONE;
        for score in -402..402 {
            let (nats, p) = (Nats::from_bits(score), made.p_value(Nats::from_bits(score)));
            prop_assert!(p <= last);
            prop_assert_eq!(p.is_at_most(rate), threshold.is_ok_and(|threshold| nats >= threshold) || more == 0);
            last = p;
        }
    }

    /// Damaged tables never panic, and cutting one off only makes p-values larger.
    #[test]
    fn any_bytes_are_a_table(
        rows in prop_oneof![0u32..2000, any::<u32>()], bytes in vec(any::<u8>(), 0..80), score in any::<i64>(), cut in 0usize..80,
    ) {
        let whole = Calibration { rows, knots: &bytes };
        let part = Calibration { rows, knots: &bytes[..cut.min(bytes.len())] };
        let nats = Nats::from_bits(score);
        let (p, larger) = (whole.p_value(nats), part.p_value(nats));
        prop_assert!(p.numerator() >= 1 && larger <= PValue::ONE && larger >= p);
        let _ = whole.threshold(rate(1, 1000));
        let mut last = i64::MAX;
        for knot in whole.knots() {
            prop_assert!(knot.score <= last || knot.rank == 1);
            last = knot.score;
        }
    }

    #[test]
    fn fractions_are_compared_exactly(a in 1u32..1 << 20, b in 1u32..1 << 20, c in 1u32..1 << 20, d in 1u32..1 << 20) {
        let value = |a: u32, b: u32| PValue::new(a.min(b), a.max(b));
        let (p, q) = (value(a, b), value(c, d));
        let [above, below] = [[p, q], [q, p]].map(|[p, q]| u64::from(p.numerator()) * u64::from(q.denominator()));
        prop_assert_eq!(p.cmp(&q), above.cmp(&below));
        prop_assert_eq!(p.is_at_most(rate(q.numerator(), q.denominator())), above <= below);
        let ln = p.to_f64().ln() * 65536.0;
        prop_assert!((p.ln().to_bits() as f64 - ln).abs() <= 1.1 && p.ln() <= Nats::default());
    }
}

/// Of `n + 1` exchangeable scores without ties each is equally likely to be the new one. Its p-values are then exactly
/// 1/(n + 1), 2/(n + 1) and so on to 1.
#[test]
fn p_values_of_exchangeable_scores_are_uniform() {
    let mut rng = Xoshiro128PlusPlus::new(3);
    for n in [0, 1, 5, 31] {
        let scores: Vec<i64> = (0..=n as i64).map(|at| i64::from(rng.next_word() >> 8) << 8 | at).collect();
        let mut ranks: Vec<u32> = (0..scores.len())
            .map(|new| {
                let others: Vec<i64> =
                    scores.iter().enumerate().filter(|(at, _)| *at != new).map(|(_, s)| *s).collect();
                of(&table(&others)).p_value(Nats::from_bits(scores[new])).numerator()
            })
            .collect();
        ranks.sort_unstable();
        assert_eq!(ranks, (1..=n + 1).collect::<Vec<u32>>());
    }
}

/// With more rows than knots, and with ties, the share of alarms never exceeds the rate.
#[test]
fn false_alarms_keep_the_rate_over_every_choice_of_the_new_row() {
    let mut rng = Xoshiro128PlusPlus::new(4);
    for (n, ties) in [(199, 1), (399, 8), (999, 1)] {
        let scores: Vec<i64> = (0..=n).map(|_| i64::from(rng.next_word()) / ties * ties % (1 << 20)).collect();
        for limit in [rate(1, 10), rate(1, 100), rate(7, 33)] {
            let alarms = (0..scores.len()).filter(|new| {
                let others: Vec<i64> = scores.iter().enumerate().filter(|(at, _)| at != new).map(|(_, s)| *s).collect();
                of(&table(&others)).p_value(Nats::from_bits(scores[*new])).is_at_most(limit)
            });
            let (alarms, allowed) = (alarms.count() as u64, (n as u64 + 1) * u64::from(limit.numerator()));
            assert!(alarms * u64::from(limit.denominator()) <= allowed, "{alarms} of {n} at {limit}");
            // Not much rarer, either.
            assert!(
                ties > 1 || alarms * u64::from(limit.denominator()) * 10 >= allowed * 9,
                "{alarms} of {n} at {limit}"
            );
        }
    }
}

#[test]
fn a_table_is_small_and_its_room_is_enough() {
    let mut rng = Xoshiro128PlusPlus::new(5);
    // Sums of squares, as the scores of many models.
    let mut draw = || -> i64 { (0..20).map(|_| i64::from(rng.next_word() >> 22).pow(2) >> 2).sum() };
    for (rows, most) in [(10, 40), (144, 180), (1000, 260), (6000, 340), (54_000, 420)] {
        let scores: Vec<i64> = (0..rows).map(|_| draw()).collect();
        let bytes = table(&scores);
        assert!(bytes.1.len() <= most, "{} bytes for {rows} rows", bytes.1.len());
        let mut sorted: Vec<Nats> = scores.iter().copied().map(Nats::from_bits).collect();
        let mut short = vec![0; bytes.1.len() - 1];
        assert_eq!(Calibration::of_scores(&mut sorted, &mut short), Err(BufferTooSmall));
    }
    let extremes = table(&[i64::MAX, i64::MIN, i64::MAX, i64::MIN, 0]);
    assert_eq!(
        of(&extremes).knots().map(|knot| knot.score).collect::<Vec<_>>(),
        [i64::MAX, i64::MAX, 0, i64::MIN, i64::MIN]
    );
}

/// The bytes of a blob: rows, length of the table, the largest score, and differences, in Q16.
#[test]
fn the_encoding_is_known() {
    let bytes = table(&[-(1 << 16), 3 << 16, 0]);
    assert_eq!(bytes, (3, vec![0x80, 0x80, 0x18, 0x80, 0x80, 0x0C, 0x80, 0x80, 0x04]));
    let mut buffer = [0; 64];
    let encoded = postcard::to_slice(&of(&bytes), &mut buffer).unwrap();
    assert_eq!(encoded[..2], [3, 9]);
    assert_eq!(postcard::from_bytes::<Calibration<'_>>(encoded), Ok(of(&bytes)));
}

#[test]
fn a_refusal_says_what_can_be_had() {
    let bytes = table(&[5; 144]);
    let made = of(&bytes);
    assert_eq!(made.threshold(Rate::ONE_IN_100), Ok(Nats::from_bits(6)));
    let refused = made.threshold(Rate::ONE_IN_1000).unwrap_err();
    assert_eq!(refused, TooFewRows { rows: 144, needed: 999 });
    let text = format!("{refused}");
    assert!(text.contains("needs 999") && text.contains("there are 144") && text.contains("at least 1/145"), "{text}");
    assert!(made.threshold(rate(1, 145)).is_ok() && made.smallest().is_at_most(rate(1, 145)));
    let none = format!("{}", Calibration::default().threshold(Rate::ONE_IN_10).unwrap_err());
    assert!(none.contains("needs 9") && none.contains("calibrate the model"), "{none}");
    assert_eq!([rate(1, 1), rate(2, 3), rate(1, 100), rate(2, 200)].map(Rate::rows_needed), [0, 1, 99, 99]);
    assert!(Rate::new(0, 5).is_none() && Rate::new(6, 5).is_none() && Rate::new(0, 0).is_none());
}
