use std::marker::PhantomData;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dense::{values, with_values};
use super::planar::Planar;
use super::radial::Radial;

/// Lower limit of `1 + w.u'` of a planar step, and of `alpha` and `alpha + beta` of a radial step. It is the runtime's
/// [`elbo::flow::MARGIN`].
pub const STEP_MARGIN: f64 = of_fixed(elbo::flow::MARGIN);
/// Lower limit of `|w|^2` where a planar step divides by it. It is the runtime's [`elbo::flow::NORM_SQUARED_MIN`].
pub const NORM_SQUARED_MIN: f64 = of_fixed(elbo::flow::NORM_SQUARED_MIN);

/// Converts a fixed-point number of the runtime's flows to floating point.
const fn of_fixed(fixed: i64) -> f64 {
    fixed as f64 / (1u64 << elbo::flow::FRAC) as f64
}

/// A step of a flow whose parameters are one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowStep {
    /// `z + u' tanh(w.z + b)` with `w [d]`, `u [d]`, `b [1]` and `u' = u + (softplus(-w.u) - 1) w / max(|w|^2, 1/64)`.
    /// If then `w.u' < -1 + 3/64`, `u'` is changed along `w` until they are equal.
    Planar,
    /// `z + beta (z - z0) / (alpha + |z - z0|)` with `z0 [d]`, `alpha_raw [1]`, `beta_raw [1]`, `alpha =
    /// max(softplus(alpha_raw), 3/64)` and `alpha + beta = max(softplus(beta_raw), 3/64)`.
    Radial,
}

impl FlowStep {
    /// The operation of the runtime that computes this step.
    #[must_use]
    pub fn opcode(self) -> elbo::program::Opcode {
        match self {
            Self::Planar => elbo::program::Opcode::Planar,
            Self::Radial => elbo::program::Opcode::Radial,
        }
    }

    /// Number of parameters of a step in `d` dimensions.
    #[must_use]
    pub fn params(self, d: usize) -> usize {
        match self {
            Self::Planar => 2 * d + 1,
            Self::Radial => d + 2,
        }
    }

    /// The number of steps that have `params [.., K p]`.
    ///
    /// # Errors
    /// Parameters that are not those of a whole number of steps, or of no step.
    pub fn count(self, d: usize, params: &Tensor) -> Result<usize> {
        let (width, step) = (params.dims().last().copied().unwrap_or(0), self.params(d));
        if width == 0 || !width.is_multiple_of(step) {
            bail!("a flow in {d} dimensions takes {step} parameters for each of at least one step, not {width}");
        }
        Ok(width / step)
    }
}

/// Number of rows that a kernel processes at once.
pub(super) const LANES: usize = 16;
/// One number for each of these rows.
pub(super) type Lane = [f32; LANES];

/// One step for [`LANES`] rows at once, with `z [d]` and `params [p]`.
pub(super) trait Kernel: Sync + Send {
    const NAME: &'static str;
    const STEP: FlowStep;
    /// Replaces `z` by its image, and adds `log|det|` to `log_det`.
    fn forward(z: &mut [Lane], params: &[Lane], log_det: &mut Lane);
    /// Computes gradients from the step's input `z`, the gradient of its image `g` and that of `log|det|`. The gradient
    /// of the input replaces `g`, and those of the parameters are added to `d_params`.
    fn backward(z: &[Lane], params: &[Lane], g: &mut [Lane], g_log_det: &Lane, d_params: &mut [Lane]);
    /// Inverts the step for one row.
    fn inverse(y: &mut [f64], params: &[f64]);
}

/// The rows from `from` on of a matrix with `width` columns, as lanes. Lanes beyond the last row do not change.
fn gather(matrix: &[f32], width: usize, from: usize, lanes: &mut [Lane]) {
    for (at, row) in matrix.chunks_exact(width).skip(from).take(LANES).enumerate() {
        lanes.iter_mut().zip(row).for_each(|(lane, v)| lane[at] = *v);
    }
}

fn scatter(lanes: &[Lane], width: usize, from: usize, matrix: &mut [f32]) {
    for (at, row) in matrix.chunks_exact_mut(width).skip(from).take(LANES).enumerate() {
        lanes.iter().zip(row).for_each(|(lane, v)| *v = lane[at]);
    }
}

/// Parameters as lanes, either the same for every row or different for each row.
struct Params<'p> {
    values: &'p [f32],
    width: usize,
    shared: bool,
    lanes: Vec<Lane>,
}

impl<'p> Params<'p> {
    fn new(values: &'p [f32], width: usize, shared: bool) -> Self {
        let lanes = match shared {
            true => values.iter().map(|v| [*v; LANES]).collect(),
            false => vec![[0.0; LANES]; width],
        };
        Self { values, width, shared, lanes }
    }

    fn of_rows(&mut self, from: usize) -> &[Lane] {
        if !self.shared {
            gather(self.values, self.width, from, &mut self.lanes);
        }
        &self.lanes
    }
}

