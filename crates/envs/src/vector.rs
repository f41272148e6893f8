//! Many copies of one environment, stepped together and reset by themselves.

use serde::{Deserialize, Serialize};
use std::ops::Range;

use crate::environment::{Environment, Spec, StateError};
use crate::rng::{Rng, Stream, stream};
use crate::space::Space;
use crate::task::Task;

/// Bytes that cores hand to each other at least; some fetch two lines of 64 at once.
const CACHE_LINE: usize = 128;

/// What is known of an episode once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Sum of the rewards, not discounted.
    pub episode_return: f64,
    /// Number of steps.
    pub length: u32,
    /// Whether the task was solved in the last state; `None` where success is not a notion.
    pub success: Option<bool>,
}

/// What one step of one environment led to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transition {
    /// The reward of this step.
    pub reward: f64,
    /// The task ended: the value of the final observation is 0.
    pub terminated: bool,
    /// The episode was cut short, by the environment or by the time limit: the final observation
    /// keeps its value. May hold together with `terminated`, which then decides.
    pub truncated: bool,
    /// The episode, exactly when it ended in this step.
    pub episode: Option<Episode>,
}

impl Transition {
    /// Whether the episode ended in this step, either way.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// One environment with all that is its own.
struct Member {
    environment: Box<dyn Environment>,
    rng: Rng,
    length: u32,
    episode_return: f64,
}

/// `num_envs` copies of an environment behind one flat observation buffer.
///
/// Each copy has its own random stream, given by its global index: what it does depends on the seed,
/// that index and its actions, never on how many others there are. A copy whose episode ended is
/// reset at once.
///
/// ```
/// use envs::{Environments, TaskConfig, VectorEnv};
///
/// let task = Environments::default().get("reach").unwrap().task(&TaskConfig::default())?;
/// let mut envs = VectorEnv::new(&task, 1, 0, 4);
/// assert_eq!(envs.observations().len(), 4 * 10);
///
/// let reward = envs.step(&[0.5; 4 * 2])[3].reward;
/// let terms = &envs.reward_terms()[3 * 3..]; // distance, effort, grasp
/// assert!((terms.iter().sum::<f64>() - reward).abs() < 1e-12);
/// # Ok::<(), envs::ParameterError>(())
/// ```
pub struct VectorEnv {
    members: Vec<Member>,
    spec: Spec,
    /// The actions of this step, clipped to their bounds, `[env][action]`.
    actions: Vec<f32>,
    observations: Vec<f32>,
    final_observations: Vec<f32>,
    transitions: Vec<Transition>,
    reward_terms: Vec<f64>,
    costs: Vec<f64>,
    episode_costs: Vec<f64>,
    /// The least and the greatest of each number of an action; empty where actions are choices.
    action_bounds: Vec<(f32, f32)>,
    /// Global index of the first copy.
    first_index: u32,
}

impl VectorEnv {
    /// Makes and resets `num_envs` copies. Copy `k` has the global index `first_index + k`.
    #[must_use]
    pub fn new(task: &Task, seed: u64, first_index: u32, num_envs: usize) -> VectorEnv {
        let spec = task.spec().clone();
        let members = (first_index..)
            .zip(task.make_copies(num_envs))
            .map(|(index, environment)| {
                let rng = stream(seed, Stream::Environment(index));
                Member { environment, rng, length: 0, episode_return: 0.0 }
            })
            .collect();
        let width = spec.observation_space.width();
        let mut vector = VectorEnv {
            members,
            actions: vec![0.0; num_envs * spec.action_space.width()],
            observations: vec![0.0; num_envs * width],
            final_observations: vec![0.0; num_envs * width],
            transitions: vec![Transition::default(); num_envs],
            reward_terms: vec![0.0; num_envs * spec.reward_terms.len()],
            costs: vec![0.0; num_envs * spec.costs.len()],
            episode_costs: vec![0.0; num_envs * spec.costs.len()],
            action_bounds: match &spec.action_space {
                Space::Discrete { .. } => Vec::new(),
                Space::Box { low, high } => low.iter().copied().zip(high.iter().copied()).collect(),
            },
            first_index,
            spec,
        };
        vector.reset();
        vector
    }

