//! What the verbs of the command line do with a sweep.

use super::plan::{Shard, Sweep, Trial};
use super::progress::ProgressDisplay;
use super::ranking;
use super::run::{LAG, Runner, Share, default_root};
use super::trial::{Status, TrialRecord, TrialState};
use crate::error::Error;
use crate::experiment::config::keys::{differences, flattened};
use crate::experiment::config::{Override, Source};
use crate::experiment::lock::Lock;
use crate::experiment::run::Begin;
use crate::files;
use crate::interrupt::Interrupt;
use crate::registry::Registry;
use crate::terminal::{Output, command};
use serde::Serialize;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The file that makes a directory that of a sweep.
pub const FILE: &str = "sweep.toml";
/// The directories that a sweep leaves in its own.
const PARTS: [&str; 2] = ["trials", "confirm"];
/// The files.
const TABLES: [&str; 4] = [FILE, "results.csv", "best.toml", "confirm.csv"];

/// What a sweep may use of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Runs at once; as many as there are threads where it is not said.
    pub jobs: Option<usize>,
    /// Threads of all of them together.
    pub threads: NonZeroUsize,
}

impl Cores {
    /// How many of so many runs go on at once, and each one's threads: one alone may have all.
    fn among(self, runs: usize) -> Share {
        let jobs = self.jobs.unwrap_or(self.threads.get()).min(runs).max(1);
        Share { jobs, threads: (self.threads.get() / jobs).max(1) }
    }
}

/// Runs a sweep from its beginning.
///
/// # Errors
/// When a combination is no experiment, the directory holds a sweep already, or trials fail.
pub fn start(
    source: &Source,
    registry: &Registry,
    Begin { out, overwrite, resume: goes_on }: Begin,
    cores: Cores,
    output: Output,
) -> Result<(), Error> {
    if goes_on {
        let sweep = parsed(source)?;
        let root = out.clone().unwrap_or_else(|| default_root(&sweep));
        if is_at(&root) {
            must_have_begun_with(&sweep, &root, registry)?;
            return resume(&root, registry, cores, output);
        }
    }
    let (sweep, trials, root, lock) = begin(source, registry, out, overwrite)?;
    run(&sweep, trials, registry, &root, cores, output, &lock)
}

/// Makes the directory of a sweep whose trials others will run. Returns it, and how many of them there can be at
/// once.
///
/// # Errors
/// As [`start`].
pub fn prepare(
    source: &Source,
    registry: &Registry,
    out: Option<PathBuf>,
    overwrite: bool,
) -> Result<(PathBuf, usize), Error> {
    let (sweep, _, root, _lock) = begin(source, registry, out, overwrite)?;
    let at_once = if sweep.space.learns() { LAG } else { usize::MAX };
    Ok((root, sweep.numbers().count().min(at_once)))
}

/// A sweep at its beginning, in a directory of its own.
fn begin(
    source: &Source,
    registry: &Registry,
    out: Option<PathBuf>,
    overwrite: bool,
) -> Result<(Sweep, Vec<Trial>, PathBuf, Lock), Error> {
    let sweep = parsed(source)?;
    let trials = sweep.trials(registry)?;
    for trial in &trials {
        trial.experiment.backend.open()?;
    }
    let root = out.unwrap_or_else(|| default_root(&sweep));
    let path = root.display();
    if root.exists() && !root.is_dir() {
        return Err(Error::Usage(format!("{path}: is a file; a sweep needs a directory")));
    }
    let copies = copies(&sweep, registry)?;
    files::must_hold_nothing_else(&root, "a sweep", |name| {
        let is_copy = copies.1.iter().any(|(_, copy)| copy == name);
        is_at(&root) || is_copy || PARTS.contains(&name) || TABLES.contains(&name)
    })?;
    std::fs::create_dir_all(&root).map_err(Error::io("can't be created", &root))?;
    // Before anything is looked at or written: of two that begin here only one goes on.
    let lock = Lock::on(&root, "sweep")?;
    let file = root.join(FILE);
    if file.exists() {
        if !overwrite {
            return Err(Error::Usage(format!(
                "{path}: holds a sweep already; go on with it ({}), write elsewhere (--out DIR), or \
                 replace it (--overwrite)",
                command("resume", &root)
            )));
        }
        remove(&root)?;
    }
    keep(&root, &copies)?;
    if !copies.1.is_empty() {
        // From now on the sweep is that of its own copies.
        let sweep = parsed(&Source::read(&file, &[])?)?;
        let trials = sweep.trials(registry)?;
        return Ok((sweep, trials, root, lock));
    }
    Ok((sweep, trials, root, lock))
}

