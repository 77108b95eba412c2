use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Activation, Adam, AdamParams, FlowStep, RmsProp, RmsPropParams, Rng, composed};

const CPU: Device = Device::Cpu;

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (a.flatten_all().unwrap(), b.flatten_all().unwrap());
    let (a, b): (Vec<f32>, Vec<f32>) = (a.to_vec1().unwrap(), b.to_vec1().unwrap());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max)
}

/// Compares values and gradients of two forms on the same inputs, weighted by fixed random numbers.
fn compare(
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    compare_within(1e-5, inputs, fused, plain);
}

pub(super) fn compare_within(
    tolerance: f32,
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let (a, b) = (fused(&tensors).unwrap(), plain(&tensors).unwrap());
    assert!(largest_difference(&a, &b) < tolerance, "values differ by {}", largest_difference(&a, &b));
    let weight = Rng::new(99).normal(a.shape(), DType::F32, &CPU).unwrap();
    let ga = a.mul(&weight).unwrap().sum_all().unwrap().backward().unwrap();
    let gb = b.mul(&weight).unwrap().sum_all().unwrap().backward().unwrap();
    for (i, var) in vars.iter().enumerate() {
        let (a, b) = (ga.get(var).expect("gradient"), gb.get(var).expect("gradient"));
        assert!(largest_difference(a, b) < tolerance, "gradient {i} differs by {}", largest_difference(a, b));
    }
}

pub(super) fn noise(rng: &mut Rng, shape: &[usize], scale: f64) -> Tensor {
    (rng.normal(shape, DType::F32, &CPU).unwrap() * scale).unwrap()
}

#[test]
fn linear_equals_its_definition() {
    let mut rng = Rng::new(1);
    for (b, i, o) in [(1, 1, 1), (3, 5, 7), (100, 40, 33), (100, 64, 200), (200, 90, 40), (1, 600, 600)] {
        for activation in [Activation::Identity, Activation::Relu, Activation::Tanh] {
            let scale = 1.0 / (i as f64).sqrt();
            let inputs = [noise(&mut rng, &[b, i], 1.0), noise(&mut rng, &[o, i], scale), noise(&mut rng, &[o], 1.0)];
            compare(
                &inputs,
                |t| super::linear(&t[0], &t[1], &t[2], activation),
                |t| composed::linear(&t[0], &t[1], &t[2], activation),
            );
        }
    }
}

#[test]
fn linear_takes_views_and_refuses_wrong_shapes() {
    let mut rng = Rng::new(2);
    let inputs = [noise(&mut rng, &[6, 4], 1.0), noise(&mut rng, &[6, 9], 1.0), noise(&mut rng, &[9], 1.0)];
    let by = |f: fn(&Tensor, &Tensor, &Tensor, Activation) -> Result<Tensor>| {
        move |t: &[Tensor]| f(&t[0].t()?, &t[1].t()?, &t[2], Activation::Tanh)
    };
    compare(&inputs, by(super::linear), by(composed::linear));
    assert!(super::linear(&inputs[0], &inputs[1], &inputs[2], Activation::Relu).is_err());
    assert!(super::bernoulli_nll(&inputs[0], &inputs[1]).is_err());
}

#[test]
fn joint_sums_equal_their_definition() {
    let mut rng = Rng::new(12);
    for (c, b, h) in [(1, 1, 1), (3, 5, 7), (10, 40, 200), (1, 100, 33)] {
        let [each, base, rows] = [c * b, b, c].map(|n| noise(&mut rng, &[n, h], 1.0));
        for activation in [Activation::Identity, Activation::Relu, Activation::Tanh] {
            compare(
                &[each.clone(), base.clone(), rows.clone()],
                |t| super::joint_sum(Some(&t[0]), Some(&t[1]), &t[2], activation),
                |t| composed::joint_sum(Some(&t[0]), Some(&t[1]), &t[2], activation),
            );
            compare(
                &[each.clone(), rows.clone()],
                |t| super::joint_sum(Some(&t[0]), None, &t[1], activation),
                |t| composed::joint_sum(Some(&t[0]), None, &t[1], activation),
            );
            compare(
                &[base.clone(), rows.clone()],
                |t| super::joint_sum(None, Some(&t[0]), &t[1], activation),
                |t| composed::joint_sum(None, Some(&t[0]), &t[1], activation),
            );
        }
    }
    // Row 1 of the second copy, by hand.
    let t = |v: &[f32]| Tensor::new(v, &CPU).unwrap().unsqueeze(1).unwrap();
    let (each, base, rows) = (t(&[1.0, 2.0, 3.0, 4.0]), t(&[10.0, 20.0]), t(&[100.0, 200.0]));
    let sum = super::joint_sum(Some(&each), Some(&base), &rows, Activation::Identity).unwrap();
    assert_eq!(sum.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [111.0, 122.0, 213.0, 224.0]);
    assert!(super::joint_sum(Some(&base), Some(&base), &rows, Activation::Relu).is_err());
    assert!(super::joint_sum(None, None, &rows, Activation::Relu).is_err());
}

