//! What a checkpoint belongs to: the part of a configuration that gives saved state its meaning.

use super::config::Experiment;
use super::config::keys::flattened;
use crate::error::Error;
use envs::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Keys, and tables of keys, that a run keeps from its first step to its last. All others say how it
/// goes on, and may be changed before it is resumed.
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

/// Of those, what a policy can't do without when another run starts from it.
const OF_POLICY: [&str; 4] =
    ["env.normalize_observations", "network.hidden", "network.activation", "network.squash"];

/// The configuration and the task that a checkpoint belongs to, as far as they must stay what they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Kept settings by their dotted keys, each as TOML writes it.
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
        settings.retain(|key, _| key == SEVERAL || KEPT.iter().any(|kept| is_within(key, kept)));
        if task.name() == "process" {
            settings.retain(|key, _| !OF_PROCESSES.contains(&&**key));
        }
        // A file is what is in it, wherever it lies.
        for (key, path) in task.files() {
            let content = std::fs::read(path).map_err(Error::io("can't be read", path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!("{name} with the checksum {:08x}", crc32c::crc32c(&content));
            settings.insert(format!("env.parameters.{key}"), what);
        }
        Ok(Fingerprint { settings, task: task.fingerprint() })
    }

    /// What differs between the checkpoint that has this fingerprint and a run that has the other: each
    /// key with both values.
    #[must_use]
    pub fn differences(&self, run: &Fingerprint) -> Vec<String> {
        let mut differences = self.differing(run, |_| true);
        // Settings of the environment say more than what they lead to.
        if differences.is_empty() && self.task != run.task {
            differences.push(format!("the task is {} there and {} here", self.task, run.task));
        }
        differences
    }

    /// What a policy with this fingerprint has otherwise than the run that is to start from it.
    #[must_use]
    pub fn differences_of_policy(&self, run: &Fingerprint) -> Vec<String> {
        self.differing(run, |key| OF_POLICY.contains(&key))
    }

    fn differing(&self, run: &Fingerprint, counts: impl Fn(&str) -> bool) -> Vec<String> {
        let own = self.settings.keys();
        let added = run.settings.keys().filter(|key| !self.settings.contains_key(*key));
        let mut keys: Vec<&String> = own.chain(added).filter(|key| counts(key)).collect();
        keys.sort();
        let value = |of: &Fingerprint, key: &String| {
            of.settings.get(key).map_or_else(|| "not given".to_owned(), Clone::clone)
        };
        keys.into_iter()
            .filter(|key| self.settings.get(*key) != run.settings.get(*key))
            .map(|key| format!("{key} is {} there and {} here", value(self, key), value(run, key)))
            .collect()
    }
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
    use crate::experiment::session;
    use crate::registry::Registry;
    use std::path::Path;

    fn fingerprint(lines: &str) -> Fingerprint {
        let text = format!("env.name = 'pendulum'\nagent.algorithm = 'ppo'\n{lines}");
        let source = Source::new(Path::new("x.toml"), text, &[]);
        let experiment = Experiment::parse(&source, &Registry::default()).unwrap();
        let task = session::task(&experiment, &Registry::default()).unwrap();
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
        let other = Fingerprint { task: "pendulum, of another length".into(), ..one.clone() };
        let [difference] = &one.differences(&other)[..] else { panic!("one difference") };
        assert!(difference.ends_with("there and pendulum, of another length here"), "{difference}");
    }
}
