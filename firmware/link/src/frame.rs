//! The encoding of a message: postcard bytes, COBS-encoded so that they contain no zero, followed by a zero.

use embedded_io::{Read, Write};
use serde::{Deserialize, Serialize};

use crate::message::CHUNK;

/// The longest frame in bytes, including the final zero. A full [`CHUNK`] and two names of 24 bytes fit.
pub const FRAME: usize = CHUNK + 64;

/// Errors of reading or writing a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError<E> {
    /// The stream failed.
    Stream(E),
    /// The stream ended.
    Closed,
    /// The bytes cannot be decoded, or the message is longer than a frame.
    Bad,
    /// The frame arrived whole, but it contains a message or a code that this side does not know.
    Unknown,
}

/// Sends one message.
///
/// # Errors
/// [`FrameError::Bad`] if the message does not fit a frame; [`FrameError::Stream`] if the stream fails.
pub fn write_frame<W: Write, T: Serialize>(stream: &mut W, message: &T) -> Result<(), FrameError<W::Error>> {
    let mut buffer = [0; FRAME];
    let room = buffer.get_mut(1..FRAME - 1).unwrap_or_default();
    let end = 1 + postcard::to_slice(message, room).map_err(|_| FrameError::Bad)?.len();
    encode(buffer.get_mut(..end).unwrap_or_default());
    stream.write_all(buffer.get(..=end).unwrap_or_default()).map_err(FrameError::Stream)?;
    stream.flush().map_err(FrameError::Stream)
}

/// Encodes the bytes behind the first in place: every zero, and the first byte, become the distance to the next zero or to
/// the end. A frame is shorter than the 254 bytes that need a further code. Written by hand because the crate `cobs`
/// can panic, as far as a compiler sees.
fn encode(bytes: &mut [u8]) {
    const { assert!(FRAME < 255) };
    let mut distance = 1;
    for byte in bytes.iter_mut().rev() {
        if *byte == 0 {
            *byte = distance;
            distance = 0;
        }
        distance = distance.wrapping_add(1);
    }
}

/// The inverse of [`encode`], in place: the bytes behind the first, or `None` if a distance leads beyond the end.
fn decode(frame: &mut [u8]) -> Option<&[u8]> {
    let (first, rest) = frame.split_first_mut()?;
    let mut distance = *first;
    for byte in rest.iter_mut() {
        distance = distance.wrapping_sub(1);
        if distance == 0 {
            distance = core::mem::take(byte);
        }
    }
    (distance == 1).then_some(rest)
}

