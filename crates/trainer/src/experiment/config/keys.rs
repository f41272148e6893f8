//! A configuration by its dotted keys.

use std::collections::{BTreeMap, BTreeSet};

/// The values of a table by their dotted keys (`agent.gamma`), each as TOML writes it, but texts without
/// their quotes.
#[must_use]
pub fn flattened(table: &toml::Table) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    flatten("", table, &mut values);
    values
}

/// What one configuration has otherwise than another, of the keys that count: each with both values.
#[must_use]
pub fn differences(
    there: &BTreeMap<String, String>,
    here: &BTreeMap<String, String>,
    counts: impl Fn(&str) -> bool,
) -> Vec<String> {
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let value = |of: &BTreeMap<String, String>, key: &String| {
        of.get(key).map_or_else(|| "not given".to_owned(), |value| shortened(value))
    };
    keys.into_iter()
        .filter(|key| counts(key) && there.get(*key) != here.get(*key))
        .map(|key| format!("{key} is {} there and {} here", value(there, key), value(here, key)))
        .collect()
}

/// The beginning of a value that is too long for a message.
fn shortened(value: &str) -> String {
    const LENGTH: usize = 120;
    match value.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

/// Whether a table is one value: a schedule, or the distribution of a parameter.
fn is_value(table: &toml::Table) -> bool {
    let is_kind = |key: &String| ["uniform", "log_uniform", "choice"].contains(&key.as_str());
    table.contains_key("start") || (table.len() == 1 && table.keys().all(is_kind))
}

fn flatten(prefix: &str, table: &toml::Table, values: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inside) if !is_value(inside) => flatten(&key, inside, values),
            value => {
                values.insert(key, text(value));
            }
        }
    }
}

/// A value as TOML writes it, but a text without its quotes.
#[must_use]
pub fn text(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
