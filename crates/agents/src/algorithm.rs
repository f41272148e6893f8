//! What an algorithm is, and its settings.

use crate::batch::Batch;
use crate::config::{Check, ConfigError};
use crate::constraint::{self, Constraint};
use crate::error::AgentError;
use crate::learner::Learner;
use crate::metrics::Metrics;
use envs::Rng;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// An algorithm at work: it improves a learner with one batch after the other.
pub trait Algorithm: Debug + Send {
    /// Improves actor and critics on a batch. `progress` is the share of the run that is done.
    ///
    /// # Errors
    /// When a number is not finite or the device fails; learner and algorithm are then as before.
    fn update(
        &mut self,
        learner: &mut Learner,
        batch: &Batch,
        progress: f64,
    ) -> Result<Metrics, AgentError>;

    /// Everything that the next updates depend on beside the learner.
    ///
    /// # Errors
    /// When it can't be written down.
    fn state(&self) -> Result<AlgorithmState, AgentError>;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it is of another algorithm or does not fit the learner; nothing has changed then.
    fn set_state(&mut self, state: &AlgorithmState, learner: &Learner) -> Result<(), AgentError>;
}

/// What an algorithm keeps from one update to the next, as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlgorithmState {
    algorithm: String,
    content: Vec<u8>,
}

impl AlgorithmState {
    /// The state of the algorithm of this name.
    ///
    /// # Errors
    /// When it can't be written down.
    pub fn new(algorithm: &str, state: &impl Serialize) -> Result<AlgorithmState, AgentError> {
        let content = postcard::to_stdvec(state)
            .map_err(|error| AgentError::Mismatch(format!("{algorithm}'s state: {error}")))?;
        Ok(AlgorithmState { algorithm: algorithm.to_owned(), content })
    }

    /// Reads the state of the algorithm of this name.
    ///
    /// # Errors
    /// When it is another algorithm's.
    pub fn read<S: DeserializeOwned>(&self, algorithm: &str) -> Result<S, AgentError> {
        if self.algorithm != algorithm {
            return Err(AgentError::Mismatch(format!(
                "the saved agent's algorithm is {}, this configuration's is {algorithm}",
                self.algorithm
            )));
        }
        postcard::from_bytes(&self.content)
            .map_err(|error| AgentError::Mismatch(format!("{algorithm}'s saved state: {error}")))
    }
}

/// What every algorithm's settings say about the rollouts that it learns from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollout {
    /// Steps per environment and iteration.
    pub steps: usize,
    /// Discount factor gamma.
    pub gamma: f64,
    /// Decay lambda of generalised advantage estimation.
    pub gae_lambda: f64,
}

/// An algorithm's settings: the keys of `[agent]` as a struct, with documentation, defaults and ranges.
/// One type like this, named in [`Algorithms`](crate::Algorithms), is all that an algorithm is to the trainer.
pub trait AlgorithmConfig:
    Serialize
    + DeserializeOwned
    + JsonSchema
    + Default
    + PartialEq
    + Debug
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The value of `agent.algorithm`.
    const NAME: &'static str;
    /// What people call it.
    const TITLE: &'static str;
    /// One line for `trainer list`.
    const DESCRIPTION: &'static str;
    /// Whether it is nothing without a constraint.
    const NEEDS_CONSTRAINT: bool = false;

    /// Steps, discount and lambda.
    fn rollout(&self) -> Rollout;

    /// Samples that one gradient is made of, in batches of this size.
    fn gradient_samples(&self, batch: usize) -> usize;

    /// The constraints that it keeps; none unless it says so. The learner has a critic for each.
    fn constraints(&self) -> &[Constraint] {
        &[]
    }

    /// Checks every value but those of [`AlgorithmConfig::rollout`] and of the constraints, for batches of
    /// this size.
    ///
    /// # Errors
    /// The first value out of its range.
    fn validate(&self, check: &Check, batch: usize) -> Result<(), ConfigError>;

    /// Fills in what depends on other keys, so that the resolved configuration shows it.
    #[must_use]
    fn resolved(self) -> Self {
        self
    }

    /// The algorithm for this learner, before its first update; `rng` is the stream of its shuffles.
    fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm>;
}

