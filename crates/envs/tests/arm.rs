//! The environment `arm`: what its actions do, what it observes, what it rewards, and what it refuses.
#![allow(clippy::unwrap_used)]

use envs::arm::{Arm, ArmParameters, Control, Integrator, PerJoint, Region, Robot};
use envs::{Environment, Parametric, Rng, Stream, TaskConfig, VectorEnv, stream};
use rand::RngExt;
use serde_json::{Value, json};

const CRANE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crane.urdf");

fn rng() -> Rng {
    stream(4, Stream::Environment(0))
}

/// A crane whose joints turn without limits, slide, and lead a follower.
fn crane() -> ArmParameters {
    ArmParameters {
        urdf: Some(CRANE.into()),
        armature: PerJoint::All(0.01),
        reset_noise: 0.0,
        ..ArmParameters::default()
    }
}

fn arm(parameters: ArmParameters) -> Arm {
    let mut arm = Arm::new(parameters).unwrap();
    arm.reset(&mut rng());
    arm
}

/// This many steps with one action.
fn advance(arm: &mut Arm, action: &[f64], steps: usize) {
    for _ in 0..steps {
        arm.advance(action.iter().copied());
    }
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance, "{found:?} {expected:?}");
    }
}

#[test]
fn observations_are_what_their_names_say() {
    let mut arm = arm(ArmParameters { observe_action: true, ..crane() });
    advance(&mut arm, &[0.5, -0.25, 2.0], 3);
    let spec = arm.spec();
    assert_eq!(
        spec.observation_names,
        [
            "cos turn",
            "sin turn",
            "lift [m]",
            "finger [m]",
            "velocity turn [rad/s]",
            "velocity lift [m/s]",
            "velocity finger [m/s]",
            "tip x [m]",
            "tip y [m]",
            "tip z [m]",
            "object x [m]",
            "object y [m]",
            "object z [m]",
            "target turn - turn [rad]",
            "target lift - lift [m]",
            "target finger - finger [m]",
            "last action turn",
            "last action lift",
            "last action finger",
        ]
    );
    assert_eq!(spec.action_names[0], "change of target turn [0.04 rad]");
    assert_eq!(spec.action_names[1], "change of target lift [0.01 m]");
    assert_eq!(spec.step_seconds, Some(0.02));
    let mut observation = vec![7.0; spec.observation_space.width()];
    arm.observe(&mut observation);
    let (q, v) = (arm.mechanism().positions(), arm.mechanism().velocities());
    let tip = arm.mechanism().pose(arm.tip()).position;
    let targets = [3.0 * 0.5 * 0.04, 0.1 - 3.0 * 0.25 * 0.01, 0.02 + 3.0 * 0.002];
    let mut expected = vec![q[0].cos(), q[0].sin(), q[1], q[2]];
    expected.extend_from_slice(v);
    expected.extend(tip.into_iter().chain(arm.object()));
    expected.extend(targets.iter().zip(q).map(|(target, at)| target - at));
    expected.extend([0.5, -0.25, 1.0]);
    let observation: Vec<f64> = observation.into_iter().map(f64::from).collect();
    assert_near(&observation, &expected, 1e-6);
    for control in [Control::Torque, Control::Position, Control::Velocity] {
        let spec = Arm::new(ArmParameters { control, ..crane() }).unwrap().spec();
        assert_eq!(spec.observation_names.len(), 13);
        assert_eq!((spec.observation_space.width(), spec.action_names.len()), (13, 3));
    }
}

