//! Collecting experience: acting in the environments and writing what happens into one batch.

use crate::agent::Agent;
use crate::batch::Batch;
use crate::error::AgentError;
use crate::policy::Actor;
use crate::threads::{is_helped, join};
use envs::{
    Episode, Part, RewardNormalizer, Rng, RunningMeanStd, Stream, VectorEnv, VectorEnvState, stream,
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Nanoseconds of a step from which on a part of the environments is worth a thread of its own.
const WORTH: f64 = 5_000.0;

/// Everything that the next rollouts depend on, beside the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectorState {
    envs: VectorEnvState,
    observations: Vec<f32>,
    reward_normalizer: Option<RewardNormalizer>,
    sampling: Vec<Rng>,
}

impl CollectorState {
    /// What was seen of the discounted return, where rewards were normalised.
    #[must_use]
    pub fn reward_statistics(&self) -> Option<&RunningMeanStd> {
        self.reward_normalizer.as_ref().map(RewardNormalizer::statistics)
    }
}

/// Acts in the environments and writes what happens into preallocated buffers.
///
/// ```
/// # use agents::{Agent, AgentConfig, Backend, Collector, NetworkConfig, PpoConfig};
/// # use envs::{Environments, TaskConfig, VectorEnv};
/// # let task = Environments::default().get("cartpole").unwrap().task(&TaskConfig::default())?;
/// # let config = AgentConfig::new(PpoConfig { rollout_steps: 32, ..PpoConfig::default() });
/// # let (network, device) = (NetworkConfig::default(), Backend::Flex.open()?);
/// # let mut agent = Agent::new(&config, &network, false, task.spec(), 1, device)?;
/// let mut collector = Collector::new(VectorEnv::new(&task, 1, 0, 4), &mut agent, false, 1)?;
/// let episodes = collector.collect(&mut agent)?.len();
/// let batch = collector.batch(&agent)?;
/// assert_eq!(batch.len(), 4 * 32);
/// let ended = (0..batch.len()).filter(|&step| batch.terminated[step] || batch.truncated[step]);
/// assert_eq!(ended.count(), episodes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Collector {
    envs: VectorEnv,
    /// What the policy sees next, `[env][observation]`, normalised when it was observed.
    observations: Vec<f32>,
    reward_normalizer: Option<RewardNormalizer>,
    /// A stream for each environment.
    sampling: Vec<Rng>,
    batch: Batch,
    /// Steps of the batch whose episode was truncated there, and the observations they ended with,
    /// normalised when they were observed.
    truncated_steps: Vec<usize>,
    final_observations: Vec<f32>,
    episodes: Vec<Episode>,
    /// Costs of the episodes, `[episode][cost]`.
    episode_costs: Vec<f64>,
    /// Sums over the rollout of the terms of the reward, `[term]`.
    term_sums: Vec<f64>,
    /// One step's actions as the environments receive them.
    env_actions: Vec<f32>,
    ended: Vec<bool>,
    /// Nanoseconds that a step of one environment takes, acting included.
    cost: f64,
}

impl Collector {
    /// Buffers for the agent's steps of each environment.
    ///
    /// # Errors
    /// When a first observation is not finite.
    pub fn new(
        envs: VectorEnv,
        agent: &mut Agent,
        normalize_rewards: bool,
        seed: u64,
    ) -> Result<Collector, AgentError> {
        let num_envs = envs.num_envs();
        let steps = agent.rollout().steps;
        let size = num_envs * steps;
        let policy = agent.actor().policy();
        let widths = [policy.observation_width(), policy.action_width(), policy.output_width()];
        let batch = Batch::new(num_envs, size, widths, agent.critics().len());
        let mut collector = Collector {
            observations: envs.observations().to_vec(),
            reward_normalizer: normalize_rewards.then(|| RewardNormalizer::new(num_envs)),
            sampling: envs.indices().map(|index| stream(seed, Stream::Sampling(index))).collect(),
            env_actions: vec![0.0; num_envs * policy.action_width()],
            ended: vec![false; num_envs],
            batch,
            truncated_steps: Vec::new(),
            final_observations: Vec::new(),
            episodes: Vec::new(),
            episode_costs: Vec::new(),
            term_sums: vec![0.0; envs.spec().reward_terms.len()],
            cost: 0.0,
            envs,
        };
        collector.observe(agent, 0)?;
        Ok(collector)
    }

