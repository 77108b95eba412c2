//! Calibration: runs the float programs on real inputs and records the range of every value.

use crate::graph::FloatModel;
use crate::stimulus::{InputRange, fill_normal, generator, inputs};
use elbo::program::{ProgramKind, Role};

/// Largest number of iterations of a loop during calibration. These are enough to observe the ranges of its values.
const ITERATIONS: u32 = 16;
/// Smallest number of rows for a program with loops, if there are as many.
const FEW: usize = 64;

/// How much farther out than normal rows an anomaly may lie before activations of a score saturate.
const REACH: f32 = 4.0;

/// Largest magnitudes that were observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// For every node of every program, including its intermediate values.
    pub nodes: Vec<Vec<f32>>,
    /// For the outputs of every layer.
    pub layers: Vec<f32>,
}

/// Whether a program computes nothing but a score of a row.
fn scores_rows(kind: ProgramKind) -> bool {
    let signature = kind.signature();
    let rows = [Role::Data, Role::Features].map(Some);
    signature.scalar && signature.vectors == 0 && rows.contains(&kind.input_roles().first().copied())
}

/// The rows, [`REACH`] times as far out: anomalies in which all values are too large.
fn far_rows(rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    rows.iter().map(|row| row.iter().map(|value| value * REACH).collect()).collect()
}

/// Rows in which one value lies at an end of its `range`, and all others at 0, the mean: anomalies in one of the values.
/// A network may amplify such a row more than any that lies in the direction of normal rows.
fn lone_rows(len: usize, range: f32) -> Vec<Vec<f32>> {
    let row = |at: usize, value: f32| (0..len).map(|other| if other == at { value } else { 0.0 }).collect();
    [range, -range].into_iter().flat_map(|value| (0..len).map(move |at| row(at, value))).collect()
}

/// Runs every program over `rows` of data with noise drawn from `seed`. Programs with loops run over fewer rows.
///
/// Scores of real-valued rows run also over rows that lie as far out as anomalies may: normal rows times four, and rows
/// with one value at the end of its range. Activations on anomalies are larger than on normal rows, and their scales must
/// have room for them.
pub fn calibrate(model: &FloatModel, rows: &[Vec<f32>], data: InputRange, seed: u64) -> Ranges {
    let (far, lone) = match data {
        InputRange::Unit | InputRange::Samples(_) => (Vec::new(), Vec::new()),
        InputRange::Real(range) => (far_rows(rows), lone_rows(rows.first().map_or(0, Vec::len), range)),
    };
    let mut ranges = Ranges { nodes: Vec::new(), layers: vec![0.0; model.layers.len()] };
    for program in &model.programs {
        let mut largest = vec![0f32; program.nodes.len()];
        let mut rng = generator(seed);
        let mut noise_rng = generator(seed.wrapping_add(1));
        let loops: u32 = program.nodes.iter().map(|node| node.iterations().min(ITERATIONS)).product();
        let count = rows.len().div_ceil(loops as usize).max(rows.len().min(FEW));
        let scored = if scores_rows(program.kind) { count } else { 0 };
        let lone = lone.iter().step_by(lone.len().div_ceil(count.max(1)).max(1)).take(scored);
        for (index, x) in rows.iter().take(count).chain(far.iter().take(scored)).chain(lone).enumerate() {
            let inputs = inputs(program, x, index, &mut rng);
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut noise = |out: &mut [f32]| fill_normal(&mut noise_rng, out);
            model.watched(program, &inputs, &mut noise, ITERATIONS, &mut |node, _, extent| {
                largest[node] = largest[node].max(extent);
            });
        }
        for (node, extent) in program.nodes.iter().zip(&largest) {
            node.layers().for_each(|layer| ranges.layers[layer] = ranges.layers[layer].max(*extent));
        }
        ranges.nodes.push(largest);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, DenseLayer};
    use elbo::program::Opcode;

    /// A score that amplifies the difference of two values, and a program that only encodes it.
    fn model() -> FloatModel {
        let mut model = FloatModel::default();
        let layer = model.layer("difference", DenseLayer { w: vec![5.0, -5.0], b: vec![0.0], out: 1, inp: 2 });
        let program = |kind: ProgramKind| {
            let mut b = Builder::default();
            let x = b.input(2);
            let difference = b.dense(layer, 1, x);
            if kind == ProgramKind::Score {
                let score = b.scalar(Opcode::HalfSumSq, 0, &[difference]);
                return b.finish(kind, &[score]);
            }
            b.finish(kind, &[difference, difference])
        };
        model.programs = [ProgramKind::Score, ProgramKind::Encode].map(program).into();
        model
    }

    #[test]
    fn a_score_has_room_for_a_row_that_is_far_out_in_one_value_or_in_all() {
        // Normal rows cancel almost.
        let rows = [vec![1.0, 1.0], vec![1.0, 1.5]];
        let of = |data: InputRange, program: usize| calibrate(&model(), &rows, data, 0).nodes[program].clone();
        assert_eq!(of(InputRange::Real(16.0), 0)[..2], [16.0, 80.0]);
        assert_eq!(of(InputRange::Real(2.0), 0)[..2], [6.0, 10.0]);
        // Other programs, and scores of pixels, see no anomalies.
        assert_eq!(of(InputRange::Real(16.0), 1)[..2], [1.5, 2.5]);
        assert_eq!(of(InputRange::Unit, 0)[..2], [1.5, 2.5]);
    }
}
