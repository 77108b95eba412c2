//! From windows back to the samples that they were cut from, in frames.

use elbo::Windows;
use elbo_link::{CHUNK, Request};

/// The samples of a recording: channel by channel for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    channels: usize,
    /// Little-endian values.
    bytes: Vec<u8>,
}

impl Stream {
    /// The recordings that these windows were cut from. Windows that follow one another share samples if a hop is shorter
    /// than a window; where they do not share them, another recording begins. Samples between windows are not known, and
    /// are 0: no monitor reads them.
    pub fn of(rows: &[Vec<i16>], windows: &Windows<'_>) -> Vec<Self> {
        let (channels, window, hop) =
            (usize::from(windows.channels), usize::from(windows.window), windows.hop as usize);
        let shared = window.saturating_sub(hop);
        let mut streams: Vec<Self> = Vec::new();
        let mut before: Option<&Vec<i16>> = None;
        for row in rows {
            let value = |row: &[i16], channel: usize, at: usize| row[channel * window + at];
            let overlaps = |before: &Vec<i16>| {
                (0..channels)
                    .all(|channel| (0..shared).all(|at| value(before, channel, at + hop) == value(row, channel, at)))
            };
            let continues = before.is_some_and(overlaps);
            if !continues {
                streams.push(Self { channels, bytes: Vec::new() });
            }
            let Some(stream) = streams.last_mut() else { continue };
            if continues {
                stream.bytes.resize(stream.bytes.len() + 2 * channels * hop.saturating_sub(window), 0);
            }
            for at in if continues { shared } else { 0 }..window {
                (0..channels).for_each(|channel| stream.bytes.extend(value(row, channel, at).to_le_bytes()));
            }
            before = Some(row);
        }
        streams
    }

    /// A stream of samples, one value for each channel.
    pub fn of_samples<const CHANNELS: usize>(samples: &[[i16; CHANNELS]]) -> Self {
        Self { channels: CHANNELS, bytes: samples.iter().flatten().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// The requests that send it.
    pub fn requests(&self) -> Vec<Request<'_>> {
        let sample = 2 * self.channels.max(1);
        let whole = (CHUNK / sample).max(1);
        let request = |(number, bytes)| Request::Samples { at: (number * whole) as u32, bytes };
        self.bytes.chunks(whole * sample).enumerate().map(request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(window: u16, hop: u32) -> Windows<'static> {
        let (names, units, time, group, normal) = ("", "", "", "", "");
        Windows { channels: 2, window, hop, rate: 0.0, frac: 0, names, units, time, group, normal }
    }

    /// The window of a recording whose sample `at` is `at` in one channel and `-at` in the other.
    fn cut(from: i16, window: i16) -> Vec<i16> {
        (from..from + window).chain((from..from + window).map(|at| -at)).collect()
    }

    fn first_channel(stream: &Stream) -> Vec<i16> {
        stream.bytes.chunks_exact(4).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
    }

    #[test]
    fn windows_that_overlap_are_joined() {
        let rows = [cut(10, 4), cut(12, 4), cut(14, 4), cut(50, 4)];
        let streams = Stream::of(&rows, &windows(4, 2));
        assert_eq!(
            streams.iter().map(first_channel).collect::<Vec<_>>(),
            [(10..18).collect(), (50..54).collect::<Vec<_>>()]
        );
        assert_eq!(&streams[0].bytes[..4], [10, 0, 246, 255]);
    }

    #[test]
    fn what_lies_between_windows_is_filled() {
        let streams = Stream::of(&[cut(1, 2), cut(6, 2)], &windows(2, 5));
        assert_eq!(streams.iter().map(first_channel).collect::<Vec<_>>(), [[1, 2, 0, 0, 0, 6, 7]]);
    }

    #[test]
    fn frames_hold_whole_samples() {
        let stream = Stream::of_samples(&[[1, 2, 3]; 25]);
        let lengths: Vec<(u32, usize)> = stream
            .requests()
            .iter()
            .map(|request| if let Request::Samples { at, bytes } = request { (*at, bytes.len()) } else { (0, 0) })
            .collect();
        assert_eq!(lengths, [(0, 60), (10, 60), (20, 30)]);
    }
}
