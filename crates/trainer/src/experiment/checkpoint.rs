//! Checkpoints: all state of a run in one file.

use crate::error::Error;
use crate::experiment::fingerprint::Fingerprint;
use crate::experiment::metrics::EndedBy;
use agents::checkpoint::{self, CheckpointError, Problem};
use agents::{AgentError, TrainingState};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that a run needs to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What it belongs to.
    pub fingerprint: Fingerprint,
    /// Agent, environments, and how far they are.
    pub training: TrainingState,
    /// Seconds spent altogether, in all processes that worked on the run.
    pub elapsed_seconds: f64,
    /// Best score of an evaluation so far.
    pub best_return: Option<f64>,
    /// What ended the run before its last step.
    pub ended_by: Option<EndedBy>,
}

impl Checkpoint {
    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses; an earlier file of that name is still there then.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        checkpoint::write(self, path).map_err(Error::io("can't be written", path))
    }

    /// Reads a checkpoint and checks that it is whole, and that a run can have led to what it counts.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let checkpoint: Checkpoint = checkpoint::read(path)?;
        let (seconds, best) = (checkpoint.elapsed_seconds, checkpoint.best_return);
        let possible = || {
            checkpoint.training.check()?;
            AgentError::check_saved("seconds it counts", seconds.is_finite() && seconds >= 0.0)?;
            AgentError::check_saved("best return", best.is_none_or(f64::is_finite))
        };
        match possible() {
            Ok(()) => Ok(checkpoint),
            Err(error) => Err(Problem::from(error).of(path)),
        }
    }
}
