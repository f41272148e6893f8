//! Actor, critic and algorithm together.

use crate::{AgentConfig, Batch, NetworkConfig, UpdateMetrics};
use burn::tensor::Device;
use envs::Space;
use serde::{Deserialize, Serialize};

/// Why an agent could not go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AgentError {
    /// A number that is infinite or not a number.
    #[error("{0} is not finite")]
    NonFinite(String),
    /// Saved state of another agent.
    #[error("{0}")]
    Mismatch(String),
    /// A setting that this environment does not allow.
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

/// Everything that an agent's next updates depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentState {}

/// Acts: a plain copy of the policy on the CPU, with its observation normaliser.
pub struct Actor {}

/// Actor, critic and algorithm together.
pub struct Agent {}

impl Agent {
    /// A new agent for these spaces; its weights depend on `seed` only.
    ///
    /// # Errors
    /// When the settings do not fit the spaces (`network.squash` without finite action bounds).
    pub fn new(
        _config: &AgentConfig,
        _network: &NetworkConfig,
        _normalize_observations: bool,
        _observation_space: &Space,
        _action_space: &Space,
        _seed: u64,
        _device: Device,
    ) -> Result<Agent, AgentError> {
        todo!()
    }

    /// The policy that acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        todo!()
    }

    /// Improves actor and critic on a batch. `progress` is the share of the run that is done.
    ///
    /// # Errors
    /// When a loss or a gradient is not finite; the agent must not be used then.
    pub fn update(&mut self, _batch: &Batch, _progress: f64) -> Result<UpdateMetrics, AgentError> {
        todo!()
    }

    /// A copy of all state.
    #[must_use]
    pub fn state(&self) -> AgentState {
        todo!()
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another algorithm, network or environment.
    pub fn set_state(&mut self, _state: AgentState) -> Result<(), AgentError> {
        todo!()
    }

    /// Takes over the policy, and its observation normaliser if this agent has one, from another
    /// run's state; everything else stays fresh.
    ///
    /// # Errors
    /// When the policy has another shape, or one run normalises observations and the other does not.
    pub fn warm_start(&mut self, _other: &AgentState) -> Result<(), AgentError> {
        todo!()
    }
}
