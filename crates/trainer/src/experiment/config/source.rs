//! The text behind a configuration: the file, the overrides, and where each key stands.

use crate::error::Error;
use crate::terminal::{program, quoted};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One `--set key=value`, or a flag that stands for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// As the user wrote it, for messages: `--set agent.gamma=2`.
    flag: String,
    /// As TOML: `agent.gamma = 2`.
    line: String,
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
        let line = format!("{} = {value}", key.trim());
        match DeTable::parse(&line) {
            Ok(_) => Ok(Override { flag, line }),
            Err(error) => Err(Error::Usage(format!(
                "{flag}: `{key}` is not a key ({}); write it as --set agent.gamma=0.9",
                error.message()
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
        Override { flag: format!("--{name} {value}"), line: format!("{name} = {toml}") }
    }

    /// The part of a sweep that `--shard` asks for.
    #[must_use]
    pub fn shard(shard: impl std::fmt::Display) -> Override {
        Override { flag: format!("--shard {shard}"), line: format!("sweep.shard = \"{shard}\"") }
    }

    /// A value that a sweep gives to a dotted key; `place` says where the sweep does so.
    ///
    /// # Errors
    /// When it is no dotted key.
    pub fn swept(place: &str, key: &str, value: &toml::Value) -> Result<Override, Error> {
        let line = format!("{key} = {value}");
        match DeTable::parse(&line) {
            Ok(_) => Ok(Override { flag: format!("{place}: with {line}"), line }),
            Err(error) => Err(Error::Usage(format!(
                "{place}: `{key}` is not a key ({}); write it as \"agent.gamma\"",
                error.message()
            ))),
        }
    }

    /// Where it comes from, as messages say it.
    #[must_use]
    pub fn flag_text(&self) -> &str {
        &self.flag
    }
}

/// The texts that a configuration was read from; everything that a message needs to point at them.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    /// Each text begins with blanks up to a position behind the one before, so that one byte
    /// position names the text and the place in it.
    overrides: Vec<(Override, String)>,
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
                "there is no such file; `{} init cartpole ppo` writes one to start from",
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
        let mut end = text.len() + 1;
        let overrides = overrides
            .iter()
            .map(|one| {
                let padded = format!("{}{}", " ".repeat(end), one.line);
                end = padded.len() + 1;
                (one.clone(), padded)
            })
            .collect();
        Source { path: path.to_owned(), text, overrides }
    }

    /// The same with more overrides, which win.
    #[must_use]
    pub fn with(&self, more: Vec<Override>) -> Source {
        let mut overrides: Vec<Override> =
            self.overrides.iter().map(|(one, _)| one.clone()).collect();
        overrides.extend(more);
        Source::new(&self.path, self.text.clone(), &overrides)
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
        let parse = |text| {
            DeTable::parse(text).map_err(|error: toml::de::Error| {
                self.error_at(error.span(), None, error.message().trim_end())
            })
        };
        let mut root = parse(&self.text)?;
        for (_, text) in &self.overrides {
            merge(root.get_mut(), parse(text)?.into_inner());
        }
        Ok(root)
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

    /// Whether this position is in an override, and not in the file.
    #[must_use]
    pub fn is_override(&self, position: usize) -> bool {
        position > self.text.len()
    }

    /// `file:line`, or the override that this position belongs to.
    #[must_use]
    pub fn place(&self, position: usize) -> String {
        let behind = |(one, text): &&(Override, String)| {
            (text.len() - one.line.len()..=text.len()).contains(&position)
        };
        if position > self.text.len()
            && let Some((one, _)) = self.overrides.iter().find(behind)
        {
            return one.flag.clone();
        }
        let before = &self.text.as_bytes()[..position.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }
}

/// Puts `other` into `table`, key by key.
fn merge<'i>(table: &mut DeTable<'i>, other: DeTable<'i>) {
    for (key, value) in other {
        match (table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(inside)), DeValue::Table(_)) => {
                if let DeValue::Table(new) = value.into_inner() {
                    merge(inside, new);
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

/// Where the value of a dotted key stands.
fn find(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let (first, rest) = match key.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (key, None),
    };
    let value = table.get(first)?;
    match (value.get_ref(), rest) {
        (DeValue::Table(inside), Some(rest)) => find(inside, rest),
        (_, Some(_)) => None,
        (_, None) => Some(value.span()),
    }
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
