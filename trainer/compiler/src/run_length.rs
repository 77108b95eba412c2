//! Limits of detector rules for a false-alarm rate.
//!
//! A rule's false-alarm rate is one over its average run length: the mean number of windows until it alarms although
//! nothing has changed. The p-values of normal windows are uniform, so that `-ln p` has the exponential distribution with
//! mean 1. The average run length `L(s)` of a rule in state `s` then solves
//!
//! ```text
//! L(s) = 1 + integral of L(s') over the states s' without an alarm, by their probability after s
//! ```
//!
//! For averages and sums this equation is solved with the state in cells (Brook and Evans, *An approach to the probability
//! distribution of CUSUM run length*, 1972). For counts the states are finite in number, and the solution is exact.

use elbo::detector::Rule;
use elbo::{Nats, Rate};

/// Why a rule has no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunLengthError {
    /// The parameters of the rule are out of their range.
    #[error("{0}")]
    Parameter(&'static str),
    /// The rate is too rare or too frequent for the rule.
    #[error("no limit of this rule has a false-alarm rate of {0}: choose a rate from 1/2 to 1/100000000")]
    Rate(Rate),
}

/// Cells of the state of a sum or an average.
const CELLS: usize = 300;
/// Most windows of a count.
const MOST_WINDOWS: u8 = 14;

/// The average run length of a cumulative sum (see [`Rule::Cusum`]) from 0, in windows.
#[must_use]
pub fn cusum(reference: f64, limit: f64) -> f64 {
    let width = limit / CELLS as f64;
    // State 0 is a sum of 0; state i is the cell from (i - 1) width to i width, for which its middle stands.
    let middle = |state: usize| if state == 0 { 0.0 } else { (state as f64 - 0.5) * width };
    let next = |from: usize, to: usize| {
        let offset = middle(from) - reference;
        match to {
            0 => exponential(-offset),
            to => exponential(to as f64 * width - offset) - exponential((to - 1) as f64 * width - offset),
        }
    };
    run_lengths(CELLS + 1, next)[0]
}

/// The average run length of an exponentially weighted moving average (see [`Rule::Ewma`]) from 1, in windows.
#[must_use]
pub fn ewma(shift: u8, limit: f64) -> f64 {
    ewma_from(1.0, shift, limit)
}

/// As [`ewma`], from another average.
pub(crate) fn ewma_from(start: f64, shift: u8, limit: f64) -> f64 {
    let weight = (-f64::from(shift)).exp2();
    // The steps of the average, of about its weight, are resolved.
    let cells = ((4.0 * limit / weight) as usize).clamp(CELLS, 4 * CELLS);
    let width = limit / cells as f64;
    let next = |from: usize, to: usize| {
        let kept = (1.0 - weight) * (from as f64 + 0.5) * width;
        let below = |edge: f64| exponential((edge - kept) / weight);
        below((to + 1) as f64 * width) - below(to as f64 * width)
    };
    let lengths = run_lengths(cells, next);
    // Between the middles of two cells.
    let place = (start / width - 0.5).clamp(0.0, (cells - 1) as f64);
    let (low, part) = (place as usize, place.fract());
    let high = (low + 1).min(cells - 1);
    lengths[low] + part * (lengths[high] - lengths[low])
}

/// The average run length of `alarm` out of `window` windows, of which each has the probability `rate`.
///
/// # Panics
/// If there are more than 14 windows.
#[must_use]
pub fn count(alarm: u8, window: u8, rate: f64) -> f64 {
    assert!(window <= MOST_WINDOWS, "{window} windows");
    // A state is which of the last window - 1 windows were rare.
    let states = 1usize << (window - 1);
    let alarms = |bits: usize| bits.count_ones() >= u32::from(alarm);
    let mut now = vec![0.0; states];
    now[0] = 1.0;
    let (mut length, mut alive, mut last) = (0.0, 1.0, f64::INFINITY);
    // The probability to go on becomes constant, and the rest of the sum geometric.
    for _ in 0..10_000 {
        length += alive;
        let mut then = vec![0.0; states];
        let mut ended = 0.0;
        for (state, p) in now.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            for (bit, q) in [(0, 1.0 - rate), (1, rate)] {
                let bits = state << 1 | bit;
                if alarms(bits) { ended += p * q } else { then[bits & (states - 1)] += p * q }
            }
        }
        let hazard = ended / alive;
        (now, alive) = (then, alive - ended);
        if alive <= 0.0 || (hazard > 0.0 && (hazard - last).abs() <= 1e-12 * hazard) {
            return if alive > 0.0 { length + alive / hazard } else { length };
        }
        last = hazard;
    }
    length + alive / last
}

/// The rule whose cumulative sum alarms at this rate, and whose alarm ends at half its limit.
///
/// # Errors
/// [`RunLengthError`].
pub fn cusum_rule(reference: f64, rate: Rate) -> Result<Rule, RunLengthError> {
    if !(1.05..=10.0).contains(&reference) {
        return Err(RunLengthError::Parameter("the reference of a cumulative sum must lie between 1.05 and 10 nats"));
    }
    let limit = solve(rate, [1.0, 4.0], |limit| cusum(reference, limit))?;
    Ok(Rule::Cusum { reference: nats(reference), alarm: nats(limit), clear: nats(limit / 2.0) })
}

