//! A run in its directory, from its beginning or from where it stopped, to its end.

use super::config::keys::{differences, flattened};
use super::config::{Experiment, Override};
use super::metrics::Sink;
use super::metrics::csv::{self, CsvSink};
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
use crate::terminal::{Output, command};
use agents::Threads;
use envs::Task;
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

/// Where a run or a sweep begins, and what becomes of one that is there already.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The directory, if one is named.
    pub out: Option<PathBuf>,
    /// It is replaced.
    pub overwrite: bool,
    /// It goes on.
    pub resume: bool,
}

/// Where the run of an experiment is if nothing else is said: runs/NAME/SEED.
#[must_use]
pub fn default_directory(Experiment { name, seed, .. }: &Experiment) -> PathBuf {
    ["runs", name, &seed.to_string()].iter().collect()
}

/// Begins a run in a directory.
///
/// # Errors
/// When the directory can't be used, or the run does not come to its end.
pub fn start(
    session: Session,
    directory: PathBuf,
    overwrite: bool,
    control: Control,
) -> Result<(), Error> {
    let run = RunDir::at(directory);
    let is_first = session.training.agent.ranks().rank() == 0;
    let create = || run.create(&session.experiment, &session.training.task, overwrite);
    let _lock = is_first.then(create).transpose()?;
    finish(session, &run, control)
}

/// Refuses a run that was begun with another configuration than this one.
///
/// # Errors
/// What differs; or when the run's configuration can't be read.
pub fn must_have_begun_with(
    experiment: &Experiment,
    task: &Task,
    run: &RunDir,
    registry: &Registry,
) -> Result<(), Error> {
    let (begun, ..) = Experiment::read(&run.config(), &[], registry)?;
    let table = |of: &Experiment| Ok::<_, Error>(flattened(&of.to_table()?));
    // The run has copies of the files that it names, which its checkpoints compare.
    let files: Vec<String> = task.files().map(|(key, _)| format!("env.parameters.{key}")).collect();
    let differences = differences(&table(&begun)?, &table(experiment)?, |key| {
        !files.iter().any(|file| file == key)
    });
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{}: was begun with another configuration: {}; give it that one, change the run ({} --set \
         KEY=VALUE), begin another (--out DIR), or replace it (--overwrite)",
        run.path().display(),
        differences.join(", "),
        command("resume", run.path())
    )))
}

/// Goes on with the run in this directory; what `changes` change holds from now on.
///
/// # Errors
/// When there is no run, its checkpoint is of another one, or it does not come to its end.
pub fn resume(
    path: PathBuf,
    changes: &[Override],
    control: Control,
    registry: &Registry,
    processes: &Processes,
) -> Result<(), Error> {
    let (run, ranks) = (RunDir::at(path), processes.ranks());
    let is_first = processes.is_first();
    let _lock = is_first.then(|| run.open()).transpose()?;
    let (experiment, task, source) = session::configuration(ranks, &run, changes, registry)?;
    let before = match changes {
        [] => experiment.clone(),
        _ => session::configuration(ranks, &run, &[], registry)?.0,
    };
    processes.must_agree(&experiment.to_toml()?)?;
    let mut session = Session::resume(ranks, &run, &before, experiment, task, &source)?;
    let steps = session.training.progress.steps;
    let record = || run.record_changes(&before, &session.experiment, steps);
    let is_changed = is_first.then(record).transpose()?;
    if ranks.from_first(is_changed) == Some(true) {
        // What has ended it may no longer hold.
        session.ended_by = None;
    }
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
                    "{}: finished, {steps} steps are done; see summary.json, or train longer: {} \
                     --set total_steps=STEPS\n",
                    run.path().display(),
                    command("resume", run.path())
                )
            });
            return Ok(());
        }
    }
    finish(session, &run, control)
}

/// Trains to the end and writes the summary.
fn finish(mut session: Session, run: &RunDir, control: Control) -> Result<(), Error> {
    session.training.agent.set_threads(Threads::new(control.threads));
    if session.training.agent.ranks().rank() > 0 {
        // Rank 0 has the files, and says what is to be said.
        return train(&mut session, None, &mut [], &Interrupt::listen_silently()).map(drop);
    }
    let interrupt = Interrupt::listen();
    if control.until_stdin_ends {
        interrupt.listen_to_stdin();
    }
    run.remove_summary()?;
    let progress = session.training.progress;
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
    let summary = Summary::new(&session, &evaluation, &csv::read(&run.metrics())?);
    summary.write(&run.summary())?;
    control.output.result(&summary.of(run.path()), || summary.table(run.path()));
    Ok(())
}
