use candle_core::{DType, Device, Result, Tensor, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nn::composed::softplus;

/// The four test energies of the plane (arXiv 1505.05770, table 1). `p(z)` is proportional to `exp(-U(z))`.
///
/// Let `w1 = sin(2 pi z1 / 4)`, `w2 = 3 exp(-((z1 - 1) / 0.6)^2 / 2)` and `w3 = 3 sigmoid((z1 - 1) / 0.3)`. U2 to U4 do
/// not decay along `z1`. Therefore every energy has an additional soft box, `10 sum relu(|z_i| - 4)^2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Energy {
    /// Two sides of a ring with radius 2: `((|z| - 2) / 0.4)^2 / 2 - ln sum_+- exp(-((z1 +- 2) / 0.6)^2 / 2)`.
    U1,
    /// A wave: `((z2 - w1) / 0.4)^2 / 2`.
    U2,
    /// A wave that splits and joins: `-ln sum_i exp(-((z2 - w1 + o_i) / 0.35)^2 / 2)` with `o = 0, w2`.
    U3,
    /// A wave that splits: `-ln [exp(-((z2 - w1) / 0.4)^2 / 2) + exp(-((z2 - w1 + w3) / 0.35)^2 / 2)]`.
    U4,
}

impl Energy {
    /// All four energies.
    pub const ALL: [Self; 4] = [Self::U1, Self::U2, Self::U3, Self::U4];

    /// The name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::U1 => "u1",
            Self::U2 => "u2",
            Self::U3 => "u3",
            Self::U4 => "u4",
        }
    }

    /// `U(z)` with the soft box, in nats: `z [n, 2]` to `[n]`.
    ///
    /// # Errors
    /// Points that are not two-dimensional.
    pub fn potential(self, z: &Tensor) -> Result<Tensor> {
        if z.dim(1)? != 2 {
            bail!("an energy of the plane needs points [n, 2], found {:?}", z.dims());
        }
        let half_square = |x: Tensor, width: f64| (x / width)?.sqr()? * 0.5;
        // -ln(e^-a + e^-b)
        let soft_minimum = |a: Tensor, b: Tensor| &a - softplus(&(&a - b)?)?;
        let (z1, z2) = (z.narrow(1, 0, 1)?.squeeze(1)?, z.narrow(1, 1, 1)?.squeeze(1)?);
        let off_wave = || &z2 - (&z1 * std::f64::consts::FRAC_PI_2)?.sin()?;
        let u = match self {
            Self::U1 => {
                let radius = (z1.sqr()? + z2.sqr()?)?.sqrt()?;
                let sides = soft_minimum(half_square((&z1 - 2.0)?, 0.6)?, half_square((&z1 + 2.0)?, 0.6)?)?;
                (half_square((radius - 2.0)?, 0.4)? + sides)?
            }
            Self::U2 => half_square(off_wave()?, 0.4)?,
            Self::U3 => {
                let bump = (half_square((&z1 - 1.0)?, 0.6)?.neg()?.exp()? * 3.0)?;
                soft_minimum(half_square(off_wave()?, 0.35)?, half_square((off_wave()? + bump)?, 0.35)?)?
            }
            Self::U4 => {
                // 3 sigmoid(x) = 3 / (1 + e^-x), computed by tanh, which does not overflow.
                let rise = ((((&z1 - 1.0)? / 0.6)?.tanh()? + 1.0)? * 1.5)?;
                soft_minimum(half_square(off_wave()?, 0.4)?, half_square((off_wave()? + rise)?, 0.35)?)?
            }
        };
        u + ((z.abs()? - 4.0)?.relu()?.sqr()?.sum(1)? * 10.0)?
    }

    /// `ln Z`, the logarithm of the integral of `exp(-U)` over the plane. It is computed by the trapezoidal rule on a
    /// grid of 0.02 over `[-7, 7]^2`. Outside, the box reduces `exp(-U)` to less than `exp(-90)`.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn log_z(self) -> Result<f64> {
        const SIDE: usize = 701;
        const STEP: f64 = 0.02;
        let at = |i: usize| STEP * i as f64 - 7.0;
        let points: Vec<f64> = (0..SIDE * SIDE).flat_map(|i| [at(i / SIDE), at(i % SIDE)]).collect();
        let points = Tensor::from_vec(points, (SIDE * SIDE, 2), &Device::Cpu)?;
        let total = self.potential(&points)?.neg()?.exp()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok((total * STEP * STEP).ln())
    }
}
