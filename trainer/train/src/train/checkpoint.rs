//! Checkpoints: everything that is needed to resume a training, in one safetensors file.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::arrays::{Arrays, arrays_from_bytes, arrays_to_bytes};

/// The metrics of one validation, a line of `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Number of steps taken.
    pub step: u64,
    /// Mean training loss since the previous entry (nats per row).
    pub train_loss: f64,
    /// Validation bound (nats per row), or `None` if there are no validation rows.
    pub validation_elbo: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// The scalars of a training. Values on which decisions depend are stored as bits, because text may round them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Number of steps taken, in all starts.
    pub step: u64,
    /// The current start, counted from 0. See [`TrainRecipe::restarts`](crate::settings::TrainRecipe::restarts).
    #[serde(default)]
    pub start: u64,
    /// Number of steps taken before the current start.
    #[serde(default)]
    pub start_step: u64,
    /// Bits of the best validation bound of the current start.
    #[serde(default)]
    pub start_best: Option<u64>,
    /// The seed. Every random generator is a function of the seed, its purpose and the step.
    pub seed: u64,
    /// Bits of the best validation bound of all starts.
    pub best_elbo: Option<u64>,
    /// The step at which the best validation bound was reached.
    pub best_step: u64,
    /// Number of validations since the best one of the current start.
    pub stale: u64,
    /// Bits of the sum of the training losses since the last entry of the metrics.
    pub loss_sum: u64,
    /// Number of losses in the sum.
    pub loss_count: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Whether the training has ended.
    pub finished: bool,
    /// All metrics so far.
    pub metrics: Vec<Metric>,
}

impl State {
    /// Updates the state for the next start.
    pub fn restart(&mut self) {
        (self.start, self.start_step) = (self.start + 1, self.step);
        (self.start_best, self.stale, self.loss_sum, self.loss_count) = (None, 0, 0, 0);
    }
}

/// The complete state of a training.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Checkpoint {
    /// Arrays named `weights.*`, `adam.*`, `ema.*` and `best.*`.
    pub arrays: Arrays,
    /// The scalars.
    pub state: State,
}

/// Key of the scalars in the metadata of the file.
const STATE: &str = "elbo.state";

impl Checkpoint {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let state = serde_json::to_string(&self.state).map_err(|e| e.to_string())?;
        arrays_to_bytes(&self.arrays, HashMap::from([(STATE.to_owned(), state)]))
    }

    /// Parses the bytes of a checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (arrays, metadata) = arrays_from_bytes(bytes)?;
        let state = metadata.get(STATE).ok_or("it has no training state")?;
        let state = serde_json::from_str(state).map_err(|e| e.to_string())?;
        Ok(Self { arrays, state })
    }

    /// Reads a checkpoint from a file.
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
