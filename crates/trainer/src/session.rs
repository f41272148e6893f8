//! A run in memory: environments, agent, and how far they are.

use crate::checkpoint::{Checkpoint, Problem, Progress};
use crate::config::{Experiment, Source};
use crate::error::Error;
use crate::metrics::RecentEpisodes;
use crate::run_dir::{RunDir, Which};
use crate::terminal::command;
use agents::{Agent, AgentError, Backend, Collector, Evaluation};
use envs::{Registry, Task, TaskConfig, VectorEnv};
use std::path::{Path, PathBuf};

/// Everything that a run needs while it goes on.
pub struct Session {
    /// What is to be done.
    pub experiment: Experiment,
    /// The environment with all that holds around it.
    pub task: Task,
    /// Actor and critic.
    pub agent: Agent,
    /// The training environments.
    pub collector: Collector,
    /// How far the run is.
    pub progress: Progress,
    /// The last finished episodes.
    pub recent: RecentEpisodes,
    /// Whether the environment says if an episode succeeded.
    pub reports_success: bool,
    /// The last checkpoint known to be good.
    pub saved: Option<PathBuf>,
}

impl Session {
    /// A run at its beginning with an agent of [`agent`].
    ///
    /// # Errors
    /// When an environment's first observation is not finite.
    pub fn new(experiment: Experiment, task: Task, mut agent: Agent) -> Result<Session, Error> {
        let Experiment { seed, env, .. } = &experiment;
        let envs = VectorEnv::new(&task, *seed, 0, env.num_envs);
        let collector =
            Collector::new(envs, &mut agent, env.normalize_rewards, *seed).map_err(Error::Agent)?;
        Ok(Session {
            reports_success: task.spec().reports_success,
            experiment,
            task,
            agent,
            collector,
            progress: Progress::default(),
            recent: RecentEpisodes::default(),
            saved: None,
        })
    }

    /// Goes on from a checkpoint of this run.
    ///
    /// # Errors
    /// When it belongs to another configuration.
    pub fn restore(&mut self, path: PathBuf, checkpoint: Checkpoint) -> Result<(), Error> {
        let progress = checkpoint.progress;
        let steps = self.experiment.steps_per_iteration();
        if progress.iterations.checked_mul(steps) != Some(progress.steps) {
            let message = format!(
                "it counts {} steps in {} iterations, which are not of {steps} steps each \
                 (env.num_envs x agent.rollout_steps)",
                progress.steps, progress.iterations
            );
            return Err(Problem::Mismatch(message).of(&path).into());
        }
        self.agent.set_state(checkpoint.agent).map_err(|error| foreign(error, &path))?;
        self.collector.set_state(checkpoint.collector).map_err(|error| foreign(error, &path))?;
        self.progress = progress;
        self.recent = checkpoint.recent;
        self.saved = Some(path);
        Ok(())
    }

    /// A copy of everything that goes on changing.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            agent: self.agent.state(),
            collector: self.collector.state(),
            progress: self.progress,
            recent: self.recent.clone(),
        }
    }

    /// Whether the last iteration is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.iterations >= self.experiment.iterations()
    }

    /// Whether something that comes every so many steps comes after the last iteration; what comes
    /// every 0 steps, comes only at the end.
    #[must_use]
    pub fn is_due(&self, every_steps: u64) -> bool {
        let now = self.progress.steps;
        let before = now.saturating_sub(self.experiment.steps_per_iteration());
        self.is_finished() || (every_steps > 0 && now / every_steps > before / every_steps)
    }

    /// Greedy episodes with the policy as it is; training is as if it had not happened.
    ///
    /// # Errors
    /// When an observation, a reward or an action is not finite.
    pub fn evaluate(&self) -> Result<Evaluation, AgentError> {
        let Experiment { seed, eval, .. } = &self.experiment;
        agents::evaluate(self.agent.actor(), &self.task, eval.episodes, *seed, true)
    }
}

