//! Pictures of models in two dimensions: what was learnt from, densities and draws side by side.

use std::io;
use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};

use crate::data::Dataset;
use crate::model::Model;
use crate::nn::Rng;
use crate::plot;

/// Cells along a side of a picture.
const CELLS: usize = 100;
/// A picture covers plus and minus this.
const HALF: f32 = 4.0;
/// Points of which the draws of a model are shown.
pub const DRAWS: usize = 20_000;

/// A value for every cell, row by row from the top.
pub type Panel = Vec<f32>;

const CELL: f32 = 2.0 * HALF / CELLS as f32;

/// The centres of the cells.
pub fn centres() -> Vec<[f32; 2]> {
    let at = |i: usize| (i as f32 + 0.5) * CELL - HALF;
    (0..CELLS * CELLS).map(|i| [at(i % CELLS), -at(i / CELLS)]).collect()
}

fn centres_as_rows() -> Result<Tensor> {
    Tensor::from_vec(centres().concat(), (CELLS * CELLS, 2), &Device::Cpu)
}

/// How many of the points, two values each, lie in every cell.
pub fn histogram(points: &[f32]) -> Panel {
    let mut counts = vec![0.0f32; CELLS * CELLS];
    for point in points.as_chunks::<2>().0 {
        let [column, row] = [point[0], -point[1]].map(|v| ((v + HALF) / CELL).floor());
        if [column, row].iter().all(|v| (0.0..CELLS as f32).contains(v)) {
            counts[row as usize * CELLS + column as usize] += 1.0;
        }
    }
    counts
}

/// The density of an energy, or the train rows.
///
/// # Errors
/// Whatever candle reports.
pub fn target(model: &dyn Model, dataset: &Dataset) -> Result<Panel> {
    match model.capabilities().energy {
        Some(energy) => energy.potential(&centres_as_rows()?)?.neg()?.exp()?.to_vec1(),
        None => Ok(histogram(&dataset.train.x)),
    }
}

/// The density of a model that has an exact one.
///
/// # Errors
/// A model without one, or whatever candle reports.
pub fn density(model: &dyn Model) -> Result<Panel> {
    match model.capabilities().bounds.filter(|bounds| bounds.exact()) {
        Some(bounds) => bounds.bound(&centres_as_rows()?, &mut Rng::new(0))?.exp()?.to_vec1(),
        None => bail!("a model without an exact density"),
    }
}

/// Draws of a model.
///
/// # Errors
/// Whatever candle reports.
pub fn draws(model: &dyn Model, rng: &mut Rng) -> Result<Vec<f32>> {
    match model.capabilities().sampler {
        Some(sampler) => sampler.sample(DRAWS, rng)?.flatten_all()?.to_vec1(),
        None => bail!("a model that draws nothing"),
    }
}

/// Writes panels from left to right as a PNG, each in shares of its largest value.
///
/// # Errors
/// What writing the file gives.
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
