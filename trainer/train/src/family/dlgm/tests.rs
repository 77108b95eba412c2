use candle_core::{DType, Device, Tensor};
use elbo_compiler::Likelihood;

use super::{Covariance, Dlgm, DlgmSpec, NOISE_SCALE, Regularisation, TRANSITION_SCALE, V_BOUND, V_SCALE};
use crate::model::{Model, Sampler};
use crate::nn::{Activation, Rng};
use crate::settings::Estimator;
use crate::testing::{assert_every_variable_learns, assert_gradients_are_slopes, scalar, values};

const CPU: Device = Device::Cpu;
const LIKELIHOODS: [Likelihood; 3] = [Likelihood::Bernoulli, Likelihood::Gaussian, Likelihood::Logistic];
const COVARIANCES: [Covariance; 2] = [Covariance::Diagonal, Covariance::Rank1];
const ESTIMATORS: [Estimator; 2] = [Estimator::A, Estimator::B];
const LAYERS: [&[usize]; 3] = [&[3], &[3, 2], &[2, 4, 3]];

fn spec(layers: &[usize], likelihood: Likelihood, covariance: Covariance) -> DlgmSpec {
    DlgmSpec {
        input: 7,
        layers: layers.to_vec(),
        hidden: vec![6, 5],
        transition: vec![4],
        activation: Activation::Tanh,
        likelihood,
        covariance,
    }
}

fn model(spec: DlgmSpec, dtype: DType) -> Dlgm {
    Dlgm::new(spec, Regularisation::default(), 7, &CPU, dtype).unwrap()
}

/// A model, a batch of five and its noise.
fn setting(spec: DlgmSpec, dtype: DType) -> (Dlgm, Tensor, Vec<Tensor>) {
    let mut rng = Rng::new(8);
    let p = rng.uniform(0.0, 1.0, (5, spec.input), dtype, &CPU).unwrap();
    let x = if spec.likelihood == Likelihood::Bernoulli { rng.bernoulli(&p).unwrap() } else { p };
    let dlgm = model(spec, dtype);
    let eps = dlgm.noise(&mut rng, 5, &x).unwrap();
    (dlgm, x, eps)
}

/// Sets variables; every other keeps its values.
fn set(dlgm: &Dlgm, known: &[(&str, &[f64])]) {
    for (name, values) in known {
        let var = &dlgm.vars().iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}")).1;
        var.set(&Tensor::from_slice(values, var.shape(), &CPU).unwrap().to_dtype(var.dtype()).unwrap()).unwrap();
    }
}

#[test]
fn names_and_shapes() {
    let (dlgm, x, eps) = setting(spec(&[3, 2], Likelihood::Gaussian, Covariance::Rank1), DType::F32);
    let names: Vec<&str> = dlgm.vars().iter().filter_map(|(n, _)| n.strip_suffix(".weight")).collect();
    let recognition = ["encoder.0", "encoder.1", "mu.1", "logvar.1", "v.1", "mu.2", "logvar.2", "v.2"];
    let generative = ["noise.1", "transition.1.0", "transition.1.out", "noise.2", "decoder.0", "decoder.1", "head"];
    let want: Vec<&str> = [&recognition[..], &generative, &["head_logvar"]].concat();
    assert_eq!(names, want);
    let dims = |name: &str| dlgm.vars().iter().find(|(n, _)| n == name).map(|(_, v)| v.dims().to_vec());
    assert_eq!(dims("noise.1.weight"), Some(vec![3, 3]));
    assert_eq!(dims("noise.1.bias"), None);
    assert_eq!((dims("transition.1.0.weight"), dims("decoder.0.weight")), (Some(vec![4, 2]), Some(vec![5, 3])));
    assert_eq!(dlgm.elbo(&x, &eps).unwrap().dims(), [5]);
    assert_eq!(dlgm.sample(9, &mut Rng::new(1)).unwrap().dims(), [9, 7]);
    assert_eq!((eps[0].dims(), eps[1].dims()), (&[5, 3][..], &[5, 2][..]));
}

