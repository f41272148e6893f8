//! The training loop.

use crate::error::Error;
use crate::experiment::metrics::{EndedBy, Record, Sink};
use crate::experiment::run_dir::RunDir;
use crate::experiment::session::Session;
use crate::interrupt::Interrupt;
use agents::{AgentError, Evaluation, Iteration};
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
    let elapsed_before = session.elapsed_seconds;
    let mut last_evaluation = None;

    while !session.is_finished() {
        let Iteration { update, .. } =
            session.training.iterate().map_err(|error| failure(session, error))?;

        let seconds = || elapsed_before + started.elapsed().as_secs_f64();
        // The clock of rank 0 is that of all.
        if let Some(most) = session.experiment.max_seconds
            && session.training.agent.ranks().from_first(seconds() >= most)
            && !session.is_finished()
        {
            session.ended_by = Some(EndedBy::MaxSeconds);
        }
        let evaluation = session
            .is_due(session.experiment.eval.every_steps)
            .then(|| session.evaluate())
            .transpose()
            .map_err(|error| failure(session, error))?;

        session.elapsed_seconds = seconds();
        if !session.is_finished() {
            session.ended_by =
                evaluation.as_ref().and_then(|evaluation| session.is_reached(evaluation));
        }
        let stop = session.agree(interrupt.is_requested())? && !session.is_finished();
        let record =
            Record::new(&session.training, session.elapsed_seconds, &update, evaluation.as_ref());
        for sink in sinks.iter_mut() {
            sink.record(&record)?;
        }

        let score = evaluation.as_ref().and_then(|evaluation| session.score(evaluation));
        let is_best = score.is_some() && score > session.best_return;
        if is_best {
            session.best_return = score;
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
            session.saved = session.training.agent.ranks().from_first(saved);
        }
        if stop {
            let directory = run.map_or_else(PathBuf::new, |run| run.path().to_owned());
            return Err(Error::Interrupted { steps: session.training.progress.steps, directory });
        }
        last_evaluation = evaluation;
    }

    match last_evaluation {
        Some(evaluation) => Ok(evaluation),
        // A finished run whose summary is missing.
        None => session.evaluate().map_err(|error| failure(session, error)),
    }
}

fn failure(session: &Session, source: AgentError) -> Error {
    // An iteration that fails is not counted.
    let iteration = session.training.progress.iterations + 1;
    Error::Training { iteration, source, last_good: session.saved.clone() }
}
