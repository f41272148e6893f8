//! The text behind a configuration: the file, the overrides, and where each key stands.

use super::explain::did_you_mean;
use crate::error::Error;
use crate::files;
use crate::terminal::{program, quoted};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One `--set key=value`, or a flag that stands for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// As the user wrote it, for messages: `--set agent.gamma=2`.
    flag: String,
    /// As TOML: `agent.gamma = 2`.
    line: String,
    /// Parts of the key: two of `agent.gamma`.
    parts: usize,
}

impl Override {
    /// From the argument of `--set`. The value is TOML; what is no TOML is taken as a string.
    ///
    /// # Errors
    /// When there is no `=`, or the key is not a dotted key.
    pub fn set(argument: &str) -> Result<Override, Error> {
        let flag = format!("--set {argument}");
        let Some((key, value)) = argument.split_once('=') else {
            return Err(Error::Usage(format!(
                "{flag}: has no value; write it as --set agent.gamma=0.9"
            )));
        };
        let value = value.trim();
        let value = match DeValue::parse(value) {
            Ok(_) => value.to_owned(),
            Err(_) => toml::Value::String(value.to_owned()).to_string(),
        };
        match parts(key) {
            Ok(parts) => Ok(Override { flag, line: format!("{} = {value}", key.trim()), parts }),
            Err(problem) => Err(Error::Usage(format!(
                "{flag}: `{key}` is not a key ({problem}); write it as --set agent.gamma=0.9"
            ))),
        }
    }

    /// From a flag of its own, like `--seed 3`.
    #[must_use]
    pub fn flag(name: &str, value: impl std::fmt::Display) -> Override {
        let toml = match value.to_string() {
            number if number.parse::<u64>().is_ok() => number,
            text => toml::Value::String(text).to_string(),
        };
        let (flag, line) = (format!("--{name} {value}"), format!("{name} = {toml}"));
        Override { flag, line, parts: 1 }
    }

    /// The part of a sweep that `--shard` asks for.
    #[must_use]
    pub fn shard(shard: impl std::fmt::Display) -> Override {
        let (flag, line) = (format!("--shard {shard}"), format!("sweep.shard = \"{shard}\""));
        Override { flag, line, parts: 2 }
    }

    /// A value that a file gives to a dotted key; `place` says where it does so.
    ///
    /// # Errors
    /// When it is no dotted key.
    pub fn given(place: &str, key: &str, value: &toml::Value) -> Result<Override, Error> {
        let line = format!("{key} = {value}");
        match parts(key) {
            Ok(parts) => Ok(Override { flag: format!("{place}: with {line}"), line, parts }),
            Err(problem) => Err(Error::Usage(format!(
                "{place}: `{key}` is not a key ({problem}); write it as \"agent.gamma\""
            ))),
        }
    }

    /// Where it comes from, as messages say it.
    #[must_use]
    pub fn flag_text(&self) -> &str {
        &self.flag
    }
}

/// How many parts a dotted key has; or why it is none.
fn parts(key: &str) -> Result<usize, String> {
    /// A value that nothing within a key is taken for.
    const VALUE: &str = "the value";
    let line = format!("{key} = {VALUE:?}");
    let root = DeTable::parse(&line).map_err(|error| error.message().trim_end().to_owned())?;
    let (mut table, mut parts) = (root.get_ref(), 1);
    loop {
        let mut entries = table.values().map(Spanned::get_ref);
        match (entries.next(), entries.next()) {
            (Some(DeValue::Table(inside)), None) => (table, parts) = (inside, parts + 1),
            (Some(DeValue::String(value)), None) if value == VALUE => return Ok(parts),
            _ => return Err("it holds more than a key".to_owned()),
        }
    }
}

