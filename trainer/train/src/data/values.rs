//! Numbers as they were read: in 32 bits where those hold them exactly, else in 64.

use std::path::Path;

use super::DataError;

/// Values of a source, before anything is done to them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Of formats whose numbers fit: bytes, 16-bit integers, halves and floats.
    Single(Vec<f32>),
    /// Of text, doubles and wider integers.
    Double(Vec<f64>),
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Single(v) => v.len(),
            Self::Double(v) => v.len(),
        }
    }

    /// The value at a place.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn at(&self, i: usize) -> f64 {
        match self {
            Self::Single(v) => f64::from(v[i]),
            Self::Double(v) => v[i],
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.len()).map(|i| self.at(i))
    }

    /// Refuses values that 32 bits do not hold as finite numbers, with the place of the first in rows of `width` values.
    pub(super) fn check(&self, path: &Path, width: usize) -> Result<(), DataError> {
        match self.iter().enumerate().find(|(_, v)| !(*v as f32).is_finite()) {
            None => Ok(()),
            Some((at, found)) => Err(DataError::NonFinite {
                path: path.to_owned(),
                row: (at / width) as u64 + 1,
                column: (at % width).to_string(),
                found: found.to_string(),
            }),
        }
    }

    /// The values at these places, in this order.
    pub(super) fn gather(&self, places: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Single(v) => Self::Single(places.map(|i| v[i]).collect()),
            Self::Double(v) => Self::Double(places.map(|i| v[i]).collect()),
        }
    }

    /// The same with values of another source behind them.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Single(mut a), Self::Single(b)) => {
                a.extend(b);
                Self::Single(a)
            }
            (a, b) => Self::Double(a.iter().chain(b.iter()).collect()),
        }
    }
}
