//! Evaluation: whole episodes with a frozen policy.

use crate::{Actor, AgentError};
use envs::{Entry, Episode};

/// Episodes of a frozen policy and their statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Every episode, in order.
    pub episodes: Vec<Episode>,
}

impl Evaluation {
    /// Mean undiscounted return.
    #[must_use]
    pub fn mean_return(&self) -> f64 {
        todo!()
    }
    /// Population standard deviation of the returns.
    #[must_use]
    pub fn std_return(&self) -> f64 {
        todo!()
    }
    /// Smallest return.
    #[must_use]
    pub fn min_return(&self) -> f64 {
        todo!()
    }
    /// Largest return.
    #[must_use]
    pub fn max_return(&self) -> f64 {
        todo!()
    }
    /// Mean steps of an episode.
    #[must_use]
    pub fn mean_length(&self) -> f64 {
        todo!()
    }
    /// Share of episodes that ended in success; `None` where the environment has no such notion.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        todo!()
    }
}

/// Plays `episodes` episodes; episode `i` depends on `seed` and `i` only. Greedy actions are the
/// mode of the policy, otherwise they are sampled. Normalisers are used but not updated.
///
/// # Errors
/// When an observation, a reward or an action is not finite.
pub fn evaluate(
    _actor: &Actor,
    _entry: &Entry,
    _episodes: usize,
    _seed: u64,
    _greedy: bool,
) -> Result<Evaluation, AgentError> {
    todo!()
}
