use candle_core::{DType, Device, Tensor};
use elbo_compiler::Likelihood;

use super::{ConvRecipe, Model, Parts, Vae, VaeSpec};
use crate::nn::{Activation, Adam, AdamParams, Rng};
use crate::settings::Estimator;
use crate::testing::{assert_every_variable_learns, assert_gradients_are_slopes, scalar};

const CPU: Device = Device::Cpu;
const LIKELIHOODS: [Likelihood; 3] = [Likelihood::Bernoulli, Likelihood::Gaussian, Likelihood::Logistic];
const ESTIMATORS: [Estimator; 2] = [Estimator::A, Estimator::B];

fn spec(activation: Activation, likelihood: Likelihood) -> VaeSpec {
    VaeSpec { input: 12, hidden: vec![9, 7], latent: 3, activation, likelihood }
}

/// A model, a batch of eight and its noise.
fn setting(activation: Activation, likelihood: Likelihood, dtype: DType) -> (Vae, Tensor, Tensor) {
    let vae = Vae::new(spec(activation, likelihood), 7, &CPU, dtype).unwrap();
    let mut rng = Rng::new(8);
    let p = rng.uniform(0.0, 1.0, (8, 12), dtype, &CPU).unwrap();
    let x = if likelihood == Likelihood::Bernoulli { rng.bernoulli(&p).unwrap() } else { p };
    let eps = rng.normal((8, 3), dtype, &CPU).unwrap();
    (vae, x, eps)
}

