//! Evaluation: whole episodes with a frozen policy.

use crate::error::AgentError;
use crate::gae::variance;
use crate::policy::Actor;
use crate::ranks::Ranks;
use envs::{Drawing, Episode, Rng, Stream, Task, VectorEnv, stream};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Evaluation uses environments from this global index on, which no training run reaches: its
/// episodes are new ones, the same for every policy.
pub const EVALUATION_ENVIRONMENTS: u32 = 1 << 31;

/// Episodes of a frozen policy and their statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    episodes: Vec<Episode>,
    /// Names of the costs, and what each episode cost, `[episode][cost]`.
    cost_names: Vec<String>,
    costs: Vec<f64>,
    /// Names of the terms of the reward, with their sums over all episodes.
    term_sums: Vec<(String, f64)>,
}

/// Episodes that a rank has played, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Played {
    episodes: Vec<Episode>,
    /// `[episode][cost]`
    costs: Vec<f64>,
    /// Sums of the terms of the reward, `[episode][term]`.
    terms: Vec<f64>,
}

impl Evaluation {
    /// Every episode, in order.
    #[must_use]
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// The terms of the reward by their names ([`envs::Spec::reward_terms`]), each as its mean over all
    /// steps of the episodes; nothing where the reward has only one.
    pub fn reward_terms(&self) -> impl Iterator<Item = (&str, f64)> {
        let steps: f64 = self.episodes.iter().map(|episode| f64::from(episode.length)).sum();
        self.term_sums.iter().map(move |(name, sum)| (&**name, sum / steps))
    }

    /// The environment's costs by their names ([`envs::Spec::costs`]), each as its mean over the episodes;
    /// nothing where it has none.
    pub fn costs(&self) -> impl Iterator<Item = (&str, MeanCost)> {
        let count = self.episodes.len() as f64;
        self.cost_names.iter().enumerate().map(move |(index, name)| {
            let costs = self.costs.iter().skip(index).step_by(self.cost_names.len()).copied();
            // One episode does not say how episodes differ.
            let error = (variance(costs.clone()) / (count - 1.0)).sqrt();
            let standard_error = (count > 1.0).then_some(error);
            (&**name, MeanCost { mean: costs.sum::<f64>() / count, standard_error })
        })
    }

    /// The mean cost of that name.
    #[must_use]
    pub fn cost(&self, name: &str) -> Option<MeanCost> {
        self.costs().find(|cost| cost.0 == name).map(|cost| cost.1)
    }

    fn returns(&self) -> impl Iterator<Item = f64> + '_ {
        self.episodes.iter().map(|episode| episode.episode_return)
    }

    fn mean(&self, numbers: impl Iterator<Item = f64>) -> f64 {
        numbers.sum::<f64>() / self.episodes.len() as f64
    }

    /// Mean undiscounted return.
    #[must_use]
    pub fn mean_return(&self) -> f64 {
        self.mean(self.returns())
    }

    /// Population standard deviation of the returns.
    #[must_use]
    pub fn std_return(&self) -> f64 {
        let mean = self.mean_return();
        self.mean(self.returns().map(|x| (x - mean) * (x - mean))).sqrt()
    }

    /// Smallest return.
    #[must_use]
    pub fn min_return(&self) -> f64 {
        self.returns().fold(f64::INFINITY, f64::min)
    }

    /// Largest return.
    #[must_use]
    pub fn max_return(&self) -> f64 {
        self.returns().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Mean steps of an episode.
    #[must_use]
    pub fn mean_length(&self) -> f64 {
        self.mean(self.episodes.iter().map(|episode| f64::from(episode.length)))
    }

    /// Share of episodes that ended in success; `None` where the environment has no such notion.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        let successes: Vec<bool> =
            self.episodes.iter().filter_map(|episode| episode.success).collect();
        if successes.is_empty() {
            return None;
        }
        Some(successes.iter().filter(|&&success| success).count() as f64 / successes.len() as f64)
    }
}

/// What episodes cost: their undiscounted sums of one cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanCost {
    /// Mean over the episodes.
    pub mean: f64,
    /// Standard error of the mean: the deviation of a sample over the root of its size; `None` of one
    /// episode.
    pub standard_error: Option<f64>,
}

