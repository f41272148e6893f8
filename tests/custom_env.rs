//! The example of `docs/adding-an-environment.md`, as the book shows it: the parts between ANCHOR
//! comments are included there. The tests below hold it to what the page says.

// ANCHOR: environment
use envs::{
    Action, Color, Drawing, Entry, Environment, Environments, Rng, Space, Spec, StateError, Step,
};
use rand::RngExt;
use std::process::ExitCode;

/// A trolley on a rail, pushed by a motor: stop it at the mark.
///
/// State: position `x` in m, the mark at 0, and velocity `v` in m/s. The action is the motor's force
/// `u` in N. Semi-implicit Euler:
///
/// ```text
/// v = v + (u - b v) / m dt
/// x = x + v dt
/// ```
///
/// A bumper at each end of the rail stops the trolley. Reward after the step: `-|x| - 0.01 u^2`. The
/// episode terminates, with success, when the trolley stands at the mark. Observation: `(x, v)`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trolley {
    parameters: TrolleyParameters,
    position: f64,
    velocity: f64,
}

impl Trolley {
    /// Largest force, N.
    const MAX_FORCE: f64 = 1.0;
    /// Time of a step, s.
    const TIME_STEP: f64 = 0.1;
    /// Distance from the mark to each bumper, m.
    const RAIL: f64 = 2.0;
    /// The trolley starts this far from the mark at most, m.
    const RESET_DISTANCE: f64 = 1.5;
    /// It stands at the mark when it is this near, m ...
    const MARK_DISTANCE: f64 = 0.05;
    /// ... and this slow, m/s.
    const MARK_SPEED: f64 = 0.1;
}

impl Environment for Trolley {
    fn spec(&self) -> Spec {
        // The force moves nothing faster than this, m/s.
        let speed = (Self::MAX_FORCE / self.parameters.friction) as f32;
        let rail = Self::RAIL as f32;
        let observation_space = Space::Box { low: vec![-rail, -speed], high: vec![rail, speed] };
        let action_space = Space::symmetric_box(1, Self::MAX_FORCE as f32);
        Spec { reports_success: true, ..Spec::new(observation_space, action_space, 100) }
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.position = rng.random_range(-Self::RESET_DISTANCE..Self::RESET_DISTANCE);
        self.velocity = 0.0;
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        let force = f64::from(action.values()[0]);
        let TrolleyParameters { mass, friction } = self.parameters;
        self.velocity += (force - friction * self.velocity) / mass * Self::TIME_STEP;
        self.position += self.velocity * Self::TIME_STEP;
        if self.position.abs() > Self::RAIL {
            self.position = self.position.clamp(-Self::RAIL, Self::RAIL);
            self.velocity = 0.0;
        }
        let at_mark =
            self.position.abs() <= Self::MARK_DISTANCE && self.velocity.abs() <= Self::MARK_SPEED;
        Step {
            reward: -self.position.abs() - 0.01 * force * force,
            terminated: at_mark,
            truncated: false,
            success: Some(at_mark),
        }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation.copy_from_slice(&[self.position as f32, self.velocity as f32]);
    }

    fn state(&self) -> Vec<f64> {
        vec![self.position, self.velocity]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        [self.position, self.velocity] = StateError::read(state)?;
        Ok(())
    }
    // ANCHOR_END: environment

    // ANCHOR: picture
    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        let (x, rail) = (self.position, Self::RAIL);
        let mut drawing = Drawing::new([-2.4, -0.5], [2.4, 0.5], Self::TIME_STEP);
        drawing.line(&[[-rail, -0.1], [rail, -0.1]], 0.02, Color::Quiet);
        for bumper in [-rail - 0.15, rail + 0.15] {
            drawing.line(&[[bumper, -0.1], [bumper, 0.1]], 0.05, Color::Danger);
        }
        drawing.line(&[[0.0, -0.25], [0.0, -0.15]], 0.03, Color::Text);
        drawing.rectangle([x - 0.15, -0.08], [x + 0.15, 0.12], Color::Accent);
        if let Some(force) = action {
            let end = x + 0.6 * f64::from(force.values()[0]);
            drawing.arrow([x, 0.25], [end, 0.25], 0.03, Color::Second);
        }
        Some(drawing)
    }
    // ANCHOR_END: picture
}