#[test]
fn wrong_shapes_are_refused() {
    let (dlgm, x, eps) = setting(spec(&[3, 2], Likelihood::Bernoulli, Covariance::Rank1), DType::F32);
    let new = |spec| Dlgm::new(spec, Regularisation::default(), 1, &CPU, DType::F32).err().map(|e| e.to_string());
    let none = new(DlgmSpec { layers: vec![], ..dlgm.spec().clone() }).unwrap();
    assert!(none.contains("at least one stochastic layer"), "{none}");
    let zero = new(DlgmSpec { layers: vec![3, 0], ..dlgm.spec().clone() }).unwrap();
    assert!(zero.contains("at least 1"), "{zero}");
    let few = dlgm.elbo(&x, &eps[..1]).unwrap_err().to_string();
    assert!(few.contains("2 stochastic layers, found 1"), "{few}");
    assert!(dlgm.elbo(&eps[0], &eps).is_err());
    assert!(dlgm.iwae(&x, &eps, 0).is_err());
}

#[test]
fn every_variable_receives_a_gradient() {
    for layers in LAYERS {
        for (likelihood, covariance) in LIKELIHOODS.into_iter().zip(COVARIANCES.into_iter().cycle()) {
            for dtype in [DType::F32, DType::F64] {
                for estimator in ESTIMATORS {
                    for bare in [false, true] {
                        let mut spec = spec(layers, likelihood, covariance);
                        if bare {
                            (spec.hidden, spec.transition) = (vec![], vec![]);
                        }
                        let (dlgm, x, eps) = setting(spec, dtype);
                        let loss = dlgm.loss(&x, &x, &eps, 0.7, estimator).unwrap();
                        assert_every_variable_learns(dlgm.vars(), &loss.total);
                    }
                }
            }
        }
    }
}

/// The loss includes the prior of the weights.
#[test]
fn finite_differences_agree() {
    let regularisation = Regularisation { weight_prior: 0.3, ..Regularisation::default() };
    for layers in LAYERS {
        for likelihood in LIKELIHOODS {
            for covariance in COVARIANCES {
                for estimator in ESTIMATORS {
                    let (_, x, eps) = setting(spec(layers, likelihood, covariance), DType::F64);
                    let dlgm = Dlgm::new(spec(layers, likelihood, covariance), regularisation, 7, &CPU, DType::F64);
                    let dlgm = dlgm.unwrap();
                    let total = || {
                        let loss = dlgm.loss(&x, &x, &eps, 0.7, estimator).unwrap().total;
                        (loss + dlgm.weight_penalty().unwrap().unwrap()).unwrap()
                    };
                    assert_gradients_are_slopes(dlgm.vars(), 3, total);
                }
            }
        }
    }
}

/// The fused model in `f32` against the composed one in `f64`.
#[test]
fn fused_equals_composed() {
    for likelihood in LIKELIHOODS {
        let spec = || spec(&[3, 2], likelihood, Covariance::Rank1);
        let (narrow, x, eps) = setting(spec(), DType::F32);
        let wide = model(spec(), DType::F64);
        wide.params().load(&narrow.params().save().unwrap()).unwrap();
        let x64 = x.to_dtype(DType::F64).unwrap();
        let eps64: Vec<Tensor> = eps.iter().map(|e| e.to_dtype(DType::F64).unwrap()).collect();
        let a = narrow.loss(&x, &x, &eps, 1.0, Estimator::B).unwrap().total;
        let b = wide.loss(&x64, &x64, &eps64, 1.0, Estimator::B).unwrap().total;
        assert!((scalar(&a) - scalar(&b)).abs() < 1e-5 * scalar(&b).abs());
        let (ga, gb) = (a.backward().unwrap(), b.backward().unwrap());
        for ((name, a), (_, b)) in narrow.vars().iter().zip(wide.vars()) {
            for (a, b) in values(ga.get(a).unwrap()).iter().zip(values(gb.get(b).unwrap())) {
                assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
            }
        }
    }
}

