//! `trainer bench`: how fast a configuration runs on this machine, on each backend.

use crate::error::Error;
use crate::experiment::config::{Experiment, Source};
use crate::experiment::session;
use crate::terminal::Output;
use agents::ranks::Traffic;
use agents::{Agent, Backend, Iteration, Progress, Ranks, Threads, Training, TrainingConfig};
use envs::{Space, Task, VectorEnv};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Each number is measured at least this long ...
const TIME: Duration = Duration::from_secs(1);
/// ... and at least this often.
const RUNS: usize = 3;
/// Floating-point operations in a gradient from which on a GPU is likely to be the faster backend:
/// what two cores do in the 5 ms or so that starting a gradient's kernels takes (an estimate; see
/// docs/performance.md).
const WORTH_A_GPU: f64 = 5e8;

/// Environment steps a second.
#[derive(Serialize)]
struct Throughput {
    algorithm: &'static str,
    environment: &'static str,
    steps_per_iteration: u64,
    /// Of the environments alone.
    environments: f64,
    backends: Vec<OnBackend>,
}

/// On a backend; `None` where it has no device.
#[derive(Serialize)]
struct OnBackend {
    name: &'static str,
    acting: Option<f64>,
    update: Option<f64>,
    training: Option<f64>,
    /// Between ranks, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    talk: Option<Talk>,
}

/// What ranks tell each other in an iteration, as rank 0 sees it.
#[derive(Serialize)]
struct Talk {
    ranks: usize,
    rounds: f64,
    bytes: f64,
    seconds_per_round: f64,
    /// Share of the time in which nothing else was done.
    waiting: f64,
}

impl Talk {
    /// Of so many iterations that took so long; `None` where there is one rank.
    fn new(ranks: &Ranks, before: Traffic, iterations: usize, seconds: f64) -> Option<Talk> {
        let now = ranks.traffic();
        let rounds = (now.rounds - before.rounds) as f64;
        let waited = now.seconds - before.seconds;
        (ranks.size() > 1).then(|| Talk {
            ranks: ranks.size(),
            rounds: rounds / iterations as f64,
            bytes: (now.bytes - before.bytes) as f64 / iterations as f64,
            seconds_per_round: waited / rounds,
            waiting: waited / seconds,
        })
    }

    fn text(&self) -> String {
        let Talk { ranks, rounds, bytes, seconds_per_round, waiting } = self;
        format!(
            "  {:<14} {ranks}: {rounds:.0} messages of {:.0} bytes in an iteration, {:.0} us each, {:.0} % of the \
             time\n",
            "ranks",
            bytes / rounds,
            seconds_per_round * 1e6,
            waiting * 100.0
        )
    }
}

/// Prints environment, acting and update throughput, in environment steps per second.
///
/// # Errors
/// When an iteration fails, as in training.
pub fn bench(
    experiment: &Experiment,
    task: &Task,
    source: &Source,
    only: Option<Backend>,
    threads: NonZeroUsize,
    output: Output,
    ranks: &Arc<Ranks>,
) -> Result<(), Error> {
    // Other ranks may have other devices.
    let only = only.or((ranks.size() > 1).then_some(experiment.backend));
    let config = experiment.training(ranks);
    let steps = config.steps_per_iteration() as f64;
    output.text(|| {
        format!(
            "{} on {}, {steps} steps in an iteration; environment steps a second, medians\n",
            experiment.agent.name(),
            task.name()
        )
    });
    let environments = environments(experiment, task);
    output.text(|| {
        format!(
            "  {:<14} {environments:>12.0}\n  {:<14} {:>12} {:>12} {:>12}\n",
            "environments", "", "acting", "update", "training"
        )
    });
    let mut backends = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|&one| only.is_none_or(|only| one == only)) {
        let name = backend.name();
        if backend.devices().is_empty() {
            output.text(|| format!("  {name:<14} {:>12}\n", "no device"));
            let [acting, update, training] = [None; 3];
            backends.push(OnBackend { name, acting, update, training, talk: None });
            continue;
        }
        let config = TrainingConfig { backend, ..config.clone() };
        let mut training = config.build(task).map_err(|error| session::unfit(error, source))?;
        training.agent.set_threads(Threads::new(threads));
        let (mut acting, mut updates) = (Vec::new(), Vec::new());
        // The first iteration warms up: buffers, caches, a GPU's kernels.
        iterate(&mut training)?;
        let (started, before) = (Instant::now(), ranks.traffic());
        while ranks.from_first(acting.len() < RUNS || started.elapsed() < TIME) {
            let Iteration { acting_seconds, update_seconds, .. } = iterate(&mut training)?;
            acting.push(acting_seconds);
            updates.push(update_seconds);
        }
        let talk = Talk::new(ranks, before, acting.len(), started.elapsed().as_secs_f64());
        let (act, update) = (median(acting), median(updates));
        let [acting, update, training] = [act, update, act + update].map(|seconds| steps / seconds);
        output.text(|| format!("  {name:<14} {acting:>12.0} {update:>12.0} {training:>12.0}\n"));
        if let Some(talk) = &talk {
            output.text(|| talk.text());
        }
        let [acting, update, training] = [acting, update, training].map(Some);
        backends.push(OnBackend { name, acting, update, training, talk });
    }
    output.json(&Throughput {
        algorithm: experiment.agent.name(),
        environment: task.name(),
        steps_per_iteration: config.steps_per_iteration(),
        environments,
        backends,
    });
    Ok(())
}

