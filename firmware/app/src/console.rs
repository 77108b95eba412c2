//! The console answers the requests of a host over the serial port, forever.

use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Model, Nats, ProgramKind, Session, SessionError, VectorInfo};
use elbo_link::{
    Bench, CHUNK, Failure, Fault, FrameError, FrameReader, Info, ProgramShape, Reply, Request, write_frame,
};
use embedded_io::ErrorType;
use rand_core::SeedableRng;

use crate::LIMITS;
use crate::board::{Board, Memory};
use crate::lis3dh::Axes;
use crate::reason::Reason;
use crate::tilt::{Tilt, steer_latent};
use crate::{bench, log};

/// The seed of the three draws that are blended according to the tilt of a board.
pub const STEER_SEED: u64 = 1;

/// The result of a call that uses the serial port.
type Outcome<B> = Result<(), FrameError<<<B as Board>::Serial as ErrorType>::Error>>;

/// Loads the model and answers requests until the serial port ends, which never happens on a board. If the model is
/// refused, the console still runs: it answers the requests that need the model with the reason.
///
/// # Errors
/// The serial port fails.
pub fn serve<B: Board>(board: &mut B, blob: &[u8], mut memory: Memory<'_>) -> Outcome<B> {
    let arena = core::mem::take(&mut memory.arena);
    let arena_capacity = arena.len();
    let mut reason = Reason::default();
    let session = match Model::load(blob, LIMITS) {
        Ok(model) => model.session(arena).map_err(|error| reason = Reason::new(error)).ok(),
        Err(error) => {
            reason = Reason::new(error);
            None
        }
    };
    if session.is_some() {
        log::info!("the model is proved and ready");
    } else {
        log::warning!("no model: {}", reason.as_str());
    }
    let mut console = Console { board, blob, session, reason, memory, arena_capacity, received: 0 };
    let mut reader = FrameReader::new();
    loop {
        match reader.read(console.board.serial()) {
            Ok(request) => console.answer(request)?,
            Err(FrameError::Bad) => console.fail(Failure::BadFrame)?,
            Err(FrameError::Unknown) => console.fail(Failure::Unknown)?,
            Err(FrameError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Why a program was not run.
enum Refusal {
    /// Its inputs or outputs do not fit the buffers.
    NoRoom,
    /// The session's reason.
    Session(SessionError),
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

struct Console<'c, 'b, B: Board> {
    board: &'c mut B,
    blob: &'b [u8],
    session: Option<Session<'b, 'c>>,
    /// Why there is no session.
    reason: Reason,
    memory: Memory<'c>,
    arena_capacity: usize,
    /// Number of elements of the input that have arrived.
    received: usize,
}

impl<B: Board> Console<'_, '_, B> {
    fn answer(&mut self, request: Request<'_>) -> Outcome<B> {
        match request {
            Request::Info => self.info(),
            Request::Shape(program) => match self.shape(program) {
                Some(shape) => self.reply(&Reply::Shape(shape)),
                None => self.no_program(),
            },
            Request::Input { offset, bytes } => {
                self.input(usize::from(offset), bytes);
                Ok(())
            }
            Request::Sample { seed, count } => self.sample(seed, count),
            Request::Run { program, seed } => self.run(program, seed),
            Request::Stack => {
                let memory = self.board.memory_use();
                self.reply(&Reply::Stack(memory))
            }
            Request::Bench { bench, repeat } => self.bench(bench, repeat),
            Request::Axes { x, y, z } => {
                self.board.feed(Axes { x, y, z });
                Ok(())
            }
            Request::Tilt => self.tilt(),
            Request::SelfTest => self.self_test(),
            Request::Fuzz { first, count } => self.fuzz(first, count),
            Request::Fail(fault) => self.fail_on_purpose(fault),
            _ => self.fail(Failure::Unsupported),
        }
    }

    fn reply(&mut self, reply: &Reply<'_>) -> Outcome<B> {
        write_frame(self.board.serial(), reply)
    }

    fn fail(&mut self, failure: Failure<'_>) -> Outcome<B> {
        self.reply(&Reply::Failure(failure))
    }

    /// The answer if a program is not available: either the model does not contain it, or there is no model.
    fn no_program(&mut self) -> Outcome<B> {
        if self.session.is_some() {
            return self.fail(Failure::NoProgram);
        }
        write_frame(self.board.serial(), &Reply::Failure(Failure::NoModel(self.reason.as_str())))
    }

    fn info(&mut self) -> Outcome<B> {
        let (name, arena_len) = match &self.session {
            Some(session) => {
                let model = session.model();
                (model.meta().map(|meta| meta.name).unwrap_or(""), model.arena_len() as u32)
            }
            None => ("", 0),
        };
        let capacity = self.memory.input.len().min(self.memory.output.len());
        let info = Info {
            board: B::NAME,
            model: cut(name, 24),
            blob_len: self.blob.len() as u32,
            arena_len,
            arena_capacity: self.arena_capacity as u32,
            value_capacity: capacity.min(usize::from(u16::MAX)) as u16,
        };
        self.reply(&Reply::Info(info))
    }

    fn shape(&self, kind: ProgramKind) -> Option<ProgramShape> {
        let info = self.session.as_ref()?.model().program(kind)?;
        let total = |vectors: [Option<VectorInfo>; 2]| vectors.iter().flatten().map(|vector| vector.len).sum::<usize>();
        Some(ProgramShape {
            input_len: total(info.inputs) as u16,
            output_len: total(info.outputs) as u16,
            work: info.work,
            macs: info.macs,
        })
    }

    fn input(&mut self, offset: usize, bytes: &[u8]) {
        if offset == 0 {
            self.received = 0;
        }
        let count = bytes.len() / 2;
        let place = self.memory.input.get_mut(offset..offset.saturating_add(count));
        if let Some(place) = place.filter(|_| offset == self.received) {
            for (value, pair) in place.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = i16::from_le_bytes([pair.first().copied().unwrap_or(0), pair.last().copied().unwrap_or(0)]);
            }
            self.received += count;
        }
    }

    fn values(&mut self, len: usize) -> Outcome<B> {
        let values = self.memory.output.get(..len).unwrap_or_default();
        for (index, chunk) in values.chunks(CHUNK / 2).enumerate() {
            let mut bytes = [0; CHUNK];
            for (pair, value) in bytes.chunks_exact_mut(2).zip(chunk) {
                pair.copy_from_slice(&value.to_le_bytes());
            }
            let offset = (index * (CHUNK / 2)) as u16;
            let bytes = bytes.get(..chunk.len() * 2).unwrap_or_default();
            write_frame(self.board.serial(), &Reply::Values { offset, bytes })?;
        }
        Ok(())
    }

    fn sample(&mut self, seed: u64, count: u32) -> Outcome<B> {
        let kind = ProgramKind::Sample;
        let Some(shape) = self.shape(kind) else { return self.no_program() };
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(seed);
        for _ in 0..count {
            if let Err(failure) = self.execute(kind, &mut rng) {
                return self.refuse(failure);
            }
            self.values(usize::from(shape.output_len))?;
        }
        self.reply(&Reply::Done)
    }

    fn run(&mut self, kind: ProgramKind, seed: u64) -> Outcome<B> {
        let Some(shape) = self.shape(kind) else { return self.no_program() };
        if shape.input_len > 0 && usize::from(shape.input_len) != self.received {
            let received = self.received.min(usize::from(u16::MAX)) as u16;
            return self.fail(Failure::InputLength { expected: shape.input_len, received });
        }
        self.run_and_reply(kind, &shape, seed)
    }

    /// Runs a program on the contents of the input buffer, and sends its outputs.
    fn run_and_reply(&mut self, kind: ProgramKind, shape: &ProgramShape, seed: u64) -> Outcome<B> {
        match self.execute(kind, &mut Xoshiro128PlusPlus::seed_from_u64(seed)) {
            Ok(scalar) => {
                self.values(usize::from(shape.output_len))?;
                self.reply(&scalar.map_or(Reply::Done, |nats| Reply::Nats(nats.to_bits())))
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Runs a program of any kind from the input buffer to the output buffer. Returns its scalar, if it has one.
    fn execute(&mut self, kind: ProgramKind, rng: &mut Xoshiro128PlusPlus) -> Result<Option<Nats>, Refusal> {
        let session = self.session.as_mut().ok_or(SessionError::ProgramAbsent)?;
        let info = session.model().program(kind).ok_or(SessionError::ProgramAbsent)?;
        let split = |vectors: [Option<VectorInfo>; 2]| vectors.map(|vector| vector.map_or(0, |vector| vector.len));
        let ([x_len, other_len], [first_len, second_len]) = (split(info.inputs), split(info.outputs));
        let (x, rest) = self.memory.input.split_at_checked(x_len).ok_or(Refusal::NoRoom)?;
        let other = rest.get(..other_len).ok_or(Refusal::NoRoom)?;
        let (first, rest) = self.memory.output.split_at_mut_checked(first_len).ok_or(Refusal::NoRoom)?;
        let second = rest.get_mut(..second_len).ok_or(Refusal::NoRoom)?;
        let nats = session.run(kind, &[x, other], &mut [first, second], rng)?;
        Ok(info.scalar.then_some(nats))
    }

    fn refuse(&mut self, refusal: Refusal) -> Outcome<B> {
        match refusal {
            Refusal::NoRoom => self.fail(Failure::NoRoom),
            Refusal::Session(error) => self.fail(Failure::Session(Reason::new(error).as_str())),
        }
    }

    fn tilt(&mut self) -> Outcome<B> {
        let Some(axes) = self.board.accelerometer().and_then(|device| device.axes().ok()) else {
            return self.fail(Failure::Unsupported);
        };
        let Some(shape) = self.shape(ProgramKind::Decode) else { return self.no_program() };
        let latent_info =
            self.session.as_ref().and_then(|session| session.model().program(ProgramKind::Decode)?.inputs[0]);
        let latent = self.memory.input.get_mut(..usize::from(shape.input_len));
        let (Some(info), Some(latent)) = (latent_info, latent) else { return self.fail(Failure::NoRoom) };
        self.received = 0;
        steer_latent(Tilt::from_gravity(axes), STEER_SEED, info.frac, latent);
        self.run_and_reply(ProgramKind::Decode, &shape, 0)
    }

    fn bench(&mut self, bench: Bench, repeat: u32) -> Outcome<B> {
        let ticks = match bench {
            Bench::Program(program) => {
                if self.shape(program).is_none() {
                    return self.no_program();
                }
                let start = self.board.ticks();
                for _ in 0..repeat {
                    if let Err(refusal) = self.execute(program, &mut Xoshiro128PlusPlus::seed_from_u64(0)) {
                        return self.refuse(refusal);
                    }
                }
                Some(self.board.ticks().wrapping_sub(start))
            }
            Bench::ProgramAt { offset, program } => {
                let blob = self.blob.get(offset as usize..).unwrap_or_default();
                bench::program(self.board, blob, self.memory.scratch, program, repeat)
            }
            _ => bench::run(self.board, self.blob, self.memory.scratch, bench, repeat),
        };
        match ticks {
            Some(ticks) => self.reply(&Reply::Ticks(ticks)),
            None => self.fail(Failure::NoRoom),
        }
    }

    #[cfg(feature = "selftest")]
    fn self_test(&mut self) -> Outcome<B> {
        use elbo::kernel::{check, dense, dense_portable};
        for (name, kernel) in [("dense", dense as check::Dense), ("dense_portable", dense_portable)] {
            if let Err(mismatch) = check::suite(kernel, 24) {
                log::warning!("{} differs", name);
                let _ = mismatch;
                return self.fail(Failure::SelfTest(name));
            }
        }
        self.reply(&Reply::Done)
    }

    #[cfg(feature = "fuzz")]
    fn fuzz(&mut self, first: u64, count: u32) -> Outcome<B> {
        let Some((words, memory)) = elbo_fuzz_blobs::split_scratch(self.memory.scratch) else {
            return self.fail(Failure::NoRoom);
        };
        let tally = elbo_fuzz_blobs::run_cases(first, count, words, memory);
        let fuzzed = elbo_link::Fuzzed {
            ran: tally.ran as u32,
            too_large: tally.too_large as u32,
            refused: tally.refused as u32,
            steps: tally.steps,
            digest: tally.digest,
            memory: memory.len() as u32,
        };
        self.reply(&Reply::Fuzzed(fuzzed))
    }

    #[cfg(feature = "fuzz")]
    fn fail_on_purpose(&mut self, fault: Fault) -> Outcome<B> {
        match fault {
            Fault::Panic => panic!("on purpose"),
            Fault::Hang => loop {
                core::hint::spin_loop();
            },
            Fault::Undefined => self.board.undefined(),
            _ => {}
        }
        self.fail(Failure::Unsupported)
    }

    #[cfg(not(feature = "fuzz"))]
    fn fuzz(&mut self, _: u64, _: u32) -> Outcome<B> {
        self.fail(Failure::Unsupported)
    }

    #[cfg(not(feature = "fuzz"))]
    fn fail_on_purpose(&mut self, _: Fault) -> Outcome<B> {
        self.fail(Failure::Unsupported)
    }

    #[cfg(not(feature = "selftest"))]
    fn self_test(&mut self) -> Outcome<B> {
        self.fail(Failure::Unsupported)
    }
}

/// The start of a text, at most `most` bytes, without splitting a character.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
