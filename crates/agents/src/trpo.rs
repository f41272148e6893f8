//! Trust region policy optimisation (Schulman et al. 2015); with constraints TRPO-Lagrangian (Ray, Achiam
//! and Amodei 2019; Stooke, Achiam and Abbeel 2020).
//!
//! ```
//! use agents::TrpoConfig;
//!
//! let config: TrpoConfig = toml::from_str("max_kl = { start = 0.02, end = 0.0 }")?;
//! assert_eq!(config.max_kl.at(0.25), 0.015);
//! assert_eq!(config.damping, 0.1);
//! # Ok::<(), toml::de::Error>(())
//! ```

mod config;
mod memory;

pub use config::TrpoConfig;

use crate::adam::Adam;
use crate::algorithm::{Algorithm, AlgorithmConfig, AlgorithmState};
use crate::batch::{Batch, Signal};
use crate::conjugate_gradient::{Solution, conjugate_gradient, dot};
use crate::error::AgentError;
use crate::gae::explained_variance;
use crate::lagrangian::Lagrangian;
use crate::learner::{Critic, CriticState, Learner};
use crate::metrics::{Metrics, PolicyMetrics};
use crate::minibatch::{Minibatch, indices_of, parts};
use crate::ops::{
    Fisher, Handle, PolicyGradients, Reports, Surrogate, ValueGradients, copy, standardized,
};
use crate::policy::{Actor, LOG_STD_METRIC, Policy};
use crate::ranks::{Ranks, Team};
use crate::stakes::Stakes;
use crate::transfer::read;
use burn::tensor::{Device, Tensor};
use envs::Rng;
use memory::Memory;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// The surrogate `mean(ratio * advantage) + entropy_coef * entropy` around the policy that acted, with its
/// trust region.
pub struct TrustRegion<'a> {
    policy: &'a Policy,
    loss: PolicyGradients,
    observations: Tensor<2>,
    /// The Fisher matrix of the old policy on this rank's samples, where it is kept: where all samples are too many,
    /// a product with it is not worth the memory.
    fishers: Option<Vec<Fisher>>,
    old_params: Tensor<1>,
    damping: f64,
    entropy_coef: f64,
    team: Team,
}

