//! Calibration: runs the float programs on real inputs and chooses every tensor's power-of-two scale.

use super::graph::FloatModel;
use elbo::bounds::FULL;
use elbo::normal;
use elbo::program::{Opcode, ProgramKind};
use rand_core::SeedableRng;

/// Scale of log-variances: Q4.11, the coarsest that the exponential reads.
pub const LOGVAR_FRAC: u32 = 11;
/// Scale of a standard deviation `exp(logvar / 2)` with logvar at most 4.
const SIGMA_FRAC: u32 = 12;
/// Room above the largest value seen, so that other inputs seldom saturate.
const HEADROOM: f32 = 1.25;

/// The scales of one model: fractional bits of every class of tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// Of the data x.
    pub input: u32,
    /// Largest |q| of the data.
    pub input_bound: u16,
    /// Of latents z and posterior means.
    pub latent: u32,
    /// Of every layer's output, before its activation function.
    pub layers: Vec<u32>,
    /// Largest magnitude seen of every layer's output.
    pub ranges: Vec<f32>,
}

/// How the data are represented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRange {
    /// Pixels in [0, 1]: Q1.14, exact for bits and sixteenths.
    Unit,
    /// Standardised features within ±16: Q4.11.
    Standardised,
}

/// Finest scale at which `range` fits 16 bits, at most 15 bits.
fn finest(range: f32) -> u32 {
    (0..=15).rev().find(|frac| range * (1u32 << frac) as f32 <= 32767.0).unwrap_or(0)
}

/// Chooses scales from the ranges that `inputs` (rows of x) produce, with latents drawn with `seed`.
pub fn calibrate(model: &FloatModel, inputs: &[Vec<f32>], range: InputRange, seed: u64) -> Scales {
    let mut ranges = vec![0f32; model.layers.len()];
    let mut latent = 0f32;
    let mut rng = elbo::rng::Xoshiro128PlusPlus::seed_from_u64(seed);
    let mut noise = |out: &mut [f32]| {
        let mut q = vec![0i16; out.len()];
        normal::fill_normal(&mut rng, &mut q);
        out.iter_mut().zip(q).for_each(|(out, q)| *out = f32::from(q) / (1 << normal::FRAC) as f32);
    };
    let mut observe = |kind: ProgramKind, input: &[f32]| {
        let Some(program) = model.program(kind) else { return };
        let values = model.trace(program, input, &mut noise);
        for (node, value) in program.nodes.iter().zip(&values) {
            let largest = value.iter().fold(0f32, |largest, v| largest.max(v.abs()));
            match node.opcode {
                Some(Opcode::Dense) => ranges[node.layer] = ranges[node.layer].max(largest),
                Some(Opcode::Fma) => latent = latent.max(largest),
                _ => {}
            }
        }
    };
    for x in inputs {
        observe(ProgramKind::ScoreMonteCarlo, x);
        observe(ProgramKind::Score, x);
        observe(ProgramKind::Sample, &[]);
    }
    // A latent is at least what the prior gives: ±6.4 of noise fit ±8 in Q3.12.
    let latent = finest((latent * HEADROOM).max(7.99));
    let mut layers: Vec<u32> = ranges.iter().map(|range| finest(range * HEADROOM)).collect();
    for program in &model.programs {
        for node in &program.nodes {
            let source = node
                .inputs
                .first()
                .and_then(|input| program.nodes.get(*input))
                .filter(|n| n.opcode == Some(Opcode::Dense));
            match (node.opcode, source) {
                (Some(Opcode::Clamp), Some(logvar)) => layers[logvar.layer] = LOGVAR_FRAC,
                // Beyond ±8 both functions are flat to 16 bits' precision.
                (Some(Opcode::Tanh | Opcode::Sigmoid), Some(pre)) => {
                    let needed = finest(ranges[pre.layer] * HEADROOM);
                    layers[pre.layer] = layers[pre.layer].min(needed);
                }
                (Some(Opcode::Kl), Some(mu)) => layers[mu.layer] = latent,
                (Some(Opcode::GaussianNll), Some(mean)) => layers[mean.layer] = LOGVAR_FRAC,
                // The softplus reads one integer bit at least.
                (Some(Opcode::BernoulliNll), Some(logits)) => layers[logits.layer] = layers[logits.layer].clamp(1, 15),
                _ => {}
            }
        }
    }
    let (input, input_bound) = match range {
        InputRange::Unit => (14, 1 << 14),
        InputRange::Standardised => (LOGVAR_FRAC, i16::MAX as u16),
    };
    Scales { input, input_bound, latent, layers, ranges }
}

impl Scales {
    /// Fractional bits of what a node writes, given those of what it reads; 16 for nats.
    pub fn frac(&self, opcode: Option<Opcode>, layer: usize, kind: ProgramKind, source: Option<u32>) -> u32 {
        match opcode {
            None if kind == ProgramKind::Decode => self.latent,
            None => self.input,
            Some(Opcode::Dense) => self.layers[layer],
            Some(Opcode::Relu | Opcode::Clamp) => source.unwrap_or(0),
            Some(Opcode::Tanh | Opcode::Sigmoid) => 15,
            Some(Opcode::Exp) => SIGMA_FRAC,
            Some(Opcode::Fma) => self.latent,
            Some(Opcode::Normal) => normal::FRAC,
            Some(_) => 16,
        }
    }

    /// Largest |q| of a program's input.
    pub fn bound(&self, kind: ProgramKind) -> u16 {
        if kind == ProgramKind::Decode { FULL - 1 } else { self.input_bound }
    }
}
