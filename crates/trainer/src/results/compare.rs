//! What the seeds of each group say together, and which group is better.

use crate::error::Error;
use crate::experiment::fingerprint::differences_of_task;
use crate::experiment::summary::excess;
use crate::results::failures::{Failures, Thresholds};
use crate::results::{Group, Run, stats, verdicts};
use crate::terminal::{Align, columns, command};
use rayon::prelude::*;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

/// The learning curve: the mean return of the last 100 training episodes.
const CURVE: &str = "rollout/ep_rew_mean";
const STEPS: &str = "time/total_timesteps";
const SECONDS: &str = "time/time_elapsed";

/// More groups than this, and the printed pairs are those with the best group of an environment only.
pub const ALL_PAIRS_UP_TO: usize = 6;

/// Groups of runs beside each other.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What became of the runs by their curves, in a sentence.
    pub verdict: String,
    /// What "reached" and "failed" are about.
    #[serde(flatten)]
    pub thresholds: Thresholds,
    /// One a group with finished runs.
    pub rows: Vec<GroupStatistics>,
    /// All pairs of groups on the same environment, of two seeds or more.
    pub pairs: Vec<Pair>,
    /// What the reader of the numbers should know.
    pub notes: Vec<String>,
}

/// A group's statistics, over its finished runs.
#[derive(Clone, Debug, Serialize)]
pub struct GroupStatistics {
    /// What tells the group from the others.
    pub group: String,
    /// The environment's name.
    pub environment: String,
    /// `ppo` or `trpo`.
    pub algorithm: String,
    /// Seeds of the finished runs.
    pub seeds: Vec<u64>,
    /// Mean return of the evaluation at the end.
    pub final_return: Aggregates,
    /// Area under the learning curve over the steps it spans: the mean return while training. `None`
    /// where no episode ended.
    pub area: Option<Aggregates>,
    /// Mean share of successes in the evaluation at the end; `None` where success is no notion.
    pub success_rate: Option<Estimate>,
    /// The environment's costs, in order of their names.
    pub costs: Vec<CostStatistics>,
    /// When the learning curve reached the threshold; `None` without a threshold.
    pub reached: Option<Reached>,
    /// The seeds that ended below a threshold; `None` without a threshold.
    pub failed: Option<Failures>,
}

/// What an episode costs at the end of a group's runs.
#[derive(Clone, Debug, Serialize)]
pub struct CostStatistics {
    /// The cost's name.
    pub cost: String,
    /// Mean over seeds of the mean cost in the evaluation at the end.
    pub mean: Estimate,
    /// The limit that a constraint sets, and how many of the seeds end within it; `None` where there is none.
    pub limit: Option<(f64, usize)>,
}

/// Three middles of a metric over the seeds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Aggregates {
    /// See [`stats::mean`].
    pub mean: Estimate,
    /// See [`stats::median`].
    pub median: Estimate,
    /// See [`stats::interquartile_mean`].
    pub interquartile_mean: Estimate,
}

/// A statistic with its 95 % interval over seeds: a bootstrap one, unless it is said to be another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The statistic.
    pub value: f64,
    /// `None` of a single seed.
    pub interval: Option<[f64; 2]>,
}

/// When a group reached the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// How many of the seeds did.
    pub seeds: usize,
    /// Median over all seeds; `None` where it would be one that did not reach it.
    pub steps: Option<f64>,
    /// The same in seconds of wall clock.
    pub seconds: Option<f64>,
}

/// How likely a run of one group ends with a higher return than one of the other, whatever they cost.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The group that comes first among the rows.
    pub group: String,
    /// The other.
    pub over: String,
    /// See [`stats::probability_of_improvement`].
    pub probability: Estimate,
}

