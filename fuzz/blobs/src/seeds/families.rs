//! The seeds for models other than a plain VAE: flows, rank-one covariances, classes, convolutions, front ends.

use super::{layer, meta_of};
use crate::builder::{Parts, Program, nats_of, vector_of};
use elbo::Likelihood;
use elbo::coupling::{CouplingStack, HiddenActivation};
use elbo::front::{Bands, Statistic, Taper};
use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind};

/// A vector of constants, as a layer of zero weights: `(first + row step) 2^-8`.
fn constants(parts: &mut Parts, rows: usize, cols: usize, first: i32, step: i32) -> u16 {
    let bias = |row: usize| first + row as i32 * step;
    parts.matrix([rows, cols], Packing::RowMajor, 32768, |_, _| 0, bias, |_| 1 << 24)
}

/// Affine couplings of five dimensions: two with weights of 8 bits, one with weights of 16 bits, and an additive one.
/// The programs draw with density, compute the density of a row, and invert.
pub(super) fn coupling() -> Parts {
    let mut parts = Parts::new();
    let eight = CouplingStack {
        couplings: 2,
        layers: 1,
        activation: HiddenActivation::Relu,
        sixteen: false,
        inverse: false,
        normal: false,
        scale_log2: 0,
    };
    let sixteen = CouplingStack {
        couplings: 1,
        layers: 2,
        activation: HiddenActivation::Tanh,
        sixteen: true,
        scale_log2: -1,
        ..eight
    };
    // A weight has a magnitude of up to 127 times 2^-10 or 2^-11.
    let mut layer = |rows: usize, cols: usize, packing: Packing| {
        let salt = parts.matrices.len();
        let weight = move |row: usize, col: usize| ((row * 37 + col * 101 + salt * 59) % 255) as i32 as u8 as i8;
        let (bias, multiplier) = (|row: usize| row as i32 * 999_999 - 1_500_000, |row: usize| 1 << (22 - row % 2));
        parts.matrix([rows, cols], packing, 32768, weight, bias, multiplier)
    };
    let (wide, narrow) = (Packing::Dsp4, Packing::RowMajor);
    let first = [(3, 3, wide), (2, 3, wide), (2, 3, narrow), (5, 2, narrow), (3, 5, wide), (3, 5, wide)];
    let [first, ..] = first.map(|(rows, cols, packing)| layer(rows, eight.columns(cols), packing));
    let second = [(3, 3, wide), (2, 3, narrow), (2, 2, wide), (2, 2, narrow)];
    let [second, ..] = second.map(|(rows, cols, packing)| layer(rows, sixteen.columns(cols), packing));
    let add = |p: &mut Program<'_>, opcode: Opcode, x: u16| {
        let (a, b, c) = (p.slice(x, 0, 2), p.slice(x, 2, 2), p.slice(x, 4, 1));
        let a = p.map(opcode, &[a, b], 10, 0);
        let ab = p.concat(a, b, 10);
        p.concat(ab, c, 10)
    };
    let forward = |p: &mut Program<'_>, z: u16| {
        let (x, a) = p.couplings(eight, first, 5, z, 11);
        let (x, b) = p.couplings(sixteen, second, 3, x, 10);
        let x = add(p, Opcode::AddVec, x);
        (x, p.scalar(Opcode::Add, &[a, b], 0))
    };
    let backward = |p: &mut Program<'_>, x: u16, normal: bool| {
        let x = add(p, Opcode::SubVec, x);
        let (x, a) = p.couplings(CouplingStack { inverse: true, ..sixteen }, second, 3, x, 11);
        let (z, b) = p.couplings(CouplingStack { inverse: true, normal, ..eight }, first, 5, x, 11);
        let log_det = p.scalar(Opcode::Add, &[a, b], 0);
        (z, p.scalar(Opcode::Neg, &[log_det], 0))
    };
    let density = |p: &mut Program<'_>, z: u16, log_det: u16| {
        let prior = p.scalar(Opcode::HalfSumSq, &[z], 0);
        let nats = p.scalar(Opcode::Add, &[prior, log_det], 0);
        // Half of ln 2 pi per dimension.
        p.offset(nats, 301_123)
    };
    parts.program(ProgramKind::Decode, |p| {
        let z = p.input(5, 11, 16384);
        let (x, _) = forward(p, z);
        p.outputs(&[x]);
    });
    parts.program(ProgramKind::Invert, |p| {
        let x = p.input(5, 10, 30000);
        let (z, _) = backward(p, x, false);
        p.outputs(&[z]);
    });
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(5, 10, 30000);
        let (_, nats) = backward(p, x, true);
        let nats = p.offset(nats, 301_123);
        p.outputs(&[nats]);
    });
    parts.program(ProgramKind::SampleDensity, |p| {
        let z = p.normal(5);
        let z = p.clamp(z, 11, -16384, 16384);
        let (x, log_det) = forward(p, z);
        let nats = density(p, z, log_det);
        p.outputs(&[x, nats]);
    });
    parts.meta = meta_of("flow", "coupling", Likelihood::Gaussian, 5, 0);
    parts
}

