//! What can go wrong while an agent works.

use crate::backend::BackendError;
use crate::config::ConfigError;

/// Why an agent could not go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AgentError {
    /// A number that is infinite or not a number.
    #[error("the {0} is not finite")]
    NonFinite(String),
    /// A cost that is infinite, not a number or below 0.
    #[error("the {0}; a cost is a finite number, 0 or more")]
    Cost(String),
    /// Saved state of another agent.
    #[error("{0}")]
    Mismatch(String),
    /// Saved state that no agent can have had.
    #[error("the saved {0} has numbers that it can't have")]
    Impossible(String),
    /// A setting that is out of its range, or that this environment does not allow.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A backend without a device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// An environment that works elsewhere works no more.
    #[error("the environment failed: {0}")]
    Environment(String),
    /// An environment or a backend panicked.
    #[error("the environment or the backend broke down: {0}")]
    Fault(String),
}

impl AgentError {
    /// Fails with the name of the quantity unless it is finite.
    ///
    /// # Errors
    /// As said.
    pub fn check_finite(name: &str, value: f64) -> Result<(), AgentError> {
        if value.is_finite() { Ok(()) } else { Err(AgentError::NonFinite(name.into())) }
    }

    /// Fails with the name and place of the first cost that is none, of rows by these names; `place` says
    /// which row is meant.
    pub(crate) fn check_costs(
        names: &[String],
        rows: &[f64],
        place: impl Fn(usize) -> String,
    ) -> Result<(), AgentError> {
        match rows.iter().position(|cost| !cost.is_finite() || *cost < 0.0) {
            None => Ok(()),
            Some(bad) => {
                let (name, place) = (&names[bad % names.len()], place(bad / names.len()));
                Err(AgentError::Cost(format!("cost `{name}`{place} is {}", rows[bad])))
            }
        }
    }

    /// Fails unless all `[env][observation]` are finite; the environment's global index is `first_env` or more.
    pub(crate) fn check_observations(
        observations: &[f32],
        width: usize,
        first_env: usize,
    ) -> Result<(), AgentError> {
        match observations.iter().position(|number| !number.is_finite()) {
            None => Ok(()),
            Some(bad) => {
                let env = first_env + bad / width;
                Err(AgentError::NonFinite(format!("observation of environment {env}")))
            }
        }
    }

    /// Fails unless what a saved quantity must fulfil holds.
    ///
    /// # Errors
    /// As said.
    pub fn check_saved(name: &str, holds: bool) -> Result<(), AgentError> {
        if holds {
            return Ok(());
        }
        Err(AgentError::Impossible(name.into()))
    }

    /// Fails unless a saved vector has the expected length.
    pub(crate) fn check_length(
        name: &str,
        expected: usize,
        found: usize,
    ) -> Result<(), AgentError> {
        if expected == found {
            return Ok(());
        }
        Err(AgentError::Mismatch(format!(
            "the saved {name} has {found} numbers, this configuration needs {expected}"
        )))
    }
}
