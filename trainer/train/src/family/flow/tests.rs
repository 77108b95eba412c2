use candle_core::{DType, Device, Tensor};
use elbo_compiler::Likelihood;

use super::posterior::PosteriorRecipe;
use super::{Energy, Flow, FlowKind, FlowRecipe};
use crate::family::vae::{Parts, Vae, VaeSpec};
use crate::layers::Params;
use crate::model::Model;
use crate::nn::{Activation, Rng};
use crate::recipe::Recipe;
use crate::settings::Estimator;
use crate::testing::{assert_every_variable_learns, assert_gradients_are_slopes, scalar};

const CPU: Device = Device::Cpu;
const KINDS: [FlowKind; 4] = [FlowKind::Planar, FlowKind::Radial, FlowKind::Nice, FlowKind::RealNvp];

fn recipe(kind: FlowKind, energy: Option<Energy>) -> FlowRecipe {
    let (hidden, activation) = (vec![6, 5], Activation::Tanh);
    FlowRecipe { kind, steps: Some(3), energy, hidden, activation, ..FlowRecipe::default() }
}

/// A flow whose every parameter differs from what it starts as, so that nothing is zero by chance.
fn flow(kind: FlowKind, dim: usize, energy: Option<Energy>, dtype: DType) -> Flow {
    let flow = Flow::new(recipe(kind, energy), dim, 3, &CPU, dtype).unwrap();
    let mut rng = Rng::new(4);
    for (_, var) in flow.params().vars() {
        let noise = rng.normal(var.shape(), DType::F64, &CPU).unwrap().to_dtype(dtype).unwrap();
        var.set(&(var.as_tensor() + (noise * 0.2).unwrap()).unwrap()).unwrap();
    }
    flow
}

fn points(n: usize, dim: usize, dtype: DType) -> Tensor {
    Rng::new(5).normal((n, dim), DType::F64, &CPU).unwrap().to_dtype(dtype).unwrap()
}

fn largest(t: &Tensor) -> f64 {
    scalar(&t.abs().unwrap().max_all().unwrap())
}

/// Every variable has a gradient, and finite differences of the loss agree with it.
fn gradients_agree(params: &Params, loss: impl Fn() -> Tensor) {
    assert_every_variable_learns(params.vars(), &loss());
    assert_gradients_are_slopes(params.vars(), 7, loss);
}

#[test]
fn finite_differences_of_both_losses_agree() {
    for kind in KINDS {
        let density = flow(kind, 5, None, DType::F64);
        let x = points(9, 5, DType::F64);
        gradients_agree(density.params(), || density.log_prob(&x).unwrap().mean_all().unwrap());
        for energy in Energy::ALL {
            let sampler = flow(kind, 2, Some(energy), DType::F64);
            let noise = points(9, 2, DType::F64);
            gradients_agree(sampler.params(), || sampler.free_energy_at(&noise, 0.3).unwrap().mean_all().unwrap());
        }
    }
}

#[test]
fn fused_equals_composed() {
    for kind in KINDS {
        let (narrow, wide) = (flow(kind, 5, None, DType::F32), flow(kind, 5, None, DType::F64));
        wide.params().load(&narrow.params().save().unwrap()).unwrap();
        let x = points(20, 5, DType::F32);
        let a = narrow.log_prob(&x).unwrap();
        let b = wide.log_prob(&x.to_dtype(DType::F64).unwrap()).unwrap();
        let difference = largest(&(a.to_dtype(DType::F64).unwrap() - &b).unwrap());
        assert!(difference < 1e-4, "{kind:?}: {difference}");
    }
}

#[test]
fn every_kind_is_undone() {
    for kind in KINDS {
        for dim in [2, 5] {
            let flow = flow(kind, dim, None, DType::F64);
            let x = points(50, dim, DType::F64);
            let back = flow.inverse(&flow.forward(&x).unwrap().0).unwrap();
            let error = largest(&(back - x).unwrap());
            assert!(error < 1e-8, "{kind:?}: {error}");
        }
    }
}

/// The density of rows integrates to 1 over the plane, and so does that of an energy's draws.
#[test]
fn densities_integrate_to_one() {
    const SIDE: usize = 240;
    let cell = 16.0 / SIDE as f64;
    let at = |i: usize| (i as f64 + 0.5) * cell - 8.0;
    let grid: Vec<f64> = (0..SIDE * SIDE).flat_map(|i| [at(i / SIDE), at(i % SIDE)]).collect();
    let grid = Tensor::from_vec(grid, (SIDE * SIDE, 2), &CPU).unwrap();
    for kind in KINDS {
        for energy in [None, Some(Energy::U2)] {
            let flow = flow(kind, 2, energy, DType::F64);
            let density = flow.log_prob(&grid).unwrap().exp().unwrap();
            let total = scalar(&density.sum_all().unwrap()) * cell * cell;
            assert!((total - 1.0).abs() < 0.01, "{kind:?} {energy:?}: {total}");
        }
    }
}

