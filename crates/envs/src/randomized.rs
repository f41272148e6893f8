//! Domain randomisation: parameters that each episode draws for itself.

use crate::parameters::{Resolved, check, expected, parse, shown};
use crate::{
    Action, Drawing, Environment, ParameterError, Parametric, Rng, Space, Spec, StateError, Step,
};
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Combinations of bounds that are tried before the first episode, at most.
const MAX_CORNERS: usize = 4096;

/// Combinations that an episode draws, at most, until the environment takes one.
const MAX_TRIES: usize = 1000;

/// Whole numbers beyond this are no `f64`, as which a checkpoint keeps them.
const MAX_WHOLE: i64 = 1 << 53;

/// What a parameter is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// A number between two bounds.
    Uniform(f64, f64),
    /// A number between two positive bounds, whose logarithm is uniform.
    LogUniform(f64, f64),
    /// A whole number between two bounds, which belong to it.
    Whole(i64, i64),
    /// One of a list.
    Choice(Vec<Value>),
}

impl Distribution {
    /// Reads `{ uniform = [0.3, 0.8] }` and the like, for a key of this schema; what is wrong
    /// otherwise.
    pub(crate) fn parse(table: &Map<String, Value>, schema: &Value) -> Result<Self, String> {
        let kind = schema["type"].as_str().unwrap_or_default();
        let right = match kind {
            "number" => {
                "{ uniform = [low, high] }, { log_uniform = [low, high] } or { choice = [...] }"
            }
            "integer" => "{ uniform = [low, high] } or { choice = [...] }",
            _ => "{ choice = [...] }",
        };
        let mut keys = table.iter();
        let (Some((name, given)), None) = (keys.next(), keys.next()) else {
            return Err(format!(
                "is a table; must be {} or a distribution: {right}",
                expected(schema)
            ));
        };
        let each = |value: &Value| {
            check(value, schema).map_err(|message| format!("has a {name} that {message}"))
        };
        match (name.as_str(), kind) {
            ("choice", _) => match given.as_array() {
                Some(values) if !values.is_empty() => {
                    Ok(Distribution::Choice(values.iter().map(each).collect::<Result<_, _>>()?))
                }
                _ => Err("has a choice that must be an array of one value or more".into()),
            },
            ("uniform" | "log_uniform", "number") | ("uniform", "integer") => {
                let pair = given.as_array().map(Vec::as_slice);
                let Some([low, high]) = pair else {
                    return Err(format!("has a {name} that must be two numbers, [low, high]"));
                };
                let ends = (each(low)?, each(high)?);
                let numbers = (ends.0.as_f64().unwrap_or(0.0), ends.1.as_f64().unwrap_or(0.0));
                if numbers.0 >= numbers.1 {
                    let (low, high) = (shown(low), shown(high));
                    return Err(format!(
                        "has the {name} [{low}, {high}]; the first must be smaller"
                    ));
                }
                match (ends.0.as_i64(), ends.1.as_i64()) {
                    (Some(low), Some(high)) if low >= -MAX_WHOLE && high <= MAX_WHOLE => {
                        Ok(Distribution::Whole(low, high))
                    }
                    _ if kind == "integer" => {
                        Err(format!("has a {name} that must stay within 2^53 of 0"))
                    }
                    _ if name == "uniform" => Ok(Distribution::Uniform(numbers.0, numbers.1)),
                    _ if numbers.0 > 0.0 => Ok(Distribution::LogUniform(numbers.0, numbers.1)),
                    _ => {
                        Err(format!("has a {name} that begins at {}; must be above 0", shown(low)))
                    }
                }
            }
            _ => Err(format!("has no distribution `{name}`; there is: {right}")),
        }
    }