/// Every variable's values.
fn numbers(vae: &Vae) -> Vec<Vec<f32>> {
    vae.vars().iter().map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

#[test]
fn names_and_shapes() {
    let (vae, x, eps) = setting(Activation::Relu, Likelihood::Gaussian, DType::F32);
    let names: Vec<&str> = vae.vars().iter().map(|(n, _)| n.as_str()).filter(|n| n.ends_with("weight")).collect();
    let want = ["encoder.0", "encoder.1", "mu", "logvar", "decoder.0", "decoder.1", "head", "head_logvar"];
    assert!(names.iter().map(|n| n.trim_end_matches(".weight")).eq(want));
    let shape = |name: &str| vae.vars().iter().find(|(n, _)| n == name).unwrap().1.dims().to_vec();
    assert_eq!((shape("decoder.0.weight"), shape("decoder.1.weight")), (vec![7, 3], vec![9, 7]));
    assert_eq!((shape("head.weight"), shape("head.bias")), (vec![12, 9], vec![12]));
    assert_eq!(vae.elbo(&x, &eps).unwrap().dims(), [8]);
    assert!(Vae::new(VaeSpec { latent: 0, ..vae.spec().clone() }, 1, &CPU, DType::F32).is_err());
    assert!(Vae::new(vae.spec().clone(), 1, &CPU, DType::U8).is_err());
    assert!(vae.elbo(&eps, &eps).is_err());
}

/// Without hidden layers too.
#[test]
fn every_variable_receives_a_gradient() {
    for likelihood in LIKELIHOODS {
        for estimator in ESTIMATORS {
            for dtype in [DType::F32, DType::F64] {
                for hidden in [vec![9, 7], vec![]] {
                    let (_, x, eps) = setting(Activation::Tanh, likelihood, dtype);
                    let spec = VaeSpec { hidden, ..spec(Activation::Tanh, likelihood) };
                    let vae = Vae::new(spec, 7, &CPU, dtype).unwrap();
                    assert_every_variable_learns(vae.vars(), &vae.loss(&x, &eps, 0.7, estimator).unwrap().total);
                }
            }
        }
    }
}

#[test]
fn finite_differences_agree() {
    for activation in [Activation::Relu, Activation::Tanh] {
        for likelihood in LIKELIHOODS {
            for estimator in ESTIMATORS {
                let (vae, x, eps) = setting(activation, likelihood, DType::F64);
                assert_gradients_are_slopes(vae.vars(), 5, || vae.loss(&x, &eps, 0.7, estimator).unwrap().total);
            }
        }
    }
}

/// The fused model in `f32` against the composed one in `f64`, loss and gradients.
#[test]
fn fused_equals_composed() {
    for activation in [Activation::Relu, Activation::Tanh] {
        for likelihood in LIKELIHOODS {
            let (narrow, x, eps) = setting(activation, likelihood, DType::F32);
            let (wide, _, _) = setting(activation, likelihood, DType::F64);
            wide.params().load(&narrow.params().save().unwrap()).unwrap();
            let (x64, eps64) = (x.to_dtype(DType::F64).unwrap(), eps.to_dtype(DType::F64).unwrap());
            let a = narrow.loss(&x, &eps, 1.0, Estimator::B).unwrap();
            let b = wide.loss(&x64, &eps64, 1.0, Estimator::B).unwrap();
            assert!((scalar(&a.total) - scalar(&b.total)).abs() < 1e-5 * scalar(&b.total).abs());
            let (ga, gb) = (a.total.backward().unwrap(), b.total.backward().unwrap());
            for ((name, a), (_, b)) in narrow.vars().iter().zip(wide.vars()) {
                let a = ga.get(a).unwrap().to_dtype(DType::F64).unwrap();
                let difference = (a - gb.get(b).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
                assert!(scalar(&difference) < 1e-5, "{name}: {difference}");
            }
        }
    }
}

#[test]
fn same_seed_same_bits() {
    let train = || {
        let vae = Vae::new(
            VaeSpec { input: 100, hidden: vec![200], latent: 10, ..spec(Activation::Relu, Likelihood::Bernoulli) },
            3,
            &CPU,
            DType::F32,
        )
        .unwrap();
        let mut adam = Adam::new(vae.vars(), AdamParams::default()).unwrap();
        let mut rng = Rng::new(4);
        let p = rng.uniform(0.0, 1.0, (100, 100), DType::F32, &CPU).unwrap();
        for _ in 0..10 {
            let x = rng.bernoulli(&p).unwrap();
            let eps = rng.normal((100, 10), DType::F32, &CPU).unwrap();
            let loss = vae.loss(&x, &eps, 1.0, Estimator::B).unwrap();
            adam.step(&loss.total.backward().unwrap(), 1e-3).unwrap();
        }
        numbers(&vae)
    };
    let first = train();
    assert_eq!(first, crate::nn::on_pool(train));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(first, one.install(train));
}

#[test]
fn estimators_agree_in_expectation() {
    for likelihood in LIKELIHOODS {
        let (vae, x, _) = setting(Activation::Tanh, likelihood, DType::F64);
        let mut rng = Rng::new(9);
        let differences: Vec<f64> = (0..2000)
            .map(|_| {
                let eps = rng.normal((8, 3), DType::F64, &CPU).unwrap();
                let total = |e| scalar(&vae.loss(&x, &eps, 1.0, e).unwrap().total);
                total(Estimator::A) - total(Estimator::B)
            })
            .collect();
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let deviation = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(deviation > 0.0 && mean.abs() < 4.0 * deviation / n.sqrt(), "{mean} {deviation}");
    }
}

#[test]
fn more_importance_samples_tighten_the_bound() {
    let (vae, x, _) = setting(Activation::Tanh, Likelihood::Bernoulli, DType::F64);
    // Widened weights, so that the posterior is far from the prior and the bounds differ clearly.
    let wide = vae.params().save().unwrap().into_iter().map(|(n, t)| (n, (t * 3.0).unwrap())).collect();
    vae.params().load(&wide).unwrap();
    let mut rng = Rng::new(10);
    let mut bound = |k: usize| {
        let draws = (0..400).map(|_| {
            let eps = rng.normal((k, 8, 3), DType::F64, &CPU).unwrap();
            scalar(&vae.iwae(&x, &eps).unwrap().mean_all().unwrap())
        });
        draws.sum::<f64>() / 400.0
    };
    let (one, five, fifty) = (bound(1), bound(5), bound(50));
    let elbo = (0..400).map(|_| {
        let eps = rng.normal((8, 3), DType::F64, &CPU).unwrap();
        scalar(&vae.elbo(&x, &eps).unwrap().mean_all().unwrap())
    });
    let elbo = elbo.sum::<f64>() / 400.0;
    assert!((one - elbo).abs() < 0.3 && five > elbo && fifty > five, "{elbo} {one} {five} {fifty}");
}

#[test]
fn saved_tensors_load_and_wrong_ones_change_nothing() {
    let (vae, x, eps) = setting(Activation::Relu, Likelihood::Bernoulli, DType::F32);
    let before = numbers(&vae);
    let saved = vae.params().save().unwrap();
    let mut adam = Adam::new(vae.vars(), AdamParams::default()).unwrap();
    let grads = vae.loss(&x, &eps, 1.0, Estimator::B).unwrap().total.backward().unwrap();
    adam.step(&grads, 0.1).unwrap();
    let stepped = numbers(&vae);
    assert_ne!(before, stepped);
    let mut broken = saved.clone();
    broken.insert("head.bias".into(), Tensor::zeros(5, DType::F32, &CPU).unwrap());
    assert!(vae.params().load(&broken).is_err());
    broken.remove("head.bias");
    assert!(vae.params().load(&broken).is_err());
    assert_eq!(numbers(&vae), stepped);
    vae.params().load(&saved).unwrap();
    assert_eq!(numbers(&vae), before);
}

/// A log-variance far outside its range is clamped, and the rest still learns.
#[test]
fn clamped_log_variances_keep_the_loss_finite() {
    let (vae, x, eps) = setting(Activation::Relu, Likelihood::Gaussian, DType::F32);
    let mut tensors = vae.params().save().unwrap();
    for name in ["logvar.bias", "head_logvar.bias"] {
        let far = (tensors[name].ones_like().unwrap() * -200.0).unwrap();
        tensors.insert(name.into(), far);
    }
    vae.params().load(&tensors).unwrap();
    let (_, logvar) = vae.encode(&x).unwrap();
    assert_eq!(scalar(&logvar.max_all().unwrap()), super::LOGVAR_MIN);
    let loss = vae.loss(&x, &eps, 1.0, Estimator::B).unwrap().total;
    assert!(scalar(&loss).is_finite());
    let grads = loss.backward().unwrap();
    let size = |i: usize| scalar(&grads.get(&vae.vars()[i].1).unwrap().abs().unwrap().sum_all().unwrap());
    assert!(size(0).is_finite() && size(0) > 0.0);
}

/// With convolutions, every variable gets a gradient and slopes agree.
#[test]
fn convolutional_models_learn() {
    for likelihood in LIKELIHOODS {
        let spec = VaeSpec { input: 64, hidden: vec![6], ..spec(Activation::Tanh, likelihood) };
        let conv = Some(([8, 8], ConvRecipe { channels: vec![2, 3], kernel: 4, stride: 2 }));
        let vae = Vae::with_parts(spec, Parts { conv, ..Parts::default() }, 7, &CPU, DType::F64).unwrap();
        let mut rng = Rng::new(8);
        let x = rng.uniform(0.0, 1.0, (3, 64), DType::F64, &CPU).unwrap();
        let eps = rng.normal((3, 3), DType::F64, &CPU).unwrap();
        let loss = || vae.loss(&x, &eps, 0.7, Estimator::B).unwrap().total;
        let grads = loss().backward().unwrap();
        for (name, var) in vae.vars() {
            let g: Vec<f64> = grads.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(g.iter().any(|g| *g != 0.0), "{name}");
            let start: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
            let at = |delta: f64| {
                let mut values = start.clone();
                values[0] += delta;
                var.set(&Tensor::from_vec(values, var.shape(), &CPU).unwrap()).unwrap();
                scalar(&loss())
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            at(0.0);
            assert!((slope - g[0]).abs() < 1e-6 * (1.0 + slope.abs()), "{name}: {slope} {}", g[0]);
        }
    }
}
