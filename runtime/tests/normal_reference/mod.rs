//! The standard normal distribution in f64, only for tests. The relative error is about 1e-14 in the tail and 1e-13 in
//! the quantile.

/// `P(Z > z)`, by a power series below 3 and a continued fraction above (Abramowitz and Stegun 26.2.11 and 26.2.14).
pub fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    if z < 3.0 {
        let (mut term, mut sum, mut n) = (z, z, 1.0);
        while term > 1e-18 {
            n += 2.0;
            term *= z * z / n;
            sum += term;
        }
        return 0.5 - density(z) * sum;
    }
    let fraction = (1..=200).rev().fold(z, |inner, n| z + f64::from(n) / inner);
    density(z) / fraction
}

/// `exp(-z^2 / 2) / sqrt(2 pi)`.
pub fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * core::f64::consts::PI).sqrt()
}

/// The `z` with `P(Z > z) = p`, by Newton's method on the logarithm of the tail.
pub fn upper_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -upper_quantile(1.0 - p);
    }
    // The logarithm of the tail is concave, so from the left of the root one step lands left again and the steps only shrink.
    let mut z = 0.0;
    for _ in 0..100 {
        let tail = upper_tail(z);
        let step = (tail / p).ln() * tail / density(z);
        z += step;
        if step.abs() < 1e-13 {
            break;
        }
    }
    z
}

/// The probability that a normal variate, rounded to Q3.12, is at most `q`.
pub fn rounded_cdf(q: i32) -> f64 {
    upper_tail(-(f64::from(q) + 0.5) / 4096.0)
}

#[test]
fn matches_published_values() {
    for (z, tail) in [
        (0.0, 0.5),
        (1.0, 1.586_552_539_314_570_5e-1),
        (1.959_963_984_540_054, 2.5e-2),
        (3.0, 1.349_898_031_630_094_5e-3),
        (5.0, 2.866_515_718_791_939e-7),
        (6.0, 9.865_876_450_376_98e-10),
    ] {
        let error = upper_tail(z) / tail - 1.0;
        assert!(error.abs() < 1e-12, "tail at {z}: {error:e}");
        let error = upper_quantile(tail) - z;
        assert!(error.abs() < 1e-11, "quantile at {z}: {error:e}");
    }
}
