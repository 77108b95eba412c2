//! A worse fit never scores as less anomalous: every density is monotone where its definition is, up to its stated
//! limit. The tests go through every value of one operand, and through the extremes of the others.

use super::{bernoulli, density, gaussian, logistic, robust};
use proptest::prelude::*;
use std::vec::Vec;

/// Every activation, in order.
const EVERY: core::ops::RangeInclusive<i16> = i16::MIN..=i16::MAX;
const EXTREMES: [i16; 9] = [i16::MIN, i16::MIN + 1, -12_345, -1, 0, 1, 777, i16::MAX - 1, i16::MAX];

/// The values from `from` on, away from it: first those above, then those below.
fn away(from: i16) -> [Vec<i16>; 2] {
    [(from..=i16::MAX).collect(), (i16::MIN..=from).rev().collect()]
}

/// Fails where `f` falls by more than `tolerance` from one value to the next.
fn never_falls(what: &str, over: impl IntoIterator<Item = i16>, tolerance: i64, f: impl Fn(i16) -> i64) {
    let mut most = i64::MIN;
    for q in over {
        let value = f(q);
        assert!(value >= most.saturating_sub(tolerance), "{what} falls by {} LSB at {q}", most - value);
        most = most.max(value);
    }
}

#[test]
fn bernoulli() {
    for frac in [1, 4, 11, 15] {
        for x_frac in [0, 4, 15] {
            let nll = |l: i16, x: i16| bernoulli::bernoulli_nll(&[l], frac, &[x], x_frac);
            for q in EXTREMES {
                // A pixel that is black or white, or blacker or whiter, becomes likelier with its logit.
                if q <= 0 {
                    never_falls("black", EVERY, 0, |l| nll(l, q));
                } else if i32::from(q) >= 1 << x_frac {
                    never_falls("white", EVERY.rev(), 0, |l| nll(l, q));
                }
                if q <= 0 {
                    never_falls("a negative logit", EVERY, 0, |x| nll(q, x));
                } else {
                    never_falls("a positive logit", EVERY.rev(), 0, |x| nll(q, x));
                }
            }
        }
    }
}

/// `nll(mean, b, x)` grows with the distance. `b` is the logarithm of this power of a scale. As the scale shrinks the
/// density falls as long as the scale is larger than the distance, and grows from there on.
fn location_and_scale(
    what: &str,
    tolerance: i64,
    power: f64,
    [frac, scale_frac]: [u32; 2],
    nll: impl Fn(i16, i16, i16) -> i64,
) {
    for b in EXTREMES {
        for mean in EXTREMES {
            for side in away(mean) {
                never_falls(what, side, tolerance, |x| nll(mean, b, x));
            }
        }
    }
    for x in [i16::MIN, -20_000, -100, -1, 0, 1, 60, 5000, i16::MAX] {
        for mean in [0, x.saturating_neg()] {
            let distance = f64::from((i32::from(x) - i32::from(mean)).abs()) / f64::from(frac).exp2();
            let best = (power * distance.ln() * f64::from(scale_frac).exp2()).round().clamp(-32768.0, 32767.0) as i16;
            for side in away(best) {
                never_falls(what, side, tolerance, |b| nll(mean, b, x));
            }
        }
    }
}

#[test]
fn gaussian() {
    for (frac, scale_frac) in [(8, 11), (11, 12), (15, 15), (8, 15), (15, 11)] {
        let nll = |mean: i16, b: i16, x: i16| gaussian::gaussian_nll(&[mean], &[b], scale_frac, &[x], frac);
        location_and_scale("gaussian", 1, 2.0, [frac, scale_frac], nll);
    }
}

#[test]
fn student_t() {
    for degrees in [0, 3, 6] {
        for (frac, scale_frac) in [(8, 11), (11, 12), (15, 15)] {
            let nll =
                |mean: i16, b: i16, x: i16| robust::student_t_nll(degrees, &[mean], (&[b], scale_frac), (&[x], frac));
            // The stated error of a value.
            let tolerance = 0.6 * ((1 << degrees) + 1) as f64 + 2.0;
            location_and_scale("student-t", tolerance as i64, 2.0, [frac, scale_frac], nll);
        }
    }
}

#[test]
fn laplace() {
    for (frac, scale_frac) in [(8, 11), (11, 12), (15, 15), (8, 15), (15, 11)] {
        let nll = |location: i16, b: i16, x: i16| robust::laplace_nll(&[location], (&[b], scale_frac), (&[x], frac));
        location_and_scale("laplace", 1, 1.0, [frac, scale_frac], nll);
    }
}

