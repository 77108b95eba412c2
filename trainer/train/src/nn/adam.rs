use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var, bail};

use super::dense::{both, values};
use super::math::{self, AdamStep};

/// A variable with at least this many elements is updated by two threads.
const SPLIT_AT: usize = 1 << 14;

/// The constants of Adam. The learning rate is an argument of each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamParams {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Constant that is added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay (AdamW). With 0 the optimiser is Adam.
    pub weight_decay: f64,
}

impl Default for AdamParams {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The state of an optimiser, for resuming a training.
#[derive(Clone, Debug)]
pub struct OptimiserState {
    /// Number of steps taken.
    pub step: u64,
    /// The moments, each with the shape of its variable. Those of [`Adam`] are called `NAME.m` and `NAME.v`.
    pub tensors: HashMap<String, Tensor>,
}

impl OptimiserState {
    /// A copy of the moment `name` with the shape, type and device of `var`.
    pub(super) fn moment(&self, name: &str, var: &Var) -> Result<Tensor> {
        match self.tensors.get(name) {
            None => bail!("the optimiser's state has no {name}"),
            Some(t) if t.shape() != var.shape() => {
                bail!("the optimiser's state has {name} of shape {:?}, expected {:?}", t.dims(), var.dims())
            }
            Some(t) => t.to_device(var.device())?.to_dtype(var.dtype())?.copy(),
        }
    }
}

enum Moments {
    /// `f32` in host memory, updated in place.
    Host(Vec<f32>, Vec<f32>),
    /// Any other type or device.
    Tensors(Tensor, Tensor),
}

struct Slot {
    name: String,
    var: Var,
    moments: Moments,
}

/// Adam (arXiv 1412.6980). It updates the storage of the variables in place.
///
/// On the CPU in `f32`, the update is one fused pass. A tensor that shares storage with a variable, for example
/// `var.as_tensor().clone()`, therefore changes with the variable. Copy a tensor that must not change.
pub struct Adam {
    params: AdamParams,
    step: u64,
    slots: Vec<Slot>,
}

impl Adam {
    /// An optimiser for these variables. All moments are zero.
    ///
    /// # Errors
    /// The moments cannot be allocated.
    pub fn new(vars: &[(String, Var)], params: AdamParams) -> Result<Self> {
        let slot = |(name, var): &(String, Var)| {
            let fused = var.dtype() == DType::F32 && var.device().is_cpu() && var.is_contiguous();
            let moments = if fused {
                Moments::Host(vec![0.0; var.elem_count()], vec![0.0; var.elem_count()])
            } else {
                Moments::Tensors(var.zeros_like()?, var.zeros_like()?)
            };
            Ok(Slot { name: name.clone(), var: var.clone(), moments })
        };
        Ok(Self { params, step: 0, slots: vars.iter().map(slot).collect::<Result<_>>()? })
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Takes one step with learning rate `lr`. Variables without a gradient do not change.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        self.step += 1;
        let AdamParams { beta1, beta2, eps, weight_decay } = self.params;
        let t = self.step.min(i32::MAX as u64) as i32;
        let rate = lr / (1.0 - beta1.powi(t));
        let root = (1.0 - beta2.powi(t)).sqrt().recip();
        let keep = 1.0 - lr * weight_decay;
        let constants = AdamStep {
            rate: rate as f32,
            root: root as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
            keep: keep as f32,
        };
        for slot in &mut self.slots {
            let Some(g) = grads.get(slot.var.as_tensor()) else {
                continue;
            };
            match &mut slot.moments {
                Moments::Host(m, v) => {
                    let op = Fused { constants, moments: RefCell::new((m, v)) };
                    slot.var.inplace_op2(&g.contiguous()?, &op)?;
                }
                Moments::Tensors(m, v) => {
                    *m = ((&*m * beta1)? + (g * (1.0 - beta1))?)?.detach();
                    *v = ((&*v * beta2)? + (g.sqr()? * (1.0 - beta2))?)?.detach();
                    let update = (&*m * rate)?.div(&((v.sqrt()? * root)? + eps)?)?;
                    slot.var.set(&((slot.var.as_tensor() * keep)? - update)?.detach())?;
                }
            }
        }
        Ok(())
    }

    /// A copy of the optimiser's state.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn state(&self) -> Result<OptimiserState> {
        let mut tensors = HashMap::new();
        for slot in &self.slots {
            let (m, v) = match &slot.moments {
                Moments::Host(m, v) => (
                    Tensor::from_slice(m, slot.var.shape(), &Device::Cpu)?,
                    Tensor::from_slice(v, slot.var.shape(), &Device::Cpu)?,
                ),
                Moments::Tensors(m, v) => (m.copy()?, v.copy()?),
            };
            tensors.insert(format!("{}.m", slot.name), m);
            tensors.insert(format!("{}.v", slot.name), v);
        }
        Ok(OptimiserState { step: self.step, tensors })
    }

    /// Restores a saved state. If it fails, nothing has changed.
    ///
    /// # Errors
    /// A moment that is missing or has another shape than its variable.
    pub fn restore(&mut self, state: &OptimiserState) -> Result<()> {
        let find = |slot: &Slot, suffix: &str| state.moment(&format!("{}.{suffix}", slot.name), &slot.var);
        let load = |slot: &Slot| {
            let (m, v) = (find(slot, "m")?, find(slot, "v")?);
            Ok(match &slot.moments {
                Moments::Host(..) => Moments::Host(m.flatten_all()?.to_vec1()?, v.flatten_all()?.to_vec1()?),
                Moments::Tensors(..) => Moments::Tensors(m, v),
            })
        };
        let loaded = self.slots.iter().map(load).collect::<Result<Vec<_>>>()?;
        self.slots.iter_mut().zip(loaded).for_each(|(slot, moments)| slot.moments = moments);
        self.step = state.step;
        Ok(())
    }
}

struct Fused<'a> {
    constants: AdamStep,
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "elbo-adam"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, lp: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        let g = values(g, lg)?;
        let (CpuStorage::F32(p), Some((start, end))) = (p, lp.contiguous_offsets()) else {
            bail!("the optimiser needs variables that are contiguous and f32");
        };
        let p = &mut p[start..end];
        let mut moments = self.moments.borrow_mut();
        let (m, v) = &mut *moments;
        if p.len() != g.len() || p.len() != m.len() {
            bail!("a gradient and its variable have different sizes");
        }
        let half = p.len() / 2;
        let (p0, p1) = p.split_at_mut(half);
        let (m0, m1) = m.split_at_mut(half);
        let (v0, v1) = v.split_at_mut(half);
        let (g0, g1) = g.split_at(half);
        let c = self.constants;
        both(g.len() >= SPLIT_AT, || math::adam(p0, m0, v0, g0, c), || math::adam(p1, m1, v1, g1, c));
        Ok(())
    }
}
