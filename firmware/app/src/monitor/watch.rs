//! What the monitor does with samples and requests. It knows no device, so a host that gives it the same requests
//! gets the same bytes.

use core::ops::RangeInclusive;

use elbo::detector::{Detector, DetectorConfig, Drift, NormalState, Rule, State};
use elbo::{Calibration, Model, Nats, ProgramKind, Rate, Session, SessionError};
use elbo_link::{
    CAUSES, CHUNK, Cause, Explain, Failure, FrameError, Judgement, MonitorConfig, MonitorStatus, Reply, Request,
    SensorFault, SensorReport, Source, write_frame,
};
use embedded_io::Write;

use super::ring::Ring;
use super::sensor::examine;
use super::worst::Worst;
use crate::LIMITS;
use crate::reason::Reason;

/// Channels that fit one frame.
pub const CHANNELS: usize = CHUNK / 2;

/// The rule before the host sets another one, if the calibration supports it.
pub const DEFAULT: MonitorConfig = MonitorConfig {
    detector: DetectorConfig {
        rule: Rule::Threshold { alarm: Rate::ONE_IN_100, clear: Rate::ONE_IN_100 },
        latching: false,
    },
    drift: None,
    explain: Explain::Alarms,
};

/// The memory of a monitor. [`Sizes`] says how much a model needs.
#[derive(Debug)]
pub struct WatchMemory<'m> {
    /// The arena of the session.
    pub arena: &'m mut [i16],
    /// The samples that arrive.
    pub ring: &'m mut [i16],
    /// The window that is judged.
    pub window: &'m mut [i16],
    /// The features of the window, and those that they are compared with.
    pub rows: &'m mut [i16],
    /// The contributions of the features.
    pub nats: &'m mut [Nats],
}

/// How much memory a model needs. `elbo-model` computes the same when a firmware is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Halfwords of arena.
    pub arena: usize,
    /// Halfwords of the ring.
    pub ring: usize,
    /// Halfwords of a window.
    pub window: usize,
    /// Number of features.
    pub features: usize,
}

impl Sizes {
    /// What this model needs, or why it is no model for a monitor.
    ///
    /// # Errors
    /// The model has no score of windows, or too many channels for a frame.
    pub fn of(model: &Model<'_>) -> Result<Self, Reason> {
        let windows = model.windows().map_err(Reason::new)?;
        let windows = windows.ok_or_else(|| Reason::new("the model has no front end: it reads rows, not samples"))?;
        let score = model.program(ProgramKind::Score).and_then(|program| program.inputs[0]);
        let score = score.ok_or_else(|| Reason::new("the model has no program `score`"))?;
        let (channels, window) = (usize::from(windows.channels), usize::from(windows.window));
        if channels > CHANNELS {
            return Err(Reason::new("the model has more than 32 channels"));
        }
        let ring = Ring::room(channels, window, windows.hop as usize).filter(|_| score.len == channels * window);
        let ring = ring.ok_or_else(|| Reason::new("the model's windows do not fit its score"))?;
        let features = model.program(ProgramKind::ScoreFeatures).and_then(|program| program.inputs[0]);
        let features = features.map_or(0, |row| row.len);
        Ok(Self { arena: model.arena_len(), ring, window: score.len, features })
    }
}

/// A monitor of one sensor.
pub struct Watch<'b, 'm> {
    session: Session<'b, 'm>,
    ring: Ring<'m>,
    window: &'m mut [i16],
    row: &'m mut [i16],
    reference: &'m mut [i16],
    nats: &'m mut [Nats],
    channels: usize,
    /// Samples of each channel in a window.
    length: usize,
    calibration: Option<Calibration<'b>>,
    detector: Option<Detector<'b>>,
    drift: Option<Drift>,
    config: MonitorConfig,
    status: MonitorStatus,
    /// The number of the next sample of a recording.
    next: u32,
    /// Whether it has been reported that there are no samples.
    absent: bool,
}

impl<'b, 'm> Watch<'b, 'm> {
    /// A monitor that has seen nothing.
    ///
    /// # Errors
    /// The reason for which the blob is refused, or the memory is too small.
    pub fn new(blob: &'b [u8], memory: WatchMemory<'m>) -> Result<Self, Reason> {
        let model = Model::load(blob, LIMITS).map_err(Reason::new)?;
        let sizes = Sizes::of(&model)?;
        let session = model.session(memory.arena).map_err(Reason::new)?;
        let room = || Reason::new("the monitor's memory is too small for this model");
        let windows = model.windows().map_err(Reason::new)?.ok_or_else(room)?;
        let (channels, length) = (usize::from(windows.channels), usize::from(windows.window));
        let ring = Ring::new(memory.ring, channels, length, windows.hop as usize).ok_or_else(room)?;
        let window = memory.window.get_mut(..sizes.window).ok_or_else(room)?;
        let (row, rest) = memory.rows.split_at_mut_checked(sizes.features).ok_or_else(room)?;
        let reference = rest.get_mut(..sizes.features).ok_or_else(room)?;
        let nats = memory.nats.get_mut(..sizes.features).ok_or_else(room)?;
        let calibration = model.meta().map_err(Reason::new)?.calibrations.get(ProgramKind::Score);
        let status = fresh(Source::Live, false);
        let mut watch = Self {
            session,
            ring,
            window,
            row,
            reference,
            nats,
            channels,
            length,
            calibration,
            detector: None,
            drift: None,
            config: DEFAULT,
            status,
            next: 0,
            absent: false,
        };
        // Without enough calibration rows there are scores, and no alarms.
        let _ = watch.configure(DEFAULT);
        Ok(watch)
    }

