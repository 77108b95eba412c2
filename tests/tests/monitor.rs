//! The monitor says the same on the host and on emulated boards, byte for byte, and costs what the documentation states.
//!
//! Needs the emulator and the bare-metal targets, which `cargo xtask setup` installs.

use elbo::Rate;
use elbo::detector::{DetectorConfig, Rule};
use elbo_cli::replay::{Cost, HostMonitor, Pair, Shown, Stream, start};
use elbo_compiler::host::Blob;
use elbo_link::host::Board;
use elbo_link::{Explain, MonitorConfig, Request};
use elbo_tests::data;
use elbo_trainer::data::recordings::machine::{Fault, Machine};

/// 50 seconds of a machine whose bearing breaks after 30 of them.
fn recording() -> Stream {
    let mut machine = Machine::new(5);
    let samples: Vec<[i16; 3]> = (0..10_000)
        .map(|at| {
            machine.fault = if at < 6000 { Fault::None } else { Fault::Imbalance };
            machine.sample()
        })
        .collect();
    Stream::of_samples(&samples)
}

/// The verdicts of the recording, which are the same on the board and on the host, and their cost.
fn replayed(name: &str) -> (Vec<Shown>, Cost) {
    let model = data("families/front.elbo");
    let mut host = HostMonitor::new(Blob::read(&model).unwrap()).unwrap();
    let client = start(Board::find(name).unwrap(), &model).unwrap();
    let mut pair = Pair::new(client, host.start().unwrap()).unwrap();
    let rule = Rule::Count { rate: Rate::ONE_IN_100, window: 4, alarm: 3, clear: 1 };
    let detector = DetectorConfig { rule, latching: false };
    let config = MonitorConfig { detector, drift: None, explain: Explain::Alarms };
    pair.ask(&[Request::SelfTest, Request::Configure(config)]).unwrap();
    let recording = recording();
    let frames = pair.ask(&recording.requests()).unwrap();
    let verdicts: Vec<Shown> = frames.iter().filter_map(|frame| Shown::of(frame, &[])).collect();
    // A recording that is cut off, a sensor that is stuck, and what a monitor does not do.
    pair.ask(&Stream::of_samples(&[[1, 2, 3]; 200]).requests()).unwrap();
    pair.ask(&[Request::Samples { at: 7000, bytes: &[1; 12] }, Request::Tilt, Request::Monitor]).unwrap();
    let cost = pair.cost().unwrap();
    println!("{name}: {} frames equal, {cost:?}", pair.same);
    (verdicts, cost)
}

#[test]
fn cortex_m4_says_what_the_host_says() {
    let (verdicts, cost) = replayed("mps2-an386");
    let alarm = verdicts.iter().position(Shown::is_alarm).unwrap();
    let (before, after) = verdicts.split_at(verdicts.len() * 3 / 5);
    assert!(alarm >= before.len() - 2, "an alarm at window {alarm} of {}", verdicts.len());
    assert!(after.iter().filter(|verdict| verdict.is_alarm()).count() * 10 > after.len() * 9);
    assert!(!verdicts[alarm].causes().is_empty());
    // 5 % of 64 MHz at two cycles for each instruction, for windows that begin every `hop` samples, 200 times a second.
    let blob = Blob::read(&data("families/front.elbo")).unwrap();
    let model = blob.load(elbo::Limits::host()).unwrap();
    let hop = f64::from(model.windows().unwrap().unwrap().hop);
    let share = cost.judge * 2.0 * 200.0 / hop / 64e6;
    println!("a window takes {:.2} % of a core at 64 MHz", 100.0 * share);
    assert!(share <= 0.05, "{share}");
    let ram = cost.memory.static_bytes + cost.memory.stack_bytes;
    assert!(ram <= 16 << 10, "{:?}", cost.memory);
}

#[test]
fn cortex_m0_says_what_the_host_says_in_its_16_kilobytes() {
    let (verdicts, cost) = replayed("microbit");
    assert!(verdicts.iter().any(Shown::is_alarm));
    assert!(cost.memory.free_bytes >= 1 << 10, "{:?}", cost.memory);
}
