//! Exact arithmetic of integers in 128 bits, and products with matrices.

use super::records::Matrix;

/// `value` at `from` fractional bits, at `to` of them, rounded half up.
pub fn rescale(value: i128, from: u32, to: u32) -> i128 {
    match from.checked_sub(to) {
        None | Some(0) => value << (to - from),
        Some(shift) => (value + (1 << (shift - 1))) >> shift,
    }
}

pub fn saturate(value: i128) -> i64 {
    value.clamp(-32768, 32767) as i64
}

/// A result that the definition requires to fit 32 bits.
pub fn word(value: i128) -> i128 {
    assert!(i32::try_from(value).is_ok(), "an intermediate of {value} does not fit 32 bits");
    value
}

/// Nats in 64 bits.
pub fn nats(value: i128) -> i64 {
    i64::try_from(value).expect("nats that fit 64 bits")
}

/// A vector with its fractional bits.
#[derive(Clone, Copy, Default)]
pub struct Vector<'v> {
    pub q: &'v [i64],
    pub frac: u32,
}

impl Vector<'_> {
    pub fn at(&self, i: usize) -> i128 {
        i128::from(self.q[i])
    }

    /// An element at `frac` fractional bits, which are at least its own.
    pub fn aligned(&self, i: usize, frac: u32) -> i128 {
        word(self.at(i) << (frac - self.frac))
    }

    pub fn sum(&self) -> i128 {
        self.q.iter().map(|&q| i128::from(q)).sum()
    }

    pub fn value(&self, i: usize) -> f64 {
        self.q[i] as f64 / f64::from(self.frac).exp2()
    }
}

/// A matrix times a vector, requantised.
pub fn dense(matrix: &Matrix, x: &[i64]) -> Vec<i64> {
    let value = |(row, weights): (usize, &Vec<i64>)| {
        let mut sum = i128::from(matrix.bias[row]);
        for (weight, x) in weights.iter().zip(x) {
            sum = word(sum + i128::from(weight * x));
        }
        saturate((sum * i128::from(matrix.multiplier[row]) + (1 << 31)) >> 32)
    };
    matrix.rows.iter().enumerate().map(value).collect()
}

/// The geometry of a convolution or, if `up` is above 1, of a transposed one.
pub struct Geometry {
    pub height: i64,
    pub width: i64,
    pub kernel: i64,
    pub stride: i64,
    pub up: i64,
    pub pad: i64,
    pub output_padding: i64,
}

impl Geometry {
    pub fn of(imm: u32, param: i32) -> Self {
        let nibble = |shift: u32| i64::from(imm >> shift & 15);
        Self {
            height: i64::from(imm & 0xFF),
            width: i64::from(imm >> 8 & 0xFF),
            kernel: nibble(16),
            stride: nibble(20),
            up: nibble(24),
            pad: nibble(28),
            output_padding: param.into(),
        }
    }

    fn outputs(&self, inputs: i64) -> i64 {
        if self.up > 1 {
            (inputs - 1) * self.up + self.kernel + self.output_padding - 2 * self.pad
        } else {
            (inputs + 2 * self.pad - self.kernel) / self.stride + 1
        }
    }

    /// What output `o` reads along an axis of `inputs` pixels: for every tap of its phase the input pixel, or none
    /// outside the image.
    fn reads(&self, o: i64, inputs: i64) -> Vec<Option<i64>> {
        let inside = |i: i64| (0..inputs).contains(&i).then_some(i);
        (0..self.kernel)
            .filter_map(|k| {
                if self.up > 1 {
                    // Input pixel i contributes to the output i up + k - pad.
                    let scaled = o + self.pad - k;
                    (scaled.rem_euclid(self.up) == 0).then(|| inside(scaled.div_euclid(self.up)))
                } else {
                    Some(inside(o * self.stride + k - self.pad))
                }
            })
            .collect()
    }

    /// Convolves `x` with the matrices of all phases.
    pub fn conv(&self, x: &[i64], matrices: &[Matrix]) -> Vec<i64> {
        let channels = x.len() / (self.height * self.width) as usize;
        let mut out = Vec::new();
        for row in 0..self.outputs(self.height) {
            for col in 0..self.outputs(self.width) {
                let mut patch = Vec::new();
                for y in self.reads(row, self.height) {
                    for x_pixel in self.reads(col, self.width) {
                        match y.zip(x_pixel) {
                            Some((y, at)) => {
                                let start = (y * self.width + at) as usize * channels;
                                patch.extend_from_slice(&x[start..start + channels]);
                            }
                            None => patch.resize(patch.len() + channels, 0),
                        }
                    }
                }
                let phase = row % self.up * self.up + col % self.up;
                out.extend(dense(&matrices[phase as usize], &patch));
            }
        }
        out
    }
}
