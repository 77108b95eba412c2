use std::convert::Infallible;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use rand_core::{Rng as _, SeedableRng, TryRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A uniform number in `[0, 1)` with 53 random bits.
pub(crate) fn unit<R: rand_core::Rng + ?Sized>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The only source of randomness in the trainer: a xoshiro256++ generator with a seed and a state that can be saved.
///
/// Values are drawn in host memory in `f64` and then converted. A seed therefore gives the same values on every device
/// and, up to rounding, in every float type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// The state of the generator, 32 bytes.
    pub fn state(&self) -> [u8; 32] {
        self.0.state()
    }

    /// The generator with this [`Self::state`].
    pub fn from_state(state: [u8; 32]) -> Self {
        Self(Xoshiro256PlusPlus::from_seed(state))
    }

    /// A uniform number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        unit(&mut self.0)
    }

    /// A uniform number in `0..n`, where `n` is at least 1. The bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// The numbers `0..n` in random order (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// Two independent standard normal numbers (Marsaglia's polar method).
    fn normal_pair(&mut self) -> (f64, f64) {
        loop {
            let (u, v) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = (-2.0 * s.ln() / s).sqrt();
                return (u * scale, v * scale);
            }
        }
    }

    /// Fills a slice with standard normal numbers.
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        for pair in out.chunks_mut(2) {
            let (a, b) = self.normal_pair();
            pair[0] = a as f32;
            if let Some(second) = pair.get_mut(1) {
                *second = b as f32;
            }
        }
    }

    /// Fills `out` with draws from Bernoulli(`p`), which are 0 or 1. A `p` outside `[0, 1]` is clamped, and NaN counts
    /// as 0. The resolution of the probabilities is `2^-32`.
    pub fn fill_bernoulli(&mut self, p: &[f32], out: &mut [f32]) {
        for (p, out) in p.chunks(2).zip(out.chunks_mut(2)) {
            let bits = self.0.next_u64();
            for (k, (p, out)) in p.iter().zip(out).enumerate() {
                let threshold = (f64::from(*p) * 4_294_967_296.0) as u64;
                *out = f32::from(u8::from((bits >> (32 * k)) & 0xffff_ffff < threshold));
            }
        }
    }

    /// Standard normal noise of the given shape.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn normal(&mut self, shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        if dtype == DType::F32 {
            let mut values = vec![0.0f32; shape.elem_count()];
            self.fill_normal(&mut values);
            return Tensor::from_vec(values, shape, device);
        }
        let mut values = Vec::with_capacity(shape.elem_count() + 1);
        while values.len() < shape.elem_count() {
            let (a, b) = self.normal_pair();
            values.extend([a, b]);
        }
        values.truncate(shape.elem_count());
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    /// Uniform values in `[lo, hi)` of the given shape.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn uniform(
        &mut self,
        lo: f64,
        hi: f64,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let values: Vec<f64> = (0..shape.elem_count()).map(|_| lo + (hi - lo) * self.unit()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    }

    /// Draws from Bernoulli(`p`), which are 0 or 1, with the shape, type and device of `p`. See
    /// [`Self::fill_bernoulli`].
    ///
    /// # Errors
    /// Any error of candle.
    pub fn bernoulli(&mut self, p: &Tensor) -> Result<Tensor> {
        let values: Vec<f32> = p.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        let mut out = vec![0.0; values.len()];
        self.fill_bernoulli(&values, &mut out);
        Tensor::from_vec(out, p.shape(), p.device())?.to_dtype(p.dtype())
    }

    /// Weights `[out, inp]` and bias `[out]` of a dense layer, uniform in `+-1/sqrt(inp)`.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn dense(&mut self, inp: usize, out: usize, dtype: DType, device: &Device) -> Result<(Var, Var)> {
        let bound = 1.0 / (inp.max(1) as f64).sqrt();
        let w = self.uniform(-bound, bound, (out, inp), dtype, device)?;
        let b = self.uniform(-bound, bound, out, dtype, device)?;
        Ok((Var::from_tensor(&w)?, Var::from_tensor(&b)?))
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), Infallible> {
        self.0.try_fill_bytes(out)
    }
}
