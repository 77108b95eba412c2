//! Front ends: what programs compute from a window of samples before a model reads it.
//!
//! A model with a front end reads features of a window: logarithms of band energies, statistics, or the samples
//! themselves, each standardised. All of it is operations of the model's own programs. So a board passes the samples as its
//! sensor gives them, one proof covers everything from there to the score, and the rows that the model learns from are
//! those that the board computes.

mod rows;

use elbo::front::{Bands, Statistic, Taper};
use elbo::kernel::ConvGeometry;
use elbo::program::{Opcode, ProgramKind, Role};

use crate::calibrate::Ranges;
use crate::graph::{Builder, DenseLayer, FloatModel, FloatProgram, NodeId};
use crate::scales::HEADROOM;
use crate::stimulus::InputRange;

/// The largest logarithm of a front end, in nats.
const LARGEST_LOG: f32 = 24.0;
/// The largest sample.
const LARGEST_SAMPLE: f32 = 32767.0;
/// Standard deviations from the mean, beyond which features are alike.
const FARTHEST: f32 = 15.99;

/// What a program computes from a window, which holds all samples of the first channel, then all of the second, and so on.
/// Samples are whole numbers of 16 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// Channels of a window.
    pub channels: usize,
    /// Samples of each channel.
    pub window: usize,
    /// The kinds of features, in the order of the model's input. Each kind has its features of all channels together.
    pub parts: Vec<Part>,
    /// Mean and standard deviation of every feature. `None` leaves features in their own units.
    pub standardise: Option<[Vec<f32>; 2]>,
}

/// One kind of features.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Logarithms of band energies, averaged over the [segments](Part::segments) of the window.
    Spectrum {
        /// Length of a segment, and how it becomes energies.
        bands: Bands,
        /// Numbers of Fourier coefficients, in ascending order: see [`Bands`].
        edges: Vec<u16>,
    },
    /// Statistics of the window, in the order of [`Statistic::ALL`].
    Statistics(Vec<Statistic>),
    /// The samples.
    Samples {
        /// Number of neighbouring samples that are averaged to one value. It divides the length of the window.
        decimate: usize,
        /// Whether the mean of the window is subtracted.
        centred: bool,
    },
}

impl Part {
    /// Number of features of one channel.
    pub fn len(&self, window: usize) -> usize {
        match self {
            Self::Spectrum { bands, edges } => edges.len() - bands.edges(0) as usize,
            Self::Statistics(statistics) => statistics.len(),
            Self::Samples { decimate, .. } => window / decimate,
        }
    }

    /// First samples of the segments over which the features are averaged. Segments of a spectrum cover the window, and
    /// each begins at most 5/8 of its length after the one before.
    pub fn segments(&self, window: usize) -> Vec<usize> {
        let len = match self {
            Self::Spectrum { bands, .. } => bands.window_len() as usize,
            Self::Statistics(_) | Self::Samples { .. } => window,
        };
        let rest = window.saturating_sub(len);
        let hops = rest.div_ceil((5 * len / 8).max(1));
        (0..=hops).map(|hop| (rest * hop).checked_div(hops).unwrap_or(0)).collect()
    }

    /// The largest magnitude of a feature of one segment.
    fn largest(&self) -> f32 {
        match self {
            Self::Spectrum { .. } | Self::Statistics(_) => LARGEST_LOG,
            Self::Samples { .. } => LARGEST_SAMPLE,
        }
    }
}

impl Front {
    /// Number of features.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| self.channels * part.len(self.window)).sum()
    }

    /// Whether there are no features.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of samples of a window, of all channels together.
    pub fn samples(&self) -> usize {
        self.channels * self.window
    }

    /// Puts the front end before every program that reads a row of data. `data` is the range of the features that the
    /// model reads, to which they are limited. `ranges` are those of the model without the front end; afterwards they are
    /// those of the whole. Returns the range of the data that the whole reads.
    pub(crate) fn prepend(&self, model: &mut FloatModel, ranges: &mut Ranges, data: InputRange) -> InputRange {
        let (InputRange::Real(range) | InputRange::Samples(range)) = data else { return data };
        let layers = Layers::add(self, model, &mut ranges.layers);
        for (program, ranges) in model.programs.iter_mut().zip(&mut ranges.nodes) {
            if program.kind.input_roles().first() != Some(&Role::Data) {
                continue;
            }
            let mut lowering = Lowering { front: self, b: Builder::default(), ranges: Vec::new(), range };
            let features = lowering.features(&layers);
            splice(program, ranges, lowering, features);
        }
        InputRange::Samples(range)
    }
}

