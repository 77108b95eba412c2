//! The table `[front]` of a recipe.

use elbo::front::{Statistic, Taper, WINDOW_LOG2};
use elbo_compiler::front::{Front, Part, linear_edges, mel_edges, spectrum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DataError;

/// A kind of features of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Features {
    /// Logarithms of the energies of bands of the spectrum.
    Spectrum,
    /// Statistics such as the variance and the crest factor.
    Statistics,
    /// The samples themselves.
    Samples,
}

/// The spacing of bands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BandScale {
    /// Bands of equal width in hertz.
    #[default]
    Linear,
    /// Overlapping triangles of equal width on the mel scale, for sounds.
    Mel,
}

/// The factors by which the samples of a segment are multiplied before its spectrum is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaperName {
    /// The Hann window.
    #[default]
    Hann,
    /// The rectangular window.
    Rectangular,
}

/// A statistic of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatisticName {
    /// Logarithm of the variance.
    Variance,
    /// Logarithm of the mean absolute deviation from the mean.
    MeanAbsolute,
    /// Logarithm of the median absolute deviation from the median.
    MedianAbsolute,
    /// Logarithm of the crest factor.
    Crest,
    /// Logarithm of the kurtosis.
    Kurtosis,
    /// Changes of sign for each sample.
    Crossings,
}

impl StatisticName {
    /// All of them, in the order of [`Statistic::ALL`].
    pub const ALL: [Self; 6] =
        [Self::Variance, Self::MeanAbsolute, Self::MedianAbsolute, Self::Crest, Self::Kurtosis, Self::Crossings];

    fn name(self) -> &'static str {
        match self {
            Self::Variance => "variance",
            Self::MeanAbsolute => "mean_absolute",
            Self::MedianAbsolute => "median_absolute",
            Self::Crest => "crest",
            Self::Kurtosis => "kurtosis",
            Self::Crossings => "crossings",
        }
    }
}

/// What a model computes from windows of recordings before it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FrontRecipe {
    /// Kinds of features that are computed from windows of recordings: `spectrum`, `statistics` and `samples`. If there is
    /// none, the rows of the data are taken as they are.
    pub features: Vec<Features>,
    /// Number of samples of a window, in each channel.
    pub window: usize,
    /// Number of samples from the start of a window to that of the next. The default is half a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<usize>,
    /// Samples a second, in hertz. The default is what the recordings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Number of samples of a segment, of which a spectrum is computed: 64, 128, 256, 512 or 1024. The energies of the
    /// segments of a window are averaged. The default is the largest that fits the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<usize>,
    /// Factors by which a segment is multiplied: `hann` or `rectangular`.
    pub taper: TaperName,
    /// Number of bands of each channel's spectrum.
    pub bands: usize,
    /// Spacing of the bands: `linear`, or `mel` for sounds.
    pub scale: BandScale,
    /// Statistics of each channel. By default all of them.
    pub statistics: Vec<StatisticName>,
    /// Number of neighbouring samples that are averaged to one, for features of kind `samples`.
    pub decimate: usize,
    /// Whether the mean of a window is subtracted, for features of kind `samples`.
    pub centre: bool,
    /// Column of times. By default it is recognised; `-` stands for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_column: Option<String>,
    /// Column that says to which machine or recording a row belongs. By default a column called `group`, `machine`,
    /// `record` or `recording`; `-` stands for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_column: Option<String>,
    /// Labels of samples without a fault, where they are not 0 or a word such as `normal`. All others are anomalies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub normal: Vec<String>,
    /// Whether missing samples are taken for gaps that end a stretch of windows, instead of being refused.
    pub gaps: bool,
}

impl Default for FrontRecipe {
    fn default() -> Self {
        Self {
            features: Vec::new(),
            window: 256,
            hop: None,
            rate: None,
            segment: None,
            taper: TaperName::Hann,
            bands: 20,
            scale: BandScale::Linear,
            statistics: StatisticName::ALL.to_vec(),
            decimate: 1,
            centre: true,
            time_column: None,
            group_column: None,
            normal: Vec::new(),
            gaps: false,
        }
    }
}

