//! The rows that a model with a front end learns from: the features of windows, computed by the integer program.

use elbo::Limits;
use elbo::kernel::Packing;
use elbo::program::ProgramKind;
use elbo_writer::WriteError;
use rayon::prelude::*;

use super::{Front, identity};
use crate::assemble::assemble;
use crate::calibrate::Ranges;
use crate::graph::FloatModel;
use crate::host::{Blob, RunError, Runner, dequantize};
use crate::plan::{PlanError, plan};
use crate::quantize::{WeightBits, quantize_model};
use crate::scales::assign;
use crate::stimulus::{InputRange, generator};

/// Why the features of windows cannot be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// An operation does not support a scale or bound.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The program cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The runtime refuses the program, or to run it.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Front {
    /// The features of `windows`, one window after another, `[n, features]`. They are exactly those that a board computes
    /// for a model of rows within `data`, if features are standardised.
    ///
    /// # Errors
    /// [`FrontError`] if the front end is none that programs can compute.
    pub fn rows(&self, windows: &[i16], data: InputRange) -> Result<Vec<f32>, FrontError> {
        if self.standardise.is_some() {
            return self.computed(windows, data);
        }
        // The kinds of features have units of their own, and so no common scale.
        let parts = self.parts.iter().map(|part| {
            let front = Self { parts: vec![part.clone()], ..self.clone() };
            let segments = part.segments(self.window).len() as f32;
            let mut rows = front.computed(windows, data)?;
            rows.iter_mut().for_each(|feature| *feature /= segments);
            Ok((rows, front.len()))
        });
        let parts = parts.collect::<Result<Vec<_>, FrontError>>()?;
        let count = windows.len() / self.samples().max(1);
        Ok((0..count)
            .flat_map(|at| parts.iter().flat_map(move |(rows, len)| &rows[at * len..][..*len]))
            .copied()
            .collect())
    }

    /// The features in the units of the program.
    fn computed(&self, windows: &[i16], data: InputRange) -> Result<Vec<f32>, FrontError> {
        let blob = self.blob(data)?;
        let model = blob.load(Limits::host()).map_err(RunError::Refused)?;
        let Some(info) = model.program(ProgramKind::Features).and_then(|program| program.outputs[0]) else {
            return Ok(Vec::new());
        };
        let run = |runner: &mut Runner<'_>, window: &[i16]| -> Result<Vec<f32>, FrontError> {
            // This program draws no noise.
            let outputs = runner.run(ProgramKind::Features, &[window.to_vec()], &mut generator(0));
            Ok(dequantize(&outputs.map_err(RunError::Session)?.vectors.concat(), &info))
        };
        let windows = windows.par_chunks_exact(self.samples().max(1));
        let rows = windows.map_init(|| Runner::new(&model), run).collect::<Result<Vec<_>, _>>()?;
        Ok(rows.concat())
    }

    /// A blob whose only program computes the features.
    fn blob(&self, data: InputRange) -> Result<Blob, FrontError> {
        let mut float = FloatModel { programs: vec![identity(self.len())], ..FloatModel::default() };
        let mut ranges = Ranges { nodes: vec![vec![0.0]], layers: Vec::new() };
        let data = self.prepend(&mut float, &mut ranges, data);
        let scales = assign(&float, &ranges, data);
        let matrices = quantize_model(&float, &scales.layers, WeightBits::Eight);
        let program = plan(&float.programs[0], 0, &scales, &matrices)?;
        Ok(Blob::from_words(assemble(&[program], &matrices.all, Packing::RowMajor)?.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::{Part, linear_edges, mel_edges, spectrum};
    use elbo::front::{Statistic, Taper};
    use rand_core::Rng;

    /// Windows of two channels of tones in noise, the second one smaller and with an offset.
    fn windows(count: usize, window: usize) -> Vec<i16> {
        let mut random = generator(3);
        let mut noise = move || random.next_u32() as i32 as f64 / f64::from(1u32 << 31);
        let mut all = Vec::new();
        for at in 0..count {
            for (offset, size) in [(0.0, 900.0), (2048.0, 40.0)] {
                let pitch = 0.2 + 0.01 * at as f64;
                all.extend((0..window).map(|i| (offset + size * ((pitch * i as f64).sin() + 0.3 * noise())) as i16));
            }
        }
        all
    }

    fn front(window: usize) -> Front {
        let parts = vec![
            spectrum(7, Taper::Hann, linear_edges(7, 20), false),
            Part::Statistics(vec![Statistic::Variance, Statistic::Crest]),
            Part::Samples { decimate: 4, centred: true },
            Part::Samples { decimate: 20, centred: false },
        ];
        Front { channels: 2, window, parts, standardise: None }
    }

    /// The features in floating point, by the definitions of the float graph.
    fn exact(front: &Front, window: &[i16]) -> Vec<f32> {
        let mut float = FloatModel { programs: vec![identity(front.len())], ..FloatModel::default() };
        let mut ranges = Ranges { nodes: vec![vec![0.0]], layers: Vec::new() };
        front.prepend(&mut float, &mut ranges, InputRange::Real(15.99));
        let window: Vec<f32> = window.iter().map(|x| f32::from(*x)).collect();
        float.run(&float.programs[0], &[&window], &mut |_| ()).concat()
    }

    fn moments(rows: &[f32], len: usize) -> [Vec<f32>; 2] {
        let count = (rows.len() / len) as f32;
        let mean = |at: usize| rows[at..].iter().step_by(len).sum::<f32>() / count;
        let deviation =
            |at: usize| (rows[at..].iter().step_by(len).map(|x| (x - mean(at)).powi(2)).sum::<f32>() / count).sqrt();
        [(0..len).map(mean).collect(), (0..len).map(deviation).collect()]
    }

    #[test]
    fn rows_follow_the_definitions_and_are_standardised() {
        let windows = windows(40, 200);
        let front = front(200);
        assert_eq!(front.len(), 2 * (20 + 2 + 50 + 10));
        let rows = front.rows(&windows, InputRange::Real(15.99)).unwrap();
        let exact_rows: Vec<f32> = windows
            .chunks(400)
            .flat_map(|window| {
                // The graph adds up the segments of a spectrum.
                let all = exact(&front, window);
                all.into_iter().enumerate().map(|(at, x)| if at < 40 { x / 2.0 } else { x })
            })
            .collect();
        // Logarithms are in nats. Samples are rounded to whole numbers up to four times.
        let error = |at: usize| if at % front.len() < 44 { 0.01 } else { 2.0 };
        for (at, (row, exact)) in rows.iter().zip(&exact_rows).enumerate() {
            assert!((row - exact).abs() < error(at), "{at}: {row} {exact}");
        }
        let scale = moments(&rows, front.len());
        let standardised = Front { standardise: Some(scale.clone()), ..front.clone() };
        let rows = standardised.rows(&windows, InputRange::Real(15.99)).unwrap();
        let [mean, deviation] = moments(&rows, front.len());
        assert!(mean.iter().all(|mean| mean.abs() < 0.03), "{mean:?}");
        assert!(deviation.iter().all(|deviation| (deviation - 1.0).abs() < 0.03), "{deviation:?}");
        for (window, row) in windows.chunks(400).zip(rows.chunks(front.len())) {
            for (at, (x, exact)) in row.iter().zip(exact(&standardised, window)).enumerate() {
                // The features of samples are computed with more bits than the samples have.
                let most = if at < 44 { 0.01 / scale[1][at] } else { 0.01 };
                assert!((x - exact).abs() < 0.01 + most, "{at}: {x} {exact}");
            }
        }
    }

    #[test]
    fn segments_cover_the_window_and_overlap() {
        let part = spectrum(7, Taper::Hann, linear_edges(7, 4), false);
        assert_eq!(part.segments(128), [0]);
        assert_eq!(part.segments(129), [0, 1]);
        assert_eq!(part.segments(200), [0, 72]);
        assert_eq!(part.segments(1000).last(), Some(&872));
        for window in 128..1500 {
            let starts = part.segments(window);
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 80), "{window}: {starts:?}");
        }
    }

    #[test]
    fn edges_are_distinct_coefficients() {
        assert_eq!(linear_edges(6, 4), [1, 9, 17, 25, 33]);
        assert_eq!(linear_edges(6, 1000).len(), 33);
        for (log2, count, rate) in [(6, 31, 8000.0), (8, 40, 16000.0), (9, 500, 200.0), (10, 64, 44100.0)] {
            let edges = mel_edges(log2, count, rate);
            assert!(edges.windows(2).all(|pair| pair[0] < pair[1]), "{edges:?}");
            assert!(edges.len() >= 3 && *edges.last().unwrap() <= 1 << (log2 - 1), "{edges:?}");
        }
    }
}
