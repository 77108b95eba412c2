use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::math;

/// The activation function after an affine layer, applied to each element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `a(s) = s`.
    Identity,
    /// `a(s) = max(s, 0)`.
    #[default]
    Relu,
    /// `a(s) = tanh(s)`.
    Tanh,
}

impl Activation {
    /// The factor by which to multiply weights that are uniform in `+-1/sqrt(fan_in)`, so that a hidden layer keeps the
    /// variance of its inputs. The resulting variance is `2 / fan_in` for a rectifier (arXiv 1502.01852, equation 10),
    /// and `1 / fan_in` otherwise.
    pub fn gain(self) -> f64 {
        match self {
            Self::Relu => 6f64.sqrt(),
            Self::Identity | Self::Tanh => 3f64.sqrt(),
        }
    }

    /// `row[j] = a(row[j] + bias[j])`. Both slices have the same length.
    pub(super) fn add_bias(self, row: &mut [f32], bias: &[f32]) {
        match self {
            Self::Identity => math::add(row, bias),
            Self::Relu => math::add_relu(row, bias),
            Self::Tanh => math::add_tanh(row, bias),
        }
    }

    /// `g[j] = gy[j] a'(s_j)`, where the derivative is computed from the output `y[j] = a(s_j)`.
    pub(super) fn backward(self, y: &[f32], gy: &[f32], g: &mut [f32]) {
        match self {
            Self::Identity => g.copy_from_slice(gy),
            Self::Relu => math::relu_backward(y, gy, g),
            Self::Tanh => math::tanh_backward(y, gy, g),
        }
    }
}
