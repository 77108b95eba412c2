//! A model of your own: a denoising autoencoder (Vincent et al. 2008). Its score measures how badly it restores a row.
//! It is trained in memory, compiled, and run like a board: `cargo run -p elbo-trainer --example own_model`.

use std::error::Error;

use candle_core::{DType, Device, Result, Tensor};
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::graph::Builder;
use elbo_compiler::metrics::roc;
use elbo_compiler::{FloatModel, Likelihood};
use elbo_trainer::compile::{CompileOptions, Names, compile};
use elbo_trainer::data::{DataOptions, Dataset};
use elbo_trainer::layers::{Dense, Params};
use elbo_trainer::lower::{Affine, activate};
use elbo_trainer::model::{Capabilities, Model, Scorer};
use elbo_trainer::nn::{Activation, Rng};
use elbo_trainer::settings::{ExportRecipe, TrainRecipe};
use elbo_trainer::{step::Step, train::fit};

struct Denoiser {
    params: Params,
    encoder: Dense,
    decoder: Dense,
}

impl Denoiser {
    fn new(input: usize, latent: usize, seed: u64) -> Result<Self> {
        let mut params = Params::new(seed, &Device::Cpu, DType::F32)?;
        let (encoder, decoder) = (params.dense("encoder", input, latent)?, params.dense("decoder", latent, input)?);
        Ok(Self { params, encoder, decoder })
    }

    /// Half the squared distance between each row of `x [b, d]` and the row restored from `seen [b, d]`: `[b]`.
    fn distance(&self, x: &Tensor, seen: &Tensor) -> Result<Tensor> {
        let h = self.encoder.apply(&self.params, seen, Activation::Tanh)?;
        (x - self.decoder.apply(&self.params, &h, Activation::Identity)?)?.sqr()?.sum(1)? * 0.5
    }
}

impl Model for Denoiser {
    fn params(&self) -> &Params {
        &self.params
    }

    fn input(&self) -> usize {
        self.encoder.inp
    }

    fn likelihood(&self) -> Likelihood {
        Likelihood::Gaussian
    }

    fn latent(&self) -> usize {
        self.encoder.out
    }

    fn step(&self, step: &mut Step<'_>) -> Result<f64> {
        let x = step.batch(self.likelihood())?;
        let noise = (step.noise.normal(x.shape(), x.dtype(), x.device())? * 0.3)?;
        step.minimise(0, &self.distance(&x, &(&x + noise)?)?.mean_all()?)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities { scorer: Some(self), ..Capabilities::default() }
    }

    fn lower(&self, _: &ExportRecipe) -> Result<FloatModel> {
        let mut model = FloatModel::default();
        let encoder = Affine::dense(&mut model, "encoder", &self.params, self.encoder)?;
        let decoder = Affine::dense(&mut model, "decoder", &self.params, self.decoder)?;
        let mut b = Builder::default();
        let x = b.input(self.input());
        let affine = encoder.apply(&mut b, x);
        let h = activate(&mut b, Activation::Tanh, affine);
        let restored = decoder.apply(&mut b, h);
        let difference = b.map(Opcode::SubVec, 0, &[x, restored]);
        let score = b.scalar(Opcode::HalfSumSq, 0, &[difference]);
        Ok(FloatModel { programs: vec![b.finish(ProgramKind::Score, &[score])], ..model })
    }
}

impl Scorer for Denoiser {
    fn score(&self, x: &Tensor) -> Result<Tensor> {
        self.distance(x, x)
    }
}

/// Eight sensors that follow two hidden causes.
fn rows(n: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let mut row = || {
        let [a, b] = [(); 2].map(|()| 2.0 * rng.unit() - 1.0);
        (0..8).map(|i| (a * f64::from(i).cos() + b * f64::from(i).sin() + 0.05 * rng.unit()) as f32).collect()
    };
    (0..n).map(|_| row()).collect()
}

/// How well the integer score tells rows whose sensors are those of different rows from rows as they are.
fn area() -> std::result::Result<f64, Box<dyn Error>> {
    let dataset = Dataset::of_table("sensors", &rows(2000, &mut Rng::new(1)), &DataOptions::default())?;
    let mut model = Denoiser::new(dataset.dim, 4, 2)?;
    fit(&mut model, &dataset, &TrainRecipe { steps: 2000, ..TrainRecipe::default() }, &mut ())?;
    let names = Names { name: "sensors", family: "denoiser" };
    let compilation = compile(&model, names, &dataset, &ExportRecipe::default(), &CompileOptions::default())?;
    let (blob, normal, n) = (compilation.compiled.blob, &compilation.test, compilation.test.len());
    let mixed = (0..n).map(|row| (0..dataset.dim).map(|i| normal[(row + 23 * i) % n][i]).collect());
    let all: Vec<Vec<f32>> = mixed.chain(normal.iter().cloned()).collect();
    let scores: Vec<f64> = blob.scores(&all)?.iter().map(|nats| nats.to_f64()).collect();
    let marks: Vec<bool> = (0..all.len()).map(|i| i < n).collect();
    roc::auc(&scores, &marks).ok_or_else(|| "a score that is no number".into())
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    area().map(|area| println!("AUC {area:.3}: mixed rows against rows as they are"))
}

#[test]
fn it_learns_compiles_and_tells_rows_apart() {
    let area = area().unwrap();
    assert!(area > 0.95, "{area}");
}