/// What the recordings determine of a front end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Samples of a window, in each channel.
    pub window: usize,
    /// Samples a second, in hertz, if known.
    pub rate: Option<f64>,
}

impl FrontRecipe {
    /// Whether there is no front end.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.features.is_empty()
    }

    /// Samples from the start of a window to that of the next.
    #[must_use]
    pub fn hop(&self) -> usize {
        self.hop.unwrap_or(self.window / 2).max(1)
    }

    /// The parts of the front end, in the order of the features.
    ///
    /// # Errors
    /// `InvalidOption` if a field is out of its range or does not suit the recordings.
    pub fn parts(&self, shape: &Shape) -> Result<Vec<Part>, DataError> {
        self.features.iter().map(|features| self.part(*features, shape)).collect()
    }

    fn part(&self, features: Features, shape: &Shape) -> Result<Part, DataError> {
        let window = shape.window;
        let refused = |option, expected, found: &dyn std::fmt::Display| {
            Err(DataError::InvalidOption { option, expected, found: found.to_string() })
        };
        match features {
            Features::Spectrum => {
                let log2 = match self.segment {
                    Some(segment) => match segment.checked_ilog2() {
                        Some(log2) if segment.is_power_of_two() && WINDOW_LOG2.contains(&log2) && segment <= window => {
                            log2
                        }
                        _ => {
                            let expected = "64, 128, 256, 512 or 1024 samples, and not more than a window";
                            return refused("front.segment", expected, &segment);
                        }
                    },
                    None => match window.checked_ilog2() {
                        Some(log2) if log2 >= *WINDOW_LOG2.start() => log2.min(*WINDOW_LOG2.end()),
                        _ => return refused("front.window", "at least 64 samples for a spectrum", &window),
                    },
                } as u8;
                if self.bands == 0 {
                    return refused("front.bands", "at least 1 band", &self.bands);
                }
                let edges = match (self.scale, shape.rate) {
                    (BandScale::Linear, _) => linear_edges(log2, self.bands),
                    (BandScale::Mel, Some(rate)) => mel_edges(log2, self.bands, rate),
                    (BandScale::Mel, None) => {
                        let expected = "the rate in hertz, which bands on the mel scale need; give it with --rate";
                        return refused("front.rate", expected, &"none");
                    }
                };
                let taper = match self.taper {
                    TaperName::Hann => Taper::Hann,
                    TaperName::Rectangular => Taper::Rectangular,
                };
                Ok(spectrum(log2, taper, edges, self.scale == BandScale::Mel))
            }
            Features::Statistics => {
                if window > 4096 {
                    return refused("front.window", "at most 4096 samples for statistics", &window);
                }
                let named = Statistic::ALL.into_iter().zip(StatisticName::ALL);
                let wanted = named.filter(|(_, name)| self.statistics.contains(name));
                let wanted: Vec<Statistic> = wanted.map(|(statistic, _)| statistic).collect();
                if wanted.is_empty() {
                    return refused("front.statistics", "at least one statistic", &"none");
                }
                Ok(Part::Statistics(wanted))
            }
            Features::Samples => {
                if self.decimate == 0 || !window.is_multiple_of(self.decimate) {
                    return refused("front.decimate", "a number that divides the window", &self.decimate);
                }
                if window / self.decimate > 1 << 14 {
                    return refused("front.window", "at most 16384 samples after decimation", &window);
                }
                Ok(Part::Samples { decimate: self.decimate, centred: self.centre })
            }
        }
    }
}