/// One value with mean `w.xi + b` and variance `t`: the posterior of `xi` has the precision `I + w w^T / t`, which is
/// the rank-1 form. The model is given that posterior and must know `p(x) = N(b, |w|^2 + t)`.
#[test]
fn an_exact_posterior_gives_the_exact_likelihood() {
    let spec = DlgmSpec {
        input: 1,
        hidden: vec![],
        transition: vec![],
        activation: Activation::Identity,
        ..spec(&[3], Likelihood::Gaussian, Covariance::Rank1)
    };
    let dlgm = model(spec, DType::F64);
    let (w, b, t) = ([1.5, -0.8, 0.4], 0.3, 0.2f64);
    let norm: f64 = w.iter().map(|w| w * w).sum();
    let gain = w.map(|w| w / (norm + t));
    set(
        &dlgm,
        &[
            ("noise.1.weight", &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0].map(|g| g / NOISE_SCALE)),
            ("head.weight", &w),
            ("head.bias", &[b]),
            ("head_logvar.weight", &[0.0; 3]),
            ("head_logvar.bias", &[t.ln()]),
            ("mu.1.weight", &gain),
            ("mu.1.bias", &gain.map(|g| -g * b)),
            ("logvar.1.weight", &[0.0; 3]),
            ("logvar.1.bias", &[0.0; 3]),
            ("v.1.weight", &[0.0; 3]),
            ("v.1.bias", &w.map(|w| w / t.sqrt() / V_SCALE)),
        ],
    );
    let points = [-2.0, 0.1, 3.0];
    let x = Tensor::new(&points, &CPU).unwrap().reshape((3, 1)).unwrap();
    let exact = points.map(|x| {
        let variance = norm + t;
        -0.5 * ((x - b).powi(2) / variance + (std::f64::consts::TAU * variance).ln())
    });
    let mut rng = Rng::new(3);
    let like = Tensor::zeros(1, DType::F64, &CPU).unwrap();
    // Every importance weight is p(x), whatever the noise; so is estimator A's bound.
    for k in [1, 7] {
        let eps = dlgm.noise(&mut rng, 3 * k, &like).unwrap();
        for (got, want) in values(&dlgm.iwae(&x, &eps, k).unwrap()).iter().zip(exact) {
            assert!((got - want).abs() < 1e-10, "{got} {want}");
        }
    }
    let rows = 20_000;
    let many = x.repeat((rows, 1)).unwrap();
    let eps = dlgm.noise(&mut rng, 3 * rows, &like).unwrap();
    let bound = dlgm.elbo(&many, &eps).unwrap().reshape((rows, 3)).unwrap();
    for (got, want) in values(&bound.mean(0).unwrap()).iter().zip(exact) {
        assert!((got - want).abs() < 0.03, "{got} {want}");
    }
}

#[test]
fn estimators_agree_in_expectation_and_more_samples_tighten() {
    for covariance in COVARIANCES {
        let (dlgm, x, _) = setting(spec(&[3, 2], Likelihood::Bernoulli, covariance), DType::F64);
        // Widened weights, so that the posterior is far from the prior.
        let wide = dlgm.params().save().unwrap().into_iter().map(|(n, t)| (n, (t * 3.0).unwrap())).collect();
        dlgm.params().load(&wide).unwrap();
        let mut rng = Rng::new(9);
        let differences: Vec<f64> = (0..400)
            .map(|_| {
                let eps = dlgm.noise(&mut rng, 5, &x).unwrap();
                let total = |e| scalar(&dlgm.loss(&x, &x, &eps, 1.0, e).unwrap().total);
                total(Estimator::A) - total(Estimator::B)
            })
            .collect();
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let deviation = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(deviation > 0.0 && mean.abs() < 4.0 * deviation / n.sqrt(), "{mean} {deviation}");
        let mut bound = |k: usize| {
            let draws = (0..150).map(|_| {
                let eps = dlgm.noise(&mut rng, 5 * k, &x).unwrap();
                scalar(&dlgm.iwae(&x, &eps, k).unwrap().mean_all().unwrap())
            });
            draws.sum::<f64>() / 150.0
        };
        let (one, ten, fifty) = (bound(1), bound(10), bound(50));
        assert!(ten > one && fifty > ten, "{one} {ten} {fifty}");
    }
}

