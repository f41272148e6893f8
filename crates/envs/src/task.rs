//! A task: an environment with its parameters and all that holds around it, ready to be run.

use crate::environment::{Environment, Spec};
use crate::parameters::ParameterError;
use crate::space::Space;
use crate::wrapper::{Wrapper, Wrapping};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a task is made of beside the environment's name. The default changes nothing.
///
/// ```
/// use envs::{ActionDelay, Environments, ObservationNoise, TaskConfig};
/// use serde_json::json;
///
/// let config: TaskConfig = serde_json::from_value(json!({
///     "parameters": { "mass": 1.5, "length": { "uniform": [0.8, 1.2] } },
///     "max_episode_steps": 100,
///     "observation_noise": 0.01,
///     "action_delay": { "uniform": [0, 2] },
///     "action_repeat": 2,
/// }))?;
/// assert_eq!(config.action_delay, Some(ActionDelay::Uniform { uniform: [0, 2] }));
/// let task = Environments::default().get("pendulum").unwrap().task(&config)?;
/// assert_eq!(task.spec().max_episode_steps, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// The environment's own parameters by name. A number may be a distribution, from which each
    /// episode draws its own: `{ uniform = [low, high] }`, `{ log_uniform = [low, high] }` or
    /// `{ choice = [...] }`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// The agent's steps after which an episode is truncated, instead of the environment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_EPISODE_STEPS), example = 500)]
    pub max_episode_steps: Option<u32>,
    /// Standard deviation of the Gaussian noise on observations: a number, or one for each number of
    /// an observation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.01)]
    pub observation_noise: Option<ObservationNoise>,
    /// Steps by which actions arrive late: a whole number, or a distribution from which each episode
    /// draws. Until the first one arrives the environment receives 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1)]
    pub action_delay: Option<ActionDelay>,
    /// Steps of the environment in each of the agent's, with the same action; rewards are summed.
    #[schemars(range(min = 1, max = MAX_ACTION_REPEAT))]
    pub action_repeat: u32,
}

/// Largest `max_episode_steps`.
const MAX_EPISODE_STEPS: u32 = 1_000_000_000;
/// Largest `action_repeat`.
const MAX_ACTION_REPEAT: u32 = 1000;
/// Largest `action_delay`, steps.
const MAX_ACTION_DELAY: u32 = 1000;
/// Largest deviation of `observation_noise`.
const MAX_NOISE: f64 = 1e6;

impl Default for TaskConfig {
    fn default() -> Self {
        TaskConfig {
            parameters: Map::new(),
            max_episode_steps: None,
            observation_noise: None,
            action_delay: None,
            action_repeat: 1,
        }
    }
}

/// Standard deviation of the noise on observations, in their units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "must be a number such as 0.01, or an array with one for each number of an observation"
)]
#[schemars(inline)]
pub enum ObservationNoise {
    /// The same for every number.
    All(#[schemars(range(min = 0.0, max = MAX_NOISE))] f64),
    /// One for each number of an observation.
    Each(#[schemars(inner(range(min = 0.0, max = MAX_NOISE)))] Vec<f64>),
}

/// Steps by which actions arrive late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "must be a whole number of steps, { uniform = [0, 3] } or { choice = [0, 2] }"
)]
#[schemars(inline)]
pub enum ActionDelay {
    /// Always the same.
    Steps(#[schemars(range(min = 0, max = MAX_ACTION_DELAY))] u32),
    /// Drawn for each episode, both bounds included.
    Uniform {
        /// The fewest and the most steps.
        #[schemars(inner(range(min = 0, max = MAX_ACTION_DELAY)))]
        uniform: [u32; 2],
    },
    /// One of a list for each episode.
    Choice {
        /// Numbers of steps.
        #[schemars(length(min = 1), inner(range(min = 0, max = MAX_ACTION_DELAY)))]
        choice: Vec<u32>,
    },
}

impl ActionDelay {
    /// The fewest and the most steps.
    pub(crate) fn bounds(&self) -> (u32, u32) {
        match self {
            ActionDelay::Steps(steps) => (*steps, *steps),
            ActionDelay::Uniform { uniform: [low, high] } => (*low, *high),
            ActionDelay::Choice { choice } => (
                choice.iter().copied().min().unwrap_or(0),
                choice.iter().copied().max().unwrap_or(0),
            ),
        }
    }
}

/// Makes so many copies of an environment that was made and checked before.
pub(crate) type Maker = Arc<dyn Fn(usize) -> Vec<Box<dyn Environment>> + Send + Sync>;

/// Makes copies one by one.
pub(crate) fn maker(make: impl Fn() -> Box<dyn Environment> + Send + Sync + 'static) -> Maker {
    Arc::new(move |copies| (0..copies).map(|_| make()).collect())
}

/// An environment with its parameters and all that holds around it: what is trained on, evaluated and
/// recorded. It is checked when an [`Entry`](crate::Entry) makes it; making copies can't fail.
///
/// ```
/// use envs::{Environments, Stream, TaskConfig, stream};
///
/// let environments = Environments::default();
/// let task = environments.get("cartpole").unwrap().task(&TaskConfig::default())?;
/// assert_eq!((task.name(), task.spec().max_episode_steps), ("cartpole", 500));
///
/// let mut environment = task.make();
/// environment.reset(&mut stream(1, Stream::Environment(0)));
/// let mut observation = vec![0.0; task.spec().observation_space.width()];
/// environment.observe(&mut observation);
/// assert!(observation.iter().all(|number| number.abs() <= 0.05));
/// # Ok::<(), envs::ParameterError>(())
/// ```
#[derive(Clone)]
pub struct Task {
    name: &'static str,
    parameters: Map<String, Value>,
    /// Parameters that are paths of files.
    files: Vec<String>,
    wrapping: Option<Wrapping>,
    spec: Spec,
    maker: Maker,
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.fingerprint())
    }
}

