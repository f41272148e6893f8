//! The JSON Schema of a configuration file, and a file to start from that is written after it.

use super::tables::{CheckpointFile, EnvConfig, EvalConfig, File};
use crate::registry::Registry;
use agents::{NetworkConfig, RegisteredAlgorithm, keys};
use envs::{Entry, TaskConfig};
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What an editor needs to know of a configuration with these environments: JSON Schema, draft
/// 2020-12. It is made from the types that a file is read into.
#[must_use]
pub fn schema(registry: &Registry) -> Value {
    let mut settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    settings.inline_subschemas = true;
    let mut generator = settings.into_generator();
    let agents: Vec<Value> =
        registry.algorithms.all().iter().map(|one| agent(one, &mut generator)).collect();
    let mut root = generator.into_root_schema_for::<File>().to_value();
    root["title"] = "A Backburn experiment".into();
    root["description"] = "One training run, or with [sweep] many.".into();

    let names: Vec<&str> = registry.algorithms.all().iter().map(|one| one.name).collect();
    let env = |entry: &Entry| json!({ "const": entry.name, "description": entry.description });
    let envs: Vec<Value> = registry.environments.entries().iter().map(env).collect();
    root["properties"]["env"]["properties"]["name"]["oneOf"] = envs.into();
    parameters(&mut root["properties"]["env"], registry);

    root["properties"]["agent"]["anyOf"] = agents.into();
    tell_apart(&mut root["properties"]["agent"], &names);
    root["$defs"] = json!({ "distribution": distribution() });
    let keys = swept(&root, "#", &["name", "seed", "sweep"]);
    let table = &mut root["properties"]["sweep"];
    table["not"] = json!({ "required": ["grid", "search"] });
    for (name, leaf) in [("grid", list as fn(Value) -> Value), ("search", draws)] {
        let table = &mut table["properties"][name];
        table["additionalProperties"] = false.into();
        if table["properties"].is_null() {
            table["properties"] = json!({});
        }
        keys.write("", &format!("#/properties/sweep/properties/{name}"), leaf, table);
    }
    // What a sweep gives need not stand elsewhere too.
    let required = |table: &mut Value| table.as_object_mut()?.remove("required");
    let (top, env) = (required(&mut root), required(&mut root["properties"]["env"]));
    root["if"] = json!({ "required": ["sweep"] });
    root["else"] = json!({
        "required": top,
        "properties": { "env": { "required": env }, "agent": { "required": ["algorithm"] } },
    });
    root
}

/// Each environment's parameters, checked against those of the one that is named.
fn parameters(env: &mut Value, registry: &Registry) {
    let at = "#/properties/env/properties/parameters/anyOf";
    let entries = registry.environments.entries();
    let table = |entry: &Entry| {
        let mut table = entry.schema_with_distributions();
        if let Value::Object(table) = &mut table {
            table.retain(|key, _| !["$schema", "title"].contains(&key.as_str()));
            table.insert("description".into(), format!("Parameters of {}.", entry.name).into());
        }
        table
    };
    let tables: Vec<Value> = entries.iter().map(table).collect();
    let known = entries.iter().enumerate().map(|(index, entry)| {
        json!({
            "if": { "properties": { "name": { "const": entry.name } }, "required": ["name"] },
            "then": { "properties": { "parameters": { "$ref": format!("{at}/{index}") } } },
        })
    });
    env["allOf"] = known.collect();
    let parameters = &mut env["properties"]["parameters"];
    parameters["anyOf"] = tables.into();
    if let Value::Array(tables) = &mut parameters["anyOf"] {
        tables.push(true.into());
    }
}

/// The table of an algorithm's settings.
fn agent(algorithm: &RegisteredAlgorithm, generator: &mut SchemaGenerator) -> Value {
    let mut table = algorithm.schema(generator);
    RecursiveTransform(tidy).transform(&mut table);
    let mut table = table.to_value();
    let about = format!("The algorithm: {}.", algorithm.description);
    table["properties"]["algorithm"] =
        json!({ "type": "string", "const": algorithm.name, "description": about });
    table
}