/// An [`AlgorithmConfig`] of any algorithm.
trait AnyConfig: Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn rollout(&self) -> Rollout;
    fn gradient_samples(&self, batch: usize) -> usize;
    fn constraints(&self) -> &[Constraint];
    fn needs_constraint(&self) -> bool;
    fn validate(&self, check: &Check, batch: usize) -> Result<(), ConfigError>;
    fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm>;
    fn settings(&self) -> &dyn erased_serde::Serialize;
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<C: AlgorithmConfig> AnyConfig for C {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn rollout(&self) -> Rollout {
        AlgorithmConfig::rollout(self)
    }

    fn gradient_samples(&self, batch: usize) -> usize {
        AlgorithmConfig::gradient_samples(self, batch)
    }

    fn constraints(&self) -> &[Constraint] {
        AlgorithmConfig::constraints(self)
    }

    fn needs_constraint(&self) -> bool {
        C::NEEDS_CONSTRAINT
    }

    fn validate(&self, check: &Check, batch: usize) -> Result<(), ConfigError> {
        AlgorithmConfig::validate(self, check, batch)
    }

    fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm> {
        AlgorithmConfig::algorithm(self, learner, rng)
    }

    fn settings(&self) -> &dyn erased_serde::Serialize {
        self
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<C>() == Some(self)
    }
}

/// An algorithm with its settings, as `[agent]` gives them.
///
/// ```
/// use agents::{AgentConfig, PpoConfig};
///
/// let config = AgentConfig::new(PpoConfig { rollout_steps: 32, ..PpoConfig::default() });
/// assert_eq!((config.name(), config.rollout().steps), ("ppo", 32));
/// // Two environments give batches of 64 samples, which minibatches of 64 just fit into.
/// config.validate(2).unwrap();
/// assert_eq!(config.validate(1).unwrap_err().key, "agent.minibatch_size");
/// let settings: &PpoConfig = config.settings().unwrap();
/// assert!(settings.clip_range.is_some(), "defaults that depend on other keys are filled in");
/// ```
#[derive(Clone, Debug)]
pub struct AgentConfig(Arc<dyn AnyConfig>);

impl AgentConfig {
    /// These settings.
    #[must_use]
    pub fn new(settings: impl AlgorithmConfig) -> AgentConfig {
        AgentConfig(Arc::new(settings.resolved()))
    }

    /// Name as `agent.algorithm` gives it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Steps, discount and lambda.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        self.0.rollout()
    }

    /// Samples that one gradient is made of, in batches of this size.
    #[must_use]
    pub fn gradient_samples(&self, batch: usize) -> usize {
        self.0.gradient_samples(batch)
    }

    /// The constraints that the algorithm keeps.
    #[must_use]
    pub fn constraints(&self) -> &[Constraint] {
        self.0.constraints()
    }

    /// Whether an evaluation takes the policy's most probable actions. Where there is a constraint it
    /// samples them: what keeps a limit may do so by chance alone, and its most probable actions break it.
    #[must_use]
    pub fn evaluates_greedily(&self) -> bool {
        self.constraints().is_empty()
    }

    /// The settings, where the algorithm is this one.
    #[must_use]
    pub fn settings<C: AlgorithmConfig>(&self) -> Option<&C> {
        self.0.as_any().downcast_ref()
    }

    /// Checks every value, for batches of `num_envs` times the rollout's steps.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self, num_envs: usize) -> Result<(), ConfigError> {
        let check = Check::table("agent");
        let Rollout { steps, gamma, gae_lambda } = self.rollout();
        check.that("rollout_steps", (1..=1 << 24).contains(&steps), steps, "1 to 16777216")?;
        check.range("gamma", gamma, 0.0, 1.0)?;
        check.range("gae_lambda", gae_lambda, 0.0, 1.0)?;
        if self.0.needs_constraint() && self.constraints().is_empty() {
            let name = self.name();
            let message = format!(
                "{name} keeps a limit on a cost: give [agent.constraint] with `cost` and `limit`"
            );
            check.fail("constraint", message)?;
        }
        constraint::validate(self.constraints(), &check)?;
        self.0.validate(&check, num_envs.saturating_mul(steps))
    }

    /// The algorithm for this learner, before its first update; `rng` is the stream of its shuffles.
    #[must_use]
    pub fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm> {
        self.0.algorithm(learner, rng)
    }
}

impl PartialEq for AgentConfig {
    fn eq(&self, other: &AgentConfig) -> bool {
        self.0.equals(other.0.as_any())
    }
}

impl Serialize for AgentConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<'a> {
            algorithm: &'static str,
            #[serde(flatten)]
            settings: &'a dyn erased_serde::Serialize,
        }
        Named { algorithm: self.name(), settings: self.0.settings() }.serialize(serializer)
    }
}
