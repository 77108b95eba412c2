use std::collections::HashMap;
use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Tensor};

use super::*;
use crate::testing::{assert_every_variable_learns, assert_gradients_are_slopes, scalar, values};

const CPU: Device = Device::Cpu;
const STRUCTURES: [Structure; 3] = [Structure::Adgm, Structure::Sdgm, Structure::Avae];
const LIKELIHOODS: [Likelihood; 2] = [Likelihood::Bernoulli, Likelihood::Gaussian];
const CLASSES: usize = 3;
const ROWS: usize = 4;
const EXACT: Terms = Terms { beta: 1.0, estimator: Estimator::B, least_class: 0.0 };

/// A model, a batch and its noise.
struct Setting {
    model: Adgm,
    x: Tensor,
    y: Tensor,
    noise: Noise,
}

fn setting(structure: Structure, likelihood: Likelihood, dtype: DType) -> Setting {
    let hidden = vec![7, 5];
    let activation = Activation::Tanh;
    let spec =
        AdgmSpec { structure, input: 6, classes: CLASSES, hidden, auxiliary: 2, latent: 4, activation, likelihood };
    let model = Adgm::new(spec, AdgmRecipe::default(), 0, 7, (&CPU, dtype)).unwrap();
    let mut rng = Rng::new(8);
    let p = rng.uniform(0.0, 1.0, (ROWS, 6), dtype, &CPU).unwrap();
    let x = if likelihood == Likelihood::Bernoulli { rng.bernoulli(&p).unwrap() } else { p };
    let y = Tensor::new(&[2u32, 0, 1, 2], &CPU).unwrap();
    let noise = model.noise(ROWS, &mut rng).unwrap();
    Setting { model, x, y, noise }
}

impl Setting {
    /// Everything that is minimised.
    fn loss(&self, terms: Terms) -> Tensor {
        let unlabelled = self.model.unlabelled(&self.x, &self.noise, terms).unwrap().mean_all().unwrap();
        if self.model.spec().classes == 0 {
            return unlabelled;
        }
        let (bound, cross_entropy) = self.model.labelled(&self.x, &self.y, &self.noise, terms).unwrap();
        (unlabelled + (bound + cross_entropy * 0.7).unwrap().mean_all().unwrap()).unwrap()
    }
}

fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance * (1.0 + b.abs())), "{a:?} {b:?}");
}

#[test]
fn names_and_shapes() {
    for (structure, of_x, of_a) in [
        (Structure::Adgm, &["z", "y"][..], &["x", "z", "y"][..]),
        (Structure::Sdgm, &["a", "z", "y"], &["z", "y"]),
        (Structure::Avae, &["z"], &["x", "z"]),
    ] {
        let model = setting(structure, Likelihood::Gaussian, DType::F32).model;
        let vars: HashMap<_, _> = model.params().vars().iter().map(|(n, v)| (n.as_str(), v.dims().to_vec())).collect();
        let classified = structure != Structure::Avae;
        let joint: &[&str] = if classified { &["x", "a", "y"] } else { &["x", "a"] };
        let mut nets = vec![("q_a", &["x"][..]), ("q_z", joint), ("p_x", of_x), ("p_a", of_a)];
        if classified {
            nets.push(("q_y", &["x", "a"]));
        }
        let mut count = 0;
        for (net, inputs) in &nets {
            for input in *inputs {
                let want = match *input {
                    "y" => vec![CLASSES, 7],
                    "x" => vec![7, 6],
                    "a" => vec![7, 2],
                    _ => vec![7, 4],
                };
                assert_eq!(vars[format!("{net}.{input}.weight").as_str()], want, "{net} {input}");
            }
            let heads: &[&str] = match *net {
                "q_y" => &["logits"],
                "p_x" => &["head", "head_logvar"],
                _ => &["mu", "logvar"],
            };
            assert!(heads.iter().all(|head| vars[format!("{net}.{head}.weight").as_str()][1] == 5));
            assert_eq!(
                (&vars[format!("{net}.bias").as_str()][..], vars[format!("{net}.1.weight").as_str()][0]),
                (&[7][..], 5)
            );
            // The first bias, the second layer's two, each head's two.
            count += inputs.len() + 3 + 2 * heads.len();
        }
        assert_eq!((vars.len(), model.nets().count()), (count, nets.len()));
    }
}