#[test]
fn densities_equal_their_definitions() {
    let mut rng = Rng::new(3);
    for (b, d) in [(1, 1), (3, 17), (100, 784)] {
        let m = noise(&mut rng, &[b, d], 3.0);
        let v = noise(&mut rng, &[b, d], 1.0);
        let x = rng.uniform(0.0, 1.0, (b, d), DType::F32, &CPU).unwrap();
        compare(
            &[m.clone(), x.clone()],
            |t| super::bernoulli_nll(&t[0], &t[1]),
            |t| composed::bernoulli_nll(&t[0], &t[1]),
        );
        compare(
            &[m.clone(), v.clone(), x.clone()],
            |t| super::gaussian_nll(&t[0], &t[1], &t[2]),
            |t| composed::gaussian_nll(&t[0], &t[1], &t[2]),
        );
        compare(
            &[m.clone(), v.clone(), x],
            |t| super::reparameterise(&t[0], &t[1], &t[2]),
            |t| composed::reparameterise(&t[0], &t[1], &t[2]),
        );
        compare(
            &[m.clone(), v],
            |t| super::kl_standard_normal(&t[0], &t[1]),
            |t| composed::kl_standard_normal(&t[0], &t[1]),
        );
        compare(&[m], |t| super::clamp(&t[0], -2.0, 1.0), |t| composed::clamp(&t[0], -2.0, 1.0));
    }
}

/// Every level, the edges too, at scales from a quarter of a level to several times the range.
#[test]
fn the_discretised_logistic_equals_its_definition() {
    let mut rng = Rng::new(6);
    for (b, d) in [(1, 1), (3, 17), (60, 512)] {
        let m = rng.uniform(-0.5, 1.5, (b, d), DType::F32, &CPU).unwrap();
        let s = rng.uniform(-6.0, -0.5, (b, d), DType::F32, &CPU).unwrap();
        let levels: Vec<f32> = (0..b * d).map(|i| (i % 256) as f32 / 255.0).collect();
        let x = Tensor::from_vec(levels, (b, d), &CPU).unwrap();
        // In f64, because the definition cancels where levels are narrow.
        let wide = |t: &[Tensor]| {
            let [m, s, x] = [0, 1, 2].map(|i| t[i].to_dtype(DType::F64).unwrap());
            composed::logistic_nll(&m, &s, &x)?.to_dtype(DType::F32)
        };
        compare(&[m, s, x], |t| super::logistic_nll(&t[0], &t[1], &t[2]), wide);
    }
}

/// The masses of all levels sum to one.
#[test]
fn the_discretised_logistic_is_a_distribution() {
    for (mean, log_scale) in [(0.3, -4.0), (-0.4, -2.0), (1.2, -3.0), (0.5, -7.0), (0.9, 2.0)] {
        let fill = |v: f64| Tensor::full(v as f32, (256, 1), &CPU).unwrap();
        let levels: Vec<f32> = (0..256).map(|k| k as f32 / 255.0).collect();
        let x = Tensor::from_vec(levels, (256, 1), &CPU).unwrap();
        let nll = super::logistic_nll(&fill(mean), &fill(log_scale), &x).unwrap().to_vec1::<f32>().unwrap();
        let total: f64 = nll.iter().map(|n| f64::from(-n).exp()).sum();
        assert!((total - 1.0).abs() < 1e-4, "{mean} {log_scale}: {total}");
    }
}

