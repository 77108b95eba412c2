//! Conditional VAE, `p(x|y, z)` and `q(z|x, y)` (Sohn, Lee and Yan 2015), and the KL divergence with free bits.
//!
//! The encoder and the decoder read the class as a one-hot vector after their other inputs. The first layer thus has
//! the weight `[W U]` and the affine map `W x + U y + b`. For the functions of [`Vae`], `x [b, d]` becomes `[b, d +
//! classes]`, and the `z` of [`Vae::decode`] becomes `[b, z + classes]`.
//!
//! Bounds and scores read rows without a class. They evaluate every class, with equal prior probabilities: `log p(x) >=
//! log 1/C sum_y exp(bound(x|y))`.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::Vae;
use crate::nn;
use crate::step::Step;

impl Vae {
    /// Number of classes, or 0 for an ordinary VAE.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Splits `x` into the values and the classes.
    pub(super) fn split(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        if self.classes == 0 {
            return Ok((x.clone(), None));
        }
        let d = self.spec.input;
        Ok((x.narrow(1, 0, d)?.contiguous()?, Some(x.narrow(1, d, self.classes)?)))
    }

    /// The one-hot classes of a step's rows, or `None` for an ordinary VAE.
    pub(super) fn classes_of(&self, step: &Step<'_>) -> Result<Option<Tensor>> {
        if self.classes == 0 {
            return Ok(None);
        }
        match step.labels() {
            Some(labels) => one_hot(&labels, self.classes, DType::F32).map(Some),
            None => bail!("a conditional VAE needs labels, but these rows have none"),
        }
    }

    /// One-hot rows of the classes 0, 1 and so on, repeated in this order, `[n, classes]`.
    pub(super) fn in_turn(&self, n: usize) -> Result<Option<Tensor>> {
        if self.classes == 0 {
            return Ok(None);
        }
        let labels: Vec<u32> = (0..n).map(|i| (i % self.classes) as u32).collect();
        one_hot(&labels, self.classes, DType::F32).map(Some)
    }

    /// `log 1/C sum_y exp(bound(x, y))` in nats, `[b]`. Without classes it is `bound(x)`.
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

/// Concatenates `[b, n]` and `[b, classes]` to `[b, n + classes]`. Without classes the result is the former.
///
/// # Errors
/// Different numbers of rows, types or devices.
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

/// `sum_j max(free, 1/b sum_i KL_ij)`, a scalar in nats. `KL_ij` is the divergence of `N(mu, exp(logvar))`, `[b, z]`
/// each, from the standard normal distribution. Free bits count it with this minimum for each dimension.
pub(super) fn free_bits_divergence(mu: &Tensor, logvar: &Tensor, free: f64) -> Result<Tensor> {
    let terms = ((((mu.sqr()? + logvar.exp()?)? - 1.0)? - logvar)? * 0.5)?.mean(0)?;
    // relu(kl - free) + free has the gradient of the larger one, and is defined at the corner.
    ((terms - free)?.relu()? + free)?.sum_all()
}

#[cfg(test)]
mod tests;
