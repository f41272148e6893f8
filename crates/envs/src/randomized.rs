//! Domain randomisation: parameters that each episode draws for itself.

use crate::drawing::Drawing;
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::parameters::{Resolved, check, drawn, expected, parse, shown};
use crate::rng::Rng;
use crate::space::{Action, Space};
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
pub(crate) enum ParameterDistribution {
    /// A number between two bounds.
    Uniform(f64, f64),
    /// A number between two positive bounds, whose logarithm is uniform.
    LogUniform(f64, f64),
    /// A whole number between two bounds, which belong to it.
    Whole(i64, i64),
    /// One of a list.
    Choice(Vec<Value>),
}

impl ParameterDistribution {
    /// Reads `{ uniform = [0.3, 0.8] }` and the like, for a key of this schema; what is wrong
    /// otherwise.
    pub(crate) fn parse(table: &Map<String, Value>, schema: &Value) -> Result<Self, String> {
        let schema = drawn(schema);
        let kind = schema["type"].as_str().unwrap_or_default();
        if schema["file"] == true {
            return Err("is a table; must be the path of a file, in quotes".into());
        }
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
                Some(values) if !values.is_empty() => Ok(ParameterDistribution::Choice(
                    values.iter().map(each).collect::<Result<_, _>>()?,
                )),
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
                        Ok(ParameterDistribution::Whole(low, high))
                    }
                    _ if kind == "integer" => {
                        Err(format!("has a {name} that must stay within 2^53 of 0"))
                    }
                    _ if name == "uniform" => {
                        Ok(ParameterDistribution::Uniform(numbers.0, numbers.1))
                    }
                    _ if numbers.0 > 0.0 => {
                        Ok(ParameterDistribution::LogUniform(numbers.0, numbers.1))
                    }
                    _ => {
                        Err(format!("has a {name} that begins at {}; must be above 0", shown(low)))
                    }
                }
            }
            _ => Err(format!("has no distribution `{name}`; there is: {right}")),
        }
    }

    /// What [`ParameterDistribution::parse`] reads.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            ParameterDistribution::Uniform(low, high) => json!({ "uniform": [low, high] }),
            ParameterDistribution::LogUniform(low, high) => json!({ "log_uniform": [low, high] }),
            ParameterDistribution::Whole(low, high) => json!({ "uniform": [low, high] }),
            ParameterDistribution::Choice(values) => json!({ "choice": values }),
        }
    }

    /// Draws a number: the value, or of a choice its index.
    fn draw(&self, rng: &mut Rng) -> f64 {
        match self {
            ParameterDistribution::Uniform(low, high) => rng.random_range(*low..*high),
            ParameterDistribution::LogUniform(low, high) => {
                rng.random_range(low.ln()..high.ln()).exp().clamp(*low, *high)
            }
            ParameterDistribution::Whole(low, high) => rng.random_range(*low..=*high) as f64,
            ParameterDistribution::Choice(values) => {
                rng.random_range(0..values.len() as u64) as f64
            }
        }
    }

    /// The value of a drawn number.
    pub(crate) fn value(&self, drawn: f64) -> Value {
        match self {
            ParameterDistribution::Uniform(..) | ParameterDistribution::LogUniform(..) => {
                drawn.into()
            }
            ParameterDistribution::Whole(..) => (drawn as i64).into(),
            ParameterDistribution::Choice(values) => values[drawn as usize].clone(),
        }
    }

    /// Whether the number can have been drawn.
    fn can_be(&self, drawn: f64) -> bool {
        match self {
            ParameterDistribution::Uniform(low, high)
            | ParameterDistribution::LogUniform(low, high) => (*low..=*high).contains(&drawn),
            ParameterDistribution::Whole(low, high) => {
                (*low as f64..=*high as f64).contains(&drawn) && drawn.fract() == 0.0
            }
            ParameterDistribution::Choice(values) => {
                (0.0..values.len() as f64).contains(&drawn) && drawn.fract() == 0.0
            }
        }
    }

    /// Both ends, or every choice, as drawn numbers.
    pub(crate) fn ends(&self) -> Vec<f64> {
        match self {
            ParameterDistribution::Uniform(low, high)
            | ParameterDistribution::LogUniform(low, high) => {
                vec![*low, *high]
            }
            ParameterDistribution::Whole(low, high) => vec![*low as f64, *high as f64],
            ParameterDistribution::Choice(values) => {
                (0..values.len()).map(|index| index as f64).collect()
            }
        }
    }
}

