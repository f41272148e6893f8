//! The experiment: one TOML file, parsed, defaulted and validated once. Everything later trusts it.

pub mod explain;
pub mod keys;
mod schema;
mod source;
pub mod sweep;
mod tables;
mod validate;

pub use explain::{did_you_mean, dotted_key};
pub use schema::{costs, init, init_parameters, schema};
pub use source::{Override, Source};
pub use tables::{CheckpointConfig, EnvConfig, EvalConfig, Experiment, WarmStart, default_seed};
pub use validate::validate_head;

use crate::error::Error;
use crate::registry::Registry;
use agents::RegisteredAlgorithm;
use envs::Task;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use tables::File;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

impl Experiment {
    /// Reads and validates a configuration file; `overrides` replace its values. Returns the experiment,
    /// its task, and the source to point at the line of what turns out wrong later.
    ///
    /// # Errors
    /// What is wrong, where it stands, and what would be right.
    pub fn read(
        path: &Path,
        overrides: &[Override],
        registry: &Registry,
    ) -> Result<(Experiment, Task, Source), Error> {
        let source = Source::read(path, overrides)?;
        let (experiment, task) = Experiment::parse(&source, registry)?;
        Ok((experiment, task, source))
    }

    /// Parses and validates a configuration, and makes its task.
    ///
    /// # Errors
    /// What is wrong, where it stands, and what would be right.
    pub fn parse(source: &Source, registry: &Registry) -> Result<(Experiment, Task), Error> {
        let mut experiment = Experiment::parse_table(source, source.table()?, registry)?;
        let task = experiment.resolve(source, registry)?;
        Ok((experiment, task))
    }

    /// The same of the source's table, less what is none of the experiment's business, and without a look
    /// at the environment's parameters: that is for [`Experiment::resolve`].
    ///
    /// # Errors
    /// As [`Experiment::parse`].
    pub fn parse_table(
        source: &Source,
        table: Spanned<DeTable<'_>>,
        registry: &Registry,
    ) -> Result<Experiment, Error> {
        explain::possible_values(source, table.get_ref())?;
        let names: Vec<&str> =
            registry.environments.entries().iter().map(|entry| entry.name).collect();
        required(source, &table, "env", "name", &names)?;
        let names: Vec<&str> = registry.algorithms.all().iter().map(|one| one.name).collect();
        let name = required(source, &table, "agent", "algorithm", &names)?;
        let Some(algorithm) = registry.algorithms.get(&name) else {
            return Err(source.error("agent.algorithm", &format!("there is no `{name}`")));
        };
        let experiment = Experiment::from_table(source, table, algorithm, registry)?;
        experiment.validate(source)?;
        Ok(experiment)
    }

    fn from_table(
        source: &Source,
        table: Spanned<DeTable<'_>>,
        algorithm: RegisteredAlgorithm,
        registry: &Registry,
    ) -> Result<Experiment, Error> {
        let (agent, file) = explain::all_unknown_keys(
            table,
            |table| {
                let agent = algorithm.parse(agent_table(&table))?;
                Ok((agent, File::deserialize(toml::Deserializer::from(table))?))
            },
            |table, error| explain::error(source, table, error, Some(algorithm), registry),
        )?;
        Ok(Experiment {
            name: file.name.unwrap_or_else(|| source.name()),
            seed: file.seed,
            total_steps: file.total_steps,
            max_seconds: file.max_seconds,
            backend: file.backend,
            warm_start: file.warm_start,
            env: file.env,
            network: file.network,
            agent,
            eval: file.eval,
            checkpoint: CheckpointConfig {
                every_steps: file.checkpoint.every_steps.unwrap_or((file.total_steps / 10).max(1)),
                keep: file.checkpoint.keep,
            },
        })
    }
}

impl Experiment {
    /// Fills in every parameter of the environment, and checks them by making it. Paths of files become
    /// absolute.
    ///
    /// # Errors
    /// As [`Experiment::parse`].
    pub fn resolve(&mut self, source: &Source, registry: &Registry) -> Result<Task, Error> {
        let name = &self.env.name;
        let Some(entry) = registry.environments.get(name) else {
            return Err(source.error("env.name", &format!("there is no `{name}`")));
        };
        for key in entry.files() {
            if let Some(Value::String(path)) = self.env.parameters.get_mut(&key) {
                let found = source.path_at(&format!("env.parameters.{key}"), path)?;
                *path = found.to_string_lossy().into_owned();
            }
        }
        let task = entry.task(&self.env.task_config()).map_err(|error| {
            let key = error.key.as_deref().unwrap_or("parameters");
            source.error(&format!("env.{key}"), &explain::parameter(&error, name, registry))
        })?;
        self.env.parameters = task.parameters().clone();
        Ok(task)
    }
}