/// Without activations the means of samples are Gaussian, with the covariance that the layers' matrices multiply to.
#[test]
fn ancestral_samples_have_the_models_covariance() {
    let spec = DlgmSpec {
        input: 2,
        hidden: vec![],
        transition: vec![],
        activation: Activation::Identity,
        ..spec(&[2, 1], Likelihood::Gaussian, Covariance::Diagonal)
    };
    let dlgm = model(spec, DType::F32);
    let (g1, g2, t1, head) = ([0.5, 0.0, 0.3, 0.2], [2.0], [0.7, -0.4], [1.0, 0.5, -0.25, 1.5]);
    set(
        &dlgm,
        &[
            ("noise.1.weight", &g1.map(|g| g / NOISE_SCALE)),
            ("noise.2.weight", &g2.map(|g| g / NOISE_SCALE)),
            ("transition.1.out.weight", &t1.map(|t| t / TRANSITION_SCALE)),
            ("transition.1.out.bias", &[1.0 / TRANSITION_SCALE, 0.0]),
            ("head.weight", &head),
            ("head.bias", &[0.0, 0.5]),
        ],
    );
    let h =
        |i: usize, j: usize| t1[i] * g2[0] * g2[0] * t1[j] + (0..2).map(|k| g1[2 * i + k] * g1[2 * j + k]).sum::<f64>();
    let n = 100_000;
    let rows = dlgm.sample(n, &mut Rng::new(4)).unwrap().to_vec2::<f32>().unwrap();
    let rows: Vec<[f64; 2]> = rows.iter().map(|row| [f64::from(row[0]), f64::from(row[1])]).collect();
    let mean = [0, 1].map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n as f64);
    assert!((mean[0] - 1.0).abs() < 0.02 && (mean[1] - 0.25).abs() < 0.02, "{mean:?}");
    for i in 0..2 {
        for j in 0..2 {
            let got = rows.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f64>() / n as f64;
            let mut want = 0.0;
            for a in 0..2 {
                for b in 0..2 {
                    want += head[2 * i + a] * h(a, b) * head[2 * j + b];
                }
            }
            assert!((got - want).abs() < 0.03 * want.abs().max(0.5), "[{i}, {j}]: {got} {want}");
        }
    }
}

#[test]
fn the_weight_prior_is_of_generative_weights_only() {
    let shape = || spec(&[3, 2], Likelihood::Gaussian, Covariance::Rank1);
    let regularisation = Regularisation { weight_prior: 0.25, ..Regularisation::default() };
    let dlgm = Dlgm::new(shape(), regularisation, 7, &CPU, DType::F64).unwrap();
    let generative = ["noise.", "transition.", "decoder.", "head"];
    // The prior is of the weights as they act.
    let acting = |name: &str, w: f64| match name {
        _ if name.starts_with("noise.") => w * NOISE_SCALE,
        _ if name.starts_with("transition.1.out.") => w * TRANSITION_SCALE,
        _ => w,
    };
    let squares: f64 = dlgm
        .vars()
        .iter()
        .filter(|(name, _)| generative.iter().any(|start| name.starts_with(start)))
        .flat_map(|(name, var)| values(var).into_iter().map(move |w| acting(name, w).powi(2)))
        .sum();
    let penalty = scalar(&dlgm.weight_penalty().unwrap().unwrap());
    assert!((penalty - squares / (2.0 * 0.25)).abs() < 1e-9, "{penalty} {squares}");
    assert!(model(shape(), DType::F64).weight_penalty().unwrap().is_none());
}

#[test]
fn recognition_noise_has_its_rates() {
    let noisy = |likelihood, input_noise, input_dropout| {
        let regularisation = Regularisation { input_noise, input_dropout, ..Regularisation::default() };
        let dlgm = Dlgm::new(spec(&[3], likelihood, Covariance::Rank1), regularisation, 7, &CPU, DType::F32).unwrap();
        let x = Tensor::full(1.0f32, (10_000, 7), &CPU).unwrap();
        values(&dlgm.corrupt(&x, &mut Rng::new(5)).unwrap())
    };
    let share = |v: &[f64], what: f64| v.iter().filter(|v| **v == what).count() as f64 / v.len() as f64;
    let flipped = noisy(Likelihood::Bernoulli, 0.1, 0.0);
    assert!((share(&flipped, 0.0) - 0.1).abs() < 0.01 && share(&flipped, 0.0) + share(&flipped, 1.0) == 1.0);
    let moved = noisy(Likelihood::Gaussian, 0.3, 0.0);
    let variance = moved.iter().map(|v| (v - 1.0).powi(2)).sum::<f64>() / moved.len() as f64;
    assert!((variance - 0.09).abs() < 0.003, "{variance}");
    let dropped = noisy(Likelihood::Gaussian, 0.0, 0.2);
    assert!((share(&dropped, 0.0) - 0.2).abs() < 0.01 && share(&dropped, 0.0) + share(&dropped, 1.25) == 1.0);
    assert_eq!(share(&noisy(Likelihood::Bernoulli, 0.0, 0.0), 1.0), 1.0);
}

