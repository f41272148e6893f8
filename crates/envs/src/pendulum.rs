//! Pendulum: swing up a pendulum with a motor too weak to lift it at once, and hold it.

use std::f64::consts::{PI, TAU};

use rand::RngExt;

use crate::{Action, Color, Drawing, Environment, Rng, Space, StateError, Step};

/// Gymnasium's Pendulum-v1.
///
/// State `(theta, theta_dot)` in rad and rad/s; `theta = 0` is upright, and `theta` is never wrapped.
/// The action is one torque `u` in N m, clipped to [`Pendulum::MAX_TORQUE`]. With the values of the
/// state before the step, wrapped into `[-pi, pi)` where the reward needs it:
///
/// ```text
/// reward    = -(wrap(theta)^2 + 0.1 theta_dot^2 + 0.001 u^2)
/// theta_dot = clip(theta_dot + (3 g / (2 l) sin theta + 3 / (m l^2) u) dt)
/// theta     = theta + theta_dot dt
/// ```
///
/// The observation is `(cos theta, sin theta, theta_dot)`. An episode never terminates.
#[derive(Clone, Debug, PartialEq)]
pub struct Pendulum {
    theta: f64,
    theta_dot: f64,
    /// Sine and cosine of `theta`: the next step and the observation both need them, and they are
    /// the greater part of the time of a step.
    sin_cos: (f64, f64),
}

impl Pendulum {
    /// Gravity, m/s^2.
    pub const GRAVITY: f64 = 10.0;
    /// Mass of the rod, kg.
    pub const MASS: f64 = 1.0;
    /// Length of the rod, m.
    pub const LENGTH: f64 = 1.0;
    /// Time of a step, s.
    pub const TIME_STEP: f64 = 0.05;
    /// Largest torque, N m.
    pub const MAX_TORQUE: f64 = 2.0;
    /// Largest angular velocity, rad/s.
    pub const MAX_SPEED: f64 = 8.0;
    /// The first angular velocity is uniform in plus or minus this, rad/s; the angle is uniform.
    pub const RESET_SPEED: f64 = 1.0;
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// A pendulum at this angle (rad) with this angular velocity (rad/s).
    #[must_use]
    pub fn new(theta: f64, theta_dot: f64) -> Pendulum {
        Pendulum { theta, theta_dot, sin_cos: theta.sin_cos() }
    }

    /// Advances by one step under a torque in N m, clipped here, and returns the reward.
    pub fn advance(&mut self, torque: f64) -> f64 {
        const GRAVITY_FACTOR: f64 = 3.0 * Pendulum::GRAVITY / (2.0 * Pendulum::LENGTH);
        const TORQUE_FACTOR: f64 = 3.0 / (Pendulum::MASS * Pendulum::LENGTH * Pendulum::LENGTH);

        let torque = torque.clamp(-Self::MAX_TORQUE, Self::MAX_TORQUE);
        let Pendulum { theta, theta_dot, sin_cos: (sin, _) } = *self;
        let angle = wrap(theta);
        let cost = angle * angle + 0.1 * (theta_dot * theta_dot) + 0.001 * (torque * torque);

        let acceleration = GRAVITY_FACTOR * sin + TORQUE_FACTOR * torque;
        let theta_dot = theta_dot + acceleration * Self::TIME_STEP;
        let theta_dot = theta_dot.clamp(-Self::MAX_SPEED, Self::MAX_SPEED);
        *self = Pendulum::new(theta + theta_dot * Self::TIME_STEP, theta_dot);
        -cost
    }
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
        Pendulum::new(0.0, 0.0)
    }
}

impl Environment for Pendulum {
    fn observation_space(&self) -> Space {
        let speed = Self::MAX_SPEED as f32;
        Space::Box { low: vec![-1.0, -1.0, -speed], high: vec![1.0, 1.0, speed] }
    }

    fn action_space(&self) -> Space {
        Space::symmetric_box(1, Self::MAX_TORQUE as f32)
    }

    fn max_episode_steps(&self) -> u32 {
        Self::MAX_EPISODE_STEPS
    }

    fn reset(&mut self, rng: &mut Rng) {
        let theta = rng.random_range(-PI..PI);
        let theta_dot = rng.random_range(-Self::RESET_SPEED..Self::RESET_SPEED);
        *self = Pendulum::new(theta, theta_dot);
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        let reward = self.advance(f64::from(action.values()[0]));
        Step { reward, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        let (sin, cos) = self.sin_cos;
        observation.copy_from_slice(&[cos as f32, sin as f32, self.theta_dot as f32]);
    }

    fn state(&self) -> Vec<f64> {
        vec![self.theta, self.theta_dot]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let [theta, theta_dot] = StateError::read(state)?;
        *self = Pendulum::new(theta, theta_dot);
        Ok(())
    }

    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        let (sin, cos) = self.sin_cos;
        let tip = [-Self::LENGTH * sin, Self::LENGTH * cos];
        let mut drawing = Drawing::new([-1.2, -1.2], [1.2, 1.2], Self::TIME_STEP);
        drawing.line(&[[0.0, 1.06], [0.0, 1.16]], 0.02, Color::Quiet);
        drawing.trail(tip, 20, 0.015, Color::Second);
        drawing.line(&[[0.0, 0.0], tip], 0.14, Color::Accent);
        drawing.disc([0.0, 0.0], 0.05, Color::Text);
        if let Some(torque) = action {
            // An arc whose length is the torque, positive to the left.
            let share = f64::from(torque.values()[0]) / Self::MAX_TORQUE;
            let arc: Vec<[f64; 2]> = (0..=12)
                .map(|part| 0.75 * PI * share * f64::from(part) / 12.0)
                .map(|angle| [-0.25 * angle.sin(), 0.25 * angle.cos()])
                .collect();
            drawing.line(&arc, 0.03, Color::Second);
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
        let mut pendulum = Pendulum::new(PI / 2.0, 1.0);
        let reward = pendulum.advance(1.0);
        assert!((reward + PI * PI / 4.0 + 0.101).abs() < 1e-15);
        assert!((pendulum.theta_dot - 1.9).abs() < 1e-15);
        assert!((pendulum.theta - (PI / 2.0 + 0.095)).abs() < 1e-15);
    }

    #[test]
    fn torque_and_speed_are_clipped() {
        let mut weak = Pendulum::new(1.0, 7.9);
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
