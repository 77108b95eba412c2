//! Logarithms of the energies of bands of a power spectrum. The [transform](crate::kernel::power) is that of the kernel.

use super::bounds::{FULL, OperandError, require};
use super::machine::{Machine, Step, range};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::fixed::ln_q45;
use crate::front::{Bands, Taper};
use crate::kernel::{Power, power};
use crate::ops::record::Op;

pub(super) struct LogBands;

impl Operation for LogBands {
    const STEPS: Steps = Steps::of(160, 24);
    const EXTRA_BOUND: u16 = FULL;
    const ERROR: &'static str = "stated in `runtime/src/ops/spectrum.rs`";
    const LIMIT: &'static str = "-16";

    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        let bands = Bands::unpack(o.op.imm).ok_or(OperandError::Shape)?;
        require(o.a().len() == bands.window_len() && o.b().len() == bands.edges(o.y().len()), OperandError::Shape)?;
        Ok(log_bound(o))
    }

    /// The transform computes in two halfwords for each sample.
    fn scratch_len(op: &Op, _: &Matrices<'_>) -> Option<u32> {
        Bands::unpack(op.imm).map(|bands| 2 * bands.window_len())
    }

    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        let log2 = o.a().len().checked_ilog2().unwrap_or(0);
        let stages = product(o.a().len() as usize, log2 as usize * BUTTERFLY);
        Count::of_steps(stages.saturating_add(product(o.y().len() as usize, BAND)))
    }
}

/// Steps of a quarter of a butterfly.
const BUTTERFLY: usize = 3;
/// Steps of each band.
const BAND: usize = 40;

impl Transform for LogBands {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        let Some(bands) = Bands::unpack(step.op.imm) else { return };
        let [x, edges, scratch, y] = step.tensors.map(|tensor| range(tensor.offset(), tensor.len()));
        // The samples and the edges may be one tensor.
        let power = match machine.arena.get_disjoint_mut([x, scratch.clone()]) {
            Ok([x, scratch]) => power(x, bands.taper, words(scratch)),
            Err(_) => return,
        };
        if let Ok([edges, scratch, out]) = machine.arena.get_disjoint_mut([edges, scratch, y]) {
            log_bands(bands, power, words(scratch), edges, (out, step.output_frac()));
        }
    }
}

fn words(scratch: &mut [i16]) -> &mut [i32] {
    bytemuck::try_cast_slice_mut(scratch).unwrap_or_default()
}

/// The natural logarithm of the energy of every band of a spectrum, at `frac` fractional bits, at most 16. The energy is the part of the
/// samples' mean square that the band holds: `2 / (N sum w^2) sum |X|^2`, for the factors `w` of the taper. Energies below
/// e^-16 count as e^-16, so a silent sensor has a finite one.
///
/// The amplitude of a coefficient is off by at most 4 N 2^-28 of the largest deviation from the mean, and a weight of a
/// triangle by 2^-15. For a band whose amplitude is above 2^-19 of that deviation, the error of the logarithm is below .01,
/// plus half a unit of the result.
fn log_bands(bands: Bands, power: Option<Power>, spectrum: &[i32], edges: &[i16], (out, frac): (&mut [i16], u32)) {
    // ln of 2/N^2, or of 16/3 / N^2.
    let shape = match bands.taper {
        Taper::Rectangular => LN_2,
        Taper::Hann => LN_16_3,
    };
    let scale = shape - 2 * i64::from(bands.window_log2) * LN_2;
    let power_frac = power.map_or(0, |power| power.frac);
    let at = |k: u32| power.map_or(0, |power| power.get(spectrum, k as usize));
    let highest = (spectrum.len() / 2 + 1) as u32;
    let mut edge = Edges { edges, highest, last: 0 };
    let mut ends = [edge.next(), if bands.triangular { edge.next() } else { 0 }];
    for out in out {
        let end = edge.next();
        let energy = if bands.triangular {
            triangle(at, ends[0], ends[1], end)
        } else {
            (ends[0]..end).fold(0, |sum, k| sum + at(k))
        };
        ends = if bands.triangular { [ends[1], end] } else { [end, 0] };
        let log = if energy == 0 { LEAST } else { (ln_q45(energy, power_frac) + scale).max(LEAST) };
        *out = rounded(log, frac);
    }
}

/// Weighted sum of the power from coefficient `start` to `end`. The weight rises from 0 at the start to 1 at the `peak` and
/// falls to 0 at the end.
fn triangle(power: impl Fn(u32) -> u64, start: u32, peak: u32, end: u32) -> u64 {
    let side = |from: u32, to: u32, weight: fn(u32, u32, u32) -> u32| {
        let each = (1u32 << 24).checked_div(to - from).unwrap_or(0);
        (from..to).fold(0u64, |sum, k| sum + weighted(power(k), (each * weight(from, to, k)) >> 8))
    };
    side(start, peak, |from, _, k| k - from) + side(peak, end, |_, to, k| to - k)
}

