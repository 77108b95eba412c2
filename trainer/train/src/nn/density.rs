use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::dense::{both, values, with_values};
use super::math;

/// Tensors with at least this many elements are shared by two threads.
const SPLIT_AT: usize = 1 << 14;

/// Row `r` of each matrix. A row has `d` values.
fn row<const N: usize>(matrices: [&[f32]; N], r: usize, d: usize) -> [&[f32]; N] {
    matrices.map(|values| &values[r * d..(r + 1) * d])
}

/// Removes the first `d` values from `rest`, and returns them.
fn take_row<'v>(rest: &mut &'v mut [f32], d: usize) -> &'v mut [f32] {
    rest.split_off_mut(..d).unwrap_or_default()
}

/// Maps operands of equal shape `[b, d]` to one value for each row.
fn forward<const N: usize>(
    name: &str,
    operands: [(&CpuStorage, &Layout); N],
    f: impl Fn([&[f32]; N]) -> f32 + Sync,
) -> Result<(CpuStorage, Shape)> {
    let (b, d) = operands[0].1.shape().dims2()?;
    if operands.iter().any(|(_, layout)| layout.dims() != operands[0].1.dims()) {
        bail!("{name}: shapes differ: {:?}", operands.map(|(_, layout)| layout.dims()));
    }
    let mut matrices: [&[f32]; N] = [&[]; N];
    for (slot, (storage, layout)) in matrices.iter_mut().zip(operands) {
        *slot = values(storage, layout)?;
    }
    let mut out = vec![0.0f32; b];
    let (top, bottom) = out.split_at_mut(b / 2);
    let half = top.len();
    let fill = |part: &mut [f32], from: usize| {
        part.iter_mut().enumerate().for_each(|(r, o)| *o = f(row(matrices, from + r, d)));
    };
    both(b * d >= SPLIT_AT, || fill(top, 0), || fill(bottom, half));
    Ok((CpuStorage::F32(out), Shape::from(b)))
}

/// The gradients of the first `G` operands of [`forward`], given the gradient of its result. `f` receives the rows, the
/// gradient and where to write.
fn backward<const N: usize, const G: usize>(
    operands: [&Tensor; N],
    g: &Tensor,
    f: impl Fn([&[f32]; N], f32, [&mut [f32]; G]) + Sync,
) -> Result<[Tensor; G]> {
    let (b, d) = operands[0].dims2()?;
    let half = b / 2;
    let mut gradients = [(); G].map(|()| vec![0.0f32; b * d]);
    let empty = || [(); G].map(|()| Default::default());
    let (mut top, mut bottom): ([&mut [f32]; G], [&mut [f32]; G]) = (empty(), empty());
    for ((gradient, top), bottom) in gradients.iter_mut().zip(&mut top).zip(&mut bottom) {
        (*top, *bottom) = gradient.split_at_mut(half * d);
    }
    with_values([g], |[g]| {
        with_values(operands, |matrices| {
            let fill = |mut parts: [&mut [f32]; G], rows: Range<usize>| {
                for r in rows {
                    f(row(matrices, r, d), g[r], parts.each_mut().map(|part| take_row(part, d)));
                }
            };
            both(b * d >= SPLIT_AT, || fill(top, 0..half), || fill(bottom, half..b));
            Ok(())
        })
    })?;
    let mut tensors = Vec::with_capacity(G);
    for gradient in gradients {
        tensors.push(Tensor::from_vec(gradient, (b, d), operands[0].device())?);
    }
    tensors.try_into().map_err(|_| candle_core::Error::Msg("a gradient is missing".into()))
}

/// `sum softplus(l) - x l`.
pub(super) struct BernoulliNll;

impl CustomOp2 for BernoulliNll {
    fn name(&self) -> &'static str {
        "elbo-bernoulli-nll"
    }

    fn cpu_fwd(&self, l: &CpuStorage, ll: &Layout, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        forward(self.name(), [(l, ll), (x, lx)], |[l, x]| math::bernoulli_row(l, x))
    }

    fn bwd(&self, l: &Tensor, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dl] = backward([l, x], g, |[l, x], g, [dl]| math::bernoulli_row_backward(l, x, g, dl))?;
        let dx = if x.track_op() { Some(l.neg()?.broadcast_mul(&g.unsqueeze(1)?)?) } else { None };
        Ok((Some(dl), dx))
    }
}

/// Writes the gradients of `m` and `v`, given a row of `m`, `v` and `x` and the gradient of its value.
type RowBackward = fn(&[f32], &[f32], &[f32], f32, &mut [f32], &mut [f32]);

