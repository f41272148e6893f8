//! A run in its directory, from its beginning or from where it stopped, to its end.

use super::config::{Experiment, Override};
use super::metrics::Sink;
use super::metrics::csv::CsvSink;
use super::metrics::progress::ProgressSink;
use super::metrics::tensorboard::TensorBoardSink;
use super::run_dir::RunDir;
use super::session::{self, Session};
use super::summary::Summary;
use super::train::train;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::processes::Processes;
use crate::registry::Registry;
use crate::terminal::Output;
use agents::{Backend, Threads};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What a run tells, and what stops it.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// What is printed.
    pub output: Output,
    /// Threads that train.
    pub threads: NonZeroUsize,
    /// Whether the end of stdin is a wish to stop, too.
    pub until_stdin_ends: bool,
}

/// Begins a run in `out`, or in runs/NAME/SEED.
///
/// # Errors
/// When the directory can't be used, or the run does not come to its end.
pub fn start(
    session: Session,
    out: Option<PathBuf>,
    overwrite: bool,
    control: Control,
) -> Result<(), Error> {
    let path = out.unwrap_or_else(|| {
        let Experiment { name, seed, .. } = &session.experiment;
        ["runs", name, &seed.to_string()].iter().collect()
    });
    let run = RunDir::at(path);
    let is_first = session.agent.ranks().rank() == 0;
    let create = || run.create(&session.experiment, &session.task, overwrite);
    let _lock = is_first.then(create).transpose()?;
    finish(session, &run, control)
}

/// Goes on with the run in this directory, on another backend if one is given.
///
/// # Errors
/// When there is no run, its checkpoint is of another one, or it does not come to its end.
pub fn resume(
    path: PathBuf,
    backend: Option<Backend>,
    control: Control,
    registry: &Registry,
    processes: &Processes,
) -> Result<(), Error> {
    let (run, ranks) = (RunDir::at(path), processes.ranks());
    let is_first = processes.is_first();
    let _lock = is_first.then(|| run.open()).transpose()?;
    let backend: Vec<_> =
        backend.map(|backend| Override::flag("backend", backend)).into_iter().collect();
    let (experiment, source) = session::configuration(ranks, &run, &backend, registry)?;
    processes.must_agree(&experiment.to_toml()?)?;
    let session = Session::resume(ranks, &run, experiment, &source, registry)?;
    let steps = session.progress.steps;
    if is_first {
        run.remove_old(steps, session.experiment.checkpoint.keep)?;
    }
    if session.is_finished() && ranks.from_first(run.summary().is_file()) {
        let summary = is_first.then(|| Summary::read(&run.summary())).transpose()?;
        // Another one is about what the run was before it went on.
        let summary = summary.filter(|summary| summary.steps == steps);
        if ranks.from_first(summary.is_some()) {
            let Some(summary) = summary else { return Ok(()) };
            control.output.result(&summary.of(run.path()), || {
                format!(
                    "{}: finished, {steps} steps are done; see summary.json, or raise total_steps \
                     in config.toml to train longer\n",
                    run.path().display()
                )
            });
            return Ok(());
        }
    }
    finish(session, &run, control)
}

/// Trains to the end and writes the summary.
fn finish(mut session: Session, run: &RunDir, control: Control) -> Result<(), Error> {
    session.agent.set_threads(Threads::new(control.threads));
    if session.agent.ranks().rank() > 0 {
        // Rank 0 has the files, and says what is to be said.
        return train(&mut session, None, &mut [], &Interrupt::listen_silently()).map(drop);
    }
    let interrupt = Interrupt::listen();
    if control.until_stdin_ends {
        interrupt.listen_to_stdin();
    }
    run.remove_summary()?;
    let progress = session.progress;
    let mut sinks: Vec<Box<dyn Sink>> =
        vec![Box::new(CsvSink::open(&run.metrics(), progress.iterations)?)];
    if !session.is_finished() {
        sinks.push(Box::new(TensorBoardSink::create(run.path(), progress.steps)?));
    }
    if !control.output.quiet {
        let total = session.experiment.whole_steps();
        sinks.push(Box::new(ProgressSink::new(progress.steps, total)));
    }
    let evaluation = train(&mut session, Some(run), &mut sinks, &interrupt)?;
    drop(sinks);
    let summary = Summary::new(&session, &evaluation);
    summary.write(&run.summary())?;
    control.output.result(&summary.of(run.path()), || summary.table(run.path()));
    Ok(())
}
