//! Pendulum, judged by regret: the return that a trained policy loses against a near-optimal controller from
//! the same initial states. The returns themselves depend more on the initial states than on the policy.

use std::f64::consts::{PI, TAU};
use std::sync::LazyLock;

use agents::EVALUATION_ENVIRONMENTS;
use backburn_tests::train;
use envs::{Environment, Environments, Pendulum, TaskConfig, VectorEnv};

/// What is earned from each state on in many steps, on a grid over angle and angular velocity.
struct Values {
    /// `[angle][velocity]`
    table: Vec<f64>,
}

/// A place between grid points: the index of the lower neighbour, and what the others weigh.
#[derive(Clone, Copy)]
struct Place {
    corners: [u32; 4],
    weights: [f32; 4],
}

impl Values {
    /// Points over a whole turn, and from the largest speed to the other.
    const ANGLES: usize = 360;
    const SPEEDS: usize = 201;
    const MAX_SPEED: f64 = 8.0;
    /// Steps to look ahead: from every state the pendulum is up and at rest before.
    const HORIZON: usize = 200;

    /// Value iteration.
    fn solve() -> Values {
        let torques = torques(21);
        let mut transitions = Vec::with_capacity(Self::ANGLES * Self::SPEEDS * torques.len());
        for angle in 0..Self::ANGLES {
            for speed in 0..Self::SPEEDS {
                let theta = TAU * angle as f64 / Self::ANGLES as f64;
                let speed =
                    Self::MAX_SPEED * (2.0 * speed as f64 / (Self::SPEEDS - 1) as f64 - 1.0);
                for &torque in &torques {
                    let (reward, theta, speed) = step(theta, speed, torque);
                    transitions.push((reward, Self::place(theta, speed)));
                }
            }
        }
        let mut values = Values { table: vec![0.0; Self::ANGLES * Self::SPEEDS] };
        for _ in 0..Self::HORIZON {
            let next = transitions.chunks_exact(torques.len()).map(|actions| {
                let worth =
                    actions.iter().map(|(reward, place)| reward + values.interpolated(place));
                worth.fold(f64::NEG_INFINITY, f64::max)
            });
            values.table = next.collect();
        }
        values
    }

    fn place(theta: f64, speed: f64) -> Place {
        let angle = theta.rem_euclid(TAU) / TAU * Self::ANGLES as f64;
        let speed = (speed / Self::MAX_SPEED + 1.0) / 2.0 * (Self::SPEEDS - 1) as f64;
        let (low, row) = (angle.floor(), speed.floor().min((Self::SPEEDS - 2) as f64));
        let (a, s) = ((angle - low) as f32, (speed - row) as f32);
        let index =
            |angle: usize, speed: usize| (angle % Self::ANGLES * Self::SPEEDS + speed) as u32;
        let (low, row) = (low as usize, row as usize);
        Place {
            corners: [
                index(low, row),
                index(low, row + 1),
                index(low + 1, row),
                index(low + 1, row + 1),
            ],
            weights: [(1.0 - a) * (1.0 - s), (1.0 - a) * s, a * (1.0 - s), a * s],
        }
    }

    fn interpolated(&self, place: &Place) -> f64 {
        let corners = place.corners.iter().zip(place.weights);
        corners.map(|(&corner, weight)| f64::from(weight) * self.table[corner as usize]).sum()
    }

    /// The return of an episode in which each torque is the best for the next step and what these values say
    /// of the state after it.
    fn control(&self, mut theta: f64, mut speed: f64) -> f64 {
        let torques = torques(81);
        let mut total = 0.0;
        for _ in 0..Pendulum::MAX_EPISODE_STEPS {
            let options = torques.iter().map(|&torque| step(theta, speed, torque));
            let best = options.max_by(|a, b| {
                let worth = |(reward, theta, speed): &(f64, f64, f64)| {
                    reward + self.interpolated(&Self::place(*theta, *speed))
                };
                worth(a).total_cmp(&worth(b))
            });
            let (reward, next_theta, next_speed) = best.unwrap();
            total += reward;
            (theta, speed) = (next_theta, next_speed);
        }
        total
    }
}

/// Torques at equal distances over what the motor can do.
fn torques(count: usize) -> Vec<f64> {
    (0..count).map(|k| 4.0 * k as f64 / (count - 1) as f64 - 2.0).collect()
}

/// Reward, and the state that follows.
fn step(theta: f64, speed: f64, torque: f64) -> (f64, f64, f64) {
    let mut pendulum = Pendulum::default().at(theta, speed);
    let reward = pendulum.advance(torque);
    let state = pendulum.state();
    (reward, state[0], state[1])
}

/// Of all tests.
static VALUES: LazyLock<Values> = LazyLock::new(Values::solve);

/// Trains as `trainer run configs/NAME.toml --seed SEED` does. What the last policy loses in the 100 episodes of
/// its evaluation against the controller, in the mean.
fn regret(name: &str, seed: u64) -> f64 {
    let reached = train(name, seed);
    let episodes = reached.episodes().len();
    let entry = Environments::default().get("pendulum").unwrap();
    let task = entry.task(&TaskConfig::default()).unwrap();
    let envs = VectorEnv::new(&task, seed, EVALUATION_ENVIRONMENTS, episodes);
    let first = envs.observations().chunks_exact(3);
    let best = first.map(|row| {
        let [cos, sin, speed] = [0, 1, 2].map(|k| f64::from(row[k]));
        VALUES.control(sin.atan2(cos), speed)
    });
    best.sum::<f64>() / episodes as f64 - reached.mean_return()
}

#[test]
fn the_controller_is_close_to_the_best() {
    let values = &*VALUES;
    // At rest upright there is nothing to do.
    assert_eq!(values.control(0.0, 0.0), 0.0);
    // What is earned is what was promised: the grid is fine enough, and 200 steps are.
    for (theta, speed) in [(0.5, 0.0), (2.0, -1.0), (PI, 0.0), (-2.5, 0.7)] {
        let promised = values.interpolated(&Values::place(theta, speed));
        let earned = values.control(theta, speed);
        assert!((promised - earned).abs() < 0.02 * earned.abs(), "{theta}: {promised} {earned}");
    }
}

#[test]
fn ppo_swings_up_with_little_regret() {
    for seed in 1..=3 {
        let regret = regret("ppo_pendulum", seed);
        assert!(regret <= 25.0, "seed {seed}: regret {regret}");
        assert!(regret >= -1.0, "seed {seed}: better than the best by {}", -regret);
    }
}
