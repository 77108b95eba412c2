//! The programs against the densities in 64 bits: the float graph, and the integers of a blob.

use std::ops::ControlFlow;

use elbo::program::ProgramKind;
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Limits, Model as Program, normal};
use elbo_compiler::quantize::WeightBits;
use rand_core::SeedableRng;

use super::gaussians::{Mixture, Scale};
use super::{Entry, GaussianMixture, MixtureRecipe};
use crate::compile::{Compilation, CompileOptions, Names, compile};
use crate::data::{DataOptions, Dataset};
use crate::family::Register;
use crate::model::{Bounded, Model};
use crate::nn::Rng;
use crate::settings::{ExportRecipe, TrainRecipe};
use crate::train::fit;

fn gaussians() -> Mixture {
    let covariances = [1.0, 0.8, 0.8, 1.0, 0.2, 0.0, 0.0, 2.0, 0.5, -0.3, -0.3, 0.4];
    Mixture::new(vec![0.5, 0.3, 0.2], vec![-4.0, 0.0, 4.0, 1.0, 0.0, 6.0], &covariances).unwrap()
}

/// The same components with heavier tails.
fn heavy() -> Mixture {
    let scales = [(1.0, 0.7), (3.0, 0.2), (9.0, 0.1)];
    gaussians().with_scales(&scales.map(|(factor, share)| Scale { factor, share })).unwrap()
}

/// A mixture as a model of five components, two of which the fit has dropped.
fn model(truth: &Mixture) -> GaussianMixture {
    let scales = truth.scales().len();
    let model = GaussianMixture::new(MixtureRecipe { scales, ..MixtureRecipe::gaussians(5) }, 2).unwrap();
    model.set(truth, 15.99).unwrap();
    model
}

fn two_starts() -> TrainRecipe {
    TrainRecipe { steps: 2, ..Entry::train() }
}

fn table(rows: &[Vec<f32>]) -> Dataset {
    Dataset::of_table("rows", rows, &DataOptions { validation_fraction: 0.0, ..DataOptions::default() }).unwrap()
}

fn compiled(model: &GaussianMixture, dataset: &Dataset) -> Compilation {
    let options = CompileOptions { weight_bits: Some(WeightBits::Sixteen), ..CompileOptions::default() };
    compile(model, Names { name: "m", family: "mixture" }, dataset, &ExportRecipe::default(), &options).unwrap()
}

/// Draws of the mixture as a data set that is left as it is.
fn drawn(n: usize) -> Dataset {
    let mut noise = Rng::new(9);
    let x: Vec<f32> = (0..n).flat_map(|_| gaussians().sample(&mut noise).1).map(|v| v as f32).collect();
    let mut dataset = Dataset::without_rows("drawn", 2);
    (dataset.train.x, dataset.train.n) = (x, n);
    dataset
}

/// Near and far rows. One of them is beyond what a device represents.
const ROWS: [[f32; 2]; 6] = [[0.0, 0.0], [4.0, 1.5], [-15.0, 15.0], [0.1, 5.5], [-4.2, -0.1], [40.0, 1.0]];

/// A row as a device represents it.
fn within(x: [f32; 2]) -> [f32; 2] {
    x.map(|x| x.clamp(-15.99, 15.99))
}

#[test]
fn the_variables_are_the_mixture() {
    for truth in [gaussians(), heavy()] {
        let model = model(&truth);
        let kept = model.mixture().unwrap();
        assert_eq!((kept.components(), model.classes()), (3, 3));
        for x in ROWS {
            assert!((kept.nll(&x) - truth.nll(&x)).abs() < 1e-5 * truth.nll(&x).abs());
        }
        let bound = model.bound(&candle_core::Tensor::new(&ROWS, &candle_core::Device::Cpu).unwrap(), &mut Rng::new(0));
        let bound = bound.unwrap().to_vec1::<f32>().unwrap();
        assert!(bound.iter().zip(ROWS).all(|(bound, x)| (f64::from(*bound) + truth.nll(&x)).abs() < 1e-3));
        assert!(model.set(&Mixture::new(vec![1.0], vec![0.0], &[1.0]).unwrap(), 15.99).is_ok(), "padded to five");
    }
}

#[test]
fn the_float_programs_are_the_density_and_the_posterior() {
    for truth in [gaussians(), heavy()] {
        let graph = model(&truth).lower(&ExportRecipe::default()).unwrap();
        let run = |kind, x: &[f32]| graph.run(graph.program(kind).unwrap(), &[x], &mut |_| {}).remove(0);
        for x in ROWS {
            let (score, x) = (run(ProgramKind::Score, &x), within(x));
            let exact = truth.nll(&x);
            assert!((f64::from(score[0]) - exact).abs() < 1e-4 + 1e-5 * exact, "{score:?} {exact}");
            let posterior = run(ProgramKind::Classify, &x);
            assert!(posterior.iter().zip(truth.posterior(&x)).all(|(p, exact)| (f64::from(*p) - exact).abs() < 1e-4));
        }
    }
}

