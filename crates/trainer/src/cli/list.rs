//! `trainer list`: what can be chosen.

use crate::registry::Registry;
use crate::terminal::{self, Output};
use agents::Backend;
use envs::arm::{ROBOTS, Robot};
use envs::{Space, Stream, Task, TaskConfig, stream};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What can be chosen, for scripts.
#[derive(Serialize)]
struct List {
    environments: Vec<EnvironmentChoice>,
    robots: Vec<RobotChoice>,
    algorithms: Vec<Choice>,
    backends: Vec<Devices>,
}

/// An environment, and what it is with its defaults.
#[derive(Serialize)]
struct EnvironmentChoice {
    name: &'static str,
    description: &'static str,
    /// `null` where a parameter must be given.
    #[serde(flatten)]
    defaults: Option<EnvironmentDefaults>,
}

#[derive(Serialize)]
struct EnvironmentDefaults {
    /// Numbers.
    observation: usize,
    /// Numbers, or how many choices there are.
    action: String,
    max_episode_steps: u32,
    /// Of a random step.
    nanoseconds_per_step: f64,
    parameters: serde_json::Map<String, serde_json::Value>,
}

/// A robot whose file comes with the project.
#[derive(Serialize)]
struct RobotChoice {
    file: String,
    joints: usize,
    /// The link that reaches unless told otherwise.
    tip: String,
    /// kg.
    mass: f64,
}

#[derive(Serialize)]
struct Choice {
    name: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
struct Devices {
    name: &'static str,
    devices: Vec<String>,
}

/// Prints what can be chosen.
pub fn list(registry: &Registry, output: Output) {
    let choice = |(name, description)| Choice { name, description };
    let environments = registry.environments.entries().iter().map(|entry| {
        let task = entry.task(&TaskConfig::default()).ok();
        let defaults = task.map(|task| EnvironmentDefaults {
            observation: task.spec().observation_space.width(),
            action: match &task.spec().action_space {
                Space::Discrete { n } => format!("one of {n}"),
                Space::Box { low, .. } => terminal::count(low.len(), "number"),
            },
            max_episode_steps: task.spec().max_episode_steps,
            nanoseconds_per_step: nanoseconds_per_step(&task),
            parameters: task.parameters().clone(),
        });
        EnvironmentChoice { name: entry.name, description: entry.description, defaults }
    });
    let robots = ROBOTS.iter().filter_map(|(file, text)| {
        let robot = Robot::parse(text, file).ok()?;
        Some(RobotChoice {
            file: format!("configs/robots/{file}"),
            joints: robot.motors().count(),
            tip: robot.links[robot.default_tip()].name.clone(),
            mass: robot.links.iter().map(|link| link.mass).sum(),
        })
    });
    let algorithms = registry.algorithms.all().iter().map(|one| (one.name, one.description));
    let backends = Backend::ALL.into_iter();
    let list = List {
        environments: environments.collect(),
        robots: robots.collect(),
        algorithms: algorithms.map(choice).collect(),
        backends: backends
            .map(|backend| Devices { name: backend.name(), devices: backend.devices() })
            .collect(),
    };
    output.result(&list, || list.table());
}

/// Nanoseconds that a step with a random action takes here, resets and the observation included.
fn nanoseconds_per_step(task: &Task) -> f64 {
    /// Enough to be measured: some milliseconds.
    const TIME: Duration = Duration::from_millis(5);
    let spec = task.spec();
    let mut environment = task.make();
    let mut rng = stream(1, Stream::Environment(0));
    let mut observation = vec![0.0; spec.observation_space.width()];
    let mut numbers = vec![0.0; spec.action_space.width()];
    let (begun, mut steps) = (Instant::now(), 0_u32);
    while begun.elapsed() < TIME {
        environment.reset(&mut rng);
        for _ in 0..spec.max_episode_steps.min(100) {
            spec.action_space.sample(&mut rng, &mut numbers);
            let step = environment.step(spec.action_space.action(&numbers), &mut rng);
            environment.observe(&mut observation);
            steps += 1;
            if step.terminated || step.truncated {
                break;
            }
        }
    }
    begun.elapsed().as_nanos() as f64 / f64::from(steps)
}

impl List {
    fn table(&self) -> String {
        let choices = |choices: &[Choice]| -> String {
            let line = |one: &Choice| format!("  {:<10} {}\n", one.name, one.description);
            choices.iter().map(line).collect()
        };
        let backends = self.backends.iter().map(|Devices { name, devices }| {
            let devices =
                if devices.is_empty() { "no device found".to_owned() } else { devices.join("; ") };
            format!("  {name:<10} {devices}\n")
        });
        let environments = self.environments.iter().map(|one| {
            let name = format!("  {:<10} {}\n", one.name, one.description);
            let Some(has) = &one.defaults else {
                let ask = "init process ppo --command \"python3 -m backburn_env CartPole-v1\"";
                return format!("{name}             {} {ask} asks one what it is\n", terminal::program());
            };
            let parameters = has.parameters.iter().map(|(name, value)| format!("{name} {value}"));
            let parameters: Vec<String> = parameters.collect();
            let parameters = match parameters.is_empty() {
                true => String::new(),
                false => format!("             {}\n", parameters.join(", ")),
            };
            format!(
                "{name}             observation: {}; action: {}; {} steps an episode, {:.0} ns a step\n\
                 {parameters}",
                terminal::count(has.observation, "number"),
                has.action,
                has.max_episode_steps,
                has.nanoseconds_per_step
            )
        });
        let environments: String = environments.collect();
        let robots = self.robots.iter().map(|RobotChoice { file, joints, tip, mass }| {
            let joints = terminal::count(*joints, "joint");
            format!("  {file:<26} {joints}, {mass:.1} kg; the tip is {tip} unless named\n")
        });
        let robots: String = robots.collect();
        format!(
            "environments\n{environments}robots of the environment arm (env.parameters.urdf)\n{robots}algorithms\n{}backends\n{}",
            choices(&self.algorithms),
            backends.collect::<String>()
        )
    }
}
