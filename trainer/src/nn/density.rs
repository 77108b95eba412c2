use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::dense::{both, values, with_values};
use super::math;

/// From this many elements on, rows are shared between two threads.
const SPLIT_AT: usize = 1 << 14;

/// The shape of `[b, d]` layouts that must all be equal.
fn same2(name: &str, layouts: &[&Layout]) -> Result<(usize, usize)> {
    let shape = layouts[0].shape().dims2()?;
    if layouts.iter().any(|l| l.dims() != layouts[0].dims()) {
        bail!("{name}: shapes differ: {:?}", layouts.iter().map(|l| l.dims()).collect::<Vec<_>>());
    }
    Ok(shape)
}

/// One value per row, `f(row)`; `d` is the row's length.
fn reduce(b: usize, d: usize, f: impl Fn(usize) -> f32 + Sync) -> (CpuStorage, Shape) {
    let mut out = vec![0.0f32; b];
    let (top, bottom) = out.split_at_mut(b / 2);
    let half = top.len();
    let fill = |part: &mut [f32], from: usize| part.iter_mut().enumerate().for_each(|(r, o)| *o = f(from + r));
    both(b * d >= SPLIT_AT, || fill(top, 0), || fill(bottom, half));
    (CpuStorage::F32(out), Shape::from(b))
}

/// Two matrices `[b, d]` filled row by row, `f(row, first, second)`. An unwanted second one is given as `false`: its
/// rows are empty.
fn rows(b: usize, d: usize, second: bool, f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) -> (Vec<f32>, Vec<f32>) {
    let d2 = if second { d } else { 0 };
    let (mut u, mut v) = (vec![0.0f32; b * d], vec![0.0f32; b * d2]);
    let half = b / 2;
    let (u0, u1) = u.split_at_mut(half * d);
    let (v0, v1) = v.split_at_mut(half * d2);
    let fill = |u: &mut [f32], v: &mut [f32], from: usize| {
        for (r, u) in u.chunks_exact_mut(d.max(1)).enumerate() {
            f(from + r, u, &mut v[r * d2..(r + 1) * d2]);
        }
    };
    both(b * d >= SPLIT_AT, || fill(u0, v0, 0), || fill(u1, v1, half));
    (u, v)
}

fn row(values: &[f32], r: usize, d: usize) -> &[f32] {
    &values[r * d..(r + 1) * d]
}

/// `sum softplus(l) - x l`.
pub(super) struct BernoulliNll;

impl CustomOp2 for BernoulliNll {
    fn name(&self) -> &'static str {
        "elbo-bernoulli-nll"
    }

    fn cpu_fwd(&self, l: &CpuStorage, ll: &Layout, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, d) = same2(self.name(), &[ll, lx])?;
        let (l, x) = (values(l, ll)?, values(x, lx)?);
        Ok(reduce(b, d, |r| math::bernoulli_row(row(l, r, d), row(x, r, d))))
    }

    fn bwd(&self, l: &Tensor, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, d) = l.dims2()?;
        let dl = with_values(l, |l| {
            with_values(x, |x| {
                with_values(g, |g| {
                    Ok(rows(b, d, false, |r, dl, _| {
                        math::bernoulli_row_backward(row(l, r, d), row(x, r, d), g[r], dl);
                    }))
                })
            })
        })?;
        let dx = if x.track_op() { Some(l.neg()?.broadcast_mul(&g.unsqueeze(1)?)?) } else { None };
        Ok((Some(Tensor::from_vec(dl.0, (b, d), l.device())?), dx))
    }
}

/// `1/2 sum (v + (x - m)^2 exp(-v) + ln 2 pi)`.
pub(super) struct GaussianNll;

impl CustomOp3 for GaussianNll {
    fn name(&self) -> &'static str {
        "elbo-gaussian-nll"
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
        let (b, d) = same2(self.name(), &[lm, lv, lx])?;
        let (m, v, x) = (values(m, lm)?, values(v, lv)?, values(x, lx)?);
        Ok(reduce(b, d, |r| math::gaussian_row(row(m, r, d), row(v, r, d), row(x, r, d))))
    }

    fn bwd(
        &self,
        m: &Tensor,
        v: &Tensor,
        x: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (b, d) = m.dims2()?;
        let (dm, dv) = with_values(m, |m| {
            with_values(v, |v| {
                with_values(x, |x| {
                    with_values(g, |g| {
                        Ok(rows(b, d, true, |r, dm, dv| {
                            let (m, v, x) = (row(m, r, d), row(v, r, d), row(x, r, d));
                            math::gaussian_row_backward(m, v, x, g[r], dm, dv);
                        }))
                    })
                })
            })
        })?;
        let dm = Tensor::from_vec(dm, (b, d), m.device())?;
        let dx = if x.track_op() { Some(dm.neg()?) } else { None };
        Ok((Some(dm), Some(Tensor::from_vec(dv, (b, d), m.device())?), dx))
    }
}

/// `1/2 sum (m^2 + exp(v) - 1 - v)`.
pub(super) struct Kl;

impl CustomOp2 for Kl {
    fn name(&self) -> &'static str {
        "elbo-kl"
    }

    fn cpu_fwd(&self, m: &CpuStorage, lm: &Layout, v: &CpuStorage, lv: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, d) = same2(self.name(), &[lm, lv])?;
        let (m, v) = (values(m, lm)?, values(v, lv)?);
        Ok(reduce(b, d, |r| math::kl_row(row(m, r, d), row(v, r, d))))
    }

    fn bwd(&self, m: &Tensor, v: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, d) = m.dims2()?;
        let (dm, dv) = with_values(m, |m| {
            with_values(v, |v| {
                with_values(g, |g| {
                    Ok(rows(b, d, true, |r, dm, dv| {
                        math::kl_row_backward(row(m, r, d), row(v, r, d), g[r], dm, dv);
                    }))
                })
            })
        })?;
        let device = m.device();
        Ok((Some(Tensor::from_vec(dm, (b, d), device)?), Some(Tensor::from_vec(dv, (b, d), device)?)))
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
        let dv = with_values(v, |v| {
            with_values(e, |e| {
                with_values(g, |g| {
                    let mut dv = vec![0.0f32; v.len()];
                    math::scaled_noise(v, e, &mut dv);
                    dv.iter_mut().zip(g).for_each(|(d, g)| *d *= 0.5 * g);
                    Ok(dv)
                })
            })
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
        let dx = with_values(x, |x| {
            with_values(g, |g| {
                Ok(x.iter().zip(g).map(|(x, g)| if inside(*x) { *g } else { 0.0 }).collect::<Vec<f32>>())
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}
