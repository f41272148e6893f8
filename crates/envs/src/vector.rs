//! Many copies of one environment, stepped together and reset by themselves.

use serde::{Deserialize, Serialize};

use crate::{Action, Entry, Environment, Rng, Space, StateError, Stream, stream};

/// What is known of an episode once it has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
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
pub struct VectorEnv {
    members: Vec<Member>,
    observation_space: Space,
    action_space: Space,
    max_episode_steps: u32,
    observations: Vec<f32>,
    final_observations: Vec<f32>,
    transitions: Vec<Transition>,
    /// One action, clipped to the bounds of the action space.
    clipped: Vec<f32>,
}

impl VectorEnv {
    /// Makes and resets `num_envs` copies. Copy `k` has the global index `first_index + k`.
    #[must_use]
    pub fn new(entry: &Entry, seed: u64, first_index: u32, num_envs: usize) -> VectorEnv {
        let prototype = entry.make();
        let observation_space = prototype.observation_space();
        let action_space = prototype.action_space();
        let members = (first_index..)
            .take(num_envs)
            .map(|index| {
                let mut environment = entry.make();
                let mut rng = stream(seed, Stream::Environment(index));
                environment.reset(&mut rng);
                Member { environment, rng, length: 0, episode_return: 0.0 }
            })
            .collect();
        let mut vector = VectorEnv {
            members,
            max_episode_steps: prototype.max_episode_steps(),
            observations: vec![0.0; num_envs * observation_space.width()],
            final_observations: vec![0.0; num_envs * observation_space.width()],
            transitions: vec![Transition::default(); num_envs],
            clipped: vec![0.0; action_space.width()],
            observation_space,
            action_space,
        };
        vector.observe();
        vector
    }

    /// Number of copies.
    #[must_use]
    pub fn num_envs(&self) -> usize {
        self.members.len()
    }

    /// The bounds of an observation.
    #[must_use]
    pub fn observation_space(&self) -> &Space {
        &self.observation_space
    }

    /// The actions that [`VectorEnv::step`] takes.
    #[must_use]
    pub fn action_space(&self) -> &Space {
        &self.action_space
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

    /// Advances every environment by one step, and resets those whose episode ended.
    ///
    /// `actions` is `[env][action]`: for a discrete action its index as a whole number, for a
    /// continuous one its numbers, which are clipped to the bounds of the action space. Row `k` of
    /// the result is what environment `k` did. An index that doesn't exist and a number that is NaN
    /// are mistakes of the caller.
    pub fn step(&mut self, actions: &[f32]) -> &[Transition] {
        let width = self.observation_space.width();
        let action_width = self.action_space.width();
        debug_assert_eq!(actions.len(), self.num_envs() * action_width, "an action for each copy");

        for (k, member) in self.members.iter_mut().enumerate() {
            let action = &actions[k * action_width..(k + 1) * action_width];
            let action = match &self.action_space {
                Space::Discrete { n } => {
                    let index = action[0] as usize;
                    debug_assert!(index as f32 == action[0] && index < *n, "action {}", action[0]);
                    Action::Discrete(index)
                }
                Space::Box { low, high } => {
                    let bounds = low.iter().zip(high);
                    for ((clipped, &number), (&low, &high)) in
                        self.clipped.iter_mut().zip(action).zip(bounds)
                    {
                        debug_assert!(!number.is_nan(), "an action is NaN");
                        *clipped = number.max(low).min(high);
                    }
                    Action::Continuous(&self.clipped)
                }
            };

            let step = member.environment.step(action, &mut member.rng);
            member.length += 1;
            member.episode_return += step.reward;
            let mut transition = Transition {
                reward: step.reward,
                terminated: step.terminated,
                truncated: step.truncated || member.length >= self.max_episode_steps,
                episode: None,
            };
            let row = k * width..(k + 1) * width;
            if transition.ended() {
                transition.episode = Some(Episode {
                    episode_return: member.episode_return,
                    length: member.length,
                    success: step.success,
                });
                member.environment.observe(&mut self.final_observations[row.clone()]);
                member.environment.reset(&mut member.rng);
                member.length = 0;
                member.episode_return = 0.0;
            }
            member.environment.observe(&mut self.observations[row]);
            self.transitions[k] = transition;
        }
        &self.transitions
    }

    /// Everything that the next steps depend on, for a checkpoint.
    #[must_use]
    pub fn state(&self) -> VectorEnvState {
        let members = self.members.iter().map(|member| MemberState {
            environment: member.environment.state(),
            rng: member.rng.clone(),
            length: member.length,
            episode_return: member.episode_return,
        });
        VectorEnvState { members: members.collect() }
    }

    /// Goes on from a state that [`VectorEnv::state`] returned, bit for bit. The current
    /// observations are those of the state; the final ones have no meaning until the next step.
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
            member
                .environment
                .set_state(&saved.environment)
                .map_err(|source| VectorStateError::Environment { index, source })?;
            member.rng = saved.rng;
            member.length = saved.length;
            member.episode_return = saved.episode_return;
        }
        self.observe();
        Ok(())
    }

    /// Writes the current observation of every environment.
    fn observe(&mut self) {
        let width = self.observation_space.width();
        for (k, member) in self.members.iter().enumerate() {
            member.environment.observe(&mut self.observations[k * width..(k + 1) * width]);
        }
    }
}

