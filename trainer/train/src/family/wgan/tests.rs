use candle_core::{DType, Device, Tensor};

use super::{CRITIC, Constraint, GENERATOR, Wgan, WganRecipe, WganSpec};
use crate::layers::conv::{Body, ConvRecipe, Layer};
use crate::model::{Model, Scorer};
use crate::nn::{Activation, Rng};
use crate::recipe::Recipe;
use crate::run::Run;
use crate::run::train;
use crate::step::Rule;
use crate::testing::{scalar, values};
use crate::train::StopAfter;

const CPU: Device = Device::Cpu;
const CONSTRAINTS: [Constraint; 3] = [Constraint::Clip, Constraint::Penalty, Constraint::Spectral];

fn spec(constraint: Constraint, activation: Activation, convolutional: bool) -> WganSpec {
    let conv = convolutional.then(|| ([8, 8], ConvRecipe { channels: vec![2, 3], kernel: 4, stride: 2 }));
    let input = if convolutional { 64 } else { 12 };
    let body = Body { input, conv, hidden: vec![7, 5], activation };
    WganSpec { body, latent: 3, unit: true, rules: WganRecipe { constraint, ..WganRecipe::default() } }
}

/// Every kind of model, and rows for it: real and drawn ones.
fn settings(dtype: DType) -> Vec<(Wgan, Tensor, Tensor, Tensor)> {
    let mut settings = Vec::new();
    for constraint in CONSTRAINTS {
        for activation in [Activation::Tanh, Activation::Relu] {
            for convolutional in [false, true] {
                let wgan = Wgan::new(spec(constraint, activation, convolutional), 7, &CPU, dtype).unwrap();
                let mut rng = Rng::new(8);
                let real = rng.uniform(0.0, 1.0, (6, wgan.input()), dtype, &CPU).unwrap();
                let z = rng.normal((6, 3), dtype, &CPU).unwrap();
                let fake = wgan.generate(&z).unwrap().detach();
                (0..200).for_each(|_| wgan.iterate().unwrap());
                settings.push((wgan, real, fake, z));
            }
        }
    }
    settings
}

fn named(wgan: &Wgan) -> String {
    format!(
        "{:?}, conv {}, {:?}",
        wgan.spec().rules.constraint,
        wgan.spec().body.conv.is_some(),
        wgan.spec().body.activation
    )
}

fn losses(wgan: &Wgan, real: &Tensor, fake: &Tensor, z: &Tensor) -> [Tensor; 2] {
    [wgan.critic_loss(real, fake, &mut Rng::new(5)).unwrap().total, wgan.generator_loss(z).unwrap()]
}

#[test]
fn the_critic_has_more_time_at_the_start_and_every_500th_step() {
    let rules = WganRecipe::default();
    let steps = [0, 24, 25, 26, 499, 500, 501, 1000].map(|step| rules.critic_steps_at(step));
    assert_eq!(steps, [100, 100, 5, 5, 5, 100, 5, 100]);
    let plain = WganRecipe { warm_steps: 0, warm_every: 0, ..rules };
    assert_eq!([0, 500].map(|step| plain.critic_steps_at(step)), [5, 5]);
}

/// Each group's variables get a gradient from the group's loss, and the groups hold every variable that learns.
#[test]
fn every_variable_receives_a_gradient_from_its_own_loss() {
    for dtype in [DType::F32, DType::F64] {
        for (wgan, real, fake, z) in settings(dtype) {
            let groups = wgan.groups();
            assert!(groups.iter().all(|group| group.rule == Rule::RmsProp));
            let held: Vec<usize> = groups.iter().flat_map(|group| group.vars.clone()).collect();
            for (at, (name, _)) in wgan.params().vars().iter().enumerate() {
                assert_eq!(held.contains(&at), !name.starts_with("singular."), "{name}");
            }
            for (group, loss) in groups.iter().zip(losses(&wgan, &real, &fake, &z)) {
                let grads = loss.backward().unwrap();
                for (name, var) in group.vars.iter().map(|at| &wgan.params().vars()[*at]) {
                    // A constant added to the critic cancels; in a model this small rectifiers may all be off or on.
                    let vanishes = name == "value.bias" || wgan.spec().body.activation == Activation::Relu;
                    let size = grads.get(var).map_or(0.0, |g| scalar(&g.abs().unwrap().sum_all().unwrap()));
                    assert!(size.is_finite() && (vanishes || size > 0.0), "{}: {name} {size}", named(&wgan));
                }
            }
            let grads = wgan.generator_loss(&z).unwrap().backward().unwrap();
            for at in &groups[CRITIC].vars {
                assert!(grads.get(&wgan.params().vars()[*at].1).is_none(), "the critic is frozen");
            }
        }
    }
}

