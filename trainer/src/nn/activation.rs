use serde::{Deserialize, Serialize};

/// What follows a dense layer's affine map, element by element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// The value `a(s)`.
    #[inline(always)]
    pub fn value(self, s: f32) -> f32 {
        match self {
            Self::Identity => s,
            Self::Relu => s.max(0.0),
            Self::Tanh => s.tanh(),
        }
    }
}
