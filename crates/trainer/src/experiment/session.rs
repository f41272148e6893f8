//! A run in memory: environments, agent, and how far they are.

use crate::error::Error;
use crate::experiment::changes;
use crate::experiment::checkpoint::Checkpoint;
use crate::experiment::checkpoint::problem::{CheckpointError, Problem};
use crate::experiment::config::{Experiment, Source, WarmStart};
use crate::experiment::fingerprint::Fingerprint;
use crate::experiment::metrics::{EndedBy, Progress, RecentEpisodes};
use crate::experiment::run_dir::{RunDir, Which};
use crate::registry::Registry;
use crate::terminal::{command, warn};
use agents::policy::Policy;
use agents::{Agent, AgentError, Backend, Collector, Evaluation, cost_indices};
use envs::{RunningMeanStd, Spec, Task, VectorEnv};
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
    /// The last checkpoint known to be good.
    pub saved: Option<PathBuf>,
    fingerprint: Fingerprint,
}

impl Session {
    /// A run at its beginning, with the policy of the run that it starts from, if it names one. `source`
    /// is what the experiment was read from.
    ///
    /// # Errors
    /// When the registry does not know the environment, a setting does not fit it, there is no device, no
    /// such policy, or a first observation is not finite.
    pub fn begin(
        experiment: Experiment,
        source: &Source,
        registry: &Registry,
    ) -> Result<Session, Error> {
        let task = task(&experiment, registry)?;
        let mut agent = agent(&experiment, &task, source, experiment.backend)?;
        let rewards = warm_start(&mut agent, &experiment, &task, source)?;
        let mut session = Session::new(experiment, task, agent)?;
        if let Some(rewards) = rewards {
            session.collector.set_reward_statistics(rewards);
        }
        Ok(session)
    }

    /// A run as its newest checkpoint has it; at its beginning if it was killed before the first one. What
    /// its directory says is `before`, and what is to hold from now on the `experiment`.
    ///
    /// # Errors
    /// As [`Session::begin`], and when no checkpoint is usable, or of another configuration.
    pub fn resume(
        run: &RunDir,
        before: &Experiment,
        experiment: Experiment,
        source: &Source,
        registry: &Registry,
    ) -> Result<Session, Error> {
        let Some((path, checkpoint)) = run.load(Which::Latest)? else {
            return Session::begin(experiment, source, registry);
        };
        let task = task(&experiment, registry)?;
        must_be_of(&checkpoint, &Fingerprint::new(&experiment, &task)?, &path)?;
        let steps = checkpoint.progress.steps;
        let changes = changes::read(&run.changes())?.into_iter();
        let known: Vec<String> =
            changes.filter(|change| change.step >= steps).map(|change| change.key).collect();
        let edits = checkpoint.fingerprint.edits(&Fingerprint::new(before, &task)?, &known);
        if !edits.is_empty() {
            return Err(Error::Usage(format!(
                "{}: was changed after the run had begun: {}; change it back, and say what is to hold \
                 from now on with {} --set KEY=VALUE",
                run.config().display(),
                edits.join(", "),
                command("resume", run.path())
            )));
        }
        let agent = blank_agent(&experiment, &task, source, experiment.backend)?;
        let mut session = Session::new(experiment, task, agent)?;
        session.restore(path, checkpoint)?;
        Ok(session)
    }

    /// A run at its beginning with an agent of [`agent`].
    ///
    /// # Errors
    /// When an environment's first observation is not finite.
    pub(crate) fn new(
        experiment: Experiment,
        task: Task,
        mut agent: Agent,
    ) -> Result<Session, Error> {
        let Experiment { seed, env, .. } = &experiment;
        let envs = VectorEnv::new(&task, *seed, 0, env.num_envs);
        let collector =
            Collector::new(envs, &mut agent, env.normalize_rewards, *seed).map_err(Error::Agent)?;
        Ok(Session {
            fingerprint: Fingerprint::new(&experiment, &task)?,
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
    /// When its numbers don't fit.
    fn restore(&mut self, path: PathBuf, checkpoint: Checkpoint) -> Result<(), Error> {
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
    ///
    /// # Errors
    /// When the algorithm's state can't be written down.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        Ok(Checkpoint {
            fingerprint: self.fingerprint.clone(),
            agent: self.agent.state().map_err(Error::Agent)?,
            collector: self.collector.state(),
            progress: self.progress,
            recent: self.recent.clone(),
        })
    }

    /// Whether the last iteration is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.iterations >= self.experiment.iterations() || self.progress.ended_by.is_some()
    }