#[test]
fn integers_are_the_density_and_the_posterior() {
    for truth in [gaussians(), heavy()] {
        let compilation = compiled(&model(&truth), &drawn(500));
        let rows: Vec<Vec<f32>> = ROWS.iter().map(|x| x.to_vec()).collect();
        let scores = compilation.compiled.blob.scores(&rows).unwrap();
        for (score, x) in scores.iter().zip(ROWS) {
            let exact = truth.nll(&within(x));
            assert!((score.to_f64() - exact).abs() < 0.02 + 2e-3 * exact, "{x:?}: {} {exact}", score.to_f64());
        }
        let model = compilation.compiled.blob.load(Limits::host()).unwrap();
        let info = model.program(ProgramKind::Classify).unwrap().inputs[0].unwrap();
        let mut arena = elbo_compiler::host::HostArena::new(&model);
        let mut session = model.session(arena.as_mut_slice()).unwrap();
        for x in ROWS {
            let (mut p, q) = ([0; 3], elbo_compiler::host::quantize(&x, &info));
            session.classify(&q, &mut Xoshiro128PlusPlus::seed_from_u64(0), &mut p).unwrap();
            for (p, exact) in p.iter().zip(truth.posterior(&within(x))) {
                assert!((f64::from(*p) / 32768.0 - exact).abs() < 0.01, "{x:?}: {p} {exact}");
            }
        }
    }
}

/// Weights, means and products of deviations of draws by their components.
fn moments(draws: &[(usize, [f64; 2])], truth: &Mixture) -> [(f64, [f64; 2], f64); 3] {
    [0, 1, 2].map(|component| {
        let own: Vec<[f64; 2]> = draws.iter().filter(|(c, _)| *c == component).map(|(_, x)| *x).collect();
        let (n, centre) = (own.len() as f64, truth.mean(component));
        let mean = [0, 1].map(|i| own.iter().map(|x| x[i]).sum::<f64>() / n);
        let product = own.iter().map(|x| (x[0] - centre[0]) * (x[1] - centre[1])).sum::<f64>() / n;
        (n / draws.len() as f64, mean, product)
    })
}

fn assert_moments(draws: &[(usize, [f64; 2])]) {
    let truth = gaussians();
    for (component, (weight, mean, product)) in moments(draws, &truth).into_iter().enumerate() {
        assert!((weight - truth.weights[component]).abs() < 0.01, "{component}: {weight}");
        assert!([0, 1].iter().all(|i| (mean[*i] - truth.mean(component)[*i]).abs() < 0.04), "{component}: {mean:?}");
        assert!((product - truth.covariance(component)[1]).abs() < 0.04, "{component}: {product}");
    }
}

/// The component of a point, for components that are far from each other.
fn component(x: [f64; 2]) -> usize {
    let p = gaussians().posterior(&x.map(|v| v as f32));
    (0..3).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap()
}

#[test]
fn float_draws_are_the_mixtures() {
    let graph = model(&gaussians()).lower(&ExportRecipe::default()).unwrap();
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(1);
    let mut noise = |out: &mut [f32]| {
        let mut q = vec![0i16; out.len()];
        normal::fill_normal(&mut rng, &mut q);
        out.iter_mut().zip(q).for_each(|(out, q)| *out = f32::from(q) / 4096.0);
    };
    let point = |x: Vec<Vec<f32>>| [f64::from(x[0][0]), f64::from(x[0][1])];
    let sample = graph.program(ProgramKind::Sample).unwrap();
    let draws: Vec<[f64; 2]> = (0..20_000).map(|_| point(graph.run(sample, &[], &mut noise))).collect();
    assert_moments(&draws.into_iter().map(|x| (component(x), x)).collect::<Vec<_>>());
    let of_class = graph.program(ProgramKind::SampleClass).unwrap();
    for class in 0..3 {
        let one_hot: Vec<f32> = (0..3).map(|c| f32::from(u8::from(c == class))).collect();
        let draws: Vec<[f64; 2]> = (0..500).map(|_| point(graph.run(of_class, &[&one_hot], &mut noise))).collect();
        let own = draws.iter().filter(|x| component(**x) == class).count();
        assert!(own >= 490, "{class}: {own} of 500");
    }
}

