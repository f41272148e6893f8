//! The dynamics of a robot that turns, slides, branches and follows, against what must hold of any.
#![allow(clippy::unwrap_used)]

use envs::arm::{Integrator, Mechanism, Motors, Physics, Robot};
use envs::{Rng, Stream, stream};
use rand::RngExt;

fn crane() -> Robot {
    Robot::parse(include_str!("crane.urdf"), "crane.urdf").unwrap()
}

/// The crane without anything that takes energy.
fn free(time_step: f64) -> Physics {
    let mut physics = Physics::of(&crane(), time_step, Integrator::Rk4);
    for joint in &mut physics.joints {
        (joint.damping, joint.friction, joint.limits) = (0.0, 0.0, None);
    }
    physics
}

fn numbers(rng: &mut Rng) -> [f64; 3] {
    [(); 3].map(|()| rng.random_range(-1.0..1.0))
}

#[test]
fn energy_is_kept() {
    let mut rng = stream(5, Stream::Environment(0));
    for _ in 0..10 {
        let mut crane = Mechanism::new(&crane(), free(1e-3));
        crane.put(&numbers(&mut rng), &numbers(&mut rng));
        let energy = crane.energy();
        for _ in 0..500 {
            crane.step(&Motors::idle(3));
        }
        let lost = (crane.energy() - energy).abs();
        assert!(lost < 1e-9 * energy.abs().max(1.0), "{energy}: {lost:e}");
        assert!(crane.velocities()[1] < -3.0, "it falls: {:?}", crane.velocities());
    }
}

#[test]
fn energy_is_kept_by_joints_about_all_axes() {
    let panda = include_str!("../../../configs/robots/panda.urdf");
    let panda = Robot::parse(panda, "panda.urdf").unwrap();
    let mut rng = stream(8, Stream::Environment(0));
    for _ in 0..5 {
        let mut physics = Physics::of(&panda, 1e-3, Integrator::Rk4);
        for joint in &mut physics.joints {
            (joint.damping, joint.friction, joint.limits) = (0.0, 0.0, None);
            joint.armature = 0.1;
        }
        let mut panda = Mechanism::new(&panda, physics);
        let mut draw = || [(); 7].map(|()| rng.random_range(-1.0..1.0));
        panda.put(&draw(), &draw());
        let energy = panda.energy();
        for _ in 0..500 {
            panda.step(&Motors::idle(7));
        }
        let lost = (panda.energy() - energy).abs();
        assert!(lost < 1e-8 * energy.abs(), "{energy}: {lost:e}");
    }
}

#[test]
fn the_weight_is_the_slope_of_the_energy() {
    let mut rng = stream(6, Stream::Environment(0));
    for _ in 0..20 {
        let mut physics = free(1e-3);
        physics.gravity = [0.3, -2.0, -9.0];
        physics.payload = Some((4, 0.7));
        let mut crane = Mechanism::new(&crane(), physics);
        let at = numbers(&mut rng);
        crane.put(&at, &[0.0; 3]);
        let weight = crane.bias().to_vec();
        for joint in 0..3 {
            let mut energy_at = |change: f64| {
                let mut moved = at;
                moved[joint] += change;
                crane.put(&moved, &[0.0; 3]);
                crane.energy()
            };
            let slope = (energy_at(1e-5) - energy_at(-1e-5)) / 2e-5;
            assert!((slope - weight[joint]).abs() < 1e-7, "{joint}: {slope} {weight:?}");
        }
    }
}

#[test]
fn links_move_as_fast_as_they_say() {
    let mut rng = stream(7, Stream::Environment(0));
    for _ in 0..20 {
        let mut crane = Mechanism::new(&crane(), free(1e-3));
        let (at, speeds) = (numbers(&mut rng), numbers(&mut rng));
        for link in 0..6 {
            let mut place = |time: f64| {
                let moved: Vec<f64> = at.iter().zip(&speeds).map(|(q, v)| q + time * v).collect();
                crane.put(&moved, &speeds);
                crane.pose(link).position
            };
            let (before, after) = (place(-1e-6), place(1e-6));
            place(0.0);
            let velocity = crane.velocity(link);
            for axis in 0..3 {
                let expected = (after[axis] - before[axis]) / 2e-6;
                assert!((velocity[axis] - expected).abs() < 1e-8, "{link}: {velocity:?}");
            }
        }
    }
}

