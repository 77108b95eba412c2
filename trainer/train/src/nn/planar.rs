use super::flow::{FlowStep, Kernel, LANES, Lane, NORM_SQUARED_MIN, STEP_MARGIN, softplus};
use super::math::{self, wide};

/// See [`FlowStep::Planar`].
pub(super) struct Planar;

const LEAST: f32 = STEP_MARGIN as f32 - 1.0;
const FLOOR: f32 = NORM_SQUARED_MIN as f32;

/// For one row, `q = w.u'` and the `c` of `u' = u + c w`, given `s = w.u` and `n = |w|^2`.
#[inline(always)]
fn slope(s: f32, n: f32) -> (f32, f32) {
    let c = (math::softplus(-s) - 1.0) / n.max(FLOOR);
    let q = s + c * n;
    if q < LEAST { (LEAST, (LEAST - s) / n) } else { (q, c) }
}

/// The gradients of `s` and `n`, given those of `q` and `c`.
#[inline(always)]
fn slope_backward(s: f32, n: f32, q: f32, c: f32, gq: f32, gc: f32) -> (f32, f32) {
    let over = gc / n;
    let total = (gc + gq * n) / n.max(FLOOR);
    let gs = gq - total * math::sigmoid(-s);
    let gn = gq * c - if n > FLOOR { total * c } else { 0.0 };
    if q <= LEAST { (-over, -over * c) } else { (gs, gn) }
}

#[inline(always)]
fn dot(a: &[Lane], b: &[Lane]) -> Lane {
    let mut sum = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sum[i] += a[i] * b[i];
        }
    }
    sum
}

wide! {
    /// See [`Kernel::forward`].
    fn forward(z: &mut [Lane], params: &[Lane], log_det: &mut Lane) {
        let d = z.len();
        let (w, u, b) = (&params[..d], &params[d..2 * d], &params[2 * d]);
        let (s, n) = (dot(w, u), dot(w, w));
        let mut tanh = dot(w, z);
        let mut along = [0.0; LANES];
        for i in 0..LANES {
            let (q, c) = slope(s[i], n[i]);
            tanh[i] = math::tanh(tanh[i] + b[i]);
            along[i] = tanh[i] * c;
            log_det[i] += math::ln(1.0 + q * (1.0 - tanh[i] * tanh[i]));
        }
        for ((z, w), u) in z.iter_mut().zip(w).zip(u) {
            for i in 0..LANES {
                z[i] += tanh[i] * u[i] + along[i] * w[i];
            }
        }
    }
}

wide! {
    /// See [`Kernel::backward`].
    fn backward(z: &[Lane], params: &[Lane], g: &mut [Lane], g_log_det: &Lane, d_params: &mut [Lane]) {
        let d = z.len();
        let (w, u, b) = (&params[..d], &params[d..2 * d], &params[2 * d]);
        let (s, n) = (dot(w, u), dot(w, w));
        let (a, gu, gw) = (dot(w, z), dot(g, u), dot(g, w));
        let (mut tanh, mut ga, mut gs, mut gn, mut scaled) =
            ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for i in 0..LANES {
            let t = math::tanh(a[i] + b[i]);
            let h = 1.0 - t * t;
            let (q, c) = slope(s[i], n[i]);
            let g_det = g_log_det[i] / (1.0 + q * h);
            // g.u' and, because of the determinant, 1 - t^2.
            let gt = gu[i] + c * gw[i] - 2.0 * t * g_det * q;
            (tanh[i], ga[i], scaled[i]) = (t, gt * h, c * t);
            (gs[i], gn[i]) = slope_backward(s[i], n[i], q, c, g_det * h, t * gw[i]);
        }
        let (dw, rest) = d_params.split_at_mut(d);
        let (du, db) = rest.split_at_mut(d);
        for i in 0..LANES {
            db[0][i] += ga[i];
        }
        for j in 0..d {
            for i in 0..LANES {
                let (w, u, gy) = (w[j][i], u[j][i], g[j][i]);
                du[j][i] += tanh[i] * gy + gs[i] * w;
                dw[j][i] += scaled[i] * gy + ga[i] * z[j][i] + gs[i] * u + 2.0 * gn[i] * w;
                g[j][i] = gy + ga[i] * w;
            }
        }
    }
}

impl Kernel for Planar {
    const NAME: &'static str = "elbo-planar";
    const STEP: FlowStep = FlowStep::Planar;

    fn forward(z: &mut [Lane], params: &[Lane], log_det: &mut Lane) {
        forward(z, params, log_det);
    }

    fn backward(z: &[Lane], params: &[Lane], g: &mut [Lane], g_log_det: &Lane, d_params: &mut [Lane]) {
        backward(z, params, g, g_log_det, d_params);
    }

    /// `a = w.z + b` is the root of `a + w.u' tanh(a) = w.y + b`. The left side increases, and the root is within
    /// `|w.u'|` of the right side.
    fn inverse(y: &mut [f64], params: &[f64]) {
        let d = y.len();
        let (w, u, b) = (&params[..d], &params[d..2 * d], params[2 * d]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (s, n) = (dot(w, u), dot(w, w));
        let mut c = (softplus(-s) - 1.0) / n.max(NORM_SQUARED_MIN);
        let mut q = s + c * n;
        if q < STEP_MARGIN - 1.0 {
            q = STEP_MARGIN - 1.0;
            c = (q - s) / n;
        }
        let image = dot(w, y) + b;
        let (mut low, mut high) = (image - q.abs(), image + q.abs());
        for _ in 0..54 {
            let middle = 0.5 * (low + high);
            if middle + q * middle.tanh() < image { low = middle } else { high = middle }
        }
        let tanh = (0.5 * (low + high)).tanh();
        for ((y, w), u) in y.iter_mut().zip(w).zip(u) {
            *y -= tanh * (u + c * w);
        }
    }
}