/// By finite differences of the definition in `f64`, on both sides of every branch of the fused form.
#[test]
fn the_discretised_logistics_gradient_is_its_slope() {
    let nll = |m: f64, s: f64, x: f64| {
        let t = |v: f64| Tensor::full(v, (1, 1), &CPU).unwrap();
        composed::logistic_nll(&t(m), &t(s), &t(x)).unwrap().to_vec1::<f64>().unwrap()[0]
    };
    let h = 1e-6;
    for s in [-6.9, -5.3, -5.1, -3.0, -2.4, -1.0, 1.9] {
        for x in [0.0, 1.0 / 255.0, 0.6, 254.0 / 255.0, 1.0] {
            for m in [-0.3, x + 0.001, 0.9] {
                let inputs = [m, s].map(|v| Var::new(&[[v as f32]], &CPU).unwrap());
                let level = Tensor::full(x as f32, (1, 1), &CPU).unwrap();
                let g = super::logistic_nll(inputs[0].as_tensor(), inputs[1].as_tensor(), &level).unwrap();
                let g = g.backward().unwrap();
                let slopes = [nll(m + h, s, x) - nll(m - h, s, x), nll(m, s + h, x) - nll(m, s - h, x)];
                for (var, slope) in inputs.iter().zip(slopes.map(|d| d / (2.0 * h))) {
                    let got = f64::from(g.get(var).unwrap().to_vec2::<f32>().unwrap()[0][0]);
                    assert!((got - slope).abs() < 2e-4 * (1.0 + slope.abs()), "m {m} s {s} x {x}: {got} {slope}");
                }
            }
        }
    }
}

#[test]
fn wide_logits_stay_finite() {
    let l = Var::new(&[[-500.0f32, 500.0, -200.0, 200.0]], &CPU).unwrap();
    let x = Tensor::new(&[[1.0f32, 0.0, 0.0, 1.0]], &CPU).unwrap();
    let nll = super::bernoulli_nll(l.as_tensor(), &x).unwrap();
    assert_eq!(nll.to_vec1::<f32>().unwrap(), [1000.0]);
    let g = nll.backward().unwrap().get(&l).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(g[0][..2], [-1.0, 1.0]);
    assert!(g[0][2].abs() < 1e-30 && g[0][3].abs() < 1e-30);
}

/// Adam against the formula in `f64`, the fused and the composed form, and a resume in the middle.
#[test]
fn adam_is_adam_and_resumes_exactly() {
    let params = AdamParams { weight_decay: 0.01, ..AdamParams::default() };
    let start = noise(&mut Rng::new(4), &[130, 150], 1.0);
    let run = |dtype: DType, resume_at: Option<u64>| {
        let vars = vec![("w".to_string(), Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap())];
        let mut adam = Adam::new(&vars, params).unwrap();
        for step in 0..10 {
            if resume_at == Some(step) {
                let state = adam.state().unwrap();
                adam = Adam::new(&vars, params).unwrap();
                adam.restore(&state).unwrap();
            }
            let loss = vars[0].1.sqr().unwrap().sum_all().unwrap();
            adam.step(&loss.backward().unwrap(), 0.05 / (1.0 + step as f64)).unwrap();
        }
        vars[0].1.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
    };
    let mut want: Vec<f64> = start.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    for p in &mut want {
        let (mut m, mut v) = (0.0, 0.0);
        for step in 0..10 {
            let (g, lr, t) = (2.0 * *p, 0.05 / (1.0 + f64::from(step)), step + 1);
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mh, vh) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            *p = *p * (1.0 - lr * 0.01) - lr * mh / (vh.sqrt() + 1e-8);
        }
    }
    let fused = run(DType::F32, None);
    for (got, tolerance) in [(&fused, 2e-5), (&run(DType::F64, None), 1e-12)] {
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < tolerance));
    }
    assert_eq!(fused, run(DType::F32, Some(6)));
}

