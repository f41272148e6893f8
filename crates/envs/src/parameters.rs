//! Parameters of environments: declared by a struct, given by a configuration, checked by the struct's
//! schema.

use crate::environment::Environment;
use crate::randomized::{Draw, ParameterDistribution};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// An environment that takes parameters.
///
/// They are a plain struct, and all that is known of them is said there: a field's comment is its
/// documentation, its type and range are what a configuration is checked against, its unit is shown,
/// and `Default` gives what is not given. A number may also be a distribution in the configuration,
/// from which each episode draws its own: the environment knows nothing of it.
///
/// `Clone` and `Sync`, because one environment is made and checked, and copies of it run.
///
/// ```
/// use envs::{Action, Environment, Rng, Space, Spec, StateError, Step};
/// use envs::{Entry, ParameterError, Parametric, TaskConfig};
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields, default)]
/// struct TankParameters {
///     /// What flows out in a step, as a share of what is there.
///     #[schemars(range(min = 0.0, max = 1.0))]
///     leak: f64,
///     /// The level to hold.
///     #[schemars(range(min = 0.0, max = 10.0), extend("unit" = "m"))]
///     target: f64,
/// }
///
/// impl Default for TankParameters {
///     fn default() -> Self {
///         TankParameters { leak: 0.1, target: 2.0 }
///     }
/// }
///
/// #[derive(Clone)]
/// struct Tank {
///     parameters: TankParameters,
///     level: f64,
/// }
///
/// impl Parametric for Tank {
///     type Parameters = TankParameters;
///
///     fn new(parameters: TankParameters) -> Result<Self, ParameterError> {
///         Ok(Tank { parameters, level: 0.0 })
///     }
/// }
/// # impl Environment for Tank {
/// #     fn spec(&self) -> Spec {
/// #         Spec::new(Space::symmetric_box(1, 100.0), Space::symmetric_box(1, 1.0), 100)
/// #     }
/// #     fn reset(&mut self, _rng: &mut Rng) {
/// #         self.level = 0.0;
/// #     }
/// #     fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
/// #         self.level *= 1.0 - self.parameters.leak;
/// #         self.level += f64::from(action.values()[0]);
/// #         Step { reward: -(self.level - self.parameters.target).abs(), ..Step::default() }
/// #     }
/// #     fn observe(&self, observation: &mut [f32]) {
/// #         observation[0] = self.level as f32;
/// #     }
/// #     fn state(&self) -> Vec<f64> {
/// #         vec![self.level]
/// #     }
/// #     fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
/// #         [self.level] = StateError::read(state)?;
/// #         Ok(())
/// #     }
/// # }
///
/// let entry = Entry::with_parameters::<Tank>("tank", "hold the level of a tank");
/// let parameters = json!({ "leak": { "uniform": [0.0, 0.2] } }).as_object().unwrap().clone();
/// let task = entry.task(&TaskConfig { parameters, ..TaskConfig::default() })?;
/// assert_eq!(task.parameters()["target"], 2.0);
///
/// let parameters = json!({ "leak": 7 }).as_object().unwrap().clone();
/// let error = entry.task(&TaskConfig { parameters, ..TaskConfig::default() }).unwrap_err();
/// assert_eq!(error.to_string(), "parameters.leak: is 7; must be a number from 0 to 1");
/// # Ok::<(), ParameterError>(())
/// ```
pub trait Parametric: Environment + Clone + Sync + Sized + 'static {
    /// What can be given. Derive `Deserialize`, `Serialize` and `JsonSchema`, with
    /// `#[serde(deny_unknown_fields, default)]`.
    type Parameters: Default + Serialize + DeserializeOwned + JsonSchema;

    /// The environment with these parameters. Each is within the range that its field declares when it
    /// comes from an [`Entry`](crate::Entry).
    ///
    /// # Errors
    /// When parameters do not go together, or name something that is not there. A message that points
    /// at a key is made by [`ParameterError::at`].
    fn new(parameters: Self::Parameters) -> Result<Self, ParameterError>;

    /// Goes on with other parameters, before the episode is reset. For an environment whose making is
    /// slow (it reads a file, say) there is more to keep than this does.
    ///
    /// # Errors
    /// Those of [`Parametric::new`].
    fn set_parameters(&mut self, parameters: Self::Parameters) -> Result<(), ParameterError> {
        *self = Self::new(parameters)?;
        Ok(())
    }
}