/// Plays `episodes` episodes, at least one; episode `i` depends on `seed` and `i` only. Greedy
/// actions are the mode of the policy, otherwise they are sampled. The observation normaliser is used
/// but not updated; returns are of the environment's own rewards.
///
/// # Errors
/// When an observation, a reward, a sum of a term of it or an action is not finite, or a cost is not
/// finite or below 0.
///
/// ```
/// # use agents::{PpoConfig, TrainingConfig};
/// # use envs::{Environments, TaskConfig};
/// # let task = Environments::default().get("cartpole").unwrap().task(&TaskConfig::default())?;
/// # let ppo = PpoConfig { rollout_steps: 32, ..PpoConfig::default() };
/// # let agent = TrainingConfig::new(ppo).agent(task.spec())?;
/// let evaluation = agents::evaluate(agent.actor(), &task, 3, 1, true)?;
/// assert_eq!(evaluation.episodes().len(), 3);
/// // A cart that balances gets 1 a step, and nothing in it counts as success.
/// assert_eq!(evaluation.mean_return(), evaluation.mean_length());
/// assert_eq!(evaluation.success_rate(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(
    actor: &Actor,
    task: &Task,
    episodes: usize,
    seed: u64,
    greedy: bool,
) -> Result<Evaluation, AgentError> {
    evaluate_among(&Ranks::default(), actor, task, episodes, seed, greedy)
}

/// [`evaluate`] together with other ranks, which have the same policy: each plays some of the episodes.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_among(
    ranks: &Ranks,
    actor: &Actor,
    task: &Task,
    episodes: usize,
    seed: u64,
    greedy: bool,
) -> Result<Evaluation, AgentError> {
    let own = play(actor, task, ranks.share(episodes), seed, greedy)?;
    let mut all = Played::default();
    for Played { episodes, costs, terms } in ranks.gather(&own) {
        all.episodes.extend(episodes);
        all.costs.extend(costs);
        all.terms.extend(terms);
    }
    let Played { episodes, costs, terms } = all;
    let names = task.spec().reward_terms.iter();
    let sum = |(index, name): (usize, &String)| {
        (name.clone(), terms.iter().skip(index).step_by(names.len()).sum())
    };
    let term_sums: Vec<(String, f64)> = names.clone().enumerate().map(sum).collect();
    if let Some((name, _)) = term_sums.iter().find(|(_, sum)| !sum.is_finite()) {
        let name = format!("term `{name}` of the reward in an evaluation");
        return Err(AgentError::NonFinite(name));
    }
    Ok(Evaluation { episodes, cost_names: task.spec().costs.clone(), costs, term_sums })
}

/// Plays the episodes of this range.
fn play(
    actor: &Actor,
    task: &Task,
    range: Range<usize>,
    seed: u64,
    greedy: bool,
) -> Result<Played, AgentError> {
    let policy = actor.policy();
    let (outputs_width, action_width) = (policy.output_width(), policy.action_width());
    let (first, episodes) = (range.start as u32, range.len());
    // Each environment plays one episode: none is favoured for being short.
    let mut envs = VectorEnv::new(task, seed, EVALUATION_ENVIRONMENTS + first, episodes);
    if let Some(failure) = envs.failure() {
        return Err(AgentError::Environment(failure));
    }
    let mut sampling: Vec<Rng> = (first..first + episodes as u32)
        .map(|index| stream(seed, Stream::Evaluation(index)))
        .collect();
    let mut finished: Vec<Option<Episode>> = vec![None; episodes];
    let mut left = episodes;
    // What an environment does after its episode does not count.
    let mut is_playing = vec![true; episodes];
    let num_terms = task.spec().reward_terms.len();
    let mut terms = vec![0.0; episodes * num_terms];
    let cost_names = &task.spec().costs;
    let mut costs = vec![0.0; episodes * cost_names.len()];
    let mut observations = envs.observations().to_vec();
    let mut actions = vec![0.0; episodes * action_width];
    let mut outputs = vec![0.0; episodes * outputs_width];
    while left > 0 {
        observations.copy_from_slice(envs.observations());
        actor.normalize(&mut observations);
        actor.outputs(&observations, &mut outputs);
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(AgentError::NonFinite("policy's output in an evaluation".into()));
        }
        for ((outputs, action), rng) in outputs
            .chunks_exact(outputs_width)
            .zip(actions.chunks_exact_mut(action_width))
            .zip(&mut sampling)
        {
            if greedy {
                actor.mode(outputs, action);
            } else {
                actor.sample(outputs, rng, action);
            }
        }
        actor.squash(&mut actions);
        envs.step(&actions);
        if let Some(failure) = envs.failure() {
            return Err(AgentError::Environment(failure));
        }
        for (transition, finished) in envs.transitions().iter().zip(&mut finished) {
            if !transition.reward.is_finite() {
                return Err(AgentError::NonFinite("reward in an evaluation".into()));
            }
            if finished.is_none() && transition.episode.is_some() {
                *finished = transition.episode;
                left -= 1;
            }
        }
        if !cost_names.is_empty() {
            AgentError::check_costs(cost_names, envs.costs(), |_| " in an evaluation".into())?;
            let rows = costs.chunks_exact_mut(cost_names.len());
            let now = envs.episode_costs().chunks_exact(cost_names.len());
            for ((row, now), _) in
                rows.zip(now).zip(&is_playing).filter(|(_, is_playing)| **is_playing)
            {
                row.copy_from_slice(now);
            }
        }
        if num_terms > 0 {
            let rows = terms.chunks_exact_mut(num_terms);
            let now = envs.reward_terms().chunks_exact(num_terms);
            for ((row, now), _) in
                rows.zip(now).zip(&is_playing).filter(|(_, is_playing)| **is_playing)
            {
                row.iter_mut().zip(now).for_each(|(sum, term)| *sum += term);
            }
        }
        for (is_playing, finished) in is_playing.iter_mut().zip(&finished) {
            *is_playing = finished.is_none();
        }
    }
    Ok(Played { episodes: finished.into_iter().flatten().collect(), costs, terms })
}

