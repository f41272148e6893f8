//! One iteration's experience, on the host.

use crate::error::AgentError;
use crate::gae::{Trajectory, gae};

/// One iteration's experience, all arrays `[time][env]` and then the row.
#[derive(Clone, Debug, PartialEq)]
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
    /// The task ended with this step.
    pub terminated: Vec<bool>,
    /// The episode was truncated after this step.
    pub truncated: Vec<bool>,
    /// What the critics predict: the rewards first, then the cost of each constraint.
    pub signals: Vec<Signal>,
    /// What the environment's own rewards were divided by: 1 unless the run normalises rewards.
    pub reward_scale: f64,
    /// Mean number of steps of the episodes that ended in this iteration; `None` where none did.
    pub episode_length: Option<f64>,
}

/// A number that each step gives and that is summed over time, with what a critic makes of it; arrays
/// `[time][env]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signal {
    /// The number itself: the reward (normalised where the run normalises rewards), or a cost.
    pub rewards: Vec<f32>,
    /// `V(s_t)`
    pub values: Vec<f32>,
    /// `V(s_{t+1})`, of the episode's final observation where it ended.
    pub next_values: Vec<f32>,
    /// Advantages by generalised advantage estimation.
    pub advantages: Vec<f32>,
    /// Targets of the critic: advantage plus value.
    pub returns: Vec<f32>,
    /// Mean over the episodes that ended in this iteration of the number's sum, undiscounted and in the
    /// environment's own unit; `None` where none did.
    pub episode_sum: Option<f64>,
}

impl Signal {
    fn new(size: usize) -> Signal {
        let column = || vec![0.0; size];
        Signal {
            rewards: column(),
            values: column(),
            next_values: column(),
            advantages: column(),
            returns: column(),
            episode_sum: None,
        }
    }
}

impl Batch {
    /// Room for `size` steps and this many signals; a row has so many observed numbers, actions and
    /// network outputs.
    #[must_use]
    pub fn new(num_envs: usize, size: usize, widths: [usize; 3], signals: usize) -> Batch {
        let [observation, action, output] = widths;
        Batch {
            num_envs,
            observations: vec![0.0; size * observation],
            actions: vec![0.0; size * action],
            log_probs: vec![0.0; size],
            outputs: vec![0.0; size * output],
            terminated: vec![false; size],
            truncated: vec![false; size],
            signals: vec![Signal::new(size); signals],
            reward_scale: 1.0,
            episode_length: None,
        }
    }

    /// Takes in the first `steps` of some of the environments' steps, as numbers `step`, `step + 1`, ...; the first of
    /// them is number `env` here. What critics make of them is not there yet.
    pub(crate) fn place_steps(&mut self, step: usize, env: usize, from: &Batch, steps: usize) {
        /// Columns with `width` numbers for each environment.
        fn place<T: Copy>(
            to: &mut [T],
            from: &[T],
            all: usize,
            env: usize,
            own: usize,
            width: usize,
        ) {
            if own == all {
                return to[..from.len()].copy_from_slice(from);
            }
            for (to, from) in to.chunks_exact_mut(all * width).zip(from.chunks_exact(own * width)) {
                // A row is too short for a call.
                for (to, from) in to[env * width..].iter_mut().zip(from) {
                    *to = *from;
                }
            }
        }
        let (all, own) = (self.num_envs, from.num_envs);
        let flags = [&mut self.terminated, &mut self.truncated];
        for (to, from) in flags.into_iter().zip([&from.terminated, &from.truncated]) {
            place(&mut to[step * all..], &from[..steps * own], all, env, own, 1);
        }
        let size = from.len();
        let rewards = self.signals.iter_mut().map(|signal| &mut signal.rewards);
        let to =
            [&mut self.observations, &mut self.actions, &mut self.log_probs, &mut self.outputs];
        let rewards_from = from.signals.iter().map(|signal| &signal.rewards);
        let from = [&from.observations, &from.actions, &from.log_probs, &from.outputs];
        let columns = to.into_iter().chain(rewards).zip(from.into_iter().chain(rewards_from));
        for (to, from) in columns {
            let width = from.len() / size;
            let from = &from[..steps * own * width];
            place(&mut to[step * all * width..], from, all, env, own, width);
        }
    }

