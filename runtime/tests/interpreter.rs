//! Compares every operation, as the interpreter runs it, with a naive evaluation: exact integers if the operation is
//! exact, otherwise floating point.

use elbo::kernel::Packing;
use elbo::program::{Opcode, ProgramKind};
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Arena, Limits, Model};
use elbo_fuzz_blobs::builder::Parts;
use proptest::prelude::*;

mod common;
use common::{Counted, any_vector, counted, run, score, softplus, value, vector};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dense(x in any_vector(), rows in 1usize..9, dsp: bool, salt: u32) {
        let hash = |i: usize| (salt ^ i as u32).wrapping_mul(0x9E37_79B9);
        let weight = |row: usize, col: usize| (hash(row * 20 + col) >> 24) as i8;
        let bias = |row: usize| hash(row + 1000) as i32 >> 4;
        let multiplier = |row: usize| (hash(row + 2000) >> 4) as i32;
        let packing = if dsp { Packing::Dsp4 } else { Packing::RowMajor };
        let mut parts = Parts::new();
        let matrix = parts.matrix([rows, x.len()], packing, 32768, weight, bias, multiplier);
        let (out, _) = run(ProgramKind::Reconstruct, &mut parts, &x, |p| {
            let x = p.input(x.len() as u32, 11, 32768);
            let y = p.dense(x, matrix, 9);
            p.outputs(&[y]);
        });
        for (row, out) in out.into_iter().enumerate() {
            let products: i128 = x.iter().enumerate().map(|(col, x)| i128::from(weight(row, col)) * i128::from(*x)).sum();
            let scaled = (products + i128::from(bias(row))) * i128::from(multiplier(row));
            let rounded = (scaled + (1 << 31)).div_euclid(1 << 32);
            prop_assert_eq!(i128::from(out), rounded.clamp(-32768, 32767));
        }
    }

    #[test]
    fn relu_and_clamp(x in any_vector(), drop in 0u8..12, ends: (i16, i16), in_place: bool) {
        let n = x.len() as u32;
        let out = vector(&x, |p| {
            let x = p.input(n, 11, 32768);
            let y = if in_place { p.map_in_place(Opcode::Relu, &[x], 11, 0) } else { p.map(Opcode::Relu, &[x], 11, 0) };
            p.outputs(&[y]);
        });
        prop_assert_eq!(out, x.iter().map(|q| (*q).max(0)).collect::<Vec<_>>());
        let (low, high) = (ends.0.min(ends.1), ends.0.max(ends.1));
        let out = vector(&x, |p| {
            let x = p.input(n, 11, 32768);
            let y = p.clamp(x, 11 - drop, low, high);
            p.outputs(&[y]);
        });
        for (q, out) in x.iter().zip(out) {
            let rounded = (f64::from(*q) / f64::from(drop).exp2() + 0.5).floor();
            prop_assert_eq!(f64::from(out), rounded.clamp(low.into(), high.into()));
        }
    }

    #[test]
    fn an_input_beyond_its_bound_is_clamped(x in any_vector(), bound in 1u16..=32768) {
        let out = vector(&x, |p| {
            let x = p.input(x.len() as u32, 11, bound);
            p.outputs(&[x]);
        });
        for (q, out) in x.iter().zip(out) {
            prop_assert_eq!(i32::from(out), i32::from(*q).clamp(-i32::from(bound), i32::from(bound)));
        }
    }

    #[test]
    fn activations(x in any_vector(), param in -11i8..=5, out_frac in 0u8..=15, in_place: bool) {
        let n = x.len() as u32;
        let apply = |opcode, frac| vector(&x, |p| {
            let x = p.input(n, 11, 32768);
            let y = if in_place { p.map_in_place(opcode, &[x], frac, param) } else { p.map(opcode, &[x], frac, param) };
            p.outputs(&[y]);
        });
        let (tanh, sigmoid, exp) = (apply(Opcode::Tanh, 15), apply(Opcode::Sigmoid, 15), apply(Opcode::Exp, out_frac));
        for (i, q) in x.iter().enumerate() {
            let v = value(*q, 11 + i32::from(param));
            prop_assert!((value(tanh[i], 15) - v.tanh()).abs() < 1e-4, "tanh {v}");
            prop_assert!((value(sigmoid[i], 15) - 1.0 / (1.0 + (-v).exp())).abs() < 1e-4, "sigmoid {v}");
            let expected = (v.exp() * f64::from(out_frac).exp2()).min(32767.0);
            prop_assert!((f64::from(exp[i]) - expected).abs() < 1.0 + expected * 1e-4, "exp {v}: {} {expected}", exp[i]);
        }
    }

    #[test]
    fn fma(x in any_vector(), fb in 8u8..=11, fy in 0u8..=15) {
        // b is x rounded to fb bits, and c is the positive part of x.
        let out = vector(&x, |p| {
            let x = p.input(x.len() as u32, 11, 20000);
            let b = p.clamp(x, fb, -9000, 9000);
            let c = p.map(Opcode::Relu, &[x], 11, 0);
            let y = p.map(Opcode::Fma, &[x, b, c], fy, 0);
            p.outputs(&[y]);
        });
        for (q, out) in x.iter().zip(out) {
            let q = i128::from(*q).clamp(-20000, 20000);
            let drop = 1i128 << (11 - fb);
            let b = (q + drop / 2).div_euclid(drop).clamp(-9000, 9000);
            let sum = q * b + (q.max(0) << fb);
            let shift = 1i128 << (11 + fb - fy);
            prop_assert_eq!(i128::from(out), (sum + shift / 2).div_euclid(shift).clamp(-32768, 32767));
        }
    }

    #[test]
    fn products_sums_and_differences(x in any_vector(), fb in 0u8..=11, drop in 0u8..=11, in_place: bool) {
        // b is x rounded to fb bits.
        let round = |q: i128, bits: u8| (q + (1i128 << bits >> 1)).div_euclid(1 << bits);
        for opcode in [Opcode::Mul, Opcode::AddVec, Opcode::SubVec] {
            let frac = if opcode == Opcode::Mul { 11 + fb } else { 11 };
            let out = vector(&x, |p| {
                let x = p.input(x.len() as u32, 11, 32768);
                let b = p.clamp(x, fb, -9000, 9000);
                let fy = (frac - drop).min(15);
                let y = if in_place { p.map_in_place(opcode, &[b, x], fy, 0) } else { p.map(opcode, &[x, b], fy, 0) };
                p.outputs(&[y]);
            });
            for (q, out) in x.iter().zip(out) {
                let b = round(i128::from(*q), 11 - fb).clamp(-9000, 9000);
                let q = i128::from(*q);
                let exact = match opcode {
                    Opcode::Mul => q * b,
                    Opcode::AddVec => q + (b << (11 - fb)),
                    // In place, the first operand is b.
                    _ if in_place => (b << (11 - fb)) - q,
                    _ => q - (b << (11 - fb)),
                };
                let rounded = round(exact, frac - (frac - drop).min(15));
                prop_assert_eq!(i128::from(out), rounded.clamp(-32768, 32767), "{:?}", opcode);
            }
        }
    }

    #[test]
    fn concatenations_and_slices(x in any_vector(), drop in 0u8..=11, at in 0usize..20) {
        let (n, at) = (x.len(), at % x.len());
        let out = vector(&x, |p| {
            let x = p.input(n as u32, 11, 32768);
            let low = p.map(Opcode::Relu, &[x], 11, 0);
            let tail = p.slice(x, at as u32, (n - at) as u32);
            let y = p.concat(tail, low, 11 - drop);
            p.outputs(&[y]);
        });
        let expected = x[at..].iter().copied().chain(x.iter().map(|q| (*q).max(0)));
        let round = |q: i16| (i32::from(q) + (1 << drop >> 1)).div_euclid(1 << drop).min(32767) as i16;
        prop_assert_eq!(out, expected.map(round).collect::<Vec<_>>());
    }

    #[cfg(any(feature = "dlgm", feature = "mixture"))]
    #[test]
    fn two_vectors_and_a_choice(x in any_vector(), mask in any_vector(), in_place in 0usize..3) {
        let n = x.len().min(mask.len());
        let (x, mask) = (&x[..n], &mask[..n]);
        let ([out, _], _) = common::run_all(ProgramKind::Impute, &mut Parts::new(), &[x, mask], |p| {
            let (x, mask) = (p.input(n as u32, 11, 32768), p.input(n as u32, 3, 30000));
            let zeros = p.clamp(x, 11, 0, 0);
            let y = match in_place {
                0 => p.map(Opcode::Select, &[x, zeros, mask], 11, 0),
                1 => {
                    let other = p.map(Opcode::AddVec, &[x, zeros], 11, 0);
                    p.map_in_place(Opcode::Select, &[other, zeros, mask], 11, 0)
                }
                _ => {
                    let other = p.map(Opcode::AddVec, &[x, zeros], 11, 0);
                    let y = p.map(Opcode::Select, &[other, zeros, mask], 11, 0);
                    // The selector is also the first choice.
                    p.map_in_place(Opcode::Select, &[y, zeros, y], 11, 0)
                }
            };
            p.outputs(&[y]);
        });
        let chosen = x.iter().zip(mask).map(|(x, mask)| if *mask > 0 { *x } else { 0 });
        let chosen = chosen.map(|q| if in_place == 2 { q.max(0) } else { q });
        prop_assert_eq!(out, chosen.collect::<Vec<_>>());
    }

    #[test]
    fn constants(x in any_vector(), constant: i32) {
        let (_, got) = run(ProgramKind::Score, &mut Parts::new(), &x, |p| {
            let x = p.input(x.len() as u32, 15, 32768);
            let sum = p.scalar(Opcode::Sum, &[x], 1);
            let y = p.offset(sum, constant);
            p.outputs(&[y]);
        });
        prop_assert_eq!(got, x.iter().map(|q| i64::from(*q)).sum::<i64>() + i64::from(constant));
    }

    #[test]
    fn densities(x in any_vector(), frac in 11u8..=15) {
        let (n, f) = (x.len() as u32, i32::from(frac));
        // b is x rounded to 11 bits, and c is the positive part.
        let rounded = |q: i16| (f64::from(q) / f64::from(f - 11).exp2() + 0.5).floor().min(32767.0) / 2048.0;
        let close = |got: f64, expected: f64| (got - expected).abs() < 1e-4 * expected.abs() + 1e-4 * f64::from(n);
        let with = |opcode: Opcode| score(&x, |p| {
            let x = p.input(n, frac, 32768);
            let b = p.clamp(x, 11, i16::MIN, i16::MAX);
            let c = p.map(Opcode::Relu, &[x], frac, 0);
            let y = p.scalar(opcode, &[x, b, c][..opcode.inputs()], 0);
            p.outputs(&[y]);
        });
        let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().map(|q| f(value(*q, frac.into()), rounded(*q))).sum::<f64>();
        let expected = sum(&|a, b| softplus(a) - a * b);
        let got = with(Opcode::BernoulliNll);
        prop_assert!(close(got, expected) || (got - expected).abs() < 1e-4 * sum(&|a, b| (a * b).abs()), "{got} {expected}");
        let tau = std::f64::consts::TAU.ln();
        let expected = sum(&|a, b| 0.5 * (((a.max(0.0) - a).powi(2) * (-b).exp()).min(f64::from(1 << 28)) + b + tau));
        let got = with(Opcode::GaussianNll);
        prop_assert!(close(got, expected), "{got} {expected}");
        let expected = sum(&|a, b| 0.5 * (a * a + b.exp() - 1.0 - b));
        let got = with(Opcode::Kl);
        prop_assert!(close(got, expected), "{got} {expected}");
        let got = with(Opcode::HalfSumSq);
        prop_assert!((got - sum(&|a, _| a * a / 2.0)).abs() <= 0.5 / 65536.0, "{got}");
        let got = with(Opcode::Sum);
        prop_assert!((got - sum(&|a, _| a)).abs() <= 0.5 / 65536.0, "{got}");
    }

    #[test]
    fn scalars(x in any_vector(), param in -11i8..=5) {
        let n = x.len() as u32;
        let exact: i128 = x.iter().map(|q| i128::from(*q)).sum::<i128>() << (5 - param);
        let half: i128 = (x.iter().map(|q| i128::from(*q).pow(2)).sum::<i128>() + 64).div_euclid(128);
        for opcode in [Opcode::Sum, Opcode::Neg, Opcode::Add, Opcode::Sub] {
            let (_, got) = run(ProgramKind::Score, &mut Parts::new(), &x, |p| {
                let x = p.input(n, 11, 32768);
                let a = p.scalar(Opcode::Sum, &[x], param);
                let b = p.scalar(Opcode::HalfSumSq, &[x], 0);
                let y = if opcode == Opcode::Sum { a } else { p.scalar(opcode, &[a, b][..opcode.inputs()], 0) };
                p.outputs(&[y]);
            });
            let expected = match opcode {
                Opcode::Sum => exact,
                Opcode::Neg => -exact,
                Opcode::Add => exact + half,
                _ => exact - half,
            };
            prop_assert_eq!(i128::from(got), expected, "{:?}", opcode);
        }
    }

    #[test]
    fn loops(outer in 1i16..5, inner in 1i16..5, len in 1i16..4, mean_inside: bool) {
        let (inside, outside) =
            if mean_inside { (Opcode::Mean, Opcode::LogMeanExp) } else { (Opcode::LogMeanExp, Opcode::Mean) };
        let (_, got) = run(ProgramKind::ScoreImportance, &mut Parts::new(), &[4096], |p| {
            let x = p.input(1, 12, 4096);
            let all = p.begin(outer as u32);
            let some = p.begin(inner as u32);
            let noise = p.normal(len as u32);
            let a = p.scalar(Opcode::HalfSumSq, &[noise], 0);
            let b = p.scalar(Opcode::Sum, &[x], 0);
            let term = p.scalar(Opcode::Add, &[a, b], 0);
            p.end(some, term);
            let term = p.scalar(inside, &[some], 0);
            p.end(all, term);
            let y = p.scalar(outside, &[all], 0);
            p.outputs(&[y]);
        });
        let mean = |terms: &[f64]| terms.iter().sum::<f64>() / terms.len() as f64;
        let log_mean_exp = |terms: &[f64]| mean(&terms.iter().map(|term| term.exp()).collect::<Vec<_>>()).ln();
        let reduce = |mean_here: bool, terms: &[f64]| if mean_here { mean(terms) } else { log_mean_exp(terms) };
        let mut draw = 0;
        let mut term = || (0..len).map(|_| { draw += 1; counted(draw).powi(2) / 2.0 }).sum::<f64>() + 1.0;
        let rows: Vec<f64> =
            (0..outer).map(|_| reduce(mean_inside, &(0..inner).map(|_| term()).collect::<Vec<_>>())).collect();
        let expected = reduce(!mean_inside, &rows);
        prop_assert!((got as f64 / 65536.0 - expected).abs() < 1e-4, "{} {expected}", got as f64 / 65536.0);
    }
}

