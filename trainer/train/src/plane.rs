//! Pictures of two-dimensional models: the data or energy, the learnt density, and samples, side by side.

use std::io;
use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};

use crate::data::Dataset;
use crate::model::Model;
use crate::nn::Rng;
use crate::plot;

/// Number of cells along a side of a picture.
const CELLS: usize = 100;
/// A picture covers the square from -4 to 4.
const HALF_WIDTH: f32 = 4.0;
/// Number of samples that a picture shows.
pub const DRAWS: usize = 20_000;

/// A value for every cell, row by row from the top.
pub type Panel = Vec<f32>;

const CELL: f32 = 2.0 * HALF_WIDTH / CELLS as f32;

/// The centres of the cells.
pub fn centres() -> Vec<[f32; 2]> {
    let at = |i: usize| (i as f32 + 0.5) * CELL - HALF_WIDTH;
    (0..CELLS * CELLS).map(|i| [at(i % CELLS), -at(i / CELLS)]).collect()
}

fn centres_as_rows() -> Result<Tensor> {
    Tensor::from_vec(centres().concat(), (CELLS * CELLS, 2), &Device::Cpu)
}

/// The number of points in each cell. A point is two consecutive values.
pub fn histogram(points: &[f32]) -> Panel {
    let mut counts = vec![0.0f32; CELLS * CELLS];
    for point in points.as_chunks::<2>().0 {
        let [column, row] = [point[0], -point[1]].map(|v| ((v + HALF_WIDTH) / CELL).floor());
        if [column, row].iter().all(|v| (0.0..CELLS as f32).contains(v)) {
            counts[row as usize * CELLS + column as usize] += 1.0;
        }
    }
    counts
}

/// The target of the training: the density of the energy, or a histogram of the train rows.
///
/// # Errors
/// Any error of candle.
pub fn target(model: &dyn Model, dataset: &Dataset) -> Result<Panel> {
    match model.capabilities().energy {
        Some(energy) => energy.potential(&centres_as_rows()?)?.neg()?.exp()?.to_vec1(),
        None => Ok(histogram(&dataset.train.x)),
    }
}

/// The density of a model with an exact density.
///
/// # Errors
/// A model without an exact density, or an error of candle.
pub fn density(model: &dyn Model) -> Result<Panel> {
    match model.capabilities().bounds.filter(|bounds| bounds.exact()) {
        Some(bounds) => bounds.bound(&centres_as_rows()?, &mut Rng::new(0))?.exp()?.to_vec1(),
        None => bail!("this model has no exact density to draw"),
    }
}

/// Samples of a model, two consecutive values each.
///
/// # Errors
/// Any error of candle.
pub fn draws(model: &dyn Model, rng: &mut Rng) -> Result<Vec<f32>> {
    match model.capabilities().sampler {
        Some(sampler) => sampler.sample(DRAWS, rng)?.flatten_all()?.to_vec1(),
        None => bail!("this model cannot draw samples"),
    }
}

/// Writes panels side by side as a PNG. Each panel is scaled to its largest value.
///
/// # Errors
/// The error of writing the file.
pub fn write(path: &Path, panels: Vec<Panel>) -> io::Result<()> {
    let shares = |panel: Panel| {
        let most = panel.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        panel.into_iter().map(|v| v / most).collect()
    };
    let panels: Vec<Panel> = panels.into_iter().map(shares).collect();
    plot::sample_grid(path, &panels, [CELLS; 2], panels.len(), 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centre_is_counted_in_its_own_cell() {
        let centres = centres();
        for at in [0, 57, CELLS * 31 + 4, CELLS * CELLS - 1] {
            let counts = histogram(&centres[at]);
            assert_eq!((counts[at], counts.iter().sum::<f32>()), (1.0, 1.0));
        }
        assert!(histogram(&[4.5, 0.0, 0.0, f32::NAN]).iter().all(|count| *count == 0.0));
    }
}
