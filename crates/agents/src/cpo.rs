//! Constrained policy optimisation (Achiam et al. 2017).
//!
//! ```
//! use agents::CpoConfig;
//!
//! let config: CpoConfig =
//!     toml::from_str("max_kl = 0.02\nconstraint = { cost = 'fall', limit = 0.5 }")?;
//! assert_eq!(config.trpo.max_kl.at(0.5), 0.02);
//! assert_eq!(config.trpo.constraint.unwrap()[0].limit, Some(0.5));
//! # Ok::<(), toml::de::Error>(())
//! ```

mod config;
pub mod subproblem;

pub use config::CpoConfig;

use crate::algorithm::{Algorithm, AlgorithmConfig, AlgorithmState};
use crate::batch::Batch;
use crate::conjugate_gradient::{Solution, dot};
use crate::error::AgentError;
use crate::gae::variance;
use crate::lagrangian::report;
use crate::learner::Learner;
use crate::metrics::Metrics;
use crate::minibatch::Minibatch;
use crate::ops::standardized;
use crate::policy::Policy;
use crate::ranks::Ranks;
use crate::stakes::Stakes;
use crate::trpo::{
    Candidate, Direction, PolicyStep, TrpoConfig, TrpoMetrics, TrustRegion, check_direction, fit,
    line_search,
};
use burn::tensor::{Tensor, TensorData};
use envs::Rng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use subproblem::{Case, Step, solve};

/// Of a direction, what another one leaves over: at most this share of its length is a rounding error.
const PARALLEL: f64 = 1e-6;

/// What an episode cost and how long it was, as means over the last ones that ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Episodes {
    cost: f64,
    length: f64,
}

/// CPO's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CpoState {
    /// Stream of the shuffles.
    shuffling: Rng,
    /// What the returns have been like.
    stakes: Stakes,
    /// Of the last iteration in which one ended.
    episodes: Option<Episodes>,
    /// What conjugate gradient ended with for reward and cost, where the next ones start from it.
    directions: [Vec<f64>; 2],
}

/// CPO with its hyperparameters and its state.
#[derive(Clone, Debug)]
pub struct Cpo {
    config: CpoConfig,
    state: CpoState,
}

impl Cpo {
    /// No update made yet; `shuffling` is the stream of the shuffles.
    #[must_use]
    pub fn new(config: CpoConfig, _learner: &Learner, shuffling: Rng) -> Cpo {
        let (stakes, directions) = (Stakes::default(), Default::default());
        let state = CpoState { shuffling, stakes, episodes: None, directions };
        Cpo { config, state }
    }
}

impl Algorithm for Cpo {
    /// One step of the policy; beside it the critics are fitted.
    fn update(
        &mut self,
        learner: &mut Learner,
        batch: &Batch,
        progress: f64,
    ) -> Result<Metrics, AgentError> {
        let config = &self.config.trpo;
        let Learner { actor, critics, device, ranks, .. } = learner;
        let (reward, cost) = (batch.reward(), &batch.costs()[0]);
        let CpoState { shuffling, mut stakes, mut episodes, mut directions } = self.state.clone();
        if let (Some(cost), Some(length)) = (cost.episode_sum, batch.episode_length) {
            episodes = Some(Episodes { cost, length });
        }
        let limit = config.constraints()[0].limit.unwrap_or(f64::INFINITY);
        // `c = (J_c - d) / T`, per sample as the surrogates are; 0 before anything is known of `J_c`.
        let excess = episodes.map_or(0.0, |known| (known.cost - limit) / known.length);
        // Where the limit is broken, the step is as long as it may be.
        let share = stakes.step_share(reward, config.advantage_floor);
        let step_share = if excess > 0.0 { 1.0 } else { share };

        let mut rewards = Minibatch::upload(batch, &reward.advantages, device);
        let mut unit = batch.reward_scale;
        if config.normalize_advantages {
            rewards.advantages = standardized(rewards.advantages);
            unit *= variance(reward.advantages.iter().copied().map(f64::from)).sqrt();
        }
        let learning_rate = config.critic_learning_rate.at(progress);
        let task = Task {
            config,
            policy: actor.policy(),
            params: &actor.params,
            costs: with_advantages(&rewards, &cost.advantages),
            rewards: &rewards,
            excess,
            // A KL grows with the square of the step.
            max_kl: config.max_kl.at(progress) * step_share * step_share,
            entropy_coef: config.entropy_coef.at(progress),
            ranks,
        };
        let (step, fit) = ranks.join(
            || task.step(&mut directions),
            || fit(config, critics, &rewards, learning_rate, shuffling, device, ranks),
        );
        let ((step, Step { case, nu, .. }), fit) = (step?, fit?);

        let metrics = TrpoMetrics::new(&step, &fit, reward, learning_rate, step_share);
        let mut metrics: Metrics = metrics.into();
        // 1 when the step was to lower the cost whatever becomes of the reward, otherwise 0.
        metrics.push("train/recovery", f64::from(u8::from(case == Case::Recovery)));
        actor.params = step.found.params;
        for (critic, state) in critics.iter_mut().zip(fit.states) {
            critic.state = state;
        }
        self.state = CpoState { shuffling: fit.shuffling, stakes, episodes, directions };
        // A recovery leaves the reward out of account: it has none.
        let nu = if case == Case::Recovery { f64::NAN } else { nu };
        let multiplier = std::iter::once(nu * unit);
        let constraints = self.config.constraints();
        report(constraints, batch, multiplier, &fit.value_losses[1..], &mut metrics);
        Ok(metrics)
    }

