//! Environments by name.

use crate::arm::Arm;
use crate::budget::Budget;
use crate::cartpole::CartPole;
use crate::cliff::Cliff;
use crate::environment::{Environment, Spec};
use crate::gusty::Gusty;
use crate::parameters::{self, NoParameters, Resolved, parse};
use crate::parameters::{ParameterError, Parametric};
use crate::pendulum::Pendulum;
#[cfg(unix)]
use crate::process::{self, ProcessParameters};
use crate::randomized::Randomized;
use crate::reach::Reach;
use crate::task::{Maker, Task, TaskConfig, maker};
use serde_json::{Map, Value};

/// One registered environment.
///
/// ```
/// use envs::{CartPole, Entry, TaskConfig};
/// use serde_json::json;
///
/// let entry = Entry::with_parameters::<CartPole>("pole", "a pole of one's own");
/// assert_eq!(entry.defaults()["pole_mass"], 0.1);
/// assert_eq!(entry.schema()["properties"]["pole_mass"]["unit"], "kg");
///
/// let parameters = json!({ "pole_mass": 0.2 }).as_object().unwrap().clone();
/// let task = entry.task(&TaskConfig { parameters, ..TaskConfig::default() })?;
/// assert_eq!((task.name(), &task.parameters()["pole_mass"]), ("pole", &json!(0.2)));
///
/// let parameters = json!({ "pole_mas": 0.2 }).as_object().unwrap().clone();
/// let error = entry.task(&TaskConfig { parameters, ..TaskConfig::default() }).unwrap_err();
/// assert_eq!(error.key.as_deref(), Some("parameters.pole_mas"));
/// assert!(error.known.contains(&"pole_mass".to_owned()));
/// # Ok::<(), envs::ParameterError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name that `env.name` gives in a configuration.
    pub name: &'static str,
    /// One line for `trainer list`.
    pub description: &'static str,
    schema: fn() -> Value,
    defaults: fn() -> Map<String, Value>,
    resolve: fn(&Map<String, Value>) -> Result<Resolved, ParameterError>,
    build: fn(Resolved) -> Result<(Maker, Spec), ParameterError>,
}

impl Entry {
    /// An entry for the environment type `E`, made by its `Default`.
    #[must_use]
    pub fn of<E: Environment + Default + 'static>(
        name: &'static str,
        description: &'static str,
    ) -> Entry {
        Entry {
            name,
            description,
            schema: parameters::schema::<NoParameters>,
            defaults: Map::new,
            resolve: Resolved::new::<NoParameters>,
            build: |_| Ok((maker(|| Box::new(E::default())), E::default().spec())),
        }
    }

    /// An entry for the environment type `E`, which takes parameters.
    #[must_use]
    pub fn with_parameters<E: Parametric>(name: &'static str, description: &'static str) -> Entry {
        Entry {
            name,
            description,
            schema: parameters::schema::<E::Parameters>,
            defaults: parameters::defaults::<E::Parameters>,
            resolve: Resolved::new::<E::Parameters>,
            build: |resolved| {
                if resolved.draws.is_empty() {
                    Ok(copies_of(E::new(parse(&resolved.values)?)?))
                } else {
                    Ok(copies_of(Randomized::<E>::new(resolved)?))
                }
            },
        }
    }

    /// Environments in other processes.
    #[cfg(unix)]
    fn process() -> Entry {
        Entry {
            name: "process",
            description: "any environment in another process: Gymnasium's, your own in Python or C++",
            schema: parameters::schema::<ProcessParameters>,
            defaults: parameters::defaults::<ProcessParameters>,
            resolve: Resolved::new::<ProcessParameters>,
            build: process::build,
        }
    }

    /// The JSON Schema of the parameters, one property each: `description`, `type`, `default`, range,
    /// and `unit` where it has one. Nothing is referred to, everything is inside.
    #[must_use]
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// The JSON Schema of `[env.parameters]` in a configuration: that of [`Entry::schema`], and each
    /// value may be a distribution.
    #[must_use]
    pub fn schema_with_distributions(&self) -> Value {
        parameters::with_distributions(self.schema())
    }

    /// Every parameter with its default; one that is off by default is left out.
    #[must_use]
    pub fn defaults(&self) -> Map<String, Value> {
        (self.defaults)()
    }

    /// The parameters that are paths of files.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let schema = self.schema();
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties.filter(|(_, one)| one["file"] == true).map(|(key, _)| key.clone()).collect()
    }

    /// The environment with parameters and all that holds around it.
    ///
    /// # Errors
    /// The first key that is unknown, of another type, out of its range, or does not go together with
    /// the others. Its key is one below `[env]`: `parameters.pole_mass`, `action_delay`.
    pub fn task(&self, config: &TaskConfig) -> Result<Task, ParameterError> {
        let inside = |error: ParameterError| error.inside("parameters");
        let resolved = (self.resolve)(&config.parameters).map_err(inside)?;
        let table = resolved.table();
        let (maker, spec) = (self.build)(resolved).map_err(inside)?;
        Task::new(self.name, (table, self.files()), maker, spec, config)
    }
}

/// Makes copies of an environment.
fn copies_of<E: Environment + Clone + Sync + 'static>(environment: E) -> (Maker, Spec) {
    let spec = environment.spec();
    (maker(move || Box::new(environment.clone())), spec)
}

/// The environments that can be asked for by name.
///
/// ```
/// use envs::{Entry, Environments, Reach};
///
/// let crane = Entry::with_parameters::<Reach>("crane", "one more arm");
/// let environments = Environments::default().with(crane);
/// assert!(environments.get("cartpole").is_some() && environments.get("moon").is_none());
/// assert_eq!(environments.entries().last().map(|entry| entry.name), Some("crane"));
/// ```
#[derive(Clone, Debug)]
pub struct Environments {
    entries: Vec<Entry>,
}

impl Default for Environments {
    /// The built-in environments: one line each.
    fn default() -> Self {
        let environments = Environments { entries: Vec::new() }
            .with(Entry::with_parameters::<CartPole>(
                "cartpole",
                "keep a pole upright on a cart (Gymnasium's CartPole-v1)",
            ))
            .with(Entry::with_parameters::<Pendulum>(
                "pendulum",
                "swing a pendulum up and hold it (Gymnasium's Pendulum-v1)",
            ))
            .with(Entry::with_parameters::<Reach>(
                "reach",
                "move a two-link arm's gripper to an object and grasp it",
            ))
            .with(Entry::with_parameters::<Cliff>(
                "cliff",
                "the 4x12 cliff walk of Sutton and Barto, one-hot observations",
            ))
            .with(Entry::with_parameters::<Gusty>(
                "gusty",
                "the cliff walk in gusts of wind; cost: falls",
            ))
            .with(Entry::with_parameters::<Budget>(
                "budget",
                "bring a cart to rest at the origin; cost: energy",
            ))
            .with(Entry::with_parameters::<Arm>(
                "arm",
                "move the tip of a robot, from its URDF file, to an object and grasp it",
            ));
        #[cfg(unix)]
        let environments = environments.with(Entry::process());
        environments
    }
}

impl Environments {
    /// The registry with one more environment; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, entry: Entry) -> Environments {
        self.entries.retain(|known| known.name != entry.name);
        self.entries.push(entry);
        self
    }

    /// All entries, in the order of registration.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All entries but `process`: those that are an environment by themselves.
    pub fn simulated(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.name != "process")
    }

    /// The entry of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.name == name).copied()
    }
}