    /// Reads the environments' observations, with the agent's normaliser brought up to date; the last
    /// observations of the episodes that have just been truncated, from number `first_final` on, are
    /// normalised with the same statistics.
    fn observe(&mut self, agent: &mut Agent, first_final: usize) -> Result<(), AgentError> {
        let width = agent.actor().policy().observation_width();
        self.observations.copy_from_slice(self.envs.observations());
        if let Some(bad) = self.observations.iter().position(|x| !x.is_finite()) {
            let env = bad / width;
            return Err(AgentError::NonFinite(format!("observation of environment {env}")));
        }
        if let Some(normalizer) = agent.normalizer_mut() {
            normalizer.update(&self.observations);
            normalizer.normalize(&mut self.observations);
            normalizer.normalize(&mut self.final_observations[first_final * width..]);
        }
        Ok(())
    }

    /// Acts for one iteration; returns the episodes that ended in it. Updates the agent's
    /// observation normaliser on the way.
    ///
    /// # Errors
    /// When an observation, a reward, a sum of a term of it or an action is not finite, or a cost is not
    /// finite or below 0.
    pub fn collect(&mut self, agent: &mut Agent) -> Result<&[Episode], AgentError> {
        self.episodes.clear();
        self.episode_costs.clear();
        self.term_sums.fill(0.0);
        self.truncated_steps.clear();
        self.final_observations.clear();
        for step in 0..agent.rollout().steps {
            let first_final = self.truncated_steps.len();
            if step == 0 {
                // What one thread needs for it says whether others are worth their while.
                self.cost = 0.0;
                let begun = Instant::now();
                self.act(agent, step)?;
                self.cost = begun.elapsed().as_nanos() as f64 / self.batch.num_envs as f64;
            } else {
                self.act(agent, step)?;
            }
            self.record(agent, step)?;
            self.observe(agent, first_final)?;
        }
        if let Some((name, _)) = self.reward_terms().find(|(_, mean)| !mean.is_finite()) {
            return Err(AgentError::NonFinite(format!("term `{name}` of the reward")));
        }
        Ok(&self.episodes)
    }

    /// The episodes that the last [`Collector::collect`] has returned.
    #[must_use]
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// The costs of the episodes that the last [`Collector::collect`] has returned, `[episode][cost]`, each
    /// by its name in [`envs::Spec::costs`]: sums over an episode's steps.
    #[must_use]
    pub fn episode_costs(&self) -> &[f64] {
        &self.episode_costs
    }

    /// The terms of the reward by their names ([`envs::Spec::reward_terms`]), each as its mean over the
    /// steps of the last [`Collector::collect`], in the environment's own unit, however rewards are
    /// normalised. They sum to the mean reward.
    pub fn reward_terms(&self) -> impl Iterator<Item = (&str, f64)> {
        let names = self.envs.spec().reward_terms.iter();
        names.zip(&self.term_sums).map(|(name, sum)| (&**name, sum / self.batch.len() as f64))
    }

    /// Chooses one step's actions and steps the environments.
    fn act(&mut self, agent: &Agent, step: usize) -> Result<(), AgentError> {
        let actor = agent.actor();
        let policy = actor.policy();
        let first = step * self.batch.num_envs;
        let row = |width: usize| first * width..(first + self.batch.num_envs) * width;
        self.batch.observations[row(policy.observation_width())]
            .copy_from_slice(&self.observations);
        let log_probs = row(1);
        let acting = Acting {
            envs: self.envs.part(),
            observations: &self.observations,
            outputs: &mut self.batch.outputs[row(policy.output_width())],
            actions: &mut self.batch.actions[row(policy.action_width())],
            log_probs: &mut self.batch.log_probs[log_probs.clone()],
            env_actions: &mut self.env_actions,
            sampling: &mut self.sampling,
        };
        acting.step(actor, self.cost);
        if self.batch.log_probs[log_probs].iter().any(|log_prob| !log_prob.is_finite()) {
            return Err(AgentError::NonFinite("log-probability of an action".into()));
        }
        Ok(())
    }

