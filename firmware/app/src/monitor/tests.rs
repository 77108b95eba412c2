//! The monitor on a simulated board, and requests of any bytes.

use elbo::Nats;
use elbo::detector::{DetectorConfig, Rule};
use elbo_link::{
    Explain, FRAME, FrameError, FrameReader, Judgement, MonitorConfig, MonitorStatus, Reply, Request, SensorFault,
    SensorReport, Source, write_frame,
};
use proptest::prelude::*;

use super::*;
use crate::board::Board;
use crate::lis3dh::Axes;
use crate::test_board::TestBoard;

/// 1 component, three channels, windows of 80 samples.
const FRONT: &[u8] = include_bytes!("../../../../tests/data/families/front.elbo");

/// A copy at an address that the runtime accepts.
fn blob() -> Vec<u32> {
    FRONT.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Memory for a monitor of the blob.
struct Room {
    arena: elbo::Arena<468>,
    ring: Vec<i16>,
    window: Vec<i16>,
    rows: Vec<i16>,
    nats: Vec<Nats>,
}

impl Room {
    fn new() -> Self {
        let (ring, window, rows, nats) = (vec![0; 480], vec![0; 240], vec![0; 72], vec![Nats::default(); 36]);
        Self { arena: elbo::Arena::new(), ring, window, rows, nats }
    }

    fn memory(&mut self) -> WatchMemory<'_> {
        WatchMemory {
            arena: self.arena.as_mut_slice(),
            ring: &mut self.ring,
            window: &mut self.window,
            rows: &mut self.rows,
            nats: &mut self.nats,
        }
    }
}