/// The texts that a configuration was read from; everything that a message needs to point at them.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: Arc<str>,
    /// Each with the position of its line: all texts behind one another, so that one byte position
    /// names the text and the place in it.
    overrides: Vec<(usize, Override)>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, is no UTF-8, or holds nothing.
    pub fn read(path: &Path, overrides: &[Override]) -> Result<Source, Error> {
        let problem = |what: String| Error::Usage(format!("{}: {what}", path.display()));
        if path.is_dir() {
            return Err(problem("is a directory; give a configuration file (TOML)".to_owned()));
        }
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => problem(format!(
                "there is no such file{}; `{} init cartpole ppo` writes one to start from",
                neighbour(path),
                quoted(&program())
            )),
            _ => problem(format!("can't be read: {error}")),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Error::Usage(format!(
                "{}:{line}: byte {valid} is not UTF-8; a configuration is UTF-8 text",
                path.display()
            ))
        })?;
        let source = Source::new(path, text, overrides);
        if source.text.trim().is_empty() {
            return Err(problem(
                "is empty; give at least [env] with its name and [agent] with its algorithm"
                    .to_owned(),
            ));
        }
        Ok(source)
    }

    /// A text that is already there.
    #[must_use]
    pub fn new(path: &Path, text: String, overrides: &[Override]) -> Source {
        let source = Source { path: path.to_owned(), text: text.into(), overrides: Vec::new() };
        source.with(overrides.to_vec())
    }

    /// What the file says.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same with more overrides, which win.
    #[must_use]
    pub fn with(&self, more: Vec<Override>) -> Source {
        let mut source = self.clone();
        let last = source.overrides.last();
        let mut start = last.map_or(self.text.len(), |(at, one)| at + one.line.len()) + 1;
        for one in more {
            let end = start + one.line.len();
            source.overrides.push((start, one));
            start = end + 1;
        }
        source
    }

    /// What an experiment is called that has no name of its own: the file's, without its ending.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's table with the overrides put in.
    ///
    /// # Errors
    /// When the file is no TOML.
    pub fn table(&self) -> Result<Spanned<DeTable<'_>>, Error> {
        let mut root = self.file_table()?;
        self.put_overrides(root.get_mut())?;
        Ok(root)
    }

    /// The file's table as it is.
    ///
    /// # Errors
    /// When the file is no TOML.
    pub fn file_table(&self) -> Result<Spanned<DeTable<'_>>, Error> {
        DeTable::parse(&self.text).map_err(|error| match error.span() {
            Some(span) => self.error_at(Some(span), None, error.message().trim_end()),
            // The one error that the parser has no place for.
            None => {
                let place = nested_too_deeply(&self.text);
                self.error_at(Some(place..place), None, "a key has too many parts")
            }
        })
    }

    /// Puts the overrides into a table: each takes the place of whatever its key had.
    ///
    /// # Errors
    /// When one is no TOML, which [`Override`]'s constructors rule out.
    pub fn put_overrides<'i>(&'i self, table: &mut DeTable<'i>) -> Result<(), Error> {
        for (start, Override { flag, line, parts }) in &self.overrides {
            let parsed = DeTable::parse(line)
                .map_err(|error| Error::Usage(format!("{flag}: {}", error.message())))?;
            put(table, moved(parsed.into_inner(), *start), *parts);
        }
        Ok(())
    }

    /// An error about a dotted key: it names the line or the override that gives its value.
    #[must_use]
    pub fn error(&self, key: &str, message: &str) -> Error {
        let span = self.table().ok().and_then(|table| find(table.get_ref(), key));
        match span {
            Some(span) => self.error_at(Some(span), Some(key), message),
            None => Error::Usage(format!(
                "{}: {key} (not given, so its default counts): {message}",
                self.path.display()
            )),
        }
    }

    /// An error at a byte position, about the dotted key there.
    #[must_use]
    pub fn error_at(&self, span: Option<Range<usize>>, key: Option<&str>, message: &str) -> Error {
        let place = match span {
            None => self.path.display().to_string(),
            Some(span) => self.place(span.start),
        };
        match key {
            Some(key) => Error::Usage(format!("{place}: {key}: {message}")),
            None => Error::Usage(format!("{place}: {message}")),
        }
    }

    /// The path that the value of a dotted key is: a relative one begins at the file's directory where the
    /// file gives it, and at the working directory on the command line.
    ///
    /// # Errors
    /// When there is no working directory.
    pub fn path_at(&self, key: &str, value: &str) -> Result<PathBuf, Error> {
        let span = self.table().ok().and_then(|table| find(table.get_ref(), key));
        let is_typed = span.is_some_and(|span| self.place(span.start).starts_with("--"));
        let directory = if is_typed { None } else { self.path.parent() };
        let path = directory.unwrap_or(Path::new("")).join(value);
        std::path::absolute(&path).map_err(Error::io("can't be found", &path))
    }

    /// Whether this position is in an override, and not in the file.
    #[must_use]
    pub fn is_override(&self, position: usize) -> bool {
        position > self.text.len()
    }

    /// `file:line`, or the override that this position belongs to.
    #[must_use]
    pub fn place(&self, position: usize) -> String {
        let behind = |(start, one): &&(usize, Override)| {
            (*start..=start + one.line.len()).contains(&position)
        };
        if let Some((_, one)) = self.overrides.iter().find(behind) {
            return one.flag.clone();
        }
        let before = &self.text.as_bytes()[..position.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }
}