/// Compares groups by their finished runs. Without `all_pairs` only those pairs
/// are compared that are worth showing ([`Comparison::shown_pairs`]): of hundreds of groups there are tens
/// of thousands.
///
/// # Errors
/// When no run is finished.
pub fn compare(
    groups: &[Group],
    thresholds: Thresholds,
    all_pairs: bool,
) -> Result<Comparison, Error> {
    let mut notes = Vec::new();
    let unfinished: Vec<&Run> =
        groups.iter().flat_map(|group| &group.runs).filter(|run| run.summary.is_none()).collect();
    for run in &unfinished {
        let (path, resume) = (run.path.display(), command("resume", &run.path));
        notes.push(format!("{path} is not finished and left out; `{resume}` goes on"));
    }
    let (rows, returns): (Vec<GroupStatistics>, Vec<Vec<f64>>) =
        groups.par_iter().filter_map(|group| row(group, thresholds)).unzip();
    if rows.is_empty() {
        let first = unfinished.first().map(|run| run.path.as_path()).unwrap_or("".as_ref());
        return Err(Error::Usage(format!(
            "{}: no run is finished, so there is nothing to compare; `{}` goes on with a run",
            first.display(),
            command("resume", first)
        )));
    }
    let best = best(&rows);
    let is_shown = |&(one, other): &(usize, usize)| {
        all_pairs || rows.len() <= ALL_PAIRS_UP_TO || best.contains(&one) || best.contains(&other)
    };
    let pairs: Vec<(usize, usize)> = pairs_of(&rows).filter(is_shown).collect();
    let pair = |&(one, other): &(usize, usize)| Pair {
        group: rows[one].group.clone(),
        over: rows[other].group.clone(),
        probability: estimate([&returns[one], &returns[other]], |[x, y]| {
            stats::probability_of_improvement(x, y)
        }),
    };
    let pairs: Vec<Pair> = pairs.par_iter().map(pair).collect();
    let broken = rows.iter().flat_map(|row| row.costs.iter().map(move |cost| (row, cost)));
    for (row, CostStatistics { cost, limit, .. }) in broken {
        if let Some((limit, within)) = limit.filter(|(_, within)| *within < row.seeds.len()) {
            let (group, above, seeds) = (&row.group, row.seeds.len() - within, row.seeds.len());
            notes.push(format!(
                "{group}: {above} of {seeds} seeds end above the limit of {limit} on {cost}; a return \
                 that breaks a limit is no better one"
            ));
        }
    }
    notes.extend(other_tasks(groups));
    if rows.iter().any(|row| row.seeds.len() == 1) {
        notes.push("one seed has no interval: it does not say how seeds differ".into());
    }
    let mut lengths: Vec<u64> = groups
        .iter()
        .flat_map(|group| &group.runs)
        .filter_map(|run| run.summary.as_ref().map(|summary| summary.steps))
        .collect();
    lengths.sort_unstable();
    if let (Some(first), Some(last)) = (lengths.first(), lengths.last())
        // The last iteration rounds a little differently.
        && *last as f64 > 1.1 * *first as f64
    {
        notes.push(format!("the runs are of different length, from {first} to {last} steps"));
    }
    Ok(Comparison { verdict: verdicts(groups), thresholds, rows, pairs, notes })
}

