//! Signs of a faulty sensor: channels that are silent, stuck, or at the end of their range.

use std::path::Path;

use super::super::error::DataError;
use super::error::RecordingError;

/// A share of samples at an end of the range from which on it is mentioned.
const AT_END: f64 = 0.01;
/// A share from which on nothing is measured.
const MOSTLY: f64 = 0.5;
/// A signal that is cut off is at its end this many times as often as at the next value.
const CUT_OFF: usize = 4;
/// Different values from which on a channel is no switch.
const LEVELS: usize = 8;
/// A share of windows without a change from which on it is mentioned.
const STILL: f64 = 0.01;

/// What is wrong with a channel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// All samples are 0.
    Silent,
    /// All samples are equal.
    Stuck(i16),
    /// A share of the samples is at an end.
    Saturated { value: i16, share: f64 },
}

/// Says what looks faulty in the stored samples, `[windows, channels, window]`.
///
/// # Errors
/// `Faulty` if no channel measures anything, unless `only_notes`.
pub(super) fn note(
    path: &Path,
    channels: &[String],
    samples: &[i16],
    window: usize,
    only_notes: bool,
    notes: &mut Vec<String>,
) -> Result<(), DataError> {
    let width = channels.len();
    let mut useless = Vec::new();
    for (channel, name) in channels.iter().enumerate() {
        let pieces = || samples.chunks_exact(window).skip(channel).step_by(width);
        let about = match fault(pieces()) {
            Some(Fault::Silent) => Some((true, "is silent: all samples are 0".to_owned())),
            Some(Fault::Stuck(value)) => Some((true, format!("is stuck: all stored samples are {value}"))),
            Some(Fault::Saturated { value, share }) => Some((
                share > MOSTLY,
                format!(
                    "is saturated: {:.0} % of the stored samples are {value}, at the end of its range",
                    100.0 * share
                ),
            )),
            None => {
                let still = pieces().filter(|piece| piece.iter().all(|value| *value == piece[0])).count();
                let all = samples.len() / (width * window);
                (still as f64 > STILL * all as f64)
                    .then(|| (false, format!("does not change at all in {still} of {all} windows")))
            }
        };
        if let Some((dead, about)) = about {
            notes.push(format!("{}: channel `{name}` {about}; check the sensor", path.display()));
            useless.extend(dead.then_some(about));
        }
    }
    if useless.len() == width && !only_notes {
        return Err(RecordingError::Faulty { path: path.to_owned(), what: useless.swap_remove(0) }.into());
    }
    Ok(())
}

/// The fault of one channel, given as its pieces.
fn fault<'a>(pieces: impl Iterator<Item = &'a [i16]>) -> Option<Fault> {
    let mut counts = vec![0_usize; 1 << 16];
    let mut n = 0;
    for value in pieces.flatten() {
        counts[(i32::from(*value) + 32768) as usize] += 1;
        n += 1;
    }
    let value = |at: usize| (at as i32 - 32768) as i16;
    let mut used = (0..counts.len()).filter(|at| counts[*at] > 0);
    let (low, next) = (used.next()?, used.next());
    let Some(next) = next else {
        return Some(if value(low) == 0 { Fault::Silent } else { Fault::Stuck(value(low)) });
    };
    if used.count() + 2 < LEVELS {
        return None;
    }
    let mut used = (0..counts.len()).rev().filter(|at| counts[*at] > 0);
    let (high, before) = (used.next()?, used.next()?);
    let ends = [(low, next), (high, before)].into_iter().filter(|(end, beside)| {
        // Zero is where a signal rests, and no end.
        value(*end) != 0 && counts[*end] as f64 > AT_END * n as f64 && counts[*end] >= CUT_OFF * counts[*beside]
    });
    let (end, _) = ends.max_by_key(|(end, _)| counts[*end])?;
    Some(Fault::Saturated { value: value(end), share: counts[end] as f64 / n as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Fn(usize) -> f64) -> Option<Fault> {
        let samples: Vec<i16> = (0..4000).map(|at| values(at).round().clamp(-32768.0, 32767.0) as i16).collect();
        fault(std::iter::once(samples.as_slice()))
    }

    #[test]
    fn dead_and_saturated_channels_are_told_from_sound_ones() {
        let sine = |size: f64| move |at: usize| size * (at as f64 * 0.37).sin();
        assert_eq!(of(|_| 0.0), Some(Fault::Silent));
        assert_eq!(of(|_| -7.0), Some(Fault::Stuck(-7)));
        for size in [1.0, 5.0, 100.0, 3000.0, 30_000.0] {
            assert_eq!(of(sine(size)), None, "{size}");
        }
        let found = of(sine(60_000.0));
        assert!(matches!(found, Some(Fault::Saturated { share, .. }) if share > 0.2 && share < 0.5), "{found:?}");
        assert_eq!(of(|at| f64::from(at % 10 == 0)), None, "pulses rest at zero");
        assert_eq!(of(|at| f64::from(at % 10 != 0)), None, "a switch");
    }

    #[test]
    fn what_is_faulty_is_said_and_refused_if_nothing_else_is_there() {
        let names = ["a".to_owned(), "b".to_owned()];
        let path = Path::new("t.csv");
        let samples = [0, 0, 1, 2, 0, 0, 3, 1, 0, 0, 2, 2];
        let mut notes = Vec::new();
        note(path, &names, &samples, 2, false, &mut notes).unwrap();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("`a` is silent") && notes[1].contains("`b` does not change at all in 1 of 3"));
        let error = note(path, &names, &[0, 0, 5, 5], 2, false, &mut notes).unwrap_err().to_string();
        assert!(error.contains("every channel is silent"), "{error}");
        note(path, &names, &[0, 0, 5, 5], 2, true, &mut notes).unwrap();
    }
}