/// To the four places to which another integration gave them.
#[test]
fn normalising_constants_are_the_known_ones() {
    for (energy, want) in Energy::ALL.into_iter().zip([1.8775, 2.1498, 2.7094, 2.7688]) {
        let got = energy.log_z().unwrap();
        assert!((got - want).abs() < 6e-5, "{energy:?}: {got} {want}");
    }
}

/// Each formula written down again for single points.
#[test]
fn energies_are_those_of_the_paper() {
    let exact = |energy, z1: f64, z2: f64| {
        let bump = |x: f64, width: f64| (-0.5 * (x / width).powi(2)).exp();
        let w1 = (2.0 * std::f64::consts::PI * z1 / 4.0).sin();
        let w2 = 3.0 * bump(z1 - 1.0, 0.6);
        let w3 = 3.0 / (1.0 + (-(z1 - 1.0) / 0.3).exp());
        let outside = |z: f64| 10.0 * (z.abs() - 4.0).max(0.0).powi(2);
        let u = match energy {
            Energy::U1 => 0.5 * ((z1.hypot(z2) - 2.0) / 0.4).powi(2) - (bump(z1 - 2.0, 0.6) + bump(z1 + 2.0, 0.6)).ln(),
            Energy::U2 => 0.5 * ((z2 - w1) / 0.4).powi(2),
            Energy::U3 => -(bump(z2 - w1, 0.35) + bump(z2 - w1 + w2, 0.35)).ln(),
            Energy::U4 => -(bump(z2 - w1, 0.4) + bump(z2 - w1 + w3, 0.35)).ln(),
        };
        u + outside(z1) + outside(z2)
    };
    let at = [[0.3, -0.7], [1.9, 0.4], [-2.2, 1.5], [3.1, -4.5], [-4.4, 0.2], [1.0, -2.5]];
    let z = Tensor::new(&at, &CPU).unwrap();
    for energy in Energy::ALL {
        let got: Vec<f64> = energy.potential(&z).unwrap().to_vec1().unwrap();
        for (got, [z1, z2]) in got.iter().zip(at) {
            let want = exact(energy, z1, z2);
            assert!((got - want).abs() < 1e-9 * (1.0 + want.abs()), "{energy:?} at {z1}, {z2}: {got} {want}");
        }
    }
    assert!(Energy::U1.potential(&Tensor::zeros((3, 3), DType::F32, &CPU).unwrap()).is_err());
}

#[test]
fn a_coupling_stretches_no_more_than_its_bound() {
    let flow = flow(FlowKind::RealNvp, 4, None, DType::F64);
    let mut tensors = flow.params().save().unwrap();
    for tensor in tensors.values_mut() {
        *tensor = (&*tensor * 1e3).unwrap();
    }
    flow.params().load(&tensors).unwrap();
    let (_, log_det) = flow.forward(&points(30, 4, DType::F64)).unwrap();
    // Three couplings of two columns each, |s| <= 1.
    assert!(largest(&log_det) <= 6.0 + 1e-9 && largest(&log_det) > 1.0);
}

#[test]
fn what_cannot_be_a_flow_is_refused() {
    let make = |recipe, dim| Flow::new(recipe, dim, 0, &CPU, DType::F32);
    for kind in KINDS {
        assert!(make(FlowRecipe { steps: Some(0), ..recipe(kind, None) }, 2).is_err());
        assert!(make(recipe(kind, Some(Energy::U1)), 3).is_err());
        assert_eq!(make(recipe(kind, None), 1).is_err(), kind.step().is_none());
    }
    assert!(make(FlowRecipe { scale_log2: 4, ..recipe(FlowKind::RealNvp, None) }, 2).is_err());
    assert!(make(FlowRecipe { limit: f64::NAN, ..recipe(FlowKind::Nice, None) }, 2).is_err());
}

fn vae(kind: FlowKind, dtype: DType) -> (Vae, Tensor, Tensor) {
    let spec = VaeSpec {
        input: 7,
        hidden: vec![6],
        latent: 3,
        activation: Activation::Tanh,
        likelihood: Likelihood::Bernoulli,
    };
    let flow = PosteriorRecipe { kind: kind.step().unwrap(), steps: 3, anneal_steps: 0 };
    let vae = Vae::with_parts(spec, Parts { flow: Some(&flow), ..Parts::default() }, 7, &CPU, dtype).unwrap();
    let mut rng = Rng::new(8);
    let p = rng.uniform(0.0, 1.0, (8, 7), dtype, &CPU).unwrap();
    let x = rng.bernoulli(&p).unwrap();
    let eps = rng.normal((8, 3), dtype, &CPU).unwrap();
    (vae, x, eps)
}

/// Moves the parameters of a VAE's flow away from the identity that they start as.
fn bend(vae: &Vae) {
    let mut rng = Rng::new(6);
    for (_, var) in vae.vars().iter().filter(|(name, _)| name.starts_with("flow.")) {
        let noise = rng.normal(var.shape(), DType::F64, &CPU).unwrap();
        var.set(&(var.as_tensor() + (noise * 3.0).unwrap()).unwrap()).unwrap();
    }
}