#[test]
fn each_control_does_what_it_says() {
    // The file's limits of the motors: 30 N m, 90 N, 5 N; of their speed 2 rad/s, 0.5 and 0.1 m/s.
    let with = |control| ArmParameters { control, ..crane() };
    let mut still = arm(with(Control::Torque));
    advance(&mut still, &[0.0, 0.0, 0.0], 50);
    assert_near(still.mechanism().positions(), &[0.0, 0.1, 0.02], 1e-12);

    let mut pushed = arm(ArmParameters { time_step: 1e-3, substeps: 1, ..with(Control::Torque) });
    let mut motors = envs::arm::Motors::idle(3);
    (motors.force, motors.carry_weight) = (vec![15.0, -9.0, 0.0], true);
    let mut judge = pushed.mechanism().clone();
    judge.step(&motors);
    advance(&mut pushed, &[0.5, -0.1, 0.0], 1);
    assert_eq!(pushed.mechanism().velocities(), judge.velocities());
    assert!(judge.velocities()[0] > 0.01 && judge.velocities()[1] < -1e-3);

    let mut placed = arm(with(Control::Position));
    advance(&mut placed, &[0.5, 1.0, -0.5], 100);
    let half_pi = std::f64::consts::FRAC_PI_2;
    assert_near(placed.mechanism().positions(), &[half_pi, 0.4, 0.01], 0.01);

    let mut moved = arm(with(Control::DeltaPosition));
    advance(&mut moved, &[1.0, 0.5, 0.0], 10);
    advance(&mut moved, &[0.0, 0.0, 0.0], 100);
    // Dry friction keeps a joint from all of its way.
    assert_near(moved.mechanism().positions(), &[0.4, 0.15, 0.02], 0.02);
    advance(&mut moved, &[0.0, 1.0, 0.0], 400);
    assert_near(&moved.state()[6..9], &[0.4, 0.4, 0.02], 1e-12);

    let mut turned = arm(with(Control::Velocity));
    advance(&mut turned, &[0.5, 0.0, 0.0], 100);
    let speed = turned.mechanism().velocities()[0];
    assert!((0.9..1.0).contains(&speed), "behind by damping and friction: {speed}");

    let mut clipped = arm(with(Control::DeltaPosition));
    let mut beyond = clipped.clone();
    let step = clipped.advance([1.0, -1.0, 0.5].into_iter());
    assert_eq!(step, beyond.advance([3.0, -1e9, 0.5].into_iter()));
    assert_eq!(clipped.state(), beyond.state());
}

#[test]
fn parameters_do_what_they_say() {
    let lift_after = |parameters: ArmParameters| {
        let mut arm = arm(parameters);
        advance(&mut arm, &[0.0; 3], 25);
        arm.mechanism().positions()[1]
    };
    let torque = || ArmParameters { control: Control::Torque, ..crane() };
    let steady = lift_after(torque());
    assert!((steady - 0.1).abs() < 1e-9);
    let falls = |parameters: ArmParameters| assert!(lift_after(parameters) < steady - 0.01);
    falls(ArmParameters { gravity_compensation: false, ..torque() });
    falls(ArmParameters { payload: 0.5, ..torque() });
    falls(ArmParameters { link_mass_scale: 1.5, ..torque() });
    falls(ArmParameters { max_force: Some(PerJoint::Each(vec![30.0, 8.0, 5.0])), ..torque() });
    falls(ArmParameters { motor_strength: 0.1, ..torque() });
    let held = ArmParameters { gravity: 0.0, gravity_compensation: false, ..torque() };
    assert_eq!(lift_after(held), 0.1);

    let speed_after = |parameters: ArmParameters| {
        let mut arm = arm(parameters);
        advance(&mut arm, &[0.1, 0.0, 0.0], 10);
        arm.mechanism().velocities()[0]
    };
    let free = speed_after(torque());
    for slower in [
        ArmParameters { damping: Some(PerJoint::All(3.0)), ..torque() },
        ArmParameters { friction: Some(PerJoint::All(1.0)), ..torque() },
        ArmParameters { armature: PerJoint::Each(vec![1.0, 0.0, 0.0]), ..torque() },
    ] {
        assert!(speed_after(slower) < 0.9 * free);
    }
    let rk4 = speed_after(ArmParameters { integrator: Integrator::Rk4, ..torque() });
    assert!(rk4 != free && (rk4 - free).abs() < 0.01 * free, "{rk4} {free}");

    let lag = |kp, kv| {
        let mut arm = arm(ArmParameters { kp, kv, ..crane() });
        advance(&mut arm, &[1.0, 0.0, 0.0], 10);
        arm.state()[6] - arm.mechanism().positions()[0]
    };
    assert!(lag(Some(PerJoint::All(20.0)), None) > lag(None, None));
    assert!(lag(None, Some(PerJoint::All(30.0))) > lag(None, None));
}