/// A program whose output is the row that it reads.
pub fn identity(len: usize) -> FloatProgram {
    let mut b = Builder::default();
    let x = b.input(len);
    b.finish(ProgramKind::Features, &[x])
}

/// Replaces the first input of a program, a row of data, by the last node of a front end.
fn splice(program: &mut FloatProgram, ranges: &mut Vec<f32>, lowering: Lowering<'_>, features: NodeId) {
    let Some(row) = program.nodes.iter().position(|node| node.is_input()) else { return };
    let front = lowering.b.finish(program.kind, &[features]).nodes;
    // The front end stands before all nodes, and the row is no longer one.
    let renamed = |node: NodeId| match node.cmp(&row) {
        std::cmp::Ordering::Less => front.len() + node,
        std::cmp::Ordering::Equal => features,
        std::cmp::Ordering::Greater => front.len() + node - 1,
    };
    program.nodes.remove(row);
    ranges.remove(row);
    program.nodes.iter_mut().flat_map(|node| &mut node.inputs).for_each(|input| *input = renamed(*input));
    program.outputs.iter_mut().for_each(|output| *output = renamed(*output));
    program.nodes.splice(0..0, front);
    ranges.splice(0..0, lowering.ranges);
}

/// The layers of a front end, which all programs share.
struct Layers {
    parts: Vec<PartLayers>,
}

struct PartLayers {
    /// The edges of bands; the average of neighbouring samples.
    own: usize,
    /// The mean over a window, and its copies, one for each value.
    centre: Option<[usize; 2]>,
    /// What is subtracted from every feature, and what the difference is multiplied by.
    standardise: Option<[usize; 2]>,
    /// By what the features are multiplied before they are standardised, so that numbers of a moderate size remain.
    gain: f32,
    /// The largest difference that counts.
    farthest: f32,
}

impl Layers {
    fn add(front: &Front, model: &mut FloatModel, ranges: &mut Vec<f32>) -> Self {
        let mut add = |name: &str, layer: DenseLayer, range: f32| {
            ranges.push(range);
            model.layer(format!("front.{name}"), layer)
        };
        let constant =
            |values: Vec<f32>| DenseLayer { w: vec![0.0; values.len()], out: values.len(), b: values, inp: 1 };
        let largest = |values: &[f32]| values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let mut at = 0;
        let mut parts = Vec::new();
        for part in &front.parts {
            let features = front.channels * part.len(front.window);
            let scale = front.standardise.as_ref().map(|[mean, std]| [mean, std].map(|of| &of[at..at + features]));
            at += features;
            // A power of two, so that a unit of 16 bits stays one sample.
            let gain = match (part, scale) {
                (Part::Samples { .. }, Some([_, std])) => (-largest(std).log2()).round().exp2(),
                _ => 1.0,
            };
            let whole = LARGEST_SAMPLE * gain / HEADROOM;
            let (mut own, mut centre) = (0, None);
            match part {
                Part::Spectrum { edges, .. } => {
                    let edges: Vec<f32> = edges.iter().map(|edge| f32::from(*edge)).collect();
                    // At this range the scale of whole numbers is the finest.
                    own = add("edges", constant(edges), LARGEST_SAMPLE / 2.0);
                }
                Part::Statistics(_) => {}
                Part::Samples { decimate, centred } => {
                    let values = front.window / decimate;
                    let w = vec![gain / *decimate as f32; *decimate];
                    own = add("average", DenseLayer { w, b: vec![0.0], out: 1, inp: *decimate }, whole);
                    centre = centred.then(|| {
                        let mean = vec![1.0 / values as f32; values];
                        let mean = add("mean", DenseLayer { w: mean, b: vec![0.0], out: 1, inp: values }, whole);
                        let copies = DenseLayer { w: vec![1.0; values], b: vec![0.0; values], out: values, inp: 1 };
                        [mean, add("copies", copies, whole)]
                    });
                }
            }
            // Features are sums over segments.
            let count = part.segments(front.window).len() as f32;
            let mut farthest = 0.0;
            let standardise = scale.map(|[mean, std]| {
                let most = if let Part::Samples { .. } = part { f32::INFINITY } else { LARGEST_LOG };
                farthest = (FARTHEST / HEADROOM * largest(std)).min(most) * count * gain;
                let mean: Vec<f32> = mean.iter().map(|mean| mean * count * gain).collect();
                let factor: Vec<f32> = std.iter().map(|std| 1.0 / (std * count * gain)).collect();
                let ranges = [largest(&mean), largest(&factor)];
                [add("means", constant(mean), ranges[0]), add("factors", constant(factor), ranges[1])]
            });
            parts.push(PartLayers { own, centre, standardise, gain, farthest });
        }
        Self { parts }
    }
}

