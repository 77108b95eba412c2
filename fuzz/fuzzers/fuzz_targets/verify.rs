//! The coverage-guided fuzzer: every blob that the verifier accepts must run as proved, whatever its bytes. `cargo
//! xtask fuzz --guided` builds and runs it, starting from the seeds.
#![no_main]

use elbo::Arena;
use elbo_fuzz_blobs::{MEMORY, Outcome, mutate_bytes, run_twice};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::cell::RefCell;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static ARENA: RefCell<Box<Arena<MEMORY>>> = RefCell::default();
}

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
static RAN: AtomicU64 = AtomicU64::new(0);
static AT_EXIT: Once = Once::new();

unsafe extern "C" {
    safe fn atexit(function: extern "C" fn()) -> i32;
}

/// `cargo xtask fuzz --guided` reads this line.
extern "C" fn print_share() {
    let (executions, ran) = (EXECUTIONS.load(Ordering::Relaxed), RAN.load(Ordering::Relaxed));
    let share = 100.0 * ran as f64 / executions.max(1) as f64;
    eprintln!("executed {executions}, verified and ran {ran} ({share:.2} %)");
}

fuzz_target!(|bytes: &[u8]| {
    AT_EXIT.call_once(|| _ = atexit(print_share));
    // An allocation of exactly the blob's length, aligned like a flash section. The sanitizer guards both ends.
    let mut words: Box<[u32]> = bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
    let len = words.len();
    let outcome = ARENA.with_borrow_mut(|arena| run_twice(&mut words, len, arena.as_mut_slice()));
    EXECUTIONS.fetch_add(1, Ordering::Relaxed);
    RAN.fetch_add(u64::from(matches!(outcome, Outcome::Ran { .. })), Ordering::Relaxed);
});

// One of sixteen mutations is libFuzzer's own. The checksum detects most of them.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 16 == 0 {
        fuzzer_mutate(data, size, max_size)
    } else {
        mutate_bytes(&mut data[..max_size], size, seed.into())
    }
});
