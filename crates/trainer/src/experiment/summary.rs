//! `summary.json`, and the table at the end.

use crate::error::Error;
use crate::experiment::config::Experiment;
use crate::experiment::metrics::EndedBy;
use crate::experiment::metrics::csv::Column;
use crate::experiment::session::Session;
use crate::experiment::verdict::{self, Verdict};
use crate::files;
use crate::terminal::command;
use agents::{Constraint, Evaluation, MeanCost, Training};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

/// What a finished run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Environment steps done.
    pub steps: u64,
    /// Wall clock, evaluations included, of all processes that worked on the run.
    pub seconds: f64,
    /// Of rollouts and updates alone.
    pub steps_per_second: f64,
    /// Seed of every random stream.
    pub seed: u64,
    /// Where updates ran.
    pub backend: String,
    /// `ppo` or `trpo`.
    pub algorithm: String,
    /// The environment's name.
    pub environment: String,
    /// The whole task: what policies and returns of another one are told apart by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Value>,
    /// The trainer's.
    pub version: String,
    /// What ended it before its last step; absent where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// What its curves say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The evaluation at the end.
    pub eval: EvalSummary,
}

/// What `--json` prints of a run.
#[derive(Serialize)]
pub struct RunSummary<'a> {
    run: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// What the episodes at the end came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalSummary {
    /// How many there were.
    pub episodes: usize,
    /// Whether actions were the policy's most probable ones; otherwise they were sampled.
    pub greedy: bool,
    /// Of the undiscounted returns.
    pub mean_return: f64,
    /// Their standard deviation.
    pub std_return: f64,
    /// The worst.
    pub min_return: f64,
    /// The best.
    pub max_return: f64,
    /// Steps.
    pub mean_length: f64,
    /// Share of the episodes that succeeded; `None` where success is no notion.
    pub success_rate: Option<f64>,
    /// The terms of the reward by their names, each as its mean a step; absent where the reward has only
    /// one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_terms: BTreeMap<String, f64>,
    /// The costs of an episode by their names; absent where the environment has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<String, CostSummary>,
}

/// What an episode cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostSummary {
    /// Mean over the episodes of the undiscounted sum.
    pub mean: f64,
    /// Of the mean; `None` of one episode.
    pub standard_error: Option<f64>,
    /// The limit that a constraint sets; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Whether the mean is within the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

impl Summary {
    /// The summary of a finished session, whose `metrics.csv` has these columns.
    #[must_use]
    pub fn new(session: &Session, evaluation: &Evaluation, columns: &[Column]) -> Summary {
        let Experiment { seed, backend, agent, env, .. } = &session.experiment;
        let Training { task, progress, .. } = &session.training;
        let mut summary = Summary {
            steps: progress.steps,
            seconds: session.elapsed_seconds,
            steps_per_second: progress.steps as f64 / progress.seconds,
            seed: *seed,
            backend: backend.name().into(),
            algorithm: agent.name().into(),
            environment: env.name.clone(),
            task: serde_json::from_str(&task.fingerprint()).ok(),
            version: env!("CARGO_PKG_VERSION").into(),
            ended_by: session.ended_by,
            verdict: None,
            eval: EvalSummary::new(
                evaluation,
                session.experiment.agent.evaluates_greedily(),
                agent.constraints(),
            ),
        };
        summary.verdict = Some(verdict::of(columns, summary.reached()));
        summary
    }

    /// What every episode of the evaluation at the end returned, where all lasted to the time limit and returned
    /// the same: where returns rise with the length of episodes, no policy has more.
    #[must_use]
    pub fn reached(&self) -> Option<f64> {
        let limit = self.task.as_ref()?["max_episode_steps"].as_f64()?;
        let eval = &self.eval;
        let is_all = eval.mean_length == limit && eval.min_return == eval.max_return;
        is_all.then_some(eval.max_return)
    }