#[test]
fn shapes_that_make_no_model() {
    let spec = setting(Structure::Adgm, Likelihood::Bernoulli, DType::F32).model.spec().clone();
    let make = |spec: AdgmSpec| Adgm::new(spec, AdgmRecipe::default(), 0, 1, (&CPU, DType::F32));
    assert!(make(spec.clone()).is_ok());
    for wrong in [
        AdgmSpec { classes: 0, ..spec.clone() },
        AdgmSpec { auxiliary: 0, ..spec.clone() },
        AdgmSpec { latent: 0, ..spec.clone() },
        AdgmSpec { hidden: vec![], ..spec.clone() },
        AdgmSpec { hidden: vec![3, 0], ..spec },
    ] {
        assert!(make(wrong.clone()).is_err(), "{wrong:?}");
    }
}

#[test]
fn every_variable_receives_a_gradient() {
    for structure in STRUCTURES {
        for likelihood in LIKELIHOODS {
            for dtype in [DType::F32, DType::F64] {
                let setting = setting(structure, likelihood, dtype);
                assert_every_variable_learns(setting.model.params().vars(), &setting.loss(EXACT));
            }
        }
    }
}

#[test]
fn finite_differences_agree() {
    for structure in STRUCTURES {
        for (likelihood, estimator) in [(Likelihood::Bernoulli, Estimator::A), (Likelihood::Gaussian, Estimator::B)] {
            let setting = setting(structure, likelihood, DType::F64);
            let terms = Terms { beta: 0.6, estimator, least_class: 0.33 };
            assert_gradients_are_slopes(setting.model.params().vars(), 3, || setting.loss(terms));
        }
    }
}

#[test]
fn fused_equals_composed() {
    for structure in STRUCTURES {
        for likelihood in LIKELIHOODS {
            let narrow = setting(structure, likelihood, DType::F32);
            let mut wide = setting(structure, likelihood, DType::F64);
            wide.model.params().load(&narrow.model.params().save().unwrap()).unwrap();
            let convert = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            wide.x = convert(&narrow.x);
            wide.noise = Noise { a: convert(&narrow.noise.a), z: convert(&narrow.noise.z) };
            let (a, b) = (narrow.loss(EXACT), wide.loss(EXACT));
            assert!((scalar(&a) - scalar(&b)).abs() < 1e-5 * scalar(&b).abs());
            let (ga, gb) = (a.backward().unwrap(), b.backward().unwrap());
            for ((name, a), (_, b)) in narrow.model.params().vars().iter().zip(wide.model.params().vars()) {
                let (a, b) = (values(ga.get(a).unwrap()), values(gb.get(b).unwrap()));
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs())), "{name}");
            }
        }
    }
}

/// The paper's networks as one dense layer over their inputs one after another, a class as its one-hot vector: loops
/// over plain numbers.
struct Reference<'m> {
    vars: HashMap<&'m str, (Vec<usize>, Vec<f64>)>,
    class_scale: f64,
}

impl<'m> Reference<'m> {
    fn of(model: &'m Adgm) -> Self {
        let vars = model.params().vars().iter().map(|(name, var)| (name.as_str(), (var.dims().to_vec(), values(var))));
        let class_scale = if model.spec().structure == Structure::Adgm { CLASS_SCALE } else { 1.0 };
        Self { vars: vars.collect(), class_scale }
    }

    fn get(&self, name: &str) -> &(Vec<usize>, Vec<f64>) {
        &self.vars[name]
    }

