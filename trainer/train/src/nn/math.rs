//! Element-wise loops in `f32`. Each is compiled for the baseline instruction set and for AVX2, and chosen at run time.
//! There are no fused multiply-adds, so that both versions give the same bits.

const LANES: usize = 16;

/// Defines a function twice: for the baseline instruction set, and with AVX2, which is used if the processor has it.
macro_rules! wide {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn portable($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    portable($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2.
                    return unsafe { avx2($($arg),*) };
                }
            }
            portable($($arg),*)
        }
    };
}

pub(super) use wide;

/// `exp(x)` for `x` in `[-87, 88]`, with a relative error of at most 2e-7. Other values are clamped to this interval.
/// NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to the nearest integer
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let t = x * std::f32::consts::LOG2_E + MAGIC;
    let n = t - MAGIC;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    let exponent = t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// `ln(1 + t)` for `t` in `[0, 1]`, with a relative error of at most 3e-7. It is the series of `2 artanh(t / (2 + t))`.
#[inline(always)]
fn ln_1p_unit(t: f32) -> f32 {
    let s = t / (2.0 + t);
    let q = s * s;
    let p = 1.0 / 15.0;
    let p = p * q + 1.0 / 13.0;
    let p = p * q + 1.0 / 11.0;
    let p = p * q + 1.0 / 9.0;
    let p = p * q + 1.0 / 7.0;
    let p = p * q + 1.0 / 5.0;
    let p = p * q + 1.0 / 3.0;
    2.0 * (s + s * q * p)
}

/// `ln(x)` for a positive normal `x`, with a relative error of at most 3e-7 or an absolute error of at most 1e-7. NaN
/// if `x` is not positive.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let exponent = (x.to_bits().wrapping_sub(SQRT_HALF) as i32) >> 23;
    // The mantissa is between sqrt(1/2) and sqrt(2), where the series of 2 artanh((m - 1) / (m + 1)) converges fast.
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub((exponent << 23) as u32));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    let p = 1.0 / 9.0;
    let p = p * q + 1.0 / 7.0;
    let p = p * q + 1.0 / 5.0;
    let p = p * q + 1.0 / 3.0;
    let y = 2.0 * (s + s * q * p) + exponent as f32 * std::f32::consts::LN_2;
    if x > 0.0 { y } else { f32::NAN }
}

/// `ln(1 + exp(x))`.
#[inline(always)]
pub(super) fn softplus(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p_unit(exp(-x.abs()))
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let t = exp(-x.abs());
    let numerator = if x < 0.0 { t } else { 1.0 };
    numerator / (1.0 + t)
}

/// `tanh(x)`, with a relative error of at most 1e-6.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let q = x * x;
    let small = x + x * q * (-1.0 / 3.0 + q * (2.0 / 15.0 - q * (17.0 / 315.0)));
    let t = exp(-2.0 * x.abs());
    let large = ((1.0 - t) / (1.0 + t)).copysign(x);
    if q < 0.01 { small } else { large }
}

/// Sums `f(i)` over `0..n` in [`LANES`] partial sums. This order can be vectorised, and it never changes.
#[inline(always)]
fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut acc = [0.0f32; LANES];
    let whole = n - n % LANES;
    for base in (0..whole).step_by(LANES) {
        for (lane, a) in acc.iter_mut().enumerate() {
            *a += f(base + lane);
        }
    }
    let mut tail = 0.0;
    for i in whole..n {
        tail += f(i);
    }
    acc.iter().sum::<f32>() + tail
}

wide! {
    /// `row += bias`.
    fn add(row: &mut [f32], bias: &[f32]) {
        for (r, b) in row.iter_mut().zip(bias) {
            *r += b;
        }
    }
}

wide! {
    /// `row = relu(row + bias)`; NaN stays NaN.
    fn add_relu(row: &mut [f32], bias: &[f32]) {
        for (r, b) in row.iter_mut().zip(bias) {
            let s = *r + b;
            *r = if s < 0.0 { 0.0 } else { s };
        }
    }
}

wide! {
    /// `row = tanh(row + bias)`.
    fn add_tanh(row: &mut [f32], bias: &[f32]) {
        for (r, b) in row.iter_mut().zip(bias) {
            *r = tanh(*r + b);
        }
    }
}

wide! {
    /// `g = gy` where `y > 0`, otherwise 0.
    fn relu_backward(y: &[f32], gy: &[f32], g: &mut [f32]) {
        for ((g, y), gy) in g.iter_mut().zip(y).zip(gy) {
            *g = if *y > 0.0 { *gy } else { 0.0 };
        }
    }
}

