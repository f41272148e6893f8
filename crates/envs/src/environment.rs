//! The trait of an environment, and what is known of one.

use crate::drawing::Drawing;
use crate::rng::Rng;
use crate::space::{Action, Space};

/// What an environment is, said once: everything about it that does not change while it runs.
///
/// ```
/// use envs::{Space, Spec};
///
/// // Four observations without bounds, two actions, 500 steps; the rest as most environments have it.
/// let spec = Spec {
///     reports_success: true,
///     ..Spec::new(Space::symmetric_box(4, f32::INFINITY), Space::Discrete { n: 2 }, 500)
/// };
/// assert_eq!(spec.observation_space.width(), 4);
/// assert!(spec.reward_terms.is_empty() && spec.costs.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The bounds of an observation: always a [`Space::Box`].
    pub observation_space: Space,
    /// The actions that [`Environment::step`] takes.
    pub action_space: Space,
    /// Steps after which an episode is truncated.
    pub max_episode_steps: u32,
    /// Version of the task, from 1 on. A change of the code that gives the same actions other observations,
    /// rewards or ends raises it, so that policies and returns of before are told apart.
    pub version: u32,
    /// Whether [`Step::success`] is given: in every step, or in none.
    pub reports_success: bool,
    /// Names of the terms that the reward is the sum of, in the order of
    /// [`Environment::reward_terms`]; empty where it has only one.
    pub reward_terms: Vec<String>,
    /// Names of the costs beside the reward, in the order of [`Environment::costs`].
    pub costs: Vec<String>,
    /// Whether [`Environment::state`] has a state. An environment without one begins a new episode where
    /// a run is resumed.
    pub saves_state: bool,
    /// Whether it works elsewhere, in another process say: several copies are asked for a step with
    /// [`Environment::begin_step`] before the first answer is waited for, and it can fail
    /// ([`Environment::failure`]).
    pub is_elsewhere: bool,
    /// What the environment calls itself, where it is not the name that it is registered by that says what it
    /// is.
    pub title: Option<String>,
    /// What each number of an observation is, with its unit in brackets where it has one, as in `velocity [m/s]`;
    /// empty where it is not said.
    pub observation_names: Vec<String>,
    /// What each number of a continuous action is, with the unit of 1, or each choice; empty where it is not said.
    pub action_names: Vec<String>,
    /// How long a step lasts, s, where time is a notion.
    pub step_seconds: Option<f64>,
}

impl Spec {
    /// [`Spec::max_episode_steps`] of an environment whose episodes may take as long as they like.
    pub const NO_LIMIT: u32 = 1_000_000_000;

    /// An environment in version 1 that reports no success, whose reward has one term, without costs and names.
    #[must_use]
    pub fn new(observation_space: Space, action_space: Space, max_episode_steps: u32) -> Spec {
        Spec {
            observation_space,
            action_space,
            max_episode_steps,
            version: 1,
            reports_success: false,
            reward_terms: Vec::new(),
            costs: Vec::new(),
            saves_state: true,
            is_elsewhere: false,
            title: None,
            observation_names: Vec::new(),
            action_names: Vec::new(),
            step_seconds: None,
        }
    }
}

/// What one step of an environment led to. The new observation is read with
/// [`Environment::observe`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// The reward of this step, in the environment's own unit.
    pub reward: f64,
    /// The task ended in the new state: nothing can be earned after it, its value is 0.
    pub terminated: bool,
    /// The episode was cut short although the task goes on: the new state keeps its value. The time
    /// limit of [`Spec::max_episode_steps`] is kept by [`VectorEnv`](crate::VectorEnv), not here.
    pub truncated: bool,
    /// Whether the task is solved in the new state; `None` where success is not a notion.
    pub success: Option<bool>,
}

/// One copy of a task: the trait to implement for an environment of your own.
///
/// The runner calls `reset`, then `observe`, then `step` and `observe` in turn until the episode
/// ends. `step` and `observe` must not allocate. All randomness comes from the stream that is
/// handed in, so that the same stream gives the same episode. An environment that can be changed from
/// a configuration is [`Parametric`](crate::Parametric) too.
///
/// ```
/// use envs::{Action, Environment, Rng, Space, Spec, StateError, Step, Stream, stream};
/// use rand::RngExt;
///
/// /// Guess a coin: right earns 1.
/// #[derive(Default)]
/// struct Coin {
///     heads: bool,
/// }
///
/// impl Environment for Coin {
///     fn spec(&self) -> Spec {
///         Spec::new(Space::symmetric_box(1, 1.0), Space::Discrete { n: 2 }, 10)
///     }
///
///     fn reset(&mut self, rng: &mut Rng) {
///         self.heads = rng.random_bool(0.5);
///     }
///
///     fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
///         let reward = if (action.index() == 1) == self.heads { 1.0 } else { 0.0 };
///         self.reset(rng);
///         Step { reward, ..Step::default() }
///     }
///
///     fn observe(&self, observation: &mut [f32]) {
///         observation[0] = 0.0; // The coin is not seen.
///     }
///
///     fn state(&self) -> Vec<f64> {
///         vec![f64::from(u8::from(self.heads))]
///     }
///
///     fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
///         let [heads] = StateError::read(state)?;
///         self.heads = heads == 1.0;
///         Ok(())
///     }
/// }
///
/// let mut rng = stream(1, Stream::Environment(0));
/// let mut coin = Coin::default();
/// coin.reset(&mut rng);
/// let guess = usize::from(coin.heads);
/// assert_eq!(coin.step(Action::Discrete(guess), &mut rng).reward, 1.0);
/// ```
pub trait Environment: Send {
    /// What the environment is. The same whenever it is asked.
    fn spec(&self) -> Spec;

    /// Starts a new episode.
    fn reset(&mut self, rng: &mut Rng);

    /// Advances by one step.
    ///
    /// A continuous action arrives clipped to the bounds of [`Spec::action_space`] when it comes
    /// through [`VectorEnv`](crate::VectorEnv).
    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step;

    /// Asks for the new episode that the next [`Environment::reset`] will wait for, where
    /// [`Spec::is_elsewhere`] holds; that one draws no seed then.
    fn begin_reset(&mut self, _rng: &mut Rng) {}

    /// Asks for the step that the next [`Environment::step`], with the same action, will wait for, where
    /// [`Spec::is_elsewhere`] holds.
    fn begin_step(&mut self, _action: Action<'_>) {}

    /// Why an environment that works elsewhere works no more. What its steps give means nothing then, and
    /// whoever runs it stops.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Writes the observation of the current state into `observation`, which has the length of the
    /// observation space.
    fn observe(&self, observation: &mut [f32]);

    /// Writes the terms of the last step's reward into `terms`, in the order of
    /// [`Spec::reward_terms`]. They sum to the reward.
    fn reward_terms(&self, _terms: &mut [f64]) {}

    /// Writes the costs of the last step into `costs`, in the order of [`Spec::costs`]; each is 0 or
    /// more.
    fn costs(&self, _costs: &mut [f64]) {}

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
    /// An environment that works elsewhere did not take it.
    #[error("{0}")]
    Elsewhere(String),
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

    /// The same error of a state that begins `offset` numbers earlier.
    pub(crate) fn moved(self, offset: usize) -> StateError {
        match self {
            StateError::Length { expected, found } => {
                StateError::Length { expected: expected + offset, found: found + offset }
            }
            StateError::Elsewhere(_) => self,
            StateError::Value { index, found, expected } => {
                StateError::Value { index: index + offset, found, expected }
            }
        }
    }
}
