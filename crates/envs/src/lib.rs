//! The environments that Backburn trains on, and the trait to add one.
//!
//! No tensor library in here: states are `f64`, observations `f32`, randomness an explicit stream.
//! [`Environment`] is one copy of a task, [`VectorEnv`] is many of them with automatic resets, and
//! [`Registry`] finds a task by its name.

mod cartpole;
mod cliff;
mod drawing;
mod normalize;
mod pendulum;
mod reach;
mod registry;
mod rng;
mod space;
mod vector;

pub use cartpole::CartPole;
pub use cliff::Cliff;
pub use drawing::{Color, Drawing, Shape};
pub use normalize::{ObservationNormalizer, RewardNormalizer, RunningMeanStd};
pub use pendulum::Pendulum;
pub use reach::Reach;
pub use registry::{Entry, Registry};
pub use rng::{Rng, Stream, stream};
pub use space::{Action, Space};
pub use vector::{Episode, Transition, VectorEnv, VectorEnvState, VectorStateError};

/// What one step of an environment led to. The new observation is read with
/// [`Environment::observe`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// The reward of this step, in the environment's own unit.
    pub reward: f64,
    /// The task ended in the new state: nothing can be earned after it, its value is 0.
    pub terminated: bool,
    /// The episode was cut short although the task goes on: the new state keeps its value. The time
    /// limit of [`Environment::max_episode_steps`] is kept by [`VectorEnv`], not here.
    pub truncated: bool,
    /// Whether the task is solved in the new state; `None` where success is not a notion.
    pub success: Option<bool>,
}

/// One copy of a task: the trait to implement for an environment of your own.
///
/// The runner calls `reset`, then `observe`, then `step` and `observe` in turn until the episode
/// ends. `step` and `observe` must not allocate. All randomness comes from the stream that is
/// handed in, so that the same stream gives the same episode.
pub trait Environment: Send {
    /// The bounds of an observation: always a [`Space::Box`].
    fn observation_space(&self) -> Space;

    /// The actions that `step` takes.
    fn action_space(&self) -> Space;

    /// Steps after which an episode is truncated.
    fn max_episode_steps(&self) -> u32;

    /// Starts a new episode.
    fn reset(&mut self, rng: &mut Rng);

    /// Advances by one step.
    ///
    /// A continuous action arrives clipped to the bounds of [`Environment::action_space`] when it
    /// comes through [`VectorEnv`].
    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step;

    /// Writes the observation of the current state into `observation`, which has the length of the
    /// observation space.
    fn observe(&self, observation: &mut [f32]);

    /// Everything that the next steps depend on, for a checkpoint.
    fn state(&self) -> Vec<f64>;

    /// Puts the environment into a state that [`Environment::state`] returned.
    ///
    /// # Errors
    /// When `state` has another length than [`Environment::state`] gives, or a number that the
    /// environment can't be in.
    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError>;

    /// What the current state looks like, for replays; `action` is what will be done in it, `None` at
    /// the end of an episode. An environment without a picture is shown as its observations.
    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        None
    }
}

/// A state that does not fit the environment it was given to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    /// The state has another length.
    #[error("the environment's state has {expected} numbers, {found} were given")]
    Length {
        /// Numbers that the environment's state has.
        expected: usize,
        /// Numbers that were given.
        found: usize,
    },
    /// A number of the state is outside of its range.
    #[error("the environment's state has {found} at index {index}, where {expected} is expected")]
    Value {
        /// The number's place in the state.
        index: usize,
        /// The number that was given.
        found: f64,
        /// What would be right.
        expected: &'static str,
    },
}

impl StateError {
    /// Reads exactly `N` numbers of a saved state.
    ///
    /// # Errors
    /// When `state` has another length.
    pub fn read<const N: usize>(state: &[f64]) -> Result<[f64; N], StateError> {
        state.try_into().map_err(|_| StateError::Length { expected: N, found: state.len() })
    }
}
