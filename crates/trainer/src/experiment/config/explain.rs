//! Messages about a configuration: what is wrong, and what would be right.

use super::source::{Source, key_at};
use super::sweep::SweepTable;
use super::tables::{CheckpointFile, EnvConfig, EvalConfig, File};
use crate::error::Error;
use agents::{Algorithms, NetworkConfig, RegisteredAlgorithm, keys};
use envs::ParameterError;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Explains why a table is no experiment; `own` is its algorithm where that is known.
pub fn error(
    source: &Source,
    table: &DeTable<'_>,
    error: &toml::de::Error,
    own: Option<RegisteredAlgorithm>,
    algorithms: &Algorithms,
) -> Error {
    let span = error.span();
    let key = span.as_ref().and_then(|span| key_at(table, span));
    let message = match (names(error.message(), "unknown field "), &key) {
        (Some((unknown, known)), Some(key)) => {
            let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
            format!("is no key here{}", elsewhere(&unknown, &known, parent, own, algorithms))
        }
        _ => match names(error.message(), "unknown variant ") {
            Some((unknown, known)) => format!(
                "there is no `{unknown}`{}; there is: {}",
                did_you_mean(&unknown, &known),
                known.join(", ")
            ),
            None => plain(error.message()),
        },
    };
    source.error_at(span, key.as_deref(), &message)
}

/// Takes apart serde's messages like "unknown field `x`, expected one of `a`, `b`".
fn names<'a>(message: &'a str, start: &str) -> Option<(String, Vec<&'a str>)> {
    let rest = message.strip_prefix(start)?.strip_prefix('`')?;
    let (unknown, rest) = match rest.split_once("`, expected ") {
        Some(parts) => parts,
        None => (rest.split_once("`, there are no ")?.0, ""),
    };
    let known = rest.split('`').skip(1).step_by(2).collect();
    Some((unknown.to_owned(), known))
}

/// Where an unknown key would be known: under another spelling, algorithm or table.
fn elsewhere(
    unknown: &str,
    known: &[&str],
    parent: &str,
    own: Option<RegisteredAlgorithm>,
    algorithms: &Algorithms,
) -> String {
    let hint = did_you_mean(unknown, known);
    let has = |one: &&RegisteredAlgorithm| one.keys().contains(&unknown);
    let other = algorithms.all().iter().find(has);
    if let (Some(other), Some(own)) = (other, own)
        && parent == "agent"
        && other.name != own.name
    {
        let (title, name) = (other.title, own.name);
        return format!(": {unknown} is a {title} key, and agent.algorithm is {name}{hint}");
    }
    if hint.is_empty() {
        let tables = [
            ("at the top of the file", keys::<File>()),
            ("in [env]", keys::<EnvConfig>()),
            ("in [network]", keys::<NetworkConfig>()),
            ("in [agent]", other.map_or(&[], |other| other.keys())),
            ("in [eval]", keys::<EvalConfig>()),
            ("in [checkpoint]", keys::<CheckpointFile>()),
            ("in [sweep]", keys::<SweepTable>()),
        ];
        if let Some((place, _)) = tables.iter().find(|(_, keys)| keys.contains(&unknown)) {
            return format!("; `{unknown}` belongs {place}");
        }
    }
    format!("{hint}; there is: {}", known.join(", "))
}

/// What is wrong with a parameter of an environment; with the key that was probably meant where there is
/// none of that name.
pub fn parameter(error: &ParameterError) -> String {
    if error.known.is_empty() {
        return error.message.clone();
    }
    let known: Vec<&str> = error.known.iter().map(String::as_str).collect();
    let name = error.key.as_deref().and_then(|key| key.rsplit('.').next()).unwrap_or_default();
    format!("is no key here{}; there is: {}", did_you_mean(name, &known), known.join(", "))
}

/// ", did you mean `x`?", or nothing when no name is close.
pub fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    let close = known
        .iter()
        .map(|name| (strsim::jaro_winkler(&unknown.to_lowercase(), name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    close.map_or_else(String::new, |(_, name)| format!(", did you mean `{name}`?"))
}

/// Serde's words for types, in those of a TOML file.
fn plain(message: &str) -> String {
    let whole = "a whole number, 0 or more";
    [
        ("expected f64", "expected a number"),
        ("expected u64", &format!("expected {whole}")),
        ("expected usize", &format!("expected {whole}")),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected an array like [64, 64]"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected a text in quotes"),
        ("expected struct KlPenalty", "expected a table like { target = 0.01 }"),
        ("expected struct", "expected a table for"),
        (" as u128", ""),
        (" as i128", ""),
        ("integer number overflowed", "is too large for a whole number"),
    ]
    .iter()
    .fold(message.trim_end().to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A value's type with its article.
pub fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Refuses `nan`, `inf` and numbers too large for 64 bits, wherever they stand.
pub fn finite_numbers(source: &Source, table: &DeTable<'_>) -> Result<(), Error> {
    table.iter().try_for_each(|(_, value)| finite(source, table, value))
}

fn finite(source: &Source, root: &DeTable<'_>, value: &Spanned<DeValue<'_>>) -> Result<(), Error> {
    match value.get_ref() {
        DeValue::Float(number) => {
            let text = number.as_str();
            if text.parse::<f64>().is_ok_and(f64::is_finite) {
                return Ok(());
            }
            let key = key_at(root, &value.span());
            let message = format!("is {text}; must be a finite number");
            Err(source.error_at(Some(value.span()), key.as_deref(), &message))
        }
        DeValue::Array(items) => items.iter().try_for_each(|item| finite(source, root, item)),
        DeValue::Table(inside) => {
            inside.iter().try_for_each(|(_, value)| finite(source, root, value))
        }
        _ => Ok(()),
    }
}