#[test]
fn a_follower_moves_with_its_leader() {
    let mut crane = Mechanism::new(&crane(), free(1e-3));
    assert_eq!(crane.joints(), [1, 2, 3]);
    let place = |crane: &Mechanism, link: usize| crane.pose(link).position;
    crane.put(&[0.0, 0.0, 0.0], &[0.0; 3]);
    let (left, right) = (place(&crane, 3), place(&crane, 4));
    crane.put(&[0.0, 0.0, 0.1], &[0.0; 3]);
    let moved = |from: [f64; 3], to: [f64; 3]| -> f64 {
        from.iter().zip(to).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    assert!((moved(left, place(&crane, 3)) - 0.1).abs() < 1e-15);
    assert!((moved(right, place(&crane, 4)) - 0.05).abs() < 1e-15);
    // Both fingers of 0.1 kg, the one at half of the speed.
    let mass = crane.mass_matrix();
    assert!((mass[8] - 0.125).abs() < 1e-15, "{mass:?}");
}

#[test]
fn motors_that_carry_the_weight_do_not_know_of_a_payload() {
    let at = [0.4, 0.1, 0.02];
    let mut motors = Motors::idle(3);
    motors.carry_weight = true;
    for (mass_scale, payload, expected) in
        [(1.0, 0.0, 0.0), (1.0, 0.6, -9.81 * 0.6 / 1.8), (1.5, 0.0, -9.81 * 0.6 / 1.8)]
    {
        let mut physics = free(1e-3);
        physics.integrator = Integrator::ImplicitFast;
        (physics.mass_scale, physics.payload) = (mass_scale, Some((2, payload)));
        let mut crane = Mechanism::new(&crane(), physics);
        crane.put(&at, &[0.0; 3]);
        crane.step(&motors);
        // The carriage and its fingers are 1.2 kg.
        let lifted = crane.velocities()[1] / 1e-3;
        assert!((lifted - expected).abs() < 1e-10, "{mass_scale} {payload}: {lifted} {expected}");
    }
}

#[test]
fn a_limit_holds_and_dry_friction_stops() {
    let mut physics = free(2e-3);
    let robot = crane();
    physics.integrator = Integrator::ImplicitFast;
    physics.joints[1].limits = Some([-0.2, 0.4]);
    physics.joints[0].friction = 0.2;
    let mut crane = Mechanism::new(&robot, physics);
    crane.put(&[0.0, 0.0, 0.0], &[1.0, 0.0, 0.0]);
    for _ in 0..2000 {
        crane.step(&Motors::idle(3));
    }
    let [turn, lift, _] = crane.positions() else { panic!("three joints") };
    assert!(*turn > 0.1 && crane.velocities()[0].abs() < 1e-3, "{turn} {:?}", crane.velocities());
    assert!((-0.21..-0.2).contains(lift), "{lift}");
}

#[test]
fn what_may_be_far_is_far() {
    let limited = Mechanism::new(&crane(), Physics::of(&crane(), 1e-3, Integrator::Rk4));
    // 0.2 to the side and 0.5 up, 0.4 more at the top; the finger another 0.04.
    let expected = 0.2_f64.hypot(0.5) + 0.4 + 0.04;
    assert!((limited.reach(3) - expected).abs() < 1e-15, "{}", limited.reach(3));
    assert_eq!(Mechanism::new(&crane(), free(1e-3)).reach(3), f64::INFINITY);
    assert!(limited.moves(5) && !limited.moves(0));
}