    fn state(&self) -> Result<AlgorithmState, AgentError> {
        AlgorithmState::new(CpoConfig::NAME, &self.state)
    }

    fn set_state(&mut self, state: &AlgorithmState, learner: &Learner) -> Result<(), AgentError> {
        let state: CpoState = state.read(CpoConfig::NAME)?;
        state.stakes.check()?;
        let is_sound = |known: Episodes| {
            known.cost.is_finite()
                && known.cost >= 0.0
                && known.length.is_finite()
                && known.length >= 1.0
        };
        AgentError::check_saved("cost of the last episodes", state.episodes.is_none_or(is_sound))?;
        state.directions.iter().try_for_each(|last| check_direction(last, &learner.actor))?;
        self.state = state;
        Ok(())
    }
}

/// The same samples with the advantages of a cost, shifted to mean 0: a constant says nothing of actions,
/// and in its unit, which is that of the limit.
fn with_advantages(samples: &Minibatch, advantages: &[f32]) -> Minibatch {
    let count = advantages.len();
    let mean = advantages.iter().copied().map(f64::from).sum::<f64>() / count as f64;
    let centred: Vec<f32> = advantages.iter().map(|&a| (f64::from(a) - mean) as f32).collect();
    let data = TensorData::new(centred, [count, 1]);
    let advantages = Tensor::from_data(data, &samples.observations.device());
    Minibatch { advantages, ..samples.clone() }
}

/// What a step is to be found for.
struct Task<'a> {
    config: &'a TrpoConfig,
    policy: &'a Policy,
    params: &'a [f32],
    /// Samples with the advantages of the rewards.
    rewards: &'a Minibatch,
    /// The same with the advantages of the cost.
    costs: Minibatch,
    /// How far the cost is above its limit, per sample.
    excess: f64,
    max_kl: f64,
    entropy_coef: f64,
    ranks: &'a Arc<Ranks>,
}

