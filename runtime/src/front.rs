//! What the operations of a front end compute from a window of samples.

/// Binary logarithms of the lengths of windows.
pub const WINDOW_LOG2: core::ops::RangeInclusive<u32> = 6..=10;

/// The factors by which the samples of a window are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taper {
    /// 1: the rectangular window.
    Rectangular,
    /// `sin^2(pi n / N)`: the periodic Hann window.
    Hann,
}

/// How an operation `LogBands` turns a window of N samples into band energies. The edges of the bands are numbers of
/// Fourier coefficients, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Binary logarithm of N, in the [range](WINDOW_LOG2).
    pub window_log2: u8,
    /// By what the samples are multiplied.
    pub taper: Taper,
    /// Whether bands are triangles. Band `b` then rises from edge `b` to edge `b + 1` and falls to edge `b + 2`, as those
    /// of mel scales do. Otherwise it holds the coefficients from edge `b` up to, but not including, edge `b + 1`.
    pub triangular: bool,
}

impl Bands {
    /// The field `imm` of the operation.
    pub fn pack(self) -> u32 {
        let hann = matches!(self.taper, Taper::Hann);
        u32::from_le_bytes([self.window_log2, hann.into(), self.triangular.into(), 0])
    }

    /// The inverse of [`Bands::pack`]; `None` if the field is invalid.
    pub fn unpack(imm: u32) -> Option<Self> {
        let [window_log2, hann, triangular, rest] = imm.to_le_bytes();
        let valid = WINDOW_LOG2.contains(&window_log2.into()) && hann < 2 && triangular < 2 && rest == 0;
        let taper = if hann == 1 { Taper::Hann } else { Taper::Rectangular };
        valid.then_some(Self { window_log2, taper, triangular: triangular == 1 })
    }

    /// Samples of a window.
    pub fn window_len(&self) -> u32 {
        1 << self.window_log2
    }

    /// Number of edges of `bands` bands.
    pub fn edges(&self, bands: u32) -> u32 {
        bands.saturating_add(1 + u32::from(self.triangular))
    }
}

/// A statistic of a window of samples. Logarithms are natural and lie above -16, in particular those of a window of equal
/// samples, whose other statistics are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Statistic {
    /// Logarithm of the mean squared deviation from the mean, in squared units of the samples.
    Variance,
    /// Logarithm of the mean absolute deviation from the mean, in units of the samples.
    MeanAbsolute,
    /// Logarithm of the median absolute deviation from the median, in units of the samples. Where the number of samples is
    /// even, a median is the mean of the two middle values.
    MedianAbsolute,
    /// Logarithm of the crest factor: the largest absolute deviation from the mean over the root of the variance.
    Crest,
    /// Logarithm of the kurtosis: the mean fourth power of the deviations from the mean, over the square of the variance.
    Kurtosis,
    /// Changes of the sign of the deviation from the mean, divided by the number of samples. A deviation of 0 counts as
    /// positive.
    Crossings,
}

impl Statistic {
    /// All of them, in the order in which an operation `Statistics` writes those that it is asked for.
    pub const ALL: [Self; 6] =
        [Self::Variance, Self::MeanAbsolute, Self::MedianAbsolute, Self::Crest, Self::Kurtosis, Self::Crossings];

    /// Whether it is the logarithm of a number in units of the samples.
    #[inline]
    pub const fn is_scale(self) -> bool {
        matches!(self, Self::Variance | Self::MeanAbsolute | Self::MedianAbsolute)
    }

    /// The field `imm` of an operation that computes this one alone. Those of several are joined by `|`.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether an operation with this field `imm` computes it.
    #[inline]
    pub const fn is_in(self, imm: u32) -> bool {
        imm & self.bit() != 0
    }
}