    /// Truncates episodes after so many steps, where the task lets them be longer.
    #[must_use]
    pub fn with_shorter_episodes(mut self, steps: u32) -> VectorEnv {
        self.spec.max_episode_steps = self.spec.max_episode_steps.min(steps);
        self
    }

    /// Begins a new episode in each copy.
    fn reset(&mut self) {
        for member in &mut self.members {
            member.environment.begin_reset(&mut member.rng);
        }
        for member in &mut self.members {
            member.environment.reset(&mut member.rng);
            member.length = 0;
            member.episode_return = 0.0;
        }
        self.observe();
    }

    /// Why environments that work elsewhere work no more; what a step has led to means nothing then.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let is_elsewhere = self.spec.is_elsewhere;
        self.members.iter().take_while(|_| is_elsewhere).find_map(|one| one.environment.failure())
    }

    /// Number of copies.
    #[must_use]
    pub fn num_envs(&self) -> usize {
        self.members.len()
    }

    /// The global indices of the copies.
    #[must_use]
    pub fn indices(&self) -> Range<u32> {
        self.first_index..self.first_index + self.members.len() as u32
    }

    /// What each copy is.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The bounds of an observation.
    #[must_use]
    pub fn observation_space(&self) -> &Space {
        &self.spec.observation_space
    }

    /// The actions that [`VectorEnv::step`] takes.
    #[must_use]
    pub fn action_space(&self) -> &Space {
        &self.spec.action_space
    }

    /// The current observations `[env][observation]`: where an episode has just ended, the first of
    /// the next one.
    #[must_use]
    pub fn observations(&self) -> &[f32] {
        &self.observations
    }

    /// The last observations of the episodes that ended in the last step, `[env][observation]`. The
    /// rows of the other environments have no meaning.
    #[must_use]
    pub fn final_observations(&self) -> &[f32] {
        &self.final_observations
    }

    /// The terms of the last step's rewards, `[env][term]`, by the names of [`Spec::reward_terms`].
    #[must_use]
    pub fn reward_terms(&self) -> &[f64] {
        &self.reward_terms
    }

    /// The costs of the last step, `[env][cost]`, by the names of [`Spec::costs`].
    #[must_use]
    pub fn costs(&self) -> &[f64] {
        &self.costs
    }

    /// The costs summed over the episode that the last step belonged to, `[env][cost]`: of the whole
    /// episode where it ended with that step.
    #[must_use]
    pub fn episode_costs(&self) -> &[f64] {
        &self.episode_costs
    }

    /// Advances every environment by one step, and resets those whose episode ended.
    ///
    /// `actions` is `[env][action]`: for a discrete action its index as a whole number, for a
    /// continuous one its numbers, which are clipped to the bounds of the action space. Row `k` of
    /// the result is what environment `k` did. An index that doesn't exist and a number that is NaN
    /// are mistakes of the caller.
    pub fn step(&mut self, actions: &[f32]) -> &[Transition] {
        debug_assert_eq!(actions.len(), self.actions.len(), "an action for each copy");
        self.begin_step(0, actions);
        self.finish_step();
        &self.transitions
    }

    /// [`VectorEnv::step`] of as many copies as there are rows of `actions`, from number `first` on. Those that
    /// work elsewhere have only begun it then: [`VectorEnv::finish_step`] ends it.
    pub fn begin_step(&mut self, first: usize, actions: &[f32]) {
        let width = self.spec.action_space.width();
        let clipped = &mut self.actions[first * width..][..actions.len()];
        clipped.copy_from_slice(actions);
        match self.spec.action_space {
            Space::Discrete { n } => {
                debug_assert!(
                    actions.iter().all(|&index| index.fract() == 0.0 && (index as usize) < n)
                );
            }
            Space::Box { .. } => {
                debug_assert!(!actions.iter().any(|number| number.is_nan()), "an action is NaN");
                for row in clipped.chunks_exact_mut(width) {
                    for (number, &(low, high)) in row.iter_mut().zip(&self.action_bounds) {
                        *number = number.max(low).min(high);
                    }
                }
            }
        }
        for k in first..first + actions.len() / width {
            if self.spec.is_elsewhere {
                let action =
                    self.spec.action_space.action(&self.actions[k * width..(k + 1) * width]);
                self.members[k].environment.begin_step(action);
            } else {
                self.finish(k);
                self.go_on(k);
            }
        }
    }

