//! Quantiles of the score on held-out rows: the thresholds that a blob proposes.

use crate::nats::Nats;
use serde::{Deserialize, Serialize};

/// The shares of held-out rows whose quantiles a blob states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Quantile {
    /// 50 %: the median.
    P50,
    /// 90 %.
    P90,
    /// 95 %.
    P95,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
}

impl Quantile {
    /// All of them, in ascending order.
    pub const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P95, Self::P99, Self::P999];

    /// The share of rows that score lower, in thousandths.
    pub const fn per_mille(self) -> u32 {
        match self {
            Self::P50 => 500,
            Self::P90 => 900,
            Self::P95 => 950,
            Self::P99 => 990,
            Self::P999 => 999,
        }
    }

    /// The least number of rows that support this quantile. With `n` rows the quantile of a share `q` needs
    /// `n (1 - q) >= 1`, so that at least one row lies at or above it: 2, 10, 20, 100 and 1000 rows. With fewer, no row
    /// marks where so rare a score begins.
    pub const fn least_rows(self) -> u32 {
        1000 / (1000 - self.per_mille())
    }
}

/// The quantiles of the deterministic score on held-out normal rows, in nats. A quantile that the rows did not support
/// is absent: see [`Quantile::least_rows`].
///
/// In the metadata they are five 64-bit numbers in Q16 nats. The largest 64-bit number, which no score reaches, stands
/// for an absent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(transparent)]
pub struct ScoreQuantiles([i64; 5]);

const ABSENT: i64 = i64::MAX;

impl ScoreQuantiles {
    /// Those of a model without held-out rows: all are absent.
    pub const NONE: Self = Self([ABSENT; 5]);

    /// Quantiles in the order of [`Quantile::ALL`].
    pub fn new(quantiles: [Option<Nats>; 5]) -> Self {
        Self(quantiles.map(|quantile| quantile.map_or(ABSENT, Nats::to_bits)))
    }

    /// The score below which this share of the held-out rows lies, or `None` if there were too few rows to say. An
    /// anomaly detector that gets `None` has no threshold: it must not take 0 for one, because most scores are higher.
    pub fn get(&self, quantile: Quantile) -> Option<Nats> {
        let bits = self.0[quantile as usize];
        (bits != ABSENT).then_some(Nats::from_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_rows_leave_one_row_above() {
        assert_eq!(Quantile::ALL.map(Quantile::least_rows), [2, 10, 20, 100, 1000]);
        for quantile in Quantile::ALL {
            let above = |rows: u32| rows * (1000 - quantile.per_mille());
            assert!(above(quantile.least_rows()) >= 1000 && above(quantile.least_rows() - 1) < 1000, "{quantile:?}");
        }
    }

    #[test]
    fn an_absent_quantile_is_none_and_none_is_not_zero() {
        let nats = |whole: i64| Some(Nats::from_bits(whole << 16));
        let stated = [nats(0), nats(-3), None, nats(7), None];
        let quantiles = ScoreQuantiles::new(stated);
        assert_eq!(Quantile::ALL.map(|quantile| quantiles.get(quantile)), stated);
        assert!(Quantile::ALL.iter().all(|quantile| ScoreQuantiles::NONE.get(*quantile).is_none()));
    }

    /// The metadata of earlier blobs hold five plain numbers.
    #[test]
    fn they_are_encoded_as_five_numbers() {
        let plain = [1_i64 << 16, -5, 0, 3 << 40, i64::MAX];
        let (mut of_plain, mut of_quantiles) = ([0u8; 50], [0u8; 50]);
        let bytes = postcard::to_slice(&plain, &mut of_plain).unwrap();
        let read: ScoreQuantiles = postcard::from_bytes(bytes).unwrap();
        assert_eq!(
            Quantile::ALL.map(|q| read.get(q).map(Nats::to_bits)),
            [Some(1 << 16), Some(-5), Some(0), Some(3 << 40), None]
        );
        assert_eq!(postcard::to_slice(&read, &mut of_quantiles).unwrap(), bytes);
    }
}
