//! A simulated machine: recordings of an accelerometer on a motor, for demonstrations and tests without data of one's own.
//!
//! The motor turns about 24 times a second, a little faster or slower in the course of a minute, and under a load that
//! varies. The sensor has three axes, 2048 units for each g, and 200 samples a second.

use std::f64::consts::TAU;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::super::split::Part;
use super::super::values::Values;
use super::WindowReading;
use super::marks::Classes;
use super::recording::{Marks, Recording};
use super::source::Source;

/// Samples a second.
pub const RATE: f64 = 200.0;
/// Names of the axes.
pub const AXES: [&str; 3] = ["x", "y", "z"];
/// Samples of a recording of the data set: three minutes.
const SAMPLES: usize = 36_000;

/// What is wrong with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The rotor is out of balance: the vibration at the speed of rotation is twice as strong.
    Imbalance,
    /// A bearing is worn: it rings at 83 Hz nine times a second.
    Bearing,
    /// A screw is loose: vibration at half the speed of rotation.
    Looseness,
}

/// The simulation, which returns one sample after another.
#[derive(Debug, Clone)]
pub struct Machine {
    rng: Xoshiro256PlusPlus,
    /// What is wrong from now on.
    pub fault: Fault,
    /// Samples so far.
    at: u64,
    /// Turns of the rotor so far, and of the ringing of the bearing since its last blow.
    turns: f64,
    since_blow: f64,
}

impl Machine {
    /// A machine without a fault. The seed determines its noise and the phase of its load.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let turns = uniform(&mut rng) * 1000.0;
        Self { rng, fault: Fault::None, at: 0, turns, since_blow: 0.0 }
    }

    /// The next sample: acceleration along the three axes in whole units.
    pub fn sample(&mut self) -> [i16; 3] {
        let time = self.at as f64 / RATE;
        self.at += 1;
        let speed = 24.0 + 0.4 * (TAU * time / 37.0).sin() + 0.05 * self.normal();
        self.turns += speed / RATE;
        self.since_blow += 1.0 / RATE;
        if self.since_blow > 1.0 / 9.3 {
            self.since_blow = 0.0;
        }
        let load = 1.0 + 0.12 * (TAU * time / 53.0).sin();
        let wave = |turns: f64, phase: f64| (TAU * (self.turns * turns + phase)).sin();
        let first = if self.fault == Fault::Imbalance { 2.0 } else { 1.0 };
        let half = if self.fault == Fault::Looseness { 70.0 } else { 0.0 };
        let ringing = if self.fault == Fault::Bearing {
            120.0 * (-40.0 * self.since_blow).exp() * (TAU * 83.0 * self.since_blow).sin()
        } else {
            0.0
        };
        // Strength of each motion along each axis, and what gravity adds.
        let motions = [
            (load * first * 180.0 * wave(1.0, 0.0), [1.0, 0.8, 0.3]),
            (load * 60.0 * wave(2.0, 0.2), [0.6, 1.0, 0.4]),
            (load * 25.0 * wave(3.0, 0.1), [0.5, 0.5, 1.0]),
            (half * wave(0.5, 0.0), [0.2, 1.0, 0.5]),
            (ringing, [0.3, 0.4, 1.0]),
        ];
        let mut axes = [0, 1, 2].map(|axis| motions.iter().map(|(motion, share)| motion * share[axis]).sum::<f64>());
        axes[2] += 2048.0;
        axes.map(|value| (value + 14.0 * self.normal()).round().clamp(-32768.0, 32767.0) as i16)
    }

    /// A draw of N(0, 1), by the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - uniform(&mut self.rng)).ln()).sqrt();
        radius * (TAU * uniform(&mut self.rng)).cos()
    }
}

/// A number from 0 to below 1.
fn uniform(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The data set: eight recordings of three minutes. Four train, one validates and three test, in each of which a fault
/// begins after two minutes.
pub(super) fn source(seed: u64) -> Source {
    let mut classes = Classes::default();
    let [normal, fault] = ["0", "1"].map(|name| classes.of(name));
    let tested = [Fault::Imbalance, Fault::Bearing, Fault::Looseness];
    let mut recordings = Vec::new();
    let mut crc = crc32fast::Hasher::new();
    for number in 0..8u64 {
        let mut machine = Machine::new(seed.wrapping_mul(8).wrapping_add(number));
        let begins = SAMPLES * 2 / 3;
        let later = (number as usize).checked_sub(5).map_or(Fault::None, |at| tested[at]);
        let mut values = Vec::with_capacity(3 * SAMPLES);
        for at in 0..SAMPLES {
            machine.fault = if at < begins { Fault::None } else { later };
            let sample = machine.sample();
            sample.iter().for_each(|value| crc.update(&value.to_le_bytes()));
            values.extend(sample.map(f32::from));
        }
        let name =
            if later == Fault::None { format!("run {}", number + 1) } else { format!("{later:?}").to_lowercase() };
        let mut recording = Recording::new(name, Values::Single(values), SAMPLES);
        let label = |at: usize| if at < begins || later == Fault::None { normal } else { fault };
        recording.labels = Marks::Each((0..SAMPLES).map(label).collect());
        recording.rate = Some(RATE);
        recording.parts = Marks::All(match number {
            0..4 => Part::Train,
            4 => Part::Validation,
            _ => Part::Test,
        });
        recordings.push(recording);
    }
    let record =
        WindowReading { channels: AXES.len(), names: AXES.map(str::to_owned).to_vec(), ..WindowReading::default() };
    Source {
        name: "machine".to_owned(),
        channels: AXES.map(str::to_owned).to_vec(),
        record,
        recordings,
        classes,
        notes: Vec::new(),
        crc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean square of each axis over ten seconds.
    fn energy(seed: u64, fault: Fault) -> [f64; 3] {
        let mut machine = Machine { fault, ..Machine::new(seed) };
        let samples: Vec<[i16; 3]> = (0..2000).map(|_| machine.sample()).collect();
        [0, 1, 2].map(|axis| {
            let values = || samples.iter().map(|sample| f64::from(sample[axis]));
            let mean = values().sum::<f64>() / 2000.0;
            values().map(|value| (value - mean).powi(2)).sum::<f64>() / 2000.0
        })
    }

    #[test]
    fn a_seed_determines_the_samples() {
        let samples = |seed| -> Vec<[i16; 3]> {
            let mut machine = Machine::new(seed);
            (0..50).map(|_| machine.sample()).collect()
        };
        assert_eq!(samples(1), samples(1));
        assert_ne!(samples(1), samples(2));
    }

    #[test]
    fn faults_show_on_the_axes_that_they_move() {
        let normal = energy(3, Fault::None);
        assert!(energy(3, Fault::Imbalance)[0] > 2.0 * normal[0]);
        assert!(energy(3, Fault::Bearing)[2] > 1.05 * normal[2]);
        assert!(energy(3, Fault::Looseness)[1] > 1.1 * normal[1]);
    }

    #[test]
    fn the_data_set_has_faults_in_its_last_recordings_only() {
        let source = source(0);
        let faults = |recording: &Recording| (0..SAMPLES).filter(|at| recording.labels.at(*at) == Some(1)).count();
        let found: Vec<usize> = source.recordings.iter().map(faults).collect();
        assert_eq!(found, [0, 0, 0, 0, 0, SAMPLES / 3, SAMPLES / 3, SAMPLES / 3]);
        assert_eq!(source.recordings[6].name, "bearing");
    }
}
