//! A trial in its directory: its configuration, its runs, and what came of them.

use super::plan::{Sweep, Trial};
use crate::error::Error;
use crate::experiment::config::sweep::Objective;
use crate::experiment::run_dir::RunDir;
use crate::experiment::summary::{EvalSummary, excess};
use crate::files;
use crate::results::{Run, stats};
use agents::cost_metric;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use toml::Value;

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All of its runs did.
    Finished,
    /// One of its runs did; the trial counts as not done when the sweep is resumed.
    Failed,
    /// The pruner saw no hope.
    Pruned,
}

impl Status {
    /// As the table calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Finished => "finished",
            Status::Failed => "failed",
            Status::Pruned => "pruned",
        }
    }
}

/// Whether and how a run ended.
#[derive(Clone, Debug)]
pub enum RunState {
    /// Not yet begun, or stopped in the middle.
    Missing,
    /// A process works on it.
    Running,
    /// With these metrics.
    Finished(RunMetrics),
    /// For this reason.
    Failed(String),
}

/// What the trial's directory says about it beside its runs: `trial.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TrialRecord {
    /// `None` while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Why it failed or was pruned.
    #[serde(default)]
    pub reason: String,
    /// Swept values by their dotted keys.
    #[serde(default)]
    pub values: toml::Table,
}

impl TrialRecord {
    /// Reads the record of the trial in this directory; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(directory: &Path) -> Result<Option<TrialRecord>, Error> {
        let path = directory.join("trial.toml");
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("can't be read", &path))?;
        let record = toml::from_str(&text).map_err(|error: toml::de::Error| {
            Error::Usage(format!(
                "{}: is no record of a trial: {}",
                path.display(),
                error.message()
            ))
        })?;
        Ok(Some(record))
    }
}

/// A trial on its way.
#[derive(Clone, Debug)]
pub struct TrialState {
    /// What it tries.
    pub trial: Trial,
    /// Where its runs are, each in a directory named by its seed.
    pub directory: PathBuf,
    /// By seed.
    pub runs: Vec<(u64, RunState)>,
    /// How it ended, and why.
    pub verdict: Option<(Status, String)>,
}

impl TrialState {
    /// The trial as its directory has it, if it does.
    ///
    /// # Errors
    /// When a file of it can't be read.
    pub fn load(
        sweep: &Sweep,
        trial: Trial,
        directory: PathBuf,
        seeds: &[u64],
    ) -> Result<TrialState, Error> {
        let mut entry = TrialState {
            trial,
            directory,
            runs: seeds.iter().map(|&seed| (seed, RunState::Missing)).collect(),
            verdict: None,
        };
        let record = TrialRecord::read(&entry.directory)?;
        for index in 0..entry.runs.len() {
            let run = entry.run_dir(index);
            if run.config().is_file() && run.summary().is_file() {
                entry.runs[index].1 = RunState::Finished(RunMetrics::read(sweep, &run)?);
            }
        }
        if let Some(TrialRecord { status: Some(Status::Pruned), reason, .. }) = record {
            entry.verdict = Some((Status::Pruned, reason));
        } else if entry.finished() == entry.runs.len() {
            entry.verdict = Some((Status::Finished, String::new()));
        }
        Ok(entry)
    }

    /// The directory of one of its runs.
    #[must_use]
    pub fn run_dir(&self, index: usize) -> RunDir {
        RunDir::at(self.directory.join(self.runs[index].0.to_string()))
    }

