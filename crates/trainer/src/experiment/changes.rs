//! What of a run's configuration was changed after it had begun: `changes.toml` beside `config.toml`, which
//! stays what the run began with.

use super::config::{Experiment, Override};
use crate::error::Error;
use crate::files;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A value that holds from a step on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Steps that were done without it.
    pub step: u64,
    /// The dotted key.
    pub key: String,
    /// Its value from then on.
    pub value: toml::Value,
}

/// The file: an array of tables, the oldest change first.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    change: Vec<Change>,
}

/// Reads the changes of a run; none where there is no file.
///
/// # Errors
/// When the file can't be read, or is not what [`write`] has written.
pub fn read(path: &Path) -> Result<Vec<Change>, Error> {
    parse(path, &text(path)?)
}

/// The file's text; empty where there is none.
///
/// # Errors
/// When it can't be read.
pub fn text(path: &Path) -> Result<String, Error> {
    if !path.is_file() {
        return Ok(String::new());
    }
    std::fs::read_to_string(path).map_err(Error::io("can't be read", path))
}

/// The changes that the file's text has.
///
/// # Errors
/// When it is not what [`write`] has written.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Change>, Error> {
    let file: File = toml::from_str(text).map_err(|error| {
        Error::Usage(format!("{}: holds no changes of a run: {}", path.display(), error.message()))
    })?;
    Ok(file.change)
}

/// Writes all changes of a run.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, changes: &[Change]) -> Result<(), Error> {
    let text = toml::to_string(&File { change: changes.to_vec() })
        .map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
    files::write_atomically(path, &[text.as_bytes()])
}

/// The changes as what replaces values of `config.toml`.
///
/// # Errors
/// When a key is none.
pub fn overrides(path: &Path, changes: &[Change]) -> Result<Vec<Override>, Error> {
    let place = path.display().to_string();
    changes.iter().map(|change| Override::given(&place, &change.key, &change.value)).collect()
}

/// What `after` has otherwise than `before`, from this step on.
///
/// # Errors
/// When a configuration can't be written as TOML, which validation rules out.
pub fn between(before: &Experiment, after: &Experiment, step: u64) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    differing("", &before.to_table()?, &after.to_table()?, &mut |key, value| {
        changes.push(Change { step, key, value: value.clone() });
    });
    Ok(changes)
}

/// Tells of each value that is new or another one in `after`. Values whose table is new are told of one by
/// one where both are tables, else as the table.
fn differing(
    prefix: &str,
    before: &toml::Table,
    after: &toml::Table,
    tell: &mut impl FnMut(String, &toml::Value),
) {
    for (key, value) in after {
        let dotted = format!("{prefix}{key}");
        match (before.get(key), value) {
            (Some(old), value) if old == value => {}
            (Some(toml::Value::Table(old)), toml::Value::Table(new))
                if old.keys().all(|key| new.contains_key(key)) =>
            {
                differing(&format!("{dotted}."), old, new, tell);
            }
            (_, value) => tell(dotted, value),
        }
    }
}
