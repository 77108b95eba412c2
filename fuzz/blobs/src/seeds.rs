//! The seeds: a few small models that together use every operation, every kind of program and both packings.
//!
//! They are stored in `fuzz/seeds`. Every later version either loads a blob of today with the same results or refuses
//! its version. The test below ensures this for each release. `stress --write-seeds` writes new seeds.

mod families;
mod table;

use crate::builder::{Parts, Program};
use elbo::kernel::Packing;
use elbo::program::{Opcode, ProgramKind};
use elbo::{Calibration, Calibrations, Likelihood, Meta, Nats, SelfTest};

/// Every seed by name. The seeds after the first five use operations that a build of the runtime may leave out. They
/// cannot be written without these operations.
pub fn seeds() -> Vec<(&'static str, Parts)> {
    let mut seeds = plain();
    seeds.extend([
        ("coupling", families::coupling()),
        ("flow", families::flow()),
        ("dlgm", families::dlgm()),
        ("adgm", families::adgm()),
        ("conv", families::conv()),
        ("mixture", families::mixture()),
        ("front", families::front()),
        ("table", table::table()),
    ]);
    seeds
}

/// The seeds that every build of the runtime loads.
pub fn plain() -> Vec<(&'static str, Parts)> {
    vec![
        ("bernoulli", bernoulli()),
        ("gaussian", gaussian()),
        ("elementwise", elementwise()),
        ("nested", nested()),
        ("decode", decode()),
    ]
}

/// Metadata of a VAE called `name`.
pub fn meta(name: &str, likelihood: Likelihood, latent: u16) -> Vec<u8> {
    meta_of("vae", name, likelihood, latent, 0)
}

/// Metadata of a model of any family.
pub fn meta_of(family: &str, name: &str, likelihood: Likelihood, latent: u16, classes: u16) -> Vec<u8> {
    let mut table = [0; Calibration::room(5)];
    let score = Calibration::of_scores(&mut [1, 2, 3, 4, 5].map(|nats| Nats::from_bits(nats << 16)), &mut table);
    let meta = Meta {
        name,
        family,
        likelihood,
        shape: [1, 6],
        latent,
        classes,
        monte_carlo_samples: 3,
        importance_samples: 4,
        feature_mean: &[],
        feature_std: &[],
        calibrations: Calibrations { score: score.expect("room for five"), ..Calibrations::default() },
        self_test: SelfTest { seed: 1, input: &[1, 0], digests: &[] },
    };
    let mut buffer = [0; 256];
    postcard::to_slice(&meta, &mut buffer).expect("small metadata").to_vec()
}

fn weight(salt: usize) -> impl Fn(usize, usize) -> i8 {
    move |row, col| ((row * 37 + col * 101 + salt * 59) % 199) as i8
}

fn layer(parts: &mut Parts, shape: [usize; 2], packing: Packing, input_bound: u16) -> u16 {
    let salt = parts.matrices.len();
    parts.matrix(
        shape,
        packing,
        input_bound,
        weight(salt),
        |row| row as i32 * 999 - 1500,
        |row| (1 << 23) + row as i32 * 12345,
    )
}

