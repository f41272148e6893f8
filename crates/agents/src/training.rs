//! Training in memory: the loop of the trainer, and of programs without it.

use crate::agent::{Agent, AgentState};
use crate::algorithm::{AgentConfig, AlgorithmConfig};
use crate::backend::Backend;
use crate::checkpoint::{self, CheckpointError, Problem};
use crate::config::{Check, ConfigError, NetworkConfig};
use crate::error::AgentError;
use crate::evaluate::{Evaluation, evaluate_among};
use crate::export::{ExportFormat, known_of_task};
use crate::files;
use crate::metrics::Metrics;
use crate::ppo::PpoConfig;
use crate::ranks::Ranks;
use crate::recent::RecentEpisodes;
use crate::rollout::{Collector, CollectorState};
use envs::{Spec, Task, VectorEnv};
use serde::{Deserialize, Serialize};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Samples of an iteration; they are all held in memory.
const MAX_BATCH: u64 = 1 << 24;
/// Weights between hidden layers; they are held several times in memory.
const MAX_WEIGHTS: u64 = 100_000_000;

/// What training is made of, beside the task. Nothing is checked before [`TrainingConfig::build`] checks
/// everything; a message names a value as the trainer's configuration does (`agent.gamma`).
///
/// ```
/// use agents::{PpoConfig, TrainingConfig};
/// use envs::{CartPole, Task};
///
/// let task = Task::from_fn("pole", CartPole::default)?;
/// let config = TrainingConfig { total_steps: 2048, ..TrainingConfig::default() };
/// let mut training = config.build(&task)?;
/// while !training.is_finished() {
///     training.iterate()?;
/// }
/// assert_eq!(training.progress.steps, 2048);
///
/// let ppo = PpoConfig { gamma: 5.0, ..PpoConfig::default() };
/// let error = TrainingConfig::new(ppo).build(&task).map(drop).unwrap_err();
/// assert_eq!(error.to_string(), "agent.gamma: is 5; must be a number from 0 to 1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingConfig {
    /// The algorithm with its settings.
    pub agent: AgentConfig,
    /// The networks of actor and critic.
    pub network: NetworkConfig,
    /// Seed of every random stream.
    pub seed: u64,
    /// Environment steps, all copies together; training ends with the last iteration that fits.
    pub total_steps: u64,
    /// Copies of the environment that are stepped side by side.
    pub num_envs: usize,
    /// Steps after which a training episode is truncated; an evaluation's lasts as long as the task lets it.
    pub training_episode_steps: Option<u32>,
    /// Whether observations are shifted and scaled by their running mean and deviation.
    pub normalize_observations: bool,
    /// Whether rewards are scaled by the running deviation of the discounted return.
    pub normalize_rewards: bool,
    /// Iterations at the beginning in which the critics alone learn, and the policy stays what it is.
    pub critic_warmup: u64,
    /// Where updates run.
    pub backend: Backend,
    /// The processes that train together.
    pub ranks: Arc<Ranks>,
}

impl Default for TrainingConfig {
    /// PPO with its defaults, for 100,000 steps of 8 copies.
    fn default() -> Self {
        TrainingConfig {
            agent: AgentConfig::new(PpoConfig::default()),
            network: NetworkConfig::default(),
            seed: 1,
            total_steps: 100_000,
            num_envs: 8,
            training_episode_steps: None,
            normalize_observations: false,
            normalize_rewards: false,
            critic_warmup: 0,
            backend: Backend::default(),
            ranks: Arc::default(),
        }
    }
}

impl TrainingConfig {
    /// An algorithm with these settings, all else as in the default.
    #[must_use]
    pub fn new(algorithm: impl AlgorithmConfig) -> TrainingConfig {
        TrainingConfig { agent: AgentConfig::new(algorithm), ..TrainingConfig::default() }
    }

    /// Environment steps in an iteration.
    #[must_use]
    pub fn steps_per_iteration(&self) -> u64 {
        (self.num_envs as u64).saturating_mul(self.agent.rollout().steps as u64)
    }

