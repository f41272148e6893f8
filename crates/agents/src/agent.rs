//! Learner and algorithm together.

use crate::algorithm::{Algorithm, AlgorithmState, Rollout};
use crate::backend::Backend;
use crate::batch::Batch;
use crate::config::Check;
use crate::constraint::cost_indices;
use crate::error::AgentError;
use crate::learner::{Critic, CriticState, Learner};
use crate::metrics::Metrics;
use crate::policy::{Actor, Policy};
use crate::ranks::Ranks;
use crate::threads::{Threads, alone};
use crate::training::TrainingConfig;
use envs::{ObservationNormalizer, Spec, Stream, stream};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Everything that an agent's next updates depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// The policy's parameters.
    pub policy: Vec<f32>,
    /// Parameters and optimiser of each critic.
    pub critics: Vec<CriticState>,
    /// Statistics of the observations, where they are normalised.
    pub observation_normalizer: Option<ObservationNormalizer>,
    /// What the algorithm keeps.
    pub algorithm: AlgorithmState,
}

/// Learner and algorithm together, made by [`TrainingConfig::agent`].
///
/// ```
/// use agents::{Collector, PpoConfig, TrainingConfig};
/// use envs::{Environments, TaskConfig, VectorEnv};
///
/// let task = Environments::default().get("cartpole").unwrap().task(&TaskConfig::default())?;
/// let ppo = PpoConfig { rollout_steps: 32, ..PpoConfig::default() };
/// let mut agent = TrainingConfig::new(ppo).agent(task.spec())?;
///
/// // Four copies of the environment, with seed 1: an iteration is a rollout and an update.
/// let mut collector = Collector::new(VectorEnv::new(&task, 1, 0, 4), &mut agent, false, 1)?;
/// collector.collect(&mut agent)?;
/// let metrics = agent.update(collector.batch(&agent)?, 0.0)?;
/// // The first policy is close to uniform: its entropy is ln 2.
/// assert!((metrics.get("train/entropy").unwrap() - 2.0_f64.ln()).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Agent {
    learner: Learner,
    algorithm: Box<dyn Algorithm>,
    rollout: Rollout,
}

impl Agent {
    /// A new agent for an environment; its weights depend on the seed and the configuration only.
    pub(crate) fn new(config: &TrainingConfig, spec: &Spec) -> Result<Agent, AgentError> {
        let mut rng = stream(config.seed, Stream::Initialization);
        let mut agent = Agent::blank(config, spec)?;
        let learner = &mut agent.learner;
        learner.actor.params = learner.actor.policy.init(&config.network, &mut rng);
        for critic in &mut learner.critics {
            critic.state.params = critic.init(&config.network, &mut rng);
        }
        Ok(agent)
    }

    /// The same without weights: all are 0.
    pub(crate) fn blank(config: &TrainingConfig, spec: &Spec) -> Result<Agent, AgentError> {
        config.validate()?;
        let TrainingConfig { agent, network, seed, .. } = config;
        let policy = Policy::new(&spec.observation_space, &spec.action_space, network)?;
        let costs = cost_indices(agent.constraints(), spec)?;
        let longest = spec.max_episode_steps;
        if let Some(steps) = config.training_episode_steps.filter(|steps| *steps > longest) {
            let message =
                format!("is {steps}, but no episode has more than {longest} steps; leave it out");
            Check::table("env").fail("training_episode_steps", message)?;
        }
        let width = policy.observation_width();
        let normalizer = config.normalize_observations.then(|| ObservationNormalizer::new(width));
        let rollout = agent.rollout();
        let params = vec![0.0; policy.num_params()];
        let reward = Critic::new(None, width, network, rollout.gamma, rollout.gae_lambda);
        let constraints = agent.constraints().iter().zip(costs);
        let costs = constraints.map(|(constraint, cost)| {
            let (gamma, gae_lambda) = constraint.discounts(rollout);
            Critic::new(Some(cost), width, network, gamma, gae_lambda)
        });
        let critics = [reward].into_iter().chain(costs).collect();
        let learner = Learner {
            actor: Actor { policy, params, normalizer },
            critics,
            device: config.backend.open()?,
            threads: Arc::new(Threads::default()),
            ranks: Arc::clone(&config.ranks),
        };
        let algorithm = agent.algorithm(&learner, stream(*seed, Stream::Shuffling));
        Ok(Agent { learner, algorithm, rollout })
    }

