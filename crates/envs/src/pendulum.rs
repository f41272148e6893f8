//! Pendulum: swing up a pendulum with a motor too weak to lift it at once, and hold it.

use std::f64::consts::{PI, TAU};

use rand::RngExt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drawing::{Color, Drawing};
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::Rng;
use crate::space::{Action, Space};

/// What can be changed of [`Pendulum`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PendulumParameters {
    /// Gravity.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "m/s^2"))]
    pub gravity: f64,
    /// Mass of the rod.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "kg"))]
    pub mass: f64,
    /// Length of the rod.
    #[schemars(range(min = 1e-2, max = 100.0), extend("unit" = "m"))]
    pub length: f64,
    /// Largest torque: actions are clipped to plus or minus this.
    #[schemars(range(min = 1e-6, max = 1e6), extend("unit" = "N m"))]
    pub max_torque: f64,
    /// Largest angular velocity, to which it is clipped.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "rad/s"))]
    pub max_speed: f64,
    /// Time of a step.
    #[schemars(range(min = 1e-4, max = 1.0), extend("unit" = "s"))]
    pub time_step: f64,
}

impl Default for PendulumParameters {
    fn default() -> Self {
        PendulumParameters {
            gravity: 10.0,
            mass: 1.0,
            length: 1.0,
            max_torque: 2.0,
            max_speed: 8.0,
            time_step: 0.05,
        }
    }
}

/// Gymnasium's Pendulum-v1.
///
/// State `(theta, theta_dot)` in rad and rad/s; `theta = 0` is upright, and `theta` is never wrapped.
/// The action is one torque `u` in N m, clipped to the largest torque. With the values of the
/// state before the step, wrapped into `[-pi, pi)` where the reward needs it:
///
/// ```text
/// reward    = -(wrap(theta)^2 + 0.1 theta_dot^2 + 0.001 u^2)
/// theta_dot = clip(theta_dot + (3 g / (2 l) sin theta + 3 / (m l^2) u) dt)
/// theta     = theta + theta_dot dt
/// ```
///
/// The observation is `(cos theta, sin theta, theta_dot)`. An episode never terminates. The terms of the
/// reward are `angle`, `velocity` and `torque`.
#[derive(Clone, Debug, PartialEq)]
#[repr(align(128))] // threads step neighbours side by side, and a shared cache line takes longer than a step
pub struct Pendulum {
    parameters: PendulumParameters,
    /// Sine and cosine of `theta`: the next step and the observation both need them, and they are
    /// the greater part of the time of a step. They do not lie beside each other or `theta_dot`:
    /// numbers that do are read together, which waits until both are written.
    cos: f64,
    /// `3 g / (2 l)`, 1/s^2.
    gravity_factor: f64,
    sin: f64,
    theta: f64,
    /// `3 / (m l^2)`, 1/(kg m^2).
    torque_factor: f64,
    theta_dot: f64,
    /// Terms of the last step's reward, without their sign.
    costs: [f64; 3],
}

impl Pendulum {
    /// The first angular velocity is uniform in plus or minus this, rad/s; the angle is uniform.
    pub const RESET_SPEED: f64 = 1.0;
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// Upright and at rest.
    fn with(parameters: PendulumParameters) -> Pendulum {
        let PendulumParameters { gravity, mass, length, .. } = parameters;
        Pendulum {
            gravity_factor: 3.0 * gravity / (2.0 * length),
            torque_factor: 3.0 / (mass * length * length),
            parameters,
            theta: 0.0,
            theta_dot: 0.0,
            sin: 0.0,
            cos: 1.0,
            costs: [0.0; 3],
        }
    }

    /// This pendulum at another angle (rad) with another angular velocity (rad/s).
    #[must_use]
    pub fn at(mut self, theta: f64, theta_dot: f64) -> Pendulum {
        self.put(theta, theta_dot);
        self
    }

    fn put(&mut self, theta: f64, theta_dot: f64) {
        (self.theta, self.theta_dot) = (theta, theta_dot);
        (self.sin, self.cos) = theta.sin_cos();
    }

    /// Advances by one step under a torque in N m, clipped here, and returns the reward.
    pub fn advance(&mut self, torque: f64) -> f64 {
        // First: what is read before its slow branch would have to be put aside for it.
        let angle = wrap(self.theta);
        let PendulumParameters { max_torque, max_speed, time_step, .. } = self.parameters;
        let Pendulum { theta, theta_dot: speed, sin, .. } = *self;
        let torque = clip(torque, max_torque);
        let angle_cost = angle * angle;
        let (speed_cost, torque_cost) = (0.1 * (speed * speed), 0.001 * (torque * torque));
        self.costs = [speed_cost, torque_cost, angle_cost];

        let acceleration = self.gravity_factor * sin + self.torque_factor * torque;
        let theta_dot = clip(speed + acceleration * time_step, max_speed);
        self.put(theta + theta_dot * time_step, theta_dot);
        -(angle_cost + speed_cost + torque_cost)
    }
}