/// The rule whose average, in which the newest window has the weight `2^-shift`, alarms at this rate. Its alarm ends half way
/// between its limit and 1, the mean under normal running.
///
/// # Errors
/// [`RunLengthError`].
pub fn ewma_rule(shift: u8, rate: Rate) -> Result<Rule, RunLengthError> {
    if shift > 6 {
        return Err(RunLengthError::Parameter("the weight of an average must be at least 1/64, a shift of at most 6"));
    }
    let weight = (-f64::from(shift)).exp2();
    let start = 1.0 + 2.0 * (weight / (2.0 - weight)).sqrt();
    let limit = solve(rate, [start, start + 0.5 * (start - 1.0)], |limit| ewma(shift, limit))?;
    Ok(Rule::Ewma { shift, alarm: nats(limit), clear: nats(0.5 * (1.0 + limit)) })
}

/// The rule of `alarm` out of `window` windows that alarms at this rate. Its alarm ends when no window is left.
///
/// # Errors
/// [`RunLengthError`].
pub fn count_rule(alarm: u8, window: u8, rate: Rate) -> Result<Rule, RunLengthError> {
    if !(1..=window).contains(&alarm) || window > MOST_WINDOWS {
        return Err(RunLengthError::Parameter("a count takes 1 to 14 windows, and at most as many of them alarm"));
    }
    // In the logarithm of the rate of a single window.
    let single = solve(rate, [3.0, 4.0], |log| count(alarm, window, (-log).exp().min(1.0)))?;
    // Not more frequent than asked for.
    let below = (single.exp() * 65536.0).ceil().min(f64::from(u32::MAX)) as u32;
    let rate = Rate::new(65536, below).ok_or(RunLengthError::Rate(rate))?;
    Ok(Rule::Count { rate, window, alarm, clear: 1 })
}

/// The limit of a drift test ([`DriftConfig`](elbo::detector::DriftConfig)) for the rate of blocks that are falsely taken for
/// moved: the upper quantile of the chi-square distribution with seven degrees of freedom, in Q16.
#[must_use]
pub fn chi_square(rate: Rate) -> u32 {
    let share = f64::from(rate.numerator()) / f64::from(rate.denominator());
    let (mut low, mut high) = (0.0, 200.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if above_chi_square(middle) > share { low = middle } else { high = middle }
    }
    (high * 65536.0).ceil() as u32
}

/// The probability that a chi-square number with seven degrees of freedom exceeds `x`:
/// `erfc(sqrt(x / 2)) + sqrt(2 x / pi) exp(-x / 2) (1 + x / 3 + x^2 / 15)`.
fn above_chi_square(x: f64) -> f64 {
    // erfc(t) = 2 / sqrt(pi) times the integral of exp(-u^2) from t on, by Simpson's rule.
    let t = (0.5 * x).sqrt();
    let (steps, step) = (2000, 8.0 / 2000.0);
    let value = |at: usize| (-(t + step * at as f64).powi(2)).exp();
    let inner: f64 = (1..steps).map(|at| if at % 2 == 1 { 4.0 * value(at) } else { 2.0 * value(at) }).sum();
    let erfc = 2.0 / std::f64::consts::PI.sqrt() * step / 3.0 * (value(0) + inner + value(steps));
    erfc + (2.0 * x / std::f64::consts::PI).sqrt() * (-0.5 * x).exp() * (1.0 + x / 3.0 + x * x / 15.0)
}

/// The distribution function of the exponential distribution with mean 1.
fn exponential(x: f64) -> f64 {
    if x > 0.0 { -(-x).exp_m1() } else { 0.0 }
}

fn nats(value: f64) -> Nats {
    Nats::from_bits((value * 65536.0).ceil() as i64)
}

/// The average run length from every state, by Gaussian elimination of `(I - Q) L = 1`. The matrix is diagonally dominant.
fn run_lengths(states: usize, next: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = (0..states)
        .map(|from| {
            let mut row: Vec<f64> = (0..states).map(|to| f64::from(u8::from(from == to)) - next(from, to)).collect();
            row.push(1.0);
            row
        })
        .collect();
    for pivot in 0..states {
        let (above, below) = rows.split_at_mut(pivot + 1);
        let reference = &above[pivot];
        for row in below {
            let factor = row[pivot] / reference[pivot];
            if factor != 0.0 {
                row[pivot..].iter_mut().zip(&reference[pivot..]).for_each(|(to, from)| *to -= factor * from);
            }
        }
    }
    let mut lengths = vec![0.0; states];
    for at in (0..states).rev() {
        let known: f64 = (at + 1..states).map(|other| rows[at][other] * lengths[other]).sum();
        lengths[at] = (rows[at][states] - known) / rows[at][at];
    }
    lengths
}

/// The parameter with which the average run length is one over the rate, by the secant method on its logarithm, which is
/// nearly linear in the parameter.
fn solve(rate: Rate, start: [f64; 2], length: impl Fn(f64) -> f64) -> Result<f64, RunLengthError> {
    let wanted = f64::from(rate.denominator()) / f64::from(rate.numerator());
    if !(2.0..=1e8).contains(&wanted) {
        return Err(RunLengthError::Rate(rate));
    }
    let miss = |at: f64| length(at).ln() - wanted.ln();
    let [mut a, mut b] = start;
    let mut of_a = miss(a);
    for _ in 0..40 {
        let of_b = miss(b);
        if of_b.abs() < 1e-6 {
            return Ok(b);
        }
        let slope = (of_b - of_a) / (b - a);
        // A step beyond half the way to 0, or more than doubling, would leave the range in which the logarithm is smooth.
        let next = (b - of_b / slope).clamp(0.5 * b, 2.0 * b);
        (a, of_a, b) = (b, of_b, next);
        if !b.is_finite() {
            break;
        }
    }
    Err(RunLengthError::Rate(rate))
}

#[cfg(test)]
mod tests;