    /// Iterations of the whole training: as many as fit into `total_steps`.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        self.total_steps / self.steps_per_iteration().max(1)
    }

    /// Checks every value; whether they fit a task is for [`TrainingConfig::build`].
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let [env, network, agent] = ["env", "network", "agent"].map(Check::table);
        let num_envs = self.num_envs;
        let is_possible = (1..=65_536).contains(&num_envs);
        env.that("num_envs", is_possible, num_envs, "a whole number from 1 to 65536")?;
        let ranks = self.ranks.size();
        if num_envs < ranks {
            env.fail(
                "num_envs",
                format!(
                    "{num_envs} environments are too few for {ranks} ranks, which each act in some of their own; \
                     start fewer, or raise it"
                ),
            )?;
        }
        if let Some(steps) = self.training_episode_steps {
            let is_possible = (1..=Spec::NO_LIMIT).contains(&steps);
            let expected = "a whole number from 1 to 1000000000";
            env.that("training_episode_steps", is_possible, steps, expected)?;
        }
        self.network.validate()?;
        if self.network.noise_correlation > 0.0 && !self.agent.constraints().is_empty() {
            network.fail(
                "noise_correlation",
                "with a constraint, training must cost what the policy costs by itself; remove it",
            )?;
        }
        for (key, layers) in self.network.layers() {
            let weights: u64 = layers.windows(2).map(|pair| pair[0] as u64 * pair[1] as u64).sum();
            if weights > MAX_WEIGHTS {
                let message = format!("makes {weights} weights; at most {MAX_WEIGHTS} are allowed");
                network.fail(key, message)?;
            }
        }
        self.agent.validate(num_envs)?;
        let (batch, steps) = (self.steps_per_iteration(), self.agent.rollout().steps);
        let product = format!(
            "{num_envs} env.num_envs x {steps} agent.rollout_steps = {batch} samples an iteration"
        );
        if batch > MAX_BATCH {
            agent.fail("rollout_steps", format!("{product}; at most {MAX_BATCH}"))?;
        }
        if self.total_steps < batch {
            let message = format!("is {}, less than one iteration: {product}", self.total_steps);
            return Err(ConfigError { key: "total_steps".into(), message });
        }
        Ok(())
    }

    /// A new agent for an environment; its weights depend on the seed and the configuration only.
    ///
    /// # Errors
    /// The first value that is out of its range or does not fit the environment; and when the backend has no
    /// device.
    pub fn agent(&self, spec: &Spec) -> Result<Agent, AgentError> {
        Agent::new(self, spec)
    }

    /// An agent without weights (all are 0), to be given a saved state: drawing them takes longer than
    /// reading them.
    ///
    /// # Errors
    /// As [`TrainingConfig::agent`].
    pub fn blank_agent(&self, spec: &Spec) -> Result<Agent, AgentError> {
        Agent::blank(self, spec)
    }

    /// Training at its beginning.
    ///
    /// # Errors
    /// As [`TrainingConfig::agent`], and when a first observation is not finite.
    pub fn build(&self, task: &Task) -> Result<Training, AgentError> {
        Training::new(self.clone(), task.clone(), self.agent(task.spec())?)
    }

    /// Training that goes on from a state, as if it had not stopped.
    ///
    /// # Errors
    /// As [`TrainingConfig::build`], and when the state does not fit or can't have been.
    pub fn resume(&self, task: &Task, state: TrainingState) -> Result<Training, AgentError> {
        let agent = self.blank_agent(task.spec())?;
        let mut training = Training::new(self.clone(), task.clone(), agent)?;
        training.restore(state)?;
        Ok(training)
    }

    /// Training that goes on from a file of [`Training::save`].
    ///
    /// # Errors
    /// When the file is damaged, or of another task or configuration: all but `total_steps`, the backend, and
    /// those settings of the algorithm that only say how it goes on must be what they were.
    pub fn load(&self, task: &Task, path: impl AsRef<Path>) -> Result<Training, CheckpointError> {
        let path = path.as_ref();
        let Saved { kept, state } = checkpoint::read(path)?;
        let own = self.kept(task);
        let differs = own.iter().zip(&kept).find(|(here, there)| here != there);
        let problem = match differs {
            Some(((key, here), (_, there))) => {
                Problem::Mismatch(format!("{key} is {there} there and {here} here"))
            }
            None => match self.resume(task, state) {
                Ok(training) => return Ok(training),
                Err(error) => error.into(),
            },
        };
        Err(problem.of(path))
    }

    /// What gives a state its meaning.
    fn kept(&self, task: &Task) -> Vec<(String, String)> {
        let NetworkConfig { hidden, activation, squash, .. } = &self.network;
        let rollout = self.agent.rollout();
        let constraints = self.agent.constraints();
        let costs: Vec<&str> = constraints.iter().map(|one| &*one.cost).collect();
        let cost_gammas: Vec<f64> =
            constraints.iter().map(|one| one.discounts(rollout).0).collect();
        let kept = [
            ("seed", self.seed.to_string()),
            ("env.num_envs", self.num_envs.to_string()),
            ("env.normalize_observations", self.normalize_observations.to_string()),
            ("env.normalize_rewards", self.normalize_rewards.to_string()),
            ("network.hidden", format!("{hidden:?}")),
            ("network.critic_hidden", format!("{:?}", self.network.critic_hidden())),
            ("network.activation", format!("{activation:?}").to_lowercase()),
            ("network.squash", squash.to_string()),
            ("agent.algorithm", self.agent.name().to_owned()),
            ("agent.rollout_steps", rollout.steps.to_string()),
            ("agent.gamma", rollout.gamma.to_string()),
            ("agent.constraint.cost", format!("{costs:?}")),
            ("agent.constraint.cost_gamma", format!("{cost_gammas:?}")),
            ("the task", task.fingerprint()),
        ];
        kept.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }
}

