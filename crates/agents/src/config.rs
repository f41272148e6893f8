//! Hyperparameters, as a TOML file names them.

use crate::schedule::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The networks of actor and critic: the same shape, separate parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Units of each hidden layer; `[]` is a linear function.
    #[schemars(length(max = 32), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<usize>,
    /// Nonlinearity after each hidden layer.
    pub activation: Activation,
    /// How weights are drawn.
    pub init: Init,
    /// Initial log standard deviation of a Gaussian policy, one for all actions.
    #[schemars(range(min = -20.0, max = 2.0))]
    pub log_std_init: f64,
    /// Squash a Gaussian policy's actions through tanh into the environment's bounds, instead of
    /// clipping them.
    pub squash: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig {
            hidden: vec![64, 64],
            activation: Activation::Tanh,
            init: Init::Orthogonal,
            log_std_init: 0.0,
            squash: false,
        }
    }
}

/// Nonlinearity of a hidden layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

/// How weights are drawn; biases start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Orthogonal matrices, scaled by sqrt(2) in hidden layers, 0.01 in the policy's last layer and
    /// 1 in the critic's (the usual choice for PPO; Saxe et al. 2014).
    Orthogonal,
    /// Uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010), the policy's last
    /// layer scaled by 0.01.
    Xavier,
}

/// The algorithm and its hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AgentConfig {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
    /// Trust region policy optimisation.
    Trpo(TrpoConfig),
}

/// The value of `agent.algorithm` for PPO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PpoName {
    /// `algorithm = "ppo"`
    #[default]
    #[serde(rename = "ppo")]
    Ppo,
}

/// The value of `agent.algorithm` for TRPO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrpoName {
    /// `algorithm = "trpo"`
    #[default]
    #[serde(rename = "trpo")]
    Trpo,
}

/// Hyperparameters of PPO (Schulman et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Proximal policy optimisation.
    pub algorithm: PpoName,
    /// Steps per environment and iteration.
    #[schemars(range(min = 1, max = 1 << 24))]
    pub rollout_steps: usize,
    /// Discount factor gamma, in `[0, 1]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// Decay lambda of generalised advantage estimation, in `[0, 1]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gae_lambda: f64,
    /// Adam's learning rate for the actor, and for the critic unless it has its own.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: Schedule,
    /// Adam's learning rate for the critic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0), example = 1e-3)]
    pub critic_learning_rate: Option<Schedule>,
    /// Adam's epsilon.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub adam_epsilon: f64,
    /// Passes over the batch in each iteration.
    #[schemars(range(min = 1, max = 10_000))]
    pub epochs: usize,
    /// Samples in a minibatch; the last of an epoch may be smaller.
    #[schemars(range(min = 1, max = 1 << 24))]
    pub minibatch_size: usize,
    /// Whether each minibatch's advantages are shifted to mean 0 and scaled to deviation 1.
    pub normalize_advantages: bool,
    /// Clip range epsilon of the ratio; 0.2 where nothing is given. Not together with `kl_penalty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 100.0), extend("default" = Self::DEFAULT_CLIP_RANGE))]
    pub clip_range: Option<Schedule>,
    /// Penalise the KL divergence with an adaptive coefficient instead of clipping the ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = KlPenalty::default())]
    pub kl_penalty: Option<KlPenalty>,
    /// Clip range of the value function around its old prediction; none where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0), example = 0.2)]
    pub value_clip_range: Option<f64>,
    /// Weight of the entropy bonus.
    #[schemars(range(min = 0.0, max = 1e3))]
    pub entropy_coef: f64,
    /// Weight of the value loss; it matters beside `max_grad_norm`, which sees both gradients.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub value_coef: f64,
    /// Largest Euclidean norm of the gradient of all parameters, actor and critic together.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub max_grad_norm: f64,
    /// Stop the epochs of an iteration once the approximate KL exceeds 1.5 times this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0), example = 0.015)]
    pub target_kl: Option<f64>,
}

impl Default for PpoConfig {
    fn default() -> Self {
        PpoConfig {
            algorithm: PpoName::Ppo,
            rollout_steps: 128,
            gamma: 0.99,
            gae_lambda: 0.95,
            learning_rate: Schedule::constant(3e-4),
            critic_learning_rate: None,
            adam_epsilon: 1e-5,
            epochs: 10,
            minibatch_size: 64,
            normalize_advantages: true,
            clip_range: None,
            kl_penalty: None,
            value_clip_range: None,
            entropy_coef: 0.0,
            value_coef: 0.5,
            max_grad_norm: 0.5,
            target_kl: None,
        }
    }
}

impl PpoConfig {
    /// Clip range where nothing else is given (Schulman et al. 2017, table 3).
    pub const DEFAULT_CLIP_RANGE: f64 = 0.2;
}