impl Task {
    /// The task of an environment that is `spec` by itself.
    ///
    /// # Errors
    /// A generic key that is out of its range, or a name in the spec that is none.
    pub(crate) fn new(
        name: &'static str,
        (parameters, files): (Map<String, Value>, Vec<String>),
        maker: Maker,
        mut spec: Spec,
        config: &TaskConfig,
    ) -> Result<Task, ParameterError> {
        names("term of its reward", &spec.reward_terms)?;
        names("cost", &spec.costs)?;
        if let Some(steps) = config.max_episode_steps {
            whole("max_episode_steps", steps, 1, MAX_EPISODE_STEPS)?;
            spec.max_episode_steps = steps;
        }
        whole("action_repeat", config.action_repeat, 1, MAX_ACTION_REPEAT)?;
        spec.step_seconds =
            spec.step_seconds.map(|seconds| seconds * f64::from(config.action_repeat));
        let noise = noise(config.observation_noise.as_ref(), spec.observation_space.width())?;
        let delay = delay(config.action_delay.as_ref())?;
        if let Space::Box { low, high } = &mut spec.observation_space {
            for ((low, high), deviation) in low.iter_mut().zip(high).zip(&noise) {
                if *deviation > 0.0 {
                    (*low, *high) = (f32::NEG_INFINITY, f32::INFINITY);
                }
            }
        }
        let is_wrapped = !noise.is_empty() || delay.is_some() || config.action_repeat > 1;
        let wrapping = Wrapping { noise, delay, repeat: config.action_repeat };
        Ok(Task { name, parameters, files, wrapping: is_wrapped.then_some(wrapping), spec, maker })
    }

