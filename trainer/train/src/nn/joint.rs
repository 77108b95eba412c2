use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::Activation;
use super::dense::{both, values, with_values};
use super::math;

/// A result with at least this many elements is shared by two threads.
const SPLIT_AT: usize = 1 << 15;

/// Number of copies, of rows and of columns of the result `[c b, h]`.
type Size = (usize, usize, usize);

/// `a(each + base + rows)` with all three parts.
pub(super) struct Three(pub Activation);

/// `a(each + rows)` if `EACH` is true, otherwise `a(base + rows)`.
pub(super) struct Two<const EACH: bool>(pub Activation);

fn size(each: Option<&Layout>, base: Option<&Layout>, rows: &Layout) -> Result<Size> {
    let (c, h) = rows.shape().dims2()?;
    let b = match (each, base) {
        (_, Some(base)) => base.shape().dims2()?.0,
        (Some(each), None) => each.shape().dims2()?.0 / c.max(1),
        (None, None) => 0,
    };
    let fits = |part: Option<&Layout>, n: usize| part.is_none_or(|part| part.dims() == [n, h]);
    if c == 0 || !fits(each, c * b) || !fits(base, b) {
        let dims = |part: Option<&Layout>| part.map(|part| part.dims().to_vec());
        bail!("joint sum: each {:?}, base {:?}, rows {:?} do not match", dims(each), dims(base), rows.dims());
    }
    Ok((c, b, h))
}

fn forward(
    activation: Activation,
    (c, b, h): Size,
    each: Option<&[f32]>,
    base: Option<&[f32]>,
    rows: &[f32],
) -> (CpuStorage, Shape) {
    let mut out = match each {
        Some(each) => each.to_vec(),
        None => vec![0.0; c * b * h],
    };
    let (top, bottom) = out.split_at_mut(c * b / 2 * h);
    let fill = |part: &mut [f32], from: usize| {
        for (k, row) in part.chunks_exact_mut(h.max(1)).enumerate() {
            let (copy, i) = ((from + k) / b, (from + k) % b);
            match base.map(|base| &base[i * h..(i + 1) * h]) {
                Some(base) if each.is_some() => math::add(row, base),
                Some(base) => row.copy_from_slice(base),
                None => {}
            }
            activation.add_bias(row, &rows[copy * h..(copy + 1) * h]);
        }
    };
    both(c * b * h >= SPLIT_AT, || fill(top, 0), || fill(bottom, c * b / 2));
    (CpuStorage::F32(out), Shape::from((c * b, h)))
}

/// The gradients of `each`, `base` and `rows`, given the gradient `gy` of the result `y`. The first is also that of the
/// sum.
fn backward(activation: Activation, y: &Tensor, gy: &Tensor, rows: &Tensor, based: bool) -> Result<[Tensor; 3]> {
    let (c, h) = rows.dims2()?;
    let b = y.dim(0)? / c;
    let (mut g, mut dbase, mut drows) = (vec![0.0f32; c * b * h], vec![0.0; if based { b * h } else { 0 }], vec![]);
    with_values([y, gy], |[y, gy]| {
        let parallel = c * b * h >= SPLIT_AT;
        let cut = c * b / 2 * h;
        let (top, bottom) = g.split_at_mut(cut);
        let part = |from: &[f32], by: &[f32], into: &mut [f32]| activation.backward(from, by, into);
        both(parallel, || part(&y[..cut], &gy[..cut], top), || part(&y[cut..], &gy[cut..], bottom));
        let copies = || g.chunks_exact((b * h).max(1));
        let (dbase, drows) = (&mut dbase, &mut drows);
        let over_copies = || copies().for_each(|copy| math::add(dbase, copy));
        let over_rows = || {
            *drows = vec![0.0f32; c * h];
            for (copy, sum) in copies().zip(drows.chunks_exact_mut(h.max(1))) {
                copy.chunks_exact(h.max(1)).for_each(|row| math::add(sum, row));
            }
        };
        both(parallel, over_copies, over_rows);
        Ok(())
    })?;
    let device = y.device();
    let dbase = Tensor::from_vec(dbase, (if based { b } else { 0 }, h), device)?;
    Ok([Tensor::from_vec(g, (c * b, h), device)?, dbase, Tensor::from_vec(drows, (c, h), device)?])
}

impl CustomOp3 for Three {
    fn name(&self) -> &'static str {
        "elbo-joint-sum"
    }

    fn cpu_fwd(
        &self,
        each: &CpuStorage,
        le: &Layout,
        base: &CpuStorage,
        lb: &Layout,
        rows: &CpuStorage,
        lr: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let size = size(Some(le), Some(lb), lr)?;
        Ok(forward(self.0, size, Some(values(each, le)?), Some(values(base, lb)?), values(rows, lr)?))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        rows: &Tensor,
        y: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [each, base, rows] = backward(self.0, y, gy, rows, true)?;
        Ok((Some(each), Some(base), Some(rows)))
    }
}

impl<const EACH: bool> CustomOp2 for Two<EACH> {
    fn name(&self) -> &'static str {
        "elbo-joint-sum"
    }

    fn cpu_fwd(&self, part: &CpuStorage, lp: &Layout, rows: &CpuStorage, lr: &Layout) -> Result<(CpuStorage, Shape)> {
        let part = values(part, lp)?;
        let (each, base) = if EACH { (Some(part), None) } else { (None, Some(part)) };
        let size = size(EACH.then_some(lp), (!EACH).then_some(lp), lr)?;
        Ok(forward(self.0, size, each, base, values(rows, lr)?))
    }

    fn bwd(&self, _: &Tensor, rows: &Tensor, y: &Tensor, gy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [each, base, rows] = backward(self.0, y, gy, rows, !EACH)?;
        Ok((Some(if EACH { each } else { base }), Some(rows)))
    }
}
