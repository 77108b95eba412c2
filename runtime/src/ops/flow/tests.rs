use super::*;
use proptest::prelude::*;
use std::{println, vec, vec::Vec};

const MARGIN_F: f64 = 3.0 / 64.0;

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn real(values: &[i16], frac: u32) -> Vec<f64> {
    values.iter().map(|&q| f64::from(q) / f64::from(1u32 << frac)).collect()
}

fn fixed_point(values: &[f64], frac: u32) -> Vec<i16> {
    values.iter().map(|v| (v * f64::from(1u32 << frac)).round().clamp(-32768.0, 32767.0) as i16).collect()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A step of either kind in floating point: the image, `log|det|`, an upper bound of the factor by which its inverse
/// stretches distances, the shift of a coordinate for an error of 2^-15 in `tanh`, the length of the gradient of
/// `log|det|`, and half its curvature.
struct Exact {
    image: Vec<f64>,
    log_det: f64,
    inverse_gain: f64,
    sensitivity: f64,
    bend: f64,
    curve: f64,
}

fn planar_exact(z: &[f64], step: &[f64]) -> Exact {
    let d = z.len();
    let (w, u, b) = (&step[..d], &step[d..2 * d], step[2 * d]);
    let (s, norm) = (product(w, u), product(w, w));
    let mut c = (softplus(-s) - 1.0) / norm.max(1.0 / 64.0);
    let mut slope = s + c * norm;
    if slope < MARGIN_F - 1.0 {
        (c, slope) = ((MARGIN_F - 1.0 - s) / norm, MARGIN_F - 1.0);
    }
    let tanh = (product(w, z) + b).tanh();
    let moved: Vec<f64> = u.iter().zip(w).map(|(u, w)| u + c * w).collect();
    let image = z.iter().zip(&moved).map(|(z, u)| z + u * tanh).collect();
    let det = 1.0 + slope * (1.0 - tanh * tanh);
    let length = product(&moved, &moved).sqrt();
    Exact {
        image,
        log_det: det.ln(),
        inverse_gain: 1.0 + length * norm.sqrt() * (1.0 - tanh * tanh) / det,
        sensitivity: moved.iter().fold(0.0, |most, u| u.abs().max(most)),
        bend: (2.0 * slope * tanh * (1.0 - tanh * tanh) / det).abs() * norm.sqrt(),
        curve: slope.abs() * norm / det,
    }
}

fn radial_exact(z: &[f64], step: &[f64]) -> Exact {
    let d = z.len();
    let (alpha, inner) = (softplus(step[d]).max(MARGIN_F), softplus(step[d + 1]).max(MARGIN_F));
    let difference: Vec<f64> = z.iter().zip(step).map(|(z, centre)| z - centre).collect();
    let r = product(&difference, &difference).sqrt();
    let (beta, h) = (inner - alpha, 1.0 / (alpha + r));
    let image = z.iter().zip(&difference).map(|(z, d)| z + beta * h * d).collect();
    let (tangential, radial) = (1.0 + beta * h, 1.0 + beta * h - beta * h * h * r);
    Exact {
        image,
        log_det: (d as f64 - 1.0) * tangential.ln() + radial.ln(),
        inverse_gain: (1.0 / tangential).max(1.0 / radial),
        sensitivity: beta.abs() / alpha / 4.0,
        bend: (d as f64 - 1.0) * (1.0 / (r + inner) - h).abs()
            + ((2.0 * r + 2.0 * alpha) / (r * r + 2.0 * alpha * r + alpha * inner) - 2.0 * h).abs(),
        curve: 0.0,
    }
}

type Integer = fn(&mut [i16], u32, &[i16], u32, bool) -> i64;
type Float = fn(&[f64], &[f64]) -> Exact;
const KINDS: [(Integer, Float, usize); 2] = [(planar, planar_exact, 2), (radial, radial_exact, 1)];

/// Number of values per step of `d` dimensions: `multiple * d` plus the scalars.
fn width(multiple: usize, d: usize) -> usize {
    multiple * d + 3 - multiple
}

fn nats(q16: i64) -> f64 {
    q16 as f64 / 65536.0
}

/// Compares one step and its inverse with floating point.
fn one_step(kind: usize, z: &[f64], step: &[f64], z_frac: u32, frac: u32) -> Result<(), TestCaseError> {
    let (integer, float, _) = KINDS[kind];
    let (start, params) = (fixed_point(z, z_frac), fixed_point(step, frac));
    let exact = float(&real(&start, z_frac), &real(&params, frac));
    let lsb = 1.0 / f64::from(1u32 << z_frac);
    let mut image = start.clone();
    let log_det = nats(integer(&mut image, z_frac, &params, frac, false));
    let allowed = (0.5 + 1.0 / 256.0) * lsb + exact.sensitivity * 1.0 / 32768.0;
    for (got, want) in real(&image, z_frac).iter().zip(&exact.image) {
        let most = 32767.0 * lsb;
        prop_assert!((got - want.clamp(-most, most)).abs() <= allowed, "{got} {want} {allowed}");
    }
    let error = (log_det - exact.log_det).abs();
    prop_assert!(error < 2e-3, "log-det {log_det} {}", exact.log_det);
    if image.iter().all(|q| (-32000..32000).contains(q)) {
        let mut back = image;
        let undone = nats(integer(&mut back, z_frac, &params, frac, true));
        let allowed = 2.0 + 2.0 * exact.inverse_gain;
        for (got, want) in back.iter().zip(&start) {
            let error = f64::from((i32::from(*got) - i32::from(*want)).abs());
            prop_assert!(error <= allowed, "{error} LSB, {allowed} allowed");
        }
        // The effect of rounding the image, which is large where the map contracts strongly, plus 0.002 nats.
        let moved = 0.5 * lsb * (z.len() as f64).sqrt() * exact.inverse_gain;
        let allowed = 0.002 + 2.0 * (exact.bend + exact.curve * moved) * moved;
        prop_assert!((log_det + undone).abs() < allowed, "{log_det} {undone} {allowed}");
    }
    Ok(())
}

/// Dimensions, scales, a point and the parameters of a step.
fn cases(scale: f64) -> impl Strategy<Value = (usize, u32, u32, Vec<f64>, Vec<f64>)> {
    (0usize..2, 1usize..12, 10u32..=12, 10u32..=13).prop_flat_map(move |(kind, d, z_frac, frac)| {
        let point = prop::collection::vec(-4.0..4.0, d);
        let step = prop::collection::vec(-scale..scale, width(KINDS[kind].2, d));
        (Just(kind), Just(z_frac), Just(frac), point, step)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn steps_match_floating_point_and_are_undone((kind, z_frac, frac, z, step) in cases(1.5)) {
        one_step(kind, &z, &step, z_frac, frac)?;
    }

    #[test]
    fn short_and_long_parameters_too((kind, z_frac, frac, z, step) in cases(1.0), log_scale in -9i32..2) {
        let step: Vec<f64> = step.iter().map(|p| p * f64::from(log_scale).exp2()).collect();
        one_step(kind, &z, &step, z_frac, frac)?;
    }

    /// `u` against `w`, as far as it goes: `w.u'` at its bound, and near it.
    #[test]
    fn opposed_directions((_, z_frac, frac, z, w) in cases(1.5), s in -12.0f64..-0.5, b in -2.0f64..2.0) {
        let w = &w[..z.len()];
        let norm = product(w, w).max(1e-3);
        let u = w.iter().map(|w| w * s / norm);
        let step: Vec<f64> = w.iter().copied().chain(u).chain([b]).collect();
        one_step(0, &z, &step, z_frac, frac)?;
    }

    /// A point at and around a radial step's centre, whose ball shrinks or swells.
    #[test]
    fn centres((_, z_frac, frac, z, shape) in cases(4.0), offset in prop::collection::vec(-0.01f64..0.01, 12)) {
        let shape = [shape[0], shape[1 % shape.len()]];
        for scale in [0.0, 1.0] {
            let centre = z.iter().zip(&offset).map(|(z, offset)| z + scale * offset);
            let step: Vec<f64> = centre.chain(shape).collect();
            one_step(1, &z, &step, z_frac, frac)?;
        }
    }

    /// Nothing overflows. Tests run with overflow checks.
    #[test]
    fn any_values_at_any_scale(
        kind in 0usize..2, z_frac in 8u32..=15, frac in 8u32..=15,
        z in prop::collection::vec(any::<i16>(), 0..40),
        params in prop::collection::vec(prop_oneof![any::<i16>(), Just(i16::MIN), Just(i16::MAX), -2i16..3], 0..200),
    ) {
        let (integer, ..) = KINDS[kind];
        for inverse in [false, true] {
            let mut out = z.clone();
            let log_det = integer(&mut out, z_frac, &params, frac, inverse);
            // At most 20 nats per dimension and step.
            prop_assert!(log_det.abs() <= (20 << 16) * 200 * 40);
        }
    }
}

/// The largest error of a planar step: a short `w`, a correction that almost cancels `u`, and a `w.u` halfway between two
/// numbers of 16 bits. Searches for the worst case and compares it with what is stated.
#[test]
fn planar_errors_are_as_stated_in_the_worst_case() {
    let (mut worst, mut beyond_tanh) = (f64::MIN, f64::MIN);
    for (frac, z_frac) in [(10, 15), (12, 15), (12, 13), (13, 15), (15, 15)] {
        let unit = f64::from(1u32 << frac);
        let lsb = 1.0 / f64::from(1u32 << z_frac);
        for size in [0.06, 0.11, 0.124, 0.1252, 0.14, 0.3, 0.9] {
            for w in (size * unit) as i16..(size * unit) as i16 + 20 {
                // u' is near zero where w.u is 0.54.
                let centre = (0.5413 * unit * unit / f64::from(w)) as i64;
                for u in (centre - 400..centre + 400).chain((-32_768..32_768).step_by(1013)) {
                    let Ok(u) = i16::try_from(u) else { continue };
                    for (z, bias) in [(0, i16::MAX), (i16::MIN + 1, i16::MIN), (4097, 1 << (frac - 1))] {
                        let step = [w, u, bias];
                        let exact = planar_exact(&real(&[z], z_frac), &real(&step, frac));
                        let mut image = [z];
                        planar(&mut image, z_frac, &step, frac, false);
                        let most = 32767.0 * lsb;
                        let error = (real(&image, z_frac)[0] - exact.image[0].clamp(-32768.0 * lsb, most)).abs();
                        let tanh = (0.5 + 1.0 / 512.0) * lsb + exact.sensitivity / 32768.0;
                        let short = (f64::from(w) / unit).max(0.125);
                        worst = worst.max((error - tanh - 4.2e-6 / short) / lsb);
                        beyond_tanh = beyond_tanh.max((error - tanh) / lsb);
                    }
                }
            }
        }
    }
    println!("planar: {beyond_tanh:.3} LSB beyond the error of tanh, {worst:.3} LSB beyond the stated error");
    assert!(worst <= 0.0, "{worst}");
    assert!(beyond_tanh > 0.5, "the search has not found the worst case: {beyond_tanh}");
}

/// Searches for the largest errors of log-determinants, and of a radial step's coordinates, relative to what is stated.
#[test]
fn log_determinants_and_radial_steps_are_as_stated() {
    let mut state = 7;
    let (mut planar_worst, mut radial_worst, mut moved_worst) = (0.0f64, 0.0f64, f64::MIN);
    for _ in 0..400_000 {
        let mut any = |log2: f64| uniform(&mut state) * (uniform(&mut state) * log2).exp2();
        let d = 1 + (any(0.0).abs() * 3.0) as usize;
        let frac = 9 + (any(0.0).abs() * 7.0) as u32;
        let z_frac = 9 + (any(0.0).abs() * 7.0) as u32;
        let most = f64::from(1u32 << (15 - z_frac.max(frac)));
        let z = fixed_point(&(0..d).map(|_| (2.0 * any(3.0)).clamp(-most, most) * 0.5).collect::<Vec<_>>(), z_frac);
        for (kind, (integer, float, multiple)) in KINDS.into_iter().enumerate() {
            let step: Vec<f64> = (0..width(multiple, d)).map(|_| 2.0 * any(4.0)).collect();
            let params = fixed_point(&step, frac);
            let (point, step) = (real(&z, z_frac), real(&params, frac));
            let exact = float(&point, &step);
            let mut image = z.clone();
            let error = (nats(integer(&mut image, z_frac, &params, frac, false)) - exact.log_det).abs();
            if kind == 0 {
                let (w, u) = (&step[..d], &step[d..2 * d]);
                let (s, norm) = (product(w, u), product(w, w));
                let slope = (s + (softplus(-s) - 1.0) * (64.0 * norm).min(1.0)).max(MARGIN_F - 1.0);
                if slope < 16_000.0 {
                    let stated = (6.2e-5 * slope.abs() + 4.2e-6) / exact.log_det.exp() + (-16f64).exp2();
                    planar_worst = planar_worst.max(error / stated);
                }
                continue;
            }
            let r = (0..d).map(|i| (point[i] - step[i]).powi(2)).sum::<f64>().sqrt();
            let alpha = softplus(step[d]).max(MARGIN_F);
            radial_worst = radial_worst.max(error / (2e-4 + d as f64 * 1e-6 / (r + MARGIN_F)));
            let beta = softplus(step[d + 1]).max(MARGIN_F) - alpha;
            let unit = f64::from(1u32 << z_frac);
            for (got, want) in image.iter().zip(&exact.image) {
                let want = (want * unit).clamp(-32768.0, 32767.0);
                let stated = 0.5 + 1.0 / 512.0 + beta.abs() / alpha * (-17f64).exp2() * unit;
                moved_worst = moved_worst.max((f64::from(*got) - want).abs() - stated);
            }
        }
    }
    println!("of the stated error: planar log-det {planar_worst:.3}, radial log-det {radial_worst:.3}");
    println!("radial coordinates: {moved_worst:.4} LSB beyond");
    assert!(planar_worst <= 1.0 && radial_worst <= 1.0 && moved_worst <= 0.0);
}

#[test]
fn the_largest_that_can_be() {
    for (integer, _, multiple) in KINDS {
        for (z_frac, frac) in [(8, 8), (8, 15), (15, 8), (15, 15)] {
            for (z, low, high) in [
                (i16::MIN, i16::MIN, i16::MIN),
                (i16::MAX, i16::MIN, i16::MAX),
                (i16::MIN, i16::MAX, i16::MAX),
                (i16::MIN, i16::MAX, i16::MIN),
                (i16::MAX, 0, 0),
                (i16::MIN, 1, i16::MIN),
                (i16::MIN, i16::MIN, 1),
            ] {
                for inverse in [false, true] {
                    let mut params = vec![low; width(multiple, 1024)];
                    params[1024..].fill(high);
                    let mut values = vec![z; 1024];
                    let log_det = integer(&mut values, z_frac, &params, frac, inverse);
                    assert!(log_det.abs() < (20 * 1024) << 16, "{log_det}");
                }
            }
        }
    }
}

/// A deterministic uniform value in -1..1.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
}

/// Stacks as in a trained model: the log-determinants add up, and the inverse returns to the start.
#[test]
fn stacks_match_floating_point_and_are_undone() {
    let mut state = 1;
    for (integer, float, multiple) in KINDS {
        for (d, steps) in [(2, 32), (8, 16), (40, 10)] {
            let (z_frac, frac, size) = (12, 12, width(multiple, d));
            let (mut worst, mut squares, mut trip, mut compared) = (0.0f64, 0.0, 0.0f64, 0);
            const RUNS: usize = 300;
            for _ in 0..RUNS {
                let scale = 1.2 / (d as f64).sqrt();
                let mut params: Vec<f64> = (0..steps * size).map(|_| scale * uniform(&mut state)).collect();
                if multiple == 2 {
                    // softplus(w.u) is about 1, so that a step neither contracts nor stretches on average.
                    for step in params.chunks_mut(size) {
                        let (w, rest) = step.split_at_mut(d);
                        let along = 0.54 / product(w, w).max(0.05);
                        rest.iter_mut().zip(w).for_each(|(u, w)| *u = 0.5 * *u + along * *w);
                    }
                }
                let z: Vec<f64> = (0..d).map(|_| 2.0 * uniform(&mut state)).collect();
                let (params, start) = (fixed_point(&params, frac), fixed_point(&z, z_frac));
                let mut out = start.clone();
                let log_det = integer(&mut out, z_frac, &params, frac, false);
                let (mut exact, mut sum, mut gain) = (real(&start, z_frac), 0.0, 1.0);
                for step in params.chunks(size) {
                    let step = float(&exact, &real(step, frac));
                    (exact, sum, gain) = (step.image, sum + step.log_det, gain * step.inverse_gain);
                }
                let error = nats(log_det) - sum;
                (worst, squares) = (worst.max(error.abs()), squares + error * error);
                let undone = integer(&mut out, z_frac, &params, frac, true);
                for (a, b) in out.iter().zip(&start) {
                    let error = f64::from((i32::from(*a) - i32::from(*b)).abs());
                    assert!(error <= 2.0 + 2.0 * gain, "{error} {gain}");
                    trip = trip.max(error);
                }
                // Coordinates that are contracted to less than an LSB are lost.
                if gain < 100.0 {
                    assert!(nats(log_det + undone).abs() < 0.02, "{log_det} {undone}");
                    compared += 1;
                }
            }
            let rms = (squares / RUNS as f64).sqrt();
            println!(
                "{d} dimensions, {steps} steps: log-det {rms:.5} RMS, {worst:.5} worst; {trip} LSB there and back"
            );
            assert!(worst < 0.02 && rms < 0.005 && compared > RUNS / 4, "{compared} of {RUNS}");
        }
    }
}

#[test]
fn steps_of_nothing_are_the_identity() {
    let z = [1234, -4321, 77];
    for (w, u) in [(0, 0), (500, 0)] {
        // Without w nothing moves for any u. Since softplus(0) - 1 is not 0, the point moves with w and without u.
        let mut out = z;
        let log_det = planar(&mut out, 12, &[w, w, w, u, u, u, 900], 12, false);
        assert_eq!((out == z, log_det == 0), (w == 0, w == 0));
    }
    let mut out = z;
    assert_eq!(radial(&mut out, 12, &[5, 6, 7, 2000, 2000], 12, false), 0);
    assert_eq!(out, z);
    assert_eq!((planar(&mut [], 12, &[3], 12, true), radial(&mut [], 12, &[], 12, false)), (0, 0));
}