/// The table `[agent]` without `algorithm`, for the algorithm to read.
fn agent_table<'de>(root: &Spanned<DeTable<'de>>) -> toml::Deserializer<'de> {
    let found = root.get_ref().get("agent").map(|value| (value.span(), value.get_ref()));
    let (span, mut table) = match found {
        Some((span, DeValue::Table(table))) => (span, table.clone()),
        _ => (root.span(), DeTable::new()),
    };
    table.remove("algorithm");
    toml::Deserializer::from(Spanned::new(span, table))
}

/// The string at `table.key`, which must be there and one of `known`.
fn required(
    source: &Source,
    root: &Spanned<DeTable<'_>>,
    table: &str,
    key: &str,
    known: &[&str],
) -> Result<String, Error> {
    let dotted = format!("{table}.{key}");
    let list = known.join(", ");
    let value = match root.get_ref().get(table).map(|found| (found.get_ref(), found.span())) {
        None => None,
        Some((DeValue::Table(inside), _)) => inside.get(key),
        Some((other, span)) => {
            let message = format!("is {}; must be a table [{table}]", explain::kind(other));
            return Err(source.error_at(Some(span), Some(table), &message));
        }
    };
    let Some(value) = value else {
        let message = format!("is missing; give `{key}` in [{table}], one of: {list}");
        return Err(source.error_at(None, Some(&dotted), &message));
    };
    let message = match value.get_ref() {
        DeValue::String(name) if known.contains(&name.as_ref()) => return Ok(name.to_string()),
        DeValue::String(name) => {
            let hint = explain::did_you_mean(name, known);
            let other = match dotted == "env.name" && hint.is_empty() {
                true => {
                    "; if another program knows it, as that which has begun the run, use that one"
                }
                false => "",
            };
            format!("there is no `{name}`{hint}; there is: {list}{other}")
        }
        other => format!("is {}; must be one of: {list}, in quotes", explain::kind(other)),
    };
    Err(source.error_at(Some(value.span()), Some(&dotted), &message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Experiment, Source};
    use crate::registry::Registry;
    use std::path::Path;

    fn parse(text: &str) -> Experiment {
        let source = Source::new(Path::new("experiment.toml"), text.to_owned(), &[]);
        Experiment::parse(&source, &Registry::default()).unwrap().0
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let experiment = parse("env.name = 'cliff'\nagent.algorithm = 'trpo'");
        assert_eq!(experiment.name, "experiment");
        assert_eq!((experiment.seed, experiment.total_steps), (1, 100_000));
        assert_eq!((experiment.eval.episodes, experiment.eval.every_steps), (100, 0));
        assert_eq!((experiment.checkpoint.every_steps, experiment.checkpoint.keep), (10_000, 3));
        assert_eq!(experiment.whole_steps(), 100_000 / (8 * 128) * 8 * 128);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let everything = "
            name = 'x'
            seed = 9223372036854775807
            backend = 'ndarray'
            warm_start = 'runs/y'
            env = { name = 'reach', num_envs = 3, normalize_rewards = true }
            network = { hidden = [], activation = 'relu', init = 'xavier', log_std_init = -0.1 }
            [agent]
            algorithm = 'ppo'
            learning_rate = { start = 1e-3, end = 0.1 }
            critic_learning_rate = 1e-300
            value_clip_range = 0.3
            target_kl = 0.015
            ";
        let penalty = "kl_penalty = { target = 0.02, initial_coef = 2.0 }";
        for text in [
            everything.to_owned() + penalty,
            everything.to_owned() + "clip_range = { start = 0.3, end = 0.1 }",
            "env.name = 'cliff'\nagent = { algorithm = 'trpo', cg_tolerance = 1e-10 }".to_owned(),
        ] {
            let experiment = parse(&text);
            assert_eq!(parse(&experiment.to_toml().unwrap()), experiment);
        }
    }
}
