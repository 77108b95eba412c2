//! Splits of a data set.

use std::path::Path;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::error::DataError;
use super::kind::Kind;
use super::options::{CalibrationRows, DataOptions};
use super::values::Values;

/// Rows of one split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// Values, row-major `[n, dim]`.
    pub x: Vec<f32>,
    /// Rows; may be 0 for validation and test, never for train.
    pub n: usize,
    /// One label per row, where the source has labels.
    pub labels: Option<Vec<u32>>,
    /// The place of each row in the source, from 0; empty for rows that come from none.
    pub rows: Vec<usize>,
    /// The window of samples of each row, one after another, where a front end makes the rows; else empty.
    pub windows: Vec<i16>,
}

impl Split {
    /// Row `i`, of length `dim`.
    ///
    /// # Panics
    /// If `i >= self.n`.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        assert!(i < self.n, "row {i} of {}", self.n);
        let dim = self.x.len() / self.n;
        &self.x[i * dim..(i + 1) * dim]
    }

    /// The window of samples of row `i`; empty if the rows are not made of windows.
    ///
    /// # Panics
    /// If `i >= self.n`.
    #[must_use]
    pub fn window(&self, i: usize) -> &[i16] {
        assert!(i < self.n, "row {i} of {}", self.n);
        let len = self.windows.len() / self.n;
        &self.windows[i * len..(i + 1) * len]
    }

    /// The rows `indices` of `x` (`[n, dim]`), in that order, each value as `scale` makes it of column and value.
    pub(super) fn gather(
        x: &Values,
        dim: usize,
        labels: Option<&[u32]>,
        indices: &[usize],
        scale: impl Fn(usize, f64) -> f32,
    ) -> Self {
        let mut out = Vec::with_capacity(indices.len() * dim);
        for &i in indices {
            out.extend((0..dim).map(|column| scale(column, x.at(i * dim + column))));
        }
        let labels = labels.map(|l| indices.iter().map(|&i| l[i]).collect());
        Self { x: out, n: indices.len(), labels, rows: indices.to_vec(), windows: Vec::new() }
    }
}

/// Where a row, or a window of a recording, goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To fit on.
    Train,
    /// To choose by.
    Validation,
    /// To say how rare a score is.
    Calibration,
    /// To report on.
    Test,
    /// Nowhere.
    Unused,
}

impl Part {
    /// The part that a field of the split column names.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "train" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Validation),
            "cal" | "calib" | "calibration" => Some(Self::Calibration),
            "test" => Some(Self::Test),
            "unused" => Some(Self::Unused),
            _ => None,
        }
    }
}

/// Row indices of train, validation, calibration and test.
#[derive(Default)]
pub(super) struct Indices {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
    pub calibration: Vec<usize>,
    pub test: Vec<usize>,
}

/// Fisher-Yates with a fixed generator: the same seed gives the same order on every machine.
fn shuffle(indices: &mut [usize], seed: u64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    for i in (1..indices.len()).rev() {
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        indices.swap(i, j as usize);
    }
}

/// `fraction` of `n` rows: at least one where there is one to spare and the fraction is not 0.
fn share(n: usize, fraction: f64) -> usize {
    if fraction == 0.0 || n < 2 {
        return 0;
    }
    ((n as f64 * fraction).round() as usize).clamp(1, n - 1)
}

/// The share of the rows that calibrates, of which `train` are left to train.
fn calibration_share(options: &DataOptions, kind: Kind, train: usize) -> Result<f64, DataError> {
    let share = match options.calibration {
        CalibrationRows::ShareOfLarge { small, .. } if kind == Kind::Table && train < small => 0.0,
        CalibrationRows::Share(share) | CalibrationRows::ShareOfLarge { share, .. } => share,
    };
    if !(0.0..1.0).contains(&share) {
        return Err(DataError::InvalidOption {
            option: "calibration",
            expected: "a share from 0 up to but not including 1",
            found: share.to_string(),
        });
    }
    Ok(f64::from(share))
}

/// Takes `count` random rows out of `train`, but not the last one. The others keep their order.
fn set_aside(train: &mut Vec<usize>, count: usize, seed: u64) -> Vec<usize> {
    let count = count.min(train.len().saturating_sub(1));
    if count == 0 {
        return Vec::new();
    }
    let mut order = train.clone();
    // Another order than that which chose the validation rows.
    shuffle(&mut order, seed.wrapping_add(0x5ca1_ab1e));
    let mut taken = order.split_off(order.len() - count);
    taken.sort_unstable();
    train.retain(|row| taken.binary_search(row).is_err());
    taken
}

/// Assigns `n` rows to splits: by `parts` where given, with the validation rows taken from the end
/// of the shuffled train rows if `parts` names none; else shuffled, 10 % test, `validation_fraction`
/// validation, the rest train. Calibration rows that `parts` does not name are taken from those that are left to train.
///
/// # Errors
/// `InvalidOption` for a fraction outside [0, 1) and `Empty` if no train row is left.
pub(super) fn assign(
    path: &Path,
    n: usize,
    parts: Option<&[Part]>,
    kind: Kind,
    options: &DataOptions,
) -> Result<Indices, DataError> {
    if options.unsplit {
        return Ok(Indices { test: (0..n).collect(), ..Indices::default() });
    }
    let fraction = options.validation_fraction;
    if !(0.0..1.0).contains(&fraction) {
        return Err(DataError::InvalidOption {
            option: "validation_fraction",
            expected: "a number from 0 up to but not including 1",
            found: fraction.to_string(),
        });
    }
    let fraction = f64::from(fraction);
    let of = |part: Part| match parts {
        None => Vec::new(),
        Some(p) => (0..n).filter(|&i| p[i] == part).collect::<Vec<_>>(),
    };
    let mut indices = Indices {
        train: of(Part::Train),
        validation: of(Part::Validation),
        calibration: of(Part::Calibration),
        test: of(Part::Test),
    };
    let whole = if parts.is_none() { n } else { indices.train.len() };
    if parts.is_none() {
        indices.train = (0..n).collect();
        shuffle(&mut indices.train, options.seed);
        let test = share(n, 0.1);
        let validation = share(n, fraction).min((n - test).saturating_sub(1));
        indices.test = indices.train.split_off(n - test);
        indices.validation = indices.train.split_off(n - test - validation);
    } else if indices.validation.is_empty() && fraction > 0.0 {
        shuffle(&mut indices.train, options.seed);
        let kept = indices.train.len() - share(indices.train.len(), fraction);
        indices.validation = indices.train.split_off(kept);
    }
    if indices.calibration.is_empty() {
        let share = calibration_share(options, kind, indices.train.len())?;
        indices.calibration = set_aside(&mut indices.train, self::share(whole, share), options.seed);
    }
    // Rows for a model that is trained already need none to train on.
    if indices.train.is_empty() && options.reading.is_none() {
        return Err(DataError::Empty {
            path: path.to_owned(),
            what: "rows for the train split",
            hint: "mark rows `train` in the split column, or supply more rows",
        });
    }
    Ok(indices)
}
