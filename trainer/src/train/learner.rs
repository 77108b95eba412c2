//! A model with its optimiser and the moving average of its weights.

use std::collections::HashMap;

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};

use super::checkpoint::{Arrays, Checkpoint};
use crate::evaluate::observe;
use crate::family::vae::{Vae, VaeSpec};
use crate::nn::{Adam, AdamParams, AdamState, Rng};
use crate::recipe::TrainRecipe;

/// The values of every variable, in the model's order.
pub(crate) type Weights = Vec<Vec<f32>>;

pub(crate) struct Learner {
    pub vae: Vae,
    adam: Adam,
    /// Moving average of the weights, if the recipe asks for one.
    ema: Option<Weights>,
    /// Weights of the best validation.
    pub best: Option<Weights>,
}

impl Learner {
    pub fn new(spec: VaeSpec, train: &TrainRecipe) -> Result<Self> {
        let vae = Vae::new(spec, train.seed, &Device::Cpu, DType::F32)?;
        let params = AdamParams { weight_decay: train.weight_decay, ..AdamParams::default() };
        let adam = Adam::new(vae.vars(), params)?;
        let ema = (train.ema > 0.0).then(|| weights(&vae)).transpose()?;
        Ok(Self { vae, adam, ema, best: None })
    }

    /// One step on the rows `x`; returns the loss (nats per row).
    pub fn step(
        &mut self,
        train: &TrainRecipe,
        step: u64,
        x: &[f32],
        pixels: &mut Rng,
        latents: &mut Rng,
    ) -> Result<f64> {
        let spec = self.vae.spec();
        let rows = x.len() / spec.input;
        let x = Tensor::from_vec(observe(&self.vae, pixels, x), (rows, spec.input), &Device::Cpu)?;
        let eps = latents.normal((rows, spec.latent), DType::F32, &Device::Cpu)?;
        let loss = self.vae.loss(&x, &eps, train.beta_at(step), train.estimator)?.total;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Ok(value);
        }
        self.adam.step(&loss.backward()?, train.rate(step))?;
        if let Some(ema) = &mut self.ema {
            // A young average follows closely, so that the initial weights are soon forgotten.
            let young = (1.0 + step as f64) / (10.0 + step as f64);
            let keep = train.ema.min(young) as f32;
            for ((_, var), average) in self.vae.vars().iter().zip(ema) {
                with_values(var, |values| {
                    for (a, v) in average.iter_mut().zip(values) {
                        *a = *v + keep * (*a - *v);
                    }
                })?;
            }
        }
        Ok(value)
    }

    /// The weights to validate and keep: the average where there is one.
    pub fn averaged(&self) -> Result<Weights> {
        self.ema.clone().map_or_else(|| weights(&self.vae), Ok)
    }

    /// Calls `f` on the model with other weights.
    pub fn with_weights<R>(&self, other: &Weights, f: impl FnOnce(&Vae) -> R) -> Result<R> {
        let own = weights(&self.vae)?;
        set(&self.vae, other)?;
        let result = f(&self.vae);
        set(&self.vae, &own)?;
        Ok(result)
    }

    /// Whether every weight is a number.
    pub fn is_finite(&self) -> Result<bool> {
        let finite = |w: &Weights| w.iter().flatten().all(|v| v.is_finite());
        Ok(finite(&weights(&self.vae)?) && self.ema.as_ref().is_none_or(finite))
    }

    /// Puts everything into a checkpoint.
    pub fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let names: Vec<_> = self.vae.vars().iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        let current = weights(&self.vae)?;
        let groups = [("weights", Some(&current)), ("ema", self.ema.as_ref()), ("best", self.best.as_ref())];
        for (group, values) in groups {
            for ((name, shape), v) in names.iter().zip(values.into_iter().flatten()) {
                checkpoint.arrays.insert(format!("{group}.{name}"), (shape.clone(), v.clone()));
            }
        }
        for (name, tensor) in self.adam.state()?.tensors {
            let array = (tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?);
            checkpoint.arrays.insert(format!("adam.{name}"), array);
        }
        Ok(())
    }

    /// Takes everything from a checkpoint.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let group = |group: &str| -> Result<Weights> {
            self.vae
                .vars()
                .iter()
                .map(|(name, var)| match checkpoint.arrays.get(&format!("{group}.{name}")) {
                    Some((shape, values)) if shape == var.dims() => Ok(values.clone()),
                    _ => bail!("the checkpoint lacks {group}.{name} of shape {:?}", var.dims()),
                })
                .collect()
        };
        let current = group("weights")?;
        let ema = self.ema.is_some().then(|| group("ema")).transpose()?;
        let best = checkpoint.state.best_elbo.is_some().then(|| group("best")).transpose()?;
        let mut tensors = HashMap::new();
        for (name, (shape, values)) in &checkpoint.arrays {
            if let Some(name) = name.strip_prefix("adam.") {
                tensors.insert(name.to_owned(), Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)?);
            }
        }
        self.adam.restore(&AdamState { step: checkpoint.state.step, tensors })?;
        set(&self.vae, &current)?;
        (self.ema, self.best) = (ema, best);
        Ok(())
    }
}

/// The named arrays of a model.
pub(crate) fn arrays(vae: &Vae) -> Result<Arrays> {
    let array = |(name, var): &(String, candle_core::Var)| {
        Ok((name.clone(), (var.dims().to_vec(), var.flatten_all()?.to_vec1()?)))
    };
    vae.vars().iter().map(array).collect()
}

fn weights(vae: &Vae) -> Result<Weights> {
    vae.vars().iter().map(|(_, var)| var.flatten_all()?.to_vec1()).collect()
}

fn set(vae: &Vae, weights: &Weights) -> Result<()> {
    for ((_, var), values) in vae.vars().iter().zip(weights) {
        var.set(&Tensor::from_slice(values, var.shape(), &Device::Cpu)?)?;
    }
    Ok(())
}

/// Reads a tensor's values where they are.
fn with_values(tensor: &Tensor, f: impl FnOnce(&[f32])) -> Result<()> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => f(&values[start..end]),
        _ => bail!("a variable that is not contiguous f32 in host memory"),
    }
    Ok(())
}