/// What [`Training::save`] writes.
#[derive(Serialize, Deserialize)]
struct Saved {
    kept: Vec<(String, String)>,
    state: TrainingState,
}

/// How far training is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Finished iterations.
    pub iterations: u64,
    /// Environment steps.
    pub steps: u64,
    /// Seconds of rollouts and updates.
    pub seconds: f64,
}

/// Everything that training needs to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Networks, optimisers, observation normaliser, shuffling stream.
    pub agent: AgentState,
    /// Environments, reward normaliser, sampling streams.
    pub collector: CollectorState,
    /// How far it is.
    pub progress: Progress,
    /// Return, length, success and costs of the last finished episodes.
    pub recent: RecentEpisodes,
}

impl TrainingState {
    /// Checks what it counts; agent and environments check their own numbers when they are given them.
    ///
    /// # Errors
    /// The first number that no training can have led to.
    pub fn check(&self) -> Result<(), AgentError> {
        let seconds = self.progress.seconds;
        AgentError::check_saved("seconds it counts", seconds.is_finite() && seconds >= 0.0)?;
        AgentError::check_saved("list of recent episodes", self.recent.is_possible())
    }
}

/// What one iteration came to.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// What the update reports.
    pub update: Metrics,
    /// Seconds of acting, values and advantages included.
    pub acting_seconds: f64,
    /// Seconds of the update.
    pub update_seconds: f64,
}

/// Training in memory: an agent in its environments, and how far it is. Made by
/// [`TrainingConfig::build`], or by [`TrainingConfig::load`] from a file.
pub struct Training {
    /// What it is made of.
    pub config: TrainingConfig,
    /// The environment with all that holds around it.
    pub task: Task,
    /// Actor and critic.
    pub agent: Agent,
    /// The training environments.
    pub collector: Collector,
    /// How far it is.
    pub progress: Progress,
    /// The last finished episodes.
    pub recent: RecentEpisodes,
}

impl Training {
    /// Training at its beginning with an agent that is there already, one of [`TrainingConfig::agent`].
    ///
    /// # Errors
    /// When a first observation is not finite.
    pub fn new(
        config: TrainingConfig,
        task: Task,
        mut agent: Agent,
    ) -> Result<Training, AgentError> {
        let own = config.ranks.share(config.num_envs);
        let mut envs = VectorEnv::new(&task, config.seed, own.start as u32, own.len());
        if let Some(steps) = config.training_episode_steps {
            envs = envs.with_shorter_episodes(steps);
        }
        let collector = Collector::new(envs, &mut agent, config.normalize_rewards, config.seed)?;
        let (progress, recent) = Default::default();
        Ok(Training { config, task, agent, collector, progress, recent })
    }