    /// The model.
    pub fn model(&self) -> &Model<'b> {
        self.session.model()
    }

    /// Channels of a sample.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// What the monitor has seen.
    pub fn status(&self) -> MonitorStatus {
        self.status
    }

    /// Answers a request, and judges the windows that it completes. Requests for a board are refused.
    ///
    /// # Errors
    /// The sink fails.
    pub fn answer<W: Write>(&mut self, request: &Request<'_>, out: &mut W) -> Result<(), FrameError<W::Error>> {
        match *request {
            Request::Samples { at, bytes } => self.recorded(at, bytes, out),
            Request::Configure(config) => match self.configure(config) {
                Ok(()) => write_frame(out, &Reply::Done),
                Err(reason) => write_frame(out, &Reply::Failure(Failure::Rule(reason.as_str()))),
            },
            Request::Reset(source) => {
                self.status.source = source;
                self.reset();
                write_frame(out, &Reply::Done)
            }
            Request::Monitor => write_frame(out, &Reply::Monitor(self.status)),
            Request::SelfTest => match self.self_test() {
                Some(true) => write_frame(out, &Reply::Done),
                Some(false) => write_frame(out, &Reply::Failure(Failure::SelfTest("the model's score"))),
                None => write_frame(out, &Reply::Failure(Failure::Unsupported)),
            },
            _ => write_frame(out, &Reply::Failure(Failure::Unsupported)),
        }
    }

    /// Counts a frame that cannot be decoded. The samples in it are missed when the next frame does not continue.
    pub fn dropped(&mut self) {
        self.status.dropped = self.status.dropped.saturating_add(1);
    }

    /// Takes one sample, a value for each channel, and judges the window that it completes.
    ///
    /// # Errors
    /// The sink fails.
    pub fn sample<W: Write>(
        &mut self,
        sample: &[i16],
        range: &RangeInclusive<i16>,
        out: &mut W,
    ) -> Result<(), FrameError<W::Error>> {
        self.absent = false;
        self.ring.push(sample);
        if self.ring.take(self.window) {
            let lost = self.ring.take_lost();
            if lost > 0 {
                self.status.lost = self.status.lost.saturating_add(lost);
                write_frame(out, &Reply::Lost(lost))?;
            }
            self.judge(range, out)?;
        }
        Ok(())
    }

    /// Reports that samples were lost before the next one. No window extends over the gap.
    ///
    /// # Errors
    /// The sink fails.
    pub fn gap<W: Write>(&mut self, lost: u32, out: &mut W) -> Result<(), FrameError<W::Error>> {
        self.ring.restart();
        self.status.lost = self.status.lost.saturating_add(lost);
        write_frame(out, &Reply::Lost(lost))
    }

    /// Reports once that no samples come, until one does.
    ///
    /// # Errors
    /// The sink fails.
    pub fn no_samples<W: Write>(&mut self, fault: SensorFault, out: &mut W) -> Result<(), FrameError<W::Error>> {
        if self.absent {
            return Ok(());
        }
        self.absent = true;
        self.ring.restart();
        self.report(SensorReport { window: self.status.windows, channel: 0, fault }, out)
    }

    /// Scores the last window, for a benchmark.
    ///
    /// # Errors
    /// The session's.
    pub fn bench(&mut self, explain: bool) -> Result<(), SessionError> {
        let score = self.session.score(self.window)?;
        if let Some(mut detector) = self.detector {
            core::hint::black_box(detector.observe(score));
        }
        if explain {
            self.session.explain(self.window, self.row, self.reference, self.nats)?;
            core::hint::black_box(Worst::of(self.nats));
        }
        Ok(())
    }

    fn report<W: Write>(&mut self, report: SensorReport, out: &mut W) -> Result<(), FrameError<W::Error>> {
        self.status.faults = self.status.faults.saturating_add(1);
        write_frame(out, &Reply::Sensor(report))
    }

    /// Samples of a recording, from number `at` on.
    fn recorded<W: Write>(&mut self, at: u32, bytes: &[u8], out: &mut W) -> Result<(), FrameError<W::Error>> {
        if self.status.source != Source::Link {
            return write_frame(out, &Reply::Failure(Failure::Unsupported));
        }
        if !bytes.len().is_multiple_of((2 * self.channels).max(2)) {
            self.dropped();
            return Ok(());
        }
        if at == 0 {
            self.begin();
        } else if at != self.next {
            self.gap(at.wrapping_sub(self.next), out)?;
        }
        self.next = at;
        let mut sample = [0; CHANNELS];
        for frame in bytes.chunks_exact((2 * self.channels).max(2)) {
            for (value, pair) in sample.iter_mut().zip(frame.as_chunks().0) {
                *value = i16::from_le_bytes(*pair);
            }
            self.next = self.next.wrapping_add(1);
            let channels = sample.get(..self.channels).unwrap_or_default();
            self.sample(channels, &(i16::MIN..=i16::MAX), out)?;
        }
        Ok(())
    }

    /// Judges the window that has been taken.
    fn judge<W: Write>(&mut self, range: &RangeInclusive<i16>, out: &mut W) -> Result<(), FrameError<W::Error>> {
        let number = self.status.windows;
        self.status.windows = number.wrapping_add(1);
        if let Some((channel, fault)) = examine(self.window, self.length, range) {
            return self.report(SensorReport { window: number, channel: channel as u16, fault }, out);
        }
        let score = match self.session.score(self.window) {
            Ok(score) => score,
            Err(error) => {
                return write_frame(out, &Reply::Failure(Failure::Session(Reason::new(error).as_str())));
            }
        };
        let verdict = self.detector.as_mut().map(|detector| detector.observe(score));
        let p = verdict.map(|verdict| verdict.p).or_else(|| Some(self.calibration?.p_value(score)));
        let moved = p.and_then(|p| match self.drift.as_mut()?.observe(p) {
            NormalState::Unknown => None,
            NormalState::Unmoved => Some(false),
            NormalState::Moved => Some(true),
        });
        let alarm = verdict.is_some_and(|verdict| verdict.state == State::Alarm);
        if alarm && !self.status.alarm {
            self.status.alarms = self.status.alarms.saturating_add(1);
        }
        self.status.alarm = alarm;
        let wanted = alarm || self.config.explain == Explain::Always;
        let causes = if wanted { self.causes() } else { [None; CAUSES] };
        let p = p.map(|p| (p.numerator(), p.denominator()));
        let judgement = Judgement { window: number, score: score.to_bits(), p, alarm, moved, causes };
        write_frame(out, &Reply::Judgement(judgement))
    }

    /// The features that contribute most to the score of the window. None if the model cannot tell.
    fn causes(&mut self) -> [Option<Cause>; CAUSES] {
        match self.session.explain(self.window, self.row, self.reference, self.nats) {
            Ok(_) => Worst::of(self.nats),
            Err(_) => [None; CAUSES],
        }
    }

    fn configure(&mut self, config: MonitorConfig) -> Result<(), Reason> {
        let calibration = self.calibration.ok_or_else(|| Reason::new("the model has no calibration"))?;
        let detector = Detector::new(calibration, config.detector).map_err(Reason::new)?;
        let drift = config.drift.map(|drift| Drift::new(&calibration, drift)).transpose().map_err(Reason::new)?;
        (self.detector, self.drift, self.config) = (Some(detector), drift, config);
        self.status.detecting = true;
        self.reset();
        Ok(())
    }

    /// Begins another recording, for which the rule starts anew.
    fn begin(&mut self) {
        self.ring.restart();
        if let Some(detector) = &mut self.detector {
            detector.reset();
        }
        self.status.alarm = false;
    }

    /// Forgets all windows and counts.
    fn reset(&mut self) {
        self.begin();
        self.ring.take_lost();
        if let Some(drift) = &mut self.drift {
            drift.reset();
        }
        self.status = fresh(self.status.source, self.status.detecting);
        (self.next, self.absent) = (0, false);
    }

    /// Whether the score of the model's own test has the bits that the compiler found. `None` if the blob has no test.
    fn self_test(&mut self) -> Option<bool> {
        let model = self.session.model();
        let test = model.meta().ok()?.self_test;
        let before = |kind: &ProgramKind| model.program(*kind).is_some() && (*kind as u8) < ProgramKind::Score as u8;
        let place = ProgramKind::ALL.iter().filter(|kind| before(kind)).count();
        let digest = *test.digests.as_chunks::<4>().0.get(place)?;
        let (input, _) = test.input.as_chunks::<2>();
        if input.len() != self.window.len() {
            return None;
        }
        for (value, pair) in self.window.iter_mut().zip(input) {
            *value = i16::from_le_bytes(*pair);
        }
        let Ok(score) = self.session.score(self.window) else { return Some(false) };
        let scalar = [0, 16, 32, 48].map(|shift| (score.to_bits() >> shift) as i16);
        Some(elbo::crc32_i16(&scalar) == u32::from_le_bytes(digest))
    }
}

/// The status before the first window.
fn fresh(source: Source, detecting: bool) -> MonitorStatus {
    MonitorStatus { source, detecting, alarm: false, windows: 0, alarms: 0, faults: 0, lost: 0, dropped: 0 }
}
