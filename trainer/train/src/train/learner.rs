//! A model with its optimisers and the moving average of its weights.

use std::collections::HashMap;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, Var, bail};

use super::checkpoint::Checkpoint;
use crate::arrays::Arrays;
use crate::data::Split;
use crate::model::Model;
use crate::nn::OptimiserState;
use crate::settings::TrainRecipe;
use crate::step::{Optimiser, Step};

/// The values of all variables, in the order of the model.
pub(crate) type Weights = Vec<Vec<f32>>;

pub(crate) struct Learner<'m> {
    pub model: &'m dyn Model,
    /// One optimiser for each group of the model.
    optimisers: Vec<Optimiser>,
    /// Moving average of the weights, if the settings ask for one.
    ema: Option<Weights>,
    /// The weights with the best validation bound.
    pub best: Option<Weights>,
}

impl<'m> Learner<'m> {
    pub fn new(model: &'m dyn Model, train: &TrainRecipe) -> Result<Self> {
        let vars = model.params().vars();
        let optimisers =
            model.groups().iter().map(|group| Optimiser::new(group, vars, train)).collect::<Result<Vec<_>>>()?;
        // The passes of a model that is fitted as a whole are not averaged.
        let ema = (train.ema > 0.0 && model.capabilities().fit.is_none()).then(|| weights(model)).transpose()?;
        Ok(Self { model, optimisers, ema, best: None })
    }

    /// Starts again with the weights of another model of the same shape. The best weights are kept.
    pub fn restart(&mut self, fresh: &dyn Model, train: &TrainRecipe) -> Result<()> {
        set(self.model, &weights(fresh)?)?;
        let best = self.best.take();
        *self = Self { best, ..Self::new(self.model, train)? };
        Ok(())
    }

    /// Sets the weights of the model.
    pub fn set(&self, weights: &Weights) -> Result<()> {
        set(self.model, weights)
    }

    /// Takes one step on the rows with an index in `batch`, and returns the loss (nats per row).
    pub fn step(&mut self, train: &TrainRecipe, step: u64, rows: &Split, batch: &[usize]) -> Result<f64> {
        let value = self.model.step(&mut Step::new(train, step, rows, batch, &mut self.optimisers))?;
        if !value.is_finite() {
            return Ok(value);
        }
        if let Some(ema) = &mut self.ema {
            // At first the average follows the weights closely, so that it soon forgets the initial weights.
            let early_decay = (1.0 + step as f64) / (10.0 + step as f64);
            let keep = train.ema.min(early_decay) as f32;
            for ((_, var), average) in self.model.params().vars().iter().zip(ema) {
                with_values(var, |values| {
                    for (a, v) in average.iter_mut().zip(values) {
                        *a = *v + keep * (*a - *v);
                    }
                })?;
            }
        }
        Ok(value)
    }

    /// The weights to validate and save: the moving average if there is one, otherwise the current weights.
    pub fn averaged(&self) -> Result<Weights> {
        self.ema.clone().map_or_else(|| weights(self.model), Ok)
    }

    /// Calls `f` while the model has other weights.
    pub fn with_weights<R>(&self, other: &Weights, f: impl FnOnce(&dyn Model) -> R) -> Result<R> {
        let own = weights(self.model)?;
        set(self.model, other)?;
        let result = f(self.model);
        set(self.model, &own)?;
        Ok(result)
    }

    /// Whether all weights are finite.
    pub fn is_finite(&self) -> Result<bool> {
        let finite = |w: &Weights| w.iter().flatten().all(|v| v.is_finite());
        Ok(finite(&weights(self.model)?) && self.ema.as_ref().is_none_or(finite))
    }

    /// Writes everything into a checkpoint.
    pub fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let names: Vec<_> =
            self.model.params().vars().iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        let current = weights(self.model)?;
        let groups = [("weights", Some(&current)), ("ema", self.ema.as_ref()), ("best", self.best.as_ref())];
        for (group, values) in groups {
            for ((name, shape), v) in names.iter().zip(values.into_iter().flatten()) {
                checkpoint.arrays.insert(format!("{group}.{name}"), (shape.clone(), v.clone()));
            }
        }
        for (group, optimiser) in self.optimisers.iter().enumerate() {
            let state = optimiser.state()?;
            for (name, tensor) in state.tensors {
                let array = (tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?);
                checkpoint.arrays.insert(format!("optimiser.{group}.{name}"), array);
            }
            checkpoint.arrays.insert(format!("optimiser.{group}.steps"), (vec![2], split_count(state.step).to_vec()));
        }
        Ok(())
    }

    /// Restores everything from a checkpoint.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let group = |group: &str| -> Result<Weights> {
            self.model
                .params()
                .vars()
                .iter()
                .map(|(name, var)| match checkpoint.arrays.get(&format!("{group}.{name}")) {
                    Some((shape, values)) if shape == var.dims() => Ok(values.clone()),
                    _ => bail!("the checkpoint has no {group}.{name} of shape {:?}", var.dims()),
                })
                .collect()
        };
        let current = group("weights")?;
        let ema = self.ema.is_some().then(|| group("ema")).transpose()?;
        let best = checkpoint.state.best_elbo.is_some().then(|| group("best")).transpose()?;
        let states = (0..self.optimisers.len()).map(|group| {
            let prefix = format!("optimiser.{group}.");
            let mut state = OptimiserState { step: 0, tensors: HashMap::new() };
            for (name, (shape, values)) in &checkpoint.arrays {
                match name.strip_prefix(&prefix) {
                    Some("steps") => state.step = whole(values),
                    Some(name) => {
                        let tensor = Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)?;
                        state.tensors.insert(name.to_owned(), tensor);
                    }
                    None => {}
                }
            }
            Ok(state)
        });
        let states = states.collect::<Result<Vec<_>>>()?;
        self.optimisers.iter_mut().zip(&states).try_for_each(|(optimiser, state)| optimiser.restore(state))?;
        set(self.model, &current)?;
        (self.ema, self.best) = (ema, best);
        Ok(())
    }
}

/// Splits a count into two numbers that `f32` represents exactly if the count is below 2^48.
fn split_count(count: u64) -> [f32; 2] {
    [(count & 0xFF_FFFF) as f32, (count >> 24) as f32]
}

fn whole(halves: &[f32]) -> u64 {
    halves.iter().rev().fold(0, |count, half| count << 24 | *half as u64)
}

/// The variables of a model as named arrays.
pub(crate) fn arrays(model: &dyn Model) -> Result<Arrays> {
    let array = |(name, var): &(String, Var)| Ok((name.clone(), (var.dims().to_vec(), var.flatten_all()?.to_vec1()?)));
    model.params().vars().iter().map(array).collect()
}

fn weights(model: &dyn Model) -> Result<Weights> {
    model.params().vars().iter().map(|(_, var)| var.flatten_all()?.to_vec1()).collect()
}

fn set(model: &dyn Model, weights: &Weights) -> Result<()> {
    for ((_, var), values) in model.params().vars().iter().zip(weights) {
        var.set(&Tensor::from_slice(values, var.shape(), &Device::Cpu)?)?;
    }
    Ok(())
}

/// Calls `f` with the values of a tensor, without copying them.
fn with_values(tensor: &Tensor, f: impl FnOnce(&[f32])) -> Result<()> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => f(&values[start..end]),
        _ => bail!("a variable that is not contiguous f32 in host memory"),
    }
    Ok(())
}