/// What is wrong with the parameters of an environment or with what else a task is made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .key.as_deref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct ParameterError {
    /// The key that is wrong, if it is one. From [`Parametric::new`] the parameter's name; from
    /// [`Entry::task`](crate::Entry::task) the dotted key below `[env]`, such as
    /// `parameters.pole_mass` or `action_delay`.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where there is no such key: those that there are.
    pub known: Vec<String>,
}

impl ParameterError {
    /// An error of all parameters together.
    #[must_use]
    pub fn new(message: impl Into<String>) -> ParameterError {
        ParameterError { key: None, message: message.into(), known: Vec::new() }
    }

    /// An error of one parameter. The message goes on after its name: `is 3; must be below ...`.
    #[must_use]
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> ParameterError {
        ParameterError { key: Some(key.into()), ..ParameterError::new(message) }
    }

    /// The same error where the parameters are a table of that name.
    pub(crate) fn inside(mut self, table: &str) -> ParameterError {
        self.key = Some(match self.key {
            Some(key) => format!("{table}.{key}"),
            None => table.to_owned(),
        });
        self
    }
}

/// The parameters of an environment without any.
#[derive(Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NoParameters {}

/// The JSON Schema of a struct of parameters, with everything inlined, and without what says nothing of
/// a TOML file: null, Rust's number formats, a comment's line ends.
pub(crate) fn schema<P: JsonSchema>() -> Value {
    let tidy = |schema: &mut Schema| {
        schema.remove("format");
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|one| one != "null");
            if let [one] = &types[..] {
                let one = one.clone();
                schema.insert("type".into(), one);
            }
        }
        if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
            any.retain(|one| one["type"] != "null");
            if let [Value::Object(one)] = &any[..] {
                let one = one.clone();
                schema.remove("anyOf");
                let own = schema.ensure_object();
                for (key, value) in one {
                    own.entry(key).or_insert(value);
                }
            }
        }
    };
    let mut settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<P>().to_value()
}

/// The schema of a configuration's parameters, in which every value may be a distribution; its descriptions
/// end with the units.
pub(crate) fn with_distributions(mut schema: Value) -> Value {
    for value in schema["properties"].as_object_mut().into_iter().flatten().map(|(_, value)| value)
    {
        if value.get("properties").is_some() {
            *value = with_distributions(value.take());
            continue;
        }
        if value["file"] == true {
            continue;
        }
        let pair =
            |of: Value| json!({ "type": "array", "items": of, "minItems": 2, "maxItems": 2 });
        let of = drawn(value);
        let mut kinds = json!({ "choice": { "type": "array", "items": of, "minItems": 1 } });
        if of["type"] == "number" || of["type"] == "integer" {
            kinds["uniform"] = pair(of.clone());
        }
        if of["type"] == "number" {
            kinds["log_uniform"] =
                json!({ "allOf": [pair(of.clone()), pair(json!({ "exclusiveMinimum": 0 }))] });
        }
        let distribution = json!({
            "type": "object",
            "properties": kinds,
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        });
        let mut either = json!({ "anyOf": [&*value, distribution] });
        for key in ["description", "default", "unit"] {
            if let Some(said) = value.get(key) {
                either[key] = said.clone();
            }
        }
        // Editors show the description, and nothing else.
        if let (Some(about), Some(unit)) = (value["description"].as_str(), value["unit"].as_str()) {
            either["description"] = format!("{} [{unit}].", about.trim_end_matches('.')).into();
        }
        *value = either;
    }
    schema
}

/// What is drawn of a parameter: where it is a number or something else, the number.
pub(crate) fn drawn(schema: &Value) -> &Value {
    let kinds = schema["anyOf"].as_array();
    kinds.and_then(|kinds| kinds.iter().find(|one| one["type"] == "number")).unwrap_or(schema)
}

/// All parameters, by what was given and by their defaults.
pub(crate) struct Resolved {
    /// A value for every parameter; of those that are drawn a first one.
    pub(crate) values: Map<String, Value>,
    /// What each episode draws, sorted by key.
    pub(crate) draws: Vec<Draw>,
}

