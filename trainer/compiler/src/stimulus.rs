//! Inputs for programs that are calibrated, compared or tested: rows of data, and suitable random values for all other
//! inputs.

use elbo::normal;
use elbo::program::Role;
use elbo::rng::Xoshiro128PlusPlus;
use rand_core::{Rng, SeedableRng};

use crate::graph::FloatProgram;

/// The range of the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputRange {
    /// Pixels in [0, 1]: Q1.14, exact for bits and sixteenths.
    Unit,
    /// Real numbers within this magnitude. Larger values are clamped.
    Real(f32),
    /// Whole numbers of 16 bits, of which a [front end](crate::front) makes real numbers within this magnitude.
    Samples(f32),
}

impl InputRange {
    /// The ranges of Q4.11 to Q7.8, a little smaller than a power of two.
    const REAL: [f32; 4] = [15.99, 31.98, 63.96, 127.92];
    /// How far beyond the largest value of normal rows an anomaly is still told from a smaller one.
    const HEADROOM: f32 = 2.0;

    /// The range that is at least `self` and has room for anomalies: twice the largest magnitude in `rows`, which are
    /// normal, as far as 16 bits allow. Pixels have their own range.
    pub fn with_headroom(self, rows: &[Vec<f32>]) -> Self {
        let Self::Real(least) = self else { return self };
        let largest = rows.iter().flatten().fold(0f32, |largest, value| largest.max(value.abs()));
        let wanted = Self::HEADROOM * largest;
        let range = Self::REAL.into_iter().find(|range| wanted <= *range).unwrap_or(Self::REAL[3]);
        Self::Real(if wanted <= least { least } else { range.max(least) })
    }
}

/// The generator of noise and stimuli, which is that of the runtime.
pub fn generator(seed: u64) -> Xoshiro128PlusPlus {
    Xoshiro128PlusPlus::seed_from_u64(seed)
}

/// Draws of N(0, 1), exactly as on a device.
pub fn fill_normal(rng: &mut Xoshiro128PlusPlus, out: &mut [f32]) {
    let mut q = vec![0i16; out.len()];
    normal::fill_normal(rng, &mut q);
    out.iter_mut().zip(q).for_each(|(out, q)| *out = f32::from(q) / (1 << normal::FRAC) as f32);
}

/// Inputs for run `index` of a program: the row `x`, the classes in turn, a latent from the prior, and half of the row
/// observed. Where `x` is a window of samples, features are drawn like a latent.
pub fn inputs(program: &FloatProgram, x: &[f32], index: usize, rng: &mut Xoshiro128PlusPlus) -> Vec<Vec<f32>> {
    let lengths = program.nodes.iter().filter(|node| node.is_input()).map(|node| node.len);
    let of_input = |(role, len): (&Role, usize)| match role {
        Role::Data => x.to_vec(),
        Role::Features if x.len() == len => x.to_vec(),
        Role::Latent | Role::Features => {
            let mut z = vec![0.0; len];
            fill_normal(rng, &mut z);
            z
        }
        Role::Class => (0..len).map(|class| f32::from(u8::from(class == index % len))).collect(),
        Role::Mask => (0..len).map(|_| (rng.next_u32() >> 31) as f32).collect(),
    };
    program.kind.input_roles().iter().zip(lengths).map(of_input).collect()
}
