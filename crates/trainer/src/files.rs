//! Files that are whole or not there.

use crate::error::Error;
use crate::terminal::quoted;
use agents::files::{TEMPORARY, directory};
use std::fs;
use std::path::Path;

/// Writes a file whole or not at all ([`agents::files::write_atomically`]).
///
/// # Errors
/// When the system refuses a step; the old content is still there then.
pub fn write_atomically(path: &Path, parts: &[&[u8]]) -> Result<(), Error> {
    agents::files::write_atomically(path, parts).map_err(Error::io("can't be written", path))
}

/// Which of these extensions the file has that a user wants written.
///
/// # Errors
/// When it has none of them, or there is no directory to write it to.
pub fn output<'a>(path: &Path, extensions: &[&'a str]) -> Result<&'a str, Error> {
    let given = path.extension().unwrap_or_default();
    let Some(extension) = extensions.iter().find(|known| given.eq_ignore_ascii_case(known)) else {
        let known: Vec<String> = extensions.iter().map(|known| format!(".{known}")).collect();
        let known = known.join(" or ");
        return Err(Error::Usage(format!("{}: the name must end in {known}", path.display())));
    };
    let directory = directory(path);
    if !directory.is_dir() {
        return Err(Error::Usage(format!(
            "{}: there is no directory {}; make it with `mkdir -p {}`",
            path.display(),
            directory.display(),
            quoted(&directory.to_string_lossy())
        )));
    }
    if path.is_dir() {
        return Err(Error::Usage(format!("{}: is a directory", path.display())));
    }
    Ok(extension)
}

/// Writes lines of cells as CSV, as [`write_atomically`] does.
///
/// # Errors
/// When the file can't be written.
pub fn write_csv(path: &Path, lines: &[Vec<String>]) -> Result<(), Error> {
    let problem = Error::io("can't be written", path);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = lines.iter().try_for_each(|line| writer.write_record(line));
    let bytes = written
        .map_err(std::io::Error::from)
        .and_then(|()| writer.into_inner().map_err(|error| error.into_error()));
    write_atomically(path, &[&bytes.map_err(problem)?])
}

/// Removes what an ended process left unfinished.
///
/// # Errors
/// When the directory can't be read, or a file in it not be removed.
pub fn remove_unfinished(directory: &Path) -> Result<(), Error> {
    for name in names(directory)? {
        if name.starts_with(TEMPORARY) {
            let path = directory.join(name);
            fs::remove_file(&path).map_err(Error::io("can't be removed", &path))?;
        }
    }
    Ok(())
}

/// Refuses a directory for `what` in which there is something that is none of its own; hidden files don't
/// count.
///
/// # Errors
/// When there is, or the directory can't be read.
pub fn must_hold_nothing_else(
    directory: &Path,
    what: &str,
    is_own: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let mut others = if directory.is_dir() { names(directory)? } else { Vec::new() };
    others.retain(|name| !name.starts_with('.') && !is_own(name));
    let shown = match &others[..] {
        [] => return Ok(()),
        [a, b, c, _, ..] => format!("{a}, {b}, {c} and {} more", others.len() - 3),
        few => few.join(", "),
    };
    Err(Error::Usage(format!(
        "{}: holds other things than {what} ({shown}); give a directory that is empty or not there \
         (--out DIR)",
        directory.display()
    )))
}

/// Names in a directory that are UTF-8, sorted; none where there is no directory.
///
/// # Errors
/// When the directory can't be read.
pub fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("can't be read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("can't be read", directory))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