    /// What [`Distribution::parse`] reads.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Distribution::Uniform(low, high) => json!({ "uniform": [low, high] }),
            Distribution::LogUniform(low, high) => json!({ "log_uniform": [low, high] }),
            Distribution::Whole(low, high) => json!({ "uniform": [low, high] }),
            Distribution::Choice(values) => json!({ "choice": values }),
        }
    }

    /// Draws a number: the value, or of a choice its index.
    fn draw(&self, rng: &mut Rng) -> f64 {
        match self {
            Distribution::Uniform(low, high) => rng.random_range(*low..*high),
            Distribution::LogUniform(low, high) => {
                rng.random_range(low.ln()..high.ln()).exp().clamp(*low, *high)
            }
            Distribution::Whole(low, high) => rng.random_range(*low..=*high) as f64,
            Distribution::Choice(values) => rng.random_range(0..values.len() as u64) as f64,
        }
    }

    /// The value of a drawn number.
    pub(crate) fn value(&self, drawn: f64) -> Value {
        match self {
            Distribution::Uniform(..) | Distribution::LogUniform(..) => drawn.into(),
            Distribution::Whole(..) => (drawn as i64).into(),
            Distribution::Choice(values) => values[drawn as usize].clone(),
        }
    }

    /// Whether the number can have been drawn.
    fn can_be(&self, drawn: f64) -> bool {
        match self {
            Distribution::Uniform(low, high) | Distribution::LogUniform(low, high) => {
                (*low..=*high).contains(&drawn)
            }
            Distribution::Whole(low, high) => {
                (*low as f64..=*high as f64).contains(&drawn) && drawn.fract() == 0.0
            }
            Distribution::Choice(values) => {
                (0.0..values.len() as f64).contains(&drawn) && drawn.fract() == 0.0
            }
        }
    }

    /// Both ends, or every choice, as drawn numbers.
    pub(crate) fn ends(&self) -> Vec<f64> {
        match self {
            Distribution::Uniform(low, high) | Distribution::LogUniform(low, high) => {
                vec![*low, *high]
            }
            Distribution::Whole(low, high) => vec![*low as f64, *high as f64],
            Distribution::Choice(values) => (0..values.len()).map(|index| index as f64).collect(),
        }
    }
}

/// A parameter that is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draw {
    /// Its key, one name a table.
    pub(crate) path: Vec<String>,
    /// What it is drawn from.
    pub(crate) distribution: Distribution,
}

impl Draw {
    /// Puts a value in the parameter's place.
    pub(crate) fn put(&self, table: &mut Value, value: Value) {
        let place = self.path.iter().try_fold(table, |table, key| table.get_mut(key));
        if let Some(place) = place {
            *place = value;
        }
    }
}

/// An environment whose parameters are drawn anew for each episode, from the stream that is handed to
/// `reset`, in the order of their keys. Its state begins with what was drawn.
#[derive(Clone)]
pub(crate) struct Randomized<E> {
    environment: E,
    draws: Vec<Draw>,
    /// What was drawn for this episode.
    drawn: Vec<f64>,
    /// All parameters of this episode.
    values: Value,
    spec: Spec,
}

impl<E: Parametric> Randomized<E> {
    /// The environment with these parameters, tried at the bounds of what is drawn: each parameter's
    /// alone, then all combinations if they are not too many.
    ///
    /// # Errors
    /// When the environment refuses a combination, or becomes one with another number of observations
    /// or the like.
    pub(crate) fn new(resolved: Resolved) -> Result<Randomized<E>, ParameterError> {
        let environment = E::new(parse(&resolved.values)?)?;
        let ends: Vec<Vec<f64>> =
            resolved.draws.iter().map(|draw| draw.distribution.ends()).collect();
        let mut randomized = Randomized {
            spec: environment.spec(),
            environment,
            drawn: ends.iter().map(|ends| ends[0]).collect(),
            draws: resolved.draws,
            values: Value::Object(resolved.values),
        };
        let first = randomized.drawn.clone();
        for (index, ends) in ends.iter().enumerate() {
            for &end in ends {
                randomized.drawn[index] = end;
                let key = randomized.draws[index].path.join(".");
                randomized.try_out().map_err(|error| match error.key {
                    Some(_) => error,
                    None => ParameterError::at(key, error.message),
                })?;
            }
            randomized.drawn[index] = first[index];
        }
        let corners =
            ends.iter().try_fold(1_usize, |product, ends| product.checked_mul(ends.len()));
        if let Some(corners) = corners.filter(|&corners| corners <= MAX_CORNERS) {
            for mut corner in 0..corners {
                for (drawn, ends) in randomized.drawn.iter_mut().zip(&ends) {
                    *drawn = ends[corner % ends.len()];
                    corner /= ends.len();
                }
                randomized.try_out()?;
            }
        }
        randomized.drawn = first;
        randomized.apply()?;
        Ok(randomized)
    }

