//! Collecting experience: acting in the environments and writing what happens into one batch.

mod seat;

use crate::agent::Agent;
use crate::batch::Batch;
use crate::error::AgentError;
use crate::ranks::Ranks;
use envs::{
    Episode, RewardNormalizer, Rng, RunningMeanStd, Stream, VectorEnv, VectorEnvState, stream,
};
use seat::{EndedEpisode, Happened, Rule, Seat};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Nanoseconds of acting in the environments of a seat from which on threads share it.
const WORTH: f64 = 5_000.0;
/// Steps of a seat before it hands them over, and before threads meet: few enough that they stay in the cache, and
/// that a thread that comes late has its share soon ...
const AT_ONCE: usize = 64;
/// ... in all its environments together.
const SAMPLES: usize = 8192;
/// Environments of a seat where threads meet after each step.
const LEAST: usize = 8;

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
    /// The environments of this rank, in order.
    seats: Vec<Seat>,
    ranks: Arc<Ranks>,
    /// What the policy sees next, `[env][observation]`, normalised when it was observed.
    observations: Vec<f32>,
    /// Of all environments.
    reward_normalizer: Option<RewardNormalizer>,
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
    /// Which cost of the environment each signal but the first is.
    costs: Vec<usize>,
    /// The episodes that ended in some steps.
    episodes: Vec<EndedEpisode>,
    /// Of one step of all environments.
    ended: Vec<bool>,
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
        let signals = agent.critics().len();
        let batch = |num_envs| Batch::new(num_envs, num_envs * steps, widths, signals);
        let terms = envs.spec().reward_terms.len();
        let sampling: Vec<Rng> =
            envs.indices().map(|index| stream(seed, Stream::Sampling(index))).collect();
        let mut collector = Collector {
            observations: envs.observations().to_vec(),
            reward_normalizer: normalize_rewards.then(|| RewardNormalizer::new(all)),
            batch: batch(num_envs),
            whole: (ranks.size() > 1).then(|| batch(all)),
            truncated_steps: Vec::new(),
            final_observations: Vec::new(),
            final_values: Vec::new(),
            outcome: Outcome::default(),
            term_sums: vec![0.0; terms],
            costs: agent.critics().iter().filter_map(|critic| critic.cost).collect(),
            episodes: Vec::new(),
            ended: Vec::new(),
            seats: vec![Seat::new(envs, &sampling, agent.actor(), signals, 0)],
            ranks,
        };
        collector.failure().map_or(Ok(()), Err)?;
        let first_env = collector.first_env();
        AgentError::check_observations(&collector.observations, widths[0], first_env)?;
        collector.normalize(agent, 0);
        Ok(collector)
    }

    /// Gives each thread of the agent a seat. Which environments share one makes no difference to what happens.
    fn seat(&mut self, agent: &Agent) {
        let num_envs = self.batch.num_envs;
        let threads = agent.threads().count();
        let count = match (self.envs().spec().is_elsewhere, agent.actor().normalizer.is_some()) {
            (true, _) => 1,
            (false, true) => (num_envs / LEAST).clamp(1, threads),
            (false, false) => num_envs.min(threads),
        };
        // A normaliser must have seen all environments before it goes on.
        let at_once = if agent.actor().normalizer.is_some() { 1 } else { AT_ONCE };
        let steps = at_once.min(agent.rollout().steps).min(SAMPLES * count / num_envs).max(1);
        if self.seats.len() == count && self.seats[0].steps.steps() == steps {
            return;
        }
        let mut seats = self.seats.drain(..);
        let Some(Seat { mut envs, mut sampling, .. }) = seats.next() else { return };
        for next in seats {
            envs.append(next.envs);
            sampling.extend(next.sampling);
        }
        let seat = |envs, sampling: &[Rng]| {
            Seat::new(envs, sampling, agent.actor(), agent.critics().len(), steps)
        };
        let mut seats = Vec::with_capacity(count);
        for number in (1..count).rev() {
            let first = number * num_envs / count;
            seats.push(seat(envs.split_off(first), &sampling.split_off(first)));
        }
        seats.push(seat(envs, &sampling));
        self.seats.extend(seats.into_iter().rev());
    }

    /// Normalises what the policy sees next where the agent normalises, with the normaliser brought up to date by
    /// what is seen in all ranks' environments; the last observations of the episodes that have just been
    /// truncated, from number `first_final` on, are normalised with the same statistics.
    fn normalize(&mut self, agent: &mut Agent, first_final: usize) {
        let width = agent.actor().policy().observation_width();
        if let Some(normalizer) = agent.normalizer_mut() {
            if self.ranks.size() == 1 {
                normalizer.update(&self.observations);
            } else {
                normalizer.update(&self.ranks.gather(&self.observations).concat());
            }
            normalizer.normalize(&mut self.observations);
            normalizer.normalize(&mut self.final_observations[first_final * width..]);
        }
    }

    /// Some of the environments: what holds for each holds for all.
    fn envs(&self) -> &VectorEnv {
        &self.seats[0].envs
    }

    /// The global index of the first environment.
    fn first_env(&self) -> usize {
        self.envs().indices().start as usize
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
        self.truncated_steps.clear();
        self.final_observations.clear();
        self.seat(agent);
        for seat in &mut self.seats {
            seat.term_sums.fill(0.0);
        }
        let smallest = self.batch.num_envs / self.seats.len();
        let (mut step, mut cost) = (0, 0.0);
        while step < agent.rollout().steps {
            // What one thread needs for the first step says whether others are worth their while.
            let room = if step == 0 { 1 } else { self.seats[0].steps.steps() };
            let steps = room.min(agent.rollout().steps - step);
            let is_shared = (smallest * steps) as f64 * cost >= WORTH;
            let mut seen = self.observations.as_slice();
            for seat in &mut self.seats {
                let own;
                (own, seen) = seen.split_at(seat.observations.len());
                seat.observations.copy_from_slice(own);
            }
            let begun = Instant::now();
            let actor = agent.actor();
            // Noise begins anew with the rollout, so that a checkpoint needs none.
            let noise_correlation =
                if step == 0 { 0.0 } else { actor.policy().noise_correlation() };
            let rule = Rule { actor, costs: &self.costs, noise_correlation, steps };
            seat::act(&mut self.seats, rule, is_shared);
            if step == 0 {
                cost = begun.elapsed().as_nanos() as f64 / self.batch.num_envs as f64;
            }
            let first_final = self.truncated_steps.len();
            self.take_in(step, steps)?;
            self.normalize(agent, first_final);
            step += steps;
        }
        for seat in &self.seats {
            self.outcome.term_sums.extend(&seat.term_sums);
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
        let names = self.envs().spec().reward_terms.iter();
        let steps = self.whole.as_ref().unwrap_or(&self.batch).len() as f64;
        names.zip(&self.term_sums).map(move |(name, sum)| (&**name, sum / steps))
    }

    /// Takes the steps that were made, from number `first` on, out of the seats.
    fn take_in(&mut self, first: usize, steps: usize) -> Result<(), AgentError> {
        let (mut env, mut failure) = (0, None);
        let mut seen = self.observations.as_mut_slice();
        for seat in &mut self.seats {
            self.batch.place_steps(first, env, &seat.steps, steps);
            let Happened { episodes, truncated, final_observations, failure: own } =
                &mut seat.happened;
            self.episodes.append(episodes);
            for (step, own) in truncated.drain(..) {
                self.truncated_steps.push((first + step) * self.batch.num_envs + env + own);
            }
            self.final_observations.append(final_observations);
            failure = [failure, own.take()].into_iter().flatten().min_by_key(|(step, _)| *step);
            let own;
            (own, seen) = seen.split_at_mut(seat.observations.len());
            own.copy_from_slice(&seat.observations);
            env += seat.steps.num_envs;
        }
        self.episodes.sort_unstable_by_key(|(when, ..)| *when);
        for (_, episode, costs) in self.episodes.drain(..) {
            self.outcome.episodes.push(episode);
            self.outcome.costs.extend(costs);
        }
        failure.map_or(Ok(()), |(_, error)| Err(error))
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
        let costs = self.envs().spec().costs.len();
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
        let of_episode = self.envs().spec().costs.len();
        let Outcome { episodes, costs, .. } = &self.outcome;
        let batch = self.whole.as_mut().unwrap_or(&mut self.batch);
        let count = episodes.len() as f64;
        let mean = |sum: f64| (count > 0.0).then_some(sum / count);
        batch.reward_scale = self.reward_normalizer.as_ref().map_or(1.0, RewardNormalizer::scale);
        batch.episode_length = mean(episodes.iter().map(|episode| f64::from(episode.length)).sum());
        for (signal, critic) in batch.signals.iter_mut().zip(agent.critics()) {
            signal.episode_sum = mean(match critic.cost {
                None => episodes.iter().map(|episode| episode.episode_return).sum(),
                Some(index) => costs.iter().skip(index).step_by(of_episode).sum(),
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
        let (mut own_envs, mut own_sampling) = (VectorEnvState::default(), Vec::new());
        for seat in &self.seats {
            own_envs.extend(seat.envs.state());
            own_sampling.extend_from_slice(&seat.sampling);
        }
        let own = (own_envs, self.observations.clone(), own_sampling);
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
        let failure = self.seats.iter().find_map(|seat| seat.envs.failure());
        failure.map(AgentError::Environment)
    }

    /// Goes on from a saved state, which is one of all ranks' environments.
    ///
    /// # Errors
    /// When it belongs to another environment or number of environments, or has numbers that no run can
    /// have. The environments may have taken over some of it then.
    pub fn set_state(&mut self, state: CollectorState) -> Result<(), AgentError> {
        let num_envs = self.whole.as_ref().unwrap_or(&self.batch).num_envs;
        let width = self.observations.len() / self.batch.num_envs;
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
        let first = self.first_env();
        for seat in &mut self.seats {
            let own = seat.envs.indices();
            let own = own.start as usize..own.end as usize;
            let envs = state.envs.only(own.clone(), num_envs);
            let envs = envs.and_then(|envs| seat.envs.set_state(envs));
            envs.map_err(|error| AgentError::Mismatch(error.to_string()))?;
            seat.sampling.clone_from_slice(&state.sampling[own]);
        }
        self.failure().map_or(Ok(()), Err)?;
        let are_sound = self.seats.iter().all(|seat| is_finite(seat.envs.observations()));
        AgentError::check_saved("state of the environments", are_sound)?;
        let own = first * width..first * width + self.observations.len();
        self.observations.copy_from_slice(&state.observations[own]);
        self.reward_normalizer = state.reward_normalizer;
        Ok(())
    }

    /// Goes on with the episodes that the environments began when they were given a state and have none
    /// ([`envs::Spec::saves_state`]); `agent` is the one that was saved with it.
    pub fn take_new_episodes(&mut self, agent: &Agent) {
        if let Some(normalizer) = &mut self.reward_normalizer {
            normalizer.end_episodes();
        }
        self.observations.clear();
        for seat in &self.seats {
            self.observations.extend_from_slice(seat.envs.observations());
        }
        agent.actor().normalize(&mut self.observations);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{NetworkConfig, PpoConfig, Threads, TrainingConfig};
    use envs::{Environments, TaskConfig};
    use std::num::NonZeroUsize;

    /// The environments of each seat, and three rollouts with so many threads, in episodes of at most 50 steps.
    fn collected(
        threads: usize,
        normalize_observations: bool,
    ) -> (Vec<usize>, Vec<Batch>, Vec<Episode>) {
        let limit = TaskConfig { max_episode_steps: Some(50), ..TaskConfig::default() };
        let task = Environments::default().get("cartpole").unwrap().task(&limit).unwrap();
        let ppo = PpoConfig { rollout_steps: 150, ..PpoConfig::default() };
        let config = TrainingConfig { normalize_observations, ..TrainingConfig::new(ppo) };
        let mut agent = config.agent(task.spec()).unwrap();
        let envs = VectorEnv::new(&task, 1, 0, 17);
        let mut collector = Collector::new(envs, &mut agent, true, 1).unwrap();
        let (mut batches, mut episodes) = (Vec::new(), Vec::new());
        for round in 0..3 {
            // Not as many each time, as when a run is resumed.
            let threads = if round == 1 { 1 } else { threads };
            let threads = NonZeroUsize::new(threads).unwrap();
            agent.set_threads(Threads::new(threads));
            let threads = agent.threads();
            threads.keep_awake(|| collector.collect(&mut agent).map(drop)).unwrap();
            episodes.extend_from_slice(collector.episodes());
            batches.push(collector.batch(&agent).unwrap().clone());
        }
        (collector.seats.iter().map(|seat| seat.envs.num_envs()).collect(), batches, episodes)
    }

    #[test]
    fn noise_goes_on_from_step_to_step_and_begins_anew_with_a_rollout() {
        let task = Environments::default().get("pendulum").unwrap();
        let task = task.task(&TaskConfig::default()).unwrap();
        let ppo = PpoConfig { rollout_steps: 200, ..PpoConfig::default() };
        let network = NetworkConfig { noise_correlation: 0.6, ..NetworkConfig::default() };
        let config = TrainingConfig { network, num_envs: 100, ..TrainingConfig::new(ppo) };
        let mut training = config.build(&task).unwrap();
        let mut noise = Vec::new();
        for _ in 0..2 {
            training.collector.collect(&mut training.agent).unwrap();
            let batch = training.collector.batch(&training.agent).unwrap();
            // The first deviation is 1, and an output is the mean.
            let of_both = batch.actions.iter().zip(&batch.outputs);
            noise.extend(of_both.map(|(action, mean)| f64::from(action - mean)));
            let own = f64::from(batch.log_probs[7]) + 0.5 * noise[noise.len() - 20_000 + 7].powi(2);
            assert!((own + 0.5 * std::f64::consts::TAU.ln()).abs() < 1e-5, "{own}");
        }
        let product = |one: &[f64], other: &[f64]| {
            let sum: f64 = one.iter().zip(other).map(|(one, other)| one * other).sum();
            sum / one.len().min(other.len()) as f64
        };
        assert!((product(&noise, &noise) - 1.0).abs() < 0.05);
        let (rollout, next) = noise.split_at(20_000);
        let after = |steps: usize| product(rollout, &rollout[100 * steps..]);
        assert!((after(1) - 0.6).abs() < 0.05 && (after(2) - 0.36).abs() < 0.05);
        assert!(product(&rollout[19_900..], next).abs() < 0.4);
    }

    #[test]
    fn each_thread_has_a_seat_and_what_happens_is_the_same() {
        for (normalize, expected) in [(false, [5, 6, 6].as_slice()), (true, &[8, 9])] {
            let (seats, batches, episodes) = collected(1, normalize);
            assert_eq!(seats, [17]);
            assert!(
                batches[2].truncated.iter().any(|&truncated| truncated) && episodes.len() > 100
            );
            assert_eq!(collected(3, normalize), (expected.to_vec(), batches, episodes));
        }
    }
}