/// The number within plus or minus `bound`; NaN stays what it is.
#[inline]
fn clip(number: f64, bound: f64) -> f64 {
    let number = if number < -bound { -bound } else { number };
    if number > bound { bound } else { number }
}

/// The same angle in `[-pi, pi)`.
fn wrap(angle: f64) -> f64 {
    let turned = angle + PI;
    // The remainder is slow, and most angles don't need it.
    let turned = if (0.0..TAU).contains(&turned) { turned } else { turned.rem_euclid(TAU) };
    turned - PI
}

impl Default for Pendulum {
    /// Upright and at rest.
    fn default() -> Self {
        Pendulum::with(PendulumParameters::default())
    }
}

impl Parametric for Pendulum {
    type Parameters = PendulumParameters;

    fn new(parameters: PendulumParameters) -> Result<Self, ParameterError> {
        Ok(Pendulum::with(parameters))
    }
}

impl Environment for Pendulum {
    fn spec(&self) -> Spec {
        let speed = self.parameters.max_speed as f32;
        Spec {
            observation_names: ["cos angle", "sin angle", "angular velocity [rad/s]"]
                .map(String::from)
                .to_vec(),
            action_names: vec!["torque [N m]".into()],
            step_seconds: Some(self.parameters.time_step),
            reward_terms: ["angle", "velocity", "torque"].map(String::from).to_vec(),
            ..Spec::new(
                Space::Box { low: vec![-1.0, -1.0, -speed], high: vec![1.0, 1.0, speed] },
                Space::symmetric_box(1, self.parameters.max_torque as f32),
                Self::MAX_EPISODE_STEPS,
            )
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        let theta = rng.random_range(-PI..PI);
        let theta_dot = rng.random_range(-Self::RESET_SPEED..Self::RESET_SPEED);
        let max_speed = self.parameters.max_speed;
        self.put(theta, theta_dot.clamp(-max_speed, max_speed));
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        let reward = self.advance(f64::from(action.values()[0]));
        Step { reward, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        let numbers = [self.cos, self.sin, self.theta_dot];
        observation.copy_from_slice(&numbers.map(|number| number as f32));
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        let [speed_cost, torque_cost, angle_cost] = self.costs;
        terms.copy_from_slice(&[-angle_cost, -speed_cost, -torque_cost]);
    }

    fn state(&self) -> Vec<f64> {
        vec![self.theta, self.theta_dot]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let [theta, theta_dot] = StateError::read(state)?;
        self.put(theta, theta_dot);
        Ok(())
    }

    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        let Pendulum { sin, cos, .. } = *self;
        let length = self.parameters.length;
        let tip = [-length * sin, length * cos];
        let side = 1.2 * length;
        let mut drawing = Drawing::new([-side, -side], [side, side], self.parameters.time_step);
        let mark = [[0.0, 1.06 * length], [0.0, 1.16 * length]];
        drawing.line(&mark, 0.02 * length, Color::Quiet);
        drawing.trail(tip, 20, 0.015 * length, Color::Second);
        drawing.line(&[[0.0, 0.0], tip], 0.14 * length, Color::Accent);
        drawing.disc([0.0, 0.0], 0.05 * length, Color::Text);
        if let Some(torque) = action {
            // An arc whose length is the torque, positive to the left.
            let share = f64::from(torque.values()[0]) / self.parameters.max_torque;
            let radius = 0.25 * length;
            let arc: Vec<[f64; 2]> = (0..=12)
                .map(|part| 0.75 * PI * share * f64::from(part) / 12.0)
                .map(|angle| [-radius * angle.sin(), radius * angle.cos()])
                .collect();
            drawing.line(&arc, 0.03 * length, Color::Second);
        }
        Some(drawing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Stream, stream};

    #[test]
    fn one_step_from_the_side() {
        // theta = pi/2, theta_dot = 1, u = 1: cost pi^2/4 + 0.1 + 0.001,
        // theta_dot = 1 + (15 + 3) 0.05 = 1.9, theta = pi/2 + 0.095.
        let mut pendulum = Pendulum::default().at(PI / 2.0, 1.0);
        let reward = pendulum.advance(1.0);
        assert!((reward + PI * PI / 4.0 + 0.101).abs() < 1e-15);
        assert!((pendulum.theta_dot - 1.9).abs() < 1e-15);
        assert!((pendulum.theta - (PI / 2.0 + 0.095)).abs() < 1e-15);
    }

    #[test]
    fn every_parameter_is_where_the_equations_have_it() {
        // 3 g / (2 l) = 6, 3 / (m l^2) = 6: theta_dot = 1 + (6 sin 0.5 + 6 * 0.5) 0.1, clipped to 1.5.
        let parameters = PendulumParameters {
            gravity: 2.0,
            mass: 2.0,
            length: 0.5,
            max_torque: 0.5,
            max_speed: 10.0,
            time_step: 0.1,
        };
        let mut pendulum = Pendulum::new(parameters.clone()).unwrap().at(0.5, 1.0);
        let reward = pendulum.advance(3.0);
        let theta_dot = 1.0 + 0.1 * (6.0 * 0.5_f64.sin() + 6.0 * 0.5);
        assert!((reward + 0.25 + 0.1 + 0.001 * 0.25).abs() < 1e-15);
        assert!((pendulum.theta_dot - theta_dot).abs() < 1e-15);
        assert!((pendulum.theta - (0.5 + 0.1 * theta_dot)).abs() < 1e-15);
        let slow = PendulumParameters { max_speed: 1.5, ..parameters };
        let mut pendulum = Pendulum::new(slow).unwrap().at(0.5, 1.0);
        assert_eq!(pendulum.spec().action_space, Space::symmetric_box(1, 0.5));
        pendulum.advance(0.5);
        assert_eq!(pendulum.theta_dot, 1.5);
    }

    #[test]
    fn the_terms_of_the_reward_worked_by_hand() {
        let mut pendulum = Pendulum::default().at(2.0 + TAU, 3.0);
        let reward = pendulum.advance(-1.0);
        let mut terms = [0.0; 3];
        pendulum.reward_terms(&mut terms);
        for (found, expected) in terms.iter().zip([-4.0, -0.9, -0.001]) {
            assert!((found - expected).abs() < 1e-13, "{terms:?}");
        }
        assert_eq!(terms.iter().sum::<f64>(), reward);
    }

    #[test]
    fn torque_and_speed_are_clipped() {
        let mut weak = Pendulum::default().at(1.0, 7.9);
        let mut strong = weak.clone();
        assert_eq!(weak.advance(2.0), strong.advance(50.0));
        assert_eq!(weak, strong);
        assert_eq!(weak.theta_dot, 8.0);
        assert_eq!(weak.theta, 1.0 + 8.0 * 0.05);
    }

    #[test]
    fn angles_wrap_into_the_half_open_turn() {
        assert_eq!(wrap(0.5), 0.5);
        assert_eq!(wrap(-PI), -PI);
        assert_eq!(wrap(PI), -PI);
        for turns in [-3.0, -1.0, 1.0, 2.0] {
            assert!((wrap(0.5 + turns * TAU) - 0.5).abs() < 1e-14);
            assert!((wrap(-3.0 + turns * TAU) + 3.0).abs() < 1e-14);
        }
    }

    #[test]
    fn observes_the_angle_as_cosine_and_sine() {
        let mut pendulum = Pendulum::default();
        pendulum.set_state(&[PI / 6.0, -2.5]).unwrap();
        let mut observation = [0.0; 3];
        pendulum.observe(&mut observation);
        assert_eq!(observation, [3.0_f32.sqrt() / 2.0, 0.5, -2.5]);
    }

    #[test]
    fn the_trait_steps_like_advance() {
        let mut rng = stream(5, Stream::Environment(0));
        let mut env = Pendulum::default();
        env.reset(&mut rng);
        let mut direct = env.clone();
        for torque in [-3.0, 0.25, 1.75] {
            let step = env.step(Action::Continuous(&[torque]), &mut rng);
            assert_eq!(step.reward, direct.advance(f64::from(torque)));
            assert!(!step.terminated && !step.truncated && step.success.is_none());
        }
        assert_eq!(env, direct);
    }

    #[test]
    fn resets_inside_the_bounds() {
        let mut rng = stream(3, Stream::Environment(0));
        let mut env = Pendulum::default();
        let mut widest = [0.0_f64; 2];
        for _ in 0..200 {
            env.reset(&mut rng);
            widest = [widest[0].max(env.theta.abs()), widest[1].max(env.theta_dot.abs())];
        }
        assert!(widest[0] > 3.0 && widest[0] <= PI);
        assert!(widest[1] > 0.95 && widest[1] <= 1.0);
    }
}
