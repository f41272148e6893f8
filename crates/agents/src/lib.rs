//! PPO and TRPO on Burn, written once against [`burn::tensor::Device`].
//!
//! The order of one iteration: [`Collector::collect`] acts in the environments with a plain copy of
//! the policy, [`Collector::batch`] adds values and advantages, [`Agent::update`] takes the batch to
//! the device and improves actor and critic there. All state lives in plain vectors between
//! iterations, so that a checkpoint is a plain copy.

mod agent;
mod backend;
mod config;
mod evaluate;
mod metrics;
mod rollout;

pub use agent::{Actor, Agent, AgentError, AgentState};
pub use backend::{Backend, BackendError};
pub use config::{
    Activation, AgentConfig, ConfigError, Init, KlPenalty, NetworkConfig, PpoConfig, PpoName,
    Schedule, TrpoConfig, TrpoName,
};
pub use evaluate::{Evaluation, evaluate};
pub use metrics::UpdateMetrics;
pub use rollout::{Batch, Collector, CollectorState};
