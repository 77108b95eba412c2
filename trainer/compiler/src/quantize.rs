//! Quantisation of dense layers: 8-bit weights with one scale per row, and the multiplier from which this scale is
//! derived exactly. 16-bit weights are two layers of 8 bits. The second contains the remainder, the weights minus their
//! 8-bit rounding.

use crate::assemble::QuantizedMatrix;
use crate::graph::{DenseLayer, FloatModel, Immediate, Node};
use crate::stimulus::InputRange;
use elbo::bounds::FULL;
use elbo::coupling::CouplingStack;
use elbo::program::Opcode;
use serde::{Deserialize, Serialize};

/// Number of bits of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum WeightBits {
    /// One matrix per layer.
    Eight,
    /// Two matrices per layer, whose products are added; for a coupling one matrix with twice the columns. This takes
    /// twice the flash and the time, and reduces the error of the weights to 1/254.
    Sixteen,
}

impl WeightBits {
    /// Largest number of weights of a model that has 16 bits by default. They take 128 KiB of flash.
    pub const MOST_BY_DEFAULT: usize = 1 << 16;

    /// The number of bits that suits `model` if nobody chooses one: 16 for real-valued rows, 8 for pixels and for a
    /// model of more than [`Self::MOST_BY_DEFAULT`] weights.
    ///
    /// A density of real-valued rows divides squared errors by variances, so that an error of the weights is amplified
    /// without limit, most of all on rows far from the training data. The likelihood of a pixel is less sensitive.
    pub fn by_default(model: &FloatModel, data: InputRange) -> Self {
        let weights: usize = model.layers.iter().map(|layer| layer.w.len()).sum();
        match data {
            InputRange::Real(_) if weights <= Self::MOST_BY_DEFAULT => Self::Sixteen,
            InputRange::Real(_) | InputRange::Unit | InputRange::Samples(_) => Self::Eight,
        }
    }
}

impl TryFrom<u8> for WeightBits {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        match bits {
            8 => Ok(Self::Eight),
            16 => Ok(Self::Sixteen),
            other => Err(format!("weights have 8 or 16 bits, not {other}")),
        }
    }
}

impl From<WeightBits> for u8 {
    fn from(bits: WeightBits) -> Self {
        match bits {
            WeightBits::Eight => 8,
            WeightBits::Sixteen => 16,
        }
    }
}

impl std::str::FromStr for WeightBits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u8>().map_err(|e| e.to_string())?.try_into()
    }
}

/// The scales of a layer's inputs and outputs. They have no meaning for the layers of couplings, whose scales are
/// fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerScale {
    /// Fractional bits of its inputs.
    pub input: u32,
    /// Largest |q| of its inputs.
    pub input_bound: u16,
    /// Fractional bits of its outputs.
    pub output: u32,
}

/// The matrices of a model: one for every layer, followed by those of the remainders if weights have 16 bits.
#[derive(Clone, Debug)]
pub struct Matrices {
    /// All matrices.
    pub all: Vec<QuantizedMatrix>,
    /// For every layer the index of its remainder matrix, if it has one.
    pub remainders: Vec<Option<usize>>,
}

/// Sets the number of weight bits of the couplings of `model`.
pub fn set_weight_bits(model: &mut FloatModel, bits: WeightBits) {
    for node in model.programs.iter_mut().flat_map(|program| &mut program.nodes) {
        if let Immediate::Stack(stack) = &mut node.imm {
            stack.sixteen = bits == WeightBits::Sixteen;
        }
    }
}

