//! WAV files: plain samples of 8, 16, 24 and 32 bits, and floats of 32 and 64 bits.
//!
//! Whatever the width, a sample is in counts of 16 bits: full scale is 32768. So a sensor has one scale in files of every
//! width. A quieter recording of more than 16 bits keeps what the fractional bits of a stored sample hold.

use std::path::Path;

use super::super::error::DataError;
use super::super::options::DataOptions;
use super::super::{name_of, values::Values};
use super::error::RecordingError;
use super::recording::Recording;
use super::source::{Chosen, Source, choose, without_marks};

/// Full scale in counts.
const FULL: f32 = 32768.0;
/// Length of the data in files whose writer could not know it.
const UNKNOWN_LENGTH: u32 = u32::MAX;

/// Whether a file begins as a WAV file does.
pub(super) fn is_wav(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE")
}

/// Samples of a file.
#[derive(Debug, PartialEq)]
struct Sound {
    /// Samples a second.
    rate: u32,
    channels: usize,
    /// Counts of 16 bits, `[samples, channels]`.
    counts: Vec<f32>,
    /// Whether the header does not say how long the data are.
    open: bool,
}

/// How samples are written.
#[derive(Debug, Clone, Copy)]
struct Format {
    float: bool,
    rate: u32,
    channels: usize,
    /// Bytes of a sample.
    width: usize,
}

/// Reads a WAV file as one recording.
///
/// # Errors
/// `Wav`, `MissingSample`; those of [`choose`].
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    crc: crc32fast::Hasher,
    options: &DataOptions,
) -> Result<Source, DataError> {
    let sound = parse(bytes).map_err(|reason| RecordingError::Wav { path: path.to_owned(), reason })?;
    let Chosen { places, names, record, mut notes, .. } = choose(path, sound.channels, &without_marks(options))?;
    if let Some(at) = sound.counts.iter().position(|value| !value.is_finite()) {
        return Err(RecordingError::MissingSample {
            path: path.to_owned(),
            row: (at / sound.channels) as u64 + 1,
            column: format!("c{}", at % sound.channels),
            found: sound.counts[at].to_string(),
        }
        .into());
    }
    let n = sound.counts.len() / sound.channels;
    if n == 0 {
        let hint = "the WAV file has a header and no data; record it again";
        return Err(DataError::Empty { path: path.to_owned(), what: "samples", hint });
    }
    if sound.open {
        notes.push(format!(
            "{}: the header does not say how long the data are; all of the file is read",
            path.display()
        ));
    }
    let width = sound.channels;
    let mut values = Values::Single(sound.counts);
    if places.len() < width {
        values = values.gather((0..n).flat_map(|row| places.iter().map(move |at| row * width + at)));
    }
    let mut source = Source::new(path, names, record, crc);
    source.notes = notes;
    let rate = Some(f64::from(sound.rate));
    source.recordings.push(Recording { rate, ..Recording::new(name_of(path), values, n) });
    Ok(source)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn double_word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

/// Walks through the chunks to the format and the data.
fn parse(bytes: &[u8]) -> Result<Sound, String> {
    let short = || "the file ends inside its header; fetch or record it again".to_owned();
    let mut at = 12;
    let mut format: Option<Format> = None;
    loop {
        let name = bytes.get(at..at + 4).ok_or_else(short)?;
        let length = double_word(bytes, at + 4).ok_or_else(short)?;
        let rest = bytes.get(at + 8..).ok_or_else(short)?;
        if name == b"data" {
            let format = format.ok_or("the data stand before the format; save the file again")?;
            let open = length == UNKNOWN_LENGTH;
            let block = format.channels * format.width;
            let data = if open { &rest[..rest.len() / block * block] } else { rest };
            let declared = if open { data.len() } else { length as usize };
            let data = data.get(..declared).ok_or_else(|| {
                format!(
                    "the header declares {declared} bytes of data, but {} follow; fetch or record it again",
                    rest.len()
                )
            })?;
            if declared % block != 0 {
                return Err(format!(
                    "{declared} bytes of data are no whole number of samples of {block} bytes; save the file again"
                ));
            }
            return Ok(Sound { rate: format.rate, channels: format.channels, counts: counts(data, format), open });
        }
        let length = length as usize;
        let chunk = rest.get(..length).ok_or_else(short)?;
        if name == b"fmt " {
            format = Some(format_of(chunk)?);
        }
        // A chunk of odd length has a byte behind it.
        at += 8 + length + length % 2;
    }
}

/// Reads the chunk of the format.
fn format_of(chunk: &[u8]) -> Result<Format, String> {
    let short = || "the chunk of the format is too short; save the file again".to_owned();
    let mut code = word(chunk, 0).ok_or_else(short)?;
    let channels = usize::from(word(chunk, 2).ok_or_else(short)?);
    let rate = double_word(chunk, 4).ok_or_else(short)?;
    let block = usize::from(word(chunk, 12).ok_or_else(short)?);
    let bits = word(chunk, 14).ok_or_else(short)?;
    if code == 0xfffe {
        // The extensible format: the code stands at the start of an identifier.
        code = word(chunk, 24).ok_or_else(short)?;
    }
    let width = usize::from(bits / 8);
    let float = match (code, bits) {
        (1, 8 | 16 | 24 | 32) => false,
        (3, 32 | 64) => true,
        (1 | 3, _) => return Err(format!("samples of {bits} bits; save it with 16 bits")),
        _ => return Err(format!("samples are packed in format {code:#06x}; convert it to PCM of 16 bits")),
    };
    if channels == 0 || rate == 0 || block != channels * width {
        return Err(format!(
            "{channels} channels of {bits} bits at {rate} Hz in blocks of {block} bytes contradict each other; save the \
             file again"
        ));
    }
    Ok(Format { float, rate, channels, width })
}

/// The data in counts of 16 bits.
fn counts(data: &[u8], format: Format) -> Vec<f32> {
    match (format.float, format.width) {
        (false, 1) => data.iter().map(|b| (f32::from(*b) - 128.0) * 256.0).collect(),
        (false, 2) => data.as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b))).collect(),
        (false, 3) => {
            let value = |b: &[u8; 3]| i32::from_le_bytes([0, b[0], b[1], b[2]]) >> 8;
            data.as_chunks::<3>().0.iter().map(|b| value(b) as f32 / 256.0).collect()
        }
        (false, _) => data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) as f32 / 65536.0).collect(),
        (true, 4) => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b) * FULL).collect(),
        (true, _) => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32 * FULL).collect(),
    }
}

