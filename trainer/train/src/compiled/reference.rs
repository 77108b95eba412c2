//! Every program of a lowered model against its definition, written in stock candle and candle-nn in double precision:
//! none of this crate's own operations take part in the reference.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, loss::binary_cross_entropy_with_logit, ops};
use elbo::program::ProgramKind;
use elbo_compiler::Likelihood;

use super::run_graph;
use crate::family::vae::{LOGVAR_MAX, LOGVAR_MIN, Vae, VaeSpec};
use crate::likelihood::{HEAD_LOGVAR_MAX, HEAD_LOGVAR_MIN};
use crate::model::Model;
use crate::nn::{Activation, Rng};
use crate::settings::ExportRecipe;

const CPU: Device = Device::Cpu;
const ROWS: usize = 6;
const MONTE_CARLO: usize = 3;
const IMPORTANCE: usize = 5;
/// Allowed difference from a reference value `v`: this times `max(1, |v|)`.
const TOLERANCE: f64 = 1e-4;

fn export(monte_carlo_samples: usize, importance_samples: usize) -> ExportRecipe {
    ExportRecipe { monte_carlo_samples, importance_samples, ..ExportRecipe::default() }
}

struct Reference {
    spec: VaeSpec,
    weights: HashMap<String, Tensor>,
}

impl Reference {
    fn dense(&self, name: &str, x: &Tensor) -> Tensor {
        let weight = |part: &str| self.weights[&format!("{name}.{part}")].to_dtype(DType::F64).unwrap();
        Linear::new(weight("weight"), Some(weight("bias"))).forward(x).unwrap()
    }

    fn hidden(&self, part: &str, x: &Tensor) -> Tensor {
        (0..self.spec.hidden.len()).fold(x.clone(), |x, layer| {
            let x = self.dense(&format!("{part}.{layer}"), &x);
            match self.spec.activation {
                Activation::Relu => x.relu().unwrap(),
                Activation::Tanh => x.tanh().unwrap(),
                Activation::Identity => x,
            }
        })
    }

    fn encode(&self, x: &Tensor) -> (Tensor, Tensor) {
        let h = self.hidden("encoder", x);
        (self.dense("mu", &h), self.dense("logvar", &h).clamp(LOGVAR_MIN, LOGVAR_MAX).unwrap())
    }

    fn mean(&self, z: &Tensor) -> Tensor {
        let head = self.dense("head", &self.hidden("decoder", z));
        match self.spec.likelihood {
            Likelihood::Bernoulli => ops::sigmoid(&head).unwrap(),
            Likelihood::Gaussian | Likelihood::Logistic => head,
        }
    }

    /// `-log p(x|z)` of one row.
    fn nll(&self, x: &Tensor, z: &Tensor) -> f64 {
        let h = self.hidden("decoder", z);
        let head = self.dense("head", &h);
        if self.spec.likelihood == Likelihood::Bernoulli {
            return scalar(&binary_cross_entropy_with_logit(&head, x).unwrap()) * self.spec.input as f64;
        }
        let logvar = self.dense("head_logvar", &h).clamp(HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX).unwrap();
        let distance = ((x - head).unwrap() / (&logvar * 0.5).unwrap().exp().unwrap()).unwrap().sqr().unwrap();
        let constant = self.spec.input as f64 * std::f64::consts::TAU.ln();
        0.5 * (total(&distance) + total(&logvar) + constant)
    }

    fn draw(&self, mu: &Tensor, logvar: &Tensor, eps: &Tensor) -> Tensor {
        (mu + ((logvar * 0.5).unwrap().exp().unwrap() * eps).unwrap()).unwrap()
    }

    fn kl(&self, mu: &Tensor, logvar: &Tensor) -> f64 {
        let terms = (mu.sqr().unwrap() + logvar.exp().unwrap()).unwrap();
        0.5 * (total(&terms) - total(logvar) - self.spec.latent as f64)
    }

    /// `log p(x, z) - log q(z|x)` from the two normal densities in full.
    fn log_weight(&self, x: &Tensor, mu: &Tensor, logvar: &Tensor, eps: &Tensor) -> f64 {
        let z = self.draw(mu, logvar, eps);
        let constant = self.spec.latent as f64 * std::f64::consts::TAU.ln();
        let prior = -0.5 * (total(&z.sqr().unwrap()) + constant);
        let variance = logvar.exp().unwrap();
        let distance = ((&z - mu).unwrap().sqr().unwrap() / variance).unwrap();
        let posterior = -0.5 * (total(&distance) + total(logvar) + constant);
        prior - posterior - self.nll(x, &z)
    }
}

fn total(t: &Tensor) -> f64 {
    scalar(&t.sum_all().unwrap())
}

fn scalar(t: &Tensor) -> f64 {
    t.to_scalar().unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn narrow(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= TOLERANCE * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
    }
}

/// A model with uniform weights; its log-variances are spread so far that both ends of their clamps are met.
fn model(spec: &VaeSpec, seed: u64) -> Vae {
    let vae = Vae::new(spec.clone(), seed, &CPU, DType::F32).unwrap();
    let spread = |(name, t): (String, Tensor)| {
        let factor = if name.contains("logvar") { 12.0 } else { 1.5 };
        (name, (t * factor).unwrap())
    };
    vae.params().load(&vae.params().save().unwrap().into_iter().map(spread).collect()).unwrap();
    vae
}