#[test]
fn an_amortised_flow_starts_as_the_identity() {
    for kind in [FlowKind::Planar, FlowKind::Radial] {
        let (vae, x, eps) = vae(kind, DType::F64);
        let plain = Vae::new(vae.spec().clone(), 0, &CPU, DType::F64).unwrap();
        plain.params().load(&vae.params().save().unwrap()).unwrap();
        let difference = (vae.iwae(&x, &eps.unsqueeze(0).unwrap()).unwrap()
            - plain.iwae(&x, &eps.unsqueeze(0).unwrap()).unwrap())
        .unwrap();
        assert!(largest(&difference) < 1e-5, "{kind:?}: {difference}");
    }
}

/// Both estimators have one mean, and B varies less.
#[test]
fn the_estimators_of_an_amortised_flow_agree_in_expectation() {
    for kind in [FlowKind::Planar, FlowKind::Radial] {
        let (vae, x, _) = vae(kind, DType::F64);
        bend(&vae);
        let mut rng = Rng::new(9);
        let kl: Vec<[f64; 2]> = (0..4000)
            .map(|_| {
                let eps = rng.normal((8, 3), DType::F64, &CPU).unwrap();
                [Estimator::A, Estimator::B].map(|e| scalar(&vae.loss(&x, &eps, 1.0, e).unwrap().kl))
            })
            .collect();
        let n = kl.len() as f64;
        let moments = |of: &dyn Fn(&[f64; 2]) -> f64| {
            let mean = kl.iter().map(of).sum::<f64>() / n;
            (mean, kl.iter().map(|kl| (of(kl) - mean).powi(2)).sum::<f64>() / n)
        };
        let (difference, spread) = moments(&|[a, b]| a - b);
        assert!(difference.abs() < 4.0 * (spread / n).sqrt(), "{kind:?}: {difference}");
        let (a, b) = (moments(&|[a, _]| *a).1, moments(&|[_, b]| *b).1);
        assert!(b > 0.0 && b < a, "{kind:?}: {a} {b}");
    }
}

#[test]
fn finite_differences_of_an_amortised_flow_agree() {
    for kind in [FlowKind::Planar, FlowKind::Radial] {
        let (vae, x, eps) = vae(kind, DType::F64);
        bend(&vae);
        for weight in [1.0, 0.2] {
            gradients_agree(vae.params(), || vae.annealed_loss(&x, &eps, 0.7, Estimator::B, weight).unwrap().total);
        }
    }
}

/// The weight of `log p(x, z)` at any value gives the same derivative as the two losses it lies between.
#[test]
fn annealing_interpolates() {
    let (vae, x, eps) = vae(FlowKind::Planar, DType::F64);
    let at = |weight| scalar(&vae.annealed_loss(&x, &eps, 1.0, Estimator::A, weight).unwrap().total);
    assert!((at(0.25) - (0.25 * at(1.0) + 0.75 * at(0.0))).abs() < 1e-9);
    let plain = vae.loss(&x, &eps, 1.0, Estimator::A).unwrap();
    assert!((at(1.0) - scalar(&plain.total)).abs() < 1e-12);
    assert!((scalar(&plain.total) + scalar(&vae.elbo(&x, &eps).unwrap().mean_all().unwrap())).abs() < 1e-12);
}

/// With one sample the importance-weighted bound is the bound; with more it is tighter.
#[test]
fn importance_weights_hold_the_flow_too() {
    let (vae, x, eps) = vae(FlowKind::Planar, DType::F64);
    bend(&vae);
    let one = vae.iwae(&x, &eps.unsqueeze(0).unwrap()).unwrap();
    assert!(largest(&(one - vae.elbo(&x, &eps).unwrap()).unwrap()) < 1e-12);
    let mut rng = Rng::new(9);
    let mut bound = |k: usize| {
        let draws = (0..100).map(|_| {
            let eps = rng.normal((k, 8, 3), DType::F64, &CPU).unwrap();
            scalar(&vae.iwae(&x, &eps).unwrap().mean_all().unwrap())
        });
        draws.sum::<f64>() / 100.0
    };
    assert!(bound(30) > bound(1));
}

#[test]
fn couplings_and_no_steps_are_no_posterior() {
    let spec = vae(FlowKind::Planar, DType::F32).0.spec().clone();
    let flow = PosteriorRecipe { steps: 0, ..PosteriorRecipe::default() };
    assert!(Vae::with_parts(spec, Parts { flow: Some(&flow), ..Parts::default() }, 7, &CPU, DType::F32).is_err());
    let error = Recipe::for_data("digits").set("vae.posterior.kind", "realnvp").unwrap_err().to_string();
    assert!(error.contains("`planar` or `radial`") && error.contains("realnvp"), "{error}");
}

#[test]
fn annealing_grows_to_one() {
    let recipe = FlowRecipe { anneal_steps: 100, ..FlowRecipe::default() };
    assert_eq!([0, 50, 99, 100, 1000].map(|t| recipe.annealing_weight(t)), [0.01, 0.51, 1.0, 1.0, 1.0]);
    assert_eq!(FlowRecipe::default().annealing_weight(0), 1.0);
}
