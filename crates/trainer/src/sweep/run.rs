//! The runs of a sweep as processes of this program, some at a time.

use super::plan::{Sweep, Trial};
use super::progress::ProgressDisplay;
use super::prune::{Live, hopeless};
use super::ranking;
use super::trial::{RunMetrics, RunState, Status, TrialRecord, TrialState, losses};
use crate::error::Error;
use crate::experiment::lock::Lock;
use crate::experiment::run_dir::RunDir;
use crate::interrupt::Interrupt;
use crate::registry::Registry;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at the processes.
const LOOK: Duration = Duration::from_millis(20);
/// Time that the process of a killed sweep may take to save its checkpoint.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Time between two looks at what they have written.
const READ: Duration = Duration::from_millis(100);
/// Time between two looks at what other processes that work on the sweep have written.
const READ_OTHERS: Duration = Duration::from_secs(1);
/// A trial that learns from others is chosen when all trials this many numbers before it are done:
/// so many trials can run at once, and which results a choice is made from depends on nothing else.
pub(super) const LAG: usize = 4;

/// Runs trials until there is none left.
pub struct Runner<'a> {
    pub sweep: &'a Sweep,
    pub registry: &'a Registry,
    /// The sweep's directory.
    pub root: &'a Path,
    /// What they may use of the machine.
    pub cores: Share,
    pub interrupt: &'a Interrupt,
    pub progress: ProgressDisplay,
    /// Known trials, done or not, in order of their numbers.
    pub entries: Vec<TrialState>,
    /// Whether these are the sweep's own trials: more may follow, and `results.csv` is about them.
    pub is_sweep: bool,
    /// Trials that this process has taken, by their locks, where others work on the sweep too.
    pub shared: Option<Vec<(usize, Lock)>>,
    pub workers: Vec<Worker>,
}

/// What the runs of a sweep use of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Processes at once.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
}

/// A process that trains.
pub struct Worker {
    entry: usize,
    run: usize,
    child: Child,
    /// The process stops when this is closed, with a checkpoint.
    stdin: Option<ChildStdin>,
    errors: Option<JoinHandle<String>>,
    live: Live,
}