impl Resolved {
    /// The parameters `P` with those that are given.
    ///
    /// # Errors
    /// The first key that is unknown, of another type or out of its range.
    pub(crate) fn new<P>(given: &Map<String, Value>) -> Result<Resolved, ParameterError>
    where
        P: Default + Serialize + JsonSchema,
    {
        let mut resolved = Resolved { values: defaults::<P>(), draws: Vec::new() };
        let mut values = std::mem::take(&mut resolved.values);
        resolved.take_in(&schema::<P>(), given, &[], &mut values)?;
        resolved.values = values;
        // One order, whatever that of the keys is in the file.
        resolved.draws.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(resolved)
    }

    /// Takes in a table below `path`.
    fn take_in(
        &mut self,
        schema: &Value,
        given: &Map<String, Value>,
        path: &[String],
        values: &mut Map<String, Value>,
    ) -> Result<(), ParameterError> {
        for (key, value) in given {
            let path = [path, std::slice::from_ref(key)].concat();
            let at = |message: String| ParameterError::at(path.join("."), message);
            let Some(schema) = schema["properties"].get(key) else {
                let known = schema["properties"].as_object();
                let known: Vec<String> = known.into_iter().flat_map(Map::keys).cloned().collect();
                let message = if known.is_empty() {
                    "is no key here: this environment takes no parameters".to_owned()
                } else {
                    format!("is no key here; there is: {}", known.join(", "))
                };
                return Err(ParameterError { known, ..at(message) });
            };
            if schema.get("properties").is_some() {
                let Value::Object(inside) = value else {
                    return Err(at(format!("is {}; must be a table", shown(value))));
                };
                let below = values.entry(key).or_insert_with(|| json!({}));
                if !below.is_object() {
                    *below = json!({});
                }
                if let Value::Object(below) = below {
                    self.take_in(schema, inside, &path, below)?;
                }
                continue;
            }
            let taken = match value {
                Value::Object(table) if schema["type"] != "object" => {
                    let distribution = ParameterDistribution::parse(table, schema).map_err(at)?;
                    let first = distribution.ends()[0];
                    let value = distribution.value(first);
                    self.draws.push(Draw { path, distribution });
                    value
                }
                value => check(value, schema).map_err(at)?,
            };
            values.insert(key.clone(), taken);
        }
        Ok(())
    }

    /// The table with all defaults filled in, distributions as they were given.
    pub(crate) fn table(&self) -> Map<String, Value> {
        let mut table = Value::Object(self.values.clone());
        for draw in &self.draws {
            draw.put(&mut table, draw.distribution.to_value());
        }
        match table {
            Value::Object(table) => table,
            _ => Map::new(),
        }
    }
}

/// All defaults; what has none is left out.
pub(crate) fn defaults<P: Default + Serialize>() -> Map<String, Value> {
    fn without_nulls(table: &mut Map<String, Value>) {
        table.retain(|_, value| !value.is_null());
        table.values_mut().filter_map(Value::as_object_mut).for_each(without_nulls);
    }
    match serde_json::to_value(P::default()) {
        Ok(Value::Object(mut table)) => {
            without_nulls(&mut table);
            table
        }
        _ => Map::new(),
    }
}

/// The struct of values that were found good.
///
/// # Errors
/// When the type refuses what its schema allows: it is asked key by key which one is wrong.
pub(crate) fn parse<P: Default + Serialize + DeserializeOwned>(
    values: &Map<String, Value>,
) -> Result<P, ParameterError> {
    let read = |values: Map<String, Value>| serde_json::from_value::<P>(Value::Object(values));
    read(values.clone()).map_err(|error| {
        let alone = |(key, value): (&String, &Value)| {
            let mut one = defaults::<P>();
            one.insert(key.clone(), value.clone());
            let error = read(one).err()?;
            Some(ParameterError::at(key, format!("is {}: {error}", shown(value))))
        };
        values.iter().find_map(alone).unwrap_or_else(|| ParameterError::new(error.to_string()))
    })
}

