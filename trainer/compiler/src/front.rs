//! Front ends: what programs compute from a window of samples before a model reads it.
//!
//! A model with a front end reads features of a window: logarithms of band energies, statistics, or the samples
//! themselves, each standardised. All of it is operations of the model's own programs. So a board passes the samples as its
//! sensor gives them, one proof covers everything from there to the score, and the rows that the model learns from are
//! those that the board computes.

mod layers;
mod rows;

pub use rows::FrontError;

use elbo::front::{Bands, Statistic, Taper};
use elbo::kernel::ConvGeometry;
use elbo::program::{Opcode, ProgramKind, Role};

use crate::calibrate::Ranges;
use crate::graph::{Builder, FloatModel, FloatProgram, NodeId};
use crate::scales::HEADROOM;
use crate::stimulus::InputRange;
use layers::{Layers, PartLayers};

/// The largest logarithm of a front end, in nats.
const LARGEST_LOG: f32 = 24.0;
/// The largest sample.
const LARGEST_SAMPLE: f32 = 32767.0;

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
            Self::Samples { .. } => LARGEST_SAMPLE / HEADROOM,
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
                let edges = self.b.constant(layers.own[0], edges.len(), x);
                Some(self.within(LARGEST_SAMPLE / 2.0, edges))
            }
            Part::Statistics(_) | Part::Samples { .. } => None,
        };
        let starts = part.segments(window);
        let largest = layers.largest;
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
                let features = self.segment(part, layers, channel, edges, samples);
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
    fn segment(
        &mut self,
        part: &Part,
        layers: &PartLayers,
        channel: usize,
        edges: Option<NodeId>,
        samples: NodeId,
    ) -> NodeId {
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
                let [whole, averaged] = layers.centre.map_or([None; 2], |centre| centre.map(Some));
                let samples = self.centred(whole, samples, LARGEST_SAMPLE / HEADROOM);
                let averages = self.b.conv(layers.own[channel], 1, pixels(values), samples);
                self.within(layers.largest, averages);
                // The mean of the samples is a whole number, and that of the averages is not.
                self.centred(averaged, averages, layers.largest)
            }
        }
    }

    /// Values without their mean, which two layers compute.
    fn centred(&mut self, layers: Option<[usize; 2]>, values: NodeId, largest: f32) -> NodeId {
        let Some([mean, copies]) = layers else { return values };
        let mean = self.b.dense(mean, 1, values);
        self.within(largest, mean);
        let mean = self.b.dense(copies, self.b.len(values), mean);
        self.within(largest, mean);
        let centred = self.b.map(Opcode::SubVec, 0, &[values, mean]);
        self.within(largest, centred)
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