    /// What this evaluation ends the run by, if it does.
    #[must_use]
    pub fn is_reached(&self, evaluation: &Evaluation) -> Option<EndedBy> {
        let eval = &self.experiment.eval;
        let reached = |goal: Option<f64>, found: Option<f64>| {
            goal.is_some_and(|goal| found.is_some_and(|found| found >= goal))
        };
        if reached(eval.stop_at, Some(evaluation.mean_return())) {
            return Some(EndedBy::StopAt);
        }
        reached(eval.stop_at_success, evaluation.success_rate()).then_some(EndedBy::StopAtSuccess)
    }

    /// Whether something that comes every so many steps comes after the last iteration; what comes
    /// every 0 steps, comes only at the end.
    #[must_use]
    pub fn is_due(&self, every_steps: u64) -> bool {
        let now = self.progress.steps;
        let before = now.saturating_sub(self.experiment.steps_per_iteration());
        self.is_finished() || (every_steps > 0 && now / every_steps > before / every_steps)
    }

    /// Episodes with the policy as it is; training is as if it had not happened. Actions are greedy, or
    /// sampled where there is a constraint ([`Experiment::evaluates_greedily`]).
    ///
    /// # Errors
    /// When an observation, a reward or an action is not finite, or a cost is not finite or below 0.
    pub fn evaluate(&self) -> Result<Evaluation, AgentError> {
        let Experiment { seed, eval, .. } = &self.experiment;
        let greedy = self.experiment.evaluates_greedily();
        agents::evaluate(self.agent.actor(), &self.task, eval.episodes, *seed, greedy)
    }

    /// What an evaluation counts among others for the best checkpoint: the mean return, less what it cost
    /// at fixed multipliers; `None` where a limit does not hold.
    pub(crate) fn score(&self, evaluation: &Evaluation) -> Option<f64> {
        let mut score = evaluation.mean_return();
        for constraint in self.experiment.agent.constraints() {
            let cost = evaluation.cost(&constraint.cost)?.mean;
            if constraint.limit.is_some_and(|limit| cost > limit) {
                return None;
            }
            score -= constraint.multiplier.unwrap_or(0.0) * cost;
        }
        Some(score)
    }
}

/// The environment that the experiment names, with its parameters and all that holds around it.
///
/// # Errors
/// When the registry does not know it, or a parameter does not fit it.
pub fn task(experiment: &Experiment, registry: &Registry) -> Result<Task, Error> {
    let name = &experiment.env.name;
    let entry = registry.environments.get(name);
    let entry = entry.ok_or_else(|| Error::Usage(format!("env.name: there is no `{name}`")))?;
    let task = entry.task(&experiment.env.task_config());
    task.map_err(|error| Error::Usage(format!("env.{error}")))
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
    let Experiment { agent, network, env, seed, .. } = experiment;
    Agent::new(agent, network, env.normalize_observations, task.spec(), *seed, backend.open()?)
        .map_err(|error| unfit(error, source))
}

/// The same without weights, for those of a checkpoint.
///
/// # Errors
/// As [`agent`].
pub fn blank_agent(
    experiment: &Experiment,
    task: &Task,
    source: &Source,
    backend: Backend,
) -> Result<Agent, Error> {
    let Experiment { agent, network, env, .. } = experiment;
    Agent::blank(agent, network, env.normalize_observations, task.spec(), backend.open()?)
        .map_err(|error| unfit(error, source))
}

/// The error of settings that do not fit the environment.
fn unfit(error: AgentError, source: &Source) -> Error {
    match error {
        AgentError::Config(error) => source.error(&error.key, &error.message),
        other => Error::Agent(other),
    }
}