/// The text of a sweep that has its files beside it, and these files, each with the name of its copy.
type Copies = (String, Vec<(PathBuf, String)>);

pub(super) fn copies(sweep: &Sweep, registry: &Registry) -> Result<Copies, Error> {
    let mut copies: Vec<(PathBuf, String)> = Vec::new();
    let text = sweep.to_toml_with(registry, &mut |path| {
        if let Some((_, copy)) = copies.iter().find(|(known, _)| known == path) {
            return Ok(copy.clone());
        }
        let part = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let mut copy = part(path.file_name());
        let is_taken =
            |copy: &str| TABLES.contains(&copy) || copies.iter().any(|(_, other)| other == copy);
        // Files in several directories may have one name.
        for number in 2.. {
            if !is_taken(&copy) {
                break;
            }
            copy = format!("{}-{number}.{}", part(path.file_stem()), part(path.extension()));
        }
        copies.push((path.to_owned(), copy.clone()));
        Ok(copy)
    })?;
    Ok((text, copies))
}

/// Writes a sweep into its directory, with the files that it names, so that it depends on nothing elsewhere.
pub(super) fn keep(root: &Path, (text, copies): &Copies) -> Result<(), Error> {
    for (path, copy) in copies {
        let content = std::fs::read(path).map_err(Error::io("can't be read", path))?;
        files::write_atomically(&root.join(copy), &[&content])?;
    }
    files::write_atomically(&root.join(FILE), &[text.as_bytes()])
}

/// Goes on with a sweep: runs that are not finished are resumed, trials that failed are tried again.
///
/// # Errors
/// When the directory is not that of a sweep, another process works on it, or trials fail.
pub fn resume(root: &Path, registry: &Registry, cores: Cores, output: Output) -> Result<(), Error> {
    let lock = Lock::on(root, "sweep")?;
    let sweep = parsed(&Source::read(&root.join(FILE), &[])?)?;
    run(&sweep, sweep.trials(registry)?, registry, root, cores, output, &lock)
}

/// Refuses a sweep that was begun with another configuration than this one.
fn must_have_begun_with(sweep: &Sweep, root: &Path, registry: &Registry) -> Result<(), Error> {
    let begun = parsed(&Source::read(&root.join(FILE), &[])?)?;
    let table = |of: &Sweep| {
        Ok::<_, Error>(flattened(&of.fingerprint(registry)?.parse().unwrap_or_default()))
    };
    let differences = differences(&table(&begun)?, &table(sweep)?, |_| true);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{}: was begun with another configuration: {}; give it that one, begin another sweep (--out DIR), \
         or replace it (--overwrite)",
        root.display(),
        differences.join(", ")
    )))
}

/// Works on a sweep that other processes, on this machine or others, work on too: takes runs that nobody works on
/// until there is none left. What failed elsewhere is left to [`resume`].
///
/// # Errors
/// When the directory is not that of a sweep, one process has it for itself, or it is interrupted.
pub fn share(root: &Path, registry: &Registry, cores: Cores, output: Output) -> Result<(), Error> {
    let _lock = Lock::shared(root)?;
    let sweep = parsed(&Source::read(&root.join(FILE), &[])?)?;
    let interrupt = Interrupt::listen();
    let trials = sweep.trials(registry)?;
    let mut runner = Runner {
        entries: entries(&sweep, trials, root)?,
        sweep: &sweep,
        registry,
        root,
        cores: cores.among(sweep.numbers().count() * sweep.seeds.len()),
        interrupt: &interrupt,
        progress: ProgressDisplay::new(output.quiet),
        is_sweep: false,
        shared: Some(Vec::new()),
        workers: Vec::new(),
    };
    if runner.drive()? {
        let (finished, runs) = (runner.finished(), runner.runs());
        return Err(Error::SweepInterrupted { finished, runs, directory: root.to_owned() });
    }
    Ok(())
}