/// The KL penalty of PPO with its adaptive coefficient (Schulman et al. 2017, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KlPenalty {
    /// KL divergence that the coefficient is steered to, in nats.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub target: f64,
    /// Coefficient in the first iteration.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub initial_coef: f64,
}

impl Default for KlPenalty {
    fn default() -> Self {
        KlPenalty { target: 0.01, initial_coef: 1.0 }
    }
}

/// Hyperparameters of TRPO (Schulman et al. 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrpoConfig {
    /// Trust region policy optimisation.
    pub algorithm: TrpoName,
    /// Steps per environment and iteration.
    #[schemars(range(min = 1, max = 1 << 24))]
    pub rollout_steps: usize,
    /// Discount factor gamma, in `[0, 1]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// Decay lambda of generalised advantage estimation, in `[0, 1]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gae_lambda: f64,
    /// Trust region: largest mean KL(old, new) of a step, in nats.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub max_kl: Schedule,
    /// Conjugate-gradient iterations at most.
    #[schemars(range(min = 1, max = 10_000))]
    pub cg_iterations: usize,
    /// Conjugate gradient stops when the squared residual falls below this.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cg_tolerance: f64,
    /// Multiple of the identity added to the Fisher matrix.
    #[schemars(range(min = 0.0, max = 1e3))]
    pub damping: f64,
    /// Step sizes that the line search tries at most.
    #[schemars(range(min = 1, max = 1000))]
    pub line_search_steps: usize,
    /// Factor from one step size of the line search to the next, in `(0, 1)`.
    #[schemars(range(min = 0.01, max = 0.99))]
    pub line_search_shrink: f64,
    /// Whether the batch's advantages are shifted to mean 0 and scaled to deviation 1.
    pub normalize_advantages: bool,
    /// Adam's learning rate for the critic.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub critic_learning_rate: Schedule,
    /// Passes over the batch in which the critic is fitted.
    #[schemars(range(min = 1, max = 10_000))]
    pub critic_epochs: usize,
    /// Samples in a minibatch of the critic.
    #[schemars(range(min = 1, max = 1 << 24))]
    pub critic_minibatch_size: usize,
    /// Adam's epsilon.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0.0))]
    pub adam_epsilon: f64,
}

impl Default for TrpoConfig {
    fn default() -> Self {
        TrpoConfig {
            algorithm: TrpoName::Trpo,
            rollout_steps: 128,
            gamma: 0.99,
            gae_lambda: 0.95,
            max_kl: Schedule::constant(0.01),
            cg_iterations: 10,
            cg_tolerance: 1e-10,
            damping: 0.1,
            line_search_steps: 10,
            line_search_shrink: 0.8,
            normalize_advantages: true,
            critic_learning_rate: Schedule::constant(1e-3),
            critic_epochs: 10,
            critic_minibatch_size: 128,
            adam_epsilon: 1e-5,
        }
    }
}

/// A hyperparameter that is out of its range, by its dotted key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// Dotted key in the configuration, `agent.gamma`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl NetworkConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut check = Check { table: "network" };
        for &units in &self.hidden {
            check.that(
                "hidden",
                (1..=65_536).contains(&units),
                units,
                "1 to 65536 units a layer",
            )?;
        }
        check.that("hidden", self.hidden.len() <= 32, self.hidden.len(), "at most 32 layers")?;
        check.range("log_std_init", self.log_std_init, -20.0, 2.0)
    }
}

impl AgentConfig {
    /// Name as `agent.algorithm` gives it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            AgentConfig::Ppo(_) => "ppo",
            AgentConfig::Trpo(_) => "trpo",
        }
    }

    /// Steps per environment and iteration.
    #[must_use]
    pub fn rollout_steps(&self) -> usize {
        match self {
            AgentConfig::Ppo(ppo) => ppo.rollout_steps,
            AgentConfig::Trpo(trpo) => trpo.rollout_steps,
        }
    }

    /// Discount factor.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        match self {
            AgentConfig::Ppo(ppo) => ppo.gamma,
            AgentConfig::Trpo(trpo) => trpo.gamma,
        }
    }

    /// Decay of generalised advantage estimation.
    #[must_use]
    pub fn gae_lambda(&self) -> f64 {
        match self {
            AgentConfig::Ppo(ppo) => ppo.gae_lambda,
            AgentConfig::Trpo(trpo) => trpo.gae_lambda,
        }
    }

    /// Checks every value, for batches of `num_envs` times `rollout_steps` samples.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self, num_envs: usize) -> Result<(), ConfigError> {
        let mut check = Check { table: "agent" };
        let steps = self.rollout_steps();
        check.that("rollout_steps", (1..=1 << 24).contains(&steps), steps, "1 to 16777216")?;
        check.range("gamma", self.gamma(), 0.0, 1.0)?;
        check.range("gae_lambda", self.gae_lambda(), 0.0, 1.0)?;
        let batch = num_envs * steps;
        match self {
            AgentConfig::Ppo(ppo) => ppo.validate(&mut check, batch),
            AgentConfig::Trpo(trpo) => trpo.validate(&mut check, batch),
        }
    }
}