    /// The task of environments that a function makes, all of them alike, without parameters and without an
    /// [`Entry`](crate::Entry).
    ///
    /// ```
    /// use envs::{CartPole, Task, VectorEnv};
    ///
    /// let task = Task::from_fn("pole", CartPole::default)?;
    /// let envs = VectorEnv::new(&task, 1, 0, 8);
    /// assert_eq!((envs.num_envs(), envs.spec().max_episode_steps), (8, 500));
    /// # Ok::<(), envs::ParameterError>(())
    /// ```
    ///
    /// # Errors
    /// When a term of its reward or a cost has a name that is none. [`check`](crate::check) finds more.
    pub fn from_fn<E: Environment + 'static>(
        name: &'static str,
        make: impl Fn() -> E + Send + Sync + 'static,
    ) -> Result<Task, ParameterError> {
        let spec = make().spec();
        Task::new(
            name,
            Default::default(),
            maker(move || Box::new(make())),
            spec,
            &TaskConfig::default(),
        )
    }

    /// The name of the environment.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the environment is here: with the time limit and the bounds of this task. Where parameters
    /// are drawn, bounds hold all that can be drawn.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Every parameter of the environment, defaults filled in; what is drawn as its distribution.
    #[must_use]
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// The files that parameters name, each with the parameter.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        let path = |key: &str| self.parameters.get(key).and_then(Value::as_str).map(Path::new);
        self.files.iter().filter_map(move |key| Some((key.as_str(), path(key)?)))
    }

    /// Makes one copy of the environment. Its time limit is for the caller to keep, as always.
    #[must_use]
    pub fn make(&self) -> Box<dyn Environment> {
        self.make_copies(1).remove(0)
    }

    /// Makes copies that are to be stepped together: those that work elsewhere are asked together.
    #[must_use]
    pub fn make_copies(&self, copies: usize) -> Vec<Box<dyn Environment>> {
        let environments = (self.maker)(copies);
        let Some(wrapping) = &self.wrapping else { return environments };
        let wrap = |environment| -> Box<dyn Environment> {
            Box::new(Wrapper::new(environment, wrapping, &self.spec))
        };
        environments.into_iter().map(wrap).collect()
    }

    /// A text that two tasks share exactly when they are the same: JSON with sorted keys, of the name,
    /// the version, every parameter, what holds around the environment, and its [`Spec`]. Of a file it has the name: where it
    /// is does not matter, and what is in it shows in the spec, or is for the caller to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // JSON has no infinity.
        let bound = |number: &f32| match number.is_finite() {
            true => Value::from(*number),
            false => Value::from(number.to_string()),
        };
        let bounds = |numbers: &[f32]| numbers.iter().map(bound).collect::<Value>();
        let space = |space: &Space| match space {
            Space::Discrete { n } => json!({ "n": n }),
            Space::Box { low, high } => json!({ "low": bounds(low), "high": bounds(high) }),
        };
        let mut parameters = self.parameters.clone();
        for (key, path) in self.files() {
            parameters
                .insert(key.into(), path.file_name().unwrap_or_default().to_string_lossy().into());
        }
        let (noise, delay, repeat) = match &self.wrapping {
            Some(wrapping) => (&wrapping.noise[..], wrapping.delay.as_ref(), wrapping.repeat),
            None => (&[][..], None, 1),
        };
        // How many processes there are, and how long they may take, is no part of what they do.
        let is_part = |key: &str| self.name != "process" || key == "command";
        parameters.retain(|key, _| is_part(key));
        sorted(&json!({
            "name": self.name,
            "version": self.spec.version,
            "parameters": parameters,
            "observation_noise": noise,
            "action_delay": delay,
            "action_repeat": repeat,
            "max_episode_steps": self.spec.max_episode_steps,
            "observation_space": space(&self.spec.observation_space),
            "action_space": space(&self.spec.action_space),
            "reports_success": self.spec.reports_success,
            "reward_terms": self.spec.reward_terms,
            "costs": self.spec.costs,
        }))
        .to_string()
    }
}

/// The same value with the keys of its tables in order, whatever order its tables keep.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(table) => {
            let mut keys: Vec<&String> = table.keys().collect();
            keys.sort();
            keys.into_iter().map(|key| (key.clone(), sorted(&table[key]))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn whole(key: &str, found: u32, low: u32, high: u32) -> Result<(), ParameterError> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    Err(ParameterError::at(key, format!("is {found}; must be a whole number from {low} to {high}")))
}

/// Checks names that become columns of a table.
fn names(what: &str, names: &[String]) -> Result<(), ParameterError> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |name: &str| !name.is_empty() && name.chars().all(is_part);
    let is_wrong = |(at, name): &(usize, &String)| !is_name(name) || names[..*at].contains(name);
    match names.iter().enumerate().find(is_wrong) {
        None => Ok(()),
        Some((_, name)) => {
            let right = "names are of letters, digits and _, each given once";
            Err(ParameterError::at(
                "name",
                format!("this environment has a {what} {name:?}; {right}"),
            ))
        }
    }
}

/// The deviation of each number of an observation; empty where there is no noise.
fn noise(given: Option<&ObservationNoise>, width: usize) -> Result<Vec<f64>, ParameterError> {
    let wrong = |message| Err(ParameterError::at("observation_noise", message));
    let deviations = match given {
        None => Vec::new(),
        Some(ObservationNoise::All(deviation)) => vec![*deviation; width],
        Some(ObservationNoise::Each(each)) if each.len() == width => each.clone(),
        Some(ObservationNoise::Each(each)) => {
            let count = each.len();
            return wrong(format!("has {count} numbers; an observation has {width}"));
        }
    };
    match deviations.iter().find(|&deviation| !(0.0..=MAX_NOISE).contains(deviation)) {
        Some(out) => wrong(format!("is {out}; must be a deviation from 0 to 1e6")),
        None if deviations.iter().all(|&deviation| deviation == 0.0) => Ok(Vec::new()),
        None => Ok(deviations),
    }
}