#[test]
fn the_reward_is_the_sum_of_its_terms() {
    let parameters = ArmParameters {
        distance_weight: 2.0,
        effort_weight: 0.5,
        grasp_weight: 7.0,
        orientation_weight: Some(0.3),
        tip_direction: [0.0, 0.5, 0.5],
        speed_weight: Some(0.2),
        smoothness_weight: Some(0.1),
        ..crane()
    };
    let mut arm = arm(parameters);
    assert_eq!(
        arm.spec().reward_terms,
        ["distance", "effort", "grasp", "orientation", "speed", "smoothness"]
    );
    let mut terms = [9.0; 6];
    arm.advance([1.0, -0.5, 0.0].into_iter());
    let step = arm.advance([0.5, 0.5, 0.0].into_iter());
    arm.reward_terms(&mut terms);
    let tip = arm.mechanism().pose(arm.tip());
    let away: f64 = tip.position.iter().zip(arm.object()).map(|(a, b)| (a - b) * (a - b)).sum();
    let squares: f64 = arm.mechanism().velocities().iter().map(|speed| speed * speed).sum();
    // The tip's z axis stays upright: 45 degrees away.
    let angle = std::f64::consts::FRAC_PI_4;
    let expected = [-2.0 * away.sqrt(), -0.5 * 0.5, 0.0, -0.3 * angle, -0.2 * squares, -0.1 * 1.25];
    assert_near(&terms, &expected, 1e-12);
    assert!((step.reward - terms.iter().sum::<f64>()).abs() < 1e-12);
    assert_eq!((step.terminated, step.success), (false, Some(false)));
}

#[test]
fn a_grasp_needs_a_near_and_slow_tip() {
    let at = |away: f64, speed: f64| {
        let mut arm = arm(ArmParameters { control: Control::Torque, ..crane() });
        let mut state = arm.state();
        let tip = arm.mechanism().pose(arm.tip()).position;
        state[3] = speed;
        state[12..].copy_from_slice(&[tip[0], tip[1], tip[2] + away]);
        arm.set_state(&state).unwrap();
        arm.advance([0.0; 3].into_iter())
    };
    let near = at(0.04, 0.0);
    assert_eq!((near.terminated, near.truncated, near.success), (true, false, Some(true)));
    assert!((near.reward - 9.96).abs() < 1e-9);
    assert_eq!(at(0.06, 0.0).success, Some(false));
    // The tip is 0.2 m from the axis of the column.
    assert_eq!(at(0.0, 3.0).success, Some(false));
    assert_eq!(at(0.0, 1.0).success, Some(true));
}

#[test]
fn costs_are_there_where_they_are_asked_for() {
    assert!(arm(crane()).spec().costs.is_empty());
    let zone = |radius| ArmParameters {
        zone_x: Some(0.2),
        zone_y: Some(0.0),
        zone_z: Some(0.6),
        zone_radius: Some(radius),
        joint_speed_limit: Some(0.1),
        ..crane()
    };
    for (radius, inside) in [(0.03, 1.0), (0.005, 0.0)] {
        let mut arm = arm(zone(radius));
        assert_eq!(arm.spec().costs, ["zone", "speed"]);
        let mut costs = [7.0; 2];
        advance(&mut arm, &[0.0; 3], 1);
        arm.costs(&mut costs);
        assert_eq!(costs, [inside, 0.0]);
        advance(&mut arm, &[1.0, 0.0, 0.0], 20);
        arm.costs(&mut costs);
        let speed = arm.mechanism().velocities()[0];
        assert!(speed > 0.5);
        assert_near(&costs, &[0.0, speed - 0.1], 1e-2);
    }
    let error = Arm::new(ArmParameters { zone_z: None, ..zone(1.0) }).unwrap_err();
    let message = "zone_z: is missing; a zone has zone_x, zone_y, zone_z and zone_radius";
    assert_eq!(error.to_string(), message);
}