    /// What happened, for other ranks: each column's bytes, one after the other.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Batch { terminated, truncated, .. } = self;
        bytes.extend(terminated.iter().chain(truncated).map(|&flag| u8::from(flag)));
        for column in self.numbers() {
            let start = bytes.len();
            bytes.resize(start + 4 * column.len(), 0);
            let rows = bytes[start..].as_chunks_mut().0;
            rows.iter_mut().zip(column).for_each(|(row, number)| *row = number.to_le_bytes());
        }
        bytes
    }

    /// Takes in what happened in another rank's environments, of which the first is to be number `first` here.
    /// Returns how many they are.
    pub(crate) fn place(&mut self, first: usize, bytes: &[u8]) -> usize {
        let (size, all) = (self.len(), self.num_envs);
        let steps = size / all;
        // Bytes of a step.
        let width = 2 + 4 * self.numbers().map(|column| column.len() / size).sum::<usize>();
        let num_envs = bytes.len() / (steps * width);
        let (flags, mut numbers) = bytes.split_at(2 * steps * num_envs);
        let (terminated, truncated) = flags.split_at(steps * num_envs);
        for (column, flags) in
            [(&mut self.terminated, terminated), (&mut self.truncated, truncated)]
        {
            for (step, flags) in flags.chunks_exact(num_envs).enumerate() {
                let to = column[step * all + first..].iter_mut();
                to.zip(flags).for_each(|(to, &flag)| *to = flag == 1);
            }
        }
        for column in self.numbers_mut() {
            let width = column.len() / size;
            let (own, rest) = numbers.split_at(4 * steps * num_envs * width);
            numbers = rest;
            for (step, rows) in own.as_chunks().0.chunks_exact(num_envs * width).enumerate() {
                let to = column[(step * all + first) * width..].iter_mut();
                to.zip(rows).for_each(|(to, row)| *to = f32::from_le_bytes(*row));
            }
        }
        num_envs
    }

    /// The columns of what happened that are numbers.
    fn numbers(&self) -> impl Iterator<Item = &Vec<f32>> {
        let Batch { observations, actions, log_probs, outputs, signals, .. } = self;
        let columns = [observations, actions, log_probs, outputs];
        columns.into_iter().chain(
            signals
                .iter()
                .flat_map(|signal| [&signal.rewards, &signal.values, &signal.next_values]),
        )
    }

    /// The same columns in the same order.
    fn numbers_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let Batch { observations, actions, log_probs, outputs, signals, .. } = self;
        let columns = [observations, actions, log_probs, outputs];
        columns.into_iter().chain(
            signals.iter_mut().flat_map(|signal| {
                [&mut signal.rewards, &mut signal.values, &mut signal.next_values]
            }),
        )
    }

    /// Number of steps of each environment.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.len() / self.num_envs
    }

    /// Number of steps, all environments together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log_probs.len()
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log_probs.is_empty()
    }

    /// The rewards and what the critic makes of them.
    #[must_use]
    pub fn reward(&self) -> &Signal {
        &self.signals[0]
    }

    /// The cost of each constraint and what its critic makes of it.
    #[must_use]
    pub fn costs(&self) -> &[Signal] {
        &self.signals[1..]
    }

    /// Advantages and returns of every signal, from its values and its discounts `(gamma, lambda)`.
    ///
    /// # Errors
    /// When a value is not finite.
    pub(crate) fn estimate_advantages(
        &mut self,
        discounts: impl Iterator<Item = (f64, f64)>,
    ) -> Result<(), AgentError> {
        let Batch { terminated, truncated, num_envs, signals, .. } = self;
        for (signal, (gamma, gae_lambda)) in signals.iter_mut().zip(discounts) {
            let Signal { rewards, values, next_values, advantages, returns, .. } = signal;
            if values.iter().chain(&*next_values).any(|value| !value.is_finite()) {
                return Err(AgentError::NonFinite("critic's value".into()));
            }
            let trajectory = Trajectory {
                rewards,
                values,
                next_values,
                terminated,
                truncated,
                num_envs: *num_envs,
            };
            gae(&trajectory, gamma, gae_lambda, advantages);
            for ((target, advantage), value) in returns.iter_mut().zip(&*advantages).zip(&*values) {
                *target = advantage + value;
            }
        }
        Ok(())
    }
}