/// Names of the features, in their order. Bands are named by their frequencies, or without a rate by their coefficients.
pub(super) fn names(front: &Front, channels: &[String], rate: Option<f64>) -> Vec<String> {
    let mut names = Vec::with_capacity(front.len());
    for (part, channel) in front.parts.iter().flat_map(|part| channels.iter().map(move |channel| (part, channel))) {
        match part {
            Part::Spectrum { bands, edges } => {
                let hertz = rate.map(|rate| rate / f64::from(bands.window_len()));
                let span = if bands.triangular { 2 } else { 1 };
                for ends in edges.windows(span + 1) {
                    let (first, last) = (ends[0], ends[span]);
                    names.push(match hertz {
                        Some(hertz) => format!(
                            "{channel} {}-{} Hz",
                            digits(f64::from(first) * hertz),
                            digits(f64::from(last) * hertz)
                        ),
                        None => format!("{channel} coefficients {first}-{last}"),
                    });
                }
            }
            Part::Statistics(statistics) => {
                let name = |statistic: &Statistic| StatisticName::ALL[*statistic as usize].name().replace('_', " ");
                names.extend(statistics.iter().map(|statistic| format!("{channel} {}", name(statistic))));
            }
            Part::Samples { .. } => {
                names.extend((0..part.len(front.window)).map(|at| format!("{channel} {at}")));
            }
        }
    }
    names
}

/// A frequency with three digits.
fn digits(hertz: f64) -> String {
    let places = (2 - hertz.max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{hertz:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(window: usize) -> Shape {
        Shape { channels: 2, window, rate: None }
    }

    fn recipe(features: &[Features]) -> FrontRecipe {
        FrontRecipe { features: features.to_vec(), ..FrontRecipe::default() }
    }

    #[test]
    fn features_have_names_with_units() {
        let recipe = FrontRecipe {
            bands: 4,
            statistics: vec![StatisticName::Crest, StatisticName::Variance],
            decimate: 64,
            ..recipe(&[Features::Spectrum, Features::Statistics, Features::Samples])
        };
        let front = Front { channels: 2, window: 128, parts: recipe.parts(&shape(128)).unwrap(), standardise: None };
        let channels = ["x", "y"].map(str::to_owned);
        let named = names(&front, &channels, Some(200.0));
        assert_eq!(named.len(), front.len());
        assert_eq!(named[..2], ["x 1.56-26.6 Hz", "x 26.6-51.6 Hz"]);
        assert_eq!(named[8..], ["x variance", "x crest", "y variance", "y crest", "x 0", "x 1", "y 0", "y 1"]);
        assert_eq!(names(&front, &channels, None)[7], "y coefficients 49-65");
    }

    #[test]
    fn what_does_not_suit_the_window_is_refused_with_the_field() {
        let refused = |recipe: FrontRecipe, window: usize| recipe.parts(&shape(window)).unwrap_err().to_string();
        let spectrum = recipe(&[Features::Spectrum]);
        assert!(refused(spectrum.clone(), 63).contains("front.window"));
        let segment = |segment: usize| FrontRecipe { segment: Some(segment), ..spectrum.clone() };
        for wrong in [0, 32, 100, 256, 2048] {
            assert!(refused(segment(wrong), 200).contains("front.segment"), "{wrong}");
        }
        assert!(segment(128).parts(&shape(200)).is_ok());
        assert!(refused(FrontRecipe { bands: 0, ..spectrum.clone() }, 200).contains("front.bands"));
        assert!(refused(FrontRecipe { scale: BandScale::Mel, ..spectrum }, 200).contains("--rate"));
        let samples = recipe(&[Features::Samples]);
        assert!(refused(FrontRecipe { decimate: 3, ..samples.clone() }, 200).contains("front.decimate"));
        assert!(refused(FrontRecipe { decimate: 0, ..samples }, 200).contains("front.decimate"));
        let none = FrontRecipe { statistics: Vec::new(), ..recipe(&[Features::Statistics]) };
        assert!(refused(none, 200).contains("front.statistics"));
        assert!(refused(recipe(&[Features::Statistics]), 5000).contains("front.window"));
    }
}