#[test]
fn motors_cost_what_they_give_beyond_a_share_of_their_largest_torques() {
    let costs = |motor_strength: f64| {
        let mut arm = arm(ArmParameters {
            control: Control::Torque,
            gravity_compensation: false,
            joint_torque_limit: Some(0.25),
            motor_strength,
            ..crane()
        });
        assert_eq!(arm.spec().costs, ["torque"]);
        advance(&mut arm, &[0.75, -0.5, 0.2], 1);
        let mut costs = [7.0];
        arm.costs(&mut costs);
        costs
    };
    assert_near(&costs(1.0), &[0.75], 1e-12);
    assert_near(&costs(0.5), &[0.75], 1e-12);
    assert_eq!(costs(0.0), [0.0]);
}

#[test]
fn an_arm_restored_while_it_presses_on_a_limit_goes_on_bit_for_bit() {
    for integrator in [Integrator::ImplicitFast, Integrator::Rk4] {
        let parameters =
            ArmParameters { control: Control::Torque, integrator, observe_action: true, ..crane() };
        let mut arm = arm(parameters.clone());
        advance(&mut arm, &[0.3, 1.0, -0.2], 60);
        let [_, lift, _] = arm.mechanism().positions() else { panic!("three joints") };
        assert!(*lift > 0.4, "beyond its limit: {lift}");
        let mut other = Arm::new(parameters).unwrap();
        other.reset(&mut stream(9, Stream::Environment(1)));
        advance(&mut other, &[-1.0, -1.0, 1.0], 5);
        other.set_state(&arm.state()).unwrap();
        assert_eq!(arm.state(), other.state());
        let mut rng = rng();
        for _ in 0..100 {
            let action: [f64; 3] = [(); 3].map(|()| rng.random_range(-1.0..1.0));
            assert_eq!(arm.advance(action.into_iter()), other.advance(action.into_iter()));
            assert_eq!(arm.state(), other.state());
            let mut observations = [[0.0; 16]; 2];
            arm.observe(&mut observations[0]);
            other.observe(&mut observations[1]);
            assert_eq!(observations[0], observations[1]);
        }
    }
}

#[test]
fn states_that_can_not_be_are_refused() {
    let mut arm = arm(crane());
    let good = arm.state();
    assert_eq!(good.len(), 15);
    let error = arm.set_state(&good[1..]).unwrap_err().to_string();
    assert_eq!(error, "the environment's state has 15 numbers, 14 were given");
    let mut bad = good.clone();
    bad[4] = f64::NAN;
    let error = arm.set_state(&bad).unwrap_err().to_string();
    assert!(error.contains("NaN at index 4, where a finite number is expected"), "{error}");
    assert_eq!(arm.set_state(&good), Ok(()));
}

fn task(parameters: Value) -> Result<envs::Task, envs::ParameterError> {
    let parameters = parameters.as_object().unwrap().clone();
    let entry = envs::Environments::default().get("arm").unwrap();
    entry.task(&TaskConfig { parameters, ..TaskConfig::default() })
}

#[test]
fn everything_that_varies_can_be_drawn_and_the_file_is_read_once() {
    let path = std::env::temp_dir().join(format!("crane-{}.urdf", std::process::id()));
    std::fs::copy(CRANE, &path).unwrap();
    let drawn = task(json!({
        "urdf": path,
        "link_mass_scale": { "uniform": [0.8, 1.2] },
        "payload": { "uniform": [0.0, 0.5] },
        "damping": { "uniform": [0.1, 2.0] },
        "friction": { "log_uniform": [0.01, 0.5] },
        "armature": { "uniform": [0.0, 0.2] },
        "kp": { "choice": [200.0, 400] },
        "motor_strength": { "uniform": [0.8, 1.0] },
        "max_force": { "uniform": [50, 60] },
    }))
    .unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut vector = VectorEnv::new(&drawn, 1, 0, 2);
    for step in 0..500 {
        let action = (step as f32 * 0.1).sin();
        vector.step(&[action; 6]);
        assert!(vector.observations().iter().all(|number| number.is_finite()));
    }
}

