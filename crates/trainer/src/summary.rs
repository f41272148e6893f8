//! `summary.json`, and the table at the end.

use crate::config::Experiment;
use crate::error::Error;
use crate::files;
use crate::session::Session;
use agents::Evaluation;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// What a finished run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    steps: u64,
    /// Wall clock, evaluations included, of all processes that worked on the run.
    seconds: f64,
    /// Of rollouts and updates alone.
    steps_per_second: f64,
    seed: u64,
    backend: &'static str,
    algorithm: &'static str,
    environment: String,
    version: &'static str,
    eval: EvalSummary,
}

/// What the greedy episodes at the end came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalSummary {
    episodes: usize,
    mean_return: f64,
    std_return: f64,
    min_return: f64,
    max_return: f64,
    mean_length: f64,
    success_rate: Option<f64>,
}

impl Summary {
    /// The summary of a finished session.
    #[must_use]
    pub fn new(session: &Session, evaluation: &Evaluation) -> Summary {
        let Experiment { seed, backend, agent, env, .. } = &session.experiment;
        let progress = &session.progress;
        Summary {
            steps: progress.steps,
            seconds: progress.elapsed_seconds,
            steps_per_second: progress.steps as f64 / progress.training_seconds,
            seed: *seed,
            backend: backend.name(),
            algorithm: agent.name(),
            environment: env.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            eval: EvalSummary::new(evaluation),
        }
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

    /// The table that ends a run.
    #[must_use]
    pub fn table(&self, run: &Path) -> String {
        let run = run.display();
        let Summary { steps, seconds, steps_per_second, .. } = self;
        format!(
            "{} on {}, seed {}, {}\n  \
             trained     {steps} steps in {seconds:.1} s, {steps_per_second:.0} steps/s\n\
             {}  run         {run}\n  evaluate    trainer eval {run}\n",
            self.algorithm,
            self.environment,
            self.seed,
            self.backend,
            self.eval.table(),
        )
    }
}

impl EvalSummary {
    /// The figures of an evaluation.
    #[must_use]
    pub fn new(evaluation: &Evaluation) -> EvalSummary {
        EvalSummary {
            episodes: evaluation.episodes().len(),
            mean_return: evaluation.mean_return(),
            std_return: evaluation.std_return(),
            min_return: evaluation.min_return(),
            max_return: evaluation.max_return(),
            mean_length: evaluation.mean_length(),
            success_rate: evaluation.success_rate(),
        }
    }

    /// A line for each figure.
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
        if let Some(rate) = self.success_rate {
            // Writing to a String can't fail.
            let _ = writeln!(table, "  success     {rate:.2}");
        }
        table
    }
}