/// x (6, Q15) -> hidden 5 -> latent 2 -> hidden 5 -> logits 6, with every kind of program.
fn bernoulli() -> Parts {
    let mut parts = Parts::new();
    let packing = Packing::RowMajor;
    let hidden = layer(&mut parts, [5, 6], packing, 32768);
    let mu = layer(&mut parts, [2, 5], packing, 8000);
    let logvar = layer(&mut parts, [2, 5], packing, 8000);
    let up = layer(&mut parts, [5, 2], packing, 32768);
    let logits = layer(&mut parts, [6, 5], packing, 20000);
    let encoder = |p: &mut Program<'_>, x: u16| {
        let h = p.dense(x, hidden, 11);
        let h = p.map_in_place(Opcode::Relu, &[h], 11, 0);
        let h = p.clamp(h, 11, 0, 8000);
        (p.dense(h, mu, 11), p.dense(h, logvar, 11))
    };
    let decoder = |p: &mut Program<'_>, z: u16| {
        let h = p.dense(z, up, 11);
        let h = p.map(Opcode::Relu, &[h], 11, 0);
        let h = p.clamp(h, 10, -20000, 20000);
        p.dense(h, logits, 11)
    };
    parts.program(ProgramKind::Sample, |p| {
        let z = p.normal(2);
        let l = decoder(p, z);
        let y = p.map_in_place(Opcode::Sigmoid, &[l], 15, 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Decode, |p| {
        let z = p.input(2, 12, 32767);
        let l = decoder(p, z);
        let y = p.map(Opcode::Sigmoid, &[l], 15, 1);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Encode, |p| {
        let x = p.input(6, 15, 32767);
        let (mu, logvar) = encoder(p, x);
        p.outputs(&[mu, logvar]);
    });
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(6, 15, 32767);
        let (mu, logvar) = encoder(p, x);
        let kl = p.scalar(Opcode::Kl, &[mu, logvar], 0);
        let l = decoder(p, mu);
        let nll = p.scalar(Opcode::BernoulliNll, &[l, x], 0);
        let y = p.scalar(Opcode::Add, &[nll, kl], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::ScoreImportance, |p| {
        let x = p.input(6, 15, 32767);
        let (mu, logvar) = encoder(p, x);
        let sigma = p.map(Opcode::Exp, &[logvar], 10, 1);
        let terms = p.begin(4);
        let noise = p.normal(2);
        let mu = p.clamp(mu, 8, -2000, 2000);
        let z = p.map(Opcode::Fma, &[noise, sigma, mu], 8, 0);
        let z = p.clamp(z, 8, -4000, 4000);
        let prior = p.scalar(Opcode::HalfSumSq, &[z], 0);
        let l = decoder(p, z);
        let nll = p.scalar(Opcode::BernoulliNll, &[l, x], 0);
        let energy = p.scalar(Opcode::Add, &[nll, prior], 0);
        let term = p.scalar(Opcode::Neg, &[energy], 0);
        p.end(terms, term);
        let bound = p.scalar(Opcode::LogMeanExp, &[terms], 0);
        let y = p.scalar(Opcode::Neg, &[bound], 0);
        p.outputs(&[y]);
    });
    parts.meta = meta("bernoulli", Likelihood::Bernoulli, 2);
    parts
}

/// x (7, Q11) -> latent 3 -> mean and log-variance of x, with the DSP packing.
fn gaussian() -> Parts {
    let mut parts = Parts::new();
    let packing = Packing::Dsp4;
    let mu = layer(&mut parts, [3, 7], packing, 16384);
    let mean = layer(&mut parts, [7, 3], packing, 32767);
    let logvar = layer(&mut parts, [7, 3], packing, 32767);
    let decoder = |p: &mut Program<'_>, z: u16| {
        let h = p.map_in_place(Opcode::Tanh, &[z], 15, 0);
        (p.dense(h, mean, 11), p.dense(h, logvar, 12))
    };
    parts.program(ProgramKind::Reconstruct, |p| {
        let x = p.input(7, 11, 16384);
        let z = p.dense(x, mu, 11);
        let (mean, _) = decoder(p, z);
        p.outputs(&[mean]);
    });
    parts.program(ProgramKind::ScoreMonteCarlo, |p| {
        let x = p.input(7, 11, 16384);
        let terms = p.begin(3);
        let z = p.dense(x, mu, 11);
        let size = p.scalar(Opcode::Sum, &[z], 2);
        let (mean, logvar) = decoder(p, z);
        let nll = p.scalar(Opcode::GaussianNll, &[mean, logvar, x], 0);
        let term = p.scalar(Opcode::Sub, &[nll, size], 0);
        p.end(terms, term);
        let y = p.scalar(Opcode::Mean, &[terms], 0);
        p.outputs(&[y]);
    });
    parts.meta = meta("gaussian", Likelihood::Gaussian, 3);
    parts
}

/// Every elementwise operation, in place and not in place, without matrices.
fn elementwise() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Reconstruct, |p| {
        let x = p.input(5, 12, 30000);
        let a = p.map(Opcode::Tanh, &[x], 15, 1);
        let b = p.map(Opcode::Sigmoid, &[x], 15, -2);
        let c = p.map(Opcode::Exp, &[x], 9, 3);
        let d = p.clamp(c, 8, -100, 200);
        let e = p.map(Opcode::Relu, &[d], 8, 0);
        let a = p.map_in_place(Opcode::Fma, &[a, b, e], 10, 0);
        let b = p.map_in_place(Opcode::Sigmoid, &[b], 15, 0);
        let y = p.map(Opcode::Fma, &[b, a, a], 9, 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(9, 9, 32767);
        let a = p.scalar(Opcode::HalfSumSq, &[x], 0);
        let b = p.scalar(Opcode::Sum, &[x], -3);
        let c = p.scalar(Opcode::Sub, &[a, b], 0);
        let d = p.scalar(Opcode::Neg, &[c], 0);
        let y = p.scalar(Opcode::Add, &[d, b], 0);
        p.outputs(&[y]);
    });
    parts.meta = meta("elementwise", Likelihood::Gaussian, 1);
    parts
}

/// Four nested loops.
fn nested() -> Parts {
    let mut parts = Parts::new();
    parts.program(ProgramKind::ScoreMonteCarlo, |p| {
        let x = p.input(2, 12, 4096);
        let vectors = [2, 3, 1, 4].map(|count| p.begin(count));
        let noise = p.normal(2);
        let z = p.map(Opcode::Fma, &[noise, x, x], 10, 0);
        let mut term = p.scalar(Opcode::HalfSumSq, &[z], 0);
        for (depth, vector) in vectors.into_iter().enumerate().rev() {
            p.end(vector, term);
            let reduce = if depth % 2 == 0 { Opcode::Mean } else { Opcode::LogMeanExp };
            term = p.scalar(reduce, &[vector], 0);
        }
        p.outputs(&[term]);
    });
    parts.meta = meta("nested", Likelihood::Gaussian, 2);
    parts
}

/// One dense layer, the smallest useful model.
fn decode() -> Parts {
    let mut parts = Parts::new();
    let matrix = layer(&mut parts, [2, 3], Packing::RowMajor, 4096);
    parts.program(ProgramKind::Decode, |p| {
        let z = p.input(3, 12, 4096);
        let y = p.dense(z, matrix, 10);
        p.outputs(&[y]);
    });
    parts.meta = meta("decode", Likelihood::Gaussian, 3);
    parts
}
