use super::*;
use crate::fixed::generator::assert_table;
use crate::rng::Xoshiro128PlusPlus;
use core::f64::consts::{PI, TAU};
use rand_core::Rng;
use std::{vec, vec::Vec};

#[test]
fn quarter_is_the_computed_one() {
    let sine = |k: i32| ((f64::from(k) * PI / 512.0).sin() * 2f64.powi(31)).min(f64::from(i32::MAX));
    assert_table(&QUARTER, &(0..=256).map(sine).collect::<Vec<_>>());
}

/// Squared magnitudes of the coefficients 0 to N/2, by the definition.
pub fn exact(x: &[i16], taper: Taper) -> Vec<f64> {
    let n = x.len();
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
    let factor = |i: usize| match taper {
        Taper::Rectangular => 1.0,
        Taper::Hann => (PI * i as f64 / n as f64).sin().powi(2),
    };
    let tapered: Vec<f64> = x.iter().enumerate().map(|(i, &x)| (f64::from(x) - mean) * factor(i)).collect();
    let turns: Vec<(f64, f64)> = (0..n).map(|i| (TAU * i as f64 / n as f64).sin_cos()).collect();
    let coefficient = |k: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, x) in tapered.iter().enumerate() {
            let (sin, cos) = turns[i * k % n];
            (re, im) = (re + x * cos, im - x * sin);
        }
        re * re + im * im
    };
    (0..=n / 2).map(coefficient).collect()
}

fn computed(x: &[i16], taper: Taper) -> Option<Vec<f64>> {
    let mut scratch = vec![0; x.len()];
    let power = power(x, taper, &mut scratch)?;
    Some((0..=x.len() / 2).map(|k| power.get(&scratch, k) as f64 * (-f64::from(power.frac)).exp2()).collect())
}

/// Signals of every kind: tones, noise, steps, an impulse and the extremes.
pub fn signals(n: usize) -> Vec<Vec<i16>> {
    let mut rng = Xoshiro128PlusPlus::new(n as u64);
    let mut noise = |amplitude: f64| (f64::from(rng.next_u32() as i32) / 2f64.powi(31)) * amplitude;
    let mut all = Vec::new();
    for amplitude in [3.0, 40.0, 1000.0, 32000.0] {
        for cycles in [1.0, 5.0, 7.3, n as f64 / 4.0, n as f64 / 2.0 - 1.0] {
            all.push((0..n).map(|i| (amplitude * (TAU * cycles * i as f64 / n as f64).cos()).round() as i16).collect());
        }
        all.push((0..n).map(|_| noise(amplitude) as i16).collect());
        all.push((0..n).map(|i| (500.0 + amplitude * f64::from(u8::from(i == n / 3))).min(32767.0) as i16).collect());
        all.push((0..n).map(|i| if i < n / 2 { -amplitude } else { amplitude } as i16).collect());
    }
    all.push((0..n).map(|i| if i % 2 == 0 { i16::MIN } else { i16::MAX }).collect());
    all.push((0..n).map(|i| if i == 0 { i16::MIN } else { i16::MAX }).collect());
    all
}

#[test]
fn amplitudes_follow_the_definition() {
    let mut worst: f64 = 0.0;
    for log2 in WINDOW_LOG2 {
        for x in signals(1 << log2) {
            for taper in [Taper::Rectangular, Taper::Hann] {
                let (exact, got) = (exact(&x, taper), computed(&x, taper).unwrap());
                // The largest deviation that the samples have is the unit of the error of an amplitude.
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
                let largest = x.iter().map(|&x| (f64::from(x) - mean).abs()).fold(0.0, f64::max);
                let unit = largest * x.len() as f64 * (-28f64).exp2();
                for (exact, got) in exact.iter().zip(got) {
                    worst = worst.max((exact.sqrt() - got.sqrt()).abs() / unit);
                }
            }
        }
    }
    std::println!("an amplitude is off by at most {worst:.2} 2^-28 of the largest deviation times N");
    assert!(worst < 4.0, "{worst}");
}

#[test]
fn equal_samples_and_wrong_lengths_have_no_spectrum() {
    for n in [0, 1, 32, 63, 96, 2048] {
        assert!(computed(&vec![1; n], Taper::Hann).is_none());
        assert!(computed(&(0..n as i16).collect::<Vec<_>>(), Taper::Hann).is_none());
    }
    assert!(computed(&[i16::MAX; 64], Taper::Rectangular).is_none());
    assert!(power(&[1; 64], Taper::Hann, &mut [0; 63]).is_none());
    assert!(power(&[1; 64], Taper::Hann, &mut [0; 128]).is_none());
}