impl<'a> TrustRegion<'a> {
    /// The trust region around `params`, the policy that gave the samples their outputs; the ranks share what there is
    /// to compute.
    #[must_use]
    pub fn new(
        policy: &'a Policy,
        params: &[f32],
        samples: &Minibatch,
        damping: f64,
        entropy_coef: f64,
        ranks: &Arc<Ranks>,
    ) -> TrustRegion<'a> {
        let observations = samples.observations.clone();
        let old_params = Tensor::from_floats(params, &observations.device());
        let (plain, team) = (Surrogate::Plain, Team::all(ranks));
        let loss = policy.gradients(&old_params, samples, plain, entropy_coef, false).by(&team);
        let mut region = TrustRegion {
            policy,
            loss,
            observations,
            fishers: None,
            old_params,
            damping,
            entropy_coef,
            team,
        };
        if parts(samples.len()).count() == 1 {
            let own = region.team.branches(samples.len()).into_iter();
            region.fishers = Some(own.map(|rows| region.fisher(rows)).collect());
        }
        region
    }

    fn len(&self) -> usize {
        self.observations.dims()[0]
    }

    /// The old policy's Fisher matrix on these samples.
    fn fisher(&self, rows: Range<usize>) -> Fisher {
        let mut observations = self.observations.clone();
        if rows.len() < self.len() {
            observations = observations.slice_dim(0, rows);
        }
        self.policy.fisher(&self.old_params, &observations)
    }

    /// The surrogate at the old policy and its gradient `g`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradient(&self) -> Result<(f64, Vec<f64>), AgentError> {
        let mut surrogate = 0.0;
        let mut gradient = vec![0.0; self.policy.num_params()];
        let old_params = self.old_params.clone().into();
        for part in parts(self.len()) {
            let share = part.len() as f64 / self.len() as f64;
            let [mut slopes, mut report] =
                [(); 2].map(|()| Handle::empty(&self.old_params.device()));
            self.loss.at(&old_params, &indices_of(part), &mut slopes, &mut report);
            // The surrogate is the loss's negative.
            surrogate += share * self.surrogate(PolicyMetrics::read(report.into_tensor())?);
            let slopes = read([slopes.into_tensor()])?.concat();
            for (sum, slope) in gradient.iter_mut().zip(slopes) {
                *sum -= share * f64::from(slope);
            }
        }
        Ok((surrogate, gradient))
    }

    /// `(F + damping I) v`, where `F` is the Fisher matrix at the old policy.
    ///
    /// # Errors
    /// When the device fails.
    pub fn damped_fisher_product(&self, vector: &[f64]) -> Result<Vec<f64>, AgentError> {
        let device = self.old_params.device();
        // The product is linear in `v`: a unit vector keeps f32 from under- or overflowing.
        let norm = dot(vector, vector).sqrt();
        if norm == 0.0 {
            return Ok(vec![0.0; vector.len()]);
        }
        let unit: Vec<f32> = vector.iter().map(|&x| (x / norm) as f32).collect();
        let direction = Handle::vector(&unit, &device);
        let mut sum: Vec<f64> = vector.iter().map(|v| self.damping * v).collect();
        for part in parts(self.len()) {
            let share = part.len() as f64 / self.len() as f64;
            for (sum, fisher) in sum.iter_mut().zip(self.fisher_product(part, &direction, &unit)?) {
                *sum += share * norm * f64::from(fisher);
            }
        }
        Ok(sum)
    }

    /// The direction `x` with `H x = gradient`, as far as conjugate gradient comes, where `H` is the damped Fisher matrix.
    /// The search starts from `last`, the one before; what the next search needs of this one takes its place.
    pub(crate) fn direction(
        &self,
        config: &TrpoConfig,
        gradient: &[f64],
        last: &mut Vec<f64>,
    ) -> Result<Direction, AgentError> {
        let product = |v: &[f64]| self.damped_fisher_product(v);
        let (iterations, tolerance) = (config.cg_iterations, config.cg_tolerance);
        let guess = first_guess(config, last, gradient);
        let solution = conjugate_gradient(product, gradient, guess, iterations, tolerance)?;
        let image = product(&solution.x)?;
        let useful = config.cg_warm_start > 0.0 && solution.x.iter().all(|x| x.is_finite());
        *last = if useful { solution.x.clone() } else { Vec::new() };
        Ok(Direction { solution, image })
    }

    /// The product of the Fisher matrix on a part of the samples with a direction, which is given on the host, too.
    fn fisher_product(
        &self,
        part: Range<usize>,
        direction: &Handle,
        numbers: &[f32],
    ) -> Result<Vec<f32>, AgentError> {
        let (of, mut kept, mut failed) = (part.len(), self.fishers.iter().flatten(), None);
        let mut product: Vec<f32> = numbers.iter().map(|v| LOG_STD_METRIC * v).collect();
        let by_network = &mut product[..self.policy.network().num_params()];
        self.team.sum_into(of, by_network, &mut [], |rows, product, _| {
            let rows = part.start + rows.start..part.start + rows.end;
            let found = match kept.next() {
                Some(fisher) => fisher.product(direction, of),
                None => self.fisher(rows).product(direction, of),
            };
            if let Err(error) = copy(&found, 0, product) {
                failed = Some(error);
            }
        });
        failed.map_or(Ok(product), Err)
    }

    /// Surrogate, mean KL(old, new) and its sample estimate at other parameters.
    ///
    /// # Errors
    /// When the device fails.
    pub fn at(&self, params: &[f32]) -> Result<Candidate, AgentError> {
        let params = Handle::vector(params, &self.old_params.device());
        let metrics = self.loss.metrics_of_all(&params)?;
        let PolicyMetrics { policy_loss, kl, approx_kl, entropy, .. } = metrics;
        Ok(Candidate { surrogate: self.surrogate(metrics), policy_loss, kl, approx_kl, entropy })
    }

    fn surrogate(&self, metrics: PolicyMetrics) -> f64 {
        self.entropy_coef * metrics.entropy - metrics.policy_loss
    }
}

