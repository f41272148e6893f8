//! Messages about a configuration: what is wrong, and what would be right.

use super::source::{Source, key_at};
use super::sweep::SweepTable;
use super::tables::{CheckpointFile, EnvConfig, EvalConfig, File};
use crate::error::Error;
use crate::registry::Registry;
use agents::{NetworkConfig, RegisteredAlgorithm, keys};
use envs::{Entry, ParameterError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Explains why a table is no experiment with what the registry knows; `own` is its algorithm where that is
/// known.
pub fn error(
    source: &Source,
    table: &DeTable<'_>,
    error: &toml::de::Error,
    own: Option<RegisteredAlgorithm>,
    registry: &Registry,
) -> Error {
    let span = error.span();
    let key = span.as_ref().and_then(|span| key_at(table, span));
    let message = match (names(error.message(), "unknown field "), &key) {
        (Some((unknown, mut known)), Some(key)) => {
            let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
            if parent == "agent" {
                // It says who reads the others.
                known.insert(0, "algorithm");
            }
            let environment = text_at(table, "env", "name").unwrap_or_default();
            let environment = registry.environments.get(environment);
            let place = match environment {
                Some(entry) if parent == "env" && has_parameter(&entry, &unknown) => {
                    format!("; `{unknown}` belongs in [env.parameters]")
                }
                _ => elsewhere(&unknown, &known, parent, own, registry),
            };
            format!("is no key here{place}")
        }
        _ => match names(error.message(), "unknown variant ") {
            Some((unknown, known)) => format!(
                "there is no `{unknown}`{}; there is: {}",
                did_you_mean(&unknown, &known),
                known.join(", ")
            ),
            None => plain(error.message()) + &whole(error.message()),
        },
    };
    source.error_at(span, key.as_deref(), &message)
}

/// Reads a table; where it has unknown keys, all of them are told of at once, each in a line.
///
/// # Errors
/// Those, and the first other thing that is wrong.
pub fn all_unknown_keys<'i, T>(
    mut table: Spanned<DeTable<'i>>,
    read: impl Fn(Spanned<DeTable<'i>>) -> Result<T, toml::de::Error>,
    explained: impl Fn(&DeTable<'i>, &toml::de::Error) -> Error,
) -> Result<T, Error> {
    let mut problems: Vec<String> = Vec::new();
    loop {
        let error = match read(table.clone()) {
            Ok(all) if problems.is_empty() => return Ok(all),
            Ok(_) => break,
            Err(error) => error,
        };
        problems.push(explained(table.get_ref(), &error).to_string());
        let is_unknown = error.message().starts_with("unknown field ");
        let is_taken_out =
            is_unknown && error.span().is_some_and(|span| take_out(table.get_mut(), &span));
        if !is_taken_out {
            break;
        }
    }
    Err(Error::Usage(problems.join("\n  ")))
}

/// Takes the key that stands at `span` out of a table, wherever it is in it; whether there was one.
fn take_out(table: &mut DeTable<'_>, span: &std::ops::Range<usize>) -> bool {
    let found = table.keys().find(|key| key.span() == *span).map(|key| key.get_ref().to_string());
    if let Some(name) = found {
        return table.remove(name.as_str()).is_some();
    }
    table.iter_mut().any(|(_, value)| match value.get_mut() {
        DeValue::Table(inside) => take_out(inside, span),
        DeValue::Array(items) => items.iter_mut().any(|item| match item.get_mut() {
            DeValue::Table(inside) => take_out(inside, span),
            _ => false,
        }),
        _ => false,
    })
}

/// The dotted key of this name, or of what other programs call it.
#[must_use]
pub fn dotted_key(name: &str, registry: &Registry) -> Option<String> {
    let name = other_name(name).unwrap_or(name);
    let agents = registry.algorithms.all().iter().map(|one| ("agent.", one.keys()));
    let tables = [
        ("", keys::<File>()),
        ("env.", keys::<EnvConfig>()),
        ("network.", keys::<NetworkConfig>()),
    ];
    let rest = [("eval.", keys::<EvalConfig>()), ("checkpoint.", keys::<CheckpointFile>())];
    let mut all = tables.into_iter().chain(agents).chain(rest);
    all.find(|(_, keys)| keys.contains(&name)).map(|(table, _)| format!("{table}{name}"))
}

/// What a key is called here that goes by another name elsewhere: in Stable-Baselines3, CleanRL and rsl_rl.
fn other_name(name: &str) -> Option<&'static str> {
    let names = [
        ("lr", "learning_rate"),
        ("steps", "total_steps"),
        ("timesteps", "total_steps"),
        ("total_timesteps", "total_steps"),
        ("n_steps", "rollout_steps"),
        ("num_steps", "rollout_steps"),
        ("num_steps_per_env", "rollout_steps"),
        ("n_envs", "num_envs"),
        ("n_epochs", "epochs"),
        ("update_epochs", "epochs"),
        ("num_learning_epochs", "epochs"),
        ("batch_size", "minibatch_size"),
        ("clip", "clip_range"),
        ("clip_coef", "clip_range"),
        ("clip_param", "clip_range"),
        ("ent_coef", "entropy_coef"),
        ("vf_coef", "value_coef"),
        ("value_loss_coef", "value_coef"),
        ("lam", "gae_lambda"),
        ("target_kl_divergence", "target_kl"),
        ("desired_kl", "target_kl"),
    ];
    names.iter().find(|(other, _)| *other == name).map(|(_, own)| *own)
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
    registry: &Registry,
) -> String {
    let hint = did_you_mean(unknown, known);
    let has = |one: &&RegisteredAlgorithm| one.keys().contains(&unknown);
    let other = registry.algorithms.all().iter().find(has);
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

/// What is wrong with a parameter of an environment; where there is none of that name, with the key that was
/// probably meant, or where it would be known.
pub fn parameter(error: &ParameterError, environment: &str, registry: &Registry) -> String {
    if error.known.is_empty() {
        return error.message.clone();
    }
    let known: Vec<&str> = error.known.iter().map(String::as_str).collect();
    let name = error.key.as_deref().and_then(|key| key.rsplit('.').next()).unwrap_or_default();
    let others = registry.environments.entries().iter();
    let others: Vec<&str> =
        others.filter(|entry| has_parameter(entry, name)).map(|entry| entry.name).collect();
    let place = match did_you_mean(name, &known) {
        hint if !hint.is_empty() => hint,
        _ if keys::<EnvConfig>().contains(&name) => format!("; `{name}` belongs in [env]"),
        _ if !others.is_empty() => {
            let others = others.join(" and ");
            format!(": {name} is a parameter of {others}, and env.name is {environment}")
        }
        _ => String::new(),
    };
    format!("is no key here{place}; there is: {}", known.join(", "))
}

/// Whether an environment has a parameter of this name.
fn has_parameter(entry: &Entry, name: &str) -> bool {
    entry.schema()["properties"].get(name).is_some()
}

/// The text at `table.key`.
fn text_at<'a>(root: &'a DeTable<'_>, table: &str, key: &str) -> Option<&'a str> {
    let DeValue::Table(inside) = root.get(table)?.get_ref() else { return None };
    inside.get(key)?.get_ref().as_str()
}

/// ", did you mean `x`?", or nothing when no name is close.
pub fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    if let Some(own) = other_name(unknown).filter(|own| known.contains(own)) {
        return format!(", did you mean `{own}`?");
    }
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
        ("expected u32", &format!("expected a whole number from 0 to {}", u32::MAX)),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected an array like [64, 64]"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected a text in quotes"),
        ("expected struct Constraint", "expected a table like { cost = \"NAME\", limit = 1.0 }"),
        ("expected struct KlPenalty", "expected a table like { target = 0.01 }"),
        ("expected struct", "expected a table for"),
        ("expected a map", "expected a table"),
        (" as u128", ""),
        (" as i128", ""),
        ("integer number overflowed", "is too large for a whole number"),
        ("JSON number out of range", "is too large for a number"),
    ]
    .iter()
    .fold(message.trim_end().to_owned(), |text, (from, to)| text.replace(from, to))
}