/// Checks an agent against its algorithm's table alone, so that a message names the key that is wrong.
/// All tables stay where editors find what to complete.
fn tell_apart(agent: &mut Value, names: &[&str]) {
    let table = |index: usize| json!({ "$ref": format!("#/properties/agent/anyOf/{index}") });
    let is = |name| json!({ "properties": { "algorithm": { "const": name } }, "required": ["algorithm"] });
    // A sweep may give the algorithm elsewhere.
    let any: Vec<Value> = (0..names.len()).map(table).collect();
    let mut rest = json!({ "anyOf": any });
    for (index, name) in names.iter().enumerate().rev() {
        rest = json!({ "if": is(name), "then": table(index), "else": rest });
    }
    if let (Value::Object(agent), Value::Object(rest)) = (&mut *agent, rest) {
        agent.extend(rest);
    }
    if let Value::Array(tables) = &mut agent["anyOf"] {
        tables.push(true.into());
    }
}

/// Takes away what says nothing of a TOML file: null, Rust's number formats, a comment's line ends.
fn tidy(schema: &mut Schema) {
    schema.remove("format");
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    let says_nothing = |value: &Value| value.is_null() || value.is_object() || value == "";
    if schema.get("default").is_some_and(says_nothing) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|one| !one.is_null());
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(one)] = &any[..] {
            let one = one.clone();
            schema.remove("anyOf");
            let own = schema.ensure_object();
            for (key, value) in one {
                own.entry(key).or_insert(value);
            }
        }
    }
}

/// A key that can be swept: where its schemas are, and the keys below it.
#[derive(Default)]
struct SweepableKey {
    pointers: Vec<String>,
    inside: BTreeMap<String, SweepableKey>,
}

/// The keys below a schema, which is at `pointer`.
fn swept(schema: &Value, pointer: &str, without: &[&str]) -> SweepableKey {
    let mut found = SweepableKey { pointers: vec![pointer.to_owned()], ..SweepableKey::default() };
    // An agent is one of two tables.
    let alternatives = schema["anyOf"].as_array().into_iter().flatten().enumerate();
    let mut tables: Vec<(String, &Value)> =
        alternatives.map(|(i, one)| (format!("{pointer}/anyOf/{i}"), one)).collect();
    tables.push((pointer.to_owned(), schema));
    for (pointer, table) in tables {
        for (key, value) in table["properties"].as_object().into_iter().flatten() {
            if !without.contains(&key.as_str()) {
                let below = swept(value, &format!("{pointer}/properties/{key}"), &[]);
                found.inside.entry(key.clone()).or_default().merge(below);
            }
        }
    }
    found
}

impl SweepableKey {
    fn merge(&mut self, other: SweepableKey) {
        self.pointers.extend(other.pointers);
        for (key, inside) in other.inside {
            self.inside.entry(key).or_default().merge(inside);
        }
    }

    /// What the key takes.
    fn value(&self) -> Value {
        let mut any: Vec<Value> = self.pointers.iter().map(|at| json!({ "$ref": at })).collect();
        if any.len() == 1 { any.remove(0) } else { json!({ "anyOf": any }) }
    }

    /// Writes the keys below this one into a sweep's table, which is at `pointer`: dotted, each with
    /// `leaf` of what it takes, or as tables within tables.
    fn write(&self, prefix: &str, pointer: &str, leaf: fn(Value) -> Value, table: &mut Value) {
        for (key, below) in &self.inside {
            let dotted = format!("{prefix}{key}");
            let at =
                |key: &String| json!({ "$ref": format!("{pointer}/properties/{dotted}.{key}") });
            let inside: Map<String, Value> =
                below.inside.keys().map(|key| (key.clone(), at(key))).collect();
            let nested = json!({
                "type": "object", "properties": inside, "additionalProperties": false,
            });
            let own = leaf(below.value());
            table["properties"][&dotted] =
                if inside.is_empty() { own } else { json!({ "anyOf": [own, nested] }) };
            below.write(&format!("{dotted}."), pointer, leaf, table);
        }
    }
}

/// Values of a grid.
fn list(value: Value) -> Value {
    json!({ "type": "array", "items": value, "minItems": 1, "uniqueItems": true })
}

/// What a search draws a value from.
fn draws(value: Value) -> Value {
    json!({ "$ref": "#/$defs/distribution", "properties": { "choice": { "items": value } } })
}

