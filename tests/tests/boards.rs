//! One semantics: the golden model gives the same bytes on the host and on every emulated core.
//!
//! Needs the emulator and the bare-metal targets, which `cargo xtask setup` installs.

use elbo::Limits;
use elbo::program::ProgramKind;
use elbo_link::host::Board;
use elbo_trainer::board::{compare, start};
use elbo_trainer::data::{DataOptions, load};
use elbo_trainer::family::vae::Likelihood;
use elbo_trainer::host::{Blob, quantize};
use elbo_trainer::rows::model_rows;
use std::path::{Path, PathBuf};

const SAMPLES: u32 = 1000;
const ROWS: usize = 1000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits.elbo")
}

fn digits() -> Vec<Vec<i16>> {
    let blob = Blob::read(&golden()).unwrap();
    let model = blob.load(Limits::default()).unwrap();
    let input = model.program(ProgramKind::Score).unwrap().input.unwrap();
    let split = load("digits", None, &DataOptions::default()).unwrap().train;
    model_rows(&split, Likelihood::Bernoulli, 3).iter().take(ROWS).map(|x| quantize(x, &input)).collect()
}

fn same_bits(name: &str) -> elbo_trainer::board::Comparison {
    let mut client = start(Board::find(name).unwrap(), &golden()).unwrap();
    let result = compare(&mut client, &golden(), &digits(), SAMPLES, 11).unwrap();
    assert_eq!((result.samples.len(), result.scores.len()), (SAMPLES as usize, ROWS));
    result
}

#[test]
fn cortex_m0_has_the_hosts_bits_in_its_16_kilobytes() {
    let result = same_bits("microbit");
    assert!(result.memory.free_bytes >= 6 << 10, "{:?}", result.memory);
    let per_byte = result.load_instructions / std::fs::metadata(golden()).unwrap().len() as f64;
    assert!(per_byte <= 20.0, "loading takes {per_byte} instructions a blob byte");
}

#[test]
fn cortex_m4_has_the_hosts_bits() {
    same_bits("mps2-an386");
}

#[test]
fn cortex_m7_has_the_hosts_bits() {
    same_bits("mps2-an500");
}

#[test]
fn cortex_m33_has_the_hosts_bits() {
    same_bits("mps2-an505");
}
