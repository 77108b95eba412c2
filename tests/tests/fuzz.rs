//! Mutated blobs on emulated boards have the same digests as on the host, and every failure is noticed. `cargo xtask
//! fuzz --device` runs more cases.

use elbo_fuzz_blobs::MEMORY;
use elbo_fuzz_blobs::device::{Device, Runner, compare};
use elbo_link::Fault;
use elbo_link::host::Board;
use std::path::Path;
use std::time::Duration;

/// Halfwords of memory that the board gave a case.
fn same_digest(board: &str, cases: u32) -> usize {
    let failures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures");
    let agreement = compare(Board::find(board).unwrap(), 0, cases, &failures, |_| ()).unwrap();
    assert_eq!(agreement.tally.cases(), u64::from(cases));
    assert!(agreement.tally.ran >= u64::from(cases) / 20, "{agreement:?}");
    agreement.memory
}

#[test]
fn cortex_m4_runs_mutated_blobs_as_the_host_does() {
    assert_eq!(same_digest("mps2-an386", 2000), MEMORY);
}

#[test]
fn cortex_m0_runs_mutated_blobs_as_the_host_does() {
    assert_eq!(same_digest("microbit", 500), 2048);
}

#[test]
fn a_board_that_fails_is_noticed_and_runs_again_after_a_reset() {
    let mut device = Device::start(Board::find("mps2-an386").unwrap()).unwrap();
    let before = device.run(0, 20).unwrap();
    for (fault, signs) in [
        (Fault::Panic, &["has ended", "on purpose"][..]),
        (Fault::Undefined, &["has ended", "hard fault"]),
        (Fault::Hang, &["has been silent for 3 s"]),
    ] {
        device.client().set_patience(Duration::from_secs(3));
        let error = format!("{:#}", device.client().fail(fault).unwrap_err());
        for sign in signs {
            assert!(error.contains(sign), "{fault:?}: {error}");
        }
        // The fault lasts until the board is reset.
        device.client().set_patience(Duration::from_millis(300));
        assert!(device.run(0, 20).is_err(), "{fault:?}");
        device.restart().unwrap();
        assert_eq!(device.run(0, 20).unwrap(), before, "{fault:?}");
    }
}
