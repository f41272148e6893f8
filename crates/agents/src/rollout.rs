//! Collecting experience: acting in the environments and writing what happens into one batch.

use crate::agent::Agent;
use crate::error::AgentError;
use crate::gae::{Trajectory, gae};
use crate::network::Scratch;
use envs::{Episode, RewardNormalizer, Rng, Stream, VectorEnv, VectorEnvState, stream};
use serde::{Deserialize, Serialize};

/// One iteration's experience, all arrays `[time][env]` and then the row.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Environments side by side.
    pub num_envs: usize,
    /// What the policy saw, normalised where the agent normalises.
    pub observations: Vec<f32>,
    /// What it did: the index of a choice, or a sample before clipping or squashing.
    pub actions: Vec<f32>,
    /// Log-probability of the action.
    pub log_probs: Vec<f32>,
    /// Network outputs of the policy.
    pub outputs: Vec<f32>,
    /// Rewards, normalised where the run normalises them.
    pub rewards: Vec<f32>,
    /// The task ended with this step.
    pub terminated: Vec<bool>,
    /// The episode was cut short after this step.
    pub truncated: Vec<bool>,
    /// `V(s_t)`
    pub values: Vec<f32>,
    /// `V(s_{t+1})`, of the episode's final observation where it ended.
    pub next_values: Vec<f32>,
    /// Advantages by generalised advantage estimation.
    pub advantages: Vec<f32>,
    /// Targets of the critic: advantage plus value.
    pub returns: Vec<f32>,
}

/// Everything that the next rollouts depend on, beside the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectorState {
    envs: VectorEnvState,
    observations: Vec<f32>,
    reward_normalizer: Option<RewardNormalizer>,
    sampling: Rng,
}