/// The nodes of a front end in one program, with the ranges of their outputs.
struct Lowering<'f> {
    front: &'f Front,
    b: Builder,
    ranges: Vec<f32>,
    /// The range of the features.
    range: f32,
}

impl Lowering<'_> {
    /// States the range of `node` and of those before it that have none.
    fn within(&mut self, range: f32, node: NodeId) -> NodeId {
        self.ranges.resize(node + 1, range);
        node
    }

    fn features(&mut self, layers: &Layers) -> NodeId {
        let x = self.b.input(self.front.samples());
        self.within(LARGEST_SAMPLE, x);
        let mut all: Option<NodeId> = None;
        for (part, layers) in self.front.parts.iter().zip(&layers.parts) {
            let mut features = self.part(part, layers, x);
            if let Some([means, factors]) = layers.standardise {
                let len = self.b.len(features);
                let means = self.b.constant(means, len, x);
                self.within(layers.farthest, means);
                let difference = self.b.map(Opcode::SubVec, 0, &[features, means]);
                self.within(layers.farthest, difference);
                let factors = self.b.constant(factors, len, x);
                self.within(1.0, factors);
                features = self.b.map(Opcode::Mul, 0, &[difference, factors]);
                self.within(self.limit(), features);
            }
            all = Some(match all {
                None => features,
                Some(before) => {
                    let both = self.b.concat(before, features);
                    self.within(self.limit(), both)
                }
            });
        }
        all.unwrap_or(x)
    }

    /// The range of features with the scale that the model reads.
    fn limit(&self) -> f32 {
        match self.front.standardise {
            // Scales are chosen with headroom above a range.
            Some(_) => self.range / HEADROOM,
            None => LARGEST_SAMPLE,
        }
    }

    /// The features of all channels, in their own units.
    fn part(&mut self, part: &Part, layers: &PartLayers, x: NodeId) -> NodeId {
        let Front { channels, window, .. } = *self.front;
        let edges = match part {
            Part::Spectrum { edges, .. } => {
                let edges = self.b.constant(layers.own, edges.len(), x);
                Some(self.within(LARGEST_SAMPLE / 2.0, edges))
            }
            Part::Statistics(_) | Part::Samples { .. } => None,
        };
        let starts = part.segments(window);
        let largest = part.largest() * layers.gain / if edges.is_some() { 1.0 } else { HEADROOM };
        let mut all: Option<NodeId> = None;
        for channel in 0..channels {
            let mut sum: Option<NodeId> = None;
            for (count, start) in starts.iter().enumerate() {
                let len = if let Part::Spectrum { bands, .. } = part { bands.window_len() as usize } else { window };
                let mut samples = x;
                if len < self.front.samples() {
                    samples = self.b.slice(x, channel * window + start, len);
                    self.within(LARGEST_SAMPLE, samples);
                }
                let features = self.segment(part, layers, edges, samples);
                sum = Some(match sum {
                    None => features,
                    Some(before) => {
                        let both = self.b.map(Opcode::AddVec, 0, &[before, features]);
                        self.within(largest * (count + 1) as f32, both)
                    }
                });
            }
            let features = sum.unwrap_or(x);
            all = Some(match all {
                None => features,
                Some(before) => {
                    let both = self.b.concat(before, features);
                    self.within(largest * starts.len() as f32, both)
                }
            });
        }
        all.unwrap_or(x)
    }

    /// The features of some samples of one channel.
    fn segment(&mut self, part: &Part, layers: &PartLayers, edges: Option<NodeId>, samples: NodeId) -> NodeId {
        match part {
            Part::Spectrum { bands, .. } => {
                let logs = self.b.log_bands(*bands, samples, edges.unwrap_or(samples));
                self.within(LARGEST_LOG, logs)
            }
            Part::Statistics(statistics) => {
                let values = self.b.statistics(statistics, samples);
                self.within(LARGEST_LOG, values)
            }
            Part::Samples { decimate, .. } => {
                let values = self.b.len(samples) / decimate;
                let averages = self.b.conv(layers.own, 1, pixels(values), samples);
                let largest = LARGEST_SAMPLE * layers.gain / HEADROOM;
                self.within(largest, averages);
                let Some([mean, copies]) = layers.centre else { return averages };
                let mean = self.b.dense(mean, 1, averages);
                self.within(largest, mean);
                let mean = self.b.dense(copies, values, mean);
                self.within(largest, mean);
                let centred = self.b.map(Opcode::SubVec, 0, &[averages, mean]);
                self.within(largest, centred)
            }
        }
    }
}