/// A parameter that is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draw {
    /// Its key, one name a table.
    pub(crate) path: Vec<String>,
    /// What it is drawn from.
    pub(crate) distribution: ParameterDistribution,
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
            step_seconds: self
                .spec
                .step_seconds
                .filter(|_| self.spec.step_seconds == spec.step_seconds),
            ..self.spec.clone()
        };
        // Names say what the first one is.
        let bounded = Spec {
            reports_success: spec.reports_success,
            max_episode_steps: spec.max_episode_steps,
            reward_terms: spec.reward_terms.clone(),
            costs: spec.costs.clone(),
            ..merged.clone()
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
        let expected = count + self.environment.state().len();
        if state.len() != expected {
            return Err(StateError::Length { expected, found: state.len() });
        }
        let (drawn, rest) = state.split_at(count);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{CartPole, Entry, Environments, Stream, Task, TaskConfig, VectorEnv, stream};
    use schemars::JsonSchema;
    use serde::Serialize;

    fn task(entry: &Entry, parameters: Value) -> Result<Task, ParameterError> {
        let parameters = parameters.as_object().unwrap().clone();
        entry.task(&TaskConfig { parameters, ..TaskConfig::default() })
    }

    fn built_in(name: &str, parameters: Value) -> Result<Task, ParameterError> {
        task(&Environments::default().get(name).unwrap(), parameters)
    }

    fn numbers(distribution: &ParameterDistribution) -> Vec<f64> {
        let mut rng = stream(5, Stream::Environment(0));
        let draws: Vec<f64> = (0..10_000).map(|_| distribution.draw(&mut rng)).collect();
        assert!(draws.iter().all(|&drawn| distribution.can_be(drawn)));
        draws
    }

    #[test]
    fn draws_have_the_distribution_that_was_asked_for() {
        // Shares within 4 standard deviations of 10,000 draws, 0.02.
        let below = |draws: &[f64], bound: f64| {
            draws.iter().filter(|&&drawn| drawn < bound).count() as f64 / draws.len() as f64
        };
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.02, "{found}");
        near(below(&numbers(&ParameterDistribution::Uniform(1.0, 9.0)), 3.0), 0.25);
        // As much below the geometric mean as above it.
        near(below(&numbers(&ParameterDistribution::LogUniform(0.01, 100.0)), 1.0), 0.5);
        near(below(&numbers(&ParameterDistribution::LogUniform(0.01, 100.0)), 0.1), 0.25);
        let whole = numbers(&ParameterDistribution::Whole(-1, 2));
        for value in -1..=2 {
            near(
                whole.iter().filter(|&&drawn| drawn == f64::from(value)).count() as f64 / 1e4,
                0.25,
            );
        }
        let choice = ParameterDistribution::Choice(vec![json!(5.0), json!(7.0)]);
        near(below(&numbers(&choice), 0.5), 0.5);
        assert_eq!([choice.value(0.0), choice.value(1.0)], [json!(5.0), json!(7.0)]);
    }

    #[test]
    fn each_episode_draws_its_own_and_the_rest_stays() {
        let parameters = json!({ "pole_half_length": { "uniform": [0.3, 0.8] }, "force": 8 });
        let task = built_in("cartpole", parameters).unwrap();
        let mut rng = stream(1, Stream::Environment(0));
        let mut environment = task.make();
        let mut seen = Vec::new();
        for _ in 0..50 {
            // First the parameter is drawn, then the environment draws its own.
            let mut own = rng.clone();
            let expected = own.random_range(0.3..0.8);
            environment.reset(&mut rng);
            let mut state = environment.state();
            let half_length = state.remove(0);
            assert!(half_length == expected && !seen.contains(&half_length));
            seen.push(half_length);
            let mut plain = CartPole::default();
            plain.reset(&mut own);
            assert_eq!(state, plain.state());

            // It is the cart-pole of that length, from the same state on.
            let parameters = crate::CartPoleParameters {
                pole_half_length: half_length,
                force: 8.0,
                ..crate::CartPoleParameters::default()
            };
            let mut plain = CartPole::new(parameters).unwrap();
            plain.set_state(&state).unwrap();
            for _ in 0..20 {
                let action = Action::Discrete(1);
                assert_eq!(environment.step(action, &mut rng), plain.step(action, &mut rng));
                assert_eq!(environment.state()[1..], plain.state());
                let mut observations = [[0.0; 4]; 2];
                environment.observe(&mut observations[0]);
                plain.observe(&mut observations[1]);
                assert_eq!(observations[0], observations[1]);
            }
        }
    }

    #[test]
    fn without_distributions_the_streams_are_left_alone() {
        let fixed = built_in("cartpole", json!({ "force": 8.0 })).unwrap();
        let mut rngs = [stream(1, Stream::Environment(0)), stream(1, Stream::Environment(0))];
        let mut environment = fixed.make();
        environment.reset(&mut rngs[0]);
        let mut plain = CartPole::default();
        plain.reset(&mut rngs[1]);
        assert_eq!(environment.state(), plain.state());
        assert_eq!(rngs[0], rngs[1]);
    }

    #[test]
    fn bounds_hold_all_that_can_be_drawn() {
        let drawn = json!({ "max_torque": { "choice": [1.0, 3.0, 2.0] } });
        let task = built_in("pendulum", drawn).unwrap();
        assert_eq!(task.spec().action_space, Space::symmetric_box(1, 3.0));
        let limits = json!({ "max_position": { "uniform": [1, 2] }, "max_angle": 0.5 });
        let task = built_in("cartpole", limits).unwrap();
        let Space::Box { high, .. } = &task.spec().observation_space else { panic!("a box") };
        assert_eq!([high[0], high[2]], [4.0, 1.0]);
    }

    #[test]
    fn combinations_that_the_environment_refuses_are_found_before_the_first_episode() {
        let radii = json!({
            "min_object_radius": { "uniform": [0.1, 0.5] },
            "max_object_radius": { "uniform": [0.4, 0.9] },
        });
        let error = built_in("reach", radii).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("parameters.min_object_radius"));
        let message = "is 0.5; must be below max_object_radius, which is 0.4 (the bounds of what is \
                       drawn allow it)";
        assert_eq!(error.message, message);
        // With others that are good at every end.
        let radii = json!({
            "min_object_radius": { "uniform": [0.1, 0.3] },
            "max_object_radius": { "uniform": [0.4, 0.9] },
        });
        assert!(built_in("reach", radii).is_ok());
    }

    /// Shows its number as often as `width` says; refuses numbers between 1 and 2.
    #[derive(Clone)]
    struct Picky {
        parameters: PickyParameters,
    }

    #[derive(Clone, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct PickyParameters {
        width: usize,
        number: f64,
    }

    impl Default for PickyParameters {
        fn default() -> Self {
            PickyParameters { width: 2, number: 0.0 }
        }
    }

    impl Parametric for Picky {
        type Parameters = PickyParameters;

        fn new(parameters: PickyParameters) -> Result<Self, ParameterError> {
            if parameters.number > 1.0 && parameters.number < 2.0 {
                return Err(ParameterError::new("can't stand that number"));
            }
            Ok(Picky { parameters })
        }
    }

    impl Environment for Picky {
        fn spec(&self) -> Spec {
            let space = Space::symmetric_box(self.parameters.width, f32::INFINITY);
            Spec::new(space, Space::Discrete { n: 2 }, 10)
        }

        fn reset(&mut self, _rng: &mut Rng) {}

        fn step(&mut self, _action: Action<'_>, _rng: &mut Rng) -> Step {
            Step::default()
        }

        fn observe(&self, observation: &mut [f32]) {
            observation.fill(self.parameters.number as f32);
        }

        fn state(&self) -> Vec<f64> {
            Vec::new()
        }

        fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
            StateError::read::<0>(state).map(drop)
        }
    }

    #[test]
    fn a_key_that_changes_what_the_environment_is_can_not_be_drawn() {
        let picky = Entry::with_parameters::<Picky>("picky", "");
        assert_eq!(
            task(&picky, json!({ "width": 5 })).unwrap().spec().observation_space.width(),
            5
        );
        let error = task(&picky, json!({ "width": { "choice": [2, 3] } })).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("parameters.width"));
        assert!(error.message.starts_with("can't be drawn: it changes the number of"), "{error}");
        assert!(task(&picky, json!({ "width": { "choice": [3, 3] } })).is_ok());
    }

    #[test]
    fn a_combination_that_is_refused_is_drawn_again() {
        let picky = Entry::with_parameters::<Picky>("picky", "");
        let task = task(&picky, json!({ "number": { "uniform": [0, 3] } })).unwrap();
        let mut environment = task.make();
        let mut rng = stream(1, Stream::Environment(0));
        let mut sides = [0; 2];
        for _ in 0..100 {
            environment.reset(&mut rng);
            let number = environment.state()[0];
            assert!(!(1.0..2.0).contains(&number), "{number}");
            sides[usize::from(number > 1.0)] += 1;
        }
        assert!(sides[0] > 30 && sides[1] > 30, "{sides:?}");
    }

    #[test]
    fn drawn_values_come_back_with_the_state() {
        let drawn = json!({
            "link1_mass": { "uniform": [0.5, 2.0] },
            "joint_friction": { "choice": [0.05, 0.2] },
        });
        let task = built_in("reach", drawn).unwrap();
        let mut rng = stream(1, Stream::Environment(0));
        let mut environment = task.make();
        environment.reset(&mut rng);
        environment.step(Action::Continuous(&[0.3, -0.2]), &mut rng);
        let state = environment.state();
        assert_eq!(state.len(), 2 + 6);
        let mut other = task.make();
        other.reset(&mut rng);
        other.set_state(&state).unwrap();
        for _ in 0..20 {
            let action = Action::Continuous(&[0.7, 0.1]);
            assert_eq!(environment.step(action, &mut rng), other.step(action, &mut rng));
            assert_eq!(environment.state(), other.state());
        }
    }

    #[test]
    fn a_state_that_can_not_have_been_is_refused() {
        let drawn = json!({
            "link1_mass": { "uniform": [0.5, 2.0] },
            "joint_friction": { "choice": [0.05, 0.2] },
        });
        let mut environment = built_in("reach", drawn).unwrap().make();
        let good = environment.state();
        for (index, number) in [(0, 2.0), (0, -1.0), (0, 0.5), (1, 0.4), (1, 2.1), (1, f64::NAN)] {
            let mut state = good.clone();
            state[index] = number;
            let error = environment.set_state(&state).unwrap_err();
            assert!(matches!(error, StateError::Value { index: at, .. } if at == index), "{error}");
        }
        let short = StateError::Length { expected: 8, found: 7 };
        assert_eq!(environment.set_state(&good[1..]), Err(short));
        let shorter = StateError::Length { expected: 8, found: 1 };
        assert_eq!(environment.set_state(&good[..1]), Err(shorter));
        assert_eq!(environment.set_state(&good), Ok(()));
    }

    #[test]
    fn what_is_drawn_depends_on_the_seed_and_the_index_alone() {
        let parameters =
            json!({ "mass": { "uniform": [0.5, 2] }, "gravity": { "uniform": [8, 12] } });
        let task = built_in("pendulum", parameters).unwrap();
        let drawn = |seed, index| {
            let mut vector = VectorEnv::new(&task, seed, index, 1);
            for _ in 0..400 {
                vector.step(&[0.5]);
            }
            vector.state()
        };
        assert_eq!(drawn(1, 3), drawn(1, 3));
        assert_ne!(drawn(1, 3), drawn(2, 3));
        assert_ne!(drawn(1, 3), drawn(1, 4));
    }

    #[test]
    fn every_built_in_parameter_can_be_drawn_alone() {
        for entry in Environments::default().simulated() {
            for (key, value) in entry.defaults() {
                // The others are whole numbers, switches and names.
                let Some(value) = value.as_f64().filter(|_| value.is_f64()) else { continue };
                let pair = if value == 0.0 {
                    json!([0, 0.1])
                } else {
                    json!([value.min(1.01 * value), value.max(1.01 * value)])
                };
                let drawn = json!({ &key: { "uniform": pair } });
                let drawn =
                    task(entry, drawn).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
                let mut environment = drawn.make();
                environment.reset(&mut stream(1, Stream::Environment(0)));
                let found = environment.state()[0];
                assert!(
                    (found - value).abs() <= 0.1_f64.max(value.abs() * 0.011),
                    "{key}: {found}"
                );
            }
        }
    }
}
