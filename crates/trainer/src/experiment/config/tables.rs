//! The tables of a configuration: as the file has them, and with every value filled in.

use super::sweep::SweepTable;
use crate::error::Error;
use agents::{AgentConfig, Backend, NetworkConfig, Ranks, TrainingConfig};
use envs::{ActionDelay, ObservationNoise, TaskConfig};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Steps of a run: beyond what any machine gets through, within what TOML can write.
pub const MAX_STEPS: u64 = 1_000_000_000_000_000;
/// Largest `max_seconds`: more than thirty years.
pub const MAX_SECONDS: f64 = 1e9;
/// Largest `warm_start.critic_warmup`.
pub const MAX_WARMUP: u64 = 1_000_000;
/// Largest seed: what TOML can write.
pub const MAX_SEED: u64 = i64::MAX as u64;

/// One training run, with every value filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Experiment {
    /// Name of the run's directory; the file's name where not given.
    pub name: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Environment steps of the run; it ends with the last iteration that fits.
    pub total_steps: u64,
    /// Wall clock after which the run ends, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// Where updates run.
    pub backend: Backend,
    /// What this run starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStart>,
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

/// What a run takes over from another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WarmStartFile")]
#[schemars(with = "WarmStartFile")]
pub struct WarmStart {
    /// Run directory or checkpoint file.
    pub run: PathBuf,
    /// Whether its critic of the rewards is taken, too, with the scale of the rewards.
    pub critic: bool,
    /// Iterations in which the critics alone learn, and the policy stays what it is.
    pub critic_warmup: u64,
}

/// The same as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "must be a path in quotes, or a table like { run = \"runs/before/1\", critic = true, \
                 critic_warmup = 10 }"
)]
#[schemars(inline)]
enum WarmStartFile {
    /// Run directory or checkpoint file whose policy this run starts from.
    Policy(PathBuf),
    /// The same, and more.
    More {
        /// Run directory or checkpoint file.
        run: PathBuf,
        /// Take its critic, too.
        #[serde(default)]
        critic: bool,
        /// Iterations in which the critics alone learn.
        #[serde(default)]
        #[schemars(range(min = 0, max = MAX_WARMUP))]
        critic_warmup: u64,
    },
}

impl From<WarmStartFile> for WarmStart {
    fn from(file: WarmStartFile) -> WarmStart {
        match file {
            WarmStartFile::Policy(run) => WarmStart { run, critic: false, critic_warmup: 0 },
            WarmStartFile::More { run, critic, critic_warmup } => {
                WarmStart { run, critic, critic_warmup }
            }
        }
    }
}

/// The table `[env]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The agent's steps after which an episode is truncated, instead of the environment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000), example = 500)]
    pub max_episode_steps: Option<u32>,
    /// The agent's steps after which an episode is truncated in training only: evaluations last as long as the
    /// task lets them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000), example = 50)]
    pub training_episode_steps: Option<u32>,
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
    #[serde(default = "EnvConfig::default_action_repeat")]
    #[schemars(range(min = 1, max = 1000))]
    pub action_repeat: u32,
    /// The environment's own parameters; a number may be a distribution, from which each episode
    /// draws.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

impl EnvConfig {
    const fn default_num_envs() -> usize {
        8
    }

    const fn default_action_repeat() -> u32 {
        1
    }

    /// What makes a task of the environment.
    #[must_use]
    pub fn task_config(&self) -> TaskConfig {
        TaskConfig {
            parameters: self.parameters.clone(),
            max_episode_steps: self.max_episode_steps,
            observation_noise: self.observation_noise.clone(),
            action_delay: self.action_delay.clone(),
            action_repeat: self.action_repeat,
        }
    }
}