/// `value`, below 2^62, times a Q16 factor of at most 1.
#[inline(always)]
fn weighted(value: u64, factor: u32) -> u64 {
    let (high, low) = (value >> 32, value & 0xFFFF_FFFF);
    ((high * u64::from(factor)) << 16) + ((low * u64::from(factor)) >> 16)
}

/// The edges of bands, made ascending and limited to the coefficients that there are. So the sums of all bands together
/// visit every coefficient at most once, or twice if bands overlap.
struct Edges<'e> {
    edges: &'e [i16],
    highest: u32,
    last: u32,
}

impl Edges<'_> {
    fn next(&mut self) -> u32 {
        if let Some((first, rest)) = self.edges.split_first() {
            self.last = u32::try_from(*first).unwrap_or(0).max(self.last).min(self.highest);
            self.edges = rest;
        }
        self.last
    }
}

/// The largest logarithm: that of squared deviations of 65,535 units.
const LARGEST: u32 = 23;

/// The bound of logarithms at a scale.
pub(super) fn log_bound(o: &Step<'_>) -> u16 {
    (LARGEST << o.output_frac().min(15)).min(u32::from(FULL)) as u16
}

/// A Q45 number at `frac` fractional bits, at most 16, rounded half up and saturated.
#[inline]
pub(super) fn rounded(q45: i64, frac: u32) -> i16 {
    let down = 45 - frac.min(16);
    ((q45 + ((1 << down) >> 1)) >> down).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}
/// The least logarithm, in Q45.
pub(super) const LEAST: i64 = -16 << 45;
/// ln 2 in Q45.
const LN_2: i64 = 24_387_948_313_146;
/// ln(16/3) in Q45.
const LN_16_3: i64 = 58_897_809_706_722;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::WINDOW_LOG2;
    use crate::kernel::fft_tests::{exact, signals};
    use std::{vec, vec::Vec};

    const FRAC: u32 = 10;

    fn computed(bands: Bands, x: &[i16], edges: &[i16]) -> Vec<f64> {
        let mut out = vec![0; edges.len() - bands.edges(0) as usize];
        let mut scratch = vec![0; x.len()];
        let power = power(x, bands.taper, &mut scratch);
        log_bands(bands, power, &scratch, edges, (&mut out, FRAC));
        out.into_iter().map(|q| f64::from(q) / f64::from(1 << FRAC)).collect()
    }

    /// The definition, in floating point.
    fn defined(bands: Bands, x: &[i16], edges: &[i16]) -> Vec<f64> {
        let power = exact(x, bands.taper);
        let n = x.len() as f64;
        let scale = match bands.taper {
            Taper::Rectangular => 2.0 / (n * n),
            Taper::Hann => 16.0 / (3.0 * n * n),
        };
        let weight = |band: usize, k: usize| {
            let edge = |i: usize| f64::from(edges[band + i]);
            let k = k as f64;
            if bands.triangular {
                let (rise, fall) = ((k - edge(0)) / (edge(1) - edge(0)), (edge(2) - k) / (edge(2) - edge(1)));
                rise.min(fall).max(0.0)
            } else {
                f64::from(u8::from(edge(0) <= k && k < edge(1)))
            }
        };
        let energy = |band| power.iter().enumerate().map(|(k, power)| weight(band, k) * power).sum::<f64>() * scale;
        (0..edges.len() - bands.edges(0) as usize).map(|band| energy(band).max((-16f64).exp()).ln()).collect()
    }

    #[test]
    fn bands_follow_the_definition() {
        let (mut worst, mut compared) = (0.0f64, 0);
        for window_log2 in WINDOW_LOG2 {
            let n = 1i16 << window_log2;
            for (taper, triangular) in
                [(Taper::Rectangular, false), (Taper::Hann, false), (Taper::Rectangular, true), (Taper::Hann, true)]
            {
                let bands = Bands { window_log2: window_log2 as u8, taper, triangular };
                let layouts: [Vec<i16>; 2] =
                    [(1..=n / 2 + 1).step_by(4).collect(), vec![1, 2, 4, 7, 12, 20, n / 2 + 1]];
                for x in signals(n as usize) {
                    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / f64::from(n);
                    let largest = x.iter().map(|&x| (f64::from(x) - mean).abs()).fold(0.0, f64::max);
                    for edges in &layouts {
                        for (got, exact) in computed(bands, &x, edges).into_iter().zip(defined(bands, &x, edges)) {
                            // The energy of a band below which rounding shows.
                            if exact >= 2.0 * (largest * (-19f64).exp2()).ln() {
                                worst = worst.max((got - exact).abs());
                                compared += 1;
                            }
                        }
                    }
                }
            }
        }
        std::println!("the logarithms of {compared} energies are off by at most {worst:.5}");
        assert!(worst < 0.01, "{worst}");
    }
}
