//! Compares the operations of flows, DLGM, auxiliary models and convolutions, as the interpreter runs them, with a
//! naive evaluation: exact integers if the operation is exact, otherwise floating point. The operations that every
//! model uses are in `interpreter.rs`.

use elbo::kernel::{ConvGeometry, Packing};
use elbo::program::{NO_TENSOR, Op, Opcode, ProgramKind};
use elbo_fuzz_blobs::builder::{Parts, Program, nats_of};
use proptest::prelude::*;

mod common;
use common::{any_vector, counted, run, run_all, score, softplus, value, vector};

/// The scalar that programs of flows return in addition to their vector.
fn density(x: &[i16], write: impl FnOnce(&mut Program<'_>)) -> f64 {
    run(ProgramKind::Score, &mut Parts::new(), x, write).1 as f64 / 65536.0
}

/// `sum p (v + ln p)` of `softmax(l)`.
fn free_energy(values: &[f64], logits: &[f64]) -> f64 {
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = logits.iter().map(|l| (l - most).exp()).sum();
    let p: Vec<f64> = logits.iter().map(|l| (l - most).exp() / total).collect();
    values.iter().zip(&p).filter(|(_, p)| **p > 0.0).map(|(v, p)| p * (v + p.ln())).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn softmax(x in any_vector(), frac in 8u8..=15) {
        let out = vector(&x, |p| {
            let x = p.input(x.len() as u32, frac, 32768);
            let y = p.map(Opcode::Softmax, &[x], 15, 0);
            p.outputs(&[y]);
        });
        let logits: Vec<f64> = x.iter().map(|q| value(*q, frac.into())).collect();
        let most = logits.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = logits.iter().map(|l| (l - most).exp()).sum();
        for (out, l) in out.into_iter().zip(logits) {
            let exact = (32768.0 * (l - most).exp() / total).min(32767.0);
            prop_assert!((f64::from(out) - exact).abs() <= 0.51, "{out} {exact}");
        }
    }

    #[test]
    fn densities_of_components(
        (parts, x) in (1u32..6, 1u32..5).prop_flat_map(|(parts, len)| {
            let n = (parts * (len + 1)) as usize;
            (Just(parts), prop::collection::vec(prop_oneof![any::<i16>(), -300i16..300], n..=n))
        }),
        [peak_frac, frac] in [0u8..=15, 0u8..=15],
    ) {
        let n = x.len() as u32;
        let logits = |p: &mut Program<'_>| {
            let x = p.input(n, 15, 32768);
            let peaks = p.slice(x, 0, parts);
            let u = p.slice(x, parts, n - parts);
            let (peaks, u) = (p.clamp(peaks, peak_frac, -32768, 32767), p.clamp(u, frac, -32768, 32767));
            let op = Op { opcode: Opcode::GaussianLogits, param: 0, output: 0, inputs: [NO_TENSOR; 3], arg: 0, imm: 0 };
            p.op(op, &[peaks, u], nats_of(parts))
        };
        let rounded = |q: i16, frac: u8| (f64::from(q) * f64::from(i32::from(frac) - 15).exp2() + 0.5).floor().min(32767.0);
        let value = |q: i16, frac: u8| rounded(q, frac) * f64::from(-i32::from(frac)).exp2();
        let (peaks, u) = x.split_at(parts as usize);
        let exact: Vec<f64> = peaks
            .iter()
            .zip(u.chunks(u.len() / peaks.len()))
            .map(|(peak, u)| value(*peak, peak_frac) - 0.5 * u.iter().map(|q| value(*q, frac).powi(2)).sum::<f64>())
            .collect();
        // The mean tells one logit from another only through the sum; the posterior below tells them apart.
        let mean = score(&x, |p| {
            let logits = logits(p);
            let y = p.scalar(Opcode::Mean, &[logits], 0);
            p.outputs(&[y]);
        });
        let expected = exact.iter().sum::<f64>() / f64::from(parts);
        prop_assert!((mean - expected).abs() < 2.0 / 65536.0, "{mean} {expected}");
        let posterior = vector(&x, |p| {
            let logits = logits(p);
            let y = p.map(Opcode::Posterior, &[logits], 15, 0);
            p.outputs(&[y]);
        });
        let most = exact.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = exact.iter().map(|l| (l - most).exp()).sum();
        for (out, l) in posterior.into_iter().zip(exact) {
            let exact = (32768.0 * (l - most).exp() / total).min(32767.0);
            // A logit is right to 1 LSB of Q16, which is half of one of Q15 at most.
            prop_assert!((f64::from(out) - exact).abs() <= 1.02, "{out} {exact}");
        }
    }

    #[test]
    fn loops_collect_vectors(rows in 1u32..5, x in any_vector(), mean: bool) {
        let n = x.len() as u32;
        // Each iteration gives x with one element replaced by 1000, in order.
        let (out, _) = run(ProgramKind::Reconstruct, &mut Parts::new(), &x, |p| {
            let x = p.input(n, 11, 32768);
            let rows = p.begin_vectors(rows, n, 11);
            let hot = p.one_hot(n, 11, 1000);
            let row = p.map_in_place(Opcode::Select, &[hot, x, hot], 11, 0);
            p.end(rows, row);
            let y = if mean { p.mean_vectors(rows, n) } else { rows };
            p.outputs(&[y]);
        });
        let row = |i: u32| x.iter().enumerate().map(move |(j, q)| if j as u32 == i { 1000 } else { *q });
        let collected: Vec<i16> = (0..rows).flat_map(row).collect();
        if mean {
            let count = i64::from(rows);
            let mean = |j: usize| {
                let sum: i64 = collected.iter().skip(j).step_by(x.len()).map(|q| i64::from(*q)).sum();
                (2 * sum + count).div_euclid(2 * count) as i16
            };
            prop_assert_eq!(out, (0..x.len()).map(mean).collect::<Vec<_>>());
        } else {
            prop_assert_eq!(out, collected);
        }
    }

    #[test]
    fn one_hot_follows_the_innermost_loop(outer in 1u32..4, inner in 1u32..5, len in 1u32..4) {
        let (out, _) = run(ProgramKind::Reconstruct, &mut Parts::new(), &[1], |p| {
            let _ = p.input(1, 0, 1);
            let all = p.begin_vectors(outer, inner * len + len, 14);
            let some = p.begin_vectors(inner, len, 14);
            let class = p.one_hot(len, 14, 16384);
            p.end(some, class);
            let own = p.one_hot(len, 14, 7);
            let both = p.concat(some, own, 14);
            p.end(all, both);
            p.outputs(&[all]);
        });
        let hot = |at: u32, value: i16| (0..len).map(move |j| if j == at { value } else { 0 });
        let expected: Vec<i16> = (0..outer)
            .flat_map(|i| (0..inner).flat_map(|j| hot(j, 16384)).chain(hot(i, 7)).collect::<Vec<_>>())
            .collect();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn classes_summed_out(logits in prop::collection::vec(-3000i16..3000, 2..7)) {
        // The value of a class is its logit plus 3.
        let n = logits.len() as u32;
        let got = score(&logits, |p| {
            let x = p.input(n, 11, 3000);
            let zero = p.clamp(x, 11, 0, 0);
            let values = p.begin(n);
            let class = p.one_hot(n, 11, 2048);
            let only = p.map(Opcode::Select, &[x, zero, class], 11, 0);
            let value = p.scalar(Opcode::Sum, &[only], 0);
            let value = p.offset(value, 3 << 16);
            p.end(values, value);
            let y = p.scalar(Opcode::FreeEnergy, &[values, x], 0);
            p.outputs(&[y]);
        });
        let l: Vec<f64> = logits.iter().map(|q| value(*q, 11)).collect();
        let values: Vec<f64> = l.iter().map(|l| l + 3.0).collect();
        let expected = free_energy(&values, &l);
        prop_assert!((got - expected).abs() < 1e-4, "{got} {expected}");
    }

    #[test]
    fn rank_one_noise(v in any_vector(), frac in 8u8..=15) {
        let n = v.len() as u32;
        let ([out, _], _) = run_all(ProgramKind::Classify, &mut Parts::new(), &[&v], |p| {
            let v = p.input(n, frac, 32768);
            let noise = p.normal(n);
            let y = p.map(Opcode::RankOne, &[noise, v], 12, 0);
            p.outputs(&[y]);
        });
        let v: Vec<f64> = v.iter().map(|q| value(*q, frac.into())).collect();
        let noise: Vec<f64> = (1..=n as i16).map(counted).collect();
        let square: f64 = v.iter().map(|v| v * v).sum();
        let along: f64 = v.iter().zip(&noise).map(|(v, e)| v * e).sum();
        let kappa = 1.0 / (1.0 + square + (1.0 + square).sqrt());
        for ((out, v), e) in out.into_iter().zip(&v).zip(&noise) {
            let exact = (e - kappa * v * along) * 4096.0;
            prop_assert!((f64::from(out) - exact.clamp(-32768.0, 32767.0)).abs() <= 0.6, "{out} {exact}");
        }
    }

    #[test]
    fn rank_one_divergences(v in any_vector(), frac in 8u8..=15) {
        let n = v.len() as u32;
        let square = |frac: u8, f: &dyn Fn(i16) -> i16| v.iter().map(|q| value(f(*q), frac.into()).powi(2)).sum::<f64>();
        let got = score(&v, |p| {
            let v = p.input(n, frac, 32768);
            let y = p.scalar(Opcode::HalfLogDet, &[v], 0);
            p.outputs(&[y]);
        });
        let half_log = 0.5 * square(frac, &|q| q).ln_1p();
        prop_assert!((got - half_log).abs() <= 0.9 / 65536.0, "{got} {half_log}");
        let got = score(&v, |p| {
            let v = p.input(n, frac, 32768);
            let w = p.map(Opcode::Relu, &[v], frac, 0);
            let y = p.scalar(Opcode::RankOneKl, &[v, w], 0);
            p.outputs(&[y]);
        });
        let expected = half_log - 0.5 * square(frac, &|q| q.max(0)) / (1.0 + square(frac, &|q| q));
        prop_assert!((got - expected).abs() <= 1.5 / 65536.0, "{got} {expected}");
    }

    #[test]
    fn rank_one_of_one_vector_twice(v in any_vector()) {
        let n = v.len() as u32;
        let got = score(&v, |p| {
            let v = p.input(n, 8, 32768);
            let y = p.scalar(Opcode::RankOneKl, &[v, v], 0);
            p.outputs(&[y]);
        });
        let square: f64 = v.iter().map(|q| value(*q, 8).powi(2)).sum();
        let expected = 0.5 * square.ln_1p() - 0.5 * square / (1.0 + square);
        prop_assert!((got - expected).abs() <= 1.5 / 65536.0, "{got} {expected}");
    }

    #[test]
    fn grey_levels(pixels in prop::collection::vec((-20000i16..=20000, -14336i16..=4096, 0i16..=255), 1..10)) {
        let level = |k: i16| (f64::from(k) / 255.0 * 16384.0).round() as i16;
        let n = pixels.len() as u32;
        let all: Vec<i16> = pixels.iter().map(|p| p.0).chain(pixels.iter().map(|p| p.1)).chain(pixels.iter().map(|p| level(p.2))).collect();
        let got = score(&all, |p| {
            let all = p.input(3 * n, 14, 32768);
            let mean = p.slice(all, 0, n);
            let log_scale = p.slice(all, n, n);
            // Changes the scale: a product with 8 at Q0 is 8 times the value.
            let hot = p.clamp(log_scale, 0, 8, 8);
            let log_scale = p.map(Opcode::Mul, &[log_scale, hot], 11, 0);
            let x = p.slice(all, 2 * n, n);
            let y = p.scalar(Opcode::LogisticNll, &[mean, log_scale, x], 0);
            p.outputs(&[y]);
        });
        let term = |mean: i16, log_scale: i16, k: i16| {
            let scale = value(log_scale, 11).exp();
            let edge = |side: f64| (value(level(k), 14) + side / 510.0 - value(mean, 14)) / scale;
            let (above, below) = (softplus(-edge(1.0)), softplus(edge(-1.0)));
            match k {
                0 => above,
                255 => below,
                _ => above + below - (-(-1.0 / (255.0 * scale)).exp_m1()).ln(),
            }
        };
        let expected: f64 = pixels.iter().map(|p| term(p.0, p.1, p.2)).sum();
        prop_assert!((got - expected).abs() < 7.5 / 65536.0 * f64::from(n) + 1e-7 * expected, "{got} {expected}");
    }

    #[test]
    fn a_planar_step(z in prop::collection::vec(-8000i16..8000, 1..5), seed: u32) {
        let n = z.len();
        let params = small_params(2 * n + 1, seed);
        let (x, log_det) = through(Opcode::Planar, &z, &params, false);
        let q: Vec<f64> = params.iter().map(|q| value(*q, 12)).collect();
        let (w, u, b) = (&q[..n], &q[n..2 * n], q[2 * n]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let correction = (softplus(-dot(w, u)) - 1.0) / dot(w, w).max(1.0 / 64.0);
        let u: Vec<f64> = u.iter().zip(w).map(|(u, w)| u + correction * w).collect();
        let z: Vec<f64> = z.iter().map(|q| value(*q, 12)).collect();
        let tanh = (dot(w, &z) + b).tanh();
        for ((x, z), u) in x.iter().zip(&z).zip(&u) {
            prop_assert!((f64::from(*x) - 4096.0 * (z + u * tanh)).abs() < 1.0, "{x}");
        }
        let exact = (1.0 + (1.0 - tanh * tanh) * dot(w, &u)).ln();
        prop_assert!((log_det - exact).abs() < 3e-4, "{log_det} {exact}");
    }

    #[test]
    fn a_radial_step(z in prop::collection::vec(-8000i16..8000, 1..5), seed: u32) {
        let n = z.len();
        let params = small_params(n + 2, seed);
        let (x, log_det) = through(Opcode::Radial, &z, &params, false);
        let q: Vec<f64> = params.iter().map(|q| value(*q, 12)).collect();
        let (alpha, inner) = (softplus(q[n]), softplus(q[n + 1]));
        let offset: Vec<f64> = z.iter().zip(&q).map(|(z, centre)| value(*z, 12) - centre).collect();
        let r = offset.iter().map(|d| d * d).sum::<f64>().sqrt();
        let (beta, h) = (inner - alpha, 1.0 / (alpha + r));
        for ((x, z), d) in x.iter().zip(&z).zip(&offset) {
            prop_assert!((f64::from(*x) - 4096.0 * (value(*z, 12) + beta * h * d)).abs() < 1.0, "{x}");
        }
        let exact = (n as f64 - 1.0) * (1.0 + beta * h).ln() + (1.0 + beta * h - beta * r * h * h).ln();
        prop_assert!((log_det - exact).abs() < 1e-3, "{log_det} {exact}");
    }

    #[test]
    fn flows_are_undone(z in prop::collection::vec(-8000i16..8000, 1..5), seed: u32, planar: bool) {
        let (opcode, step) = if planar { (Opcode::Planar, 2 * z.len() + 1) } else { (Opcode::Radial, z.len() + 2) };
        let params = small_params(2 * step, seed);
        let (x, there) = through(opcode, &z, &params, false);
        let (back, inverse) = through(opcode, &x, &params, true);
        // Two steps whose inverse stretches by at most 2 each, applied to errors of half a unit.
        for (back, z) in back.iter().zip(&z) {
            prop_assert!((back - z).abs() <= 6, "{back} {z}");
        }
        prop_assert!((there + inverse).abs() < 0.02, "{there} {inverse}");
    }

    #[test]
    fn an_additive_coupling_is_undone_exactly(x in prop::collection::vec(-8000i16..8000, 4..9), salt: u32) {
        let n = x.len() as u32;
        let half = n / 2;
        let weight = |row: usize, col: usize| ((salt ^ (row * 20 + col) as u32).wrapping_mul(0x9E37_79B9) >> 24) as i8;
        let coupling = |opcode: Opcode, x: &[i16]| {
            let mut parts = Parts::new();
            let shape = [(n - half) as usize, half as usize];
            let shift = parts.matrix(shape, Packing::Dsp4, 32768, weight, |row| (row as i32) << 10, |_| 1 << 24);
            run(ProgramKind::Reconstruct, &mut parts, x, |p| {
                let x = p.input(n, 12, 20000);
                let (a, b) = (p.slice(x, 0, half), p.slice(x, half, n - half));
                let shift = p.dense(a, shift, 12);
                let shift = p.clamp(shift, 12, -12000, 12000);
                let b = p.map_in_place(opcode, &[b, shift], 12, 0);
                let y = p.concat(a, b, 12);
                p.outputs(&[y]);
            })
            .0
        };
        let y = coupling(Opcode::AddVec, &x);
        prop_assert_eq!(&y[..half as usize], &x[..half as usize]);
        prop_assert_eq!(coupling(Opcode::SubVec, &y), x);
    }

    #[test]
    fn convolutions(
        size in (1u8..6, 1u8..6),
        shape in (1u8..5, 1u8..4, 1u8..4, 0u8..3, 0u8..3),
        channels in (1usize..4, 1usize..6),
        salt: u32,
    ) {
        let (kernel, stride, up, pad, output_padding) = shape;
        let stride = if up > 1 { 1 } else { stride };
        let geometry = ConvGeometry { height: size.0, width: size.1, kernel, stride, up, pad, output_padding };
        prop_assume!(geometry.is_valid());
        let (ins, outs) = channels;
        let hash = move |i: usize| (salt ^ i as u32).wrapping_mul(0x9E37_79B9);
        let (k, up, pad, stride) = (usize::from(kernel), usize::from(up), usize::from(pad), usize::from(stride));
        let kernel = |to: usize, y: usize, x: usize, from: usize| (hash(((to * k + y) * k + x) * ins + from) >> 24) as i8;
        let bias = move |to: usize| hash(to + 5000) as i32 >> 8;
        let multiplier = move |to: usize| (hash(to + 6000) >> 6) as i32;

        let mut parts = Parts::new();
        for phase in 0..up * up {
            // Along an axis, a phase has the taps of its residue class.
            let first = |phase: usize| (phase + pad) % up;
            let (first_y, first_x) = (first(phase / up), first(phase % up));
            let across = (first_x..k).step_by(up).count();
            let taps = (first_y..k).step_by(up).count() * across;
            prop_assert_eq!(taps, geometry.taps(phase as u32) as usize);
            let packing = if phase % 2 == 0 { Packing::Dsp4 } else { Packing::RowMajor };
            let weight = |to: usize, col: usize| {
                let (tap, from) = (col / ins, col % ins);
                kernel(to, first_y + tap / across * up, first_x + tap % across * up, from)
            };
            parts.matrix([outs, taps * ins], packing, 32768, weight, bias, multiplier);
        }
        let (height, width) = (usize::from(size.0), usize::from(size.1));
        let x: Vec<i16> = (0..height * width * ins).map(|i| (hash(i + 9000) >> 16) as i16).collect();
        let (got, _) = run(ProgramKind::Reconstruct, &mut parts, &x, |p| {
            let x = p.input(x.len() as u32, 12, 32768);
            let y = p.conv(x, 0, geometry, 9);
            p.outputs(&[y]);
        });

        // All contributions to an output pixel by definition: input pixel i through tap t, where o stride + t - pad = i
        // up.
        let (rows, cols) = geometry.output();
        let mut expected = Vec::new();
        for (oy, ox, to) in (0..rows as usize)
            .flat_map(|oy| (0..cols as usize).flat_map(move |ox| (0..outs).map(move |to| (oy, ox, to))))
        {
            let mut sum = i128::from(bias(to));
            for (iy, ix) in (0..height).flat_map(|iy| (0..width).map(move |ix| (iy, ix))) {
                for (ty, tx) in (0..k).flat_map(|ty| (0..k).map(move |tx| (ty, tx))) {
                    let meets = |o: usize, t: usize, i: usize| {
                        if up == 1 { o * stride + t == i + pad } else { i * up + t == o + pad }
                    };
                    if meets(oy, ty, iy) && meets(ox, tx, ix) {
                        let pixel = &x[(iy * width + ix) * ins..][..ins];
                        let products = pixel.iter().enumerate();
                        sum += products.map(|(from, q)| i128::from(kernel(to, ty, tx, from)) * i128::from(*q)).sum::<i128>();
                    }
                }
            }
            let scaled = (sum * i128::from(multiplier(to)) + (1 << 31)).div_euclid(1 << 32);
            expected.push(scaled.clamp(-32768, 32767) as i16);
        }
        prop_assert_eq!(got, expected);
    }
}

/// Parameters below 1/2 at 12 fractional bits.
fn small_params(count: usize, seed: u32) -> Vec<i16> {
    (0..count).map(|i| ((seed ^ i as u32).wrapping_mul(0x9E37_79B9) >> 20) as i16 - 2048).collect()
}

/// `z` at Q12 after a flow, and the log-determinant.
fn through(opcode: Opcode, z: &[i16], params: &[i16], inverse: bool) -> (Vec<i16>, f64) {
    let (n, both) = (z.len() as u32, [z, params].concat());
    let write = |p: &mut Program<'_>| {
        let all = p.input(both.len() as u32, 12, 32768);
        let z = p.slice(all, 0, n);
        let params = p.slice(all, n, params.len() as u32);
        (p.flow(opcode, z, params, inverse), p.extra())
    };
    let x = vector(&both, |p| {
        let (y, _) = write(p);
        p.outputs(&[y]);
    });
    let log_det = density(&both, |p| {
        let (_, third) = write(p);
        p.outputs(&[third]);
    });
    (x, log_det)
}

#[test]
fn a_draw_with_its_density() {
    let ([x, _], nats) = run_all(ProgramKind::SampleDensity, &mut Parts::new(), &[], |p| {
        let z = p.normal(3);
        let nats = p.scalar(Opcode::HalfSumSq, &[z], 0);
        p.outputs(&[z, nats]);
    });
    assert_eq!(x, [100, -200, 300]);
    assert_eq!(nats, ((100 * 100 + 200 * 200 + 300 * 300) * 65536i64 / 2 + (1 << 23)) >> 24);
}
