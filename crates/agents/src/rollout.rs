//! Collecting experience.

use crate::{Agent, AgentError};
use envs::{Episode, VectorEnv};
use serde::{Deserialize, Serialize};

/// One iteration's experience with values and advantages.
pub struct Batch {}

/// Everything that the next rollouts depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectorState {}

/// Acts in the environments and writes what happens into preallocated buffers.
pub struct Collector {}

impl Collector {
    /// Buffers for `rollout_steps` steps of each environment.
    #[must_use]
    pub fn new(
        _envs: VectorEnv,
        _agent: &Agent,
        _normalize_rewards: bool,
        _seed: u64,
    ) -> Collector {
        todo!()
    }

    /// Acts for one iteration; returns the episodes that ended in it. Updates the agent's
    /// observation normaliser on the way.
    ///
    /// # Errors
    /// When an observation, a reward or an action is not finite.
    pub fn collect(&mut self, _agent: &mut Agent) -> Result<&[Episode], AgentError> {
        todo!()
    }

    /// The collected experience with values and advantages under the agent's critic.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn batch(&mut self, _agent: &Agent) -> Result<&Batch, AgentError> {
        todo!()
    }

    /// A copy of all state, environments included.
    #[must_use]
    pub fn state(&self) -> CollectorState {
        todo!()
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another environment or number of environments.
    pub fn set_state(&mut self, _state: CollectorState) -> Result<(), AgentError> {
        todo!()
    }
}