impl Comparison {
    /// The comparison as text for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text =
            format!("{}\n\nreturn at the end, with 95 % intervals over seeds\n", self.verdict);
        let aggregates = |aggregates: &Aggregates| {
            aggregates.named().map(|(_, estimate)| estimate.to_string()).to_vec()
        };
        let with_success = self.rows.iter().any(|row| row.success_rate.is_some());
        let mut lines = vec![cells(["group", "seeds", "mean", "median", "interquartile mean"])];
        lines[0].extend(with_success.then(|| "success rate".into()));
        let costs = self.costs();
        lines[0].extend(costs.iter().map(|cost| format!("cost {cost}")));
        for row in &self.rows {
            let mut line = vec![row.group.clone(), row.seeds.len().to_string()];
            line.extend(aggregates(&row.final_return));
            if with_success {
                line.push(row.success_rate.map_or_else(dash, |rate| rate.to_string()));
            }
            let cost = |name: &&str| row.cost(name).map_or_else(dash, ToString::to_string);
            line.extend(costs.iter().map(cost));
            lines.push(line);
        }
        text += &columns(&lines, Align::Left);
        text.push_str(
            "\narea under the learning curve, over its steps: the mean return while training\n",
        );
        let mut lines = vec![cells(["group", "mean", "median", "interquartile mean"])];
        for row in &self.rows {
            let curve = row.area.as_ref().map_or_else(|| vec![dash(); 3], aggregates);
            lines.push([vec![row.group.clone()], curve].concat());
        }
        text += &columns(&lines, Align::Left);
        if let Some(threshold) = self.thresholds.threshold {
            // Writing to a String can't fail.
            let _ = writeln!(text, "\n{CURVE} of {threshold} or more, median over seeds");
            let mut lines = vec![cells(["group", "reached by", "steps", "seconds"])];
            for row in &self.rows {
                let Some(reached) = row.reached else { continue };
                lines.push(vec![
                    row.group.clone(),
                    format!("{} of {}", reached.seeds, row.seeds.len()),
                    reached.steps.map_or_else(dash, |steps| format!("{steps:.0}")),
                    reached.seconds.map_or_else(dash, |seconds| format!("{seconds:.2}")),
                ]);
            }
            text += &columns(&lines, Align::Left);
        }
        self.failures_table(&mut text);
        self.pairs_table(&mut text);
        for (index, note) in self.notes.iter().enumerate() {
            let _ = writeln!(text, "{}note: {note}", if index == 0 { "\n" } else { "" });
        }
        text
    }

    /// The costs that the groups have, in order of their names.
    #[must_use]
    pub fn costs(&self) -> Vec<&str> {
        let names = self.rows.iter().flat_map(|row| row.costs.iter().map(|cost| &*cost.cost));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether some group must keep a limit, of which a probability of improvement knows nothing.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.rows.iter().flat_map(|row| &row.costs).any(|cost| cost.limit.is_some())
    }

    fn failures_table(&self, text: &mut String) {
        let Some(failure) = self.thresholds.failure() else { return };
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "\nseeds that ended with {failure}; their share with its 95 % Wilson interval"
        );
        let mut lines = vec![cells(["group", "failed", "share", "seeds"])];
        for row in &self.rows {
            let failed = row.failed.as_ref().map(|failed| failed.cells(row.seeds.len()));
            let failed = failed.unwrap_or_else(|| [(); 3].map(|()| dash()));
            lines.push([vec![row.group.clone()], failed.to_vec()].concat());
        }
        *text += &columns(&lines, Align::Left);
    }

    /// The pairs that are worth showing: of many groups those with the best one only.
    #[must_use]
    pub fn shown_pairs(&self) -> Vec<&Pair> {
        let best: Vec<&str> =
            best(&self.rows).into_iter().map(|index| &*self.rows[index].group).collect();
        let all = self.rows.len() <= ALL_PAIRS_UP_TO;
        let is_shown = |pair: &&Pair| {
            all || best.iter().any(|best| [&*pair.group, &*pair.over].contains(best))
        };
        self.pairs.iter().filter(is_shown).collect()
    }

    fn pairs_table(&self, text: &mut String) {
        let shown = self.shown_pairs();
        if shown.is_empty() {
            return;
        }
        text.push_str(
            "\nprobability of improvement: that a run of the group ends higher than one of the other",
        );
        if self.has_limits() {
            text.push_str(", whichever keeps its limit");
        }
        text.push('\n');
        let mut lines = vec![cells(["group", "over", "probability"])];
        for pair in &shown {
            lines.push(vec![pair.group.clone(), pair.over.clone(), pair.probability.to_string()]);
        }
        *text += &columns(&lines, Align::Left);
        if shown.len() < pairs_of(&self.rows).count() {
            text.push_str(
                "these are the pairs with the best group; -o FILE.csv writes all of them\n",
            );
        }
    }

    /// The rows as lines of CSV; a cell is empty where there is no number.
    #[must_use]
    pub fn rows_csv(&self) -> Vec<Vec<String>> {
        let mut header = cells(["group", "environment", "algorithm", "seeds"]);
        for metric in [
            "return_mean",
            "return_median",
            "return_iqm",
            "area_mean",
            "area_median",
            "area_iqm",
            "success_rate",
        ] {
            header.extend(["", "_low", "_high"].map(|end| format!("{metric}{end}")));
        }
        header.extend(cells([
            "threshold",
            "reached_by",
            "steps_to_threshold",
            "seconds_to_threshold",
            "success_threshold",
            "failed",
            "failed_share",
            "failed_share_low",
            "failed_share_high",
            "failed_seeds",
        ]));
        for cost in self.costs() {
            header.extend(["", "_low", "_high"].map(|end| format!("cost_{cost}{end}")));
            header.extend(["limit", "within_limit"].map(|what| format!("{what}_{cost}")));
        }
        let mut lines = vec![header];
        for row in &self.rows {
            let count = row.seeds.len().to_string();
            let mut line =
                vec![row.group.clone(), row.environment.clone(), row.algorithm.clone(), count];
            for (_, estimate) in row.final_return.named() {
                line.extend(estimate.cells());
            }
            let areas = row.area.map(|area| area.named().map(|(_, estimate)| estimate.cells()));
            line.extend(areas.unwrap_or_default().into_iter().flatten());
            line.extend(row.success_rate.map(Estimate::cells).unwrap_or_default());
            let reached = row.reached;
            let number =
                |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
            line.push(number(self.thresholds.threshold));
            line.push(reached.map(|reached| reached.seeds.to_string()).unwrap_or_default());
            line.push(number(reached.and_then(|reached| reached.steps)));
            line.push(number(reached.and_then(|reached| reached.seconds)));
            line.push(number(self.thresholds.success_threshold));
            match &row.failed {
                Some(Failures { seeds, share }) => {
                    line.push(seeds.len().to_string());
                    line.extend(share.cells());
                    line.push(seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
                }
                None => line.extend(vec![String::new(); 5]),
            }
            for name in self.costs() {
                let cost = row.cost(name);
                line.extend(cost.map(|cost| cost.mean.cells()).unwrap_or_default());
                let limit = cost.and_then(|cost| cost.limit);
                line.push(number(limit.map(|(limit, _)| limit)));
                line.push(limit.map(|(_, within)| within.to_string()).unwrap_or_default());
            }
            lines.push(line);
        }
        lines
    }

    /// The pairs as lines of CSV; a cell is empty where there is no number.
    #[must_use]
    pub fn pairs_csv(&self) -> Vec<Vec<String>> {
        let mut lines =
            vec![cells(["group", "over", "probability", "probability_low", "probability_high"])];
        for pair in &self.pairs {
            let mut line = vec![pair.group.clone(), pair.over.clone()];
            line.extend(pair.probability.cells());
            lines.push(line);
        }
        lines
    }
}