/// Both losses in `f64` against slopes. A rectifier's slope is constant but for its kink, which steps this small do not
/// meet.
#[test]
fn finite_differences_agree() {
    for (wgan, real, fake, z) in settings(DType::F64) {
        for (at, group) in [CRITIC, GENERATOR].into_iter().zip(wgan.groups()) {
            let grads = losses(&wgan, &real, &fake, &z)[at].backward().unwrap();
            for (name, var) in group.vars.iter().map(|at| &wgan.params().vars()[*at]) {
                let Some(g) = grads.get(var) else { continue };
                let (g, start) = (values(g), values(var));
                for i in (0..start.len()).step_by(start.len() / 3 + 1) {
                    let value = |delta: f64| {
                        let mut values = start.clone();
                        values[i] += delta;
                        var.set(&Tensor::from_vec(values, var.shape(), &CPU).unwrap()).unwrap();
                        scalar(&losses(&wgan, &real, &fake, &z)[at])
                    };
                    let slope = (value(1e-6) - value(-1e-6)) / 2e-6;
                    value(0.0);
                    assert!(
                        (slope - g[i]).abs() < 2e-6 * (1.0 + slope.abs()),
                        "{}: {name}[{i}] {slope} {}",
                        named(&wgan),
                        g[i]
                    );
                }
            }
        }
    }
}

/// The penalty's gradient by `x`, written out layer by layer, against slopes of the critic.
#[test]
fn the_penalty_measures_the_slope_of_the_critic() {
    for (wgan, real, ..) in settings(DType::F64) {
        let weights = wgan.weights(true).unwrap();
        let row = real.narrow(0, 0, 1).unwrap();
        let penalty = scalar(&wgan.gradient_penalty(&row, &weights).unwrap());
        let x: Vec<f64> = row.flatten_all().unwrap().to_vec1().unwrap();
        let squares = (0..x.len()).map(|i| {
            let value = |delta: f64| {
                let mut x = x.clone();
                x[i] += delta;
                scalar(
                    &wgan.critic(&Tensor::from_vec(x, (1, wgan.input()), &CPU).unwrap()).unwrap().squeeze(0).unwrap(),
                )
            };
            ((value(1e-6) - value(-1e-6)) / 2e-6).powi(2)
        });
        let norm = squares.sum::<f64>().sqrt();
        assert!((penalty - (norm - 1.0).powi(2)).abs() < 1e-6, "{}: {penalty} {norm}", named(&wgan));
    }
}