/// Collects bytes into frames, and owns the buffer that a message borrows from.
#[derive(Debug)]
pub struct FrameReader {
    buffer: [u8; FRAME],
    /// Bytes of the current frame so far, also those that the buffer does not hold.
    length: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// An empty reader.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; FRAME], length: 0 }
    }

    /// Waits for the next frame and decodes it. Empty frames are skipped, so a sender may begin with a zero to end
    /// earlier garbage.
    ///
    /// # Errors
    /// [`FrameError::Bad`] or [`FrameError::Unknown`] if the frame cannot be decoded. The next call starts after its
    /// end.
    pub fn read<'a, R: Read, T: Deserialize<'a>>(&'a mut self, stream: &mut R) -> Result<T, FrameError<R::Error>> {
        self.length = 0;
        loop {
            let mut byte = [0];
            if stream.read(&mut byte).map_err(FrameError::Stream)? == 0 {
                return Err(FrameError::Closed);
            }
            if self.accept(byte[0]) {
                return self.decode();
            }
        }
    }

    /// Takes the next byte, for a caller that cannot wait for a whole frame. Returns true if it ends a frame, which
    /// [`decode`](Self::decode) then reads.
    pub fn accept(&mut self, byte: u8) -> bool {
        if byte == 0 {
            return self.length > 0;
        }
        if let Some(slot) = self.buffer.get_mut(self.length) {
            *slot = byte;
        }
        self.length = self.length.saturating_add(1);
        false
    }

    /// Decodes the frame that [`accept`](Self::accept) has completed. The next byte begins another one.
    ///
    /// # Errors
    /// [`FrameError::Bad`] or [`FrameError::Unknown`] if the frame cannot be decoded.
    pub fn decode<'a, T: Deserialize<'a>, E>(&'a mut self) -> Result<T, FrameError<E>> {
        let length = core::mem::take(&mut self.length);
        let frame = self.buffer.get_mut(..length).ok_or(FrameError::Bad)?;
        postcard::from_bytes(decode(frame).ok_or(FrameError::Bad)?).map_err(|error| match error {
            // The decoders of enums and of programs report an unknown variant or code with this error.
            postcard::Error::SerdeDeCustom => FrameError::Unknown,
            _ => FrameError::Bad,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, ProgramKind, Reply, Request};
    use proptest::prelude::*;

    fn sent<T: Serialize>(message: &T) -> Vec<u8> {
        let mut wire = [0; 4 * FRAME];
        let mut rest = &mut wire[..];
        write_frame(&mut rest, message).unwrap();
        let used = 4 * FRAME - rest.len();
        wire[..used].to_vec()
    }

    fn received(wire: &[u8]) -> Result<Request<'static>, FrameError<core::convert::Infallible>> {
        let reader = Box::leak(Box::new(FrameReader::new()));
        reader.read(&mut &wire[..])
    }

    #[test]
    fn golden_frame() {
        // Request::Sample is variant 3, the seed is 0 and the count 1. The COBS encoding is written by hand.
        assert_eq!(sent(&Request::Sample { seed: 0, count: 1 }), [2, 3, 2, 1, 0]);
    }

    #[test]
    fn the_longest_message_fits() {
        let request = Request::Input { offset: u16::MAX, bytes: &[0; CHUNK] };
        assert_eq!(received(&sent(&request)), Ok(request));
        let reply = Reply::Info(crate::Info {
            board: "a-board-of-twenty-four-c",
            model: "a-model-of-twenty-four-c",
            blob_len: u32::MAX,
            arena_len: u32::MAX,
            arena_capacity: u32::MAX,
            value_capacity: u16::MAX,
        });
        assert!(sent(&reply).len() <= FRAME);
        let text = "x".repeat(CHUNK);
        assert!(sent(&Reply::Failure(Failure::NoModel(&text))).len() <= FRAME);
    }

    #[test]
    fn a_message_longer_than_a_frame_is_refused_by_the_sender() {
        let mut wire = [0; 4 * FRAME];
        let request = Request::Input { offset: 0, bytes: &[7; FRAME] };
        assert_eq!(write_frame(&mut &mut wire[..], &request), Err(FrameError::Bad));
    }

    #[test]
    fn garbage_is_refused_and_the_next_frame_is_read() {
        let mut wire = vec![9; 3 * FRAME];
        wire.push(0);
        wire.extend([1, 1, 0]);
        wire.extend(sent(&Request::Shape(ProgramKind::Score)));
        let mut stream = &wire[..];
        let mut reader = FrameReader::new();
        assert_eq!(reader.read::<_, Request>(&mut stream), Err(FrameError::Bad));
        assert_eq!(reader.read::<_, Request>(&mut stream), Ok(Request::Info));
        assert_eq!(reader.read::<_, Request>(&mut stream), Ok(Request::Shape(ProgramKind::Score)));
        assert_eq!(reader.read::<_, Request>(&mut stream), Err(FrameError::Closed));
    }

    #[test]
    fn an_unknown_message_or_program_is_told_from_a_damaged_frame() {
        // Request::Shape is variant 1. The COBS encoding is written by hand.
        assert_eq!(received(&[3, 1, 1, 0]), Ok(Request::Shape(ProgramKind::Sample)));
        assert_eq!(received(&[3, 1, 100, 0]), Err(FrameError::Unknown));
        assert_eq!(received(&[2, 100, 0]), Err(FrameError::Unknown));
        assert_eq!(received(&[2, 1, 0]), Err(FrameError::Bad));
    }

    #[test]
    fn a_leading_zero_is_no_message() {
        let mut wire = vec![0, 0];
        wire.extend(sent(&Request::Stack));
        assert_eq!(received(&wire), Ok(Request::Stack));
    }

    proptest! {
        #[test]
        fn the_encoding_is_that_of_the_crate_cobs(offset: u16, bytes in proptest::collection::vec(0u8..4, 0..=CHUNK)) {
            let request = Request::Input { offset, bytes: &bytes };
            let mut buffer = [0; FRAME];
            let expected = postcard::to_slice_cobs(&request, &mut buffer).unwrap();
            prop_assert_eq!(&sent(&request), &*expected);
            prop_assert_eq!(postcard::from_bytes_cobs::<Request<'_>>(expected), Ok(request));
        }

        #[test]
        fn what_is_sent_arrives(offset: u16, bytes in proptest::collection::vec(any::<u8>(), 0..=CHUNK)) {
            let request = Request::Input { offset, bytes: &bytes };
            let mut reader = FrameReader::new();
            let wire = sent(&request);
            prop_assert!(wire.iter().rev().skip(1).all(|byte| *byte != 0));
            prop_assert_eq!(reader.read(&mut &wire[..]), Ok(request));
        }

        #[test]
        fn no_bytes_upset_the_reader(wire in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut stream = &wire[..];
            let mut reader = FrameReader::new();
            while reader.read::<_, Request>(&mut stream) != Err(FrameError::Closed) {}
        }
    }
}
