//! A simulated machine in the place of a sensor. It is the motor that the data set `machine` records, less its slow
//! changes, and the only part of the monitor that computes in floating point.

use elbo::normal::fill_normal;
use elbo::rng::Xoshiro128PlusPlus;
use micromath::F32;

use super::source::{Next, Samples};
use crate::board::Board;

/// Samples a second.
pub const RATE_HZ: u32 = 200;
/// Turns a second.
const SPEED: f32 = 24.0;
/// Strength of the motions at once, twice and three times the speed, and how strongly each axis feels them.
const MOTIONS: [(f32, f32, [f32; 3]); 3] =
    [(1.0, 180.0, [1.0, 0.8, 0.3]), (2.0, 60.0, [0.6, 1.0, 0.4]), (3.0, 25.0, [0.5, 0.5, 1.0])];
/// Gravity along z.
const G: f32 = 2048.0;
const NOISE: f32 = 14.0;

/// The machine.
#[derive(Debug)]
pub struct Machine {
    rng: Xoshiro128PlusPlus,
    turns: f32,
}

impl Machine {
    /// A machine whose noise this seed determines.
    pub fn new(seed: u32) -> Self {
        Self { rng: Xoshiro128PlusPlus::new(seed.into()), turns: 0.0 }
    }

    /// The next acceleration along the three axes, 2048 for each g.
    pub fn sample(&mut self) -> [i16; 3] {
        let mut normal = [0; 4];
        fill_normal(&mut self.rng, &mut normal);
        let [jitter, noise @ ..] = normal.map(|draw| f32::from(draw) / NORMAL_ONE);
        self.turns = (self.turns + (SPEED + 0.05 * jitter) / RATE_HZ as f32) % 1.0;
        let mut axes = [0.0, 0.0, G];
        for (multiple, strength, shares) in MOTIONS {
            let wave = strength * F32(core::f32::consts::TAU * (multiple * self.turns % 1.0)).sin().0;
            axes.iter_mut().zip(shares).for_each(|(axis, share)| *axis += share * wave);
        }
        let mut sample = [0; 3];
        for ((value, axis), noise) in sample.iter_mut().zip(axes).zip(noise) {
            *value = (axis + NOISE * noise) as i16;
        }
        sample
    }
}

/// A normal draw of 1.
const NORMAL_ONE: f32 = 4096.0;

impl<B: Board> Samples<B> for Machine {
    fn next(&mut self, board: &mut B, sample: &mut [i16]) -> Next {
        board.delay_ms(1000 / RATE_HZ);
        let axes = self.sample();
        for (at, value) in sample.iter_mut().enumerate() {
            *value = axes.get(at % axes.len()).copied().unwrap_or(0);
        }
        Next::Sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_vibrates_around_gravity() {
        let mut machine = Machine::new(1);
        let samples: Vec<[i16; 3]> = (0..2000).map(|_| machine.sample()).collect();
        let moments = |axis: usize| {
            let values = || samples.iter().map(|sample| f64::from(sample[axis]));
            let mean = values().sum::<f64>() / 2000.0;
            (mean, values().map(|value| (value - mean).powi(2)).sum::<f64>() / 2000.0)
        };
        let expected = [(0.0, 180.0, 36.0, 12.5), (0.0, 144.0, 60.0, 12.5), (2048.0, 54.0, 24.0, 25.0)];
        for (axis, (gravity, first, second, third)) in expected.into_iter().enumerate() {
            let (mean, variance) = moments(axis);
            assert!((mean - gravity).abs() < 5.0, "{axis}: {mean}");
            let waves: f64 = (first * first + second * second + third * third) / 2.0 + 14.0 * 14.0;
            assert!((variance / waves - 1.0).abs() < 0.1, "{axis}: {variance}, {waves}");
        }
    }
}