/// One episode, step by step. Row `t` of the drawings and observations is what holds after `t` steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// [`envs::Environment::draw`], `[steps + 1]`; empty where the environment has no picture.
    pub drawings: Vec<Drawing>,
    /// What the environment showed, not normalised, `[steps + 1][observation]`.
    pub observations: Vec<Vec<f32>>,
    /// What the environment received, `[steps][action]`; a discrete action is its index.
    pub actions: Vec<Vec<f32>>,
    /// Rewards, `[steps]`.
    pub rewards: Vec<f64>,
    /// Terms of the rewards, `[steps][term]`, by the names of [`envs::Spec::reward_terms`].
    pub reward_terms: Vec<Vec<f64>>,
    /// Costs, `[steps][cost]`, by the names of [`envs::Spec::costs`].
    pub costs: Vec<Vec<f64>>,
    /// How the episode ended; `None` where the recording stops before its end.
    pub end: Option<Episode>,
}

/// Plays episode `episode` of [`evaluate`] and keeps what happens, up to `max_steps` steps.
///
/// # Errors
/// When an observation, a reward or an action is not finite, or a cost is not finite or below 0.
///
/// ```
/// # use agents::{PpoConfig, TrainingConfig};
/// # use envs::{Environments, TaskConfig};
/// # let task = Environments::default().get("cartpole").unwrap().task(&TaskConfig::default())?;
/// # let ppo = PpoConfig { rollout_steps: 32, ..PpoConfig::default() };
/// # let agent = TrainingConfig::new(ppo).agent(task.spec())?;
/// let recording = agents::record(agent.actor(), &task, 1, 0, true, 1000)?;
/// let evaluation = agents::evaluate(agent.actor(), &task, 1, 1, true)?;
/// assert_eq!(recording.end, Some(evaluation.episodes()[0]));
/// assert_eq!(recording.observations.len(), recording.actions.len() + 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record(
    actor: &Actor,
    task: &Task,
    seed: u64,
    episode: u32,
    greedy: bool,
    max_steps: usize,
) -> Result<Recording, AgentError> {
    let mut environment = task.make();
    let spec = task.spec();
    let mut rng = stream(seed, Stream::Environment(EVALUATION_ENVIRONMENTS + episode));
    let mut sampling = (!greedy).then(|| stream(seed, Stream::Evaluation(episode)));
    environment.reset(&mut rng);
    let mut observation = vec![0.0; spec.observation_space.width()];
    let mut recording = Recording::default();
    loop {
        if let Some(failure) = environment.failure() {
            return Err(AgentError::Environment(failure));
        }
        environment.observe(&mut observation);
        recording.observations.push(observation.clone());
        if recording.end.is_some() || recording.rewards.len() == max_steps {
            recording.drawings.extend(environment.draw(None));
            return Ok(recording);
        }
        let numbers = actor.act(&spec.action_space, &observation, sampling.as_mut())?;
        let action = spec.action_space.action(&numbers);
        recording.drawings.extend(environment.draw(Some(action)));
        let step = environment.step(action, &mut rng);
        if !step.reward.is_finite() {
            return Err(AgentError::NonFinite("reward in a recording".into()));
        }
        let mut terms = vec![0.0; spec.reward_terms.len()];
        environment.reward_terms(&mut terms);
        recording.reward_terms.push(terms);
        let mut costs = vec![0.0; spec.costs.len()];
        environment.costs(&mut costs);
        AgentError::check_costs(&spec.costs, &costs, |_| " in a recording".into())?;
        recording.costs.push(costs);
        recording.actions.push(numbers);
        recording.rewards.push(step.reward);
        let length = recording.rewards.len() as u32;
        if step.terminated || step.truncated || length >= spec.max_episode_steps {
            let episode_return = recording.rewards.iter().sum();
            recording.end = Some(Episode { episode_return, length, success: step.success });
        }
    }
}
