//! What one thread acts in by itself.

use crate::batch::Batch;
use crate::error::AgentError;
use crate::policy::Actor;
use crate::threads::join;
use envs::{Episode, Rng, VectorEnv};
use smallvec::SmallVec;

/// Environments that work elsewhere and are given their actions together.
const AT_ONCE: usize = 16;

/// Some environments that are next to each other, with all that acting in them writes. It shares no cache line with
/// others: handing one over takes as long as stepping a small environment.
#[repr(align(128))]
pub(super) struct Seat {
    pub(super) envs: VectorEnv,
    /// What the policy sees next, `[env][observation]`.
    pub(super) observations: Vec<f32>,
    /// A stream for each environment.
    pub(super) sampling: Vec<Rng>,
    /// Sums over the rollout of the terms of the reward, `[env][term]`.
    pub(super) term_sums: Vec<f64>,
    /// One step's actions as the environments receive them.
    env_actions: Vec<f32>,
    /// Of the actions before, in standard deviations, `[env][action]`.
    noise: Vec<f32>,
    /// The steps that the whole batch does not have yet.
    pub(super) steps: Batch,
    /// What happened in these steps beside.
    pub(super) happened: Happened,
}

/// The step and the environment in which an episode ended, the episode, and its costs.
pub(super) type EndedEpisode = ((usize, usize), Episode, SmallVec<[f64; 4]>);

/// What happened in some steps beside what a batch has.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// The episodes that ended.
    pub(super) episodes: Vec<EndedEpisode>,
    /// The step and the environment in which an episode was truncated ...
    pub(super) truncated: Vec<(usize, usize)>,
    /// ... and the observations that it ended with, `[truncated][observation]`.
    pub(super) final_observations: Vec<f32>,
    /// Why nothing more happened, and in which step.
    pub(super) failure: Option<(usize, AgentError)>,
}

/// What acting follows, the same in all seats.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) actor: &'a Actor,
    /// Which cost of the environment each signal but the first is.
    pub(super) costs: &'a [usize],
    /// Of the noise in actions with that of the step before.
    pub(super) noise_correlation: f32,
    /// How many steps.
    pub(super) steps: usize,
}

/// Acts in all seats, on several threads where `is_shared`.
pub(super) fn act(seats: &mut [Seat], rule: Rule<'_>, is_shared: bool) {
    match seats {
        [] => {}
        [seat] => seat.act(rule),
        seats => {
            let (first, rest) = seats.split_at_mut(seats.len() / 2);
            if is_shared {
                join(|| act(first, rule, true), || act(rest, rule, true));
            } else {
                act(first, rule, false);
                act(rest, rule, false);
            }
        }
    }
}

impl Seat {
    /// A seat for at most so many steps at a time.
    pub(super) fn new(
        envs: VectorEnv,
        sampling: &[Rng],
        actor: &Actor,
        signals: usize,
        steps: usize,
    ) -> Seat {
        let policy = actor.policy();
        let num_envs = envs.num_envs();
        let widths = [policy.observation_width(), policy.action_width(), policy.output_width()];
        let terms = envs.spec().reward_terms.len();
        Seat {
            observations: apart(vec![0.0; num_envs * policy.observation_width()]),
            sampling: apart(sampling.to_vec()),
            term_sums: apart(vec![0.0; num_envs * terms]),
            env_actions: apart(vec![0.0; num_envs * policy.action_width()]),
            noise: apart(vec![0.0; num_envs * policy.action_width()]),
            steps: Batch::new(num_envs, num_envs * steps, widths, signals),
            happened: Happened::default(),
            envs,
        }
    }

    fn act(&mut self, rule: Rule<'_>) {
        for step in 0..rule.steps {
            let result = self.step(rule, step).and_then(|()| self.record(rule, step));
            if let Err(error) = result {
                self.happened.failure = Some((step, error));
                return;
            }
        }
    }