/// The table `[eval]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Episodes in an evaluation.
    #[schemars(range(min = 1, max = 100_000))]
    pub episodes: usize,
    /// Steps from one evaluation to the next; 0: only at the end.
    #[schemars(range(min = 0, max = MAX_STEPS))]
    pub every_steps: u64,
    /// Mean return of an evaluation that ends the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 475.0)]
    pub stop_at: Option<f64>,
    /// Success rate of an evaluation that ends the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), example = 0.95)]
    pub stop_at_success: Option<f64>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        EvalConfig { episodes: 100, every_steps: 0, stop_at: None, stop_at_success: None }
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
pub struct File {
    /// Name of the experiment, the file's name where not given; runs are in runs/NAME.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^/\\]*[^/\\.][^/\\]*$"))]
    pub name: Option<String>,
    /// Seed of every random stream: weights, actions, shuffles, environments.
    #[serde(default = "default_seed")]
    #[schemars(range(min = 0, max = MAX_SEED))]
    pub seed: u64,
    /// Environment steps of the run, all copies together; it ends with the last iteration that fits.
    #[serde(default = "default_total_steps")]
    #[schemars(range(min = 1, max = MAX_STEPS))]
    pub total_steps: u64,
    /// Wall clock after which the run ends, seconds; evaluations and earlier processes count.
    #[schemars(range(min = 0.0, max = MAX_SECONDS), example = 3600.0)]
    pub max_seconds: Option<f64>,
    /// Where updates run.
    #[serde(default)]
    pub backend: Backend,
    /// Run directory or checkpoint file whose policy this run starts from, or a table that says more.
    #[schemars(example = "runs/before/1")]
    pub warm_start: Option<WarmStart>,
    /// The environment and its copies.
    pub env: EnvConfig,
    /// The networks of actor and critic.
    #[serde(default)]
    pub network: NetworkConfig,
    /// The algorithm and its hyperparameters.
    // Read by the algorithm itself.
    #[serde(rename = "agent")]
    #[schemars(with = "serde_json::Value")]
    pub _agent: IgnoredAny,
    /// Evaluations: greedy, or with sampled actions where there is a constraint.
    #[serde(default)]
    pub eval: EvalConfig,
    /// Checkpoints.
    #[serde(default)]
    pub checkpoint: CheckpointFile,
    /// Many runs instead of one: every combination of some values, or draws.
    // What `Sweep` reads; a single experiment is the same without it.
    #[serde(rename = "sweep")]
    #[schemars(with = "Option<SweepTable>")]
    pub _sweep: Option<IgnoredAny>,
}

/// The table `[checkpoint]` as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointFile {
    /// Steps from one checkpoint to the next; a tenth of total_steps where not given.
    #[schemars(range(min = 1, max = MAX_STEPS), example = 10_000)]
    pub every_steps: Option<u64>,
    /// Newest checkpoints that are kept, besides the best.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub keep: usize,
}

impl Default for CheckpointFile {
    fn default() -> Self {
        CheckpointFile { every_steps: None, keep: 3 }
    }
}

/// Seed of an experiment that gives none.
#[must_use]
pub const fn default_seed() -> u64 {
    1
}

const fn default_total_steps() -> u64 {
    100_000
}

impl Experiment {
    /// The whole experiment as TOML; reading it gives the same experiment.
    ///
    /// # Errors
    /// When a value can't be written in TOML, which validation rules out.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(unwritable)
    }

    /// The same with these files of the environment's parameters by their names alone, as they lie beside it.
    ///
    /// # Errors
    /// As [`Experiment::to_toml`].
    pub fn to_toml_beside<'a>(
        &self,
        files: impl Iterator<Item = (&'a str, &'a Path)>,
    ) -> Result<String, Error> {
        let mut experiment = self.clone();
        for (key, path) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            experiment.env.parameters.insert(key.to_owned(), name.into());
        }
        experiment.to_toml()
    }

    /// The same as a table.
    ///
    /// # Errors
    /// As [`Experiment::to_toml`].
    pub fn to_table(&self) -> Result<toml::Table, Error> {
        toml::Table::try_from(self).map_err(unwritable)
    }

    /// What is trained, and how, together with these ranks.
    #[must_use]
    pub fn training(&self, ranks: &Arc<Ranks>) -> TrainingConfig {
        TrainingConfig {
            agent: self.agent.clone(),
            network: self.network.clone(),
            seed: self.seed,
            total_steps: self.total_steps,
            num_envs: self.env.num_envs,
            training_episode_steps: self.env.training_episode_steps,
            normalize_observations: self.env.normalize_observations,
            normalize_rewards: self.env.normalize_rewards,
            critic_warmup: self.warm_start.as_ref().map_or(0, |start| start.critic_warmup),
            backend: self.backend,
            ranks: Arc::clone(ranks),
        }
    }

    /// Environment steps of the whole run, in whole iterations.
    #[must_use]
    pub fn whole_steps(&self) -> u64 {
        let training = self.training(&Arc::default());
        training.iterations() * training.steps_per_iteration()
    }
}

fn unwritable(error: toml::ser::Error) -> Error {
    Error::Failed(format!("the configuration can't be written as TOML: {error}"))
}
