use candle_core::{DType, Device, Tensor};
use elbo_compiler::Likelihood;

use super::{join, one_hot};
use crate::data::Kind;
use crate::family::vae::VaeRecipe;
use crate::family::vae::{Parts, Vae, VaeSpec};
use crate::model::Bounded;
use crate::nn::{Activation, Rng};
use crate::recipe::Recipe;
use crate::run::train;
use crate::settings::DataShape;
use crate::settings::Estimator;
use crate::testing::{assert_every_variable_learns, assert_gradients_are_slopes, scalar, values};

const CPU: Device = Device::Cpu;
const CLASSES: usize = 3;

fn spec(hidden: &[usize]) -> VaeSpec {
    VaeSpec {
        input: 6,
        hidden: hidden.to_vec(),
        latent: 2,
        activation: Activation::Tanh,
        likelihood: Likelihood::Bernoulli,
    }
}

fn conditional(hidden: &[usize], classes: usize) -> Vae {
    Vae::with_parts(spec(hidden), Parts { classes, ..Parts::default() }, 5, &CPU, DType::F64).unwrap()
}

/// A model of three classes, six rows of values with their classes behind them, and noise.
fn setting(hidden: &[usize]) -> (Vae, Tensor, Tensor) {
    let vae = conditional(hidden, CLASSES);
    let mut rng = Rng::new(6);
    let x = rng.bernoulli(&Tensor::full(0.4f64, (6, 6), &CPU).unwrap()).unwrap();
    let class = one_hot(&[0, 1, 2, 0, 1, 2], CLASSES, DType::F64).unwrap();
    (vae, join(&x, Some(&class)).unwrap(), rng.normal((6, 2), DType::F64, &CPU).unwrap())
}

fn finite_differences_agree(vae: &Vae, loss: impl Fn() -> Tensor) {
    assert_every_variable_learns(vae.vars(), &loss());
    assert_gradients_are_slopes(vae.vars(), 4, loss);
}

#[test]
fn every_variable_learns_by_its_slope() {
    for hidden in [&[5, 4][..], &[]] {
        let (vae, x, eps) = setting(hidden);
        finite_differences_agree(&vae, || vae.loss(&x, &eps, 0.8, Estimator::B).unwrap().total);
    }
    // Some dimensions are below the free bits and some above.
    let (vae, x, eps) = setting(&[5]);
    let (mu, logvar) = vae.encode(&x).unwrap();
    let each = super::free_bits_divergence(&mu, &logvar, 0.0).unwrap();
    let vae = Vae { free_bits: scalar(&each) / 2.0, ..vae };
    finite_differences_agree(&vae, || vae.loss(&x, &eps, 0.8, Estimator::B).unwrap().total);
}

/// The class reaches the bound of encoder and decoder, and a model without classes is the plain one.
#[test]
fn the_class_is_part_of_what_the_model_sees() {
    let (vae, x, eps) = setting(&[5]);
    let (data, class) = vae.split(&x).unwrap();
    assert_eq!((data.dims(), class.unwrap().dims()), (&[6, 6][..], &[6, 3][..]));
    let others = join(&data, Some(&one_hot(&[1, 2, 0, 1, 2, 0], CLASSES, DType::F64).unwrap())).unwrap();
    let (a, b) = (values(&vae.elbo(&x, &eps).unwrap()), values(&vae.elbo(&others, &eps).unwrap()));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() > 1e-4), "{a:?} {b:?}");
    assert!(values(&vae.encode(&x).unwrap().0) != values(&vae.encode(&others).unwrap().0));
    let plain = |classes| conditional(&[5], classes);
    let new = Vae::new(spec(&[5]), 5, &CPU, DType::F64).unwrap();
    assert_eq!(values(&plain(0).elbo(&data, &eps).unwrap()), values(&new.elbo(&data, &eps).unwrap()));
    assert!(vae.elbo(&data, &eps).is_err());
}