fn sent(requests: &[Request<'_>]) -> Vec<u8> {
    let mut wire = Vec::new();
    requests.iter().for_each(|request| write_frame(&mut wire, request).unwrap());
    wire
}

/// Replies without borrowed text.
#[derive(Debug, PartialEq)]
enum Answer {
    Judgement(Judgement),
    Sensor(SensorReport),
    Status(MonitorStatus),
    Lost(u32),
    Done,
    Failure(String),
    Other,
}

fn answers(mut wire: &[u8]) -> Vec<Answer> {
    let (mut reader, mut found) = (FrameReader::new(), Vec::new());
    loop {
        found.push(match reader.read(&mut wire) {
            Ok(Reply::Judgement(judgement)) => Answer::Judgement(judgement),
            Ok(Reply::Sensor(report)) => Answer::Sensor(report),
            Ok(Reply::Monitor(status)) => Answer::Status(status),
            Ok(Reply::Lost(lost)) => Answer::Lost(lost),
            Ok(Reply::Done) => Answer::Done,
            Ok(Reply::Failure(failure)) => Answer::Failure(failure.to_string()),
            Ok(_) => Answer::Other,
            Err(FrameError::Closed) => return found,
            Err(error) => panic!("{error:?}"),
        });
    }
}

/// A source that has nothing.
struct Nothing;

impl<B> Samples<B> for Nothing {
    fn next(&mut self, _: &mut B, _: &mut [i16]) -> Next {
        Next::Nothing
    }
}

fn run<S: Samples<TestBoard>>(script: &[u8], live: S) -> Vec<u8> {
    let mut board = TestBoard::new(script);
    let mut devices = Devices { live, alarm: NoPin, watchdog: NoWatchdog };
    let (words, mut room) = (blob(), Room::new());
    monitor(&mut board, bytemuck::cast_slice(&words), room.memory(), &mut devices).unwrap();
    board.sent().to_vec()
}

fn samples(count: usize, scale: i16) -> Vec<[i16; 3]> {
    let mut machine = Machine::new(3);
    (0..count).map(|_| machine.sample().map(|value| value.saturating_mul(scale))).collect()
}

/// Frames of ten samples.
fn frames(recording: &[[i16; 3]]) -> Vec<Vec<u8>> {
    let frame = |(number, chunk): (usize, &[[i16; 3]])| {
        let bytes: Vec<u8> = chunk.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        sent(&[Request::Samples { at: 10 * number as u32, bytes: &bytes }])
    };
    recording.chunks(10).enumerate().map(frame).collect()
}

fn judgements(answers: &[Answer]) -> Vec<&Judgement> {
    answers.iter().filter_map(|answer| if let Answer::Judgement(one) = answer { Some(one) } else { None }).collect()
}

const START: Request<'_> = Request::Reset(Source::Link);

fn hop() -> usize {
    let words = blob();
    let model = elbo::Model::load(bytemuck::cast_slice(&words), crate::LIMITS).unwrap();
    model.windows().unwrap().unwrap().hop as usize
}

#[test]
fn every_window_has_the_score_and_the_p_value_of_the_runtime() {
    let recording = samples(600, 1);
    let script = [sent(&[START]), frames(&recording).concat(), sent(&[Request::Monitor])].concat();
    let found = answers(&run(&script, Nothing));
    let words = blob();
    let model = elbo::Model::load(bytemuck::cast_slice(&words), crate::LIMITS).unwrap();
    let mut arena = elbo::Arena::<468>::new();
    let mut session = model.session(arena.as_mut_slice()).unwrap();
    let calibration = model.meta().unwrap().calibrations.score;
    let judged = judgements(&found);
    assert_eq!(judged.len(), (600 - 80) / hop() + 1);
    for (number, judged) in judged.iter().enumerate() {
        let window = &recording[number * hop()..][..80];
        let planar: Vec<i16> = (0..3).flat_map(|axis| window.iter().map(move |sample| sample[axis])).collect();
        let score = session.score(&planar).unwrap();
        let p = calibration.p_value(score);
        assert_eq!((judged.window, judged.score), (number as u32, score.to_bits()));
        assert_eq!(judged.p, Some((p.numerator(), p.denominator())));
    }
    let Some(Answer::Status(status)) = found.last() else { panic!() };
    assert_eq!((status.windows as usize, status.lost, status.dropped, status.faults), (judged.len(), 0, 0, 0));
    assert!(status.detecting && status.source == Source::Link);
}

#[test]
fn an_alarm_names_its_causes_and_shows_on_the_pin() {
    struct Lamp(Vec<bool>);
    impl AlarmPin for &mut Lamp {
        fn show(&mut self, alarm: bool) {
            self.0.push(alarm);
        }
    }
    struct Count(usize);
    impl Watchdog for &mut Count {
        fn feed(&mut self) {
            self.0 += 1;
        }
    }
    let recording = samples(160, 4);
    let script = [sent(&[START]), frames(&recording).concat(), sent(&[Request::Monitor])].concat();
    let (mut lamp, mut fed) = (Lamp(Vec::new()), Count(0));
    let mut board = TestBoard::new(&script);
    let mut devices = Devices { live: Nothing, alarm: &mut lamp, watchdog: &mut fed };
    let (words, mut room) = (blob(), Room::new());
    monitor(&mut board, bytemuck::cast_slice(&words), room.memory(), &mut devices).unwrap();
    let found = answers(board.sent());
    let judged = judgements(&found);
    assert!(!judged.is_empty());
    for judged in judged {
        assert!(judged.alarm && judged.causes[0].is_some(), "{judged:?}");
        let nats: Vec<i64> = judged.causes.iter().flatten().map(|cause| cause.nats).collect();
        assert!(nats.is_sorted_by(|a, b| a >= b) && nats.iter().all(|nats| *nats > 0));
    }
    let Some(Answer::Status(status)) = found.last() else { panic!() };
    assert_eq!((status.alarms, status.alarm), (1, true));
    assert!(!lamp.0[0] && *lamp.0.last().unwrap());
    // One request for each frame of ten samples, and two others; waiting for samples does not feed the watchdog.
    assert_eq!(fed.0, 18);
}

#[test]
fn causes_of_every_window_are_named_on_request_and_a_rule_is_refused_with_its_reason() {
    let rule = Rule::Threshold { alarm: elbo::Rate::ONE_IN_100, clear: elbo::Rate::ONE_IN_100 };
    let detector = DetectorConfig { rule, latching: true };
    let config = MonitorConfig { detector, drift: None, explain: Explain::Always };
    let rule = Rule::Threshold { alarm: elbo::Rate::ONE_IN_1000, clear: elbo::Rate::ONE_IN_1000 };
    let rare = MonitorConfig { detector: DetectorConfig { rule, latching: false }, ..config };
    let script = sent(&[Request::Configure(rare), Request::Configure(config), START, Request::SelfTest]);
    let found = answers(&run(&[script, frames(&samples(80, 1)).concat()].concat(), Nothing));
    let Answer::Failure(reason) = &found[0] else { panic!("{found:?}") };
    assert!(reason.starts_with("the detector refused the rule: this false-alarm rate needs 999"), "{reason}");
    assert_eq!(found[1..4], [Answer::Done, Answer::Done, Answer::Done]);
    assert!(judgements(&found)[0].causes[0].is_some());
}

#[test]
fn a_sensor_that_does_not_work_gives_no_verdict() {
    let mut stuck = samples(80, 1);
    stuck.iter_mut().for_each(|sample| sample[1] = 5);
    let mut saturated = samples(80, 1);
    saturated.iter_mut().take(10).for_each(|sample| sample[2] = i16::MAX);
    for (recording, channel, fault) in [(stuck, 1, SensorFault::Stuck), (saturated, 2, SensorFault::Saturated)] {
        let found = answers(&run(&[sent(&[START]), frames(&recording).concat()].concat(), Nothing));
        assert_eq!(found, [Answer::Done, Answer::Sensor(SensorReport { window: 0, channel, fault })]);
    }
}

#[test]
fn a_silent_sensor_is_reported_once() {
    struct Silent<'c> {
        calls: &'c mut u32,
    }
    impl Samples<TestBoard> for Silent<'_> {
        fn next(&mut self, board: &mut TestBoard, _: &mut [i16]) -> Next {
            *self.calls += 1;
            if *self.calls == 3000 {
                board.hang_up();
            }
            Next::Nothing
        }
    }
    let mut calls = 0;
    let mut board = TestBoard::waiting();
    let mut devices = Devices { live: Silent { calls: &mut calls }, alarm: NoPin, watchdog: NoWatchdog };
    let (words, mut room) = (blob(), Room::new());
    monitor(&mut board, bytemuck::cast_slice(&words), room.memory(), &mut devices).unwrap();
    let report = SensorReport { window: 0, channel: 0, fault: SensorFault::Silent };
    assert_eq!(answers(board.sent()), [Answer::Sensor(report)]);
}

