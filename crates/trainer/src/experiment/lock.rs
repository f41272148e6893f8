//! A directory that one process at a time works on: a run's, or a sweep's.

use crate::error::Error;
use crate::terminal::{program, quoted};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is locked: a file of its own. An editor replaces the file that it saves, and with it the lock.
pub const FILE: &str = ".lock";

/// How long a look at a lock may last, at most.
const GLANCE: Duration = Duration::from_millis(100);

/// Proof that no other process works on a directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Keeps other processes off a directory as long as the lock lives; the system releases it when the
    /// process ends in whatever way. The directory holds, or will hold, a `what`.
    ///
    /// # Errors
    /// When another process has the lock.
    pub fn on(directory: &Path, what: &str) -> Result<Lock, Error> {
        let path = directory.join(FILE);
        let mut options = File::options();
        let open = options.write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(Error::io("can't be opened", &path))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                // Somebody may only be looking.
                Err(TryLockError::WouldBlock) if started.elapsed() < GLANCE => {
                    std::thread::sleep(GLANCE / 10);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Usage(format!(
                        "{}: another process is working on this {what}; wait until it is done, or \
                         run in another directory ({} run CONFIG --out DIR)",
                        directory.display(),
                        quoted(&program())
                    )));
                }
                // A file system without locks is no reason not to train.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Lock { _file: file }),
            }
        }
    }

    /// Keeps off a directory who wants it for itself, and nobody else.
    ///
    /// # Errors
    /// When one has it.
    pub fn shared(directory: &Path) -> Result<Lock, Error> {
        let path = directory.join(FILE);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(Error::io("can't be opened", &path))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
                "{}: a process has this sweep for itself; wait until it is done",
                directory.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Error::io("can't be locked", &path)(error)),
        }
    }

    /// The lock on a directory, unless another process has it.
    ///
    /// # Errors
    /// When the file can't be opened, or the file system has no locks, without which nobody may share anything.
    pub fn if_free(directory: &Path) -> Result<Option<Lock>, Error> {
        let path = directory.join(FILE);
        let open = File::options().write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(Error::io("can't be opened", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("can't be locked", &path)(error)),
        }
    }

    /// Whether another process has the lock.
    #[must_use]
    pub fn is_held(directory: &Path) -> bool {
        let held = |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        File::open(directory.join(FILE)).is_ok_and(held)
    }
}
