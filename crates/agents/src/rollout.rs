//! Collecting experience: acting in the environments and writing what happens into one batch.

use crate::agent::Agent;
use crate::batch::Batch;
use crate::error::AgentError;
use crate::policy::Actor;
use crate::ranks::Ranks;
use crate::threads::{is_helped, join};
use envs::{
    Episode, Part, RewardNormalizer, Rng, RunningMeanStd, Stream, VectorEnv, VectorEnvState, stream,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Nanoseconds of a step from which on a part of the environments is worth a thread of its own.
const WORTH: f64 = 5_000.0;
/// Environments that work elsewhere and are given their actions together, at least.
const AT_ONCE: usize = 16;

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

/// Acts in the environments and writes what happens into preallocated buffers. Where several ranks train together,
/// each acts in environments of its own, and what happened in all of them is gathered after the last step.
///
/// ```
/// # use agents::{Collector, PpoConfig, TrainingConfig};
/// # use envs::{Environments, TaskConfig, VectorEnv};
/// # let task = Environments::default().get("cartpole").unwrap().task(&TaskConfig::default())?;
/// # let ppo = PpoConfig { rollout_steps: 32, ..PpoConfig::default() };
/// # let mut agent = TrainingConfig::new(ppo).agent(task.spec())?;
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
    ranks: Arc<Ranks>,
    /// What the policy sees next, `[env][observation]`, normalised when it was observed.
    observations: Vec<f32>,
    /// Of all environments.
    reward_normalizer: Option<RewardNormalizer>,
    /// A stream for each environment.
    sampling: Vec<Rng>,
    batch: Batch,
    /// The batch of all ranks' environments, where there are others.
    whole: Option<Batch>,
    /// Steps of the batch whose episode was truncated there, and the observations they ended with,
    /// normalised when they were observed.
    truncated_steps: Vec<usize>,
    final_observations: Vec<f32>,
    final_values: Vec<f32>,
    outcome: Outcome,
    /// Sums over the rollout of the terms of the reward, `[term]`.
    term_sums: Vec<f64>,
    /// One step's actions as the environments receive them.
    env_actions: Vec<f32>,
    /// Of one step of all environments.
    ended: Vec<bool>,
    /// Nanoseconds that a step of one environment takes, acting included.
    cost: f64,
}

/// What is not in the batch of a rollout.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Outcome {
    /// Episodes that ended, in the order of steps and, within one, of environments.
    episodes: Vec<Episode>,
    /// Their costs, `[episode][cost]`.
    costs: Vec<f64>,
    /// Sums of the terms of the reward, `[env][term]`.
    term_sums: Vec<f64>,
}