wide! {
    /// `g = gy (1 - y^2)`.
    fn tanh_backward(y: &[f32], gy: &[f32], g: &mut [f32]) {
        for ((g, y), gy) in g.iter_mut().zip(y).zip(gy) {
            *g = gy * (1.0 - y * y);
        }
    }
}

wide! {
    /// `sum softplus(l) - x l`.
    fn bernoulli_row(l: &[f32], x: &[f32]) -> f32 {
        let n = l.len().min(x.len());
        let (l, x) = (&l[..n], &x[..n]);
        sum_by(n, |i| softplus(l[i]) - x[i] * l[i])
    }
}

wide! {
    /// `dl = g (sigmoid(l) - x)`.
    fn bernoulli_row_backward(l: &[f32], x: &[f32], g: f32, dl: &mut [f32]) {
        for ((d, l), x) in dl.iter_mut().zip(l).zip(x) {
            *d = g * (sigmoid(*l) - x);
        }
    }
}

wide! {
    /// `1/2 sum (v + (x - m)^2 exp(-v) + ln 2 pi)`.
    fn gaussian_row(m: &[f32], v: &[f32], x: &[f32]) -> f32 {
        let n = m.len().min(v.len()).min(x.len());
        let (m, v, x) = (&m[..n], &v[..n], &x[..n]);
        0.5 * sum_by(n, |i| {
            let e = x[i] - m[i];
            v[i] + e * e * exp(-v[i]) + 1.837_877_1
        })
    }
}

wide! {
    /// The derivatives of `g` times [`gaussian_row`] with respect to `m` and `v`.
    fn gaussian_row_backward(m: &[f32], v: &[f32], x: &[f32], g: f32, dm: &mut [f32], dv: &mut [f32]) {
        for ((((dm, dv), m), v), x) in dm.iter_mut().zip(dv.iter_mut()).zip(m).zip(v).zip(x) {
            let e = m - x;
            let scaled = e * exp(-v);
            *dm = g * scaled;
            *dv = 0.5 * g * (1.0 - e * scaled);
        }
    }
}

/// Half the distance of two of the 256 levels on `[0, 1]`.
const HALF_LEVEL: f32 = 0.5 / 255.0;
/// If `t` is below this value, `-ln(1 - exp(-t))` is computed from its series, and otherwise as `ln(1 + 1 / (exp(t) -
/// 1))`.
const NARROW: f32 = 0.7;

/// The edges `u` and `v` of the level of `x`, and `1 / scale`.
#[inline(always)]
fn edges(m: f32, s: f32, x: f32) -> (f32, f32, f32) {
    let precision = exp(-s);
    let (distance, half) = ((x - m) * precision, HALF_LEVEL * precision);
    (distance + half, distance - half, precision)
}

wide! {
    /// `sum -ln(sigmoid(u) - sigmoid(v))`. The lowest level has all the mass below it, and the highest level all the
    /// mass above it.
    fn logistic_row(m: &[f32], s: &[f32], x: &[f32]) -> f32 {
        let n = m.len().min(s.len()).min(x.len());
        let (m, s, x) = (&m[..n], &s[..n], &x[..n]);
        sum_by(n, |i| {
            let (u, v, precision) = edges(m[i], s[i], x[i]);
            let t = 2.0 * HALF_LEVEL * precision;
            // -ln(1 - exp(-t)) = -ln t + t/2 - t^2/24 + t^4/2880, and -ln t is s + ln 255.
            let q = t * t;
            let narrow = s[i] + 5.541_263_6 + 0.5 * t - q * (1.0 / 24.0 - q * (1.0 / 2880.0));
            let exp_minus_1 = exp(t) - 1.0;
            let wide = ln_1p_unit(if t < NARROW { 1.0 } else { 1.0 / exp_minus_1 });
            let inside = if t < NARROW { narrow } else { wide };
            let above = if x[i] > 1.0 - HALF_LEVEL { 0.0 } else { softplus(-u) };
            let below = if x[i] < HALF_LEVEL { 0.0 } else { softplus(v) };
            let edge = x[i] < HALF_LEVEL || x[i] > 1.0 - HALF_LEVEL;
            above + below + if edge { 0.0 } else { inside }
        })
    }
}

