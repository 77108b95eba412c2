//! The power spectrum of a window of samples, by a real fast Fourier transform of 64 to 1,024 points.
//!
//! The numbers of the transform have 32 bits. The samples are scaled up before it as far as they allow (a block floating
//! point), and every stage halves its sums, so no intermediate overflows and a quiet signal is as exact as a loud one.
//! An amplitude is off by a few units of the largest one's 2^-28: see the tests.

mod table;

use crate::front::{Taper, WINDOW_LOG2};
use table::QUARTER;

/// The squared magnitudes of the Fourier coefficients 0 to N/2 of N samples, less their mean and tapered: what
/// [`power`] leaves in its scratch, and what it returns.
#[derive(Clone, Copy)]
pub struct Power {
    /// That of coefficient N/2.
    nyquist: u64,
    /// Fractional bits of all of them. They are below 2^62.
    pub frac: u32,
}

impl Power {
    /// The squared magnitude of coefficient `k`, at [`frac`](Self::frac) fractional bits; 0 beyond N/2.
    #[inline]
    pub fn get(&self, scratch: &[i32], k: usize) -> u64 {
        let lower = scratch.as_chunks::<2>().0;
        match lower.get(k) {
            Some([low, high]) => u64::from(*low as u32) | u64::from(*high as u32) << 32,
            None if k == lower.len() => self.nyquist,
            None => 0,
        }
    }
}

/// Computes the power spectrum of the samples `x` in `scratch` of as many words. `None` if the lengths differ or are not a
/// power of two in the [range](WINDOW_LOG2), or if all samples are equal.
pub fn power(x: &[i16], taper: Taper, scratch: &mut [i32]) -> Option<Power> {
    let log2 = x.len().checked_ilog2().filter(|log2| WINDOW_LOG2.contains(log2) && x.len().is_power_of_two())?;
    let z = scratch.as_chunks_mut::<2>().0;
    if z.len() != x.len() / 2 {
        return None;
    }
    let frac = load(x, log2, taper, z)?;
    reorder(z, log2 - 1);
    transform(z);
    Some(Power { nyquist: square(z, log2), frac })
}

/// Removes the mean, scales by a power of two, tapers, and takes two samples as one complex number each. Returns the
/// fractional bits of the power; `None` if all samples are equal.
fn load(x: &[i16], log2: u32, taper: Taper, z: &mut [[i32; 2]]) -> Option<u32> {
    // N times the deviation from the mean is exact, and at most 2^26.
    let sum: i32 = x.iter().map(|&x| i32::from(x)).sum();
    let deviation = |x: i16| (i32::from(x) << log2) - sum;
    let largest = x.iter().map(|&x| deviation(x).unsigned_abs()).max().filter(|largest| *largest > 0)?;
    // Below 2^29, so that the magnitude of a complex number is below 2^29.5.
    let shift = largest.leading_zeros() - 3;
    let turn = 1 << (TURN_LOG2 - log2);
    for (index, ([re, im], x)) in (0u32..).zip(z.iter_mut().zip(x.as_chunks().0)) {
        let [even, odd]: [i16; 2] = *x;
        *re = taper.apply(deviation(even) << shift, 2 * index * turn);
        *im = taper.apply(deviation(odd) << shift, (2 * index + 1) * turn);
    }
    // The stages divide by N/2, the last step by 2, and the deviation was multiplied by N.
    Some(2 * shift)
}

impl Taper {
    /// `value` times the factor at an angle of the window.
    #[inline(always)]
    fn apply(self, value: i32, angle: u32) -> i32 {
        match self {
            Self::Rectangular => value,
            Self::Hann => {
                let (cos, _) = direction(angle);
                let factor = (1 << 30) - cos / 2;
                ((i64::from(value) * i64::from(factor) + (1 << 30)) >> 31) as i32
            }
        }
    }
}

/// Bit reversal.
fn reorder(z: &mut [[i32; 2]], log2: u32) {
    for index in 0..z.len() {
        let reversed = (index as u32).reverse_bits() >> (32 - log2);
        if index < reversed as usize && (reversed as usize) < z.len() {
            z.swap(index, reversed as usize);
        }
    }
}