#[test]
fn the_accelerometer_is_monitored() {
    struct Shaken(Accelerometer, usize);
    impl Samples<TestBoard> for Shaken {
        fn next(&mut self, board: &mut TestBoard, sample: &mut [i16]) -> Next {
            let [x, y, z] = [self.1 * 7 % 50, self.1 * 11 % 60, 1000 + self.1 % 30].map(|value| value as i16);
            self.1 += 1;
            if self.1 == 200 {
                board.hang_up();
            }
            board.accelerometer().unwrap().bus_mut().measure(Axes { x, y, z });
            self.0.next(board, sample)
        }
    }
    let mut board = TestBoard::waiting();
    let mut devices = Devices { live: Shaken(Accelerometer::default(), 0), alarm: NoPin, watchdog: NoWatchdog };
    let (words, mut room) = (blob(), Room::new());
    monitor(&mut board, bytemuck::cast_slice(&words), room.memory(), &mut devices).unwrap();
    assert!(!judgements(&answers(board.sent())).is_empty());
}

#[test]
fn a_frame_that_is_lost_makes_a_gap_over_which_no_window_extends() {
    let recording = samples(200, 1);
    let mut all = frames(&recording);
    // Damaged: too long, and cut off.
    all[2] = [vec![9; 2 * FRAME], vec![0]].concat();
    let damaged = all[12].len();
    all[12].truncate(damaged / 2);
    all[12].push(0);
    let found = answers(&run(&[sent(&[START]), all.concat(), sent(&[Request::Monitor])].concat(), Nothing));
    let Some(Answer::Status(status)) = found.last() else { panic!() };
    assert_eq!((status.dropped, status.lost), (2, 20));
    assert_eq!(found.iter().filter(|answer| **answer == Answer::Lost(10)).count(), 2);
    // The first window begins behind the first gap.
    let clean = answers(&run(&[sent(&[START]), frames(&recording[30..110]).concat()].concat(), Nothing));
    assert_eq!(judgements(&found)[0].score, judgements(&clean)[0].score);
}

#[test]
fn a_blob_that_is_refused_is_explained() {
    let mut words = blob();
    words[20] ^= 1;
    let mut board = TestBoard::new(&sent(&[START]));
    let mut devices = Devices { live: Nothing, alarm: NoPin, watchdog: NoWatchdog };
    monitor(&mut board, bytemuck::cast_slice(&words), Room::new().memory(), &mut devices).unwrap();
    let found = answers(board.sent());
    let Answer::Failure(reason) = &found[0] else { panic!("{found:?}") };
    assert!(reason.starts_with("no model is loaded: the checksum"), "{reason}");
    let (words, mut room) = (blob(), Room::new());
    let memory = WatchMemory { ring: &mut [], ..room.memory() };
    let reason = Watch::new(bytemuck::cast_slice(&words), memory).map(|_| ()).unwrap_err();
    assert_eq!(reason.as_str(), "the monitor's memory is too small for this model");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives, the monitor goes on: it answers the next frame.
    #[test]
    fn no_bytes_upset_the_monitor(garbage in proptest::collection::vec(any::<u8>(), 0..600)) {
        let script = [sent(&[START]), garbage, vec![0], sent(&[START, Request::Monitor])].concat();
        let found = run(&script, Nothing);
        let mut reader = FrameReader::new();
        let (mut wire, mut last) = (&found[..], None);
        while let Ok(reply) = reader.read::<_, Reply<'_>>(&mut wire) {
            last = if let Reply::Monitor(status) = reply { Some(status) } else { None };
        }
        prop_assert_eq!(last.map(|status| (status.windows, status.source)), Some((0, Source::Link)));
    }

    /// Samples in frames of any length and at any number.
    #[test]
    fn no_samples_upset_the_monitor(
        pieces in proptest::collection::vec((any::<u32>(), proptest::collection::vec(any::<u8>(), 0..64)), 0..60),
    ) {
        let pieces: Vec<u8> =
            pieces.iter().flat_map(|(at, bytes)| sent(&[Request::Samples { at: at % 64, bytes }])).collect();
        let found = answers(&run(&[sent(&[START]), pieces, sent(&[Request::Monitor])].concat(), Nothing));
        prop_assert!(matches!(found.last(), Some(Answer::Status(_))));
    }
}