    /// Reads what [`Summary::write`] wrote.
    ///
    /// # Errors
    /// When the file can't be read or holds something else.
    pub fn read(path: &Path) -> Result<Summary, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("can't be read", path))?;
        serde_json::from_str(&text).map_err(|error| {
            Error::Usage(format!("{}: is no summary of a run: {error}", path.display()))
        })
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::io("can't be written", path)(error.into()))?;
        files::write_atomically(path, &[json.as_bytes(), b"\n"])
    }

    /// The summary with the run directory that it is the summary of.
    #[must_use]
    pub fn of(&self, run: &Path) -> RunSummary<'_> {
        RunSummary { run: run.display().to_string(), summary: self }
    }

    /// The table that ends a run.
    #[must_use]
    pub fn table(&self, run: &Path) -> String {
        let evaluate = command("eval", run);
        let run = run.display();
        let Summary { steps, seconds, steps_per_second, .. } = self;
        let mut verdict = String::new();
        // Writing to a String can't fail.
        if let Some(ended_by) = self.ended_by {
            let _ = writeln!(verdict, "  ended by    {}", ended_by.key());
        }
        if let Some(found) = &self.verdict {
            let _ = writeln!(verdict, "  verdict     {found}");
            for sign in &found.signs {
                let _ = writeln!(verdict, "  sign        {sign}");
            }
            for advice in &found.advice {
                let _ = writeln!(verdict, "  try         {advice}");
            }
        }
        format!(
            "{} on {}, seed {}, {}\n  \
             trained     {steps} steps in {seconds:.1} s, {steps_per_second:.0} steps/s\n\
             {}{verdict}  run         {run}\n  evaluate    {evaluate}\n",
            self.algorithm,
            self.environment,
            self.seed,
            self.backend,
            self.eval.table(),
        )
    }
}

impl EvalSummary {
    /// The statistics of an evaluation, with greedy actions or sampled ones, of an agent with these
    /// constraints.
    #[must_use]
    pub fn new(evaluation: &Evaluation, greedy: bool, constraints: &[Constraint]) -> EvalSummary {
        let cost = |(name, cost): (&str, MeanCost)| {
            let constraint = constraints.iter().find(|constraint| constraint.cost == name);
            let limit = constraint.and_then(|constraint| constraint.limit);
            let MeanCost { mean, standard_error } = cost;
            let holds = limit.map(|limit| mean <= limit);
            (name.to_owned(), CostSummary { mean, standard_error, limit, holds })
        };
        EvalSummary {
            costs: evaluation.costs().map(cost).collect(),
            greedy,
            episodes: evaluation.episodes().len(),
            mean_return: evaluation.mean_return(),
            std_return: evaluation.std_return(),
            min_return: evaluation.min_return(),
            max_return: evaluation.max_return(),
            mean_length: evaluation.mean_length(),
            success_rate: evaluation.success_rate(),
            reward_terms: evaluation
                .reward_terms()
                .map(|(name, mean)| (name.to_owned(), mean))
                .collect(),
        }
    }

    /// Whether every limit holds.
    #[must_use]
    pub fn keeps_limits(&self) -> bool {
        self.costs.values().all(|cost| cost.holds != Some(false))
    }

    /// Of all costs the largest [`excess`]; `None` where there is no limit.
    #[must_use]
    pub fn excess(&self) -> Option<f64> {
        let costs = self.costs.values();
        costs.filter_map(|cost| Some(excess(cost.mean, cost.limit?))).reduce(f64::max)
    }

    /// A line for each of them.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "  episodes    {}\n  return      {:.2} +/- {:.2}, from {:.2} to {:.2}\n  length      {:.1}\n",
            self.episodes,
            self.mean_return,
            self.std_return,
            self.min_return,
            self.max_return,
            self.mean_length,
        );
        // Writing to a String can't fail.
        if let Some(rate) = self.success_rate {
            let _ = writeln!(table, "  success     {rate:.2}");
        }
        if !self.reward_terms.is_empty() {
            let terms = self.reward_terms.iter().map(|(name, mean)| format!("{name} {mean:.3}"));
            let terms = terms.collect::<Vec<_>>().join(", ");
            let _ = writeln!(table, "  reward      {terms} a step");
        }
        for (name, cost) in &self.costs {
            let _ = writeln!(table, "  cost        {name} {cost}");
        }
        table
    }
}

/// By what share of its limit a cost is above it, below 0 where it is within; of a limit of 0 the cost itself.
#[must_use]
pub fn excess(cost: f64, limit: f64) -> f64 {
    (cost - limit) / if limit > 0.0 { limit } else { 1.0 }
}

impl fmt::Display for CostSummary {
    /// `0.480 +/- 0.030, within the limit of 0.5`; what follows the sign is the standard error.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:.3}", self.mean)?;
        if let Some(error) = self.standard_error {
            write!(formatter, " +/- {error:.3}")?;
        }
        if let Some(limit) = self.limit {
            let place = if self.holds == Some(true) { "within" } else { "above" };
            write!(formatter, ", {place} the limit of {limit}")?;
        }
        Ok(())
    }
}