    /// Writes down what happened.
    fn record(&mut self, agent: &Agent, step: usize) -> Result<(), AgentError> {
        let num_envs = self.batch.num_envs;
        let first = step * num_envs;
        let width = agent.actor().policy().observation_width();
        let rewards = &mut self.batch.signals[0].rewards[first..first + num_envs];
        for (env, transition) in self.envs.transitions().iter().enumerate() {
            if !transition.reward.is_finite() {
                return Err(AgentError::NonFinite(format!("reward of environment {env}")));
            }
            let i = first + env;
            rewards[env] = transition.reward as f32;
            self.batch.terminated[i] = transition.terminated;
            self.batch.truncated[i] = transition.truncated;
            self.ended[env] = transition.ended();
            if let Some(episode) = transition.episode {
                self.episodes.push(episode);
                let costs = self.envs.spec().costs.len();
                let sums = &self.envs.episode_costs()[env * costs..(env + 1) * costs];
                self.episode_costs.extend_from_slice(sums);
            }
            if transition.truncated && !transition.terminated {
                self.truncated_steps.push(i);
            }
        }
        if !self.term_sums.is_empty() {
            for terms in self.envs.reward_terms().chunks_exact(self.term_sums.len()) {
                for (sum, term) in self.term_sums.iter_mut().zip(terms) {
                    *sum += term;
                }
            }
        }
        let names = &self.envs.spec().costs;
        if !names.is_empty() {
            let costs = self.envs.costs();
            AgentError::check_costs(names, costs, |env| format!(" of environment {env}"))?;
        }
        for (signal, critic) in self.batch.signals.iter_mut().zip(agent.critics()) {
            if let Some(index) = critic.cost {
                let costs = self.envs.costs().iter().skip(index).step_by(names.len());
                for (to, cost) in signal.rewards[first..first + num_envs].iter_mut().zip(costs) {
                    *to = *cost as f32;
                }
            }
        }
        let known = self.final_observations.len() / width;
        for &i in &self.truncated_steps[known..] {
            let env = i - first;
            let rows = self.envs.final_observations();
            self.final_observations.extend_from_slice(&rows[env * width..(env + 1) * width]);
        }
        if let Some(normalizer) = &mut self.reward_normalizer {
            let rewards = &mut self.batch.signals[0].rewards[first..first + num_envs];
            normalizer.normalize(rewards, &self.ended, agent.rollout().gamma);
        }
        Ok(())
    }

    /// The collected experience with values and advantages under the agent's critic.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn batch(&mut self, agent: &Agent) -> Result<&Batch, AgentError> {
        let Collector { batch, observations, episodes, episode_costs, .. } = self;
        let count = episodes.len() as f64;
        let mean = |sum: f64| (count > 0.0).then_some(sum / count);
        batch.reward_scale = self.reward_normalizer.as_ref().map_or(1.0, RewardNormalizer::scale);
        batch.episode_length = mean(episodes.iter().map(|episode| f64::from(episode.length)).sum());
        for (signal, critic) in batch.signals.iter_mut().zip(agent.critics()) {
            signal.episode_sum = mean(match critic.cost {
                None => episodes.iter().map(|episode| episode.episode_return).sum(),
                Some(index) => {
                    let costs = self.envs.spec().costs.len();
                    episode_costs.iter().skip(index).step_by(costs).sum()
                }
            });
        }
        let mut final_values = vec![0.0; self.truncated_steps.len()];
        for (signal, critic) in batch.signals.iter_mut().zip(agent.critics()) {
            critic.values(&batch.observations, &mut signal.values);
            // The next value is the value one step later, except at the end of the rollout ...
            let (values, next_values) = (&signal.values, &mut signal.next_values);
            let within = values.len() - batch.num_envs;
            next_values[..within].copy_from_slice(&values[batch.num_envs..]);
            critic.values(observations, &mut next_values[within..]);
            // ... and where an episode was truncated: there the next row is of another episode.
            critic.values(&self.final_observations, &mut final_values);
            for (&i, &value) in self.truncated_steps.iter().zip(&final_values) {
                next_values[i] = value;
            }
        }
        let discounts = agent.critics().iter().map(|critic| (critic.gamma, critic.gae_lambda));
        batch.estimate_advantages(discounts)?;
        Ok(batch)
    }

    /// Begins with what another run has seen of the discounted return, where this one normalises rewards.
    pub fn set_reward_statistics(&mut self, statistics: RunningMeanStd) {
        if let Some(normalizer) = &mut self.reward_normalizer {
            normalizer.set_statistics(statistics);
        }
    }

    /// A copy of all state, environments included.
    #[must_use]
    pub fn state(&self) -> CollectorState {
        CollectorState {
            envs: self.envs.state(),
            observations: self.observations.clone(),
            reward_normalizer: self.reward_normalizer.clone(),
            sampling: self.sampling.clone(),
        }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another environment or number of environments, or has numbers that no run can
    /// have. The environments may have taken over some of it then.
    pub fn set_state(&mut self, state: CollectorState) -> Result<(), AgentError> {
        let (ours, saved) = (self.observations.len(), state.observations.len());
        AgentError::check_length("observation buffer", ours, saved)?;
        let (ours, saved) = (self.sampling.len(), state.sampling.len());
        AgentError::check_length("list of sampling streams", ours, saved)?;
        let is_finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
        AgentError::check_saved("observation buffer", is_finite(&state.observations))?;
        if state.reward_normalizer.is_some() != self.reward_normalizer.is_some() {
            return Err(AgentError::Mismatch(
                "the saved run has another env.normalize_rewards".into(),
            ));
        }
        if let Some(saved) = &state.reward_normalizer {
            AgentError::check_saved("reward normaliser", saved.is_sound(self.batch.num_envs))?;
        }
        self.envs.set_state(state.envs).map_err(|error| AgentError::Mismatch(error.to_string()))?;
        AgentError::check_saved("state of the environments", is_finite(self.envs.observations()))?;
        self.observations = state.observations;
        self.reward_normalizer = state.reward_normalizer;
        self.sampling = state.sampling;
        Ok(())
    }
}