#[test]
fn integer_draws_are_the_mixtures() {
    let compilation = compiled(&model(&gaussians()), &drawn(500));
    let model: Program<'_> = compilation.compiled.blob.load(Limits::host()).unwrap();
    let info = model.program(ProgramKind::Sample).unwrap().outputs[0].unwrap();
    let mut arena = elbo_compiler::host::HostArena::new(&model);
    let mut session = model.session(arena.as_mut_slice()).unwrap();
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(2);
    let point = |q: [i16; 2]| q.map(|q| f64::from(q) / f64::from(info.frac).exp2());
    let mut draws = Vec::new();
    for _ in 0..20_000 {
        let mut q = [0; 2];
        session.sample(&mut rng, &mut q).unwrap();
        draws.push((component(point(q)), point(q)));
    }
    assert_moments(&draws);
    for class in 0..3 {
        let mut own = 0;
        for _ in 0..500 {
            let mut q = [0; 2];
            session.sample_class(class, &mut rng, &mut q).unwrap();
            own += usize::from(component(point(q)) == class);
        }
        assert!(own >= 490, "{class}: {own} of 500");
    }
}

/// Draws of one component with two scales, in floating point and in integers.
#[test]
fn draws_of_scales_have_their_spread() {
    let scales = [(1.0, 0.7), (9.0, 0.3)].map(|(factor, share)| Scale { factor, share });
    let truth = Mixture::new(vec![1.0], vec![0.5, -1.0], &[1.0, 0.0, 0.0, 0.25]).unwrap().with_scales(&scales).unwrap();
    let model = GaussianMixture::new(MixtureRecipe { scales: 2, ..MixtureRecipe::gaussians(1) }, 2).unwrap();
    model.set(&truth, 15.99).unwrap();
    let graph = model.lower(&ExportRecipe::default()).unwrap();
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(3);
    let mut noise = |out: &mut [f32]| {
        let mut q = vec![0i16; out.len()];
        normal::fill_normal(&mut rng, &mut q);
        out.iter_mut().zip(q).for_each(|(out, q)| *out = f32::from(q) / 4096.0);
    };
    let sample = graph.program(ProgramKind::Sample).unwrap();
    let float: Vec<f64> = (0..20_000).map(|_| f64::from(graph.run(sample, &[], &mut noise)[0][1])).collect();
    let compilation = compiled(&model, &drawn(500));
    let program: Program<'_> = compilation.compiled.blob.load(Limits::host()).unwrap();
    let info = program.program(ProgramKind::Sample).unwrap().outputs[0].unwrap();
    let mut arena = elbo_compiler::host::HostArena::new(&program);
    let mut session = program.session(arena.as_mut_slice()).unwrap();
    let mut rng = Xoshiro128PlusPlus::seed_from_u64(4);
    let mut draw = || {
        let mut q = [0; 2];
        session.sample(&mut rng, &mut q).unwrap();
        f64::from(q[1]) / f64::from(info.frac).exp2()
    };
    let integer: Vec<f64> = (0..20_000).map(|_| draw()).collect();
    for draws in [float, integer] {
        let moment = |power: i32| draws.iter().map(|x| ((x + 1.0) / 0.5).powi(power)).sum::<f64>() / 20_000.0;
        // E lambda = 3.4, and three times E lambda^2 = 25.
        assert!(moment(1).abs() < 0.06 && (moment(2) - 3.4).abs() < 0.2, "{} {}", moment(1), moment(2));
        assert!((moment(4) - 75.0).abs() < 9.0, "{}", moment(4));
    }
}

#[test]
fn a_lone_component_is_the_mahalanobis_distance() {
    let rows: Vec<Vec<f32>> = drawn(400).train.x.chunks(2).map(<[f32]>::to_vec).collect();
    let dataset = table(&rows);
    let mut model = GaussianMixture::new(MixtureRecipe::gaussians(1), 2).unwrap();
    fit(&mut model, &dataset, &two_starts(), &mut ()).unwrap();
    assert_eq!(model.classes(), 0);
    // Of two columns with unit variance, but for the floor: by the inverse of a matrix written out.
    let n = dataset.train.n as f64;
    let covariance = dataset.train.x.chunks(2).map(|x| f64::from(x[0]) * f64::from(x[1])).sum::<f64>() / n;
    let (variance, det) = (1.001, 1.001f64.powi(2) - covariance * covariance);
    let distance = |x: &[f32]| {
        let [u, v] = [x[0], x[1]].map(f64::from);
        (variance * (u * u + v * v) - 2.0 * covariance * u * v) / det
    };
    let mixture = model.mixture().unwrap();
    let constant = mixture.nll(&[0.0, 0.0]);
    for x in dataset.train.x.chunks(2).take(20) {
        assert!((mixture.nll(x) - constant - 0.5 * distance(x)).abs() < 1e-4, "{x:?}");
    }
    let compilation = compiled(&model, &dataset);
    let program = compilation.compiled.blob.load(Limits::host()).unwrap();
    assert!(program.program(ProgramKind::Classify).is_none() && program.program(ProgramKind::Sample).is_some());
}

