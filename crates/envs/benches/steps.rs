//! Steps per second of each environment alone, and of a vector of eight with their resets.
//!
//! `cargo bench -p backburn-envs`

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use envs::arm::{Arm, ArmParameters, Control, PerJoint};
use envs::{
    Action, Budget, CartPole, Cliff, Environment, Environments, Gusty, Parametric, Pendulum, Reach,
    Space, Stream, TaskConfig, VectorEnv,
};

fn main() {
    divan::main();
}

const STEPS: usize = 10_000;
const NUM_ENVS: usize = 8;

/// Steps and observes one copy, reset when it terminates or after its time limit.
fn alone(bencher: Bencher<'_, '_>, mut env: impl Environment, actions: [Action<'_>; 2]) {
    let mut rng = envs::stream(1, Stream::Environment(0));
    let spec = env.spec();
    let max_episode_steps = spec.max_episode_steps;
    let mut observation = vec![0.0; spec.observation_space.width()];
    env.reset(&mut rng);
    let mut length = 0;
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        for k in 0..STEPS {
            // Two of one and two of the other: a pole falls late, an arm moves.
            let step = env.step(black_box(actions[k / 2 % 2]), &mut rng);
            length += 1;
            if step.terminated || length == max_episode_steps {
                env.reset(&mut rng);
                length = 0;
            }
            env.observe(black_box(&mut observation));
        }
    });
}

#[divan::bench]
fn cartpole(bencher: Bencher<'_, '_>) {
    alone(bencher, CartPole::default(), [Action::Discrete(0), Action::Discrete(1)]);
}

#[divan::bench]
fn pendulum(bencher: Bencher<'_, '_>) {
    alone(bencher, Pendulum::default(), [Action::Continuous(&[1.5]), Action::Continuous(&[-0.5])]);
}

#[divan::bench]
fn reach(bencher: Bencher<'_, '_>) {
    alone(
        bencher,
        Reach::default(),
        [Action::Continuous(&[0.9, -0.2]), Action::Continuous(&[-0.4, 0.3])],
    );
}

#[divan::bench]
fn cliff(bencher: Bencher<'_, '_>) {
    alone(bencher, Cliff::default(), [Action::Discrete(Cliff::UP), Action::Discrete(Cliff::RIGHT)]);
}

#[divan::bench]
fn gusty(bencher: Bencher<'_, '_>) {
    alone(bencher, Gusty::default(), [Action::Discrete(Cliff::UP), Action::Discrete(Cliff::RIGHT)]);
}

#[divan::bench]
fn budget(bencher: Bencher<'_, '_>) {
    alone(bencher, Budget::default(), [Action::Continuous(&[1.5]), Action::Continuous(&[-1.5])]);
}

/// A Panda, five steps of physics each: in the air, with three joints at their limits, with dry friction.
#[divan::bench(args = ["free", "limits", "friction"])]
fn arm(bencher: Bencher<'_, '_>, kind: &str) {
    let all = |number| Some(PerJoint::All(number));
    let parameters = match kind {
        "limits" => ArmParameters { control: Control::Torque, ..ArmParameters::default() },
        "friction" => ArmParameters { friction: all(0.5), ..ArmParameters::default() },
        _ => ArmParameters::default(),
    };
    let Ok(arm) = Arm::new(parameters) else { return };
    let there = [0.9, -0.4, 0.7, 0.5, -0.8, 0.6, 0.3];
    let back = if kind == "limits" { there } else { there.map(|number: f32| -number) };
    alone(bencher, arm, [Action::Continuous(&there), Action::Continuous(&back)]);
}

/// Resets of a Panda whose masses, payload, friction and motors each episode draws, as
/// configs/ppo_panda_torque_random.toml has it, or of one that stays as it is.
#[divan::bench(args = ["drawn", "fixed"])]
fn arm_reset(bencher: Bencher<'_, '_>, kind: &str) {
    let mut parameters =
        serde_json::json!({ "control": "torque", "gravity_compensation": false, "object": "box" });
    if kind == "drawn" {
        parameters["link_mass_scale"] = serde_json::json!({ "uniform": [0.8, 1.2] });
        parameters["payload"] = serde_json::json!({ "uniform": [0.0, 1.0] });
        parameters["friction"] = serde_json::json!({ "uniform": [0.0, 2.0] });
        parameters["motor_strength"] = serde_json::json!({ "uniform": [0.9, 1.0] });
    }
    let parameters = parameters.as_object().cloned().unwrap_or_default();
    let config = TaskConfig { parameters, ..TaskConfig::default() };
    let Some(Ok(task)) = Environments::default().get("arm").map(|entry| entry.task(&config)) else {
        return;
    };
    let (mut env, mut rng) = (task.make(), envs::stream(1, Stream::Environment(0)));
    bencher.bench_local(|| env.reset(black_box(&mut rng)));
}

/// Environment steps through [`VectorEnv`], over all its copies.
#[divan::bench(args = ["cartpole", "pendulum", "reach", "cliff", "gusty", "budget", "arm"])]
fn vector(bencher: Bencher<'_, '_>, name: &str) {
    let task = Environments::default().get(name).map(|entry| entry.task(&TaskConfig::default()));
    let Some(Ok(task)) = task else { return };
    let mut vector = VectorEnv::new(&task, 1, 0, NUM_ENVS);
    let actions = |step: usize| match vector.action_space() {
        Space::Discrete { .. } => vec![(step % 2) as f32; NUM_ENVS],
        space @ Space::Box { .. } => vec![step as f32 - 0.4; NUM_ENVS * space.width()],
    };
    let actions = [actions(0), actions(1)];
    bencher.counter(ItemsCount::new(STEPS * NUM_ENVS)).bench_local(|| {
        for k in 0..STEPS {
            black_box(vector.step(black_box(&actions[k / 2 % 2])));
        }
    });
}
