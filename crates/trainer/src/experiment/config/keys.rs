//! A configuration by its dotted keys.

use std::collections::BTreeMap;

/// The values of a table by their dotted keys (`agent.gamma`), each as TOML writes it, but texts without
/// their quotes.
#[must_use]
pub fn flattened(table: &toml::Table) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    flatten("", table, &mut values);
    values
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
            toml::Value::String(text) => {
                values.insert(key, text.clone());
            }
            value => {
                values.insert(key, value.to_string());
            }
        }
    }
}
