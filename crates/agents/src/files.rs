//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What names of unfinished files begin with.
pub const TEMPORARY: &str = ".tmp-";

/// Writes a file under a temporary name in its directory, brings it to the disk, then renames it:
/// whatever happens, the name stands for the old content or the new one, whole.
///
/// # Errors
/// When the system refuses a step; the old content is still there then.
pub fn write_atomically(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let directory = directory(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!("{TEMPORARY}{name}"));
    let write = || {
        let mut file = File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(directory)
    };
    // The error that is reported is the first one.
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Where a file is; a bare name is in the working directory.
#[must_use]
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// Brings renamed and removed names to the disk, where the system can.
///
/// # Errors
/// When it refuses.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