/// The environment that the experiment names.
///
/// # Errors
/// When the registry does not know it.
pub fn task(experiment: &Experiment, registry: &Registry) -> Result<Task, Error> {
    let name = &experiment.env.name;
    let entry = registry.get(name);
    let entry = entry.ok_or_else(|| Error::Usage(format!("env.name: there is no `{name}`")))?;
    entry.task(&TaskConfig::default()).map_err(|error| Error::Usage(format!("env.{error}")))
}

/// A new agent for the experiment's environment.
///
/// # Errors
/// When the backend has no device, or the settings do not fit the environment.
pub fn agent(
    experiment: &Experiment,
    task: &Task,
    source: &Source,
    backend: Backend,
) -> Result<Agent, Error> {
    Agent::new(
        &experiment.agent,
        &experiment.network,
        experiment.env.normalize_observations,
        &task.spec().observation_space,
        &task.spec().action_space,
        experiment.seed,
        backend.open()?,
    )
    .map_err(|error| match error {
        AgentError::Config(error) => source.error(&error.key, &error.message),
        other => Error::Agent(other),
    })
}

/// Gives the agent the policy of the run that the experiment names, if it names one.
///
/// # Errors
/// When that run has no usable checkpoint, or its policy has another shape.
pub fn warm_start(
    agent: &mut Agent,
    experiment: &Experiment,
    source: &Source,
) -> Result<(), Error> {
    let Some(path) = &experiment.warm_start else {
        return Ok(());
    };
    let wrong = |message: String| source.error("warm_start", &message);
    let checkpoint = if path.is_dir() {
        let run = RunDir::at(path.clone());
        let found = run.load(Which::Latest).map_err(|error| wrong(error.to_string()))?;
        found.map(|(_, checkpoint)| checkpoint).ok_or_else(|| {
            wrong(format!("{}: holds no checkpoint; give a run directory", path.display()))
        })?
    } else {
        Checkpoint::read(path).map_err(|error| wrong(error.to_string()))?
    };
    agent
        .warm_start(&checkpoint.agent)
        .map_err(|error| wrong(format!("{}: {error}", path.display())))
}

/// A run's policy as a checkpoint has it.
pub struct Trained {
    /// The run's configuration.
    pub experiment: Experiment,
    /// The environment with all that holds around it.
    pub task: Task,
    /// Actor and critic, on the CPU, whatever the run was trained on.
    pub agent: Agent,
    /// The checkpoint's file.
    pub checkpoint: PathBuf,
}

impl Trained {
    /// Reads the policy of a run directory back, as its latest checkpoint has it.
    ///
    /// # Errors
    /// When the directory holds no run, no whole checkpoint, or an environment that the registry does not
    /// know.
    pub fn read(run: impl Into<PathBuf>, registry: &Registry) -> Result<Trained, Error> {
        Trained::load(&RunDir::at(run.into()), Which::Latest, registry)
    }

    /// Reads a run's policy back.
    ///
    /// # Errors
    /// When the directory holds no run, no such checkpoint, or one that does not fit its configuration.
    pub(crate) fn load(run: &RunDir, which: Which, registry: &Registry) -> Result<Trained, Error> {
        run.must_hold_a_run()?;
        let (experiment, source) = Experiment::read(&run.config(), &[], registry)?;
        let task = task(&experiment, registry)?;
        let mut agent = agent(&experiment, &task, &source, Backend::Flex)?;
        let Some((path, checkpoint)) = run.load(which)? else {
            return Err(Error::Usage(format!(
                "{}: holds no checkpoint; one is saved every checkpoint.every_steps steps, and `{}` \
                 goes on with the run",
                run.checkpoints().display(),
                command("resume", run.path())
            )));
        };
        agent.set_state(checkpoint.agent).map_err(|error| foreign(error, &path))?;
        Ok(Trained { experiment, task, agent, checkpoint: path })
    }
}

/// The error of a checkpoint whose state does not fit.
pub fn foreign(error: AgentError, path: &Path) -> Error {
    Problem::Mismatch(error.to_string()).of(path).into()
}