    /// The configuration that its runs are started with.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("experiment.toml")
    }

    /// Writes the configuration, and what is known of the trial.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, sweep: &Sweep) -> Result<(), Error> {
        let directory = &self.directory;
        std::fs::create_dir_all(directory).map_err(Error::io("can't be created", directory))?;
        files::write_atomically(&self.config(), &[self.trial.experiment.to_toml()?.as_bytes()])?;
        let keys = sweep.space.keys();
        let values = keys.iter().zip(&self.trial.values);
        let (status, reason) = self.verdict.clone().unzip();
        let record = TrialRecord {
            status,
            reason: reason.unwrap_or_default(),
            values: values.map(|((key, _), value)| ((*key).to_owned(), value.clone())).collect(),
        };
        let text = toml::to_string(&record).map_err(|error| {
            Error::Failed(format!("the trial can't be written as TOML: {error}"))
        })?;
        files::write_atomically(&directory.join("trial.toml"), &[text.as_bytes()])
    }

    /// Whether it tries what the record says.
    #[must_use]
    pub fn tries(&self, sweep: &Sweep, record: &TrialRecord) -> bool {
        let keys = sweep.space.keys();
        keys.iter()
            .zip(&self.trial.values)
            .all(|((key, _), value)| record.values.get(*key) == Some(value))
    }

    /// How many of its runs are done.
    #[must_use]
    pub fn finished(&self) -> usize {
        self.runs.iter().filter(|(_, state)| matches!(state, RunState::Finished(_))).count()
    }

    /// RunMetrics of the runs that are done.
    pub fn metrics(&self) -> impl Iterator<Item = &RunMetrics> {
        self.runs.iter().filter_map(|(_, state)| match state {
            RunState::Finished(metrics) => Some(metrics),
            _ => None,
        })
    }

    /// The training curve of a run that is done.
    #[must_use]
    pub fn curve(&self, index: usize) -> Option<&[(f64, f64)]> {
        match &self.runs.get(index)?.1 {
            RunState::Finished(metrics) => Some(&metrics.curve),
            _ => None,
        }
    }

    /// A metric averaged over the runs that have it.
    #[must_use]
    pub fn mean(&self, name: &str) -> Option<f64> {
        let (sum, count) = self
            .metrics()
            .filter_map(|metrics| metrics.get(name))
            .fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// The objective averaged over the seeds; `None` unless all runs are done.
    #[must_use]
    pub fn objective(&self) -> Option<f64> {
        let is_whole = matches!(self.verdict, Some((Status::Finished, _)));
        is_whole.then(|| self.mean("objective")).flatten()
    }

    /// By what share of its limit the cost is above it, mean over the seeds: 0 where it is within, or where
    /// there is no limit.
    #[must_use]
    pub fn excess(&self) -> f64 {
        self.mean("limit_excess").map_or(0.0, |excess| excess.max(0.0))
    }

    /// Sample standard deviation of the objective over the seeds.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        let mean = self.objective()?;
        let all: Vec<f64> = self.metrics().filter_map(|metrics| metrics.get("objective")).collect();
        let squares: f64 = all.iter().map(|one| (one - mean).powi(2)).sum();
        (all.len() > 1).then(|| (squares / (all.len() - 1) as f64).sqrt())
    }

    /// Value of a swept key by its position.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.trial.values
    }
}

/// A number for each trial of which less is better; `None` unless all of its runs are done. It is the objective, and
/// of a trial that breaks a limit the worst of those that keep theirs and beyond that by how much it breaks it.
#[must_use]
pub fn losses(sweep: &Sweep, trials: &[&TrialState]) -> Vec<Option<f64>> {
    let own = |trial: &TrialState| trial.objective().map(|one| sweep.objective.loss(one));
    let keeping = trials.iter().filter(|trial| trial.excess() == 0.0);
    let worst = keeping.filter_map(|trial| own(trial)).reduce(f64::max).unwrap_or(0.0);
    let loss = |trial: &&TrialState| match trial.excess() {
        0.0 => own(trial),
        excess => own(trial).map(|_| worst + excess),
    };
    trials.iter().map(loss).collect()
}

