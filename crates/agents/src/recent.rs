//! The last finished episodes, for rolling means.

use envs::Episode;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Episodes that the rolling means look back on, as in Stable-Baselines3.
const WINDOW: usize = 100;

/// The last 100 finished training episodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentEpisodes {
    episodes: VecDeque<Finished>,
}

/// What is remembered of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Finished {
    episode_return: f64,
    length: u32,
    success: Option<bool>,
    /// By the names of the environment's costs.
    costs: Vec<f64>,
}

impl RecentEpisodes {
    /// Adds finished episodes and what they cost, `[episode][cost]`; the oldest drop out.
    pub fn extend(&mut self, episodes: &[Episode], costs: &[f64]) {
        let width = costs.len() / episodes.len().max(1);
        for (index, &Episode { episode_return, length, success }) in episodes.iter().enumerate() {
            if self.episodes.len() == WINDOW {
                self.episodes.pop_front();
            }
            let costs = costs[index * width..(index + 1) * width].to_vec();
            self.episodes.push_back(Finished { episode_return, length, success, costs });
        }
    }

    /// Whether a run can have had them: finite, and no more than are looked back on.
    pub(crate) fn is_possible(&self) -> bool {
        let is_finite = |episode: &Finished| {
            episode.costs.iter().chain([&episode.episode_return]).all(|number| number.is_finite())
        };
        self.episodes.len() <= WINDOW && self.episodes.iter().all(is_finite)
    }

    fn mean(&self, number: impl Fn(&Finished) -> f64) -> Option<f64> {
        let count = self.episodes.len();
        (count > 0).then(|| self.episodes.iter().map(number).sum::<f64>() / count as f64)
    }

    /// Mean undiscounted return; `None` before the first episode has ended, as all of these means.
    #[must_use]
    pub fn mean_return(&self) -> Option<f64> {
        self.mean(|episode| episode.episode_return)
    }

    /// Mean number of steps.
    #[must_use]
    pub fn mean_length(&self) -> Option<f64> {
        self.mean(|episode| f64::from(episode.length))
    }

    /// Share of the episodes that ended in success.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        self.mean(|episode| if episode.success == Some(true) { 1.0 } else { 0.0 })
    }

    /// Mean cost of an episode, by its place in [`envs::Spec::costs`].
    #[must_use]
    pub fn mean_cost(&self, index: usize) -> Option<f64> {
        self.mean(|episode| episode.costs[index])
    }
}
