use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};

use super::adam::OptimiserState;
use super::dense::values;
use super::math;

/// The constants of RMSProp. The learning rate is an argument of each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropParams {
    /// Decay of the mean of the squared gradients.
    pub decay: f64,
    /// Constant that is added to the root of this mean.
    pub eps: f64,
}

impl Default for RmsPropParams {
    fn default() -> Self {
        Self { decay: 0.99, eps: 1e-8 }
    }
}

enum Squares {
    /// `f32` in host memory, updated in place.
    Host(Vec<f32>),
    /// Any other type or device.
    Tensor(Tensor),
}

struct Slot {
    name: String,
    var: Var,
    squares: Squares,
}

/// RMSProp (Tieleman and Hinton 2012), not centred and without momentum: `v = d v + (1 - d) g^2`, `p = p - lr g /
/// (sqrt(v) + eps)`. It updates the storage of the variables in place, like [`Adam`](super::Adam).
pub struct RmsProp {
    params: RmsPropParams,
    step: u64,
    slots: Vec<Slot>,
}

impl RmsProp {
    /// An optimiser for these variables. All means of squares are zero.
    ///
    /// # Errors
    /// The means cannot be allocated.
    pub fn new(vars: &[(String, Var)], params: RmsPropParams) -> Result<Self> {
        let slot = |(name, var): &(String, Var)| {
            let squares = match in_place(var) {
                true => Squares::Host(vec![0.0; var.elem_count()]),
                false => Squares::Tensor(var.zeros_like()?),
            };
            Ok(Slot { name: name.clone(), var: var.clone(), squares })
        };
        Ok(Self { params, step: 0, slots: vars.iter().map(slot).collect::<Result<_>>()? })
    }

    /// Takes one step with learning rate `lr`. Variables without a gradient do not change.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        self.step += 1;
        let RmsPropParams { decay, eps } = self.params;
        for slot in &mut self.slots {
            let Some(g) = grads.get(slot.var.as_tensor()) else {
                continue;
            };
            match &mut slot.squares {
                Squares::Host(v) => {
                    let op = Fused { rate: lr as f32, decay: decay as f32, eps: eps as f32, squares: RefCell::new(v) };
                    slot.var.inplace_op2(&g.contiguous()?, &op)?;
                }
                Squares::Tensor(v) => {
                    *v = ((&*v * decay)? + (g.sqr()? * (1.0 - decay))?)?.detach();
                    let update = (g * lr)?.div(&(v.sqrt()? + eps)?)?;
                    slot.var.set(&(slot.var.as_tensor() - update)?.detach())?;
                }
            }
        }
        Ok(())
    }

    /// A copy of the optimiser's state: a tensor `NAME.v` for each variable, with its shape.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn state(&self) -> Result<OptimiserState> {
        let mut tensors = HashMap::new();
        for slot in &self.slots {
            let v = match &slot.squares {
                Squares::Host(v) => Tensor::from_slice(v, slot.var.shape(), &Device::Cpu)?,
                Squares::Tensor(v) => v.copy()?,
            };
            tensors.insert(format!("{}.v", slot.name), v);
        }
        Ok(OptimiserState { step: self.step, tensors })
    }

    /// Restores a saved state. If it fails, nothing has changed.
    ///
    /// # Errors
    /// A mean of squares that is missing or has another shape than its variable.
    pub fn restore(&mut self, state: &OptimiserState) -> Result<()> {
        let load = |slot: &Slot| {
            let v = state.moment(&format!("{}.v", slot.name), &slot.var)?;
            Ok(match slot.squares {
                Squares::Host(_) => Squares::Host(v.flatten_all()?.to_vec1()?),
                Squares::Tensor(_) => Squares::Tensor(v),
            })
        };
        let loaded = self.slots.iter().map(load).collect::<Result<Vec<_>>>()?;
        self.slots.iter_mut().zip(loaded).for_each(|(slot, squares)| slot.squares = squares);
        self.step = state.step;
        Ok(())
    }
}

fn in_place(var: &Var) -> bool {
    var.dtype() == DType::F32 && var.device().is_cpu() && var.is_contiguous()
}

/// Clips every value of a variable to `[-bound, bound]` in place.
///
/// # Errors
/// Any error of candle.
pub fn clip(var: &Var, bound: f64) -> Result<()> {
    match in_place(var) {
        true => var.inplace_op1(&Clip(bound as f32)),
        false => var.set(&var.as_tensor().detach().clamp(-bound, bound)?),
    }
}

/// The values of a variable, for changing them in place.
fn values_mut<'v>(storage: &'v mut CpuStorage, layout: &Layout) -> Result<&'v mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("a variable that is not contiguous f32"),
    }
}

struct Clip(f32);

impl InplaceOp1 for Clip {
    fn name(&self) -> &'static str {
        "elbo-clip"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        values_mut(storage, layout)?.iter_mut().for_each(|v| *v = v.clamp(-self.0, self.0));
        Ok(())
    }
}

struct Fused<'a> {
    rate: f32,
    decay: f32,
    eps: f32,
    squares: RefCell<&'a mut Vec<f32>>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "elbo-rmsprop"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, lp: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        let (p, g) = (values_mut(p, lp)?, values(g, lg)?);
        let mut squares = self.squares.borrow_mut();
        if p.len() != g.len() || p.len() != squares.len() {
            bail!("a gradient of another size than its variable");
        }
        math::rmsprop(p, &mut squares, g, self.rate, self.decay, self.eps);
        Ok(())
    }
}