/// A saved [`VectorEnv`]: the states of the environments, their random streams, and how far their
/// episodes have come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorEnvState {
    members: Vec<MemberState>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MemberState {
    environment: Vec<f64>,
    rng: Rng,
    length: u32,
    episode_return: f64,
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::RngExt;

    use super::*;
    use crate::{CartPole, Registry, Step};

    /// Counts its steps: from 0 or 1, up to 3, where it terminates if the action was 0, or 4, where
    /// it truncates itself. The time limit is 3 steps. Reward and observation are the count, and
    /// then the action as it arrived.
    #[derive(Default)]
    struct Counter {
        count: f64,
        action: [f32; 2],
    }

    impl Environment for Counter {
        fn observation_space(&self) -> Space {
            Space::symmetric_box(3, f32::INFINITY)
        }

        fn action_space(&self) -> Space {
            Space::Box { low: vec![-1.0, f32::NEG_INFINITY], high: vec![2.0, f32::INFINITY] }
        }

        fn max_episode_steps(&self) -> u32 {
            3
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

        fn state(&self) -> Vec<f64> {
            vec![self.count, self.action[0].into(), self.action[1].into()]
        }

        fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
            let [count, first, second] = StateError::read(state)?;
            *self = Counter { count, action: [first as f32, second as f32] };
            Ok(())
        }
    }

    /// One counter that starts at `count` instead of the random start.
    fn counter_at(count: f64) -> VectorEnv {
        let mut vector = VectorEnv::new(&Entry::of::<Counter>("counter", ""), 1, 0, 1);
        let mut state = vector.state();
        state.members[0].environment[0] = count;
        vector.set_state(state).unwrap();
        vector
    }

    /// All entries there are.
    fn entries() -> Vec<Entry> {
        Registry::default().with(Entry::of::<Counter>("counter", "")).entries().to_vec()
    }

    /// Random actions for the environments of these global indices: a function of index and time,
    /// so that an environment gets the same however they are grouped.
    fn random_actions(vector: &VectorEnv, first_index: usize, time: usize) -> Vec<f32> {
        let one = |index: usize| {
            let mut rng = stream((1000 * time + index) as u64, Stream::Sampling);
            match vector.action_space() {
                Space::Discrete { n } => vec![rng.random_range(0..*n) as f32],
                Space::Box { low, .. } => low.iter().map(|_| rng.random_range(-3.0..3.0)).collect(),
            }
        };
        (first_index..first_index + vector.num_envs()).flat_map(one).collect()
    }

    /// What one environment did in a step: its transition, its observation, its final observation.
    type Seen = (Transition, Vec<f32>, Option<Vec<f32>>);

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
                seen[k].push((transition, vector.observations()[row].to_vec(), last));
            }
        }
        seen
    }

    #[test]
    fn an_environment_does_the_same_in_any_company() {
        for entry in entries() {
            let all = play(&mut VectorEnv::new(&entry, 7, 0, 8), 0, 0, 600);
            for (first_index, num_envs) in [(0, 1), (0, 3), (3, 1), (3, 3), (6, 2)] {
                let mut part = VectorEnv::new(&entry, 7, first_index as u32, num_envs);
                let expected = &all[first_index..first_index + num_envs];
                assert_eq!(play(&mut part, first_index, 0, 600), expected, "{}", entry.name);
            }
            if entry.name != "cliff" {
                let firsts = |k: usize| &all[k][0].1;
                assert!((1..8).any(|k| firsts(k) != firsts(0)), "{}: all the same", entry.name);
            }
        }
    }

    #[test]
    fn a_restored_state_goes_on_bit_for_bit() {
        for entry in entries() {
            let mut vector = VectorEnv::new(&entry, 7, 0, 3);
            play(&mut vector, 0, 0, 37);
            let state = vector.state();
            let observations = vector.observations().to_vec();
            let expected = play(&mut vector, 0, 37, 600);

            // Through a checkpoint's format, into one with another seed and another past.
            let bytes = postcard::to_stdvec(&state).unwrap();
            let mut restored = VectorEnv::new(&entry, 8, 20, 3);
            play(&mut restored, 0, 0, 5);
            restored.set_state(postcard::from_bytes(&bytes).unwrap()).unwrap();
            assert_eq!(restored.state(), state);
            assert_eq!(restored.observations(), observations);
            assert_eq!(play(&mut restored, 0, 37, 600), expected, "{}", entry.name);
            assert_eq!(restored.state(), vector.state());
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let mut vector = VectorEnv::new(&entries()[0], 1, 0, 2);
        let before = vector.state();
        let other = VectorEnv::new(&entries()[0], 1, 0, 3).state();
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
    fn cartpole_ends_at_step_500() {
        // Pushed by the lean and its rate, the pole stays up.
        let mut vector = VectorEnv::new(&entries()[0], 1, 0, 1);
        let push = |vector: &mut VectorEnv| {
            let lean = vector.observations()[2] + 0.3 * vector.observations()[3];
            vector.step(&[f32::from(lean > 0.0)])[0]
        };
        for time in 1..CartPole::MAX_EPISODE_STEPS {
            assert!(!push(&mut vector).ended(), "step {time}");
        }
        // At step 500 the time is up, and with the cart moved out of the track it terminates too.
        let mut outside = VectorEnv::new(&entries()[0], 1, 0, 1);
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
        let mut vector = VectorEnv::new(&entries()[0], 1, 0, 1);
        let last = loop {
            let transition = vector.step(&[1.0])[0];
            if transition.ended() {
                break transition;
            }
        };
        assert!(last.terminated && !last.truncated);
        let lean = vector.final_observations()[2];
        assert!(f64::from(lean).abs() > CartPole::MAX_ANGLE);
        assert!(vector.observations().iter().all(|number| number.abs() <= 0.05));
    }
}
