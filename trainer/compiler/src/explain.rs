//! Which features make a row unlikely, computed as a board does.

use elbo::program::ProgramKind;
use elbo::{Explained, Nats, SessionError};

use crate::host::Runner;

/// The score of a row, divided among its features: see [`elbo::Session::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The scores of the row and of the one that it is compared with.
    pub scores: Explained,
    /// What each feature contributes to the difference.
    pub contributions: Vec<Nats>,
}

impl Explanation {
    /// Explains the score of `input`, a row at the model's scale, or with a front end a window of samples.
    ///
    /// # Errors
    /// [`SessionError::ProgramAbsent`] if the model has no score without noise, and [`SessionError::InputLength`].
    pub fn of(runner: &mut Runner<'_>, input: &[i16]) -> Result<Self, SessionError> {
        let features = runner.model().program(ProgramKind::Features).and_then(|program| program.outputs[0]);
        let len = features.map_or(input.len(), |features| features.len);
        let (mut row, mut reference) = (vec![0; len], vec![0; len]);
        let mut contributions = vec![Nats::default(); len];
        let scores = runner.session()?.explain(input, &mut row, &mut reference, &mut contributions)?;
        Ok(Self { scores, contributions })
    }

    /// The features with the largest contributions above 0, the largest first; at most `count`.
    pub fn largest(&self, count: usize) -> Vec<(usize, Nats)> {
        let mut all: Vec<(usize, Nats)> = self.contributions.iter().copied().enumerate().collect();
        all.retain(|(_, nats)| nats.to_bits() > 0);
        all.sort_by_key(|(at, nats)| (std::cmp::Reverse(*nats), *at));
        all.truncate(count);
        all
    }
}
