//! What a checkpoint belongs to: the configuration that led to it, and the task that its policy was trained
//! on.

use super::config::Experiment;
use super::config::keys::{differences, flattened};
use crate::error::Error;
use envs::Task;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Keys, and tables of keys, that a run keeps from its first step to its last. All others say how it
/// goes on, and may be changed when it is resumed.
const KEPT: [&str; 8] = [
    "seed",
    "env",
    "network",
    "agent.algorithm",
    "agent.rollout_steps",
    "agent.gamma",
    "agent.constraint.cost",
    "agent.constraint.cost_gamma",
];

/// Several constraints are one value, so that they are kept as a whole.
const SEVERAL: &str = "agent.constraint";

/// Of those, what is no part of a task in other processes.
const OF_PROCESSES: [&str; 3] =
    ["env.parameters.processes", "env.parameters.start_timeout", "env.parameters.answer_timeout"];

/// Of those, what makes of a policy's parameters the function that it is.
const OF_POLICY: [&str; 4] =
    ["env.normalize_observations", "network.hidden", "network.activation", "network.squash"];

/// The configuration and the task that a checkpoint belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// All settings by their dotted keys, each as TOML writes it.
    settings: BTreeMap<String, String>,
    task: String,
}

impl Fingerprint {
    /// Of a run of this experiment in this environment.
    ///
    /// # Errors
    /// When the configuration can't be written as TOML, which validation rules out, or a file that it names
    /// can't be read.
    pub fn new(experiment: &Experiment, task: &Task) -> Result<Fingerprint, Error> {
        let mut settings = flattened(&experiment.to_table()?);
        if task.name() == "process" {
            settings.retain(|key, _| !OF_PROCESSES.contains(&&**key));
        }
        let mut parts: Value = serde_json::from_str(&task.fingerprint()).unwrap_or_default();
        // A file is what is in it, wherever it lies.
        for (key, path) in task.files() {
            let content = std::fs::read(path).map_err(Error::io("can't be read", path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!("{name} with the checksum {:08x}", crc32c::crc32c(&content));
            settings.insert(format!("env.parameters.{key}"), what.clone());
            parts["parameters"][key] = what.into();
        }
        Ok(Fingerprint { settings, task: parts.to_string() })
    }

    /// What differs between the checkpoint that has this fingerprint and a run that has the other, of what
    /// a run keeps: each key with both values.
    #[must_use]
    pub fn differences(&self, run: &Fingerprint) -> Vec<String> {
        differences(&self.settings, &run.settings, is_kept)
    }

    /// The same of all else, but for keys, and tables of them, that are known to have changed.
    #[must_use]
    pub fn edits(&self, run: &Fingerprint, known: &[String]) -> Vec<String> {
        differences(&self.settings, &run.settings, |key| {
            !is_kept(key) && !known.iter().any(|known| is_within(key, known))
        })
    }

    /// What a policy with this fingerprint has otherwise than the run that is to use it, so that its
    /// parameters are another function there: its network, and the shapes of what it sees and does.
    #[must_use]
    pub fn differences_of_policy(&self, run: &Fingerprint) -> Vec<String> {
        let of_network = differences(&self.settings, &run.settings, |key| OF_POLICY.contains(&key));
        let [there, here] = [self, run].map(|one| shapes(&one.task));
        let mut all = differences(&there, &here, |_| true);
        if !all.is_empty() {
            let environment = |of: &Fingerprint| of.settings.get("env.name").cloned();
            let [there, here] = [self, run].map(|one| environment(one).unwrap_or_default());
            all.insert(0, format!("the environment is {there} there and {here} here"));
        }
        all.extend(of_network);
        all
    }

    /// What differs between the tasks of a checkpoint and of a run: each part with both values.
    #[must_use]
    pub fn differences_of_task(&self, run: &Fingerprint) -> Vec<String> {
        differences_of_task(&self.task, &run.task)
    }
}

/// What differs between two tasks ([`Task::fingerprint`]): each part with both values.
#[must_use]
pub fn differences_of_task(there: &str, here: &str) -> Vec<String> {
    let [there, here] = [there, here].map(parts);
    differences(&there, &here, |_| true)
}

/// The parts of a task by their dotted names.
fn parts(task: &str) -> BTreeMap<String, String> {
    fn collect(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    let dot = if prefix.is_empty() { "" } else { "." };
                    collect(&format!("{prefix}{dot}{key}"), value, into);
                }
            }
            Value::String(text) => {
                into.insert(prefix.to_owned(), text.clone());
            }
            other => {
                into.insert(prefix.to_owned(), other.to_string());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect("", &serde_json::from_str(task).unwrap_or_default(), &mut found);
    found
}

/// The shapes of a task's observations and actions.
fn shapes(task: &str) -> BTreeMap<String, String> {
    let task: Value = serde_json::from_str(task).unwrap_or_default();
    let shape = |space: &Value| match (&space["n"], space["low"].as_array()) {
        (_, Some(bounds)) => format!("{} numbers", bounds.len()),
        (n, None) => format!("one of {n}"),
    };
    let spaces = [("an observation", "observation_space"), ("an action", "action_space")];
    spaces.map(|(what, key)| (what.to_owned(), shape(&task[key]))).into_iter().collect()
}

/// Whether a run keeps the value of this key.
fn is_kept(key: &str) -> bool {
    key == SEVERAL || KEPT.iter().any(|kept| is_within(key, kept))
}

/// Whether a dotted key is this one, or in this table.
fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::experiment::config::Source;
    use crate::registry::Registry;
    use std::path::Path;

    fn fingerprint(lines: &str) -> Fingerprint {
        let text = format!("env.name = 'pendulum'\nagent.algorithm = 'ppo'\n{lines}");
        let source = Source::new(Path::new("x.toml"), text, &[]);
        let (experiment, task) = Experiment::parse(&source, &Registry::default()).unwrap();
        Fingerprint::new(&experiment, &task).unwrap()
    }

    #[test]
    fn what_gives_state_its_meaning_is_kept_and_the_rest_may_change() {
        let one = fingerprint("");
        for (lines, difference) in [
            ("seed = 2", "seed is 1 there and 2 here"),
            ("agent.gamma = 0.5", "agent.gamma is 0.99 there and 0.5 here"),
            ("network.activation = 'relu'", "network.activation is tanh there and relu here"),
            ("network.squash = true", "network.squash is false there and true here"),
            ("network.hidden = [8]", "network.hidden is [64, 64] there and [8] here"),
            ("env.num_envs = 3", "env.num_envs is 8 there and 3 here"),
            ("env.action_repeat = 2", "env.action_repeat is 1 there and 2 here"),
            ("env.action_delay = 2", "env.action_delay is not given there and 2 here"),
            ("env.parameters.mass = 2", "env.parameters.mass is 1.0 there and 2.0 here"),
            (
                "env.parameters.mass = { uniform = [1, 2] }",
                "env.parameters.mass is 1.0 there and { uniform = [1.0, 2.0] } here",
            ),
        ] {
            assert_eq!(one.differences(&fingerprint(lines)), [difference]);
        }
        let other = "total_steps = 200_000\nname = 'y'\nbackend = 'ndarray'\nwarm_start = 'z'\n\
                     eval.episodes = 3\ncheckpoint.keep = 9\nagent.learning_rate = 0.1\n\
                     agent.gae_lambda = 0.5\nagent.epochs = 1\nagent.kl_penalty = {}";
        assert_eq!(one.differences(&fingerprint(other)), [] as [&str; 0]);
        let edited = fingerprint("agent.epochs = 1\neval.episodes = 3");
        let edits = one.edits(&edited, &["eval".to_owned()]);
        assert_eq!(edits, ["agent.epochs is 10 there and 1 here"]);
    }

    #[test]
    fn another_run_may_start_from_a_policy_whose_network_is_the_same() {
        let one = fingerprint("");
        let same = fingerprint("seed = 2\nagent.gamma = 0.5\nenv.num_envs = 3");
        assert_eq!(one.differences_of_policy(&same), [] as [&str; 0]);
        let relu = one.differences_of_policy(&fingerprint("network.activation = 'relu'"));
        assert_eq!(relu, ["network.activation is tanh there and relu here"]);
    }

    #[test]
    fn the_same_settings_of_another_task_are_told_apart() {
        let one = fingerprint("");
        let task = one.task.replace("\"version\":1", "\"version\":2");
        assert_ne!(task, one.task);
        let other = Fingerprint { task, ..one.clone() };
        assert_eq!(one.differences(&other), [] as [&str; 0]);
        assert_eq!(one.differences_of_task(&other), ["version is 1 there and 2 here"]);
        assert_eq!(one.differences_of_policy(&other), [] as [&str; 0]);
    }

    #[test]
    fn a_policy_of_another_shape_names_both_environments() {
        let other = "env.name = 'cartpole'\nagent.algorithm = 'ppo'".to_owned();
        let source = Source::new(Path::new("x.toml"), other, &[]);
        let (experiment, task) = Experiment::parse(&source, &Registry::default()).unwrap();
        let cartpole = Fingerprint::new(&experiment, &task).unwrap();
        let differences = [
            "the environment is cartpole there and pendulum here",
            "an action is one of 2 there and 1 numbers here",
            "an observation is 4 numbers there and 3 numbers here",
        ];
        assert_eq!(cartpole.differences_of_policy(&fingerprint("")), differences);
    }
}