wide! {
    /// The derivatives of `g` times [`logistic_row`] with respect to `m` and `s`.
    fn logistic_row_backward(m: &[f32], s: &[f32], x: &[f32], g: f32, dm: &mut [f32], ds: &mut [f32]) {
        for ((((dm, ds), m), s), x) in dm.iter_mut().zip(ds.iter_mut()).zip(m).zip(s).zip(x) {
            let (u, v, precision) = edges(*m, *s, *x);
            let by_u = if *x > 1.0 - HALF_LEVEL { 0.0 } else { -sigmoid(-u) };
            let by_v = if *x < HALF_LEVEL { 0.0 } else { sigmoid(v) };
            // t / (exp(t) - 1), from its series where the difference would cancel.
            let t = 2.0 * HALF_LEVEL * precision;
            let series = 1.0 - 0.5 * t + t * t * (1.0 / 12.0);
            let ratio = if t < 0.05 { series } else { t / (exp(t) - 1.0) };
            let edge = *x < HALF_LEVEL || *x > 1.0 - HALF_LEVEL;
            *dm = -g * precision * (by_u + by_v);
            *ds = -g * (u * by_u + v * by_v - if edge { 0.0 } else { ratio });
        }
    }
}

wide! {
    /// `1/2 sum (m^2 + exp(v) - 1 - v)`.
    fn kl_row(m: &[f32], v: &[f32]) -> f32 {
        let n = m.len().min(v.len());
        let (m, v) = (&m[..n], &v[..n]);
        0.5 * sum_by(n, |i| m[i] * m[i] + exp(v[i]) - 1.0 - v[i])
    }
}

wide! {
    /// The derivatives of `g` times [`kl_row`] with respect to `m` and `v`.
    fn kl_row_backward(m: &[f32], v: &[f32], g: f32, dm: &mut [f32], dv: &mut [f32]) {
        for (((dm, dv), m), v) in dm.iter_mut().zip(dv.iter_mut()).zip(m).zip(v) {
            *dm = g * m;
            *dv = 0.5 * g * (exp(*v) - 1.0);
        }
    }
}

wide! {
    /// `out = exp(v / 2) e`.
    fn scaled_noise(v: &[f32], e: &[f32], out: &mut [f32]) {
        for ((o, v), e) in out.iter_mut().zip(v).zip(e) {
            *o = exp(0.5 * v) * e;
        }
    }
}

/// The constants of one step of Adam.
#[derive(Clone, Copy)]
pub(super) struct AdamStep {
    /// Learning rate divided by the first moment's bias correction.
    pub rate: f32,
    /// One over the square root of the second moment's bias correction.
    pub root: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    /// The factor by which decoupled weight decay multiplies a parameter.
    pub keep: f32,
}

wide! {
    /// One step of Adam for a range of parameters. All slices have the same length.
    fn adam(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], c: AdamStep) {
        for (((p, m), v), g) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(g) {
            *m = c.beta1 * *m + (1.0 - c.beta1) * g;
            *v = c.beta2 * *v + (1.0 - c.beta2) * (g * g);
            *p = c.keep * *p - c.rate * *m / (v.sqrt() * c.root + c.eps);
        }
    }
}

wide! {
    /// One step of RMSProp for a range of parameters. All slices have the same length.
    fn rmsprop(p: &mut [f32], v: &mut [f32], g: &[f32], rate: f32, decay: f32, eps: f32) {
        for ((p, v), g) in p.iter_mut().zip(v.iter_mut()).zip(g) {
            *v = decay * *v + (1.0 - decay) * (g * g);
            *p -= rate * g / (v.sqrt() + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn functions_are_accurate() {
        for i in -200_000..=200_000 {
            let x = i as f32 * 4e-4;
            let t = f64::from(x);
            let close = |name: &str, got: f32, want: f64, tolerance: f64| {
                let error = (f64::from(got) - want).abs();
                assert!(error <= tolerance * want.abs().max(1e-30), "{name}({x}): {got} {want}");
            };
            close("exp", super::exp(x), t.exp(), 2e-7);
            close("softplus", super::softplus(x), t.max(0.0) + (-t.abs()).exp().ln_1p(), 4e-7);
            close("sigmoid", super::sigmoid(x), 1.0 / (1.0 + (-t).exp()), 4e-7);
            close("tanh", super::tanh(x), t.tanh(), 1e-6);
            if x > 0.0 {
                let error = (f64::from(super::ln(x)) - t.ln()).abs();
                assert!(error <= 1e-7 + 3e-7 * t.ln().abs(), "ln({x}): {error}");
            }
        }
        assert!(super::exp(f32::NAN).is_nan());
        assert!(super::softplus(f32::NAN).is_nan());
        assert!(super::ln(f32::NAN).is_nan() && super::ln(-1.0).is_nan());
        assert_eq!(super::softplus(1e30), 1e30);
        assert_eq!(super::tanh(f32::INFINITY), 1.0);
    }
}