/// A WAV file, for tests.
#[cfg(test)]
pub(super) fn file(code: u16, bits: u16, channels: u16, rate: u32, data: &[u8]) -> Vec<u8> {
    let block = channels * (bits / 8);
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    out.extend([code, channels].map(u16::to_le_bytes).concat());
    out.extend([rate, rate * u32::from(block)].map(u32::to_le_bytes).concat());
    out.extend([block, bits].map(u16::to_le_bytes).concat());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_has_one_full_scale() {
        let counts = |code, bits, data: &[u8]| parse(&file(code, bits, 1, 8000, data)).unwrap().counts;
        assert_eq!(counts(1, 8, &[0, 128, 192]), [-32768.0, 0.0, 16384.0]);
        assert_eq!(counts(1, 16, &[0, 0x80, 0xff, 0x7f]), [-32768.0, 32767.0]);
        assert_eq!(counts(1, 24, &[0, 0, 0x80, 0x80, 0, 0, 0xff, 0xff, 0xff]), [-32768.0, 0.5, -1.0 / 256.0]);
        assert_eq!(counts(1, 32, &[0, 0, 0, 0x80, 0, 0x80, 0, 0]), [-32768.0, 0.5]);
        assert_eq!(counts(3, 32, &0.25_f32.to_le_bytes()), [8192.0]);
        assert_eq!(counts(3, 64, &(-1.0_f64).to_le_bytes()), [-32768.0]);
    }

    #[test]
    fn chunks_that_are_not_needed_are_passed_over() {
        let plain = file(1, 16, 2, 44_100, &[1, 0, 2, 0, 3, 0, 4, 0]);
        let mut with_list = plain[..36].to_vec();
        with_list.extend(b"LIST\x03\0\0\0abc\0");
        with_list.extend(&plain[36..]);
        with_list.extend(b"id3 garbage");
        assert_eq!(parse(&with_list), parse(&plain));
        let sound = parse(&plain).unwrap();
        assert_eq!((sound.rate, sound.channels, sound.counts), (44_100, 2, vec![1.0, 2.0, 3.0, 4.0]));
        let mut extensible = plain[..16].to_vec();
        extensible.extend(40_u32.to_le_bytes());
        extensible.extend(0xfffe_u16.to_le_bytes());
        extensible.extend(&plain[22..36]);
        extensible.extend([22, 0, 16, 0, 3, 0, 0, 0, 1, 0]);
        extensible.extend([0; 14]);
        extensible.extend(&plain[36..]);
        assert_eq!(parse(&extensible), parse(&plain));
        let mut open = plain.clone();
        open[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        open.push(7);
        let sound = parse(&open).unwrap();
        assert!(sound.open && sound.counts.len() == 4);
    }

    #[test]
    fn damaged_files_are_refused_with_a_reason() {
        let plain = file(1, 16, 1, 8000, &[1, 0, 2, 0]);
        for cut in 12..plain.len() {
            let reason = parse(&plain[..cut]).unwrap_err();
            assert!(reason.contains("ends inside") || reason.contains("4 bytes of data"), "{cut}: {reason}");
        }
        for (bytes, part) in [
            (file(2, 16, 1, 8000, &[]), "0x0002"),
            (file(1, 12, 1, 8000, &[]), "12 bits"),
            (file(3, 16, 1, 8000, &[]), "16 bits"),
            (file(1, 16, 0, 8000, &[]), "0 channels"),
            (file(1, 16, 1, 0, &[]), "0 Hz"),
            (file(1, 16, 2, 8000, &[1, 0, 2]), "3 bytes"),
            ([&plain[..12], &plain[36..]].concat(), "before the format"),
        ] {
            let reason = parse(&bytes).unwrap_err();
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_refused(
            changes in proptest::collection::vec((12_usize..60, proptest::num::u8::ANY), 0..8),
            cut in 12_usize..60,
        ) {
            let mut bytes = file(1, 16, 2, 8000, &[7; 16]);
            changes.iter().for_each(|(at, value)| bytes[*at] = *value);
            bytes.truncate(cut);
            if let Ok(sound) = parse(&bytes) {
                proptest::prop_assert_eq!(sound.counts.len() % sound.channels, 0);
            }
        }
    }
}
