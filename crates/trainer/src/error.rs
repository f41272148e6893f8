//! One error for the whole program, with the exit code it leads to.

use crate::terminal::command;
use agents::{AgentError, BackendError, CheckpointError};
use std::path::{Path, PathBuf};

/// Why a command did not end well. `Display` is the whole message for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration, an override or an argument that can't be used.
    #[error("{0}")]
    Usage(String),
    /// What the program itself could not do, whatever it was asked for: draw or encode something.
    #[error("{0}")]
    Failed(String),
    /// A checkpoint that can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A backend without a device on this machine.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The agent could not go on, for instance because of a loss that is not finite.
    #[error(
        "iteration {iteration}: {source}; {}",
        last_good.as_ref().map_or_else(
            || "there is no checkpoint yet".to_owned(),
            |path| format!("the last good checkpoint is {}", path.display())
        )
    )]
    Training {
        /// Iteration that failed, counted from 1.
        iteration: u64,
        /// What failed.
        source: AgentError,
        /// Newest checkpoint of the run.
        last_good: Option<PathBuf>,
    },
    /// The agent failed outside training.
    #[error("{0}")]
    Agent(AgentError),
    /// An environment's pictures that can't be shown.
    #[error("environment {environment} can't be shown as it draws itself: {problem}")]
    Drawing {
        /// Its name.
        environment: String,
        /// What is wrong with the pictures.
        problem: String,
    },
    /// A file or directory could not be read or written.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// What was tried, as in "can't be read".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Ctrl-C; a checkpoint was saved.
    #[error("interrupted at step {steps}; go on with\n  {}", command("resume", directory))]
    Interrupted {
        /// Steps done, all of them in the checkpoint.
        steps: u64,
        /// The run directory.
        directory: PathBuf,
    },
    /// Ctrl-C during a sweep; its running runs have saved checkpoints.
    #[error(
        "interrupted with {finished} of {runs} runs finished; go on with\n  {}",
        command("resume", directory)
    )]
    SweepInterrupted {
        /// Runs that are done.
        finished: usize,
        /// Runs of the sweep.
        runs: usize,
        /// The sweep's directory.
        directory: PathBuf,
    },
    /// A sweep whose trials did not all end well.
    #[error("{failed} of {trials} trials failed; `reason` in {} says why", results.display())]
    TrialsFailed {
        /// How many failed.
        failed: usize,
        /// How many there are.
        trials: usize,
        /// The table with the reasons.
        results: PathBuf,
    },
}

impl Error {
    /// Wraps a system error with the path it happened on, for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// 1: failed while running; 2: bad usage, configuration or checkpoint; 130: interrupted after a
    /// checkpoint was saved.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Checkpoint(_) | Error::Backend(_) => 2,
            Error::Training { .. }
            | Error::Agent(_)
            | Error::Drawing { .. }
            | Error::Failed(_)
            | Error::Io { .. }
            | Error::TrialsFailed { .. } => 1,
            Error::Interrupted { .. } | Error::SweepInterrupted { .. } => 130,
        }
    }
}