/// How a whole number is written that was given as `1e5` or `100000.0`; nothing of any other message.
fn whole(message: &str) -> String {
    let number = message.strip_prefix("invalid type: floating point `");
    let number =
        number.filter(|rest| rest.contains("expected u") || rest.contains("expected a whole"));
    let number = number.and_then(|rest| rest.split('`').next()?.parse::<f64>().ok());
    match number.filter(|number| number.fract() == 0.0 && (0.0..1e18).contains(number)) {
        Some(number) => format!("; write it as {number:.0}"),
        None => String::new(),
    }
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

/// Refuses what no key takes, wherever it stands: `nan`, `inf`, numbers too large for 64 bits, dates.
pub fn possible_values(source: &Source, table: &DeTable<'_>) -> Result<(), Error> {
    table.iter().try_for_each(|(_, value)| possible(source, table, value))
}

fn possible(
    source: &Source,
    root: &DeTable<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Error> {
    let message = match value.get_ref() {
        DeValue::Float(number) if !number.as_str().parse().is_ok_and(f64::is_finite) => {
            format!("is {}; must be a finite number", number.as_str())
        }
        DeValue::Datetime(date) => {
            format!("is the date {date}; no key takes one, and a text stands in quotes")
        }
        DeValue::Array(items) => {
            return items.iter().try_for_each(|item| possible(source, root, item));
        }
        DeValue::Table(inside) => {
            return inside.iter().try_for_each(|(_, value)| possible(source, root, value));
        }
        _ => return Ok(()),
    };
    let key = key_at(root, &value.span());
    Err(source.error_at(Some(value.span()), key.as_deref(), &message))
}