impl PpoConfig {
    fn validate(&self, check: &mut Check, batch: usize) -> Result<(), ConfigError> {
        check.learning_rate("learning_rate", self.learning_rate)?;
        if let Some(rate) = self.critic_learning_rate {
            check.learning_rate("critic_learning_rate", rate)?;
        }
        check.positive("adam_epsilon", self.adam_epsilon)?;
        check.that("epochs", (1..=10_000).contains(&self.epochs), self.epochs, "1 to 10000")?;
        check.minibatch("minibatch_size", self.minibatch_size, batch)?;
        if let Some(clip) = self.clip_range {
            check.range("clip_range", clip.start, 1e-6, 100.0)?;
            check.range("clip_range", clip.end, 0.0, 100.0)?;
        }
        if let Some(penalty) = self.kl_penalty {
            if self.clip_range.is_some() {
                return check.fail(
                    "clip_range",
                    "can't stand beside kl_penalty, which replaces the clip: remove one of them",
                );
            }
            check.positive("kl_penalty.target", penalty.target)?;
            check.positive("kl_penalty.initial_coef", penalty.initial_coef)?;
        }
        if let Some(range) = self.value_clip_range {
            check.positive("value_clip_range", range)?;
        }
        check.range("entropy_coef", self.entropy_coef, 0.0, 1e3)?;
        check.positive("value_coef", self.value_coef)?;
        check.positive("max_grad_norm", self.max_grad_norm)?;
        match self.target_kl {
            Some(target) => check.positive("target_kl", target),
            None => Ok(()),
        }
    }
}

impl TrpoConfig {
    fn validate(&self, check: &mut Check, batch: usize) -> Result<(), ConfigError> {
        check.positive("max_kl", self.max_kl.start)?;
        check.positive("max_kl", self.max_kl.end)?;
        let iterations = self.cg_iterations;
        check.that(
            "cg_iterations",
            (1..=10_000).contains(&iterations),
            iterations,
            "1 to 10000",
        )?;
        check.range("cg_tolerance", self.cg_tolerance, 0.0, 1.0)?;
        check.range("damping", self.damping, 0.0, 1e3)?;
        let steps = self.line_search_steps;
        check.that("line_search_steps", (1..=1000).contains(&steps), steps, "1 to 1000")?;
        check.range("line_search_shrink", self.line_search_shrink, 0.01, 0.99)?;
        check.learning_rate("critic_learning_rate", self.critic_learning_rate)?;
        let epochs = self.critic_epochs;
        check.that("critic_epochs", (1..=10_000).contains(&epochs), epochs, "1 to 10000")?;
        check.minibatch("critic_minibatch_size", self.critic_minibatch_size, batch)?;
        check.positive("adam_epsilon", self.adam_epsilon)
    }
}

/// Names the table in every message.
struct Check {
    table: &'static str,
}

impl Check {
    fn fail(&mut self, key: &str, message: impl Into<String>) -> Result<(), ConfigError> {
        Err(ConfigError { key: format!("{}.{key}", self.table), message: message.into() })
    }

    fn that(
        &mut self,
        key: &str,
        holds: bool,
        found: impl std::fmt::Display,
        right: &str,
    ) -> Result<(), ConfigError> {
        if holds { Ok(()) } else { self.fail(key, format!("is {found}; must be {right}")) }
    }

    fn range(&mut self, key: &str, value: f64, low: f64, high: f64) -> Result<(), ConfigError> {
        let holds = (low..=high).contains(&value);
        self.that(key, holds, value, &format!("a number from {low} to {high}"))
    }

    fn positive(&mut self, key: &str, value: f64) -> Result<(), ConfigError> {
        let holds = value > 0.0 && value <= 1e9;
        self.that(key, holds, value, "a number above 0, at most 1e9")
    }

    fn learning_rate(&mut self, key: &str, rate: Schedule) -> Result<(), ConfigError> {
        self.range(key, rate.start, 0.0, 10.0)?;
        self.range(key, rate.end, 0.0, 10.0)
    }

    fn minibatch(&mut self, key: &str, size: usize, batch: usize) -> Result<(), ConfigError> {
        let right =
            format!("1 to {batch}, the size of the batch (env.num_envs times agent.rollout_steps)");
        self.that(key, (1..=batch).contains(&size), size, &right)
    }
}
