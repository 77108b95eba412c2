use elbo_link::{Reply, StackUse};

use super::*;
use crate::synthetic::{self, Recipe};
use crate::test_board::{Buffers, TestBoard};

/// An answer that owns its data.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Info { model: String, arena_capacity: u32 },
    Shape(ProgramShape),
    Values(u16, Vec<i16>),
    Done,
    Nats(i64),
    Stack(StackUse),
    Ticks(u32),
    Failure(String),
}

fn halfwords(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn script(requests: &[Request<'_>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for request in requests {
        write_frame(&mut wire, request).unwrap();
    }
    wire
}

fn answers(mut wire: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    let mut reader = FrameReader::new();
    loop {
        all.push(match reader.read(&mut wire) {
            Ok(Reply::Info(info)) => {
                assert_eq!(info.board, "test");
                Answer::Info { model: info.model.into(), arena_capacity: info.arena_capacity }
            }
            Ok(Reply::Shape(shape)) => Answer::Shape(shape),
            Ok(Reply::Values { offset, bytes }) => Answer::Values(offset, halfwords(bytes)),
            Ok(Reply::Done) => Answer::Done,
            Ok(Reply::Nats(nats)) => Answer::Nats(nats),
            Ok(Reply::Stack(stack)) => Answer::Stack(stack),
            Ok(Reply::Ticks(ticks)) => Answer::Ticks(ticks),
            Ok(Reply::Failure(failure)) => Answer::Failure(failure.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(FrameError::Closed) => return all,
            Err(error) => panic!("{error:?}"),
        });
    }
}

fn talk(wire: &[u8], blob: &[u8]) -> Vec<Answer> {
    let mut board = TestBoard::new(wire);
    serve(&mut board, blob, Buffers::default().memory()).unwrap();
    answers(board.sent())
}

fn blob() -> Vec<u8> {
    synthetic::blob(&Recipe::default())
}

/// The result of calling the runtime directly.
fn direct<T>(run: impl FnOnce(&mut Session<'_, '_>) -> T) -> T {
    let blob = blob();
    let model = Model::load(&blob, LIMITS).unwrap();
    let mut buffers = Buffers::default();
    run(&mut model.session(buffers.memory().arena).unwrap())
}

fn image() -> Vec<i16> {
    (0..64).map(|i| i * 511).collect()
}

/// The requests that send an input of 64 elements.
fn pieces(bytes: &[u8]) -> [Request<'_>; 2] {
    [Request::Input { offset: 0, bytes: &bytes[..64] }, Request::Input { offset: 32, bytes: &bytes[64..] }]
}

fn bytes(values: &[i16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn tells_who_it_is() {
    let found = talk(&script(&[Request::Info, Request::Stack]), &blob());
    let info = Answer::Info { model: "synthetic".into(), arena_capacity: 1024 };
    let stack = Answer::Stack(StackUse { static_bytes: 1, stack_bytes: 2, free_bytes: 3 });
    assert_eq!(found, [info, stack]);
}

#[test]
fn tells_the_shapes_of_programs() {
    let found = talk(&script(&[Request::Shape(ProgramKind::Encode), Request::Shape(ProgramKind::Decode)]), &blob());
    let [Answer::Shape(encode), Answer::Shape(decode)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((encode.input_len, encode.output_len, encode.macs), (64, 16, 64 * 64 + 2 * 64 * 8));
    assert_eq!((decode.input_len, decode.output_len, decode.macs), (8, 64, 8 * 64 + 64 * 64));
}

#[test]
fn samples_are_the_runtimes() {
    let found = talk(&script(&[Request::Sample { seed: 11, count: 3 }]), &blob());
    let expected = direct(|session| {
        let mut rng = Xoshiro128PlusPlus::seed_from_u64(11);
        let mut all = Vec::new();
        for _ in 0..3 {
            let mut out = [0; 64];
            session.sample(&mut rng, &mut out).unwrap();
            all.push(Answer::Values(0, out[..32].to_vec()));
            all.push(Answer::Values(32, out[32..].to_vec()));
        }
        all.push(Answer::Done);
        all
    });
    assert_eq!(found, expected);
}

#[test]
fn runs_are_the_runtimes() {
    let x = image();
    let wire_x = bytes(&x);
    let mut requests = pieces(&wire_x).to_vec();
    for program in [ProgramKind::Score, ProgramKind::ScoreMonteCarlo, ProgramKind::ScoreImportance, ProgramKind::Encode]
    {
        requests.push(Request::Run { program, seed: 4 });
    }
    let found = talk(&script(&requests), &blob());
    let expected = direct(|session| {
        let rng = || Xoshiro128PlusPlus::seed_from_u64(4);
        let (mut mu, mut logvar) = ([0; 8], [0; 8]);
        session.encode(&x, &mut mu, &mut logvar).unwrap();
        vec![
            Answer::Nats(session.score(&x).unwrap().to_bits()),
            Answer::Nats(session.score_monte_carlo(&x, &mut rng()).unwrap().to_bits()),
            Answer::Nats(session.score_importance(&x, &mut rng()).unwrap().to_bits()),
            Answer::Values(0, [mu, logvar].concat()),
            Answer::Done,
        ]
    });
    assert_eq!(found, expected);
}

#[test]
fn two_inputs_arrive_one_after_another() {
    let (x, mask) = (image(), (0..64).map(|i| i % 3 - 1).collect::<Vec<i16>>());
    let wire = bytes(&[x.clone(), mask.clone()].concat());
    let mut requests: Vec<Request<'_>> =
        wire.chunks(64).zip((0..).step_by(32)).map(|(bytes, offset)| Request::Input { offset, bytes }).collect();
    requests.push(Request::Run { program: ProgramKind::Impute, seed: 6 });
    requests.push(Request::Shape(ProgramKind::Impute));
    let found = talk(&script(&requests), &blob());
    let out = direct(|session| {
        let mut out = [0; 64];
        session.impute(&x, &mask, &mut Xoshiro128PlusPlus::seed_from_u64(6), &mut out).unwrap();
        out
    });
    let values = [Answer::Values(0, out[..32].to_vec()), Answer::Values(32, out[32..].to_vec())];
    assert_eq!(found[..2], values);
    assert_eq!(found[2], Answer::Done);
    assert!(matches!(found[3], Answer::Shape(ProgramShape { input_len: 128, output_len: 64, .. })));
    // The elements that the mask does not mark differ from those that arrived.
    assert!((0..64).all(|i| mask[i] <= 0 || out[i] == x[i]) && (0..64).any(|i| out[i] != x[i]));

    let without_mask = script(&[requests[0], requests[1], Request::Run { program: ProgramKind::Impute, seed: 6 }]);
    let refused = Answer::Failure("the program reads 128 elements, and 64 have arrived".into());
    assert_eq!(talk(&without_mask, &blob()), [refused]);
}

#[test]
fn a_scalar_follows_the_vector() {
    let found = talk(&script(&[Request::Run { program: ProgramKind::SampleDensity, seed: 8 }]), &blob());
    let expected = direct(|session| {
        let mut out = [0; 64];
        let nats = session.sample_density(&mut Xoshiro128PlusPlus::seed_from_u64(8), &mut out).unwrap();
        let values = |offset: usize| Answer::Values(offset as u16, out[offset..offset + 32].to_vec());
        vec![values(0), values(32), Answer::Nats(nats.to_bits())]
    });
    assert_eq!(found, expected);
}

#[test]
fn a_class_is_drawn_and_recognised() {
    let (class, x) = ([0, 0, 0, i16::MAX, 0, 0, 0, 0, 0, 0], image());
    let (wire_class, wire_x) = (bytes(&class), bytes(&x));
    let [first, second] = pieces(&wire_x);
    let draw = [
        Request::Input { offset: 0, bytes: &wire_class },
        Request::Run { program: ProgramKind::SampleClass, seed: 2 },
        first,
        second,
        Request::Run { program: ProgramKind::Classify, seed: 2 },
    ];
    let found = talk(&script(&draw), &blob());
    let expected = direct(|session| {
        let rng = || Xoshiro128PlusPlus::seed_from_u64(2);
        let (mut out, mut probabilities) = ([0; 64], [0; 10]);
        session.sample_class(3, &mut rng(), &mut out).unwrap();
        session.classify(&x, &mut rng(), &mut probabilities).unwrap();
        vec![
            Answer::Values(0, out[..32].to_vec()),
            Answer::Values(32, out[32..].to_vec()),
            Answer::Done,
            Answer::Values(0, probabilities.to_vec()),
            Answer::Done,
        ]
    });
    assert_eq!(found, expected);
}

#[test]
fn an_input_that_is_not_whole_is_refused() {
    let wire_x = bytes(&image());
    let [first, second] = pieces(&wire_x);
    let run = Request::Run { program: ProgramKind::Score, seed: 0 };
    let refused = |received| Answer::Failure(format!("the program reads 64 elements, and {received} have arrived"));
    assert_eq!(talk(&script(&[run]), &blob()), [refused(0)]);
    assert_eq!(talk(&script(&[first, run]), &blob()), [refused(32)]);
    // A piece is missing, arrives twice, or lies outside the buffer.
    assert_eq!(talk(&script(&[second, run]), &blob()), [refused(0)]);
    assert_eq!(talk(&script(&[first, first, run]), &blob()), [refused(32)]);
    let outside = Request::Input { offset: 128, bytes: &[1, 2] };
    assert_eq!(talk(&script(&[first, second, outside, run]), &blob()).len(), 1);
    assert!(matches!(talk(&script(&[first, second, outside, run]), &blob())[0], Answer::Nats(_)));
}

#[test]
fn a_damaged_frame_is_answered_and_forgotten() {
    let mut wire = vec![200; 500];
    wire.push(0);
    wire.extend(script(&[Request::Stack]));
    let found = talk(&wire, &blob());
    assert_eq!(found[0], Answer::Failure("the request arrived damaged".into()));
    assert!(matches!(found[1], Answer::Stack(_)));
}

#[test]
fn an_unknown_program_is_told_from_a_damaged_frame() {
    // Request::Shape of a program with code 100.
    let mut wire = vec![3, 1, 100, 0];
    wire.extend(script(&[Request::Stack]));
    let found = talk(&wire, &blob());
    let Answer::Failure(reason) = &found[0] else { panic!("{found:?}") };
    assert!(reason.starts_with("the firmware does not know this request or this program"), "{reason}");
    assert!(matches!(found[1], Answer::Stack(_)));
}

#[test]
fn without_a_model_the_reason_is_told() {
    let mut damaged = blob();
    damaged[40] ^= 4;
    let requests = [Request::Info, Request::Sample { seed: 0, count: 1 }, Request::Stack];
    let found = talk(&script(&requests), &damaged);
    assert_eq!(found[0], Answer::Info { model: String::new(), arena_capacity: 1024 });
    let Answer::Failure(reason) = &found[1] else { panic!() };
    assert!(reason.starts_with("no model is loaded: the checksum does not match"), "{reason}");
    assert!(matches!(found[2], Answer::Stack(_)));
}

#[test]
fn without_room_nothing_runs() {
    let mut board = TestBoard::new(&script(&[Request::Sample { seed: 0, count: 1 }]));
    let mut buffers = Buffers::default();
    let memory = Memory { output: &mut [], ..buffers.memory() };
    serve(&mut board, &blob(), memory).unwrap();
    assert_eq!(answers(board.sent()), [Answer::Failure("it does not fit the board's memory".into())]);

    let mut board = TestBoard::new(&script(&[Request::Sample { seed: 0, count: 1 }]));
    let memory = Memory { arena: &mut [], ..buffers.memory() };
    serve(&mut board, &blob(), memory).unwrap();
    let [Answer::Failure(reason)] = &answers(board.sent())[..] else { panic!() };
    assert!(reason.starts_with("no model is loaded: the model needs"), "{reason}");
}

#[test]
fn tilt_is_decoded() {
    let axes = Axes { x: 500, y: -300, z: 812 };
    let found = talk(&script(&[Request::Axes { x: 500, y: -300, z: 812 }, Request::Tilt]), &blob());
    let expected = direct(|session| {
        let mut latent = [0; 8];
        steer_latent(Tilt::from_gravity(axes), STEER_SEED, 11, &mut latent);
        let mut out = [0; 64];
        session.decode(&latent, &mut out).unwrap();
        vec![Answer::Values(0, out[..32].to_vec()), Answer::Values(32, out[32..].to_vec()), Answer::Done]
    });
    assert_eq!(found, expected);
}

#[cfg(not(feature = "fuzz"))]
#[test]
fn a_firmware_that_is_not_there_to_be_fuzzed_refuses() {
    let requests = [Request::Fuzz { first: 0, count: 10 }, Request::Fail(Fault::Panic), Request::Fail(Fault::Hang)];
    let refusal = Answer::Failure(Failure::Unsupported.to_string());
    assert_eq!(talk(&script(&requests), &[]), [refusal.clone(), refusal.clone(), refusal]);
}

#[test]
fn benches_count() {
    let bench = |bench, repeat| Request::Bench { bench, repeat };
    let dense = |rows, dsp| Bench::Dense { rows, cols: 20, dsp };
    let requests = [
        bench(Bench::Nothing, 5),
        bench(Bench::Spin { loops: 10 }, 3),
        bench(Bench::Load, 1),
        bench(Bench::Normal { count: 128 }, 1),
        bench(dense(12, true), 2),
        bench(dense(12, false), 2),
        bench(dense(2000, false), 2),
        bench(Bench::Program(ProgramKind::Sample), 1),
    ];
    let one = Answer::Ticks(1);
    let room = Answer::Failure("it does not fit the board's memory".into());
    let expected = [one.clone(), Answer::Ticks(61), one.clone(), one.clone(), one.clone(), one.clone(), room, one];
    assert_eq!(talk(&script(&requests), &blob()), expected);
}

#[test]
fn names_are_cut_between_letters() {
    assert_eq!(cut("héllo", 2), "h");
    assert_eq!(cut("héllo", 3), "hé");
    assert_eq!(cut("hi", 24), "hi");
}