    /// `inputs` are the blocks of the concatenated input by name.
    fn net(&self, net: &str, inputs: &[(&str, &[f64])], head: &str) -> Vec<f64> {
        let mut first = self.get(&format!("{net}.bias")).1.clone();
        let width = first.len();
        for (input, values) in inputs {
            let (shape, w) = self.get(&format!("{net}.{input}.weight"));
            for (i, value) in values.iter().enumerate() {
                for (o, sum) in first.iter_mut().enumerate() {
                    *sum += value
                        * match *input {
                            "y" => w[i * width + o] * self.class_scale,
                            _ => w[o * shape[1] + i],
                        };
                }
            }
        }
        let layer = |x: &[f64], name: String| {
            let (b, w) = (&self.get(&format!("{name}.bias")).1, &self.get(&format!("{name}.weight")).1);
            b.iter()
                .enumerate()
                .map(|(o, b)| b + (0..x.len()).map(|i| w[o * x.len() + i] * x[i]).sum::<f64>())
                .collect()
        };
        let tanh = |x: Vec<f64>| x.into_iter().map(f64::tanh).collect::<Vec<f64>>();
        let second = tanh(layer(&tanh(first), format!("{net}.1")));
        layer(&second, format!("{net}.{head}"))
    }
}

fn log_normal(x: &[f64], mu: &[f64], logvar: &[f64]) -> f64 {
    x.iter().zip(mu).zip(logvar).map(|((x, m), v)| -0.5 * (TAU.ln() + v + (x - m).powi(2) / v.exp())).sum()
}

/// Equation 8 with every density written out, all sampled, against the labelled bound.
#[test]
fn the_labelled_bound_is_its_equation() {
    for structure in [Structure::Adgm, Structure::Sdgm] {
        for likelihood in LIKELIHOODS {
            let Setting { model, x, y, noise } = setting(structure, likelihood, DType::F64);
            let r = Reference::of(&model);
            let rows = |t: &Tensor| t.to_vec2::<f64>().unwrap();
            let draw = |mu: &[f64], logvar: &[f64], eps: &[f64]| -> Vec<f64> {
                mu.iter().zip(logvar).zip(eps).map(|((m, v), e)| m + (0.5 * v).exp() * e).collect()
            };
            let (mut bounds, mut entropies) = (Vec::new(), Vec::new());
            for (i, label) in y.to_vec1::<u32>().unwrap().into_iter().enumerate() {
                let (x, eps_a, eps_z) = (&rows(&x)[i][..], &rows(&noise.a)[i][..], &rows(&noise.z)[i][..]);
                let y: Vec<f64> = (0..CLASSES).map(|c| f64::from(u8::from(c == label as usize))).collect();
                let q_a = ["mu", "logvar"].map(|head| r.net("q_a", &[("x", x)], head));
                let a = draw(&q_a[0], &q_a[1], eps_a);
                let q_z = ["mu", "logvar"].map(|head| r.net("q_z", &[("x", x), ("a", &a), ("y", &y)], head));
                let z = draw(&q_z[0], &q_z[1], eps_z);
                let skip = structure == Structure::Sdgm;
                let of_x = [("z", &z[..]), ("y", &y), ("a", &a)];
                let of_a = [("z", &z[..]), ("y", &y), ("x", x)];
                let of_x = if skip { &of_x[..] } else { &of_x[..2] };
                let of_a = if skip { &of_a[..2] } else { &of_a[..] };
                let head = r.net("p_x", of_x, "head");
                let log_p_x = match likelihood {
                    Likelihood::Gaussian => log_normal(x, &head, &r.net("p_x", of_x, "head_logvar")),
                    _ => x.iter().zip(&head).map(|(x, l)| x * l - l.exp().ln_1p()).sum(),
                };
                let p_a = ["mu", "logvar"].map(|head| r.net("p_a", of_a, head));
                let prior = log_normal(&z, &[0.0; 4], &[0.0; 4]) - (CLASSES as f64).ln();
                let log_p = log_p_x + log_normal(&a, &p_a[0], &p_a[1]) + prior;
                let log_q = log_normal(&a, &q_a[0], &q_a[1]) + log_normal(&z, &q_z[0], &q_z[1]);
                bounds.push(log_q - log_p);
                let logits = r.net("q_y", &[("x", x), ("a", &a)], "logits");
                let total: f64 = logits.iter().map(|l| l.exp()).sum();
                entropies.push(total.ln() - logits[label as usize]);
            }
            let terms = Terms { estimator: Estimator::A, ..EXACT };
            let (bound, cross_entropy) = model.labelled(&x, &y, &noise, terms).unwrap();
            close(&values(&bound), &bounds, 1e-10);
            close(&values(&cross_entropy), &entropies, 1e-10);
        }
    }
}

