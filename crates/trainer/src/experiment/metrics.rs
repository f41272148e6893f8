//! One record an iteration, handed to every sink.

pub mod csv;
pub mod progress;
pub mod tensorboard;

use crate::error::Error;
use agents::{Evaluation, Metrics, Training, cost_metric};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What ends a run before its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// An evaluation has reached `eval.stop_at`.
    StopAt,
    /// One has reached `eval.stop_at_success`.
    StopAtSuccess,
    /// The time is over.
    MaxSeconds,
}

impl EndedBy {
    /// The key of the configuration that says so.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            EndedBy::StopAt => "eval.stop_at",
            EndedBy::StopAtSuccess => "eval.stop_at_success",
            EndedBy::MaxSeconds => "max_seconds",
        }
    }
}

/// An iteration's metrics by the names that TensorBoard users know from Stable-Baselines3.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Environment steps done.
    pub steps: u64,
    /// Names and numbers, in the same order in every iteration; `None` where there is none.
    pub metrics: Vec<(Cow<'static, str>, Option<f64>)>,
}

impl Record {
    /// Puts together what one iteration brought, after so many seconds altogether.
    #[must_use]
    pub fn new(
        training: &Training,
        elapsed_seconds: f64,
        update: &Metrics,
        evaluation: Option<&Evaluation>,
    ) -> Record {
        let Training { progress, recent, .. } = training;
        let (spec, reward_terms) = (training.task.spec(), training.collector.reward_terms());
        let fps = progress.steps as f64 / progress.seconds;
        let success = |rate| spec.reports_success.then_some(rate);
        let costs = |metric: &'static str| {
            let name = move |cost: &String| cost_metric(metric, cost, spec.costs.len());
            spec.costs.iter().map(name)
        };
        let time = [
            ("time/total_timesteps", Some(progress.steps as f64)),
            ("time/iterations", Some(progress.iterations as f64)),
            ("time/time_elapsed", Some(elapsed_seconds)),
            ("time/fps", Some(fps)),
        ];
        let rollout = [
            Some(("rollout/ep_rew_mean", recent.mean_return())),
            Some(("rollout/ep_len_mean", recent.mean_length())),
            success(("rollout/success_rate", recent.success_rate())),
        ];
        let recent_costs = costs("rollout/ep_cost_mean").enumerate();
        let recent_costs = recent_costs.map(|(index, name)| (name, recent.mean_cost(index)));
        let reward = reward_terms.map(|(name, mean)| (format!("reward/{name}").into(), Some(mean)));
        let update = update.entries().iter().map(|(name, number)| (name.clone(), Some(*number)));
        let of_evaluation = [
            Some(("eval/mean_reward", evaluation.map(Evaluation::mean_return))),
            Some(("eval/mean_ep_length", evaluation.map(Evaluation::mean_length))),
            success(("eval/success_rate", evaluation.and_then(Evaluation::success_rate))),
        ];
        let means = evaluation.iter().flat_map(|evaluation| evaluation.costs());
        let means = means.map(|(_, cost)| Some(cost.mean)).chain(std::iter::repeat(None));
        let eval_costs = costs("eval/mean_cost").zip(means);
        let named = |(name, number)| (Cow::Borrowed(name), number);
        let before = time.into_iter().chain(rollout.into_iter().flatten()).map(named);
        let after = update.chain(of_evaluation.into_iter().flatten().map(named));
        // A number that does not exist (a variance of nothing) is an empty cell.
        let finite = |(name, number): (_, Option<f64>)| (name, number.filter(|it| it.is_finite()));
        let all = before.chain(recent_costs).chain(reward).chain(after).chain(eval_costs);
        let metrics = all.map(finite).collect();
        Record { steps: progress.steps, metrics }
    }

    /// The metric of that name, if there is a number for it in this iteration.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| *known == name)?.1
    }
}

/// Something that takes every record.
pub trait Sink {
    /// Takes one iteration's record.
    ///
    /// # Errors
    /// When it can't be written.
    fn record(&mut self, record: &Record) -> Result<(), Error>;

    /// Brings everything taken so far to the disk: a checkpoint that counts it follows.
    ///
    /// # Errors
    /// When it can't be written.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