    fn restore(&mut self, state: TrainingState) -> Result<(), AgentError> {
        state.check()?;
        let TrainingState { agent, collector, progress, recent } = state;
        let steps = self.config.steps_per_iteration();
        if progress.iterations.checked_mul(steps) != Some(progress.steps) {
            return Err(AgentError::Mismatch(format!(
                "it counts {} steps in {} iterations, which are not of {steps} steps each \
                 (env.num_envs x agent.rollout_steps)",
                progress.steps, progress.iterations
            )));
        }
        self.agent.set_state(agent)?;
        self.collector.set_state(collector)?;
        if !self.task.spec().saves_state {
            self.collector.take_new_episodes(&self.agent);
        }
        (self.progress, self.recent) = (progress, recent);
        Ok(())
    }

    /// A copy of everything that goes on changing, of which ranks that train together have parts: all of them ask
    /// for it at the same time.
    ///
    /// # Errors
    /// When the algorithm's state can't be written down, or the environments' can't be had.
    pub fn state(&self) -> Result<TrainingState, AgentError> {
        let state = TrainingState {
            agent: self.agent.state()?,
            collector: self.collector.state(),
            progress: self.progress,
            recent: self.recent.clone(),
        };
        self.collector.failure().map_or(Ok(state), Err)
    }