/// Quantises every layer of `model` at its scale.
pub fn quantize_model(model: &FloatModel, scales: &[LayerScale], bits: WeightBits) -> Matrices {
    let coupled = model.coupled();
    let layers = model.layers.iter().zip(scales).zip(&coupled);
    let one = |((layer, scale), coupled): ((&DenseLayer, &LayerScale), &bool)| {
        if *coupled { quantize_coupled(layer, bits) } else { quantize(layer, *scale) }
    };
    let mut all: Vec<QuantizedMatrix> = layers.map(one).collect();
    let mut remainders = vec![None; all.len()];
    for layer in 0..all.len() {
        if bits == WeightBits::Sixteen && !coupled[layer] && leaves_remainder(model, layer) {
            remainders[layer] = Some(all.len());
            let rest = remainder(&model.layers[layer], &all[layer], scales[layer]);
            all.push(quantize(&rest, scales[layer]));
        }
    }
    Matrices { all, remainders }
}

/// Whether a layer has a remainder after rounding to 8 bits. A row whose weights are all equal, or a single one, has none,
/// because the row has a scale of its own. All phases of a convolution are treated alike.
fn leaves_remainder(model: &FloatModel, layer: usize) -> bool {
    let mut nodes = model.programs.iter().flat_map(|program| &program.nodes);
    let several = |node: &Node| node.opcode() == Some(Opcode::Conv) && node.layers().len() > 1;
    let phases = nodes.any(|node| several(node) && node.layers().contains(&layer));
    let layer = &model.layers[layer];
    phases || layer.w.chunks(layer.inp.max(1)).any(|row| row.iter().any(|w| *w != row[0]))
}

/// The weights and biases of `layer` minus those of the rounded `matrix`.
fn remainder(layer: &DenseLayer, matrix: &QuantizedMatrix, scale: LayerScale) -> DenseLayer {
    let unit = unit(scale);
    let mut rest = layer.clone();
    for (row, multiplier) in matrix.multiplier.iter().enumerate() {
        let step = f64::from(*multiplier) * unit;
        let weights = row * layer.inp..(row + 1) * layer.inp;
        for (w, q) in rest.w[weights.clone()].iter_mut().zip(&matrix.weights[weights]) {
            *w = (f64::from(*w) - f64::from(*q) * step) as f32;
        }
        let bias = f64::from(matrix.bias[row]) * step / 2f64.powi(scale.input as i32);
        rest.b[row] = (f64::from(layer.b[row]) - bias) as f32;
    }
    rest
}

/// The weight scale that belongs to a multiplier of 1.
fn unit(scale: LayerScale) -> f64 {
    2f64.powi(scale.input as i32 - scale.output as i32 - 32)
}

/// Quantises `layer` for inputs and outputs at `scale`. Since `y = acc m / 2^32` at the output's scale, the weight
/// scale of a row is exactly `m 2^(input - output - 32)`.
pub fn quantize(layer: &DenseLayer, scale: LayerScale) -> QuantizedMatrix {
    let mut matrix = QuantizedMatrix {
        rows: layer.out,
        cols: layer.inp,
        input_bound: scale.input_bound,
        weights: vec![0; layer.out * layer.inp],
        bias: vec![0; layer.out],
        multiplier: vec![0; layer.out],
    };
    let unit = unit(scale);
    let acc_per_value = 2f64.powi(scale.input as i32);
    for row in 0..layer.out {
        let weights = &layer.w[row * layer.inp..(row + 1) * layer.inp];
        let bias = f64::from(layer.b[row]);
        let largest = weights.iter().fold(0f32, |largest, w| largest.max(w.abs()));
        let finest = (f64::from(largest) / 127.0).max(bias.abs() * acc_per_value / f64::from(1 << 30));
        fit_row(&mut matrix, row, unit, finest, |quantized, step| {
            for (q, w) in quantized.iter_mut().zip(weights) {
                *q = (f64::from(*w) / step).round().clamp(-127.0, 127.0) as i8;
            }
            (bias * acc_per_value / step).round() as i32
        });
    }
    matrix
}