/// What one run came to, by name; the same names in the same order for every run.
#[derive(Clone, Debug)]
pub struct RunMetrics {
    /// Names and numbers; `None` where there is none.
    pub all: Vec<(&'static str, Option<f64>)>,
    /// Mean training return over steps, for the pruner.
    pub curve: Vec<(f64, f64)>,
}

impl RunMetrics {
    /// Names of the metrics of every run.
    pub const NAMES: [&'static str; 15] = [
        "objective",
        "steps",
        "seconds",
        "steps_per_second",
        "eval.episodes",
        "eval.mean_return",
        "eval.std_return",
        "eval.min_return",
        "eval.max_return",
        "eval.mean_length",
        "eval.success_rate",
        "limit_excess",
        "best_return",
        "area",
        "steps_to_threshold",
    ];

    /// Reads a finished run.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read(sweep: &Sweep, directory: &RunDir) -> Result<RunMetrics, Error> {
        let run = Run::read(directory.path())?;
        let Some(summary) = &run.summary else {
            let path = directory.path().display();
            return Err(Error::Failed(format!("{path}: is not finished")));
        };
        let eval = &summary.eval;
        let evaluations = evaluations(&run, eval);
        let keeping =
            || evaluations.iter().filter(|(_, _, excess)| excess.is_none_or(|it| it <= 0.0));
        let curve = run.curve("time/total_timesteps", "rollout/ep_rew_mean");
        let last = (summary.steps as f64, eval.mean_return, eval.excess());
        let last_if_keeping = eval.keeps_limits().then_some(&last);
        let best = keeping().chain(last_if_keeping).max_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
        let (_, best, best_excess) = *best.unwrap_or(&last);
        let reached = sweep.threshold.map(|threshold| {
            let first = keeping().find(|(_, value, _)| *value >= threshold);
            // A run that never gets there counts as if its last step had brought it there.
            first.map_or(summary.steps as f64, |(steps, _, _)| *steps)
        });
        let objective = match sweep.objective {
            Objective::FinalReturn => Some(eval.mean_return),
            Objective::BestReturn => Some(best),
            Objective::SuccessRate => eval.success_rate,
            Objective::StepsToThreshold => reached,
        };
        let excess = match sweep.objective {
            Objective::BestReturn => best_excess,
            _ => eval.excess(),
        };
        let metrics = [
            objective,
            Some(summary.steps as f64),
            Some(summary.seconds),
            Some(summary.steps_per_second),
            Some(eval.episodes as f64),
            Some(eval.mean_return),
            Some(eval.std_return),
            Some(eval.min_return),
            Some(eval.max_return),
            Some(eval.mean_length),
            eval.success_rate,
            excess,
            Some(best),
            stats::area_under_curve(&curve),
            reached,
        ];
        Ok(RunMetrics { all: RunMetrics::NAMES.into_iter().zip(metrics).collect(), curve })
    }

    /// The metric of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.all.iter().find(|(known, _)| *known == name)?.1
    }
}

/// The evaluations of a run on its way: steps, mean return, and by what share a cost was above its limit, if there is
/// one, as [`EvalSummary::excess`] says of the last one.
fn evaluations(run: &Run, last: &EvalSummary) -> Vec<(f64, f64, Option<f64>)> {
    let limits = last.costs.iter().filter_map(|(name, cost)| Some((name, cost.limit?)));
    let costs: Vec<(Vec<(f64, f64)>, f64)> = limits
        .map(|(name, limit)| {
            let metric = cost_metric("eval/mean_cost", name, last.costs.len());
            (run.curve("time/total_timesteps", &metric), limit)
        })
        .collect();
    let returns = run.curve("time/total_timesteps", "eval/mean_reward").into_iter();
    let evaluation = |(index, (steps, value)): (usize, (f64, f64))| {
        let excesses =
            costs.iter().filter_map(|(costs, limit)| Some(excess(costs.get(index)?.1, *limit)));
        (steps, value, excesses.reduce(f64::max))
    };
    returns.enumerate().map(evaluation).collect()
}
