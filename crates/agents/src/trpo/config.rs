//! TRPO's hyperparameters, as a TOML file names them.

use super::Trpo;
use crate::algorithm::{Algorithm, AlgorithmConfig, Rollout};
use crate::config::{Check, ConfigError};
use crate::constraint::{Constraint, Constraints};
use crate::learner::Learner;
use crate::schedule::Schedule;
use envs::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hyperparameters of TRPO (Schulman et al. 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrpoConfig {
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
    /// Share of the step before that conjugate gradient starts from, in `[0, 1]` (Martens 2010); with 0 it starts from
    /// nothing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cg_warm_start: f64,
    /// Batches before this one whose samples a step counts again, each by the ratio of the new policy to the one that
    /// acted then (Queeney, Paschalidis and Cassandras 2021).
    #[schemars(range(max = 100))]
    pub reuse_batches: usize,
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
    /// A batch whose advantages deviate by less than this share of the deviation of all returns so far
    /// makes a step that is shorter by as much.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub advantage_floor: f64,
    /// Weight of the entropy bonus.
    #[schemars(range(min = 0.0, max = 1e3))]
    pub entropy_coef: Schedule,
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
    /// Keep the mean cost of an episode within a limit: what TRPO-Lagrangian and CPO are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = Constraints::example())]
    pub constraint: Option<Constraints>,
}

impl Default for TrpoConfig {
    fn default() -> Self {
        TrpoConfig {
            rollout_steps: 128,
            gamma: 0.99,
            gae_lambda: 0.95,
            max_kl: Schedule::constant(0.01),
            cg_iterations: 10,
            cg_tolerance: 1e-10,
            cg_warm_start: 0.0,
            reuse_batches: 0,
            damping: 0.1,
            line_search_steps: 10,
            line_search_shrink: 0.8,
            normalize_advantages: true,
            advantage_floor: 0.0,
            entropy_coef: Schedule::constant(0.0),
            critic_learning_rate: Schedule::constant(1e-3),
            critic_epochs: 10,
            critic_minibatch_size: 128,
            adam_epsilon: 1e-5,
            constraint: None,
        }
    }
}

impl AlgorithmConfig for TrpoConfig {
    const NAME: &'static str = "trpo";
    const TITLE: &'static str = "TRPO";
    const DESCRIPTION: &'static str = "trust region policy optimisation (Schulman et al. 2015)";

    fn rollout(&self) -> Rollout {
        Rollout { steps: self.rollout_steps, gamma: self.gamma, gae_lambda: self.gae_lambda }
    }

    fn gradient_samples(&self, batch: usize) -> usize {
        batch * (1 + self.reuse_batches)
    }

    fn constraints(&self) -> &[Constraint] {
        self.constraint.as_deref().unwrap_or_default()
    }

    fn validate(&self, check: &Check, batch: usize) -> Result<(), ConfigError> {
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
        check.range("cg_warm_start", self.cg_warm_start, 0.0, 1.0)?;
        let reused = self.reuse_batches;
        check.that("reuse_batches", reused <= 100, reused, "0 to 100")?;
        check.range("damping", self.damping, 0.0, 1e3)?;
        let steps = self.line_search_steps;
        check.that("line_search_steps", (1..=1000).contains(&steps), steps, "1 to 1000")?;
        check.range("line_search_shrink", self.line_search_shrink, 0.01, 0.99)?;
        check.range("advantage_floor", self.advantage_floor, 0.0, 1.0)?;
        check.schedule("entropy_coef", self.entropy_coef, 0.0, 1e3)?;
        check.schedule("critic_learning_rate", self.critic_learning_rate, 0.0, 10.0)?;
        let epochs = self.critic_epochs;
        check.that("critic_epochs", (1..=10_000).contains(&epochs), epochs, "1 to 10000")?;
        check.minibatch("critic_minibatch_size", self.critic_minibatch_size, batch)?;
        check.positive("adam_epsilon", self.adam_epsilon)
    }

    fn resolved(mut self) -> TrpoConfig {
        let rollout = AlgorithmConfig::rollout(&self);
        self.constraint = self.constraint.map(|constraint| constraint.resolved(rollout, true));
        self
    }

    fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm> {
        Box::new(Trpo::new(self.clone(), learner, rng))
    }
}