/// Equations 9 and 10: the labelled bound of each class under `q(y|a,x)`, minus its entropy.
#[test]
fn the_unlabelled_bound_enumerates_the_labelled_one() {
    for structure in [Structure::Adgm, Structure::Sdgm] {
        let Setting { model, x, noise, .. } = setting(structure, Likelihood::Gaussian, DType::F64);
        for terms in [EXACT, Terms { beta: 0.3, estimator: Estimator::A, ..EXACT }] {
            let mut want = vec![0.0; ROWS];
            for class in 0..CLASSES as u32 {
                let y = Tensor::new(&[class; ROWS], &CPU).unwrap();
                let (bound, cross_entropy) = model.labelled(&x, &y, &noise, terms).unwrap();
                for ((sum, bound), log) in want.iter_mut().zip(values(&bound)).zip(values(&cross_entropy)) {
                    *sum += (-log).exp() * (bound - log);
                }
            }
            close(&values(&model.unlabelled(&x, &noise, terms).unwrap()), &want, 1e-10);
        }
    }
}

/// Where every class is likely the sum is the whole one; where few are, it is that of a `q` without the others.
#[test]
fn unlikely_classes_are_left_out() {
    for structure in [Structure::Adgm, Structure::Sdgm] {
        let s = setting(structure, Likelihood::Bernoulli, DType::F64);
        let unlabelled =
            |least_class| values(&s.model.unlabelled(&s.x, &s.noise, Terms { least_class, ..EXACT }).unwrap());
        close(&unlabelled(1e-9), &unlabelled(0.0), 1e-12);
        // Only the likeliest class is above a threshold that none reaches.
        let least = values(&s.model.unlabelled(&s.x, &s.noise, Terms { least_class: 1.0, ..EXACT }).unwrap());
        let (a, _) = s.model.auxiliary(&s.x, &s.noise.a).unwrap();
        let log_q_y = s.model.log_class(s.model.q_y.as_ref().unwrap(), &s.x, &a, 1).unwrap();
        let y = log_q_y.argmax(1).unwrap();
        close(&least, &values(&s.model.labelled(&s.x, &y, &s.noise, EXACT).unwrap().0), 1e-12);
    }
}

#[test]
fn more_importance_samples_tighten_the_bound() {
    for structure in STRUCTURES {
        let Setting { model, x, .. } = setting(structure, Likelihood::Bernoulli, DType::F64);
        let wide = model.params().save().unwrap().into_iter().map(|(n, t)| (n, (t * 2.0).unwrap())).collect();
        model.params().load(&wide).unwrap();
        let mut rng = Rng::new(10);
        let mean = |bound: Tensor| scalar(&bound.mean_all().unwrap());
        let mut average = |of: &mut dyn FnMut(&mut Rng) -> Result<Tensor>| {
            (0..300).map(|_| mean(of(&mut rng).unwrap())).sum::<f64>() / 300.0
        };
        let elbo = average(&mut |rng| model.bound(&x, rng));
        let one = average(&mut |rng| model.importance_bound(&x, 1, rng).map(Option::unwrap));
        let many = average(&mut |rng| model.importance_bound(&x, 30, rng).map(Option::unwrap));
        // Summing over classes is tighter than weighting them by q(y|a,x); without classes both are the same bound.
        let same = structure != Structure::Avae || (one - elbo).abs() < 0.2;
        assert!(one > elbo - 0.2 && many > one && same, "{structure:?} {elbo} {one} {many}");
        assert!(model.importance_bound(&x, 0, &mut rng).is_err());
    }
}