/// `-ln p(x)` summed over a row, where `p` has location `m` and scale `v`. The gradient of `x` is minus that of `m`.
pub(super) struct LocationScaleNll {
    name: &'static str,
    row: fn(&[f32], &[f32], &[f32]) -> f32,
    row_backward: RowBackward,
}

/// `1/2 sum (v + (x - m)^2 exp(-v) + ln 2 pi)`.
pub(super) const GAUSSIAN_NLL: LocationScaleNll =
    LocationScaleNll { name: "elbo-gaussian-nll", row: math::gaussian_row, row_backward: math::gaussian_row_backward };

/// The negative log-likelihood of the discretised logistic distribution, `sum -ln(sigmoid(u) - sigmoid(v))`.
pub(super) const LOGISTIC_NLL: LocationScaleNll =
    LocationScaleNll { name: "elbo-logistic-nll", row: math::logistic_row, row_backward: math::logistic_row_backward };

impl CustomOp3 for LocationScaleNll {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        m: &CpuStorage,
        lm: &Layout,
        v: &CpuStorage,
        lv: &Layout,
        x: &CpuStorage,
        lx: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward(self.name, [(m, lm), (v, lv), (x, lx)], |[m, v, x]| (self.row)(m, v, x))
    }

    fn bwd(
        &self,
        m: &Tensor,
        v: &Tensor,
        x: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let row = |[m, v, x]: [&[f32]; 3], g, [dm, dv]: [&mut [f32]; 2]| {
            (self.row_backward)(m, v, x, g, dm, dv);
        };
        let [dm, dv] = backward([m, v, x], g, row)?;
        let dx = if x.track_op() { Some(dm.neg()?) } else { None };
        Ok((Some(dm), Some(dv), dx))
    }
}

/// `1/2 sum (m^2 + exp(v) - 1 - v)`.
pub(super) struct Kl;

impl CustomOp2 for Kl {
    fn name(&self) -> &'static str {
        "elbo-kl"
    }

    fn cpu_fwd(&self, m: &CpuStorage, lm: &Layout, v: &CpuStorage, lv: &Layout) -> Result<(CpuStorage, Shape)> {
        forward(self.name(), [(m, lm), (v, lv)], |[m, v]| math::kl_row(m, v))
    }

    fn bwd(&self, m: &Tensor, v: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dm, dv] = backward([m, v], g, |[m, v], g, [dm, dv]| math::kl_row_backward(m, v, g, dm, dv))?;
        Ok((Some(dm), Some(dv)))
    }
}

/// `m + exp(v / 2) e`.
pub(super) struct Reparameterise;

impl CustomOp3 for Reparameterise {
    fn name(&self) -> &'static str {
        "elbo-reparameterise"
    }

    fn cpu_fwd(
        &self,
        m: &CpuStorage,
        lm: &Layout,
        v: &CpuStorage,
        lv: &Layout,
        e: &CpuStorage,
        le: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if lm.dims() != lv.dims() || lm.dims() != le.dims() {
            bail!("{}: shapes differ: {:?} {:?} {:?}", self.name(), lm.dims(), lv.dims(), le.dims());
        }
        let mut z = vec![0.0f32; lm.shape().elem_count()];
        math::scaled_noise(values(v, lv)?, values(e, le)?, &mut z);
        math::add(&mut z, values(m, lm)?);
        Ok((CpuStorage::F32(z), lm.shape().clone()))
    }

    fn bwd(
        &self,
        m: &Tensor,
        v: &Tensor,
        e: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dv = with_values([v, e, g], |[v, e, g]| {
            let mut dv = vec![0.0f32; v.len()];
            math::scaled_noise(v, e, &mut dv);
            dv.iter_mut().zip(g).for_each(|(d, g)| *d *= 0.5 * g);
            Ok(dv)
        })?;
        let dv = Tensor::from_vec(dv, m.shape(), m.device())?;
        let de = if e.track_op() { Some(g.mul(&(v * 0.5)?.exp()?)?) } else { None };
        Ok((Some(g.clone()), Some(dv), de))
    }
}

/// `min(max(x, lo), hi)`; NaN stays NaN.
pub(super) struct Clamp {
    pub lo: f32,
    pub hi: f32,
}

impl CustomOp1 for Clamp {
    fn name(&self) -> &'static str {
        "elbo-clamp"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        let clamped = values(x, lx)?.iter().map(|x| x.clamp(self.lo, self.hi)).collect();
        Ok((CpuStorage::F32(clamped), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let inside = |x: f32| x >= self.lo && x <= self.hi;
        let dx = with_values([x, g], |[x, g]| {
            Ok(x.iter().zip(g).map(|(x, g)| if inside(*x) { *g } else { 0.0 }).collect::<Vec<f32>>())
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}