    /// Writes a file that [`TrainingConfig::load`] goes on from, whole or not at all.
    ///
    /// # Errors
    /// As [`Training::state`], and when the file can't be written; an earlier one is still there then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        let state = self.state().map_err(|error| Problem::from(error).of(path))?;
        let saved = Saved { kept: self.config.kept(&self.task), state };
        checkpoint::write(&saved, path).map_err(|error| Problem::Unwritable(error).of(path))
    }

    /// Whether the last iteration is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.iterations >= self.config.iterations()
    }

    /// One iteration: act, judge what came of it, improve.
    ///
    /// # Errors
    /// When a number is not finite or the device fails. A panic in an environment or a backend (a GPU
    /// without memory, say) is an error like any other. The training must not go on then.
    pub fn iterate(&mut self) -> Result<Iteration, AgentError> {
        let threads = self.agent.threads();
        // Other processes need the cores while they step; an update keeps the threads awake itself.
        let is_elsewhere = self.task.spec().is_elsewhere;
        let attempt = || match is_elsewhere {
            true => self.attempt(),
            false => threads.keep_awake(|| self.attempt()),
        };
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(AgentError::Fault(text.unwrap_or("no message").to_owned()))
        })
    }

    fn attempt(&mut self) -> Result<Iteration, AgentError> {
        let started = Instant::now();
        let done = self.progress.iterations as f64 / self.config.iterations() as f64;

        self.collector.collect(&mut self.agent)?;
        self.recent.extend(self.collector.episodes(), self.collector.episode_costs());
        let batch = self.collector.batch(&self.agent)?;
        let acting_seconds = started.elapsed().as_secs_f64();
        let update = if self.progress.iterations < self.config.critic_warmup {
            self.agent.update_critics(batch, done)?
        } else {
            self.agent.update(batch, done)?
        };

        let seconds = started.elapsed().as_secs_f64();
        self.progress.iterations += 1;
        self.progress.steps += self.config.steps_per_iteration();
        self.progress.seconds += seconds;
        Ok(Iteration { update, acting_seconds, update_seconds: seconds - acting_seconds })
    }

    /// So many episodes with the policy as it is; training is as if they had not happened. Actions are greedy, or
    /// sampled where there is a constraint ([`AgentConfig::evaluates_greedily`]).
    ///
    /// # Errors
    /// When an observation, a reward or an action is not finite, or a cost is not finite or below 0.
    pub fn evaluate(&self, episodes: usize) -> Result<Evaluation, AgentError> {
        let greedy = self.config.agent.evaluates_greedily();
        let ranks = self.agent.ranks();
        evaluate_among(&ranks, self.agent.actor(), &self.task, episodes, self.config.seed, greedy)
    }

    /// Writes the greedy policy to a file for other programs, whole or not at all.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn export(&self, format: ExportFormat, path: impl AsRef<Path>) -> io::Result<()> {
        let policy = self.agent.actor().greedy(&self.task.spec().action_space);
        let mut known = known_of_task(&self.task);
        known.push(("algorithm", self.config.agent.name().to_owned()));
        known.push(("seed", self.config.seed.to_string()));
        known.push(("steps", self.progress.steps.to_string()));
        files::write_atomically(path.as_ref(), &[&format.encode(&policy, &known)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ppo::KlPenalty;
    use crate::schedule::Schedule;
    use crate::trpo::TrpoConfig;
    use envs::{Action, CartPole, Environment, Rng, Space, StateError, Step};

    #[test]
    fn shorter_training_episodes_leave_evaluations_as_they_are() {
        let ppo = PpoConfig { rollout_steps: 20, ..PpoConfig::default() };
        let config = TrainingConfig { training_episode_steps: Some(7), ..TrainingConfig::new(ppo) };
        let task = envs::Environments::default();
        let task = task.get("pendulum").unwrap().task(&envs::TaskConfig::default()).unwrap();
        let mut training = config.build(&task).unwrap();
        training.iterate().unwrap();
        let episodes = training.collector.episodes();
        assert_eq!(episodes.len(), 16);
        assert!(episodes.iter().all(|episode| episode.length == 7));
        assert_eq!(training.evaluate(2).unwrap().mean_length(), 200.0);
        let longer = TrainingConfig { training_episode_steps: Some(201), ..config };
        let error = longer.build(&task).map(drop).unwrap_err().to_string();
        assert!(error.contains("env.training_episode_steps: is 201, but no episode"), "{error}");
    }

    #[test]
    fn noise_that_goes_on_is_refused_beside_a_constraint() {
        let ppo: PpoConfig =
            toml::from_str("constraint = { cost = 'force', limit = 1.0 }").unwrap();
        let network = NetworkConfig { noise_correlation: 0.5, ..NetworkConfig::default() };
        let error = TrainingConfig { network, ..TrainingConfig::new(ppo) }.validate().unwrap_err();
        assert_eq!(error.key, "network.noise_correlation");
    }

    /// An environment that breaks in its third step.
    #[derive(Clone, Default)]
    struct Brittle {
        steps: u32,
    }

    impl Environment for Brittle {
        fn spec(&self) -> Spec {
            Spec::new(Space::symmetric_box(1, 1.0), Space::Discrete { n: 2 }, 10)
        }

        fn reset(&mut self, _rng: &mut Rng) {}

        fn step(&mut self, _action: Action<'_>, _rng: &mut Rng) -> Step {
            self.steps += 1;
            assert!(self.steps < 3, "a spring broke");
            Step::default()
        }

        fn observe(&self, observation: &mut [f32]) {
            observation[0] = 0.0;
        }

        fn state(&self) -> Vec<f64> {
            vec![]
        }

        fn set_state(&mut self, _state: &[f64]) -> Result<(), StateError> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_in_an_environment_is_an_error_with_its_message() {
        let task = Task::from_fn("brittle", Brittle::default).unwrap();
        let mut training = TrainingConfig::default().build(&task).unwrap();
        let error = training.iterate().unwrap_err();
        assert!(matches!(&error, AgentError::Fault(text) if text == "a spring broke"), "{error:?}");
        assert_eq!(training.progress.iterations, 0);
    }

    fn pole() -> Task {
        Task::from_fn("pole", CartPole::default).unwrap()
    }

    #[test]
    fn no_configuration_panics() {
        fn ppo(change: impl FnOnce(&mut PpoConfig)) -> TrainingConfig {
            let mut ppo = PpoConfig::default();
            change(&mut ppo);
            TrainingConfig::new(ppo)
        }
        let with = |change: &dyn Fn(&mut TrainingConfig)| {
            let mut config = TrainingConfig::default();
            change(&mut config);
            config
        };
        let trpo = |max_kl| TrainingConfig::new(TrpoConfig { max_kl, ..TrpoConfig::default() });
        let clip = Schedule::constant;
        for (key, config) in [
            ("agent.minibatch_size", ppo(|ppo| ppo.minibatch_size = 0)),
            ("agent.minibatch_size", ppo(|ppo| ppo.minibatch_size = usize::MAX)),
            ("agent.rollout_steps", ppo(|ppo| ppo.rollout_steps = 0)),
            ("agent.rollout_steps", ppo(|ppo| ppo.rollout_steps = usize::MAX)),
            ("agent.rollout_steps", ppo(|ppo| ppo.rollout_steps = 1 << 24)),
            ("agent.clip_range", ppo(|ppo| ppo.clip_range = Some(clip(-0.2)))),
            ("agent.gamma", ppo(|ppo| ppo.gamma = 5.0)),
            ("agent.gamma", ppo(|ppo| ppo.gamma = f64::NAN)),
            ("agent.epochs", ppo(|ppo| ppo.epochs = 0)),
            (
                "agent.kl_penalty.target",
                ppo(|ppo| {
                    ppo.kl_penalty = Some(KlPenalty { target: -1.0, ..KlPenalty::default() });
                }),
            ),
            ("env.num_envs", with(&|config| config.num_envs = 0)),
            ("env.num_envs", with(&|config| config.num_envs = usize::MAX)),
            ("total_steps", with(&|config| config.total_steps = 0)),
            ("network.hidden", with(&|config| config.network.hidden = vec![0])),
            ("network.hidden", with(&|config| config.network.hidden = vec![65_536; 32])),
            ("network.log_std_init", with(&|config| config.network.log_std_init = f64::NAN)),
            ("network.squash", with(&|config| config.network.squash = true)),
            ("agent.max_kl", trpo(clip(-1.0))),
        ] {
            match config.build(&pole()).map(drop) {
                Err(AgentError::Config(error)) => assert_eq!(error.key, key, "{error}"),
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_loaded_goes_on_as_if_it_had_not_stopped() {
        let directory = std::env::temp_dir().join(format!("backburn-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("pole.ckpt");
        let config = TrainingConfig {
            total_steps: 4096,
            normalize_observations: true,
            ..TrainingConfig::default()
        };
        let mut training = config.build(&pole()).unwrap();
        training.iterate().unwrap();
        training.save(&path).unwrap();
        let longer = TrainingConfig { total_steps: 8192, ..config.clone() };
        let mut loaded = longer.load(&pole(), &path).unwrap();
        assert_eq!(loaded.state().unwrap(), training.state().unwrap());
        // The share of the run that is done is another one, and these settings have no schedule.
        loaded.iterate().unwrap();
        training.iterate().unwrap();
        assert_eq!(loaded.agent.state().unwrap(), training.agent.state().unwrap());
        assert_eq!(loaded.recent.mean_return(), training.recent.mean_return());

        let refused = |config: &TrainingConfig, task: &Task, fragment: &str| {
            let error = config.load(task, &path).map(drop).unwrap_err().to_string();
            assert!(
                error.contains("pole.ckpt: belongs to another") && error.contains(fragment),
                "{error}"
            );
        };
        let mut other = config.clone();
        other.network.activation = crate::Activation::Relu;
        refused(&other, &pole(), "network.activation is tanh there and relu here");
        refused(
            &TrainingConfig { seed: 2, ..config.clone() },
            &pole(),
            "seed is 1 there and 2 here",
        );
        refused(&config, &Task::from_fn("brittle", Brittle::default).unwrap(), "the task is");
        std::fs::write(&path, "not a checkpoint").unwrap();
        let error = config.load(&pole(), &path).map(drop).unwrap_err().to_string();
        assert!(error.contains("is no Backburn checkpoint"), "{error}");
        let error = config.load(&pole(), directory.join("no")).map(drop).unwrap_err().to_string();
        assert!(error.contains("can't be read"), "{error}");
        let error = training.save(directory.join("no/x")).unwrap_err().to_string();
        assert!(error.contains("can't be written"), "{error}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