/// Quantises a row with the finest weight scale, not finer than `finest`, at which its accumulator provably fits 32
/// bits. If there is none, it uses the coarsest scale. A scale is a whole number of `unit`s, the multiplier. `round`
/// rounds the weights to the scale and returns the bias.
fn fit_row(matrix: &mut QuantizedMatrix, row: usize, unit: f64, finest: f64, round: impl Fn(&mut [i8], f64) -> i32) {
    let mut step = finest.max(unit);
    loop {
        let multiplier = (step / unit).ceil().min(f64::from(i32::MAX));
        let weights = &mut matrix.weights[row * matrix.cols..][..matrix.cols];
        matrix.bias[row] = round(weights, multiplier * unit);
        matrix.multiplier[row] = multiplier as i32;
        if matrix.largest_accumulator(row) <= i32::MAX as u64 || matrix.multiplier[row] == i32::MAX {
            return;
        }
        step *= 1.0625;
    }
}

/// Quantises a layer of a coupling. Its inputs and outputs have 16 fractional bits and its biases 12 (see
/// [`CouplingStack`]). The weight scale of a row is its multiplier times 2^-32. The sums are over the two halfwords of
/// each input.
///
/// [`CouplingStack`]: elbo::coupling::CouplingStack
fn quantize_coupled(layer: &DenseLayer, bits: WeightBits) -> QuantizedMatrix {
    const UNIT: f64 = 1.0 / (1u64 << 32) as f64;
    let upper = if bits == WeightBits::Sixteen { layer.inp.next_multiple_of(4) } else { 0 };
    let cols = if upper > 0 { 2 * upper } else { layer.inp };
    let mut matrix = QuantizedMatrix {
        rows: layer.out,
        cols,
        input_bound: FULL,
        weights: vec![0; layer.out * cols],
        bias: vec![0; layer.out],
        multiplier: vec![0; layer.out],
    };
    for (row, weights) in layer.w.chunks_exact(layer.inp).enumerate() {
        let bias = f64::from(layer.b[row]) * f64::from(1 << 12);
        let largest = weights.iter().fold(0f32, |largest, w| largest.max(w.abs()));
        let finest = (f64::from(largest) / 127.0).max(bias.abs() / f64::from(1 << 30));
        fit_row(&mut matrix, row, UNIT, finest, |quantized, step| {
            let (high, low) = quantized.split_at_mut(if upper > 0 { upper } else { cols });
            for (at, w) in weights.iter().enumerate() {
                let whole = f64::from(*w) / step;
                let rounded = whole.round().clamp(-127.0, 127.0);
                high[at] = rounded as i8;
                if let Some(rest) = low.get_mut(at) {
                    *rest = ((whole - rounded) * 256.0).round().clamp(-128.0, 127.0) as i8;
                }
            }
            (bias / step).round() as i32
        });
    }
    matrix
}

/// The first layer whose weights or biases are too large, or too many, for the scale of its output: a row would need a
/// multiplier of more than 31 bits, or a bias of a coupling is 2048 or more.
pub fn too_large(model: &FloatModel, matrices: &Matrices) -> Option<usize> {
    let coupled = model.coupled();
    let fits = |at: &usize| {
        matrices.all[*at].multiplier.iter().all(|multiplier| *multiplier < i32::MAX)
            && !(coupled[*at] && model.layers[*at].b.iter().any(|b| b.abs() >= CouplingStack::POINT_LIMIT as f32))
    };
    (0..model.layers.len()).find(|at| !fits(at))
}

