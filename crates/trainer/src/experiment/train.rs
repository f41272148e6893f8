//! The training loop.

use crate::error::Error;
use crate::experiment::metrics::{EndedBy, Record, Sink};
use crate::experiment::run_dir::RunDir;
use crate::experiment::session::Session;
use crate::interrupt::Interrupt;
use agents::{AgentError, Evaluation, Metrics};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

/// Trains to the end and returns the evaluation of the final policy. Of ranks that train together one has the run's
/// directory and sinks.
///
/// # Errors
/// When a number is not finite, a file can't be written, or the user interrupts; in the last case
/// after a checkpoint was saved.
pub fn train(
    session: &mut Session,
    run: Option<&RunDir>,
    sinks: &mut [Box<dyn Sink>],
    interrupt: &Interrupt,
) -> Result<Evaluation, Error> {
    let started = Instant::now();
    let elapsed_before = session.progress.elapsed_seconds;
    let mut last_evaluation = None;

    while !session.is_finished() {
        let Iteration { update, .. } =
            session.iterate().map_err(|error| failure(session, error))?;

        let seconds = || elapsed_before + started.elapsed().as_secs_f64();
        // The clock of rank 0 is that of all.
        if let Some(most) = session.experiment.max_seconds
            && session.agent.ranks().from_first(seconds() >= most)
            && !session.is_finished()
        {
            session.progress.ended_by = Some(EndedBy::MaxSeconds);
        }
        let evaluation = session
            .is_due(session.experiment.eval.every_steps)
            .then(|| session.evaluate())
            .transpose()
            .map_err(|error| failure(session, error))?;

        session.progress.elapsed_seconds = seconds();
        if !session.is_finished() {
            session.progress.ended_by =
                evaluation.as_ref().and_then(|evaluation| session.is_reached(evaluation));
        }
        let stop = session.agree(interrupt.is_requested())? && !session.is_finished();
        let record = Record::new(
            &session.progress,
            &session.recent,
            session.task.spec(),
            session.collector.reward_terms(),
            &update,
            evaluation.as_ref(),
        );
        for sink in sinks.iter_mut() {
            sink.record(&record)?;
        }

        let score = evaluation.as_ref().and_then(|evaluation| session.score(evaluation));
        let is_best = score.is_some() && score > session.progress.best_return;
        if is_best {
            session.progress.best_return = score;
            let checkpoint = session.checkpoint()?;
            run.map_or(Ok(()), |run| run.save_best(&checkpoint))?;
        }
        if stop || session.is_due(session.experiment.checkpoint.every_steps) {
            for sink in sinks.iter_mut() {
                sink.sync()?;
            }
            let keep = session.experiment.checkpoint.keep;
            let checkpoint = session.checkpoint()?;
            let saved = run.map(|run| run.save(&checkpoint, keep)).transpose()?;
            session.saved = session.agent.ranks().from_first(saved);
        }
        if stop {
            let directory = run.map_or_else(PathBuf::new, |run| run.path().to_owned());
            return Err(Error::Interrupted { steps: session.progress.steps, directory });
        }
        last_evaluation = evaluation;
    }

    match last_evaluation {
        Some(evaluation) => Ok(evaluation),
        // A finished run whose summary is missing.
        None => session.evaluate().map_err(|error| failure(session, error)),
    }
}

/// What one iteration came to.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// What the update reports.
    pub update: Metrics,
    /// Seconds of acting, values and advantages included.
    pub acting_seconds: f64,
    /// Seconds of the update.
    pub update_seconds: f64,
}

impl Session {
    /// One iteration: act, judge what came of it, improve.
    ///
    /// # Errors
    /// When a number is not finite or the device fails. A panic in an environment or a backend (a GPU
    /// without memory, say) is an error like any other. The session must not be used then.
    pub fn iterate(&mut self) -> Result<Iteration, AgentError> {
        let threads = self.agent.threads();
        // Other processes need the cores while they step; an update keeps the threads awake itself.
        let is_elsewhere = self.task.spec().is_elsewhere;
        let attempt = || match is_elsewhere {
            true => self.attempt(),
            false => threads.keep_awake(|| self.attempt()),
        };
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(AgentError::Fault(text.unwrap_or("no message").to_owned()))
        })
    }

    fn attempt(&mut self) -> Result<Iteration, AgentError> {
        let started = Instant::now();
        let done = self.progress.iterations as f64 / self.experiment.iterations() as f64;

        self.collector.collect(&mut self.agent)?;
        self.recent.extend(self.collector.episodes(), self.collector.episode_costs());
        let batch = self.collector.batch(&self.agent)?;
        let acting_seconds = started.elapsed().as_secs_f64();
        let warmup = self.experiment.warm_start.as_ref().map_or(0, |start| start.critic_warmup);
        let update = if self.progress.iterations < warmup {
            self.agent.update_critics(batch, done)?
        } else {
            self.agent.update(batch, done)?
        };

        let seconds = started.elapsed().as_secs_f64();
        self.progress.iterations += 1;
        self.progress.steps += self.experiment.steps_per_iteration();
        self.progress.training_seconds += seconds;
        Ok(Iteration { update, acting_seconds, update_seconds: seconds - acting_seconds })
    }
}

fn failure(session: &Session, source: AgentError) -> Error {
    // An iteration that fails is not counted.
    let iteration = session.progress.iterations + 1;
    Error::Training { iteration, source, last_good: session.saved.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::config::{Experiment, Source};
    use crate::experiment::session;
    use crate::registry::Registry;
    use agents::Backend;
    use envs::{Action, Entry, Environment, Rng, Space, Spec, StateError, Step};

    /// An environment that breaks in its third step.
    #[derive(Clone, Default)]
    struct Brittle {
        steps: u32,
    }

    impl Environment for Brittle {
        fn spec(&self) -> Spec {
            Spec::new(Space::symmetric_box(1, 1.0), Space::Discrete { n: 2 }, 10)
        }

        fn reset(&mut self, _rng: &mut Rng) {}

        fn step(&mut self, _action: Action<'_>, _rng: &mut Rng) -> Step {
            self.steps += 1;
            assert!(self.steps < 3, "a spring broke");
            Step::default()
        }

        fn observe(&self, observation: &mut [f32]) {
            observation[0] = 0.0;
        }

        fn state(&self) -> Vec<f64> {
            vec![]
        }

        fn set_state(&mut self, _state: &[f64]) -> Result<(), StateError> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_in_an_environment_is_an_error_with_its_message() {
        let registry =
            Registry::default().with_environment(Entry::of::<Brittle>("brittle", "breaks"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("brittle.toml");
        let config = "[env]\nname = 'brittle'\n[agent]\nalgorithm = 'ppo'\n";
        std::fs::write(&path, config).unwrap();
        let (experiment, source): (Experiment, Source) =
            Experiment::read(&path, &[], &registry).unwrap();
        let task = session::task(&experiment, &registry).unwrap();
        let agent = session::agent(&experiment, &task, &source, Backend::Flex).unwrap();
        let mut session = Session::new(experiment, task, agent).unwrap();
        let error = session.iterate().unwrap_err();
        assert!(matches!(&error, AgentError::Fault(text) if text == "a spring broke"), "{error:?}");
        assert_eq!(session.progress.iterations, 0);
    }
}