impl Runner<'_> {
    /// Runs what is missing. Returns whether it was interrupted; no process is left either way.
    ///
    /// # Errors
    /// When a process can't be started, or a file not be written.
    pub fn drive(&mut self) -> Result<bool, Error> {
        let (mut read, mut read_others) = (Instant::now(), Instant::now());
        loop {
            self.reap()?;
            if self.learns_from_others() && read_others.elapsed() >= READ_OTHERS {
                read_others = Instant::now();
                self.read_others()?;
            }
            if self.interrupt.is_requested() {
                self.workers.iter_mut().for_each(|worker| worker.stdin = None);
            } else {
                while self.workers.len() < self.cores.jobs
                    && let Some((entry, run)) = self.next()?
                {
                    self.start(entry, run)?;
                }
            }
            if self.workers.is_empty() && (self.interrupt.is_requested() || !self.waits()) {
                self.progress.end();
                return Ok(self.interrupt.is_requested());
            }
            if read.elapsed() >= READ {
                read = Instant::now();
                self.look()?;
            }
            // Where there is nothing to do, nothing is in a hurry.
            std::thread::sleep(if self.workers.is_empty() { READ } else { LOOK });
        }
    }

    /// Whether these are trials of the sweep, and not its winner once more.
    fn is_of_sweep(&self) -> bool {
        self.is_sweep || self.shared.is_some()
    }

    /// Whether what other processes have come to has a part in what is done here.
    fn learns_from_others(&self) -> bool {
        self.shared.is_some() && (self.sweep.space.learns() || self.sweep.pruner.is_some())
    }

    /// Whether there are trials that can't be chosen before others, elsewhere, are done.
    fn waits(&self) -> bool {
        self.shared.is_some()
            && self.sweep.space.learns()
            && self.entries.len() < self.sweep.space.trials()
    }

    /// Runs of the sweep, those of trials that are not chosen yet included.
    #[must_use]
    pub fn runs(&self) -> usize {
        let seeds = self.entries.first().map_or(self.sweep.seeds.len(), |entry| entry.runs.len());
        let trials =
            if self.is_of_sweep() { self.sweep.numbers().count() } else { self.entries.len() };
        trials * seeds
    }

    /// Runs that are done.
    #[must_use]
    pub fn finished(&self) -> usize {
        self.entries.iter().map(TrialState::finished).sum()
    }

    /// The next run to start, if one can start now.
    fn next(&mut self) -> Result<Option<(usize, usize)>, Error> {
        loop {
            for index in 0..self.entries.len() {
                if !self.take(index)? {
                    continue;
                }
                let entry = &self.entries[index];
                let failed =
                    entry.runs.iter().any(|(_, state)| matches!(state, RunState::Failed(_)));
                if entry.verdict.is_some() || failed {
                    continue;
                }
                let missing =
                    entry.runs.iter().position(|(_, state)| matches!(state, RunState::Missing));
                if let Some(run) = missing {
                    return Ok(Some((index, run)));
                }
            }
            if !self.is_of_sweep() || !self.sweep.space.learns() || !self.propose()? {
                return Ok(None);
            }
        }
    }

    /// Whether a trial is this process's to work on. One that others may work on, too, is taken by a lock, which the
    /// system releases when this process ends in whatever way; then what others have made of it is read.
    fn take(&mut self, index: usize) -> Result<bool, Error> {
        let Some(taken) = &mut self.shared else { return Ok(true) };
        if self.entries[index].verdict.is_some() || taken.iter().any(|(own, _)| *own == index) {
            return Ok(true);
        }
        let directory = self.entries[index].directory.clone();
        std::fs::create_dir_all(&directory).map_err(Error::io("can't be created", &directory))?;
        let Some(lock) = Lock::if_free(&directory)? else { return Ok(false) };
        taken.push((index, lock));
        self.read(index)?;
        Ok(true)
    }

    /// Reads what others have made of a trial.
    fn read(&mut self, index: usize) -> Result<(), Error> {
        let TrialState { trial, directory, runs, .. } = &self.entries[index];
        let seeds: Vec<u64> = runs.iter().map(|(seed, _)| *seed).collect();
        let record = TrialRecord::read(directory)?;
        let mut entry = TrialState::load(self.sweep, trial.clone(), directory.clone(), &seeds)?;
        if let Some(TrialRecord { status: Some(Status::Failed), reason, .. }) = record {
            entry.verdict = Some((Status::Failed, reason));
        }
        self.entries[index] = entry;
        Ok(())
    }

    /// The same of all trials that others work on.
    fn read_others(&mut self) -> Result<(), Error> {
        let taken = self.shared.iter().flatten();
        let taken: Vec<usize> = taken.map(|(index, _)| *index).collect();
        for index in 0..self.entries.len() {
            if self.entries[index].verdict.is_none() && !taken.contains(&index) {
                self.read(index)?;
            }
        }
        Ok(())
    }

    /// Chooses the next trial from the results of those before it; `false` when it is too early, or
    /// there are enough.
    fn propose(&mut self) -> Result<bool, Error> {
        let number = self.entries.len() + 1;
        let known = &self.entries[..number.saturating_sub(LAG).min(self.entries.len())];
        if number > self.sweep.space.trials() || known.iter().any(|entry| entry.verdict.is_none()) {
            return Ok(false);
        }
        let directory = self.root.join("trials").join(number.to_string());
        let losses = losses(self.sweep, &known.iter().collect::<Vec<_>>());
        // A trial that failed or was pruned is as bad as the worst that was not.
        let worst = losses.iter().flatten().copied().reduce(f64::max);
        let history: Vec<_> = (known.iter().zip(losses))
            .filter_map(|(entry, loss)| Some((entry.values().to_vec(), loss.or(worst)?)))
            .collect();
        let keys = self.sweep.space.keys();
        let before = TrialRecord::read(&directory)?;
        let before = before.and_then(|record| {
            keys.iter().map(|(key, _)| record.values.get(*key).cloned()).collect::<Option<Vec<_>>>()
        });
        let values = match before {
            Some(values) => values,
            None => self.sweep.space.values(number, &history)?,
        };
        let (trial, impossible) = match self.sweep.trial(number, values.clone(), self.registry) {
            Ok(trial) => (trial, None),
            // The ends of every distribution are good; that these values don't go together is a
            // result. The experiment of another trial stands in for what can't be one.
            Err(error) => match self.entries.first() {
                Some(first) => {
                    let experiment = first.trial.experiment.clone();
                    (Trial { number, values, experiment }, Some(error.to_string()))
                }
                None => return Err(error),
            },
        };
        self.entries.push(TrialState::load(self.sweep, trial, directory, &self.sweep.seeds)?);
        if let Some(reason) = impossible {
            self.entries[number - 1].verdict = Some((Status::Failed, reason));
            self.close(number - 1)?;
        }
        Ok(true)
    }

    fn start(&mut self, entry: usize, run: usize) -> Result<(), Error> {
        let one = &mut self.entries[entry];
        let begins = one.runs.iter().all(|(_, state)| matches!(state, RunState::Missing));
        if begins {
            one.write(self.sweep)?;
        }
        let (seed, directory) = (one.runs[run].0, one.run_dir(run));
        if directory.config().is_file() {
            wait_for(&directory, self.interrupt);
        }
        let executable = std::env::current_exe()
            .map_err(Error::io("the trainer's own program can't be found", Path::new("/")))?;
        let mut command = Command::new(&executable);
        if directory.config().is_file() {
            command.arg("resume").arg(directory.path());
        } else {
            command.arg("run").arg(one.config()).arg("--overwrite");
            command.arg("--seed").arg(seed.to_string()).arg("--out").arg(directory.path());
        }
        command.args(["--quiet", "--until-stdin-ends"]);
        command.arg("--threads").arg(self.cores.threads.to_string());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("can't be started", &executable))?;
        let errors =
            child.stderr.take().map(|stderr| std::thread::spawn(move || last_error(stderr)));
        one.runs[run].1 = RunState::Running;
        let stdin = child.stdin.take();
        let label = format!("trial {} seed {seed}", one.trial.number);
        let total = one.trial.experiment.whole_steps();
        self.progress.started((entry, run), &label, total, &self.sweep.describe(one.values()));
        let live = Live::new(directory.metrics());
        self.workers.push(Worker { entry, run, child, stdin, errors, live });
        Ok(())
    }

    /// Takes in the processes that have ended.
    fn reap(&mut self) -> Result<(), Error> {
        let mut index = 0;
        while index < self.workers.len() {
            let ended = self.workers[index].child.try_wait();
            match ended.map_err(Error::io("can't be waited for", self.root))? {
                None => index += 1,
                Some(status) => {
                    let worker = self.workers.swap_remove(index);
                    self.ended(worker, status)?;
                }
            }
        }
        Ok(())
    }

    fn ended(&mut self, worker: Worker, status: ExitStatus) -> Result<(), Error> {
        let Worker { entry: index, run, errors, stdin, .. } = worker;
        let was_asked_to_stop = stdin.is_none();
        let error = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
        let entry = &mut self.entries[index];
        let directory = entry.run_dir(run);
        // One that has just begun does not listen yet: the signal itself ends it, without a code.
        let was_interrupted = matches!(status.code(), Some(130) | None)
            && (was_asked_to_stop || {
                // Ctrl-C reaches the run too, and it may have been the quicker one.
                std::thread::sleep(10 * LOOK);
                self.interrupt.is_requested()
            });
        let state = if status.success() && directory.summary().is_file() {
            match RunMetrics::read(self.sweep, &directory) {
                Ok(metrics) => RunState::Finished(metrics),
                Err(error) => RunState::Failed(error.to_string()),
            }
        } else if was_interrupted {
            RunState::Missing
        } else if error.is_empty() {
            RunState::Failed(format!("its process ended with {status}"))
        } else {
            RunState::Failed(error)
        };
        let text = match &state {
            RunState::Finished(metrics) => {
                let objective = metrics.get("objective").map(|one| ranking::number(Some(one)));
                format!("{} {}", self.sweep.objective.name(), objective.unwrap_or_default())
            }
            RunState::Failed(reason) => format!("failed: {reason}"),
            RunState::Missing | RunState::Running => "stopped".to_owned(),
        };
        entry.runs[run].1 = state;
        let goes_on = entry.runs.iter().any(|(_, state)| matches!(state, RunState::Running));
        let failed = entry.runs.iter().find_map(|(seed, state)| match state {
            RunState::Failed(reason) => Some(format!("seed {seed}: {reason}")),
            _ => None,
        });
        if entry.verdict.is_none() && !goes_on {
            entry.verdict = match failed {
                Some(reason) => Some((Status::Failed, reason)),
                None if entry.finished() == entry.runs.len() => {
                    Some((Status::Finished, String::new()))
                }
                None => None,
            };
            if entry.verdict.is_some() {
                self.close(index)?;
            }
        }
        let (done, all) = (self.finished(), self.runs());
        self.progress.ended((index, run), &text, done, all);
        Ok(())
    }

    /// Records the end of a trial.
    fn close(&mut self, index: usize) -> Result<(), Error> {
        self.entries[index].write(self.sweep)?;
        if self.is_sweep { ranking::write(self.sweep, self.root, &self.entries) } else { Ok(()) }
    }

    /// Reads how far the processes are, shows it, and stops trials without hope.
    fn look(&mut self) -> Result<(), Error> {
        for worker in &mut self.workers {
            worker.live.read();
            if let Some((steps, value)) = worker.live.last() {
                self.progress.at((worker.entry, worker.run), steps, value);
            }
        }
        let (done, all) = (self.finished(), self.runs());
        self.progress.all(done, all);
        if self.sweep.pruner.is_none() || !self.is_of_sweep() {
            return Ok(());
        }
        let curves: Vec<_> = self
            .workers
            .iter()
            .map(|one| (one.entry, one.run, one.live.curve.as_slice()))
            .collect();
        if let Some((index, reason)) = hopeless(&self.entries, &curves) {
            self.entries[index].verdict = Some((Status::Pruned, reason));
            self.close(index)?;
            for worker in self.workers.iter_mut().filter(|worker| worker.entry == index) {
                worker.stdin = None;
            }
        }
        Ok(())
    }
}