/// A layer that is applied to each of `count` groups of neighbouring values: a convolution whose pixels are the groups.
fn pixels(count: usize) -> ConvGeometry {
    let height = (1..=255).rev().find(|height| count.is_multiple_of(*height) && count / height <= 255).unwrap_or(1);
    ConvGeometry {
        height: height as u8,
        width: (count / height).min(255) as u8,
        kernel: 1,
        stride: 1,
        up: 1,
        pad: 0,
        output_padding: 0,
    }
}

/// Edges of `count` bands of equal width over the coefficients 1 to N/2 of a segment of N samples, as far as whole numbers
/// allow. There are at most N/2 bands.
pub fn linear_edges(window_log2: u8, count: usize) -> Vec<u16> {
    let bins = 1usize << (window_log2 - 1);
    let count = count.min(bins).max(1);
    (0..=count).map(|edge| (1 + edge * bins / count) as u16).collect()
}

/// Edges of `count` triangular bands of equal width on the mel scale, from 0 to half the `rate` in Hz: the frequencies
/// `f` of equal steps of `2595 log10(1 + f / 700)` (O'Shaughnessy), rounded to coefficients and moved up where two would be
/// one. There are at most as many bands as coefficients between the first and the last edge.
pub fn mel_edges(window_log2: u8, count: usize, rate: f64) -> Vec<u16> {
    let bins = 1usize << (window_log2 - 1);
    let count = count.min(bins.saturating_sub(1)).max(1);
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let top = mel(rate / 2.0);
    let mut edges: Vec<u16> = Vec::with_capacity(count + 2);
    for at in 0..count + 2 {
        let exact = hertz(top * at as f64 / (count + 1) as f64) / rate * (2 * bins) as f64;
        let least = edges.last().map_or(0, |last| last + 1);
        // As many edges must follow.
        let most = (bins - (count + 1 - at)) as u16;
        edges.push((exact.round() as u16).clamp(least, most.max(least)));
    }
    edges
}

/// The taper and the bands of a spectrum.
pub fn spectrum(window_log2: u8, taper: Taper, edges: Vec<u16>, triangular: bool) -> Part {
    Part::Spectrum { bands: Bands { window_log2, taper, triangular }, edges }
}
