use super::flow::{FlowStep, Kernel, LANES, Lane, STEP_MARGIN, softplus};
use super::math::{self, wide};

/// See [`FlowStep::Radial`].
pub(super) struct Radial;

const MARGIN: f32 = STEP_MARGIN as f32;

/// `|z - z0|`.
#[inline(always)]
fn distance(z: &[Lane], centre: &[Lane]) -> Lane {
    let mut squares = [0.0f32; LANES];
    for (z, centre) in z.iter().zip(centre) {
        for i in 0..LANES {
            squares[i] += (z[i] - centre[i]) * (z[i] - centre[i]);
        }
    }
    squares.map(f32::sqrt)
}

wide! {
    /// See [`Kernel::forward`].
    fn forward(z: &mut [Lane], params: &[Lane], log_det: &mut Lane) {
        let d = z.len();
        let (centre, alpha, inner) = (&params[..d], &params[d], &params[d + 1]);
        let mut bent = distance(z, centre);
        for i in 0..LANES {
            let r = bent[i];
            let (alpha, inner) = (math::softplus(alpha[i]).max(MARGIN), math::softplus(inner[i]).max(MARGIN));
            let (outer, tangential) = (alpha + r, math::ln(inner + r) - math::ln(alpha + r));
            bent[i] = (inner - alpha) / outer;
            let radial = math::ln((r * r + 2.0 * alpha * r + alpha * inner) / (outer * outer));
            log_det[i] += (d as f32 - 1.0) * tangential + radial;
        }
        for (z, centre) in z.iter_mut().zip(centre) {
            for i in 0..LANES {
                z[i] += bent[i] * (z[i] - centre[i]);
            }
        }
    }
}

wide! {
    /// See [`Kernel::backward`].
    fn backward(z: &[Lane], params: &[Lane], g: &mut [Lane], g_log_det: &Lane, d_params: &mut [Lane]) {
        let d = z.len();
        let (centre, alpha_raw, inner_raw) = (&params[..d], &params[d], &params[d + 1]);
        let (r, mut g_bent) = (distance(z, centre), [0.0; LANES]);
        for ((g, z), centre) in g.iter().zip(z).zip(centre) {
            for i in 0..LANES {
                g_bent[i] += g[i] * (z[i] - centre[i]);
            }
        }
        let (d_centre, d_shape) = d_params.split_at_mut(d);
        let (mut bent, mut pull) = ([0.0; LANES], [0.0; LANES]);
        for i in 0..LANES {
            let (alpha, inner) = (math::softplus(alpha_raw[i]), math::softplus(inner_raw[i]));
            let (alpha_free, inner_free) = (alpha > MARGIN, inner > MARGIN);
            let (alpha, inner, r, gl) = (alpha.max(MARGIN), inner.max(MARGIN), r[i], g_log_det[i]);
            let outer = alpha + r;
            bent[i] = (inner - alpha) / outer;
            // log|det| = (d - 1) ln(inner + r) + ln(numerator) - (d + 1) ln(outer)
            let g_numerator = gl / (r * r + 2.0 * alpha * r + alpha * inner);
            let g_swollen = gl * (d as f32 - 1.0) / (inner + r);
            let g_outer = -g_bent[i] * bent[i] / outer - gl * (d as f32 + 1.0) / outer;
            let g_inner = g_bent[i] / outer + g_swollen + g_numerator * alpha;
            let g_alpha = -g_bent[i] / outer + g_outer + g_numerator * (2.0 * r + inner);
            let g_r = g_outer + g_swollen + 2.0 * g_numerator * outer;
            pull[i] = if r > 0.0 { g_r / r } else { 0.0 };
            d_shape[0][i] += if alpha_free { g_alpha * math::sigmoid(alpha_raw[i]) } else { 0.0 };
            d_shape[1][i] += if inner_free { g_inner * math::sigmoid(inner_raw[i]) } else { 0.0 };
        }
        for (((g, z), centre), d_centre) in g.iter_mut().zip(z).zip(centre).zip(d_centre) {
            for i in 0..LANES {
                let difference = bent[i] * g[i] + pull[i] * (z[i] - centre[i]);
                g[i] += difference;
                d_centre[i] -= difference;
            }
        }
    }
}

impl Kernel for Radial {
    const NAME: &'static str = "elbo-radial";
    const STEP: FlowStep = FlowStep::Radial;

    fn forward(z: &mut [Lane], params: &[Lane], log_det: &mut Lane) {
        forward(z, params, log_det);
    }

    fn backward(z: &[Lane], params: &[Lane], g: &mut [Lane], g_log_det: &Lane, d_params: &mut [Lane]) {
        backward(z, params, g, g_log_det, d_params);
    }

    /// The step maps the distance `r` to `R = r (r + inner) / (r + alpha)`. Given `R`, `r` is the positive root of `r^2
    /// + (inner - R) r - alpha R`.
    fn inverse(y: &mut [f64], params: &[f64]) {
        let d = y.len();
        let shape = |raw: f64| softplus(raw).max(STEP_MARGIN);
        let (centre, alpha, inner) = (&params[..d], shape(params[d]), shape(params[d + 1]));
        let image = y.iter().zip(centre).map(|(y, centre)| (y - centre).powi(2)).sum::<f64>().sqrt();
        let c = inner - image;
        let r = 0.5 * ((c * c + 4.0 * alpha * image).sqrt() - c);
        let bent = (alpha - inner) / (r + inner);
        for (y, centre) in y.iter_mut().zip(centre) {
            *y += bent * (*y - centre);
        }
    }
}
