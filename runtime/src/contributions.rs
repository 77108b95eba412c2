//! Which features make a score what it is.

use crate::error::SessionError;
use crate::nats::Nats;
use crate::noise::Silence;
use crate::program::ProgramKind;
use crate::session::Session;

/// The scores between which [`Session::contributions`] explains the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Explained {
    /// The score of the row.
    pub score: Nats,
    /// The score of the row that it is compared with.
    pub reference: Nats,
}

impl Session<'_, '_> {
    /// Divides the score of `input` among its features: how much each of them contributes to the difference from the score
    /// of a row without a fault. This is [`contributions`](Self::contributions) with the
    /// [reconstruction](Self::reconstruct) of the input as the reference, or the mean row, whose features are 0, if the
    /// model does not reconstruct.
    ///
    /// `input` is a row, or for a model with a front end a window of samples. `row` receives its features and `reference`
    /// those that it is compared with, both at the scale of the rows that the model reads.
    ///
    /// # Errors
    /// As [`contributions`](Self::contributions).
    pub fn explain(
        &mut self,
        input: &[i16],
        row: &mut [i16],
        reference: &mut [i16],
        out: &mut [Nats],
    ) -> Result<Explained, SessionError> {
        if self.model().program(ProgramKind::Features).is_some() {
            self.run(ProgramKind::Features, &[input], &mut [row], &mut Silence)?;
        } else if row.len() == input.len() {
            row.copy_from_slice(input);
        } else {
            return Err(SessionError::OutputLength { expected: input.len(), given: row.len() });
        }
        match self.model().program(ProgramKind::Reconstruct).and_then(|program| program.outputs[0]) {
            Some(written) => {
                self.reconstruct(input, reference)?;
                let scored = self.model().program(self.scorer()).and_then(|program| program.inputs[0]);
                let read = scored.map_or(written.frac, |vector| vector.frac);
                reference.iter_mut().for_each(|q| *q = rescaled(*q, written.frac, read));
            }
            None => reference.fill(0),
        }
        self.contributions(row, reference, out)
    }

    /// Divides the difference between the scores of `row` and `reference` among the features. `reference` is a row
    /// without a fault, for example the [reconstruction](Session::reconstruct) of `row`. `out` receives a number of nats
    /// for each feature. They add up to the difference exactly.
    ///
    /// The features of the row are replaced one after another by those of the reference, and then put back in the same
    /// order. A feature contributes the mean of the two changes of the score: the one while all later features are those of
    /// the row, and the one while they are those of the reference. This is the average of the marginal contributions in
    /// two opposite orders, an estimate of the Shapley values (Lundberg and Lee, arXiv 1705.07874, equation 4). It needs
    /// at most two scores for each feature, and works for every model that has a score without noise.
    ///
    /// For a model with a front end the rows are [features](ProgramKind::Features). Both rows are the same afterwards as
    /// before.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`], [`SessionError::InputLength`], and [`SessionError::OutputLength`] unless both
    /// `reference` and `out` have the length of the row. Nothing is exchanged then. After [`SessionError::Changed`] the rows
    /// may have exchanged some of their elements.
    pub fn contributions(
        &mut self,
        row: &mut [i16],
        reference: &mut [i16],
        out: &mut [Nats],
    ) -> Result<Explained, SessionError> {
        let kind = self.scorer();
        for given in [reference.len(), out.len()] {
            if given != row.len() {
                return Err(SessionError::OutputLength { expected: row.len(), given });
            }
        }
        let score = self.score_of(kind, row)?;
        let reference_score = self.exchange(kind, score, row, reference, out, |out, change| *out = -change)?;
        // Now the rows have changed places.
        let mut odd = 0;
        self.exchange(kind, reference_score, row, reference, out, |out, change| {
            let both = *out + change + odd;
            odd = both & 1;
            *out = both >> 1;
        })?;
        Ok(Explained { score: Nats::from_bits(score), reference: Nats::from_bits(reference_score) })
    }

    /// Exchanges the elements of two rows one after another, and passes on the change of the score of the first. Returns
    /// the last score.
    fn exchange(
        &mut self,
        kind: ProgramKind,
        mut score: i64,
        row: &mut [i16],
        other: &mut [i16],
        out: &mut [Nats],
        mut found: impl FnMut(&mut i64, i64),
    ) -> Result<i64, SessionError> {
        for (at, (given, out)) in other.iter_mut().zip(out).enumerate() {
            let before = score;
            if let Some(element) = row.get_mut(at).filter(|element| **element != *given) {
                core::mem::swap(element, given);
                score = self.score_of(kind, row)?;
            }
            let mut bits = out.to_bits();
            found(&mut bits, score.wrapping_sub(before));
            *out = Nats::from_bits(bits);
        }
        Ok(score)
    }

    /// The program that scores rows of features.
    fn scorer(&self) -> ProgramKind {
        match self.model().program(ProgramKind::ScoreFeatures) {
            Some(_) => ProgramKind::ScoreFeatures,
            None => ProgramKind::Score,
        }
    }

    fn score_of(&mut self, kind: ProgramKind, row: &[i16]) -> Result<i64, SessionError> {
        Ok(self.run(kind, &[row], &mut [], &mut Silence)?.to_bits())
    }
}

/// A number of `from` fractional bits with `to` of them, rounded half up and saturated.
fn rescaled(q: i16, from: u32, to: u32) -> i16 {
    let wide = i32::from(q);
    let scaled = match from.checked_sub(to) {
        Some(down) => (wide + ((1 << down.min(16)) >> 1)) >> down.min(16),
        None => wide << to.saturating_sub(from).min(15),
    };
    scaled.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}