/// A value as it is kept, or what is wrong with it: a number of a whole-number key is whole, one of
/// another key has a decimal point, and both are in their range.
pub(crate) fn check(value: &Value, schema: &Value) -> Result<Value, String> {
    let wrong = || Err(format!("is {}; must be {}", shown(value), expected(schema)));
    match schema["type"].as_str() {
        Some("number") => match value.as_f64() {
            Some(number) if in_range(number, schema) => Ok(number.into()),
            _ => wrong(),
        },
        Some("integer") => match value.as_f64() {
            Some(number) if !value.is_f64() && in_range(number, schema) => Ok(value.clone()),
            _ => wrong(),
        },
        Some("boolean") if !value.is_boolean() => wrong(),
        Some("string") if !value.is_string() => wrong(),
        Some("array") => {
            let Some(items) = value.as_array() else { return wrong() };
            let bound = |key: &str, otherwise: u64| schema[key].as_u64().unwrap_or(otherwise);
            let length = items.len() as u64;
            if length < bound("minItems", 0) || length > bound("maxItems", u64::MAX) {
                return Err(format!("is an array of {length}; must be {}", expected(schema)));
            }
            let check = |item| check(item, &schema["items"]);
            let items: Result<Vec<Value>, String> = items.iter().map(check).collect();
            items.map(Value::Array).map_err(|message| format!("has an entry that {message}"))
        }
        None if schema["anyOf"].is_array() => {
            let kinds = schema["anyOf"].as_array().into_iter().flatten();
            let taken = kinds.filter_map(|kind| check(value, kind).ok()).next();
            taken.map_or_else(wrong, Ok)
        }
        _ => {
            let choices = choices(schema);
            if choices.is_empty() || choices.contains(&value) { Ok(value.clone()) } else { wrong() }
        }
    }
}

/// The values of an enumeration; empty where it is none.
fn choices(schema: &Value) -> Vec<&Value> {
    let all = |key: &str| schema[key].as_array().into_iter().flatten();
    all("enum").chain(all("oneOf").filter_map(|one| one.get("const"))).collect()
}

fn in_range(number: f64, schema: &Value) -> bool {
    let bound = |key: &str| schema[key].as_f64();
    number.is_finite()
        && bound("minimum").is_none_or(|bound| number >= bound)
        && bound("exclusiveMinimum").is_none_or(|bound| number > bound)
        && bound("maximum").is_none_or(|bound| number <= bound)
        && bound("exclusiveMaximum").is_none_or(|bound| number < bound)
}

/// What a schema takes, in the words of a TOML file.
pub(crate) fn expected(schema: &Value) -> String {
    match schema["type"].as_str() {
        Some("number") => format!("a number{}", range(schema)),
        Some("integer") => format!("a whole number{}", range(schema)),
        Some("boolean") => "true or false".into(),
        Some("array") => {
            let (least, most) = (schema["minItems"].as_u64(), schema["maxItems"].as_u64());
            let count = match (least, most) {
                (Some(least), Some(most)) if least == most => format!(" of {least} entries"),
                (Some(least), Some(most)) => format!(" of {least} to {most} entries"),
                (Some(least), None) => format!(" of {least} entries or more"),
                (None, Some(most)) => format!(" of at most {most} entries"),
                (None, None) => String::new(),
            };
            match &schema["items"] {
                items if items.is_object() => format!("an array{count}, each {}", expected(items)),
                _ => format!("an array{count}"),
            }
        }
        None if schema["anyOf"].is_array() => {
            let kinds = schema["anyOf"].as_array().into_iter().flatten().map(expected);
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => {
            let choices: Vec<String> = choices(schema).into_iter().map(shown).collect();
            match &choices[..] {
                [] if schema["type"] == "string" => "a text in quotes".into(),
                [] => "a value of another kind".into(),
                [one] => one.clone(),
                [some @ .., last] => format!("{} or {last}", some.join(", ")),
            }
        }
    }
}

/// The range of a number, to be read after "a number".
fn range(schema: &Value) -> String {
    let bound = |key: &str| schema[key].as_f64().map(plain);
    let high = match (bound("maximum"), bound("exclusiveMaximum")) {
        (_, Some(high)) => Some(format!("below {high}")),
        (Some(high), None) => Some(format!("at most {high}")),
        (None, None) => None,
    };
    match (bound("minimum"), bound("exclusiveMinimum"), high, bound("maximum")) {
        (_, Some(low), Some(high), _) => format!(" above {low}, {high}"),
        (_, Some(low), None, _) => format!(" above {low}"),
        (Some(low), None, _, Some(high)) => format!(" from {low} to {high}"),
        (Some(low), None, Some(high), None) => format!(", {low} or more, {high}"),
        (Some(low), None, None, None) => format!(", {low} or more"),
        (None, None, Some(high), _) => format!(", {high}"),
        (None, None, None, _) => String::new(),
    }
}

/// A number as one would write it: `0.05`, `1000`, `1e9`.
pub(crate) fn plain(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        format!("{number}")
    } else {
        format!("{number:e}")
    }
}

