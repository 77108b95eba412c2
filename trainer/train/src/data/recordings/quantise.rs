//! Samples in 16 bits.

use std::path::Path;

use super::super::error::DataError;
use super::super::split::Part;
use super::cut::Cut;
use super::error::RecordingError;
use super::source::Source;

/// The largest magnitude of a stored sample.
const LARGEST: f64 = 32767.0;
/// Fractional bits at most.
const MOST_BITS: u8 = 15;
/// Anomalies may be so many times as large as what is normal.
const HEADROOM: f64 = 2.0;
/// Steps of the resolution that a channel should span, from its smallest to its largest sample.
const FEW_STEPS: f64 = 64.0;

/// The samples of a window in one channel, in the order of time.
fn channel_of<'a>(source: &'a Source, cut: &'a Cut, window: usize, channel: usize) -> impl Iterator<Item = f64> + 'a {
    let width = source.channels.len();
    let values = &source.recordings[cut.recording].values;
    (cut.start..cut.start + window).map(move |row| values.at(row * width + channel))
}

/// Fractional bits: none for whole numbers that 16 bits hold; else as many as leave room for samples twice as large as
/// those to fit on.
///
/// # Errors
/// `Range` for samples to fit on that 16 bits do not hold, or that all become 0.
pub(super) fn frac(
    path: &Path,
    source: &Source,
    cuts: &[Cut],
    parts: &[Part],
    window: usize,
    notes: &mut Vec<String>,
) -> Result<u8, DataError> {
    let train = || cuts.iter().zip(parts).filter(|(_, part)| **part == Part::Train).map(|(cut, _)| cut);
    // Without train windows all are for a model that is trained already, or for a look.
    let chosen: Vec<&Cut> = if train().next().is_some() { train().collect() } else { cuts.iter().collect() };
    let mut largest = 0.0_f64;
    for channel in 0..source.channels.len() {
        let values = || chosen.iter().flat_map(|cut| channel_of(source, cut, window, channel));
        let (low, high) = values().fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let of_channel = high.max(-low);
        // -32768 is the only number of 16 bits whose magnitude is larger.
        if high.round() > LARGEST || low.round() < -LARGEST - 1.0 || of_channel > 0.0 && of_channel < 0.5_f64.powi(16) {
            let (path, channel) = (path.to_owned(), source.channels[channel].clone());
            return Err(RecordingError::Range { path, channel, largest: of_channel }.into());
        }
        largest = largest.max(of_channel);
    }
    let all =
        || cuts.iter().flat_map(|cut| (0..source.channels.len()).flat_map(|c| channel_of(source, cut, window, c)));
    if all().all(|value| value.fract() == 0.0 && value.abs() <= LARGEST + 1.0) {
        notes.push(format!("{}: samples are whole numbers and are stored as they are", path.display()));
        return Ok(0);
    }
    let fits = |frac: &u8| HEADROOM * largest * f64::from(1_u32 << frac) <= LARGEST;
    let frac = (0..=MOST_BITS).rev().find(fits);
    let step = 1.0 / f64::from(1_u32 << frac.unwrap_or(0));
    notes.push(match frac {
        Some(_) => format!("{}: samples are stored in steps of {step}, up to {}", path.display(), LARGEST * step),
        None => format!(
            "{}: samples are stored in steps of 1, up to {LARGEST}; the largest, {largest}, leaves no room for anomalies \
             twice as large",
            path.display()
        ),
    });
    for channel in 0..source.channels.len() {
        let values = || chosen.iter().flat_map(|cut| channel_of(source, cut, window, channel));
        let (low, high) =
            values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if high > low && (high - low) / step < FEW_STEPS {
            notes.push(format!(
                "{}: channel `{}` lies between {low} and {high}, few steps of {step}; multiply it by a power of two in the \
                 file and in the firmware",
                path.display(),
                source.channels[channel]
            ));
        }
    }
    Ok(frac.unwrap_or(0))
}

/// The samples of the windows in 16 bits, `[windows, channels, window]`; a note says how many were limited.
pub(super) fn store(
    path: &Path,
    source: &Source,
    cuts: &[Cut],
    window: usize,
    frac: u8,
    notes: &mut Vec<String>,
) -> Vec<i16> {
    let width = source.channels.len();
    let mut samples = Vec::with_capacity(cuts.len() * width * window);
    let scale = f64::from(1_u32 << frac.min(MOST_BITS));
    let mut limited = 0;
    for cut in cuts {
        for channel in 0..width {
            samples.extend(channel_of(source, cut, window, channel).map(|value| {
                let scaled = (value * scale).round();
                limited += usize::from(!(-LARGEST - 1.0..=LARGEST).contains(&scaled));
                scaled as i16
            }));
        }
    }
    if limited > 0 {
        let (path, count, most) = (path.display(), samples.len(), LARGEST / scale);
        notes.push(format!("{path}: {limited} of {count} samples lie beyond {most} and are limited to it"));
    }
    samples
}
