//! Parts of a sweep from several machines, put together.

use super::command::{FILE, copies, entries, is_at, keep, parsed};
use super::plan::Sweep;
use super::ranking;
use super::run::default_root;
use super::trial::{TrialRecord, TrialState};
use crate::error::Error;
use crate::experiment::config::Source;
use crate::experiment::lock::{self, Lock};
use crate::files;
use crate::registry::Registry;
use crate::terminal::{Output, command};
use std::path::{Path, PathBuf};

/// Copies the trials of these directories, one at least, that have ended into one, and writes its table.
///
/// # Errors
/// When they are not parts of one sweep, or a file can't be copied.
pub fn collect(
    parts: &[PathBuf],
    out: Option<PathBuf>,
    registry: &Registry,
    output: Output,
) -> Result<(), Error> {
    let (sweep, fingerprint) = read(&parts[0], registry)?;
    for part in &parts[1..] {
        if read(part, registry)?.1 != fingerprint {
            return Err(another(part, &parts[0]));
        }
    }
    let root = out.unwrap_or_else(|| default_root(&sweep));
    let file = root.join(FILE);
    std::fs::create_dir_all(&root).map_err(Error::io("can't be created", &root))?;
    let _lock = Lock::on(&root, "sweep")?;
    if !file.is_file() {
        keep(&root, &copies(&sweep, registry)?)?;
    } else if read(&root, registry)?.1 != fingerprint {
        return Err(another(&root, &parts[0]));
    }
    for part in parts {
        for name in files::names(&part.join("trials"))? {
            let (from, to) = (part.join("trials").join(&name), root.join("trials").join(&name));
            let status =
                |path: &Path| Ok::<_, Error>(TrialRecord::read(path)?.and_then(|one| one.status));
            // A trial that goes on is left to the machine that it goes on at.
            if status(&from)?.is_some() && status(&to)?.is_none() {
                copy(&from, &to)?;
            }
        }
    }
    let mut entries = entries(&sweep, sweep.trials(registry)?, &root)?;
    for entry in &mut entries {
        // A failure is known from the record only: its runs are there to be tried again.
        if entry.verdict.is_none()
            && let Some(TrialRecord { status: Some(status), reason, .. }) =
                TrialRecord::read(&entry.directory)?
        {
            entry.verdict = Some((status, reason));
        }
    }
    ranking::write(&sweep, &root, &entries)?;
    let ranking = ranking::Ranking::new(&sweep, &root, &entries, None);
    output.result(&ranking, || ranking::ranking(&sweep, &root, &entries));
    let missing = entries.iter().filter(|entry: &&TrialState| entry.verdict.is_none()).count();
    if missing > 0 {
        let all = entries.len();
        output.text(|| {
            format!(
                "  {missing} of {all} trials are missing; collect again when they are done, or run \
                 them here\n    {}\n",
                command("resume", &root)
            )
        });
    }
    Ok(())
}

/// A part as the whole that it is a part of, and that one's fingerprint.
fn read(part: &Path, registry: &Registry) -> Result<(Sweep, String), Error> {
    if !is_at(part) {
        return Err(Error::Usage(format!(
            "{}: holds no sweep; give the directories of its parts, such as runs/NAME-shard-1-of-4",
            part.display()
        )));
    }
    let mut sweep = parsed(&Source::read(&part.join(FILE), &[])?)?;
    sweep.shard = None;
    let fingerprint = sweep.fingerprint(registry)?;
    Ok((sweep, fingerprint))
}

fn another(part: &Path, first: &Path) -> Error {
    Error::Usage(format!(
        "{}: is not a part of the sweep that {} is a part of: their sweep.toml differ",
        part.display(),
        first.display()
    ))
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if !from.is_dir() {
        return std::fs::copy(from, to).map(|_| ()).map_err(Error::io("can't be copied", from));
    }
    std::fs::create_dir_all(to).map_err(Error::io("can't be created", to))?;
    let mut names = files::names(from)?;
    names.retain(|name| name != lock::FILE);
    // The record last: with it, the copy is whole.
    names.sort_by_key(|name| name == "trial.toml");
    names.iter().try_for_each(|name| copy(&from.join(name), &to.join(name)))
}
