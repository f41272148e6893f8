//! The run directory: where a run's files are, and which checkpoint is which.

use crate::error::Error;
use crate::experiment::changes;
use crate::experiment::checkpoint::Checkpoint;
use crate::experiment::config::Experiment;
use crate::experiment::lock::Lock;
use crate::experiment::metrics::tensorboard;
use crate::files;
use crate::submit;
use crate::terminal::{command, warn};
use agents::ExportFormat;
use agents::checkpoint::Problem;
use envs::Task;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which checkpoint of a run is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with the highest evaluation return.
    Best,
    /// The newest that is whole.
    Latest,
    /// The one after this many steps.
    Step(u64),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Which, String> {
        match text {
            "best" => Ok(Which::Best),
            "latest" => Ok(Which::Latest),
            step => step
                .parse()
                .map(Which::Step)
                .map_err(|_| "must be best, latest or a number of steps".to_owned()),
        }
    }
}

/// A run directory. Names in it are fixed: other tools read it.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The directory at this path, which need not be there yet.
    #[must_use]
    pub fn at(path: PathBuf) -> RunDir {
        RunDir { path }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// What was changed of it after the run had begun; not there where nothing was.
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.path.join("changes.toml")
    }

    /// A row an iteration.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    /// Written at the end.
    #[must_use]
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// The policy for other programs.
    #[must_use]
    pub fn policy(&self, extension: &str) -> PathBuf {
        self.path.join("policy").with_extension(extension)
    }

    /// The checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    fn best(&self) -> PathBuf {
        self.checkpoints().join("best.ckpt")
    }

    fn step(&self, steps: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{steps:012}.ckpt"))
    }

    /// Whether a run has begun here; a configuration alone may be anybody's.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.config().is_file() && self.checkpoints().is_dir()
    }

    /// Makes the directory for a new run and writes its configuration, with the files that it names beside
    /// it.
    ///
    /// # Errors
    /// When it holds a run already, unless that is to be overwritten, or other things, or can't be
    /// written.
    pub fn create(
        &self,
        experiment: &Experiment,
        task: &Task,
        overwrite: bool,
    ) -> Result<Lock, Error> {
        let config = experiment.to_toml_beside(task.files())?;
        let path = self.path.display();
        if self.path.exists() && !self.path.is_dir() {
            return Err(Error::Usage(format!("{path}: is a file; a run needs a directory")));
        }
        let checkpoints = self.checkpoints();
        if !self.is_begun() {
            let nothing_else = files::must_hold_nothing_else(&self.path, "a run", |name| {
                name != "config.toml" && (self.is_own(name) || submit::is_own(name))
            });
            // Another process may have begun a run here meanwhile; which one goes on, the lock says.
            if !self.is_begun() {
                nothing_else?;
            }
        }
        fs::create_dir_all(&checkpoints).map_err(Error::io("can't be created", &checkpoints))?;
        // Before anything is looked at or written: of two that begin here only one goes on.
        let lock = self.lock()?;
        let is_run = self.config().exists();
        // Empty directories are what a process leaves that was killed before it wrote anything.
        let has_results = self.metrics().exists() || !files::names(&checkpoints)?.is_empty();
        match (is_run, has_results) {
            (true, _) if !overwrite => {
                return Err(Error::Usage(format!(
                    "{path}: holds a run already; go on with it ({}), write elsewhere (--out DIR), \
                     or replace it (--overwrite)",
                    command("resume", &self.path)
                )));
            }
            (false, true) if !overwrite => {
                return Err(Error::Usage(format!(
                    "{path}: holds what a run has left, without its config.toml; write elsewhere \
                     (--out DIR), or replace it (--overwrite)"
                )));
            }
            (false, false) => {}
            _ => self.remove_run()?,
        }
        for (_, path) in task.files() {
            self.keep(path, overwrite)?;
        }
        files::write_atomically(&self.config(), &[config.as_bytes()])?;
        Ok(lock)
    }

    /// Keeps a copy of a file that the run needs.
    fn keep(&self, path: &Path, overwrite: bool) -> Result<(), Error> {
        let content = fs::read(path).map_err(Error::io("can't be read", path))?;
        let copy = self.path.join(path.file_name().unwrap_or_default());
        let is_own = [self.config(), self.metrics(), self.summary(), self.checkpoints()];
        let is_there = copy.exists() && fs::read(&copy).ok().as_ref() != Some(&content);
        if is_own.contains(&copy) || (is_there && !overwrite) {
            return Err(Error::Usage(format!(
                "{}: is there already, where the run keeps its copy of {}; write elsewhere (--out DIR)",
                copy.display(),
                path.display()
            )));
        }
        files::write_atomically(&copy, &[&content])
    }

    /// Opens the directory of a run that is to go on, and clears away unfinished files.
    ///
    /// # Errors
    /// When it holds no run, or another process works on it.
    pub fn open(&self) -> Result<Lock, Error> {
        self.must_hold_a_run()?;
        let lock = self.lock()?;
        let checkpoints = self.checkpoints();
        fs::create_dir_all(&checkpoints).map_err(Error::io("can't be created", &checkpoints))?;
        self.remove_unfinished()?;
        Ok(lock)
    }

    /// Writes down what holds from this step on and did not hold before. What was to hold from a later step on
    /// holds from here on, too: the run has fallen back to an earlier checkpoint. Returns whether anything is
    /// new.
    ///
    /// # Errors
    /// When the changes before can't be read, or these not be written.
    pub fn record_changes(
        &self,
        before: &Experiment,
        now: &Experiment,
        step: u64,
    ) -> Result<bool, Error> {
        let known = changes::read(&self.changes())?;
        let mut all = known.clone();
        all.iter_mut().for_each(|change| change.step = change.step.min(step));
        let new = changes::between(before, now, step)?;
        let is_new = !new.is_empty();
        all.extend(new);
        if all != known {
            changes::write(&self.changes(), &all)?;
        }
        Ok(is_new)
    }

    /// Refuses a path that is no run directory.
    ///
    /// # Errors
    /// When there is no configuration in it.
    pub fn must_hold_a_run(&self) -> Result<(), Error> {
        if self.config().is_file() {
            return Ok(());
        }
        let what = match std::fs::metadata(self.config()) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Error::io("can't be read", &self.config())(error));
            }
            _ if self.path.is_dir() => "holds no config.toml",
            _ => "is no directory",
        };
        // Most of the time it is one level too high.
        let names = files::names(&self.path).unwrap_or_default();
        let below = names.iter().map(|name| self.path.join(name));
        let run = below.into_iter().find(|path| RunDir::at(path.clone()).is_begun());
        let example = run.unwrap_or_else(|| "runs/ppo_cartpole/1".into());
        Err(Error::Usage(format!(
            "{}: {what}; give a run directory, such as {}",
            self.path.display(),
            example.display()
        )))
    }

    fn lock(&self) -> Result<Lock, Error> {
        Lock::on(&self.path, "run")
    }

    fn remove_unfinished(&self) -> Result<(), Error> {
        files::remove_unfinished(&self.path)?;
        files::remove_unfinished(&self.checkpoints())
    }

    /// Removes the summary of a run that goes on: it is about fewer steps.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_summary(&self) -> Result<(), Error> {
        let path = self.summary();
        if !path.is_file() {
            return Ok(());
        }
        fs::remove_file(&path)
            .and_then(|()| agents::files::sync_directory(&self.path))
            .map_err(Error::io("can't be removed", &path))
    }

    /// Whether a run leaves a file or directory of this name.
    fn is_own(&self, name: &str) -> bool {
        let fixed = [self.config(), self.changes(), self.metrics(), self.summary()];
        let policies = ExportFormat::ALL.map(|format| self.policy(format.extension()));
        let path = self.path.join(name);
        fixed.contains(&path)
            || policies.contains(&path)
            || path == self.checkpoints()
            || name.starts_with(tensorboard::FILE_PREFIX)
    }

    /// Removes the files of a run, and nothing else that may be there.
    fn remove_run(&self) -> Result<(), Error> {
        let checkpoints = self.checkpoints();
        let mut paths = Vec::new();
        for name in files::names(&self.path)? {
            let path = self.path.join(&name);
            if self.is_own(&name) && path != checkpoints {
                paths.push(path);
            }
        }
        for name in files::names(&checkpoints)? {
            if name.ends_with(".ckpt") {
                paths.push(checkpoints.join(name));
            }
        }
        for path in paths.iter().filter(|path| path.exists()) {
            fs::remove_file(path).map_err(Error::io("can't be removed", path))?;
        }
        self.remove_unfinished()
    }

    /// Writes a checkpoint by its number of steps, then removes the oldest beyond `keep`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, checkpoint: &Checkpoint, keep: usize) -> Result<PathBuf, Error> {
        let steps = checkpoint.training.progress.steps;
        let saved = self.step(steps);
        checkpoint.write(&saved)?;
        self.remove_old(steps, keep)?;
        Ok(saved)
    }

    /// Removes the oldest checkpoints of a run that has come to `steps`, beyond the newest `keep`. A
    /// process that was killed may have left one too many.
    ///
    /// # Errors
    /// When one can't be removed.
    pub fn remove_old(&self, steps: u64, keep: usize) -> Result<(), Error> {
        // Files of later steps are left-overs that could not be read: they don't count.
        let kept: Vec<u64> = self.steps()?.into_iter().filter(|&step| step <= steps).collect();
        for &old in &kept[..kept.len().saturating_sub(keep)] {
            let path = self.step(old);
            fs::remove_file(&path).map_err(Error::io("can't be removed", &path))?;
        }
        Ok(())
    }

    /// Writes the checkpoint that evaluated best so far.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        checkpoint.write(&self.best())
    }

    /// Reads a checkpoint; `None` when the run has saved none yet. A latest one that is damaged is
    /// passed over with a warning.
    ///
    /// # Errors
    /// When the one that was asked for is not there or damaged, or all are.
    pub fn load(&self, which: Which) -> Result<Option<(PathBuf, Checkpoint)>, Error> {
        let path = match which {
            Which::Latest => return self.latest(),
            Which::Best => self.best(),
            Which::Step(steps) => self.step(steps),
        };
        if !path.exists() {
            let steps = self.steps()?.into_iter().map(|steps| steps.to_string());
            let best = self.best().is_file().then(|| "best".to_owned());
            let there: Vec<String> = best.into_iter().chain(steps).collect();
            let list = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            let missing =
                Problem::Missing(format!("there is no such checkpoint; there is: {list}"));
            return Err(missing.of(&path).into());
        }
        let checkpoint = Checkpoint::read(&path)?;
        Ok(Some((path, checkpoint)))
    }

    fn latest(&self) -> Result<Option<(PathBuf, Checkpoint)>, Error> {
        let mut problems = Vec::new();
        for steps in self.steps()?.into_iter().rev() {
            let path = self.step(steps);
            match Checkpoint::read(&path) {
                Ok(checkpoint) => {
                    for problem in problems {
                        warn(&format!("{problem}; using {} instead", path.display()));
                    }
                    return Ok(Some((path, checkpoint)));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            return Ok(None);
        }
        let list: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        let problem = format!("no checkpoint is usable:{}", list.concat());
        Err(Problem::Missing(problem).of(&self.checkpoints()).into())
    }

    /// Steps of the checkpoints that are there, rising.
    fn steps(&self) -> Result<Vec<u64>, Error> {
        let names = files::names(&self.checkpoints())?;
        let step = |name: &String| name.strip_prefix("step-")?.strip_suffix(".ckpt")?.parse().ok();
        let mut steps: Vec<u64> = names.iter().filter_map(step).collect();
        steps.retain(|&steps| self.step(steps).is_file());
        steps.sort_unstable();
        Ok(steps)
    }
}
