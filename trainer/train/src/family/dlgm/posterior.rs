//! The Gaussian of the recognition model for one stochastic layer. Its covariance is diagonal, or has a rank-1 term in
//! its inverse.

use candle_core::{Result, Tensor};

use crate::nn;

/// `q(xi_l | v) = N(mu, C)` for a batch (arXiv 1401.4082).
///
/// The inverse covariance of the paper is `C^-1 = D + u u^T` with a diagonal `D`. Here the network computes `logvar =
/// -ln D` and `v = D^-1/2 u`. With `sigma = exp(logvar / 2)` and `s = |v|^2 = u^T D^-1 u` this gives
///
/// ```text
/// C      = diag(sigma) (I + v v^T)^-1 diag(sigma)
/// R      = diag(sigma) (I - kappa v v^T),  R R^T = C,  kappa = 1 / (1 + s + sqrt(1 + s))
/// tr C   = sum sigma^2 (1 - v^2 / (1 + s))
/// ln |C| = sum logvar - ln(1 + s)
/// ```
///
/// With `eta = 1 / (1 + s)` this is the paper's `R = D^-1/2 - [(1 - sqrt eta) / s] D^-1 u u^T D^-1/2`, because `(1 -
/// sqrt eta) / s = kappa`. The form with `kappa` has no 0/0 at `u = 0`. It also gives the paper's `ln |C| = ln eta - ln
/// |D|`. Sampling and the divergence need only a few sums over the layer, and no matrix is inverted.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// Mean, `[b, n]`.
    pub mu: Tensor,
    /// `-ln D`, `[b, n]` (nats). It is the log-variance if `v` is absent or 0.
    pub logvar: Tensor,
    /// `D^-1/2 u`, `[b, n]`. `None` for a diagonal covariance.
    pub v: Option<Tensor>,
}

impl Posterior {
    /// A draw `mu + R eps`, `[b, n]`, from standard normal noise `eps [b, n]`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn draw(&self, eps: &Tensor) -> Result<Tensor> {
        let Some(v) = &self.v else { return nn::reparameterise(&self.mu, &self.logvar, eps) };
        let one_plus_s = (squared_norm(v)? + 1.0)?;
        let kappa = (&one_plus_s + one_plus_s.sqrt()?)?.recip()?;
        let along = (v * eps)?.sum_keepdim(1)?.mul(&kappa)?;
        nn::reparameterise(&self.mu, &self.logvar, &(eps - v.broadcast_mul(&along)?)?)
    }

    /// `KL(N(mu, C) || N(0, I)) = 1/2 (|mu|^2 + tr C - ln |C| - n)` in nats, `[b]` (a term of the paper's free energy).
    ///
    /// # Errors
    /// Any error of candle.
    pub fn kl(&self) -> Result<Tensor> {
        let diagonal = nn::kl_standard_normal(&self.mu, &self.logvar)?;
        let Some(v) = &self.v else { return Ok(diagonal) };
        let one_plus_s = (squared_norm(v)? + 1.0)?;
        let v_part = squared_norm(&(v * (&self.logvar * 0.5)?.exp()?)?)?.div(&one_plus_s)?;
        diagonal + ((one_plus_s.log()? - v_part)? * 0.5)?.squeeze(1)?
    }

    /// `log q(xi | v) - log p(xi)` in nats at `xi = mu + R eps`: all arguments `[b, n]`, the result `[b]`. The
    /// constants of both densities cancel, and `(xi - mu)^T C^-1 (xi - mu) = |eps|^2`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn log_ratio(&self, xi: &Tensor, eps: &Tensor) -> Result<Tensor> {
        let twice = ((xi.sqr()? - eps.sqr()?)? - &self.logvar)?.sum(1)?;
        let twice = match &self.v {
            None => twice,
            Some(v) => (twice + (squared_norm(v)? + 1.0)?.log()?.squeeze(1)?)?,
        };
        twice * 0.5
    }

    /// `k` copies of the batch, one after the other: `[b, n]` to `[k b, n]`.
    pub(super) fn repeat(&self, k: usize) -> Result<Self> {
        let repeat = |t: &Tensor| nn::repeat_rows(t, k);
        Ok(Self { mu: repeat(&self.mu)?, logvar: repeat(&self.logvar)?, v: self.v.as_ref().map(repeat).transpose()? })
    }
}

/// The sum of squares of each row, `[b, n]` to `[b, 1]`.
fn squared_norm(x: &Tensor) -> Result<Tensor> {
    x.sqr()?.sum_keepdim(1)
}

#[cfg(test)]
mod tests;