/// The complex transform of numbers in bit-reversed order, divided by their count: decimation in time, radix 2 (Cooley and
/// Tukey, 1965).
fn transform(z: &mut [[i32; 2]]) {
    let (mut half, mut turn) = (1, TURN >> 1);
    while half < z.len() {
        let mut rest = &mut *z;
        while let Some((block, after)) = rest.split_at_mut_checked(2 * half) {
            let (even, odd) = block.split_at_mut_checked(half).unwrap_or_default();
            for (index, (a, b)) in (0u32..).zip(even.iter_mut().zip(odd)) {
                let (cos, sin) = direction(index * turn);
                // Half of e^(-i angle) b.
                let re = halved_product(b[0], cos) + halved_product(b[1], sin);
                let im = halved_product(b[1], cos) - halved_product(b[0], sin);
                let [ar, ai] = a.map(|a| (a + 1) >> 1);
                (*a, *b) = ([ar + re, ai + im], [ar - re, ai - im]);
            }
            rest = after;
        }
        (half, turn) = (2 * half, turn >> 1);
    }
}

/// Half of a product with a Q31 factor, rounded half up.
#[inline(always)]
fn halved_product(a: i32, factor: i32) -> i32 {
    ((i64::from(a) * i64::from(factor) + (1 << 31)) >> 32) as i32
}

/// Turns the transform of pairs of samples into the squared magnitudes of the transform of the samples, half of each, and
/// returns that of coefficient N/2.
fn square(z: &mut [[i32; 2]], log2: u32) -> u64 {
    let count = z.len();
    let turn = TURN >> log2;
    let mut nyquist = 0;
    if let Some(first) = z.first_mut() {
        let [re, im] = *first;
        nyquist = magnitude_squared((re - im + 1) >> 1, 0);
        *first = words(magnitude_squared((re + im + 1) >> 1, 0));
    }
    for k in 1..=count / 2 {
        let (Some(&[ar, ai]), Some(&[br, bi])) = (z.get(k), z.get(count - k)) else { return nyquist };
        let (cos, sin) = direction(k as u32 * turn);
        // Twice the transforms of the even and of the odd samples, the latter turned by e^(-i angle).
        let even = [ar + br, ai - bi];
        let (re, im) = (i64::from(ai + bi), i64::from(br - ar));
        let (cos, sin) = (i64::from(cos), i64::from(sin));
        let odd = [re * cos + im * sin, im * cos - re * sin];
        let quarter = |even: i32, odd: i64| (((i64::from(even) << 31) + odd + (1 << 32)) >> 33) as i32;
        let sum = magnitude_squared(quarter(even[0], odd[0]), quarter(even[1], odd[1]));
        let difference = magnitude_squared(quarter(even[0], -odd[0]), quarter(even[1], -odd[1]));
        if let Some(slot) = z.get_mut(count - k) {
            *slot = words(difference);
        }
        if let Some(slot) = z.get_mut(k) {
            *slot = words(sum);
        }
    }
    nyquist
}

#[inline(always)]
fn magnitude_squared(re: i32, im: i32) -> u64 {
    (i64::from(re) * i64::from(re) + i64::from(im) * i64::from(im)) as u64
}

#[inline(always)]
fn words(value: u64) -> [i32; 2] {
    [value as i32, (value >> 32) as i32]
}

/// Binary logarithm of the steps of a whole turn.
const TURN_LOG2: u32 = 10;
const TURN: u32 = 1 << TURN_LOG2;

/// Cosine and sine, in Q31, of `angle` 1024ths of a turn.
#[inline]
fn direction(angle: u32) -> (i32, i32) {
    let rest = (angle & 255) as usize;
    let (rising, falling) = (QUARTER[rest.min(256)], QUARTER[256 - rest.min(256)]);
    match angle >> 8 & 3 {
        0 => (falling, rising),
        1 => (-rising, falling),
        2 => (-falling, -rising),
        _ => (rising, -falling),
    }
}

#[cfg(test)]
pub(crate) mod tests;