/// Acts in the environments and writes what happens into preallocated buffers.
pub struct Collector {
    envs: VectorEnv,
    /// What the policy sees next, `[env][observation]`, normalised when it was observed.
    observations: Vec<f32>,
    reward_normalizer: Option<RewardNormalizer>,
    sampling: Rng,
    batch: Batch,
    /// Entries of the batch whose episode was truncated there, and the observations they ended with.
    cut: Vec<usize>,
    cut_observations: Vec<f32>,
    episodes: Vec<Episode>,
    /// One step's actions as the environments receive them.
    env_actions: Vec<f32>,
    ended: Vec<bool>,
    scratch: Scratch,
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
        let steps = agent.rollout_steps();
        let size = num_envs * steps;
        let policy = agent.actor().policy();
        let batch = Batch {
            num_envs,
            observations: vec![0.0; size * policy.observation_width()],
            actions: vec![0.0; size * policy.action_width()],
            log_probs: vec![0.0; size],
            outputs: vec![0.0; size * policy.output_width()],
            rewards: vec![0.0; size],
            terminated: vec![false; size],
            truncated: vec![false; size],
            values: vec![0.0; size],
            next_values: vec![0.0; size],
            advantages: vec![0.0; size],
            returns: vec![0.0; size],
        };
        let mut collector = Collector {
            observations: envs.observations().to_vec(),
            reward_normalizer: normalize_rewards
                .then(|| RewardNormalizer::new(num_envs, agent.gamma())),
            sampling: stream(seed, Stream::Sampling),
            env_actions: vec![0.0; num_envs * policy.action_width()],
            ended: vec![false; num_envs],
            batch,
            cut: Vec::new(),
            cut_observations: Vec::new(),
            episodes: Vec::new(),
            scratch: Scratch::default(),
            envs,
        };
        collector.observe(agent)?;
        Ok(collector)
    }

    /// Reads the environments' observations, with the agent's normaliser brought up to date.
    fn observe(&mut self, agent: &mut Agent) -> Result<(), AgentError> {
        self.observations.copy_from_slice(self.envs.observations());
        if let Some(bad) = self.observations.iter().position(|x| !x.is_finite()) {
            let env = bad / agent.actor().policy().observation_width();
            return Err(AgentError::NonFinite(format!("observation of environment {env}")));
        }
        if let Some(normalizer) = agent.normalizer_mut() {
            normalizer.update(&self.observations);
            normalizer.normalize(&mut self.observations);
        }
        Ok(())
    }

    /// Acts for one iteration; returns the episodes that ended in it. Updates the agent's
    /// observation normaliser on the way.
    ///
    /// # Errors
    /// When an observation, a reward or an action is not finite.
    pub fn collect(&mut self, agent: &mut Agent) -> Result<&[Episode], AgentError> {
        self.episodes.clear();
        self.cut.clear();
        self.cut_observations.clear();
        for step in 0..agent.rollout_steps() {
            self.act(agent, step)?;
            self.record(agent, step)?;
            self.observe(agent)?;
        }
        Ok(&self.episodes)
    }

    /// Chooses one step's actions.
    fn act(&mut self, agent: &Agent, step: usize) -> Result<(), AgentError> {
        let actor = agent.actor();
        let policy = actor.policy();
        let first = step * self.batch.num_envs;
        let row = |width: usize| first * width..(first + self.batch.num_envs) * width;
        let (outputs_width, action_width) = (policy.output_width(), policy.action_width());

        self.batch.observations[row(policy.observation_width())]
            .copy_from_slice(&self.observations);
        let outputs = actor.outputs(&self.observations, &mut self.scratch);
        self.batch.outputs[row(outputs_width)].copy_from_slice(outputs);
        let actions = &mut self.batch.actions[row(action_width)];
        for ((outputs, action), log_prob) in outputs
            .chunks_exact(outputs_width)
            .zip(actions.chunks_exact_mut(action_width))
            .zip(&mut self.batch.log_probs[row(1)])
        {
            *log_prob = actor.sample(outputs, &mut self.sampling, action);
            if !log_prob.is_finite() {
                return Err(AgentError::NonFinite("log-probability of an action".into()));
            }
        }
        self.env_actions.copy_from_slice(actions);
        actor.squash(&mut self.env_actions);
        Ok(())
    }

    /// Steps the environments and writes down what happened.
    fn record(&mut self, agent: &Agent, step: usize) -> Result<(), AgentError> {
        let num_envs = self.batch.num_envs;
        let first = step * num_envs;
        let width = agent.actor().policy().observation_width();
        for (env, transition) in self.envs.step(&self.env_actions).iter().enumerate() {
            if !transition.reward.is_finite() {
                return Err(AgentError::NonFinite(format!("reward of environment {env}")));
            }
            let i = first + env;
            self.batch.rewards[i] = transition.reward as f32;
            self.batch.terminated[i] = transition.terminated;
            self.batch.truncated[i] = transition.truncated;
            self.ended[env] = transition.ended();
            self.episodes.extend(transition.episode);
            if transition.truncated && !transition.terminated {
                self.cut.push(i);
            }
        }
        for &i in self.cut.iter().skip(self.cut_observations.len() / width) {
            let env = i - first;
            let rows = self.envs.final_observations();
            self.cut_observations.extend_from_slice(&rows[env * width..(env + 1) * width]);
        }
        if let Some(normalizer) = &mut self.reward_normalizer {
            normalizer.normalize(&mut self.batch.rewards[first..first + num_envs], &self.ended);
        }
        Ok(())
    }

    /// The collected experience with values and advantages under the agent's critic.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn batch(&mut self, agent: &Agent) -> Result<&Batch, AgentError> {
        let Collector { batch, scratch, cut_observations, .. } = self;
        let critic = agent.critic();
        let num_envs = batch.num_envs;
        critic.values(&batch.observations, scratch, &mut batch.values);
        // The next value is the value one step later, except at the end of the rollout ...
        let within = batch.values.len() - num_envs;
        batch.next_values[..within].copy_from_slice(&batch.values[num_envs..]);
        critic.values(&self.observations, scratch, &mut batch.next_values[within..]);
        // ... and where an episode was cut short: there the next row is of another episode.
        agent.actor().normalize(cut_observations);
        let mut cut_values = vec![0.0; self.cut.len()];
        critic.values(cut_observations, scratch, &mut cut_values);
        for (&i, &value) in self.cut.iter().zip(&cut_values) {
            batch.next_values[i] = value;
        }
        if batch.values.iter().chain(&batch.next_values).any(|value| !value.is_finite()) {
            return Err(AgentError::NonFinite("critic's value".into()));
        }
        let trajectory = Trajectory {
            rewards: &batch.rewards,
            values: &batch.values,
            next_values: &batch.next_values,
            terminated: &batch.terminated,
            truncated: &batch.truncated,
            num_envs,
        };
        gae(&trajectory, agent.gamma(), agent.gae_lambda(), &mut batch.advantages);
        for ((target, advantage), value) in
            batch.returns.iter_mut().zip(&batch.advantages).zip(&batch.values)
        {
            *target = advantage + value;
        }
        Ok(batch)
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
    /// When it belongs to another environment or number of environments.
    pub fn set_state(&mut self, state: CollectorState) -> Result<(), AgentError> {
        let (ours, saved) = (self.observations.len(), state.observations.len());
        AgentError::check_length("observation buffer", ours, saved)?;
        if state.reward_normalizer.is_some() != self.reward_normalizer.is_some() {
            return Err(AgentError::Mismatch(
                "the saved run has another env.normalize_rewards".into(),
            ));
        }
        self.envs.set_state(state.envs).map_err(|error| AgentError::Mismatch(error.to_string()))?;
        self.observations = state.observations;
        self.reward_normalizer = state.reward_normalizer;
        self.sampling = state.sampling;
        Ok(())
    }
}
