#![doc = include_str!("../README.md")]
//! # Inside
//!
//! Everything is written once against [`burn::tensor::Device`]. The order of one iteration:
//! [`Collector::collect`] acts in the environments with a plain copy of
//! the policy, [`Collector::batch`] adds values and advantages, [`Agent::update`] takes the batch to
//! the device and improves actor and critics there. All state lives in plain vectors between
//! iterations, so that a checkpoint is a plain copy.
//!
//! An [`Agent`] is a [`Learner`] and an [`Algorithm`]; [`Algorithms`] finds an algorithm by its name.

#[cfg(not(feature = "flex"))]
compile_error!("the feature `flex` is needed: policies are read and evaluated on it");

pub mod adam;
mod agent;
mod algorithm;
mod algorithms;
mod backend;
mod batch;
pub mod checkpoint;
mod config;
pub mod conjugate_gradient;
mod constraint;
pub mod cpo;
pub mod distribution;
mod error;
mod evaluate;
pub mod export;
pub mod files;
pub mod gae;
mod greedy;
pub mod lagrangian;
mod learner;
mod metrics;
pub mod minibatch;
pub mod network;
pub mod ops;
mod orthogonal;
pub mod policy;
pub mod ppo;
pub mod ranks;
mod recent;
mod rollout;
mod schedule;
mod stakes;
pub mod threads;
mod training;
mod transfer;
pub mod trpo;

pub use agent::{Agent, AgentState};
pub use algorithm::{AgentConfig, Algorithm, AlgorithmConfig, AlgorithmState, Rollout};
pub use algorithms::{Algorithms, RegisteredAlgorithm};
pub use backend::{Backend, BackendError};
pub use batch::{Batch, Signal};
pub use checkpoint::CheckpointError;
pub use config::{Activation, Check, ConfigError, Init, NetworkConfig, keys};
pub use constraint::{Constraint, Constraints, cost_indices, cost_metric};
pub use cpo::CpoConfig;
pub use error::AgentError;
pub use evaluate::{
    EVALUATION_ENVIRONMENTS, Evaluation, MeanCost, Recording, evaluate, evaluate_among, record,
};
pub use export::ExportFormat;
pub use greedy::{Decision, Dense, GreedyPolicy, Normalization, Squash};
pub use learner::{Critic, CriticState, Learner};
pub use metrics::{Metric, Metrics, PolicyMetrics};
pub use minibatch::Minibatch;
pub use policy::Actor;
pub use ppo::{KlPenalty, PpoConfig};
pub use ranks::{Messenger, Ranks};
pub use recent::RecentEpisodes;
pub use rollout::{Collector, CollectorState};
pub use schedule::Schedule;
pub use threads::Threads;
pub use training::{Iteration, Progress, Training, TrainingConfig, TrainingState};
pub use transfer::read;
pub use trpo::TrpoConfig;
