//! One semantics: the golden models give the same bytes on the host and on every emulated core.
//!
//! Needs the emulator and the bare-metal targets, which `cargo xtask setup` installs.

use elbo::Limits;
use elbo_cli::compare::{Comparison, compare, start};
use elbo_compiler::Likelihood;
use elbo_compiler::host::{Blob, quantize_row};
use elbo_link::host::{Application, Board, Emulator, Firmware, Image, Placement};
use elbo_tests::{data, families};
use elbo_trainer::data::{DataOptions, load};
use elbo_trainer::rows::{model_rows, noise_rows};
use std::path::PathBuf;

const SAMPLES: u32 = 1000;
const ROWS: usize = 1000;

fn golden() -> PathBuf {
    data("digits.elbo")
}

fn digits() -> Vec<Vec<i16>> {
    let blob = Blob::read(&golden()).unwrap();
    let model = blob.load(Limits::host()).unwrap();
    let split = load("digits", None, &DataOptions::default()).unwrap().train;
    model_rows(&split, Likelihood::Bernoulli, 3).iter().take(ROWS).map(|x| quantize_row(&model, x)).collect()
}

fn same_bits(name: &str) -> Comparison {
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

/// Runs every family on one firmware, which is sized for the largest model. The model has an address of its own.
fn families_have_the_hosts_bits(name: &str, address: u32) {
    let board = Board::find(name).unwrap();
    let (mut arena, mut values) = (0, 0);
    for path in families() {
        let blob = Blob::read(&path).unwrap();
        let model = blob.load(Limits::host()).unwrap();
        arena = arena.max(model.arena_len());
        for info in elbo::ProgramKind::ALL.into_iter().filter_map(|kind| model.program(kind)) {
            for vectors in [info.inputs, info.outputs] {
                values = values.max(vectors.iter().flatten().map(|vector| vector.len).sum());
            }
        }
    }
    let placement = Placement::Apart { model: golden(), address, space: 64 << 10 };
    let image = Firmware::new(board, Application::Serve, placement).room(arena, values).build().unwrap();
    for path in families() {
        let blob = Blob::read(&path).unwrap();
        let model = blob.load(Limits::host()).unwrap();
        let meta = model.meta().unwrap();
        let score = model.program(elbo::ProgramKind::Score).and_then(|program| program.inputs[0]);
        let width = score.map_or(usize::from(meta.shape[0]) * usize::from(meta.shape[1]), |row| row.len);
        let mut rows = noise_rows(width, meta.likelihood.try_into().unwrap(), 40, 7);
        if model.windows().unwrap().is_some() {
            // From silence to loud noise.
            let scaled =
                |(at, row): (usize, &mut Vec<f32>)| row.iter_mut().for_each(|x| *x *= 1.3f32.powi(at as i32) - 1.0);
            rows.iter_mut().enumerate().for_each(scaled);
        }
        let rows: Vec<Vec<i16>> = rows.iter().map(|x| quantize_row(&model, x)).collect();
        let image = Image { path: image.path.clone(), apart: Some((path.clone(), address)) };
        let mut client = Emulator::start(board, &image).unwrap().connect().unwrap();
        let result = compare(&mut client, &path, &rows, 40, 5).unwrap();
        println!("{name}: {} values of {} equal", result.values, meta.name);
        assert!(result.values >= 400, "{}", path.display());
    }
}

#[test]
fn cortex_m0_has_the_hosts_bits_of_every_family() {
    families_have_the_hosts_bits("microbit", 0x3_0000);
}

#[test]
fn cortex_m4_has_the_hosts_bits_of_every_family() {
    families_have_the_hosts_bits("mps2-an386", 0x20_0000);
}

#[test]
fn cortex_m33_has_the_hosts_bits_of_every_family() {
    families_have_the_hosts_bits("mps2-an505", 0x1020_0000);
}