/// All steps as one operation: `z [b, d]` and `params [K p]` or `[b, K p]` to `[b, d + 1]`. The last column is the
/// log-determinant.
struct Flow<K>(PhantomData<K>);

/// See [`Flow`].
pub(super) fn fused(step: FlowStep, z: &Tensor, params: &Tensor) -> Result<Tensor> {
    match step {
        FlowStep::Planar => z.apply_op2(params, Flow::<Planar>(PhantomData)),
        FlowStep::Radial => z.apply_op2(params, Flow::<Radial>(PhantomData)),
    }
}

/// The sizes `b` and `d` of the points, the width of the parameters, and whether all rows share them.
fn shapes(z: &[usize], params: &[usize]) -> Result<(usize, usize, usize, bool)> {
    match (z, params) {
        ([b, d], [width]) => Ok((*b, *d, *width, true)),
        ([b, d], [rows, width]) if rows == b => Ok((*b, *d, *width, false)),
        _ => bail!("flow: points {z:?} and parameters {params:?} do not match"),
    }
}

impl<K: Kernel> CustomOp2 for Flow<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, z: &CpuStorage, lz: &Layout, p: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, d, width, shared) = shapes(lz.dims(), lp.dims())?;
        let (z, mut params) = (values(z, lz)?, Params::new(values(p, lp)?, width, shared));
        let mut out = vec![0.0f32; b * (d + 1)];
        let mut point = vec![[0.0; LANES]; d + 1];
        for from in (0..b).step_by(LANES) {
            let (z_lanes, log_det) = point.split_at_mut(d);
            gather(z, d, from, z_lanes);
            log_det[0] = [0.0; LANES];
            for step in params.of_rows(from).chunks_exact(K::STEP.params(d)) {
                K::forward(z_lanes, step, &mut log_det[0]);
            }
            scatter(&point, d + 1, from, &mut out);
        }
        Ok((CpuStorage::F32(out), Shape::from((b, d + 1))))
    }

    fn bwd(&self, z: &Tensor, p: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, d, width, shared) = shapes(z.dims(), p.dims())?;
        let step = K::STEP.params(d);
        let (mut dz, mut dp) = (vec![0.0f32; b * d], vec![0.0f32; p.elem_count()]);
        with_values([z, p, g], |[z, p, g]| {
            let mut params = Params::new(p, width, shared);
            // The inputs of all steps, and then the last image.
            let mut points = vec![[0.0; LANES]; (width / step + 1) * d];
            let mut gradient = vec![[0.0; LANES]; d + 1];
            let mut d_params = vec![[0.0; LANES]; width];
            for from in (0..b).step_by(LANES) {
                // Lanes beyond the last row have no gradient.
                gradient.fill([0.0; LANES]);
                gather(z, d, from, &mut points[..d]);
                gather(g, d + 1, from, &mut gradient);
                let lanes = params.of_rows(from);
                for (k, params) in lanes.chunks_exact(step).enumerate() {
                    points.copy_within(k * d..(k + 1) * d, (k + 1) * d);
                    K::forward(&mut points[(k + 1) * d..(k + 2) * d], params, &mut [0.0; LANES]);
                }
                if !shared {
                    d_params.fill([0.0; LANES]);
                }
                let (g_point, g_log_det) = gradient.split_at_mut(d);
                for (k, params) in lanes.chunks_exact(step).enumerate().rev() {
                    let d_params = &mut d_params[k * step..(k + 1) * step];
                    K::backward(&points[k * d..(k + 1) * d], params, g_point, &g_log_det[0], d_params);
                }
                scatter(g_point, d, from, &mut dz);
                if !shared {
                    scatter(&d_params, width, from, &mut dp);
                }
            }
            if shared {
                dp.iter_mut().zip(&d_params).for_each(|(sum, lane)| *sum = lane.iter().sum());
            }
            Ok(())
        })?;
        let dz = Tensor::from_vec(dz, z.shape(), z.device())?;
        Ok((Some(dz), Some(Tensor::from_vec(dp, p.shape(), p.device())?)))
    }
}

/// See [`super::flow_inverse`].
pub(super) fn inverse(step: FlowStep, y: &Tensor, params: &Tensor) -> Result<Tensor> {
    let (b, d, width, shared) = shapes(y.dims(), params.dims())?;
    step.count(d, params)?;
    let wide = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (mut rows, params) = (wide(y)?, wide(params)?);
    for (r, row) in rows.chunks_exact_mut(d).enumerate() {
        let own = if shared { &params[..] } else { &params[r * width..(r + 1) * width] };
        for params in own.chunks_exact(step.params(d)).rev() {
            match step {
                FlowStep::Planar => Planar::inverse(row, params),
                FlowStep::Radial => Radial::inverse(row, params),
            }
        }
    }
    Tensor::from_vec(rows, (b, d), y.device())?.to_dtype(y.dtype())
}

/// `ln(1 + exp(x))`.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