    /// Waits for the end of a step that [`VectorEnv::begin_step`] has begun in copies that work elsewhere;
    /// others have ended it.
    pub fn finish_step(&mut self) {
        if !self.spec.is_elsewhere {
            return;
        }
        // Episodes that ended are asked for new ones before the first one is waited for.
        for k in 0..self.num_envs() {
            self.finish(k);
        }
        for k in 0..self.num_envs() {
            self.go_on(k);
        }
    }

    /// What the last step led to.
    #[must_use]
    pub fn transitions(&self) -> &[Transition] {
        &self.transitions
    }

    /// Takes the copies from number `middle` on away into a `VectorEnv` of their own. They share no cache line with
    /// those that stay, so that one thread may step these while another one steps those.
    ///
    /// ```
    /// use envs::{Environments, TaskConfig, VectorEnv};
    ///
    /// let task = Environments::default().get("pendulum").unwrap().task(&TaskConfig::default())?;
    /// let [mut whole, mut first] = [(); 2].map(|()| VectorEnv::new(&task, 1, 0, 4));
    /// let mut rest = first.split_off(1);
    /// rest.step(&[0.3; 3]);
    /// first.step(&[0.3]);
    /// first.append(rest);
    /// assert_eq!(whole.step(&[0.3; 4]), first.transitions());
    /// assert_eq!(whole.observations(), first.observations());
    /// # Ok::<(), envs::ParameterError>(())
    /// ```
    #[must_use]
    pub fn split_off(&mut self, middle: usize) -> VectorEnv {
        let Spec { observation_space, action_space, reward_terms, costs, .. } = &self.spec;
        let [width, terms, of_costs] =
            [observation_space.width(), reward_terms.len(), costs.len()].map(|row| middle * row);
        VectorEnv {
            members: split_off(&mut self.members, middle),
            actions: split_off(&mut self.actions, middle * action_space.width()),
            observations: split_off(&mut self.observations, width),
            final_observations: split_off(&mut self.final_observations, width),
            transitions: split_off(&mut self.transitions, middle),
            reward_terms: split_off(&mut self.reward_terms, terms),
            costs: split_off(&mut self.costs, of_costs),
            episode_costs: split_off(&mut self.episode_costs, of_costs),
            action_bounds: self.action_bounds.clone(),
            first_index: self.first_index + middle as u32,
            spec: self.spec.clone(),
        }
    }

    /// Takes in the copies that [`VectorEnv::split_off`] took away.
    pub fn append(&mut self, mut rest: VectorEnv) {
        self.members.append(&mut rest.members);
        self.actions.append(&mut rest.actions);
        self.observations.append(&mut rest.observations);
        self.final_observations.append(&mut rest.final_observations);
        self.transitions.append(&mut rest.transitions);
        self.reward_terms.append(&mut rest.reward_terms);
        self.costs.append(&mut rest.costs);
        self.episode_costs.append(&mut rest.episode_costs);
    }

    /// Everything that the next steps depend on, for a checkpoint.
    #[must_use]
    pub fn state(&self) -> VectorEnvState {
        let costs = self.spec.costs.len();
        let members = self.members.iter().enumerate().map(|(k, member)| MemberState {
            environment: member.environment.state(),
            rng: member.rng.clone(),
            length: member.length,
            episode_return: member.episode_return,
            episode_costs: self.episode_costs[k * costs..(k + 1) * costs].to_vec(),
        });
        VectorEnvState { members: members.collect() }
    }