#[test]
fn noise_is_drawn_in_order_of_dimension() {
    let (out, _) = run(ProgramKind::Sample, &mut Parts::new(), &[], |p| {
        let z = p.normal(7);
        p.outputs(&[z]);
    });
    assert_eq!(out, [100, -200, 300, -400, 500, -600, 700]);
}

#[test]
fn a_generator_of_words_is_noise() {
    use rand_core::SeedableRng;
    let mut parts = Parts::new();
    parts.program(ProgramKind::Sample, |p| {
        let z = p.normal(5);
        p.outputs(&[z]);
    });
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    let mut arena = Arena::<8>::new();
    let (mut out, mut expected) = ([0; 5], [0; 5]);
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(3);
    let mut same = rng.clone();
    let mut session = model.session(arena.as_mut_slice()).expect("large enough");
    session.sample(&mut rng, &mut out).expect("runs");
    elbo::normal::fill_normal(&mut same, &mut expected);
    assert_eq!(out, expected);
}

/// Tests the method of every kind of program: it passes its inputs to the program and returns the program's outputs.
#[test]
fn every_kind_by_name() {
    let mut parts = Parts::new();
    for kind in ProgramKind::ALL {
        parts.program(kind, |p| {
            let signature = kind.signature();
            let inputs: Vec<u16> = (0..signature.inputs).map(|slot| p.input(3, 12, 4096 + u16::from(slot))).collect();
            let vector = inputs.first().copied().unwrap_or_else(|| p.normal(3));
            // Each kind has a number of its own.
            let halved = p.clamp(inputs.get(1).copied().unwrap_or(vector), 12, i16::MIN, 4000 - kind as i16);
            let sum = p.scalar(Opcode::Sum, &[vector], 0);
            let scalar = p.offset(sum, kind as i32);
            let outputs = [halved, if signature.vectors == 2 { vector } else { scalar }];
            match (signature.vectors, signature.scalar) {
                (0, _) => p.outputs(&[scalar]),
                (1, false) => p.outputs(&[halved]),
                _ => p.outputs(&outputs),
            }
        });
    }
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    let mut arena = Arena::<64>::new();
    let mut session = model.session(arena.as_mut_slice()).expect("large enough");
    let x = [100, 5000, -5000];
    let noise = &mut Counted::default();
    let mut out = [0; 3];
    let most = |kind: ProgramKind| 4000 - kind as i16;
    let nats = |kind: ProgramKind, sum: i64| elbo::Nats::from_bits((sum << 4) + kind as i64);

    session.sample(noise, &mut out).expect("runs");
    assert_eq!(out, [100, -200, 300]);
    session.decode(&x, &mut out).expect("runs");
    assert_eq!(out, [100, most(ProgramKind::Decode), -4096]);
    let mut second = [0; 3];
    session.encode(&x, &mut out, &mut second).expect("runs");
    assert_eq!((out, second), ([100, most(ProgramKind::Encode), -4096], [100, 4096, -4096]));
    session.reconstruct(&x, &mut out).expect("runs");
    assert_eq!(out, [100, most(ProgramKind::Reconstruct), -4096]);
    session.invert(&x, &mut out).expect("runs");
    assert_eq!(out, [100, most(ProgramKind::Invert), -4096]);
    assert_eq!(session.score(&x), Ok(nats(ProgramKind::Score, 100)));
    assert_eq!(session.score_monte_carlo(&x, noise), Ok(nats(ProgramKind::ScoreMonteCarlo, 100)));
    assert_eq!(session.score_importance(&x, noise), Ok(nats(ProgramKind::ScoreImportance, 100)));
    session.classify(&x, noise, &mut out).expect("runs");
    assert_eq!(out, [100, most(ProgramKind::Classify), -4096]);
    session.impute(&x, &[7, -9, 5000], noise, &mut out).expect("runs");
    assert_eq!(out, [7, -9, most(ProgramKind::Impute)]);
    // The draws so far are 1 to 3.
    assert_eq!(session.sample_density(noise, &mut out), Ok(nats(ProgramKind::SampleDensity, -500)));
    assert_eq!(out, [-400, 500, -600]);
    for class in 0..3 {
        session.sample_class(class, noise, &mut out).expect("runs");
        let mut expected = [0; 3];
        expected[class] = most(ProgramKind::SampleClass);
        assert_eq!(out, expected);
    }
    session.run(ProgramKind::SampleClass, &[&x], &mut [&mut out], noise).expect("runs");
    assert_eq!(out, [100, most(ProgramKind::SampleClass), -4096], "any weights, not one class alone");
}

/// A noise source that exceeds the range of normal noise.
struct Loud;

impl elbo::Noise for Loud {
    fn normal(&mut self, out: &mut [i16]) {
        out.fill(i16::MIN);
    }
}

#[test]
fn noise_is_kept_within_what_the_proof_is_for() {
    let mut parts = Parts::new();
    parts.program(ProgramKind::Sample, |p| {
        let z = p.normal(3);
        p.outputs(&[z]);
    });
    let words = parts.words();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).expect("valid");
    let mut arena = Arena::<8>::new();
    let mut out = [0; 3];
    model.session(arena.as_mut_slice()).expect("large enough").sample(&mut Loud, &mut out).expect("runs");
    assert_eq!(out, [-elbo::normal::MAX; 3]);
}
