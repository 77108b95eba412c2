//! Compares ten million normal variates from one seed with the exact distribution of normals rounded to Q3.12.
//!
//! The seed is fixed, so these tests cannot fail by chance. A new seed would exceed the limits about once in a million
//! runs (once in a thousand for Kolmogorov-Smirnov).

mod normal_reference;

use elbo::{normal::fill_normal, rng::Xoshiro128PlusPlus};
use normal_reference::rounded_cdf;
use rand_core::SeedableRng;

const DRAWS: usize = 10_000_000;

fn deviates() -> Vec<i16> {
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(20_131_220);
    let mut deviates = vec![0; DRAWS];
    fill_normal(&mut rng, &mut deviates);
    deviates
}

fn check(name: &str, value: f64, expected: f64, standard_error: f64) {
    let errors = (value - expected) / standard_error;
    println!("{name}: {value:.6}, expected {expected:.6}: {errors:+.2} standard errors");
    assert!(errors.abs() < 5.0, "{name}");
}

#[test]
fn moments() {
    let deviates = deviates();
    let n = DRAWS as f64;
    let mean_of = |power: i32| {
        let sum: f64 = deviates.iter().map(|&q| (f64::from(q) / 4096.0).powi(power)).sum();
        sum / n
    };
    let (m1, m2, m3, m4) = (mean_of(1), mean_of(2), mean_of(3), mean_of(4));
    let variance = m2 - m1 * m1;
    let third = m3 - 3.0 * m1 * m2 + 2.0 * m1.powi(3);
    let fourth = m4 - 4.0 * m1 * m3 + 6.0 * m1 * m1 * m2 - 3.0 * m1.powi(4);
    check("mean", m1, 0.0, n.recip().sqrt());
    check("variance", variance, 1.0, (2.0 / n).sqrt());
    check("skewness", third / variance.powf(1.5), 0.0, (6.0 / n).sqrt());
    check("kurtosis", fourth / variance.powi(2), 3.0, (24.0 / n).sqrt());
}

#[test]
fn distribution() {
    let mut histogram = vec![0u32; 1 << 16];
    for q in deviates() {
        histogram[(i32::from(q) + 32768) as usize] += 1;
    }
    let n = DRAWS as f64;
    let (mut below, mut distance) = (0u64, 0.0f64);
    for (q, &count) in (-32768..).zip(&histogram) {
        below += u64::from(count);
        distance = distance.max((below as f64 / n - rounded_cdf(q)).abs());
    }
    // 1.95 is exceeded once in a thousand runs.
    let statistic = distance * n.sqrt();
    println!("Kolmogorov-Smirnov: {statistic:.3}");
    assert!(statistic < 1.95);

    for sigma in 3..=5 {
        let q = sigma * 4096;
        let expected = n * rounded_cdf(-q);
        let lower: u32 = histogram[..=(32768 - q) as usize].iter().sum();
        let upper: u32 = histogram[(32768 + q) as usize..].iter().sum();
        let name = format!("at or below -{sigma} sigma");
        check(&name, lower.into(), expected, expected.sqrt());
        let name = format!("at or above {sigma} sigma");
        check(&name, upper.into(), expected, expected.sqrt());
    }
}

#[test]
fn successive_draws_are_uncorrelated() {
    let deviates = deviates();
    for lag in 1..=8 {
        // Integers, so that the sum is exact: each product is below 2^30.
        let sum: i64 = deviates.iter().zip(&deviates[lag..]).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
        let pairs = (DRAWS - lag) as f64;
        let correlation = sum as f64 / 4096f64.powi(2) / pairs;
        check(&format!("autocorrelation at lag {lag}"), correlation, 0.0, pairs.recip().sqrt());
    }
}

/// Pairs of successive draws fall into the cells of a 32 by 32 grid as often as independent draws would.
#[test]
fn successive_draws_are_independent() {
    const SIDE: usize = 32;
    let cell_of: Vec<u8> =
        (-32768..32768).map(|q| ((rounded_cdf(q) * SIDE as f64) as usize).min(SIDE - 1) as u8).collect();
    let mut probability = [0.0; SIDE];
    for (q, &cell) in (-32768..).zip(&cell_of) {
        probability[usize::from(cell)] += rounded_cdf(q) - rounded_cdf(q - 1);
    }
    let mut counts = [[0u32; SIDE]; SIDE];
    for pair in deviates().chunks_exact(2) {
        let [a, b] = [pair[0], pair[1]].map(|q| cell_of[(i32::from(q) + 32768) as usize]);
        counts[usize::from(a)][usize::from(b)] += 1;
    }
    let pairs = (DRAWS / 2) as f64;
    let mut chi_square = 0.0;
    for (row, p) in counts.iter().zip(probability) {
        for (&count, q) in row.iter().zip(probability) {
            let expected = pairs * p * q;
            chi_square += (f64::from(count) - expected).powi(2) / expected;
        }
    }
    let freedom = (SIDE * SIDE - 1) as f64;
    check("chi-square of pairs", chi_square, freedom, (2.0 * freedom).sqrt());
}