    /// Gives the environment what was drawn.
    fn apply(&mut self) -> Result<(), ParameterError> {
        for (draw, &drawn) in self.draws.iter().zip(&self.drawn) {
            draw.put(&mut self.values, draw.distribution.value(drawn));
        }
        let parameters = E::Parameters::deserialize(&self.values)
            .map_err(|error| ParameterError::new(error.to_string()))?;
        self.environment.set_parameters(parameters)
    }

    /// Applies what was drawn, and widens the bounds to hold the environment that it gives.
    fn try_out(&mut self) -> Result<(), ParameterError> {
        self.apply().map_err(|error| {
            let message = format!("{} (the bounds of what is drawn allow it)", error.message);
            ParameterError { message, ..error }
        })?;
        let spec = self.environment.spec();
        let merged = Spec {
            observation_space: wider(&self.spec.observation_space, &spec.observation_space),
            action_space: wider(&self.spec.action_space, &spec.action_space),
            ..self.spec.clone()
        };
        let bounded = Spec {
            observation_space: merged.observation_space.clone(),
            action_space: merged.action_space.clone(),
            ..spec.clone()
        };
        let is_same = bounded == merged
            && shape(&spec.observation_space) == shape(&self.spec.observation_space)
            && shape(&spec.action_space) == shape(&self.spec.action_space);
        if !is_same {
            return Err(ParameterError::new(
                "can't be drawn: it changes the number of observations or actions, or what else the \
                 environment is",
            ));
        }
        self.spec = merged;
        Ok(())
    }
}

/// Kind and size of a space.
fn shape(space: &Space) -> (bool, usize) {
    match space {
        Space::Discrete { n } => (true, *n),
        Space::Box { low, .. } => (false, low.len()),
    }
}

/// Bounds that hold both of two boxes; the first of other spaces.
fn wider(one: &Space, other: &Space) -> Space {
    match (one, other) {
        (Space::Box { low, high }, Space::Box { low: other_low, high: other_high }) => Space::Box {
            low: low.iter().zip(other_low).map(|(a, b)| a.min(*b)).collect(),
            high: high.iter().zip(other_high).map(|(a, b)| a.max(*b)).collect(),
        },
        _ => one.clone(),
    }
}

impl<E: Parametric> Environment for Randomized<E> {
    fn spec(&self) -> Spec {
        self.spec.clone()
    }

    /// # Panics
    /// When the environment refuses [`MAX_TRIES`] combinations in a row, although it took the bounds.
    fn reset(&mut self, rng: &mut Rng) {
        let mut tries = 0;
        loop {
            for (drawn, draw) in self.drawn.iter_mut().zip(&self.draws) {
                *drawn = draw.distribution.draw(rng);
            }
            match self.apply() {
                Ok(()) => break,
                Err(error) if tries == MAX_TRIES => {
                    panic!("none of {MAX_TRIES} drawn combinations of parameters is good: {error}")
                }
                Err(_) => tries += 1,
            }
        }
        self.environment.reset(rng);
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        self.environment.step(action, rng)
    }

    fn observe(&self, observation: &mut [f32]) {
        self.environment.observe(observation);
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        self.environment.reward_terms(terms);
    }

    fn costs(&self, costs: &mut [f64]) {
        self.environment.costs(costs);
    }

    fn state(&self) -> Vec<f64> {
        [self.drawn.clone(), self.environment.state()].concat()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let count = self.draws.len();
        let Some((drawn, rest)) = state.split_at_checked(count) else {
            let expected = count + self.environment.state().len();
            return Err(StateError::Length { expected, found: state.len() });
        };
        for (index, (draw, &drawn)) in self.draws.iter().zip(drawn).enumerate() {
            if !draw.distribution.can_be(drawn) {
                let expected = "what the parameter can be drawn as";
                return Err(StateError::Value { index, found: drawn, expected });
            }
        }
        self.drawn.copy_from_slice(drawn);
        self.apply().map_err(|_| StateError::Value {
            index: 0,
            found: drawn[0],
            expected: "parameters that go together",
        })?;
        self.environment.set_state(rest).map_err(|error| error.moved(count))
    }

    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        self.environment.draw(action)
    }
}
