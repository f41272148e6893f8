//! The experiment: one TOML file, parsed, defaulted and validated once. Everything later trusts it.

pub mod explain;
mod schema;
mod source;
mod validate;

pub use explain::did_you_mean;
pub use schema::{init, schema};
pub use source::{Override, Source};

use crate::error::Error;
use crate::registry::Registry;
use agents::{AgentConfig, Backend, NetworkConfig, RegisteredAlgorithm};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use validate::{MAX_SEED, MAX_STEPS};

/// One training run, with every value filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Experiment {
    /// Name of the run's directory; the file's name where not given.
    pub name: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Environment steps of the run; it ends with the last iteration that fits.
    pub total_steps: u64,
    /// Where updates run.
    pub backend: Backend,
    /// Run directory or checkpoint file whose policy this run starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<PathBuf>,
    /// The environment and its copies.
    pub env: EnvConfig,
    /// The networks.
    pub network: NetworkConfig,
    /// The algorithm.
    pub agent: AgentConfig,
    /// Evaluation.
    pub eval: EvalConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
}

/// The table `[env]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvConfig {
    /// A name that `trainer list` shows.
    pub name: String,
    /// Copies that are stepped side by side.
    #[serde(default = "EnvConfig::default_num_envs")]
    #[schemars(range(min = 1, max = 65_536))]
    pub num_envs: usize,
    /// Whether observations are shifted and scaled by their running mean and deviation.
    #[serde(default)]
    pub normalize_observations: bool,
    /// Whether rewards are scaled by the running deviation of the discounted return.
    #[serde(default)]
    pub normalize_rewards: bool,
}

impl EnvConfig {
    const fn default_num_envs() -> usize {
        8
    }
}

/// The table `[eval]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Greedy episodes in an evaluation.
    #[schemars(range(min = 1, max = 100_000))]
    pub episodes: usize,
    /// Steps from one evaluation to the next; 0: only at the end.
    #[schemars(range(min = 0, max = MAX_STEPS))]
    pub every_steps: u64,
}

impl Default for EvalConfig {
    fn default() -> Self {
        EvalConfig { episodes: 100, every_steps: 0 }
    }
}

/// The table `[checkpoint]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps from one checkpoint to the next.
    pub every_steps: u64,
    /// Newest checkpoints that are kept, besides the best.
    pub keep: usize,
}

/// The file as it is written: what may be left out is optional or has a default.
/// Its comments are for those who write one: the schema shows them, and `trainer init` writes them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// Name of the experiment, the file's name where not given; runs are in runs/NAME.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^/\\]*[^/\\.][^/\\]*$"))]
    name: Option<String>,
    /// Seed of every random stream: weights, actions, shuffles, environments.
    #[serde(default = "default_seed")]
    #[schemars(range(min = 0, max = MAX_SEED))]
    seed: u64,
    /// Environment steps of the run, all copies together; it ends with the last iteration that fits.
    #[serde(default = "default_total_steps")]
    #[schemars(range(min = 1, max = MAX_STEPS))]
    total_steps: u64,
    /// Where updates run.
    #[serde(default)]
    backend: Backend,
    /// Run directory or checkpoint file whose policy this run starts from.
    #[schemars(example = "runs/before/1")]
    warm_start: Option<PathBuf>,
    /// The environment and its copies.
    env: EnvConfig,
    /// The networks of actor and critic.
    #[serde(default)]
    network: NetworkConfig,
    /// The algorithm and its hyperparameters.
    // Read by the algorithm itself.
    #[serde(rename = "agent")]
    #[schemars(with = "serde_json::Value")]
    _agent: IgnoredAny,
    /// Evaluations, always greedy.
    #[serde(default)]
    eval: EvalConfig,
    /// Checkpoints.
    #[serde(default)]
    checkpoint: CheckpointFile,
    /// Many runs instead of one: every combination of some values, or draws.
    // What `Sweep` reads; a single experiment is the same without it.
    #[serde(rename = "sweep")]
    #[schemars(with = "Option<crate::sweep::Table>")]
    _sweep: Option<IgnoredAny>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct CheckpointFile {
    /// Steps from one checkpoint to the next; a tenth of total_steps where not given.
    #[schemars(range(min = 1, max = MAX_STEPS), example = 10_000)]
    every_steps: Option<u64>,
    /// Newest checkpoints that are kept, besides the best.
    #[schemars(range(min = 2, max = 1_000_000))]
    keep: usize,
}

impl Default for CheckpointFile {
    fn default() -> Self {
        CheckpointFile { every_steps: None, keep: 3 }
    }
}

const fn default_seed() -> u64 {
    1
}

const fn default_total_steps() -> u64 {
    100_000
}

impl Experiment {
    /// Reads and validates a configuration file; `overrides` replace its values. The source is
    /// returned to point at the line of what turns out wrong later.
    ///
    /// # Errors
    /// What is wrong, where it stands, and what would be right.
    pub fn read(
        path: &Path,
        overrides: &[Override],
        registry: &Registry,
    ) -> Result<(Experiment, Source), Error> {
        let source = Source::read(path, overrides)?;
        let experiment = Experiment::parse(&source, registry)?;
        Ok((experiment, source))
    }

    /// Parses and validates a configuration.
    ///
    /// # Errors
    /// What is wrong, where it stands, and what would be right.
    pub fn parse(source: &Source, registry: &Registry) -> Result<Experiment, Error> {
        let table = source.table()?;
        explain::finite_numbers(source, table.get_ref())?;
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
        let keys = table.get_ref().clone();
        let explained = |error: toml::de::Error| {
            explain::error(source, &keys, &error, Some(algorithm), &registry.algorithms)
        };
        let agent = algorithm.parse(agent_table(&table)).map_err(explained)?;
        let file = File::deserialize(toml::Deserializer::from(table)).map_err(explained)?;
        let name = match file.name {
            Some(name) => name,
            None => source.path().file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        Ok(Experiment {
            name,
            seed: file.seed,
            total_steps: file.total_steps,
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

    /// The whole experiment as TOML; reading it gives the same experiment.
    ///
    /// # Errors
    /// When a value can't be written in TOML, which validation rules out.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| {
            Error::Usage(format!("the configuration can't be written as TOML: {error}"))
        })
    }

    /// Environment steps in an iteration.
    #[must_use]
    pub fn steps_per_iteration(&self) -> u64 {
        self.env.num_envs as u64 * self.agent.rollout().steps as u64
    }

    /// Environment steps of the whole run, in whole iterations.
    #[must_use]
    pub fn whole_steps(&self) -> u64 {
        self.iterations() * self.steps_per_iteration()
    }

    /// Iterations of the run: as many as fit into `total_steps`.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        self.total_steps / self.steps_per_iteration()
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
            format!("there is no `{name}`{hint}; there is: {list}")
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
        Experiment::parse(&source, &Registry::default()).unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let experiment = parse("env.name = 'cliff'\nagent.algorithm = 'trpo'");
        assert_eq!(experiment.name, "experiment");
        assert_eq!((experiment.seed, experiment.total_steps), (1, 100_000));
        assert_eq!((experiment.eval.episodes, experiment.eval.every_steps), (100, 0));
        assert_eq!((experiment.checkpoint.every_steps, experiment.checkpoint.keep), (10_000, 3));
        assert_eq!(experiment.iterations(), 100_000 / (8 * 128));
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
