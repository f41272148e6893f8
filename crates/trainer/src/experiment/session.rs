//! A run in memory: environments, agent, and how far they are.

use crate::error::Error;
use crate::experiment::changes;
use crate::experiment::checkpoint::Checkpoint;
use crate::experiment::config::{Experiment, Override, Source, WarmStart};
use crate::experiment::fingerprint::Fingerprint;
use crate::experiment::metrics::EndedBy;
use crate::experiment::run_dir::{RunDir, Which};
use crate::registry::Registry;
use crate::terminal::{self, command, warn};
use agents::checkpoint::{CheckpointError, Problem};
use agents::policy::Policy;
use agents::{
    Agent, AgentError, Backend, Evaluation, Ranks, Training, TrainingConfig, cost_indices,
};
use envs::{RunningMeanStd, Spec, Task};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that a run needs while it goes on.
pub struct Session {
    /// What is to be done.
    pub experiment: Experiment,
    /// Agent and environments, and how far they are.
    pub training: Training,
    /// Seconds spent altogether, in all processes that worked on the run.
    pub elapsed_seconds: f64,
    /// Best score of an evaluation so far.
    pub best_return: Option<f64>,
    /// What ended the run before its last step.
    pub ended_by: Option<EndedBy>,
    /// The last checkpoint known to be good.
    pub saved: Option<PathBuf>,
    fingerprint: Fingerprint,
}

impl Session {
    /// A run at its beginning, with the policy of the run that it starts from, if it names one. `source`
    /// is what the experiment and its task were read from.
    ///
    /// # Errors
    /// When a setting does not fit the task, there is no device, no such policy, or a first observation is not
    /// finite.
    pub fn begin(experiment: Experiment, task: Task, source: &Source) -> Result<Session, Error> {
        Session::begin_among(&Arc::default(), experiment, task, source)
    }

    /// [`Session::begin`] together with other ranks.
    pub(crate) fn begin_among(
        ranks: &Arc<Ranks>,
        experiment: Experiment,
        task: Task,
        source: &Source,
    ) -> Result<Session, Error> {
        let config = experiment.training(ranks);
        let mut agent = config.agent(task.spec()).map_err(|error| unfit(error, source))?;
        let rewards = warm_start(&mut agent, &experiment, &task, source)?;
        let training = Training::new(config, task, agent).map_err(Error::Agent)?;
        let mut session = Session::new(experiment, training)?;
        if let Some(rewards) = rewards {
            session.training.collector.set_reward_statistics(rewards);
        }
        Ok(session)
    }

    /// A run as its newest checkpoint has it; at its beginning if it was killed before the first one. What
    /// its directory says is `before`, and what is to hold from now on the `experiment`. Rank 0 reads the
    /// files.
    ///
    /// # Errors
    /// As [`Session::begin`], and when no checkpoint is usable, or of another configuration.
    pub fn resume(
        ranks: &Arc<Ranks>,
        run: &RunDir,
        before: &Experiment,
        experiment: Experiment,
        task: Task,
        source: &Source,
    ) -> Result<Session, Error> {
        let Some((path, checkpoint)) = load(ranks, run, Which::Latest)? else {
            return Session::begin_among(ranks, experiment, task, source);
        };
        must_be_of(&checkpoint, &Fingerprint::new(&experiment, &task)?, &path)?;
        let steps = checkpoint.training.progress.steps;
        let changes = match ranks.rank() {
            0 => changes::read(&run.changes())?,
            _ => Vec::new(),
        };
        let known = changes.into_iter().filter(|change| change.step >= steps);
        let known: Vec<String> = ranks.from_first(known.map(|change| change.key).collect());
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
        let Checkpoint { training, elapsed_seconds, best_return, ended_by, .. } = checkpoint;
        let config = experiment.training(ranks);
        let training = config.resume(&task, training).map_err(|error| match error {
            AgentError::Mismatch(_) | AgentError::Impossible(_) => {
                Problem::from(error).of(&path).into()
            }
            other => unfit(other, source),
        })?;
        if !task.spec().saves_state {
            terminal::hint(
                "the environment's state can't be saved: the run goes on with new episodes, and not \
                 as if it had not stopped",
            );
        }
        let session = Session::new(experiment, training)?;
        Ok(Session { elapsed_seconds, best_return, ended_by, saved: Some(path), ..session })
    }