/// Finest output scale, at most `wanted`, at which the multiplier of every row stays below 2^31.
pub fn finest_output(layer: &DenseLayer, input_frac: u32, wanted: u32) -> u32 {
    let largest = layer.w.iter().fold(0f32, |largest, w| largest.max(w.abs()));
    let scale = f64::from(largest) / 127.0;
    let fits = |frac: &u32| scale * 2f64.powi(*frac as i32 - input_frac as i32) < 0.45;
    (0..=wanted).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::fixed::requantize;
    use proptest::prelude::*;

    /// Inputs of 11 fractional bits.
    fn scale(output: u32, input_bound: u16) -> LayerScale {
        LayerScale { input: 11, input_bound, output }
    }

    proptest! {
        #[test]
        fn rows_follow_the_float_layer(
            w in prop::collection::vec(-2f32..2.0, 24), b in prop::collection::vec(-3f32..3.0, 3),
            x in prop::collection::vec(-8192i16..8192, 8)
        ) {
            let layer = DenseLayer { w, b, out: 3, inp: 8 };
            let matrix = quantize(&layer, scale(9, 32767));
            for row in 0..3 {
                prop_assert!(matrix.largest_accumulator(row) <= i32::MAX as u64);
                let q = |i: usize| i32::from(matrix.weights[row * 8 + i]) * i32::from(x[i]);
                let acc = matrix.bias[row] + (0..8).map(q).sum::<i32>();
                let got = f32::from(requantize(acc, matrix.multiplier[row])) / 512.0;
                let exact = layer.b[row] + (0..8).map(|i| layer.w[row * 8 + i] * f32::from(x[i]) / 2048.0).sum::<f32>();
                // The error is half a weight step for each of eight activations below 4, plus half an output step.
                prop_assert!((got - exact).abs() < 8.0 * 4.0 * (2.0 / 127.0) / 2.0 + 0.01, "{got} {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_layer_and_its_remainder_are_254_times_as_exact(
            w in prop::collection::vec(-2f32..2.0, 24), b in prop::collection::vec(-3f32..3.0, 3)
        ) {
            let layer = DenseLayer { w, b, out: 3, inp: 8 };
            let first = quantize(&layer, scale(9, 32767));
            let rest = remainder(&layer, &first, scale(9, 32767));
            let second = quantize(&rest, scale(9, 32767));
            for row in 0..3 {
                let largest = |w: &[f32]| w[row * 8..(row + 1) * 8].iter().fold(0f32, |most, w| most.max(w.abs()));
                // The error is half a step of the second matrix, which holds at most half a step of the first.
                prop_assert!(largest(&rest.w) <= largest(&layer.w) / 127.0 * 0.501);
                let twice = remainder(&rest, &second, scale(9, 32767));
                prop_assert!(largest(&twice.w) <= largest(&layer.w) / 127.0 / 254.0 * 0.51, "{:?}", twice.w);
            }
        }
    }

    #[test]
    fn small_models_of_real_values_have_16_bits_by_default() {
        let model = |weights: usize| {
            let mut model = FloatModel::default();
            model.layer("first", DenseLayer { w: vec![0.5; weights - 8], b: vec![0.0], out: 1, inp: weights - 8 });
            model.layer("second", DenseLayer { w: vec![0.5; 8], b: vec![0.0], out: 1, inp: 8 });
            model
        };
        let bits = |weights: usize, data: InputRange| WeightBits::by_default(&model(weights), data);
        assert_eq!(bits(65_536, InputRange::Real(15.99)), WeightBits::Sixteen);
        assert_eq!(bits(65_537, InputRange::Real(15.99)), WeightBits::Eight);
        assert_eq!(bits(100, InputRange::Unit), WeightBits::Eight);
    }

    #[test]
    fn a_row_that_would_overflow_is_coarsened() {
        let layer = DenseLayer { w: vec![1.0; 3000], b: vec![0.5], out: 1, inp: 3000 };
        let matrix = quantize(&layer, scale(2, 32768));
        assert!(matrix.largest_accumulator(0) <= i32::MAX as u64);
        assert!(matrix.weights[0] < 30 && matrix.weights[0] > 15);
        let scale = f64::from(matrix.multiplier[0]) * 2f64.powi(11 - 2 - 32);
        assert!((f64::from(matrix.weights[0]) * scale - 1.0).abs() < 0.03);
    }

    #[test]
    fn an_all_zero_row_keeps_its_bias() {
        let layer = DenseLayer { w: vec![0.0; 4], b: vec![-1.25], out: 1, inp: 4 };
        let matrix = quantize(&layer, scale(10, 32768));
        assert_eq!(requantize(matrix.bias[0], matrix.multiplier[0]), -1280);
    }
}