/// A posterior of planar and radial steps with parameters from the encoder, and steps with constant parameters and
/// their inverses.
pub(super) fn flow() -> Parts {
    let mut parts = Parts::new();
    let mu = layer(&mut parts, [3, 5], Packing::RowMajor, 32768);
    let logvar = layer(&mut parts, [3, 5], Packing::Dsp4, 32768);
    let planar = layer(&mut parts, [14, 5], Packing::RowMajor, 32768);
    let radial = layer(&mut parts, [5, 5], Packing::RowMajor, 32768);
    let planes = constants(&mut parts, 14, 3, -90_000, 17_000);
    let centres = constants(&mut parts, 10, 3, 60_000, -15_000);
    let steps = [(Opcode::Planar, planes), (Opcode::Radial, centres)];
    parts.program(ProgramKind::ScoreMonteCarlo, |p| {
        let x = p.input(5, 11, 32767);
        let (mu, logvar) = (p.dense(x, mu, 11), p.dense(x, logvar, 11));
        let sigma = p.map(Opcode::Exp, &[logvar], 10, 1);
        let mu = p.clamp(mu, 8, -2000, 2000);
        let (planar, radial) = (p.dense(x, planar, 9), p.dense(x, radial, 8));
        let terms = p.begin(2);
        let noise = p.normal(3);
        let z = p.map(Opcode::Fma, &[noise, sigma, mu], 10, 0);
        let z = p.flow(Opcode::Planar, z, planar, false);
        let bent = p.extra();
        let z = p.flow(Opcode::Radial, z, radial, false);
        let stretched = p.extra();
        let log_det = p.scalar(Opcode::Add, &[bent, stretched], 0);
        let prior = p.scalar(Opcode::HalfSumSq, &[z], 0);
        let term = p.scalar(Opcode::Sub, &[prior, log_det], 0);
        p.end(terms, term);
        let y = p.scalar(Opcode::Mean, &[terms], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Decode, |p| {
        let z = p.input(3, 11, 8192);
        let x = steps.into_iter().fold(z, |x, (opcode, constants)| {
            let params = p.dense(x, constants, 8);
            p.flow(opcode, x, params, false)
        });
        p.outputs(&[x]);
    });
    parts.program(ProgramKind::Invert, |p| {
        let x = p.input(3, 11, 16384);
        let z = steps.into_iter().rev().fold(x, |z, (opcode, constants)| {
            let params = p.dense(z, constants, 8);
            p.flow(opcode, z, params, true)
        });
        p.outputs(&[z]);
    });
    parts.meta = meta_of("flow", "flow", Likelihood::Gaussian, 3, 0);
    parts
}

/// A posterior with a rank-one covariance, and imputation of missing elements.
pub(super) fn dlgm() -> Parts {
    let mut parts = Parts::new();
    let [mu, logvar, factor] =
        [Packing::RowMajor, Packing::Dsp4, Packing::RowMajor].map(|packing| layer(&mut parts, [3, 4], packing, 32768));
    let mean = layer(&mut parts, [4, 3], Packing::RowMajor, 32768);
    let encoder = |p: &mut Program<'_>, x: u16| {
        let (mu, logvar, v) = (p.dense(x, mu, 11), p.dense(x, logvar, 11), p.dense(x, factor, 9));
        let sigma = p.map(Opcode::Exp, &[logvar], 10, 1);
        (p.clamp(mu, 8, -2000, 2000), logvar, sigma, v)
    };
    let draw = |p: &mut Program<'_>, mu: u16, sigma: u16, v: u16| {
        let noise = p.normal(3);
        let noise = p.map(Opcode::RankOne, &[noise, v], 12, 0);
        p.map(Opcode::Fma, &[noise, sigma, mu], 9, 0)
    };
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(4, 11, 16384);
        let (mu, logvar, sigma, v) = encoder(p, x);
        let w = p.map(Opcode::Mul, &[sigma, v], 8, 0);
        let (diagonal, rank_one) = (p.scalar(Opcode::Kl, &[mu, logvar], 0), p.scalar(Opcode::RankOneKl, &[v, w], 0));
        let y = p.scalar(Opcode::Add, &[diagonal, rank_one], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::ScoreImportance, |p| {
        let x = p.input(4, 11, 16384);
        let (mu, _, sigma, v) = encoder(p, x);
        let terms = p.begin(3);
        let z = draw(p, mu, sigma, v);
        let prior = p.scalar(Opcode::HalfSumSq, &[z], 0);
        let log_det = p.scalar(Opcode::HalfLogDet, &[v], 0);
        let term = p.scalar(Opcode::Sub, &[log_det, prior], 0);
        p.end(terms, term);
        let bound = p.scalar(Opcode::LogMeanExp, &[terms], 0);
        let y = p.scalar(Opcode::Neg, &[bound], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Impute, |p| {
        let (x, mask) = (p.input(4, 11, 16384), p.input(4, 0, 1));
        let (mu, _, sigma, v) = encoder(p, x);
        let z = draw(p, mu, sigma, v);
        let drawn = p.dense(z, mean, 11);
        let y = p.map_in_place(Opcode::Select, &[drawn, x, mask], 11, 0);
        let y = p.map(Opcode::Select, &[x, y, mask], 11, 0);
        p.outputs(&[y]);
    });
    parts.meta = meta_of("dlgm", "dlgm", Likelihood::Gaussian, 3, 0);
    parts
}

/// Three classes: sampling, classification, and a score summed over the classes.
pub(super) fn adgm() -> Parts {
    let mut parts = Parts::new();
    let class = layer(&mut parts, [3, 6], Packing::Dsp4, 32768);
    let logits = layer(&mut parts, [3, 4], Packing::RowMajor, 32768);
    let pixels = layer(&mut parts, [4, 7], Packing::RowMajor, 32768);
    let decoder = |p: &mut Program<'_>, z: u16, class: u16| {
        let both = p.concat(z, class, 11);
        p.dense(both, pixels, 11)
    };
    parts.program(ProgramKind::SampleClass, |p| {
        let class = p.input(3, 14, 16384);
        let z = p.normal(4);
        let logits = decoder(p, z, class);
        let y = p.map_in_place(Opcode::Sigmoid, &[logits], 15, 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Classify, |p| {
        let x = p.input(4, 14, 16384);
        let draws = p.begin_vectors(3, 3, 15);
        let auxiliary = p.normal(2);
        let both = p.concat(x, auxiliary, 12);
        let logits = p.dense(both, class, 11);
        let probabilities = p.map(Opcode::Softmax, &[logits], 15, 0);
        p.end(draws, probabilities);
        let y = p.mean_vectors(draws, 3);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(4, 14, 16384);
        let values = p.begin(3);
        let class = p.one_hot(3, 14, 16384);
        let decoded = decoder(p, x, class);
        let value = p.scalar(Opcode::BernoulliNll, &[decoded, x], 0);
        p.end(values, value);
        let logits = p.dense(x, logits, 11);
        let y = p.scalar(Opcode::FreeEnergy, &[values, logits], 0);
        p.outputs(&[y]);
    });
    parts.meta = meta_of("adgm", "adgm", Likelihood::Bernoulli, 4, 3);
    parts
}

/// Two Gaussians of three dimensions: the density of a row, which of them it belongs to, and draws.
pub(super) fn mixture() -> Parts {
    let mut parts = Parts::new();
    let whiten = layer(&mut parts, [6, 3], Packing::RowMajor, 32768);
    let points = layer(&mut parts, [6, 3], Packing::Dsp4, 32768);
    let peaks = constants(&mut parts, 2, 1, 0, -300);
    let passed = constants(&mut parts, 3, 1, -200, 150);
    let is_second = layer(&mut parts, [3, 2], Packing::RowMajor, 16384);
    let logits = |p: &mut Program<'_>| {
        let x = p.input(3, 11, 32767);
        let u = p.dense(x, whiten, 9);
        let one = p.slice(x, 0, 1);
        let peaks = p.dense(one, peaks, 8);
        let op = record(Opcode::GaussianLogits);
        p.op(op, &[peaks, u], nats_of(2))
    };
    let choose = |p: &mut Program<'_>, second: u16| {
        let z = p.normal(3);
        let u = p.dense(z, points, 11);
        let [first, other] = [0, 3].map(|start| p.slice(u, start, 3));
        let y = p.map_in_place(Opcode::Select, &[other, first, second], 11, 0);
        p.outputs(&[y]);
    };
    parts.program(ProgramKind::Score, |p| {
        let logits = logits(p);
        let density = p.scalar(Opcode::LogMeanExp, &[logits], 0);
        let y = p.scalar(Opcode::Neg, &[density], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Classify, |p| {
        let logits = logits(p);
        let y = p.map(Opcode::Posterior, &[logits], 15, 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Sample, |p| {
        let e = p.normal(1);
        let second = p.dense(e, passed, 8);
        choose(p, second);
    });
    parts.program(ProgramKind::SampleClass, |p| {
        let class = p.input(2, 14, 16384);
        let second = p.dense(class, is_second, 11);
        choose(p, second);
    });
    parts.meta = meta_of("mixture", "mixture", Likelihood::Gaussian, 3, 2);
    parts
}

/// A 4x4 image that is reduced to 2x2x2 by a convolution and restored by a transposed one, in grey levels.
pub(super) fn conv() -> Parts {
    let mut parts = Parts::new();
    let down = ConvGeometry { height: 4, width: 4, kernel: 3, stride: 2, up: 1, pad: 1, output_padding: 0 };
    let up = ConvGeometry { height: 2, width: 2, stride: 1, up: 2, output_padding: 1, ..down };
    let taps = |geometry: ConvGeometry, phase: u32| geometry.taps(phase) as usize;
    let encoder = layer(&mut parts, [2, taps(down, 0)], Packing::RowMajor, 32768);
    let phases: Vec<u16> = (0..up.phases())
        .map(|phase| {
            let packing = if phase % 2 == 0 { Packing::Dsp4 } else { Packing::RowMajor };
            layer(&mut parts, [1, 2 * taps(up, phase)], packing, 20000)
        })
        .collect();
    let log_scale = layer(&mut parts, [16, 8], Packing::RowMajor, 20000);
    let hidden = |p: &mut Program<'_>, x: u16| {
        let h = p.conv(x, encoder, down, 11);
        let h = p.map_in_place(Opcode::Relu, &[h], 11, 0);
        p.clamp(h, 11, 0, 20000)
    };
    parts.program(ProgramKind::Reconstruct, |p| {
        let x = p.input(16, 14, 16384);
        let h = hidden(p, x);
        let y = p.conv(h, phases[0], up, 14);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(16, 14, 16384);
        let h = hidden(p, x);
        let mean = p.conv(h, phases[0], up, 14);
        let log_scale = p.dense(h, log_scale, 12);
        let nll = p.scalar(Opcode::LogisticNll, &[mean, log_scale, x], 0);
        let prior = p.scalar(Opcode::HalfSumSq, &[h], 0);
        let y = p.scalar(Opcode::Add, &[nll, prior], 0);
        p.outputs(&[y]);
    });
    parts.meta = meta_of("vae", "conv", Likelihood::Logistic, 8, 0);
    parts
}

/// A window of 64 samples: its band energies with both kinds of bands and tapers, its statistics, and their standardised
/// distance.
pub(super) fn front() -> Parts {
    let mut parts = Parts::new();
    let edges = constants(&mut parts, 9, 1, 1 << 8, 4 << 8);
    let means = constants(&mut parts, 21, 1, -3000 << 8, 99 << 8);
    let scales = constants(&mut parts, 21, 1, 900 << 8, 31 << 8);
    let features = |p: &mut Program<'_>, x: u16| {
        let one = p.slice(x, 0, 1);
        let edges = p.dense(one, edges, 0);
        let bands = |p: &mut Program<'_>, taper: Taper, triangular: bool| {
            let layout = Bands { window_log2: 6, taper, triangular };
            let op = Op { imm: layout.pack(), ..record(Opcode::LogBands) };
            p.op(op, &[x, edges], vector_of(8 - u32::from(triangular), 10))
        };
        let (linear, mel) = (bands(p, Taper::Rectangular, false), bands(p, Taper::Hann, true));
        let all = Statistic::ALL.into_iter().fold(0, |all, statistic| all | statistic.bit());
        let statistics = p.op(Op { imm: all, ..record(Opcode::Statistics) }, &[x], vector_of(6, 10));
        let bands = p.concat(linear, mel, 10);
        let raw = p.concat(bands, statistics, 10);
        let (scales, means) = (p.dense(one, scales, 11), p.dense(one, means, 11));
        p.map(Opcode::Fma, &[raw, scales, means], 8, 0)
    };
    parts.program(ProgramKind::Score, |p| {
        let x = p.input(64, 0, 32768);
        let features = features(p, x);
        let y = p.scalar(Opcode::HalfSumSq, &[features], 0);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::Features, |p| {
        let x = p.input(64, 0, 32768);
        let y = features(p, x);
        p.outputs(&[y]);
    });
    parts.program(ProgramKind::ScoreFeatures, |p| {
        let x = p.input(21, 8, 32768);
        let y = p.scalar(Opcode::HalfSumSq, &[x], 0);
        p.outputs(&[y]);
    });
    parts.meta = meta_of("vae", "front", Likelihood::Gaussian, 1, 0);
    parts
}

fn record(opcode: Opcode) -> Op {
    Op { opcode, param: 0, output: NO_TENSOR, inputs: [NO_TENSOR; 3], arg: 0, imm: 0 }
}