/// Without its class a row's bound is the logarithm of the mean over classes.
#[test]
fn rows_without_a_class_try_them_all() {
    let (vae, x, _) = setting(&[5]);
    let (data, _) = vae.split(&x).unwrap();
    let got = values(&vae.bound(&data, &mut Rng::new(9)).unwrap());
    let mut rng = Rng::new(9);
    let mut mass = vec![0.0; 6];
    for y in 0..CLASSES as u32 {
        let eps = rng.normal((6, 2), DType::F64, &CPU).unwrap();
        let given = join(&data, Some(&one_hot(&[y; 6], CLASSES, DType::F64).unwrap())).unwrap();
        values(&vae.elbo(&given, &eps).unwrap()).iter().zip(&mut mass).for_each(|(b, m)| *m += b.exp() / 3.0);
    }
    for (got, mass) in got.iter().zip(mass) {
        assert!((got - mass.ln()).abs() < 1e-10, "{got} {}", mass.ln());
    }
    assert_eq!(vae.importance_bound(&data, 5, &mut rng).unwrap().unwrap().dims(), [6]);
}

#[test]
fn free_bits_cost_the_loss_a_floor_and_no_more() {
    let (vae, x, eps) = setting(&[5]);
    let loss = |vae: &Vae| vae.loss(&x, &eps, 1.0, Estimator::B).unwrap();
    let plain = loss(&vae);
    // Far below every divergence nothing changes, far above them only the floor is left.
    let vae = Vae { free_bits: 1e-9, ..vae };
    assert!((scalar(&loss(&vae).total) - scalar(&plain.total)).abs() < 1e-9);
    let vae = Vae { free_bits: 50.0, ..vae };
    let free = loss(&vae);
    assert!((scalar(&free.total) - scalar(&free.nll) - 100.0).abs() < 1e-9);
    assert!((scalar(&free.kl) - scalar(&plain.kl)).abs() < 1e-12);
}

#[test]
fn labels_outside_the_classes_are_refused() {
    let error = one_hot(&[0, 3], CLASSES, DType::F32).unwrap_err().to_string();
    assert!(error.contains("label 3") && error.contains("below 3"), "{error}");
}

fn options(recipe: &mut Recipe) -> &mut VaeRecipe {
    recipe.family.options_as_mut().unwrap()
}

#[test]
fn recipes_that_do_not_fit_name_their_field() {
    let digits = || Recipe::find("digits").unwrap();
    let shape = |kind, classes| DataShape { shape: [1, 4], kind, classes };
    let mut recipe = digits();
    options(&mut recipe).conditional = true;
    let error = recipe.model(&shape(Kind::Image, 0)).err().unwrap().to_string();
    assert!(error.contains("vae.conditional") && error.contains("labels"), "{error}");
    assert!(recipe.model(&shape(Kind::Image, 2)).is_ok());
    recipe.switch("dlgm").unwrap();
    let error = recipe.set("vae.conditional", "true").unwrap_err().to_string();
    assert!(error.contains("vae.conditional") && error.contains("family `vae`") && error.contains("`dlgm`"), "{error}");
    let mut recipe = digits();
    options(&mut recipe).free_bits = 0.1;
    recipe.check().unwrap();
    recipe.train.estimator = Estimator::A;
    assert!(recipe.check().unwrap_err().to_string().contains("vae.free_bits"));
    options(&mut recipe).free_bits = f64::NAN;
    assert!(recipe.check().unwrap_err().to_string().contains("vae.free_bits"));
    let mut recipe = digits();
    options(&mut recipe).model.likelihood = Some(Likelihood::Logistic);
    assert!(recipe.model(&shape(Kind::Image, 0)).is_ok());
    let error = recipe.model(&shape(Kind::Table, 0)).err().unwrap().to_string();
    assert!(error.contains("gaussian") && error.contains("logistic"), "{error}");
}

/// Through the training loop: a conditional model of grey levels, with free bits.
#[test]
fn a_conditional_model_of_grey_levels_learns() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = Recipe::find("digits").unwrap();
    (recipe.train.steps, recipe.train.validate_every, recipe.train.validation_draws) = (300, 150, 1);
    recipe.train.ema = 0.9;
    let vae = options(&mut recipe);
    (vae.free_bits, vae.conditional, vae.model.likelihood) = (0.1, true, Some(Likelihood::Logistic));
    let out = dir.path().join("run");
    let outcome = train(&recipe, &out, &mut ()).unwrap();
    // Levels without any knowledge cost ln 256 each, 355 nats a row.
    assert!(outcome.best_elbo.unwrap() > -260.0, "{outcome:?}");
    let model = crate::run::Run::open(&out).unwrap().model().unwrap();
    let drawn = model.capabilities().sampler.unwrap().sample(10, &mut Rng::new(1)).unwrap().to_vec2::<f32>().unwrap();
    assert!(drawn.iter().flatten().all(|v| (0.0..=1.0).contains(v)));
}
