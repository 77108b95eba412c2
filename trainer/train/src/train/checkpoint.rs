//! Checkpoints: everything a run needs to go on, in one safetensors file.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::arrays::{Arrays, arrays_from_bytes, arrays_to_bytes};

/// One line of `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Steps taken.
    pub step: u64,
    /// Mean training loss since the line before (nats per row).
    pub train_loss: f64,
    /// Validation bound (nats per row), where there are validation rows.
    pub validation_elbo: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// The scalars of a run. Sums and bounds that decide something are kept as bits, because text may round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Steps taken, over all starts.
    pub step: u64,
    /// The present start, counted from 0: see [`TrainRecipe::restarts`](crate::settings::TrainRecipe::restarts).
    #[serde(default)]
    pub start: u64,
    /// Steps taken before it.
    #[serde(default)]
    pub start_step: u64,
    /// Bits of its best validation bound.
    #[serde(default)]
    pub start_best: Option<u64>,
    /// The seed, and so every generator: each is a function of seed, purpose and step.
    pub seed: u64,
    /// Bits of the best validation bound of all starts.
    pub best_elbo: Option<u64>,
    /// The step it was reached at.
    pub best_step: u64,
    /// Validations since the best one of the present start.
    pub stale: u64,
    /// Bits of the sum of the training losses since the last line of metrics.
    pub loss_sum: u64,
    /// Number of those losses.
    pub loss_count: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Whether the run has ended.
    pub finished: bool,
    /// Metrics so far.
    pub metrics: Vec<Metric>,
}

impl State {
    /// The next start begins.
    pub fn restart(&mut self) {
        (self.start, self.start_step) = (self.start + 1, self.step);
        (self.start_best, self.stale, self.loss_sum, self.loss_count) = (None, 0, 0, 0);
    }
}

/// A run at rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Checkpoint {
    /// `weights.*`, `adam.*`, `ema.*` and `best.*`.
    pub arrays: Arrays,
    /// The scalars.
    pub state: State,
}

/// Key of the scalars in the file's metadata.
const STATE: &str = "elbo.state";

impl Checkpoint {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let state = serde_json::to_string(&self.state).map_err(|e| e.to_string())?;
        arrays_to_bytes(&self.arrays, HashMap::from([(STATE.to_owned(), state)]))
    }

    /// Reads a checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (arrays, metadata) = arrays_from_bytes(bytes)?;
        let state = metadata.get(STATE).ok_or("it has no training state")?;
        let state = serde_json::from_str(state).map_err(|e| e.to_string())?;
        Ok(Self { arrays, state })
    }

    /// Reads a checkpoint's file.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::from_bytes(&std::fs::read(path).map_err(|e| e.to_string())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_bit_for_bit() {
        let mut checkpoint = Checkpoint::default();
        checkpoint.arrays.insert("weights.a".into(), (vec![2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 1e-40]));
        checkpoint.arrays.insert("best.b".into(), (vec![1], vec![3.5]));
        checkpoint.state.best_elbo = Some((-23.3_f64).to_bits());
        checkpoint.state.metrics.push(Metric {
            step: 3,
            train_loss: 1.5,
            validation_elbo: None,
            learning_rate: 0.25,
            seconds: 2.0,
        });
        let bytes = checkpoint.to_bytes().unwrap();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), checkpoint);
        assert!(Checkpoint::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
