//! The curves of the page, as numbers for its script: what the runs of each group did on average.

use crate::experiment::verdict;
use crate::results::plot::{self, Axis, GroupLine};
use crate::results::{Group, Run, stats};
use serde::Serialize;
use std::collections::BTreeSet;

/// Points of a curve at most: more than the smaller pictures show apart.
const POINTS: usize = 100;

/// What is drawn beside the return: what an update did, how well it is understood, what was earned how.
const METRICS: [(&str, &str); 7] = [
    ("rollout/ep_rew_mean", "Return, mean of the last 100 episodes"),
    ("rollout/success_rate", "Success rate, last 100 episodes"),
    ("train/kl", "KL of an update, nats"),
    ("train/entropy", "Entropy of the policy, nats"),
    ("train/explained_variance", "Explained variance of the critic"),
    ("train/policy_loss", "Policy loss"),
    ("train/value_loss", "Value loss"),
];

/// A picture.
#[derive(Serialize)]
pub struct Chart {
    environment: String,
    metric: String,
    title: String,
    lines: Vec<ChartLine>,
}

/// The mean of a group's runs.
#[derive(Serialize)]
struct ChartLine {
    label: String,
    /// Its place among the colours; `None` of one that is too many.
    color: Option<usize>,
    /// Environment steps.
    x: Vec<f64>,
    mean: Vec<f64>,
    /// 95 % interval over seeds; `None` of one seed.
    low: Option<Vec<f64>>,
    high: Option<Vec<f64>>,
    /// Steps up to which there were fewer than 100 episodes to look back on; `None` where that says nothing.
    full_from: Option<f64>,
}

/// All pictures, environment by environment; none of what no run has a value of.
#[must_use]
pub fn charts(groups: &[Group], environments: &[String]) -> Vec<Chart> {
    let mut charts = Vec::new();
    for environment in environments {
        let is_here = |group: &&Group| group.runs[0].environment() == environment;
        let here: Vec<Group> = groups.iter().filter(is_here).cloned().collect();
        let runs = || here.iter().flat_map(|group| &group.runs);
        let terms: BTreeSet<&str> = runs()
            .flat_map(|run| &run.columns)
            .filter_map(|(name, _)| name.strip_prefix("reward/"))
            .collect();
        let terms = terms.iter().map(|term| {
            (format!("reward/{term}"), format!("Term of the reward: {term}, mean a step"))
        });
        let metrics = METRICS.map(|(metric, title)| (metric.to_owned(), title.to_owned()));
        for (metric, title) in metrics.into_iter().chain(terms) {
            let Ok(lines) = plot::lines(&here, &metric, Axis::Steps) else { continue };
            let looks_back = metric.starts_with("rollout/");
            let line = |line: GroupLine| {
                let full_from = line.group.runs.iter().map(full_from).fold(0.0, f64::max);
                ChartLine::new(line, looks_back.then_some(full_from))
            };
            let lines = lines.into_iter().map(line).collect();
            charts.push(Chart { environment: environment.clone(), metric, title, lines });
        }
    }
    charts
}

impl ChartLine {
    fn new(line: GroupLine, full_from: Option<f64>) -> ChartLine {
        let stride = line.points.len().div_ceil(POINTS).max(1);
        let last = line.points.len() - 1;
        let kept: Vec<usize> =
            (0..=last).filter(|index| (last - index).is_multiple_of(stride)).collect();
        let round = |number: f64| stats::round(number, 4);
        let end = |side: usize| -> Option<Vec<f64>> {
            let ends = line.intervals.as_ref()?;
            Some(kept.iter().map(|&index| round(ends[index][side])).collect())
        };
        let (low, high) = (end(0), end(1));
        ChartLine {
            label: line.label,
            color: line.color,
            x: kept.iter().map(|&index| line.points[index].0.round()).collect(),
            mean: kept.iter().map(|&index| round(line.points[index].1)).collect(),
            low,
            high,
            full_from: full_from.map(f64::round),
        }
    }
}

/// Steps after which a run has seen its first 100 episodes.
fn full_from(run: &Run) -> f64 {
    let points = run.curve("time/total_timesteps", "rollout/ep_len_mean");
    let (steps, lengths): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
    let row = verdict::first_full_row(&steps, &lengths);
    steps.get(row).or(steps.last()).copied().unwrap_or_default()
}
