//! A warm start under a changed reward, on the drone of docs/examples/drone.

use envs::{Action, Entry, Environment, ParameterError, Parametric, Rng, Spec, StateError, Step};
use std::fs;
use std::path::Path;
use trainer::{Experiment, Registry, Session, Source};

#[path = "../docs/examples/drone/src/drone.rs"]
#[allow(dead_code)] // Pictures, and what its own crate tells.
mod drone;

use drone::{Drone, DroneParameters};

/// The drone with another reward: effort costs twice as much.
#[derive(Clone)]
struct Thrifty(Drone);

impl Parametric for Thrifty {
    type Parameters = DroneParameters;

    fn new(parameters: DroneParameters) -> Result<Self, ParameterError> {
        Drone::new(parameters).map(Thrifty)
    }
}

impl Environment for Thrifty {
    fn spec(&self) -> Spec {
        self.0.spec()
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.0.reset(rng);
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let effort: f64 = action.values().iter().map(|&power| f64::from(power * power)).sum();
        let step = self.0.step(action, rng);
        Step { reward: step.reward - 0.05 * effort, ..step }
    }

    fn observe(&self, observation: &mut [f32]) {
        self.0.observe(observation);
    }

    fn state(&self) -> Vec<f64> {
        self.0.state()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        self.0.set_state(state)
    }
}

/// A session of the example's configuration with this environment and these lines on top.
fn session(environment: &str, lines: &str) -> Session {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/drone/ppo_drone.toml");
    let text = fs::read_to_string(path).expect("the example's configuration");
    let name = format!("name = \"{environment}\" ");
    let text = format!("{lines}\n{}", text.replace("name = \"drone\" ", &name));
    let registry = Registry::default()
        .with_environment(Entry::with_parameters::<Drone>("drone", "flies"))
        .with_environment(Entry::with_parameters::<Thrifty>("thrifty", "flies with little effort"));
    let source = Source::new(Path::new("warm.toml"), text, &[]);
    let (experiment, task) = Experiment::parse(&source, &registry).expect("a configuration");
    Session::begin(experiment, task, &source).expect("a session")
}

/// The largest share of the return that is lost within 20 iterations, and the largest KL divergence of one.
fn falls(warm_start: &str) -> (f64, f64) {
    let mut session = session("thrifty", warm_start);
    let before = session.evaluate().expect("finite numbers").mean_return();
    let (mut lowest, mut largest_kl) = (before, 0.0_f64);
    for _ in 0..20 {
        let update = session.training.iterate().expect("finite numbers").update;
        largest_kl = largest_kl.max(update.get("train/approx_kl").expect("a metric of PPO"));
        lowest = lowest.min(session.evaluate().expect("finite numbers").mean_return());
    }
    println!("{warm_start}: {before:.1}, at worst {lowest:.1}, KL at most {largest_kl:.4}");
    ((before - lowest) / before, largest_kl)
}

#[test]
fn a_changed_reward_costs_the_drone_less_than_3_percent_of_its_return() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("drone.ckpt");
    let mut old = session("drone", "");
    while !old.training.is_finished() {
        old.training.iterate().expect("finite numbers");
    }
    old.checkpoint().expect("a state").write(&path).expect("it is written");
    let run = path.display();
    let (lost, kl) =
        falls(&format!("warm_start = {{ run = '{run}', critic = true, critic_warmup = 10 }}"));
    let (_, kl_without) = falls(&format!("warm_start = '{run}'"));
    assert!(lost <= 0.03, "{lost} with the critic");
    // A critic that begins anew tells the policy nonsense at first.
    assert!(kl < 0.25 * kl_without, "KL {kl} with the critic, {kl_without} without");
}
