//! Calibration: runs the float programs on real inputs and records the range of every value.

use crate::graph::FloatModel;
use crate::stimulus::{fill_normal, generator, inputs};

/// Largest number of iterations of a loop during calibration. These are enough to observe the ranges of its values.
const ITERATIONS: u32 = 16;
/// Smallest number of rows for a program with loops, if there are as many.
const FEW: usize = 64;

/// Largest magnitudes that were observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// For every node of every program, including its intermediate values.
    pub nodes: Vec<Vec<f32>>,
    /// For the outputs of every layer.
    pub layers: Vec<f32>,
}

/// Runs every program over `rows` of data with noise drawn from `seed`. Programs with loops run over fewer rows.
pub fn calibrate(model: &FloatModel, rows: &[Vec<f32>], seed: u64) -> Ranges {
    let mut ranges = Ranges { nodes: Vec::new(), layers: vec![0.0; model.layers.len()] };
    for program in &model.programs {
        let mut largest = vec![0f32; program.nodes.len()];
        let mut rng = generator(seed);
        let mut noise_rng = generator(seed.wrapping_add(1));
        let loops: u32 = program.nodes.iter().map(|node| node.iterations().min(ITERATIONS)).product();
        let count = rows.len().div_ceil(loops as usize).max(rows.len().min(FEW));
        for (index, x) in rows.iter().take(count).enumerate() {
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
