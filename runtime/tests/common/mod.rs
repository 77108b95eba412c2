//! Builds, verifies and runs programs with a line of code each.
#![allow(dead_code, reason = "each test uses its part")]

use elbo::program::ProgramKind;
use elbo::{Arena, Limits, Model, Noise};
use elbo_fuzz_blobs::builder::{Parts, Program};
use proptest::prelude::*;

/// Noise from a counter: 100, -200, 300, ... in order of dimension.
#[derive(Default)]
pub struct Counted(i16);

impl Noise for Counted {
    fn normal(&mut self, out: &mut [i16]) {
        out.fill_with(|| {
            self.0 += 1;
            if self.0 % 2 == 0 { -100 * self.0 } else { 100 * self.0 }
        });
    }
}

pub fn counted(n: i16) -> f64 {
    f64::from(if n % 2 == 0 { -100 * n } else { 100 * n }) / 4096.0
}

/// Builds the program, runs it over `inputs` and returns the output vectors and the scalar. It checks that the previous
/// contents of the arena have no effect, and that no output exceeds its bound.
pub fn run_all(
    kind: ProgramKind,
    parts: &mut Parts,
    inputs: &[&[i16]],
    write: impl FnOnce(&mut Program<'_>),
) -> ([Vec<i16>; 2], i64) {
    parts.program(kind, write);
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    let info = model.program(kind).expect("there");
    let results = [0x5555, -1].map(|before| {
        let mut arena = Arena::<8192>::new();
        arena.as_mut_slice().fill(before);
        let mut session = model.session(arena.as_mut_slice()).expect("large enough");
        let mut outs = info.outputs.map(|vector| vec![0; vector.map_or(0, |vector| vector.len)]);
        let [first, second] = &mut outs;
        let nats = session.run(kind, inputs, &mut [first, second], &mut Counted::default()).expect("runs");
        assert_eq!(session.steps(), info.work);
        for (out, vector) in outs.iter().zip(info.outputs) {
            let bound = vector.map_or(0, |vector| vector.bound);
            assert!(out.iter().all(|q| q.unsigned_abs() <= bound), "{out:?} exceeds {bound}");
        }
        (outs, nats.to_bits())
    });
    let [result, same] = results;
    assert_eq!(result, same, "the arena's contents have an effect");
    result
}

/// The same for a program with at most one input vector.
pub fn run(kind: ProgramKind, parts: &mut Parts, x: &[i16], write: impl FnOnce(&mut Program<'_>)) -> (Vec<i16>, i64) {
    let inputs: &[&[i16]] = if kind.signature().inputs == 0 { &[] } else { &[x] };
    let ([out, _], nats) = run_all(kind, parts, inputs, write);
    (out, nats)
}

pub fn vector(x: &[i16], write: impl FnOnce(&mut Program<'_>)) -> Vec<i16> {
    run(ProgramKind::Reconstruct, &mut Parts::new(), x, write).0
}

pub fn score(x: &[i16], write: impl FnOnce(&mut Program<'_>)) -> f64 {
    run(ProgramKind::Score, &mut Parts::new(), x, write).1 as f64 / 65536.0
}

pub fn value(q: i16, frac: i32) -> f64 {
    f64::from(q) * f64::from(-frac).exp2()
}

pub fn softplus(v: f64) -> f64 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

pub fn any_vector() -> impl Strategy<Value = Vec<i16>> {
    prop::collection::vec(prop_oneof![any::<i16>(), -300i16..300, Just(i16::MIN), Just(i16::MAX)], 1..20)
}
