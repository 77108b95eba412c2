use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::Activation;
use super::gemm::Product;

/// The values of a contiguous `f32` tensor in host memory.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("a fused operation needs contiguous tensors"),
    }
}

/// Calls `f` with the values of `tensors`, after making them contiguous.
pub(super) fn with_values<R, const N: usize>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let tensors = tensors.iter().map(|t| t.contiguous()).collect::<Result<Vec<Tensor>>>()?;
    let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut all: [&[f32]; N] = [&[]; N];
    for (slot, (storage, layout)) in all.iter_mut().zip(&guards) {
        *slot = match &**storage {
            candle_core::Storage::Cpu(storage) => values(storage, layout)?,
            _ => bail!("a fused operation needs tensors in host memory"),
        };
    }
    f(all)
}

/// Runs both closures, on two threads if `parallel` is true.
pub(super) fn both(parallel: bool, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    if parallel {
        rayon::join(a, b);
    } else {
        a();
        b();
    }
}

/// `a(x W^T + bias)` as one operation.
pub(super) struct Dense {
    pub activation: Activation,
}

impl CustomOp3 for Dense {
    fn name(&self) -> &'static str {
        "elbo-dense"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, i) = lx.shape().dims2()?;
        let (o, wi) = lw.shape().dims2()?;
        let bo = lb.shape().dims1()?;
        if wi != i || bo != o {
            bail!("linear: x {:?}, w {:?}, bias {:?} do not match", lx.dims(), lw.dims(), lb.dims());
        }
        let (x, w, bias) = (values(x, lx)?, values(w, lw)?, values(bias, lb)?);
        let mut y: Vec<f32> = Vec::with_capacity(b * o);
        let whole = Product::new((b, o, i), y.as_mut_ptr(), (x.as_ptr(), false), (w.as_ptr(), true));
        let finish = |p: Product, bias: &[f32]| {
            // SAFETY: the operands have the stated dimensions, `y` has room for them, and each half writes its own
            // part of it; a row of a half is `p.n` values from its start, written by `run`.
            unsafe {
                p.run();
                for r in 0..p.m {
                    let row = std::slice::from_raw_parts_mut({ p }.dst.add(r * p.dst_rs), p.n);
                    self.activation.add_bias(row, bias);
                }
            }
        };
        if whole.large() {
            let (p, q) = whole.halves();
            let (pb, qb) = if whole.cuts_columns() { bias.split_at(whole.cut()) } else { (bias, bias) };
            both(true, || finish(p, pb), || finish(q, qb));
        } else {
            finish(whole, bias);
        }
        // SAFETY: the products have written all `b * o` values.
        unsafe { y.set_len(b * o) };
        Ok((CpuStorage::F32(y), Shape::from((b, o))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (b, i) = x.dims2()?;
        let o = w.dim(0)?;
        let (mut dx, mut dw, mut db) = (Vec::new(), Vec::new(), Vec::new());
        let (want_x, want_w, want_b) = (x.track_op(), w.track_op(), bias.track_op());
        with_values([x, w, y, gy], |[x, w, y, gy]| {
            let buffer;
            let g = if self.activation == Activation::Identity {
                gy
            } else {
                let mut g = vec![0.0f32; b * o];
                self.activation.backward(y, gy, &mut g);
                buffer = g;
                &buffer[..]
            };
            let mut jobs = [None, None];
            if want_x {
                dx.reserve_exact(b * i);
                let rhs = (w.as_ptr(), false);
                jobs[0] = Some(Product::new((b, i, o), dx.as_mut_ptr(), (g.as_ptr(), false), rhs));
            }
            if want_w {
                dw.reserve_exact(o * i);
                let rhs = (x.as_ptr(), false);
                jobs[1] = Some(Product::new((o, i, b), dw.as_mut_ptr(), (g.as_ptr(), true), rhs));
            }
            let large = jobs.iter().flatten().any(Product::large);
            let halves = jobs.map(|job| job.map(Product::halves));
            let db = &mut db;
            // SAFETY: operands and results have the stated dimensions, and the halves are disjoint.
            let first = || halves.iter().flatten().for_each(|(p, _)| unsafe { p.run() });
            let second = || {
                // SAFETY: as above.
                halves.iter().flatten().for_each(|(_, q)| unsafe { q.run() });
                if want_b {
                    *db = vec![0.0f32; o];
                    g.chunks_exact(o.max(1)).for_each(|row| super::math::add(db, row));
                }
            };
            both(large, first, second);
            // SAFETY: the products have written every value.
            unsafe {
                dx.set_len(if want_x { b * i } else { 0 });
                dw.set_len(if want_w { o * i } else { 0 });
            }
            Ok(())
        })?;
        let device = x.device();
        Ok((
            want_x.then(|| Tensor::from_vec(dx, (b, i), device)).transpose()?,
            want_w.then(|| Tensor::from_vec(dw, (o, i), device)).transpose()?,
            want_b.then(|| Tensor::from_vec(db, o, device)).transpose()?,
        ))
    }
}