/// Whether a sweep is in this directory.
#[must_use]
pub fn is_at(root: &Path) -> bool {
    root.join(FILE).is_file()
}

/// What a sweep means, for scripts.
#[derive(Serialize)]
struct Plan {
    configuration: Option<toml::Table>,
    trials: usize,
    runs: usize,
    /// At most.
    steps: u64,
}

/// What a sweep means, in words.
///
/// # Errors
/// When a combination is no experiment.
pub fn check(source: &Source, output: Output, registry: &Registry) -> Result<(), Error> {
    let sweep = parsed(source)?;
    let count = sweep.numbers().count();
    let steps = |trial: Trial| trial.experiment.whole_steps();
    let total: u64 = if sweep.space.learns() {
        // The trials are not known yet; those at the ends of the distributions stand for them.
        let most = sweep.probes(registry)?.into_iter().map(steps).max();
        most.unwrap_or_default() * count as u64
    } else {
        sweep.trials(registry)?.into_iter().map(steps).sum()
    };
    let seeds = sweep.seeds.len();
    let confirm = match sweep.confirm_seeds {
        0 => String::new(),
        seeds => format!(", and {seeds} more to confirm the winner"),
    };
    let (toml, runs, steps) = (sweep.to_toml(registry)?, count * seeds, total * seeds as u64);
    output.text(|| {
        let most = if sweep.space.learns() { "at most " } else { "" };
        format!(
            "{toml}\n# {count} trials with {seeds} seeds each: {runs} runs, {most}{steps} steps{confirm}\n"
        )
    });
    output.json(&Plan { configuration: toml.parse().ok(), trials: count, runs, steps });
    Ok(())
}

/// The part of the sweep that `--shard` asks for.
///
/// # Errors
/// When the file is no sweep, or is TOML no more.
pub fn part(source: Source, shard: Option<Shard>) -> Result<Source, Error> {
    let Some(shard) = shard else { return Ok(source) };
    if Sweep::is_in(&source)? {
        return Ok(source.with(vec![Override::shard(shard)]));
    }
    let path = source.path().display();
    Err(Error::Usage(format!("--shard {shard}: {path} has no [sweep] to take a part of")))
}

pub(super) fn parsed(source: &Source) -> Result<Sweep, Error> {
    Sweep::parse(source)?
        .ok_or_else(|| Error::Usage(format!("{}: has no [sweep]", source.path().display())))
}

