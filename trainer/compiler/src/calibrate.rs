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
    signature.scalar && signature.vectors == 0 && kind.input_roles().first() == Some(&Role::Data)
}

/// Runs every program over `rows` of data with noise drawn from `seed`. Programs with loops run over fewer rows.
///
/// Scores of real-valued rows run also over the same rows four times as far out. Activations on anomalies are larger
/// than on normal rows, and their scales must have room for them.
pub fn calibrate(model: &FloatModel, rows: &[Vec<f32>], data: InputRange, seed: u64) -> Ranges {
    let far = |row: &Vec<f32>| row.iter().map(|value| value * REACH).collect();
    let far: Vec<Vec<f32>> = if data == InputRange::Unit { Vec::new() } else { rows.iter().map(far).collect() };
    let mut ranges = Ranges { nodes: Vec::new(), layers: vec![0.0; model.layers.len()] };
    for program in &model.programs {
        let mut largest = vec![0f32; program.nodes.len()];
        let mut rng = generator(seed);
        let mut noise_rng = generator(seed.wrapping_add(1));
        let loops: u32 = program.nodes.iter().map(|node| node.iterations().min(ITERATIONS)).product();
        let count = rows.len().div_ceil(loops as usize).max(rows.len().min(FEW));
        let far = far.iter().take(if scores_rows(program.kind) { count } else { 0 });
        for (index, x) in rows.iter().take(count).chain(far).enumerate() {
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