    fn new(experiment: Experiment, training: Training) -> Result<Session, Error> {
        Ok(Session {
            fingerprint: Fingerprint::new(&experiment, &training.task)?,
            experiment,
            training,
            elapsed_seconds: 0.0,
            best_return: None,
            ended_by: None,
            saved: None,
        })
    }

    /// A copy of everything that goes on changing, of which ranks that train together have parts: all of them ask
    /// for it at the same time.
    ///
    /// # Errors
    /// When the algorithm's state can't be written down, or the environments' can't be had.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        Ok(Checkpoint {
            fingerprint: self.fingerprint.clone(),
            training: self.training.state().map_err(Error::Agent)?,
            elapsed_seconds: self.elapsed_seconds,
            best_return: self.best_return,
            ended_by: self.ended_by,
        })
    }

    /// Whether the last iteration is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.training.is_finished() || self.ended_by.is_some()
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
        let now = self.training.progress.steps;
        let before = now.saturating_sub(self.training.config.steps_per_iteration());
        self.is_finished() || (every_steps > 0 && now / every_steps > before / every_steps)
    }

    /// The episodes of `[eval]` with the policy as it is.
    ///
    /// # Errors
    /// As [`Training::evaluate`].
    pub fn evaluate(&self) -> Result<Evaluation, AgentError> {
        self.training.evaluate(self.experiment.eval.episodes)
    }

    /// Whether any rank is to stop. Notices ranks whose parameters are not those of rank 0.
    ///
    /// # Errors
    /// When there is one.
    pub(crate) fn agree(&self, stop: bool) -> Result<bool, Error> {
        let Training { agent, progress, .. } = &self.training;
        let ranks = agent.ranks();
        if ranks.size() == 1 {
            return Ok(stop);
        }
        let vectors = agent.critics().iter().map(|critic| &critic.state.params[..]);
        let numbers = [agent.actor().params()].into_iter().chain(vectors).flatten();
        let bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        let all = ranks.gather(&(crc32c::crc32c(&bytes), stop));
        if let Some(rank) = all.iter().position(|(checksum, _)| *checksum != all[0].0) {
            let saved =
                self.saved.as_ref().map(|path| format!("the last good one is {}", path.display()));
            return Err(Error::Failed(format!(
                "iteration {}: {} has other parameters than {}, which the same program on sound machines can't have; \
                 no checkpoint of it is saved ({})",
                progress.iterations,
                ranks.name(rank),
                ranks.name(0),
                saved.unwrap_or_else(|| "there is none yet".into()),
            )));
        }
        Ok(all.iter().any(|(_, stop)| *stop))
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

/// The error of settings that do not fit the environment.
pub fn unfit(error: AgentError, source: &Source) -> Error {
    match error {
        AgentError::Config(error) => source.error(&error.key, &error.message),
        AgentError::Backend(error) => error.into(),
        other => Error::Agent(other),
    }
}

/// An agent without weights on the CPU, for those of a checkpoint.
///
/// # Errors
/// When the settings do not fit the environment.
pub fn actor(experiment: &Experiment, task: &Task, source: &Source) -> Result<Agent, Error> {
    let config = TrainingConfig { backend: Backend::Flex, ..experiment.training(&Arc::default()) };
    config.blank_agent(task.spec()).map_err(|error| unfit(error, source))
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
    let ranks = agent.ranks();
    let mut checkpoint = None;
    if ranks.rank() == 0 && path.is_dir() {
        let run = RunDir::at(path.clone());
        let found = run.load(Which::Latest).map_err(|error| wrong(error.to_string()))?;
        checkpoint = found.map(|(_, checkpoint)| checkpoint);
    } else if ranks.rank() == 0 {
        checkpoint = Some(Checkpoint::read(path).map_err(|error| wrong(error.to_string()))?);
    }
    let Some(checkpoint) = ranks.from_first(checkpoint) else {
        return Err(wrong(format!(
            "{}: holds no checkpoint; give a run directory",
            path.display()
        )));
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
    let rewards = checkpoint.training.collector.reward_statistics().cloned();
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
        .warm_start(&checkpoint.training.agent, *critic)
        .map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    Ok(rewards.filter(|_| *critic))
}

/// Reads a run's checkpoint on rank 0, for all ranks.
fn load(ranks: &Ranks, run: &RunDir, which: Which) -> Result<Option<(PathBuf, Checkpoint)>, Error> {
    let found = if ranks.rank() == 0 { run.load(which)? } else { None };
    Ok(ranks.from_first(found))
}

/// Reads a run's configuration as it holds now on rank 0, for all ranks: what the run began with, its changes,
/// and `overrides`.
///
/// # Errors
/// When it can't be read or is none.
pub(crate) fn configuration(
    ranks: &Ranks,
    run: &RunDir,
    overrides: &[Override],
    registry: &Registry,
) -> Result<(Experiment, Task, Source), Error> {
    let path = run.config();
    let is_first = ranks.rank() == 0;
    let first = is_first.then(|| Source::read(&path, &[])).transpose()?;
    let text = ranks.from_first(first.as_ref().map(|source| source.text().to_owned()));
    let source = first.unwrap_or_else(|| Source::new(&path, text.unwrap_or_default(), &[]));
    let changes = is_first.then(|| changes::text(&run.changes())).transpose()?;
    let changes = changes::parse(&run.changes(), &ranks.from_first(changes).unwrap_or_default())?;
    let changes = changes::overrides(&run.changes(), &changes)?;
    let source = source.with([changes, overrides.to_vec()].concat());
    let (experiment, task) = Experiment::parse(&source, registry)?;
    Ok((experiment, task, source))
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
        Trained::load_among(&Ranks::default(), run, which, registry)
    }

    /// The same for all ranks; rank 0 reads the files.
    pub(crate) fn load_among(
        ranks: &Ranks,
        run: &RunDir,
        which: Which,
        registry: &Registry,
    ) -> Result<Trained, Error> {
        if ranks.rank() == 0 {
            run.must_hold_a_run()?;
        }
        let (experiment, task, source) = configuration(ranks, run, &[], registry)?;
        let mut agent = actor(&experiment, &task, &source)?;
        let Some((path, checkpoint)) = load(ranks, run, which)? else {
            return Err(Error::Usage(format!(
                "{}: holds no checkpoint; one is saved every checkpoint.every_steps steps, and `{}` \
                 goes on with the run",
                run.checkpoints().display(),
                command("resume", run.path())
            )));
        };
        must_act_in(&checkpoint, &Fingerprint::new(&experiment, &task)?, &path)?;
        agent
            .set_state(checkpoint.training.agent)
            .map_err(|error| Problem::from(error).of(&path))?;
        Ok(Trained { experiment, task, agent, checkpoint: path })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use agents::Messenger;

    /// The other one of two ranks, which says what this one does but for a bit.
    #[derive(Debug)]
    struct Liar {
        lies: bool,
    }

    impl Messenger for Liar {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            2
        }

        fn exchange(&self, to: &[(usize, &[u8])], _: &[usize]) -> Vec<Vec<u8>> {
            let mut message = to[0].1.to_vec();
            message[0] ^= u8::from(self.lies);
            vec![message]
        }
    }

    #[test]
    fn a_rank_with_other_parameters_is_named() {
        let text = "env.name = 'pendulum'\nagent.algorithm = 'ppo'";
        let source = Source::new(Path::new("x.toml"), text.to_owned(), &[]);
        let (experiment, task) = Experiment::parse(&source, &Registry::default()).unwrap();
        let mut session = Session::begin(experiment, task, &source).unwrap();
        session.training.agent.set_ranks(Arc::new(Ranks::new(Liar { lies: false })));
        assert!(!session.agree(false).unwrap());
        assert!(session.agree(true).unwrap());
        session.training.agent.set_ranks(Arc::new(Ranks::new(Liar { lies: true })));
        let error = session.agree(false).unwrap_err().to_string();
        assert!(error.contains("rank 1 has other parameters than rank 0"), "{error}");
    }
}