/// A distribution, whatever its key takes.
fn distribution() -> Value {
    let bounds = |text: &str, of: Value| {
        let (kind, count) = ("array", 2);
        json!({ "description": text, "type": kind, "items": of, "minItems": count, "maxItems": count })
    };
    let number = json!({ "type": "number" });
    let positive = json!({ "type": "number", "exclusiveMinimum": 0 });
    json!({
        "type": "object",
        "properties": {
            "uniform": bounds("Numbers between two bounds.", number),
            "log_uniform": bounds("Numbers between two bounds, evenly in their logarithm.", positive),
            "integer": bounds("Whole numbers, bounds included.", json!({ "type": "integer" })),
            "choice": { "description": "One of a list.", "type": "array", "minItems": 1 },
        },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// A configuration of every key for an environment that nobody has tuned one for: its comments and
/// values are the schema's. A constraint is on the first of the environment's costs.
#[must_use]
pub fn init(entry: &Entry, algorithm: &str, name: &str, registry: &Registry) -> String {
    let schema = schema(registry);
    let top = &schema["properties"];
    let known = registry.algorithms.all().iter().position(|one| one.name == algorithm);
    let index = known.unwrap_or_default();
    let one = registry.algorithms.all()[index];
    let mut agent = top["agent"]["anyOf"][index].clone();
    let costs = costs(entry);
    if let (Some(constraint), Some(cost)) =
        (agent["properties"].get_mut("constraint"), costs.first())
    {
        constraint["examples"][0]["cost"] = cost.as_str().into();
        if one.needs_constraint {
            constraint["default"] = constraint["examples"][0].clone();
        }
    }
    let agent_keys = [&["algorithm"], one.keys()].concat();
    // Tables follow.
    let is_value = |key: &&&str| top[**key].get("properties").is_none() && **key != "agent";
    let values: Vec<&str> = keys::<File>().iter().filter(is_value).copied().collect();
    // A comment is one line, whatever its author wrote about the environment.
    let title = format!("{} on {}: {}", one.title, entry.name, entry.description);
    let mut text = format!(
        "# {}.\n# Every key is here: with its default, or commented out where it has none.\n\n{}",
        title.replace(char::is_control, " "),
        lines(top, &values, ("name", name)),
    );
    let env: Vec<&str> =
        keys::<EnvConfig>().iter().copied().filter(|key| *key != "parameters").collect();
    text += &table("env", &top["env"], &env, ("name", entry.name));
    text += &init_parameters(entry);
    text += &table("network", &top["network"], keys::<NetworkConfig>(), ("", ""));
    text += &table("agent", &agent, &agent_keys, ("algorithm", algorithm));
    text += &table("eval", &top["eval"], keys::<EvalConfig>(), ("", ""));
    text + &table("checkpoint", &top["checkpoint"], keys::<CheckpointFile>(), ("", ""))
}

/// The costs of an environment with its default parameters.
#[must_use]
pub fn costs(entry: &Entry) -> Vec<String> {
    let task = entry.task(&TaskConfig::default());
    task.map(|task| task.spec().costs.clone()).unwrap_or_default()
}

/// The table of an environment's parameters with their defaults, for the end of a configuration; empty
/// where it takes none.
#[must_use]
pub fn init_parameters(entry: &Entry) -> String {
    let schema = entry.schema();
    let properties = schema["properties"].as_object().into_iter();
    let keys: Vec<&str> = properties.flat_map(Map::keys).map(String::as_str).collect();
    table("env.parameters", &schema, &keys, ("", ""))
}

/// A table with a line a key, after an empty line.
fn table(name: &str, schema: &Value, keys: &[&str], given: (&str, &str)) -> String {
    match keys {
        [] => String::new(),
        keys => format!("\n[{name}]\n{}", lines(&schema["properties"], keys, given)),
    }
}

/// A line a key: its value, or how one is written where there is no default, and what it means.
fn lines(properties: &Value, keys: &[&str], given: (&str, &str)) -> String {
    let mut lines = Vec::new();
    for key in keys {
        let schema = &properties[key];
        let mut comment = schema["description"].as_str().unwrap_or_default().to_owned();
        let all = |key: &str| schema[key].as_array().into_iter().flatten();
        let choices = all("oneOf").filter_map(|one| one.get("const")).chain(all("enum"));
        let choices: Vec<&str> = choices.filter_map(Value::as_str).collect();
        let given = (*key == given.0).then(|| Value::from(given.1));
        if let Some(unit) = schema["unit"].as_str() {
            comment = format!("{} [{unit}]", comment.trim_end_matches('.'));
        }
        if given.is_none() && !choices.is_empty() {
            comment += &format!(" One of: {}.", choices.join(", "));
        }
        let default = given.as_ref().or(schema.get("default"));
        let shown = default.or(schema["examples"].get(0)).cloned();
        let value = shown.unwrap_or_else(|| some_value(schema, &choices));
        let value = toml::Value::try_from(value).ok();
        let value = value.map_or_else(String::new, |value| value.to_string());
        let off = if default.is_some() { "" } else { "# " };
        lines.push((format!("{off}{key} = {value}"), comment));
    }
    let width = lines.iter().map(|(value, _)| value.len()).max().unwrap_or_default();
    lines.iter().map(|(value, comment)| format!("{value:<width$}  # {comment}\n")).collect()
}

/// A value that a key without a default and an example takes.
fn some_value(schema: &Value, choices: &[&str]) -> Value {
    if let Some(least) = schema.get("minimum") {
        return least.clone();
    }
    match schema["type"].as_str() {
        Some("number") => 1.0.into(),
        Some("integer") => 1.into(),
        Some("boolean") => true.into(),
        Some("array") => json!([]),
        _ => (*choices.first().unwrap_or(&"")).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Error;
    use crate::experiment::config::{Experiment, Source};
    use envs::{
        Action, Environment, ParameterError, Parametric, Rng, Space, Spec, StateError, Step,
    };
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use std::path::Path;

    /// An environment of the user's own.
    #[derive(Clone)]
    struct Lift;

    /// A parameter of each kind.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct LiftParameters {
        /// What it carries.
        #[schemars(range(min = 1.0, max = 9.0), extend("unit" = "kg"))]
        load: f64,
        /// Where it stops,
        /// if it does.
        #[schemars(range(min = 2, max = 9))]
        stop: Option<u32>,
        /// What is played in it.
        music: Option<String>,
        /// How it hangs.
        rope: Rope,
        /// Of a door.
        width: Option<f64>,
        /// Air in it.
        air: Air,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Rope {
        Steel,
        Hemp,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Air {
        /// Of which there is much.
        #[schemars(range(min = 0.0, max = 1.0))]
        dust: f64,
    }

    impl Default for LiftParameters {
        fn default() -> Self {
            let (stop, music, width) = (None, None, None);
            LiftParameters { load: 2.0, stop, music, rope: Rope::Hemp, width, air: Air::default() }
        }
    }

    impl Parametric for Lift {
        type Parameters = LiftParameters;

        fn new(_parameters: LiftParameters) -> Result<Self, ParameterError> {
            Ok(Lift)
        }
    }

    impl Environment for Lift {
        fn spec(&self) -> Spec {
            let spaces = (Space::symmetric_box(1, 1.0), Space::Discrete { n: 2 });
            Spec { costs: vec!["wear".into()], ..Spec::new(spaces.0, spaces.1, 10) }
        }

        fn reset(&mut self, _rng: &mut Rng) {}

        fn step(&mut self, _action: Action<'_>, _rng: &mut Rng) -> Step {
            Step::default()
        }

        fn observe(&self, observation: &mut [f32]) {
            observation[0] = 0.0;
        }

        fn state(&self) -> Vec<f64> {
            vec![]
        }

        fn set_state(&mut self, _state: &[f64]) -> Result<(), StateError> {
            Ok(())
        }
    }

    fn parse(text: &str, registry: &Registry) -> Result<Experiment, Error> {
        let source = Source::new(Path::new("x.toml"), text.to_owned(), &[]);
        Experiment::parse(&source, registry).map(|(experiment, _)| experiment)
    }

    #[test]
    fn a_file_to_start_from_is_good_and_so_is_each_line_that_is_off() {
        let own = Entry::with_parameters::<Lift>("my \"lift\"", "one of\nthe user's own");
        let registry = Registry::default().with_environment(own);
        for algorithm in registry.algorithms.all().iter().map(|one| one.name) {
            let text = init(&own, algorithm, "x", &registry);
            let is_on = text.contains("\nconstraint = { cost = \"wear\", limit = 1.0 }");
            assert_eq!(is_on, algorithm == "cpo", "{text}");
            let experiment =
                parse(&text, &registry).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!((&*experiment.env.name, experiment.agent.name()), (own.name, algorithm));
            let mut off = 0;
            for line in text.lines().filter(|line| line.starts_with("# ") && line.contains(" = ")) {
                // The penalty replaces the clip.
                let replaces =
                    |other: &&str| line.contains("kl_penalty") && other.contains("clip_");
                let rest: String = text
                    .lines()
                    .filter(|other| !replaces(other))
                    .map(|l| format!("{l}\n"))
                    .collect();
                let on = rest.replacen(&format!("{line}\n"), &format!("{}\n", &line[2..]), 1);
                assert_ne!(on, rest, "{line}");
                parse(&on, &registry).unwrap_or_else(|error| panic!("{error}\n{on}"));
                off += 1;
            }
            let expected = match algorithm {
                "ppo" => 18,
                "trpo" => 14,
                _ => 13,
            };
            assert_eq!(off, expected, "{text}");
            let parameters = [
                "[env.parameters]",
                "air = { dust = 0.0 }  # Air in it.",
                "load = 2.0            # What it carries [kg]",
                "# music = \"\"          # What is played in it.",
                "rope = \"hemp\"         # How it hangs. One of: steel, hemp.",
                "# stop = 2            # Where it stops, if it does.",
                "# width = 1.0         # Of a door.",
            ];
            assert!(text.contains(&parameters.join("\n")), "{text}");
        }
    }

    #[test]
    fn bounds_are_those_of_the_validation() {
        let registry = Registry::default();
        let schema = schema(&registry);
        let top = &schema["properties"];
        let ppo = &top["agent"]["anyOf"][0]["properties"];
        let mut tables = vec![
            ("ppo", String::new(), top),
            ("ppo", "agent.".into(), ppo),
            ("ppo", "agent.kl_penalty.".into(), &ppo["kl_penalty"]["properties"]),
            ("ppo", "agent.constraint.".into(), &ppo["constraint"]["anyOf"][0]["properties"]),
            ("trpo", "agent.".into(), &top["agent"]["anyOf"][1]["properties"]),
        ];
        for name in ["env", "network", "eval", "checkpoint"] {
            tables.push(("ppo", format!("{name}."), &top[name]["properties"]));
        }
        let mut bounds = 0;
        for (algorithm, prefix, table) in tables {
            for (key, schema) in table.as_object().unwrap() {
                let key = format!("{prefix}{key}");
                // A minibatch must fit into the batch, and the batch into the run.
                let is_batch = key.ends_with("minibatch_size");
                let base = [
                    ("env.name", "'pendulum'".to_owned()),
                    ("agent.algorithm", format!("'{algorithm}'")),
                    ("env.num_envs", "1".into()),
                    ("total_steps", "1_000_000_000".into()),
                    ("agent.rollout_steps", if is_batch { "16777216" } else { "1" }.into()),
                    ("agent.minibatch_size", "1".into()),
                    ("agent.critic_minibatch_size", "1".into()),
                ];
                let other = if algorithm == "ppo" { "critic_minibatch_size" } else { ".minibatch" };
                // A constraint has a limit or a fixed multiplier.
                let rest = match key.as_str() {
                    "agent.constraint.limit" | "agent.constraint.multiplier" => {
                        "agent.constraint.cost = 'x'\n"
                    }
                    constraint if constraint.starts_with("agent.constraint.") => {
                        "agent.constraint.cost = 'x'\nagent.constraint.limit = 1\n"
                    }
                    _ => "",
                };
                let with = |value: String| {
                    let base = base.iter().filter(|one| !one.0.contains(other) && one.0 != key);
                    let lines: String =
                        base.map(|(key, value)| format!("{key} = {value}\n")).collect();
                    let lines = lines + rest;
                    parse(&format!("{lines}{key} = {value}\n"), &registry)
                };
                let is_whole = schema["type"] == "integer";
                for (bound, out) in [("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0)] {
                    let Some(bound) = schema[bound].as_number() else { continue };
                    let (at, beyond) = if is_whole {
                        let number = i128::from(bound.as_u64().unwrap());
                        (number.to_string(), (number + i128::from(out)).to_string())
                    } else {
                        let number = bound.as_f64().unwrap();
                        let step = number.abs().max(1.0) * 1e-7;
                        let at = if out == 0 { step } else { number };
                        (format!("{at:?}"), format!("{:?}", number + f64::from(out) * step))
                    };
                    let error = with(beyond.clone()).map(drop).expect_err(&key).to_string();
                    assert!(error.contains(&key), "{key} = {beyond}: {error}");
                    with(at.clone()).unwrap_or_else(|error| panic!("{key} = {at}: {error}"));
                    bounds += 1;
                }
            }
        }
        assert!(bounds > 60, "only {bounds} bounds were found");
    }
}