/// One step of some environments that are next to each other, rows `[env]` of everything.
struct Acting<'a> {
    envs: Part<'a>,
    observations: &'a [f32],
    outputs: &'a mut [f32],
    actions: &'a mut [f32],
    log_probs: &'a mut [f32],
    env_actions: &'a mut [f32],
    sampling: &'a mut [Rng],
}

impl<'a> Acting<'a> {
    /// Acts; `cost` is how many nanoseconds an environment takes. What an environment does depends neither
    /// on its company nor on the thread, so threads may share them as they like.
    fn step(mut self, actor: &Actor, cost: f64) {
        let half = self.sampling.len() / 2;
        if half as f64 * cost >= WORTH && is_helped() {
            let (first, rest) = self.split_at(half, actor);
            join(|| first.step(actor, cost), || rest.step(actor, cost));
            return;
        }
        let policy = actor.policy();
        let (output_width, action_width) = (policy.output_width(), policy.action_width());
        actor.outputs(self.observations, self.outputs);
        let rows = self.outputs.chunks_exact(output_width);
        let rows = rows.zip(self.actions.chunks_exact_mut(action_width));
        let rows = rows.zip(&mut *self.log_probs).zip(&mut *self.sampling);
        for (((outputs, action), log_prob), rng) in rows {
            *log_prob = actor.sample(outputs, rng, action);
            if !log_prob.is_finite() {
                // No environment is given such an action: the caller sees it too.
                return;
            }
        }
        self.env_actions.copy_from_slice(self.actions);
        actor.squash(self.env_actions);
        self.envs.step(self.env_actions);
    }

    fn split_at(self, middle: usize, actor: &Actor) -> (Acting<'a>, Acting<'a>) {
        let policy = actor.policy();
        let action_width = policy.action_width();
        let (envs, other_envs) = self.envs.split_at(middle);
        let (observations, other_observations) =
            self.observations.split_at(middle * policy.observation_width());
        let (outputs, other_outputs) = self.outputs.split_at_mut(middle * policy.output_width());
        let (actions, other_actions) = self.actions.split_at_mut(middle * action_width);
        let (log_probs, other_log_probs) = self.log_probs.split_at_mut(middle);
        let (env_actions, other_env_actions) = self.env_actions.split_at_mut(middle * action_width);
        let (sampling, other_sampling) = self.sampling.split_at_mut(middle);
        let first =
            Acting { envs, observations, outputs, actions, log_probs, env_actions, sampling };
        let others = Acting {
            envs: other_envs,
            observations: other_observations,
            outputs: other_outputs,
            actions: other_actions,
            log_probs: other_log_probs,
            env_actions: other_env_actions,
            sampling: other_sampling,
        };
        (first, others)
    }
}