#[test]
fn logistic() {
    for (frac, scale_frac) in [(8, 11), (14, 11), (14, 15), (15, 12)] {
        let nll = |mean: i16, s: i16, x: i16| logistic::logistic_nll(&[mean], &[s], scale_frac, &[x], frac);
        let one = 1i32 << frac;
        for s in EXTREMES {
            // Levels between the ends, and values that are far beyond them.
            for x in [one / 2, one / 3, one / 255].map(|x| x.min(32767) as i16) {
                for side in away(x) {
                    never_falls("a level", side, 7, |mean| nll(mean, s, x));
                }
            }
            // The end levels take everything beyond them.
            for x in [i16::MIN, 0] {
                never_falls("the lowest level", EVERY, 0, |mean| nll(mean, s, x));
            }
            for x in [one.min(32767) as i16, i16::MAX] {
                never_falls("the highest level", EVERY.rev(), 0, |mean| nll(mean, s, x));
            }
        }
        // From a value that is ten levels away or farther: the smaller the scale, the less likely.
        for mean in EXTREMES {
            let x = (one / 2) as i16;
            let distance = f64::from((i32::from(x) - i32::from(mean)).abs()) / f64::from(one);
            if distance > 10.0 / 255.0 {
                let narrow = ((0.6 * distance).ln() * f64::from(scale_frac).exp2()).clamp(-32768.0, 32767.0) as i16;
                never_falls("a scale", (i16::MIN..=narrow).rev(), 7, |s| nll(mean, s, x));
            }
        }
    }
}

/// The likelihood of a grey value at a distance of 22 million nats was that of one at 15 344 nats.
#[test]
fn a_hopeless_grey_value_scores_as_one() {
    let nll = |mean: i16, log_scale: i16| logistic::logistic_nll(&[mean], &[log_scale], 11, &[8192], 14) >> 16;
    assert_eq!(nll(-32768, i16::MIN), 1 << 24);
    let (near, far) = (nll(8192 + 600, i16::MIN), nll(8192 + 6000, i16::MIN));
    let scale = 16f64.exp();
    assert!((near as f64 - scale * (600.0 / 16384.0 - 1.0 / 510.0)).abs() < 2.0, "{near}");
    assert!((far as f64 - scale * (6000.0 / 16384.0 - 1.0 / 510.0)).abs() < 2.0, "{far}");
}

#[test]
fn divergence_and_squares() {
    for frac in [0, 8, 12, 15] {
        for side in away(0) {
            never_falls("half a square", side.iter().copied(), 0, |x| density::half_sum_sq(&[x], frac));
            for b in EXTREMES {
                never_falls("a divergence", side.iter().copied(), 0, |mu| density::kl(&[mu], frac, &[b], 11));
            }
            for scale_frac in [11, 15] {
                for mu in EXTREMES {
                    let kl = |b| density::kl(&[mu], frac, &[b], scale_frac);
                    never_falls("a divergence", side.iter().copied(), 1, kl);
                }
            }
        }
    }
}

#[cfg(feature = "mixture")]
#[test]
fn logits_of_components() {
    let logit = |peak: i16, frac: u32, u: i16| super::mixture::gaussian_logit(peak, frac, &[u, 3], frac);
    for frac in [0, 8, 15] {
        for q in EXTREMES {
            never_falls("a peak", EVERY, 0, |peak| logit(peak, frac, q));
            for side in away(0) {
                never_falls("a distance", side, 0, |u| -logit(q, frac, u));
            }
        }
    }
}

#[cfg(feature = "adgm")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    /// A class whose bound becomes worse does not make the row likelier, within 2^46 and beyond.
    #[test]
    fn free_energy(
        classes in prop::collection::vec((any::<i64>(), any::<i16>()), 1..20),
        narrow in 0u32..60, frac in 0u32..=16, class in 0usize..20, growth: u64,
    ) {
        let logits: Vec<i16> = classes.iter().map(|c| c.1).collect();
        let mut values: Vec<i64> = classes.iter().map(|c| c.0 >> narrow).collect();
        let energy = |values: &[i64]| super::categorical::free_energy(values.iter().copied(), &logits, frac);
        let before = energy(&values);
        let class = class % values.len();
        values[class] = values[class].saturating_add_unsigned(growth >> narrow);
        prop_assert!(energy(&values) >= before);
    }
}
