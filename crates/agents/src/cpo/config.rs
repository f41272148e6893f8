//! CPO's hyperparameters, as a TOML file names them.

use super::Cpo;
use crate::algorithm::{Algorithm, AlgorithmConfig, Rollout};
use crate::config::{Check, ConfigError};
use crate::constraint::Constraint;
use crate::learner::Learner;
use crate::trpo::TrpoConfig;
use envs::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hyperparameters of CPO (Achiam et al. 2017): those of TRPO, with a constraint whose multiplier is part of
/// each step's solution and not steered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CpoConfig {
    /// The trust region, the critics, and the constraint.
    pub trpo: TrpoConfig,
}

impl AlgorithmConfig for CpoConfig {
    const NAME: &'static str = "cpo";
    const TITLE: &'static str = "CPO";
    const DESCRIPTION: &'static str = "constrained policy optimisation (Achiam et al. 2017)";
    const NEEDS_CONSTRAINT: bool = true;

    fn rollout(&self) -> Rollout {
        AlgorithmConfig::rollout(&self.trpo)
    }

    fn gradient_samples(&self, batch: usize) -> usize {
        batch
    }

    fn constraints(&self) -> &[Constraint] {
        AlgorithmConfig::constraints(&self.trpo)
    }

    fn validate(&self, check: &Check, batch: usize) -> Result<(), ConfigError> {
        match AlgorithmConfig::constraints(self) {
            [one] => {
                if let Some(key) = one.lagrangian_keys().next() {
                    let message = "belongs to a multiplier that PPO and TRPO steer; CPO's is part of each \
                                   step's solution: remove it";
                    return check.fail(&format!("constraint.{key}"), message);
                }
            }
            [] => {}
            several => {
                let message = format!("are {}; CPO keeps one, PPO and TRPO several", several.len());
                return check.fail("constraint", message);
            }
        }
        if self.trpo.reuse_batches > 0 {
            return check.fail("reuse_batches", "belongs to TRPO; CPO takes one batch: remove it");
        }
        AlgorithmConfig::validate(&self.trpo, check, batch)
    }

    fn resolved(mut self) -> CpoConfig {
        let rollout = AlgorithmConfig::rollout(&self);
        let constraint = self.trpo.constraint;
        self.trpo.constraint = constraint.map(|constraint| constraint.resolved(rollout, false));
        self
    }

    fn algorithm(&self, learner: &Learner, rng: Rng) -> Box<dyn Algorithm> {
        Box::new(Cpo::new(self.clone(), learner, rng))
    }
}