/// The delay, where there is one.
fn delay(given: Option<&ActionDelay>) -> Result<Option<ActionDelay>, ParameterError> {
    const KEY: &str = "action_delay";
    let Some(delay) = given else { return Ok(None) };
    match delay {
        ActionDelay::Uniform { uniform: [low, high] } if low >= high => {
            let message = format!("has the uniform [{low}, {high}]; the first must be smaller");
            return Err(ParameterError::at(KEY, message));
        }
        ActionDelay::Choice { choice } if choice.is_empty() => {
            let message = "has a choice that must be an array of one number or more";
            return Err(ParameterError::at(KEY, message));
        }
        _ => {}
    }
    let (_, most) = delay.bounds();
    whole(KEY, most, 0, MAX_ACTION_DELAY)?;
    Ok((most > 0).then(|| delay.clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Action, Environments, Rng, StateError, Step, Stream, stream};

    fn config(value: Value) -> TaskConfig {
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
    }

    fn cartpole(value: Value) -> Result<Task, ParameterError> {
        Environments::default().get("cartpole").unwrap().task(&config(value))
    }

    #[test]
    fn a_task_goes_to_other_threads() {
        fn goes<T: Clone + Send + Sync>(_: &T) {}
        goes(&cartpole(json!({})).unwrap());
    }

    #[test]
    fn the_default_changes_nothing() {
        let mut rng = stream(3, Stream::Environment(0));
        let mut environment = cartpole(json!({})).unwrap().make();
        environment.reset(&mut rng);
        assert_eq!(environment.state().len(), 4);
        assert_eq!(
            serde_json::to_value(TaskConfig::default()).unwrap(),
            json!({ "action_repeat": 1 })
        );
        // What does nothing is nothing.
        let idle = cartpole(json!({ "observation_noise": 0, "action_delay": 0 })).unwrap();
        assert_eq!(idle.fingerprint(), cartpole(json!({})).unwrap().fingerprint());
        assert_eq!(idle.make().state().len(), 4);
    }

    #[test]
    fn a_generic_key_out_of_its_range_is_named() {
        for (given, key, message) in [
            (
                json!({ "max_episode_steps": 0 }),
                "max_episode_steps",
                "is 0; must be a whole number from 1 to 1000000000",
            ),
            (
                json!({ "action_repeat": 0 }),
                "action_repeat",
                "is 0; must be a whole number from 1 to 1000",
            ),
            (
                json!({ "action_delay": 1001 }),
                "action_delay",
                "is 1001; must be a whole number from 0 to 1000",
            ),
            (
                json!({ "action_delay": { "uniform": [0, 2000] } }),
                "action_delay",
                "is 2000; must be a whole number from 0 to 1000",
            ),
            (
                json!({ "action_delay": { "uniform": [2, 2] } }),
                "action_delay",
                "has the uniform [2, 2]; the first must be smaller",
            ),
            (
                json!({ "action_delay": { "choice": [] } }),
                "action_delay",
                "has a choice that must be an array of one number or more",
            ),
            (
                json!({ "observation_noise": -0.5 }),
                "observation_noise",
                "is -0.5; must be a deviation from 0 to 1e6",
            ),
            (
                json!({ "observation_noise": [0, 0, 0, 1e7] }),
                "observation_noise",
                "is 10000000; must be a deviation from 0 to 1e6",
            ),
            (
                json!({ "observation_noise": [0.1, 0.1, 0.1] }),
                "observation_noise",
                "has 3 numbers; an observation has 4",
            ),
        ] {
            let error = cartpole(given.clone()).unwrap_err();
            assert_eq!(error, ParameterError::at(key, message), "{given}");
        }
        let nan = TaskConfig {
            observation_noise: Some(ObservationNoise::All(f64::NAN)),
            ..TaskConfig::default()
        };
        assert!(Environments::default().get("cartpole").unwrap().task(&nan).is_err());
    }

    /// An environment whose reward has these terms.
    struct Sum(&'static [&'static str]);

    impl Environment for Sum {
        fn spec(&self) -> Spec {
            let spec = Spec::new(Space::symmetric_box(1, 1.0), Space::Discrete { n: 2 }, 10);
            Spec { reward_terms: self.0.iter().map(|&name| name.into()).collect(), ..spec }
        }

        fn reset(&mut self, _rng: &mut Rng) {}

        fn step(&mut self, _action: Action<'_>, _rng: &mut Rng) -> Step {
            Step::default()
        }

        fn observe(&self, _observation: &mut [f32]) {}

        fn state(&self) -> Vec<f64> {
            vec![]
        }

        fn set_state(&mut self, _state: &[f64]) -> Result<(), StateError> {
            Ok(())
        }
    }

    #[test]
    fn names_that_can_be_no_column_are_refused() {
        let task = |terms: &'static [&'static str]| {
            let spec = Sum(terms).spec();
            let none = (Map::new(), Vec::new());
            Task::new("sum", none, Arc::new(|_| vec![]), spec, &config(json!({})))
        };
        assert!(task(&["distance", "effort_2"]).is_ok());
        for terms in [&["a", ""][..], &["a,b"], &["a\nb"], &["a/b"], &["a", "b", "a"]] {
            let error = task(terms).unwrap_err();
            assert_eq!(error.key.as_deref(), Some("name"), "{terms:?}");
            assert!(error.message.contains("letters, digits and _"), "{error}");
        }
    }

    #[test]
    fn a_generic_key_of_another_kind_says_what_it_takes() {
        let message =
            |value: Value| serde_json::from_value::<TaskConfig>(value).unwrap_err().to_string();
        let noise =
            "must be a number such as 0.01, or an array with one for each number of an observation";
        assert_eq!(message(json!({ "observation_noise": "loud" })), noise);
        let delay = "must be a whole number of steps, { uniform = [0, 3] } or { choice = [0, 2] }";
        for wrong in
            [json!(-1), json!(1.5), json!({ "uniform": [1] }), json!({ "log_uniform": [1, 2] })]
        {
            assert_eq!(message(json!({ "action_delay": wrong })), delay);
        }
        let both = json!({ "uniform": [0, 1], "choice": [1] });
        assert_eq!(message(json!({ "action_delay": both })), delay);
    }

    #[test]
    fn what_was_read_is_written_the_same() {
        let given = json!({
            "parameters": { "force": { "uniform": [8.0, 12.0] } },
            "max_episode_steps": 100,
            "observation_noise": [0.1, 0.0, 0.1, 0.0],
            "action_delay": { "choice": [0, 2] },
            "action_repeat": 2,
        });
        assert_eq!(serde_json::to_value(config(given.clone())).unwrap(), given);
    }

    #[test]
    fn the_fingerprint_tells_tasks_apart_and_nothing_else() {
        let print = |value: Value| cartpole(value).unwrap().fingerprint();
        let plain = print(json!({}));
        // Another way to write the same.
        assert_eq!(
            plain,
            print(json!({ "parameters": { "force": 10 }, "max_episode_steps": 500 }))
        );
        let all = [
            json!({ "parameters": { "force": 11 } }),
            json!({ "parameters": { "force": { "uniform": [10, 11] } } }),
            json!({ "parameters": { "force": { "uniform": [10, 12] } } }),
            json!({ "parameters": { "force": { "log_uniform": [10, 12] } } }),
            json!({ "parameters": { "force": { "choice": [10, 12] } } }),
            json!({ "max_episode_steps": 501 }),
            json!({ "observation_noise": 0.1 }),
            json!({ "observation_noise": [0.1, 0, 0, 0] }),
            json!({ "action_delay": 1 }),
            json!({ "action_delay": { "uniform": [0, 1] } }),
            json!({ "action_repeat": 2 }),
        ];
        let mut prints: Vec<String> = all.into_iter().map(print).collect();
        prints.push(plain.clone());
        let count = prints.len();
        prints.sort();
        prints.dedup();
        assert_eq!(prints.len(), count);
        let pendulum = Environments::default().get("pendulum").unwrap();
        assert_ne!(pendulum.task(&TaskConfig::default()).unwrap().fingerprint(), plain);

        // Written out once: it is in checkpoints.
        assert_eq!(
            plain,
            r#"{"action_delay":null,"action_repeat":1,"action_space":{"n":2},"costs":[],"max_episode_steps":500,"name":"cartpole","observation_noise":[],"observation_space":{"high":[4.800000190734863,"inf",0.41887903213500977,"inf"],"low":[-4.800000190734863,"-inf",-0.41887903213500977,"-inf"]},"parameters":{"cart_mass":1.0,"force":10.0,"gravity":9.8,"max_angle":0.20943951023931953,"max_position":2.4,"pole_half_length":0.5,"pole_mass":0.1,"reset_bound":0.05,"time_step":0.02},"reports_success":false,"reward_terms":[],"version":1}"#
        );
    }

    #[test]
    fn errors_of_parameters_and_of_generic_keys_have_keys_below_env() {
        let error = cartpole(json!({ "parameters": { "force": -1 } })).unwrap_err();
        assert_eq!(error.to_string(), "parameters.force: is -1; must be a number from 0 to 100000");
        let error = cartpole(json!({ "parameters": { "forse": 1 } })).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("parameters.forse"));
        assert_eq!(error.known.len(), 10);
    }
}
