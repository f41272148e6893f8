//! PPO and TRPO on Burn, written once against [`burn::tensor::Device`].
//!
//! The order of one iteration: [`Collector::collect`] acts in the environments with a plain copy of
//! the policy, [`Collector::batch`] adds values and advantages, [`Agent::update`] takes the batch to
//! the device and improves actor and critic there. All state lives in plain vectors between
//! iterations, so that a checkpoint is a plain copy.

pub mod adam;
mod agent;
mod backend;
mod config;
pub mod conjugate_gradient;
pub mod critic;
pub mod distribution;
mod error;
mod evaluate;
mod fused;
pub mod gae;
mod greedy;
pub mod kernel;
mod metrics;
pub mod network;
pub mod ops;
pub mod policy;
pub mod ppo;
mod rollout;
pub mod samples;
mod schedule;
mod threads;
pub mod trpo;

pub use agent::{Agent, AgentState, AlgorithmState};
pub use backend::{Backend, BackendError};
pub use config::{
    Activation, AgentConfig, ConfigError, Init, KlPenalty, NetworkConfig, PpoConfig, PpoName,
    TrpoConfig, TrpoName,
};
pub use error::AgentError;
pub use evaluate::{Evaluation, Recording, evaluate, record};
pub use greedy::{Decision, Dense, GreedyPolicy, Normalization, Squash};
pub use metrics::{AlgorithmMetrics, UpdateMetrics};
pub use policy::Actor;
pub use rollout::{Batch, Collector, CollectorState};
pub use schedule::Schedule;