/// What was found, in the words of a TOML file.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => plain(float),
            _ => number.to_string(),
        },
        Value::String(text) => format!("{text:?}"),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "a table".into(),
        Value::Null => "no finite number".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde::Deserialize;

    /// One key of each kind.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Everything {
        /// In a range.
        share: f64,
        /// Two
        /// lines.
        #[schemars(range(min = 0.5, max = 1e9), extend("unit" = "kg"))]
        mass: f64,
        #[schemars(range(max = 10.0), extend("exclusiveMinimum" = 0.0))]
        factor: f64,
        #[schemars(range(min = -2.0))]
        least: f64,
        #[schemars(range(max = 5.0))]
        most: f64,
        #[schemars(range(min = 1, max = 8))]
        count: u32,
        large: u8,
        #[schemars(range(min = 0.0, max = 1.0))]
        maybe: Option<f64>,
        is_on: bool,
        ground: Ground,
        file: String,
        #[schemars(inner(range(min = 0.0, max = 1.0)))]
        pair: [f64; 2],
        wind: Wind,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Ground {
        /// Without friction.
        Ice,
        /// With it.
        Sand,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Wind {
        #[schemars(range(min = 0.0, max = 20.0))]
        speed: f64,
    }

    impl Default for Wind {
        fn default() -> Self {
            Wind { speed: 3.0 }
        }
    }

    impl Default for Everything {
        fn default() -> Self {
            Everything {
                share: 0.25,
                mass: 2.0,
                factor: 1.0,
                least: 0.0,
                most: 0.0,
                count: 3,
                large: 7,
                maybe: None,
                is_on: true,
                ground: Ground::Ice,
                file: "arm.xml".into(),
                pair: [0.0, 1.0],
                wind: Wind::default(),
            }
        }
    }

    fn resolve(given: Value) -> Result<Resolved, ParameterError> {
        Resolved::new::<Everything>(given.as_object().unwrap())
    }

    #[test]
    fn what_is_given_takes_the_place_of_the_defaults() {
        let given = json!({
            "mass": 3, "count": 8, "maybe": 1, "is_on": false, "ground": "sand", "pair": [1, 0.5],
            "wind": { "speed": 5 },
        });
        let resolved = resolve(given).unwrap();
        let expected = Everything {
            mass: 3.0,
            count: 8,
            maybe: Some(1.0),
            is_on: false,
            ground: Ground::Sand,
            pair: [1.0, 0.5],
            wind: Wind { speed: 5.0 },
            ..Everything::default()
        };
        assert_eq!(parse::<Everything>(&resolved.values), Ok(expected));
        // Numbers are shown as what they are kept as; what is off is left out.
        let table = resolved.table();
        assert_eq!([&table["mass"], &table["count"]], [&json!(3.0), &json!(8)]);
        assert_eq!(table["wind"], json!({ "speed": 5.0 }));
        assert!(resolve(json!({})).unwrap().table().get("maybe").is_none());
    }

    #[test]
    fn distributions_are_found_wherever_a_value_stands() {
        let given = json!({
            "wind": { "speed": { "log_uniform": [1, 2] } },
            "mass": { "uniform": [1, 2] },
            "count": { "uniform": [1, 4] },
            "ground": { "choice": ["sand", "ice"] },
            "pair": { "choice": [[0, 1], [1, 0]] },
        });
        let resolved = resolve(given).unwrap();
        let found: Vec<(String, &ParameterDistribution)> =
            resolved.draws.iter().map(|draw| (draw.path.join("."), &draw.distribution)).collect();
        let pairs = vec![json!([0.0, 1.0]), json!([1.0, 0.0])];
        let expected = [
            ("count", ParameterDistribution::Whole(1, 4)),
            ("ground", ParameterDistribution::Choice(vec!["sand".into(), "ice".into()])),
            ("mass", ParameterDistribution::Uniform(1.0, 2.0)),
            ("pair", ParameterDistribution::Choice(pairs)),
            ("wind.speed", ParameterDistribution::LogUniform(1.0, 2.0)),
        ];
        for ((key, distribution), expected) in found.iter().zip(&expected) {
            assert_eq!((key.as_str(), *distribution), (expected.0, &expected.1));
        }
        assert_eq!(found.len(), expected.len());
        let first = parse::<Everything>(&resolved.values).unwrap();
        assert_eq!((first.mass, first.count, first.ground), (1.0, 1, Ground::Sand));
        let table = resolved.table();
        assert_eq!(table["mass"], json!({ "uniform": [1.0, 2.0] }));
        assert_eq!(table["count"], json!({ "uniform": [1, 4] }));
        assert_eq!(table["wind"], json!({ "speed": { "log_uniform": [1.0, 2.0] } }));
        // What was resolved gives the same again.
        assert_eq!(resolve(Value::Object(table.clone())).unwrap().table(), table);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_would_be_right() {
        let mass = "a number from 0.5 to 1e9";
        for (given, key, message) in [
            (json!({ "mass": "heavy" }), "mass", format!("is \"heavy\"; must be {mass}")),
            (json!({ "mass": 0.25 }), "mass", format!("is 0.25; must be {mass}")),
            (json!({ "mass": 2e9 }), "mass", format!("is 2e9; must be {mass}")),
            (json!({ "mass": true }), "mass", format!("is true; must be {mass}")),
            (json!({ "mass": [1] }), "mass", format!("is an array; must be {mass}")),
            (json!({ "mass": null }), "mass", format!("is no finite number; must be {mass}")),
            (json!({ "share": "x" }), "share", "is \"x\"; must be a number".into()),
            (json!({ "factor": 0 }), "factor", "is 0; must be a number above 0, at most 10".into()),
            (json!({ "least": -3 }), "least", "is -3; must be a number, -2 or more".into()),
            (json!({ "most": 6 }), "most", "is 6; must be a number, at most 5".into()),
            (json!({ "maybe": 2 }), "maybe", "is 2; must be a number from 0 to 1".into()),
            (json!({ "count": 2.0 }), "count", "is 2; must be a whole number from 1 to 8".into()),
            (json!({ "count": 9 }), "count", "is 9; must be a whole number from 1 to 8".into()),
            (json!({ "is_on": 1 }), "is_on", "is 1; must be true or false".into()),
            (
                json!({ "ground": "mud" }),
                "ground",
                "is \"mud\"; must be \"ice\" or \"sand\"".into(),
            ),
            (json!({ "file": 3 }), "file", "is 3; must be a text in quotes".into()),
            (
                json!({ "pair": 3 }),
                "pair",
                "is 3; must be an array of 2 entries, each a number from 0 to 1".into(),
            ),
            (
                json!({ "pair": [0] }),
                "pair",
                "is an array of 1; must be an array of 2 entries, each a number from 0 to 1".into(),
            ),
            (
                json!({ "pair": [0, 2] }),
                "pair",
                "has an entry that is 2; must be a number from 0 to 1".into(),
            ),
            (json!({ "wind": 3 }), "wind", "is 3; must be a table".into()),
            (
                json!({ "wind": { "speed": 30 } }),
                "wind.speed",
                "is 30; must be a number from 0 to 20".into(),
            ),
        ] {
            let error = resolve(given.clone()).map(|_| ()).unwrap_err();
            assert_eq!(error, ParameterError::at(key, message), "{given}");
        }
    }

    #[test]
    fn a_wrong_distribution_is_named_with_what_would_be_right() {
        let number =
            "{ uniform = [low, high] }, { log_uniform = [low, high] } or { choice = [...] }";
        let pair = "that must be two numbers, [low, high]";
        for (given, message) in [
            (
                json!({ "uniform": [0.2, 1] }),
                "has a uniform that is 0.2; must be a number from 0.5 to 1e9".into(),
            ),
            (
                json!({ "uniform": [1, 2e9] }),
                "has a uniform that is 2e9; must be a number from 0.5 to 1e9".into(),
            ),
            (
                json!({ "choice": [1, "x"] }),
                "has a choice that is \"x\"; must be a number from 0.5 to 1e9".into(),
            ),
            (
                json!({ "uniform": [2, 1] }),
                "has the uniform [2, 1]; the first must be smaller".into(),
            ),
            (
                json!({ "uniform": [1, 1] }),
                "has the uniform [1, 1]; the first must be smaller".into(),
            ),
            (json!({ "uniform": [1] }), format!("has a uniform {pair}")),
            (json!({ "log_uniform": 3 }), format!("has a log_uniform {pair}")),
            (
                json!({ "choice": [] }),
                "has a choice that must be an array of one value or more".into(),
            ),
            (
                json!({ "choice": 3 }),
                "has a choice that must be an array of one value or more".into(),
            ),
            (
                json!({ "unifrm": [1, 2] }),
                format!("has no distribution `unifrm`; there is: {number}"),
            ),
            (
                json!({ "uniform": [1, 2], "choice": [1] }),
                format!("is a table; must be a number from 0.5 to 1e9 or a distribution: {number}"),
            ),
            (
                json!({}),
                format!("is a table; must be a number from 0.5 to 1e9 or a distribution: {number}"),
            ),
        ] {
            let error = resolve(json!({ "mass": given })).map(|_| ()).unwrap_err();
            assert_eq!(error, ParameterError::at("mass", message), "{given}");
        }
        for (key, given, message) in [
            (
                "least",
                json!({ "log_uniform": [0, 1] }),
                "has a log_uniform that begins at 0; must be above 0",
            ),
            (
                "count",
                json!({ "log_uniform": [1, 2] }),
                "has no distribution `log_uniform`; there is: { uniform = [low, high] } or { choice = [...] }",
            ),
            (
                "count",
                json!({ "uniform": [1, 2.5] }),
                "has a uniform that is 2.5; must be a whole number from 1 to 8",
            ),
            (
                "is_on",
                json!({ "uniform": [0, 1] }),
                "has no distribution `uniform`; there is: { choice = [...] }",
            ),
        ] {
            let error = resolve(json!({ key: given })).map(|_| ()).unwrap_err();
            assert_eq!(error, ParameterError::at(key, message), "{given}");
        }
    }

    #[test]
    fn unknown_keys_come_with_those_that_there_are() {
        let error = resolve(json!({ "wind": { "sped": 3 } })).map(|_| ()).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("wind.sped"));
        assert_eq!(error.known, ["speed"]);
        assert_eq!(error.to_string(), "wind.sped: is no key here; there is: speed");
        let error = resolve(json!({ "masss": 3 })).map(|_| ()).unwrap_err();
        assert!(error.known.contains(&"mass".to_owned()) && error.known.len() == 13);
        let given = json!({ "mass": 3 });
        let error = Resolved::new::<NoParameters>(given.as_object().unwrap()).map(|_| ());
        let message = "mass: is no key here: this environment takes no parameters";
        assert_eq!(error.unwrap_err().to_string(), message);
    }

    #[test]
    fn what_only_the_type_refuses_is_named_too() {
        // A u64 of more than 8 bits: the schema has a bound for it, a type of the user's own may not.
        let mut values = defaults::<Everything>();
        values.insert("large".into(), json!(300));
        let error = parse::<Everything>(&values).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("large"));
        assert!(error.message.starts_with("is 300: invalid value"), "{error}");
    }

    #[test]
    fn the_schema_says_all_that_the_struct_says() {
        let schema = schema::<Everything>();
        let mass = json!({
            "description": "Two lines.", "type": "number", "minimum": 0.5, "maximum": 1e9,
            "default": 2.0, "unit": "kg",
        });
        assert_eq!(schema["properties"]["mass"], mass);
        assert_eq!(schema["properties"]["maybe"]["type"], "number");
        assert_eq!(schema["properties"]["wind"]["properties"]["speed"]["default"], 3.0);
        assert!(!schema.to_string().contains("$ref"), "{schema}");

        let either = with_distributions(schema);
        let mass = &either["properties"]["mass"];
        assert_eq!([&mass["unit"], &mass["default"]], [&json!("kg"), &json!(2.0)]);
        assert_eq!(mass["anyOf"][0]["maximum"], 1e9);
        let kinds = &mass["anyOf"][1]["properties"];
        assert_eq!(kinds["uniform"]["items"]["minimum"], 0.5);
        assert_eq!(kinds["log_uniform"]["allOf"][1]["items"]["exclusiveMinimum"], 0);
        let ground = &either["properties"]["ground"]["anyOf"][1]["properties"];
        assert!(ground["choice"].is_object() && ground["uniform"].is_null());
        let speed = &either["properties"]["wind"]["properties"]["speed"];
        assert!(speed["anyOf"][1]["properties"]["uniform"].is_object());
    }
}
