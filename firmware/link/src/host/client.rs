//! Requests to a board.

use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use embedded_io::ErrorType;

use super::emulator::Emulator;
use crate::{
    Bench, CHUNK, Failure, Fault, FrameError, FrameReader, Fuzzed, ProgramKind, ProgramShape, Reply, Request, StackUse,
    write_frame,
};

/// The longest silence of a board. A slow program on an emulated core takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Loops of the run that calibrates the board's counter: two million instructions.
const CALIBRATION_LOOPS: u32 = 1_000_000;

/// Properties of a board and of its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardInfo {
    /// The board's name.
    pub board: String,
    /// The model's name; empty if none is loaded.
    pub model: String,
    /// Bytes of the blob, or of the flash reserved for it.
    pub blob_len: u32,
    /// Halfwords of arena that the model needs.
    pub arena_len: u32,
    /// Halfwords of arena that the firmware has.
    pub arena_capacity: u32,
    /// Largest number of elements of the inputs, and of the outputs.
    pub value_capacity: u16,
}

/// A connection to a board that runs the application `serve`.
pub struct Client {
    name: &'static str,
    writer: Box<dyn Write + Send>,
    port: Port,
    reader: FrameReader,
    emulator: Option<Emulator>,
    instructions_per_tick: Option<f64>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.name).field("emulator", &self.emulator).finish_non_exhaustive()
    }
}

impl Client {
    /// A client over any two byte streams. `emulator` is kept running. If the board stops answering, the emulator's
    /// output is added to the error.
    pub fn new(
        name: &'static str,
        mut writer: Box<dyn Write + Send>,
        reader: Box<dyn Read + Send>,
        emulator: Option<Emulator>,
    ) -> Self {
        // Ends any incomplete frame that the board may have received before.
        let _ = writer.write_all(&[0]);
        let port = Port::new(reader, PATIENCE);
        Self { name, writer, port, reader: FrameReader::new(), emulator, instructions_per_tick: None }
    }

    /// Sets how long the board may be silent.
    pub fn set_patience(&mut self, patience: Duration) {
        self.port.patience = patience;
    }

    /// Asks for the properties of the board.
    ///
    /// # Errors
    /// The board refuses, stops answering or dies. This holds for all methods below.
    pub fn info(&mut self) -> Result<BoardInfo> {
        self.send(&Request::Info)?;
        self.receive(|reply| match reply {
            Reply::Info(info) => Some(BoardInfo {
                board: info.board.into(),
                model: info.model.into(),
                blob_len: info.blob_len,
                arena_len: info.arena_len,
                arena_capacity: info.arena_capacity,
                value_capacity: info.value_capacity,
            }),
            _ => None,
        })
    }

    /// The shapes and cost of a program.
    pub fn shape(&mut self, program: ProgramKind) -> Result<ProgramShape> {
        self.send(&Request::Shape(program))?;
        self.receive(|reply| match reply {
            Reply::Shape(shape) => Some(shape),
            _ => None,
        })
    }

    /// The shapes and cost of a program, or `None` if the model does not contain it.
    pub fn find_shape(&mut self, program: ProgramKind) -> Result<Option<ProgramShape>> {
        self.send(&Request::Shape(program))?;
        self.receive(|reply| match reply {
            Reply::Shape(shape) => Some(Some(shape)),
            Reply::Failure(Failure::NoProgram) => Some(None),
            _ => None,
        })
    }

    /// `count` samples from one generator, one after another.
    pub fn sample(&mut self, seed: u64, count: u32) -> Result<Vec<i16>> {
        self.send(&Request::Sample { seed, count })?;
        self.receive_values()
    }

    /// Runs a program on its input vectors, given one after another. Returns its output vectors in the same form, and
    /// its scalar in Q16 nats.
    pub fn run(&mut self, program: ProgramKind, inputs: &[i16], seed: u64) -> Result<(Vec<i16>, Option<i64>)> {
        self.send_input(inputs)?;
        self.send(&Request::Run { program, seed })?;
        self.receive_result()
    }