/// Two values `w xi + b` with noise of variance `t`, and the exact posterior as recognition model: the chain's means
/// average to the linear regression of the missing value on the observed one.
#[test]
fn imputation_converges_to_the_conditional_mean() {
    let spec = DlgmSpec {
        input: 2,
        hidden: vec![],
        transition: vec![],
        activation: Activation::Identity,
        ..spec(&[1], Likelihood::Gaussian, Covariance::Diagonal)
    };
    let dlgm = model(spec, DType::F64);
    let (w, b, t) = ([1.2, -0.9], [0.4, -0.2], 0.5f64);
    let precision = 1.0 + (w[0] * w[0] + w[1] * w[1]) / t;
    let gain = w.map(|w| w / t / precision);
    set(
        &dlgm,
        &[
            ("noise.1.weight", &[1.0 / NOISE_SCALE]),
            ("head.weight", &w),
            ("head.bias", &b),
            ("head_logvar.weight", &[0.0; 2]),
            ("head_logvar.bias", &[t.ln(); 2]),
            ("mu.1.weight", &gain),
            ("mu.1.bias", &[-gain[0] * b[0] - gain[1] * b[1]]),
            ("logvar.1.weight", &[0.0; 2]),
            ("logvar.1.bias", &[-precision.ln()]),
        ],
    );
    let n = 8_000;
    let seen = 2.0;
    let x = Tensor::new(&[seen, f64::NAN], &CPU).unwrap().reshape((1, 2)).unwrap().repeat((n, 1)).unwrap();
    let observed = Tensor::new(&[1.0, 0.0], &CPU).unwrap().reshape((1, 2)).unwrap().repeat((n, 1)).unwrap();
    let filled = dlgm.impute(&x, &observed, 30, &mut Rng::new(6)).unwrap();
    let (known, missing): (Vec<f64>, Vec<f64>) =
        filled.to_vec2::<f64>().unwrap().into_iter().map(|row| (row[0], row[1])).unzip();
    assert!(known.iter().all(|v| *v == seen));
    let mean = missing.iter().sum::<f64>() / n as f64;
    let want = b[1] + w[1] * w[0] / (w[0] * w[0] + t) * (seen - b[0]);
    assert!((mean - want).abs() < 0.03, "{mean} {want}");
}

#[test]
fn imputation_keeps_what_is_observed_and_refuses_nonsense() {
    let (dlgm, x, _) = setting(spec(&[3, 2], Likelihood::Bernoulli, Covariance::Rank1), DType::F32);
    let mut rng = Rng::new(7);
    let all = dlgm.impute(&x, &x.ones_like().unwrap(), 2, &mut rng).unwrap();
    assert_eq!(values(&all), values(&x));
    let none = values(&dlgm.impute(&x, &x.zeros_like().unwrap(), 2, &mut rng).unwrap());
    assert!(none.iter().all(|p| *p > 0.0 && *p < 1.0));
    assert!(dlgm.impute(&x, &x, 0, &mut rng).unwrap_err().to_string().contains("at least one step"));
    let narrow = x.narrow(1, 0, 3).unwrap();
    assert!(dlgm.impute(&x, &narrow, 1, &mut rng).unwrap_err().to_string().contains("shape"));
}

#[test]
fn far_heads_are_clamped_and_stay_finite() {
    let (dlgm, x, eps) = setting(spec(&[3], Likelihood::Gaussian, Covariance::Rank1), DType::F32);
    set(
        &dlgm,
        &[("v.1.bias", &[50.0 / V_SCALE; 3]), ("logvar.1.bias", &[-200.0; 3]), ("head_logvar.bias", &[-200.0; 7])],
    );
    let q = dlgm.encode(&x).unwrap();
    assert!(values(q[0].v.as_ref().unwrap()).iter().all(|v| *v == V_BOUND));
    let loss = dlgm.loss(&x, &x, &eps, 1.0, Estimator::B).unwrap().total;
    assert!(scalar(&loss).is_finite());
    let grads = loss.backward().unwrap();
    let size = scalar(&grads.get(&dlgm.vars()[0].1).unwrap().abs().unwrap().sum_all().unwrap());
    assert!(size > 0.0 && size.is_finite());
}
