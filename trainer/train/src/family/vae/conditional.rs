//! Conditional VAE: `p(x|y, z)`, `q(z|x, y)` (Sohn, Lee and Yan 2015), and the divergence that free bits leave to pay.
//!
//! The class joins what encoder and decoder read as a one-hot vector behind the other values: the first layer's weight is
//! `[W U]`, and its affine map `W x + U y + b`. What the functions of [`Vae`] call `x [b, d]` is then `[b, d + classes]`, and
//! the `z` of [`Vae::decode`] `[b, z + classes]`.
//!
//! Where rows come without a class (bounds, scores), `log p(x) >= log 1/C sum_y exp(bound(x|y))`: every class is tried, and
//! all are as likely.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::Vae;
use crate::nn;
use crate::step::Step;

impl Vae {
    /// Number of classes; 0 for an ordinary VAE.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Values and classes of `x`.
    pub(super) fn split(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        if self.classes == 0 {
            return Ok((x.clone(), None));
        }
        let d = self.spec.input;
        Ok((x.narrow(1, 0, d)?.contiguous()?, Some(x.narrow(1, d, self.classes)?)))
    }

    /// The classes of a step's rows, where the model asks for them.
    pub(super) fn classes_of(&self, step: &Step<'_>) -> Result<Option<Tensor>> {
        if self.classes == 0 {
            return Ok(None);
        }
        match step.labels() {
            Some(labels) => one_hot(&labels, self.classes, DType::F32).map(Some),
            None => bail!("a conditional VAE learns from labelled rows, and these have no labels"),
        }
    }

    /// The classes 0, 1 and so on in turn, `[n, classes]`.
    pub(super) fn in_turn(&self, n: usize) -> Result<Option<Tensor>> {
        if self.classes == 0 {
            return Ok(None);
        }
        let labels: Vec<u32> = (0..n).map(|i| (i % self.classes) as u32).collect();
        one_hot(&labels, self.classes, DType::F32).map(Some)
    }

    /// `log 1/C sum_y exp(bound(x, y))` in nats, `[b]`; `bound(x)` without classes.
    pub(super) fn over_classes(&self, x: &Tensor, mut bound: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        if self.classes == 0 {
            return bound(x);
        }
        let of_class = |y| {
            let labels = vec![y; x.dim(0)?];
            bound(&join(x, Some(&one_hot(&labels, self.classes, x.dtype())?))?)
        };
        let bounds = Tensor::stack(&(0..self.classes as u32).map(of_class).collect::<Result<Vec<_>>>()?, 0)?;
        nn::log_mean_exp(&bounds)
    }
}

/// `[b, n]` and `[b, classes]` to `[b, n + classes]`; the former without classes.
///
/// # Errors
/// Numbers of rows, types or devices that differ.
pub fn join(x: &Tensor, class: Option<&Tensor>) -> Result<Tensor> {
    match class {
        None => Ok(x.clone()),
        Some(class) => Tensor::cat(&[x, class], 1),
    }
}

/// Labels as one-hot rows, `[b, classes]`.
///
/// # Errors
/// A label that is not below `classes`.
pub fn one_hot(labels: &[u32], classes: usize, dtype: DType) -> Result<Tensor> {
    let mut values = vec![0.0f32; labels.len() * classes];
    for (row, &label) in values.chunks_exact_mut(classes.max(1)).zip(labels) {
        match row.get_mut(label as usize) {
            Some(value) => *value = 1.0,
            None => bail!("label {label}: expected one below {classes}, the number of classes"),
        }
    }
    Tensor::from_vec(values, (labels.len(), classes), &Device::Cpu)?.to_dtype(dtype)
}

/// `sum_j max(free, 1/b sum_i KL_ij)`, a scalar in nats: the divergences of `N(mu, exp(logvar))`, `[b, z]` each, from the
/// standard normal one that are left to pay.
pub(super) fn paid(mu: &Tensor, logvar: &Tensor, free: f64) -> Result<Tensor> {
    let terms = ((((mu.sqr()? + logvar.exp()?)? - 1.0)? - logvar)? * 0.5)?.mean(0)?;
    // relu(kl - free) + free has the gradient of the larger one, and no trouble at the corner.
    ((terms - free)?.relu()? + free)?.sum_all()
}

#[cfg(test)]
mod tests;