    /// The score of `x`, in Q16 nats.
    pub fn score(&mut self, program: ProgramKind, x: &[i16], seed: u64) -> Result<i64> {
        self.run(program, x, seed)?.1.with_context(|| format!("{} answered without a score", self.name))
    }

    /// The memory used since the reset.
    pub fn memory_use(&mut self) -> Result<StackUse> {
        self.send(&Request::Stack)?;
        self.receive(|reply| match reply {
            Reply::Stack(stack) => Some(stack),
            _ => None,
        })
    }

    /// Sets the emulated accelerometer to `axes` (thousandths of g) and decodes the latent for this tilt.
    pub fn tilt(&mut self, axes: [i16; 3]) -> Result<Vec<i16>> {
        let [x, y, z] = axes;
        self.send(&Request::Axes { x, y, z })?;
        self.send(&Request::Tilt)?;
        self.receive_values()
    }

    /// Runs the kernels' test suite on the board.
    pub fn self_test(&mut self) -> Result<()> {
        self.send(&Request::SelfTest)?;
        self.receive(|reply| matches!(reply, Reply::Done).then_some(()))
    }

    /// Runs `count` cases of mutated blobs, starting with case `first`.
    pub fn fuzz(&mut self, first: u64, count: u32) -> Result<Fuzzed> {
        self.send(&Request::Fuzz { first, count })?;
        self.receive(|reply| match reply {
            Reply::Fuzzed(fuzzed) => Some(fuzzed),
            _ => None,
        })
    }

    /// Makes the board fail, and waits for an answer. The result is always an error.
    pub fn fail(&mut self, fault: Fault) -> Result<()> {
        self.send(&Request::Fail(fault))?;
        self.receive(|_| None)
    }

    /// Ticks of the board's counter for `repeat` runs of `bench`.
    pub fn ticks(&mut self, bench: Bench, repeat: u32) -> Result<u32> {
        self.send(&Request::Bench { bench, repeat })?;
        self.receive(|reply| match reply {
            Reply::Ticks(ticks) => Some(ticks),
            _ => None,
        })
    }

    /// Instructions of one run of `bench`, averaged over `repeat` runs. Use it on emulated boards: on a real board the
    /// calibration assumes that an iteration of a loop takes two instructions, and the counter counts cycles.
    pub fn instructions(&mut self, bench: Bench, repeat: u32) -> Result<f64> {
        let per_tick = match self.instructions_per_tick {
            Some(per_tick) => per_tick,
            None => {
                let spin = self.ticks(Bench::Spin { loops: CALIBRATION_LOOPS }, 1)?;
                let overhead = self.ticks(Bench::Nothing, 1)?;
                2.0 * f64::from(CALIBRATION_LOOPS) / f64::from(spin.saturating_sub(overhead).max(1))
            }
        };
        self.instructions_per_tick = Some(per_tick);
        let overhead = f64::from(self.ticks(Bench::Nothing, repeat)?);
        let ticks = f64::from(self.ticks(bench, repeat)?);
        Ok((ticks - overhead) * per_tick / f64::from(repeat))
    }

    /// Sends a request without waiting for its answer, which [`next_frame`](Self::next_frame) returns.
    pub fn post(&mut self, request: &Request<'_>) -> Result<()> {
        self.send(request)
    }

    /// The bytes of the next frame, with the zero that ends it, for a caller that compares bytes.
    pub fn next_frame(&mut self) -> Result<Vec<u8>> {
        let mut frame = Vec::new();
        loop {
            let mut byte = [0];
            match embedded_io::Read::read(&mut self.port, &mut byte) {
                Ok(0) => {
                    let diagnostics = self.diagnostics();
                    bail!("the connection to {} has ended{diagnostics}", self.name)
                }
                Ok(_) => frame.push(byte[0]),
                Err(Silence) => {
                    let (silence, diagnostics) = (self.port.patience.as_secs_f32(), self.diagnostics());
                    bail!("{} has been silent for {silence} s{diagnostics}", self.name)
                }
            }
            if byte[0] == 0 && frame.len() > 1 {
                return Ok(frame);
            }
            if byte[0] == 0 {
                frame.clear();
            }
        }
    }

