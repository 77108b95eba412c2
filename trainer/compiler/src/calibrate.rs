//! Calibration: runs the float programs on real inputs and notes how large every value becomes.

use crate::graph::FloatModel;
use crate::stimulus::{fill_normal, generator, inputs};

/// No more iterations of a loop than this are needed to know its values.
const ITERATIONS: u32 = 16;
/// Rows over which a program is run that no other score's values tell about.
const FEW: usize = 64;

/// Largest magnitudes seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// Of every node of every program, on the way to its value too.
    pub nodes: Vec<Vec<f32>>,
    /// Of every layer's outputs.
    pub layers: Vec<f32>,
}

/// Runs every program over `rows` of data with noise drawn from `seed`. Programs with loops see fewer rows.
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