    /// The policy that acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.learner.actor
    }

    /// A value function for each signal: the rewards first, then the cost of each constraint.
    #[must_use]
    pub fn critics(&self) -> &[Critic] {
        &self.learner.critics
    }

    /// Works with these threads from now on, instead of as many as the process may use. What comes of
    /// it is the same.
    pub fn set_threads(&mut self, threads: Threads) {
        self.learner.threads = Arc::new(threads);
    }

    /// The threads that it works with.
    #[must_use]
    pub fn threads(&self) -> Arc<Threads> {
        Arc::clone(&self.learner.threads)
    }

    /// Trains together with these processes from now on; all of them have the same agent.
    /// What comes of it is the same.
    pub fn set_ranks(&mut self, ranks: Arc<Ranks>) {
        self.learner.ranks = ranks;
    }

    /// The processes that it trains together with, this one among them.
    #[must_use]
    pub fn ranks(&self) -> Arc<Ranks> {
        Arc::clone(&self.learner.ranks)
    }

    /// Parameters of policy and critics together.
    #[must_use]
    pub fn num_params(&self) -> usize {
        let critics = self.critics().iter().map(|critic| critic.state.params.len());
        self.actor().params.len() + critics.sum::<usize>()
    }

    pub(crate) fn normalizer_mut(&mut self) -> Option<&mut ObservationNormalizer> {
        self.learner.actor.normalizer.as_mut()
    }

    /// Steps, discount and lambda of the rollouts.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        self.rollout
    }

    /// Improves actor and critics on a batch. `progress` is the share of the run that is done.
    ///
    /// # Errors
    /// When a loss or a gradient is not finite, or the device fails; the agent is then as before.
    pub fn update(&mut self, batch: &Batch, progress: f64) -> Result<Metrics, AgentError> {
        let threads = self.threads();
        let Agent { learner, algorithm, .. } = self;
        if !Backend::is_host(&learner.device) {
            // A GPU takes what two threads tell it as two streams, and one may read what the other has yet to write.
            return alone(|| algorithm.update(learner, batch, progress));
        }
        threads.keep_awake(|| algorithm.update(learner, batch, progress))
    }

    /// The same for the critics alone: the policy and what the algorithm keeps stay as they are.
    ///
    /// # Errors
    /// As [`Agent::update`].
    pub fn update_critics(&mut self, batch: &Batch, progress: f64) -> Result<Metrics, AgentError> {
        // Without advantages nothing moves the policy but an entropy bonus, and nothing ends an update early.
        let mut batch = batch.clone();
        batch.signals.iter_mut().for_each(|signal| signal.advantages.fill(0.0));
        let (params, state) = (self.actor().params.clone(), self.algorithm.state()?);
        let metrics = self.update(&batch, progress)?;
        self.learner.actor.params = params;
        self.algorithm.set_state(&state, &self.learner)?;
        Ok(metrics)
    }

    /// A copy of all state.
    ///
    /// # Errors
    /// When the algorithm's state can't be written down.
    pub fn state(&self) -> Result<AgentState, AgentError> {
        Ok(AgentState {
            policy: self.actor().params.clone(),
            critics: self.critics().iter().map(|critic| critic.state.clone()).collect(),
            observation_normalizer: self.actor().normalizer.clone(),
            algorithm: self.algorithm.state()?,
        })
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another algorithm, network or environment, or has numbers that no agent can
    /// have; the agent is then unchanged.
    pub fn set_state(&mut self, state: AgentState) -> Result<(), AgentError> {
        self.check_policy(&state)?;
        let critics = &self.learner.critics;
        AgentError::check_length("list of critics", critics.len(), state.critics.len())?;
        state.critics.iter().zip(critics).try_for_each(|(saved, critic)| saved.check(critic))?;
        self.algorithm.set_state(&state.algorithm, &self.learner)?;
        self.learner.actor.params = state.policy;
        self.learner.actor.normalizer = state.observation_normalizer;
        for (critic, state) in self.learner.critics.iter_mut().zip(state.critics) {
            critic.state = state;
        }
        Ok(())
    }

    /// Takes over the policy, and its observation normaliser if there is one, from another run's
    /// state, and with `critic` the critic of the rewards; everything else stays fresh.
    ///
    /// # Errors
    /// When the policy or the critic has another shape, or one run normalises observations and the other
    /// does not.
    pub fn warm_start(&mut self, other: &AgentState, critic: bool) -> Result<(), AgentError> {
        self.check_policy(other)?;
        if critic {
            let saved = other.critics.first().map_or(&[][..], |critic| &critic.params);
            let own = &mut self.learner.critics[0].state.params;
            AgentError::check_length("critic", own.len(), saved.len())?;
            AgentError::check_saved("critic's parameters", saved.iter().all(|x| x.is_finite()))?;
            own.copy_from_slice(saved);
        }
        self.learner.actor.params.clone_from(&other.policy);
        self.learner.actor.normalizer.clone_from(&other.observation_normalizer);
        Ok(())
    }

    fn check_policy(&self, state: &AgentState) -> Result<(), AgentError> {
        AgentError::check_length("policy", self.actor().params.len(), state.policy.len())?;
        AgentError::check_saved("policy's parameters", state.policy.iter().all(|x| x.is_finite()))?;
        let saved = state.observation_normalizer.as_ref();
        match (&self.actor().normalizer, saved) {
            (None, None) => Ok(()),
            (Some(ours), Some(saved)) => {
                let expected = ours.statistics().mean().len();
                let name = "observation normaliser";
                AgentError::check_length(name, expected, saved.statistics().mean().len())?;
                AgentError::check_saved(name, saved.statistics().is_sound())
            }
            (Some(_), None) => Err(AgentError::Mismatch(
                "the saved policy was trained without env.normalize_observations: turn it off"
                    .into(),
            )),
            (None, Some(_)) => Err(AgentError::Mismatch(
                "the saved policy was trained with env.normalize_observations: turn it on".into(),
            )),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::algorithm::AlgorithmConfig;
    use crate::config::{Activation, NetworkConfig};
    use crate::network::Mlp;
    use crate::ops::{
        Family, LossTerms, Surrogate, ran, sum_of_squares, surrogate_loss, value_loss,
    };
    use crate::ppo::PpoConfig;
    use crate::rollout::Collector;
    use crate::trpo::TrpoConfig;
    use burn::tensor::{Device, Tensor};
    use envs::{Environments, TaskConfig, VectorEnv};
    use std::collections::BTreeSet;

    /// A small agent, and what it saw in its first rollout with so many copies.
    pub(crate) fn first_batch(
        environment: &str,
        copies: usize,
        config: impl AlgorithmConfig,
    ) -> (Agent, Batch) {
        let entry = Environments::default().get(environment).unwrap();
        let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), 1, 0, copies);
        let network = NetworkConfig { hidden: vec![8], ..NetworkConfig::default() };
        let config = TrainingConfig { network, ..TrainingConfig::new(config) };
        let mut agent = config.agent(envs.spec()).unwrap();
        let mut collector = Collector::new(envs, &mut agent, false, 1).unwrap();
        collector.collect(&mut agent).unwrap();
        let batch = collector.batch(&agent).unwrap().clone();
        (agent, batch)
    }

    /// What runs on this thread in an update of a Gaussian policy on `flex`.
    fn bodies_of_an_update(config: impl AlgorithmConfig) -> BTreeSet<&'static str> {
        let (mut agent, batch) = first_batch("pendulum", 2, config);
        ran::take();
        // Not through `Agent::update`, which may give some of the work to another thread.
        agent.algorithm.update(&mut agent.learner, &batch, 0.0).unwrap();
        ran::take()
    }

    #[test]
    fn every_operation_has_its_own_body_on_flex() {
        let ppo = PpoConfig { rollout_steps: 64, target_kl: Some(1.0), ..PpoConfig::default() };
        let trpo = TrpoConfig { rollout_steps: 64, ..TrpoConfig::default() };
        let names = |names: &[&'static str]| BTreeSet::from_iter(names.to_vec());
        let of_ppo = ["adam", "clip_scale", "copy", "policy_gradient", "value_gradient", "write"];
        assert_eq!(bodies_of_an_update(ppo), names(&of_ppo));
        let of_trpo = ["adam", "copy", "fisher_product", "mlp_forward", "standardized", "write"];
        let of_losses = ["policy_gradient", "policy_metrics", "value_gradient"];
        let of_trpo = [&of_trpo[..], &of_losses].concat();
        assert_eq!(bodies_of_an_update(trpo), names(&of_trpo));
        // What only algorithms of other people use.
        let column = || Tensor::<2>::ones([3, 1], &Device::flex());
        let _ = value_loss(column(), &column(), &column(), None, 1.0);
        let vector = || Tensor::<1>::ones([3], &Device::flex());
        let _ = sum_of_squares(&vector());
        let (family, surrogate) = (Family::Categorical, Surrogate::Plain);
        let terms = LossTerms { family, log_std: 0, surrogate, entropy_coef: 0.0 };
        let (one, first) = (column(), column() * 0.0);
        let _ = surrogate_loss(column(), &vector(), &vector(), &one, &first, &one, &one, terms);
        let network = Mlp::new(1, 1, &[2], Activation::Relu);
        let there = network.linearize(Tensor::ones([network.num_params()], &Device::flex()), one);
        let _ = (there.jvp(there.params().clone()), there.vjp(column()));
        let of_networks = ["mlp_backward", "mlp_forward", "mlp_jvp"];
        let of_losses = ["sum_of_squares", "surrogate_loss", "value_loss"];
        assert_eq!(ran::take(), names(&[of_networks, of_losses].concat()));
    }
}