fn compare(spec: &VaeSpec, seed: u64) {
    let vae = model(spec, seed);
    let graph = vae.lower(&export(MONTE_CARLO, IMPORTANCE)).unwrap();
    let reference = Reference { spec: spec.clone(), weights: vae.params().save().unwrap() };
    let mut rng = Rng::new(seed + 1);
    for _ in 0..ROWS {
        let x = match spec.likelihood {
            Likelihood::Bernoulli => rng.bernoulli(&Tensor::full(0.4, (1, spec.input), &CPU).unwrap()).unwrap(),
            Likelihood::Gaussian | Likelihood::Logistic => rng.normal((1, spec.input), DType::F64, &CPU).unwrap(),
        };
        // The graph's inputs have 24 bits: the reference starts from the same ones.
        let rounded = |t: &Tensor| t.to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap();
        let x = rounded(&x);
        let eps: Vec<Tensor> =
            (0..IMPORTANCE).map(|_| rounded(&rng.normal((1, spec.latent), DType::F64, &CPU).unwrap())).collect();
        let noise: Vec<f32> = eps.iter().flat_map(narrow).collect();
        let input = narrow(&x);
        let (mu, logvar) = reference.encode(&x);

        let encoded = run_graph(&graph, ProgramKind::Encode, &input, &[]);
        close("mu", &encoded[0], &values(&mu));
        close("logvar", &encoded[1], &values(&logvar));
        let mean = values(&reference.mean(&eps[0]));
        close("sample", &run_graph(&graph, ProgramKind::Sample, &[], &noise)[0], &mean);
        close("decode", &run_graph(&graph, ProgramKind::Decode, &narrow(&eps[0]), &[])[0], &mean);
        let mean = values(&reference.mean(&mu));
        close("reconstruct", &run_graph(&graph, ProgramKind::Reconstruct, &input, &[])[0], &mean);

        let kl = reference.kl(&mu, &logvar);
        let score = reference.nll(&x, &mu) + kl;
        close("score", &run_graph(&graph, ProgramKind::Score, &input, &[])[0], &[score]);
        let draws = eps[..MONTE_CARLO].iter().map(|eps| reference.nll(&x, &reference.draw(&mu, &logvar, eps)));
        let score = draws.sum::<f64>() / MONTE_CARLO as f64 + kl;
        close("score_monte_carlo", &run_graph(&graph, ProgramKind::ScoreMonteCarlo, &input, &noise)[0], &[score]);
        let weights: Vec<f64> = eps.iter().map(|eps| reference.log_weight(&x, &mu, &logvar, eps)).collect();
        let weights = Tensor::new(weights, &CPU).unwrap();
        let bound = scalar(&weights.log_sum_exp(0).unwrap()) - (IMPORTANCE as f64).ln();
        close("score_importance", &run_graph(&graph, ProgramKind::ScoreImportance, &input, &noise)[0], &[-bound]);

        // The trained path, fused and in single precision, at one draw.
        let one = vae.lower(&export(1, 1)).unwrap();
        let f32s = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let elbo = f64::from(vae.elbo(&f32s(&x), &f32s(&eps[0])).unwrap().to_vec1::<f32>().unwrap()[0]);
        close("elbo", &run_graph(&one, ProgramKind::ScoreMonteCarlo, &input, &noise)[0], &[-elbo]);
    }
}

#[test]
fn every_program_equals_its_definition_in_candle() {
    for likelihood in [Likelihood::Bernoulli, Likelihood::Gaussian] {
        for activation in [Activation::Relu, Activation::Tanh, Activation::Identity] {
            for (seed, hidden) in [&[][..], &[11], &[16, 9], &[20, 13, 8]].into_iter().enumerate() {
                compare(
                    &VaeSpec { input: 19, hidden: hidden.to_vec(), latent: 5, activation, likelihood },
                    seed as u64,
                );
            }
        }
    }
}

/// Without this the comparison above would not see a clamp that is missing.
#[test]
fn the_models_compared_reach_both_ends_of_their_clamps() {
    let spec = VaeSpec {
        input: 19,
        hidden: vec![11],
        latent: 5,
        activation: Activation::Relu,
        likelihood: Likelihood::Gaussian,
    };
    let vae = model(&spec, 1);
    let mut rng = Rng::new(3);
    let mut wide = |width: usize| (rng.normal((64, width), DType::F32, &CPU).unwrap() * 3.0).unwrap();
    let (_, logvar) = vae.encode(&wide(19)).unwrap();
    let (_, head_logvar) = vae.decode_with_logvar(&wide(5)).unwrap();
    for (logvar, low, high) in
        [(logvar, LOGVAR_MIN, LOGVAR_MAX), (head_logvar.unwrap(), HEAD_LOGVAR_MIN, HEAD_LOGVAR_MAX)]
    {
        let logvar = values(&logvar.to_dtype(DType::F64).unwrap());
        assert!(logvar.contains(&low) && logvar.contains(&high), "{logvar:?}");
    }
}