/// A direction `x` that conjugate gradient found, with `H x`.
pub(crate) struct Direction {
    pub solution: Solution,
    pub image: Vec<f64>,
}

/// What a step would lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Surrogate objective, with the entropy bonus.
    pub surrogate: f64,
    /// Its negative without the bonus.
    pub policy_loss: f64,
    /// Exact mean KL(old, new).
    pub kl: f64,
    /// Mean of `(ratio - 1) - ln ratio`.
    pub approx_kl: f64,
    /// Mean entropy.
    pub entropy: f64,
}

impl Candidate {
    /// Whether the line search takes it: the surrogate is no worse, the KL is within the region, and the
    /// entropy is finite. NaN fails each of these.
    #[must_use]
    pub fn accepted(&self, old_surrogate: f64, max_kl: f64) -> bool {
        self.surrogate >= old_surrogate && self.kl <= max_kl && self.entropy.is_finite()
    }
}

/// Scale `sqrt(2 max_kl / s'Hs)` that takes the direction `s` to the border of the trust region of
/// the quadratic model (appendix C); `None` where the curvature is not positive.
#[must_use]
pub fn step_scale(curvature: f64, max_kl: f64) -> Option<f64> {
    (curvature > 0.0 && curvature.is_finite()).then(|| (2.0 * max_kl / curvature).sqrt())
}

/// Parameters moved by `fraction` of a step.
#[must_use]
pub fn moved(params: &[f32], step: &[f64], fraction: f64) -> Vec<f32> {
    params.iter().zip(step).map(|(&p, s)| (f64::from(p) + fraction * s) as f32).collect()
}

crate::metrics! {
    /// What an update of TRPO reports.
    pub struct TrpoMetrics {
        /// Negative surrogate objective of the step that was taken.
        pub policy_loss: f64,
        /// Mean squared error of the reward's critic, over all minibatches of its fit.
        pub value_loss: f64,
        /// Entropy of the policy after the step, in nats.
        pub entropy: f64,
        /// Exact mean KL(old, new) of the step, in nats.
        pub kl: f64,
        /// The same from the samples' ratios alone, which are to the policies that acted.
        pub approx_kl: f64,
        /// Share of the returns' variance that the critic explained before the update.
        pub explained_variance: f64,
        /// Euclidean norm of the surrogate's gradient.
        pub gradient_norm: f64,
        /// Learning rate of the critic.
        pub learning_rate: f64,
        /// Squared residual that conjugate gradient ended with.
        pub cg_residual: f64,
        /// Conjugate-gradient iterations.
        pub cg_iterations: f64,
        /// What the advantages left of the step: 1 unless they are below their floor.
        pub step_share: f64,
        /// Fraction of the full step that was taken; 0 when none was accepted.
        pub step_size: f64,
        /// Step sizes that the line search tried.
        pub line_search_steps: f64,
        /// 1 when a step was taken, otherwise 0.
        pub accepted: f64,
    }
}

impl TrpoMetrics {
    /// What came of a step, and of the critics' fit beside it.
    pub(crate) fn new(
        step: &PolicyStep,
        fit: &Fit,
        reward: &Signal,
        learning_rate: f64,
        step_share: f64,
    ) -> TrpoMetrics {
        let Found { reached, size, tried, .. } = &step.found;
        TrpoMetrics {
            policy_loss: reached.policy_loss,
            value_loss: fit.value_losses[0],
            entropy: reached.entropy,
            kl: reached.kl,
            approx_kl: reached.approx_kl,
            explained_variance: explained_variance(&reward.values, &reward.returns),
            gradient_norm: step.gradient_norm,
            learning_rate,
            cg_residual: step.cg_residual,
            cg_iterations: step.cg_iterations as f64,
            step_share,
            step_size: *size,
            line_search_steps: *tried as f64,
            accepted: f64::from(u8::from(*size > 0.0)),
        }
    }
}

/// TRPO's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TrpoState {
    /// Stream of the shuffles.
    shuffling: Rng,
    /// What the returns have been like.
    stakes: Stakes,
    /// Multipliers of the constraints.
    lagrangian: Lagrangian,
    /// What conjugate gradient ended with, where the next one starts from it.
    direction: Vec<f64>,
}