/// ", did you mean `FILE`?", where a file beside a path that leads nowhere has nearly its name.
fn neighbour(path: &Path) -> String {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let names = files::names(directory.unwrap_or(Path::new("."))).unwrap_or_default();
    let names: Vec<String> = names
        .into_iter()
        .filter(|name| name.ends_with(".toml"))
        .map(|name| path.with_file_name(name).display().to_string())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    did_you_mean(&path.display().to_string(), &names)
}

/// Where the first key stands that has more parts than the parser takes.
fn nested_too_deeply(text: &str) -> usize {
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let has_it = |end: usize| {
        DeTable::parse_recoverable(&text[..end]).1.iter().any(|error| error.span().is_none())
    };
    let lines = ends.partition_point(|&end| !has_it(end));
    lines.checked_sub(1).map_or(0, |before| ends[before])
}

/// Gives a key of so many parts the value that `line` has for it. Tables on the way that are missing are
/// made; what is no table there makes room for one.
fn put<'i>(table: &mut DeTable<'i>, line: DeTable<'i>, parts: usize) {
    for (key, value) in line {
        let there = table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut);
        match (there, value.get_ref()) {
            (Some(DeValue::Table(inside)), DeValue::Table(_)) if parts > 1 => {
                if let DeValue::Table(rest) = value.into_inner() {
                    put(inside, rest, parts - 1);
                }
            }
            _ => {
                // Removed first: a map keeps the old key, and with it the old position.
                table.remove(key.get_ref().as_ref());
                table.insert(key, value);
            }
        }
    }
}

/// The same table, its text so much further behind.
fn moved(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries =
        table.into_iter().map(|(key, value)| (moved_span(key, by), moved_value(value, by)));
    entries.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(inside) => DeValue::Table(moved(inside, by)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| moved_value(item, by)).collect())
        }
        value => value,
    };
    moved_span(Spanned::new(span, value), by)
}

fn moved_span<T>(spanned: Spanned<T>, by: usize) -> Spanned<T> {
    let Range { start, end } = spanned.span();
    Spanned::new(start + by..end + by, spanned.into_inner())
}

/// Where the value of a dotted key stands; a part of it may be a quoted key that has a dot of its own.
fn find(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    if let Some(value) = table.get(key) {
        // A table's own place is its header; the only value in it may stand further below.
        let only = match value.get_ref() {
            DeValue::Table(inside) if inside.len() == 1 => inside.values().next(),
            _ => None,
        };
        return Some(only.unwrap_or(value).span());
    }
    key.match_indices('.').find_map(|(at, _)| match table.get(&key[..at])?.get_ref() {
        DeValue::Table(inside) => find(inside, &key[at + 1..]),
        _ => None,
    })
}

/// The dotted key that stands at `span`, or whose value does.
pub fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    for (key, value) in table {
        let name = key.get_ref();
        if key.span() == *span {
            return Some(name.to_string());
        }
        let inside = match value.get_ref() {
            DeValue::Table(inside) => key_at(inside, span),
            _ => None,
        };
        if let Some(inside) = inside {
            return Some(format!("{name}.{inside}"));
        }
        let value = value.span();
        if value == *span || (value.start <= span.start && span.end <= value.end) {
            return Some(name.to_string());
        }
    }
    None
}