/// A line for the user whose backend is the slower one at this size; `None` when it is not, or when
/// no other is to be had.
#[must_use]
pub fn hint(experiment: &Experiment, agent: &Agent) -> Option<String> {
    let batch = experiment.env.num_envs * experiment.agent.rollout().steps;
    let samples = experiment.agent.gradient_samples(batch) as f64;
    // Forward once, backward twice; a multiplication and an addition for each weight.
    let is_large = 6.0 * agent.num_params() as f64 * samples >= WORTH_A_GPU;
    let gpu = || Backend::Wgpu.devices().into_iter().find(|name| !is_software(name));
    match experiment.backend {
        Backend::NdArray => Some("backend flex, on the CPU too, is several times faster".into()),
        Backend::Wgpu if gpu().is_none() => {
            Some("this GPU is emulated on the CPU: --backend flex is many times faster here".into())
        }
        Backend::Wgpu if !is_large => Some(
            "a gradient is too little work for a GPU at this network and minibatch size: \
             --backend flex is likely to be faster (trainer bench measures it)"
                .into(),
        ),
        Backend::Flex if is_large => gpu().map(|name| {
            format!(
                "at this network and minibatch size --backend wgpu ({name}) is likely to be \
                 faster (trainer bench measures it)"
            )
        }),
        _ => None,
    }
}

/// Whether a device is a program that draws and computes on the CPU.
fn is_software(device: &str) -> bool {
    ["llvmpipe", "SwiftShader", "Basic Render"].iter().any(|name| device.contains(name))
}

/// An iteration with the settings of the first one, however many there have been.
fn iterate(training: &mut Training) -> Result<Iteration, Error> {
    training.progress = Progress::default();
    training.iterate().map_err(Error::Agent)
}

/// Steps per second of the environments alone, always with the same action.
fn environments(experiment: &Experiment, task: &Task) -> f64 {
    let num_envs = experiment.env.num_envs;
    let mut envs = VectorEnv::new(task, experiment.seed, 0, num_envs);
    let action = match envs.action_space() {
        Space::Discrete { .. } => vec![0.0],
        Space::Box { low, high } => {
            low.iter().zip(high).map(|(l, h)| 0.0_f32.clamp(*l, *h)).collect()
        }
    };
    let actions = action.repeat(num_envs);
    // Long enough that reading the clock does not count.
    let calls = 1 + 10_000 / num_envs;
    let mut seconds = Vec::new();
    let started = Instant::now();
    while seconds.len() < RUNS || started.elapsed() < TIME {
        let before = Instant::now();
        for _ in 0..calls {
            envs.step(&actions);
        }
        seconds.push(before.elapsed().as_secs_f64());
    }
    (calls * num_envs) as f64 / median(seconds)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
