//! The scores of held-out rows, of which a blob's calibrations are made.

use crate::host::{Blob, RunError, Runner, quantize};
use crate::stimulus::generator;
use elbo::program::ProgramKind;
use elbo::{Calibration, Calibrations, Limits, Nats};
use rayon::prelude::*;

/// The programs whose scores are calibrated.
pub const SCORES: [ProgramKind; 3] = [ProgramKind::Score, ProgramKind::ScoreMonteCarlo, ProgramKind::ScoreImportance];

/// Largest number of steps of all runs of one program. A program that takes more is calibrated with fewer rows.
const STEPS: u64 = 10_000_000_000;

/// Rows that neither trained nor chose the model, or their scores.
#[derive(Clone, Copy, Debug)]
pub enum HeldOut<'h> {
    /// Rows in the form that the model reads. The compiled programs score them.
    Rows(&'h [Vec<f32>]),
    /// Scores by models that were trained without the scored rows.
    Scores(&'h HeldOutScores),
}

/// The scores of held-out rows by the programs of [`SCORES`], in that order. A program that a model lacks has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldOutScores {
    of: [Vec<Nats>; 3],
}

impl HeldOutScores {
    /// The scores of `rows` by the integer programs of a blob. Row `i` draws its noise from the generator of `seed + i`, so
    /// that the draws of different rows are independent, as they are on a device whose generator runs on from score to
    /// score.
    ///
    /// # Errors
    /// As [`Blob::scores`].
    pub fn of(blob: &Blob, rows: &[Vec<f32>], seed: u64) -> Result<Self, RunError> {
        let model = blob.load(Limits::host())?;
        let mut scores = Self::default();
        for (kind, scores) in SCORES.into_iter().zip(&mut scores.of) {
            let Some(program) = model.program(kind) else { continue };
            let Some(info) = program.inputs[0] else { continue };
            let most = usize::try_from(STEPS / program.work.max(1)).unwrap_or(usize::MAX).max(1);
            let score = |runner: &mut Runner<'_>, (at, x): (usize, &Vec<f32>)| -> Result<Nats, RunError> {
                let mut noise = generator(seed.wrapping_add(at as u64));
                Ok(runner.run(kind, &[quantize(x, &info)], &mut noise)?.nats())
            };
            let rows = &rows[..rows.len().min(most)];
            *scores = rows.par_iter().enumerate().map_init(|| Runner::new(&model), score).collect::<Result<_, _>>()?;
        }
        Ok(scores)
    }

    /// Adds the scores of other rows.
    pub fn extend(&mut self, more: &Self) {
        self.of.iter_mut().zip(&more.of).for_each(|(scores, more)| scores.extend(more));
    }

    /// Hands the calibrations of these scores to `then`.
    pub(crate) fn calibrations<T>(&self, then: impl FnOnce(Calibrations<'_>) -> T) -> T {
        let mut scores = self.of.clone();
        let mut buffers = scores.each_ref().map(|scores| vec![0; Calibration::room(scores.len())]);
        let [a, b, c] = buffers.each_mut();
        // There is room for every table.
        let made = |scores: &mut [Nats], buffer| Calibration::of_scores(scores, buffer).unwrap_or_default();
        let [score, score_monte_carlo, score_importance] =
            [made(&mut scores[0], a), made(&mut scores[1], b), made(&mut scores[2], c)];
        then(Calibrations { score, score_monte_carlo, score_importance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::Rate;
    use elbo::program::Opcode;
    use elbo_writer::BlobWriter;

    /// A score of half the square of one value, and one that adds the mean of half the squares of two draws.
    fn blob() -> Blob {
        let mut writer = BlobWriter::new();
        let score = writer.program(ProgramKind::Score, |p| {
            let x = p.input(1, 4, 32767)?;
            let score = p.scalar(Opcode::HalfSumSq, &[x], 0)?;
            p.outputs(&[score])
        });
        score.unwrap();
        let monte_carlo = writer.program(ProgramKind::ScoreMonteCarlo, |p| {
            let x = p.input(1, 4, 32767)?;
            let of_row = p.scalar(Opcode::HalfSumSq, &[x], 0)?;
            let values = p.begin(2)?;
            let noise = p.normal(1)?;
            let value = p.scalar(Opcode::HalfSumSq, &[noise], 0)?;
            p.end(value)?;
            let mean = p.scalar(Opcode::Mean, &[values], 0)?;
            let score = p.scalar(Opcode::Add, &[of_row, mean], 0)?;
            p.outputs(&[score])
        });
        monte_carlo.unwrap();
        Blob::from_words(writer.finish())
    }

    fn rows(count: u16) -> Vec<Vec<f32>> {
        (0..count).rev().map(|i| vec![f32::from(i)]).collect()
    }

    #[test]
    fn thresholds_are_those_of_the_integer_scores() {
        let scores = HeldOutScores::of(&blob(), &rows(100), 0).unwrap();
        scores.calibrations(|of| {
            let threshold = |rate| of.score.threshold(rate).map(Nats::to_bits);
            // Rows score 0, 1/2, 2, 9/2 and so on. One row in 101 is the largest, ten are those from 90 on.
            assert_eq!(threshold(Rate::ONE_IN_100), Ok(((99 * 99) << 15) + 1));
            assert_eq!(threshold(Rate::ONE_IN_10), Ok(((90 * 90) << 15) + 1));
            assert!(threshold(Rate::ONE_IN_1000).is_err());
            assert!(
                of.score_importance.threshold(Rate::ONE_IN_10).is_err()
                    && of.get(ProgramKind::ScoreImportance).is_none()
            );
        });
    }

    #[test]
    fn every_row_has_noise_of_its_own() {
        let zeros = vec![vec![0.0]; 50];
        let scores = HeldOutScores::of(&blob(), &zeros, 7).unwrap();
        assert_eq!(scores.of[0], vec![Nats::default(); 50]);
        let distinct: std::collections::BTreeSet<Nats> = scores.of[1].iter().copied().collect();
        assert!(distinct.len() > 45, "{}", distinct.len());
        // A row draws what a device with the generator of its seed draws.
        let blob = blob();
        let model = blob.load(Limits::host()).unwrap();
        let drawn =
            Runner::new(&model).run(ProgramKind::ScoreMonteCarlo, &[vec![0]], &mut generator(9)).unwrap().nats();
        assert_eq!(drawn, scores.of[1][2]);
    }

    #[test]
    fn scores_of_several_models_are_joined() {
        let [mut first, second] = [10, 7].map(|count| HeldOutScores::of(&blob(), &rows(count), 0).unwrap());
        first.extend(&second);
        first.calibrations(|of| assert_eq!([of.score.rows(), of.score_monte_carlo.rows()], [17, 17]));
    }
}
