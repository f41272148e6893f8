//! PPO's hyperparameters, as a TOML file names them.

use super::Ppo;
use crate::algorithm::{Algorithm, AlgorithmConfig, Rollout};
use crate::config::{Check, ConfigError};
use crate::constraint::{Constraint, Constraints};
use crate::learner::Learner;
use crate::schedule::Schedule;
use envs::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hyperparameters of PPO (Schulman et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
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
    /// A batch whose advantages deviate by less than this share of the deviation of all returns so far
    /// makes the actor's learning rate smaller by as much.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub advantage_floor: f64,
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
    pub entropy_coef: Schedule,
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
    /// Keep the mean cost of an episode within a limit; that is PPO-Lagrangian.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = Constraints::example())]
    pub constraint: Option<Constraints>,
}

impl Default for PpoConfig {
    fn default() -> Self {
        PpoConfig {
            rollout_steps: 128,
            gamma: 0.99,
            gae_lambda: 0.95,
            learning_rate: Schedule::constant(3e-4),
            critic_learning_rate: None,
            adam_epsilon: 1e-5,
            epochs: 10,
            minibatch_size: 64,
            normalize_advantages: true,
            advantage_floor: 0.0,
            clip_range: None,
            kl_penalty: None,
            value_clip_range: None,
            entropy_coef: Schedule::constant(0.0),
            value_coef: 0.5,
            max_grad_norm: 0.5,
            target_kl: None,
            constraint: None,
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

impl AlgorithmConfig for PpoConfig {
    const NAME: &'static str = "ppo";
    const TITLE: &'static str = "PPO";
    const DESCRIPTION: &'static str = "proximal policy optimisation (Schulman et al. 2017)";

    fn rollout(&self) -> Rollout {
        Rollout { steps: self.rollout_steps, gamma: self.gamma, gae_lambda: self.gae_lambda }
    }

    fn gradient_samples(&self, _batch: usize) -> usize {
        self.minibatch_size
    }

    fn constraints(&self) -> &[Constraint] {
        self.constraint.as_deref().unwrap_or_default()
    }

    fn validate(&self, check: &Check, batch: usize) -> Result<(), ConfigError> {
        check.schedule("learning_rate", self.learning_rate, 0.0, 10.0)?;
        if let Some(rate) = self.critic_learning_rate {
            check.schedule("critic_learning_rate", rate, 0.0, 10.0)?;
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
        check.range("advantage_floor", self.advantage_floor, 0.0, 1.0)?;
        check.schedule("entropy_coef", self.entropy_coef, 0.0, 1e3)?;
        check.positive("value_coef", self.value_coef)?;
        check.positive("max_grad_norm", self.max_grad_norm)?;
        match self.target_kl {
            Some(target) => check.positive("target_kl", target),
            None => Ok(()),
        }
    }

    fn resolved(mut self) -> PpoConfig {
        if self.kl_penalty.is_none() {
            let default = Schedule::constant(PpoConfig::DEFAULT_CLIP_RANGE);
            self.clip_range.get_or_insert(default);
        }
        let rollout = AlgorithmConfig::rollout(&self);
        self.constraint = self.constraint.map(|constraint| constraint.resolved(rollout, true));
        self
    }

    fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm> {
        Box::new(Ppo::new(self.clone(), learner, rng))
    }
}