#[test]
fn a_classification_is_the_mean_over_auxiliary_samples() {
    for dtype in [DType::F32, DType::F64] {
        let Setting { model, x, .. } = setting(Structure::Adgm, Likelihood::Bernoulli, dtype);
        let p = values(&model.classify(&x, 3, &mut Rng::new(3)).unwrap());
        let mut rng = Rng::new(3);
        let mut mean = vec![0.0; ROWS * CLASSES];
        for _ in 0..3 {
            let one = values(&model.classify(&x, 1, &mut rng).unwrap());
            mean.iter_mut().zip(one).for_each(|(mean, p)| *mean += p / 3.0);
        }
        close(&p, &mean, 1e-6);
        assert!(p.chunks(CLASSES).all(|p| (p.iter().sum::<f64>() - 1.0).abs() < 1e-6));
        // In the exact model's terms: the cross-entropy of a label at one sample is its log-probability there.
        let noise = model.noise(ROWS, &mut Rng::new(3)).unwrap();
        let y = Tensor::new(&[1u32; ROWS], &CPU).unwrap();
        let (_, cross_entropy) = model.labelled(&x, &y, &noise, EXACT).unwrap();
        let one = values(&model.classify(&x, 1, &mut Rng::new(3)).unwrap());
        let of_one: Vec<f64> = one.chunks(CLASSES).map(|p| -p[1].ln()).collect();
        close(&values(&cross_entropy), &of_one, 1e-5);
        assert!(model.classify(&x, 0, &mut rng).is_err());
    }
    let Setting { model, .. } = setting(Structure::Avae, Likelihood::Bernoulli, DType::F32);
    assert!(model.capabilities().classifier.is_none());
}

#[test]
fn samples_take_the_classes_in_turn() {
    for structure in STRUCTURES {
        let model = setting(structure, Likelihood::Gaussian, DType::F32).model;
        let mut tensors = model.params().save().unwrap();
        let far: Vec<f32> = (0..CLASSES * 7).map(|i| [-30.0, 0.0, 30.0][i / 7]).collect();
        if structure != Structure::Avae {
            tensors.insert("p_x.y.weight".into(), Tensor::from_vec(far, (CLASSES, 7), &CPU).unwrap());
        }
        // All hidden units say the class, and the head shows one of them.
        let ones = |o: usize, i: usize| Tensor::ones((o, i), DType::F32, &CPU).unwrap();
        tensors.insert("p_x.1.weight".into(), ones(5, 7));
        tensors.insert("p_x.head.weight".into(), ones(6, 5));
        tensors.insert("p_x.head.bias".into(), Tensor::zeros(6, DType::F32, &CPU).unwrap());
        model.params().load(&tensors).unwrap();
        let x = model.sample(8, &mut Rng::new(4)).unwrap().to_vec2::<f32>().unwrap();
        if structure == Structure::Avae {
            assert!(x.iter().flatten().all(|v| v.is_finite()));
            continue;
        }
        for (i, row) in x.iter().enumerate() {
            match i % CLASSES {
                0 => assert!(row.iter().all(|v| *v < -4.9), "{row:?}"),
                2 => assert!(row.iter().all(|v| *v > 4.9), "{row:?}"),
                _ => {}
            }
        }
    }
    let images = setting(Structure::Sdgm, Likelihood::Bernoulli, DType::F32).model;
    assert!(values(&images.sample(5, &mut Rng::new(1)).unwrap()).iter().all(|p| (0.0..=1.0).contains(p)));
}
