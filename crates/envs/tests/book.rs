//! Keeps the book's page on environments true: every parameter with its unit, default and range.
#![allow(clippy::expect_used)]

use envs::{Environments, TaskConfig};
use serde_json::{Map, Value};

/// A number as the page writes it.
fn plain(number: f64) -> String {
    let is_short = number == 0.0 || (1e-4..1e6).contains(&number.abs());
    if is_short { format!("{number}") } else { format!("{number:e}") }
}

/// What a parameter can be.
fn range(schema: &Value) -> String {
    let bound = |key: &str| plain(schema[key].as_f64().expect("a number has a range"));
    let kinds = |key: &str| schema[key].as_array().into_iter().flatten();
    match schema["type"].as_str() {
        Some("number" | "integer") => format!("{} to {}", bound("minimum"), bound("maximum")),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("array") => match schema["minItems"].as_u64() {
            Some(count) => format!("{count}, each {}", range(&schema["items"])),
            None => format!("one for each joint, {}", range(&schema["items"])),
        },
        Some("string") if schema["oneOf"].is_null() && schema["enum"].is_null() => {
            "a text".to_owned()
        }
        _ if schema["anyOf"].is_array() => {
            let number = kinds("anyOf").find(|kind| kind["type"] == "number");
            format!("{}, or one for each joint", range(number.expect("a number")))
        }
        _ => {
            let names = kinds("enum").chain(kinds("oneOf").map(|one| &one["const"]));
            names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The rows of one environment's table, by what it declares.
fn declared(properties: &Map<String, Value>) -> Vec<String> {
    let row = |(key, schema): (&String, &Value)| {
        let unit = schema["unit"].as_str().map_or(String::new(), |unit| format!(" {unit}"));
        let range = range(schema);
        let default = match &schema["default"] {
            Value::Null
                if schema["description"]
                    .as_str()
                    .is_some_and(|text| text.contains("not given")) =>
            {
                "not given".to_owned()
            }
            Value::Null => "off".to_owned(),
            default => format!("`{default}`"),
        };
        let text = schema["description"].as_str().expect("every parameter has a comment");
        format!("| `{key}` |{unit} | {default} | {range} | {text} |")
    };
    properties.iter().map(row).collect()
}

#[test]
fn the_page_on_environments_has_every_parameter() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/environments.md");
    let page = std::fs::read_to_string(path).expect("the page");
    for entry in Environments::default().simulated() {
        let section = page
            .split("\n## ")
            .find_map(|part| part.strip_prefix(&format!("`{}`\n", entry.name)))
            .unwrap_or_else(|| panic!("no section on {}", entry.name));
        let schema = entry.schema();
        let mut expected = declared(schema["properties"].as_object().expect("a table"));
        let mut found: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{} (left: the page, right: the code)", entry.name);

        let task = entry.task(&TaskConfig::default()).expect("the defaults are good");
        for term in &task.spec().reward_terms {
            assert!(section.contains(&format!("`{term}`")), "{}: no word on {term}", entry.name);
        }
        for cost in &task.spec().costs {
            assert!(section.contains(&format!("`{cost}`")), "{}: no word on {cost}", entry.name);
        }
        let limit = format!("{} steps", task.spec().max_episode_steps);
        assert!(section.replace('\n', " ").contains(&limit), "{}: no {limit}", entry.name);
    }
}

#[test]
fn the_page_on_other_processes_has_every_parameter() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/process.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let Some(entry) = Environments::default().get("process") else { return };
    let schema = entry.schema();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let properties = schema["properties"].as_object().expect("a table");
    assert_eq!(rows.len(), properties.len());
    for (key, schema) in properties {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{key}` | `")));
        let row = row.unwrap_or_else(|| panic!("no row for {key}"));
        let text = schema["description"].as_str().expect("every parameter has a comment");
        assert!(row.contains(&format!("`{}`", schema["default"])) && row.contains(text), "{row}");
    }
}