/// All pairs of rows on the same environment. A single seed does not say how often it is the better one.
fn pairs_of(rows: &[GroupStatistics]) -> impl Iterator<Item = (usize, usize)> {
    let pairs =
        (0..rows.len()).flat_map(|one| (one + 1..rows.len()).map(move |other| (one, other)));
    pairs.filter(|&(one, other)| {
        let (one, other) = (&rows[one], &rows[other]);
        one.environment == other.environment && one.seeds.len().min(other.seeds.len()) > 1
    })
}

/// Which returns are of other tasks than the first ones of their environment, and in what.
fn other_tasks(groups: &[Group]) -> Vec<String> {
    let mut first: BTreeMap<&str, (&Run, String)> = BTreeMap::new();
    let mut notes: Vec<String> = Vec::new();
    for run in groups.iter().flat_map(|group| &group.runs) {
        let summary = run.summary.as_ref();
        let Some(task) = summary.and_then(|summary| Some(summary.task.as_ref()?.to_string()))
        else {
            continue;
        };
        let (there, known) = first.entry(run.environment()).or_insert((run, task.clone()));
        let differences = differences_of_task(known, &task);
        let note = format!("returns are of different tasks: {}", differences.join(", "));
        if !differences.is_empty() && !notes.iter().any(|other| other.starts_with(&note)) {
            let (there, here) = (there.path.display(), run.path.display());
            notes.push(format!("{note} (there: {there}, here: {here})"));
        }
    }
    notes
}

/// The best row of each environment; of equal ones the last.
fn best(rows: &[GroupStatistics]) -> Vec<usize> {
    let mut best: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let found = best.entry(&row.environment).or_insert(index);
        if row.order(&rows[*found]).is_le() {
            *found = index;
        }
    }
    best.into_values().collect()
}