// ANCHOR: parameters
use envs::{ParameterError, Parametric};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be changed of [`Trolley`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TrolleyParameters {
    /// Mass of the trolley.
    #[schemars(range(min = 0.1, max = 10.0), extend("unit" = "kg"))]
    mass: f64,
    /// Viscous friction.
    #[schemars(range(min = 0.01, max = 1.0), extend("unit" = "N s/m"))]
    friction: f64,
}

impl Default for TrolleyParameters {
    fn default() -> Self {
        TrolleyParameters { mass: 1.0, friction: 0.1 }
    }
}

impl Parametric for Trolley {
    type Parameters = TrolleyParameters;

    fn new(parameters: TrolleyParameters) -> Result<Self, ParameterError> {
        Ok(Trolley { parameters, ..Trolley::default() })
    }
}
// ANCHOR_END: parameters

// ANCHOR: main
/// Every environment of this program.
fn environments() -> Environments {
    let trolley = Entry::with_parameters::<Trolley>("trolley", "stop a trolley at a mark");
    Environments::default().with(trolley)
}

fn main() -> ExitCode {
    trainer::main(environments())
}
// ANCHOR_END: main

/// The configuration of the page.
const CONFIG: &str = r#"
# ANCHOR: config
name = "ppo_trolley"
total_steps = 40_000

[env]
name = "trolley"
num_envs = 8

[agent]
algorithm = "ppo"
rollout_steps = 128
learning_rate = { start = 1e-3, end = 0.0 }
# ANCHOR_END: config
"#;

// ANCHOR: loop
use agents::{AgentError, Training, TrainingConfig};
use envs::Task;

/// What `trainer run` does, without its files: act, judge, improve.
fn train(config: &TrainingConfig, task: &Task) -> Result<Training, AgentError> {
    let mut training = config.build(task)?;
    while !training.is_finished() {
        training.iterate()?;
    }
    Ok(training)
}
// ANCHOR_END: loop

#[cfg(test)]
mod tests {
    use super::*;
    use agents::record;
    use envs::{Stream, TaskConfig, stream};
    use std::path::Path;
    use std::sync::Arc;
    use trainer::{Experiment, Source};

    fn at(position: f64, velocity: f64) -> Trolley {
        Trolley { position, velocity, ..Trolley::default() }
    }

    #[test]
    fn one_push_from_rest() {
        // v = (1 - 0) 0.1, x = 1 + 0.1 v.
        let mut rng = stream(0, Stream::Environment(0));
        let mut env = at(1.0, 0.0);
        let step = env.step(Action::Continuous(&[1.0]), &mut rng);
        assert_eq!(env, at(1.0 + 0.1 * 0.1, 0.1));
        assert!((step.reward + 1.01 + 0.01).abs() < 1e-12);
        assert!(!step.terminated && step.success == Some(false));
    }

    #[test]
    fn standing_at_the_mark_ends_the_episode_and_passing_it_does_not() {
        let mut rng = stream(0, Stream::Environment(0));
        let mut moving = |velocity| at(0.0, velocity).step(Action::Continuous(&[0.0]), &mut rng);
        assert!(moving(0.05).terminated && moving(0.05).success == Some(true));
        assert!(!moving(0.5).terminated && moving(0.5).success == Some(false));
    }

    #[test]
    fn a_bumper_stops_the_trolley() {
        let mut rng = stream(0, Stream::Environment(0));
        let mut env = at(1.95, 3.0);
        env.step(Action::Continuous(&[1.0]), &mut rng);
        assert_eq!(env, at(2.0, 0.0));
    }

    #[test]
    fn observations_stay_in_their_space_and_a_saved_state_goes_on_the_same() {
        let entry = environments().get("trolley").expect("it is registered");
        let drawn = serde_json::json!({ "mass": { "uniform": [0.5, 2.0] }, "friction": 0.2 });
        let parameters = drawn.as_object().expect("a table").clone();
        let task = entry.task(&TaskConfig { parameters, ..TaskConfig::default() }).expect("a task");
        let mut envs = envs::VectorEnv::new(&task, 3, 0, 4);
        let mut copy = envs::VectorEnv::new(&task, 4, 0, 4);
        let Space::Box { low, high } = envs.observation_space().clone() else {
            panic!("observations are a box")
        };
        let mut rng = stream(3, Stream::Sampling(0));
        for time in 0..1000 {
            if time == 500 {
                copy.set_state(envs.state()).expect("its own state fits");
            }
            // Beyond the bounds too: the runner clips them.
            let actions: Vec<f32> = (0..4).map(|_| rng.random_range(-3.0..3.0)).collect();
            let transitions = envs.step(&actions).to_vec();
            for row in envs.observations().chunks(2) {
                let inside =
                    row.iter().zip(low.iter().zip(&high)).all(|(x, (l, h))| l <= x && x <= h);
                assert!(inside, "{row:?} is outside of the observation space");
            }
            if time >= 500 {
                assert_eq!(copy.step(&actions), transitions);
                assert_eq!(copy.observations(), envs.observations());
            }
        }
    }

    #[test]
    fn the_configuration_of_the_page_learns_to_stop_at_the_mark() {
        let source = Source::new(Path::new("ppo_trolley.toml"), CONFIG.to_owned(), &[]);
        let (experiment, task) =
            Experiment::parse(&source, &environments().into()).expect("a configuration");
        let training = train(&experiment.training(&Arc::default()), &task).expect("nothing fails");
        let actor = training.agent.actor();

        let evaluation = training.evaluate(100).expect("finite episodes");
        let rate = evaluation.success_rate().expect("success is a notion here");
        let recording =
            record(actor, &task, experiment.seed, 0, true, 100).expect("a finite episode");
        assert_eq!(recording.drawings.len(), recording.observations.len(), "a picture a moment");
        assert!(rate >= 0.95, "stops in {rate} of the episodes, {:.2}", evaluation.mean_return());
    }
}