/// Checks that the settings fit the environment; builds nothing, and asks no device.
///
/// # Errors
/// When they do not: `network.squash` without finite action bounds, a constraint on a cost that the
/// environment does not have.
pub fn must_fit(experiment: &Experiment, spec: &Spec, source: &Source) -> Result<(), Error> {
    let Experiment { network, agent, .. } = experiment;
    Policy::new(&spec.observation_space, &spec.action_space, network)
        .and_then(|_| cost_indices(agent.constraints(), spec))
        .map(drop)
        .map_err(|error| source.error(&error.key, &error.message))
}

/// Gives the agent the policy of the run that the experiment names, if it names one, and the critic if that
/// is asked for. Returns what else belongs to the critic: the statistics by which rewards were normalised.
///
/// # Errors
/// When that run has no usable checkpoint, or its policy is of another network.
pub fn warm_start(
    agent: &mut Agent,
    experiment: &Experiment,
    task: &Task,
    source: &Source,
) -> Result<Option<RunningMeanStd>, Error> {
    let Some(WarmStart { run: path, critic, .. }) = &experiment.warm_start else {
        return Ok(None);
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
    let own = Fingerprint::new(experiment, task)?;
    let differences = checkpoint.fingerprint.differences_of_policy(&own);
    if !differences.is_empty() {
        return Err(wrong(format!(
            "{}: its policy is another function: {}; give this run the same, or another warm_start",
            path.display(),
            differences.join(", ")
        )));
    }
    let rewards = checkpoint.collector.reward_statistics().cloned();
    if *critic && rewards.is_some() != experiment.env.normalize_rewards {
        return Err(wrong(format!(
            "{}: its critic can't be taken: env.normalize_rewards is {} there and {} here; give this run \
             the same, or critic = false",
            path.display(),
            rewards.is_some(),
            experiment.env.normalize_rewards
        )));
    }
    agent
        .warm_start(&checkpoint.agent, *critic)
        .map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    Ok(rewards.filter(|_| *critic))
}

/// Refuses a checkpoint whose state has no meaning in this run, and warns where the code of the task is not
/// what it was.
fn must_be_of(
    checkpoint: &Checkpoint,
    run: &Fingerprint,
    path: &Path,
) -> Result<(), CheckpointError> {
    let differences = checkpoint.fingerprint.differences(run);
    if differences.is_empty() {
        return must_act_in(checkpoint, run, path);
    }
    let message = format!(
        "{}; a run keeps these: change config.toml back, or begin another run with what it says now",
        differences.join(", ")
    );
    Err(Problem::Mismatch(message).of(path))
}

/// Refuses a checkpoint whose policy would be another function here, and warns where it was trained on
/// another task.
fn must_act_in(
    checkpoint: &Checkpoint,
    run: &Fingerprint,
    path: &Path,
) -> Result<(), CheckpointError> {
    let differences = checkpoint.fingerprint.differences_of_policy(run);
    if !differences.is_empty() {
        return Err(Problem::Policy(differences.join(", ")).of(path));
    }
    let task = checkpoint.fingerprint.differences_of_task(run);
    if !task.is_empty() {
        warn(&format!(
            "{}: its policy was trained on another task: {}",
            path.display(),
            task.join(", ")
        ));
    }
    Ok(())
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
        let (experiment, source) = run.experiment(Vec::new(), registry)?;
        let task = task(&experiment, registry)?;
        let mut agent = blank_agent(&experiment, &task, &source, Backend::Flex)?;
        let Some((path, checkpoint)) = run.load(which)? else {
            return Err(Error::Usage(format!(
                "{}: holds no checkpoint; one is saved every checkpoint.every_steps steps, and `{}` \
                 goes on with the run",
                run.checkpoints().display(),
                command("resume", run.path())
            )));
        };
        must_act_in(&checkpoint, &Fingerprint::new(&experiment, &task)?, &path)?;
        agent.set_state(checkpoint.agent).map_err(|error| foreign(error, &path))?;
        Ok(Trained { experiment, task, agent, checkpoint: path })
    }
}

/// The error of a checkpoint whose state does not fit.
fn foreign(error: AgentError, path: &Path) -> Error {
    let problem = match error {
        AgentError::Impossible(what) => Problem::Impossible(format!("the {what}")),
        other => Problem::Mismatch(other.to_string()),
    };
    problem.of(path).into()
}
