//! Statistics of a window of samples.

use super::bounds::{OperandError, require};
use super::machine::{Machine, Step, apart_exact};
use super::spectrum::{LEAST, log_bound, rounded};
use super::{Count, Matrices, Operation, Steps, Transform};
use crate::exact::product;
use crate::fixed::{self, ln_q45};
use crate::front::Statistic;

pub(super) struct Statistics;

/// Longest window.
const MAX_LEN: u32 = 1 << 12;

impl Operation for Statistics {
    const STEPS: Steps = Steps::of(200, 20);
    const ERROR: &'static str = "0.5 LSB + 2^-14, or 2^-9 of a kurtosis";
    const LIMIT: &'static str = "logarithms of units: -16";

    fn bound(o: &Step<'_>, _: &Matrices<'_>) -> Result<u16, OperandError> {
        require((2..=MAX_LEN).contains(&o.a().len()), OperandError::Shape)?;
        let known = o.op.imm >> Statistic::ALL.len() == 0;
        require(known && o.op.imm.count_ones() == o.y().len(), OperandError::Shape)?;
        Ok(log_bound(o))
    }

    fn cost(o: &Step<'_>, _: &Matrices<'_>) -> Count {
        let sorted = if Statistic::MedianAbsolute.is_in(o.op.imm) { o.a().len() as usize } else { 0 };
        Count::of_steps(product(sorted, MEDIAN).saturating_add(product(o.y().len() as usize, EACH)))
    }
}

/// Steps of each sample for the median.
const MEDIAN: usize = 70;
/// Steps of each result.
const EACH: usize = 60;

impl Transform for Statistics {
    fn run(machine: &mut Machine<'_, '_>, step: &Step<'_>) {
        if let Some((x, out)) = apart_exact(machine.arena, step.a(), step.y()) {
            // After a change of the flash a window may be longer.
            let x = x.get(..MAX_LEN as usize).unwrap_or(x);
            let moments = Moments::of(x);
            let wanted = Statistic::ALL.into_iter().filter(|statistic| statistic.is_in(step.op.imm));
            for (out, statistic) in out.iter_mut().zip(wanted) {
                *out = rounded(moments.statistic(statistic, x), step.output_frac());
            }
        }
    }
}

/// Sums over a window of at least two and at most 4096 samples. Deviations from the mean are multiplied by the number of
/// samples N, which makes them exact, and are at most 2^28.
struct Moments {
    len: u64,
    largest: u32,
    absolute: u64,
    crossings: u32,
    /// Sum of squares of deviations without their last `shift` bits.
    squares: u64,
    shift: u32,
    /// Sums of squares and of fourth powers of deviations that are scaled to 12 bits.
    second: u64,
    fourth: u64,
}

impl Moments {
    fn of(x: &[i16]) -> Self {
        let n = x.len() as i32;
        let sum: i32 = x.iter().map(|&x| i32::from(x)).sum();
        let deviations = || x.iter().map(|&x| i32::from(x).wrapping_mul(n).wrapping_sub(sum));
        let largest = deviations().map(i32::unsigned_abs).max().unwrap_or(0);
        let bits = 32 - largest.leading_zeros();
        let shift = bits.saturating_sub(25);
        let (mut absolute, mut squares, mut second, mut fourth) = (0, 0, 0, 0);
        let (mut crossings, mut negative) = (0, None);
        for d in deviations() {
            absolute += u64::from(d.unsigned_abs());
            squares += square(d >> shift);
            let scaled = square((((i64::from(d) << 13 >> bits) + 1) >> 1) as i32);
            second += scaled;
            fourth += scaled * scaled;
            crossings += u32::from(negative.is_some_and(|before| before != (d < 0)));
            negative = Some(d < 0);
        }
        Self { len: x.len() as u64, largest, absolute, crossings, squares, shift, second, fourth }
    }