    fn send(&mut self, request: &Request<'_>) -> Result<()> {
        let mut frame = Vec::new();
        ensure!(write_frame(&mut frame, request).is_ok(), "the request {request:?} is longer than a frame");
        if let Err(error) = self.writer.write_all(&frame).and_then(|()| self.writer.flush()) {
            let diagnostics = self.diagnostics();
            bail!("cannot send to {}: {error}{diagnostics}", self.name);
        }
        Ok(())
    }

    fn send_input(&mut self, x: &[i16]) -> Result<()> {
        let bytes: Vec<u8> = x.iter().flat_map(|value| value.to_le_bytes()).collect();
        for (index, bytes) in bytes.chunks(CHUNK).enumerate() {
            let offset = u16::try_from(index * CHUNK / 2).context("an input has 65535 elements at most")?;
            self.send(&Request::Input { offset, bytes })?;
        }
        Ok(())
    }

    fn receive_values(&mut self) -> Result<Vec<i16>> {
        Ok(self.receive_result()?.0)
    }

    fn receive_result(&mut self) -> Result<(Vec<i16>, Option<i64>)> {
        let mut values = Vec::new();
        loop {
            let end = self.receive(|reply| match reply {
                Reply::Values { bytes, .. } => {
                    values.extend(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
                    Some(None)
                }
                Reply::Done => Some(Some(None)),
                Reply::Nats(nats) => Some(Some(Some(nats))),
                _ => None,
            })?;
            if let Some(scalar) = end {
                return Ok((values, scalar));
            }
        }
    }

    fn receive<T>(&mut self, wanted: impl FnOnce(Reply<'_>) -> Option<T>) -> Result<T> {
        match self.reader.read(&mut self.port) {
            Ok(reply) => wanted(reply).with_context(|| match reply {
                Reply::Failure(failure) => format!("{} refused: {failure}", self.name),
                _ => format!("{} sent an unexpected answer: {reply:?}", self.name),
            }),
            Err(error) => {
                let diagnostics = self.diagnostics();
                let name = self.name;
                match error {
                    FrameError::Bad => bail!("{name} sent bytes that are not a message{diagnostics}"),
                    FrameError::Unknown => bail!(
                        "{name} sent an answer that this command does not know; build the firmware from the same version{diagnostics}"
                    ),
                    FrameError::Closed => bail!("the connection to {name} has ended{diagnostics}"),
                    FrameError::Stream(Silence) => {
                        bail!("{name} has been silent for {} s{diagnostics}", self.port.patience.as_secs_f32())
                    }
                }
            }
        }
    }

    fn diagnostics(&mut self) -> String {
        // Its standard error may still be incomplete.
        thread::sleep(Duration::from_millis(100));
        self.emulator.as_mut().map(Emulator::diagnostics).unwrap_or_default()
    }
}

/// The received bytes. A background thread reads them, so that waiting can time out.
struct Port {
    incoming: Receiver<Vec<u8>>,
    pending: std::vec::IntoIter<u8>,
    patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silence;

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing arrives")
    }
}

impl std::error::Error for Silence {}

impl embedded_io::Error for Silence {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::TimedOut
    }
}

impl Port {
    fn new(mut reader: Box<dyn Read + Send>, patience: Duration) -> Self {
        let (sender, incoming) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { incoming, pending: Vec::new().into_iter(), patience }
    }
}

impl ErrorType for Port {
    type Error = Silence;
}

impl embedded_io::Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Silence> {
        let Some(slot) = buffer.first_mut() else { return Ok(0) };
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(byte) = self.pending.next() {
                *slot = byte;
                return Ok(1);
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.pending = bytes.into_iter(),
                Err(RecvTimeoutError::Timeout) => return Err(Silence),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A client, and the board's end of its connection.
    fn connected() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = ours.try_clone().unwrap();
        let mut client = Client::new("test", Box::new(ours), Box::new(reader), None);
        client.set_patience(Duration::from_millis(50));
        (client, theirs)
    }