impl Task<'_> {
    /// The solution of the subproblem (theorem 2), shortened until the line search accepts it. Where it
    /// accepts none the parameters stay. `last` are the directions of the step before, of reward and cost, and become
    /// this one's.
    fn step(&self, last: &mut [Vec<f64>; 2]) -> Result<(PolicyStep, Step), AgentError> {
        let Task { config, policy, params, excess, max_kl, ranks, .. } = *self;
        let region = |samples, entropy_coef| {
            TrustRegion::new(policy, params, samples, config.damping, entropy_coef, ranks)
        };
        let costs = region(&self.costs, 0.0);
        let region = region(self.rewards, self.entropy_coef);
        let (old_surrogate, g) = region.gradient()?;
        let (old_cost, b) = costs.gradient()?;
        AgentError::check_finite("policy loss", old_surrogate)?;
        AgentError::check_finite("cost's surrogate", old_cost)?;
        let gradient_norm = dot(&g, &g).sqrt();
        AgentError::check_finite("gradient norm", gradient_norm)?;
        AgentError::check_finite("norm of the cost's gradient", dot(&b, &b))?;

        // `H^-1 g` and `H^-1 b`, as far as conjugate gradient comes; in the plane of what it found the
        // solution is exact.
        let [of_reward, of_cost] = last;
        let v = region.direction(config, &g, of_reward)?;
        let w = region.direction(config, &b, of_cost)?;
        let (cg_residual, cg_iterations) =
            (v.solution.residual, v.solution.iterations + w.solution.iterations);
        let basis = basis([v, w]);
        let along = |gradient: &[f64]| -> Vec<f64> {
            basis.iter().map(|direction| dot(direction, gradient)).collect()
        };
        // There `H` is the identity.
        let (g, b) = (along(&g), along(&b));
        let step = solve(excess, max_kl, dot(&g, &g), dot(&g, &b), dot(&b, &b));
        let mut full_step = vec![0.0; params.len()];
        for (share, direction) in step.of(&g, &b).into_iter().zip(&basis) {
            full_step.iter_mut().zip(direction).for_each(|(x, d)| *x += share * d);
        }

        let full_step = (!basis.is_empty()).then_some(full_step.as_slice());
        let least = if excess > 0.0 { f64::NEG_INFINITY } else { old_surrogate };
        let accepts = |params: &[f32], candidate: &Candidate| {
            Ok(candidate.accepted(least, max_kl)
                && costs.at(params)?.surrogate - old_cost <= (-excess).max(0.0))
        };
        let found = line_search(config, policy, params, full_step, &region, accepts)?;
        Ok((PolicyStep { found, gradient_norm, cg_residual, cg_iterations }, step))
    }
}

/// A basis of the directions' span in which `H` is the identity, by Gram and Schmidt's process. A direction
/// that those before it leave nothing of, or that has no curvature, adds none.
fn basis(directions: [Direction; 2]) -> Vec<Vec<f64>> {
    let mut basis: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for Direction { solution: Solution { mut x, .. }, mut image } in directions {
        let whole = dot(&x, &image);
        for (known, known_image) in &basis {
            let along = dot(known_image, &x);
            x.iter_mut().zip(known).for_each(|(x, known)| *x -= along * known);
            image.iter_mut().zip(known_image).for_each(|(x, known)| *x -= along * known);
        }
        let rest = dot(&x, &image);
        if rest > PARALLEL * PARALLEL * whole && rest.is_finite() {
            let scale = 1.0 / rest.sqrt();
            [&mut x, &mut image].into_iter().flatten().for_each(|number| *number *= scale);
            basis.push((x, image));
        }
    }
    basis.into_iter().map(|(direction, _)| direction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `H = diag(1, 4, 9)`.
    fn direction(x: [f64; 3]) -> Direction {
        let image = vec![x[0], 4.0 * x[1], 9.0 * x[2]];
        Direction { solution: Solution { x: x.to_vec(), residual: 0.0, iterations: 1 }, image }
    }

    fn curvature(a: &[f64], b: &[f64]) -> f64 {
        a[0] * b[0] + 4.0 * a[1] * b[1] + 9.0 * a[2] * b[2]
    }

    #[test]
    fn the_basis_makes_the_curvature_the_identity() {
        let found = basis([direction([1.0, 2.0, 0.5]), direction([0.0, 1.0, -3.0])]);
        assert_eq!(found.len(), 2);
        for (i, a) in found.iter().enumerate() {
            for (j, b) in found.iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((curvature(a, b) - expected).abs() < 1e-12, "{i} {j}");
            }
        }
    }

    #[test]
    fn what_is_parallel_or_nothing_adds_no_direction() {
        let (one, twice) = ([1.0, 2.0, 0.5], [2.0, 4.0, 1.0]);
        assert_eq!(basis([direction(one), direction(twice)]).len(), 1);
        assert_eq!(basis([direction([0.0; 3]), direction(one)]).len(), 1);
        assert_eq!(basis([direction([0.0; 3]), direction([0.0; 3])]).len(), 0);
    }
}
