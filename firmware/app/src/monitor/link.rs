//! The monitor on a board: its sensor, its serial port, its alarm pin and its watchdog.

use elbo_link::{Bench, Failure, FrameError, FrameReader, Info, Reply, Request, SensorFault, Source, write_frame};
use embedded_hal::digital::OutputPin;
use embedded_io::{ErrorType, Read, ReadReady};

use super::source::{Next, Samples};
use super::watch::{CHANNELS, Watch, WatchMemory};
use crate::board::Board;
use crate::log;

/// Milliseconds without a sample after which a sensor is silent.
const SILENCE_MS: u32 = 1000;

/// Loops between two looks at a serial port on which nothing has arrived: much less than the time of a byte at 115200 baud. An
/// emulator gets to deliver the next byte meanwhile.
const IDLE_LOOPS: u32 = 100;

/// A pin, a lamp or a relay that shows whether there is an alarm.
pub trait AlarmPin {
    /// Shows it. Called after every window, and not only when the state changes.
    fn show(&mut self, alarm: bool);
}

/// No pin.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPin;

impl AlarmPin for NoPin {
    fn show(&mut self, _: bool) {}
}

/// Any output pin, which is high while there is an alarm.
#[derive(Debug)]
pub struct Pin<P>(pub P);

impl<P: OutputPin> AlarmPin for Pin<P> {
    fn show(&mut self, alarm: bool) {
        // A pin that fails has nobody to tell.
        let _ = self.0.set_state(alarm.into());
    }
}

/// A watchdog, which restarts the board unless it is fed in time.
pub trait Watchdog {
    /// Feeds it. The monitor does so only after a sample has been taken or a request answered. So a sensor that stays
    /// silent restarts the board too.
    fn feed(&mut self);
}

/// No watchdog.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatchdog;

impl Watchdog for NoWatchdog {
    fn feed(&mut self) {}
}

/// What a monitor works with beside the board.
#[derive(Debug)]
pub struct Devices<S, A, W> {
    /// The sensor.
    pub live: S,
    /// Shows an alarm.
    pub alarm: A,
    /// Is fed by progress.
    pub watchdog: W,
}

/// The result of a call that uses the serial port.
type Outcome<B> = Result<(), FrameError<<<B as Board>::Serial as ErrorType>::Error>>;

/// Monitors until the serial port ends, which never happens on a board. If the model is refused, requests are answered with
/// the reason.
///
/// # Errors
/// The serial port fails.
pub fn monitor<B, S, A, W>(
    board: &mut B,
    blob: &[u8],
    memory: WatchMemory<'_>,
    devices: &mut Devices<S, A, W>,
) -> Outcome<B>
where
    B: Board,
    S: Samples<B>,
    A: AlarmPin,
    W: Watchdog,
{
    let arena_capacity = memory.arena.len();
    let mut reader = FrameReader::new();
    let mut watch = match Watch::new(blob, memory) {
        Ok(watch) => watch,
        Err(reason) => {
            log::warning!("no model: {}", reason.as_str());
            loop {
                match reader.read::<_, Request<'_>>(board.serial()) {
                    Ok(_) | Err(FrameError::Bad | FrameError::Unknown) => {
                        write_frame(board.serial(), &Reply::Failure(Failure::NoModel(reason.as_str())))?;
                    }
                    Err(FrameError::Closed) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    };
    log::info!("the model is proved, and the monitor runs");
    let mut silence_ms = 0;
    loop {
        while board.serial().read_ready().map_err(FrameError::Stream)? {
            let mut byte = [0];
            if board.serial().read(&mut byte).map_err(FrameError::Stream)? == 0 {
                return Ok(());
            }
            if !reader.accept(byte[0]) {
                continue;
            }
            match reader.decode() {
                Ok(request) => {
                    answer(board, blob, &mut watch, &request, arena_capacity)?;
                    devices.watchdog.feed();
                    devices.alarm.show(watch.status().alarm);
                }
                Err(FrameError::Unknown) => write_frame(board.serial(), &Reply::Failure(Failure::Unknown))?,
                Err(FrameError::Bad) => watch.dropped(),
                Err(error) => return Err(error),
            }
        }
        if watch.status().source == Source::Link {
            board.spin(IDLE_LOOPS);
            continue;
        }
        let mut sample = [0; CHANNELS];
        let Some(sample) = sample.get_mut(..watch.channels()) else { continue };
        let absent = match devices.live.next(board, sample) {
            Next::Sample => {
                watch.sample(sample, &devices.live.range(), board.serial())?;
                devices.watchdog.feed();
                devices.alarm.show(watch.status().alarm);
                silence_ms = 0;
                None
            }
            Next::Lost(lost) => {
                watch.gap(lost, board.serial())?;
                None
            }
            Next::Nothing => {
                board.delay_ms(1);
                silence_ms = SILENCE_MS.min(silence_ms + 1);
                (silence_ms >= SILENCE_MS).then_some(SensorFault::Silent)
            }
            Next::Failed => {
                board.delay_ms(1);
                Some(SensorFault::Failed)
            }
        };
        if let Some(fault) = absent {
            watch.no_samples(fault, board.serial())?;
        }
    }
}

/// Answers a request about the board, or passes it on.
fn answer<B: Board>(
    board: &mut B,
    blob: &[u8],
    watch: &mut Watch<'_, '_>,
    request: &Request<'_>,
    arena_capacity: usize,
) -> Outcome<B> {
    match *request {
        Request::Info => {
            let model = watch.model();
            let info = Info {
                board: B::NAME,
                model: crate::console::cut(model.meta().map(|meta| meta.name).unwrap_or(""), 24),
                blob_len: blob.len() as u32,
                arena_len: model.arena_len() as u32,
                arena_capacity: arena_capacity as u32,
                value_capacity: 0,
            };
            write_frame(board.serial(), &Reply::Info(info))
        }
        Request::Stack => {
            let memory = board.memory_use();
            write_frame(board.serial(), &Reply::Stack(memory))
        }
        Request::Bench { bench: Bench::Judge { explain }, repeat } => {
            let start = board.ticks();
            let done = (0..repeat).all(|_| watch.bench(explain).is_ok());
            let ticks = board.ticks().wrapping_sub(start);
            let reply = if done { Reply::Ticks(ticks) } else { Reply::Failure(Failure::NoProgram) };
            write_frame(board.serial(), &reply)
        }
        Request::Bench { bench: bench @ (Bench::Nothing | Bench::Spin { .. }), repeat } => {
            let start = board.ticks();
            if let Bench::Spin { loops } = bench {
                (0..repeat).for_each(|_| board.spin(loops));
            }
            let ticks = board.ticks().wrapping_sub(start);
            write_frame(board.serial(), &Reply::Ticks(ticks))
        }
        _ => watch.answer(request, board.serial()),
    }
}
