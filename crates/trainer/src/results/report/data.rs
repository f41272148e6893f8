//! What the page's script draws: hyperparameters with what they led to, and recorded episodes.

use super::curves::Chart;
use super::layers::Pictures;
use crate::error::Error;
use crate::experiment::session::Trained;
use crate::registry::Registry;
use crate::results::replay::picture::pictures;
use crate::results::stats;
use crate::results::{Group, Run};
use crate::terminal::warn;
use agents::Recording;
use rayon::prelude::*;
use serde::Serialize;

/// Policies that are replayed at most: the page stays small however large a sweep is.
const MAX_REPLAYS: usize = 8;
/// Episodes of each at most; the first ones of `trainer eval`.
const MAX_EPISODES: u32 = 3;
/// Steps of each in all: as many episodes as fit, but one at least, cut if need be.
pub const MAX_STEPS: usize = 500;
/// From this many groups on a picture of the hyperparameters says more than the table.
const MIN_SWEEP: usize = 3;

/// All of it.
#[derive(Serialize)]
pub struct Data {
    pub charts: Vec<Chart>,
    pub sweep: Option<SweepPicture>,
    pub replays: Vec<Replay>,
}

/// Hyperparameters and what they led to.
#[derive(Serialize)]
pub struct SweepPicture {
    keys: Vec<String>,
    groups: Vec<SweepGroup>,
}

#[derive(Serialize)]
struct SweepGroup {
    /// In order of the keys, as TOML writes them; empty where the key is not set.
    values: Vec<String>,
    /// Final return of each finished run.
    returns: Vec<f64>,
}

impl SweepPicture {
    /// `None` where there are too few groups, or ones whose returns can't be compared.
    pub fn of(groups: &[Group]) -> Option<SweepPicture> {
        let differences = &groups.first()?.differences;
        if differences.is_empty() || differences.contains_key("env.name") {
            return None;
        }
        let returns = |group: &Group| -> Vec<f64> {
            let returns = group.runs.iter().filter_map(final_return);
            returns.map(round).collect()
        };
        let groups: Vec<SweepGroup> = groups
            .iter()
            .map(|group| SweepGroup {
                values: group.differences.values().cloned().collect(),
                returns: returns(group),
            })
            .filter(|group| !group.returns.is_empty())
            .collect();
        (groups.len() >= MIN_SWEEP)
            .then(|| SweepPicture { keys: differences.keys().cloned().collect(), groups })
    }
}

fn final_return(run: &Run) -> Option<f64> {
    run.summary.as_ref().map(|summary| summary.eval.mean_return)
}

/// Recorded episodes of one policy.
#[derive(Serialize)]
pub struct Replay {
    label: String,
    episodes: Vec<ReplayEpisode>,
}

#[derive(Serialize)]
struct ReplayEpisode {
    #[serde(flatten)]
    pictures: Pictures,
    /// `[steps]`
    actions: Vec<Vec<f64>>,
    /// `[steps]`
    rewards: Vec<f64>,
    /// Of each of the environment's costs its name and what the steps cost, `[steps]`.
    costs: Vec<(String, Vec<f64>)>,
    /// How it ended, in words.
    end: &'static str,
}

/// Plays the best run of each group; of too many groups the best ones. Also what could not be played.
pub fn replays(groups: &[Group], registry: &Registry) -> (Vec<Replay>, Vec<String>) {
    let mut bests: Vec<(&Group, &Run)> =
        groups.iter().filter_map(|group| Some((group, best(&group.runs)?))).collect();
    let mut notes = Vec::new();
    if bests.len() > MAX_REPLAYS {
        notes
            .push(format!("Of {} groups, the {MAX_REPLAYS} with the highest return.", bests.len()));
        let value = |run: &Run| final_return(run).unwrap_or(f64::NEG_INFINITY);
        bests.sort_by(|(_, a), (_, b)| value(b).total_cmp(&value(a)));
        bests.truncate(MAX_REPLAYS);
    }
    let played: Vec<Result<Replay, Error>> =
        bests.par_iter().map(|(group, run)| replay(group, run, registry)).collect();
    let mut replays = Vec::new();
    for ((_, run), replay) in bests.into_iter().zip(played) {
        match replay {
            Ok(replay) => replays.push(replay),
            Err(error) => {
                let note = format!("{}: can't be replayed: {error}", run.path.display());
                warn(&note);
                notes.push(note);
            }
        }
    }
    (replays, notes)
}

/// The finished run with the highest return, of those that keep their limits if there are some; or the
/// first one.
fn best(runs: &[Run]) -> Option<&Run> {
    let finished = runs.iter().filter_map(|run| Some((&run.summary.as_ref()?.eval, run)));
    let best = finished.max_by(|(a, _), (b, _)| {
        a.keeps_limits().cmp(&b.keeps_limits()).then(a.mean_return.total_cmp(&b.mean_return))
    });
    best.map(|(_, run)| run).or(runs.first())
}

fn replay(group: &Group, run: &Run, registry: &Registry) -> Result<Replay, Error> {
    let Trained { experiment, task, agent, .. } = Trained::read(&run.path, registry)?;
    let greedy = experiment.agent.evaluates_greedily();
    let mut episodes = Vec::new();
    let mut left = MAX_STEPS;
    for index in 0..MAX_EPISODES {
        let recording = agents::record(agent.actor(), &task, experiment.seed, index, greedy, left)
            .map_err(Error::Agent)?;
        if recording.end.is_none() && index > 0 {
            break;
        }
        left -= recording.rewards.len();
        let pictures = pictures(&recording, task.name())?;
        let costs = &task.spec().costs;
        episodes.push(ReplayEpisode::new(&recording, costs, Pictures::new(&pictures)));
    }
    let label = format!("{}, seed {}", group.label, run.seed);
    Ok(Replay { label, episodes })
}

impl ReplayEpisode {
    fn new(recording: &Recording, costs: &[String], pictures: Pictures) -> ReplayEpisode {
        let cost = |(index, name): (usize, &String)| {
            let steps = recording.costs.iter().map(|costs| round(costs[index]));
            (name.clone(), steps.collect())
        };
        let wide = |row: &Vec<f32>| -> Vec<f64> { row.iter().map(|&x| round(x.into())).collect() };
        let end = match recording.end.map(|episode| episode.success) {
            None => "the recording stops here",
            Some(Some(true)) => "solved",
            Some(Some(false)) => "not solved",
            Some(None) => "the episode ends",
        };
        ReplayEpisode {
            pictures,
            actions: recording.actions.iter().map(wide).collect(),
            rewards: recording.rewards.iter().copied().map(round).collect(),
            costs: costs.iter().enumerate().map(cost).collect(),
            end,
        }
    }
}

/// Five significant digits: finer than a picture shows, and the page stays small.
fn round(number: f64) -> f64 {
    stats::round(number, 5)
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn numbers_keep_five_digits() {
        assert_eq!(
            [0.0, 1.0, -0.012_345_678, 123_456.7].map(round),
            [0.0, 1.0, -0.012346, 123460.0]
        );
    }
}