/// RMSProp against the formula in `f64`, the fused and the composed form, a resume in the middle, and clipping.
#[test]
fn rmsprop_is_rmsprop_and_resumes_exactly() {
    let params = RmsPropParams::default();
    let start = noise(&mut Rng::new(6), &[40, 15], 1.0);
    let run = |dtype: DType, resume_at: Option<u64>| {
        let vars = vec![("w".to_string(), Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap())];
        let mut rmsprop = RmsProp::new(&vars, params).unwrap();
        for step in 0..10 {
            if resume_at == Some(step) {
                let state = rmsprop.state().unwrap();
                rmsprop = RmsProp::new(&vars, params).unwrap();
                rmsprop.restore(&state).unwrap();
            }
            let loss = vars[0].1.sqr().unwrap().sum_all().unwrap();
            rmsprop.step(&loss.backward().unwrap(), 0.01 / (1.0 + step as f64)).unwrap();
            super::clip(&vars[0].1, 1.5).unwrap();
        }
        assert!(rmsprop.restore(&super::OptimiserState { step: 0, tensors: Default::default() }).is_err());
        vars[0].1.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
    };
    let mut want: Vec<f64> = start.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    for p in &mut want {
        let mut v = 0.0f64;
        for step in 0..10 {
            let g = 2.0 * *p;
            v = 0.99 * v + 0.01 * g * g;
            *p = (*p - 0.01 / (1.0 + f64::from(step)) * g / (v.sqrt() + 1e-8)).clamp(-1.5, 1.5);
        }
    }
    assert!(want.iter().any(|p| p.abs() > 1.3), "some are clipped");
    let fused = run(DType::F32, None);
    for (got, tolerance) in [(&fused, 2e-5), (&run(DType::F64, None), 1e-12)] {
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < tolerance));
    }
    assert_eq!(fused, run(DType::F32, Some(6)));
}

#[test]
fn generator_state_resumes_and_moments_hold() {
    let mut rng = Rng::new(5);
    let mut values = vec![0.0f32; 200_001];
    rng.fill_normal(&mut values);
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
    assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.015, "{mean} {variance}");
    let mut copy = Rng::from_state(rng.state());
    assert_eq!(copy.unit(), rng.unit());
    let p = Tensor::new(&[0.0f32, 0.25, 1.0], &CPU).unwrap().broadcast_as((40_000, 3)).unwrap();
    let draws = rng.bernoulli(&p.contiguous().unwrap()).unwrap().mean(0).unwrap().to_vec1::<f32>().unwrap();
    assert!(draws[0] == 0.0 && draws[2] == 1.0 && (draws[1] - 0.25).abs() < 0.01, "{draws:?}");
    let mut order = rng.permutation(1000);
    order.sort_unstable();
    assert!(order.into_iter().eq(0..1000));
}

/// Points and parameters of `K` steps: ordinary ones, short `w`, and `w.u` far below its bound.
fn flow_inputs(step: FlowStep, b: usize, d: usize, count: usize, rows: Option<usize>, seed: u64) -> [Tensor; 2] {
    let mut rng = Rng::new(seed);
    let width = step.params(d);
    let mut params = Vec::new();
    for k in 0..count * rows.unwrap_or(1) {
        let mut own = vec![0.0f32; width];
        rng.fill_normal(&mut own);
        let scale = if k % 4 == 1 { 0.05 } else { 1.0 / (d as f32).sqrt() };
        own.iter_mut().take(2 * d).for_each(|v| *v *= scale);
        if step == FlowStep::Planar && k % 4 == 2 {
            (0..d).for_each(|i| own[d + i] = -6.0 * own[i]);
        }
        if step == FlowStep::Radial && k % 4 == 2 {
            own[width - 1 - k / 4 % 2] = -5.0;
        }
        params.extend(own);
    }
    let params = match rows {
        None => Tensor::from_vec(params, count * width, &CPU),
        Some(rows) => Tensor::from_vec(params, (rows, count * width), &CPU),
    };
    [noise(&mut rng, &[b, d], 1.0), params.unwrap()]
}

fn side_by_side((z, log_det): (Tensor, Tensor)) -> Result<Tensor> {
    Tensor::cat(&[z, log_det.unsqueeze(1)?], 1)
}

#[test]
fn flows_equal_their_definitions() {
    for step in [FlowStep::Planar, FlowStep::Radial] {
        for (b, d, count) in [(1, 1, 1), (5, 2, 4), (16, 3, 4), (50, 7, 5)] {
            for rows in [None, Some(b)] {
                let inputs = flow_inputs(step, b, d, count, rows, 11);
                let fused = |t: &[Tensor]| side_by_side(super::flow(step, &t[0], &t[1])?);
                compare(&inputs, fused, |t| composed::flow(step, &t[0], &t[1]));
            }
        }
    }
}