/// The statistics of a group and the returns at the end; `None` if no run is finished.
fn row(group: &Group, thresholds: Thresholds) -> Option<(GroupStatistics, Vec<f64>)> {
    let finished: Vec<_> =
        group.runs.iter().filter_map(|run| Some((run, run.summary.as_ref()?))).collect();
    let first = finished.first()?.1;
    let returns: Vec<f64> = finished.iter().map(|(_, summary)| summary.eval.mean_return).collect();
    let areas: Option<Vec<f64>> =
        finished.iter().map(|(run, _)| stats::area_under_curve(&run.curve(STEPS, CURVE))).collect();
    let successes: Option<Vec<f64>> =
        finished.iter().map(|(_, summary)| summary.eval.success_rate).collect();
    let row = GroupStatistics {
        group: group.label.clone(),
        environment: first.environment.clone(),
        algorithm: first.algorithm.clone(),
        seeds: finished.iter().map(|(run, _)| run.seed).collect(),
        final_return: Aggregates::of(&returns),
        area: areas.map(|areas| Aggregates::of(&areas)),
        success_rate: successes.map(|rates| estimate([&rates], |[rates]| stats::mean(rates))),
        costs: first
            .eval
            .costs
            .iter()
            .map(|(name, own)| {
                let all =
                    || finished.iter().filter_map(|(_, summary)| summary.eval.costs.get(name));
                let means: Vec<f64> = all().map(|cost| cost.mean).collect();
                let within = all().filter(|cost| cost.holds == Some(true)).count();
                let limit = own.limit.map(|limit| (limit, within));
                CostStatistics { cost: name.clone(), mean: Estimate::mean_of(&means), limit }
            })
            .collect(),
        reached: thresholds.threshold.map(|threshold| {
            let first = |x: &str| -> Vec<f64> {
                finished.iter().map(|(run, _)| first_at(run, x, threshold)).collect()
            };
            let (steps, seconds) = (first(STEPS), first(SECONDS));
            let finite = |median: f64| median.is_finite().then_some(median);
            Reached {
                seeds: steps.iter().filter(|steps| steps.is_finite()).count(),
                steps: finite(stats::median(&steps)),
                seconds: finite(stats::median(&seconds)),
            }
        }),
        failed: thresholds
            .failures(&finished.iter().map(|(_, summary)| *summary).collect::<Vec<_>>()),
    };
    Some((row, returns))
}

/// Where the learning curve first is at the threshold or above; infinite if nowhere.
fn first_at(run: &Run, x: &str, threshold: f64) -> f64 {
    let curve = run.curve(x, CURVE);
    curve.iter().find(|(_, y)| *y >= threshold).map_or(f64::INFINITY, |(x, _)| *x)
}

fn estimate<const N: usize>(
    samples: [&[f64]; N],
    statistic: impl Fn([&[f64]; N]) -> f64,
) -> Estimate {
    Estimate { value: statistic(samples), interval: stats::bootstrap(samples, statistic) }
}

impl Aggregates {
    fn of(samples: &[f64]) -> Aggregates {
        let estimate =
            |statistic: fn(&[f64]) -> f64| estimate([samples], move |[samples]| statistic(samples));
        Aggregates {
            mean: estimate(stats::mean),
            median: estimate(stats::median),
            interquartile_mean: estimate(stats::interquartile_mean),
        }
    }

    fn named(&self) -> [(&'static str, Estimate); 3] {
        [("mean", self.mean), ("median", self.median), ("iqm", self.interquartile_mean)]
    }
}

impl GroupStatistics {
    /// The cost of that name.
    #[must_use]
    pub fn cost(&self, name: &str) -> Option<&CostStatistics> {
        self.costs.iter().find(|cost| cost.cost == name)
    }

    /// What is better is less: by what share of its limit the mean cost is above it, 0 where it is within or there is no
    /// limit; then the interquartile mean of the return.
    #[must_use]
    pub fn order(&self, other: &GroupStatistics) -> Ordering {
        let excess_of = |cost: &CostStatistics| Some(excess(cost.mean.value, cost.limit?.0));
        let worst =
            |row: &GroupStatistics| row.costs.iter().filter_map(excess_of).fold(0.0, f64::max);
        let middle = |row: &GroupStatistics| row.final_return.interquartile_mean.value;
        worst(self).total_cmp(&worst(other)).then(middle(other).total_cmp(&middle(self)))
    }
}

impl fmt::Display for CostStatistics {
    /// `0.48 [0.45, 0.52], 4 within 0.5`
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}", self.mean)?;
        match self.limit {
            Some((limit, within)) => write!(formatter, ", {within} within {limit}"),
            None => Ok(()),
        }
    }
}

impl Estimate {
    /// The mean over seeds.
    #[must_use]
    pub fn mean_of(samples: &[f64]) -> Estimate {
        estimate([samples], |[samples]| stats::mean(samples))
    }

    /// Figure, lower end, upper end.
    fn cells(self) -> [String; 3] {
        let [low, high] =
            self.interval.map_or_else(Default::default, |ends| ends.map(|end| end.to_string()));
        [self.value.to_string(), low, high]
    }
}

impl fmt::Display for Estimate {
    /// `1.23 [1.10, 1.30]`
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.interval {
            Some([low, high]) => {
                write!(formatter, "{} [{}, {}]", number(self.value), number(low), number(high))
            }
            None => formatter.write_str(&number(self.value)),
        }
    }
}

/// Four digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        1e3.. => format!("{value:.0}"),
        1e2.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn dash() -> String {
    "-".into()
}

fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}