/// The known trials of a sweep as its directory has them.
pub(super) fn entries(
    sweep: &Sweep,
    trials: Vec<Trial>,
    root: &Path,
) -> Result<Vec<TrialState>, Error> {
    let mut entries = Vec::new();
    for trial in trials {
        let directory = root.join("trials").join(trial.number.to_string());
        let record = TrialRecord::read(&directory)?;
        let entry = TrialState::load(sweep, trial, directory, &sweep.seeds)?;
        if record.is_some_and(|record| !entry.tries(sweep, &record)) {
            return Err(Error::Usage(format!(
                "{}: is a trial with other values than {FILE} gives it; the file was changed after \
                 the sweep began; run the changed one elsewhere (--out DIR)",
                entry.directory.display()
            )));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn run(
    sweep: &Sweep,
    trials: Vec<Trial>,
    registry: &Registry,
    root: &Path,
    cores: Cores,
    output: Output,
    _lock: &Lock,
) -> Result<(), Error> {
    files::remove_unfinished(root)?;
    let interrupt = Interrupt::listen();
    let entries = entries(sweep, trials, root)?;
    let runs = sweep.numbers().count() * sweep.seeds.len();
    let mut runner = Runner {
        sweep,
        registry,
        root,
        cores: cores.among(runs),
        interrupt: &interrupt,
        progress: ProgressDisplay::new(output.quiet),
        entries,
        is_sweep: true,
        shared: None,
        workers: Vec::new(),
    };
    let interrupted = runner.drive()?;
    let (finished, runs) = (runner.finished(), runner.runs());
    let stopped = || Error::SweepInterrupted { finished, runs, directory: root.to_owned() };
    ranking::write(sweep, root, &runner.entries)?;
    if interrupted {
        return Err(stopped());
    }
    let entries = std::mem::take(&mut runner.entries);
    drop(runner);
    output.text(|| ranking::ranking(sweep, root, &entries));
    let winner = ranking::ranked(sweep, &entries).first().copied();
    let mut confirmed = None;
    // Of a part of a sweep nobody knows the winner yet.
    if let Some(winner) = winner
        && sweep.confirm_seeds > 0
        && sweep.shard.is_none()
    {
        let again = confirm(sweep, registry, root, winner, cores, output.quiet, &interrupt)?;
        if let Some(again) = &again {
            let second = ranking::ranked(sweep, &entries).get(1).copied();
            output.text(|| ranking::confirmation(sweep, winner, again, second));
        }
        confirmed = Some(again.ok_or_else(stopped)?);
    }
    output.json(&ranking::Ranking::new(sweep, root, &entries, confirmed.as_ref()));
    let failed = |entry: &&TrialState| matches!(entry.verdict, Some((Status::Failed, _)));
    match entries.iter().filter(failed).count() {
        0 => Ok(()),
        failed => Err(Error::TrialsFailed {
            failed,
            trials: entries.len(),
            results: root.join("results.csv"),
        }),
    }
}

/// Runs the winner with seeds that had no part in its victory; `None` when that was interrupted.
fn confirm(
    sweep: &Sweep,
    registry: &Registry,
    root: &Path,
    winner: &TrialState,
    cores: Cores,
    quiet: bool,
    interrupt: &Interrupt,
) -> Result<Option<TrialState>, Error> {
    let first = sweep.seeds.iter().max().map_or(1, |seed| seed + 1);
    let seeds: Vec<u64> = (first..first + sweep.confirm_seeds).collect();
    let directory = root.join("confirm");
    if let Some(record) = TrialRecord::read(&directory)?
        && !winner.tries(sweep, &record)
    {
        // Another trial had won before trials that had failed were tried again.
        std::fs::remove_dir_all(&directory).map_err(Error::io("can't be removed", &directory))?;
    }
    let mut trial = winner.trial.clone();
    trial.experiment.name += "_confirm";
    let mut runner = Runner {
        sweep,
        registry,
        root,
        cores: cores.among(seeds.len()),
        interrupt,
        progress: ProgressDisplay::new(quiet),
        entries: vec![TrialState::load(sweep, trial, directory, &seeds)?],
        is_sweep: false,
        shared: None,
        workers: Vec::new(),
    };
    if runner.drive()? {
        return Ok(None);
    }
    let confirmed = runner.entries.pop();
    if let Some(again) = &confirmed {
        let rows = [("won".to_owned(), winner), ("confirmed".to_owned(), again)];
        ranking::table(sweep, &root.join("confirm.csv"), "winner", &rows)?;
    }
    Ok(confirmed)
}

/// Removes what a sweep has left, and nothing else that may be there.
fn remove(root: &Path) -> Result<(), Error> {
    for name in PARTS {
        let path = root.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).map_err(Error::io("can't be removed", &path))?;
        }
    }
    for name in TABLES {
        let path = root.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).map_err(Error::io("can't be removed", &path))?;
        }
    }
    Ok(())
}