    fn answer(board: &mut UnixStream, replies: &[Reply<'_>]) {
        for reply in replies {
            let mut frame = Vec::new();
            write_frame(&mut frame, reply).unwrap();
            board.write_all(&frame).unwrap();
        }
    }

    #[test]
    fn values_are_collected_up_to_done() {
        let (mut client, mut board) = connected();
        let piece = |offset, bytes| Reply::Values { offset, bytes };
        answer(&mut board, &[piece(0, &[1, 0, 2, 0]), piece(2, &[0xff, 0xff]), Reply::Done, Reply::Nats(-5)]);
        assert_eq!(client.sample(0, 1).unwrap(), [1, 2, -1]);
        assert_eq!(client.score(ProgramKind::Score, &[1; 40], 0).unwrap(), -5);
    }

    #[test]
    fn a_program_that_is_absent_is_no_failure() {
        let (mut client, mut board) = connected();
        let shape = ProgramShape { input_len: 1, output_len: 2, work: 3, macs: 4 };
        let failures = [Failure::NoProgram, Failure::NoModel("none"), Failure::NoProgram].map(Reply::Failure);
        answer(&mut board, &[&[Reply::Shape(shape)], &failures[..]].concat());
        assert_eq!(client.find_shape(ProgramKind::Score).unwrap(), Some(shape));
        assert_eq!(client.find_shape(ProgramKind::Invert).unwrap(), None);
        assert!(client.find_shape(ProgramKind::Invert).is_err() && client.shape(ProgramKind::Invert).is_err());
    }

    #[test]
    fn what_is_sent_arrives_in_pieces() {
        let (mut client, mut board) = connected();
        let _ = client.score(ProgramKind::Score, &[258; 40], 3);
        board.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut wire = Vec::new();
        // Ends with an error when nothing more arrives.
        let _ = board.read_to_end(&mut wire);
        let mut wire = &wire[..];
        let mut reader = FrameReader::new();
        let mut next = || format!("{:?}", reader.read::<_, Request<'_>>(&mut wire).unwrap());
        assert_eq!(next(), format!("{:?}", Request::Input { offset: 0, bytes: &[2, 1].repeat(32) }));
        assert_eq!(next(), format!("{:?}", Request::Input { offset: 32, bytes: &[2, 1].repeat(8) }));
        assert_eq!(next(), format!("{:?}", Request::Run { program: ProgramKind::Score, seed: 3 }));
    }

    #[test]
    fn instructions_are_calibrated() {
        let (mut client, mut board) = connected();
        // A spin of two million instructions takes 50000 ticks: 40 instructions a tick.
        answer(&mut board, &[50_003, 3, 13, 1013].map(Reply::Ticks));
        assert_eq!(client.instructions(Bench::Load, 10).unwrap(), 4000.0);
    }

    #[test]
    fn silence_refusal_nonsense_and_the_end_are_told_apart() {
        let (mut client, mut board) = connected();
        let text = |result: Result<i64>| result.unwrap_err().to_string();
        assert!(text(client.score(ProgramKind::Score, &[], 0)).contains("test has been silent"));
        answer(&mut board, &[Reply::Failure(Failure::NoProgram), Reply::Ticks(1)]);
        assert_eq!(text(client.score(ProgramKind::Score, &[], 0)), "test refused: the model has no such program");
        assert!(text(client.score(ProgramKind::Score, &[], 0)).contains("unexpected answer: Ticks(1)"));
        board.write_all(&[9, 9, 9, 0]).unwrap();
        assert!(text(client.score(ProgramKind::Score, &[], 0)).contains("not a message"));
        // A reply of variant 100.
        board.write_all(&[2, 100, 0]).unwrap();
        assert!(text(client.score(ProgramKind::Score, &[], 0)).contains("build the firmware from the same version"));
        drop(board);
        let end = text(client.score(ProgramKind::Score, &[], 0));
        assert!(end.contains("has ended") || end.contains("cannot send"), "{end}");
    }
}