/// TRPO with its hyperparameters and its state.
#[derive(Clone, Debug)]
pub struct Trpo {
    config: TrpoConfig,
    state: TrpoState,
    /// Batches that the next steps count again: large, and so not among what an update copies first.
    memory: Memory,
}

impl Trpo {
    /// No update made yet; `shuffling` is the stream of the shuffles.
    #[must_use]
    pub fn new(config: TrpoConfig, _learner: &Learner, shuffling: Rng) -> Trpo {
        let lagrangian = Lagrangian::new(config.constraints());
        let (stakes, direction) = (Stakes::default(), Vec::new());
        let state = TrpoState { shuffling, stakes, lagrangian, direction };
        Trpo { config, state, memory: Memory::default() }
    }
}

impl Algorithm for Trpo {
    /// One step of the policy; beside it the critics are fitted.
    fn update(
        &mut self,
        learner: &mut Learner,
        batch: &Batch,
        progress: f64,
    ) -> Result<Metrics, AgentError> {
        let config = &self.config;
        let Learner { actor, critics, device, ranks, .. } = learner;
        let TrpoState { shuffling, mut stakes, mut lagrangian, mut direction } = self.state.clone();
        lagrangian.update(config.constraints(), batch);
        let objective = lagrangian.objective(batch);
        let mut samples = Minibatch::upload(batch, &objective.advantages, device);
        if config.normalize_advantages {
            samples.advantages = standardized(samples.advantages);
        }
        let learning_rate = config.critic_learning_rate.at(progress);
        let step_share = stakes.step_share(&objective, config.advantage_floor);
        let counted = self.memory.before(&samples, actor, config.normalize_advantages, device);
        let (step, fit) = ranks.join(
            || take_step(config, actor, &counted, progress, step_share, &mut direction, ranks),
            || fit(config, critics, &samples, learning_rate, shuffling, device, ranks),
        );
        let (step, fit) = (step?, fit?);
        self.memory.keep(batch, &objective.advantages, config.reuse_batches);

        let metrics = TrpoMetrics::new(&step, &fit, batch.reward(), learning_rate, step_share);
        let mut metrics = metrics.into();
        actor.params = step.found.params;
        for (critic, state) in critics.iter_mut().zip(fit.states) {
            critic.state = state;
        }
        self.state = TrpoState { shuffling: fit.shuffling, stakes, lagrangian, direction };
        let (constraints, lagrangian) = (self.config.constraints(), &self.state.lagrangian);
        lagrangian.report(constraints, batch, &fit.value_losses[1..], &mut metrics);
        Ok(metrics)
    }

    fn state(&self) -> Result<AlgorithmState, AgentError> {
        AlgorithmState::new(TrpoConfig::NAME, &(&self.state, &self.memory))
    }

    fn set_state(&mut self, state: &AlgorithmState, learner: &Learner) -> Result<(), AgentError> {
        let (state, memory): (TrpoState, Memory) = state.read(TrpoConfig::NAME)?;
        state.stakes.check()?;
        state.lagrangian.check(self.config.constraints().len())?;
        check_direction(&state.direction, &learner.actor)?;
        memory.check(learner.actor.policy(), self.config.reuse_batches)?;
        (self.state, self.memory) = (state, memory);
        Ok(())
    }
}

/// Checks a saved direction, of which there is none before the first step.
pub(crate) fn check_direction(direction: &[f64], actor: &Actor) -> Result<(), AgentError> {
    if !direction.is_empty() {
        let name = "direction of the last step";
        AgentError::check_length(name, actor.params.len(), direction.len())?;
        AgentError::check_saved(name, direction.iter().all(|x| x.is_finite()))?;
    }
    Ok(())
}

/// What fitting the critics led to.
pub(crate) struct Fit {
    /// Of the critics, in their order.
    pub states: Vec<CriticState>,
    /// Mean squared error of each critic, over all minibatches.
    pub value_losses: Vec<f64>,
    /// The stream of the shuffles, gone on.
    pub shuffling: Rng,
}