/// After power iteration the weights that act have 1 as their largest singular value, and folded layers are the critic.
#[test]
fn spectral_normalisation_folds_into_the_weights() {
    for (wgan, real, ..) in settings(DType::F32) {
        let layers = wgan.critic_layers().unwrap();
        let mut h = real.clone();
        for folded in &layers {
            let params = wgan.params();
            let tensor = |v: &[f32], slot| Tensor::from_slice(v, params.get(slot).shape(), &CPU).unwrap();
            let (w, b) = (tensor(&folded.w, folded.layer.weight()), tensor(&folded.b, folded.layer.bias()));
            h = folded.layer.apply_with(&h, &w, &b, folded.activation).unwrap();
            if wgan.spec().rules.constraint == Constraint::Spectral {
                let w = w.flatten_from(1).unwrap();
                let gram = w.matmul(&w.t().unwrap()).unwrap().to_dtype(DType::F64).unwrap();
                let mut v = Tensor::ones((gram.dim(0).unwrap(), 1), DType::F64, &CPU).unwrap();
                let mut size = 0.0;
                for _ in 0..300 {
                    v = gram.matmul(&v).unwrap();
                    size = scalar(&v.sqr().unwrap().sum_all().unwrap()).sqrt();
                    v = (v / size).unwrap();
                }
                assert!((size - 1.0).abs() < 1e-3, "{}: {size}", named(&wgan));
            }
        }
        let difference =
            (h.squeeze(1).unwrap() - wgan.critic(&real).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(scalar(&difference) < 1e-5);
        let z = Rng::new(1).normal((4, 3), DType::F32, &CPU).unwrap();
        let mut h = z.clone();
        for folded in wgan.generator_layers().unwrap() {
            let params = wgan.params();
            let tensor = |v: &[f32], slot| Tensor::from_slice(v, params.get(slot).shape(), &CPU).unwrap();
            let (w, b) = (tensor(&folded.w, folded.layer.weight()), tensor(&folded.b, folded.layer.bias()));
            h = folded.layer.apply_with(&h, &w, &b, folded.activation).unwrap();
        }
        let pixels =
            ((h.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap() - wgan.generate(&z).unwrap()).unwrap();
        assert!(scalar(&pixels.abs().unwrap().max_all().unwrap()) < 1e-5, "logits of the pixels");
    }
}

/// The losses point the way that the paper's game is played: the critic's steps raise real rows over drawn ones, the
/// generator's raise drawn ones.
#[test]
fn signs_are_those_of_the_paper() {
    let wgan = Wgan::new(spec(Constraint::Clip, Activation::Relu, false), 1, &CPU, DType::F64).unwrap();
    let mut rng = Rng::new(2);
    let real = rng.uniform(0.0, 1.0, (5, 12), DType::F64, &CPU).unwrap();
    let z = rng.normal((5, 3), DType::F64, &CPU).unwrap();
    let fake = wgan.generate(&z).unwrap();
    let mean = |x: &Tensor| scalar(&wgan.critic(x).unwrap().mean_all().unwrap());
    let loss = wgan.critic_loss(&real, &fake, &mut rng).unwrap();
    assert!((scalar(&loss.total) - (mean(&fake) - mean(&real))).abs() < 1e-12);
    assert!((scalar(&loss.estimate) - (mean(&real) - mean(&fake))).abs() < 1e-12);
    assert!((scalar(&wgan.generator_loss(&z).unwrap()) + mean(&fake)).abs() < 1e-12);
    let score = wgan.score(&real).unwrap().mean_all().unwrap();
    assert!((scalar(&score) + mean(&real)).abs() < 1e-12, "strange rows score high");
}

fn recipe(steps: u64) -> Recipe {
    let mut recipe = Recipe::for_family("wgan", "digits").unwrap();
    (recipe.train.steps, recipe.train.validate_every, recipe.train.checkpoint_every) = (steps, 2, 3);
    *rules(&mut recipe) = WganRecipe { hidden: vec![32], warm_critic_steps: 7, warm_steps: 2, ..WganRecipe::default() };
    recipe
}

fn rules(recipe: &mut Recipe) -> &mut WganRecipe {
    recipe.family.options_as_mut().unwrap()
}

fn weights(run: &Run) -> Vec<(String, Vec<f32>)> {
    let model = run.model().unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    model.params().vars().iter().map(|(name, var)| (name.clone(), values(var))).collect()
}

/// Runs with every constraint and with convolutions: resumed bit for bit, weights clipped, no bound, a named curve.
#[test]
fn runs_resume_bit_for_bit_and_show_the_estimate() {
    let dir = tempfile::tempdir().unwrap();
    for (i, constraint) in CONSTRAINTS.into_iter().enumerate() {
        let mut recipe = recipe(6);
        rules(&mut recipe).constraint = constraint;
        recipe.train.ema = if constraint == Constraint::Clip { 0.0 } else { 0.9 };
        recipe.train.patience = 1;
        if constraint == Constraint::Penalty {
            rules(&mut recipe).conv = Some(ConvRecipe { channels: vec![2, 3], ..ConvRecipe::default() });
        }
        let (whole, parts) = (dir.path().join(format!("whole{i}")), dir.path().join(format!("parts{i}")));
        let outcome = train(&recipe, &whole, &mut ()).unwrap();
        assert_eq!((outcome.step, outcome.best_elbo), (6, None), "without a bound nothing ends it early");
        train(&recipe, &parts, &mut StopAfter(4)).unwrap();
        crate::run::resume(&parts, &mut ()).unwrap();
        let run = Run::open(&whole).unwrap();
        assert_eq!(weights(&run), weights(&Run::open(&parts).unwrap()));
        let metrics = std::fs::read_to_string(whole.join("metrics.csv")).unwrap();
        assert!(
            metrics.starts_with("step,train_loss,wasserstein_estimate,") && metrics.lines().count() == 4,
            "{metrics}"
        );
        assert!(std::fs::read_to_string(whole.join("curve.svg")).unwrap().contains("Wasserstein estimate"));
        let clipped = weights(&run)
            .iter()
            .filter(|(name, _)| name.starts_with("critic.") || name.starts_with("value."))
            .all(|(_, values)| values.iter().all(|v| v.abs() <= 0.01));
        assert_eq!(clipped, constraint == Constraint::Clip);
        let model = run.model().unwrap();
        let able = model.capabilities();
        let drawn: Vec<f32> =
            able.sampler.unwrap().sample(9, &mut Rng::new(1)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(drawn.len() == 9 * 64 && drawn.iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(able.bounds.is_none());
    }
}

/// A few hundred steps bring the generator's mean image to that of the data.
#[test]
fn training_brings_the_draws_to_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = recipe(250);
    recipe.train.validate_every = 50;
    recipe.train.checkpoint_every = 1000;
    recipe.train.learning_rate = 1e-3;
    rules(&mut recipe).constraint = Constraint::Penalty;
    let out = dir.path().join("run");
    train(&recipe, &out, &mut ()).unwrap();
    let run = Run::open(&out).unwrap();
    let dataset = run.dataset().unwrap();
    let distance = |model: &dyn Model| {
        let sampler = model.capabilities().sampler.unwrap();
        let drawn = sampler.sample(500, &mut Rng::new(3)).unwrap().mean(0).unwrap().to_vec1::<f32>().unwrap();
        let mut mean = vec![0.0f32; 64];
        dataset.train.x.chunks(64).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v));
        mean.iter().zip(drawn).map(|(m, d)| (m / dataset.train.n as f32 - d).powi(2)).sum::<f32>()
    };
    let fresh = run.recipe.model(&run.shape()).unwrap();
    let (before, after) = (distance(&*fresh), distance(&*run.model().unwrap()));
    assert!(after < 0.1 * before, "{before} {after}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let data = crate::settings::DataShape { shape: [1, 9], kind: crate::data::Kind::Table, classes: 0 };
    let mut recipe = recipe(1);
    assert!(recipe.model(&data).is_ok(), "tables have no range");
    rules(&mut recipe).conv = Some(ConvRecipe::default());
    let error = |recipe: &Recipe| recipe.model(&data).err().unwrap().to_string();
    assert!(error(&recipe).contains("[conv]"), "{}", error(&recipe));
    rules(&mut recipe).conv = None;
    let refused = recipe.set("wgan.likelihood", "bernoulli").unwrap_err().to_string();
    assert!(refused.contains("wgan.likelihood") && refused.contains("`vae`"), "{refused}");
    for (field, wrong) in [
        ("wgan.clip", WganRecipe { clip: 0.0, ..WganRecipe::default() }),
        ("wgan.penalty", WganRecipe { penalty: f64::NAN, ..WganRecipe::default() }),
        ("wgan.critic_steps", WganRecipe { critic_steps: 0, ..WganRecipe::default() }),
    ] {
        *rules(&mut recipe) = wrong;
        assert!(recipe.check().unwrap_err().to_string().contains(field));
    }
    *rules(&mut recipe) = WganRecipe::default();
    recipe.switch("vae").unwrap();
    assert!(recipe.set("wgan.clip", "1").unwrap_err().to_string().contains("family"));
}

#[test]
fn convolutions_and_dense_layers_follow_the_recipe() {
    let wgan = Wgan::new(spec(Constraint::Clip, Activation::Relu, true), 1, &CPU, DType::F32).unwrap();
    let kinds = |layers: Vec<super::FoldedLayer>| -> String {
        layers.iter().map(|folded| if matches!(folded.layer, Layer::Conv(_)) { 'c' } else { 'd' }).collect()
    };
    assert_eq!(kinds(wgan.critic_layers().unwrap()), "ccddd");
    assert_eq!(kinds(wgan.generator_layers().unwrap()), "dddcc");
}