/// A run whose sweep was killed stops by itself, but saves a checkpoint first: waits for that.
fn wait_for(directory: &RunDir, interrupt: &Interrupt) {
    let started = Instant::now();
    while started.elapsed() < LAST_WORDS
        && !interrupt.is_requested()
        && Lock::is_held(directory.path())
    {
        std::thread::sleep(LOOK);
    }
}

/// The last error that a process reported, in one line.
fn last_error(stderr: impl std::io::Read) -> String {
    let mut last = String::new();
    let mut is_error = false;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // The user may want colours even here (CLICOLOR_FORCE).
        let line = console::strip_ansi_codes(&line);
        if let Some(text) = line.strip_prefix("error: ") {
            last = text.to_owned();
            is_error = true;
        } else if is_error && !line.starts_with("warning: ") && last.len() < 2000 {
            last = format!("{last} {}", line.trim());
        } else if line.contains("panicked") {
            last = line.into_owned();
        }
    }
    last
}

/// Where a sweep of this name is, or this part of one.
#[must_use]
pub fn default_root(sweep: &Sweep) -> PathBuf {
    let name = match sweep.shard {
        None => sweep.name.clone(),
        Some(shard) => {
            format!("{}-shard-{}", sweep.name, shard.to_string().replace('/', "-of-"))
        }
    };
    ["runs", &name].iter().collect()
}
