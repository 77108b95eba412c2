//! Coverage-guided: what the verifier lets through runs as proved, whatever the bytes. Start from the seeds:
//! `cargo +nightly fuzz run --fuzz-dir fuzz/fuzzers verify fuzz/corpus fuzz/seeds`.
#![no_main]

use elbo::Arena;
use elbo_fuzz_blobs::{Outcome, mutate_bytes, run};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::cell::RefCell;

/// Most steps that a case may run.
const WORK: u64 = 1 << 14;

/// The blob's words, aligned as a flash section is, and memory for its run.
type Memory = (Vec<u32>, Box<Arena<{ 1 << 14 }>>);

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    MEMORY.with_borrow_mut(|(words, arena)| {
        words.clear();
        words.extend(bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)));
        let blob = bytemuck::cast_slice(words);
        let outcome = run(blob, WORK, arena.as_mut_slice());
        if let Outcome::Ran { digest, .. } = outcome {
            arena.as_mut_slice().fill(digest as i16);
            assert_eq!(run(blob, WORK, arena.as_mut_slice()), outcome, "what the memory held before has an effect");
        }
    });
});

// One in eight mutations is libFuzzer's own, which the checksum mostly catches.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 8 == 0 {
        fuzzer_mutate(data, size, max_size)
    } else {
        mutate_bytes(&mut data[..max_size], size, seed.into())
    }
});