    /// Chooses one step's actions and steps the environments.
    fn step(&mut self, rule: Rule<'_>, step: usize) -> Result<(), AgentError> {
        let Rule { actor, noise_correlation, .. } = rule;
        let policy = actor.policy();
        let [seen, out, action] =
            [policy.observation_width(), policy.output_width(), policy.action_width()];
        let num_envs = self.envs.num_envs();
        let row = |width: usize| step * num_envs * width..(step + 1) * num_envs * width;
        let Batch { observations, outputs, actions, log_probs, .. } = &mut self.steps;
        observations[row(seen)].copy_from_slice(&self.observations);
        let (outputs, actions) = (&mut outputs[row(out)], &mut actions[row(action)]);
        let log_probs = &mut log_probs[row(1)];
        // Where environments work elsewhere, the first ones do while the actions of the others are chosen.
        let at_once = if self.envs.spec().is_elsewhere { AT_ONCE } else { num_envs };
        for first in (0..num_envs).step_by(at_once) {
            let end = num_envs.min(first + at_once);
            let of = |width: usize| first * width..end * width;
            let (outputs, actions) = (&mut outputs[of(out)], &mut actions[of(action)]);
            actor.outputs(&self.observations[of(seen)], outputs);
            let samples = (outputs.chunks_exact(out))
                .zip(actions.chunks_exact_mut(action))
                .zip(&mut log_probs[of(1)])
                .zip(&mut self.sampling[of(1)])
                .zip(self.noise[of(action)].chunks_exact_mut(action));
            for ((((outputs, action), log_prob), rng), noise) in samples {
                *log_prob = actor.sample_on(noise, noise_correlation, outputs, rng, action);
                if !log_prob.is_finite() {
                    // No environment is given such an action.
                    return Err(AgentError::NonFinite("log-probability of an action".into()));
                }
            }
            let env_actions = &mut self.env_actions[of(action)];
            env_actions.copy_from_slice(actions);
            actor.squash(env_actions);
            self.envs.begin_step(first, env_actions);
        }
        self.envs.finish_step();
        self.envs.failure().map_or(Ok(()), |failure| Err(AgentError::Environment(failure)))
    }

    /// Writes down what happened in it.
    fn record(&mut self, rule: Rule<'_>, step: usize) -> Result<(), AgentError> {
        let Seat { envs, steps, happened, .. } = self;
        let first_env = envs.indices().start as usize;
        let num_envs = envs.num_envs();
        let width = rule.actor.policy().observation_width();
        let names = &envs.spec().costs;
        let row = step * num_envs..(step + 1) * num_envs;
        let rewards = &mut steps.signals[0].rewards[row.clone()];
        for (env, transition) in envs.transitions().iter().enumerate() {
            if !transition.reward.is_finite() {
                let env = first_env + env;
                return Err(AgentError::NonFinite(format!("reward of environment {env}")));
            }
            rewards[env] = transition.reward as f32;
            steps.terminated[row.start + env] = transition.terminated;
            steps.truncated[row.start + env] = transition.truncated;
            if let Some(episode) = transition.episode {
                let costs = &envs.episode_costs()[env * names.len()..(env + 1) * names.len()];
                happened.episodes.push(((step, first_env + env), episode, costs.into()));
            }
            if transition.truncated && !transition.terminated {
                happened.truncated.push((step, env));
                let last = &envs.final_observations()[env * width..(env + 1) * width];
                happened.final_observations.extend_from_slice(last);
            }
        }
        for (sum, term) in self.term_sums.iter_mut().zip(envs.reward_terms()) {
            *sum += term;
        }
        if !names.is_empty() {
            AgentError::check_costs(names, envs.costs(), |env| {
                format!(" of environment {}", first_env + env)
            })?;
        }
        for (signal, index) in steps.signals[1..].iter_mut().zip(rule.costs) {
            let costs = envs.costs().iter().skip(*index).step_by(names.len());
            for (to, cost) in signal.rewards[row.clone()].iter_mut().zip(costs) {
                *to = *cost as f32;
            }
        }
        self.observations.copy_from_slice(envs.observations());
        AgentError::check_observations(&self.observations, width, first_env)
    }
}

/// With a cache line of its memory left unused, so that nothing else lies in its last one.
fn apart<T>(mut numbers: Vec<T>) -> Vec<T> {
    numbers.reserve_exact(align_of::<Seat>().div_ceil(size_of::<T>()));
    numbers
}
