//! Checks against numbers recorded from other implementations: every case of every file in
//! `tests/reference/` (its README says which), or in the directory `REFERENCE_DIR`.

use agents::conjugate_gradient::{conjugate_gradient, dot};
use agents::cpo::subproblem::{self, Case};
use agents::gae::{Trajectory, gae};
use agents::lagrangian::Lagrangian;
use agents::ops::Surrogate;
use agents::policy::Policy;
use agents::trpo::{TrustRegion, moved, step_scale};
use agents::{Activation, Batch, Constraint, Minibatch, NetworkConfig, PolicyMetrics};
use backburn_tests::textbook::{self, gradient};
use backburn_tests::{assert_match, numbers, reference_cases, reference_directory, rows, widened};
use burn::tensor::{Device, Tensor};
use envs::arm::{Integrator, Mechanism, Motors, Physics, Robot};
use envs::{Action, CartPole, Environment, Pendulum, Reach, Space, Stream, stream};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// Whether an episode is truncated by the time limit after `steps` steps.
fn out_of_time(env: &impl Environment, steps: usize) -> bool {
    steps >= env.spec().max_episode_steps as usize
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
        let mut env = Pendulum::default().at(theta, theta_dot);
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
        let mut arm = Reach::default().at(case.initial_q, case.initial_qd, case.target);
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

#[derive(Deserialize)]
struct ArmCase {
    urdf: String,
    integrator: Integrator,
    time_step: f64,
    gravity: [f64; 3],
    joints: Vec<String>,
    armature: f64,
    damping: f64,
    friction_loss: f64,
    joint_limits: bool,
    servo: Option<Servo>,
    tip: String,
    steps: Vec<ArmStep>,
}

#[derive(Deserialize)]
struct Servo {
    kp: Vec<f64>,
    kv: Vec<f64>,
    force: Vec<f64>,
}

#[derive(Deserialize)]
struct ArmStep {
    q: Vec<f64>,
    v: Vec<f64>,
    input: Vec<f64>,
    next_q: Vec<f64>,
    next_v: Vec<f64>,
    tip_position: Option<[f64; 3]>,
    tip_rotation: Option<[f64; 9]>,
}

impl ArmCase {
    /// The arm, from a file in this directory or in `robots` in it, and the index of its tip.
    fn arm(&self, directory: &Path) -> (Mechanism, usize) {
        let beside = directory.join(&self.urdf);
        let inside = directory.join("robots").join(&self.urdf);
        let robot = Robot::read(if beside.exists() { &beside } else { &inside }).unwrap();
        let mut physics = Physics::of(&robot, self.time_step, self.integrator);
        physics.gravity = self.gravity;
        for joint in &mut physics.joints {
            joint.armature = self.armature;
            joint.damping = self.damping;
            joint.friction = self.friction_loss;
            joint.limits = joint.limits.filter(|_| self.joint_limits);
        }
        let arm = Mechanism::new(&robot, physics);
        let joint_of = |link: &usize| robot.links[*link].joint.as_ref().map(|joint| &joint.name);
        let joints: Vec<_> = arm.joints().iter().filter_map(joint_of).collect();
        assert_eq!(joints, self.joints.iter().collect::<Vec<_>>(), "{}", self.urdf);
        (arm, robot.link(&self.tip).unwrap())
    }
}

/// Every step of every case of arms from URDF files.
fn check_arms(file: &str) {
    let directory = reference_directory();
    for (index, case) in reference_cases::<ArmCase>(file).iter().enumerate() {
        let (mut arm, tip) = case.arm(&directory);
        let mut motors = Motors::idle(case.joints.len());
        if let Some(servo) = &case.servo {
            motors.kp.clone_from(&servo.kp);
            motors.kv.clone_from(&servo.kv);
            motors.limit.clone_from(&servo.force);
        }
        for (k, step) in case.steps.iter().enumerate() {
            let place = |what| format!("{file}, case {index}, step {k}: {what}");
            arm.put(&step.q, &step.v);
            if let (Some(position), Some(rotation)) = (&step.tip_position, &step.tip_rotation) {
                let pose = arm.pose(tip);
                assert_match(&pose.position, position, 1e-12, place("tip_position"));
                assert_match(&pose.rotation.rows(), rotation, 1e-12, place("tip_rotation"));
            }
            match &case.servo {
                Some(_) => motors.position.clone_from(&step.input),
                None => motors.force.clone_from(&step.input),
            }
            arm.step(&motors);
            assert_match(arm.positions(), &step.next_q, 1e-9, place("next_q"));
            assert_match(arm.velocities(), &step.next_v, 1e-9, place("next_v"));
        }
    }
}

#[test]
fn arms_match_mujoco() {
    check_arms("arm.json");
}

#[test]
fn joints_that_slide_follow_and_branch_match_mujoco() {
    check_arms("arm_joints.json");
}

#[derive(Deserialize)]
struct GaeCase {
    gamma: f64,
    lam: f64,
    rewards: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    next_values: Vec<Vec<f64>>,
    terminated: Vec<Vec<bool>>,
    truncated: Vec<Vec<bool>>,
    advantages: Vec<Vec<f64>>,
    returns: Vec<Vec<f64>>,
}

fn narrowed(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

#[test]
fn gae_matches_its_definition() {
    for (index, case) in reference_cases::<GaeCase>("gae.json").iter().enumerate() {
        let (rewards, values) = (narrowed(&case.rewards.concat()), narrowed(&case.values.concat()));
        let trajectory = Trajectory {
            rewards: &rewards,
            values: &values,
            next_values: &narrowed(&case.next_values.concat()),
            terminated: &case.terminated.concat(),
            truncated: &case.truncated.concat(),
            num_envs: case.rewards[0].len(),
        };
        let mut advantages = vec![0.0; rewards.len()];
        gae(&trajectory, case.gamma, case.lam, &mut advantages);
        let returns: Vec<f32> = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
        let place = |what| format!("gae.json, case {index}: {what}");
        let expected = case.advantages.concat();
        assert_match(&widened(&advantages), &expected, 1e-5, place("advantages"));
        assert_match(&widened(&returns), &case.returns.concat(), 1e-5, place("returns"));
    }
}

#[derive(Deserialize)]
struct UpdateCase {
    distribution: String,
    layer_sizes: Vec<usize>,
    activation: Activation,
    theta: Vec<f64>,
    obs: Vec<Vec<f64>>,
    actions: RecordedActions,
    old_theta: Vec<f64>,
    old_log_prob: Vec<f64>,
    advantages: Vec<f64>,
    ppo: PpoCase,
    trpo: TrpoCase,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RecordedActions {
    Choices(Vec<f64>),
    Samples(Vec<Vec<f64>>),
}

#[derive(Deserialize)]
struct PpoCase {
    clip_range: f64,
    entropy_coef: f64,
    clipped_objective: f64,
    entropy: f64,
    loss: f64,
    gradient: Vec<f64>,
    kl_old_new: f64,
    log_prob: Vec<f64>,
}

#[derive(Deserialize)]
struct TrpoCase {
    max_kl: f64,
    damping: f64,
    surrogate: f64,
    gradient: Vec<f64>,
    vector: Vec<f64>,
    fisher_vector_product: Vec<f64>,
    natural_step_exact: Vec<f64>,
    step_scale: f64,
    full_step: Vec<f64>,
    line_search: Vec<LineSearchCase>,
}

#[derive(Deserialize)]
struct LineSearchCase {
    fraction: f64,
    surrogate: f64,
    kl: f64,
    accept: bool,
}

impl UpdateCase {
    fn policy(&self) -> Policy {
        let (last, sizes) = self.layer_sizes.split_last().expect("layer sizes");
        let network = NetworkConfig {
            hidden: sizes[1..].to_vec(),
            activation: self.activation,
            ..NetworkConfig::default()
        };
        let actions = match self.distribution.as_str() {
            "categorical" => Space::Discrete { n: *last },
            "gaussian" => Space::symmetric_box(*last, 1.0),
            other => panic!("a distribution that is not known: {other}"),
        };
        Policy::new(&Space::symmetric_box(sizes[0], f32::INFINITY), &actions, &network).unwrap()
    }

    /// The samples of the policy with these parameters and log-probabilities.
    fn minibatch(&self, policy: &Policy, theta: &[f64], log_probs: &[f64]) -> Minibatch {
        let matrix = |numbers: &[f64], width| rows(&narrowed(numbers), width, &Device::flex());
        let actions = match &self.actions {
            RecordedActions::Choices(choices) => choices.clone(),
            RecordedActions::Samples(rows) => rows.concat(),
        };
        let observations = matrix(&self.obs.concat(), self.layer_sizes[0]);
        Minibatch {
            outputs: policy.outputs(&vector(theta), observations.clone()),
            observations,
            actions: matrix(&actions, policy.action_width()),
            log_probs: matrix(log_probs, 1),
            advantages: matrix(&self.advantages, 1),
            targets: Vec::new(),
        }
    }
}

fn vector(numbers: &[f64]) -> Tensor<1> {
    Tensor::from_floats(narrowed(numbers).as_slice(), &Device::flex())
}

#[test]
fn ppo_matches_pytorch() {
    for (index, case) in reference_cases::<UpdateCase>("policy_update.json").iter().enumerate() {
        let policy = case.policy();
        let minibatch = case.minibatch(&policy, &case.old_theta, &case.old_log_prob);
        let (theta, old_theta) = (vector(&case.theta), vector(&case.old_theta));
        let expected = &case.ppo;
        let surrogate = Surrogate::Clipped { range: expected.clip_range };
        let place = |what| format!("policy_update.json, case {index}: ppo {what}");
        let check = |found: f64, expected: f64, what| {
            assert_match(&[found], &[expected], 1e-4, place(what));
        };

        let forward = policy.forward(&theta, &minibatch.observations);
        let loss = policy.loss(&forward, &old_theta, &minibatch, surrogate, expected.entropy_coef);
        let metrics = PolicyMetrics::read(loss.metrics.clone()).unwrap();
        check(-metrics.policy_loss, expected.clipped_objective, "clipped_objective");
        check(metrics.entropy, expected.entropy, "entropy");
        check(metrics.kl, expected.kl_old_new, "kl_old_new");
        let found = metrics.policy_loss - expected.entropy_coef * metrics.entropy;
        check(found, expected.loss, "loss");
        let found = numbers(policy.backward(&forward, loss));
        assert_match(&found, &expected.gradient, 1e-4, place("gradient"));

        // The textbook form, which judges in other tests.
        let leaf = theta.autodiff().require_grad();
        let new = policy.distribution(&leaf, minibatch.observations.clone());
        let old = policy.distribution_of(minibatch.outputs.clone(), &old_theta);
        let coef = expected.entropy_coef;
        let judge = textbook::policy_loss(&new, &old, &minibatch, surrogate, coef, None);
        let check = |tensor: Tensor<1>, expected, what| check(numbers(tensor)[0], expected, what);
        check(judge.objective, expected.clipped_objective, "textbook's clipped_objective");
        check(judge.entropy, expected.entropy, "textbook's entropy");
        check(judge.kl, expected.kl_old_new, "textbook's kl_old_new");
        check(judge.loss.clone().inner(), expected.loss, "textbook's loss");
        let found = numbers(gradient(&leaf, judge.loss));
        assert_match(&found, &expected.gradient, 1e-4, place("textbook's gradient"));
        let log_prob = numbers(new.log_prob(&minibatch.actions).inner());
        assert_match(&log_prob, &expected.log_prob, 1e-4, place("log_prob"));
    }
}

#[test]
fn trpo_matches_pytorch() {
    for (index, case) in reference_cases::<UpdateCase>("policy_update.json").iter().enumerate() {
        let policy = case.policy();
        // Here theta itself is the policy that acted.
        let minibatch = case.minibatch(&policy, &case.theta, &case.ppo.log_prob);
        let theta = narrowed(&case.theta);
        let expected = &case.trpo;
        let region =
            TrustRegion::new(&policy, &theta, &minibatch, expected.damping, 0.0, &Arc::default());
        let place = |what| format!("policy_update.json, case {index}: trpo {what}");
        let check = |found: &[f64], expected: &[f64], what: &str| {
            assert_match(found, expected, 1e-4, place(what.to_owned()));
        };

        let (surrogate, gradient) = region.gradient().unwrap();
        check(&[surrogate], &[expected.surrogate], "surrogate");
        check(&gradient, &expected.gradient, "gradient");
        let damped = region.damped_fisher_product(&expected.vector).unwrap();
        let fisher: Vec<f64> =
            damped.iter().zip(&expected.vector).map(|(f, v)| f - expected.damping * v).collect();
        check(&fisher, &expected.fisher_vector_product, "fisher_vector_product");

        let product = |v: &[f64]| region.damped_fisher_product(v);
        let solution =
            conjugate_gradient(product, &gradient, vec![0.0; gradient.len()], 1000, 1e-16).unwrap();
        check(&solution.x, &expected.natural_step_exact, "natural_step_exact");
        let curvature = dot(&solution.x, &region.damped_fisher_product(&solution.x).unwrap());
        let scale = step_scale(curvature, expected.max_kl).unwrap();
        check(&[scale], &[expected.step_scale], "step_scale");
        let full_step: Vec<f64> = solution.x.iter().map(|s| scale * s).collect();
        check(&full_step, &expected.full_step, "full_step");

        for step in &expected.line_search {
            let params = moved(&theta, &expected.full_step, step.fraction);
            let candidate = region.at(&params).unwrap();
            let what = format!("line_search at {}", step.fraction);
            check(&[candidate.surrogate, candidate.kl], &[step.surrogate, step.kl], &what);
            let accepted = candidate.accepted(surrogate, expected.max_kl);
            assert_eq!(accepted, step.accept, "{}", place(what));
        }
    }
}

#[derive(Deserialize)]
struct CostCase {
    inputs: UpdateCase,
    cost_advantages: Vec<f64>,
    multiplier: f64,
    cost_gradient: Vec<f64>,
    lagrangian_gradient: Vec<f64>,
}

#[test]
fn gradients_of_costs_match_pytorch() {
    for (index, case) in reference_cases::<CostCase>("costs.json").iter().enumerate() {
        let CostCase { inputs, multiplier, .. } = case;
        let policy = inputs.policy();
        let mut minibatch = inputs.minibatch(&policy, &inputs.theta, &inputs.ppo.log_prob);
        let theta = narrowed(&inputs.theta);
        let mut check = |advantages: &[f32], expected: &[f64], what| {
            minibatch.advantages = rows(advantages, 1, &Device::flex());
            let region = TrustRegion::new(&policy, &theta, &minibatch, 0.1, 0.0, &Arc::default());
            let (_, gradient) = region.gradient().unwrap();
            assert_match(&gradient, expected, 1e-4, format!("costs.json, case {index}: {what}"));
        };
        let of_cost = narrowed(&case.cost_advantages);
        check(&of_cost, &case.cost_gradient, "cost_gradient");

        let mut batch = Batch::new(1, of_cost.len(), [1, 1, 1], 2);
        batch.signals[0].advantages = narrowed(&inputs.advantages);
        batch.signals[1].advantages = of_cost;
        let price = Constraint {
            limit: None,
            multiplier: Some(*multiplier),
            ..Constraint::on("a cost", 0.0)
        };
        let mut lagrangian = Lagrangian::new(std::slice::from_ref(&price));
        lagrangian.update(&[price], &batch);
        let objective = lagrangian.objective(&batch);
        check(&objective.advantages, &case.lagrangian_gradient, "lagrangian_gradient");
    }
}

#[derive(Deserialize)]
struct CpoCase {
    c: f64,
    delta: f64,
    g: Vec<f64>,
    b: Vec<f64>,
    hessian: Vec<Vec<f64>>,
    x: Vec<f64>,
    recovery: bool,
}

#[test]
fn cpo_matches_cvxpy() {
    let cases = reference_cases::<CpoCase>("cpo.json");
    let mut seen = [0; 3];
    for (index, CpoCase { c, delta, g, b, hessian, x, recovery }) in cases.iter().enumerate() {
        let v = textbook::solve(hessian.clone(), g.clone());
        let w = textbook::solve(hessian.clone(), b.clone());
        let step = subproblem::solve(*c, *delta, dot(g, &v), dot(g, &w), dot(b, &w));
        let place = format!("cpo.json, case {index}, {:?}", step.case);
        assert_match(&step.of(&v, &w), x, 1e-6, &place);
        assert_eq!(step.case == Case::Recovery, *recovery, "{place}");
        seen[step.case as usize] += 1;
    }
    assert!(
        seen.iter().all(|&count| 10 * count >= cases.len()),
        "slack, binding, recovery: {seen:?}"
    );
}
