//! Checks against numbers recorded from other implementations: every case of every file in
//! `tests/reference/` (its README says which), or in the directory `REFERENCE_DIR`.

use backburn_tests::{assert_match, reference_cases};
use envs::{Action, CartPole, Environment, Pendulum, Reach, Stream, stream};
use serde::Deserialize;

/// Whether an episode is truncated by the time limit after `steps` steps.
fn out_of_time(env: &impl Environment, steps: usize) -> bool {
    steps >= env.max_episode_steps() as usize
}

#[derive(Deserialize)]
struct CartPoleCase {
    initial_state: [f64; 4],
    actions: Vec<usize>,
    states: Vec<[f64; 4]>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
}

#[test]
fn cartpole_matches_gymnasium() {
    let mut rng = stream(0, Stream::Environment(0));
    for (index, case) in reference_cases::<CartPoleCase>("cartpole.json").iter().enumerate() {
        let mut env = CartPole::default();
        env.set_state(&case.initial_state).unwrap();
        for (k, &action) in case.actions.iter().enumerate() {
            let place = |what| format!("cartpole.json, case {index}, step {k}: {what}");
            let step = env.step(Action::Discrete(action), &mut rng);
            assert_match(&env.state(), &case.states[k], 1e-12, place("state"));
            assert_match(&[step.reward], &[case.rewards[k]], 1e-12, place("reward"));
            assert_eq!(step.terminated, case.terminated[k], "{}", place("terminated"));
            let truncated = step.truncated || out_of_time(&env, k + 1);
            assert_eq!(truncated, case.truncated[k], "{}", place("truncated"));
        }
    }
}

#[derive(Deserialize)]
struct PendulumCase {
    initial_state: [f64; 2],
    actions: Vec<f64>,
    states: Vec<[f64; 2]>,
    observations: Vec<[f64; 3]>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
}

#[test]
fn pendulum_matches_gymnasium() {
    for (index, case) in reference_cases::<PendulumCase>("pendulum.json").iter().enumerate() {
        let [theta, theta_dot] = case.initial_state;
        let mut env = Pendulum::new(theta, theta_dot);
        for (k, &torque) in case.actions.iter().enumerate() {
            let place = |what| format!("pendulum.json, case {index}, step {k}: {what}");
            // The recorded torques are no f32, so they don't go through `Environment::step`.
            let reward = env.advance(torque);
            assert_match(&env.state(), &case.states[k], 1e-12, place("state"));
            assert_match(&[reward], &[case.rewards[k]], 1e-12, place("reward"));
            let mut observation = [0.0; 3];
            env.observe(&mut observation);
            let observation = observation.map(f64::from);
            assert_match(&observation, &case.observations[k], 1e-6, place("observation"));
            assert!(!case.terminated[k], "{}", place("a pendulum never terminates"));
            assert_eq!(out_of_time(&env, k + 1), case.truncated[k], "{}", place("truncated"));
        }
    }
}

#[derive(Deserialize)]
struct ReachCase {
    initial_q: [f64; 2],
    initial_qd: [f64; 2],
    target: [f64; 2],
    actions: Vec<[f64; 2]>,
    q: Vec<[f64; 2]>,
    qd: Vec<[f64; 2]>,
    gripper: Vec<[f64; 2]>,
    gripper_velocity: Vec<[f64; 2]>,
    rewards: Vec<f64>,
    grasped: Vec<bool>,
}

#[test]
fn reach_matches_mujoco() {
    for (index, case) in reference_cases::<ReachCase>("reach.json").iter().enumerate() {
        let mut arm = Reach::new(case.initial_q, case.initial_qd, case.target);
        for (k, &action) in case.actions.iter().enumerate() {
            let place = |what| format!("reach.json, case {index}, step {k}: {what}");
            // The recorded actions are no f32, so they don't go through `Environment::step`. The
            // recording goes on after a grasp.
            let step = arm.advance(action);
            assert_match(&arm.angles(), &case.q[k], 1e-9, place("q"));
            assert_match(&arm.velocities(), &case.qd[k], 1e-9, place("qd"));
            assert_match(&arm.gripper(), &case.gripper[k], 1e-9, place("gripper"));
            let velocity = arm.gripper_velocity();
            assert_match(&velocity, &case.gripper_velocity[k], 1e-9, place("gripper_velocity"));
            assert_match(&[step.reward], &[case.rewards[k]], 1e-9, place("reward"));
            assert_eq!(step.success, Some(case.grasped[k]), "{}", place("grasped"));
            assert_eq!(step.terminated, case.grasped[k], "{}", place("terminated at a grasp"));
        }
    }
}