    /// A statistic in Q45.
    fn statistic(&self, statistic: Statistic, x: &[i16]) -> i64 {
        if self.largest == 0 {
            return if statistic.is_scale() { LEAST } else { 0 };
        }
        let n = log(self.len);
        let variance = || ln_q45(self.squares, 0) + 2 * i64::from(self.shift) * log(2) - 3 * n;
        match statistic {
            Statistic::Variance => variance().max(LEAST),
            Statistic::MeanAbsolute => (log(self.absolute) - 2 * n).max(LEAST),
            Statistic::MedianAbsolute => match quadruple_median_deviation(x) {
                0 => LEAST,
                deviation => log(deviation.into()) - log(4),
            },
            Statistic::Crest => log(self.largest.into()) - n - variance() / 2,
            Statistic::Kurtosis => log(self.fourth) + n - 2 * log(self.second),
            Statistic::Crossings => fixed::divide(u64::from(self.crossings) << 45, self.len.max(1) as u32) as i64,
        }
    }
}

fn log(value: u64) -> i64 {
    ln_q45(value, 0)
}

fn square(d: i32) -> u64 {
    u64::from(d.unsigned_abs()) * u64::from(d.unsigned_abs())
}

/// Four times the median of |x - m|, for the median m of x.
fn quadruple_median_deviation(x: &[i16]) -> u32 {
    // Twice the median, so that it is an integer.
    let middle = double_median(x, |x| (i32::from(x) + (1 << 15)) as u32) as i32 - (1 << 16);
    double_median(x, |x| (2 * i32::from(x) - middle).unsigned_abs())
}

/// Twice the median of the keys of samples, which are below 2^18. It bisects the keys and needs no memory.
fn double_median(x: &[i16], key: impl Fn(i16) -> u32) -> u32 {
    let up_to = |limit: u32| x.iter().filter(|&&x| key(x) <= limit).count();
    // The least key that at least `rank` keys do not exceed.
    let of_rank = |rank: usize| {
        let mut below = 0u32;
        for bit in (0..18).rev() {
            if up_to(below + (1 << bit) - 1) < rank {
                below += 1 << bit;
            }
        }
        below
    };
    let lower = of_rank(x.len().div_ceil(2));
    if !x.len().is_multiple_of(2) || up_to(lower) > x.len() / 2 {
        return 2 * lower;
    }
    lower + x.iter().map(|&x| key(x)).filter(|key| *key > lower).min().unwrap_or(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fft_tests::signals;
    use std::{vec, vec::Vec};

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    }

    /// The statistics by their definitions.
    fn defined(x: &[i16]) -> [f64; 6] {
        let n = x.len() as f64;
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let mean = x.iter().sum::<f64>() / n;
        let moment = |power: i32| x.iter().map(|x| (x - mean).abs().powi(power)).sum::<f64>() / n;
        let middle = median(x.clone());
        let median = median(x.iter().map(|x| (x - middle).abs()).collect());
        let peak = x.iter().map(|x| (x - mean).abs()).fold(0.0, f64::max);
        let crossings = x.windows(2).filter(|pair| (pair[0] < mean) != (pair[1] < mean)).count() as f64 / n;
        let ln = |value: f64| value.ln().max(-16.0);
        if peak == 0.0 {
            return [-16.0, -16.0, -16.0, 0.0, 0.0, 0.0];
        }
        let variance = moment(2);
        [
            ln(variance),
            ln(moment(1)),
            ln(median),
            (peak / variance.sqrt()).ln(),
            (moment(4) / variance.powi(2)).ln(),
            crossings,
        ]
    }

    #[test]
    fn statistics_follow_their_definitions() {
        let mut worst = [0.0f64; 6];
        let windows = [2, 3, 64, 255, 1024, 4096].into_iter().flat_map(signals);
        for x in windows.chain([vec![7; 100]]) {
            let moments = Moments::of(&x);
            for (statistic, exact) in Statistic::ALL.into_iter().zip(defined(&x)) {
                let got = moments.statistic(statistic, &x) as f64 / 45f64.exp2();
                let worst = &mut worst[statistic as usize];
                *worst = worst.max((got - exact).abs());
            }
        }
        std::println!("statistics are off by at most {worst:.6?}");
        assert!(worst.iter().all(|worst| *worst < 0.003), "{worst:?}");
    }
}