/// Fits the critics to the returns by minibatch regression.
pub(crate) fn fit(
    config: &TrpoConfig,
    critics: &[Critic],
    samples: &Minibatch,
    learning_rate: f64,
    mut shuffling: Rng,
    device: &Device,
    ranks: &Arc<Ranks>,
) -> Result<Fit, AgentError> {
    let mut adams: Vec<Adam> =
        critics.iter().map(|critic| critic.adam(config.adam_epsilon, device)).collect();
    let team = Team::all(ranks);
    let gradients: Vec<ValueGradients> = (critics.iter().zip(&samples.targets))
        .map(|(critic, target)| {
            critic.gradients(&samples.observations, target, None, 1.0).by(&team)
        })
        .collect();
    let whole = Tensor::<1>::ones([1], device).into();
    // What a minibatch writes, in memory that the next one uses again.
    let [mut gradient, mut report] = [(); 2].map(|()| Handle::empty(device));
    let reports = critics.iter().map(|_| Reports::new(ValueGradients::REPORTED, device));
    let mut reports: Vec<Reports> = reports.collect();
    let mut order = Vec::new();
    for _ in 0..config.critic_epochs {
        let order = samples.shuffled(&mut shuffling, &mut order);
        for indices in order.chunks(config.critic_minibatch_size) {
            for ((gradients, adam), reports) in gradients.iter().zip(&mut adams).zip(&mut reports) {
                gradients.at(adam.params(), indices, &mut gradient, &mut report);
                adam.step(&gradient, &whole, learning_rate);
                reports.add(&report);
            }
        }
    }
    let means = reports.iter().map(|reports| reports.losses().mean()).collect();
    let (losses, [], critics) = Adam::read_all(Tensor::cat(means, 0), [], adams)?;
    let value_losses: Vec<f64> = losses.into_iter().map(f64::from).collect();
    value_losses.iter().try_for_each(|&loss| AgentError::check_finite("value loss", loss))?;
    let states = critics.into_iter().map(|(params, optimizer)| CriticState { params, optimizer });
    Ok(Fit { states: states.collect(), value_losses, shuffling })
}

/// What the step of the policy led to.
pub(crate) struct PolicyStep {
    pub found: Found,
    pub gradient_norm: f64,
    /// Of the reward's direction.
    pub cg_residual: f64,
    pub cg_iterations: usize,
}

/// One trust-region step: the natural gradient by conjugate gradient, scaled to the region's border,
/// then shortened until the line search accepts it. Where it accepts none the parameters stay. `last` is the direction
/// of the step before, and becomes this one's.
fn take_step(
    config: &TrpoConfig,
    actor: &Actor,
    samples: &Minibatch,
    progress: f64,
    step_share: f64,
    last: &mut Vec<f64>,
    ranks: &Arc<Ranks>,
) -> Result<PolicyStep, AgentError> {
    let (policy, params) = (actor.policy(), actor.params());
    // A KL grows with the square of the step.
    let max_kl = config.max_kl.at(progress) * step_share * step_share;
    let entropy_coef = config.entropy_coef.at(progress);
    let region = TrustRegion::new(policy, params, samples, config.damping, entropy_coef, ranks);
    let (old_surrogate, gradient) = region.gradient()?;
    AgentError::check_finite("policy loss", old_surrogate)?;
    let gradient_norm = dot(&gradient, &gradient).sqrt();
    AgentError::check_finite("gradient norm", gradient_norm)?;

    let Direction { solution, image } = region.direction(config, &gradient, last)?;
    let scale = step_scale(dot(&solution.x, &image), max_kl);
    let full_step: Option<Vec<f64>> =
        scale.map(|scale| solution.x.iter().map(|s| scale * s).collect());
    let full_step = full_step.as_deref();
    let accepts = |_: &[f32], candidate: &Candidate| Ok(candidate.accepted(old_surrogate, max_kl));
    let found = line_search(config, policy, params, full_step, &region, accepts)?;
    let (cg_residual, cg_iterations) = (solution.residual, solution.iterations);
    Ok(PolicyStep { found, gradient_norm, cg_residual, cg_iterations })
}

