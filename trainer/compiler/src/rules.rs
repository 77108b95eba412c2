//! Rules of a detector as people choose them: by a name and a false-alarm rate.

use crate::rate::percent;
use crate::run_length::{RunLengthError, count, count_rule, cusum, cusum_rule, ewma_from, ewma_rule};
use elbo::detector::{Detector, DetectorConfig, Rule};
use elbo::{Calibration, Nats, Rate};
use std::fmt::Write;

/// The reference of a cumulative sum, if none is given: between normal windows and those of which `-ln p` is twice as large.
const REFERENCE: f64 = 1.5;
/// The weight of the newest window in an average is `2^-SHIFT`, if none is given.
const SHIFT: u8 = 3;
/// The rules that are shown.
const SHOWN: [&str; 4] = ["threshold", "2-of-3", "average", "sum"];

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The text is not a rule.
    #[error(
        "`{0}`: expected threshold, 2-of-3 (or other numbers of windows), average, average:SHIFT, sum or sum:REFERENCE"
    )]
    Text(String),
    /// The rule has no limit of this rate.
    #[error(transparent)]
    Limit(#[from] RunLengthError),
}

/// The rule of this name with this false-alarm rate, one over its average run length: `threshold`, `2-of-3` (two of the
/// last three windows), `average` or `average:SHIFT` (see [`Rule::Ewma`]), `sum` or `sum:REFERENCE` (see [`Rule::Cusum`]).
///
/// # Errors
/// [`RuleError`].
pub fn parse(text: &str, rate: Rate) -> Result<Rule, RuleError> {
    let wrong = || RuleError::Text(text.to_owned());
    let (name, parameter) = text.split_once(':').map_or((text, None), |(name, parameter)| (name, Some(parameter)));
    let rule = match (name, parameter, name.split_once("-of-")) {
        ("threshold", None, _) => Rule::Threshold { alarm: rate, clear: rate },
        ("average", None, _) => ewma_rule(SHIFT, rate)?,
        ("average", Some(shift), _) => ewma_rule(shift.parse().map_err(|_| wrong())?, rate)?,
        ("sum", None, _) => cusum_rule(REFERENCE, rate)?,
        ("sum", Some(reference), _) => cusum_rule(reference.parse().map_err(|_| wrong())?, rate)?,
        (_, None, Some((alarm, window))) => {
            count_rule(alarm.parse().map_err(|_| wrong())?, window.parse().map_err(|_| wrong())?, rate)?
        }
        _ => return Err(wrong()),
    };
    Ok(rule)
}

/// The mean number of windows from the start to an alarm if `-ln p` is `factor` times as large as under normal running. With
/// a factor of 1 it is the average run length.
///
/// # Panics
/// If a count has more than 14 windows.
#[must_use]
pub fn run_length(rule: &Rule, factor: f64) -> f64 {
    let share = |rate: Rate| (f64::from(rate.numerator()) / f64::from(rate.denominator())).powf(1.0 / factor);
    match *rule {
        Rule::Threshold { alarm, .. } => 1.0 / share(alarm),
        Rule::Count { rate, window, alarm, .. } => count(alarm, window, share(rate)),
        Rule::Ewma { shift, alarm, .. } => ewma_from(1.0 / factor, shift, alarm.to_f64() / factor),
        Rule::Cusum { reference, alarm, .. } => cusum(reference.to_f64() / factor, alarm.to_f64() / factor),
    }
}

/// A rule as it is written in a firmware.
#[must_use]
pub fn source(rule: &Rule) -> String {
    let rate = |rate: Rate| format!("Rate::new({}, {}).unwrap()", rate.numerator(), rate.denominator());
    let nats = |nats: Nats| format!("Nats::from_bits({})", nats.to_bits());
    match *rule {
        Rule::Threshold { alarm, clear } => {
            format!("Rule::Threshold {{ alarm: {}, clear: {} }}", rate(alarm), rate(clear))
        }
        Rule::Count { rate: single, window, alarm, clear } => {
            format!("Rule::Count {{ rate: {}, window: {window}, alarm: {alarm}, clear: {clear} }}", rate(single))
        }
        Rule::Ewma { shift, alarm, clear } => {
            format!("Rule::Ewma {{ shift: {shift}, alarm: {}, clear: {} }}", nats(alarm), nats(clear))
        }
        Rule::Cusum { reference, alarm, clear } => {
            format!("Rule::Cusum {{ reference: {}, alarm: {}, clear: {} }}", nats(reference), nats(alarm), nats(clear))
        }
    }
}

/// The usual rules for a false-alarm rate, two lines each: how soon each finds a shift, and how a firmware writes it; or
/// why the calibration does not support it.
#[must_use]
pub fn report(calibration: Calibration<'_>, rate: Rate) -> String {
    let mut text = format!(
        "rules of elbo::detector with a false alarm in {} windows ({}):\n",
        rate.denominator().div_ceil(rate.numerator()),
        percent(rate)
    );
    for name in SHOWN {
        let rule = match parse(name, rate) {
            Ok(rule) => rule,
            Err(error) => {
                let _ = writeln!(text, "{name}: {error}");
                continue;
            }
        };
        let _ = match Detector::new(calibration, DetectorConfig { rule, latching: false }) {
            Err(error) => writeln!(text, "{name}: {error}"),
            Ok(_) => writeln!(
                text,
                "{name}: finds a doubled -ln p after {:.0} windows on average\n  {}",
                run_length(&rule, 2.0),
                source(&rule)
            ),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(windows: u32) -> Rate {
        Rate::new(1, windows).unwrap()
    }

    #[test]
    fn every_rule_has_the_run_length_that_it_is_named_for() {
        for text in ["threshold", "2-of-3", "5-of-8", "average", "average:5", "sum", "sum:1.2"] {
            let rule = parse(text, rate(1000)).unwrap();
            let (normal, doubled) = (run_length(&rule, 1.0), run_length(&rule, 2.0));
            // Limits are rounded up, to the last bit.
            assert!((999.9..1002.0).contains(&normal) && doubled < 40.0, "{text}: {normal} {doubled}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "sums", "sum:", "sum:x", "average:-1", "x-of-3", "2-of-", "threshold:1"] {
            assert_eq!(parse(text, rate(100)), Err(RuleError::Text(text.to_owned())), "{text}");
        }
        assert!(matches!(parse("4-of-3", rate(100)), Err(RuleError::Limit(_))));
    }

    #[test]
    fn a_report_says_what_a_calibration_supports() {
        let mut scores: Vec<Nats> = (1..=200).map(Nats::from_bits).collect();
        let mut buffer = vec![0; Calibration::room(200)];
        let calibration = Calibration::of_scores(&mut scores, &mut buffer).unwrap();
        let text = report(calibration, rate(2016));
        assert!(text.contains("a false alarm in 2016 windows (0.0496 %)"), "{text}");
        assert!(text.contains("threshold: this false-alarm rate needs 2015 calibration rows"), "{text}");
        assert!(
            text.contains("sum: finds a doubled") && text.contains("Rule::Cusum { reference: Nats::from_bits(98304)"),
            "{text}"
        );
        assert!(text.contains("2-of-3: finds") && text.contains("window: 3, alarm: 2, clear: 1 }"), "{text}");
    }
}