#[test]
fn a_task_is_the_same_wherever_its_file_lies() {
    let directory = std::env::temp_dir().join(format!("robots-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let copy = directory.join("crane.urdf");
    std::fs::copy(CRANE, &copy).unwrap();
    let of = |path: &std::path::Path| task(json!({ "urdf": path })).unwrap();
    let (original, copied) = (of(CRANE.as_ref()), of(&copy));
    assert_eq!(original.fingerprint(), copied.fingerprint());
    assert_eq!(copied.files().collect::<Vec<_>>(), [("urdf", copy.as_path())]);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_is_wrong_is_said_with_its_key() {
    for (parameters, expected) in [
        (
            json!({ "urdf": "no/such.urdf" }),
            "parameters.urdf: can't be used: no/such.urdf: can't be read (No such file or directory (os error 2)); give the path of a URDF file",
        ),
        (json!({ "urdf": 3 }), "parameters.urdf: is 3; must be a text in quotes"),
        (
            json!({ "urdf": { "choice": ["a.urdf"] } }),
            "parameters.urdf: is a table; must be the path of a file, in quotes",
        ),
        (
            json!({ "tip": "hnad" }),
            "parameters.tip: is \"hnad\", a link that CRANE does not have; there is: floor, column, carriage, left, right, lamp",
        ),
        (json!({ "tip": "floor" }), "parameters.tip: is \"floor\"; no joint moves that link"),
        (
            json!({ "control": "force" }),
            "parameters.control: is \"force\"; must be \"torque\", \"position\", \"delta_position\" or \"velocity\"",
        ),
        (
            json!({ "kp": "stiff" }),
            "parameters.kp: is \"stiff\"; must be a number from 0 to 1e6 or an array, each a number from 0 to 1e6",
        ),
        (json!({ "kp": [1.0, 2.0] }), "parameters.kp: has 2 numbers; the arm has 3 joints"),
        (
            json!({ "kp": -1 }),
            "parameters.kp: is -1; must be a number from 0 to 1e6 or an array, each a number from 0 to 1e6",
        ),
        (
            json!({ "kp": { "uniform": [1, 1] } }),
            "parameters.kp: has the uniform [1, 1]; the first must be smaller",
        ),
        (
            json!({ "home": [0, 0.5, 0] }),
            "parameters.home: has 0.5 for joint 2; must be from -0.2 to 0.4",
        ),
        (
            json!({ "orientation_weight": 1, "tip_direction": [0, 0, 0] }),
            "parameters.tip_direction: is no direction; must not be 0",
        ),
        (
            json!({ "substeps": 0 }),
            "parameters.substeps: is 0; must be a whole number from 1 to 1000",
        ),
        (
            json!({ "orientation_weight": { "uniform": [0, 2] }, "tip_direction": [0, 0] }),
            "parameters.tip_direction: is an array of 2; must be an array of 3 entries, each a number from -1 to 1",
        ),
    ] {
        let mut given = parameters.clone();
        if given.get("urdf").is_none() {
            given["urdf"] = CRANE.into();
        }
        let error = task(given).unwrap_err().to_string().replace(CRANE, "CRANE");
        assert_eq!(error, expected, "{parameters}");
    }

    let without = |what: &str| {
        let text = std::fs::read_to_string(CRANE).unwrap().replacen(what, "", 1);
        let robot = Robot::parse(&text, "crane.urdf").unwrap();
        Arm::with(robot.into(), crane()).unwrap_err().to_string()
    };
    assert_eq!(
        without(" effort=\"30\""),
        "max_force: is missing; the robot's file has no effort above 0 for the joint \"turn\""
    );
    assert_eq!(
        without(" velocity=\"0.5\""),
        "max_speed: is missing; the robot's file has no velocity above 0 for the joint \"lift\""
    );
}

#[test]
fn a_panda_comes_with_the_crate() {
    let arm = arm(ArmParameters { object: Region::Shell, ..ArmParameters::default() });
    assert_eq!((arm.mechanism().joints().len(), arm.spec().action_space.width()), (7, 7));
    assert!((arm.robot().links.iter().map(|link| link.mass).sum::<f64>() - 18.0).abs() < 1.0);
}