    /// Goes on from a state that [`VectorEnv::state`] returned, bit for bit. The current
    /// observations are those of the state; the final ones have no meaning until the next step. Where
    /// [`Spec::saves_state`] does not hold, new episodes begin instead.
    ///
    /// # Errors
    /// When the state is one of another number of copies or of another environment. Then nothing
    /// has changed if the number is wrong; otherwise the copies before the wrong one have.
    pub fn set_state(&mut self, state: VectorEnvState) -> Result<(), VectorStateError> {
        if state.members.len() != self.members.len() {
            let (expected, found) = (self.members.len(), state.members.len());
            return Err(VectorStateError::NumEnvs { expected, found });
        }
        for (index, (member, saved)) in self.members.iter_mut().zip(state.members).enumerate() {
            let costs = self.spec.costs.len();
            let is_sum = |cost: &f64| cost.is_finite() && *cost >= 0.0;
            let has_costs =
                saved.episode_costs.len() == costs && saved.episode_costs.iter().all(is_sum);
            if saved.length == u32::MAX || !saved.episode_return.is_finite() || !has_costs {
                return Err(VectorStateError::Episode { index });
            }
            member
                .environment
                .set_state(&saved.environment)
                .map_err(|source| VectorStateError::Environment { index, source })?;
            member.rng = saved.rng;
            member.length = saved.length;
            member.episode_return = saved.episode_return;
            self.episode_costs[index * costs..(index + 1) * costs]
                .copy_from_slice(&saved.episode_costs);
        }
        if self.spec.saves_state {
            self.observe();
        } else {
            self.reset();
        }
        Ok(())
    }

    /// Steps copy `k` with its action and writes down what came of it.
    #[inline(always)] // a step of a small environment takes no longer than a call
    fn finish(&mut self, k: usize) {
        let width = self.spec.observation_space.width();
        let (terms, costs) = (self.spec.reward_terms.len(), self.spec.costs.len());
        let (member, transition) = (&mut self.members[k], &mut self.transitions[k]);
        let action_width = self.spec.action_space.width();
        let action = &self.actions[k * action_width..(k + 1) * action_width];
        let action = self.spec.action_space.action(action);
        let step = member.environment.step(action, &mut member.rng);
        member.length += 1;
        member.episode_return += step.reward;
        *transition = Transition {
            reward: step.reward,
            terminated: step.terminated,
            truncated: step.truncated || member.length >= self.spec.max_episode_steps,
            episode: None,
        };
        if terms > 0 {
            let row = &mut self.reward_terms[k * terms..(k + 1) * terms];
            member.environment.reward_terms(row);
        }
        if costs > 0 {
            let row = k * costs..(k + 1) * costs;
            let (now, sums) = (&mut self.costs[row.clone()], &mut self.episode_costs[row]);
            member.environment.costs(now);
            if member.length == 1 {
                sums.fill(0.0);
            }
            sums.iter_mut().zip(now).for_each(|(sum, cost)| *sum += *cost);
        }
        if transition.ended() {
            transition.episode = Some(Episode {
                episode_return: member.episode_return,
                length: member.length,
                success: step.success,
            });
            let row = k * width..(k + 1) * width;
            member.environment.observe(&mut self.final_observations[row]);
            if self.spec.is_elsewhere {
                member.environment.begin_reset(&mut member.rng);
            }
        }
    }

    /// Resets copy `k` if its episode has ended, and reads its observation.
    #[inline(always)]
    fn go_on(&mut self, k: usize) {
        let width = self.spec.observation_space.width();
        let member = &mut self.members[k];
        if self.transitions[k].ended() {
            member.environment.reset(&mut member.rng);
            member.length = 0;
            member.episode_return = 0.0;
        }
        member.environment.observe(&mut self.observations[k * width..(k + 1) * width]);
    }

    /// Writes the current observation of every environment.
    fn observe(&mut self) {
        let width = self.spec.observation_space.width();
        for (k, member) in self.members.iter().enumerate() {
            member.environment.observe(&mut self.observations[k * width..(k + 1) * width]);
        }
    }
}

/// `Vec::split_off` with a cache line of the memory of both left unused, so that nothing else lies in their last one.
fn split_off<T>(whole: &mut Vec<T>, middle: usize) -> Vec<T> {
    let mut rest = whole.split_off(middle);
    rest.reserve_exact(CACHE_LINE.div_ceil(size_of::<T>().max(1)));
    rest
}

/// A saved [`VectorEnv`]: the states of the environments, their random streams, and how far their
/// episodes have come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VectorEnvState {
    members: Vec<MemberState>,
}

impl VectorEnvState {
    /// Adds the environments that come after these.
    pub fn extend(&mut self, next: VectorEnvState) {
        self.members.extend(next.members);
    }