#[test]
fn flows_are_undone() {
    for step in [FlowStep::Planar, FlowStep::Radial] {
        for rows in [None, Some(40)] {
            let [z, params] = flow_inputs(step, 40, 3, 6, rows, 12).map(|t| t.to_dtype(DType::F64).unwrap());
            let (y, _) = super::flow(step, &z, &params).unwrap();
            let back = super::flow_inverse(step, &y, &params).unwrap();
            let worst = (back - z).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(worst < 1e-7, "{step:?}: {worst}");
        }
    }
}

/// `log|det|` of the definition against a Jacobian by finite differences.
#[test]
fn log_determinants_are_those_of_the_jacobian() {
    for step in [FlowStep::Planar, FlowStep::Radial] {
        let [z, params] = flow_inputs(step, 20, 2, 4, None, 13).map(|t| t.to_dtype(DType::F64).unwrap());
        let (_, log_det) = super::flow(step, &z, &params).unwrap();
        let h = 1e-5;
        let column = |j: usize| {
            let unit = Tensor::new(&[[if j == 0 { h } else { 0.0 }, if j == 1 { h } else { 0.0 }]], &CPU).unwrap();
            let at = |z: Result<Tensor>| super::flow(step, &z.unwrap(), &params).unwrap().0;
            let (above, below) = (at(z.broadcast_add(&unit)), at(z.broadcast_sub(&unit)));
            ((above - below).unwrap() / (2.0 * h)).unwrap().to_vec2::<f64>().unwrap()
        };
        let (first, second) = (column(0), column(1));
        for (i, got) in log_det.to_vec1::<f64>().unwrap().into_iter().enumerate() {
            let want = (first[i][0] * second[i][1] - first[i][1] * second[i][0]).abs().ln();
            assert!((got - want).abs() < 1e-5, "{step:?} {i}: {got} {want}");
        }
    }
}

#[test]
fn flows_refuse_what_does_not_fit() {
    let z = Tensor::zeros((4, 3), DType::F32, &CPU).unwrap();
    for shape in [vec![0], vec![8], vec![3, 7], vec![4, 6], vec![4, 1, 7]] {
        let params = Tensor::zeros(shape.as_slice(), DType::F32, &CPU).unwrap();
        assert!(super::flow(FlowStep::Planar, &z, &params).is_err(), "{shape:?}");
        assert!(super::flow_inverse(FlowStep::Planar, &z, &params).is_err(), "{shape:?}");
    }
}

#[test]
fn the_runtime_bounds_steps_alike() {
    let q24 = f64::from(1 << 24);
    assert_eq!(super::STEP_MARGIN, elbo::flow::MARGIN as f64 / q24);
    assert_eq!(super::NORM_SQUARED_MIN, elbo::flow::NORM_SQUARED_MIN as f64 / q24);
}

/// The definition against the runtime's integers on the same quantised points and parameters.
#[test]
fn the_runtimes_integers_are_the_definition() {
    const FRAC: u32 = 12;
    let scale = f64::from(1 << FRAC);
    for step in [FlowStep::Planar, FlowStep::Radial] {
        let quantised = flow_inputs(step, 60, 3, 8, None, 14).map(|t| {
            let values = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.iter().map(|v| (f64::from(*v) * scale).round() as i16).collect::<Vec<i16>>()
        });
        let [z, params] = quantised.each_ref().map(|q| q.iter().map(|q| f64::from(*q) / scale).collect::<Vec<f64>>());
        let params = Tensor::new(params, &CPU).unwrap();
        let (y, log_det) = super::flow(step, &Tensor::from_vec(z, (60, 3), &CPU).unwrap(), &params).unwrap();
        let (y, log_det) = (y.to_vec2::<f64>().unwrap(), log_det.to_vec1::<f64>().unwrap());
        for (row, start) in quantised[0].chunks(3).enumerate() {
            let mut point = start.to_vec();
            let run = match step {
                FlowStep::Planar => elbo::flow::planar,
                FlowStep::Radial => elbo::flow::radial,
            };
            let nats = run(&mut point, FRAC, &quantised[1], FRAC, false) as f64 / 65536.0;
            // Rounding before a step that stretches costs more than an LSB after it.
            assert!((nats - log_det[row]).abs() < 0.02, "{step:?} {row}: {nats} {}", log_det[row]);
            for (got, want) in point.iter().zip(&y[row]) {
                assert!((f64::from(*got) / scale - want).abs() < 40.0 / scale, "{step:?} {row}: {got} {want}");
            }
        }
    }
}