#[test]
fn a_training_is_one_fit_and_repeats_itself() {
    let dataset = drawn(600);
    let train = || {
        let mut model = GaussianMixture::new(MixtureRecipe::gaussians(3), 2).unwrap();
        let outcome = fit(&mut model, &dataset, &two_starts(), &mut ()).unwrap();
        (model.mixture().unwrap(), outcome.metrics[1].train_loss)
    };
    let (mixture, loss) = train();
    assert_eq!(mixture, train().0);
    assert!((loss + mixture.mean_log_likelihood(&dataset.train.x)).abs() < 1e-4);
    for (component, weight) in gaussians().weights.iter().enumerate() {
        let nearest = mixture.means.chunks(2).zip(&mixture.weights).min_by(|(a, _), (b, _)| {
            let apart = |mean: &[f64]| {
                (mean[0] - gaussians().mean(component)[0]).hypot(mean[1] - gaussians().mean(component)[1])
            };
            apart(a).total_cmp(&apart(b))
        });
        assert!((nearest.unwrap().1 - weight).abs() < 0.08, "{component}");
    }
}

#[test]
fn degenerate_tables_are_fitted_and_compiled() {
    let constant: Vec<Vec<f32>> = (0..60).map(|i| vec![(i * i % 17) as f32, 3.0]).collect();
    let copies: Vec<Vec<f32>> = (0..60).map(|i| vec![(i % 2) as f32, (i % 3) as f32]).collect();
    let line: Vec<Vec<f32>> = (0..60).map(|i| vec![(i * 7 % 31) as f32, (i * 7 % 31) as f32 * 2.0]).collect();
    let few: Vec<Vec<f32>> = (0..6).map(|i| vec![(i * i) as f32, (i % 4) as f32]).collect();
    for (rows, components) in [(constant, 3), (copies, 8), (line, 4), (few, 3)] {
        let dataset = table(&rows);
        let chosen = MixtureRecipe { components: Some(components), ..MixtureRecipe::default() };
        for recipe in [MixtureRecipe::gaussians(components), chosen, MixtureRecipe::default()] {
            let mut model = GaussianMixture::new(recipe, 2).unwrap();
            fit(&mut model, &dataset, &two_starts(), &mut ()).unwrap();
            let mixture = model.mixture().unwrap();
            assert!(
                mixture.components() <= components.max(rows.len() / 4)
                    && mixture.mean_log_likelihood(&dataset.train.x).is_finite()
            );
            let scores = compiled(&model, &dataset).compiled.blob.scores(&[vec![0.1, 0.2], vec![9.0, -9.0]]).unwrap();
            for (score, x) in scores.iter().zip([[0.1, 0.2], [9.0, -9.0]]) {
                let exact = mixture.nll(&x);
                assert!((score.to_f64() - exact).abs() < 0.05 + 0.01 * exact.abs(), "{} {exact}", score.to_f64());
            }
        }
    }
}

#[test]
fn more_components_than_rows_are_refused() {
    let mut model = GaussianMixture::new(MixtureRecipe::gaussians(4), 2).unwrap();
    let error =
        fit(&mut model, &table(&[vec![0.0, 1.0], vec![2.0, 1.5]]), &two_starts(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("components is 4: expected 1 to the number of train rows"), "{error}");
}

#[test]
fn the_range_holds_the_rows() {
    for (most, range) in [(3.0, 15.99), (16.0, 31.98), (40.0, 63.96), (500.0, 63.96)] {
        assert_eq!(super::range_of(&[0.0, -most, 1.0]), range);
    }
}

#[test]
fn a_fit_that_was_ended_goes_on_as_if_it_had_not() {
    let dataset = drawn(300);
    let settings = TrainRecipe { steps: 4, ..Entry::train() };
    let model = || GaussianMixture::new(MixtureRecipe::gaussians(3), 2).unwrap();
    let fit = |model: &GaussianMixture, done: u64, until: u64| {
        let mut losses = Vec::new();
        let mut watch = |passes: u64, loss: f64| {
            losses.push(loss);
            Ok(if passes == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        model.capabilities().fit.unwrap().fit(&dataset.train, &settings, done, &mut watch).unwrap();
        losses
    };
    let (whole, parts) = (model(), model());
    let losses = fit(&whole, 0, 4);
    assert!(losses.len() == 4 && losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
    assert_eq!([fit(&parts, 0, 2), fit(&parts, 2, 4)].concat(), losses);
    assert_eq!(whole.mixture().unwrap(), parts.mixture().unwrap());
}