/// Where conjugate gradient starts: at a share of the last direction, if there is one. With a few iterations it hardly
/// changes what it starts with where the policy hardly depends on the parameters; there gradients of several batches
/// add up. A gradient of 0 says that there is nothing to go on for.
fn first_guess(config: &TrpoConfig, last: &[f64], gradient: &[f64]) -> Vec<f64> {
    let share = if dot(gradient, gradient) > 0.0 { config.cg_warm_start } else { 0.0 };
    let mut guess: Vec<f64> = last.iter().map(|x| share * x).collect();
    guess.resize(gradient.len(), 0.0);
    guess
}

/// Where a line search ended.
pub(crate) struct Found {
    pub params: Vec<f32>,
    pub reached: Candidate,
    /// Fraction of the full step; 0 where none was accepted.
    pub size: f64,
    /// Step sizes that were tried.
    pub tried: usize,
}

/// Shortens a step until parameters and what they lead to are accepted. Where none are, or there is no step, the
/// parameters stay.
pub(crate) fn line_search(
    config: &TrpoConfig,
    policy: &Policy,
    params: &[f32],
    full_step: Option<&[f64]>,
    region: &TrustRegion<'_>,
    accepts: impl Fn(&[f32], &Candidate) -> Result<bool, AgentError>,
) -> Result<Found, AgentError> {
    let mut tried = 0;
    let mut taken = None;
    if let Some(full_step) = full_step {
        let mut fraction = 1.0;
        while tried < config.line_search_steps && taken.is_none() {
            tried += 1;
            let mut params = moved(params, full_step, fraction);
            policy.bound(&mut params);
            let candidate = region.at(&params)?;
            if accepts(&params, &candidate)? {
                taken = Some((params, candidate, fraction));
            } else {
                fraction *= config.line_search_shrink;
            }
        }
    }
    let (params, reached, size) = match taken {
        Some(taken) => taken,
        None => (params.to_vec(), region.at(params)?, 0.0),
    };
    AgentError::check_finite("entropy", reached.entropy)?;
    Ok(Found { params, reached, size, tried })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentState;
    use crate::agent::tests::first_batch;
    use crate::constraint::{Constraint, Constraints};
    use crate::cpo::CpoConfig;

    /// Iterations of conjugate gradient in two updates of the same policy on the same batch.
    fn iterations(config: impl AlgorithmConfig) -> [f64; 2] {
        let (mut agent, batch) = first_batch("gusty", 4, config);
        let before = agent.state().unwrap();
        [0, 1].map(|_| {
            let metrics = agent.update(&batch, 0.0).unwrap();
            let state = agent.state().unwrap();
            agent.set_state(AgentState { policy: before.policy.clone(), ..state }).unwrap();
            metrics.get("train/cg_iterations").unwrap()
        })
    }

    #[test]
    fn a_warm_start_goes_on_from_the_last_direction() {
        let with = |cg_warm_start| TrpoConfig {
            rollout_steps: 64,
            cg_iterations: 1000,
            cg_tolerance: 1e-6,
            cg_warm_start,
            ..TrpoConfig::default()
        };
        let of_cpo = |cg_warm_start| CpoConfig {
            trpo: TrpoConfig {
                constraint: Some(Constraints::new(vec![Constraint::on("fall", 0.5)])),
                ..with(cg_warm_start)
            },
        };
        for [first, second] in [iterations(with(0.0)), iterations(of_cpo(0.0))] {
            assert!(first >= 2.0);
            assert_eq!(first, second);
        }
        for [first, second] in [iterations(with(1.0)), iterations(of_cpo(1.0))] {
            assert!(first >= 2.0);
            assert_eq!(second, 0.0, "after {first}");
        }
    }

    #[test]
    fn without_a_gradient_there_is_nothing_to_go_on_for() {
        let config = TrpoConfig { cg_warm_start: 0.5, ..TrpoConfig::default() };
        assert_eq!(first_guess(&config, &[2.0, -4.0], &[0.0, 1.0]), [1.0, -2.0]);
        assert_eq!(first_guess(&config, &[2.0, -4.0], &[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(first_guess(&config, &[], &[0.0, 1.0]), [0.0, 0.0]);
    }
}