    /// Those in this range of `num_envs` environments.
    ///
    /// # Errors
    /// When it is the state of another number of them.
    pub fn only(
        &self,
        range: Range<usize>,
        num_envs: usize,
    ) -> Result<VectorEnvState, VectorStateError> {
        let (expected, found) = (num_envs, self.members.len());
        if found != expected {
            return Err(VectorStateError::NumEnvs { expected, found });
        }
        Ok(VectorEnvState { members: self.members[range].to_vec() })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MemberState {
    environment: Vec<f64>,
    rng: Rng,
    length: u32,
    episode_return: f64,
    episode_costs: Vec<f64>,
}

/// A saved state that does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VectorStateError {
    /// The number of environments differs.
    #[error("the state is one of {found} environments, here are {expected}")]
    NumEnvs {
        /// Environments that there are.
        expected: usize,
        /// Environments in the state.
        found: usize,
    },
    /// An environment did not take its state.
    #[error("environment {index}: {source}")]
    Environment {
        /// Which one, counted from 0.
        index: usize,
        /// What was wrong.
        source: StateError,
    },
    /// Length, return and costs so far are none of an episode.
    #[error(
        "environment {index}: the episode's length, return or costs can't be what the state says"
    )]
    Episode {
        /// Which one, counted from 0.
        index: usize,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::RngExt;

    use super::*;
    use crate::{
        Action, ActionDelay, CartPole, Entry, Environments, ObservationNoise, Step, TaskConfig,
    };
    use serde_json::{Map, Value, json};

    /// Counts its steps: from 0 or 1, up to 3, where it terminates if the action was 0, or 4, where
    /// it truncates itself. The time limit is 3 steps. Reward and observation are the count, and
    /// then the action as it arrived. The terms of the reward are the count before the step and 1; a
    /// step costs its count, as an even or an odd one.
    #[derive(Default)]
    struct Counter {
        count: f64,
        action: [f32; 2],
    }

    impl Environment for Counter {
        fn spec(&self) -> Spec {
            let action_space =
                Space::Box { low: vec![-1.0, f32::NEG_INFINITY], high: vec![2.0, f32::INFINITY] };
            Spec {
                reports_success: true,
                reward_terms: vec!["before".into(), "one".into()],
                costs: vec!["even".into(), "odd".into()],
                ..Spec::new(Space::symmetric_box(3, f32::INFINITY), action_space, 3)
            }
        }

        fn reset(&mut self, rng: &mut Rng) {
            *self = Counter { count: rng.random_range(0..2).into(), ..Counter::default() };
        }

        fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
            self.action.copy_from_slice(action.values());
            self.count += 1.0;
            Step {
                reward: self.count,
                terminated: self.count == 3.0 && self.action[0] == 0.0,
                truncated: self.count == 4.0,
                success: Some(self.count == 3.0),
            }
        }

        fn observe(&self, observation: &mut [f32]) {
            observation.copy_from_slice(&[self.count as f32, self.action[0], self.action[1]]);
        }

        fn reward_terms(&self, terms: &mut [f64]) {
            terms.copy_from_slice(&[self.count - 1.0, 1.0]);
        }

        fn costs(&self, costs: &mut [f64]) {
            costs.fill(0.0);
            costs[self.count as usize % 2] = self.count;
        }

        fn state(&self) -> Vec<f64> {
            vec![self.count, self.action[0].into(), self.action[1].into()]
        }

        fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
            let [count, first, second] = StateError::read(state)?;
            *self = Counter { count, action: [first as f32, second as f32] };
            Ok(())
        }
    }

    /// A task of counters.
    fn counter() -> Task {
        Entry::of::<Counter>("counter", "").task(&TaskConfig::default()).unwrap()
    }

    /// One counter that starts at `count` instead of the random start.
    fn counter_at(count: f64) -> VectorEnv {
        let mut vector = VectorEnv::new(&counter(), 1, 0, 1);
        let mut state = vector.state();
        state.members[0].environment[0] = count;
        vector.set_state(state).unwrap();
        vector
    }

    fn cartpole() -> Task {
        Environments::default().get("cartpole").unwrap().task(&TaskConfig::default()).unwrap()
    }

    /// A tenth more or less of every parameter that is a fraction, drawn, and all that can stand around an environment.
    fn disturbed(entry: &Entry) -> TaskConfig {
        let drawn = |(key, value): (&String, &Value)| {
            let default = value.as_f64().unwrap();
            let (near, far) = (0.9 * default, 1.1 * default + f64::from(u8::from(default == 0.0)));
            (key.clone(), json!({ "uniform": [near.min(far), near.max(far)] }))
        };
        TaskConfig {
            parameters: entry
                .defaults()
                .iter()
                .filter(|(_, value)| value.is_f64())
                .map(drawn)
                .collect::<Map<String, Value>>(),
            max_episode_steps: Some(40),
            observation_noise: Some(ObservationNoise::All(0.02)),
            action_delay: Some(ActionDelay::Uniform { uniform: [0, 3] }),
            action_repeat: 2,
        }
    }

    /// All environments there are, each as it is and disturbed.
    fn tasks() -> Vec<Task> {
        let environments = Environments::default().with(Entry::of::<Counter>("counter", ""));
        let both = |entry: &Entry| {
            [TaskConfig::default(), disturbed(entry)].map(|config| entry.task(&config).unwrap())
        };
        environments.simulated().flat_map(both).collect()
    }

    /// Random actions for the environments of these global indices: a function of index and time,
    /// so that an environment gets the same however they are grouped.
    fn random_actions(vector: &VectorEnv, first_index: usize, time: usize) -> Vec<f32> {
        let one = |index: usize| {
            let mut rng = stream((1000 * time + index) as u64, Stream::Sampling(0));
            match vector.action_space() {
                Space::Discrete { n } => vec![rng.random_range(0..*n) as f32],
                Space::Box { low, .. } => low.iter().map(|_| rng.random_range(-3.0..3.0)).collect(),
            }
        };
        (first_index..first_index + vector.num_envs()).flat_map(one).collect()
    }

    /// What one environment did in a step: its transition, its observation, its final observation, the
    /// terms of its reward and its costs.
    type Seen = (Transition, Vec<f32>, Option<Vec<f32>>, Vec<f64>);

    /// What each environment did in `steps` steps, `[env][step]`.
    fn play(
        vector: &mut VectorEnv,
        first_index: usize,
        from: usize,
        steps: usize,
    ) -> Vec<Vec<Seen>> {
        let width = vector.observation_space().width();
        let mut seen = vec![Vec::new(); vector.num_envs()];
        for time in from..from + steps {
            let actions = random_actions(vector, first_index, time);
            let transitions = vector.step(&actions).to_vec();
            for (k, transition) in transitions.into_iter().enumerate() {
                let row = k * width..(k + 1) * width;
                let last =
                    transition.ended().then(|| vector.final_observations()[row.clone()].to_vec());
                let count = vector.num_envs();
                let of = |all: &[f64]| all[k * all.len() / count..][..all.len() / count].to_vec();
                let sums = [vector.reward_terms(), vector.costs(), vector.episode_costs()];
                let sums = sums.map(of).concat();
                seen[k].push((transition, vector.observations()[row].to_vec(), last, sums));
            }
        }
        seen
    }

    #[test]
    fn an_environment_does_the_same_in_any_company() {
        // Its episodes all begin in the same way.
        let cliff =
            Environments::default().get("cliff").unwrap().task(&TaskConfig::default()).unwrap();
        let cliff = cliff.fingerprint();
        for task in tasks() {
            let all = play(&mut VectorEnv::new(&task, 7, 0, 8), 0, 0, 600);
            for (first_index, num_envs) in [(0, 1), (0, 3), (3, 1), (3, 3), (6, 2)] {
                let mut part = VectorEnv::new(&task, 7, first_index as u32, num_envs);
                let expected = &all[first_index..first_index + num_envs];
                assert_eq!(play(&mut part, first_index, 0, 600), expected, "{task:?}");
            }
            if task.fingerprint() != cliff {
                let firsts = |k: usize| &all[k][0].1;
                assert!((1..8).any(|k| firsts(k) != firsts(0)), "{task:?}: all the same");
            }
        }
    }

    #[test]
    fn a_restored_state_goes_on_bit_for_bit() {
        for task in tasks() {
            let mut vector = VectorEnv::new(&task, 7, 0, 3);
            play(&mut vector, 0, 0, 37);
            let state = vector.state();
            let observations = vector.observations().to_vec();
            let expected = play(&mut vector, 0, 37, 600);

            // Through a checkpoint's format, into one with another seed and another past.
            let bytes = postcard::to_stdvec(&state).unwrap();
            let mut restored = VectorEnv::new(&task, 8, 20, 3);
            play(&mut restored, 0, 0, 5);
            restored.set_state(postcard::from_bytes(&bytes).unwrap()).unwrap();
            assert_eq!(restored.state(), state);
            assert_eq!(restored.observations(), observations);
            assert_eq!(play(&mut restored, 0, 37, 600), expected, "{task:?}");
            assert_eq!(restored.state(), vector.state());
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let mut vector = VectorEnv::new(&cartpole(), 1, 0, 2);
        let before = vector.state();
        let other = VectorEnv::new(&cartpole(), 1, 0, 3).state();
        let error = VectorStateError::NumEnvs { expected: 2, found: 3 };
        assert_eq!(vector.set_state(other), Err(error));
        let mut other = before.clone();
        other.members[1].environment.pop();
        let source = StateError::Length { expected: 4, found: 3 };
        let error = VectorStateError::Environment { index: 1, source };
        assert_eq!(vector.set_state(other), Err(error));
        assert_eq!(vector.state(), before);
    }

    #[test]
    fn termination_hands_over_the_last_observation_and_resets() {
        let mut vector = counter_at(1.0);
        let first = vector.step(&[1.0, 0.5])[0];
        assert_eq!(first, Transition { reward: 2.0, ..Transition::default() });
        assert_eq!(vector.observations(), [2.0, 1.0, 0.5]);

        let last = vector.step(&[0.0, 7.0])[0];
        assert!(last.ended() && last.terminated && !last.truncated);
        let episode = Episode { episode_return: 5.0, length: 2, success: Some(true) };
        assert_eq!(last.episode, Some(episode));
        assert_eq!(vector.final_observations(), [3.0, 0.0, 7.0]);
        assert!(vector.observations()[0] <= 1.0);

        // Length and return start again.
        let start = f64::from(vector.observations()[0]);
        let episode = (0..3).map(|_| vector.step(&[1.0, 0.0])[0]).last().unwrap().episode.unwrap();
        assert_eq!(episode.length, 3);
        assert_eq!(episode.episode_return, 3.0 * start + 6.0);
    }

    #[test]
    fn the_time_limit_truncates_and_keeps_the_other_flag() {
        let steps = |count, action: f32| {
            let mut vector = counter_at(count);
            let steps: Vec<_> = (0..3).map(|_| vector.step(&[action, 0.0])[0]).collect();
            steps.into_iter().map(|step| (step.terminated, step.truncated)).collect::<Vec<_>>()
        };
        let (on, terminated, truncated) = ((false, false), (true, false), (false, true));
        assert_eq!(steps(0.0, 1.0), [on, on, truncated]);
        assert_eq!(steps(0.0, 0.0), [on, on, (true, true)]);
        assert_eq!(steps(1.0, 0.0)[..2], [on, terminated]);
        // By the environment itself, before the time limit.
        assert_eq!(steps(2.0, 1.0)[..2], [on, truncated]);
    }

    #[test]
    fn continuous_actions_are_clipped_to_finite_bounds() {
        let mut vector = counter_at(0.0);
        vector.step(&[-5.0, -1e30]);
        assert_eq!(vector.observations()[1..], [-1.0, -1e30]);
        vector.step(&[5.0, f32::INFINITY]);
        assert_eq!(vector.observations()[1..], [2.0, f32::INFINITY]);
    }

    #[test]
    fn terms_and_costs_are_those_of_the_step_that_ended_the_episode() {
        let mut vector = counter_at(1.0);
        vector.step(&[1.0, 0.0]);
        assert_eq!((vector.reward_terms(), vector.costs()), (&[1.0, 1.0][..], &[2.0, 0.0][..]));
        let last = vector.step(&[0.0, 0.0])[0];
        assert!(last.terminated);
        assert_eq!((vector.reward_terms(), vector.costs()), (&[2.0, 1.0][..], &[0.0, 3.0][..]));
        // Those of the episode: 2 as an even one, 3 as an odd one; the next episode begins from 0.
        assert_eq!(vector.episode_costs(), [2.0, 3.0]);
        vector.step(&[1.0, 0.0]);
        assert_eq!(vector.episode_costs(), vector.costs());

        let mut without = VectorEnv::new(&cartpole(), 1, 0, 2);
        without.step(&[0.0, 1.0]);
        assert!(without.reward_terms().is_empty() && without.costs().is_empty());
    }

    #[test]
    fn terms_sum_to_the_reward() {
        for task in tasks() {
            let terms = task.spec().reward_terms.len();
            let mut vector = VectorEnv::new(&task, 3, 0, 2);
            for time in 0..300 {
                let actions = random_actions(&vector, 0, time);
                let rewards: Vec<f64> =
                    vector.step(&actions).iter().map(|transition| transition.reward).collect();
                for (k, reward) in rewards.into_iter().enumerate().filter(|_| terms > 0) {
                    let sum: f64 = vector.reward_terms()[k * terms..(k + 1) * terms].iter().sum();
                    assert!((sum - reward).abs() < 1e-12, "{task:?}: {sum} is not {reward}");
                }
            }
        }
    }

    #[test]
    fn success_is_reported_by_those_that_say_so() {
        for task in tasks() {
            let mut vector = VectorEnv::new(&task, 3, 0, 2);
            for time in 0..300 {
                let actions = random_actions(&vector, 0, time);
                for episode in vector.step(&actions).iter().filter_map(|step| step.episode) {
                    assert_eq!(episode.success.is_some(), task.spec().reports_success, "{task:?}");
                }
            }
        }
    }

    #[test]
    fn another_time_limit_counts_instead_of_the_own() {
        let config = TaskConfig { max_episode_steps: Some(7), ..TaskConfig::default() };
        let task = Environments::default().get("pendulum").unwrap().task(&config).unwrap();
        let mut vector = VectorEnv::new(&task, 1, 0, 1);
        let ends: Vec<bool> = (0..14).map(|_| vector.step(&[0.0])[0].truncated).collect();
        assert_eq!(ends.iter().filter(|&&end| end).count(), 2);
        assert!(ends[6] && ends[13]);
    }

    #[test]
    fn cartpole_ends_at_step_500() {
        // Pushed by the lean and its rate, the pole stays up.
        let mut vector = VectorEnv::new(&cartpole(), 1, 0, 1);
        let push = |vector: &mut VectorEnv| {
            let lean = vector.observations()[2] + 0.3 * vector.observations()[3];
            vector.step(&[f32::from(lean > 0.0)])[0]
        };
        for time in 1..CartPole::MAX_EPISODE_STEPS {
            assert!(!push(&mut vector).ended(), "step {time}");
        }
        // At step 500 the time is up, and with the cart moved out of the track it terminates too.
        let mut outside = VectorEnv::new(&cartpole(), 1, 0, 1);
        let mut state = vector.state();
        state.members[0].environment[0] = 3.0;
        outside.set_state(state).unwrap();

        let last = push(&mut vector);
        assert!(last.truncated && !last.terminated);
        let episode = Episode { episode_return: 500.0, length: 500, success: None };
        assert_eq!(last.episode, Some(episode));

        let both = push(&mut outside);
        assert!(both.truncated && both.terminated);
        assert!(outside.final_observations()[0] > 2.9 && outside.observations()[0] < 0.1);
    }

    #[test]
    fn a_fall_terminates_without_truncation() {
        let mut vector = VectorEnv::new(&cartpole(), 1, 0, 1);
        let last = loop {
            let transition = vector.step(&[1.0])[0];
            if transition.ended() {
                break transition;
            }
        };
        assert!(last.terminated && !last.truncated);
        let lean = vector.final_observations()[2];
        assert!(f64::from(lean).abs() > 0.2094395);
        assert!(vector.observations().iter().all(|number| number.abs() <= 0.05));
    }
}