impl Collector {
    /// Buffers for the agent's steps of each environment. Where the agent trains together with other ranks, `envs`
    /// are those of this rank: they are next to each other, and ranks have theirs in order.
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
        let ranks = agent.ranks();
        let all: usize = ranks.gather(&num_envs).into_iter().sum();
        let policy = agent.actor().policy();
        let widths = [policy.observation_width(), policy.action_width(), policy.output_width()];
        let steps = agent.rollout().steps;
        let batch =
            |num_envs| Batch::new(num_envs, num_envs * steps, widths, agent.critics().len());
        let terms = envs.spec().reward_terms.len();
        let mut collector = Collector {
            observations: envs.observations().to_vec(),
            reward_normalizer: normalize_rewards.then(|| RewardNormalizer::new(all)),
            sampling: envs.indices().map(|index| stream(seed, Stream::Sampling(index))).collect(),
            env_actions: vec![0.0; num_envs * policy.action_width()],
            batch: batch(num_envs),
            whole: (ranks.size() > 1).then(|| batch(all)),
            truncated_steps: Vec::new(),
            final_observations: Vec::new(),
            final_values: Vec::new(),
            outcome: Outcome::default(),
            term_sums: vec![0.0; terms],
            ended: Vec::new(),
            cost: 0.0,
            envs,
            ranks,
        };
        collector.failure().map_or(Ok(()), Err)?;
        collector.observe(agent, 0)?;
        Ok(collector)
    }

    /// Reads the environments' observations, with the agent's normaliser brought up to date by those of all ranks;
    /// the last observations of the episodes that have just been truncated, from number `first_final` on, are
    /// normalised with the same statistics.
    fn observe(&mut self, agent: &mut Agent, first_final: usize) -> Result<(), AgentError> {
        let width = agent.actor().policy().observation_width();
        self.observations.copy_from_slice(self.envs.observations());
        if let Some(bad) = self.observations.iter().position(|x| !x.is_finite()) {
            let env = self.first_env() + bad / width;
            return Err(AgentError::NonFinite(format!("observation of environment {env}")));
        }
        if let Some(normalizer) = agent.normalizer_mut() {
            if self.ranks.size() == 1 {
                normalizer.update(&self.observations);
            } else {
                normalizer.update(&self.ranks.gather(&self.observations).concat());
            }
            normalizer.normalize(&mut self.observations);
            normalizer.normalize(&mut self.final_observations[first_final * width..]);
        }
        Ok(())
    }

    /// The global index of the first environment.
    fn first_env(&self) -> usize {
        self.envs.indices().start as usize
    }

    /// Acts for one iteration; returns the episodes that ended in it, in all ranks' environments. Updates the
    /// agent's observation normaliser on the way.
    ///
    /// # Errors
    /// When an observation, a reward, a sum of a term of it or an action is not finite, or a cost is not
    /// finite or below 0.
    pub fn collect(&mut self, agent: &mut Agent) -> Result<&[Episode], AgentError> {
        let Outcome { episodes, costs, term_sums } = &mut self.outcome;
        episodes.clear();
        costs.clear();
        term_sums.clear();
        term_sums.resize(self.envs.reward_terms().len(), 0.0);
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
        self.judge(agent);
        self.gather();
        let terms = self.term_sums.len();
        for (term, sum) in self.term_sums.iter_mut().enumerate() {
            *sum = self.outcome.term_sums.iter().skip(term).step_by(terms).sum();
        }
        if let Some(normalizer) = &mut self.reward_normalizer {
            let Batch { num_envs, terminated, truncated, signals, .. } =
                self.whole.as_mut().unwrap_or(&mut self.batch);
            let steps = signals[0].rewards.chunks_exact_mut(*num_envs);
            let ends = terminated.chunks_exact(*num_envs).zip(truncated.chunks_exact(*num_envs));
            for (rewards, (terminated, truncated)) in steps.zip(ends) {
                let ended = terminated.iter().zip(truncated).map(|(one, other)| *one || *other);
                self.ended.clear();
                self.ended.extend(ended);
                normalizer.normalize(rewards, &self.ended, agent.rollout().gamma);
            }
        }
        if let Some((name, _)) = self.reward_terms().find(|(_, mean)| !mean.is_finite()) {
            return Err(AgentError::NonFinite(format!("term `{name}` of the reward")));
        }
        Ok(&self.outcome.episodes)
    }

    /// The episodes that the last [`Collector::collect`] has returned.
    #[must_use]
    pub fn episodes(&self) -> &[Episode] {
        &self.outcome.episodes
    }

    /// The costs of the episodes that the last [`Collector::collect`] has returned, `[episode][cost]`, each
    /// by its name in [`envs::Spec::costs`]: sums over an episode's steps.
    #[must_use]
    pub fn episode_costs(&self) -> &[f64] {
        &self.outcome.costs
    }

    /// The terms of the reward by their names ([`envs::Spec::reward_terms`]), each as its mean over the
    /// steps of the last [`Collector::collect`], in the environment's own unit, however rewards are
    /// normalised. They sum to the mean reward.
    pub fn reward_terms(&self) -> impl Iterator<Item = (&str, f64)> {
        let names = self.envs.spec().reward_terms.iter();
        let steps = self.whole.as_ref().unwrap_or(&self.batch).len() as f64;
        names.zip(&self.term_sums).map(move |(name, sum)| (&**name, sum / steps))
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
        self.envs.finish_step();
        self.failure().map_or(Ok(()), Err)
    }

    /// Writes down what happened.
    fn record(&mut self, agent: &Agent, step: usize) -> Result<(), AgentError> {
        let num_envs = self.batch.num_envs;
        let first = step * num_envs;
        let width = agent.actor().policy().observation_width();
        let rewards = &mut self.batch.signals[0].rewards[first..first + num_envs];
        for (env, transition) in self.envs.transitions().iter().enumerate() {
            if !transition.reward.is_finite() {
                let env = self.envs.indices().start as usize + env;
                return Err(AgentError::NonFinite(format!("reward of environment {env}")));
            }
            let i = first + env;
            rewards[env] = transition.reward as f32;
            self.batch.terminated[i] = transition.terminated;
            self.batch.truncated[i] = transition.truncated;
            if let Some(episode) = transition.episode {
                self.outcome.episodes.push(episode);
                let costs = self.envs.spec().costs.len();
                let sums = &self.envs.episode_costs()[env * costs..(env + 1) * costs];
                self.outcome.costs.extend_from_slice(sums);
            }
            if transition.truncated && !transition.terminated {
                self.truncated_steps.push(i);
            }
        }
        for (sum, term) in self.outcome.term_sums.iter_mut().zip(self.envs.reward_terms()) {
            *sum += term;
        }
        let names = &self.envs.spec().costs;
        if !names.is_empty() {
            let costs = self.envs.costs();
            let first = self.envs.indices().start as usize;
            AgentError::check_costs(names, costs, |env| {
                format!(" of environment {}", first + env)
            })?;
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
        Ok(())
    }

    /// Asks the critics for the values of what was seen.
    fn judge(&mut self, agent: &Agent) {
        let Batch { num_envs, observations, signals, .. } = &mut self.batch;
        self.final_values.resize(self.truncated_steps.len(), 0.0);
        for (signal, critic) in signals.iter_mut().zip(agent.critics()) {
            critic.values(observations, &mut signal.values);
            // The next value is the value one step later, except at the end of the rollout ...
            let (values, next_values) = (&signal.values, &mut signal.next_values);
            let within = values.len() - *num_envs;
            next_values[..within].copy_from_slice(&values[*num_envs..]);
            critic.values(&self.observations, &mut next_values[within..]);
            // ... and where an episode was truncated: there the next row is of another episode.
            critic.values(&self.final_observations, &mut self.final_values);
            for (&i, &value) in self.truncated_steps.iter().zip(&self.final_values) {
                next_values[i] = value;
            }
        }
    }

    /// Puts together what happened in all ranks' environments.
    fn gather(&mut self) {
        let Some(whole) = &mut self.whole else { return };
        let batches = self.ranks.gather_bytes(self.batch.to_bytes());
        let outcomes = self.ranks.gather(&self.outcome);
        let mut first = 0;
        let mut counts = Vec::new();
        for bytes in &batches {
            let num_envs = whole.place(first, bytes);
            first += num_envs;
            counts.push(num_envs);
        }
        // Episodes end where the flags say.
        let costs = self.envs.spec().costs.len();
        let mut told: Vec<_> = outcomes
            .iter()
            .map(|outcome| (outcome.episodes.iter(), outcome.costs.chunks_exact(costs.max(1))))
            .collect();
        let owners: Vec<usize> = (counts.iter().enumerate())
            .flat_map(|(rank, &count)| std::iter::repeat_n(rank, count))
            .collect();
        let mut all = Outcome::default();
        for (i, (&terminated, &truncated)) in
            whole.terminated.iter().zip(&whole.truncated).enumerate()
        {
            if terminated || truncated {
                let (episodes, costs) = &mut told[owners[i % owners.len()]];
                all.episodes.extend(episodes.next());
                all.costs.extend(costs.next().into_iter().flatten());
            }
        }
        all.term_sums = outcomes.into_iter().flat_map(|outcome| outcome.term_sums).collect();
        self.outcome = all;
    }

    /// The collected experience with values and advantages under the agent's critic.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn batch(&mut self, agent: &Agent) -> Result<&Batch, AgentError> {
        let Outcome { episodes, costs, .. } = &self.outcome;
        let batch = self.whole.as_mut().unwrap_or(&mut self.batch);
        let count = episodes.len() as f64;
        let mean = |sum: f64| (count > 0.0).then_some(sum / count);
        batch.reward_scale = self.reward_normalizer.as_ref().map_or(1.0, RewardNormalizer::scale);
        batch.episode_length = mean(episodes.iter().map(|episode| f64::from(episode.length)).sum());
        for (signal, critic) in batch.signals.iter_mut().zip(agent.critics()) {
            signal.episode_sum = mean(match critic.cost {
                None => episodes.iter().map(|episode| episode.episode_return).sum(),
                Some(index) => costs.iter().skip(index).step_by(self.envs.spec().costs.len()).sum(),
            });
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

    /// A copy of all state, environments included: those of all ranks, which all ask for it at the same time.
    #[must_use]
    pub fn state(&self) -> CollectorState {
        let own = (self.envs.state(), self.observations.clone(), self.sampling.clone());
        let mut envs = VectorEnvState::default();
        let (mut observations, mut sampling) = (Vec::new(), Vec::new());
        for (of_rank, seen, streams) in self.ranks.gather(&own) {
            envs.extend(of_rank);
            observations.extend(seen);
            sampling.extend(streams);
        }
        let reward_normalizer = self.reward_normalizer.clone();
        CollectorState { envs, observations, reward_normalizer, sampling }
    }

    /// Why environments that work elsewhere work no more; a state that was copied meanwhile is none.
    #[must_use]
    pub fn failure(&self) -> Option<AgentError> {
        self.envs.failure().map(AgentError::Environment)
    }

    /// Goes on from a saved state, which is one of all ranks' environments.
    ///
    /// # Errors
    /// When it belongs to another environment or number of environments, or has numbers that no run can
    /// have. The environments may have taken over some of it then.
    pub fn set_state(&mut self, state: CollectorState) -> Result<(), AgentError> {
        let num_envs = self.whole.as_ref().unwrap_or(&self.batch).num_envs;
        let width = self.observations.len() / self.sampling.len();
        let expected = num_envs * width;
        AgentError::check_length("observation buffer", expected, state.observations.len())?;
        AgentError::check_length("list of sampling streams", num_envs, state.sampling.len())?;
        let is_finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
        AgentError::check_saved("observation buffer", is_finite(&state.observations))?;
        if state.reward_normalizer.is_some() != self.reward_normalizer.is_some() {
            return Err(AgentError::Mismatch(
                "the saved run has another env.normalize_rewards".into(),
            ));
        }
        if let Some(saved) = &state.reward_normalizer {
            AgentError::check_saved("reward normaliser", saved.is_sound(num_envs))?;
        }
        let own = self.envs.indices();
        let own = own.start as usize..own.end as usize;
        let envs = state.envs.only(own.clone(), num_envs);
        let envs = envs.and_then(|envs| self.envs.set_state(envs));
        envs.map_err(|error| AgentError::Mismatch(error.to_string()))?;
        self.failure().map_or(Ok(()), Err)?;
        AgentError::check_saved("state of the environments", is_finite(self.envs.observations()))?;
        self.observations = state.observations[own.start * width..own.end * width].to_vec();
        self.reward_normalizer = state.reward_normalizer;
        self.sampling = state.sampling[own].to_vec();
        Ok(())
    }

    /// Goes on with the episodes that the environments began when they were given a state and have none
    /// ([`envs::Spec::saves_state`]); `agent` is the one that was saved with it.
    pub fn take_new_episodes(&mut self, agent: &Agent) {
        if let Some(normalizer) = &mut self.reward_normalizer {
            normalizer.end_episodes();
        }
        self.observations.copy_from_slice(self.envs.observations());
        agent.actor().normalize(&mut self.observations);
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
        if self.envs.is_elsewhere() && half >= AT_ONCE {
            // The processes of the first ones work while the actions of the others are chosen.
            let (first, rest) = self.split_at(half, actor);
            first.step(actor, cost);
            rest.step(actor, cost);
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
